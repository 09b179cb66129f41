/* SPDX-License-Identifier: BSD-3-Clause */
/* listener: our own listening socket under uv_poll, so that accepted sockets can be handed to any loop. */
#include "src/net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "src/base/mem.h"
#include "src/rt/loop.h"

enum { ACCEPTS_PER_WAKE = 64, PAUSE_MS = 100 };

struct listener {
    uv_poll_t poll;
    uv_timer_t pause;
    int fd, port, open_handles;
    bool is_unix;
    char *path;
    listener_accept_fn fn;
    void *ctx;
    unsigned long pauses;
};

static void accept_cb(uv_poll_t *h, int status, int events);

static void resume_cb(uv_timer_t *h) {
    struct listener *l = h->data;
    uv_poll_start(&l->poll, UV_READABLE, accept_cb);
}

static void accept_cb(uv_poll_t *h, int status, int events) {
    struct listener *l = h->data;
    (void)events;
    if (status < 0) {
        return;
    }
    for (int i = 0; i < ACCEPTS_PER_WAKE; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            l->fn(l->ctx, fd, l->is_unix);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            l->pauses++; /* the queue stays readable: look again later instead of spinning */
            uv_poll_stop(&l->poll);
            uv_timer_start(&l->pause, resume_cb, PAUSE_MS, 0);
        } else if (errno == EINTR || errno == ECONNABORTED) {
            continue;
        }
        return;
    }
}

static struct listener *watch_fd(struct loop *loop, int fd, listener_accept_fn fn, void *ctx) {
    struct listener *l = mem_zalloc(sizeof(*l));
    l->fd = fd;
    l->fn = fn;
    l->ctx = ctx;
    l->open_handles = 2;
    uv_poll_init(loop_uv(loop), &l->poll, fd);
    uv_timer_init(loop_uv(loop), &l->pause);
    l->poll.data = l->pause.data = l;
    uv_poll_start(&l->poll, UV_READABLE, accept_cb);
    return l;
}

/* Numeric addresses, "*", "::*" and "localhost" only: nothing that could ask a name server. */
static bool numeric_address(const char *addr, int port, struct sockaddr_storage *ss, socklen_t *len) {
    struct sockaddr_in *in = (struct sockaddr_in *)ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
    memset(ss, 0, sizeof(*ss));
    const char *v4 = strcmp(addr, "*") == 0           ? "0.0.0.0"
                     : strcmp(addr, "localhost") == 0 ? "127.0.0.1"
                                                      : addr;
    const char *v6 = strcmp(addr, "::*") == 0 ? "::" : addr;
    if (inet_pton(AF_INET, v4, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        *len = sizeof(*in);
        return true;
    }
    if (inet_pton(AF_INET6, v6, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)port);
        *len = sizeof(*in6);
        return true;
    }
    return false;
}

static int bound_port(int fd) {
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0) {
        return 0;
    }
    return ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                          : ((struct sockaddr_in *)&ss)->sin_port);
}

int listener_open_tcp(const char *addr, int port, int backlog, int *real_port, char *err, size_t errlen) {
    struct sockaddr_storage ss;
    socklen_t len;
    int on = 1;
    err[0] = '\0';
    if (!numeric_address(addr, port, &ss, &len)) {
        snprintf(err, errlen, "'%s' is not a numeric address", addr);
        return -1;
    }
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (ss.ss_family == AF_INET6) {
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
        }
    }
    if (fd < 0 || bind(fd, (struct sockaddr *)&ss, len) != 0 || listen(fd, backlog) != 0) {
        snprintf(err, errlen, "%s:%d: %s", addr, port, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    *real_port = bound_port(fd);
    return fd;
}

struct listener *listener_tcp(struct loop *loop, const char *addr, int port, int backlog,
                              listener_accept_fn fn, void *ctx, char *err, size_t errlen) {
    int real_port, fd = listener_open_tcp(addr, port, backlog, &real_port, err, errlen);
    if (fd < 0) {
        return NULL;
    }
    struct listener *l = watch_fd(loop, fd, fn, ctx);
    l->port = real_port;
    return l;
}

/* A socket file somebody answers on must not be taken over, nor one where many wait for an answer. */
static bool somebody_listens(const struct sockaddr_un *un) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool alive = fd >= 0 && (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 || errno == EAGAIN);
    if (fd >= 0) {
        close(fd);
    }
    return alive;
}

static int bind_unix(int fd, const struct sockaddr_un *un, unsigned perm) {
    /* the mode holds from the first moment on: no window between bind and chmod */
    mode_t old = perm != 0 ? umask(~(mode_t)perm & 0777) : 0;
    int e = bind(fd, (const struct sockaddr *)un, sizeof(*un));
    if (perm != 0) {
        umask(old);
    }
    return e;
}

struct listener *listener_unix(struct loop *loop, const char *path, unsigned perm, int backlog,
                               listener_accept_fn fn, void *ctx, char *err, size_t errlen) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct stat st;
    err[0] = '\0';
    if (strlen(path) >= sizeof(un.sun_path)) {
        snprintf(err, errlen, "%s: path too long", path);
        return NULL;
    }
    strncpy(un.sun_path, path, sizeof(un.sun_path) - 1);
    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode)) {
            snprintf(err, errlen, "%s exists and is not a socket", path);
            return NULL;
        }
        if (somebody_listens(&un)) {
            snprintf(err, errlen, "%s is in use by a running server", path);
            return NULL;
        }
        unlink(path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind_unix(fd, &un, perm) != 0 || listen(fd, backlog) != 0) {
        snprintf(err, errlen, "%s: %s", path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return NULL;
    }
    struct listener *l = watch_fd(loop, fd, fn, ctx);
    l->is_unix = true;
    l->path = mem_strdup(path);
    return l;
}

int listener_port(const struct listener *l) {
    return l->port;
}

unsigned long listener_pauses(const struct listener *l) {
    return l->pauses;
}

static void closed_cb(uv_handle_t *h) {
    struct listener *l = h->data;
    if (--l->open_handles == 0) {
        mem_free(l->path);
        mem_free(l);
    }
}

void listener_close(struct listener **lp) {
    struct listener *l = *lp;
    *lp = NULL;
    uv_poll_stop(&l->poll);
    close(l->fd);
    if (l->path != NULL) {
        unlink(l->path);
    }
    uv_close((uv_handle_t *)&l->poll, closed_cb);
    uv_close((uv_handle_t *)&l->pause, closed_cb);
}
