/* SPDX-License-Identifier: BSD-3-Clause */
/* bloom: hashing, sizing, layers. */
#include "src/ds/bloom.h"

#include <math.h>

#include "src/base/check.h"
#include "src/base/mem.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are filed as they lie");

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define PUT(field, v) atomic_store_explicit(&(field), v, memory_order_relaxed)

/* ---- where an item's bits are ---- */

/* MurmurHash64A of Austin Appleby. */
static uint64_t murmur(struct slice s, uint64_t seed) {
    const uint64_t m = 0xc6a4a7935bd1e995ULL;
    uint64_t h = seed ^ s.n * m, k;
    const char *p = s.p, *end = p + s.n / 8 * 8;
    for (; p < end; p += 8) {
        memcpy(&k, p, 8);
        k *= m;
        k ^= k >> 47;
        h = (h ^ k * m) * m;
    }
    if (s.n % 8 > 0) {
        k = 0;
        memcpy(&k, p, s.n % 8);
        h = (h ^ k) * m;
    }
    h = (h ^ h >> 47) * m;
    return h ^ h >> 47;
}

/* Bit i of an item is at start + i x step, modulo the layer's bits (Kirsch and Mitzenmacher 2006). */
struct probes {
    uint64_t start, step;
};

static struct probes probes_of(struct slice item) {
    uint64_t h = murmur(item, 0xc6a4a7935bd1e995ULL);
    return (struct probes){h, murmur(item, h)};
}

static bool layer_has(const struct bloom_layer *l, struct probes p) {
    for (uint32_t i = 0; i < l->hashes; i++, p.start += p.step) {
        uint64_t x = p.start % l->bits;
        if ((GET(l->words[x / 64]) >> x % 64 & 1) == 0) {
            return false;
        }
    }
    return true;
}

/* A plain load and store will do: nobody else writes. */
static void layer_set(struct bloom_layer *l, struct probes p) {
    for (uint32_t i = 0; i < l->hashes; i++, p.start += p.step) {
        uint64_t x = p.start % l->bits;
        PUT(l->words[x / 64], GET(l->words[x / 64]) | 1ULL << x % 64);
    }
    PUT(l->items, GET(l->items) + 1);
}

/* ---- how large a layer is ---- */

/* Both as RedisBloom rounds them. */
static double bits_per_item(double error) {
    return -(log(error) / 0.480453013918201); /* ln(2)^2 */
}

static uint32_t hashes_for(double per_item) {
    double n = ceil(0.693147180559945 * per_item); /* ln(2) */
    return n >= 1 && n <= BLOOM_MAX_HASHES ? (uint32_t)n : 0;
}

/* Whether so many bits keep the promise of a full layer. By then more items than its capacity were offered: those taken for others
 * are not counted. A stranger is taken in when all its bits are set; or because its step, or that and an item's, come round too
 * soon modulo the bits: once or twice in `bits`, which matters in small layers. That is measured by the first layer's error, and
 * by no less than one in a million: else deep layers would be all air. */
static bool bits_suffice(double bits, const struct bloom_layer *l, double first_error) {
    double hashes = l->hashes, offered = (double)l->capacity / (1 - 1.3 * l->error / (hashes + 1));
    double set = -expm1(-hashes * offered / bits); /* the share of bits */
    return pow(set, hashes) / l->error + 3 * set / bits / fmax(first_error, 1e-6) <= 1;
}

/* RedisBloom's number of bits, and a little more until they suffice. */
static double bits_for(const struct bloom_layer *l, double first_error) {
    double bits = (double)l->capacity * l->bits_per_item;
    while (!bits_suffice(bits, l, first_error)) {
        bits *= 1.005;
    }
    return ceil(bits / 64) * 64;
}

/* ---- layers ---- */

bool bloom_sound(const struct bloom_layer *shape) {
    return shape->capacity > 0 && shape->bits > 0 && shape->bits % 64 == 0 && shape->error > 0 && shape->error < 1 && shape->hashes > 0 &&
           shape->hashes == hashes_for(shape->bits_per_item);
}

struct bloom_layer *bloom_push(struct bloom *b, const struct bloom_layer *shape) {
    uint32_t n = GET(b->count);
    ASSERT(bloom_sound(shape));
    struct bloom_layer *l = n == BLOOM_MAX_LAYERS ? NULL : mem_try_zalloc(sizeof(*l) + shape->bits / 8);
    if (l == NULL) {
        return NULL;
    }
    l->capacity = shape->capacity;
    l->bits = shape->bits;
    l->error = shape->error;
    l->bits_per_item = shape->bits_per_item;
    l->hashes = shape->hashes;
    PUT(l->items, GET(shape->items));
    b->layers[n] = l;
    atomic_store_explicit(&b->count, n + 1, memory_order_release);
    return l;
}

static bool push_empty(struct bloom *b, double error, uint64_t capacity, size_t max_bytes) {
    struct bloom_layer shape = {.capacity = capacity, .error = error, .bits_per_item = bits_per_item(error)};
    size_t taken = bloom_bytes(b) + sizeof(shape);
    shape.hashes = hashes_for(shape.bits_per_item);
    if (taken >= max_bytes || (double)capacity * shape.bits_per_item / 8 > (double)(max_bytes - taken) || shape.hashes == 0) {
        return false; /* before it is computed with */
    }
    double bits = bits_for(&shape, GET(b->count) == 0 ? error : b->layers[0]->error);
    if (bits / 8 > (double)(max_bytes - taken)) {
        return false;
    }
    shape.bits = (uint64_t)bits;
    return bloom_push(b, &shape) != NULL;
}

static struct bloom_layer *newest(const struct bloom *b) {
    return b->layers[atomic_load_explicit(&b->count, memory_order_acquire) - 1];
}

static bool grow(struct bloom *b, size_t max_bytes) {
    const struct bloom_layer *last = newest(b);
    uint64_t capacity;
    return !__builtin_mul_overflow(last->capacity, (uint64_t)b->expansion, &capacity) && push_empty(b, last->error / 2, capacity, max_bytes);
}

/* ---- filters ---- */

struct bloom *bloom_create_bare(uint32_t expansion) {
    struct bloom *b = mem_zalloc(sizeof(*b));
    b->expansion = expansion;
    return b;
}

struct bloom *bloom_create(double error, uint64_t capacity, uint32_t expansion, size_t max_bytes) {
    struct bloom *b = bloom_create_bare(expansion);
    if (!push_empty(b, expansion == 0 ? error : error / 2, capacity, max_bytes)) {
        bloom_destroy(&b);
    }
    return b;
}

void bloom_destroy(struct bloom **b) {
    for (uint32_t i = 0; i < GET((*b)->count); i++) {
        mem_free((*b)->layers[i]);
    }
    mem_free(*b);
    *b = NULL;
}

struct bloom *bloom_dup(const struct bloom *b) {
    struct bloom *copy = bloom_create_bare(b->expansion);
    for (uint32_t i = 0; i < GET(b->count); i++) {
        struct bloom_layer *l = bloom_push(copy, b->layers[i]);
        if (l == NULL) {
            bloom_destroy(&copy);
            return NULL;
        }
        for (uint64_t w = 0; w < l->bits / 64; w++) {
            PUT(l->words[w], GET(b->layers[i]->words[w]));
        }
    }
    return copy;
}

static bool exists(const struct bloom *b, struct probes p) {
    for (uint32_t i = atomic_load_explicit(&b->count, memory_order_acquire); i-- > 0;) { /* the newest is the largest */
        if (layer_has(b->layers[i], p)) {
            return true;
        }
    }
    return false;
}

bool bloom_exists(const struct bloom *b, struct slice item) {
    return exists(b, probes_of(item));
}

static bool layer_is_full(const struct bloom_layer *l) {
    return GET(l->items) >= l->capacity;
}

bool bloom_is_full(const struct bloom *b) {
    return b->expansion == 0 && layer_is_full(newest(b));
}

enum bloom_added bloom_add(struct bloom *b, struct slice item, size_t max_bytes) {
    struct probes p = probes_of(item);
    if (exists(b, p)) {
        return BLOOM_OLD;
    }
    if (bloom_is_full(b)) {
        return BLOOM_FULL;
    }
    if (layer_is_full(newest(b)) && !grow(b, max_bytes)) {
        return BLOOM_NO_MEMORY;
    }
    layer_set(newest(b), p);
    return BLOOM_NEW;
}

uint64_t bloom_items(const struct bloom *b) {
    uint64_t n = 0;
    for (uint32_t i = atomic_load_explicit(&b->count, memory_order_acquire); i-- > 0;) {
        n += GET(b->layers[i]->items);
    }
    return n;
}

uint64_t bloom_capacity(const struct bloom *b) {
    uint64_t n = 0;
    for (uint32_t i = atomic_load_explicit(&b->count, memory_order_acquire); i-- > 0;) {
        n += b->layers[i]->capacity;
    }
    return n;
}

size_t bloom_bytes(const struct bloom *b) {
    size_t n = mem_usable(b);
    for (uint32_t i = atomic_load_explicit(&b->count, memory_order_acquire); i-- > 0;) {
        n += mem_usable(b->layers[i]);
    }
    return n;
}

void bloom_read_words(const struct bloom_layer *l, void *p) {
    char *to = p;
    for (uint64_t w = 0; w < l->bits / 64; w++, to += 8) {
        uint64_t v = GET(l->words[w]);
        memcpy(to, &v, 8);
    }
}

void bloom_write_words(struct bloom_layer *l, const void *p) {
    const char *from = p;
    for (uint64_t w = 0; w < l->bits / 64; w++, from += 8) {
        uint64_t v;
        memcpy(&v, from, 8);
        PUT(l->words[w], v);
    }
}
