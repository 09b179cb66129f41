/* SPDX-License-Identifier: BSD-3-Clause */
/* policy_s3fifo: a look into the state of allkeys-s3fifo, for its tests. */
#pragma once

#include "src/l1/shard.h"

enum { S3FIFO_IN_MAIN = 16 /* of the meta byte: the item is in main, else in the small queue */ };

struct s3fifo_look {
    uint64_t small_bytes, main_bytes;
    uint32_t main_items;
    double small_share;  /* the part of the bytes that the small queue aims at */
    size_t memory_bytes; /* ring and ghost */
};

/* The shard must be locked and have the policy. */
void s3fifo_look(const struct shard *s, struct s3fifo_look *out);
