/* SPDX-License-Identifier: BSD-3-Clause */
/* hash_walk: HRANDFIELD and HSCAN. */
#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/cmd/hash.h"
#include "src/cmd/key.h"

/* ---- HRANDFIELD ---- */

enum { MAX_DRAWS = 1 << 20 /* with repeats: what one call may ask for under its shard's lock */ };

static void reply_pair(struct out *o, struct slice field, struct slice value, bool with_values) {
    if (with_values && o->proto >= 3) {
        reply_array(o, 2);
    }
    reply_bulk(o, field);
    if (with_values) {
        reply_bulk(o, value);
    }
}

static void reply_count(struct out *o, int64_t n, bool with_values) {
    reply_array(o, with_values && o->proto < 3 ? n * 2 : n);
}

/* A negative count: that many draws, repeats allowed. */
static void draw_repeating(struct call *c, const struct value *h, int64_t n, bool with_values) {
    struct hash_iter it;
    struct slice field, value;
    reply_count(c->out, n, with_values);
    for (int64_t i = 0; i < n; i++) {
        hash_random(h, &it, &field, &value);
        reply_pair(c->out, field, value, with_values);
    }
}

struct drawing {
    struct out *out;
    bool with_values;
};

static void draw_one(void *ctx, struct slice field, struct slice value) {
    struct drawing *d = ctx;
    reply_pair(d->out, field, value, d->with_values);
}

static void draw_distinct(struct call *c, const struct value *h, int64_t n, bool with_values) {
    struct drawing d = {c->out, with_values};
    int64_t len = (int64_t)value_len(h);
    n = n > len ? len : n;
    reply_count(c->out, n, with_values);
    hash_sample(h, (size_t)n, draw_one, &d);
}

enum err hrandfield_run(struct call *c) {
    struct item_view v;
    int64_t count = 0;
    bool with_values = false;
    if (c->argc > 2 && arg_i64(c, 2, &count) != OK) {
        return ERR_NOT_INT;
    }
    if (c->argc > 4 || (c->argc == 4 && !arg_is(c, 3, "withvalues"))) {
        return ERR_SYNTAX;
    }
    with_values = c->argc == 4;
    if (count == INT64_MIN) {
        return call_errorf(c, "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
    }
    if ((with_values && (count < -(INT64_MAX / 2) || count > INT64_MAX / 2)) || count < -MAX_DRAWS) {
        return call_errorf(c, "ERR value is out of range");
    }
    enum err e = call_get_type(c, 0, TYPE_HASH, &v);
    if (e != OK) {
        return e;
    }
    if (c->argc == 2) {
        struct hash_iter it;
        struct slice field, value;
        if (v.type == TYPE_NONE) {
            reply_null(c->out);
        } else {
            hash_random(v.value, &it, &field, &value);
            reply_bulk(c->out, field);
        }
    } else if (v.type == TYPE_NONE || count == 0) {
        reply_array(c->out, 0);
    } else if (count < 0) {
        draw_repeating(c, v.value, -count, with_values);
    } else {
        draw_distinct(c, v.value, count, with_values);
    }
    return OK;
}

/* ---- HSCAN ---- */

struct scanning {
    struct out *out;
    struct slice pattern;
    bool all;
    int64_t n;
};

static void collect(void *ctx, struct slice field, struct slice value) {
    struct scanning *s = ctx;
    if (s->all || glob_match(s->pattern, field, false)) {
        reply_bulk(s->out, field);
        reply_bulk(s->out, value);
        s->n += 2;
    }
}

enum err hscan_run(struct call *c) {
    struct item_view v;
    unsigned long cursor;
    int64_t count = 10;
    struct out pairs = {.proto = c->out->proto};
    struct scanning s = {.out = &pairs, .all = true};
    enum err e = arg_cursor(c, 2, &cursor);
    if (e == OK) {
        e = call_get_type(c, 0, TYPE_HASH, &v);
    }
    if (e != OK) {
        return e;
    }
    if (v.type == TYPE_NONE) {
        reply_array(c->out, 2);
        reply_bulk_cstr(c->out, "0");
        reply_array(c->out, 0);
        return OK;
    }
    for (int i = 3; i < c->argc; i += 2) {
        if (i + 1 >= c->argc) {
            return ERR_SYNTAX;
        }
        if (arg_is(c, i, "count")) {
            if (arg_i64(c, i + 1, &count) != OK) {
                return ERR_NOT_INT;
            }
            if (count < 1) {
                return ERR_SYNTAX;
            }
        } else if (arg_is(c, i, "match")) {
            s.pattern = c->argv[i + 1];
            s.all = s.pattern.n == 1 && s.pattern.p[0] == '*';
        } else {
            return ERR_SYNTAX;
        }
    }
    uint64_t next = hash_scan(v.value, cursor, count > 100000 ? 100000 : (size_t)count, collect, &s);
    reply_array(c->out, 2);
    reply_bulk_int(c->out, (int64_t)next);
    reply_array(c->out, s.n);
    out_append(c->out, &pairs);
    return OK;
}
