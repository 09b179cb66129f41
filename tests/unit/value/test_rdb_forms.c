/* SPDX-License-Identifier: BSD-3-Clause */
/* test_rdb_forms: the older forms of hashes, edges of the listpack, and what must be refused. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/ds/crc64.h"
#include "src/ds/listpack.h"
#include "src/value/rdb.h"

static const struct hash_limits limits = {4, 8};

#define BYTES(lit) slice_make(lit, sizeof(lit) - 1)

/* The value of a body, NULL when refused. */
static struct value *decode(uint8_t type, struct slice body) {
    struct buf str = {0};
    struct value *value = NULL;
    char *own = mem_memdup(body.p, body.n); /* exact: a sanitizer sees any read beyond */
    const unsigned char *p = (const unsigned char *)own;
    struct rdb_reader r = {.start = p, .p = p, .end = p + body.n};
    bool ok = rdb_get_value(&r, type, &limits, &str, &value);
    assert_true(ok == (value != NULL));
    assert_true(ok == (r.error == NULL));
    buf_free(&str);
    mem_free(own);
    return value;
}

static void refused(uint8_t type, struct slice body) {
    assert_null(decode(type, body));
}

static void reads_f_is_v(uint8_t type, struct slice body) {
    struct value *v = decode(type, body);
    struct hash_scratch scratch;
    struct slice got;
    assert_non_null(v);
    assert_int_equal(value_len(v), 1);
    assert_true(hash_get(v, SLICE("f"), &scratch, &got));
    assert_slice(got, "v");
    value_unref(v);
}

static void ziplists_are_read_and_their_lies_refused(void **state) {
    (void)state;
    reads_f_is_v(13, BYTES("\x11\x11\0\0\0\x0d\0\0\0\2\0\0\1" "f\3\1v\xff"));
    refused(13, BYTES("\x11\x12\0\0\0\x0d\0\0\0\2\0\0\1" "f\3\1v\xff")); /* bytes */
    refused(13, BYTES("\x11\x11\0\0\0\x0a\0\0\0\2\0\0\1" "f\3\1v\xff")); /* tail */
    refused(13, BYTES("\x11\x11\0\0\0\x0d\0\0\0\4\0\0\1" "f\3\1v\xff")); /* count */
    refused(13, BYTES("\x11\x11\0\0\0\x0d\0\0\0\2\0\0\1" "f\4\1v\xff")); /* length of the one before */
    refused(13, BYTES("\x11\x11\0\0\0\x0d\0\0\0\2\0\0\1" "f\xff\1v\xff"));
    refused(13, BYTES("\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff"));
    refused(13, BYTES("\0"));
}

static void zipmaps_are_read_and_their_lies_refused(void **state) {
    (void)state;
    reads_f_is_v(9, BYTES("\7\1\1f\1\0v\xff"));
    reads_f_is_v(9, BYTES("\x09\1\1f\1\2v..\xff")); /* two spare bytes */
    refused(9, BYTES("\7\2\1f\1\0v\xff"));
    refused(9, BYTES("\7\1\1f\1\7v\xff"));
    refused(9, BYTES("\2\0\xff"));
    refused(9, BYTES("\0"));
}

static void empty_fields_and_values_are_plain_bytes(void **state) {
    (void)state;
    struct hash_scratch scratch;
    struct slice got;
    struct value *v = decode(4, BYTES("\1\1f\0"));
    assert_non_null(v);
    assert_true(hash_get(v, SLICE("f"), &scratch, &got));
    assert_int_equal(got.n, 0);
    value_unref(v);
    v = decode(4, BYTES("\2\0\0\x0alonger one\1v"));
    assert_non_null(v);
    assert_string_equal(value_encoding_name(v), "hashtable");
    value_unref(v);
    refused(4, BYTES("\0"));
    refused(4, BYTES("\2\1f\0\1f\0"));
}

static void a_listpack_stays_one_by_its_number_of_pairs(void **state) {
    (void)state;
    struct buf body = {0};
    for (int pairs = 1; pairs <= 6; pairs++) {
        unsigned char *lp = lp_create();
        char field[8];
        for (int i = 0; i < pairs; i++) {
            lp = lp_append(lp, slice_make(field, (size_t)snprintf(field, sizeof(field), "%d", i)));
            lp = lp_append(lp, SLICE("much longer than eight bytes"));
        }
        buf_clear(&body);
        rdb_put_len(&body, lp_bytes(lp));
        buf_put(&body, lp, lp_bytes(lp));
        struct value *v = decode(16, buf_slice(&body));
        assert_non_null(v);
        assert_string_equal(value_encoding_name(v), pairs <= 4 ? "listpack" : "hashtable");
        assert_int_equal(value_len(v), pairs);
        value_unref(v);
        mem_free(lp);
    }
    buf_free(&body);
    refused(16, BYTES("\x11\x11\0\0\0\4\0\1\1\2\1\1\1\3\1\x80\0\xff"));
    refused(16, BYTES("\x0f\x0f\0\0\0\4\0\1\1\2\1\1\1\3\1\xff")); /* 1 twice */
}

/* Redis keeps the backward length of an element of 16383 bytes in three bytes, though two would hold it. */
static void listpack_backward_lengths_are_redis_s(void **state) {
    (void)state;
    static const struct {
        size_t string, backlen;
    } rows[] = {{16377, 2}, {16378, 3}, {2097145, 3}, {2097146, 4}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = mem_zalloc(rows[i].string);
        unsigned char *lp = lp_append(lp_create(), slice_make(text, rows[i].string));
        assert_int_equal(lp_bytes(lp), LP_HEADER + 5 + rows[i].string + rows[i].backlen + 1);
        assert_true(lp_validate(lp, lp_bytes(lp)));
        mem_free(lp);
        mem_free(text);
    }
}

static void a_dump_with_a_zero_checksum_is_refused(void **state) {
    (void)state;
    struct slice body;
    assert_false(rdb_check_dump(BYTES("\0\1a\x0a\0\0\0\0\0\0\0\0\0"), &body));
}

static void crc64_is_the_same_in_pieces(void **state) {
    (void)state;
    unsigned char bytes[100];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (unsigned char)(i * 37);
    }
    uint64_t one = 0;
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        assert_true(crc64(0, bytes, n) == one);
        assert_true(crc64(crc64(0, bytes, n / 3), bytes + n / 3, n - n / 3) == one);
        one = n < sizeof(bytes) ? crc64(one, bytes + n, 1) : one;
    }
}

struct sampled {
    int seen[3000];
};

static void count_one(void *ctx, struct slice field, struct slice value) {
    (void)value;
    int i = 0;
    for (size_t k = 0; k < field.n; k++) {
        i = i * 10 + field.p[k] - '0';
    }
    ((struct sampled *)ctx)->seen[i]++;
}

static void hash_samples_are_distinct_also_without_memory(void **state) {
    (void)state;
    struct value *h = hash_create();
    char field[8];
    for (int i = 0; i < 3000; i++) {
        struct slice f = slice_make(field, (size_t)snprintf(field, sizeof(field), "%d", i));
        assert_int_equal(hash_set(h, f, SLICE("v"), &limits, NULL), OK);
    }
    static const size_t counts[] = {0, 1, 10, 999, 1000, 2999, 3000};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]) * 2; i++) {
        struct sampled s = {{0}};
        size_t total = 0;
        mem_fail_nth(i % 2);
        hash_sample(h, counts[i / 2], count_one, &s);
        mem_fail_nth(0);
        for (int k = 0; k < 3000; k++) {
            assert_in_range(s.seen[k], 0, 1);
            total += (size_t)s.seen[k];
        }
        assert_int_equal(total, counts[i / 2]);
    }
    value_unref(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ziplists_are_read_and_their_lies_refused),
        cmocka_unit_test(zipmaps_are_read_and_their_lies_refused),
        cmocka_unit_test(empty_fields_and_values_are_plain_bytes),
        cmocka_unit_test(a_listpack_stays_one_by_its_number_of_pairs),
        cmocka_unit_test(listpack_backward_lengths_are_redis_s),
        cmocka_unit_test(a_dump_with_a_zero_checksum_is_refused),
        cmocka_unit_test(crc64_is_the_same_in_pieces),
        cmocka_unit_test(hash_samples_are_distinct_also_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
