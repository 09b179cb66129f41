/* SPDX-License-Identifier: BSD-3-Clause */
/* test_latency: samples merged by the second, a ring of them for each event, a bounded number of events. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/stats/latency.h"

static struct latency *all;

static int create(void **state) {
    (void)state;
    all = latency_create();
    return 0;
}

static int destroy(void **state) {
    (void)state;
    latency_destroy(&all);
    assert_null(all);
    return 0;
}

static void take_copy(void *ctx, const struct latency_event *e) {
    *(struct latency_event *)ctx = *e;
}

static void count(void *ctx, const struct latency_event *e) {
    (void)e;
    (*(int *)ctx)++;
}

/* The nth newest sample. */
static struct latency_sample newest(const struct latency_event *e, size_t n) {
    return e->samples[(e->next + LATENCY_SAMPLES - 1 - n) % LATENCY_SAMPLES];
}

static void latency_merges_samples_of_one_second(void **state) {
    (void)state;
    struct latency_event e;
    latency_add(all, "command", 100, 5);
    latency_add(all, "command", 100, 9);
    latency_add(all, "command", 100, 7);
    latency_add(all, "command", 101, 3);
    latency_add(all, "fork", 100, 50);
    latency_each(all, "command", take_copy, &e);
    assert_int_equal(e.count, 2);
    assert_int_equal(e.max_ms, 9);
    assert_int_equal(newest(&e, 0).time_s, 101);
    assert_int_equal(newest(&e, 0).ms, 3);
    assert_int_equal(newest(&e, 1).ms, 9);
}

static void latency_keeps_the_newest_samples(void **state) {
    (void)state;
    struct latency_event e;
    for (int i = 0; i < LATENCY_SAMPLES + 20; i++) {
        latency_add(all, "command", i, (uint64_t)(1000 - i));
    }
    latency_each(all, "command", take_copy, &e);
    assert_int_equal(e.count, LATENCY_SAMPLES);
    assert_int_equal(e.max_ms, 1000); /* of all times, though its sample is gone */
    for (size_t i = 0; i < LATENCY_SAMPLES; i++) {
        assert_int_equal(newest(&e, i).time_s, LATENCY_SAMPLES + 19 - (int64_t)i);
    }
}

static void latency_forgets_the_named_events(void **state) {
    (void)state;
    int n = 0;
    struct slice names[] = {SLICE("B"), SLICE("none"), SLICE("d")};
    static const char *const events[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) {
        latency_add(all, events[i], 1, 1);
    }
    assert_int_equal(latency_reset(all, names, 3), 2); /* the case of letters does not matter */
    latency_each(all, NULL, count, &n);
    assert_int_equal(n, 2);
    latency_each(all, "b", count, &n);
    assert_int_equal(n, 2);
    latency_each(all, "c", count, &n);
    assert_int_equal(n, 3);
    assert_int_equal(latency_reset(all, NULL, 0), 2);
    assert_int_equal(latency_reset(all, NULL, 0), 0);
}

static void latency_has_room_for_so_many_events(void **state) {
    (void)state;
    static char names[40][16];
    int n = 0;
    for (int i = 0; i < 40; i++) {
        snprintf(names[i], sizeof(names[i]), "e%d", i);
        latency_add(all, names[i], 1, 1);
    }
    latency_each(all, NULL, count, &n);
    assert_int_equal(n, 16);
    latency_add(all, names[0], 2, 1);
    struct latency_event e;
    latency_each(all, names[0], take_copy, &e);
    assert_int_equal(e.count, 2);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)
    const struct CMUnitTest tests[] = {TEST(latency_merges_samples_of_one_second), TEST(latency_keeps_the_newest_samples),
                                       TEST(latency_forgets_the_named_events), TEST(latency_has_room_for_so_many_events)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
