/* SPDX-License-Identifier: BSD-3-Clause */
/* server: commands about the server and its whole keyspace. */
#include <stdio.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/cmd/conn.h"
#include "src/cmd/observe.h"
#include "src/tier/tier.h"

static enum err dbsize_run(struct call *c) {
    reply_int(c->out, (int64_t)tier_keys(c->host->tier, c->db));
    return OK;
}

/* ASYNC and SYNC mean the same here: a flush is one step, the memory comes back behind it. */
static enum err check_flush_mode(struct call *c) {
    bool ok = c->argc == 1 || (c->argc == 2 && (arg_is(c, 1, "async") || arg_is(c, 1, "sync")));
    return ok ? OK : ERR_SYNTAX;
}

static enum err remapped(struct call *c) {
    c->remapped = true;
    c->changed++;
    reply_ok(c->out);
    return OK;
}

static enum err flush(struct call *c, bool all) {
    enum err e = check_flush_mode(c);
    if (e != OK) {
        return e;
    }
    int db = all ? -1 : atomic_load_explicit(&c->client->db, memory_order_relaxed);
    bool done = tier_flush(c->host->tier, db);
    if (!done) {
        return call_errorf(c, "ERR flushed databases are still being swept, try again");
    }
    return remapped(c);
}

static enum err flushdb_run(struct call *c) {
    return flush(c, false);
}

static enum err flushall_run(struct call *c) {
    return flush(c, true);
}

static enum err swapdb_run(struct call *c) {
    int64_t a, b;
    if (!num_parse_i64(c->argv[1], &a)) {
        return call_errorf(c, "ERR invalid first DB index");
    }
    if (!num_parse_i64(c->argv[2], &b)) {
        return call_errorf(c, "ERR invalid second DB index");
    }
    if (a < 0 || b < 0 || a >= c->conf->databases || b >= c->conf->databases) {
        return ERR_DB_INDEX;
    }
    tier_swap_db(c->host->tier, (unsigned)a, (unsigned)b);
    return remapped(c);
}

static enum err time_run(struct call *c) {
    int64_t us = clock_now_us();
    reply_array(c->out, 2);
    reply_bulk_int(c->out, us / 1000000);
    reply_bulk_int(c->out, us % 1000000);
    return OK;
}

static enum err role_run(struct call *c) {
    reply_array(c->out, 3);
    reply_bulk_cstr(c->out, "master");
    reply_int(c->out, 0);
    reply_array(c->out, 0);
    return OK;
}

static enum err lastsave_run(struct call *c) {
    reply_int(c->out, atomic_load_explicit(&c->host->last_save_s, memory_order_relaxed));
    return OK;
}

static enum err save_run(struct call *c) {
    return c->host->ops->save(c, false);
}

static enum err bgsave_run(struct call *c) {
    if (c->argc > 2 || (c->argc == 2 && !arg_is(c, 1, "schedule"))) {
        return ERR_SYNTAX;
    }
    return c->host->ops->save(c, true);
}

static enum err shutdown_run(struct call *c) {
    static const char *const words[] = {"nosave", "save", "now", "force", "abort"};
    unsigned flags = 0;
    for (int i = 1; i < c->argc; i++) {
        unsigned bit = 0;
        for (unsigned w = 0; w < 5; w++) {
            bit |= arg_is(c, i, words[w]) ? 1u << w : 0;
        }
        if (bit == 0) {
            return ERR_SYNTAX;
        }
        flags |= bit;
    }
    if ((flags & 3) == 3 || ((flags & 16) && flags != 16)) {
        return ERR_SYNTAX;
    }
    return c->host->ops->shutdown(c, flags);
}

static enum err monitor_run(struct call *c) {
    if (c->in_exec) {
        return call_errorf(c, "ERR MONITOR isn't allowed for DENY BLOCKING client");
    }
    c->host->ops->monitor(c);
    reply_ok(c->out);
    return OK;
}

static enum err lolwut_run(struct call *c) {
    static const char *const layers[] = {"memory", "disk", "peers", "origin"};
    int64_t version;
    if (c->argc > 2 && arg_is(c, 1, "version") && arg_i64(c, 2, &version) != OK) {
        return ERR_NOT_INT; /* any version draws the same */
    }
    struct buf b = {0};
    for (int i = 0; i < 4; i++) {
        buf_printf(&b, "%*s%.*s %s\n", 6 - 2 * i, "", 8 + 4 * i, "~~~~~~~~~~~~~~~~~~~~~~~~", layers[i]);
    }
    buf_puts(&b, "\nRedis ver. " REDIS_VERSION "\n");
    reply_verbatim(c->out, "txt", buf_slice(&b));
    buf_free(&b);
    return OK;
}

#define ADM (CMD_ADMIN | CMD_NOSCRIPT | CMD_DANGEROUS)

const struct command server_commands[] = {
    {.name = "bgsave", .syntax = "[SCHEDULE]", .arity = -1, .flags = ADM | CMD_NO_ASYNC_LOADING, .run = bgsave_run, .since = "1.0.0",
     .cost = "O(1)", .summary = "Begins writing the RDB file in the background."},
    {.name = "dbsize", .syntax = "", .arity = 1, .flags = CMD_READONLY | CMD_FAST | CMD_KEYSPACE, .run = dbsize_run, .spread = SPREAD_SUM, .since = "1.0.0",
     .cost = "O(1)", .summary = "Counts the keys of the database.", .tips = "request_policy:all_shards,response_policy:agg_sum"},
    {.name = "flushall", .syntax = "[ASYNC | SYNC]", .arity = -1, .flags = CMD_WRITE | CMD_KEYSPACE | CMD_DANGEROUS | CMD_ALL_SHARDS | CMD_REPEATABLE,
     .run = flushall_run, .spread = SPREAD_FIRST, .since = "1.0.0", .cost = "O(1); memory comes back in slices", .summary = "Removes all keys of all databases.", .tips = "request_policy:all_shards,response_policy:all_succeeded"},
    {.name = "flushdb", .syntax = "[ASYNC | SYNC]", .arity = -1, .flags = CMD_WRITE | CMD_KEYSPACE | CMD_DANGEROUS | CMD_ALL_SHARDS | CMD_REPEATABLE,
     .run = flushdb_run, .spread = SPREAD_FIRST, .since = "1.0.0", .cost = "O(1); memory comes back in slices", .summary = "Removes all keys of the database.", .tips = "request_policy:all_shards,response_policy:all_succeeded"},
    {.name = "lastsave", .syntax = "", .arity = 1, .flags = CMD_LOADING | CMD_STALE | CMD_FAST | CMD_DANGEROUS | CMD_ADMIN_CATEGORY, .run = lastsave_run,
     .since = "1.0.0", .cost = "O(1)", .summary = "Tells when the RDB file was last written.", .tips = "nondeterministic_output"},
    {.name = "latency", .syntax = "subcommand [argument ...]", .arity = -2, .sub = latency_subs, .flags = 0, .since = "2.8.13",
     .cost = "Depends on the subcommand.", .summary = "Tells about slow moments."},
    {.name = "lolwut", .syntax = "[VERSION version]", .arity = -1, .flags = CMD_READONLY | CMD_FAST, .run = lolwut_run, .since = "5.0.0",
     .cost = "O(1)", .summary = "Draws something and tells the version."},
    {.name = "memory", .syntax = "subcommand [argument ...]", .arity = -2, .sub = memory_subs, .flags = 0, .since = "4.0.0",
     .cost = "Depends on the subcommand.", .summary = "Tells about memory."},
    {.name = "monitor", .syntax = "", .arity = 1, .flags = ADM | CMD_LOADING | CMD_STALE, .run = monitor_run, .since = "1.0.0",
     .cost = "O(1), and a line for every call from then on", .summary = "Shows every call as it is made."},
    {.name = "role", .syntax = "", .arity = 1, .flags = CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_DANGEROUS | CMD_ADMIN_CATEGORY, .run = role_run,
     .since = "2.8.12", .cost = "O(1)", .summary = "Tells the part in replication: a master without replicas."},
    {.name = "save", .syntax = "", .arity = 1, .flags = ADM | CMD_NO_ASYNC_LOADING | CMD_NO_MULTI, .run = save_run, .since = "1.0.0",
     .cost = "O(N) for all keys, in slices", .summary = "Writes the RDB file and answers when it is written."},
    {.name = "shutdown", .syntax = "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", .arity = -1,
     .flags = ADM | CMD_LOADING | CMD_STALE | CMD_NO_MULTI | CMD_ALLOW_BUSY, .run = shutdown_run, .since = "1.0.0", .cost = "O(1) without a save",
     .summary = "Stops the server in good order."},
    {.name = "slowlog", .syntax = "subcommand [argument ...]", .arity = -2, .sub = slowlog_subs, .flags = 0, .since = "2.2.12",
     .cost = "Depends on the subcommand.", .summary = "Tells about slow calls."},
    {.name = "swapdb", .syntax = "index1 index2", .arity = 3, .flags = CMD_WRITE | CMD_FAST | CMD_KEYSPACE | CMD_DANGEROUS | CMD_ALL_SHARDS,
     .run = swapdb_run, .spread = SPREAD_FIRST, .since = "4.0.0", .cost = "O(1)", .summary = "Exchanges two databases."},
    {.name = "time", .syntax = "", .arity = 1, .flags = CMD_LOADING | CMD_STALE | CMD_FAST, .run = time_run, .since = "2.6.0",
     .cost = "O(1)", .summary = "Returns the server's time.", .tips = "nondeterministic_output"},
    {0}};
