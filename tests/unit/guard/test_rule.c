/* SPDX-License-Identifier: BSD-3-Clause */
/* test_rule: what policies say, which one a key follows, and what stays when they change. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/guard/rule.h"

/* ---- one line ---- */

static bool refused(const char *line, const char *reason) {
    struct buf why = {0};
    bool ok = rule_check(slice_cstr(line), &why);
    bool same = !ok && slice_eq(buf_slice(&why), slice_cstr(reason));
    if (!same) {
        print_error("%s: %s: %.*s\n", line, ok ? "accepted" : "refused", (int)why.n, why.p == NULL ? "" : why.p);
    }
    buf_free(&why);
    return same;
}

static struct rules *rules_of(const char *lines) {
    return rules_create(lines, NULL);
}

static void a_line_sets_what_it_names_and_nothing_else(void **state) {
    (void)state;
    struct rules *r = rules_of("user:* ttl=5m ttl-jitter=12.5% grace=30s early=on wait=200ms waiters=7 tier=l1 compress=zstd quota=2gb");
    const struct rule_options *o = &r->list[0]->opt;
    assert_int_equal(o->ttl_ms, 300000);
    assert_int_equal(o->jitter_ppm, 125000);
    assert_int_equal(o->grace_ms, 30000);
    assert_int_equal(o->early, EARLY_ON);
    assert_int_equal(o->wait_ms, 200);
    assert_int_equal(o->waiters, 7);
    assert_int_equal(o->tier, TIER_L1);
    assert_int_equal(o->compress, COMPRESS_ZSTD);
    assert_int_equal(o->quota_bytes, (int64_t)2 << 30);
    assert_int_equal(o->negative_ms, 0);
    assert_int_equal(o->error_ms, 1000);
    assert_string_equal(o->origin, "");
    assert_int_equal(r->list[0]->literal, 5);
    rules_unref(r);
}

static void options_not_given_have_their_defaults(void **state) {
    (void)state;
    struct rules *r = rules_of("*");
    const struct rule_options *o = &r->list[0]->opt;
    assert_int_equal(o->ttl_ms, 0);
    assert_int_equal(o->jitter_ppm, 0);
    assert_int_equal(o->early, EARLY_OFF);
    assert_int_equal(o->wait_ms, 0);
    assert_int_equal(o->waiters, 1000);
    assert_int_equal(o->write, WRITE_OFF);
    assert_int_equal(o->tier, TIER_ALL);
    assert_int_equal(o->quota_bytes, 0);
    rules_unref(r);
}

static void a_bad_line_is_refused_with_what_is_allowed(void **state) {
    (void)state;
    assert_true(refused("", "no pattern; allowed: PATTERN option=value ..."));
    assert_true(refused("k* ttl", "'ttl': not an option; allowed: ttl= ttl-jitter= grace= early= negative-ttl= error-ttl= wait= waiters= "
                                  "origin= write= filter= tier= compress= quota="));
    assert_true(refused("k* nosuch=1", "'nosuch=1': not an option; allowed: ttl= ttl-jitter= grace= early= negative-ttl= error-ttl= wait= "
                                       "waiters= origin= write= filter= tier= compress= quota="));
    assert_true(refused("k* ttl=soon", "ttl: not a number of that form; allowed: a time from 0 to 3153600000000 milliseconds, with ms, s, "
                                       "m, h, d, or origin"));
    assert_true(refused("k* wait=2m", "wait: out of range; allowed: a time from 0 to 60000 milliseconds, with ms, s, m, h, d"));
    assert_true(refused("k* ttl-jitter=10", "ttl-jitter: not a number of that form; allowed: a share from 0% to 100%, or auto"));
    assert_true(refused("k* ttl-jitter=101%", "ttl-jitter: out of range; allowed: a share from 0% to 100%, or auto"));
    assert_true(refused("k* ttl-jitter=-1%", "ttl-jitter: not a number of that form; allowed: a share from 0% to 100%, or auto"));
    assert_true(refused("k* waiters=0", "waiters: out of range; allowed: a number from 1 to 1000000"));
    assert_true(refused("k* tier=l3", "tier: unknown word; allowed: one of: l1+l2 l1"));
    assert_true(refused("k* wait=1s wait=2s", "wait: given twice; allowed: once"));
    assert_true(refused("k* \"ttl=1s", "unbalanced quotes; allowed: \"...\" or '...' followed by a space"));
}

static void options_that_do_not_go_together_are_refused(void **state) {
    (void)state;
    const char *needs = "negative-ttl, write and ttl=origin need an origin; allowed: origin=NAME";
    assert_true(refused("k* negative-ttl=1s", needs));
    assert_true(refused("k* write=through", needs));
    assert_true(refused("k* ttl=origin", needs));
    struct buf why = {0};
    assert_true(rule_check(SLICE("k* origin=o negative-ttl=1s write=back ttl=origin wait=1s"), &why));
    buf_free(&why);
}

static void what_is_printed_is_what_was_said(void **state) {
    (void)state;
    static const char *const options[] = {
        " ttl=5m ttl-jitter=10% grace=30s early=on wait=200ms", " ttl=1500ms ttl-jitter=auto", " waiters=5 compress=lz4 quota=1048576",
        " ttl=origin negative-ttl=3s error-ttl=0s origin=o write=around filter=bloom tier=l1", ""};
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        char line[200];
        struct buf out = {0};
        snprintf(line, sizeof(line), "k:*%s", options[i]);
        struct rules *r = rules_of(line);
        rule_print(r->list[0], &out);
        buf_putc(&out, '\0');
        assert_string_equal(out.p, options[i]);
        buf_free(&out);
        rules_unref(r);
    }
}

/* ---- matching ---- */

static void follows(const struct rules *r, const char *name, const char *pattern) {
    const struct rule *rule = rules_match(r, slice_cstr(name));
    assert_slice(rule != NULL ? rule->pattern : SLICE("none"), pattern);
}

static void the_longest_literal_prefix_wins(void **state) {
    (void)state;
    struct rules *r = rules_of("*\nuser:*\nuser:vip:*\nuser:vip:1\nus*");
    follows(r, "anything", "*");
    follows(r, "", "*");
    follows(r, "usage", "us*");
    follows(r, "user", "us*");
    follows(r, "user:", "user:*");
    follows(r, "user:vip", "user:*");
    follows(r, "user:vip:2", "user:vip:*");
    follows(r, "user:vip:1", "user:vip:1");
    follows(r, "user:vip:10", "user:vip:*");
    rules_unref(r);
}

static void a_key_no_pattern_matches_follows_none(void **state) {
    (void)state;
    struct rules *r = rules_of("user:*:cart\nsession:1");
    follows(r, "user:1", "none");
    follows(r, "user:1:cart", "user:*:cart");
    follows(r, "session:1", "session:1");
    follows(r, "session:", "none");
    follows(r, "", "none");
    rules_unref(r);
    assert_null(rules_match(NULL, SLICE("a")));
}

static void among_rules_of_one_prefix_the_longest_pattern_is_asked_first_then_the_one_given_first(void **state) {
    (void)state;
    struct rules *r = rules_of("u:*\nu:*:b\nu:*:a\nu:?:*\nu:*:long");
    follows(r, "u:1:a", "u:*:a");
    follows(r, "u:1:b", "u:*:b");
    follows(r, "u:1:long", "u:*:long");
    follows(r, "u:1:c", "u:?:*");
    follows(r, "u:12:c", "u:*");
    rules_unref(r);
    r = rules_of("u:?:*\nu:*:a");
    follows(r, "u:1:a", "u:?:*");
    follows(r, "u:12:a", "u:*:a");
    rules_unref(r);
}

static void a_rule_whose_wildcards_do_not_match_gives_way_to_shorter_prefixes(void **state) {
    (void)state;
    struct rules *r = rules_of("a*\nab*x\nabc*y\nabc*z");
    follows(r, "abc1z", "abc*z");
    follows(r, "abc1y", "abc*y");
    follows(r, "abc1x", "ab*x");
    follows(r, "abc1w", "a*");
    follows(r, "b", "none");
    rules_unref(r);
}

static void quoted_bytes_and_nul_are_literal(void **state) {
    (void)state;
    struct rules *r = rules_of("\"a\\x00b*\"\n\\*x\\[*\n\"with space:*\"");
    assert_int_equal(r->list[0]->literal, 3);
    assert_non_null(rules_match(r, slice_make("a\0bc", 4)));
    assert_null(rules_match(r, slice_make("a\0c", 3)));
    follows(r, "*x[1]", "\\*x\\[*");
    follows(r, "yx[1]", "none");
    follows(r, "with space:1", "with space:*");
    rules_unref(r);
}

/* The rule of a name as the header says it, by looking at all of them. */
static const struct rule *looked_up(const struct rules *r, struct slice name) {
    const struct rule *best = NULL;
    for (unsigned i = 0; i < r->count; i++) {
        const struct rule *rule = r->list[i];
        bool better = best == NULL || rule->literal > best->literal ||
                      (rule->literal == best->literal && rule->pattern.n > best->pattern.n);
        best = better && glob_match(rule->pattern, name, false) ? rule : best;
    }
    return best;
}

static void matching_is_what_asking_every_rule_would_say(void **state) {
    (void)state;
    static const char bytes[] = "aab:*?";
    rng_seed(7);
    for (int round = 0; round < 60; round++) {
        struct buf lines = {0};
        for (int i = 0; i < 40; i++) {
            size_t n = 1 + rng_below(7);
            for (size_t k = 0; k < n; k++) {
                buf_putc(&lines, bytes[rng_below(6)]);
            }
            buf_putc(&lines, '\n');
        }
        buf_putc(&lines, '\0');
        struct rules *r = rules_of(lines.p);
        for (int i = 0; i < 1000; i++) {
            char name[10];
            size_t n = rng_below(10);
            for (size_t k = 0; k < n; k++) {
                name[k] = bytes[rng_below(4)];
            }
            struct slice s = slice_make(name, n);
            assert_ptr_equal(rules_match(r, s), looked_up(r, s));
        }
        rules_unref(r);
        buf_free(&lines);
    }
}

static void the_capture_is_what_the_first_star_stands_for(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"user:*", "user:42", "42"},        {"user:*:cart", "user:42:cart", "42"}, {"user:*:cart", "user:4:2:cart", "4:2"},
        {"user:*", "user:", ""},            {"a*b", "ab", ""},                     {"a*b*c", "axbxbxc", "x"},
        {"exact", "exact", ""},             {"u?:*", "u1:42", "42"},               {"u[a-z]:*:x", "uq:42:x", "42"},
        {"\\[u\\]:*", "[u]:42", "42"},      {"*", "all", "all"},                   {"*:tail", "1:2:tail", "1:2"},
        {"u?", "u1", ""},                   {"a**", "abc", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rules *r = rules_of(cases[i][0]);
        const struct rule *rule = rules_match(r, slice_cstr(cases[i][1]));
        assert_non_null(rule);
        assert_slice(rule_capture(rule, slice_cstr(cases[i][1])), cases[i][2]);
        rules_unref(r);
    }
}

/* ---- sets ---- */

static void the_later_line_of_a_pattern_counts(void **state) {
    (void)state;
    struct rules *r = rules_of("a* ttl=1s\nb*\na* ttl=2s");
    assert_int_equal(r->count, 2);
    assert_int_equal(rules_find(r, SLICE("a*"))->opt.ttl_ms, 2000);
    assert_slice(r->list[0]->pattern, "a*");
    assert_null(rules_find(r, SLICE("a")));
    rules_unref(r);
}

static void no_line_is_no_set(void **state) {
    (void)state;
    assert_null(rules_of(""));
    assert_null(rules_of("\n\n"));
    assert_null(rules_find(NULL, SLICE("a")));
    rules_unref(NULL);
}

static void counters_go_on_over_a_change_of_the_set(void **state) {
    (void)state;
    struct rules *one = rules_of("a*\nb*");
    for (unsigned loop = 0; loop < 40; loop++) {
        rule_count(one->list[0], loop, RULE_hits);
    }
    struct rules *two = rules_create("b* ttl=1s\na* ttl=2s", one);
    const struct rule *a = rules_find(two, SLICE("a*"));
    assert_int_equal(rule_count_read(a->stats, RULE_hits), 40);
    rule_count(one->list[0], 0, RULE_hits); /* by a loop that still has the old set */
    rules_unref(one);
    assert_int_equal(rule_count_read(a->stats, RULE_hits), 41);
    struct rules *three = rules_create("b*", two);
    rules_unref(two);
    struct rules *four = rules_create("a*\nb*", three);
    assert_int_equal(rule_count_read(four->list[0]->stats, RULE_hits), 0); /* it had gone */
    rules_unref(three);
    rules_unref(four);
}

static void *find_odd(void *ctx, struct slice origin) {
    (*(int *)ctx)++;
    return slice_eq(origin, SLICE("known")) ? ctx : NULL;
}

static void rules_are_bound_to_the_origins_they_name(void **state) {
    (void)state;
    int asked = 0;
    struct rules *r = rules_of("a* origin=known\nb*\nc* origin=other");
    rules_bind(r, find_odd, &asked);
    assert_int_equal(asked, 2);
    assert_ptr_equal(rules_find(r, SLICE("a*"))->target, &asked);
    assert_null(rules_find(r, SLICE("b*"))->target);
    assert_null(rules_find(r, SLICE("c*"))->target);
    rules_unref(r);
}

static void edited(const char *lines, const char *pattern, const char *line, const char *result) {
    struct buf out = {0};
    rules_edit(lines, slice_cstr(pattern), slice_cstr(line), &out);
    assert_slice(out.p == NULL ? SLICE("") : buf_slice(&out), result);
    buf_free(&out);
}

static void an_edit_replaces_one_pattern(void **state) {
    (void)state;
    edited("", "a*", "a* ttl=1s", "a* ttl=1s");
    edited("a*\nb*", "a*", "a* ttl=1s", "b*\na* ttl=1s");
    edited("a*\nb*\n", "b*", "", "a*\n");
    edited("a* ttl=1s", "a*", "", "");
    edited("\"a b*\" ttl=1s\nb*", "a b*", "", "b*\n");
    edited("\"a\\x2a\"\nb*", "a*", "", "b*\n");
}

/* The time this thread has had a processor for: what else runs on the machine does not count. */
static int64_t busy_us(void) {
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void ten_thousand_rules_are_built_and_matched_quickly(void **state) {
    (void)state;
    enum { MANY = 10000 };
    struct buf lines = {0};
    for (int i = 0; i < MANY; i++) {
        buf_printf(&lines, "tenant:%d:%s ttl=1s\n", i / 4, i % 4 == 0 ? "*" : i % 4 == 1 ? "*:a" : i % 4 == 2 ? "*:b" : "profile");
    }
    buf_putc(&lines, '\0');
    int64_t start = busy_us();
    struct rules *one = rules_create(lines.p, NULL), *two = rules_create(lines.p, one);
    int64_t built_us = busy_us() - start;
    assert_int_equal(two->count, MANY);
    start = busy_us();
    for (int i = 0; i < MANY / 4; i++) {
        char name[64];
        static const char *const ends[] = {"x", "x:a", "x:b", "profile"};
        for (int k = 0; k < 4; k++) {
            snprintf(name, sizeof(name), "tenant:%d:%s", i, ends[k]);
            assert_ptr_equal(rules_match(two, slice_cstr(name)), two->list[4 * i + k]);
        }
    }
    int64_t matched_us = busy_us() - start;
    assert_null(rules_match(two, SLICE("tenant:2500:x")));
    /* bounds far above what it takes even under sanitizers, and far below what a walk over all rules for each would */
    assert_in_range(built_us, 0, 3000000);
    assert_in_range(matched_us, 0, 300000);
    rules_unref(one);
    rules_unref(two);
    buf_free(&lines);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_sets_what_it_names_and_nothing_else),
        cmocka_unit_test(options_not_given_have_their_defaults),
        cmocka_unit_test(a_bad_line_is_refused_with_what_is_allowed),
        cmocka_unit_test(options_that_do_not_go_together_are_refused),
        cmocka_unit_test(what_is_printed_is_what_was_said),
        cmocka_unit_test(the_longest_literal_prefix_wins),
        cmocka_unit_test(a_key_no_pattern_matches_follows_none),
        cmocka_unit_test(among_rules_of_one_prefix_the_longest_pattern_is_asked_first_then_the_one_given_first),
        cmocka_unit_test(a_rule_whose_wildcards_do_not_match_gives_way_to_shorter_prefixes),
        cmocka_unit_test(quoted_bytes_and_nul_are_literal),
        cmocka_unit_test(matching_is_what_asking_every_rule_would_say),
        cmocka_unit_test(the_capture_is_what_the_first_star_stands_for),
        cmocka_unit_test(the_later_line_of_a_pattern_counts),
        cmocka_unit_test(no_line_is_no_set),
        cmocka_unit_test(counters_go_on_over_a_change_of_the_set),
        cmocka_unit_test(rules_are_bound_to_the_origins_they_name),
        cmocka_unit_test(an_edit_replaces_one_pattern),
        cmocka_unit_test(ten_thousand_rules_are_built_and_matched_quickly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
