/* SPDX-License-Identifier: BSD-3-Clause */
/* resp_client: two queues, unsent and sent, over one connection at a time. A connection is an object of its own, since it takes a
 * turn to close, while the client may be dialling the next one. */
#include "src/origin/resp_client.h"

#include <unistd.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/list.h"
#include "src/base/mem.h"
#include "src/base/num.h"
#include "src/base/rng.h"
#include "src/net/dial.h"
#include "src/net/stream.h"
#include "src/rt/loop.h"
#include "src/stats/conns.h"

enum {
    READ_BYTES = 16 << 10,
    KEEP_BYTES = 256 << 10,  /* a larger input buffer goes when it is empty */
    BATCH_BYTES = 256 << 10, /* of small requests, in one write */
    REPLY_SLACK_BYTES = 1 << 20,
    REPLY_ELEMENTS = 1 << 18, /* CLUSTER SLOTS of 16384 ranges */
    BACKOFF_MIN_MS = 25,
    BACKOFF_MAX_MS = 1000,
    KEEPALIVE_S = 60,
    LOGIN_COMMANDS = 2
};

enum state { CLIENT_IDLE, CLIENT_DIALING, CLIENT_LOGIN, CLIENT_READY };

struct conn {
    struct stream stream;
    struct resp_client *client; /* NULL: dropped */
    struct buf in;
    char spare; /* where a byte goes when there is no memory for more */
    bool no_memory;
    struct reply_scan scan;
    size_t need; /* bytes of input the scan waits for */
};

/* A request in a queue. Outlives a request that is cancelled when it has been sent. */
struct resp_pending {
    struct list node;
    struct resp_request *request; /* NULL: cancelled */
    int commands, answered;
    int64_t sent_us;
    struct buf bytes;
};

struct resp_client {
    struct resp_client_options options;
    struct reply_limits limits;
    char *host, *user, *password;
    enum state state;
    struct dial *dial;
    struct conn *conn;
    struct list unsent, sent; /* oldest first */
    size_t load, abandoned, unsent_bytes;
    uint64_t connections;
    int login_due;            /* replies to AUTH and SELECT */
    int64_t heard_us;         /* the last bytes, or the connection */
    int failures;             /* since the last reply */
    int64_t not_before_us;    /* of the next dial */
    const char *error;        /* the last failure */
    struct timer *flush, *watch;
    bool watching;
    bool counted_open, counted_idle; /* in options.conns */
    struct arena arena; /* of one reply */
};

/* ---- failures ---- */

enum request_blame resp_blame(enum resp_failure f) {
    return f == RESP_BYSTANDER ? BLAME_NOBODY : f == RESP_TOO_LONG ? BLAME_REQUEST : BLAME_ORIGIN;
}

bool resp_may_retry(enum resp_failure f) {
    return f == RESP_LOST || f == RESP_BYSTANDER;
}

/* ---- counts ---- */

/* After anything that may have changed what the connection is, or what is asked of it. */
static void count_now(struct resp_client *c) {
    bool open = c->state == CLIENT_READY, idle = open && c->load == 0;
    STAT_ADD(c->options.conns->open, open - c->counted_open);
    STAT_ADD(c->options.conns->idle, idle - c->counted_idle);
    c->counted_open = open;
    c->counted_idle = idle;
}

static void set_state(struct resp_client *c, enum state state) {
    STAT_ADD(c->options.conns->opened, state == CLIENT_READY && c->state != CLIENT_READY);
    c->state = state;
    count_now(c);
}

/* ---- commands ---- */

static void put_count(struct buf *b, char kind, size_t n) {
    buf_putc(b, kind);
    buf_commit(b, num_print_u64(buf_reserve(b, NUM_I64_MAX_LEN), n));
    buf_put(b, "\r\n", 2);
}

bool resp_put(struct buf *b, const struct slice *argv, int argc) {
    enum { HEAD = NUM_I64_MAX_LEN + 5 };
    size_t n = HEAD;
    for (int i = 0; i < argc; i++) {
        n += argv[i].n + HEAD;
    }
    if (!buf_try_reserve(b, n)) {
        return false;
    }
    put_count(b, '*', (size_t)argc);
    for (int i = 0; i < argc; i++) {
        put_count(b, '$', argv[i].n);
        buf_put_slice(b, argv[i]);
        buf_put(b, "\r\n", 2);
    }
    return true;
}

/* ---- queues ---- */

static void pending_free(struct resp_client *c, struct resp_pending *p) {
    list_remove(&p->node);
    c->load--;
    c->unsent_bytes -= p->bytes.n;
    c->abandoned -= p->request == NULL;
    if (p->request != NULL) {
        p->request->pending = NULL;
    }
    buf_free(&p->bytes);
    mem_free(p);
    count_now(c);
}

static void splice(struct list *to, struct list *from) {
    struct list *node;
    while ((node = list_pop_front(from)) != NULL) {
        list_push_back(to, node);
    }
}

/* Whoever is told may send at once: that is for the next connection. One that cancels another takes it off this list. */
static void fail_all(struct resp_client *c, enum resp_failure failure, const char *error) {
    struct list failed;
    list_init(&failed);
    splice(&failed, &c->sent);
    splice(&failed, &c->unsent);
    while (!list_empty(&failed)) {
        struct resp_pending *p = LIST_ENTRY(failed.next, struct resp_pending, node);
        struct resp_request *r = p->request;
        pending_free(c, p);
        if (r != NULL) {
            r->failed(r, failure, error);
        }
    }
}

/* ---- the connection's end ---- */

static void conn_closed(struct stream *s) {
    struct conn *conn = LIST_ENTRY(s, struct conn, stream);
    buf_free(&conn->in);
    mem_free(conn);
}

static void disconnect(struct resp_client *c) {
    dial_cancel(&c->dial);
    if (c->conn != NULL) {
        c->conn->client = NULL;
        stream_close(&c->conn->stream);
        c->conn = NULL;
    }
    set_state(c, CLIENT_IDLE);
    c->watching = false;
    timer_stop(c->flush);
    timer_stop(c->watch);
}

/* One failure after a reply is an accident; from the second in a row on they get rarer. */
static void back_off(struct resp_client *c) {
    c->failures++;
    if (c->failures > 1) {
        int shift = c->failures - 2 < 6 ? c->failures - 2 : 6;
        int64_t ms = (int64_t)BACKOFF_MIN_MS << shift;
        ms = ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
        c->not_before_us = clock_mono_us() + ms * 500 + (int64_t)rng_below((uint64_t)ms * 500 + 1);
    }
}

static void drop(struct resp_client *c, enum resp_failure failure, const char *error) {
    STAT_ADD(c->options.conns->failed, c->state == CLIENT_DIALING || c->state == CLIENT_LOGIN);
    disconnect(c);
    back_off(c);
    c->error = error;
    fail_all(c, failure, error);
}

/* ---- being answered ---- */

/* The oldest request gets a reply. False when nobody had asked. */
static bool answer(struct resp_client *c, const struct reply *reply) {
    if (list_empty(&c->sent)) {
        return false;
    }
    struct resp_pending *p = LIST_ENTRY(c->sent.next, struct resp_pending, node);
    struct resp_request *r = p->request;
    int index = p->answered++;
    if (p->answered == p->commands) {
        pending_free(c, p);
    }
    c->failures = 0;
    if (r != NULL) {
        r->reply(r, index, reply);
    }
    return true;
}

static void login_answer(struct resp_client *c, const struct reply *reply) {
    bool auth = c->password != NULL && c->login_due == 1 + (c->options.db != 0);
    if (reply->kind == REPLY_ERROR) {
        bool loading = reply->str.n >= 7 && memcmp(reply->str.p, "LOADING", 7) == 0;
        drop(c, loading ? RESP_LOST : RESP_LOGIN, loading ? "loading" : auth ? "authentication failed" : "database refused");
        return;
    }
    if (--c->login_due == 0) {
        set_state(c, CLIENT_READY);
        timer_start(c->flush, 0, 0);
    }
}

/* One whole reply. */
static void take_reply(struct resp_client *c, struct slice whole) {
    struct reply reply;
    reply_build(whole, &c->arena, &reply);
    if (c->state == CLIENT_LOGIN) {
        login_answer(c, &reply);
    } else if (!answer(c, &reply)) {
        drop(c, RESP_LOST, "reply without request");
    }
    arena_reset(&c->arena);
}

/* The request that such a reply was for must not be asked again; those behind it may. */
static void drop_too_long(struct resp_client *c) {
    if (!list_empty(&c->sent)) {
        struct resp_pending *p = LIST_ENTRY(c->sent.next, struct resp_pending, node);
        struct resp_request *r = p->request;
        pending_free(c, p);
        if (r != NULL) {
            r->failed(r, RESP_TOO_LONG, "value too long");
        }
    }
    drop(c, RESP_BYSTANDER, "connection dropped after a value too long");
}

/* Takes the replies that are whole; returns how many bytes they were. Any of them may cost the connection its client. */
static size_t take_replies(struct conn *conn) {
    size_t at = 0, n;
    while (conn->client != NULL && at < conn->in.n) {
        struct resp_client *c = conn->client;
        struct slice rest = slice_make(conn->in.p + at, conn->in.n - at);
        switch (reply_scan(rest, &c->limits, &conn->scan, &n)) {
        case REPLY_OK:
            conn->scan = (struct reply_scan){0};
            at += n;
            take_reply(c, slice_make(rest.p, n));
            break;
        case REPLY_MORE:
            conn->need = n;
            return at;
        case REPLY_TOO_LONG:
            drop_too_long(c);
            break;
        case REPLY_GARBAGE:
            drop(c, RESP_LOST, "protocol error");
            break;
        }
    }
    conn->need = 0;
    return at;
}

static void conn_alloc(struct stream *s, char **p, size_t *n) {
    struct conn *conn = LIST_ENTRY(s, struct conn, stream);
    size_t missing = conn->need > conn->in.n ? conn->need - conn->in.n : 0;
    /* a long string is believed as it comes: what it announces is no reason to allocate it */
    size_t most = conn->in.n > READ_BYTES ? conn->in.n : READ_BYTES;
    missing = missing < most ? missing : most;
    if (!buf_try_reserve(&conn->in, missing > READ_BYTES ? missing : READ_BYTES)) {
        conn->no_memory = true;
        *p = &conn->spare;
        *n = 1;
        return;
    }
    *p = conn->in.p + conn->in.n;
    *n = conn->in.cap - conn->in.n;
}

static void conn_data(struct stream *s, char *p, size_t n) {
    struct conn *conn = LIST_ENTRY(s, struct conn, stream);
    (void)p;
    if (conn->client == NULL) {
        return;
    }
    if (conn->no_memory) {
        drop(conn->client, RESP_LOST, "out of memory");
        return;
    }
    conn->client->heard_us = clock_mono_us();
    buf_commit(&conn->in, n);
    size_t used = take_replies(conn);
    conn->in.n -= used;
    if (conn->in.n == 0 && conn->in.cap > KEEP_BYTES) {
        buf_free(&conn->in);
    } else if (conn->in.n > 0 && used > 0) {
        memmove(conn->in.p, conn->in.p + used, conn->in.n);
    }
}

static void conn_end(struct stream *s, int err) {
    struct conn *conn = LIST_ENTRY(s, struct conn, stream);
    if (conn->client != NULL) {
        drop(conn->client, RESP_LOST, err == 0 ? "connection closed" : "connection reset");
    }
}

/* ---- watching over silence ---- */

/* When the connection should have been heard from; INT64_MAX: it owes nothing. */
static int64_t silent_until(const struct resp_client *c) {
    if (c->state == CLIENT_LOGIN) {
        return c->heard_us + c->options.connect_ms * 1000;
    }
    if (list_empty(&c->sent)) {
        return INT64_MAX;
    }
    const struct resp_pending *oldest = LIST_ENTRY(c->sent.next, struct resp_pending, node);
    int64_t since = oldest->sent_us > c->heard_us ? oldest->sent_us : c->heard_us;
    return since + c->options.silence_ms * 1000;
}

static void watch_cb(void *ctx) {
    struct resp_client *c = ctx;
    int64_t until = silent_until(c), now = clock_mono_us();
    c->watching = until != INT64_MAX;
    if (c->watching && now >= until) {
        drop(c, RESP_LOST, "no answer");
    } else if (c->watching) {
        timer_start(c->watch, (until - now) / 1000 + 1, 0);
    }
}

/* The timer is not moved with each request and reply: it looks when it fires. */
static void watch(struct resp_client *c) {
    if (!c->watching) {
        watch_cb(c);
    }
}

/* ---- writing ---- */

/* Bytes on their way out. */
static void batch_free(void *owner) {
    struct buf *b = owner;
    buf_free(b);
    mem_free(b);
}

/* Moves unsent requests to sent and their bytes to the batch: a long one goes alone and is not copied. */
static void fill_batch(struct resp_client *c, struct buf *batch) {
    int64_t now = clock_mono_us();
    while (!list_empty(&c->unsent) && batch->n < BATCH_BYTES) {
        struct resp_pending *p = LIST_ENTRY(c->unsent.next, struct resp_pending, node);
        bool alone = p->bytes.n >= BATCH_BYTES;
        if (alone && batch->n > 0) {
            return;
        }
        list_remove(&p->node);
        list_push_back(&c->sent, &p->node);
        p->sent_us = now;
        c->unsent_bytes -= p->bytes.n;
        if (alone) {
            buf_free(batch);
            *batch = p->bytes;
            p->bytes = (struct buf){0};
        } else {
            buf_put_slice(batch, buf_slice(&p->bytes));
            buf_free(&p->bytes);
        }
    }
}

/* Writes the batch, which is taken; false when the connection is gone. */
static bool write_batch(struct conn *conn, struct buf *batch) {
    struct iovec iov = {batch->p, batch->n};
    ssize_t n = stream_try_writev(&conn->stream, &iov, 1);
    if (n < 0 || (size_t)n == batch->n) {
        buf_free(batch);
        return n >= 0;
    }
    struct buf *rest = mem_zalloc(sizeof(*rest));
    *rest = *batch;
    iov = (struct iovec){rest->p + n, rest->n - (size_t)n};
    stream_queue(&conn->stream, &iov, 1, rest, batch_free);
    return true;
}

static void flush_cb(void *ctx) {
    struct resp_client *c = ctx;
    while (c->state == CLIENT_READY && c->conn->stream.queued_bytes == 0 && !list_empty(&c->unsent)) {
        struct buf batch = {0};
        fill_batch(c, &batch);
        if (!write_batch(c->conn, &batch)) {
            drop(c, RESP_LOST, "connection reset");
            return;
        }
        watch(c);
    }
}

static void conn_drained(struct stream *s) {
    struct conn *conn = LIST_ENTRY(s, struct conn, stream);
    if (conn->client != NULL) {
        flush_cb(conn->client);
    }
}

/* ---- connecting ---- */

static void log_in(struct resp_client *c) {
    struct buf b = {0};
    char digits[NUM_I64_MAX_LEN];
    c->login_due = 0;
    if (c->password != NULL) {
        struct slice auth[3] = {SLICE("AUTH"), slice_cstr(c->user != NULL ? c->user : c->password), slice_cstr(c->password)};
        CHECK(resp_put(&b, auth, c->user != NULL ? 3 : 2));
        c->login_due++;
    }
    if (c->options.db != 0) {
        struct slice sel[2] = {SLICE("SELECT"), slice_make(digits, num_print_i64(digits, c->options.db))};
        CHECK(resp_put(&b, sel, 2));
        c->login_due++;
    }
    if (c->login_due == 0) {
        set_state(c, CLIENT_READY);
        flush_cb(c);
        return;
    }
    set_state(c, CLIENT_LOGIN);
    if (!write_batch(c->conn, &b)) {
        drop(c, RESP_LOST, "connection reset");
        return;
    }
    watch(c);
}

static void dialled(void *ctx, int fd, const char *error) {
    static const struct stream_events events = {conn_alloc, conn_data, conn_end, conn_drained, conn_closed};
    struct resp_client *c = ctx;
    c->dial = NULL;
    if (fd < 0) {
        drop(c, RESP_LOST, error);
        return;
    }
    struct conn *conn = mem_zalloc(sizeof(*conn));
    bool is_unix = c->options.port == 0;
    int e = stream_adopt(&conn->stream, c->options.loop, fd, is_unix, is_unix ? 0 : KEEPALIVE_S, &events);
    c->conn = conn;
    conn->client = c;
    if (e != 0) {
        close(fd);
        drop(c, RESP_LOST, "cannot connect");
        return;
    }
    c->heard_us = clock_mono_us();
    c->connections++;
    stream_read_start(&conn->stream);
    log_in(c);
}

/* ---- the public face ---- */

static char *copy_text(struct slice s) {
    if (s.n == 0) {
        return NULL;
    }
    char *text = mem_zalloc(s.n + 1);
    memcpy(text, s.p, s.n);
    return text;
}

struct resp_client *resp_client_create(const struct resp_client_options *options) {
    struct resp_client *c = mem_zalloc(sizeof(*c));
    c->options = *options;
    c->limits = (struct reply_limits){options->max_bulk_bytes, options->max_bulk_bytes + REPLY_SLACK_BYTES, REPLY_ELEMENTS};
    c->host = mem_strdup(options->host);
    c->user = copy_text(options->user);
    c->password = copy_text(options->password);
    c->flush = timer_create_on(options->loop, flush_cb, c);
    c->watch = timer_create_on(options->loop, watch_cb, c);
    list_init(&c->unsent);
    list_init(&c->sent);
    return c;
}

static void forget_all(struct resp_client *c, struct list *queue) {
    while (!list_empty(queue)) {
        pending_free(c, LIST_ENTRY(queue->next, struct resp_pending, node));
    }
}

void resp_client_destroy(struct resp_client **cp) {
    struct resp_client *c = *cp;
    *cp = NULL;
    disconnect(c);
    forget_all(c, &c->unsent);
    forget_all(c, &c->sent);
    timer_destroy(&c->flush);
    timer_destroy(&c->watch);
    arena_free(&c->arena);
    mem_free(c->host);
    mem_free(c->user);
    mem_free(c->password);
    mem_free(c);
}

bool resp_client_is_down(const struct resp_client *c) {
    return c->state == CLIENT_IDLE && c->not_before_us > clock_mono_us();
}

size_t resp_client_load(const struct resp_client *c) {
    return c->load;
}

uint64_t resp_client_connections(const struct resp_client *c) {
    return c->connections;
}

const char *resp_send(struct resp_client *c, struct resp_request *r) {
    if (resp_client_is_down(c)) {
        return c->error;
    }
    if (c->load > 0 && c->unsent_bytes + r->bytes.n > c->options.max_unsent_bytes) {
        return "too much waiting to be sent";
    }
    struct resp_pending *p = mem_zalloc(sizeof(*p));
    p->request = r;
    p->commands = r->commands;
    p->bytes = r->bytes;
    r->bytes = (struct buf){0};
    r->client = c;
    r->pending = p;
    list_push_back(&c->unsent, &p->node);
    c->load++;
    c->unsent_bytes += p->bytes.n;
    STAT_ADD(c->options.conns->reused, c->state == CLIENT_READY);
    count_now(c);
    if (c->state == CLIENT_IDLE) {
        set_state(c, CLIENT_DIALING);
        c->dial = dial_start(c->options.dialer, c->host, c->options.port, c->options.connect_ms, dialled, c);
    } else if (c->state == CLIENT_READY) {
        timer_start(c->flush, 0, 0); /* after this turn's other requests: they share a write */
    }
    return NULL;
}

void resp_cancel(struct resp_request *r) {
    struct resp_pending *p = r->pending;
    struct resp_client *c = r->client;
    if (p == NULL) {
        return;
    }
    r->pending = NULL;
    if (p->bytes.n > 0) { /* not sent yet, or about to be failed */
        p->request = NULL;
        c->abandoned++;
        pending_free(c, p);
        return;
    }
    p->request = NULL;
    c->abandoned++;
    if (c->abandoned > c->options.max_abandoned) {
        drop(c, RESP_LOST, "too many replies outstanding");
    }
}
