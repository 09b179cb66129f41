/* SPDX-License-Identifier: BSD-3-Clause */
/* node_addr: where a node is. */
#include "cluster/node_addr.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "src/base/num.h"

static const char allowed[] = "; allowed: host:port, [ipv6]:port, either with @port-for-peers behind it";

static bool refuse(struct buf *why, const char *reason) {
    buf_printf(why, "%s%s", reason, allowed);
    return false;
}

static bool parse_port(struct slice text, uint16_t *port) {
    int64_t v;
    bool ok = text.n > 0 && isdigit((unsigned char)text.p[0]) && num_parse_i64(text, &v) && v >= 1 && v <= 65535;
    *port = ok ? (uint16_t)v : 0;
    return ok;
}

bool node_host_valid(struct slice host) {
    bool ok = host.n > 0 && host.n < NODE_HOST_BYTES;
    for (size_t i = 0; ok && i < host.n; i++) {
        ok = isalnum((unsigned char)host.p[i]) || memchr(".-_:%", host.p[i], 5) != NULL;
    }
    return ok;
}

/* Takes the host off the front; rest begins with the colon. */
static bool split_host(struct slice word, struct slice *host, struct slice *rest) {
    bool bracket = word.n > 0 && word.p[0] == '[';
    const char *end = bracket ? memchr(word.p, ']', word.n) : memchr(word.p, ':', word.n);
    if (end == NULL) {
        return false;
    }
    *host = slice_make(word.p + bracket, (size_t)(end - word.p) - bracket);
    *rest = slice_make(end + bracket, word.n - (size_t)(end + bracket - word.p));
    return rest->n > 0 && rest->p[0] == ':' && (bracket || memchr(rest->p + 1, ':', rest->n - 1) == NULL);
}

bool node_addr_parse(struct slice word, struct node_addr *out, struct buf *why) {
    struct slice host, rest;
    if (!split_host(word, &host, &rest) || !node_host_valid(host)) {
        return refuse(why, "not an address");
    }
    const char *at = memchr(rest.p, '@', rest.n);
    struct slice port = slice_make(rest.p + 1, at != NULL ? (size_t)(at - rest.p) - 1 : rest.n - 1);
    if (!parse_port(port, &out->port)) {
        return refuse(why, "not a port");
    }
    if (at != NULL && !parse_port(slice_make(at + 1, rest.n - (size_t)(at - rest.p) - 1), &out->bus_port)) {
        return refuse(why, "not a port for peers");
    }
    if (at == NULL && out->port > 65535 - NODE_BUS_OFFSET) {
        return refuse(why, "port + 10000 is no port, so that the one for peers must be given");
    }
    out->bus_port = at != NULL ? out->bus_port : (uint16_t)(out->port + NODE_BUS_OFFSET);
    memcpy(out->host, host.p, host.n);
    memset(out->host + host.n, 0, sizeof(out->host) - host.n);
    return true;
}

void node_addr_print(const struct node_addr *a, struct buf *out) {
    buf_printf(out, strchr(a->host, ':') != NULL ? "[%s]:%u" : "%s:%u", a->host, a->port);
    if (a->bus_port != a->port + NODE_BUS_OFFSET) {
        buf_printf(out, "@%u", a->bus_port);
    }
}

bool node_addr_equal(const struct node_addr *a, const struct node_addr *b) {
    return a->port == b->port && a->bus_port == b->bus_port && strcasecmp(a->host, b->host) == 0;
}

int node_addrs_parse(const char *text, struct node_addr *out, int max, struct buf *why) {
    int n = 0;
    for (const char *p = text + strspn(text, " \t"); *p != '\0'; p += strspn(p, " \t")) {
        struct slice word = slice_make(p, strcspn(p, " \t"));
        struct buf reason = {0};
        bool ok = n < max && node_addr_parse(word, &out[n], &reason);
        if (!ok) {
            if (n == max) {
                buf_printf(&reason, "too many; allowed: %d", max);
            }
            buf_printf(why, "%.*s: %.*s", SLICE_ARG(word), SLICE_ARG(buf_slice(&reason)));
            buf_free(&reason);
            return -1;
        }
        n++;
        p += word.n;
    }
    return n;
}
