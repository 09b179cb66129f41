/* SPDX-License-Identifier: BSD-3-Clause */
/* warm: the manifest is a list of logical database and name, with a checksum; what it says is only a wish. */
#include "src/server/warm.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/conf/conf.h"
#include "src/ds/crc64.h"
#include "src/rt/loop.h"
#include "src/rt/pool.h"
#include "src/server/bring.h"
#include "src/server/server.h"
#include "src/server/worker.h"

#define PATH "l2/hot"
#define MAGIC "StrataH1"
enum { MAX_BYTES = 64 << 20, TICK_MS = 10, IN_FLIGHT = 64, EVERY_SECONDS = 60, FULL_PERCENT = 90, SLICE = 256, ENTRY_HEAD = 5 };

struct warm {
    struct job job; /* reads the manifest; done on worker 0's loop */
    struct server *srv;
    struct timer *timer;
    struct buf names; /* entries not fetched yet, from at on */
    size_t at;
    int rate; /* keys a second */
    int in_flight, seconds;
    bool stopping, loading;
    _Atomic bool saving;
    _Atomic uint64_t wanted, fetched;
};

/* ---- writing the manifest ---- */

struct gathering {
    const struct l1 *l1;
    struct buf *out;
};

static void put_entry(struct buf *b, uint8_t db, struct slice name) {
    char head[ENTRY_HEAD] = {(char)db};
    uint32_t n = (uint32_t)name.n;
    memcpy(head + 1, &n, 4);
    buf_put(b, head, sizeof(head));
    buf_put_slice(b, name);
}

static void gather(void *ctx, const struct key *key, const struct item_view *item) {
    struct gathering *g = ctx;
    if (!item->read || g->out->n + ENTRY_HEAD + key->name.n > MAX_BYTES) {
        return;
    }
    for (unsigned db = 0; db < L1_MAX_DBS; db++) {
        if (g->l1->db_map[db] == key->db) {
            put_entry(g->out, (uint8_t)db, key->name);
            return;
        }
    }
}

static void write_manifest(struct server *srv) {
    struct buf b = {0};
    struct gathering g = {srv->host.l1, &b};
    uint64_t at = 0;
    buf_puts(&b, MAGIC);
    do {
        at = l1_scan(srv->host.l1, at, SLICE, -1, clock_now_ms(), false, gather, &g);
    } while (at != 0 && b.n < MAX_BYTES);
    uint64_t crc = crc64(0, b.p, b.n);
    buf_put(&b, &crc, sizeof(crc));
    FILE *f = fopen(PATH ".new", "we");
    bool ok = f != NULL && fwrite(b.p, 1, b.n, f) == b.n;
    ok = (f == NULL || fclose(f) == 0) && ok && rename(PATH ".new", PATH) == 0;
    if (!ok) {
        unlink(PATH ".new"); /* a disk that is full: the next start is less warm */
    }
    buf_free(&b);
}

struct saving {
    struct job job;
    struct warm *warm;
};

static void run_saving(struct job *job) {
    write_manifest(((struct saving *)job)->warm->srv);
}

static void end_saving(struct job *job) {
    struct saving *s = (struct saving *)job;
    atomic_store(&s->warm->saving, false);
    mem_free(s);
}

void warm_tick(struct warm *w) {
    if (w == NULL || ++w->seconds % EVERY_SECONDS != 0 || atomic_exchange(&w->saving, true)) {
        return;
    }
    struct saving *s = mem_zalloc(sizeof(*s));
    s->warm = w;
    s->job = (struct job){.run = run_saving, .done = end_saving};
    if (!pool_submit(w->srv->host.pool, 0, &s->job)) {
        end_saving(&s->job);
    }
}

/* ---- fetching ---- */

static void read_manifest(struct job *job) {
    struct warm *w = (struct warm *)job;
    FILE *f = fopen(PATH, "re");
    if (f == NULL) {
        return;
    }
    char room[65536];
    for (size_t n; (n = fread(room, 1, sizeof(room), f)) > 0 && w->names.n <= MAX_BYTES + sizeof(room);) {
        buf_put(&w->names, room, n);
    }
    fclose(f);
    uint64_t crc = 0;
    size_t n = w->names.n - sizeof(crc);
    bool whole = w->names.n >= sizeof(MAGIC) - 1 + sizeof(crc) && memcmp(w->names.p, MAGIC, sizeof(MAGIC) - 1) == 0;
    if (whole) {
        memcpy(&crc, w->names.p + n, sizeof(crc));
        whole = crc == crc64(0, w->names.p, n);
    }
    w->names.n = whole ? n : 0;
    w->at = whole ? sizeof(MAGIC) - 1 : 0;
}

static void fetched(void *ctx, enum brought how, const char *error) {
    struct warm *w = ctx;
    (void)how;
    (void)error;
    w->in_flight--;
    atomic_fetch_add_explicit(&w->fetched, 1, memory_order_relaxed);
}

static void finish(struct warm *w) {
    timer_stop(w->timer);
    buf_free(&w->names);
    w->at = 0;
    if (!w->stopping && atomic_load(&w->wanted) > 0) {
        log_notice("disk tier: warmed with %llu keys", (unsigned long long)atomic_load(&w->fetched));
    }
}

static void pump(void *ctx) {
    struct warm *w = ctx;
    struct l1 *l1 = w->srv->host.l1;
    size_t limit = atomic_load_explicit(&l1->limit_bytes, memory_order_relaxed);
    int budget = w->rate * TICK_MS / 1000 + 1;
    while (budget-- > 0 && w->in_flight < IN_FLIGHT) {
        uint32_t n;
        if (w->names.n - w->at < ENTRY_HEAD || (limit > 0 && l1_bytes(l1) > limit / 100 * FULL_PERCENT)) {
            finish(w);
            return;
        }
        uint8_t db = (uint8_t)w->names.p[w->at];
        memcpy(&n, w->names.p + w->at + 1, 4);
        if (db >= L1_MAX_DBS || n > w->names.n - w->at - ENTRY_HEAD) {
            finish(w); /* the checksum was right, and yet: another version's */
            return;
        }
        atomic_fetch_add_explicit(&w->wanted, 1, memory_order_relaxed);
        w->in_flight++; /* touched: hot as it was, so that the next manifest has it, too */
        bring_key(w->srv, db, slice_make(w->names.p + w->at + ENTRY_HEAD, n), BRING_TOUCH, fetched, w);
        w->at += ENTRY_HEAD + n;
    }
}

static void manifest_read(struct job *job) {
    struct warm *w = (struct warm *)job;
    w->loading = false;
    if (!w->stopping && w->at > 0) {
        timer_start(w->timer, 0, TICK_MS);
    }
}

/* ---- life ---- */

struct warm *warm_start(struct server *srv) {
    struct conf *conf = conf_store_current(srv->host.conf_store);
    struct warm *w = NULL;
    if (srv->disk != NULL && conf->l2_warm_rate > 0) {
        struct loop *loop = srv->workers[0]->loop;
        w = mem_zalloc(sizeof(*w));
        w->srv = srv;
        w->rate = (int)conf->l2_warm_rate;
        w->timer = timer_create_on(loop, pump, w);
        w->job = (struct job){.loop = loop, .run = read_manifest, .done = manifest_read};
        w->loading = pool_submit(srv->host.pool, 0, &w->job);
    }
    conf_unref(conf);
    return w;
}

bool warm_stopping(struct warm *w) {
    if (w == NULL) {
        return false;
    }
    if (!w->stopping) {
        w->stopping = true;
        timer_stop(w->timer);
        timer_destroy(&w->timer);
    }
    return w->in_flight > 0 || w->loading;
}

void warm_end(struct warm **wp) {
    struct warm *w = *wp;
    if (w == NULL) {
        return;
    }
    *wp = NULL;
    while (atomic_load(&w->saving)) {
        usleep(1000);
    }
    write_manifest(w->srv);
    buf_free(&w->names);
    mem_free(w);
}

void warm_info(const struct warm *w, struct buf *out) {
    if (w != NULL) {
        buf_printf(out, "l2_warm_wanted:%llu\r\nl2_warm_fetched:%llu\r\n",
                   (unsigned long long)atomic_load_explicit(&w->wanted, memory_order_relaxed),
                   (unsigned long long)atomic_load_explicit(&w->fetched, memory_order_relaxed));
    }
}
