/* SPDX-License-Identifier: BSD-3-Clause */
/* dump: DUMP and RESTORE. */
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/cmd/key.h"
#include "src/value/rdb.h"

enum {
    BY_REFERENCE = 16 << 10, /* payloads from this size on are not copied */
    IDLE_MOST_S = 190 * 86400 /* what stamps hold */
};

enum err dump_run(struct call *c) {
    struct item_view v;
    if (!call_get(c, 0, &v)) {
        reply_null(c->out);
        return OK;
    }
    struct buf b = {0};
    if (!rdb_dump(&b, v.str, v.value)) {
        return ERR_OUT_OF_MEMORY;
    }
    if (b.n >= BY_REFERENCE) {
        reply_bulk_ref(c->out, buf_slice(&b), b.p, mem_free);
    } else {
        reply_bulk(c->out, buf_slice(&b));
        buf_free(&b);
    }
    return OK;
}

struct restore {
    bool replace, absolute;
    int64_t idle, freq;
};

static enum err parse_options(struct call *c, struct restore *o) {
    *o = (struct restore){.idle = -1, .freq = -1};
    for (int i = 4; i < c->argc; i++) {
        bool more = i + 1 < c->argc;
        if (arg_is(c, i, "replace")) {
            o->replace = true;
        } else if (arg_is(c, i, "absttl")) {
            o->absolute = true;
        } else if (arg_is(c, i, "idletime") && more && o->freq == -1) {
            if (arg_i64(c, ++i, &o->idle) != OK) {
                return ERR_NOT_INT;
            }
            if (o->idle < 0) {
                return call_errorf(c, "ERR Invalid IDLETIME value, must be >= 0");
            }
        } else if (arg_is(c, i, "freq") && more && o->idle == -1) {
            if (arg_i64(c, ++i, &o->freq) != OK) {
                return ERR_NOT_INT;
            }
            if (o->freq < 0 || o->freq > 255) {
                return call_errorf(c, "ERR Invalid FREQ value, must be >= 0 and <= 255");
            }
        } else {
            return ERR_SYNTAX;
        }
    }
    return OK;
}

enum err restore_run(struct call *c) {
    struct restore o;
    struct item_view v;
    struct slice body;
    int64_t ttl;
    enum err e = parse_options(c, &o);
    if (e != OK) {
        return e;
    }
    if (!o.replace && call_peek(c, 0, &v)) {
        return ERR_BUSYKEY;
    }
    if (arg_i64(c, 2, &ttl) != OK) {
        return ERR_NOT_INT;
    }
    if (ttl < 0) {
        return call_errorf(c, "ERR Invalid TTL value, must be >= 0");
    }
    if (!rdb_check_dump(c->argv[3], &body)) {
        return ERR_BAD_DUMP;
    }
    const unsigned char *p = (const unsigned char *)body.p;
    struct rdb_reader r = {.start = p, .p = p + 1, .end = p + body.n};
    struct hash_limits limits = {(size_t)c->conf->hash_max_listpack_entries, (size_t)c->conf->hash_max_listpack_value};
    struct buf str = {0};
    struct value *value = NULL;
    if (body.n < 1 || !rdb_get_value(&r, p[0], &limits, &str, &value) || r.p != r.end) {
        value_unref(value);
        buf_free(&str);
        return r.no_memory ? ERR_OUT_OF_MEMORY : ERR_BAD_FORMAT;
    }
    int64_t expire = ttl == 0 ? L1_NO_TTL : o.absolute ? ttl : ttl > INT64_MAX - c->now_ms ? INT64_MAX : c->now_ms + ttl;
    e = value != NULL ? call_set_value(c, 0, value, expire) : call_set(c, 0, slice_make(str.p, str.n), expire, 0);
    buf_free(&str);
    if (e == OK && o.idle >= 0) {
        l1_set_stamps(c->l1, &c->keys[0], 0, item_stamp(c->now_ms - (o.idle < IDLE_MOST_S ? o.idle : IDLE_MOST_S) * 1000));
    }
    if (e == OK) {
        reply_ok(c->out);
    }
    return e;
}
