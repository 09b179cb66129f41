/* SPDX-License-Identifier: BSD-3-Clause */
/* test_rdb: values to DUMP payloads and back; payloads recorded from redis-server 7.0; every truncation and flipped byte refused or
 * harmless. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/ds/crc64.h"
#include "src/value/rdb.h"

static const struct hash_limits limits = {128, 64};

static bool restore(struct slice payload, struct buf *str, struct value **value) {
    struct slice body;
    *value = NULL;
    if (!rdb_check_dump(payload, &body) || body.n < 1) {
        return false;
    }
    const unsigned char *p = (const unsigned char *)body.p;
    struct rdb_reader r = {.start = p, .p = p + 1, .end = p + body.n};
    bool ok = rdb_get_value(&r, p[0], &limits, str, value);
    if (ok && r.p != r.end) {
        value_unref(*value);
        *value = NULL;
        return false;
    }
    return ok;
}

static void strings_survive_the_round_trip(void **state) {
    (void)state;
    static const char *const texts[] = {"", "a", "0", "-129", "70000", "-2147483648", "2147483648", "01", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct buf dump = {0}, str = {0};
        struct value *value;
        assert_true(rdb_dump(&dump, slice_cstr(texts[i]), NULL));
        assert_true(restore(buf_slice(&dump), &str, &value));
        assert_slice(slice_make(str.p, str.n), texts[i]);
        for (size_t n = 0; n < dump.n; n++) {
            struct buf cut = {0};
            assert_false(restore(slice_make(dump.p, n), &cut, &value));
            buf_free(&cut);
        }
        buf_free(&dump);
        buf_free(&str);
    }
}

static struct value *some_hash(int fields, size_t value_len) {
    struct value *h = hash_create();
    char field[32];
    static char text[4096];
    memset(text, 'v', sizeof(text));
    for (int i = 0; i < fields; i++) {
        struct slice f = slice_make(field, (size_t)snprintf(field, sizeof(field), i % 2 ? "%d" : "f%d", i));
        assert_int_equal(hash_set(h, f, slice_make(text, value_len), &limits, NULL), OK);
    }
    return h;
}

static void hashes_survive_in_both_encodings(void **state) {
    (void)state;
    static const struct {
        int fields;
        size_t len;
        const char *encoding;
    } rows[] = {{1, 0, "listpack"}, {128, 64, "listpack"}, {129, 1, "hashtable"}, {3, 65, "hashtable"}, {1000, 200, "hashtable"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct value *h = some_hash(rows[i].fields, rows[i].len), *back;
        struct buf dump = {0}, str = {0};
        assert_string_equal(value_encoding_name(h), rows[i].encoding);
        assert_true(rdb_dump(&dump, SLICE(""), h));
        assert_true(restore(buf_slice(&dump), &str, &back));
        assert_int_equal(value_len(back), rows[i].fields);
        assert_string_equal(value_encoding_name(back), rows[i].encoding);
        struct hash_iter it;
        struct slice field, value, got;
        struct hash_scratch scratch;
        hash_iter_init(&it, h);
        while (hash_iter_next(&it, &field, &value)) {
            assert_true(hash_get(back, field, &scratch, &got));
            assert_true(slice_eq(value, got));
        }
        value_unref(h);
        value_unref(back);
        buf_free(&dump);
        buf_free(&str);
    }
}

/* DUMP of redis-server 7.0.15: SET s hello; HSET h f 100000. */
static void payloads_of_redis_are_understood(void **state) {
    (void)state;
    static const unsigned char string[] = "\x00\x05hello\n\x00" "cr\xdf" "ve4 \n";
    static const unsigned char hash[] = "\x10\x0f\x0f\x00\x00\x00\x02\x00\x81" "f\x02\xf2\xa0\x86\x01\x04\xff\n\x00\xe8\xe6ZR\xf5\xab\xd6\xa2";
    struct buf str = {0};
    struct value *value;
    struct hash_scratch scratch;
    struct slice got;
    assert_true(restore(slice_make(string, sizeof(string) - 1), &str, &value));
    assert_slice(slice_make(str.p, str.n), "hello");
    assert_true(restore(slice_make(hash, sizeof(hash) - 1), &str, &value));
    assert_true(hash_get(value, SLICE("f"), &scratch, &got));
    assert_slice(got, "100000");
    value_unref(value);
    buf_free(&str);
}

/* Sealed again after the mangling: the decoder alone stands between the bytes and the server. */
static void mangled_payloads_do_no_harm(void **state) {
    (void)state;
    rng_seed(5);
    struct value *h = some_hash(20, 30), *value;
    struct buf dump = {0}, str = {0};
    assert_true(rdb_dump(&dump, SLICE(""), h));
    for (int round = 0; round < 20000; round++) {
        char *bad = mem_memdup(dump.p, dump.n);
        for (uint64_t k = rng_below(4) + 1; k > 0; k--) {
            bad[rng_below(dump.n - 10)] = (char)rng_u64();
        }
        uint64_t crc = crc64(0, bad, dump.n - 8);
        memcpy(bad + dump.n - 8, &crc, sizeof(crc));
        if (restore(slice_make(bad, dump.n), &str, &value)) {
            value_unref(value);
        }
        mem_free(bad);
    }
    value_unref(h);
    buf_free(&dump);
    buf_free(&str);
}

static void failing_memory_is_an_error(void **state) {
    (void)state;
    struct value *h = some_hash(40, 60), *value;
    struct buf dump = {0};
    assert_true(rdb_dump(&dump, SLICE(""), h));
    for (uint64_t nth = 1; nth < 400; nth++) {
        struct buf str = {0};
        mem_fail_nth(nth);
        bool ok = restore(buf_slice(&dump), &str, &value);
        mem_fail_nth(0);
        if (ok) {
            assert_int_equal(value_len(value), 40);
            value_unref(value);
        }
        buf_free(&str);
    }
    value_unref(h);
    buf_free(&dump);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_survive_the_round_trip),
        cmocka_unit_test(hashes_survive_in_both_encodings),
        cmocka_unit_test(payloads_of_redis_are_understood),
        cmocka_unit_test(mangled_payloads_do_no_harm),
        cmocka_unit_test(failing_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
