/* SPDX-License-Identifier: BSD-3-Clause */
/* test_walk: what is true of a key that a walk meets in several places, with a source that says what the test wants. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/tier/walk.h"

enum { NOW = 1000000, MAX_MET = 16 };

struct met {
    const char *name;
    enum value_type type;
    bool queued;
    int64_t expire_ms;
};

/* A tier below: what its walk meets, in this order, and what was noted meanwhile. */
struct below {
    struct source source;
    struct met met[MAX_MET], noted[MAX_MET];
    int met_count, noted_count;
    bool overflowed;
};

struct fixture {
    struct l1 *l1;
    struct tier tier;
    struct below below;
    struct walk walk;
};

static struct key key_of(const char *name) {
    return key_make(slice_cstr(name), 0);
}

static void visit(const struct met *m, walked_fn fn, void *ctx) {
    fn(ctx, &(struct walked){.position = hash_position(key_of(m->name).hash), .name = slice_cstr(m->name), .type = m->type, .queued = m->queued,
                             .expire_ms = m->expire_ms, .record = slice_cstr(m->name)});
}

static uint64_t walk_of(struct source *s, uint8_t physical, uint64_t from, uint64_t to, size_t want, int64_t now_ms, walked_fn fn, void *ctx) {
    struct below *b = s->ctx;
    (void)physical;
    (void)from;
    (void)want;
    (void)now_ms;
    for (int i = 0; i < b->met_count; i++) {
        visit(&b->met[i], fn, ctx);
    }
    return to;
}

static void *watch_of(struct source *s, uint8_t physical, uint64_t from) {
    (void)physical;
    (void)from;
    return s;
}

static bool unwatch_of(struct source *s, void *watch, uint64_t to, walked_fn fn, void *ctx) {
    struct below *b = s->ctx;
    (void)watch;
    (void)to;
    for (int i = 0; fn != NULL && i < b->noted_count; i++) {
        visit(&b->noted[i], fn, ctx);
    }
    return !b->overflowed;
}

static void setup(struct fixture *t) {
    memset(t, 0, sizeof(*t));
    t->l1 = l1_create(&(struct l1_options){.shards = 2, .policy = "allkeys-s3fifo"});
    tier_init(&t->tier, t->l1);
    t->below.source = (struct source){.name = "below", .ctx = &t->below, .walk = walk_of, .watch = watch_of, .unwatch = unwatch_of};
    tier_add_source(&t->tier, &t->below.source);
    t->walk = (struct walk){.tier = &t->tier, .want = 100, .now_ms = NOW};
}

static void teardown(struct fixture *t) {
    walk_free(&t->walk);
    l1_destroy(&t->l1);
}

static void store(struct fixture *t, const char *name) {
    struct key key = key_of(name);
    unsigned shard = l1_shard_of(t->l1, key.hash);
    l1_lock(t->l1, shard);
    assert_int_equal(l1_set(t->l1, &key, slice_cstr("v"), L1_NO_TTL, 0, NOW), OK);
    l1_unlock(t->l1, shard);
}

static void drop(struct fixture *t, const char *name) {
    struct key key = key_of(name);
    unsigned shard = l1_shard_of(t->l1, key.hash);
    l1_lock(t->l1, shard);
    assert_true(l1_del(t->l1, &key, NOW));
    l1_unlock(t->l1, shard);
}

static void meets(struct fixture *t, const char *name, enum value_type type, bool queued, int64_t expire_ms) {
    t->below.met[t->below.met_count++] = (struct met){name, type, queued, expire_ms};
}

static void notes(struct fixture *t, const char *name, enum value_type type) {
    t->below.noted[t->below.noted_count++] = (struct met){name, type, false, -1};
}

/* Ends the walk; locked: as a transaction does. */
static bool end(struct fixture *t, bool locked) {
    if (locked) {
        l1_lock_all(t->l1);
    }
    t->walk.locked = locked;
    bool whole = walk_after(&t->walk);
    if (locked) {
        l1_unlock_all(t->l1);
    }
    return whole;
}

/* The type the walk says the key has; TYPE_NONE: it was not met. Each is met once at most. */
static enum value_type type_of(const struct fixture *t, const char *name) {
    enum value_type type = TYPE_NONE;
    for (size_t i = 0; i < t->walk.count; i++) {
        if (slice_eq(walk_name(&t->walk, &t->walk.keys[i]), slice_cstr(name))) {
            assert_int_equal(type, TYPE_NONE);
            type = (enum value_type)t->walk.keys[i].type;
        }
    }
    return type;
}

static void each_key_is_met_once_in_order(void **state) {
    struct fixture t;
    (void)state;
    setup(&t);
    store(&t, "both");
    store(&t, "memory");
    meets(&t, "both", TYPE_STRING, false, -1);
    meets(&t, "cold", TYPE_HASH, false, -1);
    walk_before(&t.walk);
    walk_below(&t.walk);
    assert_true(end(&t, false));
    assert_int_equal(t.walk.count, 3);
    assert_int_equal(type_of(&t, "both"), TYPE_STRING);
    assert_int_equal(type_of(&t, "memory"), TYPE_STRING);
    assert_int_equal(type_of(&t, "cold"), TYPE_HASH);
    for (size_t i = 1; i < t.walk.count; i++) {
        assert_true(t.walk.keys[i - 1].position < t.walk.keys[i].position);
    }
    teardown(&t);
}

static void what_is_on_its_way_hides_what_is_stored(void **state) {
    struct fixture t;
    (void)state;
    setup(&t);
    meets(&t, "gone", TYPE_NONE, true, -1);
    meets(&t, "fresh", TYPE_HASH, true, -1);
    meets(&t, "gone", TYPE_STRING, false, -1);
    meets(&t, "fresh", TYPE_STRING, false, NOW - 1); /* the older version would be expired */
    meets(&t, "twice", TYPE_STRING, true, -1);
    meets(&t, "twice", TYPE_NONE, true, -1);
    walk_before(&t.walk);
    walk_below(&t.walk);
    assert_true(end(&t, false));
    assert_int_equal(t.walk.count, 1);
    assert_int_equal(type_of(&t, "fresh"), TYPE_HASH);
    teardown(&t);
}

static void a_key_that_came_down_meanwhile_is_met(void **state) {
    struct fixture t;
    (void)state;
    setup(&t);
    meets(&t, "deleted", TYPE_STRING, false, -1);
    walk_before(&t.walk);
    walk_below(&t.walk);
    notes(&t, "passed", TYPE_HASH);
    notes(&t, "deleted", TYPE_NONE); /* it may have been written in memory since, unseen */
    assert_true(end(&t, false));
    assert_int_equal(type_of(&t, "passed"), TYPE_HASH);
    assert_int_equal(type_of(&t, "deleted"), TYPE_STRING);
    teardown(&t);
}

static void under_all_locks_it_is_that_moments_truth(void **state) {
    struct fixture t;
    (void)state;
    setup(&t);
    store(&t, "left");
    store(&t, "stays");
    meets(&t, "deleted", TYPE_STRING, false, -1);
    meets(&t, "back", TYPE_STRING, false, -1);
    meets(&t, "late", TYPE_STRING, false, NOW + 5);
    walk_before(&t.walk);
    walk_below(&t.walk);
    drop(&t, "left");
    store(&t, "new");
    notes(&t, "deleted", TYPE_NONE);
    notes(&t, "back", TYPE_NONE);
    notes(&t, "back", TYPE_HASH);
    t.walk.now_ms = NOW + 5;
    assert_true(end(&t, true));
    assert_int_equal(t.walk.count, 3);
    assert_int_equal(type_of(&t, "stays"), TYPE_STRING);
    assert_int_equal(type_of(&t, "new"), TYPE_STRING);
    assert_int_equal(type_of(&t, "back"), TYPE_HASH);
    teardown(&t);
}

static void too_much_to_note_is_said(void **state) {
    struct fixture t;
    (void)state;
    setup(&t);
    t.below.overflowed = true;
    walk_before(&t.walk);
    walk_below(&t.walk);
    assert_false(end(&t, false));
    teardown(&t);
}

static void pack_name(struct buf *data, struct source *s, const struct walked *found) {
    (void)s;
    buf_printf(data, "%.*s %d", (int)found->record.n, found->record.p, (int)found->type);
}

static void one_keys_value_is_the_newest(void **state) {
    struct fixture t;
    struct buf data = {0};
    (void)state;
    setup(&t);
    t.walk.pack = pack_name;
    store(&t, "k");
    walk_before(&t.walk);
    assert_true(end(&t, false));
    assert_int_equal(t.walk.count, 1);
    meets(&t, "k", TYPE_HASH, true, -1);
    meets(&t, "k", TYPE_STRING, false, -1);
    meets(&t, "other", TYPE_STRING, false, -1);
    assert_true(walk_below_one(&t.walk, &t.walk.keys[0], &data));
    char want[16];
    snprintf(want, sizeof(want), "k %d", (int)TYPE_HASH);
    assert_slice(buf_slice(&data), want);
    t.below.met[0].type = TYPE_NONE;
    assert_false(walk_below_one(&t.walk, &t.walk.keys[0], &data));
    buf_free(&data);
    teardown(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_key_is_met_once_in_order),
        cmocka_unit_test(what_is_on_its_way_hides_what_is_stored),
        cmocka_unit_test(a_key_that_came_down_meanwhile_is_met),
        cmocka_unit_test(under_all_locks_it_is_that_moments_truth),
        cmocka_unit_test(too_much_to_note_is_said),
        cmocka_unit_test(one_keys_value_is_the_newest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
