/* SPDX-License-Identifier: BSD-3-Clause */
/* test_sieve: what was added is never denied, strangers mostly are, and memory has a bound. */
#include "tests/unit/check.h"

#include <pthread.h>

#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/ds/sieve.h"

enum { ITEMS = 100000 };

static uint64_t hash_of(uint64_t i) {
    return hash_name(slice_make((const char *)&i, sizeof(i)));
}

static double passed(const struct sieve *s, uint64_t strangers) {
    uint64_t n = 0;
    for (uint64_t i = 0; i < strangers; i++) {
        n += sieve_has(s, hash_of(~i));
    }
    return (double)n / (double)strangers;
}

static void it_never_denies_and_lets_few_pass(void **state) {
    (void)state;
    struct sieve *s = sieve_create(ITEMS, SIZE_MAX);
    uint64_t fresh = 0;
    assert_true(passed(s, ITEMS) == 0);
    for (uint64_t i = 0; i < 2 * ITEMS; i++) {
        fresh += sieve_add(s, hash_of(i));
        assert_true(sieve_has(s, hash_of(i)));
        if (i == ITEMS - 1) {
            assert_true(passed(s, ITEMS) < 0.08);
        }
    }
    for (uint64_t i = 0; i < 2 * ITEMS; i++) {
        assert_true(sieve_has(s, hash_of(i)));
        assert_false(sieve_add(s, hash_of(i)));
    }
    assert_true(passed(s, ITEMS) < 0.28);
    assert_true(fresh == sieve_items(s) && fresh > 2 * ITEMS - 2 * ITEMS / 7);
    sieve_unref(&s);
}

static void it_takes_what_it_says(void **state) {
    (void)state;
    struct sieve *s = sieve_create(ITEMS, SIZE_MAX);
    assert_true(sieve_capacity(s) >= ITEMS && sieve_capacity(s) < ITEMS + 1000);
    assert_true(sieve_bytes(s) * 8 <= (ITEMS + 1000) * SIEVE_BITS);
    sieve_unref(&s);
    s = sieve_create(ITEMS, 1000);
    assert_int_equal(sieve_bytes(s), 1000 / SIEVE_LINE_BYTES * SIEVE_LINE_BYTES);
    for (uint64_t i = 0; i < ITEMS; i++) {
        sieve_add(s, hash_of(i));
        assert_true(sieve_has(s, hash_of(i)));
    }
    sieve_unref(&s);
    s = sieve_create(0, 0);
    assert_int_equal(sieve_bytes(s), SIEVE_LINE_BYTES);
    sieve_add(s, UINT64_MAX);
    assert_true(sieve_has(s, UINT64_MAX));
    sieve_unref(&s);
    assert_null(s);
}

static void it_forgets_when_cleared(void **state) {
    (void)state;
    struct sieve *s = sieve_create(ITEMS, SIZE_MAX);
    for (uint64_t i = 0; i < ITEMS; i++) {
        sieve_add(s, hash_of(i));
    }
    sieve_clear(s);
    assert_true(sieve_items(s) == 0 && passed(s, ITEMS) == 0 && !sieve_has(s, hash_of(7)));
    sieve_unref(&s);
}

static void the_last_reference_frees_it(void **state) {
    (void)state;
    struct sieve *s = sieve_create(1, SIZE_MAX), *other = sieve_ref(s), *none = sieve_ref(NULL);
    sieve_add(s, 1);
    sieve_unref(&s);
    assert_true(sieve_has(other, 1));
    sieve_unref(&other);
    sieve_unref(&none);
}

static void there_is_none_without_memory(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        mem_fail_nth(nth);
        assert_null(sieve_create(ITEMS, SIZE_MAX));
        mem_fail_nth(0);
    }
}

/* ---- several threads at once ---- */

struct adder {
    struct sieve *s;
    uint64_t from;
};

static void *add_some(void *arg) {
    struct adder *a = arg;
    for (uint64_t i = a->from; i < a->from + ITEMS; i++) {
        sieve_add(a->s, hash_of(i));
        if (!sieve_has(a->s, hash_of(i))) {
            return a;
        }
    }
    return NULL;
}

static void threads_lose_nothing(void **state) {
    (void)state;
    struct sieve *s = sieve_create(2 * ITEMS, SIZE_MAX);
    struct adder a = {s, 0}, b = {s, ITEMS};
    pthread_t other;
    void *wrong;
    assert_int_equal(pthread_create(&other, NULL, add_some, &a), 0);
    assert_null(add_some(&b));
    pthread_join(other, &wrong);
    assert_null(wrong);
    for (uint64_t i = 0; i < 2 * ITEMS; i++) {
        assert_true(sieve_has(s, hash_of(i)));
    }
    sieve_unref(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_never_denies_and_lets_few_pass), cmocka_unit_test(it_takes_what_it_says),
        cmocka_unit_test(it_forgets_when_cleared),           cmocka_unit_test(the_last_reference_frees_it),
        cmocka_unit_test(there_is_none_without_memory),      cmocka_unit_test(threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
