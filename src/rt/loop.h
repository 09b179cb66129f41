/* SPDX-License-Identifier: BSD-3-Clause */
/* loop: one libuv loop on one thread, with a mailbox. uv.h ends in src/rt and src/net. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/lock.h"

struct loop;

/* An intrusive message: owned by the receiver from loop_post on; run is called on the receiver's thread. */
struct msg {
    struct msg *next;
    void (*run)(struct loop *loop, struct msg *msg);
};

/* What the loop's owner does in each turn, on the loop's thread. */
struct loop_ops {
    /* After all of this turn's I/O callbacks (uv_check): run the batch, write the replies. Returns true when
     * work is left, so that the next poll does not sleep. */
    bool (*turn)(void *ctx);
    /* Before sleeping (uv_prepare); may be NULL. */
    void (*before_sleep)(void *ctx);
};

/* Creates a loop; run it with loop_run on the calling thread or loop_start on a thread of its own. */
struct loop *loop_create(int id, const char *name, const struct loop_ops *ops, void *ctx);
void loop_start(struct loop *loop);
void loop_run(struct loop *loop);
/* Any thread: loop_run returns after the current turn. */
void loop_stop(struct loop *loop);
/* Joins a started thread, if any. */
void loop_join(struct loop *loop);
/* Runs the messages that have been posted; false when there were none. Of several loops that post to one another, none of them running
 * any more, each is drained until none has had any. On the thread that will destroy it. */
bool loop_drain(struct loop *loop);
/* Closes what is left (CHECKs that only the loop's own handles are), frees. Not on a running loop. */
void loop_destroy(struct loop **loop);

/* Any thread. Messages arrive in the order posted by one thread; one wake-up per empty-to-full edge. */
void loop_post(struct loop *loop, struct msg *msg);

int loop_id(const struct loop *loop);
void *loop_ctx(const struct loop *loop);
/* Wall milliseconds cached at the start of this turn (base/clock), owner thread only. */
int64_t loop_now_ms(const struct loop *loop);
/* Monotonic microseconds cached likewise. */
int64_t loop_mono_us(const struct loop *loop);
/* Any thread: turns so far, the longest turn in microseconds since the last call of loop_take_max_turn_us, and since start, and for how
 * long the present one has lasted (0: the loop is not in one). */
uint64_t loop_turns(const struct loop *loop);
uint64_t loop_take_max_turn_us(struct loop *loop);
uint64_t loop_most_turn_us(const struct loop *loop);
uint64_t loop_busy_us(const struct loop *loop);
/* For src/net: the uv_loop_t. */
void *loop_uv(struct loop *loop);

/* A timer of the owner thread. */
struct timer;
struct timer *timer_create_on(struct loop *loop, void (*fn)(void *ctx), void *ctx);
void timer_start(struct timer *t, int64_t after_ms, int64_t repeat_ms); /* repeat 0: once */
void timer_stop(struct timer *t);
void timer_destroy(struct timer **t);

/* Calls fn on this loop's thread for SIGINT and SIGTERM (and others given, 0-terminated list). SIGPIPE is ignored. */
void loop_on_signals(struct loop *loop, const int *signals, void (*fn)(void *ctx, int signum),
                     void *ctx);
