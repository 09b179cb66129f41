/* SPDX-License-Identifier: BSD-3-Clause */
/* test_slowlog: the ring against a plain list, cut arguments, and changes of its length. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/stats/slowlog.h"

enum { MOST = 2000 };

static const struct slow_where here = {.step = "run", .tier = "l1"};

static struct slowlog *log_;
static uint64_t model[MOST]; /* microseconds of the entries, oldest first; each is its own number */
static size_t model_n, limit;
static int64_t next_id;

static void note(uint64_t us) {
    struct slice argv[] = {SLICE("SET"), SLICE("key"), SLICE("value")};
    slowlog_add(log_, 1234567, us, argv, 3, "127.0.0.1:1", NULL, &here);
    next_id++;
}

struct looking {
    size_t at;
};

static void compare(void *ctx, const struct slow_entry *e) {
    struct looking *l = ctx;
    assert_int_equal(e->us, model[model_n - 1 - l->at]);
    assert_int_equal(e->time_s, 1234);
    assert_int_equal(e->argc, 3);
    assert_string_equal(e->argv[1], "key");
    assert_string_equal(e->addr, "127.0.0.1:1");
    assert_string_equal(e->name, "");
    l->at++;
}

static void check(void) {
    struct looking l = {0};
    assert_int_equal(slowlog_len(log_), model_n);
    assert_int_equal(slowlog_each(log_, SIZE_MAX, compare, &l), model_n);
    assert_int_equal(l.at, model_n);
    l.at = 0;
    size_t some = model_n / 2;
    assert_int_equal(slowlog_each(log_, some, compare, &l), some);
}

static void model_cut(void) {
    size_t gone = model_n > limit ? model_n - limit : 0;
    memmove(model, model + gone, (model_n - gone) * sizeof(*model));
    model_n -= gone;
}

static void slowlog_agrees_with_a_list(void **state) {
    (void)state;
    size_t before = mem_allocated_bytes();
    rng_seed(6);
    limit = 10;
    log_ = slowlog_create(limit);
    for (uint64_t i = 1; i <= 5000; i++) {
        uint64_t what = rng_below(100);
        if (what == 0) {
            slowlog_reset(log_);
            model_n = 0;
        } else if (what < 4) {
            limit = rng_below(3) == 0 ? 0 : rng_below(40);
            slowlog_set_max(log_, limit);
            model_cut();
        } else {
            note(i);
            model[model_n++] = i;
            model_cut();
        }
        check();
    }
    slowlog_destroy(&log_);
    assert_null(log_);
    assert_int_equal(mem_allocated_bytes(), before);
}

static void take_copy(void *ctx, const struct slow_entry *e) {
    struct slow_entry *copy = ctx;
    *copy = *e; /* the strings are the entry's: it stays until the test is over */
}

static void slowlog_numbers_go_on_after_a_reset(void **state) {
    (void)state;
    struct slow_entry e;
    log_ = slowlog_create(2);
    for (uint64_t i = 0; i < 5; i++) {
        note(i);
    }
    slowlog_each(log_, 1, take_copy, &e);
    assert_int_equal(e.id, 4);
    slowlog_reset(log_);
    assert_int_equal(slowlog_len(log_), 0);
    note(9);
    slowlog_each(log_, 1, take_copy, &e);
    assert_int_equal(e.id, 5);
    slowlog_destroy(&log_);
}

static void slowlog_cuts_what_is_long(void **state) {
    (void)state;
    struct slice argv[100];
    char text[1000];
    struct slow_entry e;
    memset(text, 'x', sizeof(text));
    for (int i = 0; i < 100; i++) {
        argv[i] = slice_make(text, i == 0 ? 128 : i == 1 ? 129 : i == 2 ? 1000 : 0);
    }
    log_ = slowlog_create(4);
    slowlog_add(log_, 0, 1, argv, 100, "a", "name", &here);
    slowlog_each(log_, 1, take_copy, &e);
    assert_int_equal(e.argc, SLOWLOG_MAX_ARGS);
    assert_int_equal(e.argn[0], 128);
    assert_slice(slice_make(e.argv[1] + 128, e.argn[1] - 128), "... (1 more bytes)");
    assert_slice(slice_make(e.argv[2] + 128, e.argn[2] - 128), "... (872 more bytes)");
    assert_int_equal(e.argn[3], 0);
    assert_slice(slice_make(e.argv[31], e.argn[31]), "... (69 more arguments)");
    assert_string_equal(e.name, "name");
    slowlog_add(log_, 0, 1, argv + 3, 32, "a", NULL, &here);
    slowlog_each(log_, 1, take_copy, &e);
    assert_int_equal(e.argc, 32); /* all of them fit */
    assert_int_equal(e.argn[31], 0);
    slowlog_destroy(&log_);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(slowlog_agrees_with_a_list), cmocka_unit_test(slowlog_numbers_go_on_after_a_reset),
                                       cmocka_unit_test(slowlog_cuts_what_is_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
