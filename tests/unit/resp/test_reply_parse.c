/* SPDX-License-Identifier: BSD-3-Clause */
/* test_reply_parse: replies whole, and split at every byte; what lies about its length; garbage. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/buf.h"
#include "src/resp/reply_parse.h"

static const struct reply_limits limits = {1000, 2000, 100};

/* One reply in a form that can be compared. */
static void print(struct buf *b, const struct reply *r) {
    static const char *const kinds[] = {"status", "error", "int", "bulk", "null", "array"};
    buf_puts(b, kinds[r->kind]);
    if (r->kind == REPLY_INT) {
        buf_printf(b, "(%lld)", (long long)r->integer);
    } else if (r->kind == REPLY_ARRAY) {
        buf_putc(b, '[');
        for (uint32_t i = 0; i < r->n; i++) {
            buf_puts(b, i > 0 ? " " : "");
            print(b, &r->items[i]);
        }
        buf_putc(b, ']');
    } else if (r->kind != REPLY_NULL) {
        buf_printf(b, "(%.*s)", SLICE_ARG(r->str));
    }
}

static const struct {
    const char *in;
    enum reply_status status;
    const char *printed;
} rows[] = {
    {"+OK\r\n", REPLY_OK, "status(OK)"},
    {"+\r\n", REPLY_OK, "status()"},
    {"-ERR no\r\n", REPLY_OK, "error(ERR no)"},
    {":-12\r\n", REPLY_OK, "int(-12)"},
    {"$0\r\n\r\n", REPLY_OK, "bulk()"},
    {"$5\r\na\r\nbc\r\n", REPLY_OK, "bulk(a\r\nbc)"},
    {"$-1\r\n", REPLY_OK, "null"},
    {"*-1\r\n", REPLY_OK, "null"},
    {"*0\r\n", REPLY_OK, "array[]"},
    {"*3\r\n:1\r\n*2\r\n$1\r\nx\r\n*0\r\n$-1\r\n", REPLY_OK, "array[int(1) array[bulk(x) array[]] null]"},
    {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", REPLY_OK,
     "array[array[array[array[array[array[array[array[int(1)]]]]]]]]"},
    {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", REPLY_GARBAGE, NULL},
    {"HTTP/1.1 400 Bad Request\r\n", REPLY_GARBAGE, NULL},
    {"\r\n", REPLY_GARBAGE, NULL},
    {"+OK\n", REPLY_GARBAGE, NULL},
    {":\r\n", REPLY_GARBAGE, NULL},
    {":1x\r\n", REPLY_GARBAGE, NULL},
    {"$-2\r\n", REPLY_GARBAGE, NULL},
    {"*-2\r\n", REPLY_GARBAGE, NULL},
    {"$1\r\nab\r\n", REPLY_GARBAGE, NULL},
    {"$x\r\n", REPLY_GARBAGE, NULL},
    {"$1001\r\n", REPLY_TOO_LONG, NULL},
    {"$9223372036854775807\r\n", REPLY_TOO_LONG, NULL},
    {"*101\r\n", REPLY_TOO_LONG, NULL},
    {"*2\r\n*50\r\n*60\r\n", REPLY_TOO_LONG, NULL},
    {"*3\r\n$1\r\na\r\n*99\r\n", REPLY_TOO_LONG, NULL},
    {"*4294967296\r\n", REPLY_TOO_LONG, NULL},
};

static void expect_built(const char *in, const char *printed) {
    struct arena arena = {0};
    struct reply reply;
    struct buf b = {0};
    reply_build(slice_cstr(in), &arena, &reply);
    print(&b, &reply);
    assert_slice(buf_slice(&b), printed);
    buf_free(&b);
    arena_free(&arena);
}

static void whole_replies_are_read(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct reply_scan scan = {0};
        size_t n = 0;
        assert_int_equal(reply_scan(slice_cstr(rows[i].in), &limits, &scan, &n), rows[i].status);
        if (rows[i].status == REPLY_OK) {
            assert_int_equal(n, strlen(rows[i].in));
            expect_built(rows[i].in, rows[i].printed);
        }
    }
}

/* Each prefix in a block of its own size, so that a read beyond it is caught. */
static void replies_are_the_same_however_bytes_arrive(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct reply_scan scan = {0};
        enum reply_status status = REPLY_MORE;
        size_t len = strlen(rows[i].in), need = 0, have = 0;
        for (; have <= len && status == REPLY_MORE; have++) {
            char *exact = test_malloc(have + 1);
            memcpy(exact + 1, rows[i].in, have);
            status = reply_scan(slice_make(exact + 1, have), &limits, &scan, &need);
            assert_true(status != REPLY_MORE || need > have);
            test_free(exact);
        }
        assert_int_equal(status, rows[i].status);
        if (status == REPLY_OK) {
            assert_int_equal(have - 1, len); /* not before the last byte */
            assert_int_equal(need, len);
        }
    }
}

static void a_bulk_says_how_many_bytes_it_waits_for(void **state) {
    (void)state;
    struct reply_scan scan = {0};
    size_t n = 0;
    assert_int_equal(reply_scan(SLICE("*2\r\n:1\r\n$100\r\nabc"), &limits, &scan, &n), REPLY_MORE);
    assert_int_equal(n, 8 + 6 + 100 + 2);
}

static void a_reply_is_bounded_as_a_whole(void **state) {
    (void)state;
    struct buf b = {0};
    struct reply_scan scan = {0};
    size_t n = 0;
    buf_puts(&b, "*3\r\n");
    for (int i = 0; i < 2; i++) {
        buf_puts(&b, "$900\r\n");
        memset(buf_reserve(&b, 900), 'x', 900);
        buf_commit(&b, 900);
        buf_puts(&b, "\r\n");
    }
    assert_int_equal(reply_scan(buf_slice(&b), &limits, &scan, &n), REPLY_MORE);
    buf_puts(&b, "$900\r\n");
    assert_int_equal(reply_scan(buf_slice(&b), &limits, &scan, &n), REPLY_TOO_LONG);
    buf_free(&b);
}

static void a_line_is_bounded(void **state) {
    (void)state;
    static const struct reply_limits wide = {SIZE_MAX, SIZE_MAX, UINT32_MAX};
    struct buf b = {0};
    struct reply_scan scan = {0};
    size_t n = 0;
    buf_putc(&b, '+');
    memset(buf_reserve(&b, REPLY_LINE_BYTES), 'x', REPLY_LINE_BYTES);
    buf_commit(&b, REPLY_LINE_BYTES - 2);
    assert_int_equal(reply_scan(buf_slice(&b), &wide, &scan, &n), REPLY_MORE);
    buf_commit(&b, 1);
    assert_int_equal(reply_scan(buf_slice(&b), &wide, &scan, &n), REPLY_GARBAGE);
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_replies_are_read),
        cmocka_unit_test(replies_are_the_same_however_bytes_arrive),
        cmocka_unit_test(a_bulk_says_how_many_bytes_it_waits_for),
        cmocka_unit_test(a_reply_is_bounded_as_a_whole),
        cmocka_unit_test(a_line_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
