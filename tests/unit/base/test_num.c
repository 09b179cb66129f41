/* SPDX-License-Identifier: BSD-3-Clause */
/* test_num: strict numbers and glob patterns. */
#include "tests/unit/check.h"

#include "src/base/glob.h"
#include "src/base/num.h"

static void num_accepts_only_canonical_integers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        int64_t v;
    } rows[] = {{"0", true, 0}, {"-1", true, -1}, {"9223372036854775807", true, INT64_MAX},
                {"-9223372036854775808", true, INT64_MIN}, {"9223372036854775808", false, 0},
                {"", false, 0}, {"-", false, 0}, {"-0", false, 0}, {"01", false, 0}, {"+1", false, 0},
                {" 1", false, 0}, {"1 ", false, 0}, {"99999999999999999999", false, 0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t v = 0;
        assert_int_equal(num_parse_i64(slice_cstr(rows[i].text), &v), rows[i].ok);
        if (rows[i].ok) {
            char text[NUM_I64_MAX_LEN];
            assert_int_equal(v, rows[i].v);
            assert_slice(slice_make(text, num_print_i64(text, v)), rows[i].text);
        }
    }
}

static void num_prints_long_doubles_as_redis_does(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {{"3.0", "3"}, {"0.1", "0.1"}, {"-2.50", "-2.5"}, {"1e5", "100000"}, {"-0.0", "0"}};
    char text[NUM_LD_MAX_LEN];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        long double v;
        assert_true(num_parse_ld(slice_cstr(rows[i].in), &v));
        assert_slice(slice_make(text, num_print_ld(text, v)), rows[i].out);
    }
    long double v;
    assert_false(num_parse_ld(SLICE("nan"), &v));
    assert_false(num_parse_ld(SLICE(" 1"), &v));
    assert_false(num_parse_ld(SLICE("1 "), &v));
    assert_false(num_parse_ld(SLICE("0x"), &v));
}

static void glob_follows_the_pattern_language(void **state) {
    (void)state;
    static const struct {
        const char *p, *s;
        bool match;
    } rows[] = {{"*", "", true}, {"h?llo", "hello", true}, {"h[ae]llo", "hallo", true}, {"h[^e]llo", "hello", false},
                {"h[a-b]llo", "hbllo", true}, {"\\*", "*", true}, {"\\*", "x", false}, {"a*b*c", "a__b__c", true},
                {"a*b*c", "a__b__", false}, {"", "", true}, {"", "x", false}, {"[", "[", false}, {"a[", "a", false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(glob_match(slice_cstr(rows[i].p), slice_cstr(rows[i].s), false), rows[i].match);
    }
    assert_true(glob_match(SLICE("HeL*"), SLICE("hello"), true));
}

static void glob_is_not_exponential(void **state) {
    (void)state;
    char text[2001];
    memset(text, 'a', 2000);
    text[2000] = '\0';
    assert_false(glob_match(SLICE("a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"), slice_cstr(text), false));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(num_accepts_only_canonical_integers),
        cmocka_unit_test(num_prints_long_doubles_as_redis_does),
        cmocka_unit_test(glob_follows_the_pattern_language),
        cmocka_unit_test(glob_is_not_exponential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
