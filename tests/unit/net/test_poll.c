/* SPDX-License-Identifier: BSD-3-Clause */
/* test_poll: watching a socket that is somebody else's. */
#include "tests/unit/run_loop.h"

#include <sys/socket.h>
#include <unistd.h>

#include "src/net/poll.h"

struct fixture {
    struct run_loop run;
    struct poll *poll;
    int fd[2];
    unsigned seen;
    int calls;
    bool called, destroy;
};

static void on_ready(void *ctx, int fd, unsigned events) {
    struct fixture *t = ctx;
    assert_int_equal(fd, t->fd[0]);
    t->seen |= events;
    t->calls++;
    t->called = true;
    if (t->destroy) {
        poll_destroy(&t->poll);
    }
}

static void setup(struct fixture *t) {
    *t = (struct fixture){0};
    run_loop_open(&t->run);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, t->fd), 0);
    t->poll = poll_create(t->run.loop, t->fd[0], on_ready, t);
    assert_non_null(t->poll);
}

static void teardown(struct fixture *t) {
    if (t->poll != NULL) {
        poll_destroy(&t->poll);
    }
    close(t->fd[0]);
    close(t->fd[1]);
    run_loop_close(&t->run);
}

static unsigned next_events(struct fixture *t) {
    t->seen = 0;
    t->called = false;
    assert_true(run_loop_flag_set(&t->run, &t->called));
    return t->seen;
}

static void it_tells_what_is_watched_for(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    poll_watch(t.poll, POLL_WRITE);
    assert_int_equal(next_events(&t), POLL_WRITE);
    assert_int_equal(write(t.fd[1], "x", 1), 1);
    poll_watch(t.poll, POLL_READ);
    assert_int_equal(next_events(&t), POLL_READ);
    poll_watch(t.poll, POLL_READ | POLL_WRITE);
    assert_int_equal(next_events(&t), POLL_READ | POLL_WRITE);
    teardown(&t);
}

static void watching_for_nothing_is_silent(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    assert_int_equal(write(t.fd[1], "x", 1), 1);
    run_loop_for(&t.run, 20);
    poll_watch(t.poll, POLL_WRITE);
    next_events(&t);
    int calls = t.calls;
    poll_watch(t.poll, 0);
    run_loop_for(&t.run, 20);
    assert_int_equal(t.calls, calls);
    teardown(&t);
}

static void the_end_of_the_peer_is_told(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    poll_watch(t.poll, POLL_READ);
    shutdown(t.fd[1], SHUT_WR);
    assert_int_equal(next_events(&t), POLL_READ);
    teardown(&t);
}

static void it_may_be_destroyed_when_it_calls(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    t.destroy = true;
    poll_watch(t.poll, POLL_WRITE);
    next_events(&t);
    assert_null(t.poll);
    run_loop_for(&t.run, 20);
    assert_int_equal(t.calls, 1);
    teardown(&t);
}

/* As a library closes a socket and opens the next one, before the loop has run. */
static void the_number_of_a_closed_fd_can_be_watched_again(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    int old = t.fd[0];
    poll_watch(t.poll, POLL_READ);
    poll_destroy(&t.poll);
    close(t.fd[0]);
    close(t.fd[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, t.fd), 0);
    assert_int_equal(t.fd[0], old);
    t.poll = poll_create(t.run.loop, t.fd[0], on_ready, &t);
    assert_non_null(t.poll);
    poll_watch(t.poll, POLL_WRITE);
    assert_int_equal(next_events(&t), POLL_WRITE);
    teardown(&t);
}

static void what_cannot_be_watched_is_refused(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    assert_null(poll_create(t.run.loop, 9999, on_ready, &t));
    teardown(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_tells_what_is_watched_for),
        cmocka_unit_test(watching_for_nothing_is_silent),
        cmocka_unit_test(the_end_of_the_peer_is_told),
        cmocka_unit_test(it_may_be_destroyed_when_it_calls),
        cmocka_unit_test(the_number_of_a_closed_fd_can_be_watched_again),
        cmocka_unit_test(what_cannot_be_watched_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
