/* SPDX-License-Identifier: BSD-3-Clause */
/* pool: worker threads over lanes of bounded queues; a worker takes from the first lane that has something. */
#include "src/rt/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/rt/loop.h"

struct lane {
    struct job *first, *last; /* mutex */
    unsigned depth;
    /* atomic, relaxed */
    _Atomic uint64_t submitted, completed, refused, waiting, wait_us, busy_us;
};

/* Carries a finished job home. */
struct homing {
    struct msg msg;
    struct job *job;
};

struct pool {
    /* fixed after create */
    struct pool_options options;
    struct worker *workers; /* threads_max of them */
    struct lane *lanes;
    /* mutex: a condition variable wants a pthread mutex */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stopping;
    unsigned idle, waiting;
    _Atomic unsigned live; /* written under the mutex */
};

/* A place for a thread. */
struct worker {
    struct pool *pool;
    pthread_t thread;
    enum { PLACE_FREE, PLACE_RUNNING, PLACE_ENDED } state; /* mutex */
};

enum { IDLE_SECONDS = 10 };

static void add(_Atomic uint64_t *c, int64_t n) {
    atomic_fetch_add_explicit(c, (uint64_t)n, memory_order_relaxed);
}

static void arrive(struct loop *loop, struct msg *msg) {
    (void)loop;
    struct homing *h = (struct homing *)msg;
    struct job *job = h->job;
    mem_free(h);
    job->done(job);
}

static void run_job(struct lane *lane, struct job *job) {
    int64_t start = clock_mono_us();
    add(&lane->wait_us, start - job->submitted_us);
    job->run(job);
    add(&lane->busy_us, clock_mono_us() - start);
    add(&lane->completed, 1);
    if (job->done == NULL) {
        return;
    }
    if (job->loop == NULL) {
        job->done(job);
        return;
    }
    struct homing *h = mem_zalloc(sizeof(*h));
    h->msg.run = arrive;
    h->job = job;
    loop_post(job->loop, &h->msg);
}

static void *worker_main(void *arg);

/* Mutex held. */
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

/* Mutex held. */
static void start_worker(struct pool *p) {
    for (unsigned i = 0; i < p->options.threads_max; i++) {
        struct worker *w = &p->workers[i];
        if (w->state == PLACE_RUNNING) {
            continue;
        }
        if (w->state == PLACE_ENDED) {
            pthread_join(w->thread, NULL); /* it has left the mutex: it is gone, or about to be */
        }
        char name[32];
        w->pool = p;
        w->state = pthread_create(&w->thread, NULL, worker_main, w) == 0 ? PLACE_RUNNING : PLACE_FREE;
        if (w->state == PLACE_RUNNING) {
            p->live++;
            snprintf(name, sizeof(name), "%.8s-%u", p->options.name, i);
            name[15] = '\0';
            pthread_setname_np(w->thread, name);
        }
        return;
    }
}

/* Waits for work; false when there has been none for a while and the worker is not needed. Mutex held. */
static bool wait_for_work(struct pool *p) {
    struct timespec until;
    int e = 0;
    p->idle++;
    if (p->live > p->options.threads) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += IDLE_SECONDS;
        e = pthread_cond_timedwait(&p->wake, &p->mutex, &until);
    } else {
        pthread_cond_wait(&p->wake, &p->mutex);
    }
    p->idle--;
    return e != ETIMEDOUT || p->waiting > 0 || p->live <= p->options.threads;
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    struct pool *p = w->pool;
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        struct lane *lane;
        struct job *job = take(p, &lane);
        if (job != NULL) {
            if (p->waiting > p->idle && p->live < p->options.threads_max && !p->stopping) {
                start_worker(p);
            }
            pthread_mutex_unlock(&p->mutex);
            run_job(lane, job);
            pthread_mutex_lock(&p->mutex);
        } else if (p->stopping || !wait_for_work(p)) {
            break;
        }
    }
    w->state = PLACE_ENDED;
    p->live--;
    pthread_mutex_unlock(&p->mutex);
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
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_mutex_lock(&p->mutex);
    for (unsigned i = 0; i < options->threads; i++) {
        start_worker(p);
        CHECK(p->live == i + 1);
    }
    pthread_mutex_unlock(&p->mutex);
    return p;
}

unsigned pool_threads(const struct pool *p) {
    return atomic_load_explicit(&p->live, memory_order_relaxed);
}

bool pool_submit(struct pool *p, unsigned lane_id, struct job *job) {
    CHECK(lane_id < p->options.lanes);
    struct lane *lane = &p->lanes[lane_id];
    job->submitted_us = clock_mono_us();
    job->link = NULL;
    if (p->options.threads == 0) {
        add(&lane->submitted, 1);
        job->loop = NULL; /* inline: done runs here too */
        run_job(lane, job);
        return true;
    }
    pthread_mutex_lock(&p->mutex);
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
        pthread_cond_signal(&p->wake);
    }
    pthread_mutex_unlock(&p->mutex);
    add(room ? &lane->submitted : &lane->refused, 1);
    return room;
}

void pool_destroy(struct pool **pool) {
    struct pool *p = *pool;
    *pool = NULL;
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    for (unsigned i = 0; i < p->options.threads_max; i++) {
        pthread_mutex_lock(&p->mutex);
        bool used = p->workers[i].state != PLACE_FREE; /* none is started any more */
        pthread_mutex_unlock(&p->mutex);
        if (used) {
            pthread_join(p->workers[i].thread, NULL);
        }
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    mem_free(p->workers);
    mem_free(p->lanes);
    mem_free(p);
}

void pool_stats_read(const struct pool *p, unsigned lane_id, struct pool_stats *out) {
    const struct lane *lane = &p->lanes[lane_id];
    *out = (struct pool_stats){
        .submitted = atomic_load_explicit(&lane->submitted, memory_order_relaxed),
        .completed = atomic_load_explicit(&lane->completed, memory_order_relaxed),
        .refused = atomic_load_explicit(&lane->refused, memory_order_relaxed),
        .depth = atomic_load_explicit(&lane->waiting, memory_order_relaxed),
        .wait_us = atomic_load_explicit(&lane->wait_us, memory_order_relaxed),
        .busy_us = atomic_load_explicit(&lane->busy_us, memory_order_relaxed)};
}
