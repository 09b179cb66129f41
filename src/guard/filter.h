/* SPDX-License-Identifier: BSD-3-Clause */
/* filter: the Bloom filter of a policy with `filter=bloom`: the value of the key that is spelled like the pattern. What it has never
 * seen does not exist. It is read here while BF.ADD changes it elsewhere: src/ds/bloom.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/hash.h"
#include "src/base/lock.h"
#include "src/value/value.h"

struct filter {
    struct lock lock; /* FILTER: all below, for a few instructions */
    struct value *value; /* NULL: there is none, or it is not known yet, or not to be believed */
    uint64_t least;      /* items it has had: one that has fewer was made anew after the other was evicted, and is not believed */
    uint8_t db;          /* of whose keys it knows; physical */
    int64_t expire_ms;   /* or -1 */
};

void filter_init(struct filter *f);
void filter_fini(struct filter *f);
/* The key spelled like the pattern has this value now (a reference is taken; NULL: it was deleted). Its shard is locked. */
void filter_set(struct filter *f, struct value *value, uint8_t db, int64_t expire_ms);
/* True when the filter knows that the key does not exist. Any thread. */
bool filter_excludes(struct filter *f, const struct key *key, int64_t now_ms);
