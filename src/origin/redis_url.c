/* SPDX-License-Identifier: BSD-3-Clause */
/* redis_url: taking a redis:// URL apart. */
#include "src/origin/redis_url.h"

#include "src/base/num.h"

enum { DEFAULT_PORT = 6379 };

void redis_url_free(struct redis_url *u) {
    buf_free(&u->user);
    buf_free(&u->password);
    buf_free(&u->host);
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Appends s with its %XX decoded; false when one is none, or a zero byte. */
static bool decode(struct slice s, struct buf *out) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int high = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
            int low = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                return false;
            }
            c = (char)(high << 4 | low);
            i += 2;
        }
        buf_putc(out, c);
    }
    return true;
}

/* Cuts s at the first c: what is before it, or all of it; *rest what is behind, or nothing. */
static struct slice cut(struct slice s, char c, struct slice *rest, bool *found) {
    const char *at = s.n == 0 ? NULL : memchr(s.p, c, s.n);
    *found = at != NULL;
    *rest = at == NULL ? slice_make("", 0) : slice_make(at + 1, s.n - (size_t)(at + 1 - s.p));
    return at == NULL ? s : slice_make(s.p, (size_t)(at - s.p));
}

/* "host", "host:port", "[::1]:port". */
static const char *parse_host(struct slice s, struct redis_url *u) {
    struct slice host, port;
    bool given;
    if (s.n > 0 && s.p[0] == '[') {
        host = cut(slice_make(s.p + 1, s.n - 1), ']', &port, &given);
        if (!given || (port.n > 0 && port.p[0] != ':')) {
            return "a bracketed address is [address] or [address]:port";
        }
        given = port.n > 0;
        port = slice_make(port.p + given, port.n - given);
    } else {
        host = cut(s, ':', &port, &given);
    }
    u->port = DEFAULT_PORT;
    if (given && (!num_parse_i64(port, &u->port) || u->port < 1 || u->port > 65535)) {
        return "the port is 1 to 65535";
    }
    if (host.n == 0 || memchr(host.p, '{', host.n) != NULL) {
        return "a host is missing";
    }
    buf_put_slice(&u->host, host);
    buf_putc(&u->host, '\0');
    return NULL;
}

const char *redis_url_parse(struct slice url, struct redis_url *u) {
    struct slice rest, path, login, password;
    bool found, has_path;
    *u = (struct redis_url){0};
    if (url.n < 8 || strncasecmp(url.p, "redis://", 8) != 0) {
        return "the URL is redis://[[user]:password@]host[:port][/db]";
    }
    rest = cut(slice_make(url.p + 8, url.n - 8), '/', &path, &has_path);
    if (path.n > 0 && (!num_parse_i64(path, &u->db) || u->db < 0 || u->db > INT32_MAX)) {
        return "behind the host only a database number may follow";
    }
    u->has_db = path.n > 0;
    login = cut(rest, '@', &password, &found);
    if (found) {
        rest = password;
        login = cut(login, ':', &password, &found);
        if (!found || password.n == 0) {
            return "before the @ comes [user]:password";
        }
        if (!decode(login, &u->user) || !decode(password, &u->password)) {
            return "user and password have bad %XX in them";
        }
    }
    return parse_host(rest, u);
}
