/* SPDX-License-Identifier: BSD-3-Clause */
/* test_quota: groups with a bound of their own: what is counted is what is there, whatever happens to items, and the bound holds. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/l1/l1.h"
#include "src/l1/policy.h"

enum { NAMES = 300, STEPS = 30000, ROUNDS = 64 };

static bool grown; /* the second set of groups: by the second letter */

static unsigned group_of(void *ctx, uint8_t db, struct slice name) {
    (void)ctx;
    (void)db;
    char c = name.p[grown ? 1 : 0];
    return c == 'a' ? 1 : c == 'b' ? 2 : 0;
}

static struct l1 *open_tier(unsigned shards, const char *policy) {
    return l1_create(&(struct l1_options){.shards = shards, .policy = policy, .hooks = {.group = group_of}});
}

/* By first letter a, b or c, the second one independent of it; every seventh too long to be kept inline. */
static struct key named(char *room, size_t n, int i) {
    int len = snprintf(room, n, i % 7 == 0 ? "%c%c%0300d" : "%c%c%d", "abc"[i % 3], "abc"[i / 3 % 3], i);
    return key_make(slice_make(room, (size_t)len), 0);
}

static void set_groups(struct l1 *l1, int64_t a, int64_t b) {
    int64_t limits[L1_GROUPS] = {0, a, b};
    l1_lock_all(l1);
    l1_set_groups(l1, limits, 0);
    l1_unlock_all(l1);
}

static void tick_all(struct l1 *l1, int64_t now) {
    for (int i = 0; i < ROUNDS; i++) {
        l1_tick(l1, now, 1000000);
    }
}

struct sums {
    struct l1 *l1;
    uint64_t bytes[L1_GROUPS], items[L1_GROUPS];
};

static void add(void *ctx, const struct key *key, const struct item_view *item) {
    struct sums *sums = ctx;
    struct item_info info;
    struct key k = key_make(key->name, key->db);
    (void)item;
    unsigned g = group_of(NULL, 0, key->name);
    assert_true(l1_info(sums->l1, &k, 0, &info));
    sums->bytes[g] += info.bytes - 64 / 8; /* without its share of the table */
    sums->items[g]++;
}

/* What is there, counted one by one, is what the groups say. */
static void check_sums(struct l1 *l1) {
    struct sums sums = {.l1 = l1};
    uint64_t at = 0;
    l1_lock_all(l1);
    do {
        at = l1_scan(l1, at, 64, -1, 0, true, add, &sums);
    } while (at != 0);
    l1_unlock_all(l1);
    for (unsigned g = 1; g <= 2; g++) {
        struct l1_group got;
        l1_group_read(l1, g, &got);
        assert_int_equal(got.items, sums.items[g]);
        assert_int_equal(got.bytes, sums.bytes[g]);
    }
}

static void change_string(struct l1 *l1, const struct key *key, int64_t expire) {
    static const size_t lengths[] = {0, 1, 20, 300, 1100, 1300, 5000};
    static char text[5000];
    size_t n = lengths[rng_below(sizeof(lengths) / sizeof(lengths[0]))];
    struct item_view v;
    char *p;
    if (rng_below(3) == 0 && (!l1_get(l1, key, 0, 0, &v) || v.type == TYPE_STRING)) {
        assert_int_equal(l1_string_mut(l1, key, n, 0, &p), OK);
    } else {
        assert_int_equal(l1_set(l1, key, slice_make(text, n), expire, 0, 0), OK);
    }
}

static void change_hash(struct l1 *l1, const struct key *key) {
    static const struct hash_limits limits = {128, 64};
    bool created;
    struct item_view v;
    char field[16];
    if (!l1_get(l1, key, 0, 0, &v) || v.type != TYPE_HASH) {
        assert_int_equal(l1_set_value(l1, key, hash_create(), L1_NO_TTL, 0), OK);
    }
    struct value *h = l1_value_mut(l1, key);
    for (unsigned i = (unsigned)rng_below(150); i-- > 0;) {
        struct slice f = slice_make(field, (size_t)snprintf(field, sizeof(field), "f%u", i));
        assert_int_equal(hash_set(h, f, f, &limits, &created), OK);
    }
    l1_value_changed(l1, key);
}

static void change_something(struct l1 *l1, const struct key *key) {
    static const char extra[] = {1, 9, 9, 9, 9}; /* a grace */
    int64_t expire = rng_below(2) ? 1000000 : L1_NO_TTL;
    switch (rng_below(8)) {
    case 0:
        l1_del(l1, key, 0);
        break;
    case 1:
        change_hash(l1, key);
        break;
    case 2:
        (void)l1_expire(l1, key, expire, 0);
        break;
    case 3:
        (void)l1_set_extra(l1, key, slice_make(extra, rng_below(2) ? sizeof(extra) : 0), 0);
        break;
    default:
        change_string(l1, key, expire);
    }
}

static void change_many(struct l1 *l1, int steps, bool counted) {
    char room[400];
    for (int i = 0; i < steps; i++) {
        struct key key = named(room, sizeof(room), (int)rng_below(NAMES));
        unsigned shard = l1_shard_of(l1, key.hash);
        l1_lock(l1, shard);
        change_something(l1, &key);
        if (l1_needs_room(l1)) {
            l1_make_room(l1, shard, 16, 0);
        }
        l1_unlock(l1, shard);
        if (i % 1000 == 0) {
            l1_tick(l1, 0, 1000);
            if (counted) {
                check_sums(l1);
            }
        }
    }
}

static void what_is_counted_is_what_is_there(void **state) {
    (void)state;
    rng_seed(11);
    grown = false;
    struct l1 *l1 = open_tier(4, "allkeys-s3fifo");
    change_many(l1, STEPS / 4, false); /* before there are groups */
    set_groups(l1, INT64_MAX, INT64_MAX);
    tick_all(l1, 0);
    check_sums(l1);
    change_many(l1, STEPS, true);
    grown = true; /* other groups: everything is sorted anew, some into none */
    set_groups(l1, INT64_MAX, INT64_MAX);
    tick_all(l1, 0);
    check_sums(l1);
    change_many(l1, STEPS, true);
    tick_all(l1, 2000000); /* what has a deadline goes */
    l1_lock_all(l1);
    l1_flush_all(l1);
    l1_unlock_all(l1);
    tick_all(l1, 2000000);
    struct l1_group a;
    l1_group_read(l1, 1, &a);
    assert_true(a.bytes == 0 && a.items == 0);
    set_groups(l1, 0, 0);
    change_many(l1, STEPS / 4, false);
    l1_group_read(l1, 2, &a);
    assert_true(a.bytes == 0 && a.items == 0);
    l1_destroy(&l1);
}

static void the_bound_holds_and_others_stay(void **state) {
    (void)state;
    static const char text[200];
    for (unsigned p = 0; p < policy_count(); p++) {
        rng_seed(12);
        grown = false;
        struct l1 *l1 = open_tier(4, policy_at(p)->name);
        set_groups(l1, 40000, 0);
        for (int i = 0; i < 3000; i++) {
            char room[400];
            struct key key = named(room, sizeof(room), i);
            unsigned shard = l1_shard_of(l1, key.hash);
            l1_lock(l1, shard);
            assert_int_equal(l1_set(l1, &key, slice_make(text, sizeof(text)), L1_NO_TTL, 0, 0), OK);
            if (l1_needs_room(l1)) {
                l1_make_room(l1, shard, 16, 0);
            }
            struct l1_group a;
            l1_group_read(l1, 1, &a);
            assert_true(a.bytes <= 40000); /* each write pays at once */
            l1_unlock(l1, shard);
        }
        struct l1_group a;
        l1_group_read(l1, 1, &a);
        assert_true(a.bytes > 38000 && a.items + a.evicted == 1000);
        assert_int_equal(l1_db_keys(l1, 0), 2000 + a.items);
        set_groups(l1, 10000, 0); /* less from now on: the tick takes the rest */
        tick_all(l1, 0);
        l1_group_read(l1, 1, &a);
        assert_true(a.bytes <= 10000 && a.bytes > 8000);
        assert_int_equal(l1_db_keys(l1, 0), 2000 + a.items);
        l1_destroy(&l1);
    }
}

static bool touch(struct l1 *l1, int i) {
    char room[400];
    struct item_view v;
    struct key key = named(room, sizeof(room), i);
    unsigned shard = l1_shard_of(l1, key.hash);
    l1_lock(l1, shard);
    bool found = l1_get(l1, &key, 0, L1_TOUCH, &v);
    l1_unlock(l1, shard);
    return found;
}

static void what_is_read_outlives_what_is_not(void **state) {
    (void)state;
    static const char text[200];
    rng_seed(13);
    grown = false;
    struct l1 *l1 = open_tier(4, "allkeys-s3fifo");
    set_groups(l1, 60000, 0); /* about 240 of them */
    int kept = 0;
    for (int i = 0; i < 30000; i += 3) { /* names of group a only; the first forty are read all the time */
        char room[400];
        struct key key = named(room, sizeof(room), i);
        unsigned shard = l1_shard_of(l1, key.hash);
        l1_lock(l1, shard);
        assert_int_equal(l1_set(l1, &key, slice_make(text, sizeof(text)), L1_NO_TTL, 0, 0), OK);
        l1_make_room(l1, shard, 16, 0);
        l1_unlock(l1, shard);
        for (int k = 0; k < 120 && k < i; k += 3) {
            touch(l1, k);
        }
    }
    for (int k = 0; k < 120; k += 3) {
        kept += touch(l1, k);
    }
    assert_int_equal(kept, 40);
    l1_destroy(&l1);
}

/* A value no quota has room for goes itself, and nothing is left over. */
static void a_value_larger_than_the_bound_does_not_stay(void **state) {
    (void)state;
    static const char text[5000];
    grown = false;
    struct l1 *l1 = open_tier(1, "noeviction");
    struct key key = key_make(SLICE("ab"), 0);
    struct item_view v;
    set_groups(l1, 1000, 0);
    l1_lock(l1, 0);
    assert_int_equal(l1_set(l1, &key, slice_make(text, sizeof(text)), L1_NO_TTL, 0, 0), OK);
    assert_true(l1_needs_room(l1));
    l1_make_room(l1, 0, 16, 0);
    assert_false(l1_get(l1, &key, 0, 0, &v));
    l1_make_room(l1, 0, 16, 0);
    assert_false(l1_needs_room(l1));
    l1_unlock(l1, 0);
    l1_destroy(&l1);
}

static void on_top_of_deletes_the_ring_stays_small(void **state) {
    (void)state;
    grown = false;
    rng_seed(14);
    struct l1 *l1 = open_tier(1, "allkeys-lru");
    struct l1_stats stats;
    char room[400];
    set_groups(l1, INT64_MAX, 0);
    size_t before = 0;
    for (int i = 0; i < 400000; i++) {
        struct key key = named(room, sizeof(room), (int)rng_below(NAMES));
        l1_lock(l1, 0);
        assert_int_equal(l1_set(l1, &key, SLICE("v"), L1_NO_TTL, 0, 0), OK);
        l1_del(l1, &key, 0);
        l1_unlock(l1, 0);
        if (i == 20000) {
            before = mem_allocated_bytes();
        }
    }
    l1_stats_read(l1, &stats);
    assert_int_equal(stats.live_bytes, 0);
    assert_true(mem_allocated_bytes() <= before + 4096);
    l1_destroy(&l1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_counted_is_what_is_there),      cmocka_unit_test(the_bound_holds_and_others_stay),
        cmocka_unit_test(what_is_read_outlives_what_is_not),     cmocka_unit_test(a_value_larger_than_the_bound_does_not_stay),
        cmocka_unit_test(on_top_of_deletes_the_ring_stays_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
