/* SPDX-License-Identifier: BSD-3-Clause */
/* loop: a libuv loop with a turn after each poll and a mailbox for other threads.
 *
 * The mailbox has an eventfd of its own. With a uv_async the loop, once awake, spins until the thread that woke it is out of its call;
 * where cores are scarce that thread has just lost its core to the loop. */
#include "src/rt/loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/mem.h"

enum { MAX_SIGNALS = 4 };

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, v) atomic_store_explicit(&(field), (v), memory_order_relaxed)

struct loop {
    /* fixed after create */
    uv_loop_t uv;
    struct loop_ops ops;
    void *ctx;
    int id;
    char name[16];
    int wake_fd;

    /* owner loop only */
    uv_check_t check;
    uv_prepare_t prepare;
    uv_idle_t idle; /* active while the last turn left work: the poll does not sleep then */
    uv_poll_t wake;
    uv_signal_t signals[MAX_SIGNALS];
    int signal_count;
    void (*on_signal)(void *ctx, int signum);
    void *signal_ctx;
    bool stopping;
    int64_t now_ms, mono_us; /* 0: not read in this turn yet */
    pthread_t thread;
    bool has_thread;

    /* atomic: written by the owner alone, but for max_turn_us, which whoever looks takes away */
    _Atomic uint64_t turns, max_turn_us, most_turn_us;
    _Atomic uint64_t busy_since; /* ticks; 0: not in a turn */

    /* MAILBOX lock */
    struct lock mailbox_lock;
    struct msg *first, *last;
    bool draining; /* looks into the mailbox once more before it sleeps: it need not be woken */
};

/* ---- time ---- */

static void forget_time(struct loop *l) {
    l->now_ms = 0;
    l->mono_us = 0;
}

int64_t loop_now_ms(const struct loop *loop) {
    struct loop *l = (struct loop *)(uintptr_t)loop; /* a cache, not a change */
    if (l->now_ms == 0) {
        l->now_ms = clock_now_ms();
    }
    return l->now_ms;
}

int64_t loop_mono_us(const struct loop *loop) {
    struct loop *l = (struct loop *)(uintptr_t)loop;
    if (l->mono_us == 0) {
        l->mono_us = clock_mono_us();
    }
    return l->mono_us;
}

/* ---- the turn ---- */

static void idle_cb(uv_idle_t *h) {
    (void)h; /* only its being active matters */
}

static void check_cb(uv_check_t *h) {
    struct loop *l = h->data;
    uint64_t start = clock_ticks();
    STORE(l->busy_since, start);
    bool more = l->ops.turn != NULL && l->ops.turn(l->ctx);
    uint64_t us = clock_ticks_to_us(clock_ticks() - start);
    STORE(l->busy_since, 0);
    if (us > LOAD(l->max_turn_us)) {
        STORE(l->max_turn_us, us);
        STORE(l->most_turn_us, us > LOAD(l->most_turn_us) ? us : LOAD(l->most_turn_us));
    }
    STORE(l->turns, LOAD(l->turns) + 1);
    forget_time(l);
    if (more != (bool)uv_is_active((uv_handle_t *)&l->idle)) {
        if (more) {
            uv_idle_start(&l->idle, idle_cb);
        } else {
            uv_idle_stop(&l->idle);
        }
    }
}

static void prepare_cb(uv_prepare_t *h) {
    struct loop *l = h->data;
    if (l->ops.before_sleep != NULL) {
        l->ops.before_sleep(l->ctx);
    }
    forget_time(l);
}

/* ---- mailbox ---- */

void loop_post(struct loop *loop, struct msg *msg) {
    msg->next = NULL;
    lock_acquire(&loop->mailbox_lock);
    bool was_empty = loop->first == NULL, wakes = was_empty && !loop->draining;
    if (was_empty) {
        loop->first = msg;
    } else {
        loop->last->next = msg;
    }
    loop->last = msg;
    lock_release(&loop->mailbox_lock);
    if (wakes) {
        CHECK(eventfd_write(loop->wake_fd, 1) == 0);
    }
}

static struct msg *take_mail(struct loop *l, bool again) {
    lock_acquire(&l->mailbox_lock);
    struct msg *msg = l->first;
    l->first = l->last = NULL;
    l->draining = again;
    lock_release(&l->mailbox_lock);
    return msg;
}

/* What has arrived, and then what that has sent, to this very loop above all; what comes later wakes the loop. */
bool loop_drain(struct loop *l) {
    bool any = false;
    for (int again = 1; again >= 0; again--) {
        for (struct msg *msg = take_mail(l, again), *next; msg != NULL; msg = next) {
            any = true;
            next = msg->next;
            msg->run(l, msg);
        }
    }
    return any;
}

static void wake_cb(uv_poll_t *h, int status, int events) {
    struct loop *l = h->data;
    eventfd_t wakes;
    (void)status;
    (void)events;
    (void)eventfd_read(l->wake_fd, &wakes);
    loop_drain(l);
    if (l->stopping) {
        uv_stop(&l->uv);
    }
}

/* ---- life ---- */

struct loop *loop_create(int id, const char *name, const struct loop_ops *ops, void *ctx) {
    struct loop *l = mem_zalloc(sizeof(*l));
    l->ops = *ops;
    l->ctx = ctx;
    l->id = id;
    snprintf(l->name, sizeof(l->name), "%s", name);
    lock_init(&l->mailbox_lock, LOCK_MAILBOX, (uint32_t)id);
    CHECK(uv_loop_init(&l->uv) == 0);
    uv_check_init(&l->uv, &l->check);
    uv_prepare_init(&l->uv, &l->prepare);
    uv_idle_init(&l->uv, &l->idle);
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(l->wake_fd >= 0 && uv_poll_init(&l->uv, &l->wake, l->wake_fd) == 0);
    l->check.data = l->prepare.data = l->idle.data = l->wake.data = l;
    CHECK(uv_poll_start(&l->wake, UV_READABLE, wake_cb) == 0);
    uv_check_start(&l->check, check_cb);
    uv_prepare_start(&l->prepare, prepare_cb);
    return l;
}

void loop_run(struct loop *loop) {
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

static void *thread_main(void *arg) {
    struct loop *loop = arg;
    pthread_setname_np(pthread_self(), loop->name); /* the main thread's name is the process's */
    loop_run(loop);
    return NULL;
}

void loop_start(struct loop *loop) {
    loop->has_thread = true;
    CHECK(pthread_create(&loop->thread, NULL, thread_main, loop) == 0);
}

static void stop_here(struct loop *loop, struct msg *msg) {
    loop->stopping = true;
    mem_free(msg);
}

void loop_stop(struct loop *loop) {
    struct msg *msg = mem_zalloc(sizeof(*msg));
    msg->run = stop_here;
    loop_post(loop, msg);
}

void loop_join(struct loop *loop) {
    if (loop->has_thread) {
        pthread_join(loop->thread, NULL);
        loop->has_thread = false;
    }
}

static void close_own(struct loop *l) {
    uv_close((uv_handle_t *)&l->check, NULL);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_close((uv_handle_t *)&l->idle, NULL);
    uv_close((uv_handle_t *)&l->wake, NULL);
    for (int i = 0; i < l->signal_count; i++) {
        uv_close((uv_handle_t *)&l->signals[i], NULL);
    }
}

void loop_destroy(struct loop **loop) {
    struct loop *l = *loop;
    *loop = NULL;
    while (loop_drain(l)) {
    }
    close_own(l);
    uv_run(&l->uv, UV_RUN_DEFAULT);       /* runs the close callbacks, and those of the owner's handles */
    CHECK(uv_loop_close(&l->uv) == 0); /* a handle was left open */
    close(l->wake_fd);
    mem_free(l);
}

int loop_id(const struct loop *loop) {
    return loop->id;
}

void *loop_ctx(const struct loop *loop) {
    return loop->ctx;
}

uint64_t loop_turns(const struct loop *loop) {
    return LOAD(loop->turns);
}

uint64_t loop_take_max_turn_us(struct loop *loop) {
    return atomic_exchange_explicit(&loop->max_turn_us, 0, memory_order_relaxed);
}

uint64_t loop_most_turn_us(const struct loop *loop) {
    return LOAD(loop->most_turn_us);
}

uint64_t loop_busy_us(const struct loop *loop) {
    uint64_t since = LOAD(loop->busy_since), now = clock_ticks();
    return since != 0 && now > since ? clock_ticks_to_us(now - since) : 0;
}

void *loop_uv(struct loop *loop) {
    return &loop->uv;
}

/* ---- timers ---- */

struct timer {
    uv_timer_t uv;
    struct loop *loop;
    void (*fn)(void *ctx);
    void *ctx;
};

static void timer_cb(uv_timer_t *h) {
    struct timer *t = h->data;
    /* timers run before the poll and the turn after it: without this, what a timer made ready would wait for input */
    if (!uv_is_closing((uv_handle_t *)&t->loop->idle)) { /* one that was due when the loop was destroyed */
        uv_idle_start(&t->loop->idle, idle_cb);
    }
    t->fn(t->ctx);
}

struct timer *timer_create_on(struct loop *loop, void (*fn)(void *ctx), void *ctx) {
    struct timer *t = mem_zalloc(sizeof(*t));
    t->loop = loop;
    t->fn = fn;
    t->ctx = ctx;
    uv_timer_init(&loop->uv, &t->uv);
    t->uv.data = t;
    return t;
}

void timer_start(struct timer *t, int64_t after_ms, int64_t repeat_ms) {
    uv_timer_start(&t->uv, timer_cb, after_ms > 0 ? (uint64_t)after_ms : 0, (uint64_t)repeat_ms);
}

void timer_stop(struct timer *t) {
    uv_timer_stop(&t->uv);
}

static void timer_closed(uv_handle_t *h) {
    mem_free(h->data);
}

void timer_destroy(struct timer **t) {
    uv_close((uv_handle_t *)&(*t)->uv, timer_closed);
    *t = NULL;
}

/* ---- signals ---- */

static void signal_cb(uv_signal_t *h, int signum) {
    struct loop *l = h->data;
    l->on_signal(l->signal_ctx, signum);
}

void loop_on_signals(struct loop *loop, const int *signals, void (*fn)(void *ctx, int signum),
                     void *ctx) {
    signal(SIGPIPE, SIG_IGN);
    loop->on_signal = fn;
    loop->signal_ctx = ctx;
    for (; *signals != 0; signals++) {
        CHECK(loop->signal_count < MAX_SIGNALS);
        uv_signal_t *h = &loop->signals[loop->signal_count++];
        uv_signal_init(&loop->uv, h);
        h->data = loop;
        uv_signal_start(h, signal_cb, *signals);
    }
}
