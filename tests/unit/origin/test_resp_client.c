/* SPDX-License-Identifier: BSD-3-Clause */
/* test_resp_client: order, cancelling, silence, lies and comebacks on one connection, against a server that does as it is told. */
#include "tests/unit/run_loop.h"

#include <stdatomic.h>
#include <stdio.h>

#include "src/base/mem.h"
#include "src/net/dial.h"
#include "src/origin/resp_client.h"
#include "src/stats/conns.h"
#include "tests/unit/origin/fake_server.h"

static _Atomic bool silent;
static _Atomic int logins;

/* ECHO x: x. RAW x: the bytes x. DROP: half a reply and no more. NONE: nothing. AUTH: right for "word", unanswered for "none". */
static bool serve(void *ctx, int argc, const struct slice *argv, struct buf *reply) {
    (void)ctx;
    if (fake_is(argv, "AUTH") && slice_eq(argv[argc - 1], SLICE("none"))) {
        return true;
    } else if (fake_is(argv, "AUTH")) {
        atomic_fetch_add(&logins, 1);
        buf_puts(reply, slice_eq(argv[argc - 1], SLICE("word")) ? "+OK\r\n" : "-WRONGPASS no\r\n");
    } else if (fake_is(argv, "SELECT")) {
        buf_puts(reply, slice_eq(argv[1], SLICE("7")) ? "+OK\r\n" : "-ERR DB index is out of range\r\n");
    } else if (atomic_load(&silent) || fake_is(argv, "NONE")) {
        return true;
    } else if (fake_is(argv, "RAW")) {
        buf_put_slice(reply, argv[1]);
    } else if (fake_is(argv, "DROP")) {
        buf_puts(reply, "$10\r\nabc");
        return false;
    } else {
        buf_printf(reply, "$%zu\r\n", argv[1].n);
        buf_put_slice(reply, argv[1]);
        buf_puts(reply, "\r\n");
    }
    return true;
}

struct fixture {
    struct run_loop run;
    struct dialer *dialer;
    struct fake_server *server;
    struct resp_client_options options;
    struct resp_client *client;
    struct conns conns;
    bool closed;
};

static void prepare(struct fixture *t) {
    *t = (struct fixture){0};
    atomic_store(&silent, false);
    atomic_store(&logins, 0);
    run_loop_open(&t->run);
    t->dialer = dialer_create(t->run.loop);
    t->server = fake_server_start(NULL, serve, NULL);
    t->options = (struct resp_client_options){.loop = t->run.loop,
                                              .dialer = t->dialer,
                                              .host = "127.0.0.1",
                                              .port = fake_server_port(t->server),
                                              .connect_ms = 300,
                                              .silence_ms = 10000,
                                              .max_bulk_bytes = 4 << 20,
                                              .max_abandoned = 4,
                                              .max_unsent_bytes = 8 << 20,
                                              .conns = &t->conns};
}

static void setup(struct fixture *t) {
    prepare(t);
    t->client = resp_client_create(&t->options);
}

/* The client has that password. */
static void setup_with(struct fixture *t, struct slice password) {
    prepare(t);
    t->options.password = password;
    t->client = resp_client_create(&t->options);
}

static void on_closed(void *ctx) {
    *(bool *)ctx = true;
}

static void teardown(struct fixture *t) {
    resp_client_destroy(&t->client);
    assert_int_equal(STAT_GET(t->conns.open) + STAT_GET(t->conns.idle), 0);
    dialer_close(&t->dialer, on_closed, &t->closed);
    assert_true(run_loop_flag_set(&t->run, &t->closed));
    run_loop_close(&t->run);
    if (t->server != NULL) {
        fake_server_stop(&t->server);
    }
}

/* A request and what came of it. */
struct call {
    struct resp_request wire;
    struct buf said; /* strings of the replies, joined by '|' */
    bool ended;
    enum resp_failure failure;
    const char *error;
};

static void on_reply(struct resp_request *r, int index, const struct reply *reply) {
    struct call *c = (struct call *)(void *)r;
    buf_puts(&c->said, index > 0 ? "|" : "");
    buf_put_slice(&c->said, reply->str);
    c->ended = index + 1 == r->commands;
}

static void on_failed(struct resp_request *r, enum resp_failure failure, const char *error) {
    struct call *c = (struct call *)(void *)r;
    assert_false(c->ended);
    c->ended = true;
    c->error = error;
    c->failure = failure;
}

static void add(struct call *c, const char *word, struct slice arg) {
    struct slice argv[2] = {slice_cstr(word), arg};
    assert_true(resp_put(&c->wire.bytes, argv, 2));
    c->wire.commands++;
}

static const char *send_it(struct fixture *t, struct call *c) {
    c->wire.reply = on_reply;
    c->wire.failed = on_failed;
    const char *error = resp_send(t->client, &c->wire);
    if (error != NULL) {
        buf_free(&c->wire.bytes);
        c->ended = true;
        c->error = error;
    }
    return error;
}

static void start(struct fixture *t, struct call *c, const char *word, const char *arg) {
    *c = (struct call){0};
    add(c, word, slice_cstr(arg));
    send_it(t, c);
}

static void wait_for(struct fixture *t, struct call *c) {
    assert_true(run_loop_flag_set(&t->run, &c->ended));
}

static void expect(struct fixture *t, struct call *c, const char *said) {
    wait_for(t, c);
    assert_null(c->error);
    assert_slice(buf_slice(&c->said), said);
    buf_free(&c->said);
}

static void expect_error(struct fixture *t, struct call *c, const char *error, enum resp_failure failure) {
    wait_for(t, c);
    assert_non_null(c->error);
    assert_string_equal(c->error, error);
    assert_int_equal(c->failure, failure);
    buf_free(&c->said);
}

static bool two_commands(void *ctx) {
    return fake_server_commands(((struct fixture *)ctx)->server) == 2;
}

static bool six_commands(void *ctx) {
    return fake_server_commands(((struct fixture *)ctx)->server) == 6;
}

/* ---- */

static void replies_come_in_order(void **state) {
    (void)state;
    struct fixture t;
    struct call calls[200];
    char text[12];
    setup(&t);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 200; i++) {
            snprintf(text, sizeof(text), "%d", i);
            start(&t, &calls[i], "ECHO", text);
            assert_false(calls[i].ended);
        }
        assert_int_equal(resp_client_load(t.client), 200);
        for (int i = 0; i < 200; i++) {
            snprintf(text, sizeof(text), "%d", i);
            expect(&t, &calls[i], text);
        }
    }
    assert_int_equal(fake_server_connections(t.server), 1);
    assert_int_equal(resp_client_load(t.client), 0);
    teardown(&t);
}

static void a_request_may_be_several_commands(void **state) {
    (void)state;
    struct fixture t;
    struct call a = {0}, b;
    setup(&t);
    add(&a, "ECHO", SLICE("one"));
    add(&a, "RAW", SLICE("+two\r\n"));
    add(&a, "RAW", SLICE("-ERR three\r\n"));
    assert_null(send_it(&t, &a));
    start(&t, &b, "ECHO", "next");
    expect(&t, &a, "one|two|ERR three");
    expect(&t, &b, "next");
    teardown(&t);
}

/* Longer than what is read, and written, at once. */
static void long_strings_pass_both_ways(void **state) {
    (void)state;
    struct fixture t;
    struct call a = {0}, b;
    struct buf big = {0};
    size_t n = 3 << 20;
    setup(&t);
    for (size_t i = 0; i < n; i++) {
        buf_putc(&big, (char)i);
    }
    add(&a, "ECHO", buf_slice(&big));
    assert_null(send_it(&t, &a));
    start(&t, &b, "ECHO", "behind");
    wait_for(&t, &a);
    assert_int_equal(a.said.n, n);
    assert_memory_equal(a.said.p, big.p, n);
    expect(&t, &b, "behind");
    buf_free(&a.said);
    buf_free(&big);
    teardown(&t);
}

static void a_cancelled_request_is_forgotten(void **state) {
    (void)state;
    struct fixture t;
    struct call before, sent, unsent, after;
    setup(&t);
    start(&t, &unsent, "ECHO", "never sent");
    resp_cancel(&unsent.wire);
    resp_cancel(&unsent.wire); /* harmless */
    start(&t, &before, "ECHO", "before");
    expect(&t, &before, "before");
    assert_int_equal(fake_server_commands(t.server), 1);
    atomic_store(&silent, true);
    start(&t, &sent, "ECHO", "sent");
    assert_true(run_loop_until(&t.run, two_commands, &t));
    atomic_store(&silent, false);
    resp_cancel(&sent.wire);
    assert_int_equal(resp_client_load(t.client), 1); /* a reply is owed all the same */
    start(&t, &after, "RAW", "$4\r\nlate\r\n$5\r\nafter\r\n");
    expect(&t, &after, "after");
    assert_false(sent.ended || unsent.ended);
    assert_int_equal(fake_server_connections(t.server), 1);
    teardown(&t);
}

static void a_silent_server_is_dropped(void **state) {
    (void)state;
    struct fixture t;
    struct call a, b;
    prepare(&t);
    t.options.silence_ms = 100;
    t.client = resp_client_create(&t.options);
    start(&t, &a, "ECHO", "a");
    expect(&t, &a, "a");
    atomic_store(&silent, true);
    int64_t start_us = clock_mono_us();
    start(&t, &a, "ECHO", "a");
    start(&t, &b, "ECHO", "b");
    resp_cancel(&b.wire);
    expect_error(&t, &a, "no answer", RESP_LOST);
    assert_in_range((clock_mono_us() - start_us) / 1000, 95, 5000);
    assert_false(b.ended);
    assert_int_equal(resp_client_load(t.client), 0);
    atomic_store(&silent, false);
    start(&t, &a, "ECHO", "again"); /* at once: after a reply one failure is an accident */
    expect(&t, &a, "again");
    assert_int_equal(fake_server_connections(t.server), 2);
    teardown(&t);
}

static void idle_is_not_silent(void **state) {
    (void)state;
    struct fixture t;
    struct call a;
    prepare(&t);
    t.options.silence_ms = 50;
    t.client = resp_client_create(&t.options);
    for (int i = 0; i < 2; i++) {
        start(&t, &a, "ECHO", "a");
        expect(&t, &a, "a");
        run_loop_for(&t.run, 120);
    }
    assert_int_equal(fake_server_connections(t.server), 1);
    teardown(&t);
}

static void too_many_abandoned_cost_the_connection(void **state) {
    (void)state;
    struct fixture t;
    struct call calls[5], witness, again;
    setup(&t);
    atomic_store(&silent, true);
    for (int i = 0; i < 5; i++) {
        start(&t, &calls[i], "ECHO", "x");
    }
    start(&t, &witness, "ECHO", "x");
    assert_true(run_loop_until(&t.run, six_commands, &t));
    for (int i = 0; i < 5; i++) {
        assert_false(witness.ended);
        resp_cancel(&calls[i].wire);
    }
    expect_error(&t, &witness, "too many replies outstanding", RESP_LOST);
    assert_int_equal(resp_client_load(t.client), 0);
    atomic_store(&silent, false);
    start(&t, &again, "ECHO", "again");
    expect(&t, &again, "again");
    teardown(&t);
}

static void garbage_fails_everything(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"HTTP/1.1 200 OK\r\n", "protocol error"}, {"$-7\r\n", "protocol error"}, {"+a\r\n+unasked\r\n+for\r\n", "protocol error"},
        {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", "protocol error"},
    };
    struct fixture t;
    struct call good, bad, behind;
    setup(&t);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        start(&t, &good, "ECHO", "good");
        expect(&t, &good, "good");
        start(&t, &bad, "RAW", rows[i][0]);
        start(&t, &behind, "NONE", "");
        wait_for(&t, &bad);
        wait_for(&t, &behind);
        if (i != 2) {
            assert_string_equal(bad.error, rows[i][1]);
            assert_string_equal(behind.error, rows[i][1]);
        } else { /* two were owed, three came */
            assert_slice(buf_slice(&bad.said), "a");
            assert_slice(buf_slice(&behind.said), "unasked");
            run_loop_for(&t.run, 5);
        }
        buf_free(&bad.said);
        buf_free(&behind.said);
        assert_int_equal(fake_server_connections(t.server), i + 1);
    }
    teardown(&t);
}

/* Refused by what it announces: those bytes never come. */
static void a_string_too_long_is_not_read(void **state) {
    (void)state;
    struct fixture t;
    struct call a, behind, next;
    setup(&t);
    start(&t, &a, "RAW", "$4194305\r\nabc");
    start(&t, &behind, "NONE", "");
    expect_error(&t, &a, "value too long", RESP_TOO_LONG);
    expect_error(&t, &behind, "connection dropped after a value too long", RESP_BYSTANDER);
    start(&t, &next, "ECHO", "next");
    expect(&t, &next, "next");
    teardown(&t);
}

static void half_a_reply_is_none(void **state) {
    (void)state;
    struct fixture t;
    struct call a, b;
    setup(&t);
    start(&t, &a, "DROP", "");
    start(&t, &b, "ECHO", "b");
    wait_for(&t, &a);
    wait_for(&t, &b);
    assert_non_null(a.error);
    assert_int_equal(a.failure, RESP_LOST);
    assert_non_null(b.error);
    assert_int_equal(b.failure, RESP_LOST);
    teardown(&t);
}

static void a_login_comes_first(void **state) {
    (void)state;
    struct fixture t;
    struct call a, b;
    prepare(&t);
    t.options.user = SLICE("somebody");
    t.options.password = SLICE("word");
    t.options.db = 7;
    t.client = resp_client_create(&t.options);
    start(&t, &a, "ECHO", "a");
    start(&t, &b, "ECHO", "b");
    expect(&t, &a, "a");
    expect(&t, &b, "b");
    assert_int_equal(fake_server_commands(t.server), 4);
    teardown(&t);
}

static void a_refused_login_is_not_repeated_at_every_request(void **state) {
    (void)state;
    struct fixture t;
    struct call a;
    setup_with(&t, SLICE("wrong"));
    for (int i = 0; i < 50; i++) {
        start(&t, &a, "ECHO", "a");
        wait_for(&t, &a);
        assert_string_equal(a.error, "authentication failed");
    }
    assert_in_range(atomic_load(&logins), 2, 10);
    teardown(&t);
}

static void a_database_may_be_refused(void **state) {
    (void)state;
    struct fixture t;
    struct call a;
    prepare(&t);
    t.options.password = SLICE("word");
    t.options.db = 8;
    t.client = resp_client_create(&t.options);
    start(&t, &a, "ECHO", "a");
    expect_error(&t, &a, "database refused", RESP_LOGIN);
    teardown(&t);
}

static void a_login_that_hangs_ends(void **state) {
    (void)state;
    struct fixture t;
    struct call a;
    prepare(&t);
    t.options.connect_ms = 60;
    t.options.silence_ms = 60000;
    t.options.password = SLICE("none"); /* never answered */
    t.client = resp_client_create(&t.options);
    start(&t, &a, "ECHO", "a");
    expect_error(&t, &a, "no answer", RESP_LOST);
    teardown(&t);
}

static void a_server_that_is_gone_is_dialled_less_and_less(void **state) {
    (void)state;
    struct fixture t;
    struct call a;
    setup(&t);
    start(&t, &a, "ECHO", "a");
    expect(&t, &a, "a");
    fake_server_stop(&t.server);
    int dialled = 0, refused = 0;
    int64_t end_us = clock_mono_us() + 400000;
    while (clock_mono_us() < end_us) {
        bool down = resp_client_is_down(t.client);
        start(&t, &a, "ECHO", "a");
        assert_int_equal(down, a.ended);
        refused += down;
        dialled += !down;
        wait_for(&t, &a);
        run_loop_for(&t.run, 1);
    }
    assert_in_range(dialled, 3, 9); /* at 0, 0, then after 25, 50, 100, 200 ms, or half of that */
    assert_true(refused > 0);
    assert_string_equal(a.error, "connection refused");
    teardown(&t);
}

static void a_connection_closed_while_idle_is_made_anew(void **state) {
    (void)state;
    struct fixture t;
    struct call a;
    setup(&t);
    start(&t, &a, "ECHO", "a");
    expect(&t, &a, "a");
    fake_server_hang_up(t.server);
    run_loop_for(&t.run, 50);
    start(&t, &a, "ECHO", "b");
    expect(&t, &a, "b");
    assert_int_equal(fake_server_connections(t.server), 2);
    teardown(&t);
}

static void what_waits_to_be_sent_is_bounded(void **state) {
    (void)state;
    struct fixture t;
    struct call a = {0}, b = {0};
    char *big = mem_zalloc(5 << 20);
    setup(&t);
    add(&a, "NONE", slice_make(big, 5 << 20));
    add(&b, "NONE", slice_make(big, 5 << 20));
    assert_null(send_it(&t, &a));
    assert_string_equal(send_it(&t, &b), "too much waiting to be sent");
    resp_cancel(&a.wire);
    mem_free(big);
    teardown(&t);
}

/* Whoever is told of a failure may send the next request at once. */
static struct fixture *repeating;
static int repeats;

static void send_again(struct resp_request *r, enum resp_failure failure, const char *error) {
    struct call *c = (struct call *)(void *)r;
    (void)failure;
    (void)error;
    if (++repeats == 3) {
        c->ended = true;
        return;
    }
    c->wire = (struct resp_request){0};
    add(c, "DROP", SLICE(""));
    c->wire.reply = on_reply;
    c->wire.failed = send_again;
    if (resp_send(repeating->client, &c->wire) != NULL) {
        buf_free(&c->wire.bytes);
        c->ended = true;
    }
}

static void a_failure_may_be_answered_with_a_request(void **state) {
    (void)state;
    struct fixture t;
    struct call a = {0}, first;
    setup(&t);
    repeating = &t;
    repeats = 0;
    start(&t, &first, "ECHO", "a");
    expect(&t, &first, "a");
    send_again(&a.wire, RESP_LOST, NULL);
    wait_for(&t, &a);
    assert_int_equal(repeats, 3);
    teardown(&t);
}

static void destroying_forgets_what_is_under_way(void **state) {
    (void)state;
    struct fixture t;
    struct call a, b, c;
    setup(&t);
    start(&t, &a, "ECHO", "a");
    expect(&t, &a, "a");
    start(&t, &b, "NONE", "");
    assert_true(run_loop_until(&t.run, two_commands, &t));
    start(&t, &c, "NONE", "");
    teardown(&t);
    assert_false(b.ended || c.ended);
}

/* opened, reused, failed, open, idle */
static void counts(const struct fixture *t, uint64_t opened, uint64_t reused, uint64_t failed, uint64_t open, uint64_t idle) {
    struct conn_numbers n = {0};
    conn_numbers_add(&n, &t->conns);
    assert_int_equal(n.opened, opened);
    assert_int_equal(n.reused, reused);
    assert_int_equal(n.failed, failed);
    assert_int_equal(n.open, open);
    assert_int_equal(n.idle, idle);
}

static void connections_are_counted(void **state) {
    (void)state;
    struct fixture t;
    struct call a, b, c;
    setup_with(&t, SLICE("word"));
    counts(&t, 0, 0, 0, 0, 0);
    start(&t, &a, "ECHO", "a");
    start(&t, &b, "ECHO", "b"); /* waits for the same one */
    counts(&t, 0, 0, 0, 0, 0);
    expect(&t, &a, "a");
    expect(&t, &b, "b");
    counts(&t, 1, 0, 0, 1, 1);
    start(&t, &c, "ECHO", "c");
    counts(&t, 1, 1, 0, 1, 0);
    expect(&t, &c, "c");
    start(&t, &c, "ECHO", "c");
    resp_cancel(&c.wire); /* before it was sent */
    counts(&t, 1, 2, 0, 1, 1);
    fake_server_stop(&t.server);
    run_loop_for(&t.run, 50);
    counts(&t, 1, 2, 0, 0, 0); /* that one did not fail: it was there */
    do { /* after some time */
        start(&t, &a, "ECHO", "a");
        wait_for(&t, &a);
    } while (strcmp(a.error, "connection refused") != 0);
    counts(&t, 1, 2, STAT_GET(t.conns.failed), 0, 0);
    assert_true(STAT_GET(t.conns.failed) > 0);
    teardown(&t);
}

static void a_login_refused_counts_as_failed(void **state) {
    (void)state;
    struct fixture t;
    struct call a;
    setup_with(&t, SLICE("wrong"));
    start(&t, &a, "ECHO", "a");
    expect_error(&t, &a, "authentication failed", RESP_LOGIN);
    counts(&t, 0, 0, 1, 0, 0);
    teardown(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_come_in_order),
        cmocka_unit_test(a_request_may_be_several_commands),
        cmocka_unit_test(long_strings_pass_both_ways),
        cmocka_unit_test(a_cancelled_request_is_forgotten),
        cmocka_unit_test(a_silent_server_is_dropped),
        cmocka_unit_test(idle_is_not_silent),
        cmocka_unit_test(too_many_abandoned_cost_the_connection),
        cmocka_unit_test(garbage_fails_everything),
        cmocka_unit_test(a_string_too_long_is_not_read),
        cmocka_unit_test(half_a_reply_is_none),
        cmocka_unit_test(a_login_comes_first),
        cmocka_unit_test(a_refused_login_is_not_repeated_at_every_request),
        cmocka_unit_test(a_database_may_be_refused),
        cmocka_unit_test(a_login_that_hangs_ends),
        cmocka_unit_test(a_server_that_is_gone_is_dialled_less_and_less),
        cmocka_unit_test(a_connection_closed_while_idle_is_made_anew),
        cmocka_unit_test(what_waits_to_be_sent_is_bounded),
        cmocka_unit_test(a_failure_may_be_answered_with_a_request),
        cmocka_unit_test(destroying_forgets_what_is_under_way),
        cmocka_unit_test(connections_are_counted),
        cmocka_unit_test(a_login_refused_counts_as_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
