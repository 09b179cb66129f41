/* SPDX-License-Identifier: BSD-3-Clause */
/* test_radix: the tree against a plain list. */
#include "tests/unit/check.h"

#include <string.h>

#include "src/base/rng.h"
#include "src/ds/radix.h"

enum { STORED = 600, LENGTH = 24 };

/* What a list knows: the strings stored, and under which number. */
struct model {
    char text[STORED][LENGTH];
    size_t n[STORED];
    uintptr_t value[STORED];
    int count;
};

static struct slice model_name(const struct model *m, int i) {
    return slice_make(m->text[i], m->n[i]);
}

static int model_at(const struct model *m, struct slice name) {
    for (int i = 0; i < m->count; i++) {
        if (slice_eq(model_name(m, i), name)) {
            return i;
        }
    }
    return -1;
}

static uintptr_t model_longest(const struct model *m, struct slice name) {
    int best = -1;
    for (int i = 0; i < m->count; i++) {
        bool prefix = slice_starts(name, model_name(m, i));
        best = prefix && (best < 0 || m->n[i] > m->n[best]) ? i : best;
    }
    return best < 0 ? 0 : m->value[best];
}

/* Few different bytes, NUL and 255 among them, so that prefixes are shared; mostly grown from a string stored before. */
static struct slice make_name(const struct model *m, char *out) {
    static const char bytes[] = {'\0', 'a', 'b', ':', '\xff'};
    size_t n = 0;
    if (m->count > 0 && rng_below(4) != 0) {
        int i = (int)rng_below((uint64_t)m->count);
        n = rng_below(m->n[i] + 1);
        memcpy(out, m->text[i], n);
    }
    size_t end = n + rng_below(6);
    while (n < end && n < LENGTH) {
        out[n++] = bytes[rng_below(sizeof(bytes))];
    }
    return slice_make(out, n);
}

static void put(struct radix *r, struct model *m, struct slice name, uintptr_t value) {
    radix_put(r, name, (void *)value);
    int i = model_at(m, name);
    if (i < 0) {
        i = m->count++;
        memcpy(m->text[i], name.p, name.n);
        m->n[i] = name.n;
    }
    m->value[i] = value;
}

static void radix_is_a_list_of_strings(void **state) {
    (void)state;
    char name[LENGTH];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        static struct model m;
        memset(&m, 0, sizeof(m));
        struct radix *r = radix_create();
        rng_seed(seed);
        for (uintptr_t value = 1; m.count < STORED; value++) {
            if (value % 3 == 0) {
                put(r, &m, make_name(&m, name), value);
                continue;
            }
            struct slice asked = make_name(&m, name);
            int at = model_at(&m, asked);
            assert_int_equal((uintptr_t)radix_get(r, asked), at < 0 ? 0 : m.value[at]);
            assert_int_equal((uintptr_t)radix_longest(r, asked), model_longest(&m, asked));
        }
        for (int i = 0; i < m.count; i++) {
            assert_int_equal((uintptr_t)radix_get(r, model_name(&m, i)), m.value[i]);
        }
        radix_destroy(&r);
        assert_null(r);
    }
}

static void radix_knows_nothing_when_empty(void **state) {
    (void)state;
    struct radix *r = radix_create();
    assert_null(radix_get(r, SLICE("")));
    assert_null(radix_get(r, SLICE("a")));
    assert_null(radix_longest(r, SLICE("")));
    assert_null(radix_longest(r, SLICE("a")));
    radix_destroy(&r);
    radix_destroy(&r); /* none: nothing happens */
}

static void radix_takes_the_empty_string_for_a_prefix_of_all(void **state) {
    (void)state;
    struct radix *r = radix_create();
    int all, some;
    radix_put(r, SLICE(""), &all);
    radix_put(r, SLICE("user:"), &some);
    assert_ptr_equal(radix_longest(r, SLICE("")), &all);
    assert_ptr_equal(radix_longest(r, SLICE("use")), &all);
    assert_ptr_equal(radix_longest(r, SLICE("user;")), &all);
    assert_ptr_equal(radix_longest(r, SLICE("user:")), &some);
    assert_ptr_equal(radix_longest(r, SLICE("user:1")), &some);
    assert_null(radix_get(r, SLICE("user")));
    radix_destroy(&r);
}

static void radix_keeps_all_256_branches_in_order(void **state) {
    (void)state;
    struct radix *r = radix_create();
    for (unsigned step = 0; step < 256; step++) {
        char byte = (char)(step * 91 + 17); /* each once, in no order */
        radix_put(r, slice_make(&byte, 1), (void *)(uintptr_t)(1 + (unsigned char)byte));
    }
    for (unsigned i = 0; i < 256; i++) {
        char name[2] = {(char)i, '\0'};
        assert_int_equal((uintptr_t)radix_longest(r, slice_make(name, 2)), 1 + i);
    }
    radix_destroy(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(radix_is_a_list_of_strings),
        cmocka_unit_test(radix_knows_nothing_when_empty),
        cmocka_unit_test(radix_takes_the_empty_string_for_a_prefix_of_all),
        cmocka_unit_test(radix_keeps_all_256_branches_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
