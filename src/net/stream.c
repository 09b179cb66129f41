/* SPDX-License-Identifier: BSD-3-Clause */
/* stream: a connected socket under uv_poll, read and written here. Not libuv's own streams: their way to a read or a write costs a
 * tenth of a microsecond more, and a queued write one epoll_ctl each. */
#include "src/net/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/rt/loop.h"

enum {
    SLICE_BYTES = 128 << 10, /* a reader as fast as we are would keep a larger write in the kernel for long */
    SLICE_IOVECS = 64,
    READS_PER_EVENT = 32
};

_Static_assert(sizeof(uv_poll_t) <= STREAM_HANDLE_BYTES, "handle room");

/* glibc's recv and send are points of cancellation, and in a process with threads each spends forty instructions on that; no thread of
 * ours is ever cancelled. Sanitizers watch the library's functions, so that they see those. */
#ifdef STRATA_SANITIZED
#define socket_recv recv
#define socket_send send
#else
static ssize_t socket_recv(int fd, void *p, size_t n, int flags) {
    return syscall(SYS_recvfrom, fd, p, n, flags, NULL, NULL);
}

static ssize_t socket_send(int fd, const void *p, size_t n, int flags) {
    return syscall(SYS_sendto, fd, p, n, flags, NULL, 0);
}
#endif

static uv_poll_t *uv_of(struct stream *s) {
    return (uv_poll_t *)(void *)s->handle.uv;
}

static void ready_cb(uv_poll_t *h, int status, int events);

/* Has the loop watch for what the stream waits for; and for what it did not want to read just now until something comes, since most
 * are read on before that. */
static void watch(struct stream *s) {
    int events = (s->reading || s->resting ? UV_READABLE : 0) | (s->tails != NULL ? UV_WRITABLE : 0);
    if (events == s->watched || s->closing) {
        return;
    }
    s->watched = events;
    if (events == 0) {
        uv_poll_stop(uv_of(s));
    } else {
        uv_poll_start(uv_of(s), events, ready_cb);
    }
}

static void set_option(int fd, int level, int name, int value) {
    (void)setsockopt(fd, level, name, &value, sizeof(value)); /* without it, it is a slower or longer-lived connection */
}

static void set_tcp_options(int fd, int keepalive_s) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (keepalive_s > 0) {
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, keepalive_s);
        set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
        set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 10);
    }
}

int stream_adopt(struct stream *s, struct loop *loop, int fd, bool is_unix, int keepalive_s,
                 const struct stream_events *events) {
    *s = (struct stream){.events = events, .fd = fd, .is_unix = is_unix};
    int e = uv_poll_init(loop_uv(loop), uv_of(s), fd);
    if (e == 0) {
        uv_of(s)->data = s;
        if (!is_unix) {
            set_tcp_options(fd, keepalive_s);
        }
    }
    return e;
}

/* ---- reading ---- */

void stream_read_start(struct stream *s) {
    s->reading = !s->closing;
    watch(s);
}

void stream_read_stop(struct stream *s) {
    s->reading = false;
    s->resting = (s->watched & UV_READABLE) != 0;
}

/* Until the socket has no more, or the owner wants no more. */
static void read_on(struct stream *s) {
    for (int i = 0; i < READS_PER_EVENT && s->reading; i++) {
        char *p = NULL;
        size_t room = 0;
        s->events->alloc(s, &p, &room);
        ssize_t n = room > 0 ? socket_recv(s->fd, p, room, 0) : -1;
        int e = n == 0 ? 0 : room == 0 ? UV_ENOBUFS : -errno;
        if (n > 0) {
            s->events->data(s, p, (size_t)n);
            if ((size_t)n < room) {
                return; /* what came since shows in the next turn */
            }
        } else if (e == -EAGAIN || e == -EINTR) {
            return;
        } else {
            stream_read_stop(s);
            s->events->end(s, e);
        }
    }
}

/* ---- writing ---- */

/* Copies the leading SLICE_BYTES at most; returns how many pieces that is. */
static int cut_slice(const struct iovec *iov, int n, struct iovec *out, int max) {
    size_t room = SLICE_BYTES;
    int k = 0;
    for (; k < n && k < max && room > 0; k++) {
        out[k] = iov[k];
        out[k].iov_len = out[k].iov_len < room ? out[k].iov_len : room;
        room -= out[k].iov_len;
    }
    return k;
}

static ssize_t send_slice(struct stream *s, const struct iovec *iov, int n) {
    ssize_t sent;
    if (likely(n == 1 && iov[0].iov_len <= SLICE_BYTES)) {
        sent = socket_send(s->fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL);
    } else {
        struct iovec cut[SLICE_IOVECS];
        struct msghdr msg = {.msg_iov = cut, .msg_iovlen = (size_t)cut_slice(iov, n, cut, SLICE_IOVECS)};
        sent = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
    }
    if (unlikely(sent < 0)) {
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    }
    return sent;
}

ssize_t stream_try_writev(struct stream *s, const struct iovec *iov, int n) {
    ASSERT(s->queued_bytes == 0);
    return send_slice(s, iov, n);
}

/* Bytes that wait to be written, in line behind those of the tails before it. */
struct tail {
    struct tail *next;
    void *owner;
    void (*release)(void *owner);
    int at, n;
    struct iovec iov[];
};

static void drop_first_tail(struct stream *s) {
    struct tail *t = s->tails;
    s->tails = t->next;
    for (; t->at < t->n; t->at++) {
        s->queued_bytes -= t->iov[t->at].iov_len;
    }
    t->release(t->owner);
    mem_free(t);
}

/* So many bytes of the first tail are written. */
static void advance(struct stream *s, size_t sent) {
    struct tail *t = s->tails;
    s->queued_bytes -= sent;
    while (t->at < t->n && sent >= t->iov[t->at].iov_len) {
        sent -= t->iov[t->at++].iov_len;
    }
    if (t->at < t->n) {
        t->iov[t->at].iov_base = (char *)t->iov[t->at].iov_base + sent;
        t->iov[t->at].iov_len -= sent;
    } else {
        drop_first_tail(s);
    }
}

/* A slice of the first tail. All are dropped once the connection is broken, which shows on the reading side or at the next write. */
static void write_on(struct stream *s) {
    struct tail *t = s->tails;
    ssize_t sent = send_slice(s, t->iov + t->at, t->n - t->at);
    if (sent >= 0) {
        advance(s, (size_t)sent);
    } else {
        while (s->tails != NULL) {
            drop_first_tail(s);
        }
    }
    if (s->tails == NULL) {
        watch(s);
        s->events->drained(s);
    }
}

void stream_queue(struct stream *s, const struct iovec *iov, int n, void *owner,
                  void (*release)(void *owner)) {
    struct tail *t = mem_zalloc(sizeof(*t) + (size_t)n * sizeof(*iov));
    t->owner = owner;
    t->release = release;
    t->n = n;
    memcpy(t->iov, iov, (size_t)n * sizeof(*iov));
    for (int i = 0; i < n; i++) {
        s->queued_bytes += iov[i].iov_len;
    }
    *(s->tails == NULL ? &s->tails : &s->last_tail->next) = t;
    s->last_tail = t;
    watch(s);
}

/* ---- life ---- */

static void ready_cb(uv_poll_t *h, int status, int events) {
    struct stream *s = h->data;
    if (unlikely(status < 0)) { /* the next call on the socket says what it is; libuv has stopped watching */
        s->watched = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    if (unlikely(s->tails != NULL) && events & UV_WRITABLE) {
        write_on(s);
    }
    if (events & UV_READABLE) {
        s->resting = false;
        read_on(s);
    }
    watch(s);
}

static void close_cb(uv_handle_t *h) {
    struct stream *s = h->data;
    while (s->tails != NULL) {
        drop_first_tail(s);
    }
    s->events->closed(s);
}

void stream_close(struct stream *s) {
    if (s->closing) {
        return;
    }
    s->closing = true;
    s->reading = false;
    uv_close((uv_handle_t *)uv_of(s), close_cb); /* out of epoll at once */
    close(s->fd);
    s->fd = -1;
}

int stream_fd(const struct stream *s) {
    return s->fd;
}

static void print_address(const struct sockaddr_storage *ss, char *out, size_t n) {
    char host[INET6_ADDRSTRLEN] = "?";
    if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(out, n, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(out, n, "%s:%u", host, ntohs(in->sin_port));
    }
}

static void print_name(const struct stream *s, bool peer, char *out, size_t n) {
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss) - 1; /* a path may come without its end */
    if (s->is_unix) {
        int e = getsockname(s->fd, (struct sockaddr *)&ss, &len);
        snprintf(out, n, "%s:0", e == 0 ? ((const struct sockaddr_un *)(const void *)&ss)->sun_path : "");
        return;
    }
    int e = peer ? getpeername(s->fd, (struct sockaddr *)&ss, &len) : getsockname(s->fd, (struct sockaddr *)&ss, &len);
    if (e == 0) {
        print_address(&ss, out, n);
    } else {
        snprintf(out, n, "?:0");
    }
}

void stream_peer_name(const struct stream *s, char *out, size_t n) {
    print_name(s, true, out, n);
}

void stream_own_name(const struct stream *s, char *out, size_t n) {
    print_name(s, false, out, n);
}
