/* SPDX-License-Identifier: BSD-3-Clause */
/* record: encoding and decoding. Bytes come from the disk: nothing in them is trusted beyond its length. */
#include "persist/record.h"

#include <string.h>

#include "src/value/rdb.h"

enum { FLAG_RAW = 1 };

static void put_be(char *p, uint64_t v, int n) {
    for (int i = n - 1; i >= 0; i--, v >>= 8) {
        p[i] = (char)v;
    }
}

static uint64_t get_be(const char *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) {
        v = v << 8 | (unsigned char)p[i];
    }
    return v;
}

void record_put_start(struct buf *b, uint32_t generation, uint64_t position) {
    char head[RECORD_KEY_HEAD];
    put_be(head, generation, 4);
    put_be(head + 4, position, 8);
    buf_put(b, head, sizeof(head));
}

void record_put_key(struct buf *b, uint32_t generation, const struct key *key) {
    record_put_start(b, generation, hash_position(key->hash));
    buf_put_slice(b, key->name);
}

bool record_split_key(struct slice raw, uint32_t *generation, uint64_t *position, struct slice *name) {
    if (raw.n < RECORD_KEY_HEAD) {
        return false;
    }
    *generation = (uint32_t)get_be(raw.p, 4);
    *position = get_be(raw.p + 4, 8);
    *name = slice_make(raw.p + RECORD_KEY_HEAD, raw.n - RECORD_KEY_HEAD);
    return true;
}

void record_put_value(struct buf *b, const struct item_view *item) {
    char head[RECORD_HEAD] = {item->extra.n > 0 ? RECORD_FORMAT_EXTRA : RECORD_FORMAT, (char)item->type,
                              item->raw ? FLAG_RAW : 0, (char)item->extra.n};
    memcpy(head + 4, &item->expire_ms, 8);
    buf_put(b, head, sizeof(head));
    if (item->extra.n > 0) {
        buf_put_slice(b, item->extra);
    }
    if (item->type == TYPE_STRING) {
        buf_put_slice(b, item->str);
    } else {
        buf_putc(b, (char)rdb_type_of(item->value));
        rdb_put_body(b, item->str, item->value, false);
    }
}

size_t record_size_hint(const struct item_view *item) {
    return RECORD_HEAD + item->extra.n + (item->type == TYPE_STRING ? item->str.n : value_bytes(item->value));
}

static bool is_record(struct slice raw) {
    if (raw.n < RECORD_HEAD) {
        return false;
    }
    size_t extra = (unsigned char)raw.p[3];
    return raw.p[0] == RECORD_FORMAT ? extra == 0
                                     : raw.p[0] == RECORD_FORMAT_EXTRA && extra > 0 && extra <= ITEM_EXTRA_MAX && raw.n >= RECORD_HEAD + extra;
}

struct slice record_extra(struct slice raw) {
    return is_record(raw) ? slice_make(raw.p + RECORD_HEAD, (unsigned char)raw.p[3]) : slice_make(NULL, 0);
}

bool record_last(struct slice raw, int64_t *last_ms) {
    struct item_extra e;
    if (!record_deadline(raw, last_ms)) {
        return false;
    }
    if (*last_ms != -1 && item_extra_get(record_extra(raw), &e)) {
        *last_ms += e.grace_ms;
    }
    return true;
}

bool record_deadline(struct slice raw, int64_t *expire_ms) {
    if (!is_record(raw)) {
        return false;
    }
    memcpy(expire_ms, raw.p + 4, 8);
    return true;
}

enum value_type record_type(struct slice raw) {
    return is_record(raw) ? (enum value_type)raw.p[1] : TYPE_NONE;
}

bool record_decode(struct slice raw, const struct hash_limits *limits, struct found *out) {
    if (!record_deadline(raw, &out->expire_ms)) {
        return false;
    }
    out->raw = raw.p[2] & FLAG_RAW;
    struct slice extra = record_extra(raw), body = slice_make(raw.p + RECORD_HEAD + extra.n, raw.n - RECORD_HEAD - extra.n);
    out->extra_n = (uint8_t)extra.n;
    memcpy(out->extra, extra.p == NULL ? "" : extra.p, extra.n);
    if (record_type(raw) == TYPE_STRING) {
        if (!buf_try_reserve(&out->str, body.n)) {
            return false;
        }
        buf_put_slice(&out->str, body);
        return true;
    }
    const unsigned char *p = (const unsigned char *)body.p;
    if (body.n < 2) {
        return false;
    }
    struct rdb_reader r = {.start = p, .p = p + 1, .end = p + body.n};
    struct buf str = {0};
    bool ok = rdb_get_value(&r, p[0], limits, &str, &out->value);
    buf_free(&str);
    if (ok && (out->value == NULL || r.p != r.end || out->value->type != (uint8_t)record_type(raw))) {
        ok = false; /* says one type and is another, or goes on behind its end */
        if (out->value != NULL) {
            value_unref(out->value);
            out->value = NULL;
        }
    }
    return ok;
}
