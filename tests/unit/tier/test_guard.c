/* SPDX-License-Identifier: BSD-3-Clause */
/* test_guard: verdicts on reads and consequences of writes, with a clock the test moves and an origin that answers when it says. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/l1/shard.h"
#include "src/origin/origin.h"
#include "src/rt/loop.h"
#include "src/tier/guard.h"
#include "src/tier/tier.h"

enum { SHARDS = 4, MANY = 20 };

struct fixture {
    struct l1 *l1;
    struct tier tier;
    struct guard *guard;
    struct rules *rules;
    struct loop *loop;
    struct request *loads[MANY]; /* at the origin */
    int loading, loaded, resumed, woken;
    struct sink sink;
    int sets, dels, evictions;
};

static struct fixture *t;

/* ---- the world outside ---- */

static void fake_load(void *target, struct request *r) {
    assert_ptr_equal(target, t);
    assert_in_range(t->loading, 0, MANY - 1);
    t->loads[t->loading++] = r;
    t->loaded++;
}

static void *find_target(void *ctx, struct slice origin) {
    return slice_eq(origin, SLICE("o")) ? ctx : NULL;
}

static unsigned note_change(struct sink *s, enum sink_change change, const struct key *key, const struct item_view *item,
                            int64_t now_ms, struct sink_ack *ack) {
    (void)s, (void)key, (void)now_ms, (void)ack;
    assert_int_equal(item == NULL, change == SINK_DEL);
    t->sets += change == SINK_SET;
    t->dels += change == SINK_DEL;
    return SINK_DONE;
}

/* Keeps every other one. */
static bool note_eviction(struct sink *s, const struct key *key, const struct item_view *item, const struct eviction *e) {
    (void)s, (void)key, (void)item, (void)e;
    return t->evictions++ % 2 == 0;
}

static void stop_now(struct loop *loop, struct msg *msg) {
    (void)msg;
    loop_stop(loop);
}

/* Delivers the messages posted so far; the loop sees the time. */
static void run_loop(void) {
    struct msg msg = {.run = stop_now};
    loop_post(t->loop, &msg);
    loop_run(t->loop);
}

static int64_t now(void) {
    return loop_now_ms(t->loop);
}

static void pass(int64_t ms) {
    clock_advance_ms(ms);
    run_loop();
}

static void setup(const char *policies) {
    static const struct loop_ops ops = {0};
    rng_seed(1);
    t = mem_zalloc(sizeof(*t));
    t->l1 = l1_create(&(struct l1_options){.shards = SHARDS, .policy = "allkeys-s3fifo",
                                           .hooks = {.ctx = &t->tier, .deadline = tier_item_deadline, .newborn = tier_newborn,
                                                     .evicted = tier_evicted, .heeds = tier_heeds, .lapsed = tier_item_lapsed}});
    tier_init(&t->tier, t->l1);
    t->tier.ask = fake_load;
    t->guard = t->tier.guard = guard_create(t->l1, &t->tier, 1000, 100);
    t->loop = loop_create(0, "test", &ops, t);
    t->rules = rules_create(policies, NULL);
    rules_bind(t->rules, find_target, t);
    guard_set_rules(t->guard, rules_ref(t->rules));
    t->sink = (struct sink){.name = "note", .changed = note_change, .evicted = note_eviction, .every_change = true};
    run_loop();
}

static void add_sink(void) {
    tier_add_sink(&t->tier, &t->sink);
}

static void teardown(void) {
    assert_int_equal(t->loading, 0);
    for (unsigned i = 0; i < SHARDS; i++) {
        assert_int_equal(t->l1->shards[i].flights.count, 0);
    }
    assert_int_equal(t->guard->leases_live, 0);
    guard_destroy(&t->guard);
    rules_unref(t->rules);
    loop_destroy(&t->loop);
    l1_destroy(&t->l1);
    mem_free(t);
}

static uint64_t counted(const char *pattern, enum rule_counter c) {
    return rule_count_read(rules_find(t->rules, slice_cstr(pattern))->stats, c);
}

/* ---- a reader, as the server drives one ---- */

struct reader {
    struct key key;
    const struct rule *rule;
    struct fill fill;
    struct lease_owner *owner;
    struct lease_waiter waiter;
    bool other, again, held; /* other: no plain read, or of a client that may neither load nor wait */
    /* what came of it */
    enum guard_verdict verdict;
    struct guard_read read;
    bool parked;
    char value[64]; /* "" absent */
};

static void on_resume(struct fill *f) {
    ((struct reader *)((char *)f - offsetof(struct reader, fill)))->again = true;
    t->resumed++;
}

static void on_wake(struct lease_waiter *w) {
    assert_true(w->woken);
    t->woken++;
}

static struct reader reader_of(const char *name) {
    struct reader r = {.key = key_make(slice_cstr(name), 0), .waiter = {.wake = on_wake}};
    r.rule = rules_match(t->rules, r.key.name);
    return r;
}

static void look(struct reader *r, bool stale) {
    struct item_view v;
    bool found = r->read.see != SEE_NOTHING && l1_get(t->l1, &r->key, now(), L1_NOTOUCH | (stale ? L1_STALE : 0), &v);
    snprintf(r->value, sizeof(r->value), "%.*s", found ? (int)v.str.n : 0, found ? v.str.p : "");
}

/* From the locks of its key on: parked at the origin, waiting for a lease, or finished, as the verdict says. */
static void go(struct reader *r) {
    static const bool want = true;
    unsigned shard = l1_shard_of(t->l1, r->key.hash);
    r->parked = false;
    r->read = (struct guard_read){.key = &r->key, .rule = r->rule, .rules = t->rules, .loop = t->loop, .now_ms = now(),
                                  .value = true, .again = r->again,
                                  .failed = r->fill.settled != NULL && r->fill.settled[0] == FILL_FAILED, .held = r->held, .may_lease = !r->other,
                                  .may_wait = !r->other, .owner = r->owner};
    l1_lock(t->l1, shard);
    r->verdict = guard_before(t->guard, &r->read);
    bool known = r->verdict == GUARD_KNOWN || r->verdict == GUARD_ERROR;
    if (!known && (r->fill.settled == NULL || !r->fill.settled[0]) &&
        fill_needs(&t->tier, &r->key, r->rule, now(), NULL)) {
        if (r->fill.tier == NULL) {
            r->fill = (struct fill){.tier = &t->tier, .loop = t->loop, .keys = &r->key, .wanted = &want, .n = 1, .resume = on_resume};
        }
        r->fill.rules = t->rules;
        r->fill.rule_of = &r->rule;
        r->parked = fill_begin(&r->fill, now());
    }
    if (!r->parked && r->verdict == GUARD_GO && r->rule->opt.wait_ms > 0 && r->read.see != SEE_NOTHING) {
        r->verdict = guard_after(t->guard, &r->read);
    }
    if (r->verdict == GUARD_WAIT) {
        lease_join(r->read.lease, &r->waiter);
        r->held = r->again = r->parked = true;
    }
    look(r, r->read.see == SEE_STALE || r->fill.passing);
    l1_unlock(t->l1, shard);
    if (r->parked && r->verdict != GUARD_WAIT) {
        fill_launch(&r->fill, now());
    }
}

/* A read from its beginning. */
static struct reader get(const char *name) {
    struct reader r = reader_of(name);
    go(&r);
    assert_false(r.parked);
    return r;
}

static void end_reader(struct reader *r) {
    fill_end(&r->fill);
}

/* ---- answers and writes ---- */

static struct request *next_load(void) {
    assert_true(t->loading > 0);
    struct request *r = t->loads[0];
    memmove(t->loads, t->loads + 1, (size_t)--t->loading * sizeof(t->loads[0]));
    r->life = LIFETIME_UNSAID;
    r->took_ms = 50;
    return r;
}

static void answer_as(const char *text, struct lifetime life) {
    struct request *r = next_load();
    r->result = REQUEST_OK;
    r->life = life;
    buf_puts(&r->found.str, text);
    r->done(r);
    run_loop();
}

static void answer(const char *text) {
    answer_as(text, LIFETIME_UNSAID);
}

static void answer_absent(void) {
    struct request *r = next_load();
    r->result = REQUEST_ABSENT;
    r->done(r);
    run_loop();
}

static void answer_failed(const char *error) {
    struct request *r = next_load();
    r->result = REQUEST_FAILED;
    r->error = error;
    r->done(r);
    run_loop();
}

static void changed(const char *name, enum sink_change change) {
    struct key key = key_make(slice_cstr(name), 0);
    int acks = 0;
    guard_changed(t->guard, rules_match(t->rules, key.name), &key, change, 0, now());
    tier_commit(&t->tier, change, &key, now(), NULL, &acks);
}

static void set(const char *name, const char *text, int64_t ttl_ms) {
    struct key key = key_make(slice_cstr(name), 0);
    unsigned shard = l1_shard_of(t->l1, key.hash);
    l1_lock(t->l1, shard);
    assert_int_equal(l1_set(t->l1, &key, slice_cstr(text), ttl_ms < 0 ? L1_NO_TTL : now() + ttl_ms, 0, now()), OK);
    changed(name, SINK_SET);
    l1_unlock(t->l1, shard);
}

static void del(const char *name) {
    struct key key = key_make(slice_cstr(name), 0);
    unsigned shard = l1_shard_of(t->l1, key.hash);
    l1_lock(t->l1, shard);
    l1_del(t->l1, &key, now());
    changed(name, SINK_DEL);
    l1_unlock(t->l1, shard);
}

static bool item_of(const char *name, struct item_view *v, struct item_extra *e) {
    struct key key = key_make(slice_cstr(name), 0);
    unsigned shard = l1_shard_of(t->l1, key.hash);
    l1_lock(t->l1, shard);
    bool found = l1_get(t->l1, &key, now(), L1_NOTOUCH | L1_STALE, v) && item_extra_get(v->extra, e);
    l1_unlock(t->l1, shard);
    return found;
}

static int64_t ttl_of(const char *name) {
    struct item_view v;
    struct item_extra e;
    return !item_of(name, &v, &e) ? -2 : v.expire_ms == L1_NO_TTL ? -1 : v.expire_ms - now();
}

static uint32_t grace_of(const char *name) {
    struct item_view v;
    struct item_extra e;
    assert_true(item_of(name, &v, &e));
    return e.grace_ms;
}

/* Real time goes on beside the clock the test moves: a few milliseconds, more under a sanitizer. */
#define assert_about(ms, wanted) assert_in_range(ms, (wanted) - 2000, wanted)

/* ---- reading through ---- */

static void a_fresh_value_is_a_hit(void **state) {
    (void)state;
    setup("k* origin=o ttl=10s");
    set("k", "v", -1);
    struct reader r = get("k");
    assert_string_equal(r.value, "v");
    assert_int_equal(r.read.see, SEE_FRESH);
    assert_about(ttl_of("k"), 10000);
    assert_int_equal(counted("k*", RULE_hits), 1);
    assert_int_equal(counted("k*", RULE_misses), 0);
    assert_int_equal(t->loaded, 0);
    teardown();
}

static void many_readers_cause_one_load(void **state) {
    (void)state;
    setup("k* origin=o ttl=10s grace=5s");
    struct reader r[MANY];
    for (int i = 0; i < MANY; i++) {
        r[i] = reader_of("k1");
        go(&r[i]);
        assert_true(r[i].parked);
    }
    assert_int_equal(t->loaded, 1);
    assert_slice(t->loads[0]->key, "k1");
    assert_slice(t->loads[0]->first, "1");
    assert_false(t->loads[0]->background);
    answer("v");
    assert_int_equal(t->resumed, MANY);
    for (int i = 0; i < MANY; i++) {
        go(&r[i]);
        assert_string_equal(r[i].value, "v");
        end_reader(&r[i]);
    }
    assert_about(ttl_of("k1"), 10000);
    assert_int_equal(grace_of("k1"), 5000);
    assert_int_equal(t->loaded, 1);
    assert_int_equal(counted("k*", RULE_loads), 1);
    assert_int_equal(counted("k*", RULE_misses), MANY);
    teardown();
}

static void a_failed_load_is_told_to_all_and_not_repeated_at_once(void **state) {
    (void)state;
    setup("k* origin=o error-ttl=2s");
    struct reader r[3];
    for (int i = 0; i < 3; i++) {
        r[i] = reader_of("k");
        go(&r[i]);
    }
    answer_failed("timed out");
    for (int i = 0; i < 3; i++) {
        assert_true(r[i].fill.failed);
        assert_string_equal(r[i].fill.error, "timed out");
        go(&r[i]);
        assert_false(r[i].parked);
        assert_int_equal(r[i].verdict, GUARD_GO); /* its own load's error is the one it hears */
        end_reader(&r[i]);
    }
    struct reader next = get("k");
    assert_int_equal(next.verdict, GUARD_ERROR);
    assert_non_null(next.read.error);
    assert_int_equal(counted("k*", RULE_failed_fast), 1);
    assert_int_equal(counted("k*", RULE_load_failures), 1);
    assert_int_equal(t->loaded, 1);
    pass(2100);
    struct reader later = reader_of("k");
    go(&later);
    assert_true(later.parked);
    answer("v");
    go(&later);
    assert_string_equal(later.value, "v");
    end_reader(&later);
    assert_int_equal(get("k").verdict, GUARD_GO);
    teardown();
}

static void absence_is_believed_for_its_time(void **state) {
    (void)state;
    setup("k* origin=o negative-ttl=3s\nn* origin=o");
    struct reader r = reader_of("k");
    go(&r);
    answer_absent();
    go(&r);
    assert_false(r.parked);
    assert_string_equal(r.value, "");
    end_reader(&r);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(get("k").verdict, GUARD_KNOWN);
    }
    assert_int_equal(counted("k*", RULE_negative), 5);
    assert_int_equal(t->loaded, 1);
    pass(3100);
    struct reader later = reader_of("k");
    go(&later);
    assert_true(later.parked);
    answer_absent();
    go(&later);
    end_reader(&later);
    assert_int_equal(get("k").verdict, GUARD_KNOWN);
    set("k", "v", -1); /* a write knows better */
    assert_string_equal(get("k").value, "v");
    del("k");
    struct reader again = reader_of("k"), none = reader_of("n");
    go(&again);
    assert_true(again.parked);
    answer_absent();
    end_reader(&again);
    for (int i = 0; i < 2; i++) { /* without negative-ttl each asks anew */
        none.fill.settled == NULL ? (void)0 : end_reader(&none);
        none = reader_of("n");
        go(&none);
        assert_true(none.parked);
        answer_absent();
    }
    end_reader(&none);
    teardown();
}

static void a_stale_value_is_served_while_one_load_refreshes_it(void **state) {
    (void)state;
    setup("k* origin=o ttl=10s grace=30s");
    set("k", "old", -1);
    pass(11000);
    for (int i = 0; i < 10; i++) {
        struct reader r = get("k");
        assert_int_equal(r.verdict, GUARD_KNOWN);
        assert_int_equal(r.read.see, SEE_STALE);
        assert_string_equal(r.value, "old");
    }
    assert_int_equal(t->loaded, 1);
    assert_true(t->loads[0]->background);
    answer("new");
    assert_string_equal(get("k").value, "new");
    assert_about(ttl_of("k"), 10000);
    assert_int_equal(counted("k*", RULE_stale), 10);
    assert_int_equal(counted("k*", RULE_refreshes), 1);
    assert_int_equal(t->resumed, 0);
    pass(10000 + 30000 + 100); /* past its grace it is gone */
    struct reader late = reader_of("k");
    go(&late);
    assert_true(late.parked);
    answer("newer");
    go(&late);
    assert_string_equal(late.value, "newer");
    end_reader(&late);
    teardown();
}

static void a_stale_value_is_served_when_the_refresh_fails(void **state) {
    (void)state;
    setup("k* origin=o ttl=10s grace=30s error-ttl=2s");
    set("k", "old", -1);
    pass(11000);
    assert_string_equal(get("k").value, "old");
    answer_failed("connection refused");
    for (int i = 0; i < 5; i++) {
        assert_string_equal(get("k").value, "old");
    }
    assert_int_equal(t->loaded, 1); /* not again so soon */
    pass(2100);
    assert_string_equal(get("k").value, "old");
    assert_int_equal(t->loaded, 2);
    answer_failed("connection refused");
    pass(30000);
    struct reader r = reader_of("k");
    go(&r);
    assert_true(r.parked); /* nothing left to serve */
    answer_failed("connection refused");
    end_reader(&r);
    teardown();
}

/* stale-while-revalidate and stale-if-error: within the first the value is served while it is refreshed; beyond it a reader waits for a
 * newer one, and gets the old one when that cannot be had. */
static void what_is_for_errors_alone_is_served_after_one(void **state) {
    (void)state;
    setup("k* origin=o ttl=origin error-ttl=2s");
    const struct lifetime life = {.ttl_ms = 10000, .stale_ms = 5000, .error_ms = 60000};
    struct reader r = reader_of("k");
    go(&r);
    answer_as("old", life);
    end_reader(&r);
    pass(12000);
    assert_string_equal(get("k").value, "old"); /* within the five seconds */
    answer_failed("timed out");
    pass(6000);
    struct reader a = reader_of("k"), b = reader_of("k");
    go(&a);
    go(&b);
    assert_true(a.parked && b.parked);
    assert_int_equal(t->loaded, 3);
    answer_failed("timed out");
    go(&a);
    assert_false(a.parked);
    assert_int_equal(a.verdict, GUARD_KNOWN);
    assert_string_equal(a.value, "old");
    assert_string_equal(get("k").value, "old"); /* the failure is remembered: nobody waits */
    assert_int_equal(t->loaded, 3);
    end_reader(&a);
    pass(2100);
    go(&b); /* its own load has failed, however long ago that is */
    assert_string_equal(b.value, "old");
    end_reader(&b);
    struct reader c = reader_of("k");
    go(&c);
    assert_true(c.parked);
    answer_as("new", life);
    go(&c);
    assert_string_equal(c.value, "new");
    end_reader(&c);
    struct item_view v;
    struct item_extra e;
    set("k", "written", -1);
    assert_true(item_of("k", &v, &e));
    assert_int_equal(e.error_ms, 0); /* the origin's word was about its own value */
    teardown();
}

static void a_crowd_gets_what_is_for_errors(void **state) {
    (void)state;
    setup("k* origin=o ttl=origin waiters=1");
    struct reader r = reader_of("k"), a = reader_of("k");
    go(&r);
    answer_as("old", (struct lifetime){.ttl_ms = 10000, .stale_ms = -1, .error_ms = 60000});
    end_reader(&r);
    pass(11000);
    go(&a);
    assert_true(a.parked);
    assert_string_equal(get("k").value, "old"); /* one too many to wait */
    set("k", "written", -1);
    answer("late");
    go(&a);
    assert_string_equal(a.value, "written");
    end_reader(&a);
    teardown();
}

static void a_call_waits_for_a_load_no_longer_than_its_rule_says(void **state) {
    (void)state;
    setup("k* origin=o wait=200ms\nl* origin=o");
    struct reader r = reader_of("k"), other = reader_of("k"), endless = reader_of("l");
    go(&r);
    go(&other);
    go(&endless);
    assert_true(r.parked && other.parked && endless.parked);
    assert_int_equal(t->guard->leases_live, 0); /* nobody is let go: the server loads */
    assert_int_equal(fill_tire(&r.fill, 0), 200);
    assert_int_equal(fill_tire(&r.fill, 199), 200);
    assert_int_equal(fill_tire(&endless.fill, 100000), 0);
    assert_int_equal(t->resumed, 0);
    assert_int_equal(fill_tire(&r.fill, 200), 0);
    assert_int_equal(t->resumed, 1);
    assert_string_equal(r.fill.error, "it takes longer than wait");
    assert_int_equal(counted("k*", RULE_overdue), 1);
    go(&r);
    assert_false(r.parked);
    assert_int_equal(r.verdict, GUARD_GO);
    end_reader(&r);
    answer("v"); /* goes on for the others */
    assert_int_equal(t->resumed, 2);
    go(&other);
    assert_string_equal(other.value, "v");
    assert_string_equal(get("k").value, "v");
    answer("w");
    end_reader(&other);
    end_reader(&endless);
    teardown();
}

static void tag(const char *name, uint32_t tag) {
    struct key key = key_make(slice_cstr(name), 0);
    unsigned char bytes[ITEM_EXTRA_MAX];
    struct item_view v;
    struct item_extra e;
    assert_true(item_of(name, &v, &e));
    e.tag[e.tags++] = tag;
    e.stamp = tier_last_purge(&t->tier);
    l1_lock(t->l1, l1_shard_of(t->l1, key.hash));
    assert_true(l1_set_extra(t->l1, &key, slice_make(bytes, item_extra_put(&e, bytes)), now()));
    l1_unlock(t->l1, l1_shard_of(t->l1, key.hash));
}

static void load(const char *name, const char *text) {
    struct reader r = reader_of(name);
    go(&r);
    assert_true(r.parked);
    answer(text);
    go(&r);
    assert_string_equal(r.value, text);
    end_reader(&r);
}

static void purge(const char *prefix, uint32_t tag, bool soft) {
    l1_lock_all(t->l1);
    assert_true(prefix != NULL ? guard_purge_prefix(t->guard, 0, slice_cstr(prefix), soft, now()) : guard_purge_tag(t->guard, tag, soft, now()));
    l1_unlock_all(t->l1);
}

/* What an origin gives after a purge is kept; what it gives to a load that was on its way is not. */
static void loads_and_purges_keep_their_order(void **state) {
    (void)state;
    setup("k* origin=o ttl=10s grace=60s");
    load("k", "1");
    purge("k", 0, false);
    load("k", "2");
    assert_string_equal(get("k").value, "2");
    purge("k", 0, false);
    struct reader r = reader_of("k");
    go(&r);
    purge("k", 0, false);
    answer("of before the purge");
    go(&r);
    assert_true(r.parked);
    answer("3");
    go(&r);
    assert_string_equal(r.value, "3");
    end_reader(&r);
    assert_string_equal(get("k").value, "3");
    purge("k", 0, true);
    assert_string_equal(get("k").value, "3"); /* stale */
    answer("4");
    assert_string_equal(get("k").value, "4");
    assert_int_equal(counted("k*", RULE_stale), 1);
    teardown();
}

static void tags_outlive_a_refresh(void **state) {
    (void)state;
    setup("k* origin=o ttl=10s grace=60s");
    purge(NULL, 7, false);
    load("k", "1");
    tag("k", 7);
    pass(11000);
    assert_string_equal(get("k").value, "1");
    answer("2");
    assert_string_equal(get("k").value, "2");
    purge(NULL, 8, false);
    assert_string_equal(get("k").value, "2");
    purge(NULL, 7, false);
    load("k", "3");
    purge(NULL, 7, false); /* the value had gone, and its tags with it */
    assert_string_equal(get("k").value, "3");
    teardown();
}

static void absent_on_refresh_removes(void **state) {
    (void)state;
    setup("k* origin=o ttl=10s grace=30s negative-ttl=3s early=on");
    add_sink();
    set("k", "old", -1);
    pass(11000);
    assert_string_equal(get("k").value, "old");
    answer_absent();
    assert_int_equal(get("k").verdict, GUARD_KNOWN);
    assert_string_equal(get("k").value, "");
    assert_int_equal(ttl_of("k"), -2);
    teardown();
}

static void values_that_must_not_be_kept_reach_those_who_waited(void **state) {
    (void)state;
    setup("k* origin=o ttl=origin");
    struct reader r[3];
    for (int i = 0; i < 3; i++) {
        r[i] = reader_of("k");
        go(&r[i]);
    }
    answer_as("secret", (struct lifetime){.ttl_ms = 0, .stale_ms = -1, .error_ms = -1});
    assert_int_equal(t->loaded, 1);
    struct reader other = reader_of("k"); /* came before they had it */
    go(&other);
    assert_true(other.parked);
    assert_string_equal(other.value, "");
    assert_int_equal(t->loaded, 2);
    for (int i = 0; i < 3; i++) {
        go(&r[i]);
        assert_false(r[i].parked);
        assert_true(r[i].fill.passing);
        assert_string_equal(r[i].value, "secret");
        end_reader(&r[i]);
    }
    answer_as("later", (struct lifetime){.ttl_ms = 5000, .stale_ms = 1000, .error_ms = 7000});
    go(&other);
    assert_string_equal(other.value, "later");
    end_reader(&other);
    assert_about(ttl_of("k"), 5000);
    assert_int_equal(grace_of("k"), 7000);
    teardown();
}

static void passing_values_are_no_keys_and_go(void **state) {
    (void)state;
    setup("k* origin=o ttl=origin");
    struct reader r = reader_of("k");
    go(&r);
    answer_as("secret", (struct lifetime){.ttl_ms = 0, .stale_ms = 60000, .error_ms = 60000});
    struct item_view v;
    struct item_extra e;
    assert_true(item_of("k", &v, &e));
    assert_true(v.stale && e.passing);
    assert_int_equal(l1_db_keys(t->l1, 0), 0);
    end_reader(&r);
    pass(10100);
    assert_false(item_of("k", &v, &e));
    teardown();
}

static void a_write_overtakes_a_load(void **state) {
    (void)state;
    setup("k* origin=o negative-ttl=5s");
    struct reader r = reader_of("k"), d = reader_of("kd"), n = reader_of("kn"), f = reader_of("kf");
    go(&r);
    set("k", "written", -1);
    answer("loaded");
    go(&r);
    assert_string_equal(r.value, "written");
    go(&d);
    del("kd");
    answer("deleted since");
    assert_int_equal(ttl_of("kd"), -2);
    go(&d); /* looks again: the origin is asked for what is true now */
    assert_true(d.parked);
    answer("new");
    go(&d);
    assert_string_equal(d.value, "new");
    go(&n);
    set("kn", "written", -1);
    answer_absent();
    go(&n);
    assert_string_equal(n.value, "written");
    del("kn");
    assert_int_equal(marks_count(t->guard->marks), 0); /* the absence it heard of was of before the write */
    go(&f);
    set("kf", "written", -1);
    answer_failed("timed out");
    go(&f);
    assert_string_equal(f.value, "written");
    assert_int_equal(marks_count(t->guard->marks), 0);
    assert_int_equal(t->tier.dropped_late, 4);
    end_reader(&r);
    end_reader(&d);
    end_reader(&n);
    end_reader(&f);
    teardown();
}

static void a_write_overtakes_a_refresh(void **state) {
    (void)state;
    setup("k* origin=o ttl=10s grace=30s");
    set("k", "old", -1);
    pass(11000);
    assert_string_equal(get("k").value, "old");
    set("k", "written", -1);
    answer("loaded");
    assert_string_equal(get("k").value, "written");
    pass(11000);
    assert_string_equal(get("k").value, "written");
    del("k");
    answer_absent();
    assert_int_equal(ttl_of("k"), -2);
    teardown();
}

static void lifetimes_of_loaded_values_are_jittered(void **state) {
    (void)state;
    setup("k* origin=o ttl=100s ttl-jitter=50%");
    int64_t least = INT64_MAX, most = 0;
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof(name), "k%d", i);
        struct reader r = reader_of(name);
        go(&r);
        answer("v");
        end_reader(&r);
        int64_t ttl = ttl_of(name);
        assert_in_range(ttl, 48000, 100000);
        least = ttl < least ? ttl : least;
        most = ttl > most ? ttl : most;
    }
    assert_true(least < 55000 && most > 95000);
    teardown();
}

static void the_rule_and_the_origin_agree_on_a_lifetime(void **state) {
    (void)state;
    setup("a* origin=o\nb* origin=o ttl=10s\nc* origin=o ttl=origin grace=2s");
    static const struct {
        const char *name;
        struct lifetime life;
        int64_t ttl_ms; /* -1 none, 0: passing */
        uint32_t grace_ms;
    } cases[] = {
        {"a1", {-1, -1, -1, false}, -1, 0},           {"a2", {5000, 9000, -1, false}, -1, 0}, /* advice nobody asked for */
        {"a3", {5000, -1, -1, true}, 5000, 0},        {"b1", {-1, -1, -1, false}, 10000, 0},
        {"b2", {60000, -1, -1, true}, 10000, 0},      {"b3", {3000, -1, -1, true}, 3000, 0},
        {"b4", {3000, -1, -1, false}, 10000, 0},      {"c1", {-1, -1, -1, false}, -1, 2000}, /* for soft purges */
        {"c2", {7000, 1000, -1, false}, 7000, 2000},  {"c3", {7000, 1000, 8000, false}, 7000, 8000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader r = reader_of(cases[i].name);
        go(&r);
        answer_as("v", cases[i].life);
        end_reader(&r);
        int64_t ttl = ttl_of(cases[i].name);
        if (cases[i].ttl_ms < 0) {
            assert_int_equal(ttl, -1);
        } else {
            assert_about(ttl, cases[i].ttl_ms);
        }
        assert_int_equal(grace_of(cases[i].name), cases[i].grace_ms);
    }
    teardown();
}

static void a_value_is_refreshed_before_its_end_by_chance(void **state) {
    (void)state;
    setup("k* origin=o ttl=1000s early=on");
    struct reader r = reader_of("k");
    go(&r);
    answer("v"); /* took 50 ms */
    end_reader(&r);
    for (int i = 0; i < 1000; i++) {
        assert_string_equal(get("k").value, "v");
    }
    assert_int_equal(t->loaded, 1); /* far from the end: never */
    struct key key = key_make(SLICE("k"), 0);
    bool begun = false;
    for (int i = 0; i < 1000 && !begun; i++) { /* near it: soon */
        l1_lock(t->l1, l1_shard_of(t->l1, key.hash));
        assert_true(l1_expire(t->l1, &key, now() + 10000, now()));
        l1_unlock(t->l1, l1_shard_of(t->l1, key.hash));
        pass(10000 - 100);
        begun = get("k").verdict == GUARD_GO && t->loaded == 2;
    }
    assert_true(begun);
    assert_true(t->loads[0]->background);
    assert_int_equal(counted("k*", RULE_early), 1);
    answer("w");
    assert_string_equal(get("k").value, "w");
    assert_about(ttl_of("k"), 1000000);
    teardown();
}

/* ---- looking aside ---- */

static struct reader as(struct lease_owner *o, const char *name) {
    struct reader r = reader_of(name);
    r.owner = o;
    go(&r);
    return r;
}

static void the_first_is_let_go_and_the_others_wait_for_its_write(void **state) {
    (void)state;
    setup("k* wait=200ms");
    struct lease_owner *o = lease_owner_create(1);
    struct reader first = as(o, "k");
    assert_true(first.read.granted);
    assert_false(first.parked);
    assert_string_equal(first.value, "");
    assert_int_equal(lease_owner_live(o, now()), 1);
    struct reader r[5];
    for (int i = 0; i < 5; i++) {
        r[i] = reader_of("k");
        go(&r[i]);
        assert_int_equal(r[i].verdict, GUARD_WAIT);
    }
    set("k", "v", -1);
    assert_int_equal(t->woken, 5);
    assert_int_equal(lease_owner_live(o, now()), 0);
    for (int i = 0; i < 5; i++) {
        go(&r[i]);
        assert_string_equal(r[i].value, "v");
    }
    assert_int_equal(counted("k*", RULE_leases), 1);
    assert_int_equal(counted("k*", RULE_leases_settled), 1);
    assert_int_equal(counted("k*", RULE_waits), 5);
    assert_int_equal(counted("k*", RULE_waits_filled), 5);
    assert_int_equal(counted("k*", RULE_misses), 6);
    lease_owner_unref(o);
    teardown();
}

static void a_deletion_revokes_and_one_of_those_who_wait_loads_next(void **state) {
    (void)state;
    setup("k* wait=200ms");
    struct lease_owner *o = lease_owner_create(1);
    as(o, "k");
    struct reader a = reader_of("k"), b = reader_of("k");
    go(&a);
    go(&b);
    del("k");
    assert_int_equal(t->woken, 2);
    go(&a);
    assert_true(a.read.granted);
    go(&b);
    assert_int_equal(b.verdict, GUARD_WAIT);
    set("k", "v", -1);
    go(&b);
    assert_string_equal(b.value, "v");
    assert_int_equal(counted("k*", RULE_leases), 2);
    assert_int_equal(counted("k*", RULE_waits), 2);
    lease_owner_unref(o);
    teardown();
}

static void a_deadline_change_does_not_revoke(void **state) {
    (void)state;
    setup("k* wait=200ms");
    as(NULL, "k");
    unsigned shard = l1_shard_of(t->l1, key_make(SLICE("k"), 0).hash);
    l1_lock(t->l1, shard);
    changed("k", SINK_EXPIRE);
    l1_unlock(t->l1, shard);
    assert_int_equal(t->guard->leases_live, 1);
    del("k");
    teardown();
}

static void the_holder_goes_and_the_next_loads(void **state) {
    (void)state;
    setup("k* wait=200ms");
    struct lease_owner *o = lease_owner_create(1);
    struct reader first = as(o, "k"), a = reader_of("k");
    struct lease_ticket ticket = {first.key.hash, first.read.lease->token};
    go(&a);
    guard_abandon(t->guard, &ticket, 1);
    assert_int_equal(t->woken, 1);
    go(&a);
    assert_true(a.read.granted);
    guard_abandon(t->guard, &ticket, 1); /* the token of a lease that has ended: nothing happens */
    assert_int_equal(t->guard->leases_live, 1);
    del("k");
    lease_owner_unref(o);
    teardown();
}

static void a_lease_not_filled_keeps_the_key_uncoalesced_for_a_while(void **state) {
    (void)state;
    setup("k* wait=200ms");
    as(NULL, "k");
    struct reader a = reader_of("k");
    go(&a);
    assert_int_equal(a.verdict, GUARD_WAIT);
    pass(250);
    struct reader b = get("k"); /* finds it past its deadline */
    assert_false(b.read.granted);
    assert_int_equal(t->woken, 1);
    go(&a);
    assert_int_equal(a.verdict, GUARD_GO);
    assert_int_equal(counted("k*", RULE_leases_expired), 1);
    assert_int_equal(counted("k*", RULE_waits_expired), 1);
    for (int i = 0; i < 5; i++) {
        struct reader r = get("k");
        assert_int_equal(r.verdict, GUARD_GO);
        assert_false(r.read.granted);
    }
    pass(2000); /* ten times its wait */
    assert_true(get("k").read.granted);
    set("k", "v", -1);
    del("k");
    assert_true(get("k").read.granted); /* a write forgives, too */
    set("k", "v", -1);
    teardown();
}

static void leases_nobody_asks_for_end_by_themselves(void **state) {
    (void)state;
    setup("k* wait=200ms");
    struct lease_owner *o = lease_owner_create(1);
    for (int i = 0; i < 50; i++) {
        char name[16];
        snprintf(name, sizeof(name), "k%d", i);
        assert_true(as(o, name).read.granted);
    }
    struct reader waiting = reader_of("k7");
    go(&waiting);
    guard_tick(t->guard, now());
    assert_int_equal(t->guard->leases_live, 50);
    pass(201);
    assert_int_equal(lease_owner_live(o, now()), 0);
    guard_tick(t->guard, now());
    assert_int_equal(t->guard->leases_live, 0);
    assert_int_equal(t->woken, 1);
    assert_int_equal(counted("k*", RULE_leases_expired), 50);
    lease_owner_unref(o);
    teardown();
}

static void those_who_may_not_wait_and_those_too_many_get_nothing_at_once(void **state) {
    (void)state;
    setup("k* wait=200ms waiters=2");
    as(NULL, "k");
    struct reader a = reader_of("k"), b = reader_of("k"), c = reader_of("k"), d = reader_of("k");
    go(&a);
    go(&b);
    go(&c);
    assert_int_equal(c.verdict, GUARD_GO); /* the third */
    d.other = true;
    go(&d);
    assert_int_equal(d.verdict, GUARD_GO);
    assert_false(d.read.granted);
    assert_int_equal(counted("k*", RULE_uncoalesced), 2);
    set("k", "v", -1);
    assert_int_equal(t->woken, 2);
    del("k");
    struct reader e = reader_of("k"); /* nor does one that may not load take the lease */
    e.other = true;
    go(&e);
    assert_false(e.read.granted);
    assert_int_equal(t->guard->leases_live, 0);
    teardown();
}

static void in_its_grace_one_loads_and_the_others_get_the_stale_value(void **state) {
    (void)state;
    setup("k* wait=200ms ttl=10s grace=30s");
    set("k", "old", -1);
    pass(11000);
    struct reader first = get("k");
    assert_true(first.read.granted);
    assert_string_equal(first.value, "");
    for (int i = 0; i < 5; i++) {
        assert_string_equal(get("k").value, "old");
    }
    pass(250); /* not filled: the next one is let go, nobody waits, and the others are served */
    struct reader second = get("k");
    assert_true(second.read.granted);
    assert_string_equal(get("k").value, "old");
    set("k", "new", -1);
    assert_string_equal(get("k").value, "new");
    assert_int_equal(counted("k*", RULE_stale), 6);
    assert_int_equal(counted("k*", RULE_waits), 0);
    teardown();
}

static void a_client_is_sent_to_refresh_before_the_end(void **state) {
    (void)state;
    setup("k* wait=10s ttl=1000s early=on");
    struct reader first = get("k");
    assert_true(first.read.granted);
    pass(500); /* that is how long it takes to load */
    set("k", "v", -1);
    for (int i = 0; i < 1000; i++) {
        assert_string_equal(get("k").value, "v");
    }
    pass(1000000 - 1000);
    struct reader r = get("k");
    for (int i = 0; i < 200 && !r.read.granted; i++) {
        assert_string_equal(r.value, "v");
        r = get("k");
    }
    assert_true(r.read.granted);
    assert_int_equal(r.read.see, SEE_NOTHING);
    assert_string_equal(r.value, "");
    for (int i = 0; i < 200; i++) { /* one at a time; the others have the value */
        assert_string_equal(get("k").value, "v");
    }
    assert_int_equal(counted("k*", RULE_early), 1);
    set("k", "w", -1);
    assert_string_equal(get("k").value, "w");
    teardown();
}

/* ---- writes ---- */

static void a_value_without_a_lifetime_gets_the_rules(void **state) {
    (void)state;
    setup("k* ttl=10s grace=5s\ng* grace=5s");
    set("k", "v", -1);
    assert_about(ttl_of("k"), 10000);
    assert_int_equal(grace_of("k"), 5000);
    set("k", "v", 60000); /* a client's own stands */
    assert_about(ttl_of("k"), 60000);
    assert_int_equal(grace_of("k"), 5000);
    struct key key = key_make(SLICE("k"), 0);
    unsigned shard = l1_shard_of(t->l1, key.hash);
    l1_lock(t->l1, shard);
    assert_true(l1_expire(t->l1, &key, L1_NO_TTL, now()));
    changed("k", SINK_EXPIRE); /* PERSIST is taken at its word */
    l1_unlock(t->l1, shard);
    assert_int_equal(ttl_of("k"), -1);
    assert_int_equal(grace_of("k"), 5000); /* for a soft purge */
    set("g", "v", -1);
    assert_int_equal(ttl_of("g"), -1);
    assert_int_equal(grace_of("g"), 5000);
    set("g", "v", 1000);
    assert_int_equal(grace_of("g"), 5000);
    set("x", "v", -1); /* no rule */
    assert_int_equal(ttl_of("x"), -1);
    teardown();
}

static void a_deadline_is_jittered_but_never_invented_or_lengthened(void **state) {
    (void)state;
    setup("k* ttl-jitter=10%\ne*");
    const struct rule *jitter = rules_find(t->rules, SLICE("k*")), *exact = rules_find(t->rules, SLICE("e*"));
    for (int i = 0; i < 1000; i++) {
        assert_in_range(guard_deadline(jitter, 0, now() + 100000, now()), now() + 90000, now() + 100000);
        assert_int_equal(guard_deadline(exact, 0, now() + 100000, now()), now() + 100000);
        assert_int_equal(guard_deadline(jitter, 0, L1_NO_TTL, now()), L1_NO_TTL);
        assert_int_equal(guard_deadline(jitter, 0, L1_KEEP_TTL, now()), L1_KEEP_TTL);
        assert_int_equal(guard_deadline(jitter, 0, now(), now()), now());
    }
    assert_in_range(counted("k*", RULE_jittered), 990, 1000);
    teardown();
}

static void values_of_l1_only_stay_off_the_disk(void **state) {
    (void)state;
    setup("m* tier=l1\nd*");
    add_sink();
    set("d", "v", -1);
    assert_int_equal(t->sets, 1);
    set("m", "v", -1);
    assert_int_equal(t->sets, 1);
    for (int i = 0; i < 2; i++) {
        struct key key = key_make(slice_cstr(i == 0 ? "m" : "d"), 0);
        unsigned shard = l1_shard_of(t->l1, key.hash);
        struct item_view v;
        l1_lock(t->l1, shard);
        assert_true(l1_get(t->l1, &key, now(), 0, &v));
        tier_evicted(&t->tier, &key, &v, L1_BELOW_UNKNOWN, true);
        l1_unlock(t->l1, shard);
        assert_int_equal(t->evictions, i);
    }
    teardown();
}

static void policies_count_what_leaves_memory(void **state) {
    (void)state;
    setup("m* tier=l1\nd*\ng* grace=60s");
    add_sink();
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%c%d", i % 2 == 0 ? 'm' : 'd', i);
        set(name, "v", -1);
    }
    set("of no policy", "v", -1);
    for (unsigned i = 0; i < SHARDS; i++) {
        l1_lock(t->l1, i);
        while (l1_evict(t->l1, i, 100, now()) > 0) {
        }
        l1_unlock(t->l1, i);
    }
    assert_int_equal(l1_db_keys(t->l1, t->l1->db_map[0]), 0);
    assert_int_equal(counted("m*", RULE_evicted), 10);
    assert_int_equal(counted("m*", RULE_demoted), 0);
    assert_int_equal(counted("d*", RULE_evicted), 10);
    assert_in_range(counted("d*", RULE_demoted), 5, 6); /* one of the eleven that were offered is of no policy */
    assert_int_equal(t->evictions, 11);
    assert_int_equal(counted("d*", RULE_expired), 0);

    static const char *const names[] = {"m", "d", "d2", "g"};
    for (int i = 0; i < 4; i++) {
        set(names[i], "v", 1000);
    }
    pass(2000);
    assert_string_equal(get("d").value, "");
    assert_int_equal(counted("d*", RULE_expired), 1);
    while (l1_tick(t->l1, now(), 1000000)) {
    }
    assert_int_equal(counted("d*", RULE_expired), 2);
    assert_int_equal(counted("m*", RULE_expired), 1);
    assert_int_equal(counted("g*", RULE_expired), 1);
    pass(61000);
    while (l1_tick(t->l1, now(), 1000000)) {
    }
    assert_int_equal(counted("g*", RULE_expired), 1); /* not once more at the end of its grace */
    assert_int_equal(t->evictions, 11);
    teardown();
}

/* ---- flushes ---- */

static void a_flush_ends_leases_forgets_marks_and_overtakes_loads(void **state) {
    (void)state;
    setup("k* origin=o negative-ttl=60s ttl=10s grace=60s\nl* wait=10s");
    struct reader absent = reader_of("kabsent"), loading = reader_of("kloading"), waiting = reader_of("l");
    go(&absent);
    answer_absent();
    end_reader(&absent);
    set("kstale", "old", -1);
    pass(11000);
    assert_string_equal(get("kstale").value, "old"); /* a refresh is under way */
    go(&loading);
    as(NULL, "l");
    go(&waiting);
    l1_lock_all(t->l1);
    assert_true(tier_flush(&t->tier, -1));
    l1_unlock_all(t->l1);
    assert_int_equal(t->woken, 1);
    assert_int_equal(marks_count(t->guard->marks), 0);
    answer("refreshed");
    answer("loaded");
    assert_int_equal(t->tier.dropped_late, 2);
    assert_int_equal(l1_db_keys(t->l1, t->l1->db_map[0]), 0);
    go(&waiting); /* one of those who waited loads */
    assert_true(waiting.read.granted);
    waiting.key.db = t->l1->db_map[0];
    del("l");
    end_reader(&loading);
    l1_lock_all(t->l1);
    assert_true(tier_flush(&t->tier, -1));
    l1_unlock_all(t->l1);
    teardown();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_value_is_a_hit),
        cmocka_unit_test(many_readers_cause_one_load),
        cmocka_unit_test(a_failed_load_is_told_to_all_and_not_repeated_at_once),
        cmocka_unit_test(absence_is_believed_for_its_time),
        cmocka_unit_test(a_stale_value_is_served_while_one_load_refreshes_it),
        cmocka_unit_test(a_stale_value_is_served_when_the_refresh_fails),
        cmocka_unit_test(what_is_for_errors_alone_is_served_after_one),
        cmocka_unit_test(a_crowd_gets_what_is_for_errors),
        cmocka_unit_test(a_call_waits_for_a_load_no_longer_than_its_rule_says),
        cmocka_unit_test(loads_and_purges_keep_their_order),
        cmocka_unit_test(tags_outlive_a_refresh),
        cmocka_unit_test(absent_on_refresh_removes),
        cmocka_unit_test(values_that_must_not_be_kept_reach_those_who_waited),
        cmocka_unit_test(passing_values_are_no_keys_and_go),
        cmocka_unit_test(a_write_overtakes_a_load),
        cmocka_unit_test(a_write_overtakes_a_refresh),
        cmocka_unit_test(lifetimes_of_loaded_values_are_jittered),
        cmocka_unit_test(the_rule_and_the_origin_agree_on_a_lifetime),
        cmocka_unit_test(a_value_is_refreshed_before_its_end_by_chance),
        cmocka_unit_test(the_first_is_let_go_and_the_others_wait_for_its_write),
        cmocka_unit_test(a_deletion_revokes_and_one_of_those_who_wait_loads_next),
        cmocka_unit_test(a_deadline_change_does_not_revoke),
        cmocka_unit_test(the_holder_goes_and_the_next_loads),
        cmocka_unit_test(a_lease_not_filled_keeps_the_key_uncoalesced_for_a_while),
        cmocka_unit_test(leases_nobody_asks_for_end_by_themselves),
        cmocka_unit_test(those_who_may_not_wait_and_those_too_many_get_nothing_at_once),
        cmocka_unit_test(in_its_grace_one_loads_and_the_others_get_the_stale_value),
        cmocka_unit_test(a_client_is_sent_to_refresh_before_the_end),
        cmocka_unit_test(a_value_without_a_lifetime_gets_the_rules),
        cmocka_unit_test(a_deadline_is_jittered_but_never_invented_or_lengthened),
        cmocka_unit_test(values_of_l1_only_stay_off_the_disk),
        cmocka_unit_test(policies_count_what_leaves_memory),
        cmocka_unit_test(a_flush_ends_leases_forgets_marks_and_overtakes_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
