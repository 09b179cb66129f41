/* SPDX-License-Identifier: BSD-3-Clause */
/* test_hash: hashes in both encodings against a plain array of pairs. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/rng.h"
#include "src/value/value.h"

enum { FIELDS = 200, LONGEST = 100, STEPS = 4000, MOST_AT_ONCE = 30 };

static const struct hash_limits limits = {64, 60};

/* The model: field i has the text, or is absent. */
static bool present[FIELDS];
static char texts[FIELDS][LONGEST];
static size_t lengths[FIELDS], count;

static bool small; /* few fields, short values: stays compact */

static struct slice field_of(char *buf, int i) {
    return slice_make(buf, (size_t)snprintf(buf, 32, i % 3 == 0 ? "%d" : "field-%d", i));
}

static struct slice some_value(char *buf) {
    size_t n = !small && rng_below(20) == 0 ? rng_below(LONGEST) : rng_below(12);
    if (rng_below(3) == 0) {
        return slice_make(buf, (size_t)snprintf(buf, LONGEST, "%lld", (long long)rng_below(1000000) - 500000));
    }
    for (size_t k = 0; k < n; k++) {
        buf[k] = (char)rng_below(256);
    }
    return slice_make(buf, n);
}

static void model_set(int i, struct slice value) {
    count += !present[i];
    present[i] = true;
    lengths[i] = value.n;
    memcpy(texts[i], value.p, value.n);
}

static int some_field(void) {
    return (int)rng_below(small ? 50 : FIELDS);
}

static void set_one(struct value *h) {
    char f[32], v[LONGEST];
    int i = some_field();
    struct slice value = some_value(v);
    bool created, was = present[i];
    assert_int_equal(hash_set(h, field_of(f, i), value, &limits, &created), OK);
    assert_int_equal(created, !was);
    model_set(i, value);
}

static void set_several(struct value *h) {
    static char f[MOST_AT_ONCE][32], v[MOST_AT_ONCE][LONGEST];
    struct slice words[2 * MOST_AT_ONCE];
    size_t n = 1 + rng_below(MOST_AT_ONCE), before = count, created;
    for (size_t k = 0; k < n; k++) {
        int i = some_field();
        words[2 * k] = field_of(f[k], i);
        words[2 * k + 1] = some_value(v[k]);
        model_set(i, words[2 * k + 1]);
    }
    assert_int_equal(hash_set_all(h, words, n, &limits, &created), OK);
    assert_int_equal(created, count - before);
}

static void del_one(struct value *h) {
    char f[32];
    int i = some_field();
    assert_int_equal(hash_del(h, field_of(f, i)), present[i]);
    count -= present[i];
    present[i] = false;
}

static void check_all(const struct value *h) {
    char f[32];
    struct hash_scratch scratch;
    struct slice got;
    assert_int_equal(value_len(h), count);
    for (int i = 0; i < FIELDS; i++) {
        assert_int_equal(hash_get(h, field_of(f, i), &scratch, &got), present[i]);
        if (present[i]) {
            assert_int_equal(got.n, lengths[i]);
            assert_memory_equal(got.p, texts[i], got.n);
        }
    }
}

static void hash_agrees_with_a_list_of_pairs(void **state) {
    (void)state;
    int compact = 0, large = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        rng_seed(seed);
        memset(present, 0, sizeof(present));
        count = 0;
        small = seed % 2 == 0;
        struct value *h = hash_create();
        for (int k = 0; k < STEPS; k++) {
            uint64_t what = rng_below(40);
            if (what == 0) {
                set_several(h);
            } else if (what < 5 + seed * 4) {
                set_one(h);
            } else {
                del_one(h);
            }
            if (k % 50 == 0) {
                check_all(h);
                compact += h->encoding == ENC_LISTPACK;
                large += h->encoding == ENC_HASHTABLE;
            }
        }
        value_unref(h);
    }
    assert_true(compact > 10 && large > 10);
}

static void hash_becomes_large_and_stays_so(void **state) {
    (void)state;
    struct value *h = hash_create();
    char f[32];
    for (int i = 0; i < 64; i++) {
        assert_int_equal(hash_set(h, field_of(f, i), SLICE("v"), &limits, NULL), OK);
        assert_int_equal(h->encoding, ENC_LISTPACK);
    }
    assert_int_equal(hash_set(h, field_of(f, 64), SLICE("v"), &limits, NULL), OK);
    assert_int_equal(h->encoding, ENC_HASHTABLE);
    for (int i = 1; i <= 64; i++) {
        assert_true(hash_del(h, field_of(f, i)));
    }
    assert_int_equal(value_len(h), 1);
    assert_int_equal(h->encoding, ENC_HASHTABLE);
    value_unref(h);
    h = hash_create();
    char longer[61] = {0};
    assert_int_equal(hash_set(h, SLICE("f"), slice_make(longer, 60), &limits, NULL), OK);
    assert_int_equal(h->encoding, ENC_LISTPACK);
    assert_int_equal(hash_set(h, SLICE("f"), slice_make(longer, 61), &limits, NULL), OK);
    assert_int_equal(h->encoding, ENC_HASHTABLE);
    value_unref(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(hash_agrees_with_a_list_of_pairs), cmocka_unit_test(hash_becomes_large_and_stays_so)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
