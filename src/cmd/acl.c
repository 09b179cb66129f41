/* SPDX-License-Identifier: BSD-3-Clause */
/* acl: what ACL can say of the one user there is, "default", whose password is requirepass. Other users are not supported: what
 * would make, change or check them is refused rather than pretended. */
#include <stdio.h>

#include "src/base/sha256.h"
#include "src/cmd/call.h"

static enum err unsupported_run(struct call *c) {
    return call_errorf(c, "ERR ACL users are not supported yet: there is only the user 'default', whose password is requirepass");
}

static enum err whoami_run(struct call *c) {
    reply_bulk_cstr(c->out, c->client->user);
    return OK;
}

static enum err users_run(struct call *c) {
    reply_array(c->out, 1);
    reply_bulk_cstr(c->out, "default");
    return OK;
}

/* The hash of the default user's password; false when it needs none. */
static bool password_hash(struct call *c, char hex[SHA256_HEX + 1]) {
    struct conf *now = conf_store_current(c->host->conf_store); /* newer than this turn's, after a CONFIG SET */
    bool any = now->requirepass[0] != '\0';
    if (any) {
        sha256_hex(slice_cstr(now->requirepass), hex);
    }
    conf_unref(now);
    return any;
}

static enum err list_run(struct call *c) {
    char hex[SHA256_HEX + 1], text[128];
    bool any = password_hash(c, hex);
    snprintf(text, sizeof(text), "user default on %s%s ~* &* +@all", any ? "#" : "nopass", any ? hex : "");
    reply_array(c->out, 1);
    reply_bulk_cstr(c->out, text);
    return OK;
}

static void reply_field(struct out *o, const char *name, const char *value) {
    reply_bulk_cstr(o, name);
    reply_bulk_cstr(o, value);
}

static enum err getuser_run(struct call *c) {
    char hex[SHA256_HEX + 1];
    struct out *o = c->out;
    if (!slice_eq(c->argv[2], SLICE("default"))) {
        reply_null(o);
        return OK;
    }
    bool any = password_hash(c, hex);
    reply_map(o, 6);
    reply_bulk_cstr(o, "flags");
    reply_set(o, any ? 1 : 2);
    reply_bulk_cstr(o, "on");
    if (!any) {
        reply_bulk_cstr(o, "nopass");
    }
    reply_bulk_cstr(o, "passwords");
    reply_array(o, any);
    if (any) {
        reply_bulk_cstr(o, hex);
    }
    reply_field(o, "commands", "+@all");
    reply_field(o, "keys", "~*");
    reply_field(o, "channels", "&*");
    reply_bulk_cstr(o, "selectors");
    reply_array(o, 0);
    return OK;
}

static enum err cat_run(struct call *c) {
    if (c->argc > 3) {
        return call_too_many(c);
    }
    if (c->argc == 2) {
        reply_array(c->out, CATEGORY_COUNT - 1);
        for (int k = CATEGORY_NONE + 1; k < CATEGORY_COUNT; k++) {
            reply_bulk_cstr(c->out, category_name((enum category)k));
        }
        return OK;
    }
    enum category wanted = category_find(c->argv[2]);
    if (wanted == CATEGORY_NONE) {
        return call_errorf(c, "ERR Unknown category '%.*s'", SLICE_ARG(c->argv[2]));
    }
    struct reply_deferred d = reply_defer(c->out, '*');
    int64_t n = 0;
    for (unsigned i = 0; i < registry_count(); i++) {
        if (cmd_in_category(registry_at(i), wanted)) {
            reply_bulk_cstr(c->out, registry_at(i)->full_name);
            n++;
        }
    }
    reply_defer_end(c->out, d, n);
    return OK;
}

static enum err help_run(struct call *c) {
    static const char *const lines[] = {"CAT [<category>]", "    List all commands that belong to <category>, or all command categories",
                                        "    when no category is specified.",
                                        "GETUSER <username>", "    Get the user's details.",
                                        "LIST", "    Show users details in config file format.",
                                        "USERS", "    List all the registered usernames.",
                                        "WHOAMI", "    Return the current connection username.", NULL};
    return call_reply_help(c, lines);
}

#define ANY (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE)
#define ADM (ANY | CMD_ADMIN)
#define ROW(nm, args, n, fl, fn, ver, text) {.name = nm, .syntax = args, .arity = n, .flags = fl, .run = fn, .since = ver, .cost = "O(1)", .summary = text}

static const struct command acl_subs[] = {
    {.name = "cat", .syntax = "[category]", .arity = -2, .flags = ANY, .run = cat_run, .since = "6.0.0", .cost = "O(N) for N commands",
     .summary = "Lists the categories of commands, or the commands of one."},
    ROW("deluser", "username [username ...]", -3, ADM, unsupported_run, "6.0.0", "Refused: only the default user is supported."),
    ROW("dryrun", "username command [arg [arg ...]]", -4, ADM, unsupported_run, "7.0.0", "Refused: only the default user is supported."),
    ROW("genpass", "[bits]", -2, ANY, unsupported_run, "6.0.0", "Refused: only the default user is supported."),
    ROW("getuser", "username", 3, ADM, getuser_run, "6.0.0", "Tells about a user."),
    ROW("help", "", 2, CMD_LOADING | CMD_STALE, help_run, "6.0.0", "Lists the subcommands."),
    ROW("list", "", 2, ADM, list_run, "6.0.0", "Returns the users as in a configuration file."),
    ROW("load", "", 2, ADM, unsupported_run, "6.0.0", "Refused: only the default user is supported."),
    ROW("log", "[count | RESET]", -2, ADM, unsupported_run, "6.0.0", "Refused: only the default user is supported."),
    ROW("save", "", 2, ADM, unsupported_run, "6.0.0", "Refused: only the default user is supported."),
    ROW("setuser", "username [rule [rule ...]]", -3, ADM, unsupported_run, "6.0.0", "Refused: only the default user is supported."),
    ROW("users", "", 2, ADM, users_run, "6.0.0", "Returns the names of the users."),
    ROW("whoami", "", 2, ANY, whoami_run, "6.0.0", "Returns the name of this connection's user."),
    {0}};

const struct command acl_commands[] = {
    {.name = "acl", .syntax = "subcommand [argument ...]", .arity = -2, .sub = acl_subs, .flags = 0, .since = "6.0.0",
     .cost = "Depends on the subcommand.", .summary = "Tells about users and categories of commands."},
    {0}};
