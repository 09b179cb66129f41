/* SPDX-License-Identifier: BSD-3-Clause */
/* test_record: records come back as they were, and bytes that are none are refused. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "persist/record.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/ds/bloom.h"

static const struct hash_limits limits = {16, 64};

static struct found decode(struct slice raw, bool *ok) {
    struct found f = {.same = true, .expire_ms = -1};
    *ok = record_decode(raw, &limits, &f);
    assert_true(f.same); /* the caller's */
    return f;
}

/* False: refused, and nothing was given out. */
static bool accepts(struct slice raw) {
    bool ok;
    char *copy = mem_memdup(raw.n > 0 ? raw.p : "", raw.n > 0 ? raw.n : 1); /* of its own, so that ASan sees its end */
    struct found f = decode(slice_make(copy, raw.n), &ok);
    assert_true(ok || (f.str.n == 0 && f.value == NULL));
    found_free(&f);
    mem_free(copy);
    return ok;
}

static struct value *make_hash(int fields, size_t value_bytes) {
    struct value *v = hash_create();
    char field[32], text[512];
    memset(text, 'v', sizeof(text));
    for (int i = 0; i < fields; i++) {
        size_t n = (size_t)snprintf(field, sizeof(field), "field:%d", i);
        assert_int_equal(hash_set(v, slice_make(field, n), slice_make(text, value_bytes), &limits, NULL), OK);
    }
    return v;
}

static void put_string(struct buf *b, struct slice str, bool raw, int64_t expire_ms) {
    record_put_value(b, &(struct item_view){.type = TYPE_STRING, .str = str, .raw = raw, .expire_ms = expire_ms});
}

static void put_hash(struct buf *b, struct value *v, int64_t expire_ms) {
    record_put_value(b, &(struct item_view){.type = TYPE_HASH, .value = v, .expire_ms = expire_ms});
}

/* ---- keys ---- */

static void keys_come_back_and_order_by_generation_and_position(void **state) {
    (void)state;
    static const uint64_t positions[] = {0, 1, 0x00ff, 0x7fffffffffffffff, 0x8000000000000000, UINT64_MAX};
    static const uint32_t generations[] = {0, 1, 255, 256, 0x80000000, UINT32_MAX};
    struct buf last = {0}, now = {0};
    for (size_t g = 0; g < 6; g++) {
        for (size_t h = 0; h < 6; h++) {
            struct key key = {.name = SLICE("a\0name"), .hash = hash_position(positions[h]), .db = 3};
            uint32_t generation;
            uint64_t position;
            struct slice name;
            buf_clear(&now);
            record_put_key(&now, generations[g], &key);
            assert_true(record_split_key(buf_slice(&now), &generation, &position, &name));
            assert_true(generation == generations[g] && position == positions[h] && slice_eq(name, key.name));
            assert_true(last.n == 0 || memcmp(last.p, now.p, now.n) < 0);
            buf_clear(&last);
            buf_put_slice(&last, buf_slice(&now));
        }
    }
    buf_free(&last);
    buf_free(&now);
}

static void an_empty_name_is_a_key_and_a_short_one_is_none(void **state) {
    (void)state;
    struct buf b = {0};
    struct key key = {.hash = 7};
    uint32_t generation;
    uint64_t position;
    struct slice name;
    record_put_key(&b, 1, &key);
    assert_int_equal(b.n, RECORD_KEY_HEAD);
    assert_true(record_split_key(buf_slice(&b), &generation, &position, &name));
    assert_int_equal(name.n, 0);
    for (size_t n = 0; n < RECORD_KEY_HEAD; n++) {
        assert_false(record_split_key(slice_make(b.p, n), &generation, &position, &name));
    }
    buf_free(&b);
}

/* ---- values ---- */

static void strings_come_back(void **state) {
    (void)state;
    static const int64_t deadlines[] = {-1, 0, 1, 1700000000000, INT64_MAX, INT64_MIN};
    static const size_t sizes[] = {0, 1, 11, 12, 300, 100000};
    char *bytes = mem_alloc(100000);
    for (size_t i = 0; i < 100000; i++) {
        bytes[i] = (char)rng_u64();
    }
    for (size_t s = 0; s < 6; s++) {
        for (size_t d = 0; d < 6; d++) {
            struct buf b = {0};
            bool ok, raw = (s + d) % 2 != 0;
            int64_t expire_ms = 0;
            put_string(&b, slice_make(bytes, sizes[s]), raw, deadlines[d]);
            assert_true(record_type(buf_slice(&b)) == TYPE_STRING);
            assert_true(record_deadline(buf_slice(&b), &expire_ms) && expire_ms == deadlines[d]);
            struct found f = decode(buf_slice(&b), &ok);
            assert_true(ok && f.value == NULL && f.raw == raw && f.expire_ms == deadlines[d]);
            assert_true(slice_eq(buf_slice(&f.str), slice_make(bytes, sizes[s])));
            found_free(&f);
            buf_free(&b);
        }
    }
    mem_free(bytes);
}

static void hashes_come_back_in_the_encoding_the_limits_say(void **state) {
    (void)state;
    static const struct {
        int fields;
        size_t bytes;
        enum value_encoding encoding;
    } rows[] = {{1, 0, ENC_LISTPACK}, {16, 64, ENC_LISTPACK}, {17, 1, ENC_HASHTABLE}, {2, 65, ENC_HASHTABLE}, {900, 500, ENC_HASHTABLE}};
    for (size_t i = 0; i < 5; i++) {
        struct value *v = make_hash(rows[i].fields, rows[i].bytes);
        struct buf b = {0};
        bool ok;
        put_hash(&b, v, 99);
        assert_true(record_type(buf_slice(&b)) == TYPE_HASH);
        struct found f = decode(buf_slice(&b), &ok);
        assert_true(ok && f.value != NULL && f.str.n == 0 && f.expire_ms == 99);
        assert_int_equal(f.value->encoding, rows[i].encoding);
        assert_int_equal(value_len(f.value), rows[i].fields);
        struct hash_iter it;
        struct slice field, value, got;
        struct hash_scratch scratch;
        hash_iter_init(&it, v);
        while (hash_iter_next(&it, &field, &value)) {
            assert_true(hash_get(f.value, field, &scratch, &got) && slice_eq(value, got));
        }
        found_free(&f);
        buf_free(&b);
        value_unref(v);
    }
}

static void filters_come_back_with_every_bit(void **state) {
    (void)state;
    for (int items = 0; items < 3000; items = items * 3 + 1) {
        struct bloom *bloom = bloom_create(0.01, 1, items % 2 != 0 ? 1 : 3, SIZE_MAX);
        for (int i = 0; i < items; i++) {
            (void)!bloom_add(bloom, slice_make(&i, sizeof(i)), SIZE_MAX); /* one of expansion 1 has its last layer soon */
        }
        struct value *v = value_of_bloom(bloom);
        struct item_view item = {.type = TYPE_BLOOM, .value = v, .expire_ms = 7};
        struct buf b = {0}, again = {0};
        bool ok;
        record_put_value(&b, &item);
        assert_true(record_type(buf_slice(&b)) == TYPE_BLOOM);
        assert_true(b.n <= record_size_hint(&item));
        struct found f = decode(buf_slice(&b), &ok);
        assert_true(ok && f.value != NULL && f.value->type == TYPE_BLOOM && f.expire_ms == 7);
        item.value = f.value;
        record_put_value(&again, &item);
        assert_true(slice_eq(buf_slice(&b), buf_slice(&again)));
        found_free(&f);
        buf_free(&b);
        buf_free(&again);
        value_unref(v);
    }
}

static void the_size_hint_is_a_bound(void **state) {
    (void)state;
    char text[300];
    memset(text, 'x', sizeof(text));
    for (size_t n = 0; n < sizeof(text); n += 13) {
        struct item_view item = {.type = TYPE_STRING, .str = slice_make(text, n), .expire_ms = -1};
        struct buf b = {0};
        record_put_value(&b, &item);
        assert_true(b.n <= record_size_hint(&item));
        buf_free(&b);
    }
    for (int fields = 1; fields < 400; fields = fields * 2 + 1) {
        for (size_t bytes = 0; bytes < 500; bytes = bytes * 3 + 1) {
            struct value *v = make_hash(fields, bytes);
            struct item_view item = {.type = TYPE_HASH, .value = v, .expire_ms = -1};
            struct buf b = {0};
            record_put_value(&b, &item);
            assert_true(b.n <= record_size_hint(&item));
            buf_free(&b);
            value_unref(v);
        }
    }
}

/* ---- compressed ---- */

enum { TEXT_BYTES = 70000 };

/* So many bytes of some redundancy. */
static struct slice text_of(char *room, size_t n) {
    for (size_t i = 0; i < n; i++) {
        room[i] = "the quick brown fox "[(i / 999 + i) % 20];
    }
    return slice_make(room, n);
}

static void check_packed(struct packer *p, enum codec codec, struct slice raw) {
    struct buf out = {0};
    bool ok, ok_packed;
    int64_t a, b;
    buf_puts(&out, "before");
    assert_true(record_pack(p, codec, raw, &out));
    struct slice packed = slice_make(out.p + 6, out.n - 6);
    assert_true(packed.n <= raw.n - (raw.n - RECORD_HEAD - ITEM_EXTRA_MAX) / 8);
    assert_true(memcmp(out.p, "before", 6) == 0 && record_packed_bytes(packed) > 0 && record_packed_bytes(raw) == 0);
    assert_int_equal(record_type(packed), record_type(raw));
    assert_true(record_last(packed, &a) && record_last(raw, &b) && a == b);
    assert_true(slice_eq(record_extra(packed), record_extra(raw)));
    struct found f = decode(raw, &ok), g = decode(packed, &ok_packed);
    assert_true(ok && ok_packed && f.raw == g.raw && f.expire_ms == g.expire_ms && f.extra_n == g.extra_n);
    assert_true(slice_eq(buf_slice(&f.str), buf_slice(&g.str)));
    if (f.value != NULL) {
        struct buf x = {0}, y = {0};
        record_put_value(&x, &(struct item_view){.type = record_type(raw), .value = f.value, .expire_ms = -1});
        record_put_value(&y, &(struct item_view){.type = record_type(raw), .value = g.value, .expire_ms = -1});
        assert_true(slice_eq(buf_slice(&x), buf_slice(&y)));
        buf_free(&x);
        buf_free(&y);
    }
    struct buf twice = {0};
    assert_false(record_pack(p, codec, packed, &twice)); /* once is enough */
    buf_free(&twice);
    found_free(&f);
    found_free(&g);
    buf_free(&out);
}

static void packed_records_come_back(void **state) {
    (void)state;
    static const size_t lengths[] = {RECORD_PACK_LEAST, 1000, 4096, TEXT_BYTES};
    static const struct item_extra extras[] = {{0}, {.grace_ms = 5, .tags = 2, .tag = {7, 8}}};
    char *room = mem_alloc(TEXT_BYTES);
    unsigned char extra[ITEM_EXTRA_MAX];
    struct packer *p = packer_create();
    struct value *v = make_hash(30, 100);
    for (int codec = CODEC_LZ4; codec <= CODEC_LAST; codec++) {
        for (size_t i = 0; i < 8; i++) {
            struct buf b = {0};
            struct item_view item = {.type = TYPE_STRING, .raw = i % 2, .str = text_of(room, lengths[i % 4]), .expire_ms = i % 2 ? 77 : -1};
            item.extra = slice_make(extra, item_extra_put(&extras[i / 4], extra));
            record_put_value(&b, &item);
            check_packed(p, (enum codec)codec, buf_slice(&b));
            buf_free(&b);
        }
        struct buf b = {0};
        put_hash(&b, v, 99);
        check_packed(p, (enum codec)codec, buf_slice(&b));
        buf_free(&b);
    }
    value_unref(v);
    packer_destroy(&p);
    mem_free(room);
}

static void what_would_not_shrink_is_left_alone(void **state) {
    (void)state;
    char bytes[4096];
    struct packer *p = packer_create();
    struct buf b = {0}, out = {0};
    rng_seed(5);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)rng_u64();
    }
    put_string(&b, slice_make(bytes, sizeof(bytes)), false, -1);
    for (int codec = CODEC_LZ4; codec <= CODEC_LAST; codec++) {
        assert_false(record_pack(p, (enum codec)codec, buf_slice(&b), &out));
        assert_int_equal(out.n, 0);
    }
    memset(bytes, 0, sizeof(bytes));
    buf_clear(&b);
    put_string(&b, slice_make(bytes, RECORD_PACK_LEAST - 1), false, -1); /* short */
    assert_false(record_pack(p, CODEC_LZ4, buf_slice(&b), &out));
    assert_false(record_pack(p, CODEC_LZ4, SLICE("no record at all"), &out));
    buf_free(&b);
    buf_free(&out);
    packer_destroy(&p);
}

/* What a broken disk may make of one: refused or whole, never read outside. */
static void broken_packed_records_do_no_harm(void **state) {
    (void)state;
    rng_seed(12);
    char *room = mem_alloc(TEXT_BYTES);
    struct packer *p = packer_create();
    struct value *v = make_hash(30, 100);
    for (int codec = CODEC_LZ4; codec <= CODEC_LAST; codec++) {
        struct buf b = {0}, packed = {0}, broken = {0};
        put_string(&b, text_of(room, 3000), false, -1);
        assert_true(record_pack(p, (enum codec)codec, buf_slice(&b), &packed));
        for (size_t n = 0; n < packed.n; n++) {
            assert_false(accepts(slice_make(packed.p, n)));
        }
        buf_putc(&packed, 0);
        assert_false(accepts(buf_slice(&packed)));
        packed.n--;
        for (int i = 0; i < 256; i++) { /* another codec, another length */
            buf_clear(&broken);
            buf_put_slice(&broken, buf_slice(&packed));
            broken.p[RECORD_HEAD] = (char)i;
            assert_int_equal(accepts(buf_slice(&broken)), i == codec);
            broken.p[RECORD_HEAD] = (char)codec;
            broken.p[RECORD_HEAD + 1 + i % 4] ^= (char)(1 + i / 4);
            assert_false(accepts(buf_slice(&broken)));
        }
        buf_clear(&b);
        put_hash(&b, v, 1);
        buf_clear(&packed);
        assert_true(record_pack(p, (enum codec)codec, buf_slice(&b), &packed));
        for (int round = 0; round < 3000; round++) {
            buf_clear(&broken);
            buf_put_slice(&broken, buf_slice(&packed));
            broken.p[rng_below(broken.n)] ^= (char)(1 + rng_below(255));
            (void)accepts(buf_slice(&broken));
        }
        buf_free(&b);
        buf_free(&packed);
        buf_free(&broken);
    }
    value_unref(v);
    packer_destroy(&p);
    mem_free(room);
}

static void without_memory_nothing_is_packed_nor_unpacked(void **state) {
    (void)state;
    char room[4000];
    struct packer *p = packer_create();
    struct buf b = {0}, out = {0};
    put_string(&b, text_of(room, sizeof(room)), false, -1);
    mem_fail_nth(1);
    assert_false(record_pack(p, CODEC_LZ4, buf_slice(&b), &out));
    assert_int_equal(out.n, 0);
    mem_fail_nth(0);
    assert_true(record_pack(p, CODEC_LZ4, buf_slice(&b), &out));
    bool ok;
    mem_fail_nth(1);
    struct found f = decode(buf_slice(&out), &ok);
    mem_fail_nth(0);
    assert_true(!ok && f.str.n == 0);
    found_free(&f);
    buf_free(&b);
    buf_free(&out);
    packer_destroy(&p);
}

/* ---- what is none ---- */

static void another_format_is_refused(void **state) {
    (void)state;
    struct buf b = {0};
    put_string(&b, SLICE("v"), false, -1);
    assert_int_equal(b.p[0], RECORD_FORMAT);
    for (int format = 0; format < 256; format++) {
        int64_t expire_ms;
        b.p[0] = (char)format;
        assert_int_equal(accepts(buf_slice(&b)), format == RECORD_FORMAT);
        assert_int_equal(record_deadline(buf_slice(&b), &expire_ms), format == RECORD_FORMAT);
        assert_int_equal(record_type(buf_slice(&b)), format == RECORD_FORMAT ? TYPE_STRING : TYPE_NONE);
    }
    buf_free(&b);
}

static void every_other_type_is_refused(void **state) {
    (void)state;
    struct value *v = make_hash(3, 3);
    struct buf b = {0};
    put_hash(&b, v, -1);
    for (int type = 1; type < 256; type++) { /* 0: a string may have any bytes */
        b.p[1] = (char)type;
        assert_int_equal(accepts(buf_slice(&b)), type == TYPE_HASH);
    }
    char packed[] = "\003\007\0\0\377\377\0\377i\0A \024\377O<\377 "; /* of the type of nothing */
    assert_int_equal(record_packed_bytes(slice_make(packed, sizeof(packed) - 1)), 0);
    buf_clear(&b);
    put_string(&b, SLICE("\0\003abc"), false, -1); /* as a body: a string, which no aggregate is */
    for (int type = 1; type < 256; type++) {
        b.p[1] = (char)type;
        assert_false(accepts(buf_slice(&b)));
    }
    buf_free(&b);
    value_unref(v);
}

static void truncated_and_prolonged_records_are_refused(void **state) {
    (void)state;
    struct buf b = {0};
    put_string(&b, SLICE("value"), true, 5);
    for (size_t n = 0; n < RECORD_HEAD; n++) {
        int64_t expire_ms;
        assert_false(accepts(slice_make(b.p, n)));
        assert_false(record_deadline(slice_make(b.p, n), &expire_ms));
        assert_int_equal(record_type(slice_make(b.p, n)), TYPE_NONE);
    }
    for (int fields = 2; fields < 40; fields += 30) {
        struct value *v = make_hash(fields, 20);
        buf_clear(&b);
        put_hash(&b, v, -1);
        for (size_t n = 0; n < b.n; n++) {
            assert_false(accepts(slice_make(b.p, n)));
        }
        assert_true(accepts(buf_slice(&b)));
        buf_putc(&b, 0);
        assert_false(accepts(buf_slice(&b)));
        value_unref(v);
    }
    buf_free(&b);
}

/* Nothing to compare with: only that nothing is read outside, and what is accepted can be written again. */
static void flipped_bytes_do_no_harm(void **state) {
    (void)state;
    rng_seed(11);
    struct buf b = {0};
    int refused = 0;
    for (int round = 0; round < 4000; round++) {
        struct value *v = make_hash(1 + round % 30, (size_t)(round % 90));
        buf_clear(&b);
        put_hash(&b, v, round);
        for (uint64_t flips = 1 + rng_below(3); flips > 0; flips--) {
            b.p[rng_below(b.n)] ^= (char)(1 + rng_below(255));
        }
        refused += !accepts(buf_slice(&b));
        value_unref(v);
    }
    assert_true(refused > 100);
    buf_free(&b);
}

static void without_memory_a_record_is_refused(void **state) {
    (void)state;
    struct value *v = make_hash(40, 100);
    struct buf str = {0}, hash = {0};
    char text[1000] = {0};
    put_string(&str, slice_make(text, sizeof(text)), false, -1);
    put_hash(&hash, v, -1);
    mem_fail_nth(1);
    assert_false(accepts(buf_slice(&str)));
    int failures = 0;
    for (uint64_t n = 1; n < 1000; n++) {
        mem_fail_nth(n);
        bool ok = accepts(buf_slice(&hash));
        bool failed = mem_fail_left() == 0;
        mem_fail_nth(0);
        assert_true(ok == !failed);
        failures += failed;
        if (!failed) {
            break;
        }
    }
    assert_true(failures > 10);
    assert_true(accepts(buf_slice(&str)));
    buf_free(&str);
    buf_free(&hash);
    value_unref(v);
}

static void when_it_was_written_comes_back(void **state) {
    (void)state;
    int64_t now = clock_now_ms();
    struct item_view item = {.type = TYPE_STRING, .str = SLICE("v"), .expire_ms = -1};
    static const int64_t ages_s[] = {0, 1, 3600, 100 * 86400};
    for (size_t i = 0; i < sizeof(ages_s) / sizeof(ages_s[0]); i++) {
        struct buf b = {0};
        bool ok;
        item.written = item_stamp(now - ages_s[i] * 1000);
        record_put_value(&b, &item);
        struct found f = decode(buf_slice(&b), &ok);
        assert_true(ok);
        int64_t got_s = item_stamp_age(f.written, now) / 1000;
        assert_in_range(got_s + 3, ages_s[i], ages_s[i] + 6);
        found_free(&f);
        b.n = 0;
        item.written = 0; /* unknown */
        record_put_value(&b, &item);
        f = decode(buf_slice(&b), &ok);
        assert_true(ok && f.written == 0);
        found_free(&f);
        buf_free(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_back_and_order_by_generation_and_position),
        cmocka_unit_test(an_empty_name_is_a_key_and_a_short_one_is_none),
        cmocka_unit_test(strings_come_back),
        cmocka_unit_test(hashes_come_back_in_the_encoding_the_limits_say),
        cmocka_unit_test(filters_come_back_with_every_bit),
        cmocka_unit_test(the_size_hint_is_a_bound),
        cmocka_unit_test(packed_records_come_back),
        cmocka_unit_test(what_would_not_shrink_is_left_alone),
        cmocka_unit_test(broken_packed_records_do_no_harm),
        cmocka_unit_test(without_memory_nothing_is_packed_nor_unpacked),
        cmocka_unit_test(another_format_is_refused),
        cmocka_unit_test(every_other_type_is_refused),
        cmocka_unit_test(truncated_and_prolonged_records_are_refused),
        cmocka_unit_test(flipped_bytes_do_no_harm),
        cmocka_unit_test(without_memory_a_record_is_refused),
        cmocka_unit_test(when_it_was_written_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
