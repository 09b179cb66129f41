/* SPDX-License-Identifier: BSD-3-Clause */
/* test_dict: shrinking, paced freeing and even draws. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/rng.h"
#include "src/ds/dict.h"

enum { MANY = 20000 };

static struct slice field_of(char *text, int i) {
    return slice_make(text, (size_t)snprintf(text, 16, "%d", i) + 1);
}

static struct dict *filled(int n) {
    struct dict *d = dict_create();
    char text[16];
    for (int i = 0; i < n; i++) {
        assert_int_equal(dict_set(d, field_of(text, i), SLICE("v")), 1);
    }
    return d;
}

static void mark(void *ctx, struct slice field, struct slice value) {
    (void)value;
    ((int *)ctx)[atoi(field.p)]++;
}

static void dict_gives_memory_back_after_deletes(void **state) {
    (void)state;
    struct dict *empty = dict_create(), *d = filled(MANY);
    char text[16];
    for (int i = 10; i < MANY; i++) {
        assert_true(dict_del(d, field_of(text, i)));
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(dict_find(d, field_of(text, i)) != NULL, i < 10);
    }
    assert_in_range(dict_bytes(d), dict_bytes(empty), dict_bytes(empty) + 4096);
    dict_destroy(&d);
    dict_destroy(&empty);
}

static void dict_scan_sees_what_stays_while_it_shrinks(void **state) {
    (void)state;
    struct dict *d = filled(MANY);
    static int seen[MANY];
    char text[16];
    int next = 200;
    uint64_t cursor = 0;
    do {
        cursor = dict_scan(d, cursor, 10, mark, seen);
        for (int k = 0; k < 100 && next < MANY; k++, next++) {
            assert_true(dict_del(d, field_of(text, next)));
        }
    } while (cursor != 0);
    for (int i = 0; i < 200; i++) {
        assert_true(seen[i] >= 1);
    }
    dict_destroy(&d);
}

static void dict_draws_every_entry_evenly(void **state) {
    (void)state;
    enum { N = 3000, EACH = 100 };
    struct dict *d = filled(N);
    static int seen[N];
    double chi = 0;
    rng_seed(4);
    for (int i = 0; i < N * EACH; i++) {
        seen[atoi(dict_field(dict_random(d)).p)]++;
    }
    for (int i = 0; i < N; i++) {
        assert_true(seen[i] > 0);
        chi += (double)(seen[i] - EACH) * (seen[i] - EACH) / EACH;
    }
    assert_true(chi < N + 6 * 78.0); /* mean N - 1, deviation sqrt(2 N) = 78 */
    dict_destroy(&d);
}

static void dict_is_freed_in_bounded_steps(void **state) {
    (void)state;
    struct dict *d = filled(MANY);
    size_t before = dict_len(d);
    int steps = 1;
    for (; !dict_free_some(d, 100); steps++) {
        assert_in_range(before - dict_len(d), 0, 100);
        before = dict_len(d);
    }
    assert_in_range(steps, MANY / 100 + MANY / 1600, MANY / 50); /* empty buckets count too */
    assert_int_equal(dict_len(d), 0);
    dict_destroy(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dict_gives_memory_back_after_deletes),
        cmocka_unit_test(dict_scan_sees_what_stays_while_it_shrinks),
        cmocka_unit_test(dict_draws_every_entry_evenly),
        cmocka_unit_test(dict_is_freed_in_bounded_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
