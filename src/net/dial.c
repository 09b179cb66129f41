/* SPDX-License-Identifier: BSD-3-Clause */
/* dial: names through uv_getaddrinfo, connecting through our own sockets under uv_poll, so that what is handed over is a plain
 * descriptor. */
#include "src/net/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/list.h"
#include "src/base/mem.h"
#include "src/rt/loop.h"

enum { NAMES_MAX = 64, ADDRESSES_MAX = 8, KEEP_MS = 5000, KEEP_FAILED_MS = 1000 };

struct addresses {
    int n;
    struct sockaddr_storage at[ADDRESSES_MAX];
};

/* A name and what came of looking it up. */
struct name {
    struct list node;    /* of the dialer, last used first */
    struct list waiting; /* dials */
    struct dialer *dialer;
    uv_getaddrinfo_t req;
    bool resolving;
    int64_t known_ms; /* when the answer came: wall clock */
    struct addresses addresses;
    const char *error; /* why there are none */
    char host[];
};

struct dialer {
    struct loop *loop;
    struct list names, dials;
    int name_count, resolving;
    uint64_t lookups;
    struct timer *end; /* closing */
    void (*closed)(void *ctx);
    void *ctx;
};

enum step { DIAL_START, DIAL_RESOLVE, DIAL_CONNECT };

struct dial {
    struct list node;    /* of the dialer */
    struct list waiting; /* of the name */
    struct dialer *dialer;
    enum step step;
    struct timer *timer; /* what ends the step */
    int64_t deadline_us;
    struct addresses addresses;
    int next; /* the address to try */
    uv_poll_t *poll;
    int fd, port;
    const char *error; /* of the last address */
    void (*done)(void *ctx, int fd, const char *error);
    void *ctx;
    char host[];
};

const char dial_refused[] = "connection refused";

static const char *error_text(int err) {
    switch (err) {
    case ECONNREFUSED:
        return dial_refused;
    case ECONNRESET:
        return "connection reset";
    case ETIMEDOUT:
        return "timed out";
    case EHOSTUNREACH:
        return "host unreachable";
    case ENETUNREACH:
        return "network unreachable";
    case ENOENT:
        return "no such socket";
    case EACCES:
    case EPERM:
        return "permission denied";
    case EAGAIN:
        return "listen queue full";
    case EMFILE:
    case ENFILE:
        return "too many open files";
    default:
        return "cannot connect";
    }
}

/* ---- the end of a dial ---- */

static void poll_closed(uv_handle_t *h) {
    mem_free(h);
}

static void forget_poll(struct dial *d) {
    if (d->poll != NULL) {
        uv_poll_stop(d->poll);
        uv_close((uv_handle_t *)d->poll, poll_closed);
        d->poll = NULL;
    }
}

static void close_fd(struct dial *d) {
    forget_poll(d);
    if (d->fd >= 0) {
        close(d->fd);
        d->fd = -1;
    }
}

static void dial_free(struct dial *d) {
    list_remove(&d->node);
    list_remove(&d->waiting);
    forget_poll(d);
    timer_destroy(&d->timer);
    mem_free(d);
}

static void dial_end(struct dial *d, const char *error) {
    void (*done)(void *, int, const char *) = d->done;
    void *ctx = d->ctx;
    int fd = d->fd;
    dial_free(d);
    done(ctx, fd, error);
}

void dial_cancel(struct dial **d) {
    if (*d != NULL) {
        close_fd(*d);
        dial_free(*d);
        *d = NULL;
    }
}

/* ---- connecting ---- */

static void connect_next(struct dial *d);

static void writable_cb(uv_poll_t *h, int status, int events) {
    struct dial *d = h->data;
    (void)status; /* the socket itself knows better */
    (void)events;
    int err = 0;
    socklen_t len = sizeof(err);
    getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    forget_poll(d);
    if (err == 0) {
        dial_end(d, NULL);
        return;
    }
    d->error = error_text(err);
    connect_next(d);
}

/* While there are other addresses one gets a fair share of the time that is left, the last one all of it. */
static void wait_writable(struct dial *d) {
    int64_t left_us = d->deadline_us - clock_mono_us();
    int share = d->addresses.n - d->next + 1;
    d->poll = mem_zalloc(sizeof(*d->poll));
    uv_poll_init(loop_uv(d->dialer->loop), d->poll, d->fd);
    d->poll->data = d;
    uv_poll_start(d->poll, UV_WRITABLE, writable_cb);
    timer_start(d->timer, (left_us + 999) / 1000 / share, 0);
}

static socklen_t address_len(const struct sockaddr_storage *a) {
    return a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_un);
}

static void connect_next(struct dial *d) {
    d->step = DIAL_CONNECT;
    for (;;) {
        close_fd(d);
        if (d->next == d->addresses.n || clock_mono_us() >= d->deadline_us) {
            dial_end(d, d->error != NULL ? d->error : "timed out");
            return;
        }
        struct sockaddr_storage *a = &d->addresses.at[d->next++];
        if (a->ss_family == AF_INET) {
            ((struct sockaddr_in *)a)->sin_port = htons((uint16_t)d->port);
        } else if (a->ss_family == AF_INET6) {
            ((struct sockaddr_in6 *)a)->sin6_port = htons((uint16_t)d->port);
        }
        d->fd = socket(a->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int e = d->fd < 0 ? -1 : connect(d->fd, (const struct sockaddr *)a, address_len(a));
        if (e == 0) {
            dial_end(d, NULL);
            return;
        }
        if (d->fd >= 0 && errno == EINPROGRESS) {
            wait_writable(d);
            return;
        }
        d->error = error_text(errno);
    }
}

/* ---- names ---- */

static void name_free(struct name *n) {
    list_remove(&n->node);
    n->dialer->name_count--;
    mem_free(n);
}

static void dialer_free_when_idle(struct dialer *d);

/* Every dial that waited goes on; one that is cancelled meanwhile leaves the list by itself. */
static void name_known(struct name *n) {
    struct list *node;
    struct list ready;
    list_init(&ready);
    while ((node = list_pop_front(&n->waiting)) != NULL) {
        list_push_back(&ready, node);
    }
    struct addresses addresses = n->addresses;
    const char *error = n->error;
    while ((node = list_pop_front(&ready)) != NULL) {
        struct dial *d = LIST_ENTRY(node, struct dial, waiting);
        d->addresses = addresses;
        d->error = error;
        connect_next(d);
    }
}

static void resolved_cb(uv_getaddrinfo_t *req, int status, struct addrinfo *found) {
    struct name *n = req->data;
    struct dialer *d = n->dialer;
    n->resolving = false;
    n->known_ms = clock_now_ms();
    d->resolving--;
    for (struct addrinfo *a = found; status == 0 && a != NULL && n->addresses.n < ADDRESSES_MAX; a = a->ai_next) {
        if (a->ai_family == AF_INET || a->ai_family == AF_INET6) {
            memcpy(&n->addresses.at[n->addresses.n++], a->ai_addr, a->ai_addrlen);
        }
    }
    if (n->addresses.n == 0) {
        bool none = status == 0 || status == UV_EAI_NONAME || status == UV_EAI_NODATA || status == UV_ENOENT;
        n->error = none ? "host not found" : "name lookup failed";
    }
    uv_freeaddrinfo(found);
    name_known(n);
    dialer_free_when_idle(d);
}

/* Known long enough ago to ask again; a clock set back counts as that, too. */
static bool is_old(const struct name *n, int64_t now_ms) {
    int64_t age = now_ms - n->known_ms;
    return age < 0 || age >= (n->error != NULL ? KEEP_FAILED_MS : KEEP_MS);
}

/* Room for one more name: false when lookups under way fill the table. */
static bool make_room(struct dialer *d) {
    if (d->name_count < NAMES_MAX) {
        return true;
    }
    for (struct list *l = d->names.prev; l != &d->names; l = l->prev) {
        struct name *n = LIST_ENTRY(l, struct name, node);
        if (!n->resolving) {
            name_free(n);
            return true;
        }
    }
    return false;
}

/* The name's entry, to be looked up when it is new. NULL when there is no room. */
static struct name *name_get(struct dialer *d, const char *host) {
    for (struct list *l = d->names.next; l != &d->names; l = l->next) {
        struct name *n = LIST_ENTRY(l, struct name, node);
        if (strcmp(n->host, host) == 0) {
            list_remove(&n->node);
            list_push_front(&d->names, &n->node);
            return n;
        }
    }
    if (!make_room(d)) {
        return NULL;
    }
    size_t len = strlen(host);
    struct name *n = mem_zalloc(sizeof(*n) + len + 1);
    memcpy(n->host, host, len);
    n->dialer = d;
    n->req.data = n;
    n->known_ms = -1; /* old */
    list_init(&n->waiting);
    list_push_front(&d->names, &n->node);
    d->name_count++;
    return n;
}

/* Starts looking the name up; false when libuv refuses. */
static bool name_ask(struct name *n) {
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    n->addresses.n = 0;
    n->error = NULL;
    n->resolving = uv_getaddrinfo(loop_uv(n->dialer->loop), &n->req, resolved_cb, n->host, NULL, &hints) == 0;
    if (n->resolving) {
        n->dialer->resolving++;
        n->dialer->lookups++;
    }
    return n->resolving;
}

static void resolve(struct dial *d) {
    struct name *n = name_get(d->dialer, d->host);
    if (n == NULL) {
        dial_end(d, "too many name lookups");
        return;
    }
    if (!n->resolving && !is_old(n, clock_now_ms())) {
        d->addresses = n->addresses;
        d->error = n->error;
        connect_next(d);
        return;
    }
    if (!n->resolving && !name_ask(n)) {
        dial_end(d, "name lookup failed");
        return;
    }
    d->step = DIAL_RESOLVE;
    list_push_back(&n->waiting, &d->waiting);
    timer_start(d->timer, (d->deadline_us - clock_mono_us() + 999) / 1000, 0);
}

/* ---- steps ---- */

/* A unix path or numeric address needs no lookup. */
static bool is_address(struct dial *d) {
    struct sockaddr_storage *a = &d->addresses.at[0];
    if (d->port == 0) {
        struct sockaddr_un *un = (struct sockaddr_un *)a;
        un->sun_family = AF_UNIX;
        strncpy(un->sun_path, d->host, sizeof(un->sun_path) - 1);
        return true;
    }
    if (inet_pton(AF_INET, d->host, &((struct sockaddr_in *)a)->sin_addr) == 1) {
        a->ss_family = AF_INET;
        return true;
    }
    if (inet_pton(AF_INET6, d->host, &((struct sockaddr_in6 *)a)->sin6_addr) == 1) {
        a->ss_family = AF_INET6;
        return true;
    }
    return false;
}

static void timer_cb(void *ctx) {
    struct dial *d = ctx;
    switch (d->step) {
    case DIAL_START:
        if (d->port == 0 && strlen(d->host) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
            dial_end(d, "socket path too long");
        } else if (is_address(d)) {
            d->addresses.n = 1;
            connect_next(d);
        } else {
            resolve(d);
        }
        break;
    case DIAL_RESOLVE:
        dial_end(d, "timed out");
        break;
    case DIAL_CONNECT:
        d->error = "timed out";
        connect_next(d);
        break;
    }
}

struct dial *dial_start(struct dialer *dialer, const char *host, int port, int64_t timeout_ms,
                        void (*done)(void *ctx, int fd, const char *error), void *ctx) {
    size_t len = strlen(host);
    struct dial *d = mem_zalloc(sizeof(*d) + len + 1);
    memcpy(d->host, host, len);
    d->dialer = dialer;
    d->port = port;
    d->fd = -1;
    d->done = done;
    d->ctx = ctx;
    d->deadline_us = clock_mono_us() + timeout_ms * 1000;
    d->timer = timer_create_on(dialer->loop, timer_cb, d);
    list_init(&d->waiting);
    list_push_back(&dialer->dials, &d->node);
    timer_start(d->timer, 0, 0); /* done must not be called before this returns */
    return d;
}

/* ---- the dialer ---- */

struct dialer *dialer_create(struct loop *loop) {
    struct dialer *d = mem_zalloc(sizeof(*d));
    d->loop = loop;
    list_init(&d->names);
    list_init(&d->dials);
    return d;
}

uint64_t dialer_lookups(const struct dialer *d) {
    return d->lookups;
}

static void end_cb(void *ctx) {
    struct dialer *d = ctx;
    void (*closed)(void *) = d->closed;
    void *closed_ctx = d->ctx;
    timer_destroy(&d->end);
    mem_free(d);
    closed(closed_ctx);
}

static void dialer_free_when_idle(struct dialer *d) {
    if (d->closed == NULL || d->resolving > 0 || d->end != NULL) {
        return;
    }
    while (!list_empty(&d->names)) {
        name_free(LIST_ENTRY(d->names.next, struct name, node));
    }
    d->end = timer_create_on(d->loop, end_cb, d);
    timer_start(d->end, 1, 0); /* in a later turn: the handles closed in this one are gone then */
}

void dialer_close(struct dialer **dp, void (*closed)(void *ctx), void *ctx) {
    struct dialer *d = *dp;
    *dp = NULL;
    d->closed = closed;
    d->ctx = ctx;
    while (!list_empty(&d->dials)) {
        struct dial *dial = LIST_ENTRY(d->dials.next, struct dial, node);
        dial_cancel(&dial);
    }
    for (struct list *l = d->names.next; l != &d->names; l = l->next) {
        struct name *n = LIST_ENTRY(l, struct name, node);
        if (n->resolving) {
            uv_cancel((uv_req_t *)&n->req); /* helps where it waits for a thread */
        }
    }
    dialer_free_when_idle(d);
}
