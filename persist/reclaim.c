/* SPDX-License-Identifier: BSD-3-Clause */
/* reclaim: space of what is dead, given back while nothing is written, too. Now and then, and at once after a flush, the writer has a
 * look taken at how much of the files is dead: what lies outside the live generations is known from the index, what has expired
 * is told by a sample of records at random places. From a quarter on, the store is asked to rewrite its files without it.
 *
 * Not RocksDB's own period: that rewrites everything as often, dead or not, and only while something is written. */
#include <string.h>

#include "persist/disk_int.h"
#include "persist/record.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/rt/pool.h"

enum { SAMPLES = 64, DEAD_PART = 4, PAUSE_US = 60000000, ASK_US = 5000000 };
static const uint64_t LEAST_BYTES = 4 << 20; /* less is not worth it */

struct look {
    struct job job;
    struct disk *d;
    uint32_t live[STATE_LOGICAL]; /* generations in rising order, */
    unsigned n;
    uint64_t bytes[STATE_LOGICAL]; /* and what each has in files */
};

/* [start of generation a, start of generation b) */
static struct store_range between(uint32_t a, uint32_t b, struct buf *room) {
    size_t at = room->n;
    record_put_start(room, a, 0);
    record_put_start(room, b, 0);
    return (struct store_range){slice_make(room->p + at, RECORD_KEY_HEAD), slice_make(room->p + at + RECORD_KEY_HEAD, RECORD_KEY_HEAD)};
}

static uint64_t live_bytes(struct look *l) {
    char keys[STATE_LOGICAL * 2 * RECORD_KEY_HEAD];
    struct buf room = {.p = keys, .cap = sizeof(keys)};
    struct store_range ranges[STATE_LOGICAL];
    uint64_t sum = 0;
    for (unsigned i = 0; i < l->n; i++) {
        ranges[i] = between(l->live[i], l->live[i] + 1, &room);
    }
    l->d->store->sizes(l->d->store, ranges, l->n, l->bytes);
    for (unsigned i = 0; i < l->n; i++) {
        sum += l->bytes[i];
    }
    return sum;
}

/* ---- the sample ---- */

struct sample {
    uint32_t generation;
    int64_t now_ms;
    unsigned met, expired;
};

static bool take_one(void *ctx, struct slice key, struct slice value) {
    struct sample *s = ctx;
    uint32_t generation;
    uint64_t position;
    struct slice name;
    int64_t last_ms;
    if (record_split_key(key, &generation, &position, &name) && generation == s->generation && record_last(value, &last_ms)) {
        s->met++;
        s->expired += last_ms != -1 && last_ms <= s->now_ms;
    }
    return false;
}

/* Of so many bytes of a generation, those expired, about: keys are hashes, so that a place at random meets a record at random. */
static uint64_t expired_bytes(struct look *l, unsigned i, uint64_t live) {
    struct sample s = {.generation = l->live[i], .now_ms = clock_now_ms()};
    uint64_t tries = l->bytes[i] * SAMPLES / live;
    for (uint64_t k = 0; k < tries && !atomic_load(&l->d->closing); k++) {
        char from[RECORD_KEY_HEAD];
        struct buf b = {.p = from, .cap = sizeof(from)};
        record_put_start(&b, l->live[i], rng_u64());
        if (!l->d->store->each(l->d->store, buf_slice(&b), take_one, &s)) {
            return 0;
        }
    }
    return s.met == 0 ? 0 : l->bytes[i] / s.met * s.expired;
}

/* ---- the look ---- */

static void ask(struct look *l) {
    char keys[(STATE_LOGICAL + 1) * 2 * RECORD_KEY_HEAD];
    struct buf room = {.p = keys, .cap = sizeof(keys)};
    struct store_range dead[STATE_LOGICAL + 1];
    unsigned n = 0;
    uint32_t from = 0;
    for (unsigned i = 0; i < l->n; i++) { /* those in between are of no database any more, and will be of none */
        if (l->live[i] > from) {
            dead[n++] = between(from, l->live[i], &room);
        }
        from = l->live[i] + 1;
    }
    l->d->store->reclaim(l->d->store, true, dead, n);
    disk_count(&l->d->count.reclaims, 1);
    atomic_store(&l->d->reclaimed_us, clock_mono_us());
    atomic_store(&l->d->reclaiming, true);
}

static void run(struct job *job) {
    struct look *l = (struct look *)job;
    struct disk *d = l->d;
    struct store_stats st;
    d->store->stats(d->store, &st);
    l->n = state_live(d->state, l->live);
    uint64_t live = live_bytes(l), total = st.disk_bytes, expired = 0;
    total = total > live ? total : live;
    for (unsigned i = 0; i < l->n && live > 0; i++) {
        expired += expired_bytes(l, i, live);
    }
    if (total >= LEAST_BYTES && total - live + expired >= total / DEAD_PART) {
        ask(l);
    }
    disk_leave(d);
    atomic_store(&d->looking, false);
}

static void done(struct job *job) {
    mem_free(job);
}

/* The store has had time to begin. */
static void end_asking(struct disk *d, int64_t now_us) {
    int64_t since_us = atomic_load(&d->reclaimed_us);
    if (atomic_load(&d->reclaiming) && now_us - since_us > ASK_US && disk_enter(d)) {
        d->store->reclaim(d->store, false, NULL, 0);
        atomic_store(&d->reclaiming, false);
        d->recounted_us = 0; /* what has expired was still counted */
        disk_leave(d);
    }
}

static bool is_due(struct disk *d, int64_t now_us) {
    int64_t last_us = atomic_load(&d->reclaimed_us);
    bool rests = last_us != 0 && now_us - last_us < PAUSE_US;
    return atomic_exchange(&d->flushed, false) || (!rests && now_us - d->looked_us >= RECLAIM_LOOK_S * INT64_C(1000000));
}

void reclaim_if_due(struct disk *d) {
    int64_t now_us = clock_mono_us();
    if (d->store->reclaim == NULL || atomic_load(&d->looking)) {
        return;
    }
    end_asking(d, now_us);
    if (!is_due(d, now_us) || !disk_enter(d)) {
        return;
    }
    struct look *l = mem_zalloc(sizeof(*l));
    l->job = (struct job){.run = run, .done = done};
    l->d = d;
    d->looked_us = now_us;
    atomic_store(&d->looking, true);
    if (!pool_submit(d->pool, READS_IN_BACKGROUND, &l->job)) {
        atomic_store(&d->looking, false);
        disk_leave(d);
        mem_free(l);
    }
}
