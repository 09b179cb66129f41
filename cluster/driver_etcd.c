/* SPDX-License-Identifier: BSD-3-Clause */
/* driver_etcd: one key for each node under a prefix, each on its node's lease, through etcd's JSON gateway (v3) with libcurl. A lease is kept alive three
 * times in its life; a watch says when to list the keys again, from the revision of the last list on, so that nothing between is missed. Whatever fails
 * (the member of etcd is gone, the watched revision was compacted away, the lease has run out) ends the session, and the next one begins with the next
 * member: a lease, the key, a list, a watch. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "cluster/driver.h"
#include "cluster/json_read.h"
#include "cluster/settings.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/conf/conf.h"
#include "src/net/curl_conns.h"

enum {
    URLS_MAX = 16,
    ANSWER_MAX_BYTES = 4 << 20,
    REQUEST_MAX_MS = 5000,
    RETRY_MIN_MS = 100,
    RETRY_MAX_MS = 5000,
    LIST_AGAIN_MS = 60000 /* whatever the watch says */
};

struct etcd {
    struct driver *d;
    struct slice urls[URLS_MAX];
    unsigned url_count, url; /* the one in use */
    CURL *easy, *watch;
    CURLM *multi;
    struct curl_conns conns; /* of both */
    struct curl_transfer asking, watched;
    struct curl_slist *headers;
    struct buf token;        /* "Authorization: ..." or nothing */
    struct buf answer, events;
    struct buf prefix, prefix_end; /* base64 */
    int64_t lease, revision;
    struct node_addr own;
    const char *why; /* the session ended */
    bool failed;     /* and the log says so */
    bool watching, changed;
};

/* ---- requests ---- */

static size_t take_bytes(char *p, size_t size, size_t n, void *ctx) {
    struct buf *b = ctx;
    if (b->n + size * n > ANSWER_MAX_BYTES) {
        return 0;
    }
    buf_put(b, p, size * n);
    return size * n;
}

static int give_up_at_the_end(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t e) {
    (void)a, (void)b, (void)c, (void)e;
    return driver_ends(ctx);
}

static bool fail(struct etcd *e, const char *why) {
    e->why = why;
    return false;
}

static int64_t request_ms(const struct etcd *e) {
    int64_t ms = e->d->o.conf->cluster_etcd_ttl * 1000 / 4;
    return ms < REQUEST_MAX_MS ? ms : REQUEST_MAX_MS;
}

static void prepare(struct etcd *e, CURL *easy, const char *path, struct buf *body, struct buf *answer) {
    char url[1024];
    snprintf(url, sizeof(url), "%.*s/v3/%s", SLICE_ARG(e->urls[e->url]), path);
    buf_clear(answer);
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request_ms(e));
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "strata");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, e->headers);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)body->n);
    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body->p);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    curl_conns_watch(easy == e->easy ? &e->asking : &e->watched, &e->conns, easy);
    buf_free(body);
}

/* Posts the body, which is used up; the answer is in e->answer. */
static bool ask(struct etcd *e, const char *path, struct buf *body, int64_t ms) {
    long status = 0;
    prepare(e, e->easy, path, body, &e->answer);
    curl_easy_setopt(e->easy, CURLOPT_TIMEOUT_MS, (long)ms);
    curl_easy_setopt(e->easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(e->easy, CURLOPT_XFERINFOFUNCTION, give_up_at_the_end);
    curl_easy_setopt(e->easy, CURLOPT_XFERINFODATA, e->d);
    curl_conns_begin(&e->asking);
    CURLcode code = curl_easy_perform(e->easy);
    curl_conns_end(&e->asking);
    curl_easy_getinfo(e->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK) {
        return fail(e, curl_easy_strerror(code));
    }
    return status == 200 || fail(e, status == 401 || status == 403 ? "user or password refused" : "answered with an error");
}

static bool answered_int(struct etcd *e, const char *path, int64_t *v) {
    struct slice raw;
    return json_path(buf_slice(&e->answer), path, &raw) && json_int(raw, v);
}

/* ---- a session's steps ---- */

/* Escapes what JSON must have escaped. */
static void put_json(struct slice s, struct buf *out) {
    buf_putc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < ' ' || c == '"' || c == '\\') {
            buf_printf(out, "\\u%04x", c);
        } else {
            buf_putc(out, (char)c);
        }
    }
    buf_putc(out, '"');
}

static void set_headers(struct etcd *e) {
    curl_slist_free_all(e->headers);
    e->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (e->token.n > 0) {
        e->headers = curl_slist_append(e->headers, e->token.p);
    }
}

static bool log_in(struct etcd *e) {
    const char *user = e->d->o.conf->cluster_etcd_user;
    const char *colon = strchr(user, ':');
    struct buf body = {0};
    struct slice raw, token;
    buf_clear(&e->token);
    set_headers(e);
    if (user[0] == '\0') {
        return true;
    }
    buf_puts(&body, "{\"name\":");
    put_json(slice_make(user, (size_t)(colon - user)), &body);
    buf_puts(&body, ",\"password\":");
    put_json(slice_cstr(colon + 1), &body);
    buf_puts(&body, "}");
    if (!ask(e, "auth/authenticate", &body, request_ms(e))) {
        return fail(e, strcmp(e->why, "answered with an error") == 0 ? "user or password refused" : e->why);
    }
    if (!json_get(buf_slice(&e->answer), "token", &raw) || !json_plain(raw, &token)) {
        return fail(e, "answered without a token");
    }
    buf_printf(&e->token, "Authorization: %.*s", SLICE_ARG(token));
    buf_putc(&e->token, '\0');
    set_headers(e);
    return true;
}

static bool keep_alive(struct etcd *e) {
    struct buf body = {0};
    int64_t ttl = 0;
    buf_printf(&body, "{\"ID\":\"%lld\"}", (long long)e->lease);
    if (!ask(e, "lease/keepalive", &body, request_ms(e))) {
        return false;
    }
    if (!answered_int(e, "result.TTL", &ttl) || ttl <= 0) {
        e->lease = 0;
        return fail(e, "the lease has run out");
    }
    return true;
}

/* That of an earlier session as long as it lasts. */
static bool have_lease(struct etcd *e) {
    struct buf body = {0};
    if (e->lease != 0 && keep_alive(e)) {
        return true;
    }
    if (e->lease != 0) {
        return false; /* nothing is known about it */
    }
    e->why = NULL;
    buf_printf(&body, "{\"TTL\":\"%lld\"}", (long long)e->d->o.conf->cluster_etcd_ttl);
    return ask(e, "lease/grant", &body, request_ms(e)) && (answered_int(e, "ID", &e->lease) || fail(e, "granted no lease"));
}

/* The address of this machine from which etcd is reached, if nothing better is known. */
static void learn_own(struct etcd *e) {
    const char *ip = NULL;
    if (e->own.host[0] == '\0' && curl_easy_getinfo(e->easy, CURLINFO_LOCAL_IP, &ip) == CURLE_OK && ip != NULL &&
        node_host_valid(slice_cstr(ip))) {
        memcpy(e->own.host, ip, strlen(ip) + 1);
    }
}

static bool put_own(struct etcd *e) {
    struct buf key = {0}, value = {0}, body = {0};
    learn_own(e);
    buf_printf(&key, "%s%s", e->d->o.conf->cluster_etcd_prefix, e->d->o.id);
    node_addr_print(&e->own, &value);
    buf_puts(&body, "{\"key\":\"");
    base64_put(buf_slice(&key), &body);
    buf_puts(&body, "\",\"value\":\"");
    base64_put(buf_slice(&value), &body);
    buf_printf(&body, "\",\"lease\":\"%lld\"}", (long long)e->lease);
    buf_free(&key);
    buf_free(&value);
    return ask(e, "kv/put", &body, request_ms(e));
}

/* The address in one key's value; one that is none is passed over. */
static bool take_node(struct slice kv, struct node_addr *out) {
    struct slice raw, text;
    struct buf value = {0}, why = {0};
    bool ok = json_get(kv, "value", &raw) && json_plain(raw, &text) && base64_get(text, &value) && node_addr_parse(buf_slice(&value), out, &why);
    buf_free(&value);
    buf_free(&why);
    return ok;
}

static bool is_own(const struct etcd *e, struct slice kv) {
    struct slice raw, text;
    struct buf key = {0};
    bool ok = json_get(kv, "key", &raw) && json_plain(raw, &text) && base64_get(text, &key) && key.n > NODE_ID_HEX &&
              memcmp(key.p + key.n - NODE_ID_HEX, e->d->o.id, NODE_ID_HEX) == 0;
    buf_free(&key);
    return ok;
}

static void put_range(struct etcd *e, struct buf *body) {
    buf_printf(body, "\"key\":\"%s\",\"range_end\":\"%s\"", e->prefix.p, e->prefix_end.p);
}

static bool list_nodes(struct etcd *e) {
    struct buf body = {0};
    struct slice kvs = {0}, kv;
    buf_putc(&body, '{');
    put_range(e, &body);
    buf_printf(&body, ",\"limit\":\"%d\"}", CLUSTER_MAX_PEERS);
    if (!ask(e, "kv/range", &body, request_ms(e))) {
        return false;
    }
    if (!answered_int(e, "header.revision", &e->revision)) {
        return fail(e, "listed no keys");
    }
    struct node_addr *list = mem_alloc(CLUSTER_MAX_PEERS * sizeof(*list));
    unsigned n = 0;
    bool any = json_get(buf_slice(&e->answer), "kvs", &kvs);
    bool own = false;
    while (any && n < CLUSTER_MAX_PEERS && json_next(&kvs, &kv)) {
        n += take_node(kv, &list[n]);
        own |= is_own(e, kv);
    }
    e->d->o.hooks.found(e->d->o.hooks.ctx, list, n, true, &e->own);
    mem_free(list);
    return own || fail(e, "somebody has deleted this node's key");
}

/* ---- the watch ---- */

static void watch_end(struct etcd *e) {
    if (e->watching) {
        curl_multi_remove_handle(e->multi, e->watch);
        curl_conns_end(&e->watched);
        e->watching = false;
    }
}

static void watch_begin(struct etcd *e) {
    struct buf body = {0};
    buf_puts(&body, "{\"create_request\":{");
    put_range(e, &body);
    buf_printf(&body, ",\"start_revision\":\"%lld\"}}", (long long)e->revision + 1);
    prepare(e, e->watch, "watch", &body, &e->events);
    curl_conns_begin(&e->watched);
    curl_multi_add_handle(e->multi, e->watch);
    e->watching = true;
}

/* One message of the stream. */
static bool take_event(struct etcd *e, struct slice text) {
    struct slice v;
    if (json_path(text, "result.canceled", &v) && slice_eq(v, SLICE("true"))) {
        return fail(e, json_path(text, "result.compact_revision", &v) ? "the watched revision was compacted away" : "the watch was cancelled");
    }
    if (json_get(text, "error", &v)) {
        return fail(e, "the watch was refused");
    }
    e->changed |= json_path(text, "result.events", &v);
    return true;
}

static bool take_events(struct etcd *e) {
    size_t at = 0;
    bool ok = true;
    while (ok && at < e->events.n) {
        struct slice rest = slice_make(e->events.p + at, e->events.n - at);
        int64_t n = json_measure(rest);
        if (n <= 0) {
            ok = n == 0 || fail(e, "the watch is no JSON");
            break;
        }
        ok = take_event(e, slice_make(rest.p, (size_t)n));
        at += (size_t)n;
        while (at < e->events.n && (e->events.p[at] == '\n' || e->events.p[at] == ' ')) {
            at++;
        }
    }
    if (at > 0) {
        memmove(e->events.p, e->events.p + at, e->events.n - at);
        e->events.n -= at;
    }
    return ok;
}

static bool watch_turn(struct etcd *e, int64_t wait_ms) {
    int running = 0, left = 0;
    curl_multi_poll(e->multi, NULL, 0, (int)wait_ms, NULL);
    curl_multi_perform(e->multi, &running);
    if (!take_events(e)) {
        return false;
    }
    const CURLMsg *msg = curl_multi_info_read(e->multi, &left);
    return msg == NULL || fail(e, msg->data.result != CURLE_OK ? curl_easy_strerror(msg->data.result) : "the watch has ended");
}

/* ---- sessions ---- */

static void say_found(struct etcd *e) {
    if (e->failed) {
        log_notice("cluster: etcd at %.*s answers again", SLICE_ARG(e->urls[e->url]));
    }
    e->failed = false;
}

/* Until something fails, or the end. */
static void session(struct etcd *e) {
    e->why = NULL;
    e->changed = false;
    if (!log_in(e) || !have_lease(e) || !put_own(e) || !list_nodes(e)) {
        return;
    }
    say_found(e);
    watch_begin(e);
    int64_t third_us = e->d->o.conf->cluster_etcd_ttl * 1000000 / 3;
    int64_t kept_us = clock_mono_us(), listed_us = kept_us;
    for (bool ok = true; ok && !driver_ends(e->d);) {
        int64_t now_us = clock_mono_us(), wait_us = kept_us + third_us - now_us;
        ok = watch_turn(e, wait_us > 0 ? wait_us / 1000 : 0);
        now_us = clock_mono_us();
        if (ok && now_us - kept_us >= third_us) {
            kept_us = now_us;
            ok = keep_alive(e);
        }
        if (ok && (e->changed || now_us - listed_us >= LIST_AGAIN_MS * 1000LL)) {
            e->changed = false;
            listed_us = now_us;
            ok = list_nodes(e);
        }
    }
    watch_end(e);
}

static void give_up_lease(struct etcd *e) {
    struct buf body = {0};
    if (e->lease != 0) {
        buf_printf(&body, "{\"ID\":\"%lld\"}", (long long)e->lease);
        prepare(e, e->easy, "lease/revoke", &body, &e->answer);
        curl_easy_setopt(e->easy, CURLOPT_TIMEOUT_MS, 500L); /* else it runs out by itself */
        curl_conns_begin(&e->asking);
        curl_easy_perform(e->easy);
        curl_conns_end(&e->asking);
    }
}

static void take_urls(struct etcd *e, const char *text) {
    for (const char *p = text + strspn(text, " "); *p != '\0' && e->url_count < URLS_MAX; p += strspn(p, " ")) {
        size_t n = strcspn(p, " "), used = n;
        while (used > 0 && p[used - 1] == '/') {
            used--;
        }
        e->urls[e->url_count++] = slice_make(p, used);
        p += n;
    }
}

/* The least text behind all that begin so. */
static void take_prefix(struct etcd *e, const char *prefix) {
    struct buf end = {0};
    buf_puts(&end, prefix);
    while (end.n > 0 && (unsigned char)end.p[end.n - 1] == 0xff) {
        end.n--;
    }
    if (end.n > 0) {
        end.p[end.n - 1]++;
    } else {
        buf_putc(&end, '\0'); /* to the last key */
    }
    base64_put(slice_cstr(prefix), &e->prefix);
    base64_put(buf_slice(&end), &e->prefix_end);
    buf_putc(&e->prefix, '\0');
    buf_putc(&e->prefix_end, '\0');
    buf_free(&end);
}

static void etcd_init(struct etcd *e, struct driver *d) {
    *e = (struct etcd){.d = d, .own = d->o.addr, .conns = {.counts = d->o.conns}};
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    take_urls(e, d->o.conf->cluster_etcd);
    take_prefix(e, d->o.conf->cluster_etcd_prefix);
    e->easy = curl_easy_init();
    e->watch = curl_easy_init();
    e->multi = curl_multi_init();
    CHECK(e->easy != NULL && e->watch != NULL && e->multi != NULL);
}

static void etcd_fini(struct etcd *e) {
    curl_easy_cleanup(e->easy);
    curl_easy_cleanup(e->watch);
    curl_multi_cleanup(e->multi);
    curl_slist_free_all(e->headers);
    curl_global_cleanup();
    buf_free(&e->token);
    buf_free(&e->answer);
    buf_free(&e->events);
    buf_free(&e->prefix);
    buf_free(&e->prefix_end);
}

void driver_etcd_wake(struct driver *d) {
    struct etcd *e = d->state;
    if (e != NULL) {
        curl_multi_wakeup(e->multi);
    }
}

void driver_etcd_run(struct driver *d) {
    struct etcd e;
    int64_t pause_ms = RETRY_MIN_MS;
    etcd_init(&e, d);
    driver_set_state(d, &e);
    while (!driver_ends(d)) {
        int64_t start_us = clock_mono_us();
        session(&e);
        if (driver_ends(d)) {
            break;
        }
        if (!e.failed) {
            log_warning("cluster: etcd at %.*s: %s; the nodes found before stay", SLICE_ARG(e.urls[e.url]), e.why);
        }
        e.failed = true;
        e.url = (e.url + 1) % e.url_count;
        bool lasted = clock_mono_us() - start_us > RETRY_MAX_MS * 1000LL;
        pause_ms = lasted ? RETRY_MIN_MS : pause_ms * 2 < RETRY_MAX_MS ? pause_ms * 2 : RETRY_MAX_MS;
        driver_wait(d, pause_ms);
    }
    driver_set_state(d, NULL);
    give_up_lease(&e);
    etcd_fini(&e);
}
