/* SPDX-License-Identifier: BSD-3-Clause */
/* request: the way of a request through its origin: breaker, queue, flight, rest, done. */
#include "src/base/check.h"
#include "src/origin/origin_int.h"

enum { MILLIONTHS = 1000000 };

static int64_t now_ms(const struct origin *o) {
    return loop_mono_us(o->loop) / 1000;
}

/* ---- numbers ---- */

static void gauge(stat_t *s, int64_t v) {
    atomic_store_explicit(s, (uint64_t)v, memory_order_relaxed);
}

static void publish(struct origin *o) {
    gauge(&o->stats.in_flight, o->in_flight);
    gauge(&o->stats.queued, o->queued + o->at_rest);
    gauge(&o->stats.state, breaker_state_at(&o->breaker, now_ms(o)));
    atomic_store_explicit(&o->down, breaker_refuses(&o->breaker, now_ms(o)), memory_order_relaxed);
}

static void count_error(struct origin_stats *s, const char *text) {
    int i = 0;
    for (; i < ERROR_KINDS - 1; i++) {
        const char *there = atomic_load_explicit(&s->errors[i].text, memory_order_relaxed);
        if (there == NULL) {
            atomic_store_explicit(&s->errors[i].text, text, memory_order_relaxed);
        }
        if (there == NULL || there == text || strcmp(there, text) == 0) {
            break;
        }
    }
    STAT_ADD(s->errors[i].count, 1);
}

static void count_latency(struct origin_stats *s, int64_t us) {
    int bucket = 0;
    while (bucket < LATENCY_BUCKETS - 1 && us >> bucket != 0) {
        bucket++;
    }
    STAT_ADD(s->latency[bucket], 1);
    STAT_ADD(s->latency_count, 1);
    STAT_ADD(s->latency_us_sum, us);
    if ((uint64_t)us > STAT_GET(s->latency_us_max)) {
        gauge(&s->latency_us_max, us);
    }
}

static void count_end(struct origin_stats *s, const struct request *r) {
    if (r->result == REQUEST_FAILED) {
        count_error(s, r->error);
        if (r->attempts == 0) {
            STAT_ADD(s->refused, 1);
        } else {
            STAT_ADD(s->failed, 1);
        }
    } else if (r->result == REQUEST_ABSENT) {
        STAT_ADD(s->absent, 1);
    } else if (r->kind == REQUEST_LOAD) {
        STAT_ADD(s->found, 1);
    } else {
        STAT_ADD(s->written, 1);
    }
}

/* ---- the end ---- */

static void run_done(struct loop *loop, struct msg *msg) {
    (void)loop;
    struct request *r = LIST_ENTRY(msg, struct request, msg);
    r->done(r);
}

/* The numbers are right before done is told. */
static void finish(struct origin *o, struct request *r) {
    count_end(&o->stats, r);
    publish(o);
    if (r->loop == o->loop) {
        r->done(r);
        return;
    }
    r->msg.run = run_done;
    loop_post(r->loop, &r->msg);
}

/* Not (or not again) tried. One that has been tried keeps the error it got. as: REJECT_REASONS when it is for no reason of the origin's. */
static void refuse(struct origin *o, struct request *r, const char *text, enum stat_reject as) {
    if (r->attempts == 0) {
        if (as < REJECT_REASONS) {
            STAT_ADD(o->stats.rejects[as], 1);
        }
        r->result = REQUEST_FAILED;
        r->error = text;
        r->blame = BLAME_NOBODY;
    }
    finish(o, r);
}

static void unqueue(struct origin *o, struct request *r) {
    list_remove(&r->node);
    o->queued--;
}

static void refuse_all(struct origin *o, struct list *head, int64_t *count, const char *text, enum stat_reject as) {
    struct list *n;
    while ((n = list_pop_front(head)) != NULL) {
        (*count)--;
        refuse(o, LIST_ENTRY(n, struct request, node), text, as);
    }
}

static void refuse_queue(struct origin *o, const char *text, enum stat_reject as) {
    for (int i = 0; i < LANE_COUNT; i++) {
        refuse_all(o, &o->lanes[i], &o->queued, text, as);
    }
}

/* ---- flight ---- */

static struct request *first_of(struct list *head) {
    return list_empty(head) ? NULL : LIST_ENTRY(head->next, struct request, node);
}

static void launch(struct origin *o, struct request *r) {
    STAT_ADD(o->stats.attempts, 1);
    if (r->attempts++ > 0) {
        STAT_ADD(o->stats.retries, 1);
    }
    r->found = (struct found){.expire_ms = -1};
    r->life = LIFETIME_UNSAID;
    r->status = 0;
    r->error = NULL;
    r->blame = BLAME_ORIGIN;
    r->started_us = loop_mono_us(o->loop);
    r->due_ms = now_ms(o) + o->options.timeout_ms;
    o->in_flight++;
    o->origins->in_flight++;
    list_push_back(&o->flying, &r->node);
    o->driver->start(o->self, r);
}

static void arm(struct origin *o);

/* Starts what may start. A driver that ends a request at once comes back here through request_end: the outer call goes on. */
static void pump(struct origin *o) {
    if (o->pumping) {
        return;
    }
    o->pumping = true;
    while (o->queued > 0) {
        if (breaker_refuses(&o->breaker, now_ms(o))) {
            refuse_queue(o, "breaker open", REJECT_breaker);
            break;
        }
        if (o->in_flight >= o->options.concurrency || o->origins->in_flight >= o->origins->most) {
            break;
        }
        struct request *r = first_of(&o->lanes[LANE_WAITED]);
        r = r != NULL ? r : first_of(&o->lanes[LANE_BACKGROUND]);
        unqueue(o, r);
        CHECK(breaker_admit(&o->breaker, now_ms(o), &r->breaker_era));
        launch(o, r);
    }
    o->pumping = false;
    publish(o);
    arm(o);
}

static bool may_retry(struct origin *o, const struct request *r) {
    return r->attempts <= o->options.retries && o->retry_tokens >= MILLIONTHS && !o->closing &&
           !breaker_refuses(&o->breaker, now_ms(o));
}

static void rest(struct origin *o, struct request *r) {
    o->retry_tokens -= MILLIONTHS;
    o->at_rest++;
    r->due_ms = now_ms(o) + o->options.retry_after_ms;
    list_push_back(&o->resting, &r->node);
}

/* An attempt is over. */
static void settle(struct origin *o, struct request *r, bool retry) {
    int64_t us = loop_mono_us(o->loop) - r->started_us;
    bool failed = r->result == REQUEST_FAILED;
    CHECK(!failed || r->error != NULL);
    list_remove(&r->node);
    o->in_flight--;
    o->origins->in_flight--;
    r->took_ms = us / 1000;
    if (failed) {
        found_free(&r->found);
        r->found = (struct found){.expire_ms = -1};
    } else {
        count_latency(&o->stats, us);
    }
    enum breaker_outcome outcome = !failed || r->blame == BLAME_REQUEST ? OUTCOME_GOOD
                                   : r->blame == BLAME_NOBODY           ? OUTCOME_NONE
                                                                        : OUTCOME_BAD;
    if (breaker_report(&o->breaker, r->breaker_era, outcome, now_ms(o))) {
        STAT_ADD(o->stats.opened, 1);
    }
    if (failed && retry && may_retry(o, r)) {
        rest(o, r);
    } else {
        finish(o, r);
    }
}

/* Room was made below the bound of all origins together: the others' turn comes first, each time another's. */
static void pump_all(struct origin *o) {
    struct origins *all = o->origins;
    all->turn++;
    for (unsigned i = 0; i < all->count; i++) {
        pump(all->list[(all->turn + i) % all->count]);
    }
}

void request_end(struct request *r, bool retry) {
    struct origin *o = r->origin;
    bool full = o->origins->in_flight >= o->origins->most;
    settle(o, r, retry);
    if (unlikely(full)) {
        pump_all(o);
    } else {
        pump(o);
    }
}

/* ---- time ---- */

static struct request *first_due(struct list *head, int64_t now) {
    struct request *r = first_of(head);
    return r != NULL && r->due_ms <= now ? r : NULL;
}

static void end_flight(struct origin *o, struct request *r, const char *text) {
    o->driver->cancel(o->self, r);
    r->result = REQUEST_FAILED;
    r->error = text;
    r->blame = BLAME_ORIGIN;
    settle(o, r, false);
}

static void on_time(void *ctx) {
    struct origin *o = ctx;
    bool full = o->origins->in_flight >= o->origins->most;
    int64_t now = now_ms(o);
    struct request *r;
    o->timer_ms = 0;
    for (int i = 0; i < LANE_COUNT; i++) {
        while ((r = first_due(&o->lanes[i], now)) != NULL) {
            unqueue(o, r);
            refuse(o, r, "waited too long", REJECT_late);
        }
    }
    while ((r = first_due(&o->flying, now)) != NULL) {
        STAT_ADD(o->stats.timeouts, 1);
        end_flight(o, r, "timed out");
    }
    while ((r = first_due(&o->resting, now)) != NULL) {
        list_remove(&r->node);
        o->at_rest--;
        o->queued++;
        r->due_ms = now + o->options.queue_ms;
        list_push_back(&o->lanes[r->background], &r->node);
    }
    if (unlikely(full)) {
        pump_all(o);
    }
    pump(o);
}

/* The timer fires no later than the first due time; it may fire early, and is armed again then. */
static void arm(struct origin *o) {
    int64_t now = now_ms(o);
    int64_t first = o->breaker.state == BREAKER_OPEN && o->breaker.until_ms > now ? o->breaker.until_ms : INT64_MAX;
    struct list *const lists[] = {&o->lanes[LANE_WAITED], &o->lanes[LANE_BACKGROUND], &o->flying, &o->resting};
    for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        const struct request *r = first_of(lists[i]);
        first = r != NULL && r->due_ms < first ? r->due_ms : first;
    }
    if (first == INT64_MAX || (o->timer_ms != 0 && o->timer_ms <= first)) {
        return;
    }
    o->timer_ms = first;
    timer_start(o->timer, first > now ? first - now : 1, 0);
}

/* ---- the beginning ---- */

static void count_submit(struct origin *o, const struct request *r) {
    if (r->kind == REQUEST_LOAD) {
        STAT_ADD(o->stats.loads, 1);
    } else if (r->kind == REQUEST_PUT) {
        STAT_ADD(o->stats.puts, 1);
    } else {
        STAT_ADD(o->stats.dels, 1);
    }
    int64_t most = o->options.retry_budget > 0 ? (int64_t)ORIGIN_RETRY_BURST * MILLIONTHS : 0;
    o->retry_tokens += o->options.retry_budget;
    o->retry_tokens = o->retry_tokens < most ? o->retry_tokens : most;
}

/* The queue is over its bound: the youngest that nobody waits for goes, else the youngest. */
static void overflow(struct origin *o) {
    struct list *lane = &o->lanes[list_empty(&o->lanes[LANE_BACKGROUND]) ? LANE_WAITED : LANE_BACKGROUND];
    struct request *r = LIST_ENTRY(lane->prev, struct request, node);
    unqueue(o, r);
    refuse(o, r, "queue full", REJECT_queue);
}

static void submit_here(struct loop *loop, struct msg *msg) {
    (void)loop;
    struct request *r = LIST_ENTRY(msg, struct request, msg);
    struct origin *o = r->origin;
    count_submit(o, r);
    if (o->closing) {
        refuse(o, r, "shutting down", REJECT_REASONS);
        return;
    }
    if (r->kind != REQUEST_LOAD && !o->driver->writes) {
        refuse(o, r, "no writes to this origin", REJECT_kind);
        return;
    }
    r->due_ms = now_ms(o) + o->options.queue_ms;
    list_push_back(&o->lanes[r->background], &r->node);
    o->queued++;
    pump(o);
    if (o->queued > o->options.queue) {
        overflow(o);
    }
}

void origin_submit(struct origin *o, struct request *r) {
    r->origin = o;
    r->loop = r->loop != NULL ? r->loop : o->loop;
    r->attempts = 0;
    r->found = (struct found){.expire_ms = -1};
    r->life = LIFETIME_UNSAID;
    r->took_ms = 0;
    r->status = 0;
    list_init(&r->node);
    r->msg.run = submit_here;
    loop_post(o->loop, &r->msg);
}

/* ---- life ---- */

void requests_init(struct origin *o) {
    for (int i = 0; i < LANE_COUNT; i++) {
        list_init(&o->lanes[i]);
    }
    list_init(&o->flying);
    list_init(&o->resting);
    breaker_init(&o->breaker, (uint32_t)o->options.breaker_requests, o->options.breaker_errors, o->options.breaker_open_ms);
    o->retry_tokens = o->options.retry_budget > 0 ? (int64_t)ORIGIN_RETRY_BURST * MILLIONTHS : 0;
    o->timer = timer_create_on(o->loop, on_time, o);
}

void requests_close(struct origin *o, const char *text) {
    struct request *r;
    o->closing = true;
    timer_destroy(&o->timer);
    refuse_queue(o, text, REJECT_REASONS);
    refuse_all(o, &o->resting, &o->at_rest, text, REJECT_REASONS);
    while ((r = first_of(&o->flying)) != NULL) {
        end_flight(o, r, text);
    }
}

void requests_fini(struct origin *o) {
    breaker_fini(&o->breaker);
}
