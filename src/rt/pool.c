/* SPDX-License-Identifier: BSD-3-Clause */
/* pool: worker threads over lanes of bounded queues; a worker takes from the first lane that has something. */
#include "src/rt/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

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
    pthread_t *threads;
    struct lane *lanes;
    /* mutex: a condition variable wants a pthread mutex */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stopping;
};

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

/* Mutex held. */
static struct job *take(struct pool *p, struct lane **from) {
    for (unsigned i = 0; i < p->options.lanes; i++) {
        struct lane *lane = &p->lanes[i];
        struct job *job = lane->first;
        if (job != NULL) {
            lane->first = job->link;
            lane->depth--;
            add(&lane->waiting, -1);
            *from = lane;
            return job;
        }
    }
    return NULL;
}

static void *worker_main(void *arg) {
    struct pool *p = arg;
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        struct lane *lane;
        struct job *job = take(p, &lane);
        if (job != NULL) {
            pthread_mutex_unlock(&p->mutex);
            run_job(lane, job);
            pthread_mutex_lock(&p->mutex);
        } else if (p->stopping) {
            break;
        } else {
            pthread_cond_wait(&p->wake, &p->mutex);
        }
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

struct pool *pool_create(const struct pool_options *options) {
    struct pool *p = mem_zalloc(sizeof(*p));
    p->options = *options;
    p->lanes = mem_zalloc(options->lanes * sizeof(*p->lanes));
    p->threads = mem_zalloc(options->threads * sizeof(*p->threads));
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    for (unsigned i = 0; i < options->threads; i++) {
        char name[32];
        CHECK(pthread_create(&p->threads[i], NULL, worker_main, p) == 0);
        snprintf(name, sizeof(name), "%.8s-%u", options->name, i);
        name[15] = '\0';
        pthread_setname_np(p->threads[i], name);
    }
    return p;
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
    for (unsigned i = 0; i < p->options.threads; i++) {
        pthread_join(p->threads[i], NULL);
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    mem_free(p->threads);
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
