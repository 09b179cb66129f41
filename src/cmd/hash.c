/* SPDX-License-Identifier: BSD-3-Clause */
/* hash: commands on hashes. HRANDFIELD and HSCAN are in hash_walk.c. */
#include "src/cmd/hash.h"

#include <math.h>

#include "src/cmd/call.h"

static struct hash_limits limits_of(const struct call *c) {
    return (struct hash_limits){(size_t)c->conf->hash_max_listpack_entries, (size_t)c->conf->hash_max_listpack_value};
}

/* The hash of key 0 for changing, made when absent. fresh says that it is new: hash_store puts it in its place. */
static enum err hash_for_writing(struct call *c, struct value **out, bool *fresh) {
    struct item_view v;
    enum err e = call_get_type(c, 0, TYPE_HASH, &v);
    if (e != OK) {
        return e;
    }
    *fresh = v.type == TYPE_NONE;
    *out = *fresh ? hash_create() : call_value_mut(c, 0);
    return *out == NULL ? ERR_OUT_OF_MEMORY : OK;
}

/* e: how the writing went. A new hash is stored whole or not at all. */
static enum err hash_store(struct call *c, struct value *h, bool fresh, enum err e) {
    if (!fresh && e == OK) {
        call_value_changed(c, 0);
    } else if (!fresh) {
        call_value_kept(c, 0);
    } else if (e == OK) {
        e = call_set_value(c, 0, h, L1_NO_TTL);
    } else {
        value_unref(h);
    }
    return e;
}

static enum err hash_set_pairs(struct call *c, size_t *created) {
    struct value *h;
    bool fresh;
    struct hash_limits limits = limits_of(c);
    enum err e = hash_for_writing(c, &h, &fresh);
    if (e != OK) {
        return e;
    }
    return hash_store(c, h, fresh, hash_set_all(h, c->argv + 2, (size_t)(c->argc - 2) / 2, &limits, created));
}

static enum err hset_run(struct call *c) {
    size_t created;
    if (c->argc % 2 != 0) {
        return call_arity_error(c);
    }
    enum err e = hash_set_pairs(c, &created);
    if (e == OK) {
        reply_int(c->out, (int64_t)created);
    }
    return e;
}

static enum err hmset_run(struct call *c) {
    size_t created;
    if (c->argc % 2 != 0) {
        return call_arity_error(c);
    }
    enum err e = hash_set_pairs(c, &created);
    if (e == OK) {
        reply_ok(c->out);
    }
    return e;
}

static enum err hsetnx_run(struct call *c) {
    struct item_view v;
    struct hash_scratch scratch;
    struct slice old;
    enum err e = call_get_type(c, 0, TYPE_HASH, &v);
    if (e != OK) {
        return e;
    }
    if (v.type != TYPE_NONE && hash_get(v.value, c->argv[2], &scratch, &old)) {
        reply_int(c->out, 0);
        return OK;
    }
    size_t created;
    e = hash_set_pairs(c, &created);
    if (e == OK) {
        reply_int(c->out, 1);
    }
    return e;
}

/* ---- reading ---- */

static void reply_field(struct call *c, const struct item_view *v, struct slice field) {
    struct hash_scratch scratch;
    struct slice value;
    if (v->type != TYPE_NONE && hash_get(v->value, field, &scratch, &value)) {
        reply_bulk(c->out, value);
    } else {
        reply_null(c->out);
    }
}

static enum err hget_run(struct call *c) {
    struct item_view v;
    enum err e = call_get_type(c, 0, TYPE_HASH, &v);
    if (e == OK) {
        reply_field(c, &v, c->argv[2]);
    }
    return e;
}

static enum err hmget_run(struct call *c) {
    struct item_view v;
    enum err e = call_get_type(c, 0, TYPE_HASH, &v);
    if (e != OK) {
        return e;
    }
    reply_array(c->out, c->argc - 2);
    for (int i = 2; i < c->argc; i++) {
        reply_field(c, &v, c->argv[i]);
    }
    return OK;
}

static enum err hexists_run(struct call *c) {
    struct item_view v;
    struct hash_scratch scratch;
    struct slice value;
    enum err e = call_get_type(c, 0, TYPE_HASH, &v);
    if (e == OK) {
        reply_int(c->out, v.type != TYPE_NONE && hash_get(v.value, c->argv[2], &scratch, &value));
    }
    return e;
}

static enum err hlen_run(struct call *c) {
    struct item_view v;
    enum err e = call_get_type(c, 0, TYPE_HASH, &v);
    if (e == OK) {
        reply_int(c->out, v.type == TYPE_NONE ? 0 : (int64_t)value_len(v.value));
    }
    return e;
}

static enum err hstrlen_run(struct call *c) {
    struct item_view v;
    struct hash_scratch scratch;
    struct slice value = {0};
    enum err e = call_get_type(c, 0, TYPE_HASH, &v);
    if (e == OK) {
        bool found = v.type != TYPE_NONE && hash_get(v.value, c->argv[2], &scratch, &value);
        reply_int(c->out, found ? (int64_t)value.n : 0);
    }
    return e;
}

static enum err reply_all(struct call *c, bool fields, bool values) {
    struct item_view v;
    struct hash_iter it;
    struct slice field, value;
    enum err e = call_get_type(c, 0, TYPE_HASH, &v);
    if (e != OK) {
        return e;
    }
    int64_t n = v.type == TYPE_NONE ? 0 : (int64_t)value_len(v.value);
    if (fields && values) {
        reply_map(c->out, n);
    } else {
        reply_array(c->out, n);
    }
    if (n == 0) {
        return OK;
    }
    hash_iter_init(&it, v.value);
    while (hash_iter_next(&it, &field, &value)) {
        if (fields) {
            reply_bulk(c->out, field);
        }
        if (values) {
            reply_bulk(c->out, value);
        }
    }
    return OK;
}

static enum err hgetall_run(struct call *c) {
    return reply_all(c, true, true);
}

static enum err hkeys_run(struct call *c) {
    return reply_all(c, true, false);
}

static enum err hvals_run(struct call *c) {
    return reply_all(c, false, true);
}

/* ---- changing ---- */

static enum err hdel_run(struct call *c) {
    struct item_view v;
    enum err e = call_get_type(c, 0, TYPE_HASH, &v);
    if (e != OK || v.type == TYPE_NONE) {
        if (e == OK) {
            reply_int(c->out, 0);
        }
        return e;
    }
    struct hash_scratch scratch;
    struct slice old;
    int first = 2;
    while (first < c->argc && !hash_get(v.value, c->argv[first], &scratch, &old)) {
        first++;
    }
    if (first == c->argc) { /* nothing to delete is no change */
        reply_int(c->out, 0);
        return OK;
    }
    struct value *h = call_value_mut(c, 0);
    if (h == NULL) {
        return ERR_OUT_OF_MEMORY;
    }
    int64_t n = 0;
    for (int i = first; i < c->argc; i++) {
        n += hash_del(h, c->argv[i]);
    }
    call_value_changed(c, 0);
    reply_int(c->out, n);
    return OK;
}

/* The present number text of the field, "" when absent. */
static enum err read_field(struct call *c, struct hash_scratch *scratch, struct slice *out) {
    struct item_view v;
    *out = slice_make("", 0);
    enum err e = call_get_type(c, 0, TYPE_HASH, &v);
    if (e == OK && v.type != TYPE_NONE && !hash_get(v.value, c->argv[2], scratch, out)) {
        *out = slice_make("", 0);
    } else if (e == OK && v.type != TYPE_NONE && out->n == 0) {
        *out = slice_make(" ", 1); /* an empty value is no number */
    }
    return e;
}

static enum err write_field(struct call *c, struct slice text) {
    struct value *h;
    bool fresh;
    struct hash_limits limits = limits_of(c);
    enum err e = hash_for_writing(c, &h, &fresh);
    if (e != OK) {
        return e;
    }
    return hash_store(c, h, fresh, hash_set(h, c->argv[2], text, &limits, NULL));
}

static enum err hincrby_run(struct call *c) {
    struct hash_scratch scratch;
    struct slice old;
    int64_t delta, value = 0;
    if (arg_i64(c, 3, &delta) != OK) {
        return ERR_NOT_INT;
    }
    enum err e = read_field(c, &scratch, &old);
    if (e != OK) {
        return e;
    }
    if (old.n > 0 && !num_parse_i64(old, &value)) {
        return call_errorf(c, "ERR hash value is not an integer");
    }
    if (__builtin_add_overflow(value, delta, &value)) {
        return ERR_OVERFLOW;
    }
    char text[NUM_I64_MAX_LEN];
    e = write_field(c, slice_make(text, num_print_i64(text, value)));
    if (e == OK) {
        reply_int(c->out, value);
    }
    return e;
}

static enum err hincrbyfloat_run(struct call *c) {
    struct hash_scratch scratch;
    struct slice old;
    long double delta, value = 0;
    if (!num_parse_ld(c->argv[3], &delta)) {
        return ERR_NOT_FLOAT;
    }
    if (isnan(delta) || isinf(delta)) {
        return call_errorf(c, "ERR value is NaN or Infinity");
    }
    enum err e = read_field(c, &scratch, &old);
    if (e != OK) {
        return e;
    }
    if (old.n > 0 && !num_parse_ld(old, &value)) {
        return call_errorf(c, "ERR hash value is not a float");
    }
    value += delta;
    if (isnan(value) || isinf(value)) {
        return ERR_NAN;
    }
    char *text = arena_alloc(c->arena, NUM_LD_MAX_LEN);
    struct slice s = slice_make(text, num_print_ld(text, value));
    e = write_field(c, s);
    if (e == OK) {
        reply_bulk(c->out, s);
    }
    return e;
}

#define WR (CMD_WRITE | CMD_DENYOOM)
#define ROW(nm, args, n, access, fl, fn, ver, big_o, text) \
    {.name = nm, .syntax = args, .arity = n, .keys = access, .flags = fl, .run = fn, .since = ver, .cost = big_o, .summary = text}

const struct command hash_commands[] = {
    ROW("hdel", "key field [field ...]", -3, "1:RW", CMD_WRITE | CMD_FAST | CMD_REPEATABLE, hdel_run, "2.0.0", "O(N) for N fields", "Deletes fields, and the hash with its last one."),
    ROW("hexists", "key field", 3, "1:R", CMD_READONLY | CMD_NEAR | CMD_FAST, hexists_run, "2.0.0", "O(1)", "Tells whether a field exists."),
    ROW("hget", "key field", 3, "1:R", CMD_READONLY | CMD_NEAR | CMD_FAST, hget_run, "2.0.0", "O(1)", "Returns the value of a field."),
    {.name = "hgetall", .syntax = "key", .arity = 2, .keys = "1:R", .flags = CMD_READONLY | CMD_NEAR, .run = hgetall_run, .since = "2.0.0",
     .cost = "O(N) for N fields", .summary = "Returns all fields and values.", .tips = "nondeterministic_output_order"},
    ROW("hincrby", "key field increment", 4, "1:RW", WR | CMD_FAST, hincrby_run, "2.0.0", "O(1)", "Raises the integer of a field."),
    ROW("hincrbyfloat", "key field increment", 4, "1:RW", WR | CMD_FAST, hincrbyfloat_run, "2.6.0", "O(1)", "Raises the floating-point number of a field."),
    {.name = "hkeys", .syntax = "key", .arity = 2, .keys = "1:R", .flags = CMD_READONLY | CMD_NEAR, .run = hkeys_run, .since = "2.0.0",
     .cost = "O(N) for N fields", .summary = "Returns all fields.", .tips = "nondeterministic_output_order"},
    ROW("hlen", "key", 2, "1:R", CMD_READONLY | CMD_NEAR | CMD_FAST, hlen_run, "2.0.0", "O(1)", "Counts the fields."),
    ROW("hmget", "key field [field ...]", -3, "1:R", CMD_READONLY | CMD_NEAR | CMD_FAST, hmget_run, "2.0.0", "O(N) for N fields", "Returns the values of several fields."),
    {.name = "hmset", .syntax = "key field value [field value ...]", .arity = -4, .keys = "1:RW", .flags = WR | CMD_FAST | CMD_REPEATABLE, .run = hmset_run,
     .since = "2.0.0", .cost = "O(N) for N fields", .summary = "Sets several fields.", .deprecated_since = "4.0.0", .replaced_by = "`HSET` with multiple field-value pairs"},
    {.name = "hrandfield", .syntax = "key [count [WITHVALUES]]", .arity = -2, .keys = "1:R", .flags = CMD_READONLY, .run = hrandfield_run,
     .since = "6.2.0", .cost = "O(N) for N fields returned", .summary = "Returns random fields.", .tips = "nondeterministic_output"},
    {.name = "hscan", .syntax = "key cursor [MATCH pattern] [COUNT count]", .arity = -3, .keys = "1:R", .flags = CMD_READONLY, .run = hscan_run,
     .since = "2.8.0", .cost = "O(1) a call, O(N) for all fields", .summary = "Returns fields and values, some at a time.", .tips = "nondeterministic_output"},
    ROW("hset", "key field value [field value ...]", -4, "1:RW", WR | CMD_FAST | CMD_REPEATABLE, hset_run, "2.0.0", "O(N) for N fields", "Sets fields."),
    ROW("hsetnx", "key field value", 4, "1:RW", WR | CMD_FAST, hsetnx_run, "2.0.0", "O(1)", "Sets a field unless it exists."),
    ROW("hstrlen", "key field", 3, "1:R", CMD_READONLY | CMD_NEAR | CMD_FAST, hstrlen_run, "3.2.0", "O(1)", "Returns the length of a field's value."),
    {.name = "hvals", .syntax = "key", .arity = 2, .keys = "1:R", .flags = CMD_READONLY | CMD_NEAR, .run = hvals_run, .since = "2.0.0",
     .cost = "O(N) for N fields", .summary = "Returns all values.", .tips = "nondeterministic_output_order"},
    {0}};
