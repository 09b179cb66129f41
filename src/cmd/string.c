/* SPDX-License-Identifier: BSD-3-Clause */
/* string: commands on plain values. LCS is in lcs.c. */
#include <math.h>

#include "src/cmd/call.h"
#include "src/cmd/lcs.h"

/* ---- SET and its kin ---- */

enum set_flags { SET_NX = 1, SET_XX = 2, SET_GET = 4, SET_KEEPTTL = 8, SET_EXPIRE = 16, SET_IFEQ = 32, SET_PERSIST = 64 };

struct set_options {
    unsigned flags;
    int64_t expire_ms;
    struct slice ifeq;
};

/* One of EX PX EXAT PXAT at argv[i]; *i moves behind its value. ERR_SYNTAX when it is none of them. */
static enum err parse_expire_option(struct call *c, int *i, struct set_options *o) {
    static const struct {
        const char *word;
        int64_t unit_ms;
        bool relative;
    } words[] = {{"ex", 1000, true}, {"px", 1, true}, {"exat", 1000, false}, {"pxat", 1, false}};
    for (int w = 0; w < 4; w++) {
        if (!arg_is(c, *i, words[w].word)) {
            continue;
        }
        bool other = (o->flags & SET_EXPIRE) && o->expire_ms >> 32 != w; /* the same twice: the last counts */
        if (*i + 1 >= c->argc || other || (o->flags & (SET_KEEPTTL | SET_PERSIST))) {
            return ERR_SYNTAX;
        }
        ++*i;
        o->flags |= SET_EXPIRE;
        o->expire_ms = *i; /* checked once the whole line is known to be well formed */
        o->expire_ms |= (int64_t)w << 32;
        return OK;
    }
    return ERR_SYNTAX;
}

/* The time argument noted by parse_expire_option. */
static enum err check_expire_option(struct call *c, struct set_options *o) {
    if (!(o->flags & SET_EXPIRE)) {
        o->expire_ms = L1_NO_TTL;
        return OK;
    }
    int w = (int)(o->expire_ms >> 32), i = (int)(o->expire_ms & INT32_MAX);
    return arg_expire(c, i, w % 2 == 0 ? 1000 : 1, w < 2, &o->expire_ms);
}

static enum err parse_set(struct call *c, struct set_options *o) {
    for (int i = 3; i < c->argc; i++) {
        if (arg_is(c, i, "nx") && !(o->flags & (SET_XX | SET_IFEQ))) {
            o->flags |= SET_NX;
        } else if (arg_is(c, i, "xx") && !(o->flags & (SET_NX | SET_IFEQ))) {
            o->flags |= SET_XX;
        } else if (arg_is(c, i, "get")) {
            o->flags |= SET_GET;
        } else if (arg_is(c, i, "keepttl") && !(o->flags & SET_EXPIRE)) {
            o->flags |= SET_KEEPTTL;
        } else if (arg_is(c, i, "ifeq") && i + 1 < c->argc && !(o->flags & (SET_NX | SET_XX | SET_IFEQ))) {
            o->flags |= SET_IFEQ;
            o->ifeq = c->argv[++i];
        } else {
            enum err e = parse_expire_option(c, &i, o);
            if (e != OK) {
                return e;
            }
        }
    }
    return check_expire_option(c, o);
}

/* SET with options, SETNX, SETEX...: ok and no are the replies of success and refusal. */
static enum err set_generic(struct call *c, struct slice value, const struct set_options *o,
                            void (*ok)(struct out *o), void (*no)(struct out *o)) {
    struct item_view old = {.type = TYPE_NONE};
    bool exists = false;
    if (o->flags & (SET_NX | SET_XX | SET_GET | SET_IFEQ)) {
        enum err e = call_get_type(c, 0, TYPE_STRING, &old);
        exists = e == ERR_WRONGTYPE || old.type != TYPE_NONE;
        if (e != OK && (o->flags & (SET_GET | SET_IFEQ))) {
            return e;
        }
    }
    bool refuse = ((o->flags & SET_NX) && exists) || ((o->flags & SET_XX) && !exists) ||
                  ((o->flags & SET_IFEQ) && (!exists || !slice_eq(old.str, o->ifeq)));
    size_t mark = c->out->buf.n;
    uint32_t refs = c->out->ref_count;
    if (o->flags & SET_GET) { /* before the old value goes */
        if (old.type == TYPE_NONE) {
            reply_null(c->out);
        } else {
            call_reply_string(c, &old);
        }
    }
    if (refuse) {
        if (!(o->flags & SET_GET)) {
            no(c->out);
        }
        return OK;
    }
    int64_t expire = o->flags & SET_KEEPTTL ? L1_KEEP_TTL : o->expire_ms;
    enum err e = call_set(c, 0, value, expire, 0);
    if (e != OK) {
        out_truncate(c->out, mark, refs);
        return e;
    }
    if (!(o->flags & SET_GET)) {
        ok(c->out);
    }
    return OK;
}

static void reply_one(struct out *o) {
    reply_int(o, 1);
}

static void reply_zero(struct out *o) {
    reply_int(o, 0);
}

static enum err set_run(struct call *c) {
    if (likely(c->argc == 3)) {
        enum err e = call_set(c, 0, c->argv[2], L1_NO_TTL, 0);
        if (likely(e == OK)) {
            reply_ok(c->out);
        }
        return e;
    }
    struct set_options o = {0};
    enum err e = parse_set(c, &o);
    return e != OK ? e : set_generic(c, c->argv[2], &o, reply_ok, reply_null);
}

static void set_adjust(const struct slice *argv, int argc, struct key_spec *specs, int count) {
    (void)count;
    for (int i = 3; i < argc; i++) {
        if (slice_eqi(argv[i], "get") || slice_eqi(argv[i], "nx") || slice_eqi(argv[i], "xx") ||
            slice_eqi(argv[i], "keepttl") || slice_eqi(argv[i], "ifeq")) {
            specs[0].access = KEY_RW;
        }
    }
}

static enum err setnx_run(struct call *c) {
    struct set_options o = {.flags = SET_NX, .expire_ms = L1_NO_TTL};
    return set_generic(c, c->argv[2], &o, reply_one, reply_zero);
}

static enum err set_with_ttl(struct call *c, int64_t unit_ms) {
    struct set_options o = {0};
    enum err e = arg_expire(c, 2, unit_ms, true, &o.expire_ms);
    return e != OK ? e : set_generic(c, c->argv[3], &o, reply_ok, reply_null);
}

static enum err setex_run(struct call *c) {
    return set_with_ttl(c, 1000);
}

static enum err psetex_run(struct call *c) {
    return set_with_ttl(c, 1);
}

static enum err getset_run(struct call *c) {
    struct set_options o = {.flags = SET_GET, .expire_ms = L1_NO_TTL};
    return set_generic(c, c->argv[2], &o, reply_ok, reply_null);
}

/* ---- GET and its kin ---- */

/* Replies with the string of key i, or null; *found says which. */
static enum err reply_value(struct call *c, int i, bool *found) {
    struct item_view v;
    enum err e = call_get_type(c, i, TYPE_STRING, &v);
    if (e != OK) {
        return e;
    }
    *found = v.type != TYPE_NONE;
    if (likely(*found)) {
        call_reply_string(c, &v);
    } else {
        reply_null(c->out);
    }
    return OK;
}

static enum err get_run(struct call *c) {
    bool found;
    return reply_value(c, 0, &found);
}

static enum err getdel_run(struct call *c) {
    bool found;
    enum err e = reply_value(c, 0, &found);
    if (e == OK && found) {
        call_del(c, 0);
    }
    return e;
}

static enum err getex_run(struct call *c) {
    struct set_options o = {0};
    for (int i = 2; i < c->argc; i++) {
        if (arg_is(c, i, "persist") && !(o.flags & SET_EXPIRE)) {
            o.flags |= SET_PERSIST;
            continue;
        }
        enum err e = parse_expire_option(c, &i, &o);
        if (e != OK) {
            return e;
        }
    }
    struct item_view v;
    enum err e = call_get_type(c, 0, TYPE_STRING, &v);
    if (e != OK) {
        return e;
    }
    if (v.type == TYPE_NONE) {
        reply_null(c->out);
        return OK;
    }
    e = check_expire_option(c, &o);
    if (e != OK) {
        return e;
    }
    size_t mark = c->out->buf.n;
    uint32_t refs = c->out->ref_count;
    call_reply_string(c, &v); /* a new deadline may move it */
    if (o.flags & SET_EXPIRE) {
        e = call_expire(c, 0, o.expire_ms);
    } else if ((o.flags & SET_PERSIST) && v.expire_ms != L1_NO_TTL) {
        e = call_expire(c, 0, L1_NO_TTL);
    }
    if (e != OK) {
        out_truncate(c->out, mark, refs);
    }
    return e;
}

static enum err mget_run(struct call *c) {
    reply_array(c->out, c->nkeys);
    for (int i = 0; i < c->nkeys; i++) {
        struct item_view v;
        if (call_get(c, i, &v) && v.type == TYPE_STRING) {
            call_reply_string(c, &v);
        } else {
            reply_null(c->out);
        }
    }
    return OK;
}

static enum err mset_run(struct call *c) {
    if (c->argc % 2 == 0) {
        return call_arity_error(c);
    }
    enum err e = call_set_all(c, 2, 2);
    if (e == OK) {
        reply_ok(c->out);
    }
    return e;
}

static enum err msetnx_run(struct call *c) {
    struct item_view v;
    if (c->argc % 2 == 0) {
        return call_arity_error(c);
    }
    for (int i = 0; i < c->nkeys; i++) {
        if (call_peek(c, i, &v)) {
            reply_int(c->out, 0);
            return OK;
        }
    }
    enum err e = call_set_all(c, 2, 2);
    if (e == OK) {
        reply_int(c->out, 1);
    }
    return e;
}

/* ---- ranges ---- */

static enum err strlen_run(struct call *c) {
    struct item_view v;
    enum err e = call_get_type(c, 0, TYPE_STRING, &v);
    if (e == OK) {
        reply_int(c->out, (int64_t)v.str.n);
    }
    return e;
}

static bool too_long(const struct call *c, uint64_t len) {
    return len > (uint64_t)c->conf->proto_max_bulk_len;
}

static enum err append_run(struct call *c) {
    struct item_view v;
    enum err e = call_get_type(c, 0, TYPE_STRING, &v);
    if (e != OK) {
        return e;
    }
    struct slice more = c->argv[2];
    size_t before = v.str.n;
    if (v.type == TYPE_NONE) {
        e = call_set(c, 0, more, L1_NO_TTL, 0);
    } else {
        if (too_long(c, (uint64_t)before + more.n)) {
            return ERR_STRING_TOO_LONG;
        }
        char *p;
        e = call_string_mut(c, 0, before + more.n, &p);
        if (e == OK) {
            memcpy(p + before, more.p, more.n);
        }
    }
    if (e == OK) {
        reply_int(c->out, (int64_t)(before + more.n));
    }
    return e;
}

static enum err setrange_run(struct call *c) {
    int64_t offset;
    struct item_view v;
    if (arg_i64(c, 2, &offset) != OK) {
        return ERR_NOT_INT;
    }
    if (offset < 0) {
        return call_errorf(c, "ERR offset is out of range");
    }
    enum err e = call_get_type(c, 0, TYPE_STRING, &v);
    if (e != OK) {
        return e;
    }
    struct slice piece = c->argv[3];
    if (piece.n == 0) {
        reply_int(c->out, (int64_t)v.str.n);
        return OK;
    }
    uint64_t end = (uint64_t)offset + piece.n;
    if (too_long(c, end)) {
        return ERR_STRING_TOO_LONG;
    }
    size_t len = v.str.n > end ? v.str.n : (size_t)end;
    char *p;
    e = call_string_mut(c, 0, len, &p);
    if (e == OK) {
        memcpy(p + offset, piece.p, piece.n);
        reply_int(c->out, (int64_t)len);
    }
    return e;
}

static enum err getrange_run(struct call *c) {
    int64_t start, end;
    struct item_view v;
    if (arg_i64(c, 2, &start) != OK || arg_i64(c, 3, &end) != OK) {
        return ERR_NOT_INT;
    }
    enum err e = call_get_type(c, 0, TYPE_STRING, &v);
    if (e != OK) {
        return e;
    }
    int64_t n = (int64_t)v.str.n;
    bool backwards = start < 0 && end < 0 && start > end;
    start = start < 0 ? start + n : start;
    end = end < 0 ? end + n : end;
    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end >= n ? n - 1 : end;
    if (backwards || start > end || n == 0) {
        reply_bulk(c->out, slice_make("", 0));
    } else {
        reply_bulk(c->out, slice_make(v.str.p + start, (size_t)(end - start + 1)));
    }
    return OK;
}

/* ---- counters ---- */

static enum err incr_by(struct call *c, int64_t delta) {
    struct item_view v;
    enum err e = call_get_type(c, 0, TYPE_STRING, &v);
    if (e != OK) {
        return e;
    }
    int64_t value = 0;
    if (v.type != TYPE_NONE && !num_parse_i64(v.str, &value)) {
        return ERR_NOT_INT;
    }
    if (__builtin_add_overflow(value, delta, &value)) {
        return ERR_OVERFLOW;
    }
    char text[NUM_I64_MAX_LEN];
    e = call_set(c, 0, slice_make(text, num_print_i64(text, value)), L1_KEEP_TTL, 0);
    if (e == OK) {
        reply_int(c->out, value);
    }
    return e;
}

static enum err incr_run(struct call *c) {
    return incr_by(c, 1);
}

static enum err decr_run(struct call *c) {
    return incr_by(c, -1);
}

static enum err incrby_run(struct call *c) {
    int64_t delta;
    return arg_i64(c, 2, &delta) != OK ? ERR_NOT_INT : incr_by(c, delta);
}

static enum err decrby_run(struct call *c) {
    int64_t delta;
    if (arg_i64(c, 2, &delta) != OK) {
        return ERR_NOT_INT;
    }
    return delta == INT64_MIN ? call_errorf(c, "ERR decrement would overflow") : incr_by(c, -delta);
}

static enum err incrbyfloat_run(struct call *c) {
    struct item_view v;
    long double value = 0, delta;
    enum err e = call_get_type(c, 0, TYPE_STRING, &v);
    if (e != OK) {
        return e;
    }
    if ((v.type != TYPE_NONE && !num_parse_ld(v.str, &value)) || !num_parse_ld(c->argv[2], &delta)) {
        return ERR_NOT_FLOAT;
    }
    value += delta;
    if (isnan(value) || isinf(value)) {
        return ERR_NAN;
    }
    char *text = arena_alloc(c->arena, NUM_LD_MAX_LEN);
    struct slice s = slice_make(text, num_print_ld(text, value));
    e = call_set(c, 0, s, L1_KEEP_TTL, 0);
    if (e == OK) {
        reply_bulk(c->out, s);
    }
    return e;
}

/* ---- rows ---- */

#define WRITES (CMD_WRITE | CMD_DENYOOM)
#define READS (CMD_READONLY)

const struct command string_commands[] = {
    {.name = "append", .syntax = "key value", .arity = 3, .keys = "1:RW", .flags = WRITES | CMD_FAST,
     .run = append_run, .since = "2.0.0", .cost = "O(1) amortised", .summary = "Adds bytes to the end of a string, creating it if need be."},
    {.name = "decr", .syntax = "key", .arity = 2, .keys = "1:RW", .flags = WRITES | CMD_FAST,
     .run = decr_run, .since = "1.0.0", .cost = "O(1)", .summary = "Lowers an integer by one."},
    {.name = "decrby", .syntax = "key decrement", .arity = 3, .keys = "1:RW", .flags = WRITES | CMD_FAST,
     .run = decrby_run, .since = "1.0.0", .cost = "O(1)", .summary = "Lowers an integer by a number."},
    {.name = "get", .syntax = "key", .arity = 2, .keys = "1:R", .flags = READS | CMD_NEAR | CMD_FAST,
     .run = get_run, .since = "1.0.0", .cost = "O(1)", .summary = "Returns the string of a key."},
    {.name = "getdel", .syntax = "key", .arity = 2, .keys = "1:RW", .flags = CMD_WRITE | CMD_FAST,
     .run = getdel_run, .since = "6.2.0", .cost = "O(1)", .summary = "Returns the string of a key and deletes it."},
    {.name = "getex", .syntax = "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
     .arity = -2, .keys = "1:RW", .flags = CMD_WRITE | CMD_FAST, .run = getex_run, .since = "6.2.0", .cost = "O(1)",
     .summary = "Returns the string of a key and sets or removes its deadline."},
    {.name = "getrange", .syntax = "key start end", .arity = 4, .keys = "1:R", .flags = READS | CMD_NEAR, .run = getrange_run,
     .since = "2.4.0", .cost = "O(N) for the bytes returned", .summary = "Returns part of a string."},
    {.name = "getset", .syntax = "key value", .arity = 3, .keys = "1:RW", .flags = WRITES | CMD_FAST, .run = getset_run,
     .since = "1.0.0", .cost = "O(1)", .summary = "Sets a string and returns the one before.",
     .deprecated_since = "6.2.0", .replaced_by = "`SET` with the `GET` option"},
    {.name = "incr", .syntax = "key", .arity = 2, .keys = "1:RW", .flags = WRITES | CMD_FAST, .run = incr_run,
     .since = "1.0.0", .cost = "O(1)", .summary = "Raises an integer by one."},
    {.name = "incrby", .syntax = "key increment", .arity = 3, .keys = "1:RW", .flags = WRITES | CMD_FAST,
     .run = incrby_run, .since = "1.0.0", .cost = "O(1)", .summary = "Raises an integer by a number."},
    {.name = "incrbyfloat", .syntax = "key increment", .arity = 3, .keys = "1:RW", .flags = WRITES | CMD_FAST,
     .run = incrbyfloat_run, .since = "2.6.0", .cost = "O(1)", .summary = "Raises a floating-point number by a number."},
    {.name = "lcs", .syntax = "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]", .arity = -3, .keys = "1..2:R",
     .flags = READS, .run = lcs_run, .since = "7.0.0", .cost = "O(N*M), the lengths of the two strings",
     .summary = "Finds the longest common subsequence of two strings."},
    {.name = "mget", .syntax = "key [key ...]", .arity = -2, .keys = "1..-1:R", .flags = READS | CMD_FAST, .run = mget_run,
     .spread = SPREAD_JOIN, .since = "1.0.0", .cost = "O(N) for N keys", .summary = "Returns the strings of several keys.", .tips = "request_policy:multi_shard"},
    {.name = "mset", .syntax = "key value [key value ...]", .arity = -3, .keys = "1..-1/2:W", .flags = WRITES | CMD_REPEATABLE, .run = mset_run,
     .spread = SPREAD_FIRST, .since = "1.0.1", .cost = "O(N) for N keys", .summary = "Sets several strings at once.", .tips = "request_policy:multi_shard,response_policy:all_succeeded"},
    {.name = "msetnx", .syntax = "key value [key value ...]", .arity = -3, .keys = "1..-1/2:RW", .flags = WRITES,
     .run = msetnx_run, .since = "1.0.1", .cost = "O(N) for N keys", .summary = "Sets several strings, but only if none of the keys exists.", .tips = "request_policy:multi_shard,response_policy:agg_min"},
    {.name = "psetex", .syntax = "key milliseconds value", .arity = 4, .keys = "1:W", .flags = WRITES | CMD_REPEATABLE, .run = psetex_run,
     .since = "2.6.0", .cost = "O(1)", .summary = "Sets a string with a time to live in milliseconds.",
     .deprecated_since = "2.6.12", .replaced_by = "`SET` with the `PX` option"},
    {.name = "set", .syntax = "key value [IFEQ comparison-value | NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
     .arity = -3, .keys = "1:W", .flags = WRITES | CMD_REPEATABLE, .run = set_run, .adjust = set_adjust, .since = "1.0.0", .cost = "O(1)",
     .summary = "Sets the string of a key, whatever it held."},
    {.name = "setex", .syntax = "key seconds value", .arity = 4, .keys = "1:W", .flags = WRITES | CMD_REPEATABLE, .run = setex_run,
     .since = "2.0.0", .cost = "O(1)", .summary = "Sets a string with a time to live in seconds.",
     .deprecated_since = "2.6.12", .replaced_by = "`SET` with the `EX` option"},
    {.name = "setnx", .syntax = "key value", .arity = 3, .keys = "1:RW", .flags = WRITES | CMD_FAST, .run = setnx_run,
     .since = "1.0.0", .cost = "O(1)", .summary = "Sets a string, but only if the key does not exist.",
     .deprecated_since = "2.6.12", .replaced_by = "`SET` with the `NX` option"},
    {.name = "setrange", .syntax = "key offset value", .arity = 4, .keys = "1:RW", .flags = WRITES | CMD_REPEATABLE, .run = setrange_run,
     .since = "2.2.0", .cost = "O(M) for the bytes written", .summary = "Overwrites part of a string from an offset on."},
    {.name = "strlen", .syntax = "key", .arity = 2, .keys = "1:R", .flags = READS | CMD_NEAR | CMD_FAST, .run = strlen_run,
     .since = "2.2.0", .cost = "O(1)", .summary = "Returns the length of a string."},
    {.name = "substr", .syntax = "key start end", .arity = 4, .keys = "1:R", .flags = READS | CMD_NEAR, .run = getrange_run,
     .since = "1.0.0", .cost = "O(N) for the bytes returned", .summary = "Returns part of a string.",
     .deprecated_since = "2.0.0", .replaced_by = "`GETRANGE`"},
    {0}};
