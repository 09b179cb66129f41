/* SPDX-License-Identifier: BSD-3-Clause */
/* test_loop: the mailbox from several threads, turns, timers and the time of a turn. */
#include "tests/unit/check.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "src/base/clock.h"
#include "src/rt/loop.h"

enum { SENDERS = 3, LETTERS = 20000 };

/* ---- mailbox ---- */

struct letter {
    struct msg msg;
    int sender, number;
};

static struct letter letters[SENDERS][LETTERS];
static int next_of[SENDERS], arrived, out_of_order;
static pthread_t run_on;

static void receive(struct loop *loop, struct msg *msg) {
    struct letter *l = (struct letter *)msg;
    out_of_order += l->number != next_of[l->sender];
    next_of[l->sender] = l->number + 1;
    run_on = pthread_self();
    if (++arrived == SENDERS * LETTERS) {
        loop_stop(loop);
    }
}

struct sender {
    struct loop *loop;
    int number;
};

static void *send_all(void *arg) {
    struct sender *s = arg;
    for (int i = 0; i < LETTERS; i++) {
        letters[s->number][i] = (struct letter){.msg = {.run = receive}, .sender = s->number, .number = i};
        loop_post(s->loop, &letters[s->number][i].msg);
    }
    return NULL;
}

static void loop_receives_in_the_order_of_each_sender(void **state) {
    (void)state;
    static const struct loop_ops ops = {0};
    struct loop *loop = loop_create(3, "box", &ops, NULL);
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    loop_start(loop);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){loop, i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    for (int i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
    }
    loop_join(loop);
    assert_int_equal(arrived, SENDERS * LETTERS);
    assert_int_equal(out_of_order, 0);
    assert_false(pthread_equal(run_on, pthread_self()));
    assert_int_equal(loop_id(loop), 3);
    loop_destroy(&loop);
    assert_null(loop);
}

static void note(struct loop *loop, struct msg *msg) {
    (void)msg;
    (*(int *)loop_ctx(loop))++;
}

enum { ROUNDS = 3 };
static uint64_t sent_in_turn, came_in_turn;
static _Atomic int came;

static void come(struct loop *loop, struct msg *msg) {
    (void)msg;
    came_in_turn = loop_turns(loop);
    if (atomic_fetch_add(&came, 1) + 1 == ROUNDS) {
        loop_stop(loop);
    }
}

static void send_on(struct loop *loop, struct msg *msg) {
    sent_in_turn = loop_turns(loop);
    msg->run = come;
    loop_post(loop, msg);
}

static void loop_hears_its_own_messages_in_the_same_turn(void **state) {
    (void)state;
    static const struct loop_ops ops = {0};
    struct loop *loop = loop_create(0, "self", &ops, NULL);
    struct msg msgs[ROUNDS];
    loop_start(loop);
    for (int i = 0; i < ROUNDS; i++) { /* also after such a turn the next message wakes it */
        msgs[i] = (struct msg){.run = send_on};
        loop_post(loop, &msgs[i]);
        while (atomic_load(&came) == i) {
            sched_yield();
        }
        assert_int_equal(came_in_turn, sent_in_turn);
    }
    loop_join(loop);
    loop_destroy(&loop);
}

static void loop_delivers_what_is_left_when_destroyed(void **state) {
    (void)state;
    static const struct loop_ops ops = {0};
    int notes = 0;
    struct msg left[2] = {{.run = note}, {.run = note}};
    struct loop *loop = loop_create(0, "left", &ops, &notes);
    loop_post(loop, &left[0]);
    loop_post(loop, &left[1]);
    assert_int_equal(notes, 0);
    loop_destroy(&loop);
    assert_int_equal(notes, 2);
}

/* ---- turns ---- */

struct turning {
    struct loop *loop;
    int turns, sleeps, more;
    int64_t ms, us, ms_again;
};

static bool turn(void *ctx) {
    struct turning *t = ctx;
    t->turns++;
    t->ms = loop_now_ms(t->loop);
    t->us = loop_mono_us(t->loop);
    clock_advance_ms(1000); /* not seen until the next turn */
    t->ms_again = loop_now_ms(t->loop);
    if (t->more == 0) {
        loop_stop(t->loop);
    }
    return t->more-- > 0;
}

static void before_sleep(void *ctx) {
    ((struct turning *)ctx)->sleeps++;
}

static void nothing(struct loop *loop, struct msg *msg) {
    (void)loop;
    (void)msg;
}

static void loop_turns_on_while_work_is_left(void **state) {
    (void)state;
    static const struct loop_ops ops = {.turn = turn, .before_sleep = before_sleep};
    struct turning t = {.more = 5};
    struct msg wake = {.run = nothing};
    t.loop = loop_create(0, "turn", &ops, &t);
    loop_post(t.loop, &wake); /* the first turn has a reason; the five behind it have work left, or the poll would sleep for good */
    loop_run(t.loop);
    assert_true(t.turns >= 6 && t.turns <= 8);
    assert_int_equal(loop_turns(t.loop), t.turns);
    assert_true(t.sleeps >= t.turns - 1);
    loop_take_max_turn_us(t.loop);
    assert_int_equal(loop_take_max_turn_us(t.loop), 0);
    loop_destroy(&t.loop);
    clock_advance_ms(-1000 * t.turns);
}

static void loop_time_stands_still_within_a_turn(void **state) {
    (void)state;
    static const struct loop_ops ops = {.turn = turn};
    struct turning t = {.more = 1};
    struct msg wake = {.run = nothing};
    t.loop = loop_create(0, "time", &ops, &t);
    loop_post(t.loop, &wake);
    int64_t before = clock_now_ms();
    loop_run(t.loop);
    assert_int_equal(t.ms, t.ms_again);
    assert_true(t.ms >= before + 1000); /* but moves between turns */
    assert_true(t.us > 0 && t.us <= clock_mono_us());
    loop_destroy(&t.loop);
    clock_advance_ms(-1000 * t.turns);
}

/* ---- timers ---- */

struct ringing {
    struct loop *loop;
    struct timer *once, *often, *never, *gone;
    int rung_once, rung_often, rung_gone;
};

static void ring_once(void *ctx) {
    ((struct ringing *)ctx)->rung_once++;
}

static void ring_gone(void *ctx) {
    struct ringing *r = ctx;
    r->rung_gone++;
    timer_destroy(&r->gone); /* within its own call */
}

static void ring_never(void *ctx) {
    (void)ctx;
    fail();
}

static void ring_often(void *ctx) {
    struct ringing *r = ctx;
    if (++r->rung_often == 5) {
        timer_stop(r->often);
        loop_stop(r->loop);
    }
}

static void loop_timers_ring_as_often_as_asked(void **state) {
    (void)state;
    static const struct loop_ops ops = {0};
    struct ringing r = {.loop = loop_create(0, "ring", &ops, NULL)};
    r.once = timer_create_on(r.loop, ring_once, &r);
    r.often = timer_create_on(r.loop, ring_often, &r);
    r.never = timer_create_on(r.loop, ring_never, &r);
    r.gone = timer_create_on(r.loop, ring_gone, &r);
    timer_start(r.once, -5, 0); /* a time in the past is now */
    timer_start(r.often, 1, 1);
    timer_start(r.never, 1, 0);
    timer_stop(r.never);
    timer_start(r.gone, 0, 1);
    loop_run(r.loop);
    assert_int_equal(r.rung_once, 1);
    assert_int_equal(r.rung_often, 5);
    assert_int_equal(r.rung_gone, 1);
    assert_null(r.gone);
    timer_destroy(&r.once);
    timer_destroy(&r.often);
    timer_destroy(&r.never);
    loop_destroy(&r.loop);
}

/* A turn that waits for what a timer makes ready. */
struct ready {
    struct loop *loop;
    struct timer *timer;
    bool ready, late;
    int64_t advanced_to, seen;
};

static bool stop_when_ready(void *ctx) {
    struct ready *r = ctx;
    if (r->ready) {
        loop_stop(r->loop);
    } else if (r->advanced_to == 0) {
        r->advanced_to = loop_now_ms(r->loop) + 3600000;
        clock_advance_ms(3600000);
        timer_start(r->timer, 0, 0); /* rings before the next turn begins */
    }
    return false;
}

static void make_ready(void *ctx) {
    struct ready *r = ctx;
    r->seen = loop_now_ms(r->loop);
    r->ready = true;
}

static void be_late(void *ctx) {
    struct ready *r = ctx;
    r->late = true;
    loop_stop(r->loop);
}

static void loop_turns_after_a_timer(void **state) {
    (void)state;
    static const struct loop_ops ops = {.turn = stop_when_ready};
    struct ready r = {0};
    struct msg wake = {.run = nothing};
    r.loop = loop_create(0, "after", &ops, &r);
    struct timer *guard = timer_create_on(r.loop, be_late, &r);
    r.timer = timer_create_on(r.loop, make_ready, &r);
    loop_post(r.loop, &wake);
    timer_start(guard, 5000, 0);
    loop_run(r.loop);
    assert_false(r.late); /* nothing else would have woken the poll */
    assert_true(r.seen >= r.advanced_to); /* and the timer has its own time, not the turn's before it */
    timer_destroy(&r.timer);
    timer_destroy(&guard);
    loop_destroy(&r.loop);
    clock_advance_ms(-3600000);
}

/* ---- signals ---- */

static void on_signal(void *ctx, int signum) {
    struct turning *t = ctx;
    t->turns = signum;
    loop_stop(t->loop);
}

static void raise_it(void *ctx) {
    (void)ctx;
    raise(SIGUSR1);
}

static void loop_hears_signals(void **state) {
    (void)state;
    static const struct loop_ops ops = {0};
    struct turning t = {0};
    t.loop = loop_create(0, "signal", &ops, NULL);
    loop_on_signals(t.loop, (const int[]){SIGUSR1, 0}, on_signal, &t);
    struct timer *timer = timer_create_on(t.loop, raise_it, NULL);
    timer_start(timer, 0, 0);
    loop_run(t.loop);
    assert_int_equal(t.turns, SIGUSR1);
    timer_destroy(&timer);
    loop_destroy(&t.loop);
}

int main(void) {
    clock_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loop_receives_in_the_order_of_each_sender), cmocka_unit_test(loop_delivers_what_is_left_when_destroyed),
        cmocka_unit_test(loop_hears_its_own_messages_in_the_same_turn),
        cmocka_unit_test(loop_turns_on_while_work_is_left), cmocka_unit_test(loop_time_stands_still_within_a_turn),
        cmocka_unit_test(loop_timers_ring_as_often_as_asked), cmocka_unit_test(loop_turns_after_a_timer), cmocka_unit_test(loop_hears_signals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
