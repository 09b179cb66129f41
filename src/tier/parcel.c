/* SPDX-License-Identifier: BSD-3-Clause */
/* parcel: a value between nodes. */
#include "src/tier/parcel.h"

#include <string.h>

#include "src/value/rdb.h"

enum { HEAD = 8 + 1 + 1 };

bool parcel_put(struct buf *b, const struct item_view *item, int64_t now_ms) {
    struct item_extra extra;
    char head[HEAD];
    size_t before = b->n;
    if (!item_extra_get(item->extra, &extra) || extra.passing || item->stale) {
        return false;
    }
    int64_t left_ms = item->expire_ms < 0 ? -1 : item->expire_ms > now_ms ? item->expire_ms - now_ms : 0;
    memcpy(head, &left_ms, 8);
    head[8] = (char)item->raw;
    head[9] = (char)item->extra.n;
    buf_put(b, head, HEAD);
    buf_put_slice(b, item->extra);
    if (!rdb_dump(b, item->str, item->value)) {
        b->n = before;
        return false;
    }
    return true;
}

static bool get_value(struct slice payload, const struct hash_limits *limits, struct found *out) {
    struct slice body;
    if (!rdb_check_dump(payload, &body) || body.n < 1) {
        return false;
    }
    const unsigned char *p = (const unsigned char *)body.p;
    struct rdb_reader r = {.start = p, .p = p + 1, .end = p + body.n};
    return rdb_get_value(&r, p[0], limits, &out->str, &out->value) && r.p == r.end;
}

bool parcel_get(struct slice bytes, const struct hash_limits *limits, int64_t now_ms, uint32_t stamp, struct found *out) {
    struct item_extra extra;
    int64_t left_ms;
    *out = (struct found){.expire_ms = -1};
    size_t n = bytes.n >= HEAD ? (unsigned char)bytes.p[9] : 0;
    if (bytes.n < HEAD + n || !item_extra_get(slice_make(bytes.p + HEAD, n), &extra)) {
        return false;
    }
    memcpy(&left_ms, bytes.p, 8);
    if (!get_value(slice_make(bytes.p + HEAD + n, bytes.n - HEAD - n), limits, out)) {
        found_free(out);
        *out = (struct found){.expire_ms = -1};
        return false;
    }
    extra.stamp = stamp;
    out->raw = bytes.p[8] != 0;
    out->expire_ms = left_ms < 0 ? -1 : left_ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + left_ms;
    out->extra_n = (uint8_t)item_extra_put(&extra, out->extra);
    return true;
}
