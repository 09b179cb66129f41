/* SPDX-License-Identifier: BSD-3-Clause */
/* same_value: whether what came back from bytes is what went into them; for the fuzzers of records and payloads. */
#pragma once
#include "src/base/check.h"
#include "src/value/rdb.h"

static inline void check_same_bytes(const struct value *a, const struct value *b) {
    struct buf one = {0}, two = {0};
    rdb_put_body(&one, SLICE(""), a, false);
    rdb_put_body(&two, SLICE(""), b, false);
    CHECK(slice_eq(buf_slice(&one), buf_slice(&two)));
    buf_free(&one);
    buf_free(&two);
}

/* Aborts when a and b differ in type, length or any element. */
static inline void check_same_value(const struct value *a, const struct value *b) {
    struct hash_iter it;
    struct hash_scratch scratch;
    struct slice field, value, got;
    size_t n = 0;
    CHECK(value_len(a) == value_len(b) && a->type == b->type);
    if (a->type == TYPE_BLOOM) {
        check_same_bytes(a, b);
        return;
    }
    hash_iter_init(&it, a);
    while (hash_iter_next(&it, &field, &value)) {
        CHECK(hash_get(b, field, &scratch, &got) && slice_eq(value, got));
        n++;
    }
    CHECK(n == value_len(a));
}
