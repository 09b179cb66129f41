/* SPDX-License-Identifier: BSD-3-Clause */
/* test_stats: counters summed over loops, and their end at a reset. */
#include "tests/unit/check.h"

#include "src/stats/stats.h"

enum { LOOPS = 3, COMMANDS = 4 };

static void stats_are_summed_over_loops(void **state) {
    (void)state;
    struct stats *all[LOOPS];
    for (unsigned i = 0; i < LOOPS; i++) {
        all[i] = stats_create(COMMANDS);
        STAT_ADD(all[i]->parked_calls, i + 1);
        STAT_ADD(all[i]->parked_calls, 10);
        for (unsigned k = 0; k < 5; k++) {
            stats_count_call(all[i], 2, (uint64_t)1 << 10 * k);
        }
        stats_count_call(all[i], 1, 100);
    }
    assert_int_equal(STATS_SUM(all, LOOPS, parked_calls), 36);
    assert_int_equal(STATS_SUM_COMMANDS(all, LOOPS, calls), 6 * LOOPS);
    assert_int_equal(STATS_SUM(all, 1, parked_calls), 11);
    assert_int_equal(STATS_SUM(all, LOOPS, total_error_replies), 0);
    stats_reset(all, LOOPS);
    assert_int_equal(STATS_SUM(all, LOOPS, parked_calls), 0);
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_int_equal(cmd_stats_calls(&all[i]->commands[2]), 0);
        stats_destroy(&all[i]);
        assert_null(all[i]);
    }
}

static void stats_reset_forgets_every_field(void **state) {
    (void)state;
    struct stats *s = stats_create(2);
#define COUNTER(field, section, info_name, doc) STAT_ADD(s->field, 7);
#include "src/stats/counters.def"
    hist_add(&stats_more(&s->commands[1])->latency, 5000);
    STAT_ADD(stats_more(&s->commands[1])->stale, 3);
    STAT_ADD(s->commands[1].hits, 3);
    STAT_ADD(s->tiers[STAT_L2].hits, 2);
    STAT_ADD(s->links.opened, 2);
    STAT_ADD(s->links.open, 2);
    STAT_ADD(s->tiers[STAT_L2].rejects[REJECT_size], 2);
    stats_reset(&s, 1);
#define COUNTER(field, section, info_name, doc) assert_int_equal(STAT_GET(s->field), 0);
#include "src/stats/counters.def"
    struct cmd_numbers n;
    struct hist_sum h = {0};
    stats_read_command(&s, 1, 1, &n, &h);
    assert_int_equal(h.count, 0);
    assert_int_equal(n.hits + n.stale, 0);
    assert_int_equal(STAT_GET(s->tiers[STAT_L2].hits), 0);
    assert_int_equal(STAT_GET(s->tiers[STAT_L2].rejects[REJECT_size]), 0);
    assert_int_equal(STAT_GET(s->links.opened), 0);
    assert_int_equal(STAT_GET(s->links.open), 2); /* is so all the same */
    assert_int_equal(s->command_count, 2);
    stats_destroy(&s);
}

static void sums_over_commands_are_those_of_all_loops(void **state) {
    (void)state;
    struct stats *all[LOOPS];
    for (unsigned i = 0; i < LOOPS; i++) {
        all[i] = stats_create(COMMANDS);
        for (unsigned k = 0; k < COMMANDS; k++) {
            STAT_ADD(all[i]->commands[k].hits, 1 + k);
        }
    }
    assert_int_equal(STATS_SUM_COMMANDS(all, LOOPS, hits), LOOPS * (1 + 2 + 3 + 4));
    assert_int_equal(STATS_SUM_COMMANDS(all, LOOPS, misses), 0);
    for (unsigned i = 0; i < LOOPS; i++) {
        stats_destroy(&all[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(stats_are_summed_over_loops), cmocka_unit_test(stats_reset_forgets_every_field),
                                       cmocka_unit_test(sums_over_commands_are_those_of_all_loops)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
