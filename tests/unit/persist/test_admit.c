/* SPDX-License-Identifier: BSD-3-Clause */
/* Admission: the rules of a full disk, the budgets, and when the thrash guard steps in. */
#include "persist/admit.h"

#include "src/base/rng.h"
#include "tests/unit/check.h"

static const struct admit_limits open_limits = {.rule = ADMIT_ALL, .random_ppm = 1000000, .max_value_bytes = 1000, .guard = true};

static struct admission *open_with(const struct admit_limits *l) {
    static struct admission a;
    admit_init(&a);
    admit_tune(&a, l);
    return &a;
}

static uint64_t hash_of(uint64_t n) {
    return (n + 1) * 0x9e3779b97f4a7c15u; /* spread, as keys' hashes are */
}

static void size_and_time_left(void **state) {
    (void)state;
    struct admit_limits l = open_limits;
    l.min_ttl_ms = 500;
    struct admission *a = open_with(&l);
    assert_int_equal(admit_value(a, 1, 1000, -1, 0), ADMITTED);
    assert_int_equal(admit_value(a, 2, 1001, -1, 0), REFUSED_SIZE);
    assert_int_equal(admit_value(a, 3, 10, 499, 0), REFUSED_TTL);
    assert_int_equal(admit_value(a, 4, 10, 500, 0), ADMITTED);
    assert_true(a->verdicts[ADMITTED] == 2 && a->verdicts[REFUSED_SIZE] == 1 && a->verdicts[REFUSED_TTL] == 1);
    admit_fini(a);
}

static void a_full_disk_takes_what_comes_twice(void **state) {
    (void)state;
    struct admit_limits l = open_limits;
    l.rule = ADMIT_SECOND;
    struct admission *a = open_with(&l);
    assert_int_equal(admit_value(a, hash_of(1), 10, -1, 0), ADMITTED); /* there is room */
    a->full = true;
    for (uint64_t n = 10; n < 1010; n++) {
        assert_int_equal(admit_value(a, hash_of(n), 10, -1, 0), REFUSED_RULE);
    }
    int again = 0;
    for (uint64_t n = 10; n < 1010; n++) {
        again += admit_value(a, hash_of(n), 10, -1, 0) == ADMITTED;
    }
    assert_in_range(again, 990, 1000); /* a few share a place with another key */
    admit_fini(a);
}

static void a_full_disk_takes_a_share(void **state) {
    (void)state;
    struct admit_limits l = open_limits;
    l.rule = ADMIT_RANDOM;
    l.random_ppm = 250000;
    struct admission *a = open_with(&l);
    a->full = true;
    rng_seed(7);
    int taken = 0;
    for (uint64_t n = 0; n < 10000; n++) {
        taken += admit_value(a, hash_of(n), 10, -1, 0) == ADMITTED;
    }
    assert_in_range(taken, 2300, 2700);
    admit_fini(a);
}

static void budgets_begin_anew(void **state) {
    (void)state;
    struct admit_limits l = open_limits;
    l.second_bytes = 100;
    l.day_bytes = 250;
    struct admission *a = open_with(&l);
    assert_int_equal(admit_value(a, 1, 60, -1, 1000), ADMITTED);
    assert_int_equal(admit_value(a, 2, 60, -1, 1999), REFUSED_BUDGET);
    assert_int_equal(admit_value(a, 3, 100, -1, 2000), ADMITTED);
    assert_int_equal(admit_value(a, 4, 100, -1, 3000), REFUSED_BUDGET); /* the day's */
    assert_int_equal(admit_value(a, 5, 90, -1, 4000), ADMITTED);
    assert_int_equal(admit_value(a, 6, 90, -1, 86400000), ADMITTED); /* the next day */
    admit_fini(a);
}

/* Two windows of values that go down, each a second later again; wanted: they came back in between. */
static bool guards_after(struct admission *a, bool wanted) {
    for (int64_t now_ms = 100000; now_ms < 112000; now_ms += 1000) {
        for (uint64_t n = 0; n < 500; n++) {
            admit_value(a, hash_of(n), 10, -1, now_ms);
            if (wanted) {
                admit_wanted(a, hash_of(n), now_ms + 500);
            }
        }
    }
    return admit_is_guarding(a, 112000);
}

static void the_guard_sees_writes_for_nothing(void **state) {
    (void)state;
    struct admission *a = open_with(&open_limits);
    assert_false(guards_after(a, false));
    admit_fini(a);
    a = open_with(&open_limits);
    assert_true(guards_after(a, true));
    assert_int_equal(admit_value(a, hash_of(1), 10, -1, 112000), REFUSED_THRASH);
    assert_int_equal(admit_value(a, hash_of(1), 10, -1, 130000), ADMITTED); /* for a while only */
    admit_fini(a);
}

static void reading_back_what_was_written_is_no_thrashing(void **state) {
    (void)state;
    struct admission *a = open_with(&open_limits);
    for (uint64_t n = 0; n < 20000; n++) {
        int64_t now_ms = 100000 + (int64_t)n;
        assert_int_equal(admit_value(a, hash_of(n), 10, -1, now_ms), ADMITTED);
        admit_wanted(a, hash_of(n), now_ms + 1);
    }
    admit_fini(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_and_time_left),
        cmocka_unit_test(a_full_disk_takes_what_comes_twice),
        cmocka_unit_test(a_full_disk_takes_a_share),
        cmocka_unit_test(budgets_begin_anew),
        cmocka_unit_test(the_guard_sees_writes_for_nothing),
        cmocka_unit_test(reading_back_what_was_written_is_no_thrashing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
