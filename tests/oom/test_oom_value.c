/* SPDX-License-Identifier: BSD-3-Clause */
/* test_oom_value: values and their serialisation with every allocation failing in turn: what failed has left the value as it was. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/ds/bloom.h"
#include "src/value/rdb.h"
#include "src/value/value.h"

enum { FIELDS = 300, ENOUGH = 100000 };

static const struct hash_limits limits = {64, 40};

static struct slice text_of(char *buf, const char *fmt, int i) {
    return slice_make(buf, (size_t)snprintf(buf, 128, fmt, i));
}

static struct slice value_text(char *buf, int i) {
    return text_of(buf, i % 3 == 0 ? "%d" : i % 50 == 1 ? "%060d" : "value:%d", i);
}

static void assert_has(const struct value *h, int from, int to) {
    char f[128], v[128];
    struct hash_scratch scratch;
    struct slice got;
    for (int i = from; i < to; i++) {
        assert_true(hash_get(h, text_of(f, "field:%d", i), &scratch, &got));
        assert_true(slice_eq(got, value_text(v, i)));
    }
    assert_int_equal(value_len(h), to - from);
}

/* True when it failed. */
static bool fill_and_empty(void) {
    struct value *h = hash_create();
    char f[128], v[128];
    bool failed = false, created;
    for (int i = 0; i < FIELDS; i++) {
        size_t before = value_len(h);
        if (hash_set(h, text_of(f, "field:%d", i), value_text(v, i), &limits, &created) != OK) {
            failed = true;
            assert_int_equal(value_len(h), before);
            assert_int_equal(hash_set(h, text_of(f, "field:%d", i), value_text(v, i), &limits, &created), OK);
        }
        assert_true(created);
        if (i % 37 == 0) {
            assert_has(h, 0, i + 1);
        }
    }
    for (int i = 0; i < FIELDS / 2; i++) {
        assert_true(hash_del(h, text_of(f, "field:%d", i)));
    }
    assert_has(h, FIELDS / 2, FIELDS);
    value_unref(h);
    return failed || mem_fail_left() == 0;
}

static struct value *filled(int n) {
    struct value *h = hash_create();
    char f[128], v[128];
    for (int i = 0; i < n; i++) {
        assert_int_equal(hash_set(h, text_of(f, "field:%d", i), value_text(v, i), &limits, NULL), OK);
    }
    return h;
}

/* Of several layers. */
static struct value *filter(void) {
    struct bloom *b = bloom_create(0.01, 10, 2, SIZE_MAX);
    for (int i = 0; i < FIELDS; i++) {
        assert_true(bloom_add(b, slice_make(&i, sizeof(i)), SIZE_MAX) <= BLOOM_NEW);
    }
    return value_of_bloom(b);
}

static uint64_t armed;

static bool dump_and_back(void) {
    mem_fail_nth(0);
    struct value *all[] = {filled(1), filled(20), filled(FIELDS), filter()};
    mem_fail_nth(armed);
    bool failed = false;
    for (int i = 0; i < 4; i++) {
        struct buf dump = {0}, str = {0};
        struct value *back = NULL;
        struct slice body;
        if (!rdb_dump(&dump, slice_make("", 0), all[i])) {
            failed = true;
        } else {
            assert_true(rdb_check_dump(buf_slice(&dump), &body));
            const unsigned char *p = (const unsigned char *)body.p;
            struct rdb_reader r = {.start = p, .p = p + 1, .end = p + body.n};
            if (rdb_get_value(&r, p[0], &limits, &str, &back)) {
                assert_int_equal(value_len(back), value_len(all[i]));
                if (i < 3) {
                    assert_has(back, 0, (int)value_len(all[i]));
                }
            } else {
                assert_true(r.no_memory && back == NULL);
                failed = true;
            }
        }
        value_unref(back);
        buf_free(&dump);
        buf_free(&str);
        value_unref(all[i]);
    }
    return failed || mem_fail_left() == 0;
}

/* Until nothing fails any more. */
static void fail_each(bool (*run)(void), uint64_t least) {
    uint64_t n = 0;
    bool failed;
    do {
        size_t before = mem_allocated_bytes();
        armed = ++n;
        mem_fail_nth(n);
        failed = run();
        mem_fail_nth(0);
        assert_int_equal(mem_allocated_bytes(), before);
    } while (failed && n < ENOUGH);
    assert_true(n > least && n < ENOUGH);
}

static void hash_stays_whole_when_a_set_fails(void **state) {
    (void)state;
    fail_each(fill_and_empty, 100);
}

/* Many pairs at once on top of some: all of them or none, in either encoding and when it changes on the way. */
static bool set_many(int before, int n) {
    static struct slice words[2 * FIELDS];
    static char text[2 * FIELDS][128];
    struct value *h;
    size_t created = 0;
    mem_fail_nth(0);
    h = filled(before);
    for (int i = 0; i < n; i++) {
        words[2 * i] = text_of(text[2 * i], "field:%d", before / 2 + i);
        words[2 * i + 1] = value_text(text[2 * i + 1], before / 2 + i);
    }
    mem_fail_nth(armed);
    enum err e = hash_set_all(h, words, (size_t)n, &limits, &created);
    bool failed = e != OK;
    assert_has(h, 0, failed ? before : before / 2 + n);
    assert_int_equal(failed ? 0 : created, failed ? 0 : before / 2 + n - before);
    value_unref(h);
    return failed || mem_fail_left() == 0;
}

static bool set_many_of_each_kind(void) {
    bool compact = set_many(2, 20), growing = set_many(40, 100), large = set_many(200, 150);
    return compact || growing || large;
}

static void hash_takes_all_pairs_or_none(void **state) {
    (void)state;
    fail_each(set_many_of_each_kind, 100);
}

static void copy_fails_without_a_trace(void **state) {
    (void)state;
    uint64_t n = 0;
    bool failed;
    do {
        size_t before = mem_allocated_bytes();
        struct value *large = filled(FIELDS), *small = filled(20), *bloom = filter();
        mem_fail_nth(++n);
        struct value *a = value_dup(large), *b = value_dup(small), *c = value_share(bloom);
        mem_fail_nth(0);
        failed = a == NULL || b == NULL || c == NULL;
        assert_true((a != NULL) + (b != NULL) + (c != NULL) >= 2);
        assert_has(large, 0, FIELDS);
        value_unref(a);
        value_unref(b);
        value_unref(c);
        value_unref(large);
        value_unref(small);
        value_unref(bloom);
        assert_int_equal(mem_allocated_bytes(), before);
    } while (failed && n < ENOUGH);
    assert_true(n > 100 && n < ENOUGH);
}

static void dump_and_restore_say_that_memory_is_gone(void **state) {
    (void)state;
    fail_each(dump_and_back, 300);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(hash_stays_whole_when_a_set_fails), cmocka_unit_test(hash_takes_all_pairs_or_none),
                                       cmocka_unit_test(copy_fails_without_a_trace),
                                       cmocka_unit_test(dump_and_restore_say_that_memory_is_gone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
