/* SPDX-License-Identifier: BSD-3-Clause */
/* http: the thread, its connections and their bounds. libmicrohttpd parses; the thread is ours, because a deadline for each request is
 * ours, too: the library's timeout starts again with every byte, so that one byte a second would hold a connection for ever. */
#include "src/server/http.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/list.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/conf/conf.h"
#include "src/net/listener.h"
#include "src/server/http_int.h"
#include "src/server/server.h"
#include "src/server/worker.h"
#include "src/stats/stats.h"

enum { BACKLOG = 128, CONNECTION_BYTES = 16 * 1024, STACK_BYTES = 512 * 1024, FOREVER_MS = 60000 };

struct http {
    /* fixed after start */
    struct http_reply reply;
    struct MHD_Daemon *daemon;
    pthread_t thread;
    int wake_fd, poll_fd;
    unsigned max;
    _Atomic bool stopping;

    /* HTTP thread only */
    struct list peers; /* who has been at the present request for the longest, first */
    unsigned peer_count;
};

/* A connection. */
struct peer {
    struct list node; /* linked to itself once it has been cut */
    int fd;
    int64_t since_us; /* its last reply was taken, or it came */
};

/* The HTTP thread is the only writer of these counters, wherever they are kept. */
#define COUNT(h, counter) STAT_ADD((h)->reply.srv->workers[0]->stats->counter, 1)

/* ---- connections ---- */

/* The library sees the end of the stream and lets it go; the socket stays its own until then. */
static void cut(struct peer *p) {
    list_remove(&p->node);
    shutdown(p->fd, SHUT_RDWR);
}

static struct peer *longest(struct http *h) {
    return list_empty(&h->peers) ? NULL : LIST_ENTRY(h->peers.next, struct peer, node);
}

/* One more than there may be: the one that has done nothing for the longest makes room, so that silent ones cannot lock others out. */
static enum MHD_Result admit(void *ctx, const struct sockaddr *addr, socklen_t len) {
    struct http *h = ctx;
    (void)addr;
    (void)len;
    if (h->peer_count < h->max) {
        return MHD_YES;
    }
    COUNT(h, http_displaced);
    struct peer *p = longest(h);
    if (p == NULL || h->peer_count >= 2 * h->max) { /* those that were cut are not gone yet */
        return MHD_NO;
    }
    cut(p);
    return MHD_YES;
}

static void on_connection(void *ctx, struct MHD_Connection *c, void **of, enum MHD_ConnectionNotificationCode what) {
    struct http *h = ctx;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        struct peer *p = mem_zalloc(sizeof(*p));
        p->fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        p->since_us = clock_mono_us();
        list_push_back(&h->peers, &p->node);
        h->peer_count++;
        *of = p;
    } else if (*of != NULL) {
        struct peer *p = *of;
        list_remove(&p->node);
        h->peer_count--;
        mem_free(p);
        *of = NULL;
    }
}

static void on_completed(void *ctx, struct MHD_Connection *c, void **request, enum MHD_RequestTerminationCode how) {
    struct http *h = ctx;
    struct peer *p = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    (void)request;
    (void)how;
    if (p != NULL && !list_empty(&p->node)) { /* else cut already */
        p->since_us = clock_mono_us();
        list_remove(&p->node);
        list_push_back(&h->peers, &p->node);
    }
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *path, const char *method, const char *version,
                                  const char *body, size_t *body_n, void **request) {
    struct http *h = ctx;
    static char seen;
    (void)version;
    (void)body;
    if (*request == NULL && *body_n == 0 && http_reply_wants_rest(c, method)) {
        *request = &seen; /* the library keeps the connection only for replies that wait for the request's end */
        return MHD_YES;
    }
    COUNT(h, http_requests);
    return http_reply_to(&h->reply, c, path, method);
}

/* No path here needs an escape, so none means one of ours: "/metrics%00" is not "/metrics". */
static size_t keep_escapes(void *ctx, struct MHD_Connection *c, char *text) {
    (void)ctx;
    (void)c;
    return strlen(text);
}

static void on_log(void *ctx, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_log(void *ctx, const char *fmt, va_list ap) {
    char text[256];
    (void)ctx;
    vsnprintf(text, sizeof(text), fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    log_verbose("http: %s", text);
}

/* ---- the thread ---- */

/* Closes who has had its time; until when the next one has, in ms. */
static int cut_the_late(struct http *h, int64_t timeout_us) {
    int64_t now = clock_mono_us();
    for (struct peer *p; (p = longest(h)) != NULL; cut(p)) {
        int64_t left = p->since_us + timeout_us - now;
        if (left > 0) {
            return (int)(left / 1000 + 1 < FOREVER_MS ? left / 1000 + 1 : FOREVER_MS);
        }
        COUNT(h, http_timeouts);
    }
    return FOREVER_MS;
}

static void *thread_main(void *arg) {
    struct http *h = arg;
    pthread_setname_np(pthread_self(), "http");
    while (!atomic_load(&h->stopping)) {
        struct conf *conf = conf_store_current(h->reply.srv->host.conf_store);
        int wait_ms = cut_the_late(h, conf->http_timeout * 1000);
        MHD_UNSIGNED_LONG_LONG soon;
        conf_unref(conf);
        if (MHD_get_timeout(h->daemon, &soon) == MHD_YES && soon < (MHD_UNSIGNED_LONG_LONG)wait_ms) {
            wait_ms = (int)soon;
        }
        struct pollfd fds[] = {{.fd = h->poll_fd, .events = POLLIN}, {.fd = h->wake_fd, .events = POLLIN}};
        poll(fds, 2, wait_ms);
        MHD_run(h->daemon);
    }
    return NULL;
}

static bool start_thread(struct http *h) {
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    bool ok = pthread_create(&h->thread, &attr, thread_main, h) == 0;
    pthread_attr_destroy(&attr);
    return ok;
}

/* ---- start and stop ---- */

static bool start_daemon(struct http *h, int fd) {
    h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, admit, h, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, h,
                                 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, 2 * h->max + 2, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                 (size_t)CONNECTION_BYTES, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_NOTIFY_COMPLETED,
                                 on_completed, h, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, h, MHD_OPTION_END);
    if (h->daemon == NULL) {
        close(fd);
        return false;
    }
    h->poll_fd = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->wake_fd < 0 || !start_thread(h)) {
        if (h->wake_fd >= 0) {
            close(h->wake_fd);
        }
        MHD_stop_daemon(h->daemon); /* closes fd */
        return false;
    }
    return true;
}

static bool any_address(const char *bind) {
    return strcmp(bind, "*") == 0 || strcmp(bind, "::*") == 0 || strcmp(bind, "0.0.0.0") == 0;
}

struct http *http_start(struct server *srv) {
    struct conf *conf = conf_store_current(srv->host.conf_store);
    struct http *h = NULL;
    char err[256];
    int port = 0, fd = -1;
    srv->host.http_state = "off";
    if (conf->http_port != 0) {
        srv->host.http_state = "failed";
        fd = listener_open_tcp(conf->http_bind, (int)conf->http_port, BACKLOG, &port, err, sizeof(err));
        if (fd < 0) {
            log_warning("http-port: %s: going on without the page and /metrics", err);
        }
    }
    if (fd >= 0) {
        h = mem_zalloc(sizeof(*h));
        h->max = (unsigned)conf->http_max_connections;
        list_init(&h->peers);
        http_reply_init(&h->reply, srv);
        if (start_daemon(h, fd)) {
            srv->host.http_port = port;
            srv->host.http_state = "on";
            log_notice("The page is at http://%s:%d/", any_address(conf->http_bind) ? "127.0.0.1" : conf->http_bind, port);
        } else {
            log_warning("http-port: no thread or descriptor left: going on without the page and /metrics");
            http_reply_fini(&h->reply);
            mem_free(h);
            h = NULL;
        }
    }
    conf_unref(conf);
    return h;
}

void http_stop(struct http **hp) {
    struct http *h = *hp;
    *hp = NULL;
    if (h == NULL) {
        return;
    }
    uint64_t one = 1;
    atomic_store(&h->stopping, true);
    CHECK(write(h->wake_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    pthread_join(h->thread, NULL);
    MHD_stop_daemon(h->daemon);
    close(h->wake_fd);
    http_reply_fini(&h->reply);
    mem_free(h);
}
