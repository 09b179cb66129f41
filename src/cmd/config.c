/* SPDX-License-Identifier: BSD-3-Clause */
/* config: the CONFIG command. */
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/stats/errors.h"

struct getting {
    struct out *o;
    int64_t n;
    struct slice *names; /* already replied: patterns may overlap */
    size_t seen;
};

static void reply_directive(void *ctx, const char *name, struct slice value) {
    struct getting *g = ctx;
    for (size_t i = 0; i < g->seen; i++) {
        if (slice_eq(g->names[i], slice_cstr(name))) {
            return;
        }
    }
    g->names[g->seen++] = slice_cstr(name);
    reply_bulk_cstr(g->o, name);
    reply_bulk(g->o, value);
    g->n++;
}

static enum err get_run(struct call *c) {
    enum { MOST = 1024 };
    struct getting g = {.o = c->out, .names = arena_alloc(c->arena, MOST * sizeof(struct slice))};
    struct conf *now = conf_store_current(c->host->conf_store); /* newer than this turn's, after a CONFIG SET */
    struct reply_deferred d = reply_defer(c->out, '%');
    for (int i = 2; i < c->argc; i++) {
        conf_each(now, c->argv[i], reply_directive, &g);
    }
    conf_unref(now);
    reply_defer_end(c->out, d, g.n);
    return OK;
}

static enum err set_run(struct call *c) {
    if (c->argc % 2 != 0) {
        return call_arity_error(c);
    }
    struct buf err = {0};
    bool ok = conf_store_set(c->host->conf_store, c->argv + 2, (c->argc - 2) / 2, &err);
    if (ok) {
        c->host->ops->conf_changed(c->host);
        reply_ok(c->out);
    } else {
        reply_error(c->out, buf_slice(&err));
    }
    buf_free(&err);
    return ok ? OK : ERR_REPLIED;
}

static enum err resetstat_run(struct call *c) {
    stats_reset(c->host->stats, c->host->loop_count);
    error_counts_reset(c->host->errors);
    reply_ok(c->out);
    return OK;
}

static enum err rewrite_run(struct call *c) {
    if (c->host->config_file[0] == '\0') {
        return call_errorf(c, "ERR The server is running without a config file");
    }
    struct buf err = {0};
    bool ok = conf_rewrite(c->host->conf_store, &err);
    enum err e = OK;
    if (ok) {
        reply_ok(c->out);
    } else {
        e = call_errorf(c, "ERR Rewriting config file: %.*s", (int)err.n, err.p);
    }
    buf_free(&err);
    return e;
}

static enum err help_run(struct call *c) {
    static const char *const lines[] = {"GET <pattern>", "    Return parameters matching the glob-like <pattern> and their values.",
                                        "SET <directive> <value>", "    Set the configuration <directive> to <value>.",
                                        "RESETSTAT", "    Reset statistics reported by the INFO command.",
                                        "REWRITE", "    Rewrite the configuration file.", NULL};
    return call_reply_help(c, lines);
}

#define ADM (CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_DANGEROUS)

static const struct command config_subs[] = {
    {.name = "get", .syntax = "parameter [parameter ...]", .arity = -3, .flags = ADM, .run = get_run, .since = "2.0.0", .cost = "O(N) for N patterns", .summary = "Returns directives that match patterns."},
    {.name = "help", .syntax = "", .arity = 2, .flags = CMD_LOADING | CMD_STALE, .run = help_run, .since = "5.0.0", .cost = "O(1)", .summary = "Lists the subcommands."},
    {.name = "resetstat", .syntax = "", .arity = 2, .flags = ADM, .run = resetstat_run, .since = "2.0.0", .cost = "O(1)", .summary = "Sets the counters to zero."},
    {.name = "rewrite", .syntax = "", .arity = 2, .flags = ADM, .run = rewrite_run, .since = "2.8.0", .cost = "O(1)", .summary = "Writes what was changed to the configuration file."},
    {.name = "set", .syntax = "parameter value [parameter value ...]", .arity = -4, .flags = ADM, .run = set_run, .since = "2.0.0", .cost = "O(N) for N directives", .summary = "Changes directives, all or none.", .tips = "request_policy:all_nodes,response_policy:all_succeeded"},
    {0}};

const struct command config_commands[] = {
    {.name = "config", .syntax = "subcommand [argument ...]", .arity = -2, .sub = config_subs, .flags = 0, .since = "2.0.0",
     .cost = "Depends on the subcommand.", .summary = "Reads and changes the configuration."},
    {0}};
