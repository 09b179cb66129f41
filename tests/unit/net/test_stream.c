/* SPDX-License-Identifier: BSD-3-Clause */
/* test_stream: a socket pair, one end a stream. */
#include "tests/unit/run_loop.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/net/stream.h"

enum { BIG = 3 << 20 /* more than a socket pair and a slice take */ };

struct fixture {
    struct stream stream; /* first */
    struct run_loop run;
    int peer;
    char room[64];
    size_t room_n, got;
    int ends, end_err, drains, releases;
    bool ended, drained, closed, close_on_data;
};

static void on_alloc(struct stream *s, char **p, size_t *n) {
    struct fixture *t = (struct fixture *)s;
    *p = t->room;
    *n = t->room_n;
}

static void on_data(struct stream *s, char *p, size_t n) {
    struct fixture *t = (struct fixture *)s;
    assert_ptr_equal(p, t->room);
    t->got += n;
    if (t->close_on_data) {
        stream_close(s);
    }
}

static void on_end(struct stream *s, int err) {
    struct fixture *t = (struct fixture *)s;
    t->ends++;
    t->end_err = err;
    t->ended = true;
}

static void on_drained(struct stream *s) {
    struct fixture *t = (struct fixture *)s;
    t->drains++;
    t->drained = true;
}

static void on_closed(struct stream *s) {
    ((struct fixture *)s)->closed = true;
}

static void setup(struct fixture *t) {
    static const struct stream_events events = {on_alloc, on_data, on_end, on_drained, on_closed};
    int fd[2];
    *t = (struct fixture){.room_n = sizeof(t->room)};
    run_loop_open(&t->run);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    t->peer = fd[1];
    assert_int_equal(stream_adopt(&t->stream, t->run.loop, fd[0], true, 0, &events), 0);
}

static void hang_up(struct fixture *t) {
    if (t->peer >= 0) {
        close(t->peer);
    }
    t->peer = -1;
}

static void teardown(struct fixture *t) {
    stream_close(&t->stream);
    assert_true(run_loop_flag_set(&t->run, &t->closed));
    hang_up(t);
    run_loop_close(&t->run);
}

static void release(void *owner) {
    ((struct fixture *)owner)->releases++;
}

static void queue(struct fixture *t, const char *p, size_t n) {
    struct iovec iov = {(void *)(uintptr_t)p, n};
    stream_queue(&t->stream, &iov, 1, t, release);
}

static bool has_100(void *ctx) {
    return ((struct fixture *)ctx)->got == 100;
}

static void bytes_arrive_in_the_room_given(void **state) {
    (void)state;
    struct fixture t;
    char bytes[100] = {0};
    setup(&t);
    assert_int_equal(write(t.peer, bytes, sizeof(bytes)), 100);
    run_loop_for(&t.run, 20);
    assert_int_equal(t.got, 0);
    stream_read_start(&t.stream);
    assert_true(run_loop_until(&t.run, has_100, &t));
    teardown(&t);
}

static void a_stopped_stream_is_not_read(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    stream_read_start(&t.stream);
    run_loop_for(&t.run, 20);
    stream_read_stop(&t.stream);
    assert_int_equal(write(t.peer, "x", 1), 1);
    hang_up(&t);
    run_loop_for(&t.run, 20);
    assert_int_equal(t.got + (size_t)t.ends, 0);
    stream_read_start(&t.stream);
    assert_true(run_loop_flag_set(&t.run, &t.ended));
    assert_int_equal(t.got, 1);
    teardown(&t);
}

static void the_end_is_told_once(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    stream_read_start(&t.stream);
    shutdown(t.peer, SHUT_WR);
    assert_true(run_loop_flag_set(&t.run, &t.ended));
    run_loop_for(&t.run, 20);
    assert_int_equal(t.ends, 1);
    assert_int_equal(t.end_err, 0);
    teardown(&t);
}

static void no_room_is_an_error(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    t.room_n = 0;
    stream_read_start(&t.stream);
    assert_int_equal(write(t.peer, "x", 1), 1);
    assert_true(run_loop_flag_set(&t.run, &t.ended));
    assert_true(t.end_err < 0);
    teardown(&t);
}

static void it_may_be_closed_when_bytes_arrive(void **state) {
    (void)state;
    struct fixture t;
    char bytes[100] = {0};
    setup(&t);
    t.close_on_data = true;
    stream_read_start(&t.stream);
    assert_int_equal(write(t.peer, bytes, sizeof(bytes)), 100);
    assert_true(run_loop_flag_set(&t.run, &t.closed));
    assert_int_equal(t.got, sizeof(t.room));
    teardown(&t);
}

struct reader {
    struct fixture *t;
    char *bytes;
    size_t n;
};

/* Takes what the peer's end has; true when all is there. */
static bool reads_all(void *ctx) {
    struct reader *r = ctx;
    ssize_t n = recv(r->t->peer, r->bytes + r->n, 3 * BIG - r->n, MSG_DONTWAIT);
    r->n += n > 0 ? (size_t)n : 0;
    return r->n == 3 * BIG;
}

static void queued_bytes_leave_in_order(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    char *bytes = mem_alloc(3 * BIG);
    for (size_t i = 0; i < 3 * BIG; i++) {
        bytes[i] = (char)(i / 1000);
    }
    for (int i = 0; i < 3; i++) {
        queue(&t, bytes + i * BIG, BIG);
    }
    assert_int_equal(t.stream.queued_bytes, 3 * BIG);
    struct reader r = {.t = &t, .bytes = mem_alloc(3 * BIG)};
    assert_true(run_loop_until(&t.run, reads_all, &r));
    assert_true(run_loop_flag_set(&t.run, &t.drained));
    assert_memory_equal(bytes, r.bytes, 3 * BIG);
    assert_int_equal(t.stream.queued_bytes, 0);
    assert_int_equal(t.releases, 3);
    assert_int_equal(t.drains, 1);
    mem_free(r.bytes);
    mem_free(bytes);
    teardown(&t);
}

static void a_write_takes_a_slice_and_then_nothing(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    char *bytes = mem_zalloc(BIG);
    struct iovec iov[2] = {{bytes, 10}, {bytes, BIG - 10}};
    ssize_t sent = stream_try_writev(&t.stream, iov, 2);
    assert_true(sent > 10 && sent <= 512 << 10);
    while (stream_try_writev(&t.stream, iov, 2) > 0) {
    }
    assert_int_equal(stream_try_writev(&t.stream, iov, 1), 0);
    hang_up(&t);
    assert_true(stream_try_writev(&t.stream, iov, 1) < 0);
    mem_free(bytes);
    teardown(&t);
}

static void a_broken_connection_drops_what_is_queued(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    char *bytes = mem_zalloc(BIG);
    queue(&t, bytes, BIG);
    queue(&t, bytes, BIG);
    run_loop_for(&t.run, 20);
    assert_int_equal(t.releases, 0);
    hang_up(&t);
    assert_true(run_loop_flag_set(&t.run, &t.drained));
    assert_int_equal(t.releases, 2);
    assert_int_equal(t.stream.queued_bytes, 0);
    mem_free(bytes);
    teardown(&t);
}

static void closing_drops_what_is_queued(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    char *bytes = mem_zalloc(BIG);
    queue(&t, bytes, BIG);
    queue(&t, bytes, BIG);
    teardown(&t);
    assert_int_equal(t.releases, 2);
    assert_int_equal(t.drains, 0);
    mem_free(bytes);
}

/* ---- TCP ---- */

static int tcp_pair(int fds[2]) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&in, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&in, &len), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fds[1], (struct sockaddr *)&in, len), 0);
    fds[0] = accept(listener, NULL, NULL);
    close(listener);
    return ntohs(in.sin_port);
}

static int option(int fd, int level, int name) {
    int value = -1;
    socklen_t len = sizeof(value);
    getsockopt(fd, level, name, &value, &len);
    return value;
}

static void tcp_is_set_up_and_named(void **state) {
    (void)state;
    struct fixture t = {.room_n = sizeof(t.room)};
    static const struct stream_events events = {on_alloc, on_data, on_end, on_drained, on_closed};
    char name[64], wanted[64];
    int fds[2], port = tcp_pair(fds);
    run_loop_open(&t.run);
    t.peer = fds[1];
    assert_int_equal(stream_adopt(&t.stream, t.run.loop, fds[0], false, 77, &events), 0);
    assert_int_equal(option(fds[0], IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(fds[0], SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(fds[0], IPPROTO_TCP, TCP_KEEPIDLE), 77);
    assert_true(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    snprintf(wanted, sizeof(wanted), "127.0.0.1:%d", port);
    stream_own_name(&t.stream, name, sizeof(name));
    assert_string_equal(name, wanted);
    struct sockaddr_in in;
    socklen_t len = sizeof(in);
    assert_int_equal(getsockname(fds[1], (struct sockaddr *)&in, &len), 0);
    snprintf(wanted, sizeof(wanted), "127.0.0.1:%d", ntohs(in.sin_port));
    stream_peer_name(&t.stream, name, sizeof(name));
    assert_string_equal(name, wanted);
    stream_peer_name(&t.stream, name, 6); /* cut, and ended */
    assert_string_equal(name, "127.0");
    teardown(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_in_the_room_given),
        cmocka_unit_test(a_stopped_stream_is_not_read),
        cmocka_unit_test(the_end_is_told_once),
        cmocka_unit_test(no_room_is_an_error),
        cmocka_unit_test(it_may_be_closed_when_bytes_arrive),
        cmocka_unit_test(queued_bytes_leave_in_order),
        cmocka_unit_test(a_write_takes_a_slice_and_then_nothing),
        cmocka_unit_test(a_broken_connection_drops_what_is_queued),
        cmocka_unit_test(closing_drops_what_is_queued),
        cmocka_unit_test(tcp_is_set_up_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
