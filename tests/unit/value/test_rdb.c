/* SPDX-License-Identifier: BSD-3-Clause */
/* test_rdb: values to DUMP payloads and back; payloads recorded from redis-server 7.0; every truncation and flipped byte refused or
 * harmless. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/ds/bloom.h"
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

/* ---- Bloom filters ---- */

static struct slice numbered(char *text, int i) {
    return slice_make(text, (size_t)snprintf(text, 32, "%d", i));
}

static struct value *some_filter(int items, uint32_t expansion) {
    char text[32];
    struct bloom *b = bloom_create(0.01, 50, expansion, SIZE_MAX);
    for (int i = 0; i < items; i++) {
        assert_true(bloom_add(b, numbered(text, i), SIZE_MAX) <= BLOOM_NEW);
    }
    return value_of_bloom(b);
}

static void filters_survive_with_every_bit(void **state) {
    (void)state;
    static const struct {
        int items;
        uint32_t expansion;
    } rows[] = {{0, 2}, {40, 2}, {40, 0}, {400, 2}, {400, 1}, {400, 32768}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct value *v = some_filter(rows[i].items, rows[i].expansion), *back, *none;
        struct buf dump = {0}, again = {0}, str = {0};
        assert_true(rdb_dump(&dump, SLICE(""), v));
        assert_true(restore(buf_slice(&dump), &str, &back));
        assert_string_equal(value_type_name(back->type), "MBbloom--");
        assert_string_equal(value_encoding_name(back), "raw");
        assert_int_equal(back->u.bloom->expansion, rows[i].expansion);
        assert_int_equal(value_len(back), value_len(v));
        assert_int_equal(bloom_items(back->u.bloom), bloom_items(v->u.bloom));
        assert_int_equal(bloom_capacity(back->u.bloom), bloom_capacity(v->u.bloom));
        assert_true(rdb_dump(&again, SLICE(""), back));
        assert_true(slice_eq(buf_slice(&dump), buf_slice(&again)));
        for (size_t n = 1; n < dump.n - 10; n++) { /* a checksum that is right is no wall */
            struct rdb_reader r = {.p = (const unsigned char *)dump.p + 1, .end = (const unsigned char *)dump.p + n};
            assert_false(rdb_get_value(&r, (uint8_t)dump.p[0], &limits, &str, &none));
        }
        value_unref(v);
        value_unref(back);
        buf_free(&dump);
        buf_free(&again);
        buf_free(&str);
    }
}

/* DUMP of redis-server 7.0.15 with RedisBloom 2.6.28: BF.RESERVE f 0.02 3 EXPANSION 4, and BF.MADD of these items. */
static const char *const items[] = {"", "one", "of eight", "three times eight bytes.", "some more bytes than 24..."};
static const unsigned char redisbloom[] =
    "\x07\x81\x30\x16\xe5\xa2\x89\xbe\xf8\x04\x02\x05\x02\x02\x02\x05\x02\x04\x02\x03\x04\x7b\x14\xae\x47\xe1\x7a\x84\x3f\x02\x07\x04"
    "\x88\x16\x8a\xc5\x8c\x2b\x23\x40\x02\x40\x40\x02\x00\x05\x08\x88\x8c\xcb\x19\x04\x40\x28\x92\x02\x03\x02\x0c\x04\x7b\x14\xae\x47"
    "\xe1\x7a\x74\x3f\x02\x08\x04\xe9\x86\x2f\xb2\x35\x0e\x26\x40\x02\x40\xc0\x02\x00\x05\x18\x00\x02\x00\x00\x01\x08\x00\x00\x10\x10"
    "\x20\x00\x40\x00\x01\x04\x02\x04\x00\x00\x00\x00\x60\x80\x02\x02\x00\x0a\x00\xf4\xd5\x4f\x96\xca\xb5\xd7\x40";
enum { REDISBLOOM = sizeof(redisbloom) - 1, N2_AT = 44, ID_END = 9 };

/* All answers are those it gave there, the wrong ones too; and the bytes go back as they came. */
static void a_filter_of_redisbloom_is_the_same_here(void **state) {
    (void)state;
    static const int wrong[] = {147, 403, 480, 557, 692, 742, 1023, 1154, 1160, 1279, 1321, 1703, 1733, 1750, 1940, 1959, INT32_MAX};
    struct buf str = {0}, dump = {0};
    struct value *v;
    char text[32];
    assert_true(restore(slice_make(redisbloom, REDISBLOOM), &str, &v));
    for (int i = 0; i < 5; i++) {
        assert_true(bloom_exists(v->u.bloom, slice_cstr(items[i])));
    }
    for (int i = 0, next = 0; i < 2000; i++) {
        bool taken = i == wrong[next];
        struct slice stranger = slice_make(text, (size_t)snprintf(text, sizeof(text), "a stranger: %d", i));
        assert_int_equal(bloom_exists(v->u.bloom, stranger), taken);
        next += taken;
    }
    assert_true(rdb_dump(&dump, SLICE(""), v));
    assert_true(slice_eq(buf_slice(&dump), slice_make(redisbloom, REDISBLOOM)));
    value_unref(v);
    buf_free(&str);
    buf_free(&dump);
}

static bool restore_changed(size_t at, unsigned char byte, struct value **v) {
    unsigned char bytes[REDISBLOOM];
    struct buf str = {0};
    memcpy(bytes, redisbloom, sizeof(bytes));
    bytes[at] = byte;
    uint64_t crc = crc64(0, bytes, sizeof(bytes) - 8);
    memcpy(bytes + sizeof(bytes) - 8, &crc, sizeof(crc));
    bool ok = restore(slice_make(bytes, sizeof(bytes)), &str, v);
    buf_free(&str);
    return ok;
}

static void other_modules_and_old_filters(void **state) {
    (void)state;
    struct value *v;
    assert_int_equal(redisbloom[N2_AT - 1], 2);
    assert_int_equal(redisbloom[N2_AT], 0);
    assert_true(restore_changed(N2_AT, 6, &v)); /* 64 bits, as a power of two */
    assert_true(bloom_exists(v->u.bloom, SLICE("one")));
    value_unref(v);
    assert_false(restore_changed(N2_AT, 5, &v));
    assert_false(restore_changed(ID_END, 3, &v)); /* another encoding */
    assert_false(restore_changed(ID_END - 1, 0xf9, &v)); /* another module */
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
static void mangle(struct value *v) {
    rng_seed(5);
    struct value *value;
    struct buf dump = {0}, str = {0};
    assert_true(rdb_dump(&dump, SLICE(""), v));
    for (int round = 0; round < 20000; round++) {
        char *bad = mem_memdup(dump.p, dump.n);
        for (uint64_t k = rng_below(4) + 1; k > 0; k--) {
            bad[rng_below(dump.n - 10)] = (char)rng_u64();
        }
        uint64_t crc = crc64(0, bad, dump.n - 8);
        memcpy(bad + dump.n - 8, &crc, sizeof(crc));
        if (restore(slice_make(bad, dump.n), &str, &value)) {
            if (value != NULL && value->type == TYPE_BLOOM) {
                (void)!bloom_exists(value->u.bloom, SLICE("item"));
                (void)!bloom_add(value->u.bloom, SLICE("item"), 1 << 20);
            }
            value_unref(value);
        }
        mem_free(bad);
    }
    value_unref(v);
    buf_free(&dump);
    buf_free(&str);
}

static void mangled_payloads_do_no_harm(void **state) {
    (void)state;
    mangle(some_hash(20, 30));
    mangle(some_filter(120, 2));
    mangle(some_filter(20, 0));
}

static void fail_each(struct value *v) {
    struct value *value;
    struct buf dump = {0};
    size_t len = value_len(v);
    assert_true(rdb_dump(&dump, SLICE(""), v));
    for (uint64_t nth = 1; nth < 400; nth++) {
        struct buf str = {0};
        mem_fail_nth(nth);
        bool ok = restore(buf_slice(&dump), &str, &value);
        mem_fail_nth(0);
        if (ok) {
            assert_int_equal(value_len(value), len);
            value_unref(value);
        }
        buf_free(&str);
    }
    value_unref(v);
    buf_free(&dump);
}

static void failing_memory_is_an_error(void **state) {
    (void)state;
    fail_each(some_hash(40, 60));
    fail_each(some_filter(400, 2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_survive_the_round_trip),
        cmocka_unit_test(hashes_survive_in_both_encodings),
        cmocka_unit_test(filters_survive_with_every_bit),
        cmocka_unit_test(a_filter_of_redisbloom_is_the_same_here),
        cmocka_unit_test(other_modules_and_old_filters),
        cmocka_unit_test(payloads_of_redis_are_understood),
        cmocka_unit_test(mangled_payloads_do_no_harm),
        cmocka_unit_test(failing_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
