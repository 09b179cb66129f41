/* SPDX-License-Identifier: BSD-3-Clause */
/* window: RocksDB's column families as windows of time, each with a sieve of its keys, and the view of them that readers take.
 *
 *   view --> windows, newest first --> family: a column family, gone from memory with its last reader
 *                                  --> sieve: what it denies the window has not; NULL: not known
 *
 * A view never changes. The writer puts another in its place, and what only the old one had goes with the old one's last reader. */
#pragma once

#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/lock.h"
#include "src/ds/sieve.h"

enum { MAX_WINDOWS = 8 };

struct family {
    /* fixed after create */
    rocksdb_column_family_handle_t *cf;
    unsigned number;
    _Atomic uint32_t refs;
};

struct window {
    struct family *family;
    struct sieve *sieve;
    uint64_t learnt; /* items of the sieve when it was put in place */
};

struct view {
    _Atomic uint32_t refs;
    unsigned n;
    struct window windows[MAX_WINDOWS];
};

/* Where the view of the moment is. */
struct view_place {
    struct lock lock; /* view */
    struct view *view;
};

/* Takes over the handle, counted once, and the sieve. */
struct window window_make(rocksdb_column_family_handle_t *cf, unsigned number, struct sieve *sieve);
/* One more reference to both. */
struct window window_ref(const struct window *w);
void window_unref(struct window *w);
static inline bool window_denies(const struct window *w, uint64_t hash) {
    return w->sieve != NULL && !sieve_has(w->sieve, hash);
}

void view_place_init(struct view_place *p);
/* The view of the moment, counted; view_drop gives it back. Any thread. */
struct view *view_take(struct view_place *p);
void view_drop(struct view *v);
/* The first n of its windows into out, one more reference to each: for the view that comes after it. */
void view_windows(const struct view *v, unsigned n, struct window *out);
/* Takes over the windows' references. n 0: no view any more. One thread at a time; it may read p->view. */
void view_replace(struct view_place *p, const struct window *windows, unsigned n);
