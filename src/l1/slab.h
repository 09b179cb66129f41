/* SPDX-License-Identifier: BSD-3-Clause */
/* slab: a shard's blocks of up to SLAB_MAX bytes, in size classes, named by 32-bit handles in 8-byte units (32 GiB a shard).
 * Handles instead of pointers halve the table and let blocks move. All functions need the shard locked.
 *
 * A chunk holds blocks of one class. Its free blocks are linked by index through bytes 2..3 of each; byte 0 of a free
 * block is SLAB_FREE, so that an old handle can be recognised. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/l1/chunk.h"

enum {
    SLAB_MAX = 1152, /* larger values are the allocator's: more classes would leave more chunks half empty */
    SLAB_CLASSES = 32 + 16 + 32 + 4 + 1, /* 8..256 by 8, to 512 by 16, to 1024 by 16, to 1152 by 32; class 0: table blocks of 64 */
    SLAB_TABLE_CLASS = 0,
    SLAB_FREE = 0xFF,
    HANDLES_PER_CHUNK = CHUNK_BYTES / 8
};

struct slab_chunk {
    char *base; /* NULL: given back */
    uint16_t cls, free_count, free_head, bump; /* bump: blocks handed out at least once */
    uint32_t next, prev;                        /* chunks of the class with room; UINT32_MAX ends */
    bool listed;
};

struct slab_class {
    uint32_t size, per_chunk;
    uint32_t some; /* first chunk with room */
    uint64_t free_blocks;
};

struct slab {
    struct chunk_pool *pool;
    struct slab_chunk *chunks;
    char **bases; /* chunk bases again, dense, for slab_at; replaced when it grows, the old kept in retired */
    char ***retired;
    uint32_t retired_count;
    uint32_t chunk_count, chunk_cap, vacant; /* vacant: a slot whose chunk was given back, or UINT32_MAX */
    uint64_t chunk_bytes, live_bytes, free_bytes; /* free: of blocks, never handed out ones included */
    uint32_t sweep; /* chunk the compaction looks at next */
    struct slab_class classes[SLAB_CLASSES];
};

void slab_init(struct slab *s, struct chunk_pool *pool);
/* Gives all chunks back, whatever they hold. */
void slab_fini(struct slab *s);
unsigned slab_class_of(size_t bytes);
static inline size_t slab_class_size(const struct slab *s, unsigned cls) {
    return s->classes[cls].size;
}
/* 0 when memory is gone. */
uint32_t slab_alloc(struct slab *s, unsigned cls);
void slab_free(struct slab *s, uint32_t handle);
static inline void *slab_at(const struct slab *s, uint32_t handle) {
    return s->bases[handle / HANDLES_PER_CHUNK] + (size_t)(handle % HANDLES_PER_CHUNK) * 8;
}
static inline unsigned slab_class_at(const struct slab *s, uint32_t handle) {
    return s->chunks[handle / HANDLES_PER_CHUNK].cls;
}
/* Whether the handle names a block of an item (not of the table) now: for handles that may be old. */
bool slab_is_live(const struct slab *s, uint32_t handle);
/* Bytes of blocks that were never handed out: their pages need not be resident. */
uint64_t slab_untouched(const struct slab *s);
/* A chunk worth emptying: its class has room for its blocks elsewhere. Looks at up to n chunks. UINT32_MAX: none. */
uint32_t slab_sparse_chunk(struct slab *s, unsigned n);
/* Takes the chunk out of allocation, and returns the handles of its live blocks (at most n, into out): 0 when it is empty. Freeing
 * the first of them puts it back. */
unsigned slab_evacuate(struct slab *s, uint32_t chunk, uint32_t *out, unsigned n);
/* An evacuated chunk that is empty now goes, even where slab_free keeps a spare: else the next look would fill it again from
 * the chunk its blocks went to, for ever. */
void slab_give_back(struct slab *s, uint32_t chunk);
