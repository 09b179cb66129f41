/* SPDX-License-Identifier: BSD-3-Clause */
/* test_ds: listpack, dict, lzf and crc64 against plain models. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/ds/crc64.h"
#include "src/ds/dict.h"
#include "src/ds/listpack.h"
#include "src/ds/lzf.h"

enum { MODEL = 300, ROUNDS = 20000 };

/* Integers of all widths, strings of all length classes. */
static struct slice random_text(char *text, size_t cap) {
    uint64_t kind = rng_below(4);
    if (kind == 0) {
        return slice_make(text, (size_t)snprintf(text, cap, "%lld", (long long)((int64_t)rng_u64() >> rng_below(64))));
    }
    size_t n = rng_below(kind == 1 ? 10 : kind == 2 ? 70 : 5000);
    for (size_t i = 0; i < n; i++) {
        text[i] = (char)rng_u64();
    }
    return slice_make(text, n);
}

static void listpack_equals_its_model(void **state) {
    (void)state;
    rng_seed(1);
    unsigned char *lp = lp_create();
    char *items[MODEL];
    size_t lens[MODEL], n = 0;
    static char text[6000], scratch[LP_INT_TEXT];
    for (int round = 0; round < 3000; round++) {
        size_t at = n > 0 ? rng_below(n) : 0;
        struct slice s = random_text(text, sizeof(text));
        unsigned char *p = lp_first(lp);
        for (size_t i = 0; i < at; i++) {
            p = lp_next(lp, p);
        }
        if (n < 5 || (n < MODEL && rng_below(2))) {
            lp = lp_append(lp, s);
            items[n] = mem_memdup(s.p, s.n);
            lens[n++] = s.n;
        } else if (rng_below(2)) {
            lp = lp_replace(lp, &p, s);
            mem_free(items[at]);
            items[at] = mem_memdup(s.p, s.n);
            lens[at] = s.n;
        } else {
            lp = lp_delete(lp, p, 1);
            mem_free(items[at]);
            memmove(items + at, items + at + 1, (n - at - 1) * sizeof(*items));
            memmove(lens + at, lens + at + 1, (n - at - 1) * sizeof(*lens));
            n--;
        }
        assert_true(lp_validate(lp, lp_bytes(lp)));
        assert_int_equal(lp_len(lp), n);
    }
    size_t i = 0;
    for (unsigned char *p = lp_first(lp); p != NULL; p = lp_next(lp, p), i++) {
        struct slice s = lp_get(p, scratch);
        assert_int_equal(s.n, lens[i]);
        assert_memory_equal(s.p, items[i], s.n);
        mem_free(items[i]);
    }
    assert_int_equal(i, n);
    mem_free(lp);
}

static void listpack_refuses_every_truncation(void **state) {
    (void)state;
    unsigned char *lp = lp_create();
    lp = lp_append(lp, SLICE("hello"));
    lp = lp_append(lp, SLICE("70000"));
    for (size_t n = 0; n < lp_bytes(lp); n++) {
        unsigned char *cut = mem_memdup(lp, n);
        assert_false(lp_validate(cut, n));
        mem_free(cut);
    }
    mem_free(lp);
}

static void dict_equals_its_model(void **state) {
    (void)state;
    rng_seed(2);
    struct dict *d = dict_create();
    static int model[MODEL];
    memset(model, -1, sizeof(model));
    size_t n = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int i = (int)rng_below(MODEL), v = (int)rng_below(1000);
        char field[16], value[16];
        struct slice f = slice_make(field, (size_t)snprintf(field, sizeof(field), "f%d", i));
        struct slice s = slice_make(value, (size_t)snprintf(value, sizeof(value), "%d", v));
        if (rng_below(3) == 0) {
            assert_int_equal(dict_del(d, f), model[i] >= 0);
            n -= model[i] >= 0;
            model[i] = -1;
        } else {
            assert_int_equal(dict_set(d, f, s), model[i] < 0);
            n += model[i] < 0;
            model[i] = v;
        }
        assert_int_equal(dict_len(d), n);
    }
    for (int i = 0; i < MODEL; i++) {
        char field[16];
        struct slice f = slice_make(field, (size_t)snprintf(field, sizeof(field), "f%d", i));
        assert_int_equal(dict_find(d, f) != NULL, model[i] >= 0);
    }
    dict_destroy(&d);
}

static void mark(void *ctx, struct slice field, struct slice value) {
    (void)value;
    int *seen = ctx;
    seen[atoi(field.p)]++;
}

static void dict_scan_sees_what_stays_while_it_grows(void **state) {
    (void)state;
    struct dict *d = dict_create();
    static int seen[4000];
    memset(seen, 0, sizeof(seen));
    char field[16];
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(dict_set(d, slice_make(field, (size_t)snprintf(field, sizeof(field), "%d", i) + 1), SLICE("v")), 1);
    }
    uint64_t cursor = 0;
    int next = 1000;
    do {
        cursor = dict_scan(d, cursor, 10, mark, seen);
        for (int k = 0; k < 20 && next < 4000; k++, next++) {
            assert_int_equal(dict_set(d, slice_make(field, (size_t)snprintf(field, sizeof(field), "%d", next) + 1), SLICE("v")), 1);
        }
    } while (cursor != 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(seen[i], 1);
    }
    dict_destroy(&d);
}

static void dict_survives_failing_allocations(void **state) {
    (void)state;
    struct dict *d = dict_create();
    char field[16];
    size_t n = 0;
    for (int i = 0; i < 2000; i++) {
        mem_fail_nth(1 + rng_below(3));
        n += dict_set(d, slice_make(field, (size_t)snprintf(field, sizeof(field), "%d", i)), SLICE("v")) == 1;
        mem_fail_nth(0);
        assert_int_equal(dict_len(d), n);
    }
    dict_destroy(&d);
}

static void lzf_returns_what_went_in(void **state) {
    (void)state;
    rng_seed(3);
    static unsigned char in[20000], packed[20000], out[20000];
    for (int round = 0; round < 500; round++) {
        size_t n = 4 + rng_below(sizeof(in) - 4);
        unsigned alphabet = 1 + (unsigned)rng_below(12);
        for (size_t i = 0; i < n; i++) {
            in[i] = (unsigned char)rng_below(alphabet);
        }
        size_t m = lzf_compress(in, n, packed, n - 1);
        if (m > 0) {
            assert_true(lzf_decompress(packed, m, out, n));
            assert_memory_equal(in, out, n);
            assert_false(lzf_decompress(packed, m, out, n - 1));
            assert_false(lzf_decompress(packed, m - 1, out, n));
        }
    }
}

static void crc64_has_the_published_check_value(void **state) {
    (void)state;
    assert_true(crc64(0, "123456789", 9) == 0xe9c6d914c4b8d9caULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listpack_equals_its_model),
        cmocka_unit_test(listpack_refuses_every_truncation),
        cmocka_unit_test(dict_equals_its_model),
        cmocka_unit_test(dict_scan_sees_what_stays_while_it_grows),
        cmocka_unit_test(dict_survives_failing_allocations),
        cmocka_unit_test(lzf_returns_what_went_in),
        cmocka_unit_test(crc64_has_the_published_check_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
