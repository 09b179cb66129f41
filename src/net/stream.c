/* SPDX-License-Identifier: BSD-3-Clause */
/* stream: libuv's TCP and pipe handles behind one face. Writing is uv_try_write; uv_write, which costs an epoll_ctl each,
 * only for what the socket did not take. */
#include "src/net/stream.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/rt/loop.h"

_Static_assert(sizeof(uv_tcp_t) <= STREAM_HANDLE_BYTES, "handle room");
_Static_assert(sizeof(uv_pipe_t) <= STREAM_HANDLE_BYTES, "handle room");

static uv_stream_t *uv_of(struct stream *s) {
    return (uv_stream_t *)(void *)s->handle.uv;
}

static void alloc_cb(uv_handle_t *h, size_t hint, uv_buf_t *buf) {
    (void)hint;
    struct stream *s = h->data;
    char *p = NULL;
    size_t n = 0;
    s->events->alloc(s, &p, &n);
    *buf = uv_buf_init(p, (unsigned)n);
}

static void read_cb(uv_stream_t *h, ssize_t n, const uv_buf_t *buf) {
    struct stream *s = h->data;
    if (n > 0) {
        s->events->data(s, buf->base, (size_t)n);
    } else if (n < 0) {
        s->events->end(s, n == UV_EOF ? 0 : (int)n);
    }
}

int stream_adopt(struct stream *s, struct loop *loop, int fd, bool is_unix, int keepalive_s,
                 const struct stream_events *events) {
    *s = (struct stream){.events = events, .loop = loop, .is_unix = is_unix};
    uv_loop_t *uv = loop_uv(loop);
    int e;
    if (is_unix) {
        uv_pipe_t *pipe = (uv_pipe_t *)uv_of(s);
        uv_pipe_init(uv, pipe, 0);
        e = uv_pipe_open(pipe, fd);
    } else {
        uv_tcp_t *tcp = (uv_tcp_t *)uv_of(s);
        uv_tcp_init(uv, tcp);
        e = uv_tcp_open(tcp, fd);
        if (e == 0) {
            uv_tcp_nodelay(tcp, 1);
            uv_tcp_keepalive(tcp, keepalive_s > 0, (unsigned)(keepalive_s > 0 ? keepalive_s : 0));
        }
    }
    uv_of(s)->data = s;
    return e;
}

void stream_read_start(struct stream *s) {
    if (!s->reading && !s->closing) {
        s->reading = uv_read_start(uv_of(s), alloc_cb, read_cb) == 0;
    }
}

void stream_read_stop(struct stream *s) {
    if (s->reading) {
        uv_read_stop(uv_of(s));
        s->reading = false;
    }
}

enum { SLICE_BYTES = 512 << 10 /* a reader as fast as we are would keep a larger write in the kernel for long */ };

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

enum { SLICE_IOVECS = 64 };

ssize_t stream_try_writev(struct stream *s, const struct iovec *iov, int n) {
    ASSERT(s->queued_bytes == 0);
    _Static_assert(sizeof(struct iovec) == sizeof(uv_buf_t), "uv_buf_t is an iovec on unix");
    struct iovec cut[SLICE_IOVECS];
    if (unlikely(n > 1 || iov[0].iov_len > SLICE_BYTES)) {
        n = cut_slice(iov, n, cut, SLICE_IOVECS);
        iov = cut;
    }
    int e = uv_try_write(uv_of(s), (const uv_buf_t *)(const void *)iov, (unsigned)n);
    return e == UV_EAGAIN ? 0 : e;
}

/* Bytes that wait to be written, in line behind those of the tails before it; one slice of the first is libuv's. */
struct tail {
    uv_write_t req;
    struct tail *next;
    struct stream *stream;
    size_t slice_bytes;
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

static void write_cb(uv_write_t *req, int status);

/* False when libuv refuses. */
static bool write_slice(struct tail *t) {
    struct iovec cut[SLICE_IOVECS];
    int n = cut_slice(t->iov + t->at, t->n - t->at, cut, SLICE_IOVECS);
    t->slice_bytes = 0;
    for (int i = 0; i < n; i++) {
        t->slice_bytes += cut[i].iov_len;
    }
    return uv_write(&t->req, uv_of(t->stream), (const uv_buf_t *)(const void *)cut, (unsigned)n, write_cb) == 0;
}

/* The next slice; drops the tails that are through, and all of them once the connection is broken, which shows on the
 * reading side or at the next write. */
static void write_on(struct stream *s, bool broken) {
    while (s->tails != NULL) {
        struct tail *t = s->tails;
        if (t->at < t->n && !broken) {
            if (write_slice(t)) {
                return;
            }
            broken = true;
        }
        drop_first_tail(s);
    }
    if (!s->closing) {
        s->events->drained(s);
    }
}

static void write_cb(uv_write_t *req, int status) {
    struct tail *t = req->data;
    struct stream *s = t->stream;
    size_t sent = t->slice_bytes;
    s->queued_bytes -= sent;
    while (t->at < t->n && sent >= t->iov[t->at].iov_len) {
        sent -= t->iov[t->at++].iov_len;
    }
    if (t->at < t->n) {
        t->iov[t->at].iov_base = (char *)t->iov[t->at].iov_base + sent;
        t->iov[t->at].iov_len -= sent;
    }
    write_on(s, status != 0 || s->closing);
}

void stream_queue(struct stream *s, const struct iovec *iov, int n, void *owner,
                  void (*release)(void *owner)) {
    struct tail *t = mem_zalloc(sizeof(*t) + (size_t)n * sizeof(*iov));
    t->stream = s;
    t->owner = owner;
    t->release = release;
    t->n = n;
    t->req.data = t;
    memcpy(t->iov, iov, (size_t)n * sizeof(*iov));
    for (int i = 0; i < n; i++) {
        s->queued_bytes += iov[i].iov_len;
    }
    bool idle = s->tails == NULL;
    *(idle ? &s->tails : &s->last_tail->next) = t;
    s->last_tail = t;
    if (idle) {
        write_on(s, false);
    }
}

static void close_cb(uv_handle_t *h) {
    struct stream *s = h->data;
    s->events->closed(s);
}

void stream_close(struct stream *s) {
    if (s->closing) {
        return;
    }
    s->closing = true;
    s->reading = false;
    uv_close((uv_handle_t *)uv_of(s), close_cb);
}

int stream_fd(const struct stream *s) {
    uv_os_fd_t fd = -1;
    uv_fileno((const uv_handle_t *)(const void *)s->handle.uv, &fd);
    return fd;
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
    int len = sizeof(ss);
    if (s->is_unix) {
        char path[108] = "";
        size_t plen = sizeof(path);
        uv_pipe_getsockname((const uv_pipe_t *)(const void *)s->handle.uv, path, &plen);
        snprintf(out, n, "%s:0", path);
        return;
    }
    const uv_tcp_t *tcp = (const uv_tcp_t *)(const void *)s->handle.uv;
    int e = peer ? uv_tcp_getpeername(tcp, (struct sockaddr *)&ss, &len)
                 : uv_tcp_getsockname(tcp, (struct sockaddr *)&ss, &len);
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
