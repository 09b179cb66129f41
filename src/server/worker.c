/* SPDX-License-Identifier: BSD-3-Clause */
/* worker: the turn of one event loop. */
#include "src/server/worker.h"

#include <stdio.h>
#include <sys/mman.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/conf/conf.h"
#include "src/rt/loop.h"
#include "src/server/ahead.h"
#include "src/server/brake.h"
#include "src/server/channel.h"
#include "src/server/cluster.h"
#include "src/server/dispatch.h"
#include "src/server/park.h"
#include "src/server/peers.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/shutdown.h"
#include "src/server/sighting.h"
#include "src/sight/sight.h"

enum {
    TURN_BUDGET_US = 2000,   /* calls run in one turn before others' bytes are read again */
    BACKLOG_BUDGET_US = 250, /* the same for calls of clients that send more than one turn reads */
    ADOPT_MIN_BYTES = 64 << 10 /* a value in a buffer of its own is not copied from this size on */
};

/* ---- the window ---- */

static struct parse_limits limits_of(const struct session *s) {
    const struct conf *conf = s->worker->conf;
    bool open = s->client.authenticated;
    return (struct parse_limits){.max_bulk_bytes = conf->proto_max_bulk_len,
                                 .max_args = open ? INT32_MAX : 10,
                                 .max_auth_bulk = open ? conf->proto_max_bulk_len : 16384,
                                 .max_inline_bytes = 64 << 10};
}

static void open_call(struct worker *w, struct session *s, struct slot *slot) {
    struct host *h = &w->server->host;
    slot->call = (struct call){.out = &s->out,
                               .arena = &w->arena,
                               .client = &s->client,
                               .host = h,
                               .l1 = h->l1,
                               .conf = w->conf,
                               .rules = w->rules,
                               .stats = w->stats,
                               .now_ms = loop_now_ms(w->loop)};
    slot->session = s;
    slot->proto_error = NULL;
}

/* Parses up to room calls of s into the window. Returns how many; s leaves the ready list when it has no whole call
 * left. */
static unsigned take_calls(struct worker *w, struct session *s, struct slot *slots, unsigned room) {
    struct parse_limits limits = limits_of(s);
    unsigned n = 0;
    size_t at = s->in_at;
    bool framed = s->channel != NULL;
    while (n < room && at < s->in_n) {
        struct request r;
        size_t head = 0, length = s->in_n - at;
        struct channel_origin from = {0};
        if (unlikely(framed)) {
            head = channel_head(s, at, &from, &length);
            if (head == 0) {
                break;
            }
        }
        enum parse_status status = parse_request(slice_make(s->in + at + head, length), &limits, &s->resume, &w->arena, &r);
        if (unlikely(framed)) {
            status = channel_status(status, &r, length);
        }
        if (status == PARSE_MORE) {
            s->need = r.need;
            break;
        }
        at += head;
        s->resume = (struct parse_resume){0};
        s->need = 0;
        at += r.used;
        if (status == PARSE_EMPTY) {
            s->in_at = at;
            continue;
        }
        struct slot *slot = &slots[n++];
        open_call(w, s, slot);
        if (status == PARSE_ERROR) {
            slot->proto_error = r.error;
            at = s->in_n; /* nothing behind it can be trusted */
        } else {
            slot->call.tag = from.tag;
            slot->call.peer = from.peer;
            slot->call.argc = r.argc;
            slot->call.argv = r.argv;
            dispatch_resolve(slot);
            if (unlikely(s->in_n >= ADOPT_MIN_BYTES) && s->in == s->own.p && r.used == s->in_n) {
                slot->call.input = &s->own;
            }
        }
        slot->end = at;
        s->in_at = at;
    }
    if (n < room) {
        list_remove(&s->ready_node);
        session_read_on(s);
    }
    return n;
}

/* Fills the window from the ready sessions, each in turn. */
static unsigned fill_window(struct worker *w) {
    unsigned n = 0;
    while (n < WINDOW && !list_empty(&w->ready)) {
        struct session *s = LIST_ENTRY(w->ready.next, struct session, ready_node);
        n += take_calls(w, s, w->window + n, WINDOW - n);
        if (!list_empty(&s->ready_node)) {
            list_remove(&s->ready_node); /* it may have more: to the back of the queue */
            list_push_back(&w->ready, &s->ready_node);
        }
    }
    return n;
}

/* The rest of the session's calls in the window are not run: its input goes back to before them. */
static void rewind_input(struct session *s, const struct slot *slot) {
    s->in_at = slot->end;
    s->resume = (struct parse_resume){0};
    s->need = 0;
    list_remove(&s->ready_node);
}

static void run_window(struct worker *w, unsigned n) {
    unsigned hot = sighting_place(w, n);
    for (unsigned i = 0; i < n; i++) {
        const struct slot *slot = &w->window[i];
        if (slot->call.nkeys > 0) {
            l1_prefetch_item(slot->call.l1, slot->call.keys[0].hash, slot->bucket, slot->call.cmd->flags & CMD_WRITE);
        }
    }
    w->lap = clock_ticks();
    for (unsigned i = 0; i < n; i++) {
        struct slot *slot = &w->window[i];
        struct session *s = slot->session;
        if (unlikely(s->closing || s->parked != NULL || s->stopped || !list_empty(&s->brake_node) ||
                     (client_flags(&s->client) & CLIENT_CLOSE_AFTER_REPLY && !s->ended))) {
            continue;
        }
        dispatch_run(slot);
        if (unlikely(i == hot)) {
            sighting_hot(&slot->call, w);
        }
        session_want_flush(s);
        if (unlikely(s->parked != NULL)) {
            rewind_input(s, slot);
            if (s->parked->why == PARK_FILL) {
                ahead_look(w, s, slot + 1, n - i - 1);
            }
        } else if (unlikely(s->stopped)) {
            rewind_input(s, slot);
        } else if (unlikely(slot->call.changed != 0 && brake_is_needed(w) && !s->closing)) {
            rewind_input(s, slot);
            brake_session(s);
        } else if (unlikely(out_bytes(&s->out) >= FLUSH_EARLY_BYTES)) {
            session_flush(s);
            w->lap = clock_ticks();
        }
    }
    arena_reset(&w->arena);
}

/* ---- the turn ---- */

/* Worker 0 has the server's cron; the others wake by themselves only to close idle clients. */
static void start_cron(struct worker *w) {
    if (w->id == 0) {
        w->server->cron_period_ms = SERVER_CRON_MS;
        timer_start(w->cron, SERVER_CRON_MS, SERVER_CRON_MS);
    } else if (w->conf->timeout > 0) {
        timer_start(w->cron, 1000, 1000);
    } else {
        timer_stop(w->cron);
    }
}

static void refresh_conf(struct worker *w) {
    uint64_t version = atomic_load_explicit(&w->server->conf_version, memory_order_acquire);
    if (likely(version == w->conf_version)) {
        return;
    }
    struct conf *old = w->conf;
    w->conf = conf_store_current(w->server->host.conf_store);
    w->conf_version = version;
    if (old != NULL) {
        conf_unref(old);
    }
    rules_unref(w->rules);
    w->rules = guard_rules(w->server->tier.guard);
    w->slow_ticks = w->conf->slowlog_log_slower_than < 0
                        ? UINT64_MAX
                        : clock_us_to_ticks((uint64_t)w->conf->slowlog_log_slower_than);
    w->latency_ticks = w->conf->latency_monitor_threshold <= 0
                           ? UINT64_MAX
                           : clock_us_to_ticks((uint64_t)w->conf->latency_monitor_threshold * 1000);
    if (w->cron != NULL) {
        start_cron(w);
    }
}

static void look_around(struct worker *w) {
    struct host *h = &w->server->host;
    w->slow = atomic_load_explicit(&h->monitors, memory_order_relaxed) > 0 ||
              atomic_load_explicit(&h->loading, memory_order_relaxed) ||
              atomic_load_explicit(&w->server->pause_until_ms, memory_order_relaxed) != 0;
    w->sample_below = atomic_load_explicit(&h->sight->below, memory_order_relaxed);
    w->tracking = hotkeys_is_active(h->sight->tracking);
}

static void flush_all(struct worker *w) {
    while (!list_empty(&w->flushing)) {
        session_flush(LIST_ENTRY(w->flushing.next, struct session, flush_node));
    }
}

/* Whether the next session in line has to wait for the next turn. */
static bool is_spent(const struct worker *w, uint64_t ticks) {
    const struct session *next = LIST_ENTRY(w->ready.next, struct session, ready_node);
    bool backlog = next->in == next->own.p;
    return ticks > (backlog ? w->backlog_ticks : w->turn_ticks);
}

static void run_ready(struct worker *w) {
    uint64_t start = clock_ticks();
    do {
        run_window(w, fill_window(w));
    } while (!list_empty(&w->ready) && !is_spent(w, clock_ticks() - start));
}

static bool turn(void *ctx) {
    struct worker *w = ctx;
    refresh_conf(w);
    look_around(w);
    if (unlikely(w->peers != NULL)) {
        peers_turn(w);
    }
    park_run_yielded(w);
    if (!list_empty(&w->ready)) {
        run_ready(w);
    }
    while (!list_empty(&w->readers)) {
        session_keep_input(LIST_ENTRY(w->readers.next, struct session, reader_node));
    }
    flush_all(w);
    if (unlikely(w->peers != NULL)) {
        peers_turn_end(w);
    }
    w->read_at = 0;
    STAT_ADD(w->stats->turns, 1);
    if (unlikely(w->draining)) {
        shutdown_drain_turn(w);
    }
    sessions_sweep(w);
    return !list_empty(&w->ready) || !list_empty(&w->yielded);
}

/* ---- timers ---- */

static void close_idle(struct worker *w) {
    int64_t limit_ms = w->conf->timeout * 1000, now = loop_now_ms(w->loop);
    for (struct list *n = w->sessions.next, *next; n != &w->sessions; n = next) {
        next = n->next;
        struct session *s = LIST_ENTRY(n, struct session, client.node);
        int64_t last = atomic_load_explicit(&s->client.last_ms, memory_order_relaxed);
        if (now - last > limit_ms && s->parked == NULL && s->dues.count == 0 &&
            !client_is(&s->client, CLIENT_MONITOR)) {
            STAT_ADD(w->stats->timed_out_clients, 1);
            log_verbose("client id=%llu closed: idle", (unsigned long long)s->client.id);
            session_close(s);
        }
    }
}

static void on_cron(void *ctx) {
    struct worker *w = ctx;
    int64_t now = loop_now_ms(w->loop);
    refresh_conf(w);
    if (w->id == 0) {
        server_cron(w->server);
    }
    if (now - w->last_second_ms >= 1000 || now < w->last_second_ms) {
        w->last_second_ms = now;
        if (w->conf->timeout > 0) {
            close_idle(w);
        }
    }
}

static void on_pause_over(void *ctx) {
    park_wake_paused(ctx);
}

/* ---- messages ---- */

struct order {
    struct msg msg;
    struct worker *worker;
    void (*fn)(struct worker *w, void *arg);
    void *arg;
};

static void order_run(struct loop *loop, struct msg *msg) {
    (void)loop;
    struct order *o = (struct order *)msg;
    o->fn(o->worker, o->arg);
    mem_free(o);
}

void worker_post(struct worker *w, void (*fn)(struct worker *w, void *arg), void *arg) {
    struct order *o = mem_zalloc(sizeof(*o));
    o->msg.run = order_run;
    o->worker = w;
    o->fn = fn;
    o->arg = arg;
    loop_post(w->loop, &o->msg);
}

static void adopt(struct worker *w, void *arg) {
    uintptr_t packed = (uintptr_t)arg;
    session_open(w, (int)(packed >> 1), packed & 1);
}

void worker_hand_over(struct worker *w, int fd, bool is_unix) {
    worker_post(w, adopt, (void *)((uintptr_t)fd << 1 | (uintptr_t)is_unix));
}

/* ---- life ---- */

struct worker *worker_create(struct server *srv, unsigned id) {
    static const struct loop_ops ops = {.turn = turn};
    struct worker *w = mem_zalloc(sizeof(*w));
    char name[16];
    snprintf(name, sizeof(name), "worker-%u", id);
    w->server = srv;
    w->id = id;
    w->stats = srv->host.stats[id];
    w->read_area = mmap(NULL, READ_AREA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                        -1, 0); /* untouched pages cost nothing: an idle server stays small */
    CHECK(w->read_area != MAP_FAILED);
    list_init(&w->ready);
    list_init(&w->readers);
    list_init(&w->flushing);
    list_init(&w->yielded);
    list_init(&w->paused);
    list_init(&w->braked);
    list_init(&w->ended);
    list_init(&w->sessions);
    lock_init(&w->sessions_lock, LOCK_SESSIONS, id);
    w->conf_version = UINT64_MAX;
    refresh_conf(w);
    w->turn_ticks = clock_us_to_ticks(TURN_BUDGET_US);
    w->backlog_ticks = clock_us_to_ticks(BACKLOG_BUDGET_US);
    w->loop = loop_create((int)id, name, &ops, w);
    w->cron = timer_create_on(w->loop, on_cron, w);
    w->pause_timer = timer_create_on(w->loop, on_pause_over, w);
    w->brake_timer = timer_create_on(w->loop, brake_tick, w);
    start_cron(w);
    return w;
}

void worker_destroy(struct worker **wp) {
    struct worker *w = *wp;
    *wp = NULL;
    CHECK(list_empty(&w->sessions));
    timer_destroy(&w->cron);
    timer_destroy(&w->pause_timer);
    timer_destroy(&w->brake_timer);
    (void)cluster_stopping(w);
    loop_destroy(&w->loop); /* which also runs the ends of what was just closed */
    sessions_sweep(w);
    if (w->peers != NULL) {
        peers_free(&w->peers);
    }
    for (unsigned i = 0; i < w->spare_out_count; i++) {
        buf_free(&w->spare_out[i]);
    }
    out_free(&w->held);
    arena_free(&w->arena);
    munmap(w->read_area, READ_AREA_BYTES);
    conf_unref(w->conf);
    rules_unref(w->rules);
    mem_free(w);
}
