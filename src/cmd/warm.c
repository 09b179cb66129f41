/* SPDX-License-Identifier: BSD-3-Clause */
/* warm: WARM and IMPORT: work in the background that fills the cache; what they do is the server's. */
#include "src/cmd/call.h"

enum { MAX_RATE = 10000000 };

/* RATE n at the end: from argument i on there is nothing else. */
static enum err get_rate(struct call *c, int i, int64_t *rate) {
    *rate = 0;
    if (i == c->argc) {
        return OK;
    }
    if (i + 2 != c->argc || !arg_is(c, i, "rate")) {
        return ERR_SYNTAX;
    }
    if (arg_i64(c, i + 1, rate) != OK) {
        return ERR_NOT_INT;
    }
    return *rate < 1 || *rate > MAX_RATE ? call_errorf(c, "ERR RATE is 1 to %d keys a second", MAX_RATE) : OK;
}

/* The job's lines of INFO as a map, without the prefix of their names. */
static enum err reply_status_map(struct call *c, enum host_job job) {
    struct buf b = {0};
    c->host->ops->job_info(c->host, job, &b);
    struct reply_deferred d = reply_defer(c->out, '%');
    int64_t pairs = 0;
    const char *end = b.n > 0 ? b.p + b.n : b.p;
    for (const char *p = b.p, *stop; p != end; p = stop + 2, pairs++) {
        const char *name = (const char *)memchr(p, '_', (size_t)(end - p)) + 1, *colon = memchr(name, ':', (size_t)(end - name));
        stop = memchr(colon, '\r', (size_t)(end - colon));
        reply_bulk(c->out, slice_make(name, (size_t)(colon - name)));
        reply_bulk(c->out, slice_make(colon + 1, (size_t)(stop - colon - 1)));
    }
    reply_defer_end(c->out, d, pairs);
    buf_free(&b);
    return OK;
}

static enum err cancel(struct call *c, enum host_job job) {
    if (!c->host->ops->cancel_job(c->host, job)) {
        return call_errorf(c, job == JOB_WARM ? "ERR no warm-up is under way" : "ERR no import is under way");
    }
    reply_ok(c->out);
    return OK;
}

/* ---- WARM ---- */

static enum err warm_keys_run(struct call *c) {
    return c->host->ops->warm(c, &(struct warm_order){.kind = WARM_KEYS, .text = SLICE(""), .keys = c->argv + 2, .n = c->argc - 2});
}

static enum err warm_named_run(struct call *c, enum warm_kind kind) {
    struct warm_order order = {.kind = kind, .text = c->argv[2]};
    enum err e = get_rate(c, 3, &order.rate);
    return e != OK ? e : c->host->ops->warm(c, &order);
}

static enum err warm_pattern_run(struct call *c) {
    return warm_named_run(c, WARM_PATTERN);
}

static enum err warm_file_run(struct call *c) {
    return warm_named_run(c, WARM_FILE);
}

static enum err warm_status_run(struct call *c) {
    return reply_status_map(c, JOB_WARM);
}

static enum err warm_cancel_run(struct call *c) {
    return cancel(c, JOB_WARM);
}

static enum err warm_help_run(struct call *c) {
    static const char *const lines[] = {
        "KEYS <key> [<key> ...]", "    Bring keys to memory from disk or from the origin of their policy, in the background.",
        "PATTERN <pattern> [RATE <keys-per-second>]", "    Bring the keys on disk that match <pattern>.",
        "FILE <path> [RATE <keys-per-second>]", "    Bring the keys named in a file under `dir`, one in a line.",
        "STATUS", "    Return how far it is, or how the last one ended.",
        "CANCEL", "    End it.", NULL};
    return call_reply_help(c, lines);
}

/* ---- IMPORT ---- */

static enum err import_help(struct call *c) {
    static const char *const lines[] = {
        "<path> [REPLACE] [RATE <keys-per-second>]", "    Take in the keys of an RDB file under `dir`, in the background.",
        "redis://[[user]:password@]host[:port][/db] [REPLACE] [RATE <keys-per-second>]", "    Take in the keys of a live Redis: of all its databases, or of one.",
        "STATUS", "    Return how far it is, or how the last one ended.",
        "CANCEL", "    End it; what is in stays.", NULL};
    return call_reply_help(c, lines);
}

static enum err import_run(struct call *c) {
    if (c->argc == 2 && arg_is(c, 1, "status")) {
        return reply_status_map(c, JOB_IMPORT);
    }
    if (c->argc == 2 && arg_is(c, 1, "cancel")) {
        return cancel(c, JOB_IMPORT);
    }
    if (c->argc == 2 && arg_is(c, 1, "help")) {
        return import_help(c);
    }
    struct import_order order = {.from = c->argv[1], .replace = arg_is(c, 2, "replace")};
    enum err e = get_rate(c, 2 + order.replace, &order.rate);
    return e != OK ? e : c->host->ops->import(c, &order);
}

#define ADM (CMD_ADMIN | CMD_NOSCRIPT | CMD_DANGEROUS)

static const struct command warm_subs[] = {
    {.name = "cancel", .syntax = "", .arity = 2, .flags = ADM, .run = warm_cancel_run, .since = "7.2.0", .cost = "O(1)", .summary = "Ends the warm-up under way."},
    {.name = "file", .syntax = "path [RATE keys-per-second]", .arity = -3, .flags = ADM, .run = warm_file_run, .since = "7.2.0", .cost = "O(1), and O(N) in the background", .summary = "Brings the keys named in a file to memory."},
    {.name = "help", .syntax = "", .arity = 2, .flags = CMD_LOADING | CMD_STALE, .run = warm_help_run, .since = "7.2.0", .cost = "O(1)", .summary = "Lists the subcommands."},
    {.name = "keys", .syntax = "key [key ...]", .arity = -3, .flags = ADM, .run = warm_keys_run, .since = "7.2.0", .cost = "O(N), and O(N) in the background", .summary = "Brings keys to memory."},
    {.name = "pattern", .syntax = "pattern [RATE keys-per-second]", .arity = -3, .flags = ADM, .run = warm_pattern_run, .since = "7.2.0", .cost = "O(1), and O(N) in the background for N keys on disk", .summary = "Brings the keys on disk that match a pattern to memory."},
    {.name = "status", .syntax = "", .arity = 2, .flags = ADM, .run = warm_status_run, .since = "7.2.0", .cost = "O(1)", .summary = "Tells how far the warm-up is."},
    {0}};

const struct command warm_commands[] = {
    {.name = "warm", .syntax = "subcommand [argument ...]", .arity = -2, .sub = warm_subs, .flags = 0, .since = "7.2.0",
     .cost = "Depends on the subcommand.", .summary = "Brings keys to memory from slower tiers."},
    {.name = "import", .syntax = "path | url | STATUS | CANCEL | HELP [REPLACE] [RATE keys-per-second]", .arity = -2, .flags = ADM | CMD_SKIP_SLOWLOG, .run = import_run,
     .since = "7.2.0", .cost = "O(1), and O(N) in the background for N keys", .summary = "Takes in the keys of an RDB file or of a live Redis."},
    {0}};
