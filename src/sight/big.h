/* SPDX-License-Identifier: BSD-3-Clause */
/* big: the largest keys that were written, a bounded list. Noted on write, where the size is known anyway; what is deleted or shrinks
 * afterwards is corrected by whoever lists them. Any thread. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "src/base/lock.h"
#include "src/base/slice.h"

struct key;

enum {
    BIG_KEEP = 128,
    BIG_LEAST = 1024,   /* bytes of value from which on a key may be big */
    BIG_NAME_MAX = 1024 /* keys with longer names are not noted */
};

struct big_item {
    uint64_t hash;
    size_t bytes;
    char *name; /* owned */
    uint16_t name_n;
    uint8_t db;   /* physical */
    uint8_t type; /* enum value_type, whoever lists them finds out */
};

struct big {
    _Atomic size_t floor; /* smaller writes need not be noted */
    /* SIGHT lock */
    struct lock lock;
    unsigned n;
    struct big_item items[BIG_KEEP];
};

/* order: of the lock. */
void big_init(struct big *b, uint32_t order);
void big_fini(struct big *b);
void big_note_slow(struct big *b, const struct key *key, size_t bytes);
/* The key's value has so many bytes now. */
static inline void big_note(struct big *b, const struct key *key, size_t bytes) {
    if (__builtin_expect(bytes > atomic_load_explicit(&b->floor, memory_order_relaxed), 0)) {
        big_note_slow(b, key, bytes);
    }
}
/* The key has that size in truth, 0: it is gone. */
void big_correct(struct big *b, uint64_t hash, size_t bytes);
/* Copies, largest first, at most max, names for big_items_free; returns how many. */
unsigned big_list(struct big *b, struct big_item *out, unsigned max);
void big_items_free(struct big_item *items, unsigned n);
