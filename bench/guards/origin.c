/* SPDX-License-Identifier: BSD-3-Clause */
/* origin: an HTTP server whose every answer takes the same time. One thread: arrivals queue, start when a slot is free, and are
 * answered in the order they started, since all take equally long. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/guards/guards.h"
#include "src/base/list.h"
#include "src/base/mem.h"

enum { REQUEST_MAX = 8192, EVENTS = 256, WINDOW_NS = 100000000, BACKLOG = 4096 };

/* A connection, and the one request on it. */
struct asker {
    struct list node;   /* waiting, or running */
    int fd;
    bool busy, closed;
    uint64_t due;       /* when its answer is ready */
    size_t n;
    char request[REQUEST_MAX];
    char key[256];
};

struct origin {
    const struct origin_options *options;
    int epoll, listener;
    struct list waiting, running;
    unsigned in_slots;
    uint64_t loads, peak, window, in_window;
};

static void count_arrival(struct origin *o) {
    uint64_t window = sock_now() / WINDOW_NS;
    o->in_window = window == o->window ? o->in_window + 1 : 1;
    o->window = window;
    o->peak = o->in_window > o->peak ? o->in_window : o->peak;
    o->loads++;
}

static void asker_close(struct asker *a) {
    a->closed = true;
    if (a->fd >= 0) {
        close(a->fd);
        a->fd = -1;
    }
    if (!a->busy) {
        mem_free(a);
    }
}

static void answer(struct asker *a, const char *type, const char *body, size_t n) {
    char head[256];
    int head_n = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", type, n);
    char all[1024];
    memcpy(all, head, (size_t)head_n);
    memcpy(all + head_n, body, n);
    if (sock_send(a->fd, all, (size_t)head_n + n) != head_n + (ssize_t)n) {
        asker_close(a); /* an answer always fits into an empty socket: the asker has gone */
    }
}

static void start_some(struct origin *o, uint64_t now) {
    while (o->in_slots < o->options->slots && !list_empty(&o->waiting)) {
        struct asker *a = LIST_ENTRY(list_pop_front(&o->waiting), struct asker, node);
        a->due = now + o->options->delay_ms * 1000000;
        list_push_back(&o->running, &a->node);
        o->in_slots++;
    }
}

static void end_some(struct origin *o, uint64_t now) {
    while (!list_empty(&o->running)) {
        struct asker *a = LIST_ENTRY(o->running.next, struct asker, node);
        if (a->due > now) {
            return;
        }
        list_remove(&a->node);
        o->in_slots--;
        a->busy = false;
        char value[VALUE_SIZE];
        if (a->closed) {
            mem_free(a);
        } else {
            value_print(value, a->key);
            answer(a, "application/octet-stream", value, sizeof(value));
        }
    }
}

/* The whole request is there. */
static void take_request(struct origin *o, struct asker *a) {
    char body[128];
    if (sscanf(a->request, "GET /%255s", a->key) != 1) {
        asker_close(a);
        return;
    }
    a->n = 0;
    if (strcmp(a->key, "stats") == 0 || strcmp(a->key, "reset") == 0) {
        int n = snprintf(body, sizeof(body), "{\"loads\": %llu, \"peak\": %llu}", (unsigned long long)o->loads,
                         (unsigned long long)o->peak);
        if (a->key[0] == 'r') {
            o->loads = o->peak = o->in_window = 0;
        }
        answer(a, "application/json", body, (size_t)n);
        return;
    }
    count_arrival(o);
    a->busy = true;
    list_push_back(&o->waiting, &a->node);
}

static void asker_read(struct origin *o, struct asker *a) {
    ssize_t n = a->n < REQUEST_MAX - 1 ? sock_recv(a->fd, a->request + a->n, REQUEST_MAX - 1 - a->n) : -1;
    if (n < 0) {
        asker_close(a);
        return;
    }
    a->n += (size_t)n;
    a->request[a->n] = '\0';
    if (!a->busy && strstr(a->request, "\r\n\r\n") != NULL) {
        take_request(o, a);
    }
}

static void accept_all(struct origin *o) {
    int fd;
    while ((fd = accept4(o->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct asker *a = mem_zalloc(sizeof(*a));
        a->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = a};
        if (epoll_ctl(o->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
            die("epoll_ctl: %s", strerror(errno));
        }
    }
}

static int listen_on(const struct address *a) {
    int one = 1, fd = socket(a->name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a->name, a->len) != 0 || listen(fd, BACKLOG) != 0) {
        die("listen: %s", strerror(errno));
    }
    return fd;
}

void origin_serve(const struct origin_options *options) {
    struct origin o = {.options = options, .epoll = epoll_create1(EPOLL_CLOEXEC), .listener = listen_on(&options->address)};
    struct epoll_event events[EVENTS] = {{.events = EPOLLIN, .data.ptr = NULL}};
    list_init(&o.waiting);
    list_init(&o.running);
    if (epoll_ctl(o.epoll, EPOLL_CTL_ADD, o.listener, &events[0]) != 0) {
        die("epoll_ctl: %s", strerror(errno));
    }
    for (;;) {
        int n = epoll_wait(o.epoll, events, EVENTS, o.in_slots > 0 ? 1 : -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL) {
                accept_all(&o);
            } else {
                asker_read(&o, events[i].data.ptr);
            }
        }
        uint64_t now = sock_now();
        end_some(&o, now);
        start_some(&o, now);
    }
}
