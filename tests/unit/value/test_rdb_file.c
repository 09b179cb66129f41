/* SPDX-License-Identifier: BSD-3-Clause */
/* test_rdb_file: a file of every opcode and type, read in pieces of every size; every cut and flipped byte is refused. */
#include "tests/unit/check.h"

#include <errno.h>
#include <string.h>

#include "src/ds/crc64.h"
#include "src/value/rdb_file.h"

#define LITERAL(b, text) buf_put(b, text, sizeof(text) - 1)

/* A file that is read so many bytes at a time. */
struct input {
    struct buf bytes;
    size_t at, piece;
    size_t fails_at; /* SIZE_MAX: never */
};

static ssize_t read_input(void *ctx, void *p, size_t n) {
    struct input *in = ctx;
    if (in->at >= in->fails_at) {
        errno = EIO;
        return -1;
    }
    size_t left = in->bytes.n - in->at;
    n = n < in->piece ? n : in->piece;
    n = n < left ? n : left;
    if (n > 0) {
        memcpy(p, in->bytes.p + in->at, n);
    }
    in->at += n;
    return (ssize_t)n;
}

static struct rdb_file file_of(struct input *in, size_t piece) {
    in->at = 0;
    in->piece = piece;
    in->fails_at = SIZE_MAX;
    return (struct rdb_file){.read = read_input, .ctx = in, .size = in->bytes.n, .check = true, .limits = {128, 64}};
}

static void put_key(struct buf *b, unsigned char type, const char *name) {
    buf_putc(b, (char)type);
    rdb_put_string(b, slice_cstr(name), false);
}

static void put_foreign(struct buf *b) {
    put_key(b, 1, "list");
    LITERAL(b, "\x02\x01" "a\xC0\x05");
    put_key(b, 18, "quicklist");
    LITERAL(b, "\x02\x01\x03" "raw\x02\x04" "lpck");
    put_key(b, 2, "set");
    LITERAL(b, "\x01\xC1\x05\x05");
    put_key(b, 11, "intset");
    LITERAL(b, "\x03" "int");
    put_key(b, 3, "old zset");
    LITERAL(b, "\x03\x01" "a\x03" "1.5\x01" "b\xFE\x01" "c\xFD");
    put_key(b, 5, "zset");
    LITERAL(b, "\x01\x01" "a12345678");
    /* one node; length, last, first and greatest deleted id, added; one group with two pending, and a consumer of them */
    put_key(b, 19, "stream");
    LITERAL(b, "\x01\x02" "id\x02" "lp\x03\x05\x01\x01\x01\x00\x00\x03" "\x01\x05" "group\x05\x01\x02"
               "\x02" "0123456789abcdef" "12345678" "\x01" "fedcba9876543210" "12345678" "\x01"
               "\x01\x02" "me" "12345678" "\x01" "0123456789abcdef");
    put_key(b, 21, "newer stream");
    LITERAL(b, "\x00\x00\x00\x00\x00\x00\x00\x00\x00" "\x01\x01" "g\x00\x00\x00\x00\x01\x02" "me" "12345678" "87654321" "\x00");
    put_key(b, 7, "module");
    LITERAL(b, "\x81\x00\x00\x00\x01\x00\x00\x00\x01" "\x01\x05\x02\x06\x03" "flt4" "\x04" "double_8" "\x05\x03" "str" "\x00");
}

static void build(struct input *in) {
    struct buf *b = &in->bytes;
    *in = (struct input){.at = 0};
    LITERAL(b, "REDIS0011");
    LITERAL(b, "\xFA\x03" "ver\x01" "9");                        /* AUX */
    LITERAL(b, "\xF7\x01\x02\x01\x05\x01" "m\x00");              /* MODULE_AUX */
    LITERAL(b, "\xF5\x04" "func");                               /* FUNCTION2 */
    LITERAL(b, "\xFE\x00\xFB\x05\x01\xF4\x01\x02\x03");          /* SELECTDB, RESIZEDB, SLOT_INFO */
    put_key(b, 0, "plain");
    rdb_put_string(b, SLICE("value"), false);
    LITERAL(b, "\xFC\x10\x27\x00\x00\x00\x00\x00\x00\xF8\x05\xF9\x07"); /* EXPIRETIME_MS 10000, IDLE, FREQ */
    put_key(b, 0, "number");
    rdb_put_string(b, SLICE("-12345"), false);
    LITERAL(b, "\xFD\x02\x00\x00\x00"); /* EXPIRETIME 2 */
    put_key(b, 4, "hash");
    LITERAL(b, "\x01\x01" "f\x01" "v");
    put_foreign(b);
    LITERAL(b, "\xFE\x0F");
    put_key(b, 0, "packed");
    static char zeros[3000];
    memset(zeros, 'z', sizeof(zeros));
    rdb_put_string(b, slice_make(zeros, sizeof(zeros)), true);
    put_key(b, 0, "long");
    rdb_put_string(b, slice_make(zeros, sizeof(zeros)), false);
    buf_putc(b, (char)RDB_OP_EOF);
    uint64_t crc = crc64(0, b->p, b->n);
    buf_put(b, &crc, sizeof(crc));
}

struct want {
    const char *name, *str;
    uint64_t db;
    int64_t expire_ms;
    const char *foreign;
};

static const struct want wanted[] = {
    {"plain", "value", 0, -1, NULL},        {"number", "-12345", 0, 10000, NULL},    {"hash", NULL, 0, 2000, NULL},
    {"list", NULL, 0, -1, "list"},          {"quicklist", NULL, 0, -1, "list"},      {"set", NULL, 0, -1, "set"},
    {"intset", NULL, 0, -1, "set"},         {"old zset", NULL, 0, -1, "sorted set"}, {"zset", NULL, 0, -1, "sorted set"},
    {"stream", NULL, 0, -1, "stream"},      {"newer stream", NULL, 0, -1, "stream"}, {"module", NULL, 0, -1, "module value"},
    {"packed", NULL, 15, -1, NULL},         {"long", NULL, 15, -1, NULL},
};
enum { WANTED = sizeof(wanted) / sizeof(wanted[0]) };

static void assert_entry(const struct rdb_entry *e, const struct want *w) {
    assert_slice(e->name, w->name);
    assert_int_equal(e->db, w->db);
    assert_int_equal(e->expire_ms, w->expire_ms);
    if (w->foreign != NULL) {
        assert_string_equal(e->foreign, w->foreign);
    } else {
        assert_null(e->foreign);
    }
    if (w->str != NULL) {
        assert_slice(e->str, w->str);
    }
    if (w->db == 15) {
        assert_int_equal(e->str.n, 3000);
    }
    assert_int_equal(e->value != NULL, strcmp(w->name, "hash") == 0);
}

/* Reads to the end; how many keys came before. */
static size_t read_all(struct rdb_file *f, enum rdb_next *last) {
    struct rdb_entry e;
    size_t n = 0;
    for (; (*last = rdb_file_next(f, &e)) == RDB_NEXT_KEY; n++) {
        value_unref(e.value);
    }
    return n;
}

static void every_key_comes_whatever_the_pieces(void **state) {
    (void)state;
    struct input in;
    build(&in);
    static const size_t pieces[] = {1, 2, 7, 100, 1000, SIZE_MAX};
    for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
        struct rdb_file f = file_of(&in, pieces[p]);
        struct rdb_entry e;
        for (size_t i = 0; i < WANTED; i++) {
            assert_int_equal(rdb_file_next(&f, &e), RDB_NEXT_KEY);
            assert_entry(&e, &wanted[i]);
            value_unref(e.value);
        }
        assert_int_equal(rdb_file_next(&f, &e), RDB_NEXT_END);
        assert_int_equal(rdb_file_offset(&f), in.bytes.n);
        rdb_file_free(&f);
    }
    buf_free(&in.bytes);
}

static void a_cut_is_refused_where_it_is(void **state) {
    (void)state;
    struct input in;
    build(&in);
    size_t whole = in.bytes.n;
    for (size_t n = 0; n < whole; n++) {
        in.bytes.n = n;
        struct rdb_file f = file_of(&in, n % 3 == 0 ? 5 : SIZE_MAX);
        f.size = n % 2 == 0 ? n : 0; /* the size helps, and is not needed */
        enum rdb_next last;
        assert_true(read_all(&f, &last) <= WANTED);
        assert_int_equal(last, RDB_NEXT_BAD);
        assert_non_null(f.error);
        assert_true(rdb_file_offset(&f) <= n);
        struct rdb_entry e;
        assert_int_equal(rdb_file_next(&f, &e), RDB_NEXT_BAD); /* and stays so */
        rdb_file_free(&f);
    }
    buf_free(&in.bytes);
}

static void a_flipped_byte_is_refused(void **state) {
    (void)state;
    struct input in;
    build(&in);
    for (size_t at = 0; at < in.bytes.n; at++) {
        in.bytes.p[at] ^= (char)(1 << at % 8);
        struct rdb_file f = file_of(&in, SIZE_MAX);
        enum rdb_next last;
        read_all(&f, &last);
        assert_int_equal(last, RDB_NEXT_BAD);
        rdb_file_free(&f);
        in.bytes.p[at] ^= (char)(1 << at % 8);
    }
    buf_free(&in.bytes);
}

static void a_checksum_that_nobody_wants_is_not_looked_at(void **state) {
    (void)state;
    struct input in;
    enum rdb_next last;
    build(&in);
    in.bytes.p[in.bytes.n - 1] ^= 1;
    struct rdb_file f = file_of(&in, SIZE_MAX);
    f.check = false;
    assert_int_equal(read_all(&f, &last), WANTED);
    assert_int_equal(last, RDB_NEXT_END);
    rdb_file_free(&f);
    memset(in.bytes.p + in.bytes.n - 8, 0, 8); /* written with rdbchecksum no */
    f = file_of(&in, SIZE_MAX);
    read_all(&f, &last);
    assert_int_equal(last, RDB_NEXT_END);
    rdb_file_free(&f);
    buf_free(&in.bytes);
}

static void lengths_are_bounded(void **state) {
    (void)state;
    struct input in;
    enum rdb_next last;
    build(&in);
    struct rdb_file f = file_of(&in, 64);
    f.max_entry_bytes = 2000;
    assert_int_equal(read_all(&f, &last), WANTED - 2); /* what is packed counts as unpacked */
    assert_string_equal(f.error, "value too long");
    rdb_file_free(&f);
    buf_clear(&in.bytes);
    LITERAL(&in.bytes, "REDIS0010\x00\x01k\x81\x00\x00\x00\x7F\xFF\xFF\xFF\xFF" "abc");
    f = file_of(&in, SIZE_MAX);
    assert_int_equal(read_all(&f, &last), 0);
    assert_string_equal(f.error, "length beyond the data");
    assert_true(f.window.cap < 1 << 20);
    rdb_file_free(&f);
    f = file_of(&in, SIZE_MAX);
    f.size = 0;
    f.max_entry_bytes = 1 << 20;
    read_all(&f, &last);
    assert_string_equal(f.error, "a key longer than proto-max-bulk-len");
    rdb_file_free(&f);
    buf_free(&in.bytes);
}

static void a_read_that_fails_says_why(void **state) {
    (void)state;
    struct input in;
    enum rdb_next last;
    build(&in);
    struct rdb_file f = file_of(&in, 10);
    in.fails_at = 100;
    assert_true(read_all(&f, &last) > 0);
    assert_int_equal(last, RDB_NEXT_BAD);
    assert_string_equal(f.error, "Input/output error");
    rdb_file_free(&f);
    buf_free(&in.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_comes_whatever_the_pieces),
        cmocka_unit_test(a_cut_is_refused_where_it_is),
        cmocka_unit_test(a_flipped_byte_is_refused),
        cmocka_unit_test(a_checksum_that_nobody_wants_is_not_looked_at),
        cmocka_unit_test(lengths_are_bounded),
        cmocka_unit_test(a_read_that_fails_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
