/* SPDX-License-Identifier: BSD-3-Clause */
/* walk: the keys of a database in order: first those on their way to the store, then the store's. One that arrives in between is
 * met in either. */
#include "persist/disk_int.h"
#include "persist/record.h"
#include "src/base/mem.h"

enum { EXAMINE = 16 /* records looked at for each one wanted */ };

struct disk_walk {
    struct disk *d;
    uint8_t physical;
    uint32_t generation;
    uint64_t from, last; /* positions, both included */
    size_t want, found, examined;
    int64_t now_ms;
    walked_fn fn;
    void *ctx;
};

/* The last position of the last cursor step that has this one: what is found ends at a step. */
static uint64_t step_end(uint64_t position) {
    return position | 0xffff;
}

static bool is_alive(const struct disk_walk *w, struct slice record, struct walked *out) {
    out->record = record;
    out->type = record_type(record);
    out->extra = record_extra(record);
    return record_deadline(record, &out->expire_ms) && (out->expire_ms == -1 || out->expire_ms > w->now_ms);
}

/* ---- what is on its way ---- */

/* What it leaves of the key is told even when that is nothing: the store is looked at later, and may not show it yet when it has
 * left the queue by then. */
static void visit_queued(struct disk_walk *w, const struct op *op) {
    struct walked found = {.queued = true};
    uint32_t generation;
    if (op->position < w->from || op->position > w->last ||
        !record_split_key(slice_make(op->key, op->key_len), &generation, &found.position, &found.name) ||
        generation != w->generation) {
        return;
    }
    bool alive = op->change == CHANGE_PUT && is_alive(w, buf_slice(&op->record), &found);
    if (!alive) {
        found.type = TYPE_NONE;
        found.expire_ms = -1;
    }
    w->fn(w->ctx, &found);
    w->found += alive;
}

/* Bucket by bucket, each for itself locked: a lane may hold much. */
static void walk_lanes(struct disk_walk *w) {
    for (unsigned id = lane_of(w->from); id <= lane_of(w->last) && w->found < w->want; id++) {
        struct lane *lane = &w->d->lanes[id];
        unsigned first = id == lane_of(w->from) ? lane_bucket(w->from) : 0;
        unsigned end = id == lane_of(w->last) ? lane_bucket(w->last) : LANE_BUCKETS - 1;
        for (unsigned b = first; b <= end && w->found < w->want; b++) {
            lane_lock(lane);
            for (const struct op *op = lane->table[b]; op != NULL; op = op->chain) {
                visit_queued(w, op);
            }
            lane_unlock(lane);
            if (w->found >= w->want) {
                uint64_t bucket_last = lane_bucket_last(id, b);
                w->last = bucket_last < w->last ? bucket_last : w->last;
            }
        }
    }
}

/* ---- what is in the store ---- */

/* What is queued of a key counts before what is stored of it. */
static bool visit_newer(struct disk_walk *w, const struct walked *found) {
    struct lane *lane = &w->d->lanes[lane_of(found->position)];
    struct key key = {found->name, hash_position(found->position), w->physical};
    lane_lock(lane);
    const struct op *op = lane_find(lane, &key, w->generation);
    if (op != NULL) {
        visit_queued(w, op);
    }
    lane_unlock(lane);
    return op != NULL;
}

static bool visit_stored(void *ctx, struct slice key, struct slice value) {
    struct disk_walk *w = ctx;
    struct walked found = {0};
    uint32_t generation;
    if (!record_split_key(key, &generation, &found.position, &found.name) || generation != w->generation ||
        found.position > w->last) {
        return false;
    }
    if (!visit_newer(w, &found) && is_alive(w, value, &found)) {
        w->fn(w->ctx, &found);
        w->found++;
    }
    if (w->last > step_end(found.position) && (w->found >= w->want || ++w->examined >= w->want * EXAMINE)) {
        w->last = step_end(found.position);
    }
    return true;
}

uint64_t disk_walk(struct source *s, uint8_t physical, uint64_t from, uint64_t to, size_t want, int64_t now_ms, walked_fn fn,
                   void *ctx) {
    struct disk *d = s->ctx;
    struct disk_walk w = {.d = d,
                          .physical = physical,
                          .generation = state_generation(d->state, physical),
                          .from = from,
                          .last = to - 1, /* 0: all of them */
                          .want = want,
                          .now_ms = now_ms,
                          .fn = fn,
                          .ctx = ctx};
    if (disk_enter(d)) { /* else the queue's word counts no more than the store's */
        struct buf start = {0};
        walk_lanes(&w);
        w.found = 0;
        record_put_start(&start, w.generation, from);
        bool whole = d->store->each(d->store, buf_slice(&start), visit_stored, &w);
        disk_count(&d->count.read_failures, !whole); /* what could not be read is not met, as a read of it is a miss */
        buf_free(&start);
        disk_leave(d);
    }
    return w.last + 1;
}

/* ---- what comes during a walk ---- */

enum { WATCH_BYTES = 4 << 20 };

/* A list of queued changes: record keys, each behind what is said of it. */
struct change_watch {
    struct change_watch *next;
    uint8_t physical;
    uint64_t from;
    struct buf keys;
    bool overflowed;
};

void *disk_watch(struct source *s, uint8_t physical, uint64_t from) {
    struct disk *d = s->ctx;
    struct change_watch *w = mem_zalloc(sizeof(*w));
    w->physical = physical;
    w->from = from;
    lock_acquire(&d->walk_lock);
    w->next = d->watches;
    d->watches = w;
    atomic_fetch_add(&d->watch_count, 1);
    lock_release(&d->walk_lock);
    return w;
}

struct change_head {
    size_t key_len;
    int64_t expire_ms;
    enum value_type type; /* TYPE_NONE: deleted */
};

void disk_note_change(struct disk *d, const struct op *op) {
    struct change_head head = {.key_len = op->key_len, .expire_ms = -1, .type = TYPE_NONE};
    if (op->change == CHANGE_PUT) {
        head.type = record_type(buf_slice(&op->record));
        (void)record_deadline(buf_slice(&op->record), &head.expire_ms); /* our own record */
    }
    lock_acquire(&d->walk_lock);
    for (struct change_watch *w = d->watches; w != NULL; w = w->next) {
        if (w->physical != op->physical || op->position < w->from) {
            continue;
        }
        if (w->keys.n + op->key_len > WATCH_BYTES) {
            w->overflowed = true;
            continue;
        }
        buf_put(&w->keys, &head, sizeof(head));
        buf_put(&w->keys, op->key, op->key_len);
    }
    lock_release(&d->walk_lock);
}

bool disk_unwatch(struct source *s, void *watch, uint64_t to, walked_fn fn, void *ctx) {
    struct disk *d = s->ctx;
    struct change_watch *w = watch, **at = &d->watches;
    lock_acquire(&d->walk_lock);
    while (*at != w) {
        at = &(*at)->next;
    }
    *at = w->next;
    atomic_fetch_sub(&d->watch_count, 1);
    lock_release(&d->walk_lock);
    for (size_t i = 0; fn != NULL && i < w->keys.n;) {
        struct change_head head;
        uint32_t generation;
        memcpy(&head, w->keys.p + i, sizeof(head));
        struct walked found = {.type = head.type, .expire_ms = head.expire_ms};
        record_split_key(slice_make(w->keys.p + i + sizeof(head), head.key_len), &generation, &found.position, &found.name);
        if (to == 0 || found.position < to) {
            fn(ctx, &found);
        }
        i += sizeof(head) + head.key_len;
    }
    bool whole = !w->overflowed;
    buf_free(&w->keys);
    mem_free(w);
    return whole;
}

bool disk_unpack(struct source *s, struct slice record, struct found *out) {
    struct disk *d = s->ctx;
    return record_decode(record, &d->options.hash_limits, out);
}
