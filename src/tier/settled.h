/* SPDX-License-Identifier: BSD-3-Clause */
/* settled: while the owner before is asked for keys that have moved here, which keys it must not be asked for: those that were written,
 * deleted or looked for here since. A set of key hashes, of a fixed size, that may take a key for settled that is not: it is then
 * loaded from its origin instead; never the other way round. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/hash.h"

enum { SETTLED_SLOTS = 16384, SETTLED_WORDS = 1 << 17 /* a megabyte: with 500,000 keys one in sixty is mistaken */ };

struct settled {
    _Atomic bool on;          /* somebody is asked */
    _Atomic uint64_t *words;  /* SETTLED_WORDS of them, fixed after boot; NULL: no cluster */
    _Atomic uint16_t *terms;  /* of each slot: how often it has come here. What was settled in an earlier term is not in this one */
};

static inline bool settled_is_on(const struct settled *s) {
    return __builtin_expect(atomic_load_explicit(&s->on, memory_order_relaxed), 0);
}

static inline uint64_t settled_bit(uint64_t hash, unsigned k) {
    return k == 0 ? hash % (SETTLED_WORDS * 64ULL) : (hash >> 24) % (SETTLED_WORDS * 64ULL);
}

static inline uint64_t settled_hash(const struct settled *s, const struct key *key) {
    return key->hash + atomic_load_explicit(&s->terms[hash_slot(key->name)], memory_order_relaxed) * 0x9e3779b97f4a7c15ULL;
}

/* Before the key's next look-up: its shard is locked, or its value is in memory by now. */
static inline void settled_add_hash(struct settled *s, uint64_t hash) {
    for (unsigned k = 0; k < 2; k++) {
        uint64_t bit = settled_bit(hash, k);
        atomic_fetch_or_explicit(&s->words[bit / 64], 1ULL << bit % 64, memory_order_relaxed);
    }
}

static inline void settled_add(struct settled *s, const struct key *key) {
    settled_add_hash(s, settled_hash(s, key));
}

static inline bool settled_has(const struct settled *s, const struct key *key) {
    uint64_t hash = settled_hash(s, key), a = settled_bit(hash, 0), b = settled_bit(hash, 1);
    return (atomic_load_explicit(&s->words[a / 64], memory_order_relaxed) >> a % 64 &
            atomic_load_explicit(&s->words[b / 64], memory_order_relaxed) >> b % 64 & 1) != 0;
}

/* FLUSHALL: every key. Or, before it is on: none. */
static inline void settled_fill(struct settled *s, bool all) {
    for (unsigned i = 0; s->words != NULL && i < SETTLED_WORDS; i++) {
        atomic_store_explicit(&s->words[i], all ? UINT64_MAX : 0, memory_order_relaxed);
    }
}
