/* SPDX-License-Identifier: BSD-3-Clause */
/* test_lock: one holder at a time, sleepers are woken, and locks taken against their ranks end the process. */
#include "tests/unit/check.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/lock.h"

enum { THREADS = 4, ROUNDS = 20000 };

static struct lock shared;
static uint64_t total, inside, crowded;

static void *count_up(void *arg) {
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        lock_acquire(&shared);
        inside++;
        crowded += inside != 1;
        total++; /* a plain add: lost when two are inside */
        inside--;
        lock_release(&shared);
    }
    return NULL;
}

static void lock_admits_one_at_a_time(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    lock_init(&shared, LOCK_SHARD, 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(total, (uint64_t)THREADS * ROUNDS);
    assert_int_equal(crowded, 0);
}

static void *wait_for_it(void *arg) {
    lock_acquire(&shared);
    *(bool *)arg = true;
    lock_release(&shared);
    return NULL;
}

static void lock_wakes_a_sleeper(void **state) {
    (void)state;
    pthread_t t;
    bool came = false;
    lock_init(&shared, LOCK_SHARD, 0);
    uint64_t before = lock_contended(LOCK_SHARD);
    lock_acquire(&shared);
    assert_false(lock_try(&shared));
    assert_int_equal(pthread_create(&t, NULL, wait_for_it, &came), 0);
    while (lock_contended(LOCK_SHARD) == before) { /* until it is about to sleep */
        sched_yield();
    }
    lock_release(&shared);
    pthread_join(t, NULL);
    assert_true(came);
    assert_true(lock_try(&shared));
    lock_release(&shared);
}

/* Whether fn ends the process by a failed check. */
static bool dies(void (*fn)(void)) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL); /* the test's own handler is not for the child */
        close(STDERR_FILENO);
        close(STDOUT_FILENO);
        fn();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status);
}

static struct lock shard1, shard2, sessions, mailbox, conf1, conf2;

static void init_all(void) {
    lock_init(&shard1, LOCK_SHARD, 1);
    lock_init(&shard2, LOCK_SHARD, 2);
    lock_init(&sessions, LOCK_SESSIONS, 0);
    lock_init(&mailbox, LOCK_MAILBOX, 0);
    lock_init(&conf1, LOCK_CONF, 1);
    lock_init(&conf2, LOCK_CONF, 2);
}

static void in_rising_rank(void) {
    init_all();
    lock_acquire(&shard1);
    lock_acquire(&shard2);
    lock_acquire(&sessions);
    lock_acquire(&mailbox);
    lock_assert_held(&shard1);
    lock_release(&shard1); /* released in any order */
    lock_release(&mailbox);
    lock_acquire(&mailbox);
}

static void in_falling_rank(void) {
    init_all();
    lock_acquire(&sessions);
    lock_acquire(&shard1);
}

static void in_falling_order(void) {
    init_all();
    lock_acquire(&shard2);
    lock_acquire(&shard1);
}

static void two_of_a_class_of_one(void) {
    init_all();
    lock_acquire(&conf1);
    lock_acquire(&conf2);
}

static void tried_against_the_rank(void) { /* a try cannot wait, so it cannot deadlock */
    init_all();
    lock_acquire(&sessions);
    if (!lock_try(&shard1)) {
        _exit(1);
    }
    lock_assert_held(&shard1);
}

static void not_held(void) {
    init_all();
    lock_acquire(&shard1);
    lock_assert_held(&shard2);
}

static void released_unheld(void) {
    init_all();
    lock_release(&shard1);
}

static void lock_ranks_are_kept(void **state) {
    (void)state;
    assert_false(dies(in_rising_rank));
    assert_true(dies(in_falling_rank));
    assert_true(dies(in_falling_order));
    assert_true(dies(two_of_a_class_of_one));
    assert_false(dies(tried_against_the_rank));
}

static void lock_knows_its_holder(void **state) {
    (void)state;
    assert_true(dies(not_held));
    assert_true(dies(released_unheld));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lock_admits_one_at_a_time), cmocka_unit_test(lock_wakes_a_sleeper),
                                       cmocka_unit_test(lock_ranks_are_kept), cmocka_unit_test(lock_knows_its_holder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
