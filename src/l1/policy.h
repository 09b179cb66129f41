/* SPDX-License-Identifier: BSD-3-Clause */
/* policy: which item goes when memory is full. A policy is one file with one const table, and one row of policies.def. It keeps six
 * bits in each item's meta byte (META_POLICY) and whatever state it wants per shard; it sees sizes and whether an
 * item has a deadline, never keys' names. All functions need the shard locked. */
#pragma once

#include "src/l1/shard.h"

struct policy {
    const char *name;
    bool only_ttl; /* volatile-*: may evict only items with a deadline */
    bool evicts;
    /* State for a shard, NULL when the policy needs none; items already there have any policy bits. */
    void *(*create)(struct shard *s);
    void (*destroy)(struct shard *s, void *state);
    /* The policy bits of a new item; called before it is in its place. */
    uint8_t (*insert)(struct shard *s, uint64_t hash, uint32_t handle, size_t bytes);
    /* A read found the item; called only while (meta & hit_mask) != hit_value. Returns the new meta byte. */
    uint8_t (*hit)(struct shard *s, uint8_t meta);
    /* The item's block moved to another handle; may be NULL. */
    void (*moved)(struct shard *s, uint32_t handle, uint8_t meta);
    /* The item leaves (deleted, expired, evicted, replaced). */
    void (*remove)(struct shard *s, uint64_t hash, uint32_t handle, uint8_t meta, size_t bytes, bool evicted);
    /* Picks an item to evict; false when there is none it may. */
    bool (*victim)(struct shard *s, struct place *out);
    /* The victim stays after all: another one next time, as far as there is one. NULL: it counts as read. */
    void (*spare)(struct shard *s, struct place at);
    /* The item's turn in a round of its group (quota.h) has come: true when it was read since its last one, which is forgotten
     * now. NULL: the policy cannot tell. */
    bool (*lap)(uint8_t *meta);
    uint8_t hit_mask, hit_value;
    uint8_t read_mask; /* an item none of whose bits here is set was not read since it came; 0: the policy cannot tell */
};

/* NULL when unknown. */
const struct policy *policy_find(const char *name);
const struct policy *policy_at(unsigned i);
unsigned policy_count(void);

/* A random bucket chain's occupied places that the policy may evict, at most max. For sampling policies. */
unsigned policy_sample(struct shard *s, bool only_ttl, struct place *out, unsigned max);
