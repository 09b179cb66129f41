/* SPDX-License-Identifier: BSD-3-Clause */
/* memory: MEMORY: what the bytes of the process are for. */
#include "src/cmd/observe.h"

#include "src/base/mem.h"
#include "src/cmd/call.h"

#define LOAD(field) atomic_load_explicit(&c->host->field, memory_order_relaxed)

static enum err memory_usage_run(struct call *c) {
    struct item_info info;
    int64_t samples;
    for (int i = 3; i < c->argc; i++) {
        if (!arg_is(c, i, "samples") || i + 1 >= c->argc) {
            return ERR_SYNTAX;
        }
        if (arg_i64(c, ++i, &samples) != OK) {
            return ERR_NOT_INT;
        }
        if (samples < 0) {
            return ERR_SYNTAX;
        }
    }
    if (l1_info(c->l1, &c->keys[0], c->now_ms, &info)) {
        reply_int(c->out, (int64_t)info.bytes);
    } else {
        reply_null(c->out);
    }
    return OK;
}

/* ---- STATS ---- */

/* All that the rows are made from, read once. */
struct figures {
    struct l1_stats l1;
    struct host_memory beside;
    uint64_t keys, limit, rss, used, peak, clients, allocated, active, resident;
    uint64_t dataset, overhead; /* values and keys; all else that is known */
};

static void read_figures(struct call *c, struct figures *f) {
    *f = (struct figures){.keys = l1_keys(c->l1),
                          .limit = atomic_load_explicit(&c->l1->limit_bytes, memory_order_relaxed),
                          .rss = LOAD(rss_bytes),
                          .used = LOAD(used_bytes),
                          .peak = LOAD(used_peak_bytes),
                          .clients = LOAD(client_bytes),
                          .allocated = mem_allocated_bytes(),
                          .active = mem_active_bytes(),
                          .resident = mem_resident_bytes()};
    l1_stats_read(c->l1, &f->l1);
    c->host->ops->memory(c->host, &f->beside);
    f->dataset = f->l1.live_bytes + f->l1.heap_bytes;
    f->overhead = f->used > f->dataset ? f->used - f->dataset : 0;
}

static uint64_t less(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

static double share(uint64_t part, uint64_t whole, double otherwise) {
    return whole > 0 ? (double)part / (double)whole : otherwise;
}

struct row {
    const char *name;
    bool real; /* a ratio or percentage: it is in ratio */
    uint64_t value;
    double ratio;
};

#define BYTES(text, v) {.name = text, .value = (v)}
#define RATIO(text, v) {.name = text, .real = true, .ratio = (v)}

/* Redis's fields by its names and in its order; those that begin with a part of this server are ours. What it does not have is 0. */
static enum err memory_stats_run(struct call *c) {
    struct figures f;
    read_figures(c, &f);
    uint64_t mapped = f.resident + f.l1.chunk_resident_bytes;
    const struct row rows[] = {
        BYTES("peak.allocated", f.peak),
        BYTES("total.allocated", f.used),
        BYTES("startup.allocated", f.beside.startup),
        BYTES("replication.backlog", 0),
        BYTES("clients.slaves", 0),
        BYTES("clients.normal", f.clients),
        BYTES("aof.buffer", 0),
        BYTES("lua.caches", 0),
        BYTES("functions.caches", 0),
        BYTES("overhead.total", f.overhead),
        BYTES("keys.count", f.keys),
        BYTES("keys.bytes-per-key", f.keys > 0 ? (f.dataset + f.l1.table_bytes) / f.keys : 0),
        BYTES("dataset.bytes", f.dataset),
        RATIO("dataset.percentage", 100 * share(f.dataset, less(f.used, f.beside.startup), 0)),
        RATIO("peak.percentage", 100 * share(f.used, f.peak, 1)),
        BYTES("allocator.allocated", f.allocated),
        BYTES("allocator.active", f.active),
        BYTES("allocator.resident", f.resident),
        RATIO("allocator-fragmentation.ratio", share(f.active, f.allocated, 1)),
        BYTES("allocator-fragmentation.bytes", less(f.active, f.allocated)),
        RATIO("allocator-rss.ratio", share(f.resident, f.active, 1)),
        BYTES("allocator-rss.bytes", less(f.resident, f.active)),
        RATIO("rss-overhead.ratio", share(f.rss, mapped, 1)),
        BYTES("rss-overhead.bytes", less(f.rss, mapped)),
        RATIO("fragmentation", share(f.rss, f.used, 1)),
        BYTES("fragmentation.bytes", less(f.rss, f.used)),
        BYTES("l1.bytes", l1_bytes(c->l1)),
        BYTES("l1.limit-bytes", f.limit),
        BYTES("l1.live-bytes", f.l1.live_bytes),
        BYTES("l1.heap-bytes", f.l1.heap_bytes),
        BYTES("l1.table-bytes", f.l1.table_bytes),
        BYTES("l1.policy-bytes", f.l1.policy_bytes),
        BYTES("l1.chunk-bytes", f.l1.chunk_bytes),
        BYTES("l1.chunk-free-bytes", less(f.l1.chunk_bytes, f.l1.live_bytes + f.l1.table_bytes)),
        BYTES("l2.memory-bytes", f.beside.disk),
        BYTES("guards.bytes", f.beside.guards),
        BYTES("sight.bytes", f.beside.sight),
    };
    size_t n = sizeof(rows) / sizeof(rows[0]);
    reply_map(c->out, (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        reply_bulk_cstr(c->out, rows[i].name);
        if (rows[i].real) {
            reply_double(c->out, rows[i].ratio);
        } else {
            reply_int(c->out, (int64_t)rows[i].value);
        }
    }
    return OK;
}

/* ---- DOCTOR ---- */

/* What to do about an alarm. Alarms that are not of memory are not told here: INFO health. */
static const struct {
    const char *alarm, *advice;
} advices[] = {
    {"rss", "Look at MEMORY STATS: when l1.bytes is below its limit, something else is large: clients.normal (maxmemory-clients bounds it), l2.memory-bytes "
            "(l2-cache-size, l2-write-buffer), or fragmentation."},
    {"growth", "health_unexplained_bytes in INFO health is what grows. DEBUG PROFILE HEAP says who allocates it."},
    {"fragmentation", "It comes after values have changed their sizes, or many were deleted at once. MEMORY PURGE does now what is done once a minute."},
    {"stall", "Writes to the disk wait, and their values wait in memory: the disk is too slow for them, or l2-write-rate is too large for it."},
};

struct diagnosis {
    struct buf text;
    unsigned found;
};

static void tell_alarm(void *ctx, const char *name, const char *doc) {
    struct diagnosis *d = ctx;
    for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++) {
        if (strcmp(advices[i].alarm, name) == 0) {
            buf_printf(&d->text, " * %s: %s %s\n", name, doc, advices[i].advice);
            d->found++;
        }
    }
}

/* What no alarm watches. */
static void tell_figures(const struct call *c, const struct figures *f, struct diagnosis *d) {
    uint64_t maxmemory = (uint64_t)c->conf->maxmemory;
    if (maxmemory > 0 && f->rss > maxmemory) {
        buf_printf(&d->text, " * maxmemory: %llu bytes are resident, maxmemory is %llu: keys are evicted until it fits.\n", (unsigned long long)f->rss,
                   (unsigned long long)maxmemory);
        d->found++;
    }
    if (f->clients > f->used / 4) {
        buf_printf(&d->text, " * clients: their buffers hold %llu bytes of %llu in use. CLIENT LIST shows whose; maxmemory-clients bounds them.\n",
                   (unsigned long long)f->clients, (unsigned long long)f->used);
        d->found++;
    }
    if (f->keys >= 100 && f->used > 0 && f->rss > f->used + f->used / 2) {
        buf_printf(&d->text, " * fragmentation: %llu bytes are resident for %llu in use: MEMORY PURGE may return some.\n", (unsigned long long)f->rss,
                   (unsigned long long)f->used);
        d->found++;
    }
}

static enum err memory_doctor_run(struct call *c) {
    struct diagnosis d = {0};
    struct figures f;
    struct buf b = {0};
    read_figures(c, &f);
    c->host->ops->alarms(c->host, tell_alarm, &d);
    tell_figures(c, &f, &d);
    if (d.found > 0) {
        buf_printf(&b, "%u thing%s to look at:\n\n%.*s", d.found, d.found == 1 ? "" : "s", (int)d.text.n, d.text.p);
    } else if (f.keys < 100) {
        buf_puts(&b, "Next to nothing is stored: there is nothing to say yet.");
    } else {
        buf_puts(&b, "Memory looks well.");
    }
    reply_verbatim(c->out, "txt", buf_slice(&b));
    buf_free(&d.text);
    buf_free(&b);
    return OK;
}

/* ---- the rest ---- */

static enum err memory_purge_run(struct call *c) {
    mem_purge();
    reply_ok(c->out);
    return OK;
}

static enum err memory_malloc_stats_run(struct call *c) {
    struct buf b = {0};
    buf_printf(&b, "allocator %s\nallocated %zu\nresident %zu\n", mem_allocator_name(), mem_allocated_bytes(), mem_resident_bytes());
    reply_verbatim(c->out, "txt", buf_slice(&b));
    buf_free(&b);
    return OK;
}

static enum err memory_help_run(struct call *c) {
    static const char *const lines[] = {"DOCTOR", "    Return memory problems reports.",
                                        "MALLOC-STATS", "    Return internal statistics report from the memory allocator.",
                                        "PURGE", "    Attempt to purge dirty pages for reclamation by the allocator.",
                                        "STATS", "    Return information about the memory usage of the server.",
                                        "USAGE <key> [SAMPLES <count>]", "    Return memory in bytes used by <key> and its value.", NULL};
    return call_reply_help(c, lines);
}

#define SHARDS "nondeterministic_output,request_policy:all_shards,response_policy:special"

const struct command memory_subs[] = {
    {.name = "doctor", .syntax = "", .arity = 2, .flags = 0, .run = memory_doctor_run, .since = "4.0.0", .cost = "O(1)", .summary = "Says what the figures mean.", .tips = SHARDS},
    {.name = "help", .syntax = "", .arity = 2, .flags = CMD_LOADING | CMD_STALE, .run = memory_help_run, .since = "4.0.0", .cost = "O(1)", .summary = "Lists the subcommands."},
    {.name = "malloc-stats", .syntax = "", .arity = 2, .flags = 0, .run = memory_malloc_stats_run, .since = "4.0.0", .cost = "O(1)", .summary = "Returns the allocator's figures.", .tips = SHARDS},
    {.name = "purge", .syntax = "", .arity = 2, .flags = 0, .run = memory_purge_run, .since = "4.0.0", .cost = "O(1)", .summary = "Returns unused pages to the system.", .tips = "request_policy:all_shards,response_policy:all_succeeded"},
    {.name = "stats", .syntax = "", .arity = 2, .flags = 0, .run = memory_stats_run, .since = "4.0.0", .cost = "O(1)", .summary = "Returns what memory is used for.", .tips = SHARDS},
    {.name = "usage", .syntax = "key [SAMPLES count]", .arity = -3, .keys = "2:R", .flags = CMD_READONLY, .run = memory_usage_run, .since = "4.0.0", .cost = "O(1)", .summary = "Returns the bytes a key and its value take."},
    {0}};
