/* SPDX-License-Identifier: BSD-3-Clause */
/* test_parse: requests, whole and in pieces, and replies in both protocols. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/resp/parse.h"
#include "src/resp/reply.h"

static const struct parse_limits limits = {512 << 20, INT32_MAX, 512 << 20, 64 << 10};

struct row {
    const char *in;
    enum parse_status status;
    int argc;
    const char *first, *error;
};

static const struct row rows[] = {
    {"*1\r\n$4\r\nPING\r\n", PARSE_OK, 1, "PING", NULL},
    {"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", PARSE_OK, 2, "GET", NULL},
    {"*12\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n$1\r\ng\r\n$1\r\nh\r\n$1\r\ni\r\n$1\r\nj\r\n$1\r\nk\r\n$2\r\nlm\r\n", PARSE_OK, 12, "a", NULL},
    {"PING\r\n", PARSE_OK, 1, "PING", NULL},
    {"SET \"a b\" 'c\\'d' \"\\x41\\n\"\n", PARSE_OK, 4, "SET", NULL},
    {"\r\n", PARSE_EMPTY, 0, NULL, NULL},
    {"*0\r\n", PARSE_EMPTY, 0, NULL, NULL},
    {"*-1\r\n", PARSE_EMPTY, 0, NULL, NULL},
    {"*x\r\n", PARSE_ERROR, 0, NULL, "Protocol error: invalid multibulk length"},
    {"*2147483648\r\n", PARSE_ERROR, 0, NULL, "Protocol error: invalid multibulk length"},
    {"*1\r\n+OK\r\n", PARSE_ERROR, 0, NULL, "Protocol error: expected '$', got '+'"},
    {"*1\r\n$-5\r\n", PARSE_ERROR, 0, NULL, "Protocol error: invalid bulk length"},
    {"*1\r\n$536870913\r\n", PARSE_ERROR, 0, NULL, "Protocol error: invalid bulk length"},
    {"*1\r\n$abc\r\n", PARSE_ERROR, 0, NULL, "Protocol error: invalid bulk length"},
    {"SET \"a\r\n", PARSE_ERROR, 0, NULL, "Protocol error: unbalanced quotes in request"},
};

static void expect(const struct row *row, enum parse_status status, const struct request *r) {
    assert_int_equal(status, row->status);
    if (row->first != NULL) {
        assert_int_equal(r->argc, row->argc);
        assert_slice(r->argv[0], row->first);
    }
    if (status == PARSE_ERROR) {
        assert_string_equal(r->error, row->error);
    } else {
        assert_int_equal(r->used, strlen(row->in));
    }
}

static void parse_reads_whole_requests(void **state) {
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct parse_resume resume = {0};
        struct request r;
        expect(&rows[i], parse_request(slice_cstr(rows[i].in), &limits, &resume, &arena, &r), &r);
    }
    arena_free(&arena);
}

/* Every prefix first: the bytes are copied to an exact block so that a read beyond them is caught. */
static void parse_is_the_same_however_bytes_arrive(void **state) {
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct parse_resume resume = {0};
        struct request r;
        size_t n = strlen(rows[i].in);
        enum parse_status status = PARSE_MORE;
        for (size_t have = 1; have <= n && status == PARSE_MORE; have++) {
            char *exact = test_malloc(have);
            memcpy(exact, rows[i].in, have);
            status = parse_request(slice_make(exact, have), &limits, &resume, &arena, &r);
            if (status != PARSE_MORE) {
                expect(&rows[i], status, &r);
            }
            test_free(exact);
        }
        assert_int_not_equal(status, PARSE_MORE);
        arena_reset(&arena);
    }
    arena_free(&arena);
}

static void parse_limits_the_unauthenticated(void **state) {
    (void)state;
    struct parse_limits closed = {512 << 20, 10, 16384, 64 << 10};
    struct arena arena = {0};
    struct parse_resume resume = {0};
    struct request r;
    assert_int_equal(parse_request(SLICE("*11\r\n"), &closed, &resume, &arena, &r), PARSE_ERROR);
    assert_string_equal(r.error, "Protocol error: unauthenticated multibulk length");
    resume = (struct parse_resume){0};
    assert_int_equal(parse_request(SLICE("*1\r\n$16385\r\n"), &closed, &resume, &arena, &r), PARSE_ERROR);
    assert_string_equal(r.error, "Protocol error: unauthenticated bulk length");
    arena_free(&arena);
}

static int released;

static void release(void *owner) {
    (void)owner;
    released++;
}

static void reply_has_both_protocols(void **state) {
    (void)state;
    static const char *const expected[] = {
        "*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n$-1\r\n*-1\r\n:1\r\n$4\r\n1.25\r\n$2\r\nhi\r\n*2\r\n:7\r\n:8\r\n-ERR a b\r\n",
        "%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n_\r\n_\r\n#t\r\n,1.25\r\n=6\r\ntxt:hi\r\n*2\r\n:7\r\n:8\r\n-ERR a b\r\n"};
    for (int i = 0; i < 2; i++) {
        struct out o = {.proto = (uint8_t)(2 + i)};
        reply_map(&o, 2);
        reply_bulk_cstr(&o, "a");
        reply_int(&o, 1);
        reply_bulk_cstr(&o, "b");
        reply_null(&o);
        reply_null_array(&o);
        reply_bool(&o, true);
        reply_double(&o, 1.25);
        reply_verbatim(&o, "txt", SLICE("hi"));
        struct reply_deferred d = reply_defer(&o, '*');
        reply_int(&o, 7);
        reply_int(&o, 8);
        reply_defer_end(&o, d, 2);
        reply_error(&o, SLICE("ERR a\nb"));
        assert_slice(buf_slice(&o.buf), expected[i]);
        out_free(&o);
    }
}

static void reply_releases_every_reference_once(void **state) {
    (void)state;
    struct out a = {.proto = 2}, b = {.proto = 2};
    released = 0;
    reply_bulk_ref(&a, SLICE("xyz"), NULL, release);
    reply_bulk_ref(&b, SLICE("uv"), NULL, release);
    out_append(&a, &b);
    assert_int_equal(out_bytes(&a), strlen("$3\r\nxyz\r\n$2\r\nuv\r\n"));
    out_truncate(&a, a.refs[1].at, 1);
    assert_int_equal(released, 1);
    out_free(&a);
    assert_int_equal(released, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_reads_whole_requests),
        cmocka_unit_test(parse_is_the_same_however_bytes_arrive),
        cmocka_unit_test(parse_limits_the_unauthenticated),
        cmocka_unit_test(reply_has_both_protocols),
        cmocka_unit_test(reply_releases_every_reference_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
