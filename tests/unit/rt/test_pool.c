/* SPDX-License-Identifier: BSD-3-Clause */
/* test_pool: order of lanes, bounds, how many workers there are and when, the way home, the drain. */
#include "tests/unit/check.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "src/rt/pool.h"

enum { MANY = 64, STRESS_THREADS = 4, STRESS_JOBS = 20000, PING_PONG = 300 };

/* Jobs that stand in it until it is opened. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool open;
    int inside;
};

static struct gate gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

static void gate_set(bool open) {
    pthread_mutex_lock(&gate.mutex);
    gate.open = open;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.mutex);
}

static void stand_in_gate(struct job *job) {
    (void)job;
    pthread_mutex_lock(&gate.mutex);
    gate.inside++;
    pthread_cond_broadcast(&gate.changed);
    while (!gate.open) {
        pthread_cond_wait(&gate.changed, &gate.mutex);
    }
    gate.inside--;
    pthread_mutex_unlock(&gate.mutex);
}

/* Waits until n jobs stand in the gate. */
static void gate_holds(int n) {
    pthread_mutex_lock(&gate.mutex);
    while (gate.inside < n) {
        pthread_cond_wait(&gate.changed, &gate.mutex);
    }
    pthread_mutex_unlock(&gate.mutex);
}

/* The order in which jobs ran. */
static _Atomic int ran;
struct numbered {
    struct job job;
    int place;
};

static void take_number(struct job *job) {
    ((struct numbered *)job)->place = atomic_fetch_add(&ran, 1) + 1;
}

static void submit(struct pool *p, unsigned lane, struct job *job, void (*run)(struct job *job)) {
    *job = (struct job){.run = run};
    assert_true(pool_submit(p, lane, job));
}

static struct pool_stats stats_of(const struct pool *p, unsigned lane) {
    struct pool_stats s;
    pool_stats_read(p, lane, &s);
    return s;
}

/* Waits until that many jobs of the lane are done. */
static void until_completed(const struct pool *p, unsigned lane, uint64_t n) {
    while (stats_of(p, lane).completed < n) {
        sched_yield();
    }
}

static void the_first_lane_goes_first(void **state) {
    (void)state;
    struct pool *p = pool_create(&(struct pool_options){.name = "t", .threads = 1, .lanes = 2, .depth = MANY});
    struct job holder;
    struct numbered late[3], early[3];
    gate_set(false);
    atomic_store(&ran, 0);
    submit(p, 0, &holder, stand_in_gate);
    gate_holds(1);
    for (int i = 0; i < 3; i++) {
        submit(p, 1, &late[i].job, take_number);
    }
    for (int i = 0; i < 3; i++) {
        submit(p, 0, &early[i].job, take_number);
    }
    assert_int_equal(stats_of(p, 0).depth, 3);
    assert_int_equal(stats_of(p, 1).depth, 3);
    gate_set(true);
    pool_destroy(&p);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(early[i].place, i + 1);
        assert_int_equal(late[i].place, i + 4);
    }
}

static void a_full_lane_refuses(void **state) {
    (void)state;
    struct pool *p = pool_create(&(struct pool_options){.name = "t", .threads = 1, .lanes = 2, .depth = 2});
    struct job holder, queued[3], other;
    gate_set(false);
    submit(p, 0, &holder, stand_in_gate);
    gate_holds(1);
    submit(p, 0, &queued[0], stand_in_gate);
    submit(p, 0, &queued[1], stand_in_gate);
    queued[2] = (struct job){.run = stand_in_gate};
    assert_false(pool_submit(p, 0, &queued[2]));
    submit(p, 1, &other, stand_in_gate);
    assert_int_equal(stats_of(p, 0).refused, 1);
    gate_set(true);
    pool_destroy(&p);
}

static void workers_not_needed_any_more_end(void **state) {
    (void)state;
    struct pool *p = pool_create(&(struct pool_options){.name = "t", .threads = 1, .threads_max = 4, .idle_ms = 1, .lanes = 1, .depth = 2 * MANY});
    struct numbered first[MANY];
    struct job jobs[MANY];
    gate_set(false);
    for (int i = 0; i < MANY; i++) {
        submit(p, 0, &first[i].job, take_number);
        submit(p, 0, &jobs[i], stand_in_gate);
    }
    gate_holds(4); /* more wait than work: a worker that comes by starts another */
    assert_int_equal(pool_threads(p), 4);
    gate_set(true);
    until_completed(p, 0, 2 * MANY);
    while (pool_threads(p) > 1) {
        sched_yield();
    }
    struct numbered last;
    submit(p, 0, &last.job, take_number);
    until_completed(p, 0, 2 * MANY + 1);
    pool_destroy(&p);
}

static void a_few_waiting_wake_nobody(void **state) {
    (void)state;
    struct pool *p = pool_create(&(struct pool_options){.name = "t", .threads = 2, .threads_max = 5, .lanes = 1, .depth = MANY});
    struct job jobs[4];
    gate_set(false);
    submit(p, 0, &jobs[0], stand_in_gate);
    submit(p, 0, &jobs[1], stand_in_gate);
    gate_holds(2); /* the first of them need not wait until others wait */
    submit(p, 0, &jobs[2], stand_in_gate);
    submit(p, 0, &jobs[3], stand_in_gate);
    assert_int_equal(pool_threads(p), 2);
    assert_int_equal(stats_of(p, 0).depth, 2);
    gate_set(true);
    pool_destroy(&p);
}

struct homecoming {
    struct job job;
    pthread_t ran_on, done_on;
    struct loop *loop;
};

static void note_runner(struct job *job) {
    ((struct homecoming *)job)->ran_on = pthread_self();
}

static void note_home(struct job *job) {
    struct homecoming *h = (struct homecoming *)job;
    h->done_on = pthread_self();
    loop_stop(h->loop);
}

static void a_job_comes_home_to_its_loop(void **state) {
    (void)state;
    static const struct loop_ops ops = {0};
    struct loop *loop = loop_create(0, "home", &ops, NULL);
    struct pool *p = pool_create(&(struct pool_options){.name = "t", .threads = 1, .lanes = 1, .depth = MANY});
    struct homecoming h = {.job = {.loop = loop, .run = note_runner, .done = note_home}, .loop = loop};
    assert_true(pool_submit(p, 0, &h.job));
    loop_run(loop);
    assert_true(pthread_equal(h.done_on, pthread_self()));
    assert_false(pthread_equal(h.ran_on, pthread_self()));
    pool_destroy(&p);
    loop_destroy(&loop);
}

static void without_threads_it_runs_at_once(void **state) {
    (void)state;
    struct pool *p = pool_create(&(struct pool_options){.name = "t", .lanes = 1, .depth = 1});
    struct numbered n[3];
    atomic_store(&ran, 0);
    for (int i = 0; i < 3; i++) {
        submit(p, 0, &n[i].job, take_number);
        assert_int_equal(n[i].place, i + 1);
    }
    pool_destroy(&p);
}

/* ---- nothing is forgotten ---- */

struct stress {
    struct pool *pool;
    struct numbered jobs[STRESS_JOBS];
};

static void *submit_many(void *arg) {
    struct stress *s = arg;
    for (int i = 0; i < STRESS_JOBS; i++) {
        submit(s->pool, (unsigned)i % 2, &s->jobs[i].job, take_number);
        if (i % 7 == 0) {
            sched_yield(); /* workers find nothing, and sleep */
        }
    }
    return NULL;
}

static void every_job_runs_whoever_sleeps(void **state) {
    (void)state;
    static struct stress stress[STRESS_THREADS];
    struct pool *p = pool_create(&(struct pool_options){.name = "t", .threads = 2, .threads_max = 6, .lanes = 2, .depth = UINT32_MAX});
    pthread_t threads[STRESS_THREADS];
    atomic_store(&ran, 0);
    for (int i = 0; i < STRESS_THREADS; i++) {
        stress[i].pool = p;
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, &stress[i]), 0);
    }
    for (int i = 0; i < STRESS_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    until_completed(p, 0, STRESS_THREADS * STRESS_JOBS / 2); /* before the drain could hide a forgotten one */
    until_completed(p, 1, STRESS_THREADS * STRESS_JOBS / 2);
    assert_int_equal(atomic_load(&ran), STRESS_THREADS * STRESS_JOBS);
    assert_int_equal(stats_of(p, 0).depth + stats_of(p, 1).depth, 0);
    pool_destroy(&p);
}

/* By itself a sleeper looks up only after ten seconds. */
static void a_single_job_wakes_a_sleeper(void **state) {
    (void)state;
    struct pool *p = pool_create(&(struct pool_options){.name = "t", .threads = 3, .lanes = 1, .depth = MANY});
    struct numbered n;
    for (uint64_t i = 1; i <= PING_PONG; i++) {
        submit(p, 0, &n.job, take_number);
        until_completed(p, 0, i);
    }
    pool_destroy(&p);
}

int main(void) {
    alarm(100); /* a job nobody was woken for is a test that does not end */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_lane_goes_first),
        cmocka_unit_test(a_full_lane_refuses),
        cmocka_unit_test(workers_not_needed_any_more_end),
        cmocka_unit_test(a_few_waiting_wake_nobody),
        cmocka_unit_test(a_job_comes_home_to_its_loop),
        cmocka_unit_test(without_threads_it_runs_at_once),
        cmocka_unit_test(a_single_job_wakes_a_sleeper),
        cmocka_unit_test(every_job_runs_whoever_sleeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
