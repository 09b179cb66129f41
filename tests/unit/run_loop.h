/* SPDX-License-Identifier: BSD-3-Clause */
/* run_loop: a loop that a test runs until what it waits for has happened; ten seconds are a failure. */
#pragma once

#include <signal.h>

#include "src/base/clock.h"
#include "src/rt/loop.h"
#include "tests/unit/check.h"

struct run_loop {
    struct loop *loop;
    struct timer *tick; /* so that conditions outside the loop are looked at, too */
    bool (*until)(void *ctx);
    void *ctx;
    bool stopped;
    int64_t give_up_us;
};

static inline bool run_loop_turn(void *ctx) {
    struct run_loop *r = ctx;
    if (r->until != NULL && !r->stopped && (r->until(r->ctx) || clock_mono_us() > r->give_up_us)) {
        r->stopped = true;
        loop_stop(r->loop);
    }
    return false;
}

static inline void run_loop_tick(void *ctx) {
    (void)ctx;
}

static inline void run_loop_open(struct run_loop *r) {
    static const struct loop_ops ops = {.turn = run_loop_turn};
    signal(SIGPIPE, SIG_IGN); /* as the server does */
    *r = (struct run_loop){0};
    r->loop = loop_create(0, "test", &ops, r);
    r->tick = timer_create_on(r->loop, run_loop_tick, NULL);
    timer_start(r->tick, 5, 5);
}

/* True when it happened. */
static inline bool run_loop_until(struct run_loop *r, bool (*until)(void *ctx), void *ctx) {
    r->until = until;
    r->ctx = ctx;
    r->give_up_us = clock_mono_us() + 10 * 1000000;
    while (!until(ctx) && clock_mono_us() < r->give_up_us) {
        r->stopped = false;
        loop_run(r->loop);
    }
    r->until = NULL;
    return until(ctx);
}

static inline bool run_loop_flag(void *ctx) {
    return *(const bool *)ctx;
}

static inline bool run_loop_flag_set(struct run_loop *r, bool *flag) {
    return run_loop_until(r, run_loop_flag, flag);
}

static inline bool run_loop_past(void *ctx) {
    return clock_mono_us() >= *(const int64_t *)ctx;
}

/* Lets the loop run for a while. */
static inline void run_loop_for(struct run_loop *r, int64_t ms) {
    int64_t end_us = clock_mono_us() + ms * 1000;
    run_loop_until(r, run_loop_past, &end_us);
}

/* CHECKs that nothing was left open. */
static inline void run_loop_close(struct run_loop *r) {
    timer_destroy(&r->tick);
    loop_destroy(&r->loop);
}
