/* SPDX-License-Identifier: BSD-3-Clause */
/* redis: an origin that is another Redis, Valkey or Redis Cluster. A load is DUMP and PTTL in one write, which the server runs one
 * after the other; a put is SET or RESTORE. Each exchange is one resp_request, repeated where a cluster redirects it. */
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/num.h"
#include "src/net/dial.h"
#include "src/origin/origin.h"
#include "src/origin/redis_nodes.h"
#include "src/origin/redis_url.h"
#include "src/value/rdb.h"

enum {
    CONNECTIONS = 4, /* to each node, at most */
    HOPS = 5,        /* redirections of one request */
    PAYLOAD_SLACK_BYTES = 64 << 10, /* what DUMP adds to a value */
    SILENCE_SLACK_MS = 10,          /* the core's own timeout comes first */
    LOG_EVERY_US = 1000000
};

/* The compact encoding of hashes that come from elsewhere: the server's defaults. */
static const struct hash_limits hash_limits = {512, 64};

struct redis {
    struct loop *loop;
    struct dialer *dialer;
    struct redis_nodes *nodes;
    size_t max_value;
    int64_t log_after_us;
    void (*closed)(void *ctx);
    void *ctx;
};

/* What a request is at the moment: the driver_data. */
struct exchange {
    struct resp_request wire;
    struct redis *redis;
    struct request *request;
    struct redis_node *node;
    int hops;
    bool asking; /* each command has an ASKING before it */
    /* from the replies */
    bool failed, retry;
    enum redirect redirect;
    struct redis_node *next;
};

/* ---- the end of an exchange ---- */

static void exchange_free(struct exchange *x) {
    x->request->driver_data = NULL;
    buf_free(&x->wire.bytes);
    mem_free(x);
}

static void exchange_end(struct exchange *x) {
    struct request *r = x->request;
    bool retry = x->failed && x->retry;
    if (x->failed) {
        r->result = REQUEST_FAILED;
        found_free(&r->found);
    }
    exchange_free(x);
    request_end(r, retry);
}

/* The first reason counts. */
static void fail(struct exchange *x, const char *error, enum request_blame blame, bool retry) {
    if (!x->failed) {
        x->failed = true;
        x->retry = retry;
        x->request->error = error;
        x->request->blame = blame;
    }
}

/* ---- replies ---- */

static bool has_code(struct slice s, const char *code) {
    size_t n = strlen(code);
    return s.n >= n && memcmp(s.p, code, n) == 0 && (s.n == n || s.p[n] == ' ');
}

/* At most one line a second: an origin that fails, fails often. */
static void log_error(struct redis *o, struct slice text) {
    int64_t now = clock_mono_us();
    if (now >= o->log_after_us) {
        o->log_after_us = now + LOG_EVERY_US;
        log_warning("origin redis: error reply: %.*s", (int)(text.n < 200 ? text.n : 200), text.p);
    }
}

static void error_reply(struct exchange *x, struct slice text) {
    static const struct {
        const char *code, *error;
        enum request_blame blame;
        bool retry;
    } codes[] = {
        {"LOADING", "loading", BLAME_ORIGIN, true},
        {"TRYAGAIN", "cluster is moving the key", BLAME_REQUEST, true},
        {"CLUSTERDOWN", "cluster is down", BLAME_ORIGIN, true},
        {"MASTERDOWN", "master is down", BLAME_ORIGIN, true},
        {"READONLY", "read-only replica", BLAME_ORIGIN, true},
        {"BUSY", "busy with a script", BLAME_ORIGIN, true},
        {"NOAUTH", "authentication required", BLAME_ORIGIN, false},
        {"WRONGPASS", "authentication failed", BLAME_ORIGIN, false},
        {"NOPERM", "permission denied", BLAME_REQUEST, false},
        {"OOM", "out of memory at the origin", BLAME_REQUEST, false},
    };
    if (x->redirect != REDIRECT_NONE || x->failed) {
        return;
    }
    x->redirect = redis_nodes_redirect(x->redis->nodes, x->node, text, &x->next);
    if (x->redirect != REDIRECT_NONE) {
        return;
    }
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (has_code(text, codes[i].code)) {
            fail(x, codes[i].error, codes[i].blame, codes[i].retry);
            return;
        }
    }
    log_error(x->redis, text);
    fail(x, "error reply", BLAME_REQUEST, false);
}

/* A payload of DUMP: type, body, version, checksum. */
static void take_payload(struct exchange *x, struct slice payload) {
    struct found *f = &x->request->found;
    struct slice body;
    if (!rdb_check_any_dump(payload, &body) || body.n < 1) {
        fail(x, "bad DUMP payload", BLAME_REQUEST, true);
        return;
    }
    const unsigned char *p = (const unsigned char *)body.p;
    struct rdb_reader reader = {.start = p, .p = p + 1, .end = p + body.n, .max_unpacked = x->redis->max_value};
    bool ok = rdb_get_value(&reader, p[0], &hash_limits, &f->str, &f->value);
    if (!ok) {
        fail(x, reader.no_memory ? "out of memory" : reader.error, reader.no_memory ? BLAME_NOBODY : BLAME_REQUEST, false);
    } else if (reader.p != reader.end) {
        fail(x, "bad DUMP payload", BLAME_REQUEST, false);
    } else if (body.n > x->redis->max_value + PAYLOAD_SLACK_BYTES || f->str.n > x->redis->max_value) {
        fail(x, "value too long", BLAME_REQUEST, false);
    } else {
        x->request->result = REQUEST_OK;
    }
}

static void dump_reply(struct exchange *x, const struct reply *reply) {
    if (reply->kind == REPLY_NULL) {
        x->request->result = REQUEST_ABSENT;
    } else if (reply->kind == REPLY_BULK) {
        take_payload(x, reply->str);
    } else {
        fail(x, "unexpected reply", BLAME_REQUEST, false);
    }
}

/* -1: no deadline; -2: it has run out between the two commands. */
static void pttl_reply(struct exchange *x, const struct reply *reply) {
    struct request *r = x->request;
    if (reply->kind != REPLY_INT || reply->integer < -2) {
        fail(x, "unexpected reply", BLAME_REQUEST, false);
    } else if (reply->integer == -2) {
        found_free(&r->found);
        r->result = REQUEST_ABSENT;
    } else if (r->result == REQUEST_OK && reply->integer >= 0) {
        r->life.ttl_ms = reply->integer;
        r->life.exact = true; /* it is the key's own end */
    }
}

static void change_reply(struct exchange *x, const struct reply *reply) {
    bool none = x->request->kind == REQUEST_DEL && reply->kind == REPLY_INT && reply->integer == 0;
    x->request->result = none ? REQUEST_ABSENT : REQUEST_OK;
}

static void exchange_send(struct exchange *x);

/* All replies are here: the end, or the same once more elsewhere. */
static void exchange_answered(struct exchange *x) {
    if (x->redirect == REDIRECT_NONE || x->failed) {
        exchange_end(x);
        return;
    }
    if (x->next == NULL || ++x->hops > HOPS) {
        fail(x, x->next == NULL ? "cannot follow the redirection" : "too many redirections", BLAME_ORIGIN, true);
        exchange_end(x);
        return;
    }
    found_free(&x->request->found);
    x->node = x->next;
    x->asking = x->redirect == REDIRECT_ASK;
    x->redirect = REDIRECT_NONE;
    exchange_send(x);
}

static void wire_reply(struct resp_request *wire, int index, const struct reply *reply) {
    struct exchange *x = LIST_ENTRY(wire, struct exchange, wire);
    int command = x->asking ? index / 2 : index;
    bool last = index + 1 == wire->commands;
    if (x->asking && index % 2 == 0) {
        return; /* to ASKING */
    }
    if (reply->kind == REPLY_ERROR) {
        error_reply(x, reply->str);
    } else if (x->failed || x->redirect != REDIRECT_NONE) {
        found_free(&x->request->found); /* what one of a pair says is nothing without the other */
    } else if (x->request->kind != REQUEST_LOAD) {
        change_reply(x, reply);
    } else if (command == 0) {
        dump_reply(x, reply);
    } else {
        pttl_reply(x, reply);
    }
    if (last) {
        exchange_answered(x);
    }
}

static void wire_failed(struct resp_request *wire, enum resp_failure failure, const char *error) {
    struct exchange *x = LIST_ENTRY(wire, struct exchange, wire);
    fail(x, error, resp_blame(failure), resp_may_retry(failure));
    if (failure == RESP_LOST) {
        redis_nodes_failed(x->redis->nodes, x->node);
    }
    exchange_end(x);
}

/* ---- commands ---- */

static bool put_command(struct exchange *x, const struct slice *argv, int argc) {
    static const struct slice asking = {"ASKING", 6};
    x->wire.commands += 1 + x->asking;
    return (!x->asking || resp_put(&x->wire.bytes, &asking, 1)) && resp_put(&x->wire.bytes, argv, argc);
}

static bool put_load(struct exchange *x) {
    struct slice dump[2] = {SLICE("DUMP"), x->request->key}, pttl[2] = {SLICE("PTTL"), x->request->key};
    return put_command(x, dump, 2) && put_command(x, pttl, 2);
}

static bool put_del(struct exchange *x) {
    struct slice del[2] = {SLICE("DEL"), x->request->key};
    return put_command(x, del, 2);
}

/* ttl_ms -1: none. */
static bool put_string(struct exchange *x, int64_t ttl_ms) {
    char digits[NUM_I64_MAX_LEN];
    struct slice ttl = slice_make(digits, num_print_i64(digits, ttl_ms));
    struct slice set[5] = {SLICE("SET"), x->request->key, x->request->item.str, SLICE("PX"), ttl};
    return put_command(x, set, ttl_ms < 0 ? 3 : 5);
}

static bool put_value(struct exchange *x, int64_t ttl_ms) {
    char digits[NUM_I64_MAX_LEN];
    struct slice ttl = slice_make(digits, num_print_i64(digits, ttl_ms < 0 ? 0 : ttl_ms));
    struct buf payload = {0};
    bool ok = rdb_dump(&payload, slice_make("", 0), x->request->item.value);
    struct slice restore[5] = {SLICE("RESTORE"), x->request->key, ttl, buf_slice(&payload), SLICE("REPLACE")};
    ok = ok && put_command(x, restore, 5);
    buf_free(&payload);
    return ok;
}

static bool put_item(struct exchange *x) {
    const struct item_view *item = &x->request->item;
    int64_t ttl_ms = item->expire_ms < 0 ? -1 : item->expire_ms - clock_now_ms();
    if (item->expire_ms >= 0 && ttl_ms <= 0) {
        return put_del(x); /* its time is over already */
    }
    return item->type == TYPE_STRING ? put_string(x, ttl_ms) : put_value(x, ttl_ms);
}

static void exchange_send(struct exchange *x) {
    enum request_kind kind = x->request->kind;
    x->wire.commands = 0;
    buf_clear(&x->wire.bytes);
    bool ok = kind == REQUEST_LOAD ? put_load(x) : kind == REQUEST_PUT ? put_item(x) : put_del(x);
    const char *error = !ok                    ? "out of memory"
                        : kind == REQUEST_LOAD ? redis_node_send(x->node, &x->wire)
                                               : redis_node_send_of(x->node, x->request->key, &x->wire);
    if (error != NULL) {
        fail(x, error, ok ? BLAME_ORIGIN : BLAME_NOBODY, false);
        redis_nodes_failed(x->redis->nodes, x->node);
        exchange_end(x);
    }
}

/* ---- the driver ---- */

static void redis_start(void *self, struct request *r) {
    struct redis *o = self;
    struct exchange *x = mem_zalloc(sizeof(*x));
    x->wire.reply = wire_reply;
    x->wire.failed = wire_failed;
    x->redis = o;
    x->request = r;
    x->node = redis_nodes_of(o->nodes, r->key);
    r->driver_data = x;
    exchange_send(x);
}

static void redis_cancel(void *self, struct request *r) {
    struct exchange *x = r->driver_data;
    (void)self;
    resp_cancel(&x->wire);
    found_free(&r->found);
    exchange_free(x);
}

static void *redis_open(struct slice text, const struct origin_options *options, struct loop *loop, struct conns *conns, struct buf *why) {
    struct redis_url url;
    const char *wrong = redis_url_parse(text, &url);
    struct redis *o = NULL;
    if (wrong != NULL) {
        buf_puts(why, wrong);
    } else {
        o = mem_zalloc(sizeof(*o));
        o->loop = loop;
        o->max_value = (size_t)options->max_value;
    }
    if (o != NULL && loop != NULL) {
        o->dialer = dialer_create(loop);
        o->nodes = redis_nodes_create(&(struct resp_client_options){.loop = loop,
                                                                    .dialer = o->dialer,
                                                                    .host = url.host.p,
                                                                    .port = (int)url.port,
                                                                    .user = buf_slice(&url.user),
                                                                    .password = buf_slice(&url.password),
                                                                    .db = (int)url.db,
                                                                    .connect_ms = options->connect_ms,
                                                                    .silence_ms = options->timeout_ms + SILENCE_SLACK_MS,
                                                                    .max_bulk_bytes = o->max_value + PAYLOAD_SLACK_BYTES,
                                                                    .max_abandoned = (size_t)options->concurrency,
                                                                    .max_unsent_bytes = o->max_value + PAYLOAD_SLACK_BYTES,
                                                                    .conns = conns},
                                      CONNECTIONS);
    }
    redis_url_free(&url);
    return o;
}

static void all_closed(void *ctx) {
    struct redis *o = ctx;
    void (*closed)(void *) = o->closed;
    void *closed_ctx = o->ctx;
    mem_free(o);
    closed(closed_ctx);
}

static void redis_close(void *self, void (*closed)(void *ctx), void *ctx) {
    struct redis *o = self;
    o->closed = closed;
    o->ctx = ctx;
    if (o->loop == NULL) { /* it was only a check */
        all_closed(o);
        return;
    }
    redis_nodes_destroy(&o->nodes);
    dialer_close(&o->dialer, all_closed, o);
}

const struct origin_driver origin_redis = {
    .schemes = "redis", .open = redis_open, .start = redis_start, .cancel = redis_cancel, .close = redis_close, .writes = true};
