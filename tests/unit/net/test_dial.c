/* SPDX-License-Identifier: BSD-3-Clause */
/* test_dial: connecting, everything that can go wrong with it, and letting go at any moment. */
#include "tests/unit/run_loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/net/dial.h"

struct fixture {
    struct run_loop run;
    struct dialer *dialer;
    bool done, closed;
    int fd, calls;
    const char *error;
};

static void on_dialled(void *ctx, int fd, const char *error) {
    struct fixture *t = ctx;
    t->fd = fd;
    t->error = error;
    t->done = true;
    t->calls++;
}

static void on_closed(void *ctx) {
    struct fixture *t = ctx;
    t->closed = true;
}

static void setup(struct fixture *t) {
    *t = (struct fixture){.fd = -1};
    run_loop_open(&t->run);
    t->dialer = dialer_create(t->run.loop);
}

static void teardown(struct fixture *t) {
    dialer_close(&t->dialer, on_closed, t);
    assert_true(run_loop_flag_set(&t->run, &t->closed));
    run_loop_close(&t->run);
    if (t->fd >= 0) {
        close(t->fd);
    }
}

static const char *dial(struct fixture *t, const char *host, int port, int64_t timeout_ms) {
    t->done = false;
    struct dial *d = dial_start(t->dialer, host, port, timeout_ms, on_dialled, t);
    assert_non_null(d);
    assert_false(t->done); /* never before it returns */
    assert_true(run_loop_flag_set(&t->run, &t->done));
    assert_true((t->fd >= 0) == (t->error == NULL));
    return t->error;
}

/* A listening socket, and its port. -1 when the machine has no such family. */
static int listen_on(int family, int backlog, int *port) {
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *a = family == AF_INET6 ? (struct sockaddr *)&in6 : (struct sockaddr *)&in;
    socklen_t n = family == AF_INET6 ? sizeof(in6) : sizeof(in);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, a, n) != 0) {
        close(fd);
        return -1;
    }
    if (backlog >= 0) {
        assert_int_equal(listen(fd, backlog), 0);
    }
    getsockname(fd, a, &n);
    *port = ntohs(family == AF_INET6 ? in6.sin6_port : in.sin_port);
    return fd;
}

static void a_numeric_address_is_connected(void **state) {
    (void)state;
    struct fixture t;
    int port, listener = listen_on(AF_INET, 8, &port);
    setup(&t);
    assert_null(dial(&t, "127.0.0.1", port, 1000));
    int peer = accept(listener, NULL, NULL);
    assert_int_equal(send(t.fd, "x", 1, 0), 1);
    char c;
    assert_int_equal(recv(peer, &c, 1, 0), 1);
    assert_int_equal(dialer_lookups(t.dialer), 0);
    close(peer);
    close(listener);
    teardown(&t);
}

static void an_ipv6_address_is_connected(void **state) {
    (void)state;
    struct fixture t;
    int port, listener = listen_on(AF_INET6, 8, &port);
    if (listener < 0) {
        return; /* a machine without IPv6 */
    }
    setup(&t);
    assert_null(dial(&t, "::1", port, 1000));
    close(listener);
    teardown(&t);
}

static void a_unix_socket_is_connected(void **state) {
    (void)state;
    struct fixture t;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char dir[] = P_tmpdir "/strata-dial-XXXXXX";
    assert_non_null(mkdtemp(dir));
    snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", dir);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setup(&t);
    assert_string_equal(dial(&t, un.sun_path, 0, 1000), "no such socket");
    assert_int_equal(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_string_equal(dial(&t, un.sun_path, 0, 1000), "connection refused");
    assert_int_equal(listen(listener, 8), 0);
    assert_null(dial(&t, un.sun_path, 0, 1000));
    char path[200];
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    close(t.fd);
    assert_string_equal(dial(&t, path, 0, 1000), "socket path too long");
    close(listener);
    unlink(un.sun_path);
    rmdir(dir);
    teardown(&t);
}

/* Bound and not listening: nobody else can take the port meanwhile. */
static void a_refused_connection_is_told(void **state) {
    (void)state;
    struct fixture t;
    int port, bound = listen_on(AF_INET, -1, &port);
    setup(&t);
    assert_string_equal(dial(&t, "127.0.0.1", port, 1000), "connection refused");
    assert_string_equal(dial(&t, "localhost", port, 1000), "connection refused");
    close(bound);
    teardown(&t);
}

static void an_unknown_host_is_told_and_not_asked_for_again_at_once(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    const char *error = dial(&t, "no-such-host.invalid", 80, 9000);
    assert_true(strcmp(error, "host not found") == 0 || strcmp(error, "name lookup failed") == 0);
    assert_string_equal(dial(&t, "no-such-host.invalid", 80, 9000), error);
    assert_int_equal(dialer_lookups(t.dialer), 1);
    teardown(&t);
}

static void a_name_is_looked_up_once_in_a_while(void **state) {
    (void)state;
    struct fixture t;
    int port, listener = listen_on(AF_INET, 8, &port);
    setup(&t);
    for (int i = 0; i < 3; i++) {
        assert_null(dial(&t, "localhost", port, 1000));
        close(t.fd);
    }
    assert_int_equal(dialer_lookups(t.dialer), 1);
    clock_advance_ms(6000);
    assert_null(dial(&t, "localhost", port, 1000));
    close(t.fd);
    assert_int_equal(dialer_lookups(t.dialer), 2);
    clock_advance_ms(-6000); /* a clock set back makes no answer last */
    assert_null(dial(&t, "localhost", port, 1000));
    assert_int_equal(dialer_lookups(t.dialer), 3);
    close(listener);
    teardown(&t);
}

static bool three_calls(void *ctx) {
    return ((struct fixture *)ctx)->calls == 3;
}

static void dials_of_one_name_share_a_lookup(void **state) {
    (void)state;
    struct fixture t;
    int port, bound = listen_on(AF_INET, -1, &port);
    setup(&t);
    for (int i = 0; i < 3; i++) {
        dial_start(t.dialer, "localhost", port, 1000, on_dialled, &t);
    }
    assert_true(run_loop_until(&t.run, three_calls, &t));
    assert_int_equal(dialer_lookups(t.dialer), 1);
    close(bound);
    teardown(&t);
}

/* Fills the queue of a listener that never accepts: further connections hang. */
static int full_listener(int *port, int *fillers, int n) {
    int listener = listen_on(AF_INET, 0, port);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < n; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&in, sizeof(in));
    }
    return listener;
}

enum { FILLERS = 4 };

static void close_all(const int *fds, int n) {
    for (int i = 0; i < n; i++) {
        close(fds[i]);
    }
}

static void a_connection_that_hangs_times_out(void **state) {
    (void)state;
    struct fixture t;
    int port, fillers[FILLERS], listener = full_listener(&port, fillers, FILLERS);
    setup(&t);
    int64_t start_us = clock_mono_us();
    assert_string_equal(dial(&t, "127.0.0.1", port, 60), "timed out");
    int64_t ms = (clock_mono_us() - start_us) / 1000;
    assert_in_range(ms, 55, 5000);
    close_all(fillers, FILLERS);
    close(listener);
    teardown(&t);
}

static bool a_lookup_has_begun(void *ctx) {
    return dialer_lookups(((struct fixture *)ctx)->dialer) > 0;
}

static void a_dial_can_be_cancelled_at_any_moment(void **state) {
    (void)state;
    struct fixture t;
    int port, fillers[FILLERS], listener = full_listener(&port, fillers, FILLERS);
    setup(&t);
    struct dial *starting = dial_start(t.dialer, "127.0.0.1", port, 50, on_dialled, &t);
    dial_cancel(&starting);
    assert_null(starting);
    dial_cancel(&starting); /* harmless */
    struct dial *connecting = dial_start(t.dialer, "127.0.0.1", port, 50, on_dialled, &t);
    run_loop_for(&t.run, 20);
    dial_cancel(&connecting);
    struct dial *resolving = dial_start(t.dialer, "localhost", port, 50, on_dialled, &t);
    assert_true(run_loop_until(&t.run, a_lookup_has_begun, &t));
    dial_cancel(&resolving);
    run_loop_for(&t.run, 80);
    assert_int_equal(t.calls, 0);
    close_all(fillers, FILLERS);
    close(listener);
    teardown(&t);
}

static void closing_cancels_what_is_under_way(void **state) {
    (void)state;
    struct fixture t;
    int port, fillers[FILLERS], listener = full_listener(&port, fillers, FILLERS);
    setup(&t);
    dial_start(t.dialer, "127.0.0.1", port, 1000, on_dialled, &t);
    dial_start(t.dialer, "localhost", port, 1000, on_dialled, &t);
    run_loop_for(&t.run, 20);
    dial_start(t.dialer, "other-name.invalid", port, 1000, on_dialled, &t);
    dial_start(t.dialer, "127.0.0.1", port, 1000, on_dialled, &t);
    teardown(&t);
    assert_int_equal(t.calls, 0);
    close_all(fillers, FILLERS);
    close(listener);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_numeric_address_is_connected),
        cmocka_unit_test(an_ipv6_address_is_connected),
        cmocka_unit_test(a_unix_socket_is_connected),
        cmocka_unit_test(a_refused_connection_is_told),
        cmocka_unit_test(an_unknown_host_is_told_and_not_asked_for_again_at_once),
        cmocka_unit_test(a_name_is_looked_up_once_in_a_while),
        cmocka_unit_test(dials_of_one_name_share_a_lookup),
        cmocka_unit_test(a_connection_that_hangs_times_out),
        cmocka_unit_test(a_dial_can_be_cancelled_at_any_moment),
        cmocka_unit_test(closing_cancels_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
