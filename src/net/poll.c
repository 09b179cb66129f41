/* SPDX-License-Identifier: BSD-3-Clause */
/* poll: uv_poll for a foreign fd. */
#include "src/net/poll.h"

#include <uv.h>

#include "src/base/mem.h"
#include "src/rt/loop.h"

struct poll {
    uv_poll_t uv;
    int fd;
    void (*fn)(void *ctx, int fd, unsigned events);
    void *ctx;
};

struct poll *poll_create(struct loop *loop, int fd, void (*fn)(void *ctx, int fd, unsigned events), void *ctx) {
    struct poll *p = mem_zalloc(sizeof(*p));
    if (uv_poll_init(loop_uv(loop), &p->uv, fd) != 0) {
        mem_free(p);
        return NULL;
    }
    p->uv.data = p;
    p->fd = fd;
    p->fn = fn;
    p->ctx = ctx;
    return p;
}

static void ready_cb(uv_poll_t *h, int status, int uv_events) {
    struct poll *p = h->data;
    unsigned events = POLL_READ | POLL_WRITE;
    if (status == 0) {
        events = (uv_events & UV_READABLE ? POLL_READ : 0u) | (uv_events & UV_WRITABLE ? POLL_WRITE : 0u);
    }
    p->fn(p->ctx, p->fd, events);
}

void poll_watch(struct poll *p, unsigned events) {
    if (events == 0) {
        uv_poll_stop(&p->uv);
        return;
    }
    uv_poll_start(&p->uv, (events & POLL_READ ? UV_READABLE : 0) | (events & POLL_WRITE ? UV_WRITABLE : 0), ready_cb);
}

static void closed_cb(uv_handle_t *h) {
    mem_free(h->data);
}

void poll_destroy(struct poll **p) {
    uv_close((uv_handle_t *)&(*p)->uv, closed_cb); /* out of epoll at once: the fd's number may be another socket's in a moment */
    *p = NULL;
}
