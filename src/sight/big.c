/* SPDX-License-Identifier: BSD-3-Clause */
/* big: an unordered list; whoever comes pushes out the smallest. */
#include "src/sight/big.h"

#include <stdlib.h>

#include "src/base/hash.h"
#include "src/base/mem.h"

void big_init(struct big *b, uint32_t order) {
    atomic_init(&b->floor, BIG_LEAST - 1);
    lock_init(&b->lock, LOCK_SIGHT, order);
    b->n = 0;
}

void big_fini(struct big *b) {
    big_items_free(b->items, b->n);
    b->n = 0;
}

void big_items_free(struct big_item *items, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        mem_free(items[i].name);
    }
}

static unsigned find(const struct big *b, uint64_t hash) {
    unsigned i = 0;
    while (i < b->n && b->items[i].hash != hash) {
        i++;
    }
    return i;
}

static unsigned smallest(const struct big *b) {
    unsigned at = 0;
    for (unsigned i = 1; i < b->n; i++) {
        if (b->items[i].bytes < b->items[at].bytes) {
            at = i;
        }
    }
    return at;
}

/* What is smaller than all of a full list is not worth the lock. */
static void set_floor(struct big *b) {
    size_t floor = b->n == BIG_KEEP ? b->items[smallest(b)].bytes : BIG_LEAST - 1;
    atomic_store_explicit(&b->floor, floor, memory_order_relaxed);
}

void big_note_slow(struct big *b, const struct key *key, size_t bytes) {
    if (key->name.n > BIG_NAME_MAX) {
        return;
    }
    lock_acquire(&b->lock);
    unsigned at = find(b, key->hash);
    if (at < b->n) {
        b->items[at].bytes = bytes;
    } else {
        if (b->n == BIG_KEEP) {
            at = smallest(b);
            mem_free(b->items[at].name);
        } else {
            b->n++;
        }
        b->items[at] = (struct big_item){.hash = key->hash,
                                         .bytes = bytes,
                                         .name = mem_memdup(key->name.p, key->name.n),
                                         .name_n = (uint16_t)key->name.n,
                                         .db = key->db};
    }
    set_floor(b);
    lock_release(&b->lock);
}

void big_correct(struct big *b, uint64_t hash, size_t bytes) {
    lock_acquire(&b->lock);
    unsigned at = find(b, hash);
    if (at < b->n && bytes >= BIG_LEAST) {
        b->items[at].bytes = bytes;
    } else if (at < b->n) {
        mem_free(b->items[at].name);
        b->items[at] = b->items[--b->n];
    }
    set_floor(b);
    lock_release(&b->lock);
}

static int by_size(const void *a, const void *b) {
    size_t x = ((const struct big_item *)a)->bytes, y = ((const struct big_item *)b)->bytes;
    return x < y ? 1 : x > y ? -1 : 0;
}

unsigned big_list(struct big *b, struct big_item *out, unsigned max) {
    lock_acquire(&b->lock);
    qsort(b->items, b->n, sizeof(*b->items), by_size);
    unsigned n = b->n < max ? b->n : max;
    for (unsigned i = 0; i < n; i++) {
        out[i] = b->items[i];
        out[i].name = mem_memdup(b->items[i].name, b->items[i].name_n);
    }
    lock_release(&b->lock);
    return n;
}
