/* SPDX-License-Identifier: BSD-3-Clause */
/* writer: one thread takes the queued changes of all lanes to the store, in batches, and empties the store when it can no
 * longer be trusted. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "persist/disk_int.h"
#include "persist/record.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/log.h"

enum { BATCH_OPS = 256, BATCH_BYTES = 1 << 20, RETRY_MS = 5000, SECOND_US = 1000000, WEIGH_US = 50000, FULL_PERCENT = 75, HURRIED_PART = 8, HURRIED_READS = 4 };

void writer_wake(struct disk *d) {
    if (atomic_load(&d->asleep)) {
        pthread_mutex_lock(&d->mutex);
        pthread_cond_signal(&d->wake);
        pthread_mutex_unlock(&d->mutex);
    }
}

void disk_bypass(struct disk *d, const char *why) {
    state_distrust(d->state, true); /* first: who finds it bypassed notes nothing */
    if (atomic_exchange(&d->mode, DISK_BYPASSED) == DISK_SERVING) {
        snprintf(d->last_error, sizeof(d->last_error), "%s", why);
        log_warning("disk tier: bypassed: %s", why);
    }
}

/* ---- steps that may block ---- */

static void step_begins(struct disk *d) {
    atomic_store_explicit(&d->step_since_us, clock_mono_us(), memory_order_relaxed);
}

static void step_ends(struct disk *d) {
    atomic_store_explicit(&d->step_since_us, 0, memory_order_relaxed);
    if (atomic_exchange(&d->stalled, false)) {
        log_notice("disk tier: the device goes on");
    }
}

void disk_watch_writer(struct disk *d) {
    int64_t since = atomic_load_explicit(&d->step_since_us, memory_order_relaxed);
    if (since == 0 || clock_mono_us() - since < STALL_MS * 1000 || atomic_exchange(&d->stalled, true)) {
        return;
    }
    atomic_store_explicit(&d->sink.pressed, false, memory_order_relaxed);
    disk_count(&d->count.stalls, 1);
    log_warning("disk tier: the device has not answered for a second: what memory evicts is dropped when the queue is full");
}

/* ---- one batch ---- */

struct batch {
    struct op *ops[BATCH_OPS];
    size_t n;
    size_t of_lane[STATE_LANES];
    int8_t growth[BATCH_OPS]; /* by how many keys each makes the store grow */
};

static void take(struct disk *d, struct batch *b) {
    b->n = 0;
    memset(b->growth, 0, sizeof(b->growth));
    for (unsigned i = 0; i < STATE_LANES; i++) {
        struct lane *lane = &d->lanes[i];
        lane_lock(lane);
        b->of_lane[i] = lane_take(lane, b->ops + b->n, BATCH_OPS / STATE_LANES, BATCH_BYTES / STATE_LANES);
        lane_unlock(lane);
        b->n += b->of_lane[i];
    }
}

static bool is_current(const struct disk *d, const struct op *op) {
    uint32_t generation;
    uint64_t position;
    struct slice name;
    return record_split_key(slice_make(op->key, op->key_len), &generation, &position, &name) &&
           generation == state_generation(d->state, op->physical);
}

/* Whether the store has the key when the change's turn comes: where it may, only a read tells. While much is waiting there is time for few reads of the
 * device; then the filters' word must do, which is wrong for one absent key in a thousand. */
static bool had_key(struct disk *d, const struct op *op, unsigned *reads) {
    struct store_value v = {0};
    struct slice key = slice_make(op->key, op->key_len);
    if (op->behind || !op->replaces) {
        return op->behind && op->put;
    }
    enum store_result r = d->store->get(d->store, key, STORE_MEMORY, &v);
    if (r == STORE_COLD && *reads > 0) {
        --*reads;
        r = d->store->get(d->store, key, STORE_DEVICE, &v);
    }
    if (r == STORE_FOUND) {
        d->store->release(d->store, &v);
    }
    d->unsure += r == STORE_COLD;
    return r == STORE_FOUND || r == STORE_COLD;
}

static bool is_hurried(const struct disk *d) {
    return disk_queued_bytes(d) > atomic_load_explicit(&d->queue_bytes, memory_order_relaxed) / HURRIED_PART;
}

/* Before they are written. */
static void look_at_keys(struct disk *d, struct batch *b) {
    unsigned reads = is_hurried(d) ? HURRIED_READS : BATCH_OPS;
    for (size_t i = 0; i < b->n; i++) {
        const struct op *op = b->ops[i];
        b->growth[i] = is_current(d, op) ? (int8_t)((op->change == CHANGE_PUT) - had_key(d, op, &reads)) : 0;
    }
}

/* What was thought of them when they were queued becomes what they are. */
static void count_keys(struct disk *d, const struct batch *b) {
    for (size_t i = 0; i < b->n; i++) {
        const struct op *op = b->ops[i];
        if (is_current(d, op)) {
            int64_t n = atomic_fetch_add_explicit(&d->keys[op->physical], b->growth[i], memory_order_relaxed) + b->growth[i];
            atomic_fetch_sub_explicit(&d->growth_queued[op->physical], op_growth(op), memory_order_relaxed);
            state_set_count(d->state, op->physical, n > 0 ? (uint64_t)n : 0); /* as it stands after a kill */
        }
    }
}

/* The record as it is to be stored: as it is, or compressed into out. It stays readable in its lane as it is. */
static struct slice pack_record(struct disk *d, const struct op *op, struct buf *out) {
    uint32_t generation;
    uint64_t position;
    struct slice name, raw = buf_slice(&op->record);
    if (d->options.codec == NULL || !record_split_key(slice_make(op->key, op->key_len), &generation, &position, &name)) {
        return raw;
    }
    enum codec codec = d->options.codec(d->options.codec_ctx, name);
    if (codec == CODEC_NONE || !record_pack(d->packer, codec, raw, out)) {
        return raw;
    }
    disk_count(&d->count.packed, 1);
    disk_count(&d->count.packed_from, raw.n);
    disk_count(&d->count.packed_to, out->n);
    if (d->options.packed != NULL) {
        d->options.packed(d->options.codec_ctx, name, raw.n, out->n);
    }
    return buf_slice(out);
}

/* Without a promise of durability a value needs no log where nothing older can come up in its place. (Such a change never stands in
 * one batch behind another of its key, which it would have become.) */
static bool needs_no_log(const struct disk *d, const struct op *op) {
    return d->options.durability == DISK_NONE && op->change == CHANGE_PUT && !op->replaces;
}

static bool write_batch(struct disk *d, struct batch *b) {
    struct store_write writes[BATCH_OPS];
    struct buf packed[BATCH_OPS];
    char err[256];
    memset(packed, 0, b->n * sizeof(packed[0]));
    for (size_t i = 0; i < b->n; i++) {
        const struct op *op = b->ops[i];
        writes[i].key = slice_make(op->key, op->key_len);
        writes[i].value = op->change == CHANGE_PUT ? pack_record(d, op, &packed[i]) : slice_make(NULL, 0);
        writes[i].unlogged = needs_no_log(d, op);
    }
    look_at_keys(d, b);
    bool written = d->store->write(d->store, writes, b->n, d->options.durability == DISK_ALWAYS, err, sizeof(err));
    for (size_t i = 0; i < b->n; i++) {
        buf_free(&packed[i]);
    }
    if (written) {
        disk_count(&d->count.batches, 1);
        return true;
    }
    disk_count(&d->count.write_failures, 1);
    disk_bypass(d, err);
    return false;
}

static void finish(struct disk *d, const struct batch *b) {
    struct sink_ack *acks[BATCH_OPS];
    size_t at = 0, room = atomic_load_explicit(&d->queue_bytes, memory_order_relaxed) / STATE_LANES;
    bool pressed = false;
    count_keys(d, b);
    for (unsigned i = 0; i < STATE_LANES; i++) {
        lane_lock(&d->lanes[i]);
        at += lane_done(&d->lanes[i], d->state, b->of_lane[i], acks + at);
        pressed |= d->lanes[i].bytes > room / 2;
        lane_unlock(&d->lanes[i]);
    }
    atomic_store_explicit(&d->sink.pressed, pressed, memory_order_relaxed);
    for (size_t i = 0; i < at; i++) {
        acks[i]->done(acks[i]);
    }
    atomic_fetch_add(&d->done, b->n);
}

/* ---- rebuilding ---- */

/* Gives up what is queued. */
static void give_up(struct disk *d) {
    struct batch b;
    for (take(d, &b); b.n > 0; take(d, &b)) {
        finish(d, &b);
    }
}

/* Empties a store that failed. Nothing is lost but cold values: every acknowledged invalidation holds of an empty store. */
static bool rebuild(struct disk *d) {
    char err[256];
    give_up(d); /* at once: replies wait for it */
    while (atomic_load(&d->users) != 0) {
        usleep(200);
    }
    give_up(d); /* who was inside may have queued more; now nobody is */
    if (!d->store->reset(d->store, err, sizeof(err))) {
        snprintf(d->last_error, sizeof(d->last_error), "%s", err);
        return false;
    }
    for (unsigned i = 0; i < STATE_PHYSICAL; i++) {
        atomic_store(&d->keys[i], 0);
        atomic_store(&d->growth_queued[i], 0);
    }
    state_forget_all(d->state);
    state_distrust(d->state, false);
    disk_count(&d->count.rebuilds, 1);
    atomic_store(&d->mode, DISK_SERVING);
    log_notice("disk tier: emptied and serving again");
    return true;
}

/* ---- the thread ---- */

/* A window went with so many records: of which databases, nobody has counted. */
static void uncount_dropped(struct disk *d, uint64_t records) {
    int64_t total = 0;
    disk_count(&d->count.dropped, records);
    disk_count(&d->vanished, records);
    for (unsigned i = 0; i < STATE_PHYSICAL; i++) {
        total += atomic_load(&d->keys[i]);
    }
    for (unsigned i = 0; records > 0 && total > 0 && i < STATE_PHYSICAL; i++) {
        int64_t n = atomic_load(&d->keys[i]);
        double share = (double)n / (double)total * (double)records;
        n -= share < (double)n ? (int64_t)share : n;
        atomic_store(&d->keys[i], n);
        state_set_count(d->state, (uint8_t)i, (uint64_t)n);
    }
}

static void each_second(struct disk *d, uint64_t *synced) {
    char err[256];
    uint64_t batches = atomic_load(&d->count.batches);
    int64_t max = atomic_load(&d->max_bytes);
    if (d->options.durability == DISK_EVERYSEC && batches != *synced) {
        *synced = batches;
        if (!d->store->sync_log(d->store, err, sizeof(err))) {
            disk_count(&d->count.write_failures, 1);
            disk_bypass(d, err);
            return;
        }
    }
    struct store_stats st;
    d->store->stats(d->store, &st);
    atomic_store(&d->admission.full, max > 0 && st.disk_bytes > (uint64_t)max / 100 * FULL_PERCENT);
    uncount_dropped(d, d->store->maintain(d->store, max));
    recount_if_unsure(d);
    reclaim_if_due(d);
    survey_if_due(d);
}

/* Something is to be seen to within a second. */
static bool is_restless(const struct disk *d, uint64_t synced) {
    return synced != atomic_load(&d->count.batches) || atomic_load(&d->max_bytes) > 0 || d->unsure >= UNSURE_LEAST ||
           atomic_load(&d->flushed) || atomic_load(&d->reclaiming) || !d->surveyed;
}

/* Until something is queued, or a second has passed when there is work each second, or half a minute. */
static void sleep_a_while(struct disk *d, bool by_time) {
    pthread_mutex_lock(&d->mutex);
    atomic_store(&d->asleep, true);
    if (atomic_load(&d->queued) == atomic_load(&d->done) && !d->stopping) {
        pthread_cond_broadcast(&d->settled);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += by_time ? 1 : RECLAIM_LOOK_S;
        pthread_cond_timedwait(&d->wake, &d->mutex, &until);
    }
    atomic_store(&d->asleep, false);
    pthread_mutex_unlock(&d->mutex);
}

static bool is_stopping(struct disk *d) {
    pthread_mutex_lock(&d->mutex);
    bool stopping = d->stopping;
    pthread_mutex_unlock(&d->mutex);
    return stopping;
}

static void *writer_main(void *arg) {
    struct disk *d = arg;
    struct batch b;
    uint64_t synced = 0;
    int64_t last_us = clock_mono_us(), weighed_us = 0, retry_us = 0;
    for (;;) {
        if (atomic_load(&d->mode) == DISK_BYPASSED) {
            step_begins(d);
            if (clock_mono_us() >= retry_us && !rebuild(d)) {
                retry_us = clock_mono_us() + RETRY_MS * 1000;
            }
            step_ends(d);
            if (atomic_load(&d->mode) == DISK_BYPASSED) {
                if (is_stopping(d)) {
                    break;
                }
                usleep(20000);
                continue;
            }
        }
        take(d, &b);
        if (b.n > 0) {
            step_begins(d);
            write_batch(d, &b);
            step_ends(d);
            finish(d, &b); /* after a failure, too: the emptied store makes every change true */
        } else if (is_stopping(d)) {
            break;
        } else {
            sleep_a_while(d, is_restless(d, synced));
        }
        if (clock_mono_us() - weighed_us >= WEIGH_US && atomic_load(&d->mode) == DISK_SERVING) {
            struct store_stats st;
            weighed_us = clock_mono_us();
            d->store->stats(d->store, &st);
            atomic_store(&d->store_bytes, st.memory_bytes);
            atomic_store(&d->disk_bytes, st.disk_bytes);
        }
        if (clock_mono_us() - last_us >= SECOND_US && atomic_load(&d->mode) == DISK_SERVING) {
            last_us = clock_mono_us();
            step_begins(d);
            each_second(d, &synced);
            step_ends(d);
            synced = atomic_load(&d->count.batches);
        }
    }
    return NULL;
}

void writer_start(struct disk *d) {
    pthread_mutex_init(&d->mutex, NULL);
    pthread_cond_init(&d->wake, NULL);
    pthread_cond_init(&d->settled, NULL);
    CHECK(pthread_create(&d->writer, NULL, writer_main, d) == 0);
    pthread_setname_np(d->writer, "l2-writer");
}

void writer_stop(struct disk *d) {
    pthread_mutex_lock(&d->mutex);
    d->stopping = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->mutex);
    pthread_join(d->writer, NULL);
    pthread_cond_destroy(&d->settled);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->mutex);
}

void disk_settle(struct disk *d) {
    pthread_mutex_lock(&d->mutex);
    while (atomic_load(&d->queued) != atomic_load(&d->done)) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_signal(&d->wake);
        pthread_cond_timedwait(&d->settled, &d->mutex, &until);
    }
    pthread_mutex_unlock(&d->mutex);
}
