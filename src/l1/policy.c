/* SPDX-License-Identifier: BSD-3-Clause */
/* policy: the rows, and sampling. */
#include "src/l1/policy.h"

#include "src/base/rng.h"

#define POLICY(table) extern const struct policy table;
#include "src/l1/policies.def"
#undef POLICY

static const struct policy *const policies[] = {
#define POLICY(table) &table,
#include "src/l1/policies.def"
#undef POLICY
};

const struct policy *policy_find(const char *name) {
    for (unsigned i = 0; i < policy_count(); i++) {
        if (strcmp(policies[i]->name, name) == 0) {
            return policies[i];
        }
    }
    return NULL;
}

const struct policy *policy_at(unsigned i) {
    return policies[i];
}

unsigned policy_count(void) {
    return sizeof(policies) / sizeof(policies[0]);
}

enum { RANDOM_TRIES = 16, HAND_TRIES = 1024 };

static unsigned chain_places(struct shard *s, uint32_t index, bool only_ttl, struct place *out,
                             unsigned max) {
    unsigned n = 0;
    for (struct bucket *b = shard_bucket(s, index); b != NULL; b = bucket_next(s, b)) {
        for (int i = 0; i < bucket_slots(b) && n < max; i++) {
            if (b->handle[i] != 0 && (!only_ttl || (b->meta[i] & META_TTL))) {
                out[n++] = (struct place){b, i};
            }
        }
    }
    return n;
}

unsigned policy_sample(struct shard *s, bool only_ttl, struct place *out, unsigned max) {
    unsigned n = 0;
    if (s->items == 0 || (only_ttl && s->ttl_items == 0)) {
        return 0;
    }
    for (int i = 0; i < RANDOM_TRIES && n == 0; i++) {
        n = chain_places(s, (uint32_t)rng_below(s->buckets), only_ttl, out, max);
    }
    /* few and far between: sweep on from where the last search ended */
    for (int i = 0; i < HAND_TRIES && n == 0; i++) {
        s->hand = s->hand + 1 < s->buckets ? s->hand + 1 : 0;
        n = chain_places(s, s->hand, only_ttl, out, max);
    }
    return n;
}
