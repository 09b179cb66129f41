/* SPDX-License-Identifier: BSD-3-Clause */
/* http_reply: what each path answers, to whom, and with which headers. Everything here only reads. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "src/base/base64.h"
#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/base/sha256.h"
#include "src/conf/conf.h"
#include "src/server/http_int.h"
#include "src/server/page.h"
#include "src/server/server.h"
#include "src/server/sight.h"
#include "src/server/worker.h"
#include "src/stats/stats.h"

enum { WORTH_ZIPPING_BYTES = 1400 };

/* ---- the page's headers ---- */

static int hex_digit(char c) {
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* A source expression that allows exactly the text between the two marks of the page. */
static void put_source(struct buf *csp, const char *open, const char *end) {
    const char *page = (const char *)page_bytes;
    const char *from = memmem(page, page_size, open, strlen(open));
    CHECK(from != NULL);
    from += strlen(open);
    const char *to = memmem(from, page_size - (size_t)(from - page), end, strlen(end));
    CHECK(to != NULL);
    char hex[SHA256_HEX + 1], digest[SHA256_HEX / 2];
    sha256_hex(slice_make(from, (size_t)(to - from)), hex);
    for (size_t i = 0; i < sizeof(digest); i++) {
        digest[i] = (char)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    }
    buf_puts(csp, "'sha256-");
    base64_encode(slice_make(digest, sizeof(digest)), csp);
    buf_puts(csp, "'");
}

/* Appends from, compressed; false when that failed. */
static bool zip(struct slice from, int level, struct buf *out) {
    z_stream z = {0};
    if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16 /* gzip */, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return false;
    }
    size_t room = deflateBound(&z, from.n);
    z.next_in = (Bytef *)(uintptr_t)from.p;
    z.avail_in = (uInt)from.n;
    z.next_out = (Bytef *)buf_reserve(out, room);
    z.avail_out = (uInt)room;
    bool ok = deflate(&z, Z_FINISH) == Z_STREAM_END;
    buf_commit(out, ok ? z.total_out : 0);
    deflateEnd(&z);
    return ok;
}

static bool is_loopback(const char *bind) {
    struct in_addr v4;
    return strcmp(bind, "localhost") == 0 || strcmp(bind, "::1") == 0 || (inet_pton(AF_INET, bind, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

void http_reply_init(struct http_reply *r, struct server *srv) {
    struct slice page = slice_make(page_bytes, page_size);
    char hex[SHA256_HEX + 1];
    struct conf *conf = conf_store_current(srv->host.conf_store);
    r->srv = srv;
    r->loopback_only = is_loopback(conf->http_bind);
    conf_unref(conf);
    buf_puts(&r->csp, "default-src 'none'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
                      "frame-ancestors 'none'; style-src ");
    put_source(&r->csp, "<style>", "</style>");
    buf_puts(&r->csp, "; script-src ");
    put_source(&r->csp, "<script>", "</script>");
    buf_putc(&r->csp, '\0');
    sha256_hex(page, hex);
    buf_printf(&r->etag, "\"%.16s\"", hex);
    buf_putc(&r->etag, '\0');
    if (!zip(page, Z_BEST_COMPRESSION, &r->zipped)) {
        buf_clear(&r->zipped);
    }
}

void http_reply_fini(struct http_reply *r) {
    buf_free(&r->csp);
    buf_free(&r->etag);
    buf_free(&r->zipped);
}

/* ---- one reply ---- */

struct reply {
    unsigned status;
    const char *type;
    struct slice body; /* borrowed, or of made */
    struct buf made;
    bool zipped, is_page;
};

static void say(struct reply *a, unsigned status, const char *text) {
    a->status = status;
    a->type = "text/plain; charset=utf-8";
    buf_clear(&a->made);
    buf_printf(&a->made, "%s\n", text);
}

static void answer_page(struct http_reply *r, struct reply *a) {
    (void)r;
    a->is_page = true;
    a->body = slice_make(page_bytes, page_size);
}

static void answer_health(struct http_reply *r, struct reply *a) {
    (void)r;
    say(a, MHD_HTTP_OK, "ok");
}

static void answer_ready(struct http_reply *r, struct reply *a) {
    struct buf why = {0};
    if (sight_ready(r->srv, &why)) {
        say(a, MHD_HTTP_OK, "ready");
    } else {
        a->status = MHD_HTTP_SERVICE_UNAVAILABLE;
        buf_printf(&a->made, "not ready: %.*s\n", (int)why.n, why.p);
    }
    buf_free(&why);
}

static void answer_metrics(struct http_reply *r, struct reply *a) {
    sight_prom(r->srv, &a->made);
}

static void answer_stats(struct http_reply *r, struct reply *a) {
    sight_json(r->srv, &a->made);
}

static void answer_history(struct http_reply *r, struct reply *a) {
    sight_json_long(r->srv, &a->made);
}

static const struct route {
    const char *path, *type;
    bool for_all; /* answers without http-auth: what watches processes has no password */
    void (*fn)(struct http_reply *r, struct reply *a);
} routes[] = {
    {"/", "text/html; charset=utf-8", false, answer_page},
    {"/healthz", "text/plain; charset=utf-8", true, answer_health},
    {"/readyz", "text/plain; charset=utf-8", true, answer_ready},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", false, answer_metrics},
    {"/api/stats", "application/json", false, answer_stats},
    {"/api/history", "application/json", false, answer_history},
};

static const struct route *find_route(const char *path) {
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (strcmp(routes[i].path, path) == 0) {
            return &routes[i];
        }
    }
    return NULL;
}

/* ---- who may ask ---- */

static const char *header(struct MHD_Connection *to, const char *name) {
    const char *value = MHD_lookup_connection_value(to, MHD_HEADER_KIND, name);
    return value != NULL ? value : "";
}

/* Compares all of both, so that the time tells nothing about the secret but its length. */
static bool same_secret(struct slice given, struct slice secret) {
    unsigned diff = given.n != secret.n;
    for (size_t i = 0; i < given.n; i++) {
        diff |= (unsigned char)given.p[i] ^ (unsigned char)secret.p[i % secret.n];
    }
    return diff == 0;
}

static bool knows_password(struct MHD_Connection *to, const char *secret) {
    const char *given = header(to, MHD_HTTP_HEADER_AUTHORIZATION);
    struct buf want = {0};
    base64_encode(slice_cstr(secret), &want);
    bool ok = strncasecmp(given, "Basic ", 6) == 0 && same_secret(slice_cstr(given + 6), buf_slice(&want));
    buf_free(&want);
    return ok;
}

/* A page from elsewhere whose name was made to resolve to this machine would be let in by the browser, and read everything. */
static bool is_own_host(const char *host) {
    char name[64];
    unsigned char bytes[sizeof(struct in6_addr)];
    size_t bracket = host[0] == '[', n = strcspn(host + bracket, bracket ? "]" : ":");
    snprintf(name, sizeof(name), "%.*s", (int)(n < sizeof(name) ? n : sizeof(name) - 1), host + bracket);
    size_t local = strlen("localhost");
    return n == 0 || inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1 ||
           (n >= local && n < sizeof(name) && strcasecmp(name + n - local, "localhost") == 0 && (n == local || name[n - local - 1] == '.'));
}

/* False: answered that. */
static bool may_ask(struct http_reply *r, struct MHD_Connection *to, struct reply *a) {
    struct conf *conf = conf_store_current(r->srv->host.conf_store);
    bool open = conf->http_auth[0] == '\0', known = !open && knows_password(to, conf->http_auth);
    conf_unref(conf);
    if (!open && !known) {
        say(a, MHD_HTTP_UNAUTHORIZED, "http-auth: user and password are wrong or missing");
    } else if (open && r->loopback_only && !is_own_host(header(to, MHD_HTTP_HEADER_HOST))) {
        say(a, MHD_HTTP_FORBIDDEN, "this Host is refused on a loopback address; allowed: an address, localhost, or any with http-auth");
    }
    return a->status == 0;
}

/* ---- headers, and off ---- */

static void put_headers(struct http_reply *r, struct MHD_Response *m, const struct reply *a) {
    const struct {
        const char *name, *value;
        bool wanted;
    } rows[] = {
        {MHD_HTTP_HEADER_CONTENT_TYPE, a->type, a->status != MHD_HTTP_NOT_MODIFIED},
        {MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip", a->zipped},
        {MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ACCEPT_ENCODING, true},
        {MHD_HTTP_HEADER_CACHE_CONTROL, a->is_page ? "no-cache" : "no-store", true},
        {MHD_HTTP_HEADER_ETAG, r->etag.p, a->is_page},
        {MHD_HTTP_HEADER_ALLOW, "GET, HEAD", a->status == MHD_HTTP_METHOD_NOT_ALLOWED},
        {MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Basic realm=\"Strata\", charset=\"UTF-8\"", a->status == MHD_HTTP_UNAUTHORIZED},
        {"Content-Security-Policy", r->csp.p, true},
        {"X-Content-Type-Options", "nosniff", true},
        {"X-Frame-Options", "DENY", true},
        {"Referrer-Policy", "no-referrer", true},
        {"Cross-Origin-Resource-Policy", "same-origin", true},
        {"Cross-Origin-Opener-Policy", "same-origin", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].wanted) {
            MHD_add_response_header(m, rows[i].name, rows[i].value);
        }
    }
}

/* "gzip" as a word of the list, and not with a weight of nothing. */
static bool takes_gzip(struct MHD_Connection *to) {
    const char *at = strcasestr(header(to, MHD_HTTP_HEADER_ACCEPT_ENCODING), "gzip");
    return at != NULL && strncmp(at + 4, ";q=0", 4) != 0;
}

static void make_smaller(struct http_reply *r, struct MHD_Connection *to, struct reply *a) {
    if (a->is_page && a->status == MHD_HTTP_OK && strstr(header(to, MHD_HTTP_HEADER_IF_NONE_MATCH), r->etag.p) != NULL) {
        a->status = MHD_HTTP_NOT_MODIFIED;
        a->body = slice_make("", 0);
    } else if (takes_gzip(to) && a->is_page && r->zipped.n > 0) {
        a->body = buf_slice(&r->zipped);
        a->zipped = true;
    } else if (takes_gzip(to) && a->body.n >= WORTH_ZIPPING_BYTES) {
        struct buf small = {0};
        a->zipped = zip(a->body, Z_BEST_SPEED, &small);
        if (a->zipped) {
            buf_free(&a->made);
            a->made = small;
            a->body = buf_slice(&a->made);
        } else {
            buf_free(&small);
        }
    }
}

static enum MHD_Result send_reply(struct http_reply *r, struct MHD_Connection *to, struct reply *a) {
    bool own = a->made.p != NULL && a->body.p == a->made.p;
    struct MHD_Response *m =
        own ? MHD_create_response_from_buffer_with_free_callback(a->body.n, a->made.p, mem_free)
            : MHD_create_response_from_buffer(a->body.n, (void *)(uintptr_t)a->body.p, MHD_RESPMEM_PERSISTENT);
    if (m == NULL) {
        buf_free(&a->made);
        return MHD_NO;
    }
    if (!own) {
        buf_free(&a->made);
    }
    put_headers(r, m, a);
    enum MHD_Result sent = MHD_queue_response(to, a->status, m);
    MHD_destroy_response(m);
    return sent;
}

static bool is_read(const char *method) {
    return strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
}

bool http_reply_wants_rest(struct MHD_Connection *to, const char *method) {
    const char *length = header(to, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return is_read(method) && length[strspn(length, "0")] == '\0' && header(to, MHD_HTTP_HEADER_TRANSFER_ENCODING)[0] == '\0';
}

enum MHD_Result http_reply_to(struct http_reply *r, struct MHD_Connection *to, const char *path, const char *method) {
    struct reply a = {0};
    const struct route *route = find_route(path);
    if (!is_read(method)) {
        say(&a, MHD_HTTP_METHOD_NOT_ALLOWED, "nothing can be changed here; allowed: GET, HEAD");
    } else if (route != NULL && (route->for_all || may_ask(r, to, &a))) {
        a.status = MHD_HTTP_OK;
        a.type = route->type;
        route->fn(r, &a);
    } else if (route == NULL && may_ask(r, to, &a)) {
        say(&a, MHD_HTTP_NOT_FOUND, "no such path; allowed: / /healthz /readyz /metrics /api/stats /api/history");
    }
    if (a.status == MHD_HTTP_UNAUTHORIZED || a.status == MHD_HTTP_FORBIDDEN) {
        STAT_ADD(r->srv->workers[0]->stats->http_auth_failures, 1);
    }
    if (!a.is_page) {
        a.body = a.made.p == NULL ? slice_make("", 0) : buf_slice(&a.made);
    }
    make_smaller(r, to, &a);
    return send_reply(r, to, &a);
}
