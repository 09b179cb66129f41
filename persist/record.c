/* SPDX-License-Identifier: BSD-3-Clause */
/* record: encoding and decoding. Bytes come from the disk: nothing in them is trusted beyond its length. */
#include "persist/record.h"

#include <string.h>

#include "src/base/clock.h"
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
    uint32_t written_s = 0;
    if (item->written != 0) {
        int64_t now_ms = clock_now_ms();
        written_s = (uint32_t)((now_ms - item_stamp_age(item->written, now_ms)) / 1000);
    }
    memcpy(head + 4, &item->expire_ms, 8);
    memcpy(head + 12, &written_s, 4);
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
    if (raw.n < RECORD_HEAD || (unsigned char)raw.p[1] >= TYPE_NONE) {
        return false;
    }
    size_t extra = (unsigned char)raw.p[3];
    if (extra > ITEM_EXTRA_MAX || raw.n < RECORD_HEAD + extra) {
        return false;
    }
    switch (raw.p[0]) {
    case RECORD_FORMAT:
        return extra == 0;
    case RECORD_FORMAT_EXTRA:
        return extra > 0;
    case RECORD_FORMAT_PACKED:
        return raw.n >= RECORD_HEAD + extra + RECORD_PACK_HEAD;
    default:
        return false;
    }
}

/* What follows the head and extra. */
static struct slice after_extra(struct slice raw) {
    size_t head = RECORD_HEAD + (size_t)(unsigned char)raw.p[3];
    return slice_make(raw.p + head, raw.n - head);
}

bool record_pack(struct packer *p, enum codec codec, struct slice raw, struct buf *out) {
    if (!is_record(raw) || raw.p[0] == RECORD_FORMAT_PACKED) {
        return false;
    }
    struct slice body = after_extra(raw);
    size_t head = raw.n - body.n, before = out->n;
    if (body.n < RECORD_PACK_LEAST || body.n > PACK_MAX) {
        return false;
    }
    uint32_t n = (uint32_t)body.n;
    size_t most = body.n - body.n / 8 - RECORD_PACK_HEAD;
    if (!buf_try_reserve(out, head + RECORD_PACK_HEAD + most)) {
        return false;
    }
    buf_put(out, raw.p, head);
    out->p[before] = RECORD_FORMAT_PACKED;
    buf_putc(out, (char)codec);
    buf_put(out, (const char *)&n, sizeof(n));
    if (pack(p, codec, body, most, out)) {
        return true;
    }
    out->n = before;
    return false;
}

size_t record_packed_bytes(struct slice raw) {
    uint32_t n;
    if (!is_record(raw) || raw.p[0] != RECORD_FORMAT_PACKED) {
        return 0;
    }
    memcpy(&n, after_extra(raw).p + 1, sizeof(n));
    return n;
}

/* The body, whole; of a compressed one into room, which the caller frees. False: corrupt, or no memory. */
static bool find_body(struct slice raw, struct buf *room, struct slice *body) {
    *body = after_extra(raw);
    if (raw.p[0] != RECORD_FORMAT_PACKED) {
        return true;
    }
    size_t n = record_packed_bytes(raw);
    struct slice packed = slice_make(body->p + RECORD_PACK_HEAD, body->n - RECORD_PACK_HEAD);
    if (n == 0 || n > PACK_MAX || !buf_try_exact(room, n) || !unpack((enum codec)body->p[0], packed, room->p, n)) {
        return false;
    }
    room->n = n;
    *body = buf_slice(room);
    return true;
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

static bool decode_aggregate(struct slice raw, struct slice body, const struct hash_limits *limits, struct found *out) {
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

/* The string's bytes: those in room as they are, others copied. */
static bool take_string(struct buf *room, struct slice body, struct buf *out) {
    if (room->p != NULL) {
        *out = *room;
        *room = (struct buf){0};
        return true;
    }
    if (!buf_try_reserve(out, body.n)) {
        return false;
    }
    buf_put_slice(out, body);
    return true;
}

bool record_decode(struct slice raw, const struct hash_limits *limits, struct found *out) {
    if (!record_deadline(raw, &out->expire_ms)) {
        return false;
    }
    uint32_t written_s;
    memcpy(&written_s, raw.p + 12, 4);
    out->written = written_s == 0 ? 0 : item_stamp((int64_t)written_s * 1000);
    out->raw = raw.p[2] & FLAG_RAW;
    struct slice extra = record_extra(raw), body;
    struct buf room = {0};
    out->extra_n = (uint8_t)extra.n;
    memcpy(out->extra, extra.p == NULL ? "" : extra.p, extra.n);
    bool ok = find_body(raw, &room, &body);
    if (ok) {
        ok = record_type(raw) == TYPE_STRING ? take_string(&room, body, &out->str) : decode_aggregate(raw, body, limits, out);
    }
    buf_free(&room);
    return ok;
}
