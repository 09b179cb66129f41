/* SPDX-License-Identifier: BSD-3-Clause */
/* test_deadline: the arithmetic of lifetimes. */
#include "tests/unit/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/guard/deadline.h"

static const int64_t NOW = 1700000000123;

static struct rules *with(const char *line) {
    rng_seed(11);
    return rules_create(line, NULL);
}

static void jitter_shortens_within_its_share_and_evenly(void **state) {
    (void)state;
    enum { DRAWS = 100000, CELLS = 50 };
    static const int64_t lifetimes[] = {60000, 300000, 86400000, 3153600000000};
    struct rules *r = with("k* ttl-jitter=20%");
    for (size_t t = 0; t < sizeof(lifetimes) / sizeof(lifetimes[0]); t++) {
        int64_t ttl = lifetimes[t], most = ttl / 5, sum = 0;
        double cells[CELLS] = {0}, chi = 0;
        for (int i = 0; i < DRAWS; i++) {
            int64_t cut = NOW + ttl - deadline_jittered(r->list[0], NOW + ttl, NOW, rng_u64());
            assert_in_range(cut, 0, most);
            sum += cut / (most / 200);
            cells[cut * CELLS / (most + 1)]++;
        }
        for (int i = 0; i < CELLS; i++) {
            chi += (cells[i] - DRAWS / CELLS) * (cells[i] - DRAWS / CELLS) / (DRAWS / CELLS);
        }
        assert_true(chi < (CELLS - 1) + 6 * sqrt(2.0 * (CELLS - 1)));
        assert_in_range(sum / DRAWS, 98, 101); /* half of the share, in half percents of it, cut */
    }
    rules_unref(r);
}

static void jitter_never_leaves_nothing(void **state) {
    (void)state;
    struct rules *r = with("k* ttl-jitter=100%");
    for (int64_t ttl = 1; ttl < 3153600000000; ttl = ttl * 3 + 1) {
        assert_in_range(deadline_jittered(r->list[0], NOW + ttl, NOW, UINT64_MAX) - NOW, 1, ttl);
        assert_int_equal(deadline_jittered(r->list[0], NOW + ttl, NOW, 0), NOW + ttl);
    }
    rules_unref(r);
}

static void without_jitter_a_deadline_is_exact(void **state) {
    (void)state;
    struct rules *r = with("k*");
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(deadline_jittered(r->list[0], NOW + 60000, NOW, rng_u64()), NOW + 60000);
    }
    rules_unref(r);
}

/* ---- auto ---- */

/* Lifetimes given in an hour of traffic: how many were not exact. per_second writes, each second, of lifetimes ttl(i). */
static int shortened(struct rules *r, int per_second, int64_t (*ttl)(int i)) {
    int count = 0, i = 0;
    for (int64_t now = NOW; now < NOW + 3600000; now += 1000) {
        for (int k = 0; k < per_second; k++, i++) {
            int64_t at = now + k * 1000 / per_second, wanted = at + ttl(i);
            int64_t got = deadline_jittered(r->list[0], wanted, at, rng_u64());
            assert_in_range(wanted - got, 0, (wanted - at) / 10);
            count += got != wanted;
        }
    }
    return count;
}

static int64_t five_minutes(int i) {
    (void)i;
    return 300000;
}

static int64_t any_time(int i) {
    return 1000 + (int64_t)rng_below(i % 2 == 0 ? 3600000 : 604800000);
}

static int64_t of_a_few(int i) {
    static const int64_t lifetimes[] = {1000, 10000, 60000, 300000, 3600000, 86400000, 604800000};
    return lifetimes[i % 7];
}

static void auto_leaves_ordinary_traffic_exact(void **state) {
    (void)state;
    struct rules *r = with("a* ttl-jitter=auto\nb* ttl-jitter=auto\nc* ttl-jitter=auto\nd* ttl-jitter=auto");
    /* slow traffic: never so many in a second; any speed, whatever lifetimes: only as it begins */
    assert_int_equal(shortened(r, 60, five_minutes), 0);
    rules_unref(r);
    r = with("b* ttl-jitter=auto");
    assert_in_range(shortened(r, 1000, five_minutes), 0, 36 * 1000); /* of 3.6 million */
    rules_unref(r);
    r = with("c* ttl-jitter=auto");
    assert_int_equal(shortened(r, 300, any_time), 0);
    rules_unref(r);
    r = with("d* ttl-jitter=auto");
    assert_in_range(shortened(r, 1000, of_a_few), 0, 36 * 1000); /* of 3.6 million */
    rules_unref(r);
}

static uint64_t peak_of(const uint32_t *ends, size_t seconds) {
    uint64_t peak = 0;
    for (size_t i = 0; i < seconds; i++) {
        peak = ends[i] > peak ? ends[i] : peak;
    }
    return peak;
}

/* A million keys written within a few seconds, with one lifetime: the most that end in one second. */
static uint64_t peak_after_a_pile(struct rules *r, int64_t ttl_ms, int64_t written_in_ms) {
    enum { KEYS = 1000000 };
    size_t seconds = (size_t)(ttl_ms + written_in_ms) / 1000 + 2;
    uint32_t *ends = mem_zalloc(seconds * sizeof(*ends));
    for (int i = 0; i < KEYS; i++) {
        int64_t at = NOW + written_in_ms * i / KEYS;
        int64_t got = deadline_jittered(r->list[0], at + ttl_ms, at, rng_u64());
        assert_in_range(got, at + ttl_ms - ttl_ms / 10, at + ttl_ms);
        ends[got / 1000 - NOW / 1000]++;
    }
    uint64_t peak = peak_of(ends, seconds);
    mem_free(ends);
    return peak;
}

static void auto_spreads_a_million_equal_ones(void **state) {
    (void)state;
    static const struct {
        int64_t ttl_ms, written_in_ms;
        uint64_t factor; /* the peak is lower by that, at least */
    } cases[] = {{2592000000, 100, 1000}, {86400000, 100, 1000}, {3600000, 100, 300}, {3600000, 5000, 15}, {600000, 100, 50}, {300000, 100, 25}, {60000, 100, 5}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rules *exact = with("a*"), *spread = with("a* ttl-jitter=auto");
        uint64_t without = peak_after_a_pile(exact, cases[i].ttl_ms, cases[i].written_in_ms);
        uint64_t now = peak_after_a_pile(spread, cases[i].ttl_ms, cases[i].written_in_ms);
        print_message("# ttl %lld s, written in %lld ms: at most %llu ends in a second, instead of %llu\n",
                      (long long)cases[i].ttl_ms / 1000, (long long)cases[i].written_in_ms, (unsigned long long)now,
                      (unsigned long long)without);
        assert_true(now * cases[i].factor <= without);
        rules_unref(exact);
        rules_unref(spread);
    }
}

static void auto_forgets_what_has_passed(void **state) {
    (void)state;
    struct rules *r = with("a* ttl-jitter=auto");
    peak_after_a_pile(r, 600000, 100);
    /* the ring has come round: the same place stands for another second */
    for (int i = 0; i < 60; i++) {
        int64_t at = NOW + 4096000, wanted = at + 600000;
        assert_int_equal(deadline_jittered(r->list[0], wanted, at, rng_u64()), wanted);
    }
    rules_unref(r);
}

/* ---- early ---- */

static void early_refresh_follows_its_formula(void **state) {
    (void)state;
    enum { DRAWS = 200000 };
    rng_seed(3);
    for (uint32_t load_ms = 10; load_ms <= 1000; load_ms *= 10) {
        for (int tenths = 0; tenths <= 80; tenths += 4) {
            int64_t left_ms = (int64_t)load_ms * tenths / 10;
            int hits = 0;
            for (int i = 0; i < DRAWS; i++) {
                hits += deadline_is_early(left_ms, load_ms, rng_u64());
            }
            double p = exp(-(double)left_ms / load_ms), deviation = sqrt(p * (1 - p) * DRAWS);
            assert_true(fabs(hits - p * DRAWS) <= 5 * deviation + 1);
        }
    }
}

static void early_refresh_needs_a_known_load_time(void **state) {
    (void)state;
    assert_false(deadline_is_early(0, 0, 0));
    assert_false(deadline_is_early(-5, 0, 0));
    assert_true(deadline_is_early(0, 1, 0)); /* nothing left: always */
    assert_true(deadline_is_early(0, 1, UINT64_MAX));
    assert_false(deadline_is_early(100000, 1, 0)); /* the least likely draw, far from the end */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jitter_shortens_within_its_share_and_evenly),
        cmocka_unit_test(jitter_never_leaves_nothing),
        cmocka_unit_test(without_jitter_a_deadline_is_exact),
        cmocka_unit_test(auto_leaves_ordinary_traffic_exact),
        cmocka_unit_test(auto_spreads_a_million_equal_ones),
        cmocka_unit_test(auto_forgets_what_has_passed),
        cmocka_unit_test(early_refresh_follows_its_formula),
        cmocka_unit_test(early_refresh_needs_a_known_load_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
