/* SPDX-License-Identifier: BSD-3-Clause */
/* unix: an origin that is a local program, the loader, listening on a unix socket and speaking RESP2:
 *
 *   LOAD key                answers the value, or [value, ttl-ms] (-1: it does not say, 0: not to be kept), or null: there is none
 *   STORE key value ttl-ms  the key has this value now (ttl-ms -1: without end); strings only
 *   REMOVE key              the key is gone
 *
 * An error reply fails the request; its text is logged. A loader may answer one request after the other: there are up to sixteen
 * connections, used as far as something waits. */
#include <sys/un.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/num.h"
#include "src/net/dial.h"
#include "src/origin/origin.h"
#include "src/origin/resp_pool.h"

enum { CONNECTIONS_MAX = 16, LOG_EVERY_US = 1000000, SILENCE_SLACK_MS = 10 /* the core's own timeout comes first */ };

struct loader {
    struct loop *loop;
    struct dialer *dialer;
    struct resp_pool *pool;
    int64_t log_after_us;
    void (*closed)(void *ctx);
    void *ctx;
};

/* The driver_data of a request. */
struct asked {
    struct resp_request wire;
    struct loader *loader;
    struct request *request;
};

static void asked_free(struct asked *a) {
    a->request->driver_data = NULL;
    buf_free(&a->wire.bytes);
    mem_free(a);
}

/* error NULL: the request's result is set. */
static void asked_end(struct asked *a, const char *error, enum request_blame blame, bool retry) {
    struct request *r = a->request;
    if (error != NULL) {
        r->result = REQUEST_FAILED;
        r->error = error;
        r->blame = blame;
        found_free(&r->found);
    }
    asked_free(a);
    request_end(r, retry);
}

/* ---- replies ---- */

static const char *take_value(struct request *r, const struct reply *reply) {
    if (reply->kind == REPLY_NULL) {
        r->result = REQUEST_ABSENT;
        return NULL;
    }
    if (reply->kind != REPLY_BULK) {
        return "unexpected reply";
    }
    if (!buf_try_exact(&r->found.str, reply->str.n)) {
        return "out of memory";
    }
    buf_put_slice(&r->found.str, reply->str);
    r->result = REQUEST_OK;
    return NULL;
}

static const char *take_load(struct request *r, const struct reply *reply) {
    if (reply->kind != REPLY_ARRAY) {
        return take_value(r, reply);
    }
    if (reply->n != 2) {
        return "unexpected reply";
    }
    const struct reply *ttl = &reply->items[1];
    int64_t ms = ttl->integer;
    bool is_number = ttl->kind == REPLY_INT || (ttl->kind == REPLY_BULK && num_parse_i64(ttl->str, &ms));
    if (!is_number || ms < -1) {
        return "unexpected reply";
    }
    r->life.ttl_ms = ms;
    r->life.exact = true; /* the loader knows */
    return take_value(r, &reply->items[0]);
}

/* At most one line a second: a loader that fails, fails often. */
static void log_error(struct loader *l, struct slice text) {
    int64_t now = clock_mono_us();
    if (now >= l->log_after_us) {
        l->log_after_us = now + LOG_EVERY_US;
        log_warning("origin unix: the loader says: %.*s", (int)(text.n < 200 ? text.n : 200), text.p);
    }
}

static void wire_reply(struct resp_request *wire, int index, const struct reply *reply) {
    struct asked *a = LIST_ENTRY(wire, struct asked, wire);
    (void)index;
    const char *error = NULL;
    if (reply->kind == REPLY_ERROR) {
        log_error(a->loader, reply->str);
        error = "loader error";
    } else if (a->request->kind == REQUEST_LOAD) {
        error = take_load(a->request, reply);
    } else {
        a->request->result = REQUEST_OK;
    }
    asked_end(a, error, BLAME_REQUEST, false);
}

static void wire_failed(struct resp_request *wire, enum resp_failure failure, const char *error) {
    asked_end(LIST_ENTRY(wire, struct asked, wire), error, resp_blame(failure), resp_may_retry(failure));
}

/* ---- commands ---- */

static bool put_store(struct asked *a) {
    const struct request *r = a->request;
    char digits[NUM_I64_MAX_LEN];
    int64_t left = r->item.expire_ms - clock_now_ms();
    int64_t ttl = r->item.expire_ms < 0 ? -1 : left > 0 ? left : 0;
    struct slice store[4] = {SLICE("STORE"), r->key, r->item.str, slice_make(digits, num_print_i64(digits, ttl))};
    return resp_put(&a->wire.bytes, store, 4);
}

static bool put_command(struct asked *a) {
    if (a->request->kind == REQUEST_PUT) {
        return put_store(a);
    }
    struct slice argv[2] = {a->request->kind == REQUEST_LOAD ? SLICE("LOAD") : SLICE("REMOVE"), a->request->key};
    return resp_put(&a->wire.bytes, argv, 2);
}

/* ---- the driver ---- */

static void unix_start(void *self, struct request *r) {
    struct loader *l = self;
    struct asked *a = mem_zalloc(sizeof(*a));
    a->wire.commands = 1;
    a->wire.reply = wire_reply;
    a->wire.failed = wire_failed;
    a->loader = l;
    a->request = r;
    r->driver_data = a;
    if (r->kind == REQUEST_PUT && r->item.type != TYPE_STRING) {
        asked_end(a, "only strings can be stored there", BLAME_NOBODY, false);
        return;
    }
    if (!put_command(a)) {
        asked_end(a, "out of memory", BLAME_NOBODY, false);
        return;
    }
    const char *error = r->kind == REQUEST_LOAD ? resp_pool_send(l->pool, &a->wire) : resp_pool_send_of(l->pool, r->key, &a->wire);
    if (error != NULL) {
        asked_end(a, error, BLAME_ORIGIN, false);
    }
}

static void unix_cancel(void *self, struct request *r) {
    struct asked *a = r->driver_data;
    (void)self;
    resp_cancel(&a->wire);
    asked_free(a);
}

/* unix:/path and unix:///path. */
static const char *parse_path(struct slice url, struct slice *path) {
    if (url.n < 5 || strncasecmp(url.p, "unix:", 5) != 0) {
        return "the URL is unix:/path/to/socket";
    }
    *path = slice_make(url.p + 5, url.n - 5);
    if (path->n >= 3 && memcmp(path->p, "///", 3) == 0) {
        *path = slice_make(path->p + 2, path->n - 2);
    }
    if (path->n < 2 || path->p[0] != '/') {
        return "the socket's path is absolute";
    }
    return path->n < sizeof(((struct sockaddr_un *)0)->sun_path) ? NULL : "the socket's path is too long";
}

static void *unix_open(struct slice url, const struct origin_options *options, struct loop *loop, struct conns *conns, struct buf *why) {
    struct slice path;
    const char *wrong = parse_path(url, &path);
    if (wrong != NULL) {
        buf_puts(why, wrong);
        return NULL;
    }
    struct loader *l = mem_zalloc(sizeof(*l));
    l->loop = loop;
    if (loop != NULL) {
        struct buf host = {0};
        buf_put_slice(&host, path);
        buf_putc(&host, '\0');
        int connections = options->concurrency < CONNECTIONS_MAX ? (int)options->concurrency : CONNECTIONS_MAX;
        l->dialer = dialer_create(loop);
        l->pool = resp_pool_create(&(struct resp_client_options){.loop = loop,
                                                                 .dialer = l->dialer,
                                                                 .host = host.p,
                                                                 .connect_ms = options->connect_ms,
                                                                 .silence_ms = options->timeout_ms + SILENCE_SLACK_MS,
                                                                 .max_bulk_bytes = (size_t)options->max_value,
                                                                 .max_abandoned = (size_t)options->concurrency,
                                                                 .max_unsent_bytes = (size_t)options->max_value,
                                                                 .conns = conns},
                                   connections);
        buf_free(&host);
    }
    return l;
}

static void all_closed(void *ctx) {
    struct loader *l = ctx;
    void (*closed)(void *) = l->closed;
    void *closed_ctx = l->ctx;
    mem_free(l);
    closed(closed_ctx);
}

static void unix_close(void *self, void (*closed)(void *ctx), void *ctx) {
    struct loader *l = self;
    l->closed = closed;
    l->ctx = ctx;
    if (l->loop == NULL) { /* it was only a check */
        all_closed(l);
        return;
    }
    resp_pool_destroy(&l->pool);
    dialer_close(&l->dialer, all_closed, l);
}

const struct origin_driver origin_unix = {
    .schemes = "unix", .open = unix_open, .start = unix_start, .cancel = unix_cancel, .close = unix_close, .writes = true, .strings_only = true};
