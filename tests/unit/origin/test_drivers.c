/* SPDX-License-Identifier: BSD-3-Clause */
/* test_drivers: redis and unix behind the real core, from a line of the configuration on. */
#include "tests/unit/origin/fake_server.h"
#include "tests/unit/origin/redis_process.h"
#include "tests/unit/run_loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/origin/origin.h"

static char dir[] = P_tmpdir "/strata-drivers-XXXXXX";
static char path[100];

/* A loader that gives each key's own name. */
static bool name_it(void *ctx, int argc, const struct slice *argv, struct buf *reply) {
    (void)ctx;
    (void)argc;
    buf_printf(reply, "$%zu\r\n%.*s\r\n", argv[1].n, SLICE_ARG(argv[1]));
    return true;
}

struct load {
    struct request r;
    bool done;
};

static void on_done(struct request *r) {
    ((struct load *)(void *)r)->done = true;
}

static void submit(struct run_loop *run, struct origin *o, struct load *l, const char *key) {
    *l = (struct load){.r = {.kind = REQUEST_LOAD, .key = slice_cstr(key), .loop = run->loop, .done = on_done}};
    origin_submit(o, &l->r);
}

static const char *wait_for(struct run_loop *run, struct load *l) {
    static char text[100];
    assert_true(run_loop_flag_set(run, &l->done));
    snprintf(text, sizeof(text), "%s%.*s", l->r.result == REQUEST_FAILED ? l->r.error : l->r.result == REQUEST_ABSENT ? "(absent)" : "",
             SLICE_ARG(buf_slice(&l->r.found.str)));
    found_free(&l->r.found);
    return text;
}

static const char *load(struct run_loop *run, struct origin *o, const char *key) {
    struct load l;
    submit(run, o, &l, key);
    return wait_for(run, &l);
}

static void a_line_of_the_configuration_makes_an_origin(void **state) {
    (void)state;
    struct redis_process *redis = redis_start(NULL);
    struct fake_server *loader = fake_server_start(path, name_it, NULL);
    struct run_loop run;
    char lines[300];
    struct buf err = {0};
    struct load many[200];
    assert_non_null(redis);
    snprintf(lines, sizeof(lines), "users redis://127.0.0.1:%d/0 concurrency=8\nfiles unix:%s", redis_port(redis), path);
    run_loop_open(&run);
    struct origins *o = origins_create(lines, INT64_MAX, &err);
    assert_non_null(o);
    struct origin *users = origins_find(o, SLICE("users")), *files = origins_find(o, SLICE("files"));
    redis_tell(redis, "SET", "k", "v", NULL);
    assert_string_equal(load(&run, users, "k"), "v");
    assert_string_equal(load(&run, users, "nothing"), "(absent)");
    assert_string_equal(load(&run, files, "a-file"), "a-file");
    for (int i = 0; i < 200; i++) {
        submit(&run, i % 2 == 0 ? users : files, &many[i], "k");
    }
    for (int i = 0; i < 200; i++) {
        assert_string_equal(wait_for(&run, &many[i]), i % 2 == 0 ? "v" : "k");
    }
    origins_destroy(&o);
    run_loop_close(&run);
    buf_free(&err);
    fake_server_stop(&loader);
    redis_end(&redis);
}

static void a_hung_server_times_out_and_recovers(void **state) {
    (void)state;
    struct redis_process *redis = redis_start(NULL);
    struct run_loop run;
    char line[200];
    struct buf err = {0};
    assert_non_null(redis);
    snprintf(line, sizeof(line), "users redis://127.0.0.1:%d timeout=100ms retries=0 breaker-errors=0%%", redis_port(redis));
    run_loop_open(&run);
    struct origins *o = origins_create(line, INT64_MAX, &err);
    assert_non_null(o);
    struct origin *users = origins_find(o, SLICE("users"));
    redis_tell(redis, "SET", "k", "v", NULL);
    assert_string_equal(load(&run, users, "k"), "v");
    redis_freeze(redis);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(load(&run, users, "k"), "timed out");
    }
    redis_thaw(redis);
    int tries = 0;
    while (strcmp(load(&run, users, "k"), "v") != 0) {
        assert_true(++tries < 100);
        run_loop_for(&run, 10);
    }
    origins_destroy(&o);
    run_loop_close(&run);
    buf_free(&err);
    redis_end(&redis);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_of_the_configuration_makes_an_origin),
        cmocka_unit_test(a_hung_server_times_out_and_recovers),
    };
    struct redis_process *redis = redis_start(NULL);
    if (redis == NULL) {
        print_message("skip test_drivers: no redis-server\n");
        return 0;
    }
    redis_end(&redis);
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    snprintf(path, sizeof(path), "%s/s", dir);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(dir);
    return failed;
}
