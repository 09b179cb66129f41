/* SPDX-License-Identifier: BSD-3-Clause */
/* test_pace: so many a second, whatever the rate and however seldom it is asked. */
#include "tests/unit/check.h"

#include "src/server/pace.h"

/* How many go in a second when asked every step_us. */
static int64_t gone(int64_t rate, int64_t step_us) {
    struct pace p;
    int64_t n = 0, start_us = 5000000;
    pace_start(&p, rate, start_us);
    for (int64_t now_us = start_us; now_us < start_us + 1000000; now_us += step_us) {
        for (; pace_allows(&p, now_us); n++) {
            pace_spend(&p, 1, now_us);
        }
    }
    return n;
}

static void the_rate_is_kept(void **state) {
    (void)state;
    assert_in_range(gone(1, 2000), 1, 1);
    assert_in_range(gone(10, 2000), 10, 10);
    assert_in_range(gone(999, 2000), 997, 999);
    assert_in_range(gone(20000, 2000), 19950, 20001);
    assert_in_range(gone(3000000, 2000), 2980000, 3000001);
    assert_in_range(gone(1000, 300000), 300, 306); /* asked too seldom: slower, never faster */
}

static void a_pause_is_not_made_up_for(void **state) {
    (void)state;
    struct pace p;
    int64_t n = 0, later_us = 60000000;
    pace_start(&p, 1000, 0);
    for (; pace_allows(&p, later_us); n++) {
        pace_spend(&p, 1, later_us);
    }
    assert_in_range(n, 100, 102);
}

static void no_rate_is_no_bound(void **state) {
    (void)state;
    struct pace p;
    pace_start(&p, 0, 0);
    pace_spend(&p, 1000000, 0);
    assert_true(pace_allows(&p, 0));
}

static void many_at_once_are_paid_for(void **state) {
    (void)state;
    struct pace p;
    pace_start(&p, 100, 0);
    pace_spend(&p, 50, 0);
    assert_false(pace_allows(&p, 499000));
    assert_true(pace_allows(&p, 500000));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_rate_is_kept), cmocka_unit_test(a_pause_is_not_made_up_for),
                                       cmocka_unit_test(no_rate_is_no_bound), cmocka_unit_test(many_at_once_are_paid_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
