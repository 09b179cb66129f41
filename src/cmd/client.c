/* SPDX-License-Identifier: BSD-3-Clause */
/* client: the CLIENT command. */
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/cmd/conn.h"

static enum err id_run(struct call *c) {
    reply_int(c->out, (int64_t)c->client->id);
    return OK;
}

static enum err getname_run(struct call *c) {
    if (c->client->name == NULL) {
        reply_null(c->out);
    } else {
        reply_bulk_cstr(c->out, c->client->name);
    }
    return OK;
}

static enum err setname_run(struct call *c) {
    if (!client_text_valid(c->argv[2])) {
        return call_errorf(c, "ERR Client names cannot contain spaces, newlines or special characters.");
    }
    c->host->ops->set_client_text(c->host, c->client, &c->client->name, c->argv[2]);
    reply_ok(c->out);
    return OK;
}

static enum err setinfo_run(struct call *c) {
    bool name = arg_is(c, 2, "lib-name"), ver = arg_is(c, 2, "lib-ver");
    if (!name && !ver) {
        return call_errorf(c, "ERR Unrecognized option '%.*s'", SLICE_ARG(c->argv[2]));
    }
    if (!client_text_valid(c->argv[3])) {
        return call_errorf(c, "ERR %s cannot contain spaces, newlines or special characters.", name ? "lib-name" : "lib-ver");
    }
    c->host->ops->set_client_text(c->host, c->client, name ? &c->client->lib_name : &c->client->lib_ver, c->argv[3]);
    reply_ok(c->out);
    return OK;
}

/* ---- INFO and LIST ---- */

struct listing {
    struct buf text;
    int64_t now_ms;
};

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

static void put_flags(struct buf *b, const struct client *c) {
    uint32_t f = client_flags(c);
    size_t before = b->n;
    buf_puts(b, f & CLIENT_MONITOR ? "O" : "");
    buf_puts(b, f & CLIENT_MULTI ? "x" : "");
    buf_puts(b, f & CLIENT_BLOCKED ? "b" : "");
    buf_puts(b, LOAD(c->watch_dirty) ? "d" : "");
    buf_puts(b, f & CLIENT_CLOSE_AFTER_REPLY ? "c" : "");
    buf_puts(b, f & CLIENT_UNIX ? "U" : "");
    buf_puts(b, f & CLIENT_READONLY ? "r" : "");
    buf_puts(b, f & CLIENT_NO_EVICT ? "e" : "");
    buf_puts(b, f & CLIENT_NO_TOUCH ? "T" : "");
    buf_puts(b, b->n == before ? "N" : "");
}

static void put_client(void *ctx, struct client *c) {
    struct listing *l = ctx;
    struct buf *b = &l->text;
    const struct cmd *last = LOAD(c->last_cmd);
    size_t in = LOAD(c->in_bytes), out = LOAD(c->out_bytes), arg = LOAD(c->arg_bytes);
    buf_printf(b, "id=%llu addr=%s laddr=%s fd=%d name=%s age=%lld idle=%lld flags=", (unsigned long long)c->id, c->addr,
               c->laddr, c->fd, c->name != NULL ? c->name : "", (long long)((l->now_ms - c->created_ms) / 1000),
               (long long)((l->now_ms - LOAD(c->last_ms)) / 1000));
    put_flags(b, c);
    buf_printf(b, " db=%d sub=0 psub=0 ssub=0 multi=%d watch=%d qbuf=%zu qbuf-free=0 argv-mem=%zu multi-mem=0 rbs=0 rbp=0 obl=%zu oll=0 "
                  "omem=%zu tot-mem=%zu events=r cmd=%s user=%s redir=-1 resp=%d lib-name=%s lib-ver=%s\n",
               LOAD(c->db), LOAD(c->multi_count), LOAD(c->watch_mark), in, arg, out, out, in + out + arg + sizeof(*c),
               last != NULL ? last->full_name : "NULL", c->user, LOAD(c->proto), c->lib_name != NULL ? c->lib_name : "",
               c->lib_ver != NULL ? c->lib_ver : "");
}

static enum err info_run(struct call *c) {
    struct listing l = {.now_ms = c->now_ms};
    struct client_filter self = {.id = c->client->id};
    atomic_store_explicit(&c->client->last_cmd, c->cmd, memory_order_relaxed);
    c->host->ops->each_client(c->host, &self, put_client, &l);
    reply_verbatim(c->out, "txt", buf_slice(&l.text));
    buf_free(&l.text);
    return OK;
}

static int client_type(struct slice s) {
    static const char *const names[] = {"normal", "master", "replica", "pubsub"};
    for (int i = 0; i < 4; i++) {
        if (slice_eqi(s, names[i])) {
            return i + 1;
        }
    }
    return slice_eqi(s, "slave") ? 3 : 0;
}

static enum err parse_ids(struct call *c, int from, struct client_filter *f) {
    uint64_t *ids = arena_alloc(c->arena, (size_t)c->argc * sizeof(*ids));
    for (int i = from; i < c->argc; i++) {
        int64_t id;
        if (!num_parse_i64(c->argv[i], &id) || id < 1) {
            return call_errorf(c, "ERR Invalid client ID");
        }
        ids[f->id_count++] = (uint64_t)id;
    }
    f->ids = ids;
    return OK;
}

static enum err list_run(struct call *c) {
    struct client_filter f = {0};
    if (c->argc > 3 && arg_is(c, 2, "type") && c->argc == 4) {
        f.type = client_type(c->argv[3]);
        if (f.type == 0) {
            return call_errorf(c, "ERR Unknown client type '%.*s'", SLICE_ARG(c->argv[3]));
        }
    } else if (c->argc > 3 && arg_is(c, 2, "id")) {
        enum err e = parse_ids(c, 3, &f);
        if (e != OK) {
            return e;
        }
    } else if (c->argc != 2) {
        return ERR_SYNTAX;
    }
    struct listing l = {.now_ms = c->now_ms};
    atomic_store_explicit(&c->client->last_cmd, c->cmd, memory_order_relaxed);
    c->host->ops->each_client(c->host, &f, put_client, &l);
    reply_verbatim(c->out, "txt", l.text.p == NULL ? slice_make("", 0) : buf_slice(&l.text));
    buf_free(&l.text);
    return OK;
}

/* ---- KILL ---- */

static enum err parse_kill(struct call *c, struct client_filter *f, bool *skip_me) {
    for (int i = 2; i < c->argc; i += 2) {
        if (i + 1 >= c->argc) {
            return ERR_SYNTAX;
        }
        struct slice v = c->argv[i + 1];
        int64_t id;
        if (arg_is(c, i, "id")) {
            if (!num_parse_i64(v, &id) || id < 1) {
                return call_errorf(c, "ERR client-id should be greater than 0");
            }
            f->id = (uint64_t)id;
        } else if (arg_is(c, i, "type")) {
            f->type = client_type(v);
            if (f->type == 0) {
                return call_errorf(c, "ERR Unknown client type '%.*s'", SLICE_ARG(v));
            }
        } else if (arg_is(c, i, "addr")) {
            f->addr = v;
        } else if (arg_is(c, i, "laddr")) {
            f->laddr = v;
        } else if (arg_is(c, i, "user")) {
            if (!slice_eq(v, SLICE("default"))) {
                return call_errorf(c, "ERR No such user '%.*s'", SLICE_ARG(v));
            }
            f->user = v;
        } else if (arg_is(c, i, "skipme")) {
            if (!slice_eqi(v, "yes") && !slice_eqi(v, "no")) {
                return ERR_SYNTAX;
            }
            *skip_me = slice_eqi(v, "yes");
        } else {
            return ERR_SYNTAX;
        }
    }
    return OK;
}

static enum err kill_run(struct call *c) {
    struct client_filter f = {0};
    bool skip_me = true, old_form = c->argc == 3;
    if (old_form) {
        f.addr = c->argv[2];
        skip_me = false;
    } else {
        enum err e = parse_kill(c, &f, &skip_me);
        if (e != OK) {
            return e;
        }
    }
    f.skip_id = skip_me ? c->client->id : 0;
    uint64_t n = c->host->ops->kill_clients(c->host, &f, c->client);
    if (!old_form) {
        reply_int(c->out, (int64_t)n);
    } else if (n > 0) {
        reply_ok(c->out);
    } else {
        return call_errorf(c, "ERR No such client");
    }
    return OK;
}

/* ---- switches ---- */

static enum err on_off(struct call *c, uint32_t flag) {
    bool on = arg_is(c, 2, "on");
    if (!on && !arg_is(c, 2, "off")) {
        return ERR_SYNTAX;
    }
    client_flag(c->client, flag, on);
    reply_ok(c->out);
    return OK;
}

static enum err no_evict_run(struct call *c) {
    return on_off(c, CLIENT_NO_EVICT);
}

static enum err no_touch_run(struct call *c) {
    return on_off(c, CLIENT_NO_TOUCH);
}

static enum err attributes_run(struct call *c) {
    return on_off(c, CLIENT_ATTRIBUTES);
}

static enum err reply_run(struct call *c) {
    if (arg_is(c, 2, "on")) {
        client_flag(c->client, CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP | CLIENT_REPLY_SKIP_NEXT, false);
        reply_ok(c->out);
    } else if (arg_is(c, 2, "off")) {
        client_flag(c->client, CLIENT_REPLY_OFF, true);
    } else if (arg_is(c, 2, "skip")) {
        if (!client_is(c->client, CLIENT_REPLY_OFF)) {
            client_flag(c->client, CLIENT_REPLY_SKIP_NEXT, true);
        }
    } else {
        return ERR_SYNTAX;
    }
    return OK;
}

static enum err pause_run(struct call *c) {
    int64_t ms;
    bool writes = c->argc == 4 && arg_is(c, 3, "write");
    if (c->argc > 4) {
        return call_too_many(c);
    }
    if (c->argc == 4 && !writes && !arg_is(c, 3, "all")) {
        return call_errorf(c, "ERR CLIENT PAUSE mode must be WRITE or ALL");
    }
    if (!num_parse_i64(c->argv[2], &ms)) {
        return call_errorf(c, "ERR timeout is not an integer or out of range");
    }
    if (ms < 0) {
        return call_errorf(c, "ERR timeout is negative");
    }
    if (ms > INT64_MAX - c->now_ms) {
        return call_errorf(c, "ERR timeout is out of range");
    }
    c->host->ops->pause(c->host, c->now_ms + ms, writes);
    reply_ok(c->out);
    return OK;
}

static enum err unpause_run(struct call *c) {
    c->host->ops->pause(c->host, 0, false);
    reply_ok(c->out);
    return OK;
}

static enum err unblock_run(struct call *c) {
    int64_t id;
    bool error = false;
    if (c->argc > 4) {
        return call_too_many(c);
    }
    if (c->argc == 4) {
        error = arg_is(c, 3, "error");
        if (!error && !arg_is(c, 3, "timeout")) {
            return call_errorf(c, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        }
    }
    if (arg_i64(c, 2, &id) != OK) {
        return ERR_NOT_INT;
    }
    reply_int(c->out, id > 0 ? c->host->ops->unblock_client(c->host, (uint64_t)id, error) : 0);
    return OK;
}

static enum err help_run(struct call *c) {
    static const char *const lines[] = {
        "ATTRIBUTES (ON|OFF)", "    Say with each reply to a read of one key, under RESP3, where the value came from.",
        "GETNAME", "    Return the name of the current connection.",
        "ID", "    Return the ID of the current connection.",
        "INFO", "    Return information about the current client connection.",
        "KILL <ip:port>", "    Kill connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]", "    Kill connections by ADDR, LADDR, TYPE, USER, ID, SKIPME.",
        "LIST [options ...]", "    Return information about client connections, by TYPE or ID.",
        "NO-EVICT (ON|OFF)", "    Protect current client connection from eviction.",
        "NO-TOUCH (ON|OFF)", "    Will not touch LRU/LFU stats when this mode is on.",
        "PAUSE <timeout> [WRITE|ALL]", "    Suspend all, or just write, clients for <timeout> milliseconds.",
        "REPLY (ON|OFF|SKIP)", "    Control the replies sent to the current connection.",
        "SETINFO <option> <value>", "    Set client meta attr LIB-NAME or LIB-VER.",
        "SETNAME <name>", "    Assign the name <name> to the current connection.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]", "    Unblock the specified blocked client.",
        "UNPAUSE", "    Stop the current client pause, resuming traffic.", NULL};
    return call_reply_help(c, lines);
}

#define SUB (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_CONNECTION)
#define ROW(nm, args, n, fl, fn, ver, text) \
    {.name = nm, .syntax = args, .arity = n, .flags = SUB | (fl), .run = fn, .since = ver, .cost = "O(1)", .summary = text}
#define VARIES(nm, args, n, fl, fn, ver, text) \
    {.name = nm, .syntax = args, .arity = n, .flags = SUB | (fl), .run = fn, .since = ver, .cost = "O(N) for N connections", \
     .summary = text, .tips = "nondeterministic_output"}

const struct command client_subs[] = {
    ROW("attributes", "ON | OFF", 3, 0, attributes_run, "7.2.0", "Whether replies to reads say where the value came from."),
    ROW("getname", "", 2, 0, getname_run, "2.6.9", "Returns the name of the connection."),
    {.name = "help", .syntax = "", .arity = 2, .flags = SUB & ~CMD_NOSCRIPT, .run = help_run, .since = "5.0.0", .cost = "O(1)", .summary = "Lists the subcommands."},
    ROW("id", "", 2, 0, id_run, "5.0.0", "Returns the number of the connection."),
    VARIES("info", "", 2, 0, info_run, "6.2.0", "Tells about this connection."),
    ROW("kill", "[ip:port] [ID client-id] [TYPE type] [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME yes/no]", -3,
        CMD_ADMIN | CMD_DANGEROUS, kill_run, "2.4.0", "Closes connections."),
    VARIES("list", "[TYPE type] [ID client-id [client-id ...]]", -2, CMD_ADMIN | CMD_DANGEROUS, list_run, "2.4.0", "Tells about all connections."),
    ROW("no-evict", "ON | OFF", 3, CMD_ADMIN | CMD_DANGEROUS, no_evict_run, "7.0.0", "Spares the connection when clients hold too much memory."),
    ROW("no-touch", "ON | OFF", 3, 0, no_touch_run, "7.2.0", "Reads by this connection do not count for eviction."),
    ROW("pause", "timeout [WRITE | ALL]", -3, CMD_ADMIN | CMD_DANGEROUS, pause_run, "3.0.0", "Holds calls back for a time."),
    ROW("reply", "ON | OFF | SKIP", 3, 0, reply_run, "3.2.0", "Whether calls are answered."),
    ROW("setinfo", "LIB-NAME libname | LIB-VER libver", 4, 0, setinfo_run, "7.2.0", "Names the client library."),
    ROW("setname", "connection-name", 3, 0, setname_run, "2.6.9", "Names the connection."),
    ROW("unblock", "client-id [TIMEOUT | ERROR]", -3, CMD_ADMIN | CMD_DANGEROUS, unblock_run, "5.0.0", "Wakes a client blocked by a command."),
    ROW("unpause", "", 2, CMD_ADMIN | CMD_DANGEROUS, unpause_run, "6.2.0", "Ends a pause."),
    {0}};
