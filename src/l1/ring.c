/* SPDX-License-Identifier: BSD-3-Clause */
/* ring: a chain of blocks; entries are put in at the last and taken out at the first. */
#include "src/l1/ring.h"

#include "src/base/check.h"
#include "src/base/mem.h"

enum { BLOCK_BYTES = 1024, ENTRIES = (BLOCK_BYTES - 2 * sizeof(void *)) / sizeof(struct ring_entry) };

struct ring_block {
    struct ring_block *next, *prev;
    struct ring_entry entry[ENTRIES];
};
_Static_assert(sizeof(struct ring_block) == BLOCK_BYTES, "one size class of the allocator");

static struct ring_block *take_block(struct ring *r) {
    struct ring_block *b = r->spare;
    if (b == NULL) {
        b = mem_alloc(sizeof(*b));
        *r->bytes += sizeof(*b);
    }
    r->spare = NULL;
    b->next = b->prev = NULL;
    return b;
}

static void free_block(struct ring *r, struct ring_block *b) {
    mem_free(b);
    *r->bytes -= sizeof(*b);
}

/* A queue that goes round within a few blocks takes none from the allocator. */
static void give_block(struct ring *r, struct ring_block *b) {
    if (r->spare != NULL) {
        free_block(r, b);
    } else {
        r->spare = b;
    }
}

void ring_init(struct ring *r, uint64_t *bytes) {
    *r = (struct ring){.bytes = bytes};
    r->first = r->last = take_block(r);
}

void ring_fini(struct ring *r) {
    for (struct ring_block *b = r->first, *next; b != NULL; b = next) {
        next = b->next;
        free_block(r, b);
    }
    if (r->spare != NULL) {
        free_block(r, r->spare);
    }
}

void ring_push(struct ring *r, struct ring_entry e) {
    if (r->tail == ENTRIES) {
        struct ring_block *b = take_block(r);
        b->prev = r->last;
        r->last->next = b;
        r->last = b;
        r->tail = 0;
    }
    r->last->entry[r->tail++] = e;
    r->count++;
}

struct ring_entry ring_pop(struct ring *r) {
    ASSERT(r->count > 0);
    struct ring_entry e = r->first->entry[r->head++];
    r->count--;
    if (r->count == 0) {
        r->head = r->tail = 0; /* one block is left: it can be neither behind the first nor before the last */
    } else if (r->head == ENTRIES) {
        struct ring_block *b = r->first;
        r->first = b->next;
        r->first->prev = NULL;
        r->head = 0;
        give_block(r, b);
    }
    return e;
}

static struct ring_entry pop_newest(struct ring *r) {
    struct ring_entry e = r->last->entry[--r->tail];
    r->count--;
    if (r->tail == 0 && r->last != r->first) {
        struct ring_block *b = r->last;
        r->last = b->prev;
        r->last->next = NULL;
        r->tail = ENTRIES;
        give_block(r, b);
    }
    return e;
}

void ring_turn(struct ring *r) {
    ASSERT(r->count > 0);
    if (r->count == 1) {
        return;
    }
    struct ring_entry e = pop_newest(r);
    if (r->head == 0) {
        struct ring_block *b = take_block(r);
        b->next = r->first;
        r->first->prev = b;
        r->first = b;
        r->head = ENTRIES;
    }
    r->first->entry[--r->head] = e;
    r->count++;
}
