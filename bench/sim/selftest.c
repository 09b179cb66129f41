/* SPDX-License-Identifier: BSD-3-Clause */
/* selftest: the simulator on made-up traces whose answers are known: loops, a scan, independent draws from a Zipf law. */
#include "tests/unit/check.h"

#include <math.h>

#include "bench/load/trace.h"
#include "bench/sim/sim.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

static struct trace trace_make(uint64_t n, uint32_t keys) {
    return (struct trace){.records = mem_zalloc(n * sizeof(struct trace_record)), .keys = keys};
}

static void ask(struct trace *t, uint32_t id, uint32_t length) {
    t->records[t->n++] = (struct trace_record){.key = (uint64_t)id * 0x9E3779B97F4A7C15u, .length = length, .id = id};
}

static struct sim_result run(const char *policy, enum sim_unit unit, uint64_t capacity, unsigned shards, const struct trace *t) {
    struct sim_result r;
    sim_run(&(struct sim_setup){.policy = policy, .unit = unit, .capacity = capacity, .shards = shards, .trace = t}, &r);
    return r;
}

static double hit_ratio(const char *policy, uint64_t capacity, const struct trace *t) {
    struct sim_result r = run(policy, SIM_ITEMS, capacity, 1, t);
    assert_true(r.items <= capacity);
    return 1 - (double)r.misses / (double)r.requests;
}

static struct trace loop_make(uint32_t keys, unsigned rounds) {
    struct trace t = trace_make((uint64_t)keys * rounds, keys);
    for (unsigned round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < keys; i++) {
            ask(&t, i, 100);
        }
    }
    return t;
}

static void a_loop_that_fits_misses_once_per_key(void **state) {
    (void)state;
    struct trace t = loop_make(1000, 20);
    for (unsigned i = 0; sim_policy(i) != NULL; i++) {
        assert_int_equal(run(sim_policy(i), SIM_ITEMS, 1000, 1, &t).misses, 1000);
        assert_int_equal(run(sim_policy(i), SIM_VALUES, 100000, 4, &t).misses, 1000);
        assert_int_equal(run(sim_policy(i), SIM_MEMORY, 1 << 20, 4, &t).misses, 1000);
    }
    trace_free(&t);
}

static void a_loop_larger_than_the_cache_never_hits_under_lru(void **state) {
    (void)state;
    struct trace t = loop_make(1001, 20);
    assert_int_equal(run("ref-lru", SIM_ITEMS, 1000, 1, &t).misses, t.n);
    trace_free(&t);
    /* of the keys between two requests for one the optimum keeps all but one */
    t = loop_make(2000, 50);
    double best = (1000.0 - 1) / (2000 - 1) * 49 / 50;
    assert_true(fabs(hit_ratio("ref-belady", 1000, &t) - best) < 0.002);
    assert_int_equal(run("ref-lru", SIM_ITEMS, 1000, 1, &t).misses, t.n);
    assert_true(hit_ratio("allkeys-lru", 1000, &t) < 0.15);
    for (unsigned i = 0; sim_policy(i) != NULL; i++) {
        assert_true(hit_ratio(sim_policy(i), 1000, &t) <= best + 0.002);
    }
    trace_free(&t);
}

static void keys_asked_for_once_never_hit(void **state) {
    (void)state;
    struct trace t = loop_make(20000, 1);
    for (unsigned i = 0; sim_policy(i) != NULL; i++) {
        struct sim_result r = run(sim_policy(i), SIM_ITEMS, 1000, 1, &t);
        assert_int_equal(r.misses, 20000);
        assert_int_equal(r.missed_bytes, 2000000);
        assert_int_equal(r.bytes, 2000000);
        assert_in_range(r.items, 990, 1000);
    }
    trace_free(&t);
}

/* Keys in use, then the same among twice as many that come once as the cache holds: S3-FIFO keeps them, LRU does not. */
static void a_scan_spares_what_is_in_use(void **state) {
    (void)state;
    enum { HOT = 200, ROUNDS = 50, BETWEEN = 10, CAPACITY = 1000 };
    struct trace t = trace_make(HOT * 3 + HOT * ROUNDS * (1 + BETWEEN), HOT + HOT * ROUNDS * BETWEEN);
    uint32_t once = HOT;
    for (uint32_t i = 0; i < HOT * 3; i++) {
        ask(&t, i / 3, 100);
    }
    for (uint32_t i = 0; i < HOT * ROUNDS; i++) {
        ask(&t, i % HOT, 100);
        for (int k = 0; k < BETWEEN; k++) {
            ask(&t, once++, 100);
        }
    }
    double all = (double)(HOT * 2 + HOT * ROUNDS) / (double)t.n, none = (double)(HOT * 3) / (double)t.n;
    assert_true(hit_ratio("ref-lru", CAPACITY, &t) <= none);
    assert_true(hit_ratio("ref-s3fifo", CAPACITY, &t) > all * 0.999);
    assert_true(hit_ratio("ref-s3fifo-1", CAPACITY, &t) > all * 0.999);
    assert_true(hit_ratio("allkeys-s3fifo", CAPACITY, &t) > all * 0.99);
    trace_free(&t);
}

/* ---- independent draws ---- */

enum { ZIPF_KEYS = 20000, ZIPF_REQUESTS = 300000, ZIPF_CAPACITY = 2000 };

static double zipf[ZIPF_KEYS]; /* probability of each key */

static struct trace zipf_make(void) {
    static double sum[ZIPF_KEYS];
    double total = 0;
    for (int i = 0; i < ZIPF_KEYS; i++) {
        zipf[i] = pow(i + 1, -0.9);
        total += zipf[i];
        sum[i] = total;
    }
    for (int i = 0; i < ZIPF_KEYS; i++) {
        zipf[i] /= total;
    }
    struct trace t = trace_make(ZIPF_REQUESTS, ZIPF_KEYS);
    rng_seed(1);
    for (int i = 0; i < ZIPF_REQUESTS; i++) {
        double x = (double)(rng_u64() >> 11) / 9007199254740992.0 * total;
        uint32_t low = 0, high = ZIPF_KEYS - 1;
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            if (sum[middle] <= x) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        ask(&t, low, 100);
    }
    return t;
}

static double lru_stays(double x) {
    return 1 - exp(-x);
}

static double random_stays(double x) {
    return x / (1 + x);
}

/* Hit ratio of a cache in which a key of rate p is with probability stays(p T), where T fills it (Che et al. 2002). */
static double expected(double (*stays)(double x)) {
    double low = 0, high = 1e9, hits = 0;
    for (int step = 0; step < 200; step++) {
        double t = (low + high) / 2, held = 0;
        hits = 0;
        for (int i = 0; i < ZIPF_KEYS; i++) {
            held += stays(zipf[i] * t);
            hits += zipf[i] * stays(zipf[i] * t);
        }
        *(held < ZIPF_CAPACITY ? &low : &high) = t;
    }
    return hits;
}

static void zipf_draws_hit_as_theory_says(void **state) {
    (void)state;
    struct trace t = zipf_make();
    double top = 0;
    for (int i = 0; i < ZIPF_CAPACITY; i++) {
        top += zipf[i]; /* no policy that does not see the future does better in the long run */
    }
    double lru = hit_ratio("ref-lru", ZIPF_CAPACITY, &t), best = hit_ratio("ref-belady", ZIPF_CAPACITY, &t);
    assert_true(fabs(lru - expected(lru_stays)) < 0.005);
    assert_true(fabs(hit_ratio("allkeys-random", ZIPF_CAPACITY, &t) - expected(random_stays)) < 0.015);
    assert_true(fabs(hit_ratio("allkeys-lru", ZIPF_CAPACITY, &t) - lru) < 0.02);
    assert_true(hit_ratio("ref-s3fifo", ZIPF_CAPACITY, &t) > lru + 0.02);
    assert_true(hit_ratio("allkeys-s3fifo", ZIPF_CAPACITY, &t) > hit_ratio("ref-s3fifo", ZIPF_CAPACITY, &t) - 0.01);
    for (unsigned i = 0; sim_policy(i) != NULL; i++) {
        double hits = hit_ratio(sim_policy(i), ZIPF_CAPACITY, &t);
        assert_true(hits <= best);
        assert_true(hits <= top || strcmp(sim_policy(i), "ref-belady") == 0);
    }
    trace_free(&t);
}

/* ---- sizes ---- */

static void capacities_are_kept(void **state) {
    (void)state;
    rng_seed(2);
    struct trace t = trace_make(100000, 5000);
    for (int i = 0; i < 100000; i++) {
        uint32_t id = (uint32_t)rng_below(5000);
        ask(&t, id, 50 + id % 100 * 20);
    }
    for (unsigned i = 0; sim_policy(i) != NULL; i++) {
        struct sim_result r = run(sim_policy(i), SIM_MEMORY, 1 << 20, 8, &t);
        assert_in_range(r.items, 700, 2500); /* of a mean kilobyte, or smaller ones preferred */
        r = run(sim_policy(i), SIM_VALUES, 1000000, 1, &t);
        assert_in_range(r.items, 700, 3000);
        r = run(sim_policy(i), SIM_ITEMS, 1000, 8, &t);
        assert_in_range(r.items, 990, 1000);
    }
    trace_free(&t);
}

static void what_is_larger_than_the_cache_is_not_kept(void **state) {
    (void)state;
    struct trace t = trace_make(300, 3);
    for (int i = 0; i < 100; i++) {
        ask(&t, 0, 600);
        ask(&t, 0, 600);
        ask(&t, 1, 1500);
    }
    assert_int_equal(run("ref-lru", SIM_VALUES, 1000, 1, &t).misses, 101);
    assert_int_equal(run("ref-belady", SIM_VALUES, 1000, 1, &t).misses, 101);
    assert_int_equal(run("ref-s3fifo", SIM_VALUES, 1000, 1, &t).misses, 101);
    trace_free(&t);
}

/* Many small shards are as good as one: none may shrink at the others' expense. */
static void shards_cost_little(void **state) {
    (void)state;
    struct trace t = zipf_make();
    static const char *const names[] = {"allkeys-s3fifo", "allkeys-lru"};
    for (unsigned i = 0; i < 2; i++) {
        struct sim_result one = run(names[i], SIM_MEMORY, 400000, 1, &t);
        struct sim_result many = run(names[i], SIM_MEMORY, 400000, 8, &t);
        assert_true((double)many.misses < (double)one.misses * 1.03);
    }
    trace_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_that_fits_misses_once_per_key),
        cmocka_unit_test(a_loop_larger_than_the_cache_never_hits_under_lru),
        cmocka_unit_test(keys_asked_for_once_never_hit),
        cmocka_unit_test(a_scan_spares_what_is_in_use),
        cmocka_unit_test(zipf_draws_hit_as_theory_says),
        cmocka_unit_test(capacities_are_kept),
        cmocka_unit_test(what_is_larger_than_the_cache_is_not_kept),
        cmocka_unit_test(shards_cost_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
