/* SPDX-License-Identifier: BSD-3-Clause */
/* test_stats: counters summed over loops, their end at a reset, and percentiles of a histogram. */
#include "tests/unit/check.h"

#include "src/base/rng.h"
#include "src/stats/stats.h"

enum { LOOPS = 3, COMMANDS = 4 };

static void stats_are_summed_over_loops(void **state) {
    (void)state;
    struct stats *all[LOOPS];
    for (unsigned i = 0; i < LOOPS; i++) {
        all[i] = stats_create(COMMANDS);
        STAT_ADD(all[i]->keyspace_hits, i + 1);
        STAT_ADD(all[i]->keyspace_hits, 10);
        STAT_ADD(all[i]->commands[2].calls, 5);
    }
    assert_int_equal(STATS_SUM(all, LOOPS, keyspace_hits), 36);
    assert_int_equal(STATS_SUM(all, 1, keyspace_hits), 11);
    assert_int_equal(STATS_SUM(all, LOOPS, keyspace_misses), 0);
    stats_reset(all, LOOPS);
    assert_int_equal(STATS_SUM(all, LOOPS, keyspace_hits), 0);
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_int_equal(STAT_GET(all[i]->commands[2].calls), 0);
        stats_destroy(&all[i]);
        assert_null(all[i]);
    }
}

static void stats_reset_forgets_every_field(void **state) {
    (void)state;
    struct stats *s = stats_create(2);
#define COUNTER(field, section, info_name, doc) STAT_ADD(s->field, 7);
#include "src/stats/counters.def"
#undef COUNTER
    for (int k = 0; k < STAT_HIST_BUCKETS; k++) {
        STAT_ADD(s->commands[1].hist[k], 1);
    }
    stats_reset(&s, 1);
#define COUNTER(field, section, info_name, doc) assert_int_equal(STAT_GET(s->field), 0);
#include "src/stats/counters.def"
#undef COUNTER
    for (int k = 0; k < STAT_HIST_BUCKETS; k++) {
        assert_int_equal(STAT_GET(s->commands[1].hist[k]), 0);
    }
    assert_int_equal(s->command_count, 2);
    stats_destroy(&s);
}

static uint64_t edge(int bucket) {
    return (uint64_t)1 << (bucket + STAT_HIST_SHIFT + 1);
}

static void percentile_is_the_edge_of_its_bucket(void **state) {
    (void)state;
    uint64_t hist[STAT_HIST_BUCKETS] = {0};
    assert_int_equal(stat_percentile(hist, 50), 0);
    hist[3] = 90;
    hist[7] = 9;
    hist[20] = 1;
    assert_int_equal(stat_percentile(hist, 0), edge(3));
    assert_int_equal(stat_percentile(hist, 50), edge(3));
    assert_int_equal(stat_percentile(hist, 90), edge(3));
    assert_int_equal(stat_percentile(hist, 90.1), edge(7));
    assert_int_equal(stat_percentile(hist, 99), edge(7));
    assert_int_equal(stat_percentile(hist, 99.9), edge(20));
    assert_int_equal(stat_percentile(hist, 100), edge(20));
}

/* Against counting through a sorted list of what each call took. */
static void percentile_agrees_with_a_sorted_list(void **state) {
    (void)state;
    static const double percents[] = {0.1, 1, 25, 50, 90, 99, 99.9, 100};
    rng_seed(5);
    for (int round = 0; round < 200; round++) {
        uint64_t hist[STAT_HIST_BUCKETS] = {0};
        int list[300], n = 0, calls = 1 + (int)rng_below(300);
        for (int i = 0; i < calls; i++) {
            hist[rng_below(STAT_HIST_BUCKETS)]++;
        }
        for (int k = 0; k < STAT_HIST_BUCKETS; k++) {
            for (uint64_t i = 0; i < hist[k]; i++) {
                list[n++] = k;
            }
        }
        for (size_t p = 0; p < sizeof(percents) / sizeof(*percents); p++) {
            int at = 0;
            while (at + 1 < n && (double)(at + 1) < (double)n * percents[p] / 100) {
                at++;
            }
            assert_int_equal(stat_percentile(hist, percents[p]), edge(list[at]));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(stats_are_summed_over_loops), cmocka_unit_test(stats_reset_forgets_every_field),
                                       cmocka_unit_test(percentile_is_the_edge_of_its_bucket), cmocka_unit_test(percentile_agrees_with_a_sorted_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
