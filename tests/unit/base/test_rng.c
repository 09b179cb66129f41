/* SPDX-License-Identifier: BSD-3-Clause */
/* test_rng: repeatable when seeded, even over its range, apart in each thread. */
#include "tests/unit/check.h"

#include <pthread.h>

#include "src/base/rng.h"

enum { DRAWS = 100000, PLACES = 37 };

static void rng_repeats_after_a_seed(void **state) {
    (void)state;
    uint64_t first[100];
    rng_seed(7);
    for (int i = 0; i < 100; i++) {
        first[i] = rng_u64();
    }
    rng_seed(7);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(rng_u64(), first[i]);
    }
    rng_seed(8);
    assert_int_not_equal(rng_u64(), first[0]);
}

static void rng_is_even_below_a_bound(void **state) {
    (void)state;
    int counts[PLACES] = {0};
    rng_seed(9);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t v = rng_below(PLACES);
        assert_true(v < PLACES);
        counts[v]++;
    }
    double expected = (double)DRAWS / PLACES, chi = 0;
    for (int i = 0; i < PLACES; i++) {
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    assert_true(chi < 75); /* 36 degrees of freedom: one in ten thousand seeds */
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(rng_below(1), 0);
        assert_true(rng_below(UINT64_MAX) < UINT64_MAX);
    }
}

static void *draw_elsewhere(void *arg) {
    *(uint64_t *)arg = rng_u64(); /* its own seed, from the system */
    return NULL;
}

static void rng_of_another_thread_is_another(void **state) {
    (void)state;
    uint64_t there[2];
    for (int i = 0; i < 2; i++) {
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, draw_elsewhere, &there[i]), 0);
        pthread_join(t, NULL);
    }
    assert_int_not_equal(there[0], there[1]);
    rng_seed(7);
    uint64_t here = rng_u64();
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, draw_elsewhere, &there[0]), 0);
    pthread_join(t, NULL);
    rng_seed(7);
    assert_int_equal(rng_u64(), here);
}

static void rng_fills_bytes_from_the_system(void **state) {
    (void)state;
    unsigned char a[256] = {0}, b[256] = {0};
    rng_system(a, sizeof(a));
    rng_system(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rng_repeats_after_a_seed), cmocka_unit_test(rng_is_even_below_a_bound),
                                       cmocka_unit_test(rng_of_another_thread_is_another), cmocka_unit_test(rng_fills_bytes_from_the_system)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
