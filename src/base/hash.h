/* SPDX-License-Identifier: BSD-3-Clause */
/* hash: keys are hashed once (XXH3, seeded per process against flooding) and carried everywhere. */
#pragma once

#include <stdint.h>

#include "src/base/slice.h"

/* A key of one call. hash covers name and db; the shard is its low bits, the bucket the next ones.
 * db is the physical number behind the client's logical one (SWAPDB and FLUSHDB change the mapping;
 * see src/l1/l1.h). */
struct key {
    struct slice name; /* borrowed from the call's arguments */
    uint64_t hash;
    uint8_t db;
};

/* Sets the process's seed from the system's generator; hash_seed fixes it, for tests. */
void hash_init(void);
void hash_seed(uint64_t seed);

uint64_t hash_key(struct slice name, uint8_t db);
/* The same function for data that is no key (hash fields, ACL names). */
uint64_t hash_bytes(const void *p, size_t n);
/* Without a seed: every process has the same, for what nodes say of keys to each other. Whoever wants to can find collisions. */
uint64_t hash_name(struct slice name);

/* Where a key lies in the order in which every tier walks: its hash with the bits reversed. The first bits then are those of
 * shard and bucket, whatever their numbers are, so that an interval of positions is an interval of each tier. Its own
 * inverse. */
static inline uint64_t hash_position(uint64_t v) {
    v = ((v >> 1) & 0x5555555555555555ULL) | ((v & 0x5555555555555555ULL) << 1);
    v = ((v >> 2) & 0x3333333333333333ULL) | ((v & 0x3333333333333333ULL) << 2);
    v = ((v >> 4) & 0x0f0f0f0f0f0f0f0fULL) | ((v & 0x0f0f0f0f0f0f0f0fULL) << 4);
    return __builtin_bswap64(v);
}

static inline struct key key_make(struct slice name, uint8_t db) {
    return (struct key){name, hash_key(name, db), db};
}

/* CRC16 slot of Redis Cluster (XMODEM, {tag} rule), 0..16383. */
uint16_t hash_slot(struct slice name);
