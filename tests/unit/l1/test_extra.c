/* SPDX-License-Identifier: BSD-3-Clause */
/* test_extra: what guards note of items, and values that outlive their deadline. */
#include "tests/unit/check.h"

#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/l1/l1.h"

enum { NOW = 1000000 };

static struct l1 *create(void) {
    return l1_create(&(struct l1_options){.shards = 1, .policy = "allkeys-s3fifo"});
}

static struct key name(const char *s) {
    return key_make(slice_cstr(s), 0);
}

static void note(struct l1 *l1, const struct key *key, const struct item_extra *e, int64_t now) {
    unsigned char bytes[ITEM_EXTRA_MAX];
    assert_true(l1_set_extra(l1, key, slice_make(bytes, item_extra_put(e, bytes)), now));
}

static struct item_extra noted(struct l1 *l1, const struct key *key, int64_t now) {
    struct item_view v;
    struct item_extra e;
    assert_true(l1_get(l1, key, now, L1_NOTOUCH | L1_STALE, &v));
    assert_true(item_extra_get(v.extra, &e));
    return e;
}

static void extra_survives_overwrites_and_size_changes(void **state) {
    (void)state;
    struct l1 *l1 = create();
    l1_lock(l1, 0);
    struct key k = name("key");
    char big[2000];
    memset(big, 'x', sizeof(big));
    assert_int_equal(l1_set(l1, &k, SLICE("v"), NOW + 50, 0, NOW), OK);
    note(l1, &k, &(struct item_extra){.grace_ms = 77, .tags = 2, .tag = {1, 4}}, NOW);
    static const size_t lengths[] = {1, 2, 700, 900, 1099, 1110, 2000, 5, 0};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct item_view v;
        assert_int_equal(l1_set(l1, &k, slice_make(big, lengths[i]), NOW + 50, 0, NOW), OK);
        assert_true(l1_get(l1, &k, NOW, 0, &v));
        assert_int_equal(v.str.n, lengths[i]);
        assert_memory_equal(v.str.p, big, lengths[i]);
        struct item_extra e = noted(l1, &k, NOW);
        assert_int_equal(e.grace_ms, 77);
        assert_int_equal(e.tags, 2);
        assert_int_equal(e.tag[1], 4);
    }
    assert_true(l1_expire(l1, &k, L1_NO_TTL, NOW));
    assert_int_equal(noted(l1, &k, NOW).grace_ms, 77);
    note(l1, &k, &(struct item_extra){0}, NOW);
    assert_int_equal(noted(l1, &k, NOW).tags, 0);
    assert_true(l1_del(l1, &k, NOW));
    assert_int_equal(l1_db_keys(l1, 0), 0);
    l1_unlock(l1, 0);
    l1_destroy(&l1);
}

/* Every length around the largest inline value: the note may push the value out of the item. */
static void extra_fits_beside_any_value(void **state) {
    (void)state;
    struct l1 *l1 = create();
    l1_lock(l1, 0);
    char big[1400];
    for (size_t i = 0; i < sizeof(big); i++) {
        big[i] = (char)i;
    }
    for (size_t n = 900; n < sizeof(big); n++) {
        struct key k = name("k");
        struct item_view v;
        assert_int_equal(l1_set(l1, &k, slice_make(big, n), L1_NO_TTL, 0, NOW), OK);
        note(l1, &k, &(struct item_extra){.grace_ms = 1, .load_ms = 2, .stamp = 3, .tags = ITEM_MAX_TAGS}, NOW);
        assert_true(l1_get(l1, &k, NOW, 0, &v));
        assert_int_equal(v.str.n, n);
        assert_memory_equal(v.str.p, big, n);
        assert_int_equal(noted(l1, &k, NOW).stamp, 3);
        assert_true(l1_del(l1, &k, NOW));
    }
    l1_unlock(l1, 0);
    l1_destroy(&l1);
}

static void value_outlives_its_deadline_for_who_asks(void **state) {
    (void)state;
    struct l1 *l1 = create();
    l1_lock(l1, 0);
    struct key k = name("key");
    struct item_view v;
    assert_int_equal(l1_set(l1, &k, SLICE("v"), NOW + 100, 0, NOW), OK);
    note(l1, &k, &(struct item_extra){.grace_ms = 1000}, NOW);
    assert_true(l1_get(l1, &k, NOW + 99, 0, &v));
    assert_false(v.stale);
    assert_false(l1_get(l1, &k, NOW + 100, 0, &v));
    assert_int_equal(l1_db_keys(l1, 0), 0); /* DBSIZE does not count it */
    assert_int_equal(l1_db_expires(l1, 0), 0);
    assert_true(l1_get(l1, &k, NOW + 100, L1_STALE, &v));
    assert_true(v.stale);
    assert_true(slice_eq(v.str, SLICE("v")));
    struct item_info info;
    assert_false(l1_info(l1, &k, NOW + 100, &info)); /* who asks about it does not end it */
    assert_true(l1_get(l1, &k, NOW + 1099, L1_STALE, &v));
    assert_false(l1_get(l1, &k, NOW + 1100, L1_STALE, &v));
    struct l1_stats st;
    l1_unlock(l1, 0);
    l1_stats_read(l1, &st);
    assert_int_equal(st.expired, 1);
    l1_destroy(&l1);
}

static void write_replaces_a_resting_value(void **state) {
    (void)state;
    struct l1 *l1 = create();
    l1_lock(l1, 0);
    struct key k = name("key");
    struct item_view v;
    for (int how = 0; how < 3; how++) {
        assert_int_equal(l1_set(l1, &k, SLICE("old"), NOW + 100, 0, NOW), OK);
        note(l1, &k, &(struct item_extra){.grace_ms = 1000}, NOW);
        assert_false(l1_get(l1, &k, NOW + 200, 0, &v));
        char *p;
        if (how == 0) {
            assert_int_equal(l1_set(l1, &k, SLICE("new"), L1_KEEP_TTL, 0, NOW + 200), OK);
            assert_true(l1_get(l1, &k, NOW + 200, 0, &v));
            assert_int_equal(v.expire_ms, L1_NO_TTL); /* the old deadline is not kept */
        } else if (how == 1) {
            assert_int_equal(l1_string_mut(l1, &k, 3, NOW + 200, &p), OK);
            assert_memory_equal(p, "\0\0\0", 3); /* nothing of the old value shows */
        } else {
            assert_false(l1_del(l1, &k, NOW + 200)); /* nothing a client could see was there */
            assert_false(l1_get(l1, &k, NOW + 200, L1_STALE, &v));
        }
        assert_int_equal(l1_db_keys(l1, 0), how < 2 ? 1 : 0);
        l1_del(l1, &k, NOW + 200);
    }
    l1_unlock(l1, 0);
    l1_destroy(&l1);
}

static void tick_to(struct l1 *l1, int64_t now_ms) {
    while (l1_tick(l1, now_ms, 1000000)) {
    }
}

/* The wheel rests it at its deadline and removes it at the end of its grace. */
static void wheel_removes_at_the_end_of_grace(void **state) {
    (void)state;
    struct l1 *l1 = create();
    struct key k = name("key");
    struct item_view v;
    int64_t start = 2000000000000; /* the wheel follows the clock it is given */
    tick_to(l1, start);
    l1_lock(l1, 0);
    assert_int_equal(l1_set(l1, &k, SLICE("v"), start + 1000, 0, start), OK);
    note(l1, &k, &(struct item_extra){.grace_ms = 5000}, start);
    l1_unlock(l1, 0);
    tick_to(l1, start + 2000);
    assert_int_equal(l1_db_keys(l1, 0), 0);
    l1_lock(l1, 0);
    assert_true(l1_get(l1, &k, start + 2000, L1_STALE, &v));
    l1_unlock(l1, 0);
    tick_to(l1, start + 7000);
    l1_lock(l1, 0);
    assert_false(l1_get(l1, &k, start + 2000, L1_STALE, &v)); /* even for a clock that is behind */
    l1_unlock(l1, 0);
    l1_destroy(&l1);
}

static int64_t purge_deadline(void *ctx, const struct key *key, int64_t expire_ms, struct slice extra) {
    (void)key;
    (void)extra;
    int64_t purged = *(int64_t *)ctx;
    return purged < expire_ms ? purged : expire_ms;
}

static void purged_values_are_gone_or_rest(void **state) {
    (void)state;
    int64_t purged = INT64_MAX;
    struct l1 *l1 = l1_create(&(struct l1_options){
        .shards = 1, .policy = "allkeys-lru", .hooks = {.ctx = &purged, .deadline = purge_deadline}});
    l1_lock(l1, 0);
    struct key hard = name("hard"), soft = name("soft");
    struct item_view v;
    assert_int_equal(l1_set(l1, &hard, SLICE("v"), L1_NO_TTL, 0, NOW), OK);
    assert_int_equal(l1_set(l1, &soft, SLICE("v"), L1_NO_TTL, 0, NOW), OK);
    note(l1, &soft, &(struct item_extra){.grace_ms = 1000}, NOW);
    l1_purging(l1, true);
    assert_true(l1_get(l1, &hard, NOW, 0, &v));
    purged = NOW;
    assert_false(l1_get(l1, &soft, NOW + 1, 0, &v));
    assert_true(l1_get(l1, &soft, NOW + 1, L1_STALE, &v)); /* a soft purge lets grace serve */
    purged = INT64_MIN;
    assert_false(l1_get(l1, &soft, NOW + 1, L1_STALE, &v));
    assert_false(l1_get(l1, &hard, NOW + 1, L1_STALE, &v));
    assert_int_equal(l1_db_keys(l1, 0), 0);
    l1_unlock(l1, 0);
    l1_destroy(&l1);
}

static void extra_encoding_round_trips_and_refuses_garbage(void **state) {
    (void)state;
    unsigned char bytes[ITEM_EXTRA_MAX];
    struct item_extra e = {.grace_ms = 1, .error_ms = 4, .load_ms = 2, .stamp = 3, .tags = 1, .tag = {5}}, back;
    size_t n = item_extra_put(&e, bytes);
    assert_true(item_extra_get(slice_make(bytes, n), &back));
    assert_int_equal(back.grace_ms, 1);
    assert_int_equal(back.error_ms, 4);
    assert_int_equal(back.load_ms, 2);
    assert_int_equal(back.stamp, 3);
    assert_int_equal(back.tag[0], 5);
    for (size_t cut = 1; cut < n; cut++) {
        assert_false(item_extra_get(slice_make(bytes, cut), &back));
        assert_int_equal(back.grace_ms, 0);
    }
    bytes[0] |= 0x40; /* announces what is not there */
    assert_false(item_extra_get(slice_make(bytes, n), &back));
    assert_int_equal(item_extra_put(&(struct item_extra){0}, bytes), 0);
}

int main(void) {
    hash_seed(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extra_survives_overwrites_and_size_changes), cmocka_unit_test(extra_fits_beside_any_value),
        cmocka_unit_test(value_outlives_its_deadline_for_who_asks),   cmocka_unit_test(write_replaces_a_resting_value),
        cmocka_unit_test(wheel_removes_at_the_end_of_grace),          cmocka_unit_test(purged_values_are_gone_or_rest),
        cmocka_unit_test(extra_encoding_round_trips_and_refuses_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
