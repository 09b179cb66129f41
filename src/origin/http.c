/* SPDX-License-Identifier: BSD-3-Clause */
/* http: the HTTP driver: libcurl's multi interface on the origin loop. One multi handle per origin keeps its connections; an
 * exchange is a request under way, in an easy handle that is used again and again.
 *
 *   LOAD  GET     200, 203: the value     404, 410: absent    else failed
 *   PUT   PUT     2xx: taken              else failed         (only strings: HTTP knows no other type)
 *   DEL   DELETE  2xx: taken              404, 410: absent    else failed
 *
 * A value counts only when it is known to be whole: a Content-Length that is met and not passed, a chunked body with its end,
 * or HTTP/2; a gzip stream with its checksum. A body that is ended by closing the connection looks the same when the origin
 * has crashed, and is refused. */
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/base/num.h"
#include "src/net/curl_conns.h"
#include "src/net/poll.h"
#include "src/origin/cache_control.h"
#include "src/origin/gunzip.h"
#include "src/origin/http_url.h"
#include "src/origin/origin.h"

enum {
    MAX_REDIRECTS = 3,
    MAX_IDLE = 64,               /* exchanges kept for later */
    RESERVE_MAX_BYTES = 1 << 20, /* on the word of a Content-Length alone */
    SKIP_MAX_BYTES = 64 << 10    /* of an error page are read to keep the connection */
};

static const char NO_MEMORY[] = "out of memory", TOO_LONG[] = "longer than max-value";

struct http {
    const struct origin_options *options;
    struct loop *loop;
    struct slice url; /* owned */
    bool secure;
    CURLM *multi;
    struct timer *timer; /* libcurl's one */
    struct curl_slist *get_headers, *put_headers;
    struct list idle; /* exchanges */
    int64_t idle_count;
    struct curl_conns conns;
};

/* What the head of a reply has said. */
struct head {
    bool over;       /* what follows are trailers, or the next head */
    bool value;      /* a value follows */
    bool chunked;
    int64_t length;  /* Content-Length, -1 for none */
    bool gzip;
    struct cache_headers cache;
};

struct exchange {
    struct list node;
    struct http *http;
    CURL *easy;
    struct curl_transfer transfer;
    struct request *r;
    struct buf url, body;
    struct head head;
    struct gunzip gunzip;
    int64_t received; /* body bytes that came over the wire */
    const char *refused; /* why we broke it off */
};

/* ---- results ---- */

static const char *status_text(long status) {
    switch (status) {
#define STATUS(code)                                                                                                   \
    case code:                                                                                                         \
        return "HTTP status " #code;
#include "src/origin/http_status.def"
#undef STATUS
    default:
        return status >= 500   ? "HTTP status 5xx"
               : status >= 400 ? "HTTP status 4xx"
               : status >= 300 ? "HTTP status 3xx"
               : status >= 200 ? "HTTP status 2xx"
                               : "not an HTTP reply";
    }
}

static void fail(struct request *r, const char *error, enum request_blame blame) {
    r->result = REQUEST_FAILED;
    r->error = error;
    r->blame = blame;
}

static bool connect_failed(struct exchange *x) {
    long e = 0;
    curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &e);
    if (e == EMFILE || e == ENFILE) {
        fail(x->r, "out of file descriptors", BLAME_NOBODY);
        return false;
    }
    fail(x->r, e == ECONNREFUSED ? "connection refused" : e == ENETUNREACH || e == EHOSTUNREACH ? "host unreachable" : "cannot connect",
         BLAME_ORIGIN);
    return true;
}

/* The exchange did not come to its end. True when trying again may help. */
static bool transfer_failed(struct exchange *x, CURLcode code) {
    static const struct {
        CURLcode code;
        const char *text;
        bool retry;
        enum request_blame blame;
    } rows[] = {
        {CURLE_OPERATION_TIMEDOUT, "connect timed out", true, BLAME_ORIGIN}, /* all other waiting is timed by the core */
        {CURLE_COULDNT_RESOLVE_HOST, "host name not found", true, BLAME_ORIGIN},
        {CURLE_SEND_ERROR, "connection reset", true, BLAME_ORIGIN},
        {CURLE_RECV_ERROR, "connection reset", true, BLAME_ORIGIN},
        {CURLE_GOT_NOTHING, "connection closed", true, BLAME_ORIGIN},
        {CURLE_PARTIAL_FILE, "half a reply", true, BLAME_ORIGIN},
        {CURLE_HTTP2, "HTTP/2 error", true, BLAME_ORIGIN},
        {CURLE_HTTP2_STREAM, "HTTP/2 error", true, BLAME_ORIGIN},
        {CURLE_SSL_CONNECT_ERROR, "TLS handshake failed", false, BLAME_ORIGIN},
        {CURLE_PEER_FAILED_VERIFICATION, "certificate not trusted", false, BLAME_ORIGIN},
        {CURLE_WEIRD_SERVER_REPLY, "not an HTTP reply", false, BLAME_ORIGIN},
        {CURLE_TOO_MANY_REDIRECTS, "too many redirects", false, BLAME_REQUEST},
        {CURLE_OUT_OF_MEMORY, NO_MEMORY, false, BLAME_NOBODY},
    };
    struct request *r = x->r;
    if (x->refused != NULL) {
        fail(r, x->refused, x->refused == NO_MEMORY ? BLAME_NOBODY : BLAME_REQUEST);
        return false;
    }
    if (code == CURLE_COULDNT_CONNECT) {
        return connect_failed(x);
    }
    if (code == CURLE_UNSUPPORTED_PROTOCOL) {
        fail(r, r->status > 0 ? "redirect to another protocol" : "not an HTTP reply", r->status > 0 ? BLAME_REQUEST : BLAME_ORIGIN);
        return false;
    }
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].code == code) {
            fail(r, rows[i].text, rows[i].blame);
            return rows[i].retry;
        }
    }
    fail(r, curl_easy_strerror(code), BLAME_ORIGIN);
    return false;
}

/* A reply that is none of those hoped for. True when trying again may help. */
static bool status_failed(struct request *r) {
    bool overloaded = r->status == 502 || r->status == 503 || r->status == 504;
    bool well = r->status < 500 && r->status != 408 && r->status != 429;
    fail(r, status_text(r->status), well ? BLAME_REQUEST : BLAME_ORIGIN);
    return overloaded;
}

/* NULL, or why the value cannot be believed. */
static const char *value_flaw(const struct exchange *x) {
    long version = 0;
    curl_easy_getinfo(x->easy, CURLINFO_HTTP_VERSION, &version);
    if (version < CURL_HTTP_VERSION_2_0 && x->head.length >= 0 && !x->head.chunked && x->received > x->head.length) {
        return "longer than its Content-Length";
    }
    return x->head.gzip && !x->gunzip.ended ? "half a gzip" : NULL;
}

static bool take_value(struct exchange *x) {
    struct request *r = x->r;
    const char *flaw = value_flaw(x);
    if (flaw != NULL) {
        fail(r, flaw, BLAME_ORIGIN);
        return false;
    }
    r->result = REQUEST_OK;
    r->found.str = x->body;
    x->body = (struct buf){0};
    return false;
}

/* Fills in the answer. True when trying again may help. */
static bool judge(struct exchange *x, CURLcode code) {
    struct request *r = x->r;
    long status = 0;
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    r->status = (int)status;
    /* of an error page more than enough was read */
    bool complete = code == CURLE_OK || (code == CURLE_WRITE_ERROR && x->refused == NULL);
    if (!complete) {
        return transfer_failed(x, code);
    }
    r->life = cache_lifetime(&x->head.cache, loop_now_ms(x->http->loop));
    if (r->kind == REQUEST_LOAD && x->head.value) {
        return take_value(x);
    }
    if (r->kind != REQUEST_LOAD && status >= 200 && status < 300) {
        r->result = REQUEST_OK;
        return false;
    }
    if (r->kind != REQUEST_PUT && (status == 404 || status == 410)) {
        r->result = REQUEST_ABSENT;
        return false;
    }
    return status_failed(r);
}

/* ---- what libcurl tells of a reply ---- */

static size_t break_off(struct exchange *x, const char *why) {
    x->refused = why;
    return 0;
}

static bool head_header(struct exchange *x, struct slice name, struct slice value) {
    struct head *h = &x->head;
    if (slice_eqi(name, "content-length")) {
        int64_t n;
        if (!num_parse_i64(value, &n) || n < 0 || (h->length >= 0 && h->length != n)) {
            return break_off(x, "bad Content-Length");
        }
        h->length = n;
    } else if (slice_eqi(name, "transfer-encoding")) {
        h->chunked = value.n >= 7 && slice_eqi(slice_make(value.p + value.n - 7, 7), "chunked");
    } else if (slice_eqi(name, "content-encoding")) {
        h->gzip = slice_eqi(value, "gzip") || slice_eqi(value, "x-gzip");
        if (!h->gzip && !slice_eqi(value, "identity")) {
            return break_off(x, "content encoding not understood");
        }
    } else {
        cache_header(&h->cache, name, value);
    }
    return true;
}

/* The head is complete: is the body one to take? */
static bool head_over(struct exchange *x) {
    struct head *h = &x->head;
    long status = 0, version = 0;
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(x->easy, CURLINFO_HTTP_VERSION, &version);
    h->over = true;
    h->value = x->r->kind == REQUEST_LOAD && (status == 200 || status == 203);
    if (!h->value) {
        return true;
    }
    if (h->length < 0 && !h->chunked && version < CURL_HTTP_VERSION_2_0) {
        return break_off(x, "no Content-Length");
    }
    if (h->length > x->http->options->max_value) {
        return break_off(x, TOO_LONG);
    }
    if (h->gzip && !gunzip_init(&x->gunzip)) {
        return break_off(x, NO_MEMORY);
    }
    if (h->length > 0 && !h->gzip) {
        size_t n = (size_t)(h->length < RESERVE_MAX_BYTES ? h->length : RESERVE_MAX_BYTES);
        return buf_try_exact(&x->body, n) ? true : break_off(x, NO_MEMORY);
    }
    return true;
}

static void head_begin(struct exchange *x) {
    gunzip_fini(&x->gunzip);
    buf_clear(&x->body);
    x->head = (struct head){.length = -1};
    x->received = 0;
}

/* One line of a head: the status, a header, or the empty one. */
static size_t header_cb(char *p, size_t size, size_t n, void *ctx) {
    struct exchange *x = ctx;
    struct slice line = {p, size * n};
    size_t all = line.n;
    while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r' || line.p[line.n - 1] == ' ')) {
        line.n--;
    }
    const char *colon = memchr(p, ':', line.n);
    if (line.n >= 5 && memcmp(p, "HTTP/", 5) == 0) {
        head_begin(x);
    } else if (x->head.over) {
        return all; /* a trailer */
    } else if (line.n == 0) {
        return head_over(x) ? all : 0;
    } else if (colon != NULL) {
        struct slice name = {p, (size_t)(colon - p)}, value = {colon + 1, line.n - name.n - 1};
        while (value.n > 0 && (value.p[0] == ' ' || value.p[0] == '\t')) {
            value = slice_make(value.p + 1, value.n - 1);
        }
        return head_header(x, name, value) ? all : 0;
    }
    return all;
}

static size_t body_cb(char *p, size_t size, size_t n, void *ctx) {
    struct exchange *x = ctx;
    struct slice bytes = {p, size * n};
    size_t max = (size_t)x->http->options->max_value;
    if (!x->head.value) {
        return x->received > SKIP_MAX_BYTES ? 0 : bytes.n;
    }
    if (x->head.gzip) {
        const char *error = gunzip_feed(&x->gunzip, bytes, &x->body, max);
        return error == NULL ? bytes.n : break_off(x, error);
    }
    if (bytes.n > max - x->body.n) {
        return break_off(x, TOO_LONG);
    }
    if (!buf_try_reserve(&x->body, bytes.n)) {
        return break_off(x, NO_MEMORY);
    }
    buf_put_slice(&x->body, bytes);
    return bytes.n;
}

/* libcurl hands body_cb what the Content-Length announced; only here can be seen that there was more. */
static int debug_cb(CURL *easy, curl_infotype type, char *p, size_t n, void *ctx) {
    struct exchange *x = ctx;
    (void)easy;
    (void)p;
    if (type == CURLINFO_DATA_IN) {
        x->received += (int64_t)n;
    }
    return 0;
}

/* ---- exchanges ---- */

static void set_common(struct exchange *x) {
    CURL *e = x->easy;
    const struct origin_options *o = x->http->options;
    const char *certificates = getenv("SSL_CERT_FILE");
    curl_easy_setopt(e, CURLOPT_PRIVATE, x);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* else an exchange given up waits for its name lookup, and the loop with it */
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, x->http->secure ? "https" : "http,https");
    curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_ms);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)(o->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(e, CURLOPT_PIPEWAIT, (long)(o->http2 && x->http->secure));
    curl_easy_setopt(e, CURLOPT_USERAGENT, "strata");
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, header_cb);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, body_cb);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(e, CURLOPT_DEBUGFUNCTION, debug_cb);
    curl_easy_setopt(e, CURLOPT_DEBUGDATA, x);
    curl_easy_setopt(e, CURLOPT_VERBOSE, 1L);
    if (certificates != NULL) {
        curl_easy_setopt(e, CURLOPT_CAINFO, certificates);
    }
    /* no directory of them, either: with one libcurl reads the file again for each connection, which takes 45 ms */
    curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
}

static struct exchange *exchange_take(struct http *h) {
    struct list *n = list_pop_front(&h->idle);
    if (n != NULL) {
        h->idle_count--;
        return LIST_ENTRY(n, struct exchange, node);
    }
    struct exchange *x = mem_zalloc(sizeof(*x));
    x->http = h;
    list_init(&x->node);
    x->easy = curl_easy_init();
    if (x->easy == NULL) {
        mem_free(x);
        return NULL;
    }
    set_common(x);
    curl_conns_watch(&x->transfer, &h->conns, x->easy);
    return x;
}

static void exchange_free(struct exchange *x) {
    curl_easy_cleanup(x->easy);
    gunzip_fini(&x->gunzip);
    buf_free(&x->url);
    buf_free(&x->body);
    mem_free(x);
}

/* Out of the multi handle and ready for another request. */
static void exchange_return(struct exchange *x) {
    struct http *h = x->http;
    curl_multi_remove_handle(h->multi, x->easy);
    x->r = NULL;
    gunzip_fini(&x->gunzip);
    buf_free(&x->body);
    if (h->idle_count >= MAX_IDLE) {
        exchange_free(x);
        return;
    }
    h->idle_count++;
    list_push_front(&h->idle, &x->node);
}

static void set_request(struct exchange *x) {
    CURL *e = x->easy;
    struct request *r = x->r;
    bool put = r->kind == REQUEST_PUT;
    curl_easy_setopt(e, CURLOPT_URL, x->url.p);
    curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, (long)(r->kind == REQUEST_LOAD)); /* a write goes where it was sent, or nowhere */
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, put ? x->http->put_headers : x->http->get_headers);
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, put ? "PUT" : r->kind == REQUEST_DEL ? "DELETE" : NULL);
    if (put) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->item.str.n);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, r->item.str.n > 0 ? r->item.str.p : "");
    }
}

static void http_start(void *self, struct request *r) {
    struct http *h = self;
    if (r->kind == REQUEST_PUT && r->item.type != TYPE_STRING) {
        fail(r, "only strings can be written over HTTP", BLAME_NOBODY);
        request_end(r, false);
        return;
    }
    struct exchange *x = exchange_take(h);
    const char *error = x == NULL ? NO_MEMORY : http_url_expand(h->url, r->key, r->first, &x->url);
    if (error == NULL) {
        x->r = r;
        x->refused = NULL;
        head_begin(x);
        set_request(x);
        error = curl_multi_add_handle(h->multi, x->easy) == CURLM_OK ? NULL : NO_MEMORY;
        r->driver_data = x;
    }
    if (error == NULL) {
        curl_conns_begin(&x->transfer);
        return;
    }
    if (x != NULL) {
        exchange_return(x);
    }
    fail(r, error, BLAME_NOBODY);
    request_end(r, false);
}

static void http_cancel(void *self, struct request *r) {
    struct exchange *x = r->driver_data;
    (void)self;
    curl_conns_end(&x->transfer);
    exchange_return(x);
}

/* ---- libcurl on the loop ---- */

static void end_finished(struct http *h) {
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(h->multi, &left)) != NULL) {
        struct exchange *x = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
        struct request *r = x->r;
        bool retry = judge(x, code);
        curl_conns_end(&x->transfer);
        exchange_return(x); /* m is gone with it */
        request_end(r, retry);
    }
}

static void on_timer(void *ctx) {
    struct http *h = ctx;
    int running;
    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    end_finished(h);
}

static void on_socket(void *ctx, int fd, unsigned events) {
    struct http *h = ctx;
    int running, what = (events & POLL_READ ? CURL_CSELECT_IN : 0) | (events & POLL_WRITE ? CURL_CSELECT_OUT : 0);
    curl_multi_socket_action(h->multi, fd, what, &running);
    end_finished(h);
}

static int timer_cb(CURLM *multi, long after_ms, void *ctx) {
    struct http *h = ctx;
    (void)multi;
    if (after_ms < 0) {
        timer_stop(h->timer);
    } else {
        timer_start(h->timer, after_ms, 0);
    }
    return 0;
}

static int socket_cb(CURL *easy, curl_socket_t fd, int what, void *ctx, void *assigned) {
    struct http *h = ctx;
    struct poll *p = assigned;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (p != NULL) {
            poll_destroy(&p);
            curl_multi_assign(h->multi, fd, NULL);
        }
        return 0;
    }
    if (p == NULL) {
        p = poll_create(h->loop, fd, on_socket, h);
        curl_multi_assign(h->multi, fd, p);
    }
    if (p != NULL) { /* one that cannot be watched times out */
        poll_watch(p, (what & CURL_POLL_IN ? POLL_READ : 0u) | (what & CURL_POLL_OUT ? POLL_WRITE : 0u));
    }
    return 0;
}

/* ---- life ---- */

/* "Name: value" with a name that does not say how a body is sent. */
static bool check_header(const char *text, struct buf *why) {
    static const char *const ours[] = {"content-length", "transfer-encoding", "accept-encoding", "connection", "expect", "range"};
    size_t n = strcspn(text, ":");
    bool ok = *text == '\0' || (n > 0 && text[n] == ':' && text[n + 1 + strspn(text + n + 1, " ")] != '\0');
    for (const char *p = text; *p != '\0'; p++) {
        ok = ok && (unsigned char)*p >= ' ' && *p != 127 && (p - text >= (ptrdiff_t)n || *p != ' ');
    }
    for (unsigned i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        ok = ok && !slice_eqi(slice_make(text, n), ours[i]);
    }
    if (!ok) {
        buf_printf(why, "header: '%s' cannot be sent; allowed: \"Name: value\" that does not change how bodies are sent", text);
    }
    return ok;
}

static void set_headers(struct http *h) {
    const char *own = h->options->header;
    if (*own != '\0') {
        h->get_headers = curl_slist_append(h->get_headers, own);
        h->put_headers = curl_slist_append(h->put_headers, own);
    }
    if (h->options->gzip) {
        h->get_headers = curl_slist_append(h->get_headers, "Accept-Encoding: gzip");
    }
    h->put_headers = curl_slist_append(h->put_headers, "Content-Type: application/octet-stream");
    h->put_headers = curl_slist_append(h->put_headers, "Expect:"); /* no 100-continue: it costs a round trip */
}

static void set_multi(struct http *h) {
    h->multi = curl_multi_init();
    CHECK(h->multi != NULL);
    h->timer = timer_create_on(h->loop, on_timer, h);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, socket_cb);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, timer_cb);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)h->options->concurrency);
}

static void *http_open(struct slice url, const struct origin_options *options, struct loop *loop, struct conns *conns, struct buf *why) {
    if (!http_url_check(url, why) || !check_header(options->header, why)) {
        return NULL;
    }
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    if ((curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS) == 0) {
        buf_puts(why, "this libcurl looks names up in the calling thread; allowed: one with a threaded resolver or c-ares");
        curl_global_cleanup();
        return NULL;
    }
    struct http *h = mem_zalloc(sizeof(*h));
    h->options = options;
    h->loop = loop;
    h->conns.counts = conns;
    h->url = slice_make(mem_memdup(url.p, url.n), url.n);
    h->secure = url.n > 5 && slice_eqi(slice_make(url.p, 5), "https");
    list_init(&h->idle);
    set_headers(h);
    if (loop != NULL) {
        set_multi(h);
    }
    return h;
}

static void http_close(void *self, void (*closed)(void *ctx), void *ctx) {
    struct http *h = self;
    struct list *n;
    while ((n = list_pop_front(&h->idle)) != NULL) {
        exchange_free(LIST_ENTRY(n, struct exchange, node));
    }
    if (h->multi != NULL) {
        curl_multi_cleanup(h->multi); /* tells socket_cb to let go of each socket */
        timer_destroy(&h->timer);
    }
    curl_slist_free_all(h->get_headers);
    curl_slist_free_all(h->put_headers);
    mem_free((void *)(uintptr_t)h->url.p);
    mem_free(h);
    curl_global_cleanup();
    closed(ctx);
}

const struct origin_driver origin_http = {
    .schemes = "http https",
    .open = http_open,
    .start = http_start,
    .cancel = http_cancel,
    .close = http_close,
    .writes = true,
    .strings_only = true,
};
