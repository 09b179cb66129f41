/* SPDX-License-Identifier: BSD-3-Clause */
/* rdb_file: each item is read from the window as if it were whole; when the bytes end too early, the window grows and the item is read
 * again from its start. The window doubles, so that this costs no more than reading it twice. */
#include "src/value/rdb_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/ds/crc64.h"

enum { READ_BYTES = 256 << 10, HEAD_BYTES = 9, CRC_SINCE_VERSION = 5 };

enum item { ITEM_SETTING, ITEM_KEY, ITEM_EOF };

static bool bad(struct rdb_reader *r, const char *why) {
    r->error = why;
    return false;
}

/* ---- items ---- */

static bool get_plain_len(struct rdb_reader *r, uint64_t *n) {
    bool special;
    return rdb_get_len(r, n, &special) && (!special || bad(r, "bad length"));
}

static bool skip_lens(struct rdb_reader *r, int times) {
    uint64_t n;
    bool ok = true;
    for (; ok && times > 0; times--) {
        ok = get_plain_len(r, &n);
    }
    return ok;
}

static bool get_head(struct rdb_file *f, struct rdb_reader *r) {
    char head[HEAD_BYTES + 1] = "";
    if (!rdb_get_bytes(r, head, HEAD_BYTES)) {
        return bad(r, "not an RDB file");
    }
    int version = atoi(head + 5);
    if (memcmp(head, "REDIS", 5) != 0) {
        return bad(r, "not an RDB file");
    }
    if (version < 1 || version > RDB_MAX_VERSION) {
        return bad(r, "unknown RDB version");
    }
    f->version = version;
    return true;
}

static bool get_key(struct rdb_file *f, struct rdb_reader *r, uint8_t type, struct rdb_entry *e) {
    *e = (struct rdb_entry){.db = f->db, .expire_ms = f->expire_ms};
    bool ok = rdb_get_string(r, &f->name);
    e->foreign = ok ? rdb_foreign_type(r, type) : NULL;
    if (ok && e->foreign != NULL) {
        ok = rdb_skip_value(r, type);
    } else if (ok) {
        ok = rdb_get_value(r, type, &f->limits, &f->str, &e->value);
    }
    if (ok) {
        f->expire_ms = -1;
        e->name = slice_make(f->name.p, f->name.n);
        e->str = slice_make(f->str.p, f->str.n);
    }
    return ok;
}

/* One opcode with what belongs to it, or one key. Changes f only when it is whole. */
static bool get_item(struct rdb_file *f, struct rdb_reader *r, struct rdb_entry *e, enum item *item) {
    uint8_t type, byte;
    uint64_t n;
    int32_t seconds;
    *item = ITEM_SETTING;
    if (f->version == 0) {
        return get_head(f, r);
    }
    if (!rdb_get_byte(r, &type)) {
        return false;
    }
    switch (type) {
    case RDB_OP_EOF:
        *item = ITEM_EOF;
        return true;
    case RDB_OP_AUX:
        return rdb_get_string(r, &f->str) && rdb_get_string(r, &f->str);
    case RDB_OP_FUNCTION2:
        return rdb_get_string(r, &f->str);
    case RDB_OP_MODULE_AUX:
        return rdb_skip_module_aux(r);
    case RDB_OP_SLOT_INFO:
        return skip_lens(r, 3);
    case RDB_OP_RESIZEDB:
        return skip_lens(r, 2);
    case RDB_OP_IDLE:
        return skip_lens(r, 1);
    case RDB_OP_FREQ:
        return rdb_get_byte(r, &byte);
    case RDB_OP_SELECTDB:
        if (!get_plain_len(r, &n)) {
            return false;
        }
        f->db = n;
        return true;
    case RDB_OP_EXPIRETIME_MS:
        return rdb_get_bytes(r, &f->expire_ms, sizeof(f->expire_ms));
    case RDB_OP_EXPIRETIME:
        if (!rdb_get_bytes(r, &seconds, sizeof(seconds))) {
            return false;
        }
        f->expire_ms = (int64_t)seconds * 1000;
        return true;
    default:
        *item = ITEM_KEY;
        return get_key(f, r, type, e);
    }
}

/* ---- the window ---- */

static struct rdb_reader reader_of(const struct rdb_file *f) {
    const unsigned char *p = (const unsigned char *)f->window.p;
    return (struct rdb_reader){.start = p + f->at, .p = p + f->at, .end = p + f->window.n, .max_unpacked = f->max_entry_bytes};
}

static bool refuse(struct rdb_file *f, const char *why, uint64_t at) {
    f->error = why;
    f->bad_at = at;
    return false;
}

/* At least one more byte into the window, which needs `missing` more. False: refused. */
static bool read_more(struct rdb_file *f, const struct rdb_reader *r) {
    uint64_t bad_at = f->base + (uint64_t)((const char *)r->p - f->window.p);
    size_t have = f->window.n - f->at;
    uint64_t seen = f->base + f->window.n;
    bool beyond = f->size > 0 && r->missing > (f->size > seen ? f->size - seen : 0);
    if (f->ended || beyond) {
        return refuse(f, r->error, bad_at);
    }
    if (f->max_entry_bytes > 0 && have + r->missing > f->max_entry_bytes) {
        return refuse(f, "a key longer than proto-max-bulk-len", bad_at);
    }
    if (f->at > 0) {
        memmove(f->window.p, f->window.p + f->at, have);
        f->base += f->at;
        f->window.n = have;
        f->at = 0;
    }
    size_t want = have > READ_BYTES ? have : READ_BYTES;
    if (!buf_try_reserve(&f->window, want)) {
        return refuse(f, "out of memory", bad_at);
    }
    ssize_t n = f->read(f->ctx, f->window.p + f->window.n, want);
    if (n < 0) {
        const char *why = strerrordesc_np(errno);
        return refuse(f, why != NULL ? why : "cannot be read", bad_at);
    }
    f->ended = n == 0;
    buf_commit(&f->window, (size_t)n);
    return true;
}

static bool take_checksum(struct rdb_file *f) {
    for (;;) {
        struct rdb_reader r = reader_of(f);
        uint64_t crc;
        if (rdb_get_bytes(&r, &crc, sizeof(crc))) {
            f->at += sizeof(crc);
            return !f->check || crc == 0 || crc == f->crc || refuse(f, "wrong checksum", f->base + f->at);
        }
        if (!read_more(f, &r)) {
            return false;
        }
    }
}

enum rdb_next rdb_file_next(struct rdb_file *f, struct rdb_entry *e) {
    if (f->window.p == NULL) {
        buf_reserve(&f->window, READ_BYTES);
        f->expire_ms = -1;
    }
    while (f->error == NULL) {
        enum item item;
        struct rdb_reader r = reader_of(f);
        if (!get_item(f, &r, e, &item)) {
            if (r.missing == 0) {
                refuse(f, r.error, f->base + (uint64_t)((const char *)r.p - f->window.p));
            } else {
                read_more(f, &r);
            }
            continue;
        }
        size_t n = (size_t)(r.p - r.start);
        f->crc = f->check ? crc64(f->crc, r.start, n) : 0;
        f->at += n;
        if (item == ITEM_KEY) {
            return RDB_NEXT_KEY;
        }
        if (item == ITEM_EOF) {
            return f->version < CRC_SINCE_VERSION || take_checksum(f) ? RDB_NEXT_END : RDB_NEXT_BAD;
        }
    }
    return RDB_NEXT_BAD;
}

uint64_t rdb_file_offset(const struct rdb_file *f) {
    return f->error != NULL ? f->bad_at : f->base + f->at;
}

void rdb_file_free(struct rdb_file *f) {
    buf_free(&f->window);
    buf_free(&f->name);
    buf_free(&f->str);
}
