/* SPDX-License-Identifier: BSD-3-Clause */
/* quota: groups of items, each with a bound of its own on the memory its items take. An item names its group in four bits of its
 * head, so that what it takes is given back when it goes without anybody being asked. Beyond the bound items of the group push
 * out one another, whatever the tier's policy thinks of them.
 *
 * Who goes next is told by a ring of hashes per shard and group, in order of arrival; one that was read since its last turn goes
 * round again, as far as the policy can tell (policy.h, lap). Eight bytes an item, of grouped items only. All functions need
 * the shard locked unless they say otherwise. */
#pragma once

#include "src/l1/shard.h"

/* One group, all shards together. */
struct group {
    _Atomic int64_t bytes, items, limit; /* limit 0: none */
    _Atomic uint64_t evicted;
};

/* The item has come into its place, with the bytes it takes; before: the group of the item that it replaced, or 0. */
void quota_join(struct shard *s, uint64_t hash, unsigned char *it, size_t bytes, unsigned before);
/* It goes. It has a group. */
void quota_leave(struct shard *s, const unsigned char *it, size_t bytes);
/* It takes so many bytes more, or less. It has a group. */
void quota_resize(struct shard *s, const unsigned char *it, int64_t more);
/* The groups have changed: the item gets the one it belongs to now. */
void quota_regroup(struct shard *s, uint32_t handle);
/* Picks the item of the group to evict next; false when there is none, or none was found in a bounded search. */
bool quota_victim(struct shard *s, unsigned group, struct place *out);
/* Groups over their bounds that it is time to do something about: a bit each. */
uint32_t quota_crowded(struct l1 *l1);
/* Items of the group in this shard. */
uint32_t quota_items(const struct shard *s, unsigned group);
void quota_fini(struct shard *s);
