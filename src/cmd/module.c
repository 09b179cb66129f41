/* SPDX-License-Identifier: BSD-3-Clause */
/* module: the MODULE command. There are no modules and none can be loaded, which Redis by default refuses, too. */
#include "src/cmd/call.h"

static enum err list_run(struct call *c) {
    reply_array(c->out, 0);
    return OK;
}

static enum err refused_run(struct call *c) {
    return call_errorf(c, "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it "
                          "from a local connection, otherwise you need to set this option in the configuration file, and then "
                          "restart the server.");
}

static enum err help_run(struct call *c) {
    static const char *const lines[] = {"LIST", "    Return a list of loaded modules: always none.", NULL};
    return call_reply_help(c, lines);
}

#define ADM (CMD_ADMIN | CMD_NOSCRIPT)
#define ROW(nm, args, n, fl, fn, ver, text) {.name = nm, .syntax = args, .arity = n, .flags = fl, .run = fn, .since = ver, .cost = "O(1)", .summary = text}
#define NEVER(nm, args, n, ver) \
    {.name = nm, .syntax = args, .arity = n, .flags = ADM | CMD_NO_ASYNC_LOADING, .run = refused_run, .allowed = refused_run, .since = ver, \
     .cost = "O(1)", .summary = "Refused."}

static const struct command module_subs[] = {
    ROW("help", "", 2, CMD_LOADING | CMD_STALE, help_run, "5.0.0", "Lists the subcommands."),
    {.name = "list", .syntax = "", .arity = 2, .flags = ADM, .run = list_run, .since = "4.0.0", .cost = "O(1)",
     .summary = "Returns the loaded modules: none.", .tips = "nondeterministic_output_order"},
    NEVER("load", "path [arg [arg ...]]", -3, "4.0.0"),
    NEVER("loadex", "path [CONFIG name value [CONFIG name value ...]] [ARGS arg [arg ...]]", -3, "7.0.0"),
    NEVER("unload", "name", 3, "4.0.0"),
    {0}};

const struct command module_commands[] = {
    {.name = "module", .syntax = "subcommand [argument ...]", .arity = -2, .sub = module_subs, .flags = 0, .since = "4.0.0",
     .cost = "O(1)", .summary = "Tells about modules: there are none."},
    {0}};
