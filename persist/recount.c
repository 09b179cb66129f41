/* SPDX-License-Identifier: BSD-3-Clause */
/* recount: the numbers of keys put right. A hurried writer believes the filters about keys it has no time to look for; when it has
 * done so for a hundredth of the keys they are counted, as of a mark set between two batches, so that what changes meanwhile
 * stays counted. So they are when a tenth may have gone with a window, or as expired when files were merged, but more seldom. */
#include <string.h>

#include "persist/disk_int.h"
#include "persist/record.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/rt/pool.h"

enum { UNSURE_PART = 100, PAUSE_US = 60000000, VANISHED_PART = 10, LONG_PAUSE_US = 600000000 };

struct recount {
    struct job job;
    struct disk *d;
    void *mark;
    int64_t then[STATE_PHYSICAL], now[STATE_PHYSICAL];
    uint32_t generation[STATE_PHYSICAL];
    bool stopped;
};

static bool count_one(void *ctx, struct slice key, struct slice value) {
    struct recount *r = ctx;
    uint32_t generation;
    uint64_t position;
    struct slice name;
    (void)value;
    if (record_split_key(key, &generation, &position, &name)) {
        for (unsigned i = 0; i < STATE_LOGICAL; i++) {
            uint8_t physical = state_map(r->d->state)[i];
            r->now[physical] += r->generation[physical] == generation;
        }
    }
    r->stopped = atomic_load(&r->d->mode) != DISK_SERVING || atomic_load(&r->d->closing);
    return !r->stopped;
}

static void run(struct job *job) {
    struct recount *r = (struct recount *)job;
    struct disk *d = r->d;
    bool whole = d->store->each_at(d->store, r->mark, count_one, r) && !r->stopped;
    d->store->unmark(d->store, r->mark);
    for (unsigned i = 0; whole && i < STATE_PHYSICAL; i++) {
        if (r->generation[i] == state_generation(d->state, (uint8_t)i)) { /* not flushed since */
            atomic_fetch_add_explicit(&d->keys[i], r->now[i] - r->then[i], memory_order_relaxed);
        }
    }
    disk_count(&d->count.recounts, whole);
    disk_leave(d);
    atomic_store(&d->recounting, false);
}

static void done(struct job *job) {
    mem_free(job);
}

static bool is_due(const struct disk *d, int64_t now_us) {
    int64_t total = 0, unsure = (int64_t)d->unsure, vanished = (int64_t)atomic_load(&d->vanished);
    int64_t since_us = d->recounted_us == 0 ? INT64_MAX : now_us - d->recounted_us;
    for (unsigned i = 0; i < STATE_PHYSICAL; i++) {
        total += atomic_load(&d->keys[i]);
    }
    return (unsure >= UNSURE_LEAST && unsure >= total / UNSURE_PART && since_us >= PAUSE_US) ||
           (vanished > 0 && vanished >= total / VANISHED_PART && since_us >= LONG_PAUSE_US);
}

void recount_if_unsure(struct disk *d) {
    int64_t now_us = clock_mono_us();
    if (!is_due(d, now_us) || d->store->mark == NULL || atomic_exchange(&d->recounting, true)) {
        return;
    }
    if (!disk_enter(d)) {
        atomic_store(&d->recounting, false);
        return;
    }
    struct recount *r = mem_zalloc(sizeof(*r));
    r->job = (struct job){.run = run, .done = done};
    r->d = d;
    r->mark = d->store->mark(d->store);
    for (unsigned i = 0; i < STATE_PHYSICAL; i++) {
        r->then[i] = atomic_load(&d->keys[i]);
        r->generation[i] = state_generation(d->state, (uint8_t)i);
    }
    d->unsure = 0;
    atomic_store(&d->vanished, 0);
    d->recounted_us = now_us;
    if (!pool_submit(d->pool, READS_IN_BACKGROUND, &r->job)) {
        d->store->unmark(d->store, r->mark);
        disk_leave(d);
        atomic_store(&d->recounting, false);
        mem_free(r);
    }
}
