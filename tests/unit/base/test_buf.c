/* SPDX-License-Identifier: BSD-3-Clause */
/* test_buf: growable bytes against a plain array, and what they do without memory. */
#include "tests/unit/check.h"

#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { MOST = 1 << 20 };

static char model[MOST];
static size_t model_n;

static void model_put(const char *p, size_t n) {
    memcpy(model + model_n, p, n);
    model_n += n;
}

static void append_something(struct buf *b) {
    static char piece[5000];
    size_t n = rng_below(rng_below(10) == 0 ? sizeof(piece) : 40);
    for (size_t i = 0; i < n; i++) {
        piece[i] = (char)rng_below(256);
    }
    switch (rng_below(5)) {
    case 0:
        buf_putc(b, 'c');
        model_put("c", 1);
        break;
    case 1:
        buf_printf(b, "%d:%s", 17, "x");
        model_put("17:x", 4);
        break;
    case 2:
        memcpy(buf_reserve(b, n), piece, n);
        buf_commit(b, n);
        model_put(piece, n);
        break;
    default:
        buf_put(b, piece, n);
        model_put(piece, n);
        break;
    }
}

static void buf_holds_what_was_appended(void **state) {
    (void)state;
    struct buf b = {0};
    rng_seed(1);
    model_n = 0;
    while (model_n < MOST / 2) {
        append_something(&b);
        assert_int_equal(b.n, model_n);
        assert_true(b.cap >= b.n);
        assert_true(b.cap < 64 + 5000 + 2 * b.n);
    }
    assert_memory_equal(b.p, model, model_n);
    buf_clear(&b);
    assert_int_equal(buf_slice(&b).n, 0);
    assert_true(b.cap > 0);
    buf_free(&b);
    assert_null(b.p);
    assert_int_equal(b.cap, 0);
}

static void buf_grows_a_large_one_by_little(void **state) {
    (void)state;
    struct buf b = {0};
    buf_reserve(&b, MOST + 1);
    assert_true(b.cap <= MOST + 1 + MOST / 8); /* not twice as much */
    buf_free(&b);
    assert_true(buf_try_exact(&b, 1000));
    assert_int_equal(b.cap, 1000);
    assert_int_equal(b.n, 0);
    buf_free(&b);
}

static void buf_stays_as_it_was_without_memory(void **state) {
    (void)state;
    struct buf b = {0};
    buf_puts(&b, "kept");
    size_t cap = b.cap;
    mem_fail_nth(1);
    assert_true(buf_try_reserve(&b, cap - b.n)); /* there is room: nothing is asked for */
    assert_false(buf_try_reserve(&b, cap + 1));
    assert_int_equal(mem_fail_left(), 0);
    assert_int_equal(b.cap, cap);
    assert_slice(buf_slice(&b), "kept");
    assert_true(buf_try_reserve(&b, cap + 1));
    assert_slice(buf_slice(&b), "kept");
    buf_free(&b);
    mem_fail_nth(1);
    assert_false(buf_try_exact(&b, 10));
    mem_fail_nth(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(buf_holds_what_was_appended), cmocka_unit_test(buf_grows_a_large_one_by_little),
                                       cmocka_unit_test(buf_stays_as_it_was_without_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
