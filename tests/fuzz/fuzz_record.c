/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz_record: bytes as a key and a value of the disk tier's store; what is taken for a record must come back the same when it is
 * written and read again. */
#include <stdint.h>
#include <stddef.h>
#include <string.h>

#include "persist/record.h"
#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/value/rdb.h"
#include "tests/fuzz/same_value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct hash_limits limits = {128, 64};

/* Compressed it is the same, if it is worth compressing. */
static void check_packed(struct slice raw, const struct found *f) {
    struct packer *p = packer_create();
    for (int codec = CODEC_LZ4; codec <= CODEC_LAST; codec++) {
        struct buf packed = {0};
        struct found back = {.expire_ms = -1};
        if (record_pack(p, (enum codec)codec, raw, &packed)) {
            CHECK(packed.n < raw.n && record_decode(buf_slice(&packed), &limits, &back));
            CHECK(back.raw == f->raw && back.expire_ms == f->expire_ms && slice_eq(buf_slice(&back.str), buf_slice(&f->str)));
            if (f->value != NULL) {
                check_same_value(f->value, back.value);
            }
        }
        found_free(&back);
        buf_free(&packed);
    }
    packer_destroy(&p);
}

static void check_round_trip(struct slice raw, const struct found *f) {
    enum value_type type = record_type(raw);
    struct item_view item = {.type = type, .raw = f->raw, .str = buf_slice(&f->str), .value = f->value, .expire_ms = f->expire_ms};
    struct buf again = {0};
    struct found back = {.expire_ms = -1};
    CHECK((type == TYPE_STRING) == (f->value == NULL) && (f->value == NULL || f->value->type == (uint8_t)type));
    record_put_value(&again, &item);
    CHECK(again.n <= record_size_hint(&item));
    CHECK(record_decode(buf_slice(&again), &limits, &back));
    CHECK(back.raw == f->raw && back.expire_ms == f->expire_ms && slice_eq(buf_slice(&back.str), buf_slice(&f->str)));
    if (f->value != NULL) {
        check_same_value(f->value, back.value);
    }
    check_packed(buf_slice(&again), f);
    found_free(&back);
    buf_free(&again);
}

static void check_key(struct slice raw) {
    uint32_t generation;
    uint64_t position;
    struct slice name;
    if (!record_split_key(raw, &generation, &position, &name)) {
        CHECK(raw.n < RECORD_KEY_HEAD);
        return;
    }
    struct key key = {.name = name, .hash = hash_position(position)};
    struct buf again = {0};
    record_put_key(&again, generation, &key);
    CHECK(slice_eq(buf_slice(&again), raw));
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice raw = slice_make(data, size);
    struct found f = {.same = true, .expire_ms = -1};
    int64_t expire_ms = 0;
    check_key(raw);
    CHECK(record_packed_bytes(raw) == 0 || record_type(raw) != TYPE_NONE);
    bool dated = record_deadline(raw, &expire_ms);
    CHECK(dated || record_type(raw) == TYPE_NONE);
    if (record_decode(raw, &limits, &f)) {
        CHECK(dated && f.same && f.expire_ms == expire_ms);
        check_round_trip(raw, &f);
    } else {
        CHECK(f.str.n == 0 && f.value == NULL);
    }
    found_free(&f);
    return 0;
}
