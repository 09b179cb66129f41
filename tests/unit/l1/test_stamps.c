/* SPDX-License-Identifier: BSD-3-Clause */
/* test_stamps: when an item was written and when it was last used. */
#include "tests/unit/check.h"

#include "src/base/hash.h"
#include "src/l1/l1.h"

enum { UNIT = 1 << ITEM_STAMP_SHIFT, MIB = 1 << 20 };
#define NOW ((int64_t)1700000000000)

static struct l1 *create(void) {
    struct l1 *l1 = l1_create(&(struct l1_options){.shards = 1, .policy = "allkeys-s3fifo"});
    l1_lock(l1, 0);
    return l1;
}

static void destroy(struct l1 *l1) {
    l1_unlock(l1, 0);
    l1_destroy(&l1);
}

static struct key name(const char *s) {
    return key_make(slice_cstr(s), 0);
}

static void check(struct l1 *l1, const struct key *k, int64_t now, int64_t age, int64_t idle) {
    struct item_info info;
    assert_true(l1_info(l1, k, now, &info));
    assert_int_equal(info.age_ms, age);
    assert_int_equal(info.idle_ms, idle);
}

static void read_at(struct l1 *l1, const struct key *k, int64_t now, unsigned flags) {
    struct item_view v;
    assert_true(l1_get(l1, k, now, flags, &v));
}

static void a_read_ends_idleness_and_a_write_age(void **state) {
    (void)state;
    struct l1 *l1 = create();
    struct key k = name("key");
    assert_int_equal(l1_set(l1, &k, SLICE("v"), L1_NO_TTL, 0, NOW), OK);
    check(l1, &k, NOW, 0, 0);
    check(l1, &k, NOW + 10 * UNIT, 10 * UNIT, 10 * UNIT);
    read_at(l1, &k, NOW + 10 * UNIT, L1_NOTOUCH);
    check(l1, &k, NOW + 10 * UNIT, 10 * UNIT, 10 * UNIT);
    read_at(l1, &k, NOW + 12 * UNIT, L1_TOUCH);
    check(l1, &k, NOW + 15 * UNIT, 15 * UNIT, 3 * UNIT);
    assert_true(l1_expire(l1, &k, NOW + 1000 * UNIT, NOW + 16 * UNIT)); /* to another block: no write of the value */
    check(l1, &k, NOW + 20 * UNIT, 20 * UNIT, 8 * UNIT);
    assert_int_equal(l1_set(l1, &k, SLICE("w"), L1_KEEP_TTL, 0, NOW + 21 * UNIT), OK); /* in place */
    check(l1, &k, NOW + 22 * UNIT, UNIT, UNIT);
    destroy(l1);
}

static void every_kind_of_write_counts(void **state) {
    (void)state;
    static char big[MIB];
    struct l1 *l1 = create();
    struct key k = name("key"), h = name("hash");
    struct hash_limits limits = {16, 64};
    int64_t now = NOW;
    char *bytes;
    static const size_t lengths[] = {1, 9, 100, 1, MIB, MIB, 3}; /* in place, to another block, to a blob and back */
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++, now += 5 * UNIT) {
        assert_int_equal(l1_set(l1, &k, slice_make(big, lengths[i]), L1_NO_TTL, 0, now), OK);
        check(l1, &k, now + UNIT, UNIT, UNIT);
        assert_int_equal(l1_string_mut(l1, &k, lengths[i] + i % 2, now + 2 * UNIT, &bytes), OK);
        check(l1, &k, now + 3 * UNIT, UNIT, UNIT);
    }
    struct value *v = hash_create();
    assert_int_equal(hash_set(v, SLICE("f"), SLICE("1"), &limits, NULL), OK);
    assert_int_equal(l1_set_value(l1, &h, v, L1_NO_TTL, now), OK);
    check(l1, &h, now + 4 * UNIT, 4 * UNIT, 4 * UNIT);
    read_at(l1, &h, now + 5 * UNIT, L1_TOUCH); /* as a command does before it changes one */
    assert_int_equal(hash_set(l1_value_mut(l1, &h), SLICE("f"), SLICE("2"), &limits, NULL), OK);
    assert_true(l1_value_changed(l1, &h) > 0);
    check(l1, &h, now + 7 * UNIT, 2 * UNIT, 2 * UNIT);
    destroy(l1);
}

static void stamps_are_kept_where_no_value_is_written(void **state) {
    (void)state;
    unsigned char bytes[ITEM_EXTRA_MAX];
    static char text[1100];
    struct l1 *l1 = create();
    struct key k = name("key");
    assert_int_equal(l1_set(l1, &k, slice_make(text, sizeof(text)), L1_NO_TTL, 0, NOW), OK);
    l1_set_stamps(l1, &k, item_stamp(NOW - 50 * UNIT), item_stamp(NOW - 7 * UNIT));
    check(l1, &k, NOW, 50 * UNIT, 7 * UNIT);
    struct item_extra e = {.grace_ms = 9, .tags = 8}; /* so much that the string moves to the heap */
    assert_true(l1_set_extra(l1, &k, slice_make(bytes, item_extra_put(&e, bytes)), NOW));
    check(l1, &k, NOW, 50 * UNIT, 7 * UNIT);
    l1_set_stamps(l1, &k, 0, 0);
    check(l1, &k, NOW, 50 * UNIT, 7 * UNIT);
    destroy(l1);
}

static void stamps_wrap_and_tolerate_clocks_that_differ(void **state) {
    (void)state;
    const int64_t round = (int64_t)(ITEM_STAMP_MASK + 1) * UNIT;
    int64_t edge = NOW / round * round;
    assert_int_equal(item_stamp(edge), 1); /* 0 is "unknown" */
    assert_int_equal(item_stamp_age(item_stamp(edge - UNIT), edge + 4 * UNIT), 5 * UNIT);
    assert_int_equal(item_stamp_age(item_stamp(edge + 4 * UNIT), edge - UNIT), 0);
    assert_int_equal(item_stamp_age(item_stamp(NOW + 60000), NOW), 0);
    assert_int_equal(item_stamp_age(0, NOW), 0);
    int64_t old = 190 * (int64_t)86400000;
    assert_int_equal(item_stamp_age(item_stamp(NOW - old), NOW) / UNIT, old / UNIT);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_ends_idleness_and_a_write_age), cmocka_unit_test(every_kind_of_write_counts),
        cmocka_unit_test(stamps_are_kept_where_no_value_is_written), cmocka_unit_test(stamps_wrap_and_tolerate_clocks_that_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
