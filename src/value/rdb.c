/* SPDX-License-Identifier: BSD-3-Clause */
/* rdb: values to bytes and back. */
#include "src/value/rdb.h"

#include "src/base/mem.h"
#include "src/base/num.h"
#include "src/ds/crc64.h"
#include "src/ds/dict.h"
#include "src/ds/listpack.h"
#include "src/ds/lzf.h"
#include "src/value/type_bloom.h"

/* Type bytes. */
enum { T_STRING = 0, T_HASH = 4, T_MODULE_2 = 7, T_HASH_ZIPMAP = 9, T_HASH_ZIPLIST = 13, T_HASH_LISTPACK = 16 };
/* Special string forms. */
enum { FORM_INT8, FORM_INT16, FORM_INT32, FORM_LZF };
enum { LZF_MIN = 20, ZIPLIST_HEAD = 10 };

/* ---- writing ---- */

void rdb_put_len(struct buf *b, uint64_t n) {
    if (n < 64) {
        buf_putc(b, (char)n);
    } else if (n < 16384) {
        buf_putc(b, (char)(0x40 | n >> 8));
        buf_putc(b, (char)(n & 0xFF));
    } else if (n <= UINT32_MAX) {
        uint32_t be = __builtin_bswap32((uint32_t)n);
        buf_putc(b, (char)0x80);
        buf_put(b, &be, sizeof(be));
    } else {
        uint64_t be = __builtin_bswap64(n);
        buf_putc(b, (char)0x81);
        buf_put(b, &be, sizeof(be));
    }
}

/* A short integer in binary. */
static bool put_integer(struct buf *b, struct slice s) {
    int64_t v;
    if (s.n > 11 || !num_parse_i64(s, &v) || v < INT32_MIN || v > INT32_MAX) {
        return false;
    }
    int form = v >= -128 && v <= 127 ? FORM_INT8 : v >= -32768 && v <= 32767 ? FORM_INT16 : FORM_INT32;
    buf_putc(b, (char)(0xC0 | form));
    for (int i = 0; i < 1 << form; i++) {
        buf_putc(b, (char)((uint64_t)v >> (8 * i)));
    }
    return true;
}

static bool put_compressed(struct buf *b, struct slice s) {
    char *packed = mem_try_alloc(s.n);
    size_t n = packed == NULL ? 0 : lzf_compress(s.p, s.n, packed, s.n - 4);
    if (n > 0) {
        buf_putc(b, (char)(0xC0 | FORM_LZF));
        rdb_put_len(b, n);
        rdb_put_len(b, s.n);
        buf_put(b, packed, n);
    }
    mem_free(packed);
    return n > 0;
}

void rdb_put_string(struct buf *b, struct slice s, bool compress) {
    if (put_integer(b, s) || (compress && s.n > LZF_MIN && put_compressed(b, s))) {
        return;
    }
    rdb_put_len(b, s.n);
    buf_put_slice(b, s);
}

uint8_t rdb_type_of(const struct value *value) {
    return value == NULL                     ? T_STRING
           : value->type == TYPE_BLOOM       ? T_MODULE_2
           : value->encoding == ENC_LISTPACK ? T_HASH_LISTPACK
                                             : T_HASH;
}

void rdb_put_body(struct buf *b, struct slice str, const struct value *value, bool compress) {
    if (value == NULL) {
        rdb_put_string(b, str, compress);
        return;
    }
    if (value->encoding == ENC_LISTPACK) {
        struct slice lp = slice_make(value->u.lp, lp_bytes(value->u.lp));
        if (!(compress && lp.n > LZF_MIN && put_compressed(b, lp))) {
            rdb_put_len(b, lp.n);
            buf_put_slice(b, lp);
        }
        return;
    }
    if (value->type == TYPE_BLOOM) {
        bloom_put_body(b, value->u.bloom);
        return;
    }
    struct hash_iter it;
    struct slice field, v;
    rdb_put_len(b, value_len(value));
    hash_iter_init(&it, value);
    while (hash_iter_next(&it, &field, &v)) {
        rdb_put_string(b, field, compress);
        rdb_put_string(b, v, compress);
    }
}

/* At most so many bytes: a string takes nine bytes of length besides its own, or less. */
static size_t dump_bound(struct slice str, const struct value *value) {
    enum { LEN_MAX = 9, FRAME = 1 + 2 + 8 };
    size_t n = FRAME + LEN_MAX;
    if (value == NULL) {
        return n + str.n;
    }
    if (value->encoding == ENC_LISTPACK) {
        return n + lp_bytes(value->u.lp);
    }
    if (value->type == TYPE_BLOOM) {
        return n + bloom_body_bound(value->u.bloom);
    }
    struct hash_iter it;
    struct slice field, v;
    hash_iter_init(&it, value);
    while (hash_iter_next(&it, &field, &v)) {
        n += field.n + v.n + 2 * LEN_MAX;
    }
    return n;
}

bool rdb_dump(struct buf *b, struct slice str, const struct value *value) {
    if (!buf_try_reserve(b, dump_bound(str, value))) {
        return false;
    }
    size_t start = b->n;
    buf_putc(b, (char)rdb_type_of(value));
    rdb_put_body(b, str, value, true);
    buf_putc(b, RDB_VERSION);
    buf_putc(b, 0);
    uint64_t crc = crc64(0, b->p + start, b->n - start);
    buf_put(b, &crc, sizeof(crc));
    return true;
}

/* ---- reading ---- */

static bool fail(struct rdb_reader *r, const char *why) {
    r->error = why;
    return false;
}

static bool fail_memory(struct rdb_reader *r) {
    r->no_memory = true;
    return fail(r, "out of memory");
}

static size_t left(const struct rdb_reader *r) {
    return (size_t)(r->end - r->p);
}

bool rdb_get_bytes(struct rdb_reader *r, void *out, size_t n) {
    if (left(r) < n) {
        r->missing = n - left(r);
        return fail(r, "truncated");
    }
    memcpy(out, r->p, n);
    r->p += n;
    return true;
}

bool rdb_get_byte(struct rdb_reader *r, uint8_t *out) {
    return rdb_get_bytes(r, out, 1);
}

bool rdb_get_len(struct rdb_reader *r, uint64_t *out, bool *encoded) {
    uint8_t first, second;
    *encoded = false;
    if (!rdb_get_byte(r, &first)) {
        return false;
    }
    switch (first >> 6) {
    case 0:
        *out = first & 0x3F;
        return true;
    case 1:
        if (!rdb_get_byte(r, &second)) {
            return false;
        }
        *out = (uint64_t)(first & 0x3F) << 8 | second;
        return true;
    case 3:
        *encoded = true;
        *out = first & 0x3F;
        return true;
    default:
        break;
    }
    uint32_t be32;
    uint64_t be64;
    if (first == 0x80 && rdb_get_bytes(r, &be32, 4)) {
        *out = __builtin_bswap32(be32);
        return true;
    }
    if (first == 0x81 && rdb_get_bytes(r, &be64, 8)) {
        *out = __builtin_bswap64(be64);
        return true;
    }
    return r->error != NULL ? false : fail(r, "bad length");
}

static bool get_integer(struct rdb_reader *r, unsigned form, struct buf *out) {
    unsigned char raw[4];
    size_t n = (size_t)1 << form;
    if (!rdb_get_bytes(r, raw, n)) {
        return false;
    }
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++) {
        v |= (uint32_t)raw[i] << (8 * i);
    }
    int64_t x = form == FORM_INT8 ? (int8_t)v : form == FORM_INT16 ? (int16_t)v : (int32_t)v;
    buf_commit(out, num_print_i64(buf_reserve(out, NUM_I64_MAX_LEN), x));
    return true;
}

static bool get_lzf(struct rdb_reader *r, struct buf *out) {
    uint64_t packed, n;
    bool special;
    if (!rdb_get_len(r, &packed, &special) || special || !rdb_get_len(r, &n, &special) || special) {
        return r->error != NULL ? false : fail(r, "bad length");
    }
    /* LZF expands at most 264 bytes out of 3: anything more is a lie */
    if (packed > left(r)) {
        r->missing = packed - left(r);
    }
    if (packed > left(r) || n / 128 > packed + 1) {
        return fail(r, "length beyond the data");
    }
    r->unpacked += n;
    if (r->max_unpacked > 0 && r->unpacked > r->max_unpacked) {
        return fail(r, "value too long");
    }
    if (!buf_try_reserve(out, (size_t)n)) {
        return fail_memory(r);
    }
    if (!lzf_decompress(r->p, (size_t)packed, out->p, (size_t)n)) {
        return fail(r, "bad compressed string");
    }
    out->n = (size_t)n;
    r->p += packed;
    return true;
}

bool rdb_get_string(struct rdb_reader *r, struct buf *out) {
    uint64_t n;
    bool special;
    buf_clear(out);
    if (!rdb_get_len(r, &n, &special)) {
        return false;
    }
    if (special) {
        return n <= FORM_INT32 ? get_integer(r, (unsigned)n, out)
               : n == FORM_LZF ? get_lzf(r, out)
                               : fail(r, "unknown string form");
    }
    if (n > left(r)) {
        r->missing = n - left(r);
        return fail(r, "length beyond the data");
    }
    if (!buf_try_reserve(out, (size_t)n)) {
        return fail_memory(r);
    }
    buf_put(out, r->p, (size_t)n);
    r->p += n;
    return true;
}

/* ---- hashes ---- */

/* Adds a pair that must be new: the same field twice means corruption. */
static bool add_pair(struct rdb_reader *r, struct value *h, struct slice field, struct slice value,
                     const struct hash_limits *limits) {
    bool created;
    if (hash_set(h, field, value, limits, &created) != OK) {
        return fail_memory(r);
    }
    return created ? true : fail(r, "duplicate hash field");
}

static bool get_plain_hash(struct rdb_reader *r, const struct hash_limits *limits, struct value *h) {
    uint64_t n;
    bool special, ok = true;
    struct buf field = {0}, value = {0};
    if (!rdb_get_len(r, &n, &special) || special || n == 0) {
        return r->error != NULL ? false : fail(r, "bad hash length");
    }
    for (; ok && n > 0; n--) {
        ok = rdb_get_string(r, &field) && rdb_get_string(r, &value) &&
             add_pair(r, h, slice_make(field.p, field.n), slice_make(value.p, value.n), limits);
    }
    buf_free(&field);
    buf_free(&value);
    return ok;
}

/* Every pair of the listpack into a dict of its own, NULL on failure; the dict knows a field that comes twice. */
static struct dict *listpack_to_dict(struct rdb_reader *r, const unsigned char *lp) {
    struct dict *d = dict_create();
    char a[LP_INT_TEXT], b[LP_INT_TEXT];
    for (unsigned char *p = lp_first(lp); p != NULL; p = lp_next(lp, p)) {
        struct slice field = lp_get(p, a);
        p = lp_next(lp, p);
        int set = dict_set(d, field, lp_get(p, b));
        if (set != 1) {
            (void)(set < 0 ? fail_memory(r) : fail(r, "duplicate hash field"));
            dict_destroy(&d);
            return NULL;
        }
    }
    return d;
}

/* Like Redis, a listpack stays one by its number of pairs alone, however long its values. The dict is built in any case:
 * it finds a field that comes twice in linear time. */
static bool get_listpack_hash(struct rdb_reader *r, const struct hash_limits *limits, const struct buf *raw,
                              struct value *h) {
    const unsigned char *lp = (const unsigned char *)raw->p;
    if (!lp_validate(lp, raw->n) || lp_len(lp) == 0 || lp_len(lp) % 2 != 0) {
        return fail(r, "bad listpack");
    }
    struct dict *d = listpack_to_dict(r, lp);
    if (d == NULL) {
        return false;
    }
    if (dict_len(d) > limits->max_entries) {
        mem_free(h->u.lp);
        h->u.dict = d;
        h->encoding = ENC_HASHTABLE;
        return true;
    }
    dict_destroy(&d);
    unsigned char *own = mem_try_realloc(h->u.lp, raw->n);
    if (own == NULL) {
        return fail_memory(r);
    }
    memcpy(own, lp, raw->n);
    h->u.lp = own;
    return true;
}

/* The length of the entry before, kept at the start of each ziplist entry; false when it is not `before` or the list
 * ends. */
static bool ziplist_backlink(const unsigned char **p, const unsigned char *end, size_t before) {
    uint32_t kept;
    if (end - *p < 1 || **p == 0xFF) {
        return false;
    }
    kept = **p;
    *p += 1;
    if (kept == 0xFE) {
        if (end - *p < 4) {
            return false;
        }
        memcpy(&kept, *p, 4);
        *p += 4;
    }
    return kept == before;
}

/* One ziplist entry at *p, behind one of *before bytes; false at the end or when it does not fit. */
static bool ziplist_entry(const unsigned char **p, const unsigned char *end, size_t before, char *text,
                          struct slice *out) {
    const unsigned char *at = *p;
    if (!ziplist_backlink(&at, end, before) || at >= end) {
        return false;
    }
    unsigned char e = *at++;
    uint64_t n = 0;
    if (e >> 6 == 0) {
        n = e & 0x3F;
    } else if (e >> 6 == 1 && end - at >= 1) {
        n = (uint64_t)(e & 0x3F) << 8 | *at++;
    } else if (e == 0x80 && end - at >= 4) {
        n = (uint64_t)at[0] << 24 | (uint64_t)at[1] << 16 | (uint64_t)at[2] << 8 | at[3];
        at += 4;
    } else if (e >= 0xC0) {
        static const struct {
            unsigned char code, bytes;
        } ints[] = {{0xC0, 2}, {0xD0, 4}, {0xE0, 8}, {0xF0, 3}, {0xFE, 1}};
        int64_t v = (int64_t)(e & 0x0F) - 1;
        bool known = e >= 0xF1 && e <= 0xFD;
        for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
            if (e == ints[i].code && end - at >= ints[i].bytes) {
                uint64_t raw = 0;
                for (unsigned k = 0; k < ints[i].bytes; k++) {
                    raw |= (uint64_t)at[k] << (8 * k);
                }
                unsigned shift = 64 - 8u * ints[i].bytes;
                v = (int64_t)(raw << shift) >> shift;
                at += ints[i].bytes;
                known = true;
            }
        }
        *out = slice_make(text, num_print_i64(text, v));
        *p = at;
        return known;
    } else {
        return false;
    }
    if (n > (uint64_t)(end - at)) {
        return false;
    }
    *out = slice_make(at, (size_t)n);
    *p = at + n;
    return true;
}

static bool get_ziplist_hash(struct rdb_reader *r, const struct hash_limits *limits, const struct buf *raw,
                             struct value *h) {
    if (raw->n < ZIPLIST_HEAD + 1) {
        return fail(r, "bad ziplist");
    }
    const unsigned char *start = (const unsigned char *)raw->p, *end = start + raw->n;
    const unsigned char *p = start + ZIPLIST_HEAD, *f = NULL, *v = p; /* v: the last entry so far */
    struct hash_limits any_length = {limits->max_entries, SIZE_MAX}; /* as Redis: the number alone decides */
    char a[LP_INT_TEXT], b[LP_INT_TEXT];
    struct slice field, value;
    size_t entries = 0;
    uint32_t total, tail;
    uint16_t count;
    memcpy(&total, start, 4);
    memcpy(&tail, start + 4, 4);
    memcpy(&count, start + 8, 2);
    for (size_t before = 0; p < end - 1; before = (size_t)(p - v), entries += 2) {
        f = p;
        if (!ziplist_entry(&p, end - 1, before, a, &field)) {
            return fail(r, "bad ziplist");
        }
        v = p;
        if (!ziplist_entry(&p, end - 1, (size_t)(v - f), b, &value)) {
            return fail(r, "bad ziplist");
        }
        if (!add_pair(r, h, field, value, &any_length)) {
            return false;
        }
    }
    bool sound = total == raw->n && *p == 0xFF && tail == (size_t)(v - start) &&
                 (count == UINT16_MAX || count == entries);
    return sound && entries > 0 ? true : fail(r, "bad ziplist");
}

/* A zipmap length at *p. */
static bool zipmap_len(const unsigned char **p, const unsigned char *end, uint64_t *n) {
    if (*p >= end || **p == 0xFF) {
        return false;
    }
    *n = *(*p)++;
    if (*n < 254) {
        return true;
    }
    uint32_t wide;
    if (*n != 254 || end - *p < 4) {
        return false;
    }
    memcpy(&wide, *p, 4);
    *p += 4;
    *n = wide;
    return true;
}

static bool get_zipmap_hash(struct rdb_reader *r, const struct hash_limits *limits, const struct buf *raw,
                            struct value *h) {
    if (raw->n < 2 || raw->p[raw->n - 1] != '\xFF') {
        return fail(r, "bad zipmap");
    }
    const unsigned char *p = (const unsigned char *)raw->p, *end = p + raw->n;
    uint64_t n;
    unsigned pairs = *p++; /* 254: more than fit there */
    while (zipmap_len(&p, end, &n)) {
        const unsigned char *f = p;
        uint64_t fn = n;
        if (fn > (uint64_t)(end - p)) {
            return fail(r, "bad zipmap");
        }
        p += fn;
        if (!zipmap_len(&p, end, &n) || p >= end || n + 1 + *p > (uint64_t)(end - p)) {
            return fail(r, "bad zipmap");
        }
        unsigned char spare = *p++;
        if (!add_pair(r, h, slice_make(f, (size_t)fn), slice_make(p, (size_t)n), limits)) {
            return false;
        }
        p += n + spare;
    }
    bool sound = p == end - 1 && value_len(h) > 0 && (pairs >= 254 || pairs == value_len(h));
    return sound ? true : fail(r, "bad zipmap");
}

static bool get_hash(struct rdb_reader *r, uint8_t type, const struct hash_limits *limits, struct buf *raw,
                     struct value *h) {
    if (type == T_HASH) {
        return get_plain_hash(r, limits, h);
    }
    if (!rdb_get_string(r, raw)) {
        return false;
    }
    return type == T_HASH_LISTPACK  ? get_listpack_hash(r, limits, raw, h)
           : type == T_HASH_ZIPLIST ? get_ziplist_hash(r, limits, raw, h)
                                    : get_zipmap_hash(r, limits, raw, h);
}

bool rdb_get_value(struct rdb_reader *r, uint8_t type, const struct hash_limits *limits, struct buf *str,
                   struct value **value) {
    *value = NULL;
    switch (type) {
    case T_STRING:
        return rdb_get_string(r, str);
    case T_HASH:
    case T_HASH_ZIPMAP:
    case T_HASH_ZIPLIST:
    case T_HASH_LISTPACK:
        break;
    case T_MODULE_2:
        return bloom_get_body(r, str, value);
    case 1: case 10: case 14: case 18:
        return fail(r, "lists are not supported yet");
    case 2: case 11: case 20:
        return fail(r, "sets are not supported yet");
    case 3: case 5: case 12: case 17:
        return fail(r, "sorted sets are not supported yet");
    case 15: case 19: case 21:
        return fail(r, "streams are not supported yet");
    default:
        return fail(r, "unknown value type");
    }
    struct value *h = hash_create();
    if (!get_hash(r, type, limits, str, h)) {
        value_unref(h);
        return false;
    }
    *value = h;
    return true;
}

static bool check_dump(struct slice payload, unsigned max_version, struct slice *body) {
    if (payload.n < 10) {
        return false;
    }
    const unsigned char *foot = (const unsigned char *)payload.p + payload.n - 10;
    unsigned version = (unsigned)(foot[0] | foot[1] << 8);
    uint64_t crc;
    memcpy(&crc, foot + 2, sizeof(crc));
    if (version > max_version || crc != crc64(0, payload.p, payload.n - 8)) {
        return false;
    }
    *body = slice_make(payload.p, payload.n - 10);
    return true;
}

bool rdb_check_dump(struct slice payload, struct slice *body) {
    return check_dump(payload, RDB_MAX_VERSION, body);
}

bool rdb_check_any_dump(struct slice payload, struct slice *body) {
    return check_dump(payload, UINT16_MAX, body);
}
