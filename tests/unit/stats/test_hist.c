/* SPDX-License-Identifier: BSD-3-Clause */
/* test_hist: the log-linear histogram against exact quantiles. */
#include "tests/unit/check.h"

#include <stdlib.h>

#include "src/base/rng.h"
#include "src/stats/hist.h"

enum { MANY = 20000 };

static void every_value_lies_below_its_edge_and_not_below_the_one_before(void **state) {
    (void)state;
    for (unsigned shift = 0; shift < 40; shift++) {
        for (int64_t d = -3; d <= 3; d++) {
            int64_t v = ((int64_t)1 << shift) + d;
            unsigned i = v < 0 ? 0 : hist_bucket((uint64_t)v);
            if (v < 0 || i == HIST_BUCKETS - 1) {
                continue;
            }
            assert_true((uint64_t)v < hist_edge(i));
            assert_true(i == 0 || (uint64_t)v >= hist_edge(i - 1));
        }
    }
    assert_int_equal(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
}

static void edges_rise_by_an_eighth_at_most(void **state) {
    (void)state;
    for (unsigned i = 1; i < HIST_BUCKETS; i++) {
        assert_true(hist_edge(i) > hist_edge(i - 1));
        if (i > HIST_SUBS) {
            assert_true((hist_edge(i) - hist_edge(i - 1)) * 8 <= hist_edge(i - 1));
        }
    }
}

static int by_value(const void *pa, const void *pb) {
    uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;
    return a < b ? -1 : a > b;
}

/* Of three shapes: even, long-tailed, and two humps far apart. */
static uint64_t draw(int shape) {
    uint64_t even = 100 + rng_below(1000000);
    switch (shape) {
    case 0:
        return even;
    case 1:
        return 100 + ((uint64_t)1 << rng_below(30)) + rng_below(1000);
    default:
        return rng_below(100) < 95 ? 1000 + rng_below(500) : 50000000 + rng_below(1000000);
    }
}

static void percentiles_are_within_an_eighth_of_the_exact_ones(void **state) {
    (void)state;
    static const double percents[] = {1, 25, 50, 90, 99, 99.9, 99.99, 100};
    static uint64_t values[MANY];
    rng_seed(11);
    for (int shape = 0; shape < 3; shape++) {
        struct hist h = {0};
        struct hist_sum sum = {0};
        for (int i = 0; i < MANY; i++) {
            values[i] = draw(shape);
            hist_add(&h, values[i]);
        }
        qsort(values, MANY, sizeof(values[0]), by_value);
        hist_read(&sum, &h);
        assert_int_equal(sum.count, MANY);
        for (size_t p = 0; p < sizeof(percents) / sizeof(percents[0]); p++) {
            int at = 0;
            while (at + 1 < MANY && (double)(at + 1) < MANY * percents[p] / 100) {
                at++;
            }
            uint64_t said = hist_quantile(&sum, percents[p]);
            assert_true(said > values[at]);
            assert_true((double)said <= (double)values[at] * 1.125 + 1);
        }
    }
}

static void nothing_has_no_percentiles(void **state) {
    (void)state;
    struct hist_sum sum = {0};
    assert_int_equal(hist_quantile(&sum, 50), 0);
    hist_read(&sum, NULL);
    assert_int_equal(sum.count, 0);
}

static void sums_add_and_take_away_bucket_by_bucket(void **state) {
    (void)state;
    struct hist a = {0}, b = {0};
    struct hist_sum all = {0}, less = {0};
    hist_add(&a, 1000);
    hist_add(&a, 1000);
    hist_count(&b, 70000);
    hist_read(&all, &a);
    hist_read(&less, &b);
    hist_sum_add(&all, &less);
    assert_int_equal(all.count, 3);
    hist_sum_take(&all, &less);
    assert_int_equal(all.count, 2);
    assert_true(hist_quantile(&all, 100) < 70000);
    hist_sum_take(&all, &less); /* more than there is */
    assert_int_equal(all.count, 2);
    hist_reset(&a);
    all = (struct hist_sum){0};
    hist_read(&all, &a);
    assert_int_equal(all.count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_value_lies_below_its_edge_and_not_below_the_one_before),
                                       cmocka_unit_test(edges_rise_by_an_eighth_at_most),
                                       cmocka_unit_test(percentiles_are_within_an_eighth_of_the_exact_ones),
                                       cmocka_unit_test(nothing_has_no_percentiles), cmocka_unit_test(sums_add_and_take_away_bucket_by_bucket)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
