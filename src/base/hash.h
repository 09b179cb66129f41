/* SPDX-License-Identifier: BSD-3-Clause */
/* hash: keys are hashed once (XXH3, seeded per process against flooding) and carried everywhere. */
#pragma once

#include <stdint.h>

#include "src/base/slice.h"

/* A key of one call. hash covers name and db; the shard is its high bits, the bucket its low bits.
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

static inline struct key key_make(struct slice name, uint8_t db) {
    return (struct key){name, hash_key(name, db), db};
}

/* CRC16 slot of Redis Cluster (XMODEM, {tag} rule), 0..16383. */
uint16_t hash_slot(struct slice name);
