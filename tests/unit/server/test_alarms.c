/* SPDX-License-Identifier: BSD-3-Clause */
/* test_alarms: each alarm of health.def fires, clears, and is logged once a minute. */
#include "tests/unit/check.h"

#include "src/server/alarms.h"

#define MB ((uint64_t)1 << 20)
#define SECOND ((int64_t)1000000)

struct example {
    enum alarm alarm;
    struct signs well, ill; /* one step apart */
};

static const struct example examples[] = {
    {ALARM_lag, {.lag_us = 200000, .lag_limit_us = 200000}, {.lag_us = 200001, .lag_limit_us = 200000}},
    {ALARM_lag, {.lag_us = 900000000}, {.lag_us = 2, .lag_limit_us = 1}}, /* without a limit never */
    {ALARM_rss, {.rss_percent = 110, .rss_limit = 110}, {.rss_percent = 111, .rss_limit = 110}},
    {ALARM_rss, {.rss_percent = 999}, {.rss_percent = 2, .rss_limit = 1}},
    {ALARM_growth, {.grown = 16 * MB - 1}, {.grown = 16 * MB}},
    {ALARM_growth, {.grown = 20 * MB - 1, .maxmemory = 1000 * MB}, {.grown = 20 * MB, .maxmemory = 1000 * MB}},
    {ALARM_fragmentation, {.kept = 164 * MB - 1, .used = 100 * MB, .slack_limit = 64 * MB}, {.kept = 164 * MB, .used = 100 * MB, .slack_limit = 64 * MB}},
    {ALARM_fragmentation, {.kept = 1250 * MB - 1, .used = 1000 * MB, .slack_limit = 64 * MB}, {.kept = 1250 * MB, .used = 1000 * MB, .slack_limit = 64 * MB}},
    {ALARM_fragmentation, {.kept = 10 * MB, .used = 100 * MB, .slack_limit = 64 * MB}, {.kept = 64 * MB, .slack_limit = 64 * MB}},
    {ALARM_fragmentation, {.kept = 900 * MB}, {.kept = 2, .slack_limit = 1}}, /* without a limit never */
    {ALARM_pool, {.done = 5, .wait_us = 5000000}, {.done = 5, .wait_us = 5000005}}, /* a second each, and more */
    {ALARM_pool, {.done = 100000, .wait_us = 99999999}, {.refused = 1, .done = 100000}},
    {ALARM_pool, {.idle_looks = 1}, {.idle_looks = 2}}, /* nobody has taken what waits for more than a second */
    {ALARM_stall, {.stopped = false}, {.stopped = true}},
    {ALARM_settings, {.differing = 0}, {.differing = 1}},
};
enum { EXAMPLES = sizeof(examples) / sizeof(examples[0]) };

static void each_fires_at_its_threshold_and_no_other_does(void **state) {
    (void)state;
    unsigned seen = 0;
    for (unsigned i = 0; i < EXAMPLES; i++) {
        for (unsigned a = 0; a < ALARMS; a++) {
            assert_false(alarm_is_due((enum alarm)a, &examples[i].well));
            assert_int_equal(alarm_is_due((enum alarm)a, &examples[i].ill), a == examples[i].alarm);
        }
        seen |= 1U << examples[i].alarm;
    }
    assert_int_equal(seen, (1U << ALARMS) - 1); /* every row has an example */
}

static void each_lasts_five_seconds_and_clears(void **state) {
    (void)state;
    for (unsigned i = 0; i < EXAMPLES; i++) {
        struct alarm_state s = {0};
        uint64_t unlogged;
        int64_t now = 1000 * SECOND;
        assert_false(alarm_lasts(&s, now));
        if (alarm_is_due(examples[i].alarm, &examples[i].ill)) {
            assert_true(alarm_raise(&s, now, &unlogged));
        }
        assert_true(alarm_lasts(&s, now + 5 * SECOND - 1));
        if (alarm_is_due(examples[i].alarm, &examples[i].well)) {
            fail();
        }
        assert_false(alarm_lasts(&s, now + 5 * SECOND));
        assert_int_equal(s.count, 1);
    }
}

static void each_is_logged_once_a_minute(void **state) {
    (void)state;
    struct alarm_state s = {0};
    uint64_t unlogged = 7;
    int64_t start = 1000 * SECOND;
    assert_true(alarm_raise(&s, start, &unlogged));
    assert_int_equal(unlogged, 0);
    for (int i = 1; i < 60; i++) {
        assert_false(alarm_raise(&s, start + i * SECOND, &unlogged));
    }
    assert_true(alarm_raise(&s, start + 60 * SECOND, &unlogged));
    assert_int_equal(unlogged, 59);
    assert_int_equal(s.count, 61);
    assert_true(alarm_lasts(&s, start + 64 * SECOND));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_fires_at_its_threshold_and_no_other_does),
        cmocka_unit_test(each_lasts_five_seconds_and_clears),
        cmocka_unit_test(each_is_logged_once_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
