/* SPDX-License-Identifier: BSD-3-Clause */
/* test_slices: nobody waits long for the tier: each slice of maintenance does a bounded piece of work, whatever has piled up, nothing that
 * grows is copied, and a table that shrinks loses nothing. Counted, not timed. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/l1/policy.h"
#include "src/l1/shard.h"

enum {
    KEYS = 120000,
    NOW = 1 << 20,
    SLICE_BUCKETS = 16,     /* of the tick, as room.c has them: looked at for expiry, or swept */
    SLICE_VICTIMS = 32,
    SLICE_MERGES = 32,
    CHAIN = 40,             /* more items than any chain here has */
    PIECE_BYTES = 64 << 10, /* no insert may take more memory at once */
    MOST_SLICES = 1 << 20
};

static struct l1 *create(unsigned shards, const char *policy) {
    rng_seed(1);
    hash_seed(1);
    return l1_create(&(struct l1_options){.shards = shards, .policy = policy});
}

static struct key named(char *buf, size_t room, int i) {
    return key_make(slice_make(buf, (size_t)snprintf(buf, room, "key:%d", i)), 0);
}

static void put(struct l1 *l1, int i, int64_t expire_ms) {
    char buf[32];
    struct key key = named(buf, sizeof(buf), i);
    unsigned shard = l1_shard_of(l1, key.hash);
    l1_lock(l1, shard);
    assert_int_equal(l1_set(l1, &key, SLICE("some value"), expire_ms, 0, NOW), OK);
    l1_unlock(l1, shard);
}

static bool take(struct l1 *l1, int i) {
    char buf[32];
    struct key key = named(buf, sizeof(buf), i);
    unsigned shard = l1_shard_of(l1, key.hash);
    l1_lock(l1, shard);
    bool was = l1_del(l1, &key, NOW);
    l1_unlock(l1, shard);
    return was;
}

static struct l1_stats stats(struct l1 *l1) {
    struct l1_stats s;
    l1_stats_read(l1, &s);
    return s;
}

/* Runs one slice after the other to the end, and tells how many. fn looks at each. */
static unsigned run_slices(struct l1 *l1, int64_t now_ms, void (*fn)(const struct l1_stats *before, const struct l1_stats *after)) {
    unsigned n = 0, quiet = 0, parts = 8 * l1->shard_count; /* more than the tick has */
    while (quiet < parts) {
        struct l1_stats before = stats(l1);
        l1_tick(l1, now_ms, 0);
        struct l1_stats after = stats(l1);
        fn(&before, &after);
        quiet = memcmp(&before, &after, sizeof(before)) == 0 ? quiet + 1 : 0;
        assert_true(++n < MOST_SLICES);
    }
    return n;
}

/* ---- slices ---- */

static void few_expire(const struct l1_stats *before, const struct l1_stats *after) {
    assert_true(after->expired - before->expired <= SLICE_BUCKETS * CHAIN);
}

static unsigned count_slot(struct shard *s, uint32_t head) {
    unsigned n = 0;
    for (uint32_t h = head; h != 0; n++) { /* blocks of up to 14: next, count, numbers */
        h = *(const uint32_t *)slab_at(&s->slab, h);
    }
    return n;
}

/* All at one moment, minutes away: they move to the wheel's inner level, and go, a few buckets at a time. */
static void a_mass_expiry_goes_in_slices(void **state) {
    (void)state;
    struct l1 *l1 = create(1, "allkeys-s3fifo");
    struct shard *s = &l1->shards[0];
    wheel_init(s, NOW);
    const int64_t due = NOW + 300000;
    for (int i = 0; i < KEYS; i++) {
        put(l1, i, due);
    }
    uint32_t *slot = &s->wheel[1][(uint64_t)due >> TICK_SHIFT >> 8 & (WHEEL_SLOTS - 1)];
    unsigned blocks = count_slot(s, *slot);
    assert_true(blocks * 14 > 10 * SLICE_BUCKETS); /* enough to be worth it */
    while (blocks > 0) {
        l1_tick(l1, due - 1, 0);
        unsigned left = count_slot(s, *slot);
        assert_true(blocks - left <= SLICE_BUCKETS / 14 + 2);
        blocks = left;
    }
    assert_int_equal(l1_db_keys(l1, 0), KEYS);
    unsigned slices = run_slices(l1, due + 1000, few_expire);
    assert_int_equal(l1_db_keys(l1, 0), 0);
    assert_true(slices > KEYS / (SLICE_BUCKETS * CHAIN));
    l1_destroy(&l1);
}

static void few_swept(const struct l1_stats *before, const struct l1_stats *after) {
    assert_true(before->live_bytes - after->live_bytes <= SLICE_BUCKETS * CHAIN * 64);
}

static void a_flush_is_swept_in_slices(void **state) {
    (void)state;
    struct l1 *l1 = create(2, "allkeys-s3fifo");
    for (int i = 0; i < KEYS; i++) {
        put(l1, i, L1_NO_TTL);
    }
    l1_lock_all(l1);
    assert_true(l1_flush_all(l1));
    l1_unlock_all(l1);
    assert_int_equal(l1_db_keys(l1, l1->db_map[0]), 0);
    assert_int_equal(l1_keys(l1), KEYS);
    run_slices(l1, NOW, few_swept);
    assert_int_equal(l1_keys(l1), 0);
    l1_destroy(&l1);
}

/* Where one call is too short for a round, calls together make one, and then nothing is left: who calls may sleep. */
static void a_quiet_round_of_slices_is_the_end(void **state) {
    (void)state;
    struct l1 *l1 = create(8, "allkeys-s3fifo");
    for (int round = 0; round < 2; round++) {
        unsigned calls = 1;
        while (l1_tick(l1, NOW, 0)) {
            assert_true(++calls <= 16 * l1->shard_count);
        }
        assert_true(calls > l1->shard_count); /* each shard has had its turn */
    }
    l1_destroy(&l1);
}

static void few_evicted(const struct l1_stats *before, const struct l1_stats *after) {
    assert_true(after->evicted - before->evicted <= SLICE_VICTIMS);
}

/* The limit falls to a tenth: that many items are more than one slice's, in every shard. */
static void evictions_of_a_lower_limit_go_in_slices_of_all_shards(void **state) {
    (void)state;
    struct l1 *l1 = create(8, "allkeys-s3fifo");
    for (int i = 0; i < KEYS; i++) {
        put(l1, i, L1_NO_TTL);
    }
    size_t limit = l1_bytes(l1) / 10;
    l1_set_limit(l1, limit);
    for (unsigned i = 0; i < 8 * l1->shard_count; i++) { /* a round, whatever its parts: nobody is left out */
        l1_tick(l1, NOW, 0);
    }
    for (unsigned i = 0; i < l1->shard_count; i++) {
        assert_true(l1->shards[i].evicted > 0);
    }
    run_slices(l1, NOW, few_evicted);
    assert_true(l1_bytes(l1) <= limit + limit / 8);
    l1_destroy(&l1);
}

/* ---- growth ---- */

/* Neither the table nor what a policy keeps beside it grows by a copy of itself, with evictions or without. */
static void no_insert_takes_much_memory_at_once(void **state) {
    (void)state;
    for (unsigned p = 0; p < policy_count(); p++) {
        struct l1 *l1 = create(1, policy_at(p)->name);
        for (int i = 0; i < 2 * KEYS; i++) {
            size_t before = mem_allocated_bytes();
            put(l1, i, NOW + 1000000);
            if (i > KEYS && i % 2 == 0) {
                l1_lock(l1, 0);
                l1_evict(l1, 0, 1, NOW);
                l1_unlock(l1, 0);
            }
            size_t after = mem_allocated_bytes();
            assert_true(after < before + PIECE_BYTES);
        }
        l1_destroy(&l1);
    }
}

/* What the policy keeps counts, and goes with the items. */
static void state_of_the_policy_counts_and_shrinks(void **state) {
    (void)state;
    struct l1 *l1 = create(1, "allkeys-s3fifo");
    struct shard *s = &l1->shards[0];
    uint64_t least = s->policy_bytes;
    assert_true(least > 0 && stats(l1).policy_bytes == least);
    for (int i = 0; i < KEYS; i++) {
        put(l1, i, L1_NO_TTL);
    }
    l1_lock(l1, 0);
    l1_evict(l1, 0, KEYS / 2, NOW);
    l1_unlock(l1, 0);
    assert_true(s->policy_bytes > KEYS); /* two bytes of ghost an item */
    assert_true(l1_bytes(l1) > s->slab.live_bytes + s->policy_bytes);
    for (int i = 0; i < KEYS; i++) {
        take(l1, i);
    }
    assert_true(s->policy_bytes < 64 << 10);
    assert_true(l1_set_policy(l1, "allkeys-random"));
    assert_int_equal(s->policy_bytes, 0);
    l1_destroy(&l1);
}

/* ---- shrinking ---- */

static void few_merged(const struct l1_stats *before, const struct l1_stats *after) {
    assert_true(after->merges - before->merges <= SLICE_MERGES);
}

static void a_table_shrinks_in_slices_and_keeps_what_is_left(void **state) {
    (void)state;
    struct l1 *l1 = create(1, "allkeys-s3fifo");
    struct shard *s = &l1->shards[0];
    wheel_init(s, NOW);
    for (int i = 0; i < KEYS; i++) {
        put(l1, i, i % 3 == 0 ? NOW + 5000 : L1_NO_TTL);
    }
    uint32_t full = s->buckets;
    for (int i = 0; i < KEYS; i++) {
        assert_true(i % 100 == 0 || take(l1, i));
    }
    run_slices(l1, NOW, few_merged);
    assert_true(s->buckets < full / 40 && s->buckets * 8 >= s->items);
    assert_null(s->segments[full / SEGMENT_BUCKETS]);
    run_slices(l1, NOW + 10000, few_merged); /* the deadlines of merged buckets are still known */
    assert_int_equal(l1_db_keys(l1, 0), KEYS / 100 - (KEYS / 300));
    for (int i = 0; i < KEYS; i += 100) {
        assert_int_equal(take(l1, i), i % 3 != 0);
    }
    run_slices(l1, NOW + 10000, few_merged);
    assert_int_equal(s->buckets, 1);
    for (int i = 0; i < KEYS; i++) { /* and it grows again */
        put(l1, i, L1_NO_TTL);
    }
    assert_int_equal(l1_db_keys(l1, 0), KEYS);
    l1_destroy(&l1);
}

static void note(void *ctx, const struct key *key, const struct item_view *item) {
    (void)item;
    unsigned char *seen = ctx;
    seen[atoi(key->name.p + 4)]++;
}

/* Every other step of the walk keys go and buckets are merged, or keys come and buckets are split: each key that stays is seen once. */
static void a_scan_sees_each_key_once_while_the_table_shrinks_and_grows(void **state) {
    (void)state;
    for (int stay = 50; stay > 2; stay /= 5) {
        static unsigned char seen[2 * KEYS];
        memset(seen, 0, sizeof(seen));
        struct l1 *l1 = create(4, "allkeys-lru");
        for (int i = 0; i < KEYS; i++) {
            put(l1, i, L1_NO_TTL);
        }
        uint64_t at = 0;
        int gone = 0, come = KEYS;
        do {
            at = l1_scan(l1, at, 500, l1->db_map[0], NOW, false, note, seen);
            for (int n = 0; n < 2500 && gone < KEYS; n++, gone++) {
                assert_true(gone % stay == 0 || take(l1, gone));
            }
            for (int n = 0; n < 1000 && gone == KEYS && come < 2 * KEYS; n++, come++) {
                put(l1, come, L1_NO_TTL);
            }
            l1_tick(l1, NOW, 1000000);
        } while (at != 0);
        assert_true(stats(l1).merges > 1000);
        for (int i = 0; i < KEYS; i++) {
            assert_true(seen[i] == 1 || (i % stay != 0 && seen[i] == 0));
        }
        l1_destroy(&l1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mass_expiry_goes_in_slices),
        cmocka_unit_test(a_flush_is_swept_in_slices),
        cmocka_unit_test(a_quiet_round_of_slices_is_the_end),
        cmocka_unit_test(evictions_of_a_lower_limit_go_in_slices_of_all_shards),
        cmocka_unit_test(no_insert_takes_much_memory_at_once),
        cmocka_unit_test(state_of_the_policy_counts_and_shrinks),
        cmocka_unit_test(a_table_shrinks_in_slices_and_keeps_what_is_left),
        cmocka_unit_test(a_scan_sees_each_key_once_while_the_table_shrinks_and_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
