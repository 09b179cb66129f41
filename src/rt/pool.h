/* SPDX-License-Identifier: BSD-3-Clause */
/* pool: our own worker threads, apart from libuv's process-wide pool (which DNS and files share). Work that may block
 * runs here and comes back to the loop that asked. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/rt/loop.h"

/* Intrusive; owned by the pool from submit until done. run on a worker (may block); done on the loop, or on
 * the worker when loop is NULL. done may be NULL. */
struct job {
    struct msg msg; /* private to the pool: how it comes home */
    struct loop *loop;
    void (*run)(struct job *job);
    void (*done)(struct job *job);
    /* private to the pool */
    struct job *link;
    int64_t submitted_us;
};

struct pool_options {
    const char *name; /* thread names */
    unsigned threads; /* always there; 0: jobs run inline at submit, done too: deterministic tests */
    unsigned threads_max; /* when more jobs wait than workers are busy another is started, up to so many; it ends when it has been idle
                             for a while. 0: none are added */
    int64_t idle_ms;  /* how long is a while; 0: ten seconds */
    unsigned lanes;   /* queues in falling priority */
    unsigned depth;   /* bound of each lane; UINT_MAX: none */
};
struct pool_stats {
    uint64_t submitted, completed, refused, depth, wait_us, busy_us;
};

struct pool *pool_create(const struct pool_options *options);
/* False, job untouched, when the lane is full. Any thread. */
bool pool_submit(struct pool *pool, unsigned lane, struct job *job)
    __attribute__((warn_unused_result));
/* Runs what is queued, joins the workers, frees. */
void pool_destroy(struct pool **pool);
/* Workers now. Any thread. */
unsigned pool_threads(const struct pool *pool);
void pool_stats_read(const struct pool *pool, unsigned lane, struct pool_stats *out);
