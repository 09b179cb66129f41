/* SPDX-License-Identifier: BSD-3-Clause */
/* sieve: bits in lines. */
#include "src/ds/sieve.h"

#include <stdatomic.h>

#include "src/base/mem.h"

enum { LINE_BITS = SIEVE_LINE_BYTES * 8, PLACE_BITS = 9, PLACES = 3 };

struct line {
    _Atomic uint64_t words[SIEVE_LINE_BYTES / 8];
};

struct sieve {
    /* fixed after create */
    struct line *lines; /* in room */
    uint64_t n;
    void *room;
    /* atomic */
    _Atomic uint32_t refs;
    _Atomic uint64_t items;
};

_Static_assert(1 << PLACE_BITS == LINE_BITS, "a place is a bit of a line");

struct sieve *sieve_create(uint64_t items, size_t max_bytes) {
    uint64_t most = max_bytes / SIEVE_LINE_BYTES, n = items / (LINE_BITS / SIEVE_BITS) + 1;
    n = n > most ? most : n;
    n = n == 0 ? 1 : n > UINT32_MAX ? UINT32_MAX : n;
    struct sieve *s = mem_try_zalloc(sizeof(*s));
    void *room = s == NULL ? NULL : mem_try_zalloc((size_t)n * SIEVE_LINE_BYTES + SIEVE_LINE_BYTES);
    if (room == NULL) {
        mem_free(s);
        return NULL;
    }
    s->room = room;
    s->lines = (struct line *)(((uintptr_t)room + SIEVE_LINE_BYTES - 1) & ~(uintptr_t)(SIEVE_LINE_BYTES - 1));
    s->n = n;
    atomic_init(&s->refs, 1);
    return s;
}

struct sieve *sieve_ref(struct sieve *s) {
    if (s != NULL) {
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    }
    return s;
}

void sieve_unref(struct sieve **sp) {
    struct sieve *s = *sp;
    *sp = NULL;
    if (s != NULL && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1) {
        mem_free(s->room);
        mem_free(s);
    }
}

static struct line *line_of(const struct sieve *s, uint64_t hash) {
    return &s->lines[(hash >> 32) * s->n >> 32];
}

bool sieve_add(struct sieve *s, uint64_t hash) {
    struct line *line = line_of(s, hash);
    bool fresh = false;
    for (int i = 0; i < PLACES; i++, hash >>= PLACE_BITS) {
        _Atomic uint64_t *word = &line->words[hash % LINE_BITS / 64];
        uint64_t bit = UINT64_C(1) << hash % 64;
        if ((atomic_load_explicit(word, memory_order_relaxed) & bit) == 0) {
            atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
            fresh = true;
        }
    }
    if (fresh) {
        atomic_fetch_add_explicit(&s->items, 1, memory_order_relaxed);
    }
    return fresh;
}

bool sieve_has(const struct sieve *s, uint64_t hash) {
    const struct line *line = line_of(s, hash);
    uint64_t all = 1;
    for (int i = 0; i < PLACES; i++, hash >>= PLACE_BITS) {
        all &= atomic_load_explicit(&line->words[hash % LINE_BITS / 64], memory_order_relaxed) >> hash % 64;
    }
    return all & 1;
}

void sieve_clear(struct sieve *s) {
    for (uint64_t i = 0; i < s->n; i++) {
        for (int k = 0; k < SIEVE_LINE_BYTES / 8; k++) {
            atomic_store_explicit(&s->lines[i].words[k], 0, memory_order_relaxed);
        }
    }
    atomic_store_explicit(&s->items, 0, memory_order_relaxed);
}

uint64_t sieve_items(const struct sieve *s) {
    return atomic_load_explicit(&s->items, memory_order_relaxed);
}

uint64_t sieve_capacity(const struct sieve *s) {
    return s->n * LINE_BITS / SIEVE_BITS;
}

size_t sieve_bytes(const struct sieve *s) {
    return s->n * SIEVE_LINE_BYTES;
}
