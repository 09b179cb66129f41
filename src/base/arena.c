/* SPDX-License-Identifier: BSD-3-Clause */
/* arena: bump memory in a chain of blocks. */
#include "src/base/arena.h"

#include "src/base/mem.h"

enum { BLOCK_BYTES = 64 * 1024 };

struct arena_block {
    struct arena_block *next; /* older */
    size_t cap;
    _Alignas(16) char data[];
};

static void open_block(struct arena *a, size_t cap) {
    struct arena_block *b = mem_alloc(sizeof(*b) + cap);
    b->next = a->blocks;
    b->cap = cap;
    a->blocks = b;
    a->at = b->data;
    a->end = b->data + cap;
}

void *arena_more(struct arena *a, size_t n) {
    size_t cap = BLOCK_BYTES - sizeof(struct arena_block);
    open_block(a, n > cap ? n : cap);
    void *p = a->at;
    a->at += n;
    return p;
}

void arena_reset(struct arena *a) {
    struct arena_block *keep = NULL;
    for (struct arena_block *b = a->blocks, *next; b != NULL; b = next) {
        next = b->next;
        if (next == NULL && b->cap < BLOCK_BYTES) {
            keep = b;
        } else {
            mem_free(b);
        }
    }
    a->blocks = keep;
    a->at = keep == NULL ? NULL : keep->data;
    a->end = keep == NULL ? NULL : keep->data + keep->cap;
}

void arena_free(struct arena *a) {
    for (struct arena_block *b = a->blocks, *next; b != NULL; b = next) {
        next = b->next;
        mem_free(b);
    }
    *a = (struct arena){0};
}
