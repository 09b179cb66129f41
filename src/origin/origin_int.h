/* SPDX-License-Identifier: BSD-3-Clause */
/* origin_int: one origin from the inside, private to this folder: its queue, its breaker and budget, its numbers. */
#pragma once

#include "src/origin/breaker.h"
#include "src/origin/origin.h"
#include "src/stats/conns.h"
#include "src/stats/stats.h"

/* COUNTER(name): what INFO shows of an origin, in this order. */
#define ORIGIN_COUNTERS(COUNTER)                                                                                       \
    COUNTER(loads)    /* submitted, by kind */                                                                         \
    COUNTER(puts)                                                                                                      \
    COUNTER(dels)                                                                                                      \
    COUNTER(found)    /* how they ended: exactly one of these five */                                                  \
    COUNTER(absent)                                                                                                    \
    COUNTER(written)                                                                                                   \
    COUNTER(failed)                                                                                                    \
    COUNTER(refused)  /* never tried: breaker open, queue full, waited too long */                                     \
    COUNTER(attempts) /* started */                                                                                    \
    COUNTER(retries)  /* of them, not the first of their request */                                                    \
    COUNTER(timeouts) /* of them, ended by the timeout */                                                              \
    COUNTER(opened)   /* times the breaker opened */

enum { LATENCY_BUCKETS = 32, ERROR_KINDS = 24 };

struct origin_stats {
#define COUNTER(name) stat_t name;
    ORIGIN_COUNTERS(COUNTER)
#undef COUNTER
    stat_t in_flight, queued, state; /* gauges */
    stat_t rejects[REJECT_REASONS]; /* of those refused */
    /* attempts with an answer: buckets of [2^(i-1), 2^i) microseconds */
    stat_t latency_count, latency_us_sum, latency_us_max, latency[LATENCY_BUCKETS];
    /* failures and refusals by text; the last place is for all that found none */
    struct {
        const char *_Atomic text;
        stat_t count;
    } errors[ERROR_KINDS];
};

enum { LANE_WAITED, LANE_BACKGROUND, LANE_COUNT };

struct origin {
    /* fixed after create */
    char *name;
    const struct origin_driver *driver;
    struct slice scheme; /* of driver's schemes */
    struct origin_options options;
    void *self;
    struct origins *origins;
    struct loop *loop;

    /* origin loop only. All requests of a list have been given the same time in it: the first is the first that is due */
    struct list lanes[LANE_COUNT]; /* the queue */
    struct list flying;
    struct list resting; /* before a retry */
    int64_t queued, in_flight, at_rest; /* in_flight is part of origins->in_flight */
    struct breaker breaker;
    int64_t retry_tokens; /* millionths of a retry */
    struct timer *timer;
    int64_t timer_ms; /* when it will fire; 0: it is off */
    bool pumping, closing;

    /* atomic; the origin loop writes */
    struct origin_stats stats;
    struct conns conns;
    _Atomic bool down;
};

struct origins {
    /* fixed after create */
    struct loop *loop;
    struct origin **list;
    unsigned count;
    int64_t max_value; /* bounds the option of that name */
    /* origin loop only */
    unsigned open;
    unsigned turn;     /* whose queue is looked at first when there is room again */
    int64_t in_flight; /* of all of them */
    int64_t most;      /* and how many there may be; set before the first request */
    struct msg stop_msg;
    /* owner only */
    bool stopped;
};

/* ---- request.c: the way of a request; all on the origin loop ---- */

/* Before the first request, after self is open. */
void requests_init(struct origin *o);
/* Fails everything, now and from now on, with the text. */
void requests_close(struct origin *o, const char *text);
void requests_fini(struct origin *o);
