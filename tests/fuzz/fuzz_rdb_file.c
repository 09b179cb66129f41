/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz_rdb_file: bytes as an RDB file, its first one the size of the pieces it is read in: whatever they are, it ends, within its bounds, and the
 * pieces make no difference. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "src/base/check.h"
#include "src/value/rdb_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *p;
    size_t n, piece;
};

static ssize_t read_input(void *ctx, void *p, size_t n) {
    struct input *in = ctx;
    n = n < in->piece ? n : in->piece;
    n = n < in->n ? n : in->n;
    if (n > 0) {
        memcpy(p, in->p, n);
    }
    in->p += n;
    in->n -= n;
    return (ssize_t)n;
}

struct outcome {
    size_t keys, foreign, bytes;
    enum rdb_next last;
};

static struct outcome read_all(const uint8_t *p, size_t n, size_t piece) {
    struct input in = {p, n, piece};
    struct rdb_file f = {.read = read_input, .ctx = &in, .max_entry_bytes = 1 << 20, .limits = {128, 64}};
    struct outcome o = {0};
    struct rdb_entry e;
    while ((o.last = rdb_file_next(&f, &e)) == RDB_NEXT_KEY) {
        o.keys++;
        o.foreign += e.foreign != NULL;
        o.bytes += e.name.n + (e.value == NULL && e.foreign == NULL ? e.str.n : 0);
        value_unref(e.value);
    }
    CHECK(rdb_file_offset(&f) <= n);
    CHECK((o.last == RDB_NEXT_BAD) == (f.error != NULL));
    rdb_file_free(&f);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    struct outcome a = read_all(data + 1, size - 1, (size_t)data[0] + 1), b = read_all(data + 1, size - 1, SIZE_MAX);
    CHECK(a.keys == b.keys && a.foreign == b.foreign && a.bytes == b.bytes && a.last == b.last);
    return 0;
}
