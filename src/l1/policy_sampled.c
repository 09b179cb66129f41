/* SPDX-License-Identifier: BSD-3-Clause */
/* policy_sampled: random, LRU, LFU and nearest deadline, over all keys or over those with a deadline. Each looks at two buckets
 * (some 17 items), or more where a table has become sparse, where Redis looks at five keys.
 *
 * LRU keeps a 6-bit clock that advances with every sixteenth of the shard's items touched: an approximation that
 * resolves four turnovers in 64 steps, and near CLOCK in what it costs. LFU keeps a 6-bit logarithmic counter, halved
 * as items are replaced. */
#include "src/base/rng.h"
#include "src/l1/policy.h"

enum { SAMPLE = 32, ENOUGH = 12, ROUNDS = 2, ROUNDS_MOST = 5, EPOCHS = 64, LFU_START = 3, LFU_MAX = 63, AGE_MOST = 4 };

static uint8_t no_bits(struct shard *s, uint64_t hash, uint32_t handle, size_t bytes) {
    (void)s;
    (void)hash;
    (void)handle;
    (void)bytes;
    return 0;
}

static uint8_t keep_meta(struct shard *s, uint8_t meta) {
    (void)s;
    return meta;
}

static void forget(struct shard *s, uint64_t hash, uint32_t handle, uint8_t meta, size_t bytes,
                   bool evicted) {
    (void)s;
    (void)hash;
    (void)handle;
    (void)meta;
    (void)bytes;
    (void)evicted;
}

/* The sampled place with the highest score. */
static bool best_of(struct shard *s, int64_t (*score)(const struct shard *s, struct place p),
                    struct place *out) {
    struct place places[SAMPLE];
    bool only_ttl = s->policy->only_ttl, found = false;
    int64_t best = 0;
    unsigned seen = 0;
    for (int round = 0; round < ROUNDS || (seen < ENOUGH && round < ROUNDS_MOST); round++) {
        unsigned n = policy_sample(s, only_ttl, places, SAMPLE);
        seen += n;
        for (unsigned i = 0; i < n; i++) {
            int64_t x = score(s, places[i]);
            if (!found || x > best) {
                best = x;
                *out = places[i];
                found = true;
            }
        }
    }
    return found;
}

/* ---- random ---- */

static int64_t score_random(const struct shard *s, struct place p) {
    (void)s;
    (void)p;
    return (int64_t)(rng_u64() >> 1);
}

static bool victim_random(struct shard *s, struct place *out) {
    return best_of(s, score_random, out);
}

/* ---- LRU ---- */

static void touch_epoch(struct shard *s) {
    uint32_t step = s->items / 16 + 1;
    if (++s->epoch_touches >= step) {
        s->epoch_touches = 0;
        s->epoch = (uint8_t)((s->epoch + 1) % EPOCHS);
        s->hit_value = s->epoch;
    }
}

static uint8_t insert_lru(struct shard *s, uint64_t hash, uint32_t handle, size_t bytes) {
    (void)hash;
    (void)handle;
    (void)bytes;
    touch_epoch(s);
    return s->epoch;
}

static uint8_t hit_lru(struct shard *s, uint8_t meta) {
    touch_epoch(s);
    return (uint8_t)((meta & ~META_POLICY) | s->epoch);
}

static int64_t score_lru(const struct shard *s, struct place p) {
    uint8_t when = p.bucket->meta[p.slot] & META_POLICY;
    return (s->epoch - when + EPOCHS) % EPOCHS;
}

static bool victim_lru(struct shard *s, struct place *out) {
    return best_of(s, score_lru, out);
}

/* ---- LFU ---- */

static void age_bucket(struct shard *s, struct bucket *b) {
    for (; b != NULL; b = bucket_next(s, b)) {
        for (int i = 0; i < bucket_slots(b); i++) {
            uint8_t count = b->meta[i] & META_POLICY;
            b->meta[i] = (uint8_t)((b->meta[i] & ~META_POLICY) | (count - count / 4));
        }
    }
}

/* Each counter loses a quarter once per turnover of the shard: while as many items come as there are, the hand passes each bucket
 * once, however full they are. */
static void age_some(struct shard *s) {
    s->epoch_touches += s->buckets;
    for (int i = 0; i < AGE_MOST && s->epoch_touches >= s->items; i++) {
        s->epoch_touches -= s->items;
        s->hand = s->hand + 1 < s->buckets ? s->hand + 1 : 0;
        age_bucket(s, shard_bucket(s, s->hand));
    }
    s->epoch_touches = s->epoch_touches < s->items ? s->epoch_touches : 0; /* far too many buckets: they shrink */
}

static uint8_t insert_lfu(struct shard *s, uint64_t hash, uint32_t handle, size_t bytes) {
    (void)hash;
    (void)handle;
    (void)bytes;
    age_some(s);
    return LFU_START;
}

static uint8_t hit_lfu(struct shard *s, uint8_t meta) {
    (void)s;
    uint8_t count = meta & META_POLICY;
    if (count < LFU_START + 4 || rng_below((uint64_t)(count - LFU_START)) == 0) {
        count++;
    }
    return (uint8_t)((meta & ~META_POLICY) | count);
}

static int64_t score_lfu(const struct shard *s, struct place p) {
    (void)s;
    return LFU_MAX - (p.bucket->meta[p.slot] & META_POLICY);
}

static bool victim_lfu(struct shard *s, struct place *out) {
    return best_of(s, score_lfu, out);
}

/* ---- nearest deadline ---- */

static int64_t score_ttl(const struct shard *s, struct place p) {
    return -item_expire(slab_at(&s->slab, p.bucket->handle[p.slot]));
}

static bool victim_ttl(struct shard *s, struct place *out) {
    return best_of(s, score_ttl, out);
}

static bool victim_none(struct shard *s, struct place *out) {
    (void)s;
    (void)out;
    return false;
}

#define RANDOM(ttl) .only_ttl = ttl, .evicts = true, .insert = no_bits, .hit = keep_meta, .remove = forget
#define LRU(ttl)                                                                                   \
    .only_ttl = ttl, .evicts = true, .insert = insert_lru, .hit = hit_lru, .remove = forget,       \
    .victim = victim_lru, .hit_mask = META_POLICY
#define LFU(ttl)                                                                                   \
    .only_ttl = ttl, .evicts = true, .insert = insert_lfu, .hit = hit_lfu, .remove = forget,       \
    .victim = victim_lfu, .hit_mask = META_POLICY, .hit_value = LFU_MAX

extern const struct policy policy_allkeys_lru, policy_allkeys_lfu, policy_allkeys_random,
    policy_volatile_lru, policy_volatile_lfu, policy_volatile_random, policy_volatile_ttl,
    policy_noeviction;

const struct policy policy_allkeys_lru = {.name = "allkeys-lru", LRU(false)};
const struct policy policy_volatile_lru = {.name = "volatile-lru", LRU(true)};
const struct policy policy_allkeys_lfu = {.name = "allkeys-lfu", LFU(false)};
const struct policy policy_volatile_lfu = {.name = "volatile-lfu", LFU(true)};
const struct policy policy_allkeys_random = {.name = "allkeys-random", RANDOM(false), .victim = victim_random};
const struct policy policy_volatile_random = {.name = "volatile-random", RANDOM(true), .victim = victim_random};
const struct policy policy_volatile_ttl = {.name = "volatile-ttl", RANDOM(true), .victim = victim_ttl};
const struct policy policy_noeviction = {
    .name = "noeviction", .insert = no_bits, .hit = keep_meta, .remove = forget, .victim = victim_none};
