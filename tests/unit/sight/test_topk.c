/* SPDX-License-Identifier: BSD-3-Clause */
/* test_topk: HeavyKeeper against exact counts of Zipf draws, and of weights. */
#include "tests/unit/check.h"

#include <math.h>
#include <stdio.h>

#include "src/base/hash.h"
#include "src/base/rng.h"
#include "src/sight/topk.h"

enum { KEYS = 20000, DRAWS = 400000, NAMES = 32 };

static uint32_t exact[KEYS];

static struct key key_of(char *name, unsigned i) {
    int n = snprintf(name, NAMES, "key:%u", i);
    return key_make(slice_make(name, (size_t)n), 3);
}

/* Draws keys with chances that fall as 1/i^alpha. */
static struct topk *feed(double alpha, unsigned draws) {
    static double sum[KEYS];
    double total = 0;
    struct topk *t = topk_create();
    rng_seed(1);
    memset(exact, 0, sizeof(exact));
    for (unsigned i = 0; i < KEYS; i++) {
        total += pow(i + 1, -alpha);
        sum[i] = total;
    }
    for (unsigned d = 0; d < draws; d++) {
        double x = (double)(rng_u64() >> 11) / 9007199254740992.0 * total;
        unsigned low = 0, high = KEYS - 1;
        while (low < high) {
            unsigned mid = (low + high) / 2;
            *(sum[mid] <= x ? &low : &high) = sum[mid] <= x ? mid + 1 : mid;
        }
        char name[NAMES];
        struct key key = key_of(name, low);
        topk_add(t, &key, 1);
        exact[low]++;
    }
    return t;
}

static unsigned number_of(const struct topk_item *item) {
    unsigned i = KEYS;
    char text[NAMES] = "";
    memcpy(text, item->name.p, item->name.n);
    assert_int_equal(sscanf(text, "key:%u", &i), 1);
    assert_true(i < KEYS);
    return i;
}

static void the_hottest_keys_are_found_and_never_overrated(void **state) {
    (void)state;
    struct topk *t = feed(1.0, DRAWS);
    struct topk_item items[TOPK_KEEP];
    assert_int_equal(topk_list(t, items, TOPK_KEEP), TOPK_KEEP);
    unsigned among = 0;
    for (unsigned i = 0; i < TOPK_KEEP; i++) {
        unsigned k = number_of(&items[i]);
        assert_true(items[i].weight <= exact[k]); /* seeded: no two keys of one fingerprint and cell here */
        assert_true(i == 0 || items[i].weight <= items[i - 1].weight);
        assert_int_equal(items[i].db, 3);
        among += i < 32 && k < 40;
    }
    assert_true(among >= 30);
    for (unsigned i = 0; i < 10; i++) { /* the ten hottest, within a twentieth of the truth, in order */
        unsigned k = number_of(&items[i]);
        assert_true((double)items[i].weight > 0.95 * exact[k]);
        assert_true(k < 12);
    }
    assert_int_equal(topk_total(t), DRAWS);
    topk_destroy(&t);
}

static void weights_count_as_so_many_draws(void **state) {
    (void)state;
    struct topk *t = topk_create();
    struct topk_item items[2];
    char name[NAMES];
    rng_seed(2);
    for (unsigned d = 0; d < 100000; d++) { /* rare but heavy, before common and light */
        struct key key = key_of(name, d % 100 == 0 ? 7 : 100 + (unsigned)rng_below(5000));
        topk_add(t, &key, d % 100 == 0 ? 100000 : 3);
    }
    assert_int_equal(topk_list(t, items, 2), 2);
    assert_int_equal(number_of(&items[0]), 7);
    assert_true(items[0].weight <= 100000u * 1000 && items[0].weight > 99000u * 1000);
    topk_destroy(&t);
}

static void halving_forgets_what_is_past(void **state) {
    (void)state;
    struct topk *t = topk_create();
    struct topk_item items[TOPK_KEEP];
    char name[NAMES];
    struct key old = key_of(name, 1);
    for (int i = 0; i < 100; i++) {
        topk_add(t, &old, 1);
    }
    assert_int_equal(topk_weight(t, old.hash), 100);
    topk_halve(t);
    assert_int_equal(topk_list(t, items, TOPK_KEEP), 1);
    assert_int_equal(items[0].weight, 50);
    for (int i = 0; i < 6; i++) {
        topk_halve(t);
    }
    assert_int_equal(topk_list(t, items, TOPK_KEEP), 0);
    assert_int_equal(topk_weight(t, old.hash), 0);
    topk_destroy(&t);
}

static void long_names_are_cut(void **state) {
    (void)state;
    struct topk *t = topk_create();
    struct topk_item item;
    char name[TOPK_NAME_MAX + 10];
    memset(name, 'n', sizeof(name));
    struct key key = key_make(slice_make(name, sizeof(name)), 0);
    topk_add(t, &key, 5);
    assert_int_equal(topk_list(t, &item, 1), 1);
    assert_true(item.cut);
    assert_int_equal(item.name.n, TOPK_NAME_MAX);
    topk_clear(t);
    assert_int_equal(topk_list(t, &item, 1), 0);
    topk_destroy(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hottest_keys_are_found_and_never_overrated),
        cmocka_unit_test(weights_count_as_so_many_draws),
        cmocka_unit_test(halving_forgets_what_is_past),
        cmocka_unit_test(long_names_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
