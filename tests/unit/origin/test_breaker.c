/* SPDX-License-Identifier: BSD-3-Clause */
/* test_breaker: closed, open, half-open, on a clock that is an argument. */
#include "tests/unit/check.h"

#include "src/base/rng.h"
#include "src/origin/breaker.h"

enum { WINDOW = 10, OPEN_MS = 100, HALF = 500000 /* 50% in millionths */ };

static bool tell(struct breaker *b, enum breaker_outcome outcome, int64_t now_ms) {
    uint32_t era;
    assert_true(breaker_admit(b, now_ms, &era));
    return breaker_report(b, era, outcome, now_ms);
}

static void break_it(struct breaker *b, int64_t now_ms) {
    for (int i = 0; i < WINDOW / 2 - 1; i++) {
        assert_false(tell(b, OUTCOME_BAD, now_ms));
    }
    assert_true(tell(b, OUTCOME_BAD, now_ms));
}

static void it_opens_at_the_share_of_the_window(void **state) {
    (void)state;
    struct breaker b;
    breaker_init(&b, WINDOW, HALF, OPEN_MS);
    break_it(&b, 0);
    assert_true(breaker_refuses(&b, 0));
    assert_int_equal(breaker_state_at(&b, 0), BREAKER_OPEN);
    breaker_fini(&b);
}

static void failures_that_left_the_window_do_not_count(void **state) {
    (void)state;
    struct breaker b;
    breaker_init(&b, WINDOW, HALF, OPEN_MS);
    for (int i = 0; i < 1000; i++) { /* 4 of any 10 */
        assert_false(tell(&b, i % 5 < 2 ? OUTCOME_BAD : OUTCOME_GOOD, i));
    }
    assert_int_equal(breaker_state_at(&b, 1000), BREAKER_CLOSED);
    breaker_fini(&b);
}

static void a_share_of_nothing_never_opens(void **state) {
    (void)state;
    struct breaker b;
    breaker_init(&b, WINDOW, 0, OPEN_MS);
    for (int i = 0; i < 1000; i++) {
        assert_false(tell(&b, OUTCOME_BAD, i));
    }
    breaker_fini(&b);
}

static void small_shares_need_one_failure(void **state) {
    (void)state;
    struct breaker b;
    breaker_init(&b, WINDOW, 1, OPEN_MS);
    assert_false(tell(&b, OUTCOME_GOOD, 0));
    assert_true(tell(&b, OUTCOME_BAD, 0));
    breaker_fini(&b);
}

static void open_refuses_until_its_time_is_over(void **state) {
    (void)state;
    struct breaker b;
    uint32_t era;
    breaker_init(&b, WINDOW, HALF, OPEN_MS);
    break_it(&b, 1000);
    assert_false(breaker_admit(&b, 1000 + OPEN_MS - 1, &era));
    assert_true(breaker_admit(&b, 1000 + OPEN_MS, &era));
    breaker_fini(&b);
}

static void half_open_lets_exactly_one_through(void **state) {
    (void)state;
    struct breaker b;
    uint32_t era, other;
    breaker_init(&b, WINDOW, HALF, OPEN_MS);
    break_it(&b, 0);
    assert_int_equal(breaker_state_at(&b, OPEN_MS), BREAKER_HALF_OPEN);
    assert_true(breaker_admit(&b, OPEN_MS, &era));
    for (int i = 0; i < 10; i++) {
        assert_false(breaker_admit(&b, OPEN_MS + i * 1000, &other));
    }
    breaker_fini(&b);
}

static void a_good_trial_closes_with_a_clean_slate(void **state) {
    (void)state;
    struct breaker b;
    breaker_init(&b, WINDOW, HALF, OPEN_MS);
    break_it(&b, 0);
    assert_false(tell(&b, OUTCOME_GOOD, OPEN_MS));
    assert_int_equal(breaker_state_at(&b, OPEN_MS), BREAKER_CLOSED);
    break_it(&b, OPEN_MS); /* as many as at the first time */
    breaker_fini(&b);
}

static void a_bad_trial_opens_again_for_as_long(void **state) {
    (void)state;
    struct breaker b;
    uint32_t era;
    breaker_init(&b, WINDOW, HALF, OPEN_MS);
    break_it(&b, 0);
    assert_true(tell(&b, OUTCOME_BAD, 150));
    assert_false(breaker_admit(&b, 150 + OPEN_MS - 1, &era));
    assert_true(breaker_admit(&b, 150 + OPEN_MS, &era));
    breaker_fini(&b);
}

static void a_trial_that_learnt_nothing_leaves_the_next_one(void **state) {
    (void)state;
    struct breaker b;
    uint32_t era;
    breaker_init(&b, WINDOW, HALF, OPEN_MS);
    break_it(&b, 0);
    assert_false(tell(&b, OUTCOME_NONE, OPEN_MS));
    assert_int_equal(breaker_state_at(&b, OPEN_MS), BREAKER_HALF_OPEN);
    assert_true(breaker_admit(&b, OPEN_MS, &era));
    breaker_fini(&b);
}

static void what_was_admitted_before_it_opened_says_nothing(void **state) {
    (void)state;
    struct breaker b;
    uint32_t late, trial;
    breaker_init(&b, WINDOW, HALF, OPEN_MS);
    assert_true(breaker_admit(&b, 0, &late));
    break_it(&b, 0);
    breaker_report(&b, late, OUTCOME_GOOD, 1);
    assert_true(breaker_refuses(&b, 1));
    assert_true(breaker_admit(&b, OPEN_MS, &trial));
    breaker_report(&b, late, OUTCOME_GOOD, OPEN_MS);
    assert_true(breaker_refuses(&b, OPEN_MS)); /* still only the trial is out */
    breaker_fini(&b);
}

/* Against a plain model: the last WINDOW outcomes in an array. */
static void it_does_what_a_plain_model_does(void **state) {
    (void)state;
    struct breaker b;
    bool last[WINDOW] = {0};
    rng_seed(7);
    breaker_init(&b, WINDOW, 300000, OPEN_MS);
    for (int i = 0; i < 100000; i++) {
        bool bad = rng_below(5) == 0;
        int failures = bad;
        for (int k = 1; k < WINDOW; k++) {
            last[k - 1] = last[k];
            failures += last[k];
        }
        last[WINDOW - 1] = bad;
        bool opened = tell(&b, bad ? OUTCOME_BAD : OUTCOME_GOOD, i * OPEN_MS * 2);
        assert_int_equal(opened, failures >= 3);
        if (opened) {
            assert_false(tell(&b, OUTCOME_GOOD, (i * 2 + 1) * OPEN_MS));
            memset(last, 0, sizeof(last));
        }
    }
    breaker_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_opens_at_the_share_of_the_window),
        cmocka_unit_test(failures_that_left_the_window_do_not_count),
        cmocka_unit_test(a_share_of_nothing_never_opens),
        cmocka_unit_test(small_shares_need_one_failure),
        cmocka_unit_test(open_refuses_until_its_time_is_over),
        cmocka_unit_test(half_open_lets_exactly_one_through),
        cmocka_unit_test(a_good_trial_closes_with_a_clean_slate),
        cmocka_unit_test(a_bad_trial_opens_again_for_as_long),
        cmocka_unit_test(a_trial_that_learnt_nothing_leaves_the_next_one),
        cmocka_unit_test(what_was_admitted_before_it_opened_says_nothing),
        cmocka_unit_test(it_does_what_a_plain_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
