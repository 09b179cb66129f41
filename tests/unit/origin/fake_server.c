/* SPDX-License-Identifier: BSD-3-Clause */
/* fake_server: poll over a listener, a pipe for orders, and a few connections. */
#include "tests/unit/origin/fake_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/resp/parse.h"

enum { CONNECTIONS = 32, FIXED = 2 };

struct fake_server {
    fake_answer answer;
    void *ctx;
    int port, orders[2];
    char *path;
    pthread_t thread;
    struct pollfd fds[FIXED + CONNECTIONS]; /* listener, orders, connections */
    struct buf in[CONNECTIONS];
    int n;
    _Atomic int connections, commands;
};

bool fake_is(const struct slice *argv, const char *word) {
    return slice_eqi(argv[0], word);
}

static void close_one(struct fake_server *f, int i) {
    close(f->fds[FIXED + i].fd);
    buf_free(&f->in[i]);
    f->n--;
    f->fds[FIXED + i] = f->fds[FIXED + f->n];
    f->in[i] = f->in[f->n];
    f->in[f->n] = (struct buf){0};
}

/* The other side may have gone, and may not read: then the rest is lost. */
static void send_all(int fd, struct slice s) {
    while (s.n > 0) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n <= 0) {
            return;
        }
        s = slice_make(s.p + n, s.n - (size_t)n);
    }
}

/* Answers what is whole; false when the connection is to be closed. */
static bool answer_all(struct fake_server *f, int i) {
    static const struct parse_limits limits = {64 << 20, 1024, 64 << 20, 1024};
    struct arena arena = {0};
    struct buf reply = {0};
    bool go_on = true;
    size_t at = 0;
    while (go_on) {
        struct parse_resume resume = {0};
        struct request r;
        if (parse_request(slice_make(f->in[i].p + at, f->in[i].n - at), &limits, &resume, &arena, &r) != PARSE_OK) {
            break;
        }
        at += r.used;
        atomic_fetch_add(&f->commands, 1);
        go_on = f->answer(f->ctx, r.argc, r.argv, &reply);
    }
    send_all(f->fds[FIXED + i].fd, buf_slice(&reply));
    f->in[i].n -= at;
    memmove(f->in[i].p, f->in[i].p + at, f->in[i].n);
    buf_free(&reply);
    arena_free(&arena);
    return go_on;
}

static void read_one(struct fake_server *f, int i) {
    ssize_t n = recv(f->fds[FIXED + i].fd, buf_reserve(&f->in[i], 65536), 65536, 0);
    if (n > 0) {
        buf_commit(&f->in[i], (size_t)n);
    }
    if (n <= 0 || !answer_all(f, i)) {
        close_one(f, i);
    }
}

static void accept_one(struct fake_server *f) {
    int fd = accept(f->fds[0].fd, NULL, NULL);
    CHECK(fd >= 0 && f->n < CONNECTIONS);
    f->fds[FIXED + f->n++] = (struct pollfd){.fd = fd, .events = POLLIN};
    atomic_fetch_add(&f->connections, 1);
}

/* False: the end. */
static bool obey(struct fake_server *f) {
    char order;
    CHECK(read(f->orders[0], &order, 1) == 1);
    while (f->n > 0) {
        close_one(f, f->n - 1);
    }
    return order != 'e';
}

static void *serve(void *arg) {
    struct fake_server *f = arg;
    bool go_on = true;
    while (go_on) {
        poll(f->fds, (nfds_t)(FIXED + f->n), -1);
        for (int i = f->n - 1; i >= 0; i--) {
            if (f->fds[FIXED + i].revents != 0) {
                read_one(f, i);
            }
        }
        if (f->fds[0].revents != 0) {
            accept_one(f);
        }
        if (f->fds[1].revents != 0) {
            go_on = obey(f);
        }
    }
    return NULL;
}

static int listen_tcp(int *port) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&in, n) == 0 && listen(fd, 64) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&in, &n) == 0);
    *port = ntohs(in.sin_port);
    return fd;
}

static int listen_unix(const char *path) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    CHECK(strlen(path) < sizeof(un.sun_path));
    memcpy(un.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0 && listen(fd, 64) == 0);
    return fd;
}

struct fake_server *fake_server_start(const char *path, fake_answer answer, void *ctx) {
    struct fake_server *f = mem_zalloc(sizeof(*f));
    f->answer = answer;
    f->ctx = ctx;
    f->path = path != NULL ? mem_strdup(path) : NULL;
    CHECK(pipe2(f->orders, O_CLOEXEC) == 0);
    f->fds[0] = (struct pollfd){.fd = path != NULL ? listen_unix(path) : listen_tcp(&f->port), .events = POLLIN};
    f->fds[1] = (struct pollfd){.fd = f->orders[0], .events = POLLIN};
    CHECK(pthread_create(&f->thread, NULL, serve, f) == 0);
    return f;
}

int fake_server_port(const struct fake_server *f) {
    return f->port;
}

int fake_server_connections(const struct fake_server *f) {
    return atomic_load(&f->connections);
}

int fake_server_commands(const struct fake_server *f) {
    return atomic_load(&f->commands);
}

void fake_server_hang_up(struct fake_server *f) {
    CHECK(write(f->orders[1], "h", 1) == 1);
}

void fake_server_stop(struct fake_server **fp) {
    struct fake_server *f = *fp;
    *fp = NULL;
    CHECK(write(f->orders[1], "e", 1) == 1);
    pthread_join(f->thread, NULL);
    close(f->fds[0].fd);
    close(f->orders[0]);
    close(f->orders[1]);
    if (f->path != NULL) {
        unlink(f->path);
    }
    mem_free(f->path);
    mem_free(f);
}
