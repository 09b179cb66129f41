/* SPDX-License-Identifier: BSD-3-Clause */
/* health: looks at the loops a few times a second, and at the rest each second. */
#include "src/server/health.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cluster/agent.h"
#include "persist/disk.h"
#include "src/base/buf.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/conf/conf.h"
#include "src/l1/l1.h"
#include "src/origin/origin.h"
#include "src/rt/loop.h"
#include "src/rt/pool.h"
#include "src/server/alarms.h"
#include "src/server/cluster.h"
#include "src/server/profile.h"
#include "src/server/server.h"
#include "src/server/sight_int.h"
#include "src/server/worker.h"
#include "src/sight/growth.h"
#include "src/sight/sight.h"

enum {
    LOOK_MS = 100,
    REST_MS = 500, /* instead, while no loop has anything to do */
    REST_TURN_US = 1000,
    SECOND_US = 1000000,
    PURGE_EVERY_US = 60 * SECOND_US,
    CAPTURE_MS = 2000,
    CAPTURE_EVERY_S = 600,
    GROWTH_STEP = 256 << 10          /* bytes a minute that are no noise */
};

struct health {
    struct server *srv;
    pthread_t thread;
    int wake; /* eventfd: end */
    _Atomic bool stopping;
    struct alarm_state alarms[ALARMS];
    struct {
#define ALARM(field, name, doc)
#define HEALTH(field, name, doc) _Atomic uint64_t field;
#include "src/server/health.def"
#undef ALARM
#undef HEALTH
    } now;

    /* the thread's alone */
    struct growth growth;
    int64_t second_us, purged_us, captured_us;
    uint64_t lag_us; /* in this second so far */
    uint64_t refused, pool_done, pool_wait_us;
    unsigned pool_idle; /* looks in a row at which jobs waited and none had been done */
};

#define SET(field, v) atomic_store_explicit(&h->now.field, (uint64_t)(v), memory_order_relaxed)
#define GET(field) atomic_load_explicit(&h->now.field, memory_order_relaxed)

/* ---- alarms ---- */

static void __attribute__((format(printf, 3, 4))) raise_alarm(struct health *h, enum alarm a, const char *fmt, ...) {
    uint64_t unlogged;
    char text[256];
    if (!alarm_raise(&h->alarms[a], clock_mono_us(), &unlogged)) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_warning("health: %s: %s (%llu more since the last such line)", alarm_rows[a].name, text, (unsigned long long)unlogged);
}

/* Takes a profile now, when that is wanted, and none was taken lately. */
static void capture(struct health *h, const struct conf *conf, const char *why) {
    char path[64];
    int64_t now_us = clock_mono_us();
    if (!conf->health_capture || (h->captured_us != 0 && now_us - h->captured_us < (int64_t)CAPTURE_EVERY_S * SECOND_US)) {
        return;
    }
    h->captured_us = now_us;
    if (profile_capture(h->srv->profile, CAPTURE_MS, path)) {
        SET(captures, GET(captures) + 1);
        log_warning("health: %s: profile written to %s", why, path);
    }
}

/* ---- loops: the lag shown is that of the last second ---- */

/* False when the loops rest. */
static bool look_at_loops(struct health *h, const struct conf *conf) {
    uint64_t worst_us = 0, limit_us = (uint64_t)conf->health_loop_lag * 1000;
    unsigned worst = 0;
    bool stuck = false;
    for (unsigned i = 0; i < h->srv->host.loop_count; i++) {
        struct loop *loop = h->srv->workers[i]->loop;
        uint64_t past_us = loop_take_max_turn_us(loop), now_us = loop_busy_us(loop), us = past_us > now_us ? past_us : now_us;
        stuck |= limit_us > 0 && now_us > limit_us;
        if (us > worst_us) {
            worst_us = us;
            worst = i;
        }
    }
    h->lag_us = worst_us > h->lag_us ? worst_us : h->lag_us;
    SET(lag_most_us, worst_us > GET(lag_most_us) ? worst_us : GET(lag_most_us));
    if (alarm_is_due(ALARM_lag, &(struct signs){.lag_us = worst_us, .lag_limit_us = limit_us})) {
        raise_alarm(h, ALARM_lag, "event loop %u %s busy for %llu ms", worst, stuck ? "has been" : "was", (unsigned long long)(worst_us / 1000));
    }
    if (stuck) {
        capture(h, conf, "event loop is busy");
    }
    return worst_us > REST_TURN_US;
}

/* ---- memory ---- */

static void look_at_growth(struct health *h, int64_t unexplained, int64_t maxmemory) {
    int64_t grown = growth_add(&h->growth, clock_now_ms(), unexplained, GROWTH_STEP);
    SET(growth_bytes, grown);
    if (alarm_is_due(ALARM_growth, &(struct signs){.grown = grown, .maxmemory = maxmemory})) {
        raise_alarm(h, ALARM_growth, "%lld MB that neither keys nor buffers explain came in the last %d minutes, a leak perhaps", (long long)(grown >> 20),
                    GROWTH_WINDOWS);
    }
}

static void look_at_slack(struct health *h, const struct conf *conf) {
    size_t used = mem_allocated_bytes(), kept = mem_resident_bytes(), slack = kept > used ? kept - used : 0;
    int64_t now_us = clock_mono_us();
    SET(allocator_slack_bytes, slack);
    struct signs signs = {.kept = kept, .used = used, .slack_limit = (uint64_t)conf->health_slack};
    if (!alarm_is_due(ALARM_fragmentation, &signs) || (h->purged_us != 0 && now_us - h->purged_us < PURGE_EVERY_US)) {
        return;
    }
    raise_alarm(h, ALARM_fragmentation, "the allocator keeps %zu MB for %zu MB in use", kept >> 20, used >> 20);
    h->purged_us = now_us;
    SET(purges, GET(purges) + 1);
    mem_purge();
}

static void look_at_memory(struct health *h, const struct conf *conf) {
    const struct host *host = &h->srv->host;
    struct l1_stats s;
    struct sight_stats ss;
    size_t disk_now = 0, disk_most = 0, rss = atomic_load_explicit(&host->rss_bytes, memory_order_relaxed);
    l1_stats_read(host->l1, &s);
    sight_stats(host->sight, &ss);
    if (h->srv->disk != NULL) {
        disk_memory(h->srv->disk, &disk_now, &disk_most);
    }
    size_t explained = s.chunk_resident_bytes + s.heap_bytes + atomic_load_explicit(&host->client_bytes, memory_order_relaxed) + disk_now + ss.memory;
    uint64_t percent = conf->maxmemory > 0 ? (uint64_t)rss * 100 / (uint64_t)conf->maxmemory : 0;
    SET(rss_bytes, rss);
    SET(rss_percent, percent);
    SET(explained_bytes, explained);
    SET(unexplained_bytes, rss > explained ? rss - explained : 0);
    if (rss > 0) {
        look_at_growth(h, (int64_t)rss - (int64_t)explained, conf->maxmemory);
    }
    look_at_slack(h, conf);
    if (alarm_is_due(ALARM_rss, &(struct signs){.rss_percent = percent, .rss_limit = (uint64_t)conf->health_rss})) {
        raise_alarm(h, ALARM_rss, "%zu MB resident, %llu%% of maxmemory", rss >> 20, (unsigned long long)percent);
        capture(h, conf, "resident memory is above its threshold");
    }
}

/* ---- queues ---- */

static void look_at_pool(struct health *h) {
    struct pool_stats p;
    pool_stats_read(h->srv->host.pool, 0, &p);
    uint64_t refused = p.refused - h->refused, done = p.completed - h->pool_done, wait_us = p.wait_us - h->pool_wait_us;
    h->refused = p.refused;
    h->pool_done = p.completed;
    h->pool_wait_us = p.wait_us;
    SET(pool_waiting, p.depth);
    SET(pool_refused, p.refused);
    h->pool_idle = p.depth > 0 && done == 0 ? h->pool_idle + 1 : 0;
    if (alarm_is_due(ALARM_pool, &(struct signs){.refused = refused, .done = done, .wait_us = wait_us, .idle_looks = h->pool_idle})) {
        raise_alarm(h, ALARM_pool, "%llu jobs refused, %llu waiting", (unsigned long long)refused, (unsigned long long)p.depth);
    }
}

static void look_at_disk(struct health *h) {
    struct disk_pressure p;
    disk_read_pressure(h->srv->disk, &p);
    SET(disk_reads_waiting, p.reads_waiting);
    SET(disk_queue_bytes, p.queue_bytes);
    SET(disk_compaction_bytes, p.compaction_bytes);
    SET(disk_stall_seconds, GET(disk_stall_seconds) + p.stopped);
    if (alarm_is_due(ALARM_stall, &(struct signs){.stopped = p.stopped})) {
        raise_alarm(h, ALARM_stall, "RocksDB has stopped writes, %llu MB are to be compacted", (unsigned long long)(p.compaction_bytes >> 20));
    }
}

static void look_at_locks(struct health *h) {
    const struct l1 *l1 = h->srv->host.l1;
    uint64_t all = 0, most = 0;
    unsigned worst = 0;
    for (unsigned i = 0; i < l1->shard_count; i++) {
        uint64_t n = l1_contended(l1, i);
        all += n;
        if (n > most) {
            most = n;
            worst = i;
        }
    }
    SET(shard_contended, all);
    SET(shard_worst, worst);
    SET(shard_worst_contended, most);
}

static void look_at_cluster(struct health *h) {
    struct agent_stats s;
    if (cluster_stats(h->srv, &s) && alarm_is_due(ALARM_settings, &(struct signs){.differing = s.members.differing})) {
        raise_alarm(h, ALARM_settings, "%u nodes have other policies or directives than this one, see INFO peers", s.members.differing);
    }
}

static void look_at_rest(struct health *h, const struct conf *conf) {
    look_at_memory(h, conf);
    look_at_pool(h);
    look_at_locks(h);
    look_at_cluster(h);
    if (h->srv->disk != NULL) {
        look_at_disk(h);
    }
    if (h->srv->origins != NULL) {
        uint64_t in_flight, queued;
        origins_load(h->srv->origins, &in_flight, &queued);
        SET(origin_in_flight, in_flight);
        SET(origin_queued, queued);
    }
}

/* ---- the thread ---- */

static void *watch(void *arg) {
    struct health *h = arg;
    struct pollfd end = {.fd = h->wake, .events = POLLIN};
    while (!atomic_load(&h->stopping)) {
        struct conf *conf = conf_store_current(h->srv->host.conf_store);
        bool busy = look_at_loops(h, conf);
        int64_t now_us = clock_mono_us();
        if (now_us - h->second_us >= SECOND_US) {
            h->second_us = now_us;
            SET(lag_us, h->lag_us);
            h->lag_us = 0;
            look_at_rest(h, conf);
        }
        conf_unref(conf);
        poll(&end, 1, busy ? LOOK_MS : REST_MS);
    }
    return NULL;
}

struct health *health_start(struct server *srv) {
    struct health *h = mem_zalloc(sizeof(*h));
    h->srv = srv;
    h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(h->wake >= 0);
    CHECK(pthread_create(&h->thread, NULL, watch, h) == 0);
    pthread_setname_np(h->thread, "health");
    return h;
}

void health_stop(struct health *h) {
    uint64_t one = 1;
    atomic_store(&h->stopping, true);
    profile_stopping(h->srv->profile);
    CHECK(write(h->wake, &one, sizeof(one)) == sizeof(one));
    pthread_join(h->thread, NULL);
}

void health_destroy(struct health **hp) {
    struct health *h = *hp;
    *hp = NULL;
    if (h != NULL) {
        close(h->wake);
        mem_free(h);
    }
}

/* ---- what it shows ---- */

void health_alarms(struct health *h, void (*fn)(void *ctx, const char *name, const char *doc), void *ctx) {
    for (unsigned i = 0; h != NULL && i < ALARMS; i++) {
        if (alarm_lasts(&h->alarms[i], clock_mono_us())) {
            fn(ctx, alarm_rows[i].name, alarm_rows[i].doc);
        }
    }
}

static void put_alarm(void *ctx, const char *name, const char *doc) {
    (void)doc;
    struct buf *out = ctx;
    buf_printf(out, "%s%s", out->n > 0 ? "," : "", name);
}

static void put_conns(void *ctx, const char *name, const struct conn_numbers *n) {
    struct buf *out = ctx;
    buf_printf(out, "health_connections_%s:", name);
    for (unsigned i = 0; i < CONN_ROWS; i++) {
        buf_printf(out, "%s%s=%llu", i > 0 ? "," : "", conn_rows[i].name, (unsigned long long)conn_number(n, &conn_rows[i]));
    }
    buf_puts(out, "\r\n");
}

void health_info(struct health *h, struct buf *out) {
    struct buf status = {0};
    if (h == NULL) {
        return;
    }
    health_alarms(h, put_alarm, &status);
    buf_printf(out, "health_status:%.*s\r\n", status.n > 0 ? (int)status.n : 2, status.n > 0 ? status.p : "ok");
    buf_free(&status);
#define ALARM(field, name, doc) \
    buf_printf(out, "health_alarms_" name ":%llu\r\n", (unsigned long long)atomic_load_explicit(&h->alarms[ALARM_##field].count, memory_order_relaxed));
#define HEALTH(field, name, doc) buf_printf(out, "health_" name ":%llu\r\n", (unsigned long long)GET(field));
#include "src/server/health.def"
#undef ALARM
#undef HEALTH
    for (unsigned i = 0; i < h->srv->host.loop_count; i++) {
        const struct loop *loop = h->srv->workers[i]->loop;
        buf_printf(out, "health_loop_%u:busy_us=%llu,lag_most_us=%llu\r\n", i, (unsigned long long)loop_busy_us(loop), (unsigned long long)loop_most_turn_us(loop));
    }
    sight_conns(h->srv, put_conns, out);
}

void health_rows(void (*row)(void *ctx, const char *name, const char *doc), void *ctx) {
#define ALARM(field, name, doc) row(ctx, "health_alarms_" name, doc);
#define HEALTH(field, name, doc) row(ctx, "health_" name, doc);
#include "src/server/health.def"
#undef ALARM
#undef HEALTH
}
