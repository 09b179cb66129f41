/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz_restore: bodies of DUMP payloads, checksum aside; what is understood survives another round trip. */
#include <stdint.h>
#include <stdlib.h>

#include "src/base/check.h"
#include "src/value/rdb.h"

static const struct hash_limits limits = {128, 64};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n < 1) {
        return 0;
    }
    struct rdb_reader r = {.start = data, .p = data + 1, .end = data + n};
    struct buf str = {0};
    struct value *value = NULL;
    if (rdb_get_value(&r, data[0], &limits, &str, &value)) {
        struct buf dump = {0}, again = {0};
        struct value *back = NULL;
        struct slice body;
        rdb_dump(&dump, slice_make(str.p, str.n), value);
        CHECK(rdb_check_dump(buf_slice(&dump), &body));
        const unsigned char *p = (const unsigned char *)body.p;
        struct rdb_reader r2 = {.start = p, .p = p + 1, .end = p + body.n};
        CHECK(rdb_get_value(&r2, p[0], &limits, &again, &back));
        CHECK((value == NULL) == (back == NULL));
        CHECK(value != NULL ? value_len(value) == value_len(back)
                            : slice_eq(slice_make(str.p, str.n), slice_make(again.p, again.n)));
        value_unref(back);
        buf_free(&dump);
        buf_free(&again);
    }
    value_unref(value);
    buf_free(&str);
    return 0;
}
