/* SPDX-License-Identifier: BSD-3-Clause */
/* key: commands on keys of any type. Deadlines are in expire.c, whole-keyspace walks in scan.c, DUMP and RESTORE in dump.c. */
#include "src/cmd/key.h"

#include "src/base/mem.h"
#include "src/cmd/call.h"

static enum err del_run(struct call *c) {
    int64_t n = 0;
    for (int i = 0; i < c->nkeys; i++) {
        n += call_del(c, i);
    }
    reply_int(c->out, n);
    return OK;
}

static enum err exists_run(struct call *c) {
    struct item_view v;
    int64_t n = 0;
    for (int i = 0; i < c->nkeys; i++) {
        bool found = call_peek(c, i, &v);
        call_count_read(c, i, found ? &v : NULL);
        n += found;
    }
    reply_int(c->out, n);
    return OK;
}

static enum err touch_run(struct call *c) {
    struct item_view v;
    int64_t n = 0;
    for (int i = 0; i < c->nkeys; i++) {
        n += l1_get(c->l1, &c->keys[i], c->now_ms, L1_TOUCH, &v);
    }
    reply_int(c->out, n);
    return OK;
}

static enum err type_run(struct call *c) {
    struct item_view v;
    reply_status(c->out, value_type_name(call_peek(c, 0, &v) ? v.type : TYPE_NONE));
    return OK;
}

/* ---- moving values ---- */

/* A string to be written elsewhere: the write may move the original. NULL without memory. */
static char *copy_bytes(struct slice s) {
    char *bytes = mem_try_alloc(s.n);
    if (bytes != NULL) {
        memcpy(bytes, s.p, s.n);
    }
    return bytes;
}

/* Key 0's value becomes key `to`'s too, with the deadline; strings are copied, aggregates shared until changed. move: key 0 will
 * lose it at once. */
static enum err copy_value(struct call *c, int to, const struct item_view *v, bool move) {
    struct item_extra extra;
    item_extra_get(v->extra, &extra);
    int64_t expire_ms = item_own_deadline(v->expire_ms, &extra);
    c->exact = true;
    if (v->type != TYPE_STRING) {
        struct value *value = move ? value_ref(v->value) : value_share(v->value);
        return value == NULL ? ERR_OUT_OF_MEMORY : call_set_value(c, to, value, expire_ms);
    }
    char *bytes = copy_bytes(v->str);
    if (bytes == NULL) {
        return ERR_OUT_OF_MEMORY;
    }
    enum err e = call_set(c, to, slice_make(bytes, v->str.n), expire_ms, v->raw ? L1_RAW : 0);
    mem_free(bytes);
    return e;
}

static enum err rename_generic(struct call *c, bool only_new, bool *done) {
    struct item_view v, other;
    if (!call_peek(c, 0, &v)) {
        return ERR_NO_SUCH_KEY;
    }
    *done = !(only_new && call_peek(c, 1, &other));
    if (!*done || slice_eq(c->keys[0].name, c->keys[1].name)) {
        *done = *done && !only_new;
        return OK;
    }
    call_peek(c, 0, &v);
    enum err e = copy_value(c, 1, &v, true);
    if (e == OK) {
        call_del(c, 0);
    }
    return e;
}

static enum err rename_run(struct call *c) {
    bool done;
    enum err e = rename_generic(c, false, &done);
    if (e == OK) {
        reply_ok(c->out);
    }
    return e;
}

static enum err renamenx_run(struct call *c) {
    bool done;
    enum err e = rename_generic(c, true, &done);
    if (e == OK) {
        reply_int(c->out, done);
    }
    return e;
}

/* The argument as a database number. */
static bool arg_db(const struct call *c, int i, int64_t *db) {
    return num_parse_i64(c->argv[i], db) && *db >= 0 && *db < c->conf->databases;
}

static int move_db(const struct slice *argv, int argc) {
    int64_t db;
    return argc == 3 && num_parse_i64(argv[2], &db) && db >= 0 && db < L1_MAX_DBS ? (int)db : -1;
}

static int copy_db(const struct slice *argv, int argc) {
    int64_t db = -1;
    for (int i = 3; i + 1 < argc; i++) {
        if (slice_eqi(argv[i], "db") && !num_parse_i64(argv[++i], &db)) {
            return -1;
        }
    }
    return db >= 0 && db < L1_MAX_DBS ? (int)db : -1;
}

static enum err move_run(struct call *c) {
    int64_t db;
    struct item_view v, other;
    if (!num_parse_i64(c->argv[2], &db)) {
        return call_errorf(c, "ERR value is not an integer or out of range");
    }
    if (db < 0 || db >= c->conf->databases) {
        return ERR_DB_INDEX;
    }
    if (db == atomic_load_explicit(&c->client->db, memory_order_relaxed)) {
        return ERR_SAME_OBJECT;
    }
    if (!call_peek(c, 0, &v) || call_peek(c, 1, &other)) {
        reply_int(c->out, 0);
        return OK;
    }
    call_peek(c, 0, &v);
    enum err e = copy_value(c, 1, &v, true);
    if (e == OK) {
        call_del(c, 0);
        reply_int(c->out, 1);
    }
    return e;
}

static enum err copy_run(struct call *c) {
    int64_t here = atomic_load_explicit(&c->client->db, memory_order_relaxed), db = here;
    bool replace = false;
    for (int i = 3; i < c->argc; i++) {
        if (arg_is(c, i, "replace")) {
            replace = true;
        } else if (arg_is(c, i, "db") && i + 1 < c->argc) {
            if (!num_parse_i64(c->argv[i + 1], &db)) {
                return ERR_NOT_INT;
            }
            if (!arg_db(c, ++i, &db)) {
                return ERR_DB_INDEX;
            }
        } else {
            return ERR_SYNTAX;
        }
    }
    if (db == here && slice_eq(c->argv[1], c->argv[2])) {
        return ERR_SAME_OBJECT;
    }
    struct item_view v, other;
    if (!call_peek(c, 0, &v) || (call_peek(c, 1, &other) && !replace)) {
        reply_int(c->out, 0);
        return OK;
    }
    call_peek(c, 0, &v);
    enum err e = copy_value(c, 1, &v, false);
    if (e == OK) {
        reply_int(c->out, 1);
    }
    return e;
}

/* ---- OBJECT ---- */

static const char *encoding_of(const struct item_view *v) {
    int64_t n;
    if (v->type != TYPE_STRING) {
        return value_encoding_name(v->value);
    }
    if (v->raw) {
        return "raw";
    }
    if (v->str.n <= 20 && num_parse_i64(v->str, &n)) {
        return "int";
    }
    return v->str.n <= 44 ? "embstr" : "raw";
}

static enum err object_encoding_run(struct call *c) {
    struct item_view v;
    if (call_peek(c, 0, &v)) {
        reply_bulk_cstr(c->out, encoding_of(&v));
    } else {
        reply_null(c->out);
    }
    return OK;
}

static enum err object_refcount_run(struct call *c) {
    struct item_view v;
    if (call_peek(c, 0, &v)) {
        reply_int(c->out, 1);
    } else {
        reply_null(c->out);
    }
    return OK;
}

static bool lfu_policy(const struct call *c) {
    return strstr(l1_policy_name(c->l1), "lfu") != NULL;
}

static enum err object_freq_run(struct call *c) {
    struct item_info info;
    if (!l1_info(c->l1, &c->keys[0], c->now_ms, &info)) {
        reply_null(c->out);
        return OK;
    }
    if (!lfu_policy(c)) {
        return call_errorf(c, "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note "
                              "that when switching between policies at runtime LRU and LFU data will take some time "
                              "to adjust.");
    }
    reply_int(c->out, info.freq);
    return OK;
}

static enum err object_idletime_run(struct call *c) {
    struct item_info info;
    if (!l1_info(c->l1, &c->keys[0], c->now_ms, &info)) {
        reply_null(c->out);
        return OK;
    }
    if (lfu_policy(c)) {
        return call_errorf(c, "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when "
                              "switching between policies at runtime LRU and LFU data will take some time to adjust.");
    }
    reply_int(c->out, info.idle_ms / 1000);
    return OK;
}

static enum err object_help_run(struct call *c) {
    static const char *const lines[] = {
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
        NULL};
    return call_reply_help(c, lines);
}

#define OBJECT_SUB(nm, text) \
    {.name = #nm, .syntax = "key", .arity = 3, .keys = "2:M", .flags = CMD_READONLY | CMD_KEYSPACE, .run = object_##nm##_run, \
     .since = "2.2.3", .cost = "O(1)", .summary = text, .tips = "nondeterministic_output"}

static const struct command object_subs[] = {
    OBJECT_SUB(encoding, "Tells how a value is represented."),
    OBJECT_SUB(freq, "Tells how often a key was used, on a logarithmic scale."),
    OBJECT_SUB(idletime, "Tells how long a key has not been used."),
    OBJECT_SUB(refcount, "Tells how many refer to a value."),
    {.name = "help", .syntax = "", .arity = 2, .flags = CMD_LOADING | CMD_STALE | CMD_KEYSPACE, .run = object_help_run,
     .since = "6.2.0", .cost = "O(1)", .summary = "Lists the subcommands."},
    {0}};

/* ---- WAIT ---- */

static enum err wait_run(struct call *c) {
    int64_t replicas, timeout;
    if (arg_i64(c, 1, &replicas) != OK) {
        return ERR_NOT_INT;
    }
    if (!num_parse_i64(c->argv[2], &timeout)) {
        return call_errorf(c, "ERR timeout is not an integer or out of range");
    }
    if (timeout < 0) {
        return call_errorf(c, "ERR timeout is negative");
    }
    reply_int(c->out, 0); /* there are no replicas to wait for */
    return OK;
}

#define KS CMD_KEYSPACE

const struct command key_commands[] = {
    {.name = "copy", .syntax = "source destination [DB destination-db] [REPLACE]", .arity = -3, .keys = "1:R 2:RW",
     .flags = CMD_WRITE | CMD_DENYOOM | KS | CMD_ALL_SHARDS, .run = copy_run, .other_db = copy_db, .since = "6.2.0", .cost = "O(N) for the size of the value",
     .summary = "Copies a value to another key."},
    {.name = "del", .syntax = "key [key ...]", .arity = -2, .keys = "1..-1:RW", .flags = CMD_WRITE | CMD_DROPS | KS | CMD_REPEATABLE, .run = del_run,
     .spread = SPREAD_SUM, .since = "1.0.0", .cost = "O(N) for N keys", .summary = "Deletes keys.", .tips = "request_policy:multi_shard,response_policy:agg_sum"},
    {.name = "dump", .syntax = "key", .arity = 2, .keys = "1:R", .flags = CMD_READONLY | CMD_FRESH | KS, .run = dump_run,
     .since = "2.6.0", .cost = "O(N) for the size of the value", .summary = "Returns a value in RDB form.", .tips = "nondeterministic_output"},
    {.name = "exists", .syntax = "key [key ...]", .arity = -2, .keys = "1..-1:M", .flags = CMD_READONLY | CMD_NEAR | CMD_FAST | KS,
     .run = exists_run, .spread = SPREAD_SUM, .since = "1.0.0", .cost = "O(N) for N keys", .summary = "Counts which of the keys exist.", .tips = "request_policy:multi_shard,response_policy:agg_sum"},
    {.name = "expire", .syntax = "key seconds [NX | XX | GT | LT]", .arity = -3, .keys = "1:RW", .flags = CMD_WRITE | CMD_FAST | KS | CMD_REPEATABLE,
     .run = expire_run, .since = "1.0.0", .cost = "O(1)", .summary = "Sets a time to live in seconds."},
    {.name = "expireat", .syntax = "key unix-time-seconds [NX | XX | GT | LT]", .arity = -3, .keys = "1:RW",
     .flags = CMD_WRITE | CMD_FAST | KS | CMD_REPEATABLE, .run = expireat_run, .since = "1.2.0", .cost = "O(1)", .summary = "Sets a deadline in Unix seconds."},
    {.name = "expiretime", .syntax = "key", .arity = 2, .keys = "1:M", .flags = CMD_READONLY | CMD_NEAR | CMD_FAST | KS,
     .run = expiretime_run, .since = "7.0.0", .cost = "O(1)", .summary = "Returns the deadline in Unix seconds."},
    {.name = "keys", .syntax = "pattern", .arity = 2, .flags = CMD_READONLY | KS | CMD_DANGEROUS | CMD_WHOLE, .run = keys_run,
     .spread = SPREAD_JOIN, .since = "1.0.0", .cost = "O(N) for all keys, in slices", .summary = "Returns the names of all keys that match a pattern.", .tips = "request_policy:all_shards,nondeterministic_output_order"},
    {.name = "move", .syntax = "key db", .arity = 3, .keys = "1:RW", .flags = CMD_WRITE | CMD_FAST | KS | CMD_ALL_SHARDS, .run = move_run, .other_db = move_db,
     .since = "1.0.0", .cost = "O(1)", .summary = "Moves a key to another database."},
    {.name = "object", .syntax = "subcommand [argument ...]", .arity = -2, .sub = object_subs, .flags = 0, .since = "2.2.3",
     .cost = "Depends on the subcommand.", .summary = "Looks inside a value."},
    {.name = "persist", .syntax = "key", .arity = 2, .keys = "1:RW", .flags = CMD_WRITE | CMD_FAST | KS | CMD_REPEATABLE, .run = persist_run,
     .since = "2.2.0", .cost = "O(1)", .summary = "Removes the deadline of a key."},
    {.name = "pexpire", .syntax = "key milliseconds [NX | XX | GT | LT]", .arity = -3, .keys = "1:RW", .flags = CMD_WRITE | CMD_FAST | KS | CMD_REPEATABLE,
     .run = pexpire_run, .since = "2.6.0", .cost = "O(1)", .summary = "Sets a time to live in milliseconds."},
    {.name = "pexpireat", .syntax = "key unix-time-milliseconds [NX | XX | GT | LT]", .arity = -3, .keys = "1:RW",
     .flags = CMD_WRITE | CMD_FAST | KS | CMD_REPEATABLE, .run = pexpireat_run, .since = "2.6.0", .cost = "O(1)", .summary = "Sets a deadline in Unix milliseconds."},
    {.name = "pexpiretime", .syntax = "key", .arity = 2, .keys = "1:M", .flags = CMD_READONLY | CMD_NEAR | CMD_FAST | KS,
     .run = pexpiretime_run, .since = "7.0.0", .cost = "O(1)", .summary = "Returns the deadline in Unix milliseconds."},
    {.name = "pttl", .syntax = "key", .arity = 2, .keys = "1:M", .flags = CMD_READONLY | CMD_FAST | KS, .run = pttl_run,
     .since = "2.6.0", .cost = "O(1)", .summary = "Returns the time to live in milliseconds.", .tips = "nondeterministic_output"},
    {.name = "randomkey", .syntax = "", .arity = 1, .flags = CMD_READONLY | KS | CMD_WHOLE, .run = randomkey_run, .spread = SPREAD_ANY, .since = "1.0.0",
     .cost = "O(1)", .summary = "Returns the name of some key.", .tips = "request_policy:all_shards,nondeterministic_output"},
    {.name = "rename", .syntax = "key newkey", .arity = 3, .keys = "1:RW 2:W", .flags = CMD_WRITE | KS, .run = rename_run,
     .since = "1.0.0", .cost = "O(1) but for long strings", .summary = "Renames a key, replacing what bears the new name."},
    {.name = "renamenx", .syntax = "key newkey", .arity = 3, .keys = "1:RW 2:RW", .flags = CMD_WRITE | CMD_FAST | KS, .run = renamenx_run,
     .since = "1.0.0", .cost = "O(1) but for long strings", .summary = "Renames a key unless the new name is taken."},
    {.name = "restore", .syntax = "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]", .arity = -4,
     .keys = "1:RW", .flags = CMD_WRITE | CMD_DENYOOM | KS | CMD_DANGEROUS, .run = restore_run, .since = "2.6.0",
     .cost = "O(N) for the size of the value", .summary = "Makes a key from what DUMP returned."},
    {.name = "scan", .syntax = "cursor [MATCH pattern] [COUNT count] [TYPE type]", .arity = -2, .flags = CMD_READONLY | KS | CMD_WHOLE,
     .run = scan_run, .spread = SPREAD_SCAN, .since = "2.8.0", .cost = "O(1) a call, O(N) for all keys", .summary = "Returns the names of keys, some at a time.", .tips = "nondeterministic_output,request_policy:special"},
    {.name = "touch", .syntax = "key [key ...]", .arity = -2, .keys = "1..-1:R", .flags = CMD_READONLY | CMD_FAST | CMD_FRESH | KS,
     .run = touch_run, .spread = SPREAD_SUM, .since = "3.2.1", .cost = "O(N) for N keys", .summary = "Marks keys as used.", .tips = "request_policy:multi_shard,response_policy:agg_sum"},
    {.name = "ttl", .syntax = "key", .arity = 2, .keys = "1:M", .flags = CMD_READONLY | CMD_FAST | KS, .run = ttl_run,
     .since = "1.0.0", .cost = "O(1)", .summary = "Returns the time to live in seconds.", .tips = "nondeterministic_output"},
    {.name = "type", .syntax = "key", .arity = 2, .keys = "1:M", .flags = CMD_READONLY | CMD_NEAR | CMD_FAST | KS, .run = type_run,
     .since = "1.0.0", .cost = "O(1)", .summary = "Returns the type of a value."},
    {.name = "unlink", .syntax = "key [key ...]", .arity = -2, .keys = "1..-1:RW", .flags = CMD_WRITE | CMD_FAST | CMD_DROPS | KS | CMD_REPEATABLE, .run = del_run,
     .spread = SPREAD_SUM, .since = "4.0.0", .cost = "O(1) for each key", .summary = "Deletes keys; large values are freed later, as DEL's are too.", .tips = "request_policy:multi_shard,response_policy:agg_sum"},
    {.name = "wait", .syntax = "numreplicas timeout", .arity = 3, .flags = CMD_NOSCRIPT | CMD_CONNECTION, .run = wait_run, .since = "3.0.0",
     .cost = "O(1)", .summary = "Answers 0: there are no replicas.", .tips = "request_policy:all_shards,response_policy:agg_min"},
    {0}};
