/* SPDX-License-Identifier: BSD-3-Clause */
/* test_fill: singleflight, late fills, chains and failures, with sources that answer when the test says so. */
#include "tests/unit/check.h"

#include "src/base/mem.h"
#include "src/l1/shard.h"
#include "src/rt/loop.h"
#include "src/tier/tier.h"

/* A source with a gate: fetches wait in it until answered. */
struct gate {
    struct source source;
    struct fetch *waiting[16];
    int count, asked, probed;
};

static void gate_fetch(struct source *s, struct fetch *f) {
    struct gate *g = s->ctx;
    g->asked++;
    g->waiting[g->count++] = f;
}

static void gate_answer(struct gate *g, enum fetch_result result, const char *text) {
    struct fetch *f = g->waiting[--g->count];
    f->result = result;
    if (text != NULL) {
        buf_puts(&f->found.str, text);
    }
    f->done(f);
}

struct fixture {
    struct l1 *l1;
    struct tier tier;
    struct loop *loop;
    struct gate gate[2];
    int resumed;
};

static struct fixture *current;

static void on_resume(struct fill *f) {
    (void)f;
    current->resumed++;
}

static void stop_now(struct loop *loop, struct msg *msg) {
    (void)msg;
    loop_stop(loop);
}

/* Delivers the messages posted so far. */
static void run_loop(struct fixture *t) {
    struct msg msg = {.run = stop_now};
    loop_post(t->loop, &msg);
    loop_run(t->loop);
}

static struct fixture *setup(int sources) {
    static const struct loop_ops ops = {0};
    struct fixture *t = mem_zalloc(sizeof(*t));
    t->l1 = l1_create(&(struct l1_options){.shards = 1, .policy = "allkeys-s3fifo"});
    tier_init(&t->tier, t->l1);
    t->loop = loop_create(0, "test", &ops, t);
    for (int i = 0; i < sources; i++) {
        t->gate[i].source = (struct source){.name = "gate", .ctx = &t->gate[i], .fetch = gate_fetch};
        tier_add_source(&t->tier, &t->gate[i].source);
    }
    current = t;
    return t;
}

static void teardown(struct fixture *t) {
    assert_int_equal(t->l1->shards[0].flights.count, 0);
    loop_destroy(&t->loop);
    l1_destroy(&t->l1);
    mem_free(t);
}

static const bool want = true;

static struct fill make_fill(struct fixture *t, const struct key *key) {
    return (struct fill){.tier = &t->tier, .loop = t->loop, .keys = key, .wanted = &want, .n = 1, .resume = on_resume};
}

static bool begin(struct fixture *t, struct fill *f) {
    l1_lock(t->l1, 0);
    bool parked = fill_begin(f, 1);
    l1_unlock(t->l1, 0);
    if (parked) {
        fill_launch(f, 1);
    }
    return parked;
}

static bool value_is(struct fixture *t, const struct key *key, const char *text) {
    struct item_view v;
    l1_lock(t->l1, 0);
    bool found = l1_get(t->l1, key, 1, L1_NOTOUCH, &v);
    bool same = text == NULL ? !found : found && slice_eq(v.str, slice_cstr(text));
    l1_unlock(t->l1, 0);
    return same;
}

static void many_callers_cause_one_fetch(void **state) {
    (void)state;
    struct fixture *t = setup(1);
    struct key key = key_make(SLICE("k"), 0);
    struct fill fills[10];
    for (int i = 0; i < 10; i++) {
        fills[i] = make_fill(t, &key);
        assert_true(begin(t, &fills[i]));
    }
    assert_int_equal(t->gate[0].asked, 1);
    gate_answer(&t->gate[0], FETCH_FOUND, "v");
    assert_int_equal(t->resumed, 0); /* by message only */
    run_loop(t);
    assert_int_equal(t->resumed, 10);
    assert_true(value_is(t, &key, "v"));
    for (int i = 0; i < 10; i++) {
        assert_false(begin(t, &fills[i]));
        fill_end(&fills[i]);
    }
    teardown(t);
}

static enum probe_result gate_probe(struct source *s, const struct key *key, int64_t now_ms, struct found *out) {
    (void)key;
    (void)now_ms;
    (void)out;
    ((struct gate *)s->ctx)->probed++;
    return PROBE_UNKNOWN;
}

/* Three keys, the first in memory: each of the others is looked for once. */
static void what_was_asked_before_is_not_asked_again(void **state) {
    (void)state;
    struct fixture *t = setup(1);
    struct key keys[3] = {key_make(SLICE("a"), 0), key_make(SLICE("b"), 0), key_make(SLICE("c"), 0)};
    static const bool all[3] = {true, true, true};
    struct fill f = make_fill(t, keys);
    t->gate[0].source.probe = gate_probe;
    f.wanted = all;
    f.n = 3;
    l1_lock(t->l1, 0);
    assert_int_equal(l1_set(t->l1, &keys[0], SLICE("v"), L1_NO_TTL, 0, 1), OK);
    assert_false(fill_needs(&t->tier, &keys[0], NULL, 1, NULL));
    assert_true(fill_needs(&t->tier, &keys[1], NULL, 1, NULL));
    f.first_cold = 2;
    assert_true(fill_begin(&f, 1));
    l1_unlock(t->l1, 0);
    assert_int_equal(t->gate[0].probed, 2);
    fill_launch(&f, 1);
    assert_int_equal(t->gate[0].asked, 2);
    gate_answer(&t->gate[0], FETCH_FOUND, "v");
    gate_answer(&t->gate[0], FETCH_ABSENT, NULL);
    run_loop(t);
    assert_int_equal(t->resumed, 1);
    assert_false(begin(t, &f)); /* asks for itself: one is there, the other is known to be absent */
    assert_int_equal(f.first_cold, 0);
    fill_end(&f);
    teardown(t);
}

static void a_write_wins_over_the_late_fill(void **state) {
    (void)state;
    struct fixture *t = setup(1);
    struct key key = key_make(SLICE("k"), 0);
    struct fill f = make_fill(t, &key);
    assert_true(begin(t, &f));
    l1_lock(t->l1, 0);
    assert_int_equal(l1_set(t->l1, &key, SLICE("new"), L1_NO_TTL, 0, 1), OK);
    l1_unlock(t->l1, 0);
    gate_answer(&t->gate[0], FETCH_FOUND, "old");
    run_loop(t);
    assert_true(value_is(t, &key, "new"));
    assert_int_equal(t->tier.dropped_late, 1);
    fill_end(&f);
    teardown(t);
}

static void a_delete_is_not_undone_by_the_late_fill(void **state) {
    (void)state;
    struct fixture *t = setup(1);
    struct key key = key_make(SLICE("k"), 0);
    struct fill f = make_fill(t, &key);
    assert_true(begin(t, &f));
    l1_lock(t->l1, 0);
    assert_false(l1_del(t->l1, &key, 1));
    l1_unlock(t->l1, 0);
    gate_answer(&t->gate[0], FETCH_FOUND, "old");
    run_loop(t);
    assert_true(value_is(t, &key, NULL));
    assert_true(begin(t, &f)); /* looks again: the delete has reached the source by now */
    gate_answer(&t->gate[0], FETCH_ABSENT, NULL);
    run_loop(t);
    assert_false(begin(t, &f));
    fill_end(&f);
    teardown(t);
}

static void who_gives_up_does_not_end_the_flight(void **state) {
    (void)state;
    struct fixture *t = setup(1);
    struct key key = key_make(SLICE("k"), 0);
    struct fill hasty = make_fill(t, &key), patient = make_fill(t, &key);
    assert_true(begin(t, &hasty));
    assert_true(begin(t, &patient));
    fill_give_up(&hasty);
    assert_int_equal(t->resumed, 1);
    assert_true(hasty.failed && !patient.failed);
    assert_false(begin(t, &hasty)); /* settled: absent for this call */
    fill_give_up(&hasty);
    assert_int_equal(t->resumed, 1);
    assert_int_equal(t->gate[0].asked, 1);
    gate_answer(&t->gate[0], FETCH_FOUND, "v");
    fill_give_up(&patient); /* too late: the answer is under way */
    assert_int_equal(t->resumed, 1);
    run_loop(t);
    assert_int_equal(t->resumed, 2);
    assert_false(patient.failed);
    assert_true(value_is(t, &key, "v"));
    assert_int_equal(t->tier.late, 1);
    fill_end(&hasty);
    fill_end(&patient);
    teardown(t);
}

static void a_flight_nobody_waits_for_lands(void **state) {
    (void)state;
    struct fixture *t = setup(1);
    struct key keys[2] = {key_make(SLICE("a"), 0), key_make(SLICE("b"), 0)};
    bool both[2] = {true, true};
    struct fill f = {.tier = &t->tier, .loop = t->loop, .keys = keys, .wanted = both, .n = 2, .resume = on_resume};
    assert_true(begin(t, &f));
    gate_answer(&t->gate[0], FETCH_FOUND, "v"); /* one of them */
    fill_give_up(&f);
    assert_int_equal(t->resumed, 0); /* its message is on the way */
    run_loop(t);
    assert_int_equal(t->resumed, 1);
    assert_true(f.failed);
    fill_end(&f);
    gate_answer(&t->gate[0], FETCH_FOUND, "v");
    run_loop(t);
    assert_true(value_is(t, &keys[0], "v") && value_is(t, &keys[1], "v"));
    teardown(t);
}

static void the_first_source_that_has_it_wins(void **state) {
    (void)state;
    struct fixture *t = setup(2);
    struct key key = key_make(SLICE("k"), 0);
    struct fill f = make_fill(t, &key);
    assert_true(begin(t, &f));
    assert_int_equal(t->gate[1].asked, 0);
    gate_answer(&t->gate[0], FETCH_ABSENT, NULL);
    assert_int_equal(t->gate[1].asked, 1);
    gate_answer(&t->gate[1], FETCH_FOUND, "deep");
    run_loop(t);
    assert_true(value_is(t, &key, "deep"));
    fill_end(&f);
    teardown(t);
}

static void failure_reaches_all_and_the_next_call_tries_again(void **state) {
    (void)state;
    struct fixture *t = setup(1);
    struct key key = key_make(SLICE("k"), 0);
    struct fill a = make_fill(t, &key), b = make_fill(t, &key), c = make_fill(t, &key);
    assert_true(begin(t, &a));
    assert_true(begin(t, &b));
    gate_answer(&t->gate[0], FETCH_ERROR, NULL);
    run_loop(t);
    assert_int_equal(t->resumed, 2);
    assert_true(a.failed && b.failed);
    assert_false(begin(t, &a)); /* settled for these calls */
    assert_false(begin(t, &b));
    assert_true(begin(t, &c));
    assert_int_equal(t->gate[0].asked, 2);
    gate_answer(&t->gate[0], FETCH_FOUND, "v");
    run_loop(t);
    assert_true(value_is(t, &key, "v"));
    fill_end(&a);
    fill_end(&b);
    fill_end(&c);
    teardown(t);
}

/* ---- commit ---- */

struct heard {
    enum sink_change changes[8];
    int count;
};

static unsigned hear(struct sink *s, enum sink_change change, const struct key *key, const struct item_view *item,
                     int64_t now_ms, struct sink_ack *ack) {
    (void)key;
    (void)now_ms;
    (void)ack;
    struct heard *h = s->ctx;
    assert_int_equal(item != NULL, change == SINK_SET || change == SINK_EXPIRE);
    h->changes[h->count++] = change;
    return h->count % 2 == 0 ? SINK_WAIT : SINK_DONE;
}

static void sinks_hear_changes_in_order(void **state) {
    (void)state;
    struct fixture *t = setup(0);
    struct heard heard = {0};
    struct sink sink = {.name = "heard", .ctx = &heard, .every_change = true, .changed = hear};
    struct key key = key_make(SLICE("k"), 0);
    int acks = 0;
    tier_add_sink(&t->tier, &sink);
    l1_lock(t->l1, 0);
    assert_int_equal(l1_set(t->l1, &key, SLICE("v"), L1_NO_TTL, 0, 1), OK);
    tier_commit(&t->tier, SINK_SET, &key, 1, NULL, &acks);
    l1_del(t->l1, &key, 1);
    tier_commit(&t->tier, SINK_SET, &key, 1, NULL, &acks); /* gone meanwhile: a delete */
    l1_unlock(t->l1, 0);
    assert_int_equal(heard.count, 2);
    assert_int_equal(heard.changes[0], SINK_SET);
    assert_int_equal(heard.changes[1], SINK_DEL);
    assert_int_equal(acks, 1);
    teardown(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_callers_cause_one_fetch),
        cmocka_unit_test(what_was_asked_before_is_not_asked_again),
        cmocka_unit_test(a_write_wins_over_the_late_fill),
        cmocka_unit_test(a_delete_is_not_undone_by_the_late_fill),
        cmocka_unit_test(who_gives_up_does_not_end_the_flight),
        cmocka_unit_test(a_flight_nobody_waits_for_lands),
        cmocka_unit_test(the_first_source_that_has_it_wins),
        cmocka_unit_test(failure_reaches_all_and_the_next_call_tries_again),
        cmocka_unit_test(sinks_hear_changes_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
