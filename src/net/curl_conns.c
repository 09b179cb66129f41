/* SPDX-License-Identifier: BSD-3-Clause */
/* curl_conns: what libcurl tells of its sockets, and of each request that is about to be sent. */
#include "src/net/curl_conns.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/stats/conns.h"

static void show(struct curl_conns *c) {
    STAT_SET(c->counts->open, c->open);
    STAT_SET(c->counts->idle, c->open > c->busy ? c->open - c->busy : 0); /* with HTTP/2 one may have many transfers */
}

static void set_port(struct curl_conns *c, int port, bool there) {
    uint64_t *word = &c->ports[(port & 65535) / 64], bit = (uint64_t)1 << (port & 63);
    bool was = *word & bit;
    *word = there ? *word | bit : *word & ~bit;
    c->open += (uint64_t)(there && !was);
    c->open -= (uint64_t)(!there && was);
    show(c);
}

static int local_port(int fd) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } addr;
    socklen_t n = sizeof(addr);
    if (getsockname(fd, &addr.any, &n) != 0) {
        return 0;
    }
    return addr.any.sa_family == AF_INET6 ? ntohs(addr.v6.sin6_port) : addr.any.sa_family == AF_INET ? ntohs(addr.v4.sin_port) : 0;
}

static int on_close(void *ctx, curl_socket_t fd) {
    set_port(ctx, local_port(fd), false);
    return close(fd);
}

/* A request goes out over a connection, again after each redirect. */
static int on_request(void *ctx, char *to, char *from, int to_port, int from_port) {
    struct curl_transfer *t = ctx;
    long connects = t->connects;
    (void)to, (void)from, (void)to_port;
    curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &connects);
    STAT_ADD(t->conns->counts->opened, connects > t->connects);
    STAT_ADD(t->conns->counts->reused, connects <= t->connects);
    t->conns->busy += !t->connected;
    t->connects = connects;
    t->connected = true;
    set_port(t->conns, from_port, true);
    return CURL_PREREQFUNC_OK;
}

void curl_conns_watch(struct curl_transfer *t, struct curl_conns *conns, CURL *easy) {
    t->conns = conns;
    t->easy = easy;
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, conns);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, t);
}

void curl_conns_begin(struct curl_transfer *t) {
    t->connects = 0;
    t->connected = false;
}

void curl_conns_end(struct curl_transfer *t) {
    t->conns->busy -= t->connected;
    STAT_ADD(t->conns->counts->failed, !t->connected);
    show(t->conns);
}
