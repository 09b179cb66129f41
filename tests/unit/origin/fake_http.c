/* SPDX-License-Identifier: BSD-3-Clause */
/* fake_http: one thread and poll(2). */
#include "tests/unit/origin/fake_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "src/base/check.h"
#include "src/base/mem.h"

enum { MAX_CONNS = 2000 };

struct fake_conn {
    int fd;
    struct buf in, out;
    size_t sent;
    bool close_after, reset, held, endless;
};

/* ---- replies ---- */

static void reply(struct fake_conn *c, int status, const char *headers, const char *body, size_t n) {
    buf_printf(&c->out, "HTTP/1.1 %d Whatever\r\nContent-Length: %zu\r\n%s\r\n", status, n, headers);
    buf_put(&c->out, body, n);
}

static void reply_text(struct fake_conn *c, int status, const char *headers, const char *text) {
    reply(c, status, headers, text, strlen(text));
}

static void raw(struct fake_conn *c, const char *text) {
    buf_puts(&c->out, text);
}

static void hello(struct fake_conn *c) {
    reply_text(c, 200, "", "hello");
}

static void reply_big(struct fake_conn *c) {
    char *p = mem_alloc(FAKE_BIG);
    for (int i = 0; i < FAKE_BIG; i++) {
        p[i] = (char)('a' + i % 23);
    }
    reply(c, 200, "", p, FAKE_BIG);
    mem_free(p);
}

/* n times 'z', packed; cut bytes short. */
static void reply_gzip(struct fake_conn *c, size_t n, size_t cut) {
    z_stream z = {0};
    struct buf packed = {0};
    char *p = mem_alloc(n);
    memset(p, 'z', n);
    CHECK(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_in = (Bytef *)p;
    z.avail_in = (uInt)n;
    z.avail_out = (uInt)deflateBound(&z, n) + 64;
    z.next_out = (Bytef *)buf_reserve(&packed, z.avail_out);
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    buf_commit(&packed, z.total_out);
    deflateEnd(&z);
    mem_free(p);
    reply(c, 200, "Content-Encoding: gzip\r\n", packed.p, packed.n - cut);
    buf_free(&packed);
}

static void redirect(struct fake_http *f, struct fake_conn *c, const char *to) {
    char header[256];
    if (strstr(to, "://") != NULL) {
        snprintf(header, sizeof(header), "Location: %s\r\n", to);
    } else {
        snprintf(header, sizeof(header), "Location: http://127.0.0.1:%d/%s\r\n", f->port, to);
    }
    reply_text(c, 302, header, "moved");
}

/* True at the first call with that path. */
static bool first_time(struct fake_http *f, const char *path) {
    for (int i = 0; i < f->once_count; i++) {
        if (strcmp(f->once[i], path) == 0) {
            return false;
        }
    }
    CHECK(f->once_count < 64);
    snprintf(f->once[f->once_count++], sizeof(f->once[0]), "%s", path);
    return true;
}

/* Replies that are as they should be. */
static bool serve_good(struct fake_http *f, struct fake_conn *c, const char *name, const char *target, const char *head) {
    char next[32];
    if (strcmp(name, "hello") == 0 || strcmp(name, "to-0") == 0) {
        hello(c);
    } else if (strcmp(name, "empty") == 0) {
        reply_text(c, 200, "", "");
    } else if (strcmp(name, "big") == 0) {
        reply_big(c);
    } else if (strncmp(name, "target-", 7) == 0) {
        reply_text(c, 200, "", target);
    } else if (strcmp(name, "header") == 0) {
        reply_text(c, 200, "", head);
    } else if (strcmp(name, "missing") == 0) {
        reply_text(c, 404, "Cache-Control: max-age=7\r\n", "no such thing");
    } else if (strcmp(name, "gone") == 0) {
        reply_text(c, 410, "", "");
    } else if (strcmp(name, "chunked") == 0) {
        raw(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
    } else if (strcmp(name, "chunked-trailer") == 0) {
        raw(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=5\r\n\r\n5\r\nhello\r\n0\r\n"
               "Cache-Control: no-store\r\nContent-Encoding: br\r\n\r\n");
    } else if (strcmp(name, "gzip") == 0) {
        reply_gzip(c, 5, 0);
    } else if (strcmp(name, "gzip-big") == 0) {
        reply_gzip(c, FAKE_BIG, 0);
    } else if (strcmp(name, "fresh") == 0) {
        reply_text(c, 200, "Cache-Control: max-age=60, stale-while-revalidate=30, stale-if-error=600\r\nAge: 10\r\n", "hello");
    } else if (strncmp(name, "to-", 3) == 0 && atoi(name + 3) > 0) {
        snprintf(next, sizeof(next), "to-%d", atoi(name + 3) - 1);
        redirect(f, c, next);
    } else if (strcmp(name, "loop") == 0) {
        redirect(f, c, "loop");
    } else if (strcmp(name, "to-ftp") == 0) {
        redirect(f, c, "ftp://127.0.0.1/x");
    } else {
        return false;
    }
    return true;
}

/* Replies that are not. */
static bool serve_bad(struct fake_http *f, struct fake_conn *c, const char *name) {
    if (strncmp(name, "status-", 7) == 0 || strncmp(name, "post-", 5) == 0) {
        reply_text(c, atoi(strchr(name, '-') + 1), "", "sorry");
    } else if (strcmp(name, "once-reset") == 0 && first_time(f, name)) {
        c->reset = true;
    } else if (strncmp(name, "once-", 5) == 0) {
        reply_text(c, atoi(name + 5) > 0 && first_time(f, name) ? atoi(name + 5) : 200, "", "hello");
    } else if (strcmp(name, "broken") == 0) {
        reply_text(c, atomic_load(&f->broken) ? 503 : 200, "", "hello");
    } else if (strncmp(name, "gate-", 5) == 0) {
        c->held = true;
        int held = atomic_fetch_add(&f->held, 1) + 1;
        if (held > atomic_load(&f->most_held)) {
            atomic_store(&f->most_held, held);
        }
    } else if (strcmp(name, "hang") == 0) {
        return true;
    } else if (strcmp(name, "hang-body") == 0) {
        raw(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhel");
    } else if (strcmp(name, "reset") == 0) {
        c->reset = true;
    } else if (strcmp(name, "close") == 0) {
        c->close_after = true;
    } else if (strcmp(name, "half") == 0) {
        raw(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        c->close_after = true;
    } else if (strcmp(name, "half-chunked") == 0) {
        raw(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        c->close_after = true;
    } else if (strncmp(name, "longer", 6) == 0) {
        raw(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, world");
        c->close_after = strcmp(name, "longer-close") == 0;
    } else if (strcmp(name, "no-length") == 0) {
        raw(c, "HTTP/1.1 200 OK\r\n\r\nhello");
        c->close_after = true;
    } else if (strcmp(name, "huge") == 0) {
        raw(c, "HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\nhello");
    } else if (strcmp(name, "endless") == 0) {
        raw(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        c->endless = true;
    } else if (strcmp(name, "lengths") == 0) {
        raw(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhello");
    } else if (strcmp(name, "gzip-half") == 0) {
        reply_gzip(c, FAKE_BIG, 20);
    } else if (strcmp(name, "gzip-bomb") == 0) {
        reply_gzip(c, 4 << 20, 0);
    } else if (strcmp(name, "br") == 0) {
        reply_text(c, 200, "Content-Encoding: br\r\n", "hello");
    } else if (strcmp(name, "garbage") == 0) {
        raw(c, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
        c->close_after = true;
    } else {
        return false;
    }
    return true;
}

/* ---- requests ---- */

/* Takes a whole request off c->in; false when there is none. */
static bool serve_one(struct fake_http *f, struct fake_conn *c) {
    buf_putc(&c->in, '\0');
    c->in.n--;
    char *end = strstr(c->in.p, "\r\n\r\n"), target[4096] = "";
    if (end == NULL) {
        return false;
    }
    char *length = strcasestr(c->in.p, "\r\nContent-Length:");
    size_t head = (size_t)(end - c->in.p) + 4, body = length != NULL && length < end ? (size_t)atol(length + 17) : 0;
    if (c->in.n < head + body) {
        return false;
    }
    *end = '\0';
    CHECK(sscanf(c->in.p, "%15s %4095s", f->method, target) == 2);
    buf_clear(&f->body);
    buf_put(&f->body, end + 4, body);
    atomic_fetch_add(&f->requests, 1);
    char name[4096], *query = strchr(target, '?');
    snprintf(name, sizeof(name), "%.*s", query != NULL ? (int)(query - target) : (int)strlen(target), target);
    const char *last = strrchr(name, '/') + 1;
    if (!serve_bad(f, c, last)) {
        if (strcmp(f->method, "PUT") == 0) {
            reply_text(c, 201, "", "");
        } else if (strcmp(f->method, "DELETE") == 0 && strcmp(last, "missing") != 0) {
            raw(c, "HTTP/1.1 204 No Content\r\n\r\n");
        } else if (!serve_good(f, c, last, target, c->in.p)) {
            reply_text(c, 404, "", "");
        }
    }
    memmove(c->in.p, c->in.p + head + body, c->in.n - head - body);
    c->in.n -= head + body;
    return true;
}

/* ---- the thread ---- */

static void drop(struct fake_http *f, struct fake_conn *c) {
    struct linger now = {1, 0};
    if (c->reset) {
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    close(c->fd);
    if (c->held) {
        atomic_fetch_sub(&f->held, 1);
    }
    buf_free(&c->in);
    buf_free(&c->out);
    *c = f->conns[--f->conn_count];
}

/* False when the connection is to go. */
static bool send_some(struct fake_conn *c) {
    while (c->sent < c->out.n) {
        ssize_t n = send(c->fd, c->out.p + c->sent, c->out.n - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            return errno == EAGAIN;
        }
        c->sent += (size_t)n;
    }
    buf_clear(&c->out);
    c->sent = 0;
    if (c->endless) {
        buf_puts(&c->out, "400\r\n");
        memset(buf_reserve(&c->out, 0x400), 'x', 0x400);
        buf_commit(&c->out, 0x400);
        buf_puts(&c->out, "\r\n");
    }
    return !c->close_after;
}

static bool receive_some(struct fake_http *f, struct fake_conn *c) {
    ssize_t n = recv(c->fd, buf_reserve(&c->in, 65536), 65535, 0);
    if (n <= 0) {
        return n < 0 && errno == EAGAIN;
    }
    buf_commit(&c->in, (size_t)n);
    while (serve_one(f, c)) {
    }
    return !c->reset;
}

static void accept_all(struct fake_http *f) {
    int fd, on = 1;
    while (f->conn_count < MAX_CONNS && (fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        f->conns[f->conn_count++] = (struct fake_conn){.fd = fd};
        atomic_fetch_add(&f->connections, 1);
    }
}

static void pass_gate(struct fake_http *f) {
    for (int i = 0; i < f->conn_count && atomic_load(&f->gate); i++) {
        if (f->conns[i].held) {
            f->conns[i].held = false;
            atomic_fetch_sub(&f->held, 1);
            hello(&f->conns[i]);
        }
    }
}

static void *serve(void *arg) {
    struct fake_http *f = arg;
    struct pollfd *p = mem_alloc((MAX_CONNS + 2) * sizeof(*p));
    for (;;) {
        char byte = 0;
        p[0] = (struct pollfd){.fd = f->listener, .events = POLLIN};
        p[1] = (struct pollfd){.fd = f->wake[0], .events = POLLIN};
        int n = f->conn_count;
        for (int i = 0; i < n; i++) {
            p[i + 2] = (struct pollfd){.fd = f->conns[i].fd, .events = (short)(POLLIN | (f->conns[i].out.n > 0 ? POLLOUT : 0))};
        }
        poll(p, (nfds_t)n + 2, -1);
        if (p[1].revents != 0 && read(f->wake[0], &byte, 1) == 1 && byte == 'q') {
            break;
        }
        for (int i = n - 1; i >= 0; i--) { /* from the end: drop moves the last one here */
            struct fake_conn *c = &f->conns[i];
            if ((p[i + 2].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !receive_some(f, c)) {
                drop(f, c);
            }
        }
        pass_gate(f);
        for (int i = f->conn_count - 1; i >= 0; i--) {
            struct fake_conn *c = &f->conns[i];
            if ((c->out.n > 0 || c->close_after) && !send_some(c)) {
                drop(f, c);
            }
        }
        accept_all(f);
    }
    mem_free(p);
    return NULL;
}

void fake_http_start(struct fake_http *f) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    *f = (struct fake_http){.conns = mem_zalloc(MAX_CONNS * sizeof(struct fake_conn))};
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(bind(f->listener, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(f->listener, 1024) == 0);
    CHECK(getsockname(f->listener, (struct sockaddr *)&in, &len) == 0 && pipe(f->wake) == 0);
    f->port = ntohs(in.sin_port);
    CHECK(pthread_create(&f->thread, NULL, serve, f) == 0);
}

static void wake(struct fake_http *f, char why) {
    CHECK(write(f->wake[1], &why, 1) == 1);
}

void fake_http_open_gate(struct fake_http *f) {
    atomic_store(&f->gate, true);
    wake(f, 'g');
}

void fake_http_stop(struct fake_http *f) {
    wake(f, 'q');
    pthread_join(f->thread, NULL);
    while (f->conn_count > 0) {
        drop(f, &f->conns[0]);
    }
    close(f->listener);
    close(f->wake[0]);
    close(f->wake[1]);
    buf_free(&f->body);
    mem_free(f->conns);
}
