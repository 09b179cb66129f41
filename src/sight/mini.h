/* SPDX-License-Identifier: BSD-3-Clause */
/* mini: a miniature of the memory tier: the tier's own code (src/l1) under one of its policies, fed with the keys whose hashes lie
 * below a threshold, its limit scaled by the share of keys that is (Waldspurger et al., ATC 2017). It holds no values: an item is
 * five bytes of the key's hash and a reference to a blob that only says how large the value would be. One owner at a time; locks
 * of class SHARD are taken inside. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mini;
struct mini_sizes;

enum { MINI_RATE_ONE = 1 << 16 /* a threshold that every key is below */ };

/* One sampled read or write. */
struct mini_access {
    uint64_t hash;
    size_t bytes;      /* what the tier charges for the item; 0: it is not there, and its size unknown */
    int64_t expire_ms; /* L1_NO_TTL: none */
};

static inline uint32_t mini_draw(uint64_t hash) {
    return (uint32_t)(hash >> 48);
}

/* The blobs that stand for sizes, shared by miniatures; outlives them. */
struct mini_sizes *mini_sizes_create(void);
void mini_sizes_destroy(struct mini_sizes **s);

/* evicted (may be NULL) is told what leaves, with what was put in; it must not call the miniature. policy: a row of policies.def;
 * most: items beyond which nothing is stored. */
struct mini *mini_create(struct mini_sizes *sizes, const char *policy, unsigned most,
                         void (*evicted)(void *ctx, const struct mini_access *a), void *ctx);
void mini_destroy(struct mini **m);
/* Bytes of the tier that it stands for, times the share of keys. */
void mini_set_limit(struct mini *m, double bytes);
void mini_set_policy(struct mini *m, const char *policy);
/* A read; true: it would have been a hit. A miss is followed by a write when the size is known. */
bool mini_read(struct mini *m, const struct mini_access *a, int64_t now_ms);
/* A write: no hit, whatever was there. */
void mini_write(struct mini *m, const struct mini_access *a, int64_t now_ms);
void mini_remove(struct mini *m, uint64_t hash, int64_t now_ms);
/* Keys at the threshold or above leave: the sample has become smaller. */
void mini_thin(struct mini *m, uint32_t below, int64_t now_ms);
/* Expiry that is due. */
void mini_tick(struct mini *m, int64_t now_ms);
uint64_t mini_items(const struct mini *m);
/* Memory it takes: resident, its chunks' untouched pages are not. */
size_t mini_bytes(const struct mini *m);
