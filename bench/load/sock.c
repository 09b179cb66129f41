/* SPDX-License-Identifier: BSD-3-Clause */
/* sock: addresses and sockets of the generator. */
#include "bench/load/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void die(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

static bool unix_parse(struct address *a, const char *path) {
    struct sockaddr_un *un = (struct sockaddr_un *)&a->name;
    if (strlen(path) >= sizeof(un->sun_path)) {
        return false;
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, strlen(path) + 1);
    a->len = sizeof(*un);
    return true;
}

bool address_parse(struct address *a, const char *text) {
    memset(a, 0, sizeof(*a));
    if (text[0] == '/' || text[0] == '.') {
        return unix_parse(a, text);
    }
    char host[64] = "127.0.0.1";
    const char *colon = strrchr(text, ':');
    const char *port = colon == NULL ? text : colon + 1;
    if (colon != NULL) {
        bool bracket = text[0] == '[' && colon[-1] == ']';
        snprintf(host, sizeof(host), "%.*s", (int)(colon - text) - 2 * bracket, text + bracket);
    }
    char *end;
    long number = strtol(port, &end, 10);
    if (end == port || *end != '\0' || number < 1 || number > 65535) {
        return false;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)&a->name;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->name;
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)number);
        a->len = sizeof(*in);
        return (ntohl(in->sin_addr.s_addr) >> 24) == 127;
    }
    if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)number);
        a->len = sizeof(*in6);
        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    }
    return false;
}

int sock_connect(const struct address *a) {
    int fd = socket(a->name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&a->name, a->len) != 0) {
        die("connect: %s", strerror(errno));
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* fails on unix sockets, which need none */
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        die("fcntl: %s", strerror(errno));
    }
    return fd;
}

/* "Not now" is 0 and the end of the stream is -1, so that callers have one case each. */
static ssize_t settle(ssize_t n) {
    if (n > 0) {
        return n;
    }
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : -1;
}

ssize_t sock_send(int fd, const void *p, size_t n) {
    ssize_t sent;
    do {
        sent = send(fd, p, n, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return settle(sent);
}

ssize_t sock_recv(int fd, void *p, size_t n) {
    ssize_t got;
    do {
        got = recv(fd, p, n, 0);
    } while (got < 0 && errno == EINTR);
    return settle(got);
}

uint64_t sock_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}
