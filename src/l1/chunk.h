/* SPDX-License-Identifier: BSD-3-Clause */
/* chunk: the memory of all shards, in 32 KiB chunks cut from 2 MiB extents that ask for huge pages. Any thread. */
#pragma once

#include <stddef.h>

enum { CHUNK_BYTES = 32 << 10, EXTENT_BYTES = 2 << 20, CHUNKS_PER_EXTENT = EXTENT_BYTES / CHUNK_BYTES };

struct chunk_pool;

struct chunk_pool *chunk_pool_create(void);
/* Every chunk must be back. */
void chunk_pool_destroy(struct chunk_pool **pool);
/* Aligned to its size, content undefined; NULL when the system has no memory. */
void *chunk_take(struct chunk_pool *pool);
/* The memory stays mapped (a lock-free prefetch may still look at it), but is returned to the system when its whole
 * extent is free. */
void chunk_give(struct chunk_pool *pool, void *chunk);
/* Bytes that may be resident: chunks taken, and free ones whose memory has not gone back. */
size_t chunk_pool_resident(const struct chunk_pool *pool);
/* Gives about so many bytes of free chunks back to the system, in a bounded slice. */
void chunk_pool_trim(struct chunk_pool *pool, size_t bytes);
/* Bytes of chunks taken. */
size_t chunk_pool_bytes(const struct chunk_pool *pool);
