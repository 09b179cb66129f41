/* SPDX-License-Identifier: BSD-3-Clause */
/* debug: the DEBUG command, behind enable-debug-command as in Redis 7. */
#include <math.h>
#include <stdio.h>

#include "src/base/clock.h"
#include "src/cmd/call.h"
#include "src/tier/tier.h"

/* The words of enable-debug-command, in the row's order. */
enum { DEBUG_NO, DEBUG_YES, DEBUG_LOCAL };

static bool is_local(const struct client *client) {
    return client_is(client, CLIENT_UNIX) || strncmp(client->addr, "127.", 4) == 0 || strncmp(client->addr, "[::1]", 5) == 0;
}

/* OK, or the refusal. */
static enum err check_allowed(struct call *c) {
    int who = c->conf->enable_debug_command;
    if (who == DEBUG_YES || (who == DEBUG_LOCAL && is_local(c->client))) {
        return OK;
    }
    return call_errorf(c, "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it "
                          "from a local connection, otherwise you need to set this option in the configuration file, and then "
                          "restart the server.");
}

static enum err sleep_run(struct call *c) {
    long double seconds;
    enum err e = check_allowed(c);
    if (e != OK) {
        return e;
    }
    if (!num_parse_ld(c->argv[2], &seconds) || seconds < 0 || seconds > 1000000) {
        seconds = 0;
    }
    return c->host->ops->sleep(c, (int64_t)llroundl(seconds * 1000));
}

static enum err stall_run(struct call *c) {
    int64_t ms;
    enum err e = check_allowed(c);
    if (e != OK) {
        return e;
    }
    if (arg_i64(c, 2, &ms) != OK || ms < 0 || ms > 60000) {
        return ERR_OUT_OF_RANGE;
    }
    c->host->ops->stall(ms);
    reply_ok(c->out);
    return OK;
}

static enum err profile_run(struct call *c) {
    enum err e = check_allowed(c);
    return e != OK ? e : c->host->ops->profile(c);
}

static enum err object_run(struct call *c) {
    enum err e = check_allowed(c);
    struct item_info info;
    struct item_view v;
    if (e != OK) {
        return e;
    }
    if (!call_peek(c, 0, &v) || !l1_info(c->l1, &c->keys[0], c->now_ms, &info)) {
        return ERR_NO_SUCH_KEY;
    }
    char text[256];
    snprintf(text, sizeof(text), "Value at:0x0 refcount:1 encoding:%s serializedlength:%zu lru:0 lru_seconds_idle:%lld",
             v.type == TYPE_STRING ? (v.raw ? "raw" : "embstr") : value_encoding_name(v.value), info.bytes, (long long)(info.idle_ms / 1000));
    reply_status(c->out, text);
    return OK;
}

static enum err error_run(struct call *c) {
    enum err e = check_allowed(c);
    if (e != OK) {
        return e;
    }
    reply_error(c->out, c->argv[2]);
    return ERR_REPLIED;
}

static enum err set_active_expire_run(struct call *c) {
    enum err e = check_allowed(c);
    if (e != OK) {
        return e;
    }
    atomic_store(&c->l1->active_expire, !arg_is(c, 2, "0"));
    reply_ok(c->out);
    return OK;
}

/* DEBUG EVICT: everything leaves memory, as if it were full. DEBUG PROBE 0: what slower tiers have in memory counts as cold. */
static enum err evict_run(struct call *c) {
    enum err e = check_allowed(c);
    if (e != OK) {
        return e;
    }
    int64_t n = 0;
    for (unsigned i = 0; i < c->l1->shard_count; i++) {
        l1_lock(c->l1, i);
        n += l1_evict(c->l1, i, UINT32_MAX, c->now_ms);
        l1_unlock(c->l1, i);
    }
    reply_int(c->out, n);
    return OK;
}

static enum err probe_run(struct call *c) {
    enum err e = check_allowed(c);
    if (e != OK) {
        return e;
    }
    atomic_store(&c->host->tier->never_probe, arg_is(c, 2, "0"));
    reply_ok(c->out);
    return OK;
}

/* DEBUG CLOCK ADVANCE ms: moves the wall clock of the whole process, so that tests need not wait. */
static enum err clock_run(struct call *c) {
    int64_t ms;
    enum err e = check_allowed(c);
    if (e != OK) {
        return e;
    }
    if (!arg_is(c, 2, "advance")) {
        return ERR_SYNTAX;
    }
    if (arg_i64(c, 3, &ms) != OK) {
        return ERR_NOT_INT;
    }
    clock_advance_ms(ms);
    reply_ok(c->out);
    return OK;
}

/* DEBUG POPULATE count [prefix] [size]: every shard is locked. */
static enum err populate_run(struct call *c) {
    int64_t count, size = -1;
    enum err e = check_allowed(c);
    if (e != OK) {
        return e;
    }
    if (arg_i64(c, 2, &count) != OK || (c->argc > 4 && arg_i64(c, 4, &size) != OK) || count < 0 || count > 1000000000 ||
        size > (1 << 20)) {
        return ERR_OUT_OF_RANGE;
    }
    struct slice prefix = c->argc > 3 ? c->argv[3] : SLICE("key");
    for (int64_t i = 0; i < count; i++) {
        char name[512], text[64];
        int n = snprintf(name, sizeof(name), "%.*s:%lld", (int)(prefix.n < 400 ? prefix.n : 400), prefix.p, (long long)i);
        struct key key = key_make(slice_make(name, (size_t)n), c->db);
        struct item_view v;
        if (l1_get(c->l1, &key, c->now_ms, L1_NOTOUCH, &v)) {
            continue;
        }
        int m = snprintf(text, sizeof(text), "value:%lld", (long long)i);
        struct slice value = slice_make(text, (size_t)m);
        if (size >= 0) {
            char *padded = arena_alloc(c->arena, (size_t)size + 1);
            memset(padded, 0, (size_t)size);
            memcpy(padded, text, (size_t)(m < size ? m : size));
            value = slice_make(padded, (size_t)size);
        }
        e = l1_set(c->l1, &key, value, L1_NO_TTL, 0, c->now_ms);
        if (e != OK) {
            return e;
        }
    }
    reply_ok(c->out);
    return OK;
}

static enum err reload_run(struct call *c) {
    bool nosave = false, noflush = false;
    enum err e = check_allowed(c);
    if (e != OK) {
        return e;
    }
    for (int i = 2; i < c->argc; i++) {
        nosave |= arg_is(c, i, "nosave");
        noflush |= arg_is(c, i, "noflush");
        if (!arg_is(c, i, "nosave") && !arg_is(c, i, "noflush") && !arg_is(c, i, "merge")) {
            return call_errorf(c, "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.");
        }
    }
    return c->host->ops->reload(c, nosave, noflush);
}

static enum err protocol_run(struct call *c) {
    enum err e = check_allowed(c);
    struct out *o = c->out;
    if (e != OK) {
        return e;
    }
    if (arg_is(c, 2, "string")) {
        reply_bulk_cstr(o, "Hello World");
    } else if (arg_is(c, 2, "integer")) {
        reply_int(o, 12345);
    } else if (arg_is(c, 2, "double")) {
        reply_double(o, 3.141);
    } else if (arg_is(c, 2, "null")) {
        reply_null(o);
    } else if (arg_is(c, 2, "array") || arg_is(c, 2, "set") || arg_is(c, 2, "map") || arg_is(c, 2, "push")) {
        bool map = arg_is(c, 2, "map"), set = arg_is(c, 2, "set"), push = arg_is(c, 2, "push");
        (map ? reply_map : set ? reply_set : push ? reply_push : reply_array)(o, push ? 2 : 3);
        if (push) {
            reply_bulk_cstr(o, "server-cpu-usage");
            reply_int(o, 42);
        }
        for (int j = 0; !push && j < 3; j++) {
            reply_int(o, j);
            if (map) {
                reply_bool(o, j == 1);
            }
        }
    } else if (arg_is(c, 2, "attrib")) {
        if (o->proto < 3) {
            return call_errorf(c, "ERR protocol 2 has no attributes");
        }
        reply_attribute(o, 1);
        reply_bulk_cstr(o, "key-popularity");
        reply_array(o, 2);
        reply_bulk_cstr(o, "key:123");
        reply_int(o, 90);
        reply_bulk_cstr(o, "Some real reply following the attribute");
    } else if (arg_is(c, 2, "verbatim")) {
        reply_verbatim(o, "txt", SLICE("This is a verbatim\nstring"));
    } else if (arg_is(c, 2, "true") || arg_is(c, 2, "false")) {
        reply_bool(o, arg_is(c, 2, "true"));
    } else if (arg_is(c, 2, "bignum")) {
        reply_big_number(o, SLICE("1234567999999999999999999999999999999"));
    } else {
        return call_errorf(c, "ERR Wrong protocol type name. Please use one of the following: "
                              "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false");
    }
    return OK;
}

static enum err help_run(struct call *c) {
    static const char *const lines[] = {"CLOCK ADVANCE <milliseconds>", "    Move the server's wall clock.",
                                        "ERROR <string>", "    Return a Redis protocol error with <string> as message.",
                                        "EVICT", "    Evict every key from memory.",
                                        "OBJECT <key>", "    Show low level info about <key> and associated value.",
                                        "POPULATE <count> [<prefix>] [<size>]", "    Create <count> string keys named key:<num>.",
                                        "PROBE <0|1>", "    Setting it to 0 makes every key of slower tiers a cold one.",
                                        "PROFILE CPU <seconds> [<path>]", "    Write what threads spend their time on to a file under `dir`, as folded stacks.",
                                        "PROFILE HEAP [<path>]", "    Write who has allocated what, when jemalloc records it.",
                                        "PROTOCOL <type>", "    Reply with a test value of the specified type.",
                                        "RELOAD [option ...]", "    Save the RDB on disk and reload it back to memory.",
                                        "SET-ACTIVE-EXPIRE <0|1>", "    Setting it to 0 disables expiring keys in background.",
                                        "SLEEP <seconds>", "    Answer after <seconds>; other clients are served meanwhile.",
                                        "STALL <milliseconds>", "    Keep the event loop busy, and its other clients waiting.", NULL};
    return call_reply_help(c, lines);
}

#define ADM (CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_DANGEROUS)
#define ROW(nm, args, n, fn, text) {.name = nm, .syntax = args, .arity = n, .flags = ADM, .run = fn, .allowed = check_allowed, .since = "1.0.0", .cost = "For tests.", .summary = text}

static const struct command debug_subs[] = {
    ROW("clock", "ADVANCE milliseconds", 4, clock_run, "Moves the server's wall clock."),
    {.name = "evict", .syntax = "", .arity = 2, .flags = ADM | CMD_NO_MULTI, .run = evict_run, .allowed = check_allowed, .since = "1.0.0", .cost = "For tests.", .summary = "Evicts every key from memory."},
    ROW("error", "text", 3, error_run, "Answers with an error."),
    ROW("help", "", 2, help_run, "Lists the subcommands."),
    {.name = "object", .syntax = "key", .arity = 3, .keys = "2:M", .flags = ADM, .run = object_run, .allowed = check_allowed, .since = "1.0.0", .cost = "For tests.", .summary = "Looks inside a value."},
    {.name = "populate", .syntax = "count [prefix] [size]", .arity = -3, .flags = ADM | CMD_ALL_SHARDS | CMD_WRITE, .run = populate_run, .allowed = check_allowed, .since = "1.0.0", .cost = "For tests.", .summary = "Makes keys."},
    ROW("probe", "0 | 1", 3, probe_run, "Whether slower tiers are asked for what they have in memory."),
    {.name = "profile", .syntax = "CPU seconds [path] | HEAP [path]", .arity = -3, .flags = ADM | CMD_NO_MULTI | CMD_SKIP_SLOWLOG, .run = profile_run, .allowed = check_allowed, .since = "7.2.0", .cost = "For tests.", .summary = "Profiles the server."},
    ROW("protocol", "type", 3, protocol_run, "Answers with a value of a protocol type."),
    {.name = "reload", .syntax = "[NOSAVE] [NOFLUSH] [MERGE]", .arity = -2, .flags = ADM | CMD_ALL_SHARDS | CMD_NO_MULTI, .run = reload_run, .allowed = check_allowed, .since = "1.0.0", .cost = "For tests.", .summary = "Saves and loads the RDB file."},
    ROW("set-active-expire", "0 | 1", 3, set_active_expire_run, "Turns expiry in the background off and on."),
    ROW("sleep", "seconds", 3, sleep_run, "Answers after a time."),
    ROW("stall", "milliseconds", 3, stall_run, "Keeps the event loop busy."),
    {0}};

const struct command debug_commands[] = {
    {.name = "debug", .syntax = "subcommand [argument ...]", .arity = -2, .sub = debug_subs, .flags = ADM, .since = "1.0.0", .cost = "For tests.", .summary = "Tests and inspects the server."},
    {0}};
