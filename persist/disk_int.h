/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_int: what the files of the disk tier share. */
#pragma once

#include <pthread.h>

#include "persist/disk.h"
#include "persist/lane.h"
#include "persist/state.h"

struct change_watch;

enum {
    UNSURE_LEAST = 1000,  /* keys before counting again is thought of */
    FAILS_IN_A_ROW = 32,  /* reads, after which the device has a rest */
    READS_REST_MS = 1000,
    RECLAIM_LOOK_S = 30,  /* between two looks at what is dead; the writer wakes as often */
    STALL_MS = 1000       /* that a step of the writer may take before nobody waits for it any more */
};

/* Lanes of the threads that read: a client waits; warm-up, counting. */
enum { READS_WAITED_FOR, READS_IN_BACKGROUND, READ_LANES };

enum disk_mode { DISK_SERVING, DISK_BYPASSED };

struct disk_counters {
    _Atomic uint64_t probes, memory_hits, queue_hits, absent, disk_hits, disk_misses, reads_refused, reads_late, read_failures, reads_skipped, corrupt;
    _Atomic uint64_t puts, deletes, batches, bytes_in, write_failures, rebuilds, recounts, reclaims, surveys;
    _Atomic uint64_t queue_full, stalls, packed, packed_from, packed_to;
    _Atomic uint64_t dropped, expired, flushed; /* records that are gone: about, with their windows; found dead by compactions */
};

struct disk {
    /* fixed after open */
    struct disk_options options;
    struct source source;
    struct sink sink;
    struct state *state;
    struct store *store;
    struct pool *pool;
    char adopted[96];     /* how it was opened, for INFO, */
    int64_t adopted_keys; /* and with how many keys */
    struct lane lanes[STATE_LANES];
    pthread_t writer;
    /* the writer's */
    struct packer *packer;
    uint64_t unsure; /* keys counted by the filters' word since the last recount */
    int64_t recounted_us, looked_us;
    void *survey;            /* the store's, under way; survey.c */
    bool surveyed;           /* there is nothing to survey for now, nor under way */
    int64_t survey_after_us; /* none before */
    pthread_mutex_t mutex; /* only to sleep and be woken */
    pthread_cond_t wake, settled;
    /* mutex */
    bool stopping;
    struct lock walk_lock;
    struct change_watch *watches; /* walk_lock */
    /* atomic */
    _Atomic int mode;         /* enum disk_mode */
    _Atomic bool recounting, closing;
    _Atomic uint64_t vanished; /* records that have gone without the writer's doing since the keys were counted */
    _Atomic bool flushed, looking, reclaiming; /* reclaim.c */
    _Atomic int64_t reclaimed_us;              /* asked for last; 0 never */
    _Atomic bool survey_walked;
    _Atomic bool asleep;      /* the writer is, or is about to be */
    _Atomic uint64_t queued, done; /* changes ever queued and ever finished */
    _Atomic uint32_t watch_count;
    _Atomic uint32_t users;   /* reads under way in the store */
    _Atomic uint32_t fails_in_a_row;
    _Atomic int64_t reads_rest_until_us; /* reads of the device are skipped */
    _Atomic int64_t step_since_us; /* when the writer began what may block; 0: nothing */
    _Atomic bool stalled;          /* it has taken too long */
    struct admission admission;
    _Atomic size_t queue_bytes, store_bytes; /* the bound; memory the store took a second ago */
    _Atomic uint64_t disk_bytes; /* on the device, a second ago */
    _Atomic int64_t max_bytes;
    _Atomic int64_t keys[STATE_PHYSICAL]; /* in the store */
    _Atomic int64_t growth_queued[STATE_PHYSICAL]; /* by how much that will change, as far as is known */
    struct disk_counters count;
    char last_error[256];     /* writer's; read for INFO without care for a torn line */
};

static inline struct lane *disk_lane(struct disk *d, const struct key *key) {
    return &d->lanes[lane_of(hash_position(key->hash))];
}
static inline void disk_count(_Atomic uint64_t *c, uint64_t n) {
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}
/* Of changes on their way, all lanes together. */
static inline size_t disk_queued_bytes(const struct disk *d) {
    size_t n = 0;
    for (unsigned i = 0; i < STATE_LANES; i++) {
        n += atomic_load_explicit(&d->lanes[i].bytes, memory_order_relaxed);
    }
    return n;
}
/* Enters the store for a read; false when it is bypassed. */
static inline bool disk_enter(struct disk *d) {
    atomic_fetch_add(&d->users, 1);
    if (atomic_load(&d->mode) == DISK_SERVING) {
        return true;
    }
    atomic_fetch_sub(&d->users, 1);
    return false;
}
/* What was read since disk_enter counts: a tier that was bypassed meanwhile may have given up the queued deletion of what its
 * store still has. It cannot have come back before the reader leaves. */
static inline bool disk_still_serves(struct disk *d) {
    return atomic_load(&d->mode) == DISK_SERVING;
}
static inline void disk_leave(struct disk *d) {
    atomic_fetch_sub(&d->users, 1);
}

/* disk.c: source and sink. */
void disk_make_faces(struct disk *d);
/* Reads of the device are skipped for a moment: they failed. */
bool disk_rests(const struct disk *d);

/* walk.c: the source's walk and unpack. */
uint64_t disk_walk(struct source *s, uint8_t physical, uint64_t from, uint64_t to, size_t want, int64_t now_ms, walked_fn fn,
                   void *ctx);
void *disk_watch(struct source *s, uint8_t physical, uint64_t from);
bool disk_unwatch(struct source *s, void *watch, uint64_t to, walked_fn fn, void *ctx);
/* A change was queued while somebody watches. The lane is locked. */
void disk_note_change(struct disk *d, const struct op *op);
bool disk_unpack(struct source *s, struct slice record, struct found *out);

/* recount.c: by the writer, between batches. */
void recount_if_unsure(struct disk *d);

/* reclaim.c: by the writer, between batches. */
void reclaim_if_due(struct disk *d);

/* survey.c: by the writer, between batches; and when no thread of the tier is left. */
void survey_if_due(struct disk *d);
void survey_close(struct disk *d);

/* open.c: the source's info. */
void disk_info(struct source *s, struct buf *b);
void disk_numbers(struct source *s, struct tier_numbers all[STAT_TIERS]);

/* writer.c */
void writer_start(struct disk *d);
void writer_stop(struct disk *d);
/* Something was queued. Any thread, any lock of lower rank held. */
void writer_wake(struct disk *d);
/* The store cannot be trusted: bypass it until the writer has emptied it. Any thread. */
void disk_bypass(struct disk *d, const char *why);
