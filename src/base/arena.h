/* SPDX-License-Identifier: BSD-3-Clause */
/* arena: bump memory for one call or one loop turn; everything dies together at arena_reset. One
 * owner, no lock. Zero-initialised is empty and valid. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct arena_block;

struct arena {
    char *at, *end;            /* free room of the newest block */
    struct arena_block *blocks; /* newest first; the oldest is kept over resets */
};

/* Gives an empty arena n bytes at p, aligned to 16, to use first; they stay the caller's, and are not used again after a reset. */
static inline void arena_borrow(struct arena *a, char *p, size_t n) {
    a->at = p;
    a->end = p + n;
}
/* Slow path of arena_alloc. */
void *arena_more(struct arena *a, size_t n);
/* Forgets everything allocated; keeps one block of at most 64 KiB. */
void arena_reset(struct arena *a);
void arena_free(struct arena *a);

/* n bytes aligned to 16; aborts when memory is gone (callers bound n). Uninitialised. */
static inline void *arena_alloc(struct arena *a, size_t n) {
    size_t need = (n + 15) & ~(size_t)15;
    if ((size_t)(a->end - a->at) >= need && a->at != NULL) {
        void *p = a->at;
        a->at += need;
        return p;
    }
    return arena_more(a, need);
}
