/* SPDX-License-Identifier: BSD-3-Clause */
/* test_glob: Redis's patterns against a plain recursive matcher, and the ones that make such a matcher slow. */
#include "tests/unit/check.h"

#include "src/base/clock.h"
#include "src/base/glob.h"
#include "src/base/rng.h"

/* Bytes of one element at p: a class up to its bracket, an escape, or a byte. */
static size_t element(const char *p, const char *end) {
    const char *q = p;
    if (*q == '\\' && q + 1 < end) {
        return 2;
    }
    if (*q != '[') {
        return 1;
    }
    for (q++, q += q < end && *q == '^'; q < end && *q != ']'; q++) {
        q += *q == '\\' && q + 1 < end ? 1 : end - q >= 3 && q[1] == '-' ? 2 : 0;
    }
    return (size_t)(q < end ? q + 1 - p : end - p);
}

static bool in_class(const char *p, const char *end, char c) {
    bool negate = p < end && *p == '^', found = false;
    for (p += negate; p < end && *p != ']'; p++) {
        if (*p == '\\' && p + 1 < end) {
            found |= *++p == c;
        } else if (end - p >= 3 && p[1] == '-') {
            char lo = p[0] < p[2] ? p[0] : p[2], hi = p[0] < p[2] ? p[2] : p[0];
            found |= c >= lo && c <= hi;
            p += 2;
        } else {
            found |= *p == c;
        }
    }
    return found != negate;
}

static bool plain_match(const char *p, const char *p_end, const char *t, const char *t_end) {
    if (p == p_end) {
        return t == t_end;
    }
    if (*p == '*') {
        return plain_match(p + 1, p_end, t, t_end) || (t < t_end && plain_match(p, p_end, t + 1, t_end));
    }
    if (t == t_end) {
        return false;
    }
    size_t n = element(p, p_end);
    bool one = *p == '?' || (*p == '[' ? in_class(p + 1, p_end, *t) : p[n - 1] == *t);
    return one && plain_match(p + n, p_end, t + 1, t_end);
}

static void glob_agrees_with_a_plain_matcher(void **state) {
    (void)state;
    static const char alphabet[] = "ab*?[]^-\\", letters[] = "abc-]";
    int matched = 0;
    rng_seed(4);
    for (int i = 0; i < 300000; i++) {
        char p[8], t[8];
        size_t pn = rng_below(sizeof(p) + 1), tn = rng_below(sizeof(t) + 1);
        for (size_t k = 0; k < pn; k++) {
            p[k] = alphabet[rng_below(sizeof(alphabet) - 1)];
        }
        for (size_t k = 0; k < tn; k++) {
            t[k] = letters[rng_below(sizeof(letters) - 1)];
        }
        bool plain = plain_match(p, p + pn, t, t + tn), got = glob_match(slice_make(p, pn), slice_make(t, tn), false);
        if (plain != got) {
            fail_msg("pattern '%.*s', text '%.*s': %d", (int)pn, p, (int)tn, t, got);
        }
        matched += got;
    }
    assert_true(matched > 10000);
}

static bool matches(const char *p, const char *t, bool nocase) {
    return glob_match(slice_cstr(p), slice_cstr(t), nocase);
}

static void glob_folds_case_when_asked(void **state) {
    (void)state;
    assert_false(matches("MaxMemory*", "maxmemory-policy", false));
    assert_true(matches("MaxMemory*", "maxmemory-policy", true));
    assert_true(matches("[A-C]x", "bX", true));
    assert_false(matches("[A-C]x", "dx", true));
    assert_true(matches("h\\[llo", "h[llo", false));
    assert_true(matches("*", "", false));
    assert_false(matches("?", "", false));
}

static void glob_takes_no_longer_for_many_stars(void **state) {
    (void)state;
    static char pattern[1000], text[2000];
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = i % 2 == 0 ? '*' : 'a';
    }
    pattern[sizeof(pattern) - 1] = 'b';
    memset(text, 'a', sizeof(text));
    int64_t start = clock_mono_us();
    assert_false(glob_match(slice_make(pattern, sizeof(pattern)), slice_make(text, sizeof(text)), false));
    assert_true(clock_mono_us() - start < 5000000); /* a recursive matcher would not see the end of it */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(glob_agrees_with_a_plain_matcher), cmocka_unit_test(glob_folds_case_when_asked),
                                       cmocka_unit_test(glob_takes_no_longer_for_many_stars)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
