/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz_restore: bytes as the type and body of a DUMP payload, so that the checksum is no wall; what is accepted must come
 * back the same through DUMP. */
#include <stdint.h>
#include <stddef.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/ds/bloom.h"
#include "src/value/rdb.h"
#include "tests/fuzz/same_value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct hash_limits limits = {128, 64};

static bool decode(const unsigned char *p, size_t n, struct buf *str, struct value **value) {
    struct rdb_reader r = {.start = p, .p = p + 1, .end = p + n};
    bool ok = rdb_get_value(&r, p[0], &limits, str, value);
    CHECK(r.p >= r.start && r.p <= r.end);
    CHECK(ok || (r.error != NULL && *value == NULL));
    return ok;
}

static void check_round_trip(struct slice str, const struct value *value) {
    struct buf dump = {0}, back = {0};
    struct value *again;
    struct slice body;
    CHECK(rdb_dump(&dump, str, value));
    CHECK(rdb_check_dump(buf_slice(&dump), &body));
    CHECK(decode((const unsigned char *)body.p, body.n, &back, &again));
    CHECK((value == NULL) == (again == NULL));
    if (value == NULL) {
        CHECK(slice_eq(str, buf_slice(&back)));
    } else {
        check_same_value(value, again);
    }
    value_unref(again);
    buf_free(&back);
    buf_free(&dump);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf str = {0};
    struct value *value;
    struct slice body;
    (void)rdb_check_dump(slice_make(data, size), &body);
    if (size > 0 && decode(data, size, &str, &value)) {
        check_round_trip(buf_slice(&str), value);
        if (value != NULL && value->type == TYPE_BLOOM) {
            bool can = bloom_add(value->u.bloom, SLICE("item"), 1 << 20) <= BLOOM_NEW;
            CHECK(bloom_exists(value->u.bloom, SLICE("item")) == can);
        }
        value_unref(value);
    }
    buf_free(&str);
    return 0;
}
