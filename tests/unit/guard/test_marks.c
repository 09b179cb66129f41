/* SPDX-License-Identifier: BSD-3-Clause */
/* test_marks: the table against a map that forgets nothing. */
#include "tests/unit/check.h"

#include "src/base/rng.h"
#include "src/guard/marks.h"

enum { WAYS = 4, KEYS = 400, SHARDS = 4, CAPACITY = 64 };

struct known {
    enum mark mark;
    int64_t until_ms;
};

/* A key's hash: few lines, so that they fill. Keys of one line differ above. */
static uint64_t hash_of(int key) {
    return (uint64_t)key * 0x9e3779b97f4a7c15u;
}

static void marks_never_say_what_was_not_said(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct marks *m = marks_create(CAPACITY, SHARDS);
        struct known said[KEYS] = {0};
        int64_t now = 1700000000000;
        int right = 0;
        rng_seed(seed);
        for (int step = 0; step < 100000; step++) {
            int k = (int)rng_below(KEYS);
            now += (int64_t)rng_below(3);
            if (rng_below(3) == 0) {
                said[k] = (struct known){(enum mark)(1 + rng_below(3)), now + 1 + (int64_t)rng_below(400)};
                marks_put(m, hash_of(k), said[k].mark, said[k].until_ms);
                assert_int_equal(marks_get(m, hash_of(k), now), said[k].mark);
            } else if (rng_below(8) == 0) {
                marks_drop(m, hash_of(k));
                said[k] = (struct known){0};
            } else if (rng_below(5000) == 0) {
                marks_clear(m);
                assert_int_equal(marks_count(m), 0);
                memset(said, 0, sizeof(said));
            }
            k = (int)rng_below(KEYS);
            enum mark got = marks_get(m, hash_of(k), now);
            bool lives = said[k].mark != MARK_NONE && said[k].until_ms > now;
            assert_true(got == MARK_NONE || (lives && got == said[k].mark)); /* it may forget, but not invent */
            right += got != MARK_NONE;
            assert_in_range(marks_count(m), 0, CAPACITY);
        }
        assert_true(right > 1000);
        marks_destroy(&m);
        assert_null(m);
    }
}

/* Hashes of one line of a table with so many lines. */
static uint64_t in_line(uint64_t line, uint64_t i) {
    return line | (i + 1) << 32;
}

static void a_full_line_drops_what_ends_first(void **state) {
    (void)state;
    struct marks *m = marks_create(CAPACITY, SHARDS);
    static const int64_t ends[WAYS] = {500, 200, 400, 300};
    for (uint64_t i = 0; i < WAYS; i++) {
        marks_put(m, in_line(3, i), MARK_ABSENT, ends[i]);
    }
    assert_int_equal(marks_count(m), WAYS);
    marks_put(m, in_line(3, 4), MARK_FAILED, 250); /* itself the next to end */
    assert_int_equal(marks_get(m, in_line(3, 1), 100), MARK_NONE);
    assert_int_equal(marks_get(m, in_line(3, 4), 100), MARK_FAILED);
    marks_put(m, in_line(3, 5), MARK_ABSENT, 600);
    assert_int_equal(marks_get(m, in_line(3, 4), 100), MARK_NONE);
    static const int left[] = {0, 2, 3, 5};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(marks_get(m, in_line(3, (uint64_t)left[i]), 100), MARK_ABSENT);
    }
    assert_int_equal(marks_count(m), WAYS);
    marks_put(m, in_line(4, 0), MARK_ABSENT, 100); /* another line */
    assert_int_equal(marks_count(m), WAYS + 1);
    marks_destroy(&m);
}

static void a_mark_ends_at_its_time_and_may_be_made_anew(void **state) {
    (void)state;
    struct marks *m = marks_create(CAPACITY, SHARDS);
    marks_put(m, 7, MARK_ALONE, 1000);
    assert_int_equal(marks_get(m, 7, 999), MARK_ALONE);
    assert_int_equal(marks_get(m, 7, 1000), MARK_NONE);
    marks_put(m, 7, MARK_FAILED, 2000); /* in its own place */
    assert_int_equal(marks_count(m), 1);
    assert_int_equal(marks_get(m, 7, 1000), MARK_FAILED);
    marks_put(m, 7, MARK_ABSENT, 1500); /* also an earlier end: the later word counts */
    assert_int_equal(marks_get(m, 7, 1400), MARK_ABSENT);
    assert_int_equal(marks_get(m, 7, 1500), MARK_NONE);
    marks_drop(m, 7);
    assert_int_equal(marks_count(m), 0);
    marks_drop(m, 7); /* none: nothing happens */
    assert_int_equal(marks_count(m), 0);
    marks_destroy(&m);
}

static void ends_of_any_age_are_kept(void **state) {
    (void)state;
    struct marks *m = marks_create(CAPACITY, SHARDS);
    const int64_t far = (int64_t)1 << 60;
    marks_put(m, 1, MARK_ALONE, far);
    assert_int_equal(marks_get(m, 1, far - 1), MARK_ALONE);
    assert_int_equal(marks_get(m, 1, far), MARK_NONE);
    marks_put(m, 0, MARK_ABSENT, 10); /* a hash of 0 is one like others */
    assert_int_equal(marks_get(m, 0, 9), MARK_ABSENT);
    marks_destroy(&m);
}

static void random_keys_cost_what_was_set_aside(void **state) {
    (void)state;
    struct marks *m = marks_create(100000, 64);
    size_t bytes = marks_bytes(m);
    assert_in_range(bytes, 100000 * 16, 2 * 100000 * 16 + 64 * 64);
    rng_seed(5);
    for (int i = 0; i < 1000000; i++) {
        marks_put(m, rng_u64(), MARK_ABSENT, 1000 + i);
    }
    assert_int_equal(marks_bytes(m), bytes);
    assert_in_range(marks_count(m), 100000, bytes / 16);
    marks_destroy(&m);
    marks_destroy(&m); /* none: nothing happens */
}

static void a_line_belongs_to_one_shard(void **state) {
    (void)state;
    for (unsigned shards = 1; shards <= 256; shards *= 2) {
        struct marks *m = marks_create(1, shards);
        assert_true(marks_bytes(m) / 64 >= shards);
        for (uint64_t i = 0; i < shards; i++) { /* a shard's marks stay, whatever the others do */
            marks_put(m, i, MARK_ABSENT, 1000);
        }
        assert_int_equal(marks_count(m), shards);
        marks_destroy(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks_never_say_what_was_not_said),
        cmocka_unit_test(a_full_line_drops_what_ends_first),
        cmocka_unit_test(a_mark_ends_at_its_time_and_may_be_made_anew),
        cmocka_unit_test(ends_of_any_age_are_kept),
        cmocka_unit_test(random_keys_cost_what_was_set_aside),
        cmocka_unit_test(a_line_belongs_to_one_shard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
