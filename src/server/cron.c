/* SPDX-License-Identifier: BSD-3-Clause */
/* cron: what the server does ten times a second on worker 0, four times while nothing happens: memory, rates, maintenance of the
 * memory tier, save points. */
#include <stdio.h>
#include <unistd.h>

#include "persist/disk.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/num.h"
#include "src/conf/conf.h"
#include "src/rt/loop.h"
#include "src/server/handover.h"
#include "src/server/purge_log.h"
#include "src/server/save.h"
#include "src/server/server.h"
#include "src/server/sight.h"
#include "src/server/warm.h"
#include "src/server/session.h"
#include "src/server/sighting.h"
#include "src/stats/latency.h"
#include "src/stats/stats.h"
#include "src/tier/write.h"

enum {
    SLICE_US = 500,
    LOOK_US = 95000, /* the timer's 100 ms, and what it may be early */
    ASK_US = 950000,
    SECOND_US = 950000,
    SOON_MS = 2,   /* when work is left */
    REST_MS = 250, /* when there was none, and nobody wrote or asked */
    MOVED_BYTES = 1 << 20,
    STEER_SHARE = 8,
    FALL_SHARE = 50
};

static size_t read_rss(void) {
    char text[128] = "";
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL) {
        return 0;
    }
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    unsigned long total = 0, resident = 0;
    return n > 0 && sscanf(text, "%lu %lu", &total, &resident) == 2
               ? resident * (size_t)sysconf(_SC_PAGESIZE)
               : 0;
}

static void raise_peak(_Atomic size_t *peak, size_t now) {
    if (now > atomic_load_explicit(peak, memory_order_relaxed)) {
        atomic_store_explicit(peak, now, memory_order_relaxed);
    }
}

/* maxmemory is for the whole process. What the process takes beside the tier's chunks and values leaves `room` for those. The limit
 * on the tier's live bytes is steered by what is over or under, slowly: evicting makes free blocks at once, but resident memory
 * follows only behind compaction and the allocator, so a limit set by the difference itself would empty the cache. */
static void steer_l1(struct server *srv, int64_t maxmemory, int64_t rss, const struct l1_stats *s) {
    struct l1 *l1 = srv->host.l1;
    if (maxmemory == 0) {
        l1_set_limit(l1, 0);
        srv->l1_limit = 0;
        return;
    }
    int64_t own_heap = (int64_t)(s->heap_bytes + s->policy_bytes), other_heap = (int64_t)mem_allocated_bytes() - own_heap;
    int64_t beside = rss - (int64_t)s->chunk_resident_bytes - (int64_t)mem_resident_bytes() + other_heap;
    if (srv->disk != NULL) { /* its queue and buffers come and go: memory must not breathe with them */
        size_t now, most;
        disk_memory(srv->disk, &now, &most);
        beside += most > now ? (int64_t)(most - now) : 0;
    }
    int64_t room = maxmemory - (beside > 0 ? beside : 0), floor = maxmemory / 4;
    room = room > floor ? room : floor;
    int64_t error = room - (int64_t)s->chunk_bytes - own_heap;
    if (rss > maxmemory) {
        int64_t over = maxmemory - rss;
        error = over < error ? over : error;
        l1_trim(l1, (size_t)(rss - maxmemory));
    }
    int64_t limit = (srv->l1_limit == 0 ? room : srv->l1_limit) + error / STEER_SHARE;
    limit = limit > room ? room : limit < room / 2 ? room / 2 : limit;
    int64_t least = srv->l1_limit - maxmemory / FALL_SHARE; /* a burst of evictions would flood the tier below */
    limit = limit < least ? least : limit;
    srv->l1_limit = limit;
    l1_set_limit(l1, (size_t)limit);
}

static bool differ(size_t a, size_t b) {
    return (a > b ? a - b : b - a) > MOVED_BYTES;
}

/* Asking the allocator walks all it has, which costs more than the rest of this file: each second, and when memory has moved. */
static void ask_allocator(struct server *srv, size_t rss, const struct l1_stats *s, int64_t now_us) {
    size_t held = s->heap_bytes + s->chunk_bytes;
    if (differ(rss, srv->asked.rss) || differ(held, srv->asked.held) || now_us - srv->asked.at_us >= ASK_US) {
        mem_refresh();
        srv->asked.rss = rss;
        srv->asked.held = held;
        srv->asked.at_us = now_us;
    }
}

static void watch_memory(struct server *srv, const struct conf *conf, int64_t now_us) {
    struct host *h = &srv->host;
    size_t rss = read_rss();
    struct l1_stats ls;
    l1_stats_read(h->l1, &ls);
    ask_allocator(srv, rss, &ls, now_us);
    size_t used = mem_allocated_bytes() + ls.chunk_bytes;
    atomic_store_explicit(&h->rss_bytes, rss, memory_order_relaxed);
    atomic_store_explicit(&h->used_bytes, used, memory_order_relaxed);
    raise_peak(&h->rss_peak_bytes, rss);
    raise_peak(&h->used_peak_bytes, used);
    steer_l1(srv, conf->maxmemory, (int64_t)rss, &ls);
}

static void sample_rates(struct server *srv, int64_t now_us) {
    struct host *h = &srv->host;
    int64_t span = now_us - srv->rates.at_us;
    if (span < 500000) {
        return;
    }
    uint64_t ops = STATS_SUM_COMMANDS(h->stats, h->loop_count, calls);
    uint64_t in = STATS_SUM(h->stats, h->loop_count, total_net_input_bytes);
    uint64_t out = STATS_SUM(h->stats, h->loop_count, total_net_output_bytes);
    if (srv->rates.at_us != 0 && ops >= srv->rates.ops) {
        uint64_t us = (uint64_t)span;
        atomic_store_explicit(&h->ops_per_sec, (ops - srv->rates.ops) * 1000000 / us, memory_order_relaxed);
        atomic_store_explicit(&h->in_per_sec, (in - srv->rates.in) * 1000000 / us, memory_order_relaxed);
        atomic_store_explicit(&h->out_per_sec, (out - srv->rates.out) * 1000000 / us, memory_order_relaxed);
    }
    srv->rates.at_us = now_us;
    srv->rates.ops = ops;
    srv->rates.in = in;
    srv->rates.out = out;
}

struct fattest {
    uint64_t id;
    size_t bytes, total;
};

static void weigh(void *ctx, struct client *c) {
    struct fattest *f = ctx;
    size_t bytes = atomic_load_explicit(&c->in_bytes, memory_order_relaxed) +
                   atomic_load_explicit(&c->out_bytes, memory_order_relaxed) +
                   atomic_load_explicit(&c->arg_bytes, memory_order_relaxed);
    f->total += bytes;
    if (bytes > f->bytes && !client_is(c, CLIENT_NO_EVICT)) {
        f->bytes = bytes;
        f->id = c->id;
    }
}

/* maxmemory-clients: the largest client goes, one per run, while all together hold too much. */
static void watch_clients(struct server *srv, const struct conf *conf) {
    struct host *h = &srv->host;
    struct fattest f = {0};
    h->ops->each_client(h, NULL, weigh, &f);
    atomic_store_explicit(&h->client_bytes, f.total, memory_order_relaxed);
    int64_t limit = conf->maxmemory_clients;
    if (limit < 0) {
        limit = conf->maxmemory / 100 * -limit;
    }
    if (limit > 0 && f.total > (size_t)limit && f.id != 0) {
        struct client_filter only = {.id = f.id};
        STAT_ADD(srv->workers[0]->stats->evicted_clients, 1);
        log_warning("client id=%llu closed: maxmemory-clients", (unsigned long long)only.id);
        h->ops->kill_clients(h, &only, NULL);
    }
}

/* Ten times a second at most, whatever maintenance is behind: what is steered here must not swing faster than what it steers. */
static void look_after(struct server *srv, int64_t now_ms, int64_t now_us) {
    struct worker *w = srv->workers[0];
    int64_t until = atomic_load_explicit(&srv->pause_until_ms, memory_order_relaxed);
    if (until != 0 && now_ms >= until) {
        atomic_compare_exchange_strong(&srv->pause_until_ms, &until, 0);
    }
    watch_memory(srv, w->conf, now_us);
    guard_tick(srv->tier.guard, now_ms);
    if (srv->disk != NULL) {
        disk_watch_writer(srv->disk);
    }
    writes_tick(srv->tier.writes);
    handover_tick(srv);
    if (srv->purge_log != NULL) {
        purge_log_make_rest(srv->purge_log);
        purge_log_tick(srv->purge_log, srv->host.pool);
    }
    if (now_us - srv->second_us >= SECOND_US) {
        srv->second_us = now_us;
        watch_clients(srv, w->conf);
        warm_tick(srv->warm);
        save_by_points(srv, w->conf, now_ms);
    }
    sighting_tick(srv, w->conf, now_ms);
    sample_rates(srv, now_us);
    chronicle_tick(srv->chronicle, now_ms);
}

/* Whether nothing was asked or stored since the last run. */
static bool is_resting(struct server *srv) {
    struct host *h = &srv->host;
    uint64_t reads = STATS_SUM(h->stats, h->loop_count, total_reads_processed);
    size_t bytes = l1_bytes(h->l1);
    bool same = reads == srv->seen.reads && bytes == srv->seen.bytes;
    srv->seen.reads = reads;
    srv->seen.bytes = bytes;
    return same;
}

/* The next run: timers fire when they did not, only where that changes anything. */
static void schedule(struct server *srv, bool more) {
    int64_t period_ms = is_resting(srv) ? REST_MS : SERVER_CRON_MS;
    if (more || period_ms != srv->cron_period_ms) {
        srv->cron_period_ms = period_ms;
        timer_start(srv->workers[0]->cron, more ? SOON_MS : period_ms, period_ms);
    }
}

void server_cron(struct server *srv) {
    struct worker *w = srv->workers[0];
    int64_t now = loop_now_ms(w->loop), start = clock_mono_us();
    if (start - srv->looked_us >= LOOK_US) {
        srv->looked_us = start;
        look_after(srv, now, start);
    }
    bool more = l1_tick(srv->host.l1, now, SLICE_US);
    int64_t took_ms = (clock_mono_us() - start) / 1000;
    if (w->conf->latency_monitor_threshold > 0 && took_ms >= w->conf->latency_monitor_threshold) {
        latency_add(srv->host.latency, "expire-cycle", now / 1000, (uint64_t)took_ms);
    }
    schedule(srv, more);
}
