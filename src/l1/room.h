/* SPDX-License-Identifier: BSD-3-Clause */
/* room: memory of a shard, private to this folder: what it reports, defers, compacts. */
#pragma once

#include "src/l1/shard.h"

/* Tells the tier's total how this shard's bytes changed, in coarse steps, so that writes on different cores share no line. */
void shard_publish(struct shard *s);
/* Takes over a large aggregate for freeing in slices: true; small ones are the caller's. */
bool shard_defer_free(struct shard *s, const unsigned char *it);
/* Frees up to about budget elements; true while something is left. */
bool shard_free_pending(struct shard *s, size_t budget);
/* NULL: only drops the present one. */
void shard_set_policy(struct shard *s, const struct policy *policy);
void shard_remove_as(struct shard *s, uint64_t hash, struct place at, bool evicted);
void shard_view(const struct shard *s, uint32_t handle, struct item_view *out);
