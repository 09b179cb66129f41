/* SPDX-License-Identifier: BSD-3-Clause */
/* sieve: a blocked Bloom filter (Putze, Sanders and Singler 2007) over hashes: all bits of an item lie in one cache line.
 *
 *   hash: 32 high bits say which line | 27 low bits are three places of nine bits in it
 *
 * An item costs one cache line and some twenty instructions. Full, at six bits an item, it takes one stranger of fifteen for an
 * item, and with twice as many items one of four; it takes any number, and never denies one.
 *
 * Threads: any may add and ask, without a lock: bits are only ever set. What was added before, as the threads see it, is found. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIEVE_BITS = 6, SIEVE_LINE_BYTES = 64 };

struct sieve;

/* An empty one for so many items, of at most so many bytes (one line at least); counted once. NULL without memory. */
struct sieve *sieve_create(uint64_t items, size_t max_bytes);
struct sieve *sieve_ref(struct sieve *s);
/* The last one frees it. */
void sieve_unref(struct sieve **s);

/* True: it was new, that is, it would have been denied before. hash: 64 good bits. */
bool sieve_add(struct sieve *s, uint64_t hash);
bool sieve_has(const struct sieve *s, uint64_t hash);
/* Forgets all; who asks meanwhile may be denied what was in it. */
void sieve_clear(struct sieve *s);

/* Items that were new since it was made or cleared; and as many as its bits are for. */
uint64_t sieve_items(const struct sieve *s);
uint64_t sieve_capacity(const struct sieve *s);
size_t sieve_bytes(const struct sieve *s);
