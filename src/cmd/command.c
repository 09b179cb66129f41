/* SPDX-License-Identifier: BSD-3-Clause */
/* command: COMMAND and its subcommands, all of it from the rows. */
#include <stdio.h>

#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/cmd/syntax.h"

static const struct {
    uint32_t flag;
    const char *name;
} flag_names[] = {{CMD_WRITE, "write"}, {CMD_READONLY, "readonly"}, {CMD_DENYOOM, "denyoom"}, {CMD_ADMIN, "admin"},
                  {CMD_PUBSUB, "pubsub"}, {CMD_NOSCRIPT, "noscript"}, {CMD_BLOCKING, "blocking"}, {CMD_LOADING, "loading"},
                  {CMD_STALE, "stale"}, {CMD_SKIP_MONITOR, "skip_monitor"}, {CMD_SKIP_SLOWLOG, "skip_slowlog"}, {CMD_FAST, "fast"},
                  {CMD_NO_AUTH, "no_auth"}, {CMD_MAY_REPLICATE, "may_replicate"}, {CMD_NO_ASYNC_LOADING, "no_async_loading"},
                  {CMD_NO_MULTI, "no_multi"}, {CMD_MOVABLEKEYS, "movablekeys"}, {CMD_ALLOW_BUSY, "allow_busy"}};

static void reply_flags(struct out *o, const struct cmd *cmd) {
    struct reply_deferred d = reply_defer(o, '~');
    int64_t n = 0;
    for (size_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++) {
        if (cmd->flags & flag_names[i].flag) {
            reply_status(o, flag_names[i].name);
            n++;
        }
    }
    reply_defer_end(o, d, n);
}

static void reply_categories(struct out *o, const struct cmd *cmd) {
    struct reply_deferred d = reply_defer(o, '~');
    int64_t n = 0;
    for (int k = CATEGORY_NONE + 1; k < CATEGORY_COUNT; k++) {
        if (cmd_in_category(cmd, (enum category)k)) {
            char word[32];
            snprintf(word, sizeof(word), "@%s", category_name((enum category)k));
            reply_status(o, word);
            n++;
        }
    }
    reply_defer_end(o, d, n);
}

static void reply_tips(struct out *o, const struct cmd *cmd) {
    struct reply_deferred d = reply_defer(o, '~');
    int64_t n = 0;
    for (const char *p = cmd->row->tips; p != NULL && *p != '\0'; n++) {
        size_t len = strcspn(p, ",");
        reply_bulk(o, slice_make(p, len));
        p += len;
        p += *p == ',';
    }
    reply_defer_end(o, d, n);
}

static const char *const access_flags[][4] = {
    [KEY_R] = {"RO", "access"}, [KEY_RW] = {"RW", "access", "update"}, [KEY_W] = {"OW", "update"}, [KEY_M] = {"RO"}, [KEY_N] = {"RO"}};

static void reply_spec(struct out *o, const struct key_spec *s) {
    int n = 0;
    while (n < 4 && access_flags[s->access][n] != NULL) {
        n++;
    }
    reply_map(o, 3);
    reply_bulk_cstr(o, "flags");
    reply_set(o, n);
    for (int i = 0; i < n; i++) {
        reply_status(o, access_flags[s->access][i]);
    }
    reply_bulk_cstr(o, "begin_search");
    reply_map(o, 2);
    reply_bulk_cstr(o, "type");
    reply_bulk_cstr(o, "index");
    reply_bulk_cstr(o, "spec");
    reply_map(o, 1);
    reply_bulk_cstr(o, "index");
    reply_int(o, s->first);
    reply_bulk_cstr(o, "find_keys");
    reply_map(o, 2);
    reply_bulk_cstr(o, "type");
    reply_bulk_cstr(o, "range");
    reply_bulk_cstr(o, "spec");
    reply_map(o, 3);
    reply_bulk_cstr(o, "lastkey");
    reply_int(o, s->last < 0 ? s->last : s->last - s->first);
    reply_bulk_cstr(o, "keystep");
    reply_int(o, s->step);
    reply_bulk_cstr(o, "limit");
    reply_int(o, 0);
}

static void reply_command(struct out *o, const struct cmd *cmd) {
    if (cmd == NULL) {
        reply_null(o);
        return;
    }
    int first = 0, last = 0, step = 0;
    for (int i = 0; i < cmd->spec_count; i++) {
        const struct key_spec *s = &cmd->specs[i];
        first = i == 0 ? s->first : first;
        last = s->last < 0 || (last >= 0 && s->last > last) ? s->last : last;
        step = s->step > step ? s->step : step;
    }
    reply_array(o, 10);
    reply_bulk_cstr(o, cmd->full_name);
    reply_int(o, cmd->arity);
    reply_flags(o, cmd);
    reply_int(o, first);
    reply_int(o, last);
    reply_int(o, step);
    reply_categories(o, cmd);
    reply_tips(o, cmd);
    reply_set(o, cmd->spec_count);
    for (int i = 0; i < cmd->spec_count; i++) {
        reply_spec(o, &cmd->specs[i]);
    }
    reply_set(o, cmd->sub_count);
    for (unsigned i = 0; i < cmd->sub_count; i++) {
        reply_command(o, &cmd->subs[i]);
    }
}

static enum err command_run(struct call *c) {
    reply_array(c->out, registry_top_count());
    for (unsigned i = 0; i < registry_top_count(); i++) {
        reply_command(c->out, registry_top(i));
    }
    return OK;
}

static enum err count_run(struct call *c) {
    reply_int(c->out, registry_top_count());
    return OK;
}

static enum err info_run(struct call *c) {
    if (c->argc == 2) {
        return command_run(c);
    }
    reply_array(c->out, c->argc - 2);
    for (int i = 2; i < c->argc; i++) {
        reply_command(c->out, registry_find_full(c->argv[i]));
    }
    return OK;
}

/* ---- DOCS ---- */

static void reply_docs(struct out *o, const struct cmd *cmd) {
    const struct command *row = cmd->row;
    const struct family *family = family_at(cmd->family);
    struct reply_deferred d = reply_defer(o, '%');
    int64_t n = 4;
    reply_bulk_cstr(o, "summary");
    reply_bulk_cstr(o, row->summary);
    reply_bulk_cstr(o, "since");
    reply_bulk_cstr(o, row->since != NULL ? row->since : "1.0.0");
    reply_bulk_cstr(o, "group");
    reply_bulk_cstr(o, row->group != NULL ? row->group : family->group);
    reply_bulk_cstr(o, "complexity");
    reply_bulk_cstr(o, row->cost != NULL ? row->cost : "");
    if (row->deprecated_since != NULL) {
        reply_bulk_cstr(o, "doc_flags");
        reply_set(o, 1);
        reply_status(o, "deprecated");
        reply_bulk_cstr(o, "deprecated_since");
        reply_bulk_cstr(o, row->deprecated_since);
        reply_bulk_cstr(o, "replaced_by");
        reply_bulk_cstr(o, row->replaced_by);
        n += 3;
    }
    if (row->sub == NULL && row->syntax[0] != '\0') {
        reply_bulk_cstr(o, "arguments");
        syntax_reply(o, row->syntax);
        n++;
    }
    if (cmd->sub_count > 0) {
        reply_bulk_cstr(o, "subcommands");
        reply_map(o, cmd->sub_count);
        for (unsigned i = 0; i < cmd->sub_count; i++) {
            reply_bulk_cstr(o, cmd->subs[i].full_name);
            reply_docs(o, &cmd->subs[i]);
        }
        n++;
    }
    reply_defer_end(o, d, n);
}

static enum err docs_run(struct call *c) {
    struct reply_deferred d = reply_defer(c->out, '%');
    int64_t n = 0;
    for (unsigned i = 0; c->argc == 2 && i < registry_top_count(); i++, n++) {
        reply_bulk_cstr(c->out, registry_top(i)->full_name);
        reply_docs(c->out, registry_top(i));
    }
    for (int i = 2; i < c->argc; i++) {
        const struct cmd *cmd = registry_find_full(c->argv[i]);
        if (cmd != NULL) {
            reply_bulk_cstr(c->out, cmd->full_name);
            reply_docs(c->out, cmd);
            n++;
        }
    }
    reply_defer_end(c->out, d, n);
    return OK;
}

/* ---- LIST ---- */

static bool listed(const struct call *c, const struct cmd *cmd) {
    if (c->argc == 2) {
        return true;
    }
    if (arg_is(c, 3, "aclcat")) {
        enum category wanted = category_find(c->argv[4]);
        return wanted != CATEGORY_NONE && cmd_in_category(cmd, wanted);
    }
    return arg_is(c, 3, "pattern") && glob_match(c->argv[4], slice_cstr(cmd->full_name), true);
}

static enum err list_run(struct call *c) {
    bool filtered = c->argc == 5 && arg_is(c, 2, "filterby");
    if (c->argc != 2 && (!filtered || !(arg_is(c, 3, "aclcat") || arg_is(c, 3, "pattern") || arg_is(c, 3, "module")))) {
        return ERR_SYNTAX;
    }
    struct reply_deferred d = reply_defer(c->out, '~');
    int64_t n = 0;
    for (unsigned i = 0; i < registry_count(); i++) {
        if (listed(c, registry_at(i))) {
            reply_bulk_cstr(c->out, registry_at(i)->full_name);
            n++;
        }
    }
    reply_defer_end(c->out, d, n);
    return OK;
}

/* ---- GETKEYS ---- */

static enum err getkeys(struct call *c, bool with_flags) {
    const struct slice *argv = c->argv + 2;
    int argc = c->argc - 2;
    const struct cmd *cmd = registry_find(argv[0]);
    if (cmd != NULL && cmd->sub_count > 0 && argc > 1) {
        cmd = registry_find_sub(cmd, argv[1]);
    }
    if (cmd == NULL) {
        return call_errorf(c, "ERR Invalid command specified");
    }
    if (cmd->spec_count == 0) {
        return call_errorf(c, "ERR The command has no key arguments");
    }
    if (cmd->arity > 0 ? argc != cmd->arity : argc < -cmd->arity) {
        return call_errorf(c, "ERR Invalid number of arguments specified for command");
    }
    int n = cmd_keys(cmd, argv, argc, NULL, NULL, 0);
    if (n < 0) {
        return call_errorf(c, "ERR Invalid arguments specified for command");
    }
    int *pos = arena_alloc(c->arena, (size_t)n * sizeof(*pos) + 1);
    enum key_access *access = arena_alloc(c->arena, (size_t)n * sizeof(*access) + 1);
    cmd_keys(cmd, argv, argc, pos, access, n);
    reply_array(c->out, n);
    for (int i = 0; i < n; i++) {
        if (with_flags) {
            reply_array(c->out, 2);
        }
        reply_bulk(c->out, argv[pos[i]]);
        int k = 0;
        while (k < 4 && access_flags[access[i]][k] != NULL) {
            k++;
        }
        if (with_flags) {
            reply_set(c->out, k);
        }
        for (int f = 0; with_flags && f < k; f++) {
            reply_status(c->out, access_flags[access[i]][f]);
        }
    }
    return OK;
}

static enum err getkeys_run(struct call *c) {
    return getkeys(c, false);
}

static enum err getkeysandflags_run(struct call *c) {
    return getkeys(c, true);
}

static enum err help_run(struct call *c) {
    static const char *const lines[] = {"(no subcommand)", "    Return details about all commands.",
                                        "COUNT", "    Return the total number of commands in this server.",
                                        "LIST", "    Return a list of all commands in this server.",
                                        "INFO [<command-name> ...]", "    Return details about multiple commands.",
                                        "    If no command names are given, documentation details for all",
                                        "    commands are returned.",
                                        "DOCS [<command-name> ...]", "    Return documentation details about multiple commands.",
                                        "    If no command names are given, documentation details for all",
                                        "    commands are returned.",
                                        "GETKEYS <full-command>", "    Return the keys from a full command.",
                                        "GETKEYSANDFLAGS <full-command>", "    Return the keys and the access flags from a full command.", NULL};
    return call_reply_help(c, lines);
}

#define SUB (CMD_LOADING | CMD_STALE | CMD_CONNECTION)
#define ROW(nm, args, n, fn, ver, text, hint) \
    {.name = nm, .syntax = args, .arity = n, .flags = SUB, .run = fn, .since = ver, .cost = "O(N) for N commands", .summary = text, .tips = hint}
#define ANY_ORDER "nondeterministic_output_order"

static const struct command command_subs[] = {
    ROW("count", "", 2, count_run, "2.8.13", "Counts the commands.", NULL),
    ROW("docs", "[command-name [command-name ...]]", -2, docs_run, "7.0.0", "Returns documentation of commands.", ANY_ORDER),
    ROW("getkeys", "command [arg [arg ...]]", -3, getkeys_run, "2.8.13", "Returns which arguments of a call are keys.", NULL),
    ROW("getkeysandflags", "command [arg [arg ...]]", -3, getkeysandflags_run, "7.0.0", "Returns the keys of a call and how they are used.", NULL),
    ROW("help", "", 2, help_run, "5.0.0", "Lists the subcommands.", NULL),
    ROW("info", "[command-name [command-name ...]]", -2, info_run, "2.8.13", "Returns facts about commands.", ANY_ORDER),
    ROW("list", "[FILTERBY MODULE module-name | ACLCAT category | PATTERN pattern]", -2, list_run, "7.0.0", "Returns the names of commands.", ANY_ORDER),
    {0}};

const struct command command_commands[] = {
    {.name = "command", .syntax = "", .arity = -1, .sub = command_subs, .flags = CMD_LOADING | CMD_STALE | CMD_CONNECTION,
     .run = command_run, .since = "2.8.13", .cost = "O(N) for N commands", .summary = "Returns facts about all commands.", .tips = ANY_ORDER},
    {0}};
