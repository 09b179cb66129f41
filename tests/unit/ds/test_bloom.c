/* SPDX-License-Identifier: BSD-3-Clause */
/* test_bloom: RedisBloom's bits, the promised rate of false positives, growth and its bounds against a plain model, and questions
 * from other threads while items are added. */
#include "tests/unit/check.h"

#include <pthread.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/ds/bloom.h"

enum { ROOMY = 64 << 20 };

/* No stranger is an item. */
#define ITEM(i) slice_make(&(uint64_t){i}, 8)
#define STRANGER(i) slice_make(&(uint64_t){~(uint64_t)(i)}, 8)

/* The example of RedisBloom's documentation of BF.SCANDUMP: error 0.1, capacity 10, BF.ADD item1. */
static void the_bits_are_those_of_redisbloom(void **state) {
    (void)state;
    struct bloom_layer shape = {.capacity = 10, .error = 0.05, .bits_per_item = 6.2352550, .hashes = 5, .bits = 64};
    struct bloom *b = bloom_create_bare(2);
    unsigned char bits[8];
    assert_true(bloom_sound(&shape));
    struct bloom_layer *l = bloom_push(b, &shape);
    assert_int_equal(bloom_add(b, SLICE("item1"), ROOMY), BLOOM_NEW);
    bloom_read_words(l, bits);
    assert_memory_equal(bits, "\x01\x08\x00\x80\x00\x04\x20\x00", 8);
    bloom_destroy(&b);
}

/* The share of strangers that a filter takes for its own, over the error it was made with. Filled to its capacity, `times` over;
 * small filters again and again with other items. */
static double measured(double error, uint64_t capacity, uint32_t expansion, uint64_t times) {
    uint64_t strangers = 100000 + (uint64_t)(20 / error), rounds = 1 + 2000 / capacity, next = 0, wrong = 0, asked = 0;
    for (uint64_t r = 0; r < rounds; r++) {
        struct bloom *b = bloom_create(error, capacity, expansion, ROOMY);
        assert_non_null(b);
        for (uint64_t left = capacity * times; left > 0; next++) {
            left -= bloom_add(b, ITEM(next), ROOMY) == BLOOM_NEW;
        }
        assert_int_equal(bloom_items(b), capacity * times);
        for (uint64_t i = 0; i < strangers / rounds; i++) {
            wrong += bloom_exists(b, STRANGER(asked++));
        }
        bloom_destroy(&b);
    }
    return (double)wrong / (double)asked / error;
}

static void the_rate_holds_in_a_filter_that_grows(void **state) {
    (void)state;
    static const double errors[] = {1e-1, 1e-2, 1e-3, 1e-4, 1e-5};
    static const uint64_t sizes[] = {1, 10, 100, 1000, 100000};
    for (int e = 0; e < 5; e++) {
        for (int s = 0; s < 5; s++) {
            assert_true(measured(errors[e], sizes[s], 2, 1) <= 1);
        }
        assert_true(measured(errors[e], 1000, 2, 10) <= 1); /* in four layers */
        assert_true(measured(errors[e], 5000, 1, 4) <= 1);
    }
    assert_true(measured(1e-2, 1000000, 2, 1) <= 1);
    assert_true(measured(1e-5, 1000000, 2, 1) <= 1);
}

/* All of the error is spent in one layer: what is measured lies about it. */
static void the_rate_holds_in_a_filter_that_does_not(void **state) {
    (void)state;
    static const double errors[] = {0.3, 1e-1, 1e-2, 1e-3, 1e-4};
    for (int e = 0; e < 5; e++) {
        for (uint64_t n = 10; n <= 100000; n *= 10) {
            assert_true(measured(errors[e], n, 0, 1) <= 1.1);
        }
    }
}

static void a_fixed_filter_fills_up(void **state) {
    (void)state;
    struct bloom *b = bloom_create(0.001, 100, 0, ROOMY);
    uint64_t i = 0, added = 0;
    while (!bloom_is_full(b)) {
        added += bloom_add(b, ITEM(i++), ROOMY) == BLOOM_NEW;
    }
    assert_int_equal(added, 100);
    assert_int_equal(bloom_add(b, ITEM(i - 1), ROOMY), BLOOM_OLD);
    assert_int_equal(bloom_add(b, STRANGER(1), ROOMY), BLOOM_FULL);
    assert_false(bloom_exists(b, STRANGER(1)));
    assert_int_equal(bloom_items(b), 100);
    assert_int_equal(bloom_capacity(b), 100);
    bloom_destroy(&b);
}

/* Layers have the capacities and errors the picture in bloom.h says. */
static void each_layer_is_larger_and_stricter(void **state) {
    (void)state;
    struct bloom *b = bloom_create(0.01, 10, 3, ROOMY);
    for (uint64_t i = 0; bloom_items(b) < 10 + 30 + 90 + 1; i++) {
        (void)!bloom_add(b, ITEM(i), ROOMY);
    }
    assert_int_equal(b->count, 4);
    uint64_t capacity = 10;
    double error = 0.01 / 2;
    for (uint32_t i = 0; i < b->count; i++, capacity *= 3, error /= 2) {
        assert_int_equal(b->layers[i]->capacity, capacity);
        assert_true(b->layers[i]->error == error);
        assert_int_equal(b->layers[i]->items, i < 3 ? capacity : 1);
    }
    assert_int_equal(bloom_capacity(b), 10 + 30 + 90 + 270);
    bloom_destroy(&b);
}

/* What was added is found; what the filter calls new it did not have; the count is of those. */
static void it_never_forgets(void **state) {
    (void)state;
    enum { ITEMS = 3000, STEPS = 20000 };
    static bool added[ITEMS];
    rng_seed(3);
    struct bloom *b = bloom_create(0.02, 7, 2, ROOMY);
    uint64_t fresh = 0;
    for (int step = 0; step < STEPS; step++) {
        uint64_t i = rng_below(ITEMS);
        bool had = bloom_exists(b, ITEM(i));
        assert_true(had || !added[i]);
        if (rng_below(2)) {
            enum bloom_added r = bloom_add(b, ITEM(i), ROOMY);
            assert_int_equal(r, had ? BLOOM_OLD : BLOOM_NEW);
            fresh += r == BLOOM_NEW;
            added[i] = true;
            assert_true(bloom_exists(b, ITEM(i)));
        }
    }
    assert_int_equal(bloom_items(b), fresh);
    struct bloom *copy = bloom_dup(b);
    assert_int_equal(bloom_add(b, STRANGER(1), ROOMY), BLOOM_NEW);
    assert_false(bloom_exists(copy, STRANGER(1)));
    for (uint64_t i = 0; i < ITEMS; i++) {
        assert_int_equal(bloom_exists(copy, ITEM(i)), bloom_exists(b, ITEM(i)));
    }
    bloom_destroy(&copy);
    bloom_destroy(&b);
}

static void any_bytes_are_an_item(void **state) {
    (void)state;
    char bytes[40];
    memset(bytes, 0, sizeof(bytes));
    struct bloom *b = bloom_create(0.0001, 1000, 2, ROOMY);
    for (size_t n = 0; n <= sizeof(bytes); n++) { /* zeros of each length differ */
        assert_false(bloom_exists(b, slice_make(bytes, n)));
        assert_int_equal(bloom_add(b, slice_make(bytes, n), ROOMY), BLOOM_NEW);
    }
    bloom_destroy(&b);
}

static void its_size_has_bounds(void **state) {
    (void)state;
    assert_null(bloom_create(0.01, 1000000, 2, 1 << 20));
    assert_null(bloom_create(0.01, UINT64_MAX, 2, SIZE_MAX));
    assert_null(bloom_create(0.01, UINT64_MAX, 0, ROOMY));
    assert_null(bloom_create(5e-324, 1, 2, ROOMY)); /* half of it is nothing */
    struct bloom *b = bloom_create(1e-300, 3, 0, ROOMY);
    assert_int_equal(bloom_add(b, ITEM(1), ROOMY), BLOOM_NEW);
    bloom_destroy(&b);
    b = bloom_create(0.9999999999999999, 10, 0, ROOMY);
    assert_int_equal(bloom_add(b, ITEM(1), ROOMY), BLOOM_NEW);
    bloom_destroy(&b);

    b = bloom_create(0.01, 10, 32768, 1 << 16);
    uint64_t i = 0;
    enum bloom_added r;
    while ((r = bloom_add(b, ITEM(i++), 1 << 16)) != BLOOM_NO_MEMORY) {
    }
    assert_int_equal(bloom_items(b), 10);
    assert_true(bloom_exists(b, ITEM(0)) && bloom_bytes(b) < 1 << 16);
    bloom_destroy(&b);

    b = bloom_create(0.5, 1, 1, ROOMY); /* as many layers as there may be */
    for (i = 0; bloom_add(b, ITEM(i), ROOMY) != BLOOM_NO_MEMORY; i++) {
        assert_true(i < 1000);
    }
    assert_int_equal(b->count, BLOOM_MAX_LAYERS);
    assert_int_equal(bloom_items(b), BLOOM_MAX_LAYERS);
    bloom_destroy(&b);
}

static void failing_memory_leaves_it_as_it_was(void **state) {
    (void)state;
    mem_fail_nth(1);
    assert_null(bloom_create(0.01, 10, 2, ROOMY));
    mem_fail_nth(0);
    struct bloom *b = bloom_create(0.01, 10, 2, ROOMY);
    uint64_t i = 0;
    while (bloom_items(b) < 10) {
        (void)!bloom_add(b, ITEM(i++), ROOMY);
    }
    mem_fail_nth(1);
    assert_int_equal(bloom_add(b, STRANGER(1), ROOMY), BLOOM_NO_MEMORY);
    mem_fail_nth(1);
    assert_null(bloom_dup(b));
    mem_fail_nth(0);
    assert_int_equal(bloom_items(b), 10);
    assert_int_equal(bloom_add(b, STRANGER(1), ROOMY), BLOOM_NEW);
    bloom_destroy(&b);
}

/* ---- threads ---- */

struct shared {
    struct bloom *b;
    _Atomic uint64_t added; /* items below this number have been */
};

enum { TO_ADD = 30000 };

/* Asks for what was added before, and reads the sums and the bits. */
static void *ask(void *arg) {
    struct shared *s = arg;
    uint64_t seen, items = 0, seed = 1, bits[16];
    do {
        seen = atomic_load_explicit(&s->added, memory_order_acquire);
        for (int k = 0; k < 50 && seen > 0; k++) {
            seed = seed * 6364136223846793005ULL + 1;
            CHECK(bloom_exists(s->b, ITEM((seed >> 33) % seen)));
        }
        uint64_t now = bloom_items(s->b);
        CHECK(now >= items && bloom_capacity(s->b) >= now && bloom_bytes(s->b) > 0);
        items = now;
        bloom_read_words(s->b->layers[0], bits);
    } while (seen < TO_ADD);
    return NULL;
}

static void others_may_ask_while_one_adds(void **state) {
    (void)state;
    struct shared s = {.b = bloom_create(0.001, 16, 2, ROOMY)};
    assert_true(s.b->layers[0]->bits <= 16 * 64);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, ask, &s);
    }
    for (uint64_t i = 0; i < TO_ADD; i++) {
        assert_true(bloom_add(s.b, ITEM(i), ROOMY) <= BLOOM_NEW);
        atomic_store_explicit(&s.added, i + 1, memory_order_release);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(s.b->count > 10);
    bloom_destroy(&s.b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bits_are_those_of_redisbloom),
        cmocka_unit_test(the_rate_holds_in_a_filter_that_grows),
        cmocka_unit_test(the_rate_holds_in_a_filter_that_does_not),
        cmocka_unit_test(a_fixed_filter_fills_up),
        cmocka_unit_test(each_layer_is_larger_and_stricter),
        cmocka_unit_test(it_never_forgets),
        cmocka_unit_test(any_bytes_are_an_item),
        cmocka_unit_test(its_size_has_bounds),
        cmocka_unit_test(failing_memory_leaves_it_as_it_was),
        cmocka_unit_test(others_may_ask_while_one_adds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
