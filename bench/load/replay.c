/* SPDX-License-Identifier: BSD-3-Clause */
/* replay: a trace against one or more servers. One thread walks the records in order and stops at the
 * first whose connection is full, so that no connection runs ahead of another by more than its window. */
#include "bench/load/replay.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/load/request.h"
#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { READ_SIZE = 1 << 20, EVENTS = 64, KEY_SIZE = 16, BAR = 40, PATIENCE_MS = 30000 };

struct pending {
    const struct trace_record *record;
    uint64_t sent;
    uint64_t number; /* of the request among those of its lane */
    bool is_set;
};

struct lane {
    int fd;
    bool wants_write;
    struct buf out;
    size_t out_at;        /* bytes of out already sent */
    struct pending *ring; /* requests under way, oldest at head */
    unsigned head;
    unsigned n;
    uint64_t pushed; /* requests ever put in the ring */
    struct reply reply;
};

struct target {
    struct lane *lanes;
    int epoll;
    uint64_t *filled; /* by key id: number of its last SET */
    uint64_t under_way;
    struct replay_result *result;
};

struct replay {
    const struct replay_options *options;
    const struct trace *trace;
    char *noise;
    char *read;
    struct target targets[REPLAY_TARGETS_MAX];
};

static void key_append(struct buf *out, uint64_t key) {
    char text[KEY_SIZE + 2];
    for (int i = KEY_SIZE - 1; i >= 0; i--, key >>= 4) {
        text[i] = "0123456789abcdef"[key & 15];
    }
    text[KEY_SIZE] = '\r';
    text[KEY_SIZE + 1] = '\n';
    buf_put(out, text, sizeof(text));
}

static void lane_push(struct replay *r, struct target *t, struct lane *lane, struct pending pending) {
    unsigned window = r->options->window;
    pending.number = ++lane->pushed;
    lane->ring[(lane->head + lane->n) % window] = pending;
    lane->n++;
    t->under_way++;
    t->result->commands++;
    const struct trace_record *record = pending.record;
    if (pending.is_set) {
        t->filled[record->id] = pending.number;
    } else {
        buf_puts(&lane->out, "*2\r\n$3\r\nGET\r\n$16\r\n");
        key_append(&lane->out, record->key);
        return;
    }
    char head[32];
    int n = snprintf(head, sizeof(head), "$%u\r\n", record->length);
    buf_puts(&lane->out, "*3\r\n$3\r\nSET\r\n$16\r\n");
    key_append(&lane->out, record->key);
    buf_put(&lane->out, head, (size_t)n);
    buf_put(&lane->out, r->noise + record->key % NOISE_SLACK, record->length);
    buf_put(&lane->out, "\r\n", 2);
}

static void lane_flush(struct target *t, struct lane *lane) {
    while (lane->out_at < lane->out.n) {
        ssize_t n = sock_send(lane->fd, lane->out.p + lane->out_at, lane->out.n - lane->out_at);
        if (n < 0) {
            die("the server closed a connection");
        }
        if (n == 0) {
            break;
        }
        lane->out_at += (size_t)n;
    }
    bool write = lane->out_at < lane->out.n;
    if (!write) {
        buf_clear(&lane->out);
        lane->out_at = 0;
    }
    if (write != lane->wants_write) {
        struct epoll_event event = {.events = EPOLLIN | (write ? (unsigned)EPOLLOUT : 0), .data.ptr = lane};
        epoll_ctl(t->epoll, EPOLL_CTL_MOD, lane->fd, &event);
        lane->wants_write = write;
    }
}

static void error_note(struct target *t, const struct lane *lane) {
    if (t->result->errors++ == 0) {
        memcpy(t->result->first_error, lane->reply.line, sizeof(t->result->first_error));
    }
}

/* The oldest request of the lane has its reply. A miss sent before the SET that an earlier miss of the
 * same key caused is asked again behind that SET: whoever asks for one key at a time would have waited. */
static void lane_resolve(struct replay *r, struct target *t, struct lane *lane, enum reply_kind kind, uint64_t now) {
    if (lane->n == 0 || kind == REPLY_GARBAGE) {
        die("the server sent something that is no reply to a request");
    }
    struct pending pending = lane->ring[lane->head];
    lane->head = (lane->head + 1) % r->options->window;
    lane->n--;
    t->under_way--;
    bool again = !pending.is_set && kind == REPLY_NULL && t->filled[pending.record->id] > pending.number;
    if (again) {
        lane_push(r, t, lane, pending);
        return;
    }
    hist_add(&t->result->latency, now - pending.sent, 1);
    if (kind == REPLY_ERROR) {
        error_note(t, lane);
    }
    if (pending.is_set) {
        return;
    }
    t->result->hits += kind == REPLY_VALUE;
    t->result->misses += kind != REPLY_VALUE;
    if (kind == REPLY_NULL) {
        lane_push(r, t, lane, (struct pending){.record = pending.record, .sent = now, .is_set = true});
    }
}

static void lane_read(struct replay *r, struct target *t, struct lane *lane) {
    ssize_t n = sock_recv(lane->fd, r->read, READ_SIZE);
    if (n < 0) {
        die("the server closed a connection");
    }
    uint64_t now = sock_now();
    for (size_t at = 0; at < (size_t)n;) {
        enum reply_kind kind;
        at += reply_feed(&lane->reply, r->read + at, (size_t)n - at, &kind);
        if (kind != REPLY_PARTIAL) {
            lane_resolve(r, t, lane, kind, now);
        }
    }
}

/* Queues records from *next on, up to the first whose connection is full. */
static void dispatch(struct replay *r, struct target *t, uint64_t *next, uint64_t end) {
    const struct trace *trace = r->trace;
    uint64_t now = sock_now();
    while (*next < end) {
        const struct trace_record *record = &trace->records[*next];
        struct lane *lane = &t->lanes[record->id % r->options->connections];
        if (lane->n >= r->options->window) {
            break;
        }
        lane_push(r, t, lane, (struct pending){.record = record, .sent = now});
        (*next)++;
    }
}

/* One target's turn: ends when the last reply is there. */
static void slice_run(struct replay *r, struct target *t, uint64_t next, uint64_t end) {
    uint64_t started = sock_now();
    uint64_t begin = next;
    double rate = r->options->rate;
    while (next < end || t->under_way > 0) {
        uint64_t due = rate > 0 ? begin + 1 + (uint64_t)((double)(sock_now() - started) * rate / 1e9) : end;
        dispatch(r, t, &next, due < end ? due : end);
        for (unsigned i = 0; i < r->options->connections; i++) {
            if (t->lanes[i].out.n > 0) {
                lane_flush(t, &t->lanes[i]);
            }
        }
        struct epoll_event events[EVENTS];
        int n = epoll_wait(t->epoll, events, EVENTS, next < end && rate > 0 ? 1 : PATIENCE_MS);
        if (n == 0 && (next == end || rate == 0)) {
            die("no reply for %d seconds", PATIENCE_MS / 1000);
        }
        for (int i = 0; i < n; i++) {
            if (events[i].events & ~(unsigned)EPOLLOUT) {
                lane_read(r, t, events[i].data.ptr);
            }
        }
    }
    t->result->seconds += (double)(sock_now() - started) / 1e9;
}

static void target_open(struct replay *r, struct target *t, const struct address *address) {
    const struct replay_options *o = r->options;
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->filled = mem_zalloc(r->trace->keys * sizeof(*t->filled));
    t->lanes = mem_zalloc(o->connections * sizeof(*t->lanes));
    for (unsigned i = 0; i < o->connections; i++) {
        struct lane *lane = &t->lanes[i];
        lane->fd = sock_connect(address);
        lane->ring = mem_alloc(o->window * sizeof(*lane->ring));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = lane};
        if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, lane->fd, &event) != 0) {
            die("epoll_ctl failed");
        }
    }
}

static void target_close(struct replay *r, struct target *t) {
    for (unsigned i = 0; i < r->options->connections; i++) {
        close(t->lanes[i].fd);
        mem_free(t->lanes[i].ring);
        buf_free(&t->lanes[i].out);
    }
    close(t->epoll);
    mem_free(t->lanes);
    mem_free(t->filled);
}

static void bar_draw(uint64_t done, uint64_t all) {
    int full = (int)(done * BAR / all);
    fprintf(stderr, "\r[%.*s%.*s] %3llu%%%s", full, "########################################", BAR - full,
            "........................................", (unsigned long long)(done * 100 / all), done == all ? "\n" : "");
}

static char *noise_make(const struct trace *trace) {
    uint32_t longest = 0;
    for (uint64_t i = 0; i < trace->n; i++) {
        longest = trace->records[i].length > longest ? trace->records[i].length : longest;
    }
    rng_seed(1); /* every run and every target sees the same bytes */
    return request_noise(longest);
}

void replay_run(const struct replay_options *options, const struct trace *trace, struct replay_result *results) {
    struct replay r = {.options = options, .trace = trace};
    r.noise = noise_make(trace);
    r.read = mem_alloc(READ_SIZE);
    for (unsigned i = 0; i < options->n_targets; i++) {
        results[i] = (struct replay_result){0};
        r.targets[i].result = &results[i];
        target_open(&r, &r.targets[i], &options->targets[i]);
    }
    bool first_leads = true;
    for (uint64_t at = 0; at < trace->n; at += options->slice) {
        uint64_t end = trace->n - at < options->slice ? trace->n : at + options->slice;
        for (unsigned i = 0; i < options->n_targets; i++) {
            slice_run(&r, &r.targets[first_leads ? i : options->n_targets - 1 - i], at, end);
        }
        first_leads = !first_leads;
        if (options->progress) {
            bar_draw(end, trace->n);
        }
    }
    for (unsigned i = 0; i < options->n_targets; i++) {
        target_close(&r, &r.targets[i]);
    }
    mem_free(r.noise);
    mem_free(r.read);
}
