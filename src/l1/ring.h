/* SPDX-License-Identifier: BSD-3-Clause */
/* ring: a queue of items by handle and hash, open at both ends, in blocks of 1 KiB: neither growing nor shrinking copies anything, so
 * that no insert pauses for it. Of one shard, whose lock every function needs. */
#pragma once

#include <stdint.h>

struct ring_block;

/* The bits of the hash behind the shard's find the bucket; a block that another key has by now is not there. */
struct ring_entry {
    uint32_t handle, hash;
};

struct ring {
    struct ring_block *first, *last, *spare; /* spare: one kept for the next push, or NULL */
    uint32_t head, tail;                     /* places in first and behind the last entry in last */
    uint32_t count;
    uint64_t *bytes; /* of the shard's policy: what the ring holds is counted there */
};

void ring_init(struct ring *r, uint64_t *bytes);
void ring_fini(struct ring *r);
void ring_push(struct ring *r, struct ring_entry e);
/* The oldest; the ring must not be empty. */
struct ring_entry ring_pop(struct ring *r);
/* The newest becomes the oldest; the ring must not be empty. */
void ring_turn(struct ring *r);
