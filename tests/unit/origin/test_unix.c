/* SPDX-License-Identifier: BSD-3-Clause */
/* test_unix: a loader on a unix socket, in good order and in every other. */
#include "tests/unit/origin/driver_rig.h"
#include "tests/unit/origin/fake_server.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[] = P_tmpdir "/strata-unix-XXXXXX";
static char path[100], url[108];
static _Atomic bool silent;

static void put_bulk(struct buf *b, struct slice s) {
    buf_printf(b, "$%zu\r\n%.*s\r\n", s.n, SLICE_ARG(s));
}

/* The loader: what the key is called says how it answers. */
static bool load(void *ctx, int argc, const struct slice *argv, struct buf *reply) {
    (void)ctx;
    static const struct {
        const char *key, *reply;
    } fixed[] = {
        {"none", "$-1\r\n"},
        {"none-array", "*-1\r\n"},
        {"none-for-5s", "*2\r\n$-1\r\n:5000\r\n"},
        {"for-7s", "*2\r\n$1\r\nv\r\n:7000\r\n"},
        {"for-8s", "*2\r\n$1\r\nv\r\n$4\r\n8000\r\n"},
        {"empty", "$0\r\n\r\n"},
        {"error", "-ERR the database is gone\r\n"},
        {"number", ":1\r\n"},
        {"three", "*3\r\n$1\r\na\r\n:1\r\n:1\r\n"},
        {"bad-ttl", "*2\r\n$1\r\na\r\n:-5\r\n"},
        {"garbage", "HTTP/1.1 200 OK\r\n"},
        {"two-gigabytes", "$2147483648\r\n"},
    };
    if (atomic_load(&silent)) {
        return true;
    }
    for (size_t i = 0; argc == 2 && i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if (fake_is(argv, "LOAD") && slice_eq(argv[1], slice_cstr(fixed[i].key))) {
            buf_puts(reply, fixed[i].reply);
            return true;
        }
    }
    if (fake_is(argv, "LOAD") && slice_eq(argv[1], SLICE("close"))) {
        buf_puts(reply, "$100\r\nhalf of it");
        return false;
    }
    if (fake_is(argv, "LOAD")) {
        put_bulk(reply, argv[1]);
    } else if (fake_is(argv, "STORE") && argc == 4) {
        bool right = slice_eq(argv[2], SLICE("value")) && (slice_eq(argv[3], SLICE("-1")) || argv[3].n == 4);
        buf_puts(reply, right ? "+OK\r\n" : "-ERR not what was stored\r\n");
    } else {
        buf_puts(reply, fake_is(argv, "REMOVE") && argc == 2 ? ":1\r\n" : "-ERR what?\r\n");
    }
    return true;
}

struct fixture {
    struct driver_rig rig;
    struct fake_server *loader;
};

static void setup(struct fixture *t) {
    atomic_store(&silent, false);
    t->loader = fake_server_start(path, load, NULL);
    rig_options(&t->rig);
    t->rig.options.max_value = 1 << 20;
    rig_open(&t->rig, &origin_unix, url);
}

static void teardown(struct fixture *t) {
    rig_close(&t->rig);
    if (t->loader != NULL) {
        fake_server_stop(&t->loader);
    }
}

static void a_value_is_loaded(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    assert_string_equal(rig_load(&t.rig, "a-key"), "a-key");
    assert_string_equal(rig_load(&t.rig, "empty"), "");
    assert_string_equal(rig_load(&t.rig, "none"), "(absent)");
    assert_string_equal(rig_load(&t.rig, "none-array"), "(absent)");
    assert_int_equal(fake_server_connections(t.loader), 1); /* one is enough while nothing waits */
    teardown(&t);
}

static void the_loader_may_give_a_lifetime(void **state) {
    (void)state;
    static const struct {
        const char *key;
        int64_t ttl_ms;
        enum request_result result;
    } rows[] = {{"a-key", -1, REQUEST_OK}, {"for-7s", 7000, REQUEST_OK}, {"for-8s", 8000, REQUEST_OK}, {"none-for-5s", 5000, REQUEST_ABSENT}};
    struct fixture t;
    setup(&t);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ask a = {0};
        rig_start(&t.rig, &a, REQUEST_LOAD, rows[i].key);
        rig_wait(&t.rig, &a);
        assert_int_equal(a.r.result, rows[i].result);
        assert_int_equal(a.r.life.ttl_ms, rows[i].ttl_ms);
        assert_int_equal(a.r.life.exact, rows[i].ttl_ms >= 0);
        assert_int_equal(a.r.life.stale_ms, -1);
        assert_int_equal(a.r.life.error_ms, -1);
        found_free(&a.r.found);
    }
    teardown(&t);
}

static void writes_are_told(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    assert_string_equal(rig_put(&t.rig, "k", "value", -1), "OK");
    assert_string_equal(rig_put(&t.rig, "k", "value", 9000), "OK");
    assert_string_equal(rig_put(&t.rig, "k", "other", -1), "!loader error");
    assert_string_equal(rig_del(&t.rig, "k"), "OK");
    struct value *hash = hash_create();
    struct ask a = {.r.item = {.type = TYPE_HASH, .value = hash, .expire_ms = -1}};
    rig_start(&t.rig, &a, REQUEST_PUT, "k");
    assert_true(a.ended);
    assert_string_equal(a.r.error, "only strings can be stored there");
    value_unref(hash);
    teardown(&t);
}

static void bad_answers_are_failures(void **state) {
    (void)state;
    static const struct {
        const char *key, *error;
        bool retry;
    } rows[] = {
        {"error", "loader error", false},      {"number", "unexpected reply", false}, {"three", "unexpected reply", false},
        {"bad-ttl", "unexpected reply", false}, {"garbage", "protocol error", true},   {"two-gigabytes", "value too long", false},
        {"close", "connection closed", true},
    };
    struct fixture t;
    setup(&t);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ask a = {0};
        rig_start(&t.rig, &a, REQUEST_LOAD, rows[i].key);
        rig_wait(&t.rig, &a);
        assert_int_equal(a.r.result, REQUEST_FAILED);
        assert_string_equal(a.r.error, rows[i].error);
        assert_int_equal(a.retry, rows[i].retry);
        assert_int_equal(a.r.blame, rows[i].retry ? BLAME_ORIGIN : BLAME_REQUEST);
        assert_null(a.r.found.str.p);
        assert_string_equal(rig_load(&t.rig, "next"), "next"); /* and it goes on */
    }
    teardown(&t);
}

static void many_requests_use_more_connections(void **state) {
    (void)state;
    struct fixture t;
    struct ask asks[40] = {0};
    setup(&t);
    for (int i = 0; i < 40; i++) {
        rig_start(&t.rig, &asks[i], REQUEST_LOAD, "k");
    }
    for (int i = 0; i < 40; i++) {
        rig_wait(&t.rig, &asks[i]);
        assert_slice(buf_slice(&asks[i].r.found.str), "k");
        found_free(&asks[i].r.found);
    }
    assert_int_equal(fake_server_connections(t.loader), 16);
    teardown(&t);
}

static void a_loader_may_go_and_come_back(void **state) {
    (void)state;
    struct fixture t;
    setup(&t);
    assert_string_equal(rig_load(&t.rig, "k"), "k");
    fake_server_stop(&t.loader);
    for (int i = 0; i < 20; i++) {
        const char *said = rig_load(&t.rig, "k");
        assert_int_equal(said[0], '!');
    }
    assert_string_equal(rig_load(&t.rig, "k"), "!no such socket");
    t.loader = fake_server_start(path, load, NULL);
    assert_true(rig_recovers(&t.rig, "k"));
    teardown(&t);
}

static void a_silent_loader_costs_only_time(void **state) {
    (void)state;
    struct fixture t;
    struct ask a = {0}, b = {0};
    setup(&t);
    atomic_store(&silent, true);
    rig_start(&t.rig, &a, REQUEST_LOAD, "k");
    run_loop_for(&t.rig.run, 100);
    rig_cancel(&t.rig, &a);
    rig_start(&t.rig, &b, REQUEST_LOAD, "k");
    rig_wait(&t.rig, &b);
    assert_string_equal(b.r.error, "no answer");
    assert_true(b.retry);
    atomic_store(&silent, false);
    assert_string_equal(rig_load(&t.rig, "k"), "k");
    teardown(&t);
}

static void urls_are_checked(void **state) {
    (void)state;
    assert_null(rig_refusal(&origin_unix, "unix:/run/loader.sock"));
    assert_null(rig_refusal(&origin_unix, "unix:///run/loader.sock"));
    assert_string_equal(rig_refusal(&origin_unix, "unix:loader.sock"), "the socket's path is absolute");
    assert_string_equal(rig_refusal(&origin_unix, "unix:"), "the socket's path is absolute");
    assert_string_equal(rig_refusal(&origin_unix, "http://x"), "the URL is unix:/path/to/socket");
    char text[200] = "unix:/";
    memset(text + 6, 'x', 120);
    assert_string_equal(rig_refusal(&origin_unix, text), "the socket's path is too long");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_loaded),
        cmocka_unit_test(the_loader_may_give_a_lifetime),
        cmocka_unit_test(writes_are_told),
        cmocka_unit_test(bad_answers_are_failures),
        cmocka_unit_test(many_requests_use_more_connections),
        cmocka_unit_test(a_loader_may_go_and_come_back),
        cmocka_unit_test(a_silent_loader_costs_only_time),
        cmocka_unit_test(urls_are_checked),
    };
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    snprintf(path, sizeof(path), "%s/s", dir);
    snprintf(url, sizeof(url), "unix:%s", path);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(dir);
    return failed;
}
