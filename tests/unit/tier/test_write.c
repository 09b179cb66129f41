/* SPDX-License-Identifier: BSD-3-Clause */
/* test_write: changes on their way to an origin that answers when the test says so. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/guard/rule.h"
#include "src/l1/shard.h"
#include "src/origin/origin.h"
#include "src/rt/loop.h"
#include "src/tier/guard.h"
#include "src/tier/tier.h"
#include "src/tier/write.h"

enum { MAX_REQUESTS = 64, NOW = 1000000 };

struct fixture {
    struct l1 *l1;
    struct tier tier;
    struct rules *rules;
    struct request *sent[MAX_REQUESTS]; /* those not answered yet, in order */
    int count, asked;
    char log[64]; /* directory */
    bool strings_only;
};

struct reply {
    struct sink_ack ack;
    int done;
    char error[64];
};

static struct fixture *current;
static int origin; /* its address stands for one */

static void ask(void *target, struct request *r) {
    assert_ptr_equal(target, &origin);
    assert_true(current->count < MAX_REQUESTS);
    current->sent[current->count++] = r;
    current->asked++;
}

static bool takes(void *target, enum value_type type) {
    (void)target;
    return type == TYPE_STRING || !current->strings_only;
}

static void *find_origin(void *ctx, struct slice name) {
    (void)ctx;
    return slice_eq(name, SLICE("o")) ? &origin : NULL;
}

static void open_log(struct fixture *t) {
    static const struct hash_limits limits = {128, 64};
    struct buf err = {0};
    assert_true(writes_open_log(t->tier.writes, t->log, &limits, find_origin, NULL, &err));
    buf_free(&err);
}

static struct fixture *setup(void) {
    struct fixture *t = mem_zalloc(sizeof(*t));
    t->l1 = l1_create(&(struct l1_options){.shards = 4, .policy = "allkeys-s3fifo"});
    tier_init(&t->tier, t->l1);
    t->tier.guard = guard_create(t->l1, &t->tier, 64, 16);
    t->tier.ask = ask;
    t->tier.takes = takes;
    t->tier.writes = writes_create(&t->tier, 1 << 20);
    t->rules = rules_create("t:* origin=o write=through ttl=10s\na:* origin=o write=around\nb:* origin=o write=back\n", NULL);
    rules_bind(t->rules, find_origin, NULL);
    guard_set_rules(t->tier.guard, rules_ref(t->rules));
    current = t;
    return t;
}

/* Answers the i-th request under way. */
static void answer_as(struct fixture *t, int i, enum request_result result, const char *error, enum request_blame blame) {
    struct request *r = t->sent[i];
    t->count--;
    memmove(&t->sent[i], &t->sent[i + 1], (size_t)(t->count - i) * sizeof(r));
    r->result = result;
    r->error = error;
    r->blame = blame;
    r->attempts = 1;
    r->done(r);
}

static void answer(struct fixture *t, int i, const char *error) {
    answer_as(t, i, error == NULL ? REQUEST_OK : REQUEST_FAILED, error, BLAME_ORIGIN);
}

static void stop(struct fixture *t) {
    writes_stop(t->tier.writes);
    while (t->count > 0) {
        answer(t, 0, "shutting down");
    }
    writes_close_log(t->tier.writes);
    writes_destroy(&t->tier.writes);
}

static void teardown(struct fixture *t) {
    stop(t);
    guard_destroy(&t->tier.guard);
    rules_unref(t->rules);
    l1_destroy(&t->l1);
    mem_free(t);
}

static void on_done(struct sink_ack *ack) {
    __atomic_add_fetch(&((struct reply *)ack)->done, 1, __ATOMIC_SEQ_CST);
}

static void on_failed(struct sink_ack *ack, const char *name, const char *error) {
    struct reply *r = (struct reply *)ack;
    snprintf(r->error, sizeof(r->error), "%s: %s", name, error);
}

static bool is_done(struct reply *r) {
    return __atomic_load_n(&r->done, __ATOMIC_SEQ_CST) == 1;
}

static unsigned lock(struct fixture *t, const struct key *key) {
    unsigned shard = l1_shard_of(t->l1, key->hash);
    l1_lock(t->l1, shard);
    return shard;
}

/* What a call that sets name to text (NULL: deletes it) has done in memory and told. */
static void change(struct fixture *t, const char *name, const char *text, int64_t expire_ms, struct reply *reply) {
    struct key key = key_make(slice_cstr(name), 0);
    const struct rule *rule = rules_match(t->rules, key.name);
    reply->ack = (struct sink_ack){NULL, on_done, on_failed};
    unsigned shard = lock(t, &key);
    if (text == NULL) {
        l1_del(t->l1, &key, NOW);
    } else {
        assert_int_equal(l1_set(t->l1, &key, slice_cstr(text), expire_ms, 0, NOW), OK);
    }
    guard_changed(t->tier.guard, rule, &key, text == NULL ? SINK_DEL : SINK_SET, 0, NOW);
    write_changed(t->tier.writes, rule, t->rules, &key, 0, NOW, &reply->ack);
    l1_unlock(t->l1, shard);
}

/* What a read sees of the key: memory, or what is on its way. NULL: nothing. */
static const char *read_key(struct fixture *t, const char *name) {
    static char text[64];
    struct key key = key_make(slice_cstr(name), 0);
    struct item_view v;
    unsigned shard = lock(t, &key);
    assert_false(fill_needs(&t->tier, &key, NULL, NOW, NULL));
    bool found = l1_get(t->l1, &key, NOW, L1_NOTOUCH, &v);
    if (found) {
        snprintf(text, sizeof(text), "%.*s", SLICE_ARG(v.str));
    }
    l1_unlock(t->l1, shard);
    return found ? text : NULL;
}

static void evict(struct fixture *t, const char *name) {
    struct key key = key_make(slice_cstr(name), 0);
    unsigned shard = lock(t, &key);
    l1_evict(t->l1, shard, 100, NOW);
    l1_unlock(t->l1, shard);
}

/* "PUT name=value" of the i-th request under way. */
static const char *sent(struct fixture *t, int i) {
    static char text[64];
    const struct request *r = t->sent[i];
    assert_true(i < t->count);
    snprintf(text, sizeof(text), "%s %.*s%s%.*s", r->kind == REQUEST_DEL ? "DEL" : "PUT", SLICE_ARG(r->key),
             r->kind == REQUEST_DEL ? "" : "=", (int)r->item.str.n, r->item.str.n > 0 ? r->item.str.p : "");
    return text;
}

/* Until what rests has been sent: at most some tens of milliseconds the first time. */
static void tick_until_sent(struct fixture *t, int n) {
    int64_t end = clock_mono_us() + 5000000;
    while (t->count < n && clock_mono_us() < end) {
        writes_tick(t->tier.writes);
    }
    assert_int_equal(t->count, n);
}

static void through_waits_for_the_origin(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r = {0};
    change(t, "t:k", "v", L1_NO_TTL, &r);
    assert_string_equal(sent(t, 0), "PUT t:k=v");
    assert_int_equal(t->sent[0]->item.expire_ms, -1); /* the policy's ttl is the cache's */
    assert_slice(t->sent[0]->first, "k");
    assert_false(is_done(&r));
    assert_string_equal(read_key(t, "t:k"), "v");
    answer(t, 0, NULL);
    assert_true(is_done(&r));
    assert_string_equal(r.error, "");
    assert_string_equal(read_key(t, "t:k"), "v");
    struct reply d = {0};
    change(t, "t:k", NULL, 0, &d);
    assert_string_equal(sent(t, 0), "DEL t:k");
    answer(t, 0, NULL);
    assert_true(is_done(&d));
    teardown(t);
}

static void a_failure_drops_the_copy(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r = {0};
    change(t, "t:k", "v", NOW + 5000, &r);
    assert_int_equal(t->sent[0]->item.expire_ms, NOW + 5000);
    answer(t, 0, "no");
    assert_true(is_done(&r));
    assert_string_equal(r.error, "o: no");
    assert_null(read_key(t, "t:k"));
    teardown(t);
}

static void one_flies_and_the_newest_waits(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r[5] = {0};
    change(t, "t:k", "0", L1_NO_TTL, &r[0]);
    change(t, "t:k", "1", L1_NO_TTL, &r[1]);
    change(t, "t:other", "x", L1_NO_TTL, &r[4]);
    change(t, "t:k", NULL, 0, &r[2]);
    change(t, "t:k", "3", L1_NO_TTL, &r[3]);
    assert_int_equal(t->count, 2);
    assert_string_equal(sent(t, 1), "PUT t:other=x");
    answer(t, 0, "no"); /* its value goes on within the next */
    assert_true(is_done(&r[0]) && !is_done(&r[1]) && !is_done(&r[3]));
    assert_string_equal(read_key(t, "t:k"), "3");
    assert_string_equal(sent(t, 1), "PUT t:k=3");
    answer(t, 1, NULL);
    assert_true(is_done(&r[1]) && is_done(&r[2]) && is_done(&r[3]));
    assert_string_equal(r[0].error, "o: no");
    assert_string_equal(r[1].error, "");
    assert_string_equal(read_key(t, "t:k"), "3");
    answer(t, 0, NULL);
    assert_int_equal(t->asked, 3);
    teardown(t);
}

static void around_leaves_nothing(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r[2] = {0};
    struct item_view v;
    change(t, "a:k", "0", L1_NO_TTL, &r[0]);
    change(t, "a:k", "1", L1_NO_TTL, &r[1]);
    answer(t, 0, NULL);
    assert_string_equal(read_key(t, "a:k"), "1"); /* while it is on its way */
    answer(t, 0, NULL);
    struct key key = key_make(SLICE("a:k"), 0);
    unsigned shard = lock(t, &key);
    assert_false(l1_get(t->l1, &key, NOW, L1_NOTOUCH, &v));
    l1_unlock(t->l1, shard);
    teardown(t);
}

static void what_is_on_its_way_is_found_again(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r[3] = {0};
    change(t, "t:k", "v", L1_NO_TTL, &r[0]);
    evict(t, "t:k");
    assert_string_equal(read_key(t, "t:k"), "v");
    change(t, "t:gone", NULL, 0, &r[1]);
    assert_null(read_key(t, "t:gone")); /* and no load: read_key has seen to it */
    change(t, "t:old", "v", NOW - 1, &r[2]);
    assert_null(read_key(t, "t:old"));
    while (t->count > 0) {
        answer(t, 0, NULL);
    }
    struct key key = key_make(SLICE("t:gone"), 0);
    struct found found;
    assert_int_equal(write_look(t->tier.writes, &key, &found), PROBE_UNKNOWN);
    assert_false(write_on_its_way(t->tier.writes, &key));
    teardown(t);
}

static void a_flush_does_not_uncover_the_origins_value(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r = {0};
    change(t, "t:k", "v", L1_NO_TTL, &r);
    l1_lock_all(t->l1);
    assert_true(tier_flush(&t->tier, -1));
    l1_unlock_all(t->l1);
    struct key key = key_make(SLICE("t:k"), t->l1->db_map[0]);
    struct found found;
    assert_int_equal(write_look(t->tier.writes, &key, &found), PROBE_FOUND);
    assert_slice(buf_slice(&found.str), "v");
    found_free(&found);
    answer(t, 0, NULL);
    teardown(t);
}

static void it_is_bounded(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r = {0};
    const struct rule *rule = rules_match(t->rules, SLICE("t:k"));
    writes_set_limit(t->tier.writes, 100);
    assert_null(write_refuses(t->tier.writes, rule));
    change(t, "t:k", "v", L1_NO_TTL, &r);
    assert_non_null(write_refuses(t->tier.writes, rule));
    answer(t, 0, NULL);
    assert_null(write_refuses(t->tier.writes, rule));
    teardown(t);
}

static void back_is_sent_until_it_is_taken(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r[3] = {0};
    change(t, "b:k", "0", L1_NO_TTL, &r[0]);
    assert_true(is_done(&r[0])); /* without a log at once */
    answer(t, 0, "no");
    assert_string_equal(read_key(t, "b:k"), "0");
    assert_int_equal(t->count, 0);
    tick_until_sent(t, 1);
    change(t, "b:k", "1", L1_NO_TTL, &r[1]);
    change(t, "b:k", "2", L1_NO_TTL, &r[2]);
    assert_string_equal(sent(t, 0), "PUT b:k=0");
    answer(t, 0, "no");
    tick_until_sent(t, 1);
    assert_string_equal(sent(t, 0), "PUT b:k=2");
    answer(t, 0, NULL);
    writes_tick(t->tier.writes);
    assert_int_equal(t->count, 0);
    assert_string_equal(read_key(t, "b:k"), "2");
    assert_string_equal(r[0].error, "");
    teardown(t);
}

static void a_refused_key_rests_alone(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r[3] = {0};
    change(t, "b:bad", "0", L1_NO_TTL, &r[0]);
    answer_as(t, 0, REQUEST_FAILED, "no", BLAME_REQUEST);
    change(t, "b:k", "1", L1_NO_TTL, &r[1]);
    assert_string_equal(sent(t, 0), "PUT b:k=1");
    answer(t, 0, "down"); /* and now all rest */
    change(t, "b:x", "1", L1_NO_TTL, &r[2]);
    assert_int_equal(t->count, 0);
    tick_until_sent(t, 3);
    teardown(t);
}

static void an_origin_gets_few_at_once(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r[40] = {0};
    char name[16];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "b:%d", i);
        change(t, name, "v", L1_NO_TTL, &r[i]);
    }
    assert_int_equal(t->count, 16);
    while (t->count > 0) {
        answer(t, 0, NULL);
    }
    assert_int_equal(t->asked, 40);
    teardown(t);
}

static void another_mode_does_not_lose_what_was_acknowledged(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r[3] = {0};
    change(t, "b:k", "0", L1_NO_TTL, &r[0]);
    struct rules *through = rules_create("b:* origin=o write=through\n", NULL), *before = t->rules;
    rules_bind(through, find_origin, NULL);
    t->rules = through;
    change(t, "b:k", "1", L1_NO_TTL, &r[1]);
    assert_false(is_done(&r[1]));
    answer(t, 0, "no");
    tick_until_sent(t, 1);
    assert_string_equal(sent(t, 0), "PUT b:k=1");
    answer(t, 0, "still no");
    assert_true(is_done(&r[1])); /* its client hears why, but it is sent again */
    assert_string_equal(r[1].error, "o: still no");
    assert_string_equal(read_key(t, "b:k"), "1");
    tick_until_sent(t, 1);
    change(t, "b:k", "2", L1_NO_TTL, &r[2]);
    t->rules = before;
    stop(t); /* answers what waits */
    assert_true(is_done(&r[2]));
    assert_string_equal(r[2].error, "o: shutting down");
    t->tier.writes = writes_create(&t->tier, 1);
    rules_unref(through);
    teardown(t);
}

static void what_the_origin_cannot_hold_is_not_kept(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r = {.ack = {NULL, on_done, on_failed}};
    struct key key = key_make(SLICE("b:h"), 0);
    struct item_view v;
    static const struct hash_limits limits = {128, 64};
    struct value *hash = hash_create();
    t->strings_only = true;
    assert_int_equal(hash_set(hash, SLICE("f"), SLICE("v"), &limits, NULL), OK);
    unsigned shard = lock(t, &key);
    assert_int_equal(l1_set_value(t->l1, &key, hash, L1_NO_TTL, NOW), OK);
    write_changed(t->tier.writes, rules_match(t->rules, key.name), t->rules, &key, 0, NOW, &r.ack);
    assert_false(l1_get(t->l1, &key, NOW, L1_NOTOUCH, &v));
    l1_unlock(t->l1, shard);
    assert_string_equal(r.error, "o: it takes strings only");
    assert_true(is_done(&r));
    assert_int_equal(t->asked, 0);
    teardown(t);
}

static void back_outlives_the_process(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct reply r[4] = {0};
    snprintf(t->log, sizeof(t->log), "%s/strata-writes-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(t->log));
    open_log(t);
    change(t, "b:k", "0", L1_NO_TTL, &r[0]);
    change(t, "b:k", "1", L1_NO_TTL, &r[1]);
    change(t, "b:gone", NULL, 0, &r[2]);
    change(t, "b:taken", "x", L1_NO_TTL, &r[3]);
    while (!is_done(&r[0]) || !is_done(&r[1]) || !is_done(&r[2]) || !is_done(&r[3])) {
    }
    answer(t, 2, NULL);
    stop(t);
    t->tier.writes = writes_create(&t->tier, 1 << 20);
    open_log(t);
    assert_int_equal(t->count, 0);
    evict(t, "b:k");
    assert_string_equal(read_key(t, "b:k"), "1");
    assert_null(read_key(t, "b:gone"));
    tick_until_sent(t, 2);
    assert_string_equal(sent(t, 0), "PUT b:k=1");
    assert_string_equal(sent(t, 1), "DEL b:gone");
    assert_slice(t->sent[0]->first, "k");
    answer(t, 0, NULL);
    answer(t, 0, NULL);
    char dir[64];
    snprintf(dir, sizeof(dir), "%s", t->log);
    teardown(t);
    assert_int_equal(rmdir(dir), 0); /* nothing is left in it */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(through_waits_for_the_origin),
        cmocka_unit_test(a_failure_drops_the_copy),
        cmocka_unit_test(one_flies_and_the_newest_waits),
        cmocka_unit_test(around_leaves_nothing),
        cmocka_unit_test(what_is_on_its_way_is_found_again),
        cmocka_unit_test(a_flush_does_not_uncover_the_origins_value),
        cmocka_unit_test(it_is_bounded),
        cmocka_unit_test(back_is_sent_until_it_is_taken),
        cmocka_unit_test(a_refused_key_rests_alone),
        cmocka_unit_test(an_origin_gets_few_at_once),
        cmocka_unit_test(another_mode_does_not_lose_what_was_acknowledged),
        cmocka_unit_test(what_the_origin_cannot_hold_is_not_kept),
        cmocka_unit_test(back_outlives_the_process),
    };
    clock_init();
    log_set_level(LOG_NOTHING);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
