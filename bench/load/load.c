/* SPDX-License-Identifier: BSD-3-Clause */
/* load: drives one server from several threads. Each thread has its connections, its requests (built
 * before the clock starts) and its counts; nothing is shared while it runs. */
#include "bench/load/load.h"

#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench/load/quiet.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { READ_SIZE = 256 * 1024, POOL_BYTES = 64 << 20, POOL_COUNT = 1 << 20, EVENTS = 128, DRAIN_SECONDS = 30, WINDOW_NS = 10000000 };

struct client {
    int fd;
    bool wants_write;   /* EPOLLOUT is armed */
    const char *out;    /* rest of the batch not yet sent */
    size_t out_n;
    unsigned waiting;   /* replies still to come of the batch */
    uint64_t since;     /* when the batch was sent, or due */
    uint64_t due;       /* with a rate: when the next batch is */
    uint64_t position;  /* next request in the pool */
    struct buf built;   /* the batch, when requests are built as they go */
    struct reply reply;
};

struct worker {
    const struct load_options *options;
    pthread_barrier_t *start;
    pthread_t thread;
    unsigned index;
    unsigned n_clients;
    struct client *clients;
    int epoll;
    uint64_t quota;      /* requests that may still be sent */
    uint64_t under_way;  /* replies still to come on all connections */
    uint64_t interval;   /* nanoseconds between two batches of a connection; 0 without a rate */
    uint64_t measure_at; /* when the warm-up ends */
    uint64_t stop_at;    /* when sending ends */
    uint64_t started;
    uint64_t ended;
    bool measuring;
    struct request_source source;
    struct request_pool pool;
    struct load_result result;
    struct quiet *quiet;   /* or NULL: all of the latency counts */
    struct hist *window;   /* with quiet: latency since window_at, which counts when the window has passed without a late wake-up */
    uint64_t window_at;
    char *read;
};

static void client_watch(struct worker *w, struct client *c, bool write) {
    struct epoll_event event = {.events = EPOLLIN | (write ? (unsigned)EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(w->epoll, EPOLL_CTL_MOD, c->fd, &event) != 0) {
        die("epoll_ctl failed");
    }
    c->wants_write = write;
}

static void client_send(struct worker *w, struct client *c) {
    while (c->out_n > 0) {
        ssize_t n = sock_send(c->fd, c->out, c->out_n);
        if (n < 0) {
            die("the server closed a connection");
        }
        if (n == 0) {
            break;
        }
        c->out += n;
        c->out_n -= (size_t)n;
    }
    bool write = c->out_n > 0;
    if (write != c->wants_write) {
        client_watch(w, c, write);
    }
}

/* Takes n requests: from the pool, whose size is a multiple of the pipeline, or built now. */
static void batch_take(struct worker *w, struct client *c, unsigned n) {
    struct request_pool *pool = &w->pool;
    if (pool->count == 0) {
        buf_clear(&c->built);
        for (unsigned i = 0; i < n; i++) {
            request_append(&w->source, &c->built);
        }
        c->out = c->built.p;
        c->out_n = c->built.n;
        return;
    }
    c->out = pool->bytes.p + pool->at[c->position];
    c->out_n = pool->at[c->position + n] - pool->at[c->position];
    c->position = (c->position + w->options->pipeline) % pool->count;
}

static void batch_start(struct worker *w, struct client *c, uint64_t since) {
    unsigned n = w->options->pipeline < w->quota ? w->options->pipeline : (unsigned)w->quota;
    batch_take(w, c, n);
    w->quota -= n;
    w->under_way += n;
    c->waiting = n;
    c->since = since;
    client_send(w, c);
}

/* Starts the next batch of an idle connection if there is one and it is due. */
static void client_next(struct worker *w, struct client *c, uint64_t now) {
    if (w->quota == 0 || now >= w->stop_at || c->waiting > 0 || c->due > now) {
        return;
    }
    uint64_t since = w->interval > 0 ? c->due : now;
    c->due += w->interval;
    batch_start(w, c, since);
}

static void reply_count(struct worker *w, const struct client *c, enum reply_kind kind) {
    w->result.nulls += kind == REPLY_NULL;
    if (kind == REPLY_ERROR) {
        if (w->result.errors++ == 0) {
            memcpy(w->result.first_error, c->reply.line, sizeof(w->result.first_error));
        }
    }
    if (kind == REPLY_GARBAGE) {
        die("the server sent something that is not RESP");
    }
}

/* Counts the replies in n bytes just read; returns how many there were. */
static unsigned replies_take(struct worker *w, struct client *c, size_t n) {
    unsigned replies = 0;
    size_t at = 0;
    while (at < n) {
        enum reply_kind kind;
        at += reply_feed(&c->reply, w->read + at, n - at, &kind);
        if (kind != REPLY_PARTIAL) {
            reply_count(w, c, kind);
            replies++;
        }
    }
    if (replies > c->waiting) {
        die("the server sent more replies than it got requests");
    }
    return replies;
}

static void client_read(struct worker *w, struct client *c) {
    ssize_t n = sock_recv(c->fd, w->read, READ_SIZE);
    if (n < 0) {
        die("the server closed a connection");
    }
    unsigned replies = replies_take(w, c, (size_t)n);
    if (replies == 0) {
        return;
    }
    uint64_t now = sock_now();
    hist_add(w->quiet != NULL ? w->window : &w->result.latency, now > c->since ? now - c->since : 0, replies);
    w->result.replies += replies;
    w->under_way -= replies;
    w->ended = now;
    c->waiting -= replies;
    if (c->waiting == 0) {
        client_next(w, c, now);
    }
}

static void window_begin(struct worker *w, uint64_t now) {
    memset(w->window, 0, sizeof(*w->window));
    w->window_at = now;
}

static void window_end(struct worker *w, uint64_t now) {
    w->result.windows++;
    if (quiet_last_late(w->quiet) + WINDOW_NS >= w->window_at) {
        w->result.late++;
    } else {
        hist_merge(&w->result.latency, w->window);
    }
    window_begin(w, now);
}

static void measure_begin(struct worker *w, uint64_t now) {
    w->measuring = true;
    memset(&w->result, 0, sizeof(w->result));
    w->started = now;
    if (w->quiet != NULL) {
        window_begin(w, now);
    }
}

/* Nanoseconds until something has to happen without an event: a due batch or the end of a phase. */
static uint64_t wait_span(struct worker *w, uint64_t now) {
    uint64_t next = now + 100000000;
    if (w->interval > 0 && now < w->stop_at) {
        for (unsigned i = 0; i < w->n_clients; i++) {
            const struct client *c = &w->clients[i];
            next = c->waiting == 0 && c->due < next ? c->due : next;
        }
    }
    next = now < w->stop_at && w->stop_at < next ? w->stop_at : next;
    return next > now ? next - now : 0;
}

static void events_serve(struct worker *w, uint64_t span) {
    struct epoll_event events[EVENTS];
    struct timespec timeout = {(time_t)(span / 1000000000), (long)(span % 1000000000)};
    int n = epoll_pwait2(w->epoll, events, EVENTS, &timeout, NULL);
    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) {
            client_send(w, c);
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
            client_read(w, c);
        }
    }
}

static void worker_loop(struct worker *w) {
    uint64_t now = sock_now();
    for (unsigned i = 0; i < w->n_clients; i++) {
        w->clients[i].due = now + w->interval * i / w->n_clients;
        client_next(w, &w->clients[i], now);
    }
    while (w->under_way > 0 || (w->quota > 0 && now < w->stop_at)) {
        events_serve(w, wait_span(w, now));
        now = sock_now();
        if (!w->measuring && now >= w->measure_at) {
            measure_begin(w, now);
        }
        if (w->quiet != NULL && now - w->window_at >= WINDOW_NS) {
            window_end(w, now);
        }
        for (unsigned i = 0; w->interval > 0 && i < w->n_clients; i++) {
            client_next(w, &w->clients[i], now);
        }
        if (now > w->stop_at && now - w->stop_at > (uint64_t)DRAIN_SECONDS * 1000000000) {
            die("no reply for %d seconds", DRAIN_SECONDS);
        }
    }
}

/* As many requests as are worth keeping: each key some times, within the memory set aside. */
static void pool_build(struct worker *w) {
    const struct load_options *o = w->options;
    if (o->shape.pattern == KEYS_SEQUENCE) {
        return;
    }
    uint64_t each = o->shape.read_percent < 100 ? 96 + o->shape.value_size : 64;
    uint64_t count = o->shape.keys * 8 < POOL_COUNT ? o->shape.keys * 8 : POOL_COUNT;
    count = count * each > POOL_BYTES ? POOL_BYTES / each : count;
    uint64_t batches = count / o->pipeline > w->n_clients ? count / o->pipeline : w->n_clients;
    request_pool_init(&w->pool, &w->source, batches * o->pipeline);
}

static void clients_open(struct worker *w) {
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->clients = mem_zalloc(w->n_clients * sizeof(*w->clients));
    for (unsigned i = 0; i < w->n_clients; i++) {
        struct client *c = &w->clients[i];
        c->fd = sock_connect(&w->options->address);
        if (w->pool.count > 0) {
            c->position = w->pool.count / w->options->pipeline * i / w->n_clients * w->options->pipeline;
        }
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) {
            die("epoll_ctl failed");
        }
    }
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    const struct load_options *o = w->options;
    rng_seed(o->seed + w->index);
    prctl(PR_SET_TIMERSLACK, 1000);
    request_source_init(&w->source, &o->shape, w->index, o->threads);
    pool_build(w);
    w->read = mem_alloc(READ_SIZE);
    clients_open(w);
    pthread_barrier_wait(w->start);
    uint64_t now = sock_now();
    w->measure_at = now + (uint64_t)(o->warmup * 1e9);
    w->stop_at = o->requests > 0 ? UINT64_MAX : w->measure_at + (uint64_t)(o->seconds * 1e9);
    w->measuring = o->warmup <= 0;
    w->started = w->ended = now;
    if (w->quiet != NULL) {
        w->window = mem_zalloc(sizeof(*w->window));
        window_begin(w, now);
    }
    worker_loop(w);
    return NULL;
}

static void worker_fini(struct worker *w) {
    for (unsigned i = 0; i < w->n_clients; i++) {
        close(w->clients[i].fd);
        buf_free(&w->clients[i].built);
    }
    close(w->epoll);
    mem_free(w->clients);
    mem_free(w->read);
    mem_free(w->window);
    request_pool_fini(&w->pool);
    request_source_fini(&w->source);
}

static void result_merge(struct load_result *into, const struct worker *w) {
    const struct load_result *from = &w->result;
    if (into->errors == 0) {
        memcpy(into->first_error, from->first_error, sizeof(into->first_error));
    }
    into->replies += from->replies;
    into->nulls += from->nulls;
    into->errors += from->errors;
    into->windows += from->windows;
    into->late += from->late;
    double seconds = (double)(w->ended - w->started) / 1e9;
    into->seconds = seconds > into->seconds ? seconds : into->seconds;
    hist_merge(&into->latency, &from->latency);
}

struct load_result *load_run(const struct load_options *options) {
    struct worker *workers = mem_zalloc(options->threads * sizeof(*workers));
    struct load_result *result = mem_zalloc(sizeof(*result));
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, options->threads);
    struct quiet *quiet = options->watch != NULL ? quiet_start(options->watch) : NULL;
    for (unsigned i = 0; i < options->threads; i++) {
        struct worker *w = &workers[i];
        unsigned n = options->threads;
        w->options = options;
        w->start = &start;
        w->quiet = quiet;
        w->index = i;
        w->n_clients = options->connections * (i + 1) / n - options->connections * i / n;
        w->quota = options->requests > 0 ? options->requests * (i + 1) / n - options->requests * i / n : UINT64_MAX;
        w->interval = options->rate > 0 ? (uint64_t)(1e9 * options->connections * options->pipeline / options->rate) : 0;
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
            die("no thread");
        }
    }
    for (unsigned i = 0; i < options->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        result_merge(result, &workers[i]);
        worker_fini(&workers[i]);
    }
    if (quiet != NULL) {
        quiet_stop(quiet);
    }
    pthread_barrier_destroy(&start);
    mem_free(workers);
    return result;
}
