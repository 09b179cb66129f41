/* SPDX-License-Identifier: BSD-3-Clause */
/* bloom: a Bloom filter that grows (Almeida, Baquero, Preguiça and Hutchison 2007), with the hashes and bits of RedisBloom, so
 * that each loads what the other wrote.
 *
 *   layers[0]: capacity n, error e/2 | layers[1]: n x expansion, e/4 | layers[2]: n x expansion^2, e/8 | ...
 *
 * An item goes into the newest layer; a full one gets a successor. The errors' sum stays below e. A filter with expansion 0 has
 * one layer, with all of e, and may be full. A stranger is refused by a layer at its first bit that is not set, the second
 * on average: an absent item costs about two cache lines a layer.
 *
 * Threads: one at a time adds; bloom_exists, the sums and bloom_read_words may run on any others meanwhile, without a lock. Bits
 * are only ever set, in atomic words, and a layer is whole before it is counted: what was added before is found. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"

enum {
    BLOOM_MAX_LAYERS = 64,       /* the bound on what a look-up costs */
    BLOOM_MAX_HASHES = 1100,     /* more than the least error a double holds asks for */
    BLOOM_MAX_EXPANSION = 32768
};

struct bloom_layer {
    /* fixed after create */
    uint64_t capacity;
    uint64_t bits;               /* a multiple of 64 */
    double error, bits_per_item; /* the latter as the error asks for, by RedisBloom's formula; there may be more */
    uint32_t hashes;
    /* atomic, written by the one that adds */
    _Atomic uint64_t items; /* that were new */
    _Atomic uint64_t words[]; /* bit x is words[x / 64] >> x % 64, so on a little-endian machine bit x % 8 of byte x / 8 */
};

struct bloom {
    uint32_t expansion;     /* fixed: a layer's capacity over that of the one before; 0: there is but one */
    _Atomic uint32_t count; /* published: layers[0..count-1] are whole */
    struct bloom_layer *layers[BLOOM_MAX_LAYERS];
};

/* An empty filter for capacity items at 0 < error < 1; expansion 0: it does not grow. NULL without memory, or when it would
 * take more than max_bytes. */
struct bloom *bloom_create(double error, uint64_t capacity, uint32_t expansion, size_t max_bytes);
void bloom_destroy(struct bloom **b);
/* A copy; while it is made nobody may add. NULL without memory. */
struct bloom *bloom_dup(const struct bloom *b);

/* False: never added. True: added, or taken for another that was. */
bool bloom_exists(const struct bloom *b, struct slice item);
/* No item can be added: it does not grow. */
bool bloom_is_full(const struct bloom *b);

enum bloom_added {
    BLOOM_OLD,      /* it exists, as bloom_exists sees it */
    BLOOM_NEW,
    BLOOM_FULL,     /* no room in a filter that does not grow */
    BLOOM_NO_MEMORY /* no room in the newest layer, and none for another: neither memory, nor max_bytes, nor layers */
};
enum bloom_added bloom_add(struct bloom *b, struct slice item, size_t max_bytes) __attribute__((warn_unused_result));

/* Sums over the layers. */
uint64_t bloom_items(const struct bloom *b);
uint64_t bloom_capacity(const struct bloom *b);
/* What the allocator holds for it. */
size_t bloom_bytes(const struct bloom *b);

/* ---- for reading one from bytes ---- */

/* A filter without layers, which no thread but the caller may see. Aborts without memory. */
struct bloom *bloom_create_bare(uint32_t expansion);
/* Whether there can be a layer like this one. */
bool bloom_sound(const struct bloom_layer *shape);
/* Adds a layer like this one, which is sound, but without its bits. NULL without memory, or behind BLOOM_MAX_LAYERS. */
struct bloom_layer *bloom_push(struct bloom *b, const struct bloom_layer *shape);
/* The words of a layer, as they are by now, to p. */
void bloom_read_words(const struct bloom_layer *l, void *p);
void bloom_write_words(struct bloom_layer *l, const void *p);
