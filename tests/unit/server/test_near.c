/* SPDX-License-Identifier: BSD-3-Clause */
/* test_near: copies end when they must: by time, by a write of any kind, with their owner, for room; and none is made of a late reply. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/clock.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/server/holders.h"
#include "src/server/near.h"
#include "src/stats/stats.h"

enum { TTL_US = 1000000, KEEP_MS = 100000 };

struct bench {
    _Atomic int64_t copies, bytes;
    struct near_node *node;
    struct stats *stats;
    struct near *near;
    int owner, other;
};

static void setup(struct bench *b, size_t room) {
    *b = (struct bench){0};
    b->node = near_node_create(&b->copies, &b->bytes);
    b->stats = stats_create(1);
    b->near = near_create(b->node, b->stats);
    near_configure(b->near, room, TTL_US, 3);
}

static void teardown(struct bench *b) {
    near_destroy(&b->near);
    assert_int_equal(b->copies, 0);
    assert_int_equal(b->bytes, 0);
    stats_destroy(&b->stats);
    near_node_destroy(&b->node);
}

static struct near_key key(const char *name) {
    struct slice s = slice_cstr(name);
    return (struct near_key){.what = s, .hash = hash_key(s, 0), .name_hash = hash_name(s), .slot = hash_slot(s)};
}

static struct near_ticket ticket(struct bench *b, const struct near_key *k, int64_t now_us) {
    return near_ticket(b->near, k->name_hash, k->slot, now_us);
}

static bool put_at(struct bench *b, const struct near_key *k, const char *reply, uint32_t keep_ms, int64_t now_us) {
    struct near_ticket t = ticket(b, k, now_us);
    return near_put(b->near, k, &b->owner, &t, keep_ms, slice_cstr(reply), now_us);
}

static uint64_t rejected(const struct bench *b, enum stat_reject why) {
    return STAT_GET(b->stats->tiers[STAT_L3].rejects[why]);
}

static uint64_t evicted(const struct bench *b, enum stat_eviction why) {
    return STAT_GET(b->stats->tiers[STAT_L3].evictions[why]);
}

static bool reads(struct bench *b, const struct near_key *k, const char *wanted, int64_t now_us) {
    struct slice reply;
    bool hot;
    return near_read(b->near, k, &b->owner, true, now_us, &reply, &hot) && slice_eq(reply, slice_cstr(wanted));
}

static void a_key_is_hot_from_so_many_reads_on_and_cools(void **state) {
    (void)state;
    struct bench b;
    struct slice reply;
    bool hot = true;
    setup(&b, 1 << 20);
    struct near_key k = key("k");
    for (int i = 1; i <= 3; i++) {
        assert_false(near_read(b.near, &k, &b.owner, true, 0, &reply, &hot));
        assert_int_equal(hot, i == 3);
    }
    near_tick(b.near, TTL_US);
    near_tick(b.near, 2 * TTL_US);
    assert_false(near_read(b.near, &k, &b.owner, true, 0, &reply, &hot));
    assert_false(hot);
    assert_int_equal(rejected(&b, REJECT_admission), 3); /* all but the one that was hot */
    teardown(&b);
}

static void a_copy_lives_from_when_it_was_asked_for(void **state) {
    (void)state;
    struct bench b;
    setup(&b, 1 << 20);
    struct near_key k = key("k"), short_one = key("s");
    struct near_ticket t = ticket(&b, &k, 5);
    assert_true(near_put(b.near, &k, &b.owner, &t, KEEP_MS, SLICE("$1\r\nv\r\n"), 900000));
    assert_true(reads(&b, &k, "$1\r\nv\r\n", TTL_US + 4));
    assert_false(reads(&b, &k, "$1\r\nv\r\n", TTL_US + 5));
    assert_false(near_put(b.near, &k, &b.owner, &t, KEEP_MS, SLICE("late"), TTL_US + 5));
    assert_true(put_at(&b, &short_one, "v", 20, 0)); /* the owner's deadline */
    assert_true(reads(&b, &short_one, "v", 19999));
    assert_false(reads(&b, &short_one, "v", 20000));
    assert_false(put_at(&b, &k, "v", 0, 0));
    assert_int_equal(rejected(&b, REJECT_ttl), 1);
    assert_int_equal(rejected(&b, REJECT_owner), 1);
    assert_int_equal(evicted(&b, EVICTION_expired), 2);
    assert_true(put_at(&b, &k, "v", KEEP_MS, 0));
    near_forget(b.near, &k);
    near_forget(b.near, &k);
    assert_int_equal(b.copies, 0);
    assert_int_equal(evicted(&b, EVICTION_changed), 1);
    teardown(&b);
}

static void every_kind_of_write_ends_it(void **state) {
    (void)state;
    struct bench b;
    setup(&b, 1 << 20);
    struct near_key k = key("k"), l = key("l");
    for (int kind = 0; kind < 3; kind++) {
        struct near_ticket before = ticket(&b, &k, 0);
        assert_true(put_at(&b, &k, "v", KEEP_MS, 0));
        assert_true(put_at(&b, &l, "w", KEEP_MS, 0));
        if (kind == 0) {
            near_wrote_key(b.node, k.name_hash);
        } else if (kind == 1) {
            near_wrote_slot(b.node, k.slot);
        } else {
            near_wrote_all(b.node);
        }
        assert_false(reads(&b, &k, "v", 1));
        assert_int_equal(reads(&b, &l, "w", 1), kind != 2);
        assert_false(near_put(b.near, &k, &b.owner, &before, KEEP_MS, SLICE("v"), 1)); /* was on its way meanwhile */
        assert_false(reads(&b, &k, "v", 1));
        assert_int_equal(rejected(&b, REJECT_changed), kind + 1);
    }
    assert_int_equal(evicted(&b, EVICTION_changed), 4); /* l's, too, when all may have been written */
    teardown(&b);
}

static void it_goes_with_its_owner(void **state) {
    (void)state;
    struct bench b;
    struct slice reply;
    bool hot;
    setup(&b, 1 << 20);
    struct near_key k = key("k"), l = key("l");
    struct near_ticket t = ticket(&b, &l, 0);
    assert_true(put_at(&b, &k, "v", KEEP_MS, 0));
    assert_true(near_put(b.near, &l, &b.other, &t, KEEP_MS, SLICE("w"), 0));
    near_drop(b.near, &b.owner);
    assert_false(reads(&b, &k, "v", 1));
    assert_true(near_read(b.near, &l, &b.other, true, 1, &reply, &hot));
    assert_false(near_read(b.near, &l, &b.owner, true, 1, &reply, &hot)); /* another node serves the slot now */
    assert_false(near_put(b.near, &l, &b.other, &t, KEEP_MS, SLICE("w"), 1)); /* from before the loss */
    assert_int_equal(evicted(&b, EVICTION_dropped), 2);
    teardown(&b);
}

static void a_client_that_may_not_use_it_renews_it(void **state) {
    (void)state;
    struct bench b;
    struct slice reply;
    bool hot = false;
    setup(&b, 1 << 20);
    struct near_key k = key("k"), in_db = k;
    in_db.db = 1;
    assert_true(put_at(&b, &k, "old", KEEP_MS, 0));
    assert_false(reads(&b, &in_db, "old", 1));
    assert_false(near_read(b.near, &k, &b.owner, false, 1, &reply, &hot));
    assert_true(hot);
    assert_true(put_at(&b, &k, "new", KEEP_MS, 1));
    assert_true(reads(&b, &k, "new", 2));
    assert_int_equal(b.copies, 1);
    teardown(&b);
}

static void room_is_kept_and_the_oldest_goes(void **state) {
    (void)state;
    struct bench b;
    char name[16], value[300];
    setup(&b, 64 << 10);
    memset(value, 'x', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "k%d", i);
        struct near_key k = key(name);
        assert_true(put_at(&b, &k, value, KEEP_MS, i));
        assert_true(b.bytes <= 64 << 10);
        assert_true(reads(&b, &k, value, i));
    }
    struct near_key first = key("k0");
    assert_false(reads(&b, &first, value, 1000));
    assert_true(b.copies > 100);
    assert_int_equal(evicted(&b, EVICTION_memory), 1000 - b.copies);
    uint64_t there = (uint64_t)b.copies;
    near_tick(b.near, TTL_US + 1000);
    assert_int_equal(b.copies, 0);
    assert_int_equal(evicted(&b, EVICTION_expired), there);
    char *large = mem_zalloc(10 << 10);
    memset(large, 'y', (10 << 10) - 1);
    assert_false(put_at(&b, &first, large, KEEP_MS, TTL_US)); /* more than an eighth */
    assert_int_equal(rejected(&b, REJECT_size), 1);
    mem_free(large);
    near_configure(b.near, 0, TTL_US, 3);
    assert_false(near_is_on(b.near));
    assert_false(put_at(&b, &first, "v", KEEP_MS, TTL_US));
    teardown(&b);
}

/* ---- the owner's side ---- */

static unsigned woken[2];

static void wake(void *ctx, unsigned loop) {
    (void)ctx;
    woken[loop]++;
}

static struct key shard_key(char *name, int i) {
    snprintf(name, 16, "h%d", i);
    return key_make(slice_cstr(name), 0);
}

static void holders_hear_of_the_next_change_once(void **state) {
    (void)state;
    struct news news;
    char name[16];
    struct holders *h = holders_create(1, 2, wake, NULL);
    memset(woken, 0, sizeof(woken));
    holders_linked(h, 1, 2 | 4);
    struct key k = shard_key(name, 1);
    holders_changed(h, 0, &k);
    assert_false(holders_take(h, 1, &news));
    holders_add(h, 0, &k, 2, 0, 1000);
    holders_add(h, 0, &k, 8, 0, 1000);
    holders_changed(h, 0, &k);
    holders_changed(h, 0, &k);
    assert_false(holders_take(h, 0, &news)); /* has no link to them */
    assert_true(holders_take(h, 1, &news));
    assert_int_equal(news.n, 1);
    assert_true(!news.all && news.items[0].name_hash == hash_name(k.name) && news.items[0].nodes == (2 | 8));
    assert_false(holders_take(h, 1, &news));
    assert_true(woken[0] == 0 && woken[1] == 1);
    holders_destroy(&h);
}

static void too_much_news_is_everything(void **state) {
    (void)state;
    struct news news;
    char name[16];
    struct holders *h = holders_create(1, 1, wake, NULL);
    holders_linked(h, 0, 1);
    for (int i = 0; i <= NEWS_MAX; i++) {
        struct key k = shard_key(name, i);
        holders_add(h, 0, &k, 1, 0, 1000);
        holders_changed(h, 0, &k);
    }
    assert_true(holders_take(h, 0, &news));
    assert_true(news.all);
    holders_changed(h, 0, NULL);
    assert_true(holders_take(h, 0, &news) && news.all && news.n == 0);
    holders_destroy(&h);
}

/* Every key that was ever granted is told of, by its change or when it has to give way, or has ended. */
static void a_full_table_forgets_nobody_silently(void **state) {
    (void)state;
    enum { KEYS = 300 };
    struct news news;
    char name[16];
    bool told[KEYS] = {false};
    struct holders *h = holders_create(1, 1, wake, NULL);
    holders_linked(h, 0, 1);
    for (int i = 0; i < KEYS; i++) {
        struct key k = shard_key(name, i);
        holders_add(h, 0, &k, 1, 0, 1000 + i);
    }
    for (int i = 0; i < KEYS; i++) {
        struct key k = shard_key(name, i);
        holders_changed(h, 0, &k);
    }
    assert_true(holders_take(h, 0, &news));
    assert_false(news.all);
    for (int i = 0; i < KEYS; i++) {
        struct key k = shard_key(name, i);
        for (unsigned j = 0; j < news.n; j++) {
            told[i] |= news.items[j].name_hash == hash_name(k.name);
        }
        assert_true(told[i]);
    }
    for (int i = 0; i < KEYS; i++) { /* past their end: they give way without a word */
        struct key k = shard_key(name, i);
        holders_add(h, 0, &k, 1, 10000 * i, 10000 * i + 1);
    }
    assert_false(holders_take(h, 0, &news));
    holders_destroy(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_hot_from_so_many_reads_on_and_cools),
        cmocka_unit_test(a_copy_lives_from_when_it_was_asked_for),
        cmocka_unit_test(every_kind_of_write_ends_it),
        cmocka_unit_test(it_goes_with_its_owner),
        cmocka_unit_test(a_client_that_may_not_use_it_renews_it),
        cmocka_unit_test(room_is_kept_and_the_oldest_goes),
        cmocka_unit_test(holders_hear_of_the_next_change_once),
        cmocka_unit_test(too_much_news_is_everything),
        cmocka_unit_test(a_full_table_forgets_nobody_silently),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
