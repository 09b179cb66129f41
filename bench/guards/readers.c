/* SPDX-License-Identifier: BSD-3-Clause */
/* readers: an application's readers, two thousand connections on one thread:
 *
 *   GET -> value                        done
 *       -> nil -> load -> SET -> OK     done (look-aside)
 *       -> an error, or no load         failed */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "bench/guards/guards.h"
#include "bench/load/reply.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { ANSWER_MAX = 1024, EVENTS = 256, EXPIRE_MS = 200, DRAIN_NS = 1000000000, DRAIN_SECONDS = 20, NEVER_MS = 100 };

enum state { IDLE, GETTING, LOADING, SETTING };

struct reader;

/* One of a reader's two sockets. */
struct line {
    struct reader *reader;
    int fd;
};

struct reader {
    struct line cache, origin;
    enum state state;
    uint64_t begun;   /* reads started */
    uint64_t allowed; /* reads whose time has come */
    uint64_t due;     /* of the read under way */
    struct reply reply;
    size_t answer_n;
    char key[KEY_SIZE];
    char answer[ANSWER_MAX];
};

struct crowd {
    const struct readers_options *options;
    struct readers_result *result;
    struct reader *readers;
    int epoll;
    uint64_t begin;     /* when the first read is due */
    uint64_t total;     /* reads in all */
    uint64_t allowed;   /* of them, due by now */
    uint64_t finished;
};

void key_print(char key[KEY_SIZE], uint64_t n) {
    snprintf(key, KEY_SIZE, "key:%014llu", (unsigned long long)n);
}

void value_print(char value[VALUE_SIZE], const char *key) {
    size_t n = strlen(key);
    memset(value, '.', VALUE_SIZE);
    memcpy(value, key, n < VALUE_SIZE ? n : VALUE_SIZE);
}

/* ---- sockets ---- */

static void watch(struct crowd *w, struct line *l) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = l};
    if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, l->fd, &event) != 0) {
        die("epoll_ctl: %s", strerror(errno));
    }
}

static bool origin_connect(struct crowd *w, struct reader *r) {
    const struct address *a = &w->options->origin;
    int fd = socket(a->name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&a->name, a->len) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        close(fd);
        return false;
    }
    r->origin.fd = fd;
    watch(w, &r->origin);
    return true;
}

static void origin_close(struct reader *r) {
    if (r->origin.fd >= 0) {
        close(r->origin.fd);
        r->origin.fd = -1;
    }
}

static void cache_send(struct reader *r, const char *p, size_t n) {
    if (sock_send(r->cache.fd, p, n) != (ssize_t)n) {
        die("the cache closed a connection");
    }
}

/* ---- one read ---- */

static uint64_t due_at(const struct crowd *w, uint64_t read) {
    return w->begin + (w->options->rate > 0 ? (uint64_t)((double)read / w->options->rate * 1e9) : 0);
}

static void start_next(struct crowd *w, struct reader *r) {
    const struct readers_options *o = w->options;
    char request[128];
    uint64_t index = (uint64_t)(r - w->readers);
    bool hot = (double)rng_below(1000000) < o->hot_percent * 1e4;
    r->due = due_at(w, r->begun * o->connections + index);
    r->begun++;
    key_print(r->key, rng_below(hot ? o->hot : o->keys));
    int n = snprintf(request, sizeof(request), "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(r->key), r->key);
    r->state = GETTING;
    cache_send(r, request, (size_t)n);
}

static void finish(struct crowd *w, struct reader *r, const char *error) {
    struct readers_result *result = w->result;
    uint64_t now = sock_now();
    hist_add(&result->latency, now > r->due ? now - r->due : 0, 1);
    result->reads++;
    if (error != NULL && result->errors++ == 0) {
        snprintf(result->first_error, sizeof(result->first_error), "%s", error);
    }
    r->state = IDLE;
    w->finished++;
    if (r->begun < r->allowed) {
        start_next(w, r);
    }
}

static void load(struct crowd *w, struct reader *r) {
    char request[128];
    int n = snprintf(request, sizeof(request), "GET /%s HTTP/1.1\r\nHost: origin\r\n\r\n", r->key);
    w->result->loads++;
    r->state = LOADING;
    r->answer_n = 0;
    if (r->origin.fd < 0 && !origin_connect(w, r)) {
        finish(w, r, "the origin refuses connections");
    } else if (sock_send(r->origin.fd, request, (size_t)n) != n) {
        origin_close(r);
        finish(w, r, "the origin closed the connection");
    }
}

static void set(struct reader *r, const char *value, size_t n, int64_t ttl_ms) {
    char request[ANSWER_MAX + 256], ttl[24];
    int ttl_n = snprintf(ttl, sizeof(ttl), "%lld", (long long)ttl_ms);
    int used = snprintf(request, sizeof(request), "*5\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n%.*s\r\n$2\r\nPX\r\n$%d\r\n%s\r\n",
                        strlen(r->key), r->key, n, (int)n, value, ttl_n, ttl);
    r->state = SETTING;
    cache_send(r, request, (size_t)used);
}

static void cache_answered(struct crowd *w, struct reader *r, enum reply_kind kind) {
    if (r->state == GETTING && kind == REPLY_NULL && w->options->look_aside) {
        load(w, r);
    } else if (kind == REPLY_ERROR) {
        finish(w, r, r->reply.line);
    } else {
        finish(w, r, kind == REPLY_NULL ? "no value" : NULL);
    }
}

static void cache_read(struct crowd *w, struct reader *r) {
    char bytes[4096];
    enum reply_kind kind;
    ssize_t n = sock_recv(r->cache.fd, bytes, sizeof(bytes));
    for (ssize_t at = 0; at < n;) {
        at += (ssize_t)reply_feed(&r->reply, bytes + at, (size_t)(n - at), &kind);
        if (kind == REPLY_GARBAGE || (kind != REPLY_PARTIAL && r->state != GETTING && r->state != SETTING)) {
            die("a reply nobody asked for");
        }
        if (kind != REPLY_PARTIAL) {
            cache_answered(w, r, kind);
        }
    }
    if (n < 0) {
        die("the cache closed a connection");
    }
}

/* Where the body begins when the whole answer is there; NULL before. */
static const char *answer_body(const struct reader *r, size_t *n) {
    const char *end = strstr(r->answer, "\r\n\r\n"), *length = strstr(r->answer, "Content-Length: ");
    if (end == NULL || length == NULL) {
        return NULL;
    }
    *n = strtoul(length + 16, NULL, 10);
    return (size_t)(end + 4 - r->answer) + *n <= r->answer_n ? end + 4 : NULL;
}

static void origin_read(struct crowd *w, struct reader *r) {
    size_t room = ANSWER_MAX - 1 - r->answer_n, n;
    ssize_t got = sock_recv(r->origin.fd, r->answer + r->answer_n, room);
    if (got < 0 || r->state != LOADING) {
        origin_close(r);
        if (r->state == LOADING) {
            finish(w, r, "the origin closed the connection");
        }
        return;
    }
    r->answer_n += (size_t)got;
    r->answer[r->answer_n] = '\0';
    const char *body = answer_body(r, &n);
    if (body != NULL && strncmp(r->answer, "HTTP/1.1 200 ", 13) == 0) {
        set(r, body, n, w->options->ttl_ms);
    } else if (body != NULL) {
        finish(w, r, "the origin says no");
    }
}

/* ---- all of them ---- */

static void wait_until_ms(int64_t wall_ms) {
    struct timespec until = {wall_ms / 1000, wall_ms % 1000 * 1000000};
    while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
}

static int64_t wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for n replies on an idle connection. */
static void await_replies(int fd, size_t n) {
    struct reply reply = {0};
    char bytes[65536];
    while (n > 0) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        poll(&ready, 1, -1);
        ssize_t got = sock_recv(fd, bytes, sizeof(bytes));
        for (ssize_t at = 0; at < got;) {
            enum reply_kind kind;
            at += (ssize_t)reply_feed(&reply, bytes + at, (size_t)(got - at), &kind);
            n -= kind != REPLY_PARTIAL;
            if (kind == REPLY_ERROR || kind == REPLY_GARBAGE) {
                die("the cache says: %s", reply.line);
            }
        }
        if (got < 0) {
            die("the cache closed a connection");
        }
    }
}

static void prepare(struct crowd *w) {
    struct reader *r = &w->readers[0];
    char value[VALUE_SIZE];
    key_print(r->key, 0);
    value_print(value, r->key);
    if (w->options->before == BEFORE_DEL) {
        char request[128];
        int n = snprintf(request, sizeof(request), "*2\r\n$3\r\nDEL\r\n$%zu\r\n%s\r\n", strlen(r->key), r->key);
        cache_send(r, request, (size_t)n);
        await_replies(r->cache.fd, 1);
    } else if (w->options->before == BEFORE_EXPIRE) {
        set(r, value, sizeof(value), EXPIRE_MS);
        await_replies(r->cache.fd, 1);
        wait_until_ms(wall_ms() + EXPIRE_MS + 5);
    }
    r->state = IDLE;
    if (w->options->begin_ms > 0) {
        wait_until_ms(w->options->begin_ms);
    }
}

static void crowd_open(struct crowd *w) {
    const struct readers_options *o = w->options;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->readers = mem_zalloc(o->connections * sizeof(*w->readers));
    for (unsigned i = 0; i < o->connections; i++) {
        struct reader *r = &w->readers[i];
        r->cache = (struct line){r, sock_connect(&o->cache)};
        r->origin = (struct line){r, -1};
        watch(w, &r->cache);
        if (o->look_aside && !origin_connect(w, r)) {
            die("no origin");
        }
    }
}

static void crowd_close(struct crowd *w) {
    for (unsigned i = 0; i < w->options->connections; i++) {
        close(w->readers[i].cache.fd);
        origin_close(&w->readers[i]);
    }
    close(w->epoll);
    mem_free(w->readers);
}

/* Starts what is due. */
static void allow(struct crowd *w, uint64_t now) {
    while (w->allowed < w->total && due_at(w, w->allowed) <= now) {
        struct reader *r = &w->readers[w->allowed++ % w->options->connections];
        r->allowed++;
        if (r->state == IDLE) {
            start_next(w, r);
        }
    }
}

static void serve(struct crowd *w) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(w->epoll, events, EVENTS, w->allowed < w->total ? 1 : NEVER_MS);
    for (int i = 0; i < n; i++) {
        struct line *l = events[i].data.ptr;
        if (l == &l->reader->cache) {
            cache_read(w, l->reader);
        } else if (l->fd >= 0) {
            origin_read(w, l->reader);
        }
    }
}

void readers_run(const struct readers_options *o, struct readers_result *result) {
    struct crowd w = {.options = o, .result = result};
    memset(result, 0, sizeof(*result));
    crowd_open(&w);
    w.total = o->rate > 0 ? (uint64_t)(o->rate * o->seconds) : o->connections;
    prepare(&w);
    w.begin = sock_now();
    uint64_t last = due_at(&w, w.total) + DRAIN_SECONDS * (uint64_t)DRAIN_NS;
    while (w.finished < w.total && sock_now() < last) {
        allow(&w, sock_now());
        serve(&w);
    }
    result->errors += w.total - w.finished; /* never answered */
    result->reads = w.total;
    crowd_close(&w);
}

/* ---- fill ---- */

static void send_all(int fd, const char *p, size_t n) {
    while (n > 0) {
        ssize_t sent = sock_send(fd, p, n);
        if (sent < 0) {
            die("the cache closed a connection");
        }
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        if (sent == 0) {
            poll(&ready, 1, -1);
        }
        p += sent;
        n -= (size_t)sent;
    }
}

void fill_run(const struct address *cache, uint64_t keys, int64_t end_ms) {
    enum { BATCH = 500, EACH = 256 };
    int fd = sock_connect(cache);
    char *batch = mem_alloc(BATCH * EACH);
    for (uint64_t i = 0; i < keys;) {
        size_t n = 0, count = 0;
        for (; count < BATCH && i < keys; count++, i++) {
            char key[KEY_SIZE], value[VALUE_SIZE];
            key_print(key, i);
            value_print(value, key);
            n += (size_t)snprintf(batch + n, EACH, "*5\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%d\r\n%.*s\r\n$4\r\nPXAT\r\n$13\r\n%013lld\r\n",
                                  strlen(key), key, VALUE_SIZE, VALUE_SIZE, value, (long long)end_ms);
        }
        send_all(fd, batch, n);
        await_replies(fd, count);
    }
    mem_free(batch);
    close(fd);
}
