/* SPDX-License-Identifier: BSD-3-Clause */
/* pool: worker threads over lanes of bounded queues; a worker takes from the first lane that has something.
 *
 * A sleeping worker costs a system call and a switch to wake, about as much as a read of the device. So idle workers lie on a stack, each
 * on a futex word of its own: the one that slept last is woken, by name, after the lock was given back. And one more is woken only
 * when more jobs wait than workers are busy, those aside that the workers on their way will take: the wait is then about one job's
 * time, and busy workers go from job to job without a sleep. The first `threads` of them are woken at once. */
#include "src/rt/pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/lock.h"
#include "src/base/mem.h"

struct lane {
    struct job *first, *last; /* lock */
    unsigned depth;
    /* atomic, relaxed */
    _Atomic uint64_t submitted, completed, refused, waiting, wait_us, busy_us;
};

/* A place for a thread. */
struct worker {
    struct pool *pool;
    pthread_t thread;
    enum { PLACE_FREE, PLACE_RUNNING, PLACE_ENDED } state; /* lock */
    struct worker *below; /* lock: of the stack of idle ones */
    bool coming; /* lock: roused or started for a job, and not there yet */
    _Atomic uint32_t roused; /* the futex word: no longer on that stack */
};

struct pool {
    /* fixed after create */
    struct pool_options options;
    struct worker *workers; /* threads_max of them */
    struct lane *lanes;
    struct lock lock;
    /* lock */
    struct worker *idle; /* who slept last on top */
    unsigned idle_count, coming, waiting;
    bool stopping;
    _Atomic unsigned live; /* written under the lock */
};

enum { IDLE_MS = 10000 };

static void add(_Atomic uint64_t *c, int64_t n) {
    atomic_fetch_add_explicit(c, (uint64_t)n, memory_order_relaxed);
}

/* ---- jobs ---- */

static void arrive(struct loop *loop, struct msg *msg) {
    (void)loop;
    struct job *job = (struct job *)msg;
    job->done(job);
}

static void run_job(struct lane *lane, struct job *job) {
    int64_t start = clock_mono_us();
    add(&lane->wait_us, start - job->submitted_us);
    job->run(job);
    add(&lane->busy_us, clock_mono_us() - start);
    bool comes_home = job->done != NULL;
    /* who sees the count may use a job that does not come home again */
    atomic_fetch_add_explicit(&lane->completed, 1, memory_order_release);
    if (!comes_home) {
        return;
    }
    if (job->loop == NULL) {
        job->done(job);
        return;
    }
    job->msg.run = arrive;
    loop_post(job->loop, &job->msg);
}

/* Lock held. */
static struct job *take(struct pool *p, struct lane **from) {
    for (unsigned i = 0; i < p->options.lanes; i++) {
        struct lane *lane = &p->lanes[i];
        struct job *job = lane->first;
        if (job != NULL) {
            lane->first = job->link;
            lane->depth--;
            p->waiting--;
            add(&lane->waiting, -1);
            *from = lane;
            return job;
        }
    }
    return NULL;
}

/* ---- sleeping ---- */

/* Lock held. */
static bool needs_one_more(const struct pool *p) {
    unsigned busy = p->live - p->idle_count, left = p->waiting > p->coming ? p->waiting - p->coming : 0;
    return left > 0 && (busy < p->options.threads || left > busy);
}

/* Lock held. */
static bool may_grow(const struct pool *p) {
    return p->live < p->options.threads_max && !p->stopping && needs_one_more(p);
}

/* Lock held. */
static void comes(struct pool *p, struct worker *w) {
    w->coming = true;
    p->coming++;
}

/* Lock held. */
static void has_come(struct pool *p, struct worker *w) {
    p->coming -= w->coming;
    w->coming = false;
}

/* The idle worker that is to help, or NULL: rouse it when the lock is given back. Lock held. */
static struct worker *pick(struct pool *p) {
    struct worker *w = p->idle;
    if (w == NULL || !needs_one_more(p)) {
        return NULL;
    }
    p->idle = w->below;
    p->idle_count--;
    comes(p, w);
    atomic_store(&w->roused, 1);
    return w;
}

static void rouse(struct worker *w) {
    if (w != NULL) {
        syscall(SYS_futex, &w->roused, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

static void lie_down(struct pool *p, struct worker *w) {
    atomic_store(&w->roused, 0);
    w->below = p->idle;
    p->idle = w;
    p->idle_count++;
}

/* True when it was still on the stack. Lock held. */
static bool get_up(struct pool *p, struct worker *w) {
    struct worker **at = &p->idle;
    while (*at != NULL && *at != w) {
        at = &(*at)->below;
    }
    if (*at == NULL) {
        return false;
    }
    *at = w->below;
    p->idle_count--;
    return true;
}

/* Until roused; true: nobody did for a while. */
static bool slept_long(struct worker *w) {
    int64_t ms = w->pool->options.idle_ms > 0 ? w->pool->options.idle_ms : IDLE_MS;
    struct timespec most = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (atomic_load(&w->roused) == 0) {
        if (syscall(SYS_futex, &w->roused, FUTEX_WAIT_PRIVATE, 0, &most, NULL, 0) != 0 && errno == ETIMEDOUT) {
            return true;
        }
    }
    return false;
}

/* ---- workers ---- */

static void *worker_main(void *arg);

/* Lock held. */
static void start_worker(struct pool *p) {
    for (unsigned i = 0; i < p->options.threads_max; i++) {
        struct worker *w = &p->workers[i];
        if (w->state == PLACE_RUNNING) {
            continue;
        }
        if (w->state == PLACE_ENDED) {
            pthread_join(w->thread, NULL); /* it has left the lock: it is gone, or about to be */
        }
        char name[32];
        w->pool = p;
        w->state = pthread_create(&w->thread, NULL, worker_main, w) == 0 ? PLACE_RUNNING : PLACE_FREE;
        if (w->state == PLACE_RUNNING) {
            p->live++;
            comes(p, w);
            snprintf(name, sizeof(name), "%.8s-%u", p->options.name, i);
            name[15] = '\0';
            pthread_setname_np(w->thread, name);
        }
        return;
    }
}

/* Nothing to do: sleeps; false when the worker has not been needed for a while and ends. Lock held before and after. */
static bool rest(struct pool *p, struct worker *w) {
    lie_down(p, w);
    lock_release(&p->lock);
    bool long_since = slept_long(w);
    lock_acquire(&p->lock);
    has_come(p, w);
    if (!long_since || !get_up(p, w)) {
        return true;
    }
    return p->waiting > 0 || p->live <= p->options.threads;
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    struct pool *p = w->pool;
    lock_acquire(&p->lock);
    has_come(p, w);
    for (;;) {
        struct lane *lane;
        struct job *job = take(p, &lane);
        if (job != NULL) {
            struct worker *other = pick(p);
            if (other == NULL && may_grow(p)) {
                start_worker(p);
            }
            lock_release(&p->lock);
            rouse(other);
            run_job(lane, job);
            lock_acquire(&p->lock);
        } else if (p->stopping || !rest(p, w)) {
            break;
        }
    }
    w->state = PLACE_ENDED;
    p->live--;
    lock_release(&p->lock);
    return NULL;
}

struct pool *pool_create(const struct pool_options *options) {
    struct pool *p = mem_zalloc(sizeof(*p));
    p->options = *options;
    if (p->options.threads_max < p->options.threads) {
        p->options.threads_max = p->options.threads;
    }
    p->lanes = mem_zalloc(options->lanes * sizeof(*p->lanes));
    p->workers = mem_zalloc(p->options.threads_max * sizeof(*p->workers));
    lock_init(&p->lock, LOCK_POOL, 0);
    lock_acquire(&p->lock);
    for (unsigned i = 0; i < options->threads; i++) {
        start_worker(p);
        CHECK(p->live == i + 1);
    }
    lock_release(&p->lock);
    return p;
}

unsigned pool_threads(const struct pool *p) {
    return atomic_load_explicit(&p->live, memory_order_relaxed);
}

bool pool_submit(struct pool *p, unsigned lane_id, struct job *job) {
    CHECK(lane_id < p->options.lanes);
    struct lane *lane = &p->lanes[lane_id];
    struct worker *w = NULL;
    job->submitted_us = clock_mono_us();
    job->link = NULL;
    if (p->options.threads == 0) {
        add(&lane->submitted, 1);
        job->loop = NULL; /* inline: done runs here too */
        run_job(lane, job);
        return true;
    }
    lock_acquire(&p->lock);
    bool room = lane->depth < p->options.depth && !p->stopping;
    if (room) {
        if (lane->first == NULL) {
            lane->first = job;
        } else {
            lane->last->link = job;
        }
        lane->last = job;
        lane->depth++;
        p->waiting++;
        add(&lane->waiting, 1);
        w = pick(p);
        if (w == NULL && p->coming == 0 && may_grow(p)) { /* all may stand in a slow call: the first must not wait for one to come by */
            start_worker(p);
        }
    }
    lock_release(&p->lock);
    rouse(w);
    add(room ? &lane->submitted : &lane->refused, 1);
    return room;
}

static void stop_workers(struct pool *p) {
    lock_acquire(&p->lock);
    p->stopping = true;
    struct worker *all = p->idle;
    p->idle = NULL;
    p->idle_count = 0;
    for (struct worker *w = all, *below; w != NULL; w = below) {
        below = w->below;
        atomic_store(&w->roused, 1);
        rouse(w);
    }
    lock_release(&p->lock);
}

void pool_destroy(struct pool **pool) {
    struct pool *p = *pool;
    *pool = NULL;
    stop_workers(p);
    for (unsigned i = 0; i < p->options.threads_max; i++) {
        lock_acquire(&p->lock);
        bool used = p->workers[i].state != PLACE_FREE; /* none is started any more */
        lock_release(&p->lock);
        if (used) {
            pthread_join(p->workers[i].thread, NULL);
        }
    }
    mem_free(p->workers);
    mem_free(p->lanes);
    mem_free(p);
}

void pool_stats_read(const struct pool *p, unsigned lane_id, struct pool_stats *out) {
    const struct lane *lane = &p->lanes[lane_id];
    *out = (struct pool_stats){
        .submitted = atomic_load_explicit(&lane->submitted, memory_order_relaxed),
        .completed = atomic_load_explicit(&lane->completed, memory_order_acquire),
        .refused = atomic_load_explicit(&lane->refused, memory_order_relaxed),
        .depth = atomic_load_explicit(&lane->waiting, memory_order_relaxed),
        .wait_us = atomic_load_explicit(&lane->wait_us, memory_order_relaxed),
        .busy_us = atomic_load_explicit(&lane->busy_us, memory_order_relaxed)};
}
