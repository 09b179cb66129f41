/* SPDX-License-Identifier: BSD-3-Clause */
/* test_cache_control: lifetimes out of headers. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/origin/cache_control.h"

enum { NOTHING = -1 };
#define NOW_S INT64_C(1700000000) /* Tue, 14 Nov 2023 22:13:20 GMT */

/* Headers "Name: value", in lines. */
static struct lifetime read_headers(const char *lines) {
    struct cache_headers h = {0};
    while (*lines != '\0') {
        size_t n = strcspn(lines, "\n");
        const char *colon = memchr(lines, ':', n);
        assert_non_null(colon);
        size_t name = (size_t)(colon - lines);
        cache_header(&h, slice_make(lines, name), slice_make(colon + 1, n - name - 1));
        lines += n + (lines[n] == '\n');
    }
    return cache_lifetime(&h, NOW_S * 1000);
}

static void expect(const char *lines, int64_t ttl_s, int64_t stale_s, int64_t error_s) {
    struct lifetime l = read_headers(lines);
    int64_t want[] = {ttl_s, stale_s, error_s}, got[] = {l.ttl_ms, l.stale_ms, l.error_ms};
    for (int i = 0; i < 3; i++) {
        int64_t ms = want[i] > 0 ? want[i] * 1000 : want[i];
        if (got[i] != ms) {
            fail_msg("%s: number %d is %lld, not %lld", lines, i, (long long)got[i], (long long)ms);
        }
    }
}

static void silence_is_nothing(void **state) {
    (void)state;
    expect("", NOTHING, NOTHING, NOTHING);
    expect("Content-Type: text/plain", NOTHING, NOTHING, NOTHING);
    expect("Cache-Control: public, immutable, no-transform", NOTHING, NOTHING, NOTHING);
    expect("Cache-Control:", NOTHING, NOTHING, NOTHING);
    expect("Cache-Control: ,, ,", NOTHING, NOTHING, NOTHING);
}

static void max_age_is_the_ttl(void **state) {
    (void)state;
    expect("Cache-Control: max-age=60", 60, NOTHING, NOTHING);
    expect("cache-control: MAX-AGE=60", 60, NOTHING, NOTHING);
    expect("Cache-Control:public,max-age=60 ,foo=bar", 60, NOTHING, NOTHING);
    expect("Cache-Control: max-age=\"60\"", 60, NOTHING, NOTHING);
    expect("Cache-Control: max-age = 60", 60, NOTHING, NOTHING);
    expect("Cache-Control: max-age=0", 0, 0, 0);
}

static void s_maxage_comes_first(void **state) {
    (void)state;
    expect("Cache-Control: max-age=60, s-maxage=10", 10, NOTHING, NOTHING);
    expect("Cache-Control: s-maxage=10\nCache-Control: max-age=60", 10, NOTHING, NOTHING);
    expect("Cache-Control: s-maxage=0, max-age=60", 0, 0, 0);
}

static void some_words_forbid_keeping(void **state) {
    (void)state;
    expect("Cache-Control: no-store, max-age=60", 0, 0, 0);
    expect("Cache-Control: max-age=60, stale-if-error=9, no-cache", 0, 0, 0);
    expect("Cache-Control: private", 0, 0, 0);
    expect("Cache-Control: private=\"set-cookie, max-age=7\", max-age=60", 0, 0, 0);
    expect("Cache-Control: no-cache=\"x\"", 0, 0, 0);
    expect("Cache-Control: max-age=60\nCache-Control: no-store", 0, 0, 0);
    expect("Cache-Control: no-storeX, max-age=60", 60, NOTHING, NOTHING);
}

static void stale_times_are_read(void **state) {
    (void)state;
    expect("Cache-Control: max-age=60, stale-while-revalidate=30, stale-if-error=600", 60, 30, 600);
    expect("Cache-Control: stale-while-revalidate=30", NOTHING, 30, NOTHING);
    expect("Cache-Control: max-age=60, stale-if-error=0", 60, NOTHING, 0);
    expect("Cache-Control: max-age=60, must-revalidate, stale-if-error=600", 60, 0, 0);
    expect("Cache-Control: proxy-revalidate, max-age=60", 60, 0, 0);
}

static void age_is_taken_off(void **state) {
    (void)state;
    expect("Cache-Control: max-age=60\nAge: 25", 35, NOTHING, NOTHING);
    expect("Age: 25\nCache-Control: max-age=60", 35, NOTHING, NOTHING);
    expect("Cache-Control: max-age=60, stale-if-error=9\nAge: 60", 0, 0, 0);
    expect("Cache-Control: max-age=60\nAge: 99999999999999999999999", 0, 0, 0);
    expect("Age: 25", NOTHING, NOTHING, NOTHING);
    expect("Cache-Control: max-age=60\nAge: -5", 60, NOTHING, NOTHING);
}

static void expires_is_the_fallback(void **state) {
    (void)state;
    expect("Expires: Tue, 14 Nov 2023 22:14:20 GMT", 60, NOTHING, NOTHING);
    expect("Date: Tue, 14 Nov 2023 22:14:10 GMT\nExpires: Tue, 14 Nov 2023 22:14:20 GMT", 10, NOTHING, NOTHING);
    expect("Expires: Tuesday, 14-Nov-23 22:14:20 GMT", 60, NOTHING, NOTHING);
    expect("Expires: Tue Nov 14 22:14:20 2023", 60, NOTHING, NOTHING);
    expect("Expires: Tue, 14 Nov 2023 22:14:20 GMT\nAge: 20", 40, NOTHING, NOTHING);
    expect("Expires: Tue, 14 Nov 2023 22:14:20 GMT\nCache-Control: max-age=5", 5, NOTHING, NOTHING);
    expect("Expires: Tue, 14 Nov 2023 22:13:20 GMT", 0, 0, 0);
    expect("Expires: 0", 0, 0, 0);
    expect("Expires: -1", 0, 0, 0);
    expect("Expires:", 0, 0, 0);
    expect("Expires: never:", 0, 0, 0);
    expect("Expires: Tue, 14 Nov 9999 22:14:20 GMT", 2147483648, NOTHING, NOTHING);
}

static void nonsense_counts_as_zero(void **state) {
    (void)state;
    expect("Cache-Control: max-age", 0, 0, 0);
    expect("Cache-Control: max-age=", 0, 0, 0);
    expect("Cache-Control: max-age=abc", 0, 0, 0);
    expect("Cache-Control: max-age=-5", 0, 0, 0);
    expect("Cache-Control: max-age=6.5", 0, 0, 0);
    expect("Cache-Control: max-age=60\nCache-Control: max-age=9", 60, NOTHING, NOTHING);
    expect("Cache-Control: x=\"unbalanced, max-age=60", NOTHING, NOTHING, NOTHING);
    expect("Cache-Control: x=\"a\\\", max-age=1\", max-age=60", 60, NOTHING, NOTHING);
}

static void numbers_are_bounded(void **state) {
    (void)state;
    expect("Cache-Control: max-age=99999999999999999999999999", 2147483648, NOTHING, NOTHING);
    expect("Cache-Control: max-age=1, stale-if-error=18446744073709551617", 1, NOTHING, 2147483648);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_is_nothing),
        cmocka_unit_test(max_age_is_the_ttl),
        cmocka_unit_test(s_maxage_comes_first),
        cmocka_unit_test(some_words_forbid_keeping),
        cmocka_unit_test(stale_times_are_read),
        cmocka_unit_test(age_is_taken_off),
        cmocka_unit_test(expires_is_the_fallback),
        cmocka_unit_test(nonsense_counts_as_zero),
        cmocka_unit_test(numbers_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
