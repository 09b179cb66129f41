/* SPDX-License-Identifier: BSD-3-Clause */
/* preheat: a queue of names, three ways to fill it, one way to empty it. */
#include "src/server/preheat.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/glob.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/conf/conf.h"
#include "src/conf/row.h"
#include "src/rt/loop.h"
#include "src/rt/pool.h"
#include "src/server/bring.h"
#include "src/server/dir_file.h"
#include "src/server/pace.h"
#include "src/server/server.h"
#include "src/server/worker.h"
#include "src/tier/walk.h"

enum {
    TICK_MS = 2,
    SLICE_KEYS = 512,           /* of one tick, so that others get their turn */
    IN_FLIGHT = 64,
    MAX_NAMES_BYTES = 16 << 20, /* of one WARM KEYS */
    PIECE_BYTES = 64 << 10,     /* of a file */
    MAX_LINE_BYTES = 1 << 20,
    WALK_KEYS = 256,            /* of one interval */
    FULL_PERCENT = 97           /* of what memory may hold: beyond, keys would only push each other out */
};

#define STATES(X) X(IDLE, "idle") X(RUNNING, "running") X(DONE, "done") X(CANCELLED, "cancelled") X(STOPPED, "stopped") X(FAILED, "failed")
enum state {
#define X(name, text) STATE_##name,
    STATES(X)
#undef X
};

typedef _Atomic uint64_t count_t;

struct preheat {
    struct job job; /* reads names; done on the loop */
    struct server *srv;
    struct loop *loop;
    struct timer *timer;
    /* the loop's; the job's while reading */
    enum warm_kind kind;
    unsigned db; /* logical */
    char *text;  /* pattern or path */
    struct pace pace;
    struct buf names; /* not brought yet, from at on: a length, then the name */
    size_t at;
    bool exhausted; /* there are no names behind those */
    int in_flight;
    bool reading, pumping, stopping;
    enum state end;       /* cut short, it ends so; else RUNNING */
    bool bad;             /* a line of the file was: those before it are brought */
    struct walk walk;
    int fd;
    uint64_t size, offset; /* of the file */
    uint64_t line;
    struct buf rest;       /* bytes behind the last whole line */
    /* any thread */
    _Atomic int state; /* whoever makes it RUNNING owns the rest until the loop has begun */
    _Atomic bool cancel;
    count_t total, present, found, absent, failed, rate, permille;
    _Atomic(const char *) error; /* static text */
    count_t error_line;          /* of the file; 0: none */
};

struct beginning {
    struct warm_order order; /* text copied, keys in names */
    unsigned db;
    struct buf names;
};

static void add(count_t *c, uint64_t n) {
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static uint64_t get(const count_t *c) {
    return atomic_load_explicit(c, memory_order_relaxed);
}

static void set(count_t *c, uint64_t n) {
    atomic_store_explicit(c, n, memory_order_relaxed);
}

/* ---- names ---- */

static void put_name(struct buf *names, struct slice name) {
    uint32_t n = (uint32_t)name.n;
    buf_put(names, &n, sizeof(n));
    buf_put_slice(names, name);
}

static bool take_name(struct preheat *p, struct slice *name) {
    uint32_t n;
    if (p->at == p->names.n) {
        return false;
    }
    memcpy(&n, p->names.p + p->at, sizeof(n));
    *name = slice_make(p->names.p + p->at + sizeof(n), n);
    p->at += sizeof(n) + n;
    return true;
}

static void fail(struct preheat *p, const char *why, uint64_t line) {
    atomic_store_explicit(&p->error, why, memory_order_relaxed);
    set(&p->error_line, line);
    p->bad = p->exhausted = true;
}

/* A line is a name, or one in quotes with escapes, as redis-cli prints it. */
static const char *put_line(struct preheat *p, struct slice line) {
    line.n -= line.n > 0 && line.p[line.n - 1] == '\r';
    if (line.n == 0) {
        return NULL;
    }
    struct buf bytes = {0};
    struct slice words[MAX_WORDS];
    const char *wrong = NULL;
    if (line.p[0] == '"') {
        int n = split_words(line, &bytes, words);
        wrong = n < 0 ? "unbalanced quotes" : n != 1 ? "more than one name" : NULL;
        line = n == 1 ? words[0] : line;
    }
    if (wrong == NULL) {
        put_name(&p->names, line);
        add(&p->total, 1);
    }
    buf_free(&bytes);
    return wrong;
}

static void take_lines(struct preheat *p, bool last) {
    size_t at = 0;
    while (at < p->rest.n && !p->bad) {
        const char *start = p->rest.p + at, *stop = memchr(start, '\n', p->rest.n - at);
        if (stop == NULL && !last) {
            break;
        }
        size_t n = stop != NULL ? (size_t)(stop - start) : p->rest.n - at;
        p->line++;
        const char *wrong = put_line(p, slice_make(start, n));
        if (wrong != NULL) {
            fail(p, wrong, p->line);
        }
        at += n + (stop != NULL);
    }
    memmove(p->rest.p, p->rest.p + at, p->rest.n - at);
    p->rest.n -= at;
    if (p->rest.n > MAX_LINE_BYTES && !p->bad) {
        fail(p, "the line is too long", p->line + 1);
    }
}

static void read_piece(struct preheat *p) {
    const char *why = NULL;
    if (p->fd < 0 && (p->fd = dir_file_open(p->text, false, &p->size, &why)) < 0) {
        fail(p, why, 0);
        return;
    }
    ssize_t n = read(p->fd, buf_reserve(&p->rest, PIECE_BYTES), PIECE_BYTES);
    if (n < 0) {
        fail(p, "the file cannot be read", 0);
        return;
    }
    buf_commit(&p->rest, (size_t)n);
    p->offset += (uint64_t)n;
    p->exhausted |= n == 0;
    take_lines(p, n == 0);
    set(&p->permille, p->size == 0 ? 1000 : p->offset * 1000 / p->size);
}

/* The cold keys of the next interval; those in memory need nothing. */
static void read_interval(struct preheat *p) {
    struct walk *w = &p->walk;
    struct slice pattern = slice_cstr(p->text);
    w->from = w->next;
    walk_clear(w);
    w->physical = p->srv->host.l1->db_map[p->db];
    w->now_ms = clock_now_ms();
    walk_before(w);
    walk_below(w);
    if (!walk_after(w) && w->want > 1) { /* too much moved: a shorter interval */
        w->next = w->from;
        w->want = w->want / 4 + 1;
        return;
    }
    for (size_t i = 0; i < w->count; i++) {
        if (w->keys[i].seen != WALK_IN_MEMORY && glob_match(pattern, walk_name(w, &w->keys[i]), false)) {
            put_name(&p->names, walk_name(w, &w->keys[i]));
            add(&p->total, 1);
        }
    }
    w->want = WALK_KEYS;
    p->exhausted = w->next == 0;
    set(&p->permille, p->exhausted ? 1000 : (w->next >> 32) * 1000 >> 32);
}

static void read_names(struct job *job) {
    struct preheat *p = (struct preheat *)job;
    buf_clear(&p->names);
    p->at = 0;
    if (p->kind == WARM_FILE) {
        read_piece(p);
    } else {
        read_interval(p);
    }
}

static void pump(struct preheat *p);

static void names_read(struct job *job) {
    struct preheat *p = (struct preheat *)job;
    p->reading = false;
    pump(p);
}

static void want_names(struct preheat *p) {
    if (!p->reading && !p->exhausted) {
        p->job = (struct job){.loop = p->loop, .run = read_names, .done = names_read};
        p->reading = pool_submit(p->srv->host.pool, 0, &p->job); /* refused: the next tick tries again */
    }
}

/* ---- bringing ---- */

static void brought(void *ctx, enum brought how, const char *error) {
    struct preheat *p = ctx;
    count_t *const counts[] = {
        [BROUGHT_PRESENT] = &p->present, [BROUGHT_FOUND] = &p->found, [BROUGHT_ABSENT] = &p->absent, [BROUGHT_FAILED] = &p->failed};
    add(counts[how], 1);
    if (error != NULL && atomic_load_explicit(&p->error, memory_order_relaxed) == NULL) {
        atomic_store_explicit(&p->error, error, memory_order_relaxed); /* the first one tells most */
    }
    p->in_flight--;
    pump(p);
}

static bool memory_is_full(const struct preheat *p) {
    const struct l1 *l1 = p->srv->host.l1;
    size_t limit = atomic_load_explicit(&l1->limit_bytes, memory_order_relaxed);
    return limit > 0 && l1_bytes(l1) > limit / 100 * FULL_PERCENT;
}

static void forget(struct preheat *p) {
    buf_free(&p->names);
    buf_free(&p->rest);
    if (p->walk.tier != NULL) {
        walk_free(&p->walk);
        p->walk.tier = NULL;
    }
    mem_free(p->text);
    p->text = NULL;
    p->at = 0;
    if (p->fd >= 0) {
        close(p->fd);
        p->fd = -1;
    }
}

static const char *state_name(enum state s) {
    static const char *const names[] = {
#define X(name, text) text,
        STATES(X)
#undef X
    };
    return names[s];
}

static void finish(struct preheat *p) {
    enum state end = p->end != STATE_RUNNING ? p->end : p->bad ? STATE_FAILED : STATE_DONE;
    const char *error = atomic_load_explicit(&p->error, memory_order_relaxed);
    forget(p);
    if (!p->stopping) {
        timer_stop(p->timer);
    }
    log_notice("warm-up %s: %llu keys brought, %llu in memory before, %llu absent, %llu failed%s%s", state_name(end),
               (unsigned long long)get(&p->found), (unsigned long long)get(&p->present), (unsigned long long)get(&p->absent),
               (unsigned long long)get(&p->failed), error != NULL ? ": " : "", error != NULL ? error : "");
    atomic_store_explicit(&p->state, end, memory_order_release);
}

/* What ends it before its names do. */
static void look_around(struct preheat *p) {
    bool cancelled = p->stopping || atomic_load_explicit(&p->cancel, memory_order_relaxed);
    if (p->end == STATE_RUNNING && cancelled) {
        p->end = STATE_CANCELLED;
    } else if (p->end == STATE_RUNNING && memory_is_full(p)) {
        p->end = STATE_STOPPED;
        atomic_store_explicit(&p->error, "memory is full", memory_order_relaxed);
    }
}

/* Brings what may be brought now. Keys that are here at once come back to pump through brought: the outer one goes on. */
static void pump(struct preheat *p) {
    if (p->pumping || atomic_load_explicit(&p->state, memory_order_relaxed) != STATE_RUNNING) {
        return;
    }
    struct slice name;
    int64_t now_us = clock_mono_us();
    p->pumping = true;
    look_around(p);
    for (int i = 0; i < SLICE_KEYS && !p->reading && p->end == STATE_RUNNING && p->in_flight < IN_FLIGHT &&
                    pace_allows(&p->pace, now_us) && take_name(p, &name);
         i++) {
        p->in_flight++;
        pace_spend(&p->pace, 1, now_us);
        bring_key(p->srv, p->db, name, BRING_ORIGIN, brought, p);
        look_around(p);
    }
    if (p->end == STATE_RUNNING && !p->reading && p->at == p->names.n) {
        want_names(p);
    }
    p->pumping = false;
    if (p->reading || p->in_flight > 0) {
        return; /* while it is read, the names are the job's */
    }
    if (p->end != STATE_RUNNING || (p->at == p->names.n && p->exhausted)) {
        finish(p);
    }
}

static void tick(void *ctx) {
    pump(ctx);
}

/* ---- the command ---- */

static void begin(struct worker *w, void *arg) {
    struct beginning *b = arg;
    struct preheat *p = w->server->preheat;
    p->kind = b->order.kind;
    p->db = b->db;
    p->text = (char *)(uintptr_t)b->order.text.p; /* ours: a copy with its end */
    p->names = b->names;
    p->exhausted = p->kind == WARM_KEYS;
    p->end = STATE_RUNNING;
    p->bad = false;
    p->offset = p->line = 0;
    p->walk = (struct walk){.tier = &p->srv->tier, .want = WALK_KEYS};
    pace_start(&p->pace, b->order.rate, clock_mono_us());
    mem_free(b);
    if (!p->stopping) {
        timer_start(p->timer, 0, TICK_MS);
    }
    pump(p);
}

static bool claim(struct preheat *p) {
    int state = atomic_load(&p->state);
    return state != STATE_RUNNING && atomic_compare_exchange_strong(&p->state, &state, STATE_RUNNING);
}

enum err preheat_command(struct call *c, const struct warm_order *order) {
    struct preheat *p = server_of(c->host)->preheat;
    size_t bytes = 0;
    if (p == NULL) {
        return call_errorf(c, "ERR WARM needs a server that runs");
    }
    for (int i = 0; i < order->n; i++) {
        bytes += order->keys[i].n;
    }
    if (bytes > MAX_NAMES_BYTES) {
        return call_errorf(c, "ERR WARM KEYS takes names of %d bytes at most: use WARM FILE", MAX_NAMES_BYTES);
    }
    if (order->kind == WARM_PATTERN && !walk_has_below(c->host->tier)) {
        return call_errorf(c, "ERR WARM PATTERN looks for keys on disk, and l2 is off");
    }
    if (memchr(order->text.p, '\0', order->text.n) != NULL) {
        return call_errorf(c, "ERR WARM: a zero byte in the %s", order->kind == WARM_FILE ? "path" : "pattern");
    }
    if (!claim(p)) {
        return call_errorf(c, "BUSY a warm-up is under way: see WARM STATUS, WARM CANCEL");
    }
    struct beginning *b = mem_zalloc(sizeof(*b));
    b->order = *order;
    b->order.rate = order->rate > 0 ? order->rate : c->conf->warm_rate;
    b->order.text.p = mem_zalloc(order->text.n + 1);
    memcpy((char *)(uintptr_t)b->order.text.p, order->text.p, order->text.n);
    b->db = (unsigned)atomic_load_explicit(&c->client->db, memory_order_relaxed);
    for (int i = 0; i < order->n; i++) {
        put_name(&b->names, order->keys[i]);
    }
    count_t *const zero[] = {&p->present, &p->found, &p->absent, &p->failed, &p->permille, &p->error_line};
    for (size_t i = 0; i < sizeof(zero) / sizeof(zero[0]); i++) {
        set(zero[i], 0);
    }
    set(&p->total, (uint64_t)order->n);
    set(&p->rate, (uint64_t)b->order.rate);
    atomic_store_explicit(&p->error, NULL, memory_order_relaxed);
    atomic_store_explicit(&p->cancel, false, memory_order_relaxed);
    worker_post(p->srv->workers[0], begin, b);
    reply_ok(c->out);
    return OK;
}

bool preheat_cancel(struct preheat *p) {
    if (p == NULL || atomic_load(&p->state) != STATE_RUNNING) {
        return false;
    }
    atomic_store_explicit(&p->cancel, true, memory_order_relaxed);
    return true;
}

void preheat_info(const struct preheat *p, struct buf *out) {
    if (p == NULL) {
        return;
    }
    int state = atomic_load_explicit(&p->state, memory_order_acquire);
    const char *error = atomic_load_explicit(&p->error, memory_order_relaxed);
    uint64_t done = get(&p->present) + get(&p->found) + get(&p->absent) + get(&p->failed), total = get(&p->total);
    uint64_t permille = state == STATE_DONE ? 1000 : get(&p->permille) > 0 || total == 0 ? get(&p->permille) : done * 1000 / total;
    buf_printf(out,
               "warm_state:%s\r\nwarm_rate:%llu\r\nwarm_percent:%.1f\r\nwarm_total:%llu\r\nwarm_done:%llu\r\nwarm_present:%llu\r\n"
               "warm_found:%llu\r\nwarm_absent:%llu\r\nwarm_failed:%llu\r\n",
               state_name((enum state)state), (unsigned long long)get(&p->rate), (double)permille / 10, (unsigned long long)total,
               (unsigned long long)done, (unsigned long long)get(&p->present), (unsigned long long)get(&p->found),
               (unsigned long long)get(&p->absent), (unsigned long long)get(&p->failed));
    if (error != NULL && get(&p->error_line) > 0) {
        buf_printf(out, "warm_error:line %llu: %s\r\n", (unsigned long long)get(&p->error_line), error);
    } else if (error != NULL) {
        buf_printf(out, "warm_error:%s\r\n", error);
    }
}

/* ---- life ---- */

struct preheat *preheat_create(struct server *srv) {
    struct preheat *p = mem_zalloc(sizeof(*p));
    p->srv = srv;
    p->loop = srv->workers[0]->loop;
    p->fd = -1;
    p->timer = timer_create_on(p->loop, tick, p);
    return p;
}

bool preheat_stopping(struct preheat *p) {
    if (p == NULL) {
        return false;
    }
    if (!p->stopping) {
        p->stopping = true;
        timer_destroy(&p->timer);
        pump(p);
    }
    return atomic_load(&p->state) == STATE_RUNNING;
}

void preheat_destroy(struct preheat **pp) {
    struct preheat *p = *pp;
    if (p == NULL) {
        return;
    }
    *pp = NULL;
    forget(p);
    mem_free(p);
}
