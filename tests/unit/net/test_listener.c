/* SPDX-License-Identifier: BSD-3-Clause */
/* test_listener: where it listens and where it refuses to, what it says then, and what it does without descriptors. */
#include "tests/unit/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/net/listener.h"
#include "src/rt/loop.h"

enum { MANY = 8 };

struct fixture {
    struct loop *loop;
    struct listener *listener;
    struct timer *look;
    char dir[64], path[108], err[256];
    int accepted, wanted, fds[MANY];
    unsigned long pauses_wanted;
    bool is_unix;
};

static struct fixture t;

static int setup(void **state) {
    (void)state;
    static const struct loop_ops ops = {0};
    t = (struct fixture){.loop = loop_create(0, "listen", &ops, NULL)};
    const char *base = getenv("TMPDIR");
    snprintf(t.dir, sizeof(t.dir), "%.40s/listenXXXXXX", base != NULL ? base : P_tmpdir);
    assert_non_null(mkdtemp(t.dir));
    snprintf(t.path, sizeof(t.path), "%s/s", t.dir);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (int i = 0; i < t.accepted; i++) {
        close(t.fds[i]);
    }
    if (t.listener != NULL) {
        listener_close(&t.listener);
    }
    if (t.look != NULL) {
        timer_destroy(&t.look);
    }
    loop_destroy(&t.loop);
    unlink(t.path);
    assert_int_equal(rmdir(t.dir), 0);
    return 0;
}

static void on_accept(void *ctx, int fd, bool is_unix) {
    assert_ptr_equal(ctx, &t);
    t.fds[t.accepted++] = fd;
    t.is_unix = is_unix;
    if (t.accepted == t.wanted) {
        loop_stop(t.loop);
    }
}

static void accept_until(int wanted) {
    t.wanted = wanted;
    if (t.accepted < wanted) {
        loop_run(t.loop);
    }
    assert_int_equal(t.accepted, wanted);
}

static struct listener *tcp(const char *addr, int port) {
    return listener_tcp(t.loop, addr, port, 16, on_accept, &t, t.err, sizeof(t.err));
}

static struct listener *on_path(const char *path, unsigned perm) {
    return listener_unix(t.loop, path, perm, 16, on_accept, &t, t.err, sizeof(t.err));
}

static int connect_tcp(int port) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    return fd;
}

static int connect_unix(const char *path) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    int e = connect(fd, (struct sockaddr *)&un, sizeof(un));
    if (e != 0) {
        close(fd);
    }
    return e == 0 ? fd : -1;
}

/* ---- TCP ---- */

static void listener_accepts_on_a_port_it_picked(void **state) {
    (void)state;
    t.listener = tcp("localhost", 0);
    assert_non_null(t.listener);
    assert_string_equal(t.err, "");
    assert_true(listener_port(t.listener) > 0);
    int a = connect_tcp(listener_port(t.listener)), b = connect_tcp(listener_port(t.listener));
    accept_until(2);
    assert_false(t.is_unix);
    assert_true(fcntl(t.fds[0], F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(t.fds[0], F_GETFD) & FD_CLOEXEC);
    close(a);
    close(b);
}

static void listener_says_that_an_address_is_in_use(void **state) {
    (void)state;
    char text[128];
    t.listener = tcp("127.0.0.1", 0);
    assert_non_null(t.listener);
    assert_null(tcp("127.0.0.1", listener_port(t.listener)));
    snprintf(text, sizeof(text), "127.0.0.1:%d: Address already in use", listener_port(t.listener));
    assert_string_equal(t.err, text);
}

static void listener_resolves_no_names(void **state) {
    (void)state;
    assert_null(tcp("example.com", 0));
    assert_string_equal(t.err, "'example.com' is not a numeric address");
    assert_null(tcp("", 0));
    assert_null(tcp("127.0.0.1.5", 0));
    assert_null(tcp("203.0.113.77", 0)); /* kept for documentation: nobody's */
    assert_non_null(strstr(t.err, "Cannot assign requested address"));
}

static void listener_takes_all_addresses(void **state) {
    (void)state;
    t.listener = tcp("*", 0);
    assert_non_null(t.listener);
    int a = connect_tcp(listener_port(t.listener));
    accept_until(1);
    close(a);
    /* IPv6 beside it, on the same port: v6 only */
    struct listener *v6 = tcp("::*", listener_port(t.listener));
    if (v6 != NULL) { /* where there is IPv6 */
        assert_int_equal(listener_port(v6), listener_port(t.listener));
        listener_close(&v6);
    }
}

/* ---- unix ---- */

static void listener_gives_the_socket_its_mode(void **state) {
    (void)state;
    struct stat st;
    mode_t before = umask(022);
    t.listener = on_path(t.path, 0700);
    assert_non_null(t.listener);
    assert_int_equal(stat(t.path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    listener_close(&t.listener);
    t.listener = on_path(t.path, 0666);
    assert_int_equal(stat(t.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666);
    listener_close(&t.listener);
    t.listener = on_path(t.path, 0); /* as the umask has it */
    assert_int_equal(stat(t.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755);
    assert_int_equal(umask(before), 022);
}

static void listener_accepts_on_a_path_and_unlinks_it(void **state) {
    (void)state;
    t.listener = on_path(t.path, 0700);
    assert_int_equal(listener_port(t.listener), 0);
    int a = connect_unix(t.path);
    accept_until(1);
    assert_true(t.is_unix);
    close(a);
    listener_close(&t.listener);
    assert_null(t.listener);
    assert_int_equal(access(t.path, F_OK), -1);
}

/* As a process that was killed leaves it. */
static void leave_stale_socket(void) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", t.path);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd);
}

static void listener_replaces_a_stale_socket_only(void **state) {
    (void)state;
    char text[256];
    leave_stale_socket();
    t.listener = on_path(t.path, 0700);
    assert_non_null(t.listener);
    assert_null(on_path(t.path, 0700)); /* now it is a live one */
    snprintf(text, sizeof(text), "%s is in use by a running server", t.path);
    assert_string_equal(t.err, text);
    int a = connect_unix(t.path);
    assert_true(a >= 0);
    close(a);
    listener_close(&t.listener);
    int fd = open(t.path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "kept", 4), 4);
    close(fd);
    assert_null(on_path(t.path, 0700));
    snprintf(text, sizeof(text), "%s exists and is not a socket", t.path);
    assert_string_equal(t.err, text);
    assert_int_equal(access(t.path, F_OK), 0);
}

static void listener_does_not_wait_for_a_full_backlog(void **state) {
    (void)state;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), waiting[3];
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", t.path);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(listen(fd, 0), 0);
    for (int i = 0; i < 3; i++) { /* more than are let wait */
        waiting[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(waiting[i], (struct sockaddr *)&un, sizeof(un));
    }
    assert_null(on_path(t.path, 0700));
    assert_non_null(strstr(t.err, "in use by a running server"));
    for (int i = 0; i < 3; i++) {
        close(waiting[i]);
    }
    close(fd);
}

static void listener_refuses_impossible_paths(void **state) {
    (void)state;
    char path[200];
    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    assert_null(on_path(path, 0700));
    assert_non_null(strstr(t.err, "path too long"));
    snprintf(path, sizeof(path), "%s/none/s", t.dir);
    assert_null(on_path(path, 0700));
    assert_non_null(strstr(t.err, "No such file or directory"));
}

/* ---- no descriptors ---- */

static struct rlimit limit_before;

static void look(void *ctx) {
    (void)ctx;
    if (listener_pauses(t.listener) >= t.pauses_wanted && t.accepted == 0) {
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit_before), 0); /* descriptors are there again */
    }
}

static void listener_pauses_without_descriptors(void **state) {
    (void)state;
    t.listener = on_path(t.path, 0700);
    t.look = timer_create_on(t.loop, look, NULL);
    int a = connect_unix(t.path);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit_before), 0);
    struct rlimit none = {.rlim_cur = 3, .rlim_max = limit_before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    t.pauses_wanted = 2;
    timer_start(t.look, 1, 1);
    accept_until(1);
    assert_int_equal(listener_pauses(t.listener), 2); /* it did not spin */
    close(a);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(listener_accepts_on_a_port_it_picked), TEST(listener_says_that_an_address_is_in_use), TEST(listener_resolves_no_names),
        TEST(listener_takes_all_addresses), TEST(listener_gives_the_socket_its_mode), TEST(listener_accepts_on_a_path_and_unlinks_it),
        TEST(listener_replaces_a_stale_socket_only), TEST(listener_does_not_wait_for_a_full_backlog), TEST(listener_refuses_impossible_paths),
        TEST(listener_pauses_without_descriptors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
