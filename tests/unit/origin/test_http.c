/* SPDX-License-Identifier: BSD-3-Clause */
/* test_http: the HTTP driver and the way of requests, against a server that does what its path says. */
#include "tests/unit/check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/origin/origin.h"
#include "src/stats/conns.h"
#include "tests/unit/origin/fake_http.h"

/* ---- fixture ---- */

struct fixture {
    struct fake_http web;
    struct origins *origins;
    struct origin *origin;
    struct loop *loop;
    int pending;
};

struct job {
    struct request r;
    struct fixture *t;
    int done;
    int order; /* how many were pending when it was done */
};

/* Times that the test says nothing of are long: the machine may be busy. */
static void open_origin(struct fixture *t, const char *url, const char *options) {
    static const char *const times[] = {" timeout=", " connect-timeout=", " queue-timeout="};
    struct buf line = {0}, err = {0};
    buf_printf(&line, "web %s %s", url, options);
    buf_putc(&line, '\0');
    for (int i = 0; i < 3; i++) {
        if (strstr(line.p, times[i]) == NULL) {
            line.n--;
            buf_printf(&line, "%s60s", times[i]);
            buf_putc(&line, '\0');
        }
    }
    t->origins = origins_create(line.p, INT64_MAX, &err);
    if (t->origins == NULL) {
        fail_msg("%.*s", (int)err.n, err.p);
    }
    t->origin = origins_find(t->origins, SLICE("web"));
    assert_non_null(t->origin);
    buf_free(&line);
    buf_free(&err);
}

static struct fixture *setup(const char *options) {
    static const struct loop_ops ops = {0};
    struct fixture *t = mem_zalloc(sizeof(*t));
    char url[64];
    fake_http_start(&t->web);
    t->loop = loop_create(0, "test", &ops, t);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/a/{key}", t->web.port);
    open_origin(t, url, options);
    return t;
}

static void teardown(struct fixture *t) {
    assert_int_equal(t->pending, 0);
    origins_destroy(&t->origins);
    fake_http_stop(&t->web);
    loop_destroy(&t->loop);
    mem_free(t);
}

static void on_done(struct request *r) {
    struct job *j = LIST_ENTRY(r, struct job, r);
    j->done++;
    j->order = j->t->pending--;
    if (j->t->loop != NULL) { /* not being destroyed: back to the test, which looks whether this is enough */
        loop_stop(j->t->loop);
    }
}

static void submit(struct fixture *t, struct job *j, enum request_kind kind, const char *key) {
    j->t = t;
    j->done = 0;
    j->r.kind = kind;
    j->r.key = slice_cstr(key);
    j->r.loop = t->loop;
    j->r.done = on_done;
    t->pending++;
    origin_submit(t->origin, &j->r);
}

static void wait_all(struct fixture *t) {
    while (t->pending > 0) {
        loop_run(t->loop);
    }
}

static struct job run(struct fixture *t, enum request_kind kind, const char *key) {
    struct job j = {0};
    submit(t, &j, kind, key);
    wait_all(t);
    assert_int_equal(j.done, 1);
    return j;
}

static void loads_as(struct fixture *t, const char *key, const char *value) {
    struct job j = run(t, REQUEST_LOAD, key);
    if (j.r.result != REQUEST_OK) {
        fail_msg("%s: %s", key, j.r.result == REQUEST_ABSENT ? "absent" : j.r.error);
    }
    assert_slice(buf_slice(&j.r.found.str), value);
    assert_int_equal(j.r.found.expire_ms, -1);
    found_free(&j.r.found);
}

static void fails_as(struct fixture *t, const char *key, const char *error) {
    struct job j = run(t, REQUEST_LOAD, key);
    if (j.r.result != REQUEST_FAILED) {
        fail_msg("%s: %s instead of failed", key, j.r.result == REQUEST_OK ? "found" : "absent");
    }
    assert_string_equal(j.r.error, error);
    assert_null(j.r.found.str.p);
}

/* The number behind name= in INFO's line. */
static long info(struct fixture *t, const char *name) {
    struct buf out = {0};
    char what[64];
    origins_info(t->origins, &out);
    buf_putc(&out, '\0');
    snprintf(what, sizeof(what), ",%s=", name);
    const char *p = strstr(out.p, what);
    if (p == NULL) {
        fail_msg("no %s in %s", name, out.p);
    }
    long v = strtol(p + strlen(what), NULL, 10);
    buf_free(&out);
    return v;
}

static bool info_has(struct fixture *t, const char *text) {
    struct buf out = {0};
    origins_info(t->origins, &out);
    buf_putc(&out, '\0');
    bool has = strstr(out.p, text) != NULL;
    buf_free(&out);
    return has;
}

static void take_conns(void *ctx, const char *name, const struct conn_numbers *n) {
    assert_string_equal(name, "web");
    *(struct conn_numbers *)ctx = *n;
}

static struct conn_numbers conns(struct fixture *t) {
    struct conn_numbers n = {0};
    origins_conns(t->origins, take_conns, &n);
    return n;
}

/* Gives what the server holds time to be all of n. */
static void until_held(struct fixture *t, int n) {
    while (atomic_load(&t->web.held) < n) {
        usleep(1000);
    }
}

/* ---- values ---- */

static void a_value_is_found(void **state) {
    (void)state;
    struct fixture *t = setup("");
    loads_as(t, "hello", "hello");
    loads_as(t, "empty", "");
    loads_as(t, "chunked", "hello");
    loads_as(t, "chunked-trailer", "hello");
    loads_as(t, "status-203", "sorry");
    struct job j = run(t, REQUEST_LOAD, "big");
    assert_int_equal(j.r.result, REQUEST_OK);
    assert_int_equal(j.r.found.str.n, FAKE_BIG);
    for (int i = 0; i < FAKE_BIG; i++) {
        assert_int_equal(j.r.found.str.p[i], 'a' + i % 23);
    }
    found_free(&j.r.found);
    assert_int_equal(info(t, "found"), 6);
    assert_int_equal(info(t, "loads"), 6);
    teardown(t);
}

static void absent_is_no_failure(void **state) {
    (void)state;
    struct fixture *t = setup("breaker-requests=4 breaker-errors=25%");
    for (int i = 0; i < 10; i++) {
        struct job j = run(t, REQUEST_LOAD, i % 2 ? "missing" : "gone");
        assert_int_equal(j.r.result, REQUEST_ABSENT);
        assert_int_equal(j.r.status, i % 2 ? 404 : 410);
        assert_int_equal(j.r.life.ttl_ms, i % 2 ? 7000 : -1);
    }
    assert_int_equal(info(t, "absent"), 10);
    assert_false(origin_is_down(t->origin));
    teardown(t);
}

static void connections_are_kept(void **state) {
    (void)state;
    struct fixture *t = setup("");
    for (int i = 0; i < 50; i++) {
        loads_as(t, "hello", "hello");
        fails_as(t, "status-403", "HTTP status 403");
    }
    assert_int_equal(atomic_load(&t->web.connections), 1);
    assert_int_equal(atomic_load(&t->web.requests), 100);
    struct conn_numbers n = conns(t);
    assert_int_equal(n.opened, 1);
    assert_int_equal(n.reused, 99);
    assert_int_equal(n.failed, 0);
    assert_int_equal(n.open, 1);
    assert_int_equal(n.idle, 1);
    teardown(t);
}

static void keys_are_percent_encoded(void **state) {
    (void)state;
    struct fixture *t = setup("");
    loads_as(t, "target-user:1/x?y=z&q#%{1} \xc3\xa9+~_.-", "/a/target-user%3A1%2Fx%3Fy%3Dz%26q%23%25%7B1%7D%20%C3%A9%2B~_.-");
    fails_as(t, "..", "key is no part of a path");
    fails_as(t, ".", "key is no part of a path");
    loads_as(t, "target-..", "/a/target-..");
    char *longer = mem_zalloc(40000);
    memset(longer, 'x', 39999);
    fails_as(t, longer, "key too long for a URL");
    mem_free(longer);
    assert_int_equal(info(t, "failed"), 3);
    teardown(t);
}

static void both_places_are_filled_in(void **state) {
    (void)state;
    struct fixture *t = setup("");
    char url[96];
    origins_destroy(&t->origins);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/{1}/target-?key={key}&again={1}", t->web.port);
    open_origin(t, url, "");
    struct job j = {.r.first = SLICE("7/8")};
    submit(t, &j, REQUEST_LOAD, "user:7/8");
    wait_all(t);
    assert_int_equal(j.r.result, REQUEST_OK);
    assert_slice(buf_slice(&j.r.found.str), "/7%2F8/target-?key=user%3A7%2F8&again=7%2F8");
    found_free(&j.r.found);
    teardown(t);
}

static void gzip_is_unpacked(void **state) {
    (void)state;
    struct fixture *t = setup("");
    loads_as(t, "gzip", "zzzzz");
    struct job j = run(t, REQUEST_LOAD, "gzip-big");
    assert_int_equal(j.r.result, REQUEST_OK);
    assert_int_equal(j.r.found.str.n, FAKE_BIG);
    for (int i = 0; i < FAKE_BIG; i++) {
        assert_int_equal(j.r.found.str.p[i], 'z');
    }
    found_free(&j.r.found);
    fails_as(t, "gzip-half", "half a gzip");
    fails_as(t, "br", "content encoding not understood");
    teardown(t);
}

static void a_gzip_bomb_is_too_long(void **state) {
    (void)state;
    struct fixture *t = setup("max-value=1mb");
    fails_as(t, "gzip-bomb", "longer than max-value");
    loads_as(t, "gzip", "zzzzz");
    teardown(t);
}

static void headers_are_sent(void **state) {
    (void)state;
    struct fixture *t = setup("header=\"Authorization: Bearer s3cret\"");
    struct job j = run(t, REQUEST_LOAD, "header");
    assert_int_equal(j.r.result, REQUEST_OK);
    buf_putc(&j.r.found.str, '\0');
    assert_non_null(strstr(j.r.found.str.p, "GET /a/header HTTP/1.1\r\n"));
    assert_non_null(strstr(j.r.found.str.p, "\r\nAuthorization: Bearer s3cret"));
    assert_non_null(strstr(j.r.found.str.p, "\r\nAccept-Encoding: gzip"));
    found_free(&j.r.found);
    origins_destroy(&t->origins);
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/{key}", t->web.port);
    open_origin(t, url, "gzip=no");
    j = run(t, REQUEST_LOAD, "header");
    buf_putc(&j.r.found.str, '\0');
    assert_null(strstr(j.r.found.str.p, "Accept-Encoding"));
    found_free(&j.r.found);
    teardown(t);
}

static void lifetimes_come_along(void **state) {
    (void)state;
    struct fixture *t = setup("");
    struct job j = run(t, REQUEST_LOAD, "fresh");
    assert_int_equal(j.r.life.ttl_ms, 50000);
    assert_int_equal(j.r.life.stale_ms, 30000);
    assert_int_equal(j.r.life.error_ms, 600000);
    found_free(&j.r.found);
    j = run(t, REQUEST_LOAD, "hello");
    assert_int_equal(j.r.life.ttl_ms, -1);
    found_free(&j.r.found);
    j = run(t, REQUEST_LOAD, "chunked-trailer"); /* what a trailer says comes too late */
    assert_int_equal(j.r.life.ttl_ms, 5000);
    found_free(&j.r.found);
    teardown(t);
}

static void redirects_are_followed_three_times(void **state) {
    (void)state;
    struct fixture *t = setup("");
    loads_as(t, "to-1", "hello");
    loads_as(t, "to-3", "hello");
    fails_as(t, "to-4", "too many redirects");
    fails_as(t, "loop", "too many redirects");
    fails_as(t, "to-ftp", "redirect to another protocol");
    teardown(t);
}

/* ---- writes ---- */

static struct job put(struct fixture *t, const char *key, const char *value) {
    struct job j = {.r.item = {.type = TYPE_STRING, .str = slice_cstr(value)}};
    submit(t, &j, REQUEST_PUT, key);
    wait_all(t);
    return j;
}

static void strings_are_written(void **state) {
    (void)state;
    struct fixture *t = setup("");
    assert_int_equal(put(t, "x", "some bytes").r.result, REQUEST_OK);
    assert_string_equal(t->web.method, "PUT");
    assert_slice(buf_slice(&t->web.body), "some bytes");
    assert_int_equal(put(t, "x", "").r.result, REQUEST_OK);
    assert_int_equal(t->web.body.n, 0);
    loads_as(t, "hello", "hello");
    assert_string_equal(t->web.method, "GET");
    assert_int_equal(run(t, REQUEST_DEL, "x").r.result, REQUEST_OK);
    assert_string_equal(t->web.method, "DELETE");
    assert_int_equal(run(t, REQUEST_DEL, "missing").r.result, REQUEST_ABSENT);
    struct job j = put(t, "status-404", "v");
    assert_int_equal(j.r.result, REQUEST_FAILED);
    assert_string_equal(j.r.error, "HTTP status 404");
    assert_int_equal(put(t, "status-302", "v").r.result, REQUEST_FAILED);
    assert_int_equal(put(t, "once-reset", "again").r.result, REQUEST_OK);
    assert_slice(buf_slice(&t->web.body), "again");
    assert_int_equal(info(t, "puts"), 5);
    assert_int_equal(info(t, "written"), 4);
    teardown(t);
}

static void other_types_are_not(void **state) {
    (void)state;
    struct fixture *t = setup("breaker-requests=1 breaker-errors=1%");
    struct job j = {.r.item = {.type = TYPE_HASH}};
    submit(t, &j, REQUEST_PUT, "x");
    wait_all(t);
    assert_string_equal(j.r.error, "only strings can be written over HTTP");
    assert_false(origin_is_down(t->origin)); /* it was not asked */
    assert_int_equal(atomic_load(&t->web.requests), 0);
    teardown(t);
}

/* ---- failures ---- */

static void statuses_fail(void **state) {
    (void)state;
    struct fixture *t = setup("retries=0");
    fails_as(t, "status-500", "HTTP status 500");
    fails_as(t, "status-418", "HTTP status 418");
    fails_as(t, "status-599", "HTTP status 5xx");
    fails_as(t, "status-204", "HTTP status 204");
    assert_true(info_has(t, "origin_web_errors:HTTP status 500=1,HTTP status 418=1,"));
    teardown(t);
}

static void some_failures_are_tried_again(void **state) {
    (void)state;
    struct fixture *t = setup("");
    loads_as(t, "once-reset", "hello"); /* first: on a connection used before libcurl tries again by itself */
    loads_as(t, "once-502", "hello");
    loads_as(t, "once-503", "hello");
    loads_as(t, "once-504", "hello");
    fails_as(t, "once-500", "HTTP status 500"); /* nothing says that a second try is welcome */
    assert_int_equal(info(t, "retries"), 4);
    assert_int_equal(info(t, "attempts"), 9);
    assert_int_equal(info(t, "failed"), 1);
    teardown(t);
}

static void retries_have_a_budget(void **state) {
    (void)state;
    struct fixture *t = setup("retries=3 retry-budget=10% retry-after=0ms breaker-errors=0%");
    for (int i = 0; i < 200; i++) {
        fails_as(t, "status-503", "HTTP status 503");
    }
    long retries = info(t, "retries");
    assert_in_range(retries, 20, ORIGIN_RETRY_BURST + 20);
    assert_int_equal(atomic_load(&t->web.requests), 200 + retries);
    teardown(t);
}

static void no_budget_no_retries(void **state) {
    (void)state;
    struct fixture *t = setup("retries=3 retry-budget=0%");
    fails_as(t, "once-503", "HTTP status 503");
    teardown(t);
}

static void a_hanging_origin_times_out(void **state) {
    (void)state;
    struct fixture *t = setup("timeout=50ms");
    int64_t start = clock_mono_us();
    fails_as(t, "hang", "timed out");
    fails_as(t, "hang-body", "timed out");
    assert_in_range(clock_mono_us() - start, 98000, 5000000);
    assert_int_equal(info(t, "timeouts"), 2);
    loads_as(t, "hello", "hello");
    assert_int_equal(conns(t).opened + conns(t).failed, 3); /* what hangs costs its connection, there already or not */
    assert_int_equal(conns(t).open, 1);
    teardown(t);
}

static void broken_replies_fail_whole(void **state) {
    (void)state;
    struct fixture *t = setup("retries=0 breaker-errors=0% timeout=5s");
    fails_as(t, "reset", "connection reset");
    fails_as(t, "close", "connection closed");
    fails_as(t, "half", "half a reply");
    fails_as(t, "half-chunked", "half a reply");
    fails_as(t, "longer", "longer than its Content-Length");
    loads_as(t, "hello", "hello"); /* and what was too much is not taken for the next reply */
    fails_as(t, "longer-close", "longer than its Content-Length");
    fails_as(t, "no-length", "no Content-Length");
    fails_as(t, "lengths", "bad Content-Length");
    fails_as(t, "garbage", "not an HTTP reply");
    teardown(t);
}

static void long_values_are_refused(void **state) {
    (void)state;
    struct fixture *t = setup("max-value=100000");
    fails_as(t, "huge", "longer than max-value");
    fails_as(t, "big", "longer than max-value");
    fails_as(t, "endless", "longer than max-value");
    loads_as(t, "hello", "hello");
    teardown(t);
}

static void names_that_are_none_fail(void **state) {
    (void)state;
    struct fixture *t = setup("");
    origins_destroy(&t->origins);
    open_origin(t, "http://no-such-host.invalid/{key}", "retries=0 connect-timeout=5s timeout=20s");
    struct job j = run(t, REQUEST_LOAD, "hello");
    assert_int_equal(j.r.result, REQUEST_FAILED);
    if (strcmp(j.r.error, "connect timed out") != 0) { /* as where no name server answers */
        assert_string_equal(j.r.error, "host name not found");
    }
    teardown(t);
}

static int closed_port(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    close(fd);
    return ntohs(in.sin_port);
}

static void refused_connections_fail(void **state) {
    (void)state;
    struct fixture *t = setup("");
    char url[64];
    origins_destroy(&t->origins);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/{key}", closed_port());
    open_origin(t, url, "");
    fails_as(t, "hello", "connection refused");
    assert_int_equal(info(t, "retries"), 1);
    assert_int_equal(conns(t).failed, 2);
    assert_int_equal(conns(t).opened + conns(t).open, 0);
    teardown(t);
}

static void refused_requests_do_not_blame_the_origin(void **state) {
    (void)state;
    struct fixture *t = setup("breaker-requests=4 breaker-errors=25%");
    for (int i = 0; i < 10; i++) {
        fails_as(t, "status-403", "HTTP status 403");
        fails_as(t, "loop", "too many redirects");
    }
    assert_false(origin_is_down(t->origin));
    teardown(t);
}

/* ---- breaker, queue, concurrency ---- */

static void the_breaker_opens_and_recovers(void **state) {
    (void)state;
    struct fixture *t = setup("breaker-requests=10 breaker-errors=50% breaker-open=300ms retries=0");
    atomic_store(&t->web.broken, true);
    for (int i = 0; i < 5; i++) {
        assert_false(origin_is_down(t->origin));
        fails_as(t, "broken", "HTTP status 503");
    }
    assert_true(origin_is_down(t->origin));
    assert_true(info_has(t, "state=open"));
    fails_as(t, "hello", "breaker open");
    assert_int_equal(atomic_load(&t->web.requests), 5);
    while (origin_is_down(t->origin)) { /* it says by itself when a trial is due */
        usleep(1000);
    }
    assert_true(info_has(t, "state=half-open"));
    fails_as(t, "broken", "HTTP status 503");
    assert_true(origin_is_down(t->origin));
    while (origin_is_down(t->origin)) {
        usleep(1000);
    }
    atomic_store(&t->web.broken, false);
    loads_as(t, "broken", "hello");
    assert_true(info_has(t, "state=closed"));
    assert_int_equal(info(t, "opened"), 2);
    assert_int_equal(info(t, "refused"), 1);
    loads_as(t, "hello", "hello");
    teardown(t);
}

static void half_open_takes_one_of_many(void **state) {
    (void)state;
    struct fixture *t = setup("breaker-requests=1 breaker-errors=100% breaker-open=20ms retries=0 timeout=20s");
    struct job trial = {0}, others[20] = {0};
    atomic_store(&t->web.broken, true);
    fails_as(t, "broken", "HTTP status 503");
    while (origin_is_down(t->origin)) {
        usleep(1000);
    }
    submit(t, &trial, REQUEST_LOAD, "gate-trial");
    for (int i = 0; i < 20; i++) {
        submit(t, &others[i], REQUEST_LOAD, "hello");
    }
    until_held(t, 1);
    while (t->pending > 1) {
        loop_run(t->loop);
    }
    for (int i = 0; i < 20; i++) {
        assert_string_equal(others[i].r.error, "breaker open");
    }
    assert_true(origin_is_down(t->origin));
    fake_http_open_gate(&t->web);
    wait_all(t);
    assert_int_equal(trial.r.result, REQUEST_OK);
    found_free(&trial.r.found);
    assert_false(origin_is_down(t->origin));
    loads_as(t, "hello", "hello");
    teardown(t);
}

static void an_opening_breaker_empties_the_queue(void **state) {
    (void)state;
    struct fixture *t = setup("breaker-requests=1 breaker-errors=100% breaker-open=60s concurrency=1 timeout=50ms");
    struct job jobs[10] = {0};
    for (int i = 0; i < 10; i++) {
        submit(t, &jobs[i], REQUEST_LOAD, "hang");
    }
    wait_all(t);
    assert_string_equal(jobs[0].r.error, "timed out");
    for (int i = 1; i < 10; i++) {
        assert_string_equal(jobs[i].r.error, "breaker open");
    }
    teardown(t);
}

static void the_queue_is_bounded(void **state) {
    (void)state;
    struct fixture *t = setup("concurrency=2 queue=3");
    struct job jobs[10] = {0};
    int found = 0, full = 0;
    for (int i = 0; i < 10; i++) {
        submit(t, &jobs[i], REQUEST_LOAD, "gate-x");
    }
    while (t->pending > 5) {
        loop_run(t->loop);
    }
    until_held(t, 2);
    assert_int_equal(info(t, "queued"), 3);
    fake_http_open_gate(&t->web);
    wait_all(t);
    for (int i = 0; i < 10; i++) {
        found += jobs[i].r.result == REQUEST_OK;
        full += jobs[i].r.result == REQUEST_FAILED && strcmp(jobs[i].r.error, "queue full") == 0;
        assert_int_equal(jobs[i].r.result, i < 5 ? REQUEST_OK : REQUEST_FAILED);
        found_free(&jobs[i].r.found);
    }
    assert_int_equal(found, 5);
    assert_int_equal(full, 5);
    assert_int_equal(atomic_load(&t->web.most_held), 2);
    teardown(t);
}

static void who_waits_goes_before_the_background(void **state) {
    (void)state;
    struct fixture *t = setup("concurrency=1 queue=2");
    struct job first = {0}, back[2] = {{.r.background = true}, {.r.background = true}}, waited = {0};
    submit(t, &first, REQUEST_LOAD, "gate-x");
    submit(t, &back[0], REQUEST_LOAD, "hello");
    submit(t, &back[1], REQUEST_LOAD, "hello");
    until_held(t, 1);
    submit(t, &waited, REQUEST_LOAD, "hello"); /* pushes the younger one of the background out */
    while (t->pending > 3) {
        loop_run(t->loop);
    }
    assert_string_equal(back[1].r.error, "queue full");
    fake_http_open_gate(&t->web);
    wait_all(t);
    assert_true(waited.order > back[0].order); /* was done while more were pending */
    found_free(&first.r.found);
    found_free(&back[0].r.found);
    found_free(&waited.r.found);
    teardown(t);
}

static void waiting_in_the_queue_ends(void **state) {
    (void)state;
    struct fixture *t = setup("concurrency=1 queue-timeout=30ms");
    struct job first = {0}, second = {0};
    submit(t, &first, REQUEST_LOAD, "gate-x");
    submit(t, &second, REQUEST_LOAD, "hello");
    while (t->pending > 1) {
        loop_run(t->loop);
    }
    assert_string_equal(second.r.error, "waited too long");
    fake_http_open_gate(&t->web);
    wait_all(t);
    assert_int_equal(first.r.result, REQUEST_OK);
    found_free(&first.r.found);
    teardown(t);
}

static void many_at_once_are_served(void **state) {
    (void)state;
    struct fixture *t = setup("concurrency=100 queue=5000");
    enum { N = 2000 };
    static const char *const keys[] = {"hello", "missing", "gzip", "chunked", "big"};
    static const size_t lengths[] = {5, 0, 5, 5, FAKE_BIG};
    struct job *jobs = mem_zalloc(N * sizeof(*jobs));
    for (int i = 0; i < N; i++) {
        submit(t, &jobs[i], REQUEST_LOAD, keys[i % 100 == 0 ? 4 : i % 4]);
    }
    wait_all(t);
    for (int i = 0; i < N; i++) {
        int kind = i % 100 == 0 ? 4 : i % 4;
        assert_int_equal(jobs[i].done, 1);
        assert_string_equal(jobs[i].r.result == REQUEST_FAILED ? jobs[i].r.error : "", "");
        assert_int_equal(jobs[i].r.result, kind == 1 ? REQUEST_ABSENT : REQUEST_OK);
        assert_int_equal(jobs[i].r.found.str.n, lengths[kind]);
        found_free(&jobs[i].r.found);
    }
    assert_in_range(atomic_load(&t->web.connections), 1, 100);
    assert_int_equal(info(t, "in_flight") + info(t, "queued"), 0);
    assert_int_equal(info(t, "found") + info(t, "absent"), N);
    mem_free(jobs);
    teardown(t);
}

static void a_thousand_are_in_flight_at_once(void **state) {
    (void)state;
    struct fixture *t = setup("concurrency=1000");
    enum { N = 1000 };
    struct job *jobs = mem_zalloc(N * sizeof(*jobs));
    for (int i = 0; i < N; i++) {
        submit(t, &jobs[i], REQUEST_LOAD, "gate-x");
    }
    until_held(t, N);
    fake_http_open_gate(&t->web);
    wait_all(t);
    for (int i = 0; i < N; i++) {
        assert_int_equal(jobs[i].r.result, REQUEST_OK);
        found_free(&jobs[i].r.found);
    }
    mem_free(jobs);
    teardown(t);
}

/* ---- shutdown ---- */

static void stopping_fails_what_is_under_way(void **state) {
    (void)state;
    struct fixture *t = setup("concurrency=5");
    struct job jobs[20] = {0};
    for (int i = 0; i < 20; i++) {
        submit(t, &jobs[i], REQUEST_LOAD, "hang");
    }
    while (info(t, "in_flight") < 5) {
        usleep(1000);
    }
    origins_stop(t->origins);
    wait_all(t);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(jobs[i].done, 1);
        assert_string_equal(jobs[i].r.error, "shutting down");
    }
    teardown(t);
}

static void stopping_ends_the_rest_before_a_retry(void **state) {
    (void)state;
    struct fixture *t = setup("retry-after=60s");
    struct job j = {0};
    submit(t, &j, REQUEST_LOAD, "status-503");
    while (info(t, "attempts") < 1 || info(t, "in_flight") > 0 || info(t, "queued") < 1) {
        usleep(1000);
    }
    origins_stop(t->origins);
    wait_all(t);
    assert_string_equal(j.r.error, "HTTP status 503");
    teardown(t);
}

static void later_requests_are_answered_too(void **state) {
    (void)state;
    struct fixture *t = setup("");
    struct job j = {0};
    origins_stop(t->origins);
    submit(t, &j, REQUEST_LOAD, "hello");
    origins_destroy(&t->origins);
    wait_all(t);
    assert_string_equal(j.r.error, "shutting down");
    teardown(t);
}

static void a_stopped_loop_gets_its_answers_when_it_is_destroyed(void **state) {
    (void)state;
    struct fixture *t = setup("");
    struct job jobs[3] = {0};
    for (int i = 0; i < 3; i++) {
        submit(t, &jobs[i], REQUEST_LOAD, "hang"); /* and the loop never runs again */
    }
    origins_destroy(&t->origins);
    assert_int_equal(jobs[0].done, 0);
    fake_http_stop(&t->web);
    loop_destroy(&t->loop);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(jobs[i].done, 1);
    }
    mem_free(t);
}

/* ---- configuration ---- */

static void refuse(const char *line, const char *reason) {
    struct buf why = {0};
    if (origin_check(slice_cstr(line), &why)) {
        fail_msg("taken: %s", line);
    }
    buf_putc(&why, '\0');
    if (strstr(why.p, reason) == NULL || strstr(why.p, "allowed") == NULL) {
        fail_msg("%s: %s", line, why.p);
    }
    buf_free(&why);
}

static void take(const char *line) {
    struct buf why = {0};
    if (!origin_check(slice_cstr(line), &why)) {
        fail_msg("%s: %.*s", line, (int)why.n, why.p);
    }
    buf_free(&why);
}

static void lines_are_checked(void **state) {
    (void)state;
    take("users http://127.0.0.1:9000/users/{key}");
    take("u-s.e_r1 HTTPS://user:pw@[::1]:9000/users?id={1} timeout=2s concurrency=8 header=\"X-Key: 1 2\"");
    refuse("", "too few words");
    refuse("users", "too few words");
    refuse("\"users", "unbalanced quotes");
    refuse("a,b http://h/{key}", "'a,b': not a name");
    refuse("users gopher://h/{key}", "'gopher://h/{key}': not an origin's URL; allowed: those that begin with http: https:");
    refuse("users h/{key}", "not an origin's URL");
    refuse("users http:h/{key}", "no host");
    refuse("users http:///{key}", "no host");
    refuse("users http://{key}/x", "a key may not choose the host");
    refuse("users http://u:{1}@h/x", "a key may not choose the host");
    refuse("users http://h/users", "the same for every key");
    refuse("users http://h/{key}/{2}", "a brace");
    refuse("users http://h/{key}/../x", "'..' in the path");
    refuse("users http://h/{key}#x", "'#'");
    refuse("users \"http://h/{key} x\"", "a blank");
    refuse("users http://h:99999/{key}", "");
    refuse("users http://h/{key} timeout=0", "timeout: ");
    refuse("users http://h/{key} timeout", "'timeout': not an option; allowed: timeout=");
    refuse("users http://h/{key} header=NoColon", "header: 'NoColon' cannot be sent");
    refuse("users http://h/{key} \"header=A b: c\"", "cannot be sent");
    refuse("users http://h/{key} \"header=Content-Length: 3\"", "cannot be sent");
    refuse("users http://h/{key} \"header=Empty: \"", "cannot be sent");
}

static void lines_have_names(void **state) {
    (void)state;
    const char *lines = "users http://h/{key}\n\nitems http://h/{key} timeout=1s\n";
    assert_true(origin_named(lines, SLICE("users")));
    assert_true(origin_named(lines, SLICE("items")));
    assert_false(origin_named(lines, SLICE("user")));
    assert_false(origin_named("", SLICE("")));
    struct buf err = {0};
    struct origins *o = origins_create(lines, INT64_MAX, &err);
    assert_non_null(o);
    assert_string_equal(origin_name(origins_find(o, SLICE("items"))), "items");
    assert_null(origins_find(o, SLICE("http://h/{key}")));
    origins_destroy(&o);
    assert_null(origins_create("a http://h/{key}\na http://h/{key}", INT64_MAX, &err));
    assert_slice(buf_slice(&err), "'a': given twice; allowed: once");
    buf_clear(&err);
    assert_null(origins_create("a http://h/{key}\nb http://h/", INT64_MAX, &err));
    assert_true(err.n > 0);
    o = origins_create("", INT64_MAX, &err);
    assert_non_null(o);
    origins_destroy(&o);
    buf_free(&err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_found),
        cmocka_unit_test(absent_is_no_failure),
        cmocka_unit_test(connections_are_kept),
        cmocka_unit_test(keys_are_percent_encoded),
        cmocka_unit_test(both_places_are_filled_in),
        cmocka_unit_test(gzip_is_unpacked),
        cmocka_unit_test(a_gzip_bomb_is_too_long),
        cmocka_unit_test(headers_are_sent),
        cmocka_unit_test(lifetimes_come_along),
        cmocka_unit_test(redirects_are_followed_three_times),
        cmocka_unit_test(strings_are_written),
        cmocka_unit_test(other_types_are_not),
        cmocka_unit_test(statuses_fail),
        cmocka_unit_test(some_failures_are_tried_again),
        cmocka_unit_test(retries_have_a_budget),
        cmocka_unit_test(no_budget_no_retries),
        cmocka_unit_test(a_hanging_origin_times_out),
        cmocka_unit_test(broken_replies_fail_whole),
        cmocka_unit_test(long_values_are_refused),
        cmocka_unit_test(names_that_are_none_fail),
        cmocka_unit_test(refused_connections_fail),
        cmocka_unit_test(refused_requests_do_not_blame_the_origin),
        cmocka_unit_test(the_breaker_opens_and_recovers),
        cmocka_unit_test(half_open_takes_one_of_many),
        cmocka_unit_test(an_opening_breaker_empties_the_queue),
        cmocka_unit_test(the_queue_is_bounded),
        cmocka_unit_test(who_waits_goes_before_the_background),
        cmocka_unit_test(waiting_in_the_queue_ends),
        cmocka_unit_test(many_at_once_are_served),
        cmocka_unit_test(a_thousand_are_in_flight_at_once),
        cmocka_unit_test(stopping_fails_what_is_under_way),
        cmocka_unit_test(stopping_ends_the_rest_before_a_retry),
        cmocka_unit_test(later_requests_are_answered_too),
        cmocka_unit_test(a_stopped_loop_gets_its_answers_when_it_is_destroyed),
        cmocka_unit_test(lines_are_checked),
        cmocka_unit_test(lines_have_names),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
