/* SPDX-License-Identifier: BSD-3-Clause */
/* ghost: fingerprints of what was evicted from a shard lately, in lines by hash, newest first. Its lines grow and shrink by linear
 * hashing, in blocks of 1 KiB, so that no eviction pauses for it. Every function needs the shard's lock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { GHOST_WAYS = 32 /* fingerprints of a line */ };

struct ghost_block;

struct ghost {
    struct ghost_block **blocks;
    uint32_t cap;          /* of blocks */
    uint32_t lines, level; /* 2^level <= lines < 2^(level+1) */
    uint64_t *bytes;       /* of the shard's policy: what the ghost holds is counted there */
};

/* Where a key was found. */
struct ghost_find {
    bool by_main;    /* which queue let it go */
    unsigned before; /* how many that the same queue let go later are in the line */
};

void ghost_init(struct ghost *g, uint64_t *bytes);
void ghost_fini(struct ghost *g);
/* Each takes it a few lines nearer to what a shard of so many items wants: a few more fingerprints than items. */
void ghost_grow(struct ghost *g, uint32_t items);
void ghost_shrink(struct ghost *g, uint32_t items);
/* hash: without the bits that chose the shard. print: any of its higher bits. */
void ghost_add(struct ghost *g, uint32_t hash, uint16_t print, bool by_main);
/* Whether the key is there, among as many as a shard of so many items wants; it no longer is. */
bool ghost_take(struct ghost *g, uint32_t hash, uint16_t print, uint32_t items, struct ghost_find *out);
