/* SPDX-License-Identifier: BSD-3-Clause */
/* test_room: who pays when the tier is over its limit. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/rng.h"
#include "src/l1/policy.h"
#include "src/l1/shard.h"

enum { SHARDS = 8, LIMIT = 1 << 20, KEYS = 100000, VALUE = 32, BIG = 200000, LARGE = 20000 };

static void put(struct l1 *l1, int i, size_t n) {
    static const char bytes[BIG];
    char name[32];
    struct key key = key_make(slice_make(name, (size_t)snprintf(name, sizeof(name), "key:%d", i)), 0);
    unsigned shard = l1_shard_of(l1, key.hash);
    l1_lock(l1, shard);
    assert_int_equal(l1_set(l1, &key, slice_make(bytes, n), L1_NO_TTL, 0, 1), OK);
    if (l1_over_limit(l1)) {
        l1_make_room(l1, shard, 16, 1);
    }
    l1_unlock(l1, shard);
}

static void check_even(const struct l1 *l1) {
    uint64_t mean = l1_db_keys(l1, 0) / SHARDS;
    for (unsigned i = 0; i < SHARDS; i++) {
        assert_in_range(l1->shards[i].items, mean * 3 / 4, mean * 5 / 4);
    }
}

/* Evictions follow the items, not the writes: shards stay as large as each other however long it goes on. */
static void shards_stay_even(void **state) {
    (void)state;
    for (unsigned p = 0; p < policy_count(); p++) {
        const struct policy *policy = policy_at(p);
        if (!policy->evicts || policy->only_ttl) {
            continue;
        }
        rng_seed(1);
        struct l1 *l1 = l1_create(&(struct l1_options){.shards = SHARDS, .limit_bytes = LIMIT, .policy = policy->name});
        for (int i = 0; i < 400000; i++) {
            put(l1, (int)rng_below(KEYS), VALUE);
            if (i % 256 == 0) {
                l1_tick(l1, 1, 1000);
            }
            if (i % 10000 == 0 && i > 50000) {
                check_even(l1);
                assert_in_range(l1_bytes(l1), LIMIT / 8 * 7, LIMIT + LIMIT / 32);
            }
        }
        l1_destroy(&l1);
    }
}

/* A value larger than a shard's part of the limit does not make the small ones beside it pay for it alone. */
static void a_large_value_costs_all_shards(void **state) {
    (void)state;
    rng_seed(2);
    struct l1 *l1 = l1_create(&(struct l1_options){.shards = SHARDS, .limit_bytes = LIMIT, .policy = "allkeys-random"});
    put(l1, -1, BIG);
    for (int i = 0; i < 12000; i++) {
        put(l1, i, VALUE);
    }
    check_even(l1);
    l1_destroy(&l1);
}

/* What no tier below would take is passed over, but not for ever: it may be all there is. */
static bool is_large(void *ctx, const struct item_view *item) {
    (void)ctx;
    return item->str.n > LARGE / 2;
}

static int present(struct l1 *l1, int from, int n) {
    int found = 0;
    for (int i = from; i < from + n; i++) {
        char name[32];
        struct item_view view;
        struct key key = key_make(slice_make(name, (size_t)snprintf(name, sizeof(name), "key:%d", i)), 0);
        unsigned shard = l1_shard_of(l1, key.hash);
        l1_lock(l1, shard);
        found += l1_get(l1, &key, 1, L1_NOTOUCH, &view);
        l1_unlock(l1, shard);
    }
    return found;
}

static void what_is_spared_goes_last(void **state) {
    (void)state;
    for (unsigned p = 0; p < policy_count(); p++) {
        const struct policy *policy = policy_at(p);
        if (!policy->evicts || policy->only_ttl) {
            continue;
        }
        rng_seed(3);
        struct l1 *l1 = l1_create(&(struct l1_options){.shards = SHARDS, .limit_bytes = LIMIT, .policy = policy->name, .hooks = {.spared = is_large}});
        for (int i = 0; i < 40; i++) {
            put(l1, 1000000 + i, LARGE);
        }
        for (int i = 0; i < 100000; i++) { /* ten times what there is room for */
            put(l1, i, VALUE);
            if (i % 256 == 0) {
                l1_tick(l1, 1, 1000);
            }
        }
        assert_int_equal(present(l1, 1000000, 40), 40);
        assert_in_range(l1_bytes(l1), 0, LIMIT + LIMIT / 16);
        struct l1_stats stats;
        l1_stats_read(l1, &stats);
        assert_true(stats.spared > 0);
        for (int i = 0; i < 400; i++) { /* nothing but such */
            put(l1, 2000000 + i, LARGE);
            l1_tick(l1, 1, 1000);
        }
        assert_in_range(l1_bytes(l1), 0, LIMIT + LIMIT / 16);
        assert_in_range(present(l1, 1000000, 40) + present(l1, 2000000, 400), 40, 60);
        l1_destroy(&l1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_stay_even),
        cmocka_unit_test(a_large_value_costs_all_shards),
        cmocka_unit_test(what_is_spared_goes_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
