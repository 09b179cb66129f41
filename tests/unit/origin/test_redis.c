/* SPDX-License-Identifier: BSD-3-Clause */
/* test_redis: a real redis-server behind the driver, alive, killed, frozen, protected and clustered; and fake ones for what a real
 * one says only now and then. */
#include "tests/unit/origin/driver_rig.h"
#include "tests/unit/origin/fake_server.h"
#include "tests/unit/origin/redis_process.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct redis_process *redis;

static const char *url_of(int port, const char *login, const char *path) {
    static char url[100];
    snprintf(url, sizeof(url), "redis://%s127.0.0.1:%d%s", login, port, path);
    return url;
}

static void open_redis(struct driver_rig *rig, const struct redis_process *p, const char *login, const char *path) {
    rig_options(rig);
    rig->options.max_value = 1 << 20;
    rig_open(rig, &origin_redis, url_of(redis_port(p), login, path));
}

static int flush(void **state) {
    (void)state;
    redis_tell(redis, "FLUSHALL", NULL);
    return 0;
}

/* ---- what is there ---- */

static void values_of_every_type_are_loaded(void **state) {
    (void)state;
    struct driver_rig rig;
    char wide[600];
    memset(wide, 'w', sizeof(wide) - 1);
    wide[sizeof(wide) - 1] = '\0';
    redis_tell(redis, "MSET", "text", "some text", "number", "-12345", "empty", "", "wide", wide, "a key with spaces\r\n", "v", NULL);
    redis_tell(redis, "HSET", "hash", "f", "1", "g", "two", NULL);
    redis_tell(redis, "HSET", "big-hash", "f", wide, "g", wide, NULL);
    redis_tell(redis, "RPUSH", "list", "a", NULL);
    open_redis(&rig, redis, "", "");
    assert_string_equal(rig_load(&rig, "text"), "some text");
    assert_string_equal(rig_load(&rig, "number"), "-12345");
    assert_string_equal(rig_load(&rig, "empty"), "");
    assert_memory_equal(rig_load(&rig, "wide"), wide, 255);
    assert_string_equal(rig_load(&rig, "a key with spaces\r\n"), "v");
    assert_string_equal(rig_load(&rig, "hash"), "(hash of 2)");
    assert_string_equal(rig_load(&rig, "big-hash"), "(hash of 2)");
    assert_string_equal(rig_load(&rig, "list"), "!lists are not supported yet");
    assert_string_equal(rig_load(&rig, "nothing"), "(absent)");
    rig_close(&rig);
}

static void a_deadline_comes_with_the_value(void **state) {
    (void)state;
    struct driver_rig rig;
    struct ask with = {0}, without = {0};
    redis_tell(redis, "SET", "with", "v", "PX", "50000", NULL);
    redis_tell(redis, "SET", "without", "v", NULL);
    open_redis(&rig, redis, "", "");
    rig_start(&rig, &with, REQUEST_LOAD, "with");
    rig_start(&rig, &without, REQUEST_LOAD, "without");
    rig_wait(&rig, &with);
    rig_wait(&rig, &without);
    assert_in_range(with.r.life.ttl_ms, 30000, 50000);
    assert_true(with.r.life.exact);
    assert_int_equal(without.r.life.ttl_ms, -1);
    assert_false(without.r.life.exact);
    assert_int_equal(without.r.life.stale_ms, -1);
    found_free(&with.r.found);
    found_free(&without.r.found);
    rig_close(&rig);
}

static void writes_reach_the_origin(void **state) {
    (void)state;
    struct driver_rig rig;
    struct hash_limits limits = {512, 64};
    struct value *hash = hash_create();
    struct ask a = {.r.item = {.type = TYPE_HASH, .value = hash, .expire_ms = -1}};
    open_redis(&rig, redis, "", "");
    assert_string_equal(rig_put(&rig, "k", "value", -1), "OK");
    assert_string_equal(redis_tell(redis, "GET", "k", NULL), "$5\r\nvalue\r\n");
    assert_string_equal(redis_tell(redis, "PTTL", "k", NULL), ":-1\r\n");
    assert_string_equal(rig_put(&rig, "k", "other", 50000), "OK");
    assert_string_equal(redis_tell(redis, "GET", "k", NULL), "$5\r\nother\r\n");
    assert_in_range(atoi(redis_tell(redis, "PTTL", "k", NULL) + 1), 30000, 50000);
    assert_int_equal(hash_set(hash, SLICE("f"), SLICE("v"), &limits, NULL), OK);
    rig_start(&rig, &a, REQUEST_PUT, "k");
    rig_wait(&rig, &a);
    assert_int_equal(a.r.result, REQUEST_OK);
    assert_string_equal(redis_tell(redis, "HGETALL", "k", NULL), "*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    assert_string_equal(redis_tell(redis, "PTTL", "k", NULL), ":-1\r\n");
    assert_string_equal(rig_del(&rig, "k"), "OK");
    assert_string_equal(rig_del(&rig, "k"), "(absent)");
    assert_string_equal(redis_tell(redis, "EXISTS", "k", NULL), ":0\r\n");
    assert_string_equal(rig_put(&rig, "k", "value", -1), "OK");
    rig_put(&rig, "k", "late", 0);
    assert_string_equal(redis_tell(redis, "EXISTS", "k", NULL), ":0\r\n"); /* its time was over */
    value_unref(hash);
    rig_close(&rig);
}

/* Compressed in the payload, or not: refused after unpacking, or before reading. */
static void a_value_beyond_the_limit_is_refused(void **state) {
    (void)state;
    struct driver_rig rig;
    struct buf big = {0};
    size_t n = 3 << 20;
    memset(buf_reserve(&big, n + 1), 'x', n);
    big.p[n] = '\0';
    redis_tell(redis, "SET", "flat", big.p, NULL);
    redis_tell(redis, "HSET", "flat-hash", "f", big.p, NULL);
    for (size_t i = 0; i < n; i++) {
        big.p[i] = (char)(1 + rand() % 127);
    }
    redis_tell(redis, "SET", "rough", big.p, NULL);
    redis_tell(redis, "SET", "small", "v", NULL);
    buf_free(&big);
    open_redis(&rig, redis, "", "");
    for (int i = 0; i < 3; i++) {
        assert_string_equal(rig_load(&rig, "flat"), "!value too long");
        assert_string_equal(rig_load(&rig, "flat-hash"), "!value too long");
        assert_string_equal(rig_load(&rig, "rough"), "!value too long");
        assert_string_equal(rig_load(&rig, "small"), "v");
    }
    rig_close(&rig);
}

static void a_database_is_selected(void **state) {
    (void)state;
    struct driver_rig rig;
    redis_tell(redis, "SET", "k", "in 0", NULL);
    redis_tell(redis, "COPY", "k", "k", "DB", "3", NULL);
    redis_tell(redis, "SET", "k", "changed in 0", NULL);
    open_redis(&rig, redis, "", "/3");
    assert_string_equal(rig_load(&rig, "k"), "in 0");
    rig_close(&rig);
    open_redis(&rig, redis, "", "/99");
    assert_string_equal(rig_load(&rig, "k"), "!database refused");
    rig_close(&rig);
}

static void a_password_is_given(void **state) {
    (void)state;
    static const char *const options[] = {"--requirepass", "s3cret/@", "--user", "reader", "on", ">word", "~*", "+@all", NULL};
    struct redis_process *p = redis_start(options);
    struct driver_rig rig;
    assert_non_null(p);
    open_redis(&rig, p, ":s3cret%2F%40@", "/1");
    assert_string_equal(rig_load(&rig, "k"), "(absent)");
    rig_close(&rig);
    open_redis(&rig, p, "reader:word@", "");
    assert_string_equal(rig_load(&rig, "k"), "(absent)");
    rig_close(&rig);
    open_redis(&rig, p, "reader:wrong@", "");
    for (int i = 0; i < 5; i++) {
        struct ask a = {0};
        rig_start(&rig, &a, REQUEST_LOAD, "k");
        rig_wait(&rig, &a);
        assert_string_equal(a.r.error, "authentication failed");
        assert_false(a.retry);
    }
    rig_close(&rig);
    open_redis(&rig, p, "", "");
    assert_string_equal(rig_load(&rig, "k"), "!authentication required");
    rig_close(&rig);
    redis_end(&p);
}

/* ---- what goes wrong ---- */

static void a_server_may_be_killed_and_come_back(void **state) {
    (void)state;
    struct redis_process *p = redis_start(NULL);
    struct driver_rig rig;
    struct ask asks[32] = {0};
    assert_non_null(p);
    redis_tell(p, "SET", "k", "v", NULL);
    open_redis(&rig, p, "", "");
    assert_string_equal(rig_load(&rig, "k"), "v");
    redis_freeze(p); /* so that they are under way */
    for (int i = 0; i < 32; i++) {
        rig_start(&rig, &asks[i], REQUEST_LOAD, "k");
    }
    run_loop_for(&rig.run, 20);
    redis_kill(p);
    for (int i = 0; i < 32; i++) {
        rig_wait(&rig, &asks[i]);
        assert_int_equal(asks[i].r.result, REQUEST_FAILED);
        assert_true(asks[i].retry);
    }
    for (int i = 0; i < 20; i++) {
        rig_load(&rig, "k");
    }
    assert_string_equal(rig_load(&rig, "k"), "!connection refused");
    redis_restart(p);
    redis_tell(p, "SET", "k", "again", NULL);
    assert_true(rig_recovers(&rig, "k"));
    assert_string_equal(rig_load(&rig, "k"), "again");
    rig_close(&rig);
    redis_end(&p);
}

/* Those that time out are cancelled, as the core does; their replies, should they come, are for nobody else. */
static void a_server_may_hang(void **state) {
    (void)state;
    struct redis_process *p = redis_start(NULL);
    struct driver_rig rig;
    struct ask asks[8] = {0}, later = {0};
    assert_non_null(p);
    redis_tell(p, "MSET", "a", "1", "b", "2", NULL);
    open_redis(&rig, p, "", "");
    for (int round = 0; round < 2; round++) {
        redis_freeze(p);
        for (int i = 0; i < 8; i++) {
            rig_start(&rig, &asks[i], REQUEST_LOAD, "a");
        }
        run_loop_for(&rig.run, 100);
        for (int i = 0; i < 8; i++) {
            rig_cancel(&rig, &asks[i]);
        }
        rig_start(&rig, &later, REQUEST_LOAD, "b");
        if (round == 0) { /* it wakes up in time: the same connections go on */
            redis_thaw(p);
            rig_wait(&rig, &later);
            assert_slice(buf_slice(&later.r.found.str), "2");
            found_free(&later.r.found);
        } else { /* it does not: whoever still waits is told */
            rig_wait(&rig, &later);
            assert_string_equal(later.r.error, "no answer");
            assert_true(later.retry);
            redis_thaw(p);
        }
        assert_true(rig_recovers(&rig, "b"));
    }
    rig_close(&rig);
    redis_end(&p);
}

static void closing_leaves_nothing_behind(void **state) {
    (void)state;
    struct driver_rig rig;
    struct ask a = {0}, b = {0};
    open_redis(&rig, redis, "", "");
    assert_string_equal(rig_load(&rig, "k"), "(absent)");
    rig_start(&rig, &a, REQUEST_LOAD, "k");
    rig_start(&rig, &b, REQUEST_LOAD, "k");
    run_loop_for(&rig.run, 1);
    if (!a.ended) {
        rig_cancel(&rig, &a);
    }
    if (!b.ended) {
        rig_cancel(&rig, &b);
    }
    rig_close(&rig);
}

/* ---- answers of a fake ---- */

/* What the fake answers to DUMP; PTTL is :-1. */
static const char *fake_reply;

static bool one_answer(void *ctx, int argc, const struct slice *argv, struct buf *reply) {
    (void)ctx;
    (void)argc;
    buf_puts(reply, fake_is(argv, "DUMP") ? fake_reply : ":-1\r\n");
    return true;
}

static void errors_say_whether_to_try_again(void **state) {
    (void)state;
    static const struct {
        const char *reply, *error;
        enum request_blame blame;
        bool retry;
    } rows[] = {
        {"-LOADING Redis is loading the dataset in memory\r\n", "loading", BLAME_ORIGIN, true},
        {"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", "cluster is moving the key", BLAME_REQUEST, true},
        {"-CLUSTERDOWN The cluster is down\r\n", "cluster is down", BLAME_ORIGIN, true},
        {"-READONLY You can't write against a read only replica.\r\n", "read-only replica", BLAME_ORIGIN, true},
        {"-MASTERDOWN Link with MASTER is down\r\n", "master is down", BLAME_ORIGIN, true},
        {"-BUSY Redis is busy running a script.\r\n", "busy with a script", BLAME_ORIGIN, true},
        {"-NOAUTH Authentication required.\r\n", "authentication required", BLAME_ORIGIN, false},
        {"-NOPERM this user has no permissions\r\n", "permission denied", BLAME_REQUEST, false},
        {"-ERR unknown command 'DUMP'\r\n", "error reply", BLAME_REQUEST, false},
        {"-BUSYKEY Target key name already exists.\r\n", "error reply", BLAME_REQUEST, false},
        {"-MOVED 1 nowhere\r\n", "cannot follow the redirection", BLAME_ORIGIN, true},
        {"-MOVED 16384 127.0.0.1:1\r\n", "cannot follow the redirection", BLAME_ORIGIN, true},
        {"-MOVED 1 127.0.0.1:65536\r\n", "cannot follow the redirection", BLAME_ORIGIN, true},
        {"-ASK\r\n", "error reply", BLAME_REQUEST, false},
        {"+OK\r\n", "unexpected reply", BLAME_REQUEST, false},
        {":1\r\n", "unexpected reply", BLAME_REQUEST, false},
        {"$3\r\nabc\r\n", "bad DUMP payload", BLAME_REQUEST, true},
        {"*1\r\n$1\r\nx\r\n", "unexpected reply", BLAME_REQUEST, false},
        {"$99999999\r\n", "value too long", BLAME_REQUEST, false},
        {"!\r\n", "protocol error", BLAME_ORIGIN, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct driver_rig rig;
        struct ask a = {0};
        fake_reply = rows[i].reply;
        struct fake_server *f = fake_server_start(NULL, one_answer, NULL);
        rig_options(&rig);
        rig.options.max_value = 1 << 20;
        rig_open(&rig, &origin_redis, url_of(fake_server_port(f), "", ""));
        rig_start(&rig, &a, REQUEST_LOAD, "k");
        rig_wait(&rig, &a);
        assert_int_equal(a.r.result, REQUEST_FAILED);
        assert_string_equal(a.r.error, rows[i].error);
        assert_int_equal(a.r.blame, rows[i].blame);
        assert_int_equal(a.retry, rows[i].retry);
        rig_close(&rig);
        fake_server_stop(&f);
    }
}

/* ---- clusters ---- */

/* Two fakes: each says of every key that the other has it. */
struct pair {
    struct fake_server *server[2];
    _Atomic int port[2];
    _Atomic int refreshes;
};

static bool send_away(struct pair *p, int to, int argc, const struct slice *argv, struct buf *reply) {
    if (fake_is(argv, "CLUSTER")) {
        atomic_fetch_add(&p->refreshes, 1);
        buf_puts(reply, "*0\r\n");
    } else if (argc > 1) {
        /* the first without a host: that of the one who answers */
        buf_printf(reply, "-MOVED 1 %s:%d\r\n", to == 0 ? "" : "127.0.0.1", atomic_load(&p->port[to]));
    }
    return true;
}

static bool to_first(void *ctx, int argc, const struct slice *argv, struct buf *reply) {
    return send_away(ctx, 0, argc, argv, reply);
}

static bool to_second(void *ctx, int argc, const struct slice *argv, struct buf *reply) {
    return send_away(ctx, 1, argc, argv, reply);
}

static void redirections_in_a_circle_end(void **state) {
    (void)state;
    struct pair p = {0};
    struct driver_rig rig;
    p.server[0] = fake_server_start(NULL, to_second, &p);
    p.server[1] = fake_server_start(NULL, to_first, &p);
    atomic_store(&p.port[0], fake_server_port(p.server[0]));
    atomic_store(&p.port[1], fake_server_port(p.server[1]));
    rig_options(&rig);
    rig_open(&rig, &origin_redis, url_of(p.port[0], "", ""));
    for (int i = 0; i < 3; i++) {
        assert_string_equal(rig_load(&rig, "k"), "!too many redirections");
    }
    assert_int_equal(atomic_load(&p.refreshes), 1); /* and the table is not asked for each time */
    rig_close(&rig);
    fake_server_stop(&p.server[0]);
    fake_server_stop(&p.server[1]);
}

/* A node that names another node with each answer. */
static bool to_anywhere(void *ctx, int argc, const struct slice *argv, struct buf *reply) {
    static _Atomic int next;
    (void)ctx;
    if (fake_is(argv, "CLUSTER")) {
        buf_puts(reply, "*-1\r\n");
    } else if (argc > 1) {
        int i = atomic_fetch_add(&next, 1);
        buf_printf(reply, "-MOVED %d 127.1.%d.%d:1\r\n", i % 16384, i / 250 % 250, i % 250 + 1);
    }
    return true;
}

static void the_number_of_nodes_is_bounded(void **state) {
    (void)state;
    struct fake_server *f = fake_server_start(NULL, to_anywhere, NULL);
    struct driver_rig rig;
    int full = 0;
    rig_options(&rig);
    rig_open(&rig, &origin_redis, url_of(fake_server_port(f), "", ""));
    for (int i = 0; i < 400; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%d", i);
        const char *said = rig_load(&rig, key);
        assert_int_equal(said[0], '!');
        full += strcmp(said, "!cannot follow the redirection") == 0;
    }
    assert_in_range(full, 1, 399);
    rig_close(&rig);
    fake_server_stop(&f);
}

static bool cluster_is_up(struct redis_process *const *p) {
    return strstr(redis_tell(p[0], "CLUSTER", "INFO", NULL), "cluster_state:ok") != NULL &&
           strstr(redis_tell(p[1], "CLUSTER", "INFO", NULL), "cluster_state:ok") != NULL &&
           strstr(redis_tell(p[0], "CLUSTER", "INFO", NULL), "known_nodes:2") != NULL;
}

/* Half of the slots each. */
static bool make_cluster(struct redis_process **p) {
    static const char *const options[2][6] = {{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", NULL},
                                              {"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", NULL}};
    char port[2][8];
    for (int i = 0; i < 2; i++) {
        p[i] = redis_start(options[i]);
        assert_non_null(p[i]);
        snprintf(port[i], sizeof(port[i]), "%d", redis_port(p[i]));
    }
    redis_tell(p[0], "CLUSTER", "ADDSLOTSRANGE", "0", "8191", NULL);
    redis_tell(p[1], "CLUSTER", "ADDSLOTSRANGE", "8192", "16383", NULL);
    redis_tell(p[1], "CLUSTER", "SET-CONFIG-EPOCH", "2", NULL);
    redis_tell(p[0], "CLUSTER", "MEET", "127.0.0.1", port[1], NULL);
    for (int i = 0; i < 1000; i++) {
        if (cluster_is_up(p)) {
            return true;
        }
        struct timespec ts = {.tv_nsec = 20000000}; /* other processes: there is no clock to set */
        nanosleep(&ts, NULL);
    }
    return false;
}

static void node_id(const struct redis_process *p, char *id) {
    const char *reply = redis_tell(p, "CLUSTER", "MYID", NULL);
    memcpy(id, reply + 5, 40);
    id[40] = '\0';
}

static void a_cluster_is_followed(void **state) {
    (void)state;
    struct redis_process *p[2];
    struct driver_rig rig;
    char id[2][41], key[16], value[20];
    assert_true(make_cluster(p));
    open_redis(&rig, p[0], "", "");
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "key%d", i);
        snprintf(value, sizeof(value), "value%d", i);
        assert_string_equal(rig_put(&rig, key, value, -1), "OK");
        assert_string_equal(rig_load(&rig, key), value);
    }
    assert_in_range(atoi(redis_tell(p[0], "DBSIZE", NULL) + 1), 20, 80);
    assert_in_range(atoi(redis_tell(p[1], "DBSIZE", NULL) + 1), 20, 80);
    /* "k" is in slot 7629, on the first: half moved now */
    rig_put(&rig, "k", "v", -1);
    node_id(p[0], id[0]);
    node_id(p[1], id[1]);
    redis_tell(p[1], "CLUSTER", "SETSLOT", "7629", "IMPORTING", id[0], NULL);
    redis_tell(p[0], "CLUSTER", "SETSLOT", "7629", "MIGRATING", id[1], NULL);
    assert_string_equal(rig_load(&rig, "k"), "v");
    assert_string_equal(rig_load(&rig, "{k}new"), "(absent)"); /* asked of the second */
    assert_string_equal(rig_put(&rig, "{k}new", "n", -1), "OK");
    assert_string_equal(rig_load(&rig, "{k}new"), "n");
    assert_string_equal(rig_del(&rig, "{k}new"), "OK");
    /* and wholly moved: the slot is known after the first time */
    rig_del(&rig, "k");
    redis_tell(p[1], "CLUSTER", "SETSLOT", "7629", "NODE", id[1], NULL);
    redis_tell(p[0], "CLUSTER", "SETSLOT", "7629", "NODE", id[1], NULL);
    assert_string_equal(rig_put(&rig, "k", "moved", -1), "OK");
    assert_string_equal(rig_load(&rig, "k"), "moved");
    rig_close(&rig);
    redis_end(&p[0]);
    redis_end(&p[1]);
}

/* ---- configuration ---- */

static void urls_are_checked(void **state) {
    (void)state;
    static const char *const good[] = {"redis://h", "redis://h:1", "redis://h:1/15", "redis://h/", "redis://:p@h", "redis://u:p%40@h:1/2",
                                       "redis://[::1]:7000/1", "redis://[::1]", "REDIS://h"};
    static const struct {
        const char *url, *why;
    } bad[] = {
        {"redis:h", "the URL is redis://[[user]:password@]host[:port][/db]"},
        {"redis://", "a host is missing"},
        {"redis://:1", "a host is missing"},
        {"redis://{key}", "a host is missing"},
        {"redis://h:0", "the port is 1 to 65535"},
        {"redis://h:x", "the port is 1 to 65535"},
        {"redis://h:", "the port is 1 to 65535"},
        {"redis://h:65536", "the port is 1 to 65535"},
        {"redis://h/x", "behind the host only a database number may follow"},
        {"redis://h/-1", "behind the host only a database number may follow"},
        {"redis://h/{key}", "behind the host only a database number may follow"},
        {"redis://u@h", "before the @ comes [user]:password"},
        {"redis://u:@h", "before the @ comes [user]:password"},
        {"redis://u:%4@h", "user and password have bad %XX in them"},
        {"redis://u:%zz@h", "user and password have bad %XX in them"},
        {"redis://u:%00@h", "user and password have bad %XX in them"},
        {"redis://[::1", "a bracketed address is [address] or [address]:port"},
        {"redis://[::1]x", "a bracketed address is [address] or [address]:port"},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_null(rig_refusal(&origin_redis, good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_string_equal(rig_refusal(&origin_redis, bad[i].url), bad[i].why);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(values_of_every_type_are_loaded, flush),
        cmocka_unit_test_setup(a_deadline_comes_with_the_value, flush),
        cmocka_unit_test_setup(writes_reach_the_origin, flush),
        cmocka_unit_test_setup(a_value_beyond_the_limit_is_refused, flush),
        cmocka_unit_test_setup(a_database_is_selected, flush),
        cmocka_unit_test(a_password_is_given),
        cmocka_unit_test(a_server_may_be_killed_and_come_back),
        cmocka_unit_test(a_server_may_hang),
        cmocka_unit_test_setup(closing_leaves_nothing_behind, flush),
        cmocka_unit_test(errors_say_whether_to_try_again),
        cmocka_unit_test(redirections_in_a_circle_end),
        cmocka_unit_test(the_number_of_nodes_is_bounded),
        cmocka_unit_test(a_cluster_is_followed),
        cmocka_unit_test(urls_are_checked),
    };
    redis = redis_start(NULL);
    if (redis == NULL) {
        print_message("skip test_redis: no redis-server\n");
        return 0;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    redis_end(&redis);
    return failed;
}
