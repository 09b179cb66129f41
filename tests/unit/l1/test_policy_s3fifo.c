/* SPDX-License-Identifier: BSD-3-Clause */
/* test_policy_s3fifo: the rules of the default policy, one by one, in one shard whose evictions the test asks for. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/rng.h"
#include "src/l1/policy.h"
#include "src/l1/policy_s3fifo.h"

enum { VALUE = 200, BIG = 200000, NOW = 1 };

static struct l1 *open_shard(void) {
    return l1_create(&(struct l1_options){.shards = 1, .policy = "allkeys-s3fifo"});
}

/* One of the test's keys: a kind and a number. */
static struct key key_of(char *buf, size_t n, const char *kind, int i) {
    return key_make(slice_make(buf, (size_t)snprintf(buf, n, "%s:%d", kind, i)), 0);
}

static void set(struct l1 *l1, const char *kind, int i, size_t n, int64_t expire_ms) {
    static const char bytes[BIG];
    char buf[32];
    struct key key = key_of(buf, sizeof(buf), kind, i);
    l1_lock(l1, 0);
    assert_int_equal(l1_set(l1, &key, slice_make(bytes, n), expire_ms, 0, NOW), OK);
    l1_unlock(l1, 0);
}

static bool get(struct l1 *l1, const char *kind, int i) {
    char buf[32];
    struct key key = key_of(buf, sizeof(buf), kind, i);
    struct item_view view;
    l1_lock(l1, 0);
    bool found = l1_get(l1, &key, NOW, L1_TOUCH, &view);
    l1_unlock(l1, 0);
    return found;
}

/* Like get, without telling the policy. */
static bool has(struct l1 *l1, const char *kind, int i) {
    char buf[32];
    struct key key = key_of(buf, sizeof(buf), kind, i);
    struct item_view view;
    l1_lock(l1, 0);
    bool found = l1_get(l1, &key, NOW, L1_NOTOUCH, &view);
    l1_unlock(l1, 0);
    return found;
}

static bool in_main(struct l1 *l1, const char *kind, int i) {
    char buf[32];
    struct key key = key_of(buf, sizeof(buf), kind, i);
    struct place at;
    l1_lock(l1, 0);
    assert_true(table_find(&l1->shards[0], &key, &at));
    bool is = at.bucket->meta[at.slot] & S3FIFO_IN_MAIN;
    l1_unlock(l1, 0);
    return is;
}

static void evict(struct l1 *l1, unsigned n) {
    l1_set_limit(l1, 1);
    l1_lock(l1, 0);
    l1_make_room(l1, 0, n, NOW);
    l1_unlock(l1, 0);
    l1_set_limit(l1, 0);
}

static uint64_t items(struct l1 *l1) {
    return l1_db_keys(l1, 0);
}

/* A GET, a SET when it misses, and evictions down to capacity items. True on a hit. */
static bool request(struct l1 *l1, const char *kind, int i, uint64_t capacity) {
    if (get(l1, kind, i)) {
        return true;
    }
    set(l1, kind, i, VALUE, L1_NO_TTL);
    while (items(l1) > capacity) {
        evict(l1, 1);
    }
    return false;
}

static void look(struct l1 *l1, struct s3fifo_look *out) {
    l1_lock(l1, 0);
    s3fifo_look(&l1->shards[0], out);
    l1_unlock(l1, 0);
}

/* Main holds keys hot:0.. that were read, as many as asked for, without credit left; the small queue is empty. */
static struct l1 *open_with_hot(int n) {
    struct l1 *l1 = open_shard();
    for (int i = 0; i < n; i++) {
        set(l1, "hot", i, VALUE, L1_NO_TTL);
        get(l1, "hot", i);
        if (i == n - 1 || i % 4000 == 3999) { /* not more at once than one search for a victim promotes */
            set(l1, "cold", i, VALUE, L1_NO_TTL);
            evict(l1, 1);
            assert_false(has(l1, "cold", i));
        }
    }
    struct s3fifo_look state;
    look(l1, &state);
    assert_int_equal(state.main_items, n);
    assert_int_equal(state.small_bytes, 0);
    return l1;
}

/* The ghost knows keys by 15 bits, so that one new key in a thousand is taken for another that has been there. The tests allow for a few
 * such. */
enum { MISTAKEN = 10 };

static void one_hit_wonders_leave_by_the_small_queue(void **state) {
    (void)state;
    struct l1 *l1 = open_with_hot(900);
    int late = 0, kept = 0;
    for (int i = 0; i < 3000; i++) {
        assert_false(request(l1, "once", i, 1000));
        late += i >= 110 && has(l1, "once", i - 110); /* first in, first out */
    }
    for (int i = 0; i < 900; i++) {
        kept += has(l1, "hot", i);
    }
    assert_true(late < MISTAKEN);
    assert_true(kept > 900 - MISTAKEN);
    l1_destroy(&l1);
}

static void what_was_read_in_the_small_queue_goes_to_main(void **state) {
    (void)state;
    struct l1 *l1 = open_with_hot(900);
    int kept[2] = {0, 0};
    for (int i = 0; i < 1000; i++) {
        request(l1, "new", i, 1000);
        if (i % 10 == 0) {
            assert_true(get(l1, "new", i));
        }
    }
    for (int i = 0; i < 800; i++) {
        if (has(l1, "new", i)) {
            kept[i % 10 == 0]++;
            assert_true(in_main(l1, "new", i));
        }
    }
    assert_true(kept[0] < MISTAKEN);
    assert_true(kept[1] > 60);
    l1_destroy(&l1);
}

static void a_write_is_no_read(void **state) {
    (void)state;
    struct l1 *l1 = open_with_hot(900);
    for (int i = 0; i < 500; i++) {
        request(l1, "new", i, 1000);
        set(l1, "new", i, VALUE, L1_NO_TTL);
        set(l1, "new", i, VALUE + 50, L1_NO_TTL);
    }
    int kept = 0;
    for (int i = 0; i < 350; i++) {
        kept += has(l1, "new", i);
    }
    assert_true(kept < MISTAKEN);
    l1_destroy(&l1);
}

static void a_key_the_ghost_knows_goes_to_main(void **state) {
    (void)state;
    struct l1 *l1 = open_with_hot(900);
    for (int i = 0; i < 400; i++) {
        request(l1, "once", i, 1000);
    }
    assert_false(has(l1, "once", 200));
    set(l1, "once", 200, VALUE, L1_NO_TTL);
    assert_true(in_main(l1, "once", 200));
    set(l1, "never", 200, VALUE, L1_NO_TTL);
    assert_false(in_main(l1, "never", 200));
    /* it was taken out of the ghost, and a deleted key never was in it */
    set(l1, "deleted", 1, VALUE, L1_NO_TTL);
    char buf[32];
    struct key key = key_of(buf, sizeof(buf), "deleted", 1);
    l1_lock(l1, 0);
    assert_true(l1_del(l1, &key, NOW));
    l1_unlock(l1, 0);
    set(l1, "other", 1, VALUE, L1_NO_TTL);
    set(l1, "deleted", 1, VALUE, L1_NO_TTL);
    assert_false(in_main(l1, "deleted", 1));
    l1_destroy(&l1);
}

static void the_ghost_forgets(void **state) {
    (void)state;
    struct l1 *l1 = open_with_hot(900);
    for (int i = 0; i < 10000; i++) {
        request(l1, "once", i, 1000);
    }
    int known = 0;
    for (int i = 0; i < 8000; i++) { /* about the last 1,100 evictions are remembered; these are older */
        set(l1, "once", i, VALUE, L1_NO_TTL);
        known += in_main(l1, "once", i);
        evict(l1, 1);
    }
    assert_true(known < 80);
    l1_destroy(&l1);
}

static void a_scan_takes_nothing_that_is_in_use(void **state) {
    (void)state;
    rng_seed(3);
    struct l1 *l1 = open_shard();
    unsigned hits = 0;
    for (int i = 0; i < 200000; i++) {
        bool hit = request(l1, "hot", (int)rng_below(500), 1000);
        request(l1, "scan", i, 1000);
        hits += i >= 100000 && hit;
    }
    assert_true(hits > 99900);
    l1_destroy(&l1);
}

static void an_overwrite_keeps_queue_and_credit(void **state) {
    (void)state;
    struct l1 *l1 = open_with_hot(100);
    char buf[32];
    for (int i = 0; i < 100; i++) {
        set(l1, "hot", i, VALUE + 100, L1_NO_TTL); /* another size class */
        assert_true(in_main(l1, "hot", i));
        struct key key = key_of(buf, sizeof(buf), "hot", i);
        l1_lock(l1, 0);
        assert_true(l1_expire(l1, &key, 1000000, NOW)); /* another layout */
        l1_unlock(l1, 0);
        assert_true(in_main(l1, "hot", i));
    }
    set(l1, "new", 1, VALUE, L1_NO_TTL);
    assert_true(get(l1, "new", 1));
    set(l1, "new", 1, VALUE + 100, L1_NO_TTL);
    for (int i = 2; i < 40; i++) {
        set(l1, "new", i, VALUE, L1_NO_TTL);
    }
    evict(l1, 5);
    assert_true(in_main(l1, "new", 1)); /* for the read before the overwrite */
    assert_false(has(l1, "new", 2));
    l1_destroy(&l1);
}

/* Items of two sizes, read as often: more of the small stay, and one far larger than the rest goes first. */
static void small_items_outlive_large_ones(void **state) {
    (void)state;
    rng_seed(5);
    struct l1 *l1 = open_shard();
    for (int i = 0; i < 60000; i++) {
        int k = (int)rng_below(2000);
        if (!get(l1, "key", k)) {
            set(l1, "key", k, k % 2 == 0 ? 40 : 1000, L1_NO_TTL);
            while (l1_bytes(l1) > 500000) {
                evict(l1, 1);
            }
        }
    }
    int kept[2] = {0, 0};
    for (int k = 0; k < 2000; k++) {
        kept[k % 2] += has(l1, "key", k);
    }
    assert_true(kept[0] > kept[1] * 3 / 2);
    uint64_t before = items(l1);
    set(l1, "big", 1, BIG, L1_NO_TTL);
    evict(l1, 1);
    assert_false(has(l1, "big", 1));
    assert_int_equal(items(l1), before);
    set(l1, "big", 1, BIG, L1_NO_TTL); /* the ghost knows it: it has come twice */
    evict(l1, 1);
    assert_true(has(l1, "big", 1));
    l1_destroy(&l1);
}

/* Reuse a little beyond a tenth of the items makes the small queue larger; none at all lets it stay. */
static void the_small_queue_finds_its_share(void **state) {
    (void)state;
    rng_seed(11);
    struct s3fifo_look before, after;
    struct l1 *l1 = open_with_hot(900);
    look(l1, &before);
    assert_true(before.small_share > 0.09 && before.small_share < 0.11);
    for (int i = 0; i < 20000; i++) {
        request(l1, "once", i, 1000);
    }
    look(l1, &after);
    assert_true(after.small_share > 0.08 && after.small_share < 0.12);
    for (int i = 0; i < 20000; i++) { /* each key twice, 105 requests apart */
        request(l1, "twice", i % 210 >= 105 ? i - 105 : i, 1000);
    }
    look(l1, &after);
    assert_true(after.small_share > 0.12);
    assert_true(after.small_share <= 0.5);
    l1_destroy(&l1);
}

static void there_is_always_a_victim(void **state) {
    (void)state;
    struct l1 *l1 = open_with_hot(20000);
    for (int i = 0; i < 20000; i++) {
        for (int k = 0; k < 4; k++) {
            assert_true(get(l1, "hot", i));
        }
    }
    for (unsigned i = 20000; i > 100; i--) { /* what is left then is less than a shard tells the tier of */
        assert_int_equal(items(l1), i);
        evict(l1, 1);
    }
    assert_int_equal(items(l1), 100);
    l1_destroy(&l1);
}

struct heard {
    int once, once_read, hot, hot_read;
};

static void on_evicted(void *ctx, const struct key *key, const struct item_view *item, enum l1_below below, bool read) {
    struct heard *h = ctx;
    (void)item;
    (void)below;
    *(key->name.p[0] == 'o' ? &h->once : &h->hot) += 1;
    *(key->name.p[0] == 'o' ? &h->once_read : &h->hot_read) += read;
}

/* Who is told of an eviction learns whether the item was read, also if it spent its time in main. */
static void what_was_read_leaves_as_read(void **state) {
    (void)state;
    struct heard heard = {0};
    struct l1 *l1 = l1_create(
        &(struct l1_options){.shards = 1, .policy = "allkeys-s3fifo", .hooks = {.ctx = &heard, .evicted = on_evicted}});
    for (int i = 0; i < 20000; i++) { /* so many that most pass on to main while nothing is evicted */
        set(l1, i % 4 == 0 ? "hot" : "once", i, VALUE + (i % 2 == 0) * 700, L1_NO_TTL);
        if (i % 4 == 0) {
            get(l1, "hot", i);
        }
    }
    struct s3fifo_look full;
    look(l1, &full);
    assert_true(full.main_items > 10000);
    while (items(l1) > 100) {
        evict(l1, 16);
    }
    assert_true(heard.once > 14000);
    assert_true(heard.hot > 4000);
    assert_int_equal(heard.once_read, 0);
    assert_int_equal(heard.hot_read, heard.hot);
    l1_destroy(&l1);
}

/* What the policy has summed up is what is in the table. */
static void check_sums(struct l1 *l1) {
    struct shard *s = &l1->shards[0];
    struct s3fifo_look state;
    uint64_t bytes[2] = {0, 0};
    uint32_t count[2] = {0, 0};
    look(l1, &state);
    l1_lock(l1, 0);
    for (uint32_t i = 0; i < s->buckets; i++) {
        for (struct bucket *b = shard_bucket(s, i); b != NULL; b = bucket_next(s, b)) {
            for (int k = 0; k < bucket_slots(b); k++) {
                if (b->handle[k] != 0) {
                    bool main = b->meta[k] & S3FIFO_IN_MAIN;
                    bytes[main] += shard_item_bytes(s, b->handle[k]);
                    count[main]++;
                }
            }
        }
    }
    l1_unlock(l1, 0);
    assert_int_equal(state.small_bytes, bytes[0]);
    assert_int_equal(state.main_bytes, bytes[1]);
    assert_int_equal(state.main_items, count[1]);
    assert_int_equal(items(l1), count[0] + count[1]);
}

static void random_operation(struct l1 *l1, int64_t now) {
    char buf[32];
    int i = (int)rng_below(3000);
    struct key key = key_of(buf, sizeof(buf), "key", i);
    switch (rng_below(8)) {
    case 0:
    case 1:
    case 2:
        set(l1, "key", i, rng_below(20) == 0 ? rng_below(20000) : rng_below(500), rng_below(3) == 0 ? now + 5000 : L1_NO_TTL);
        break;
    case 3:
    case 4:
        get(l1, "key", i);
        break;
    case 5:
        l1_lock(l1, 0);
        l1_del(l1, &key, now);
        l1_unlock(l1, 0);
        break;
    case 6:
        l1_lock(l1, 0);
        l1_expire(l1, &key, rng_below(2) == 0 ? now + 5000 : L1_NO_TTL, now);
        l1_unlock(l1, 0);
        break;
    default:
        if (items(l1) > 1000) {
            evict(l1, (unsigned)rng_below(4));
        }
        break;
    }
}

static void bytes_add_up_after_anything(void **state) {
    (void)state;
    rng_seed(7);
    struct l1 *l1 = open_shard();
    for (int i = 0; i < 200000; i++) {
        random_operation(l1, NOW + i);
        if (i % 100 == 0) {
            l1_tick(l1, NOW + i, 1000); /* moves blocks, expires */
        }
        if (i % 1000 == 0) {
            check_sums(l1);
        }
        if (i == 100000) { /* items of another policy's time count, too */
            assert_true(l1_set_policy(l1, "allkeys-lru"));
            for (int k = 0; k < 1000; k++) {
                random_operation(l1, NOW + i);
            }
            assert_true(l1_set_policy(l1, "allkeys-s3fifo"));
            check_sums(l1);
        }
    }
    l1_destroy(&l1);
}

static void its_own_memory_stays_small(void **state) {
    (void)state;
    struct l1 *l1 = open_shard();
    struct s3fifo_look after;
    for (int i = 0; i < 50000; i++) {
        set(l1, "once", i, VALUE, L1_NO_TTL);
    }
    look(l1, &after);
    assert_true(after.memory_bytes < 50000 * 2); /* an eighth is in the ring */
    for (int i = 50000; i < 200000; i++) {
        request(l1, "once", i, 50000);
    }
    look(l1, &after);
    assert_true(after.memory_bytes < 50000 * 4);
    l1_destroy(&l1);
}

/* Entries of blocks that are gone do not pile up in the ring, whether anything is evicted or not. */
static void churn_leaves_no_memory_behind(void **state) {
    (void)state;
    rng_seed(13);
    for (int evicting = 0; evicting < 2; evicting++) {
        struct l1 *l1 = open_shard();
        struct s3fifo_look after;
        for (int i = 0; i < 200000; i++) {
            int k = (int)rng_below(2000);
            set(l1, "key", k, VALUE + (unsigned)rng_below(4) * 50, L1_NO_TTL); /* mostly moves the block */
            if (i % 50 == 0) {
                set(l1, "once", i, VALUE, L1_NO_TTL);
            }
            if (evicting && i % 50 == 0 && items(l1) > 1500) {
                evict(l1, 1);
            } else if (items(l1) > 3000) {
                char buf[32];
                struct key key = key_of(buf, sizeof(buf), "key", k);
                l1_lock(l1, 0);
                l1_del(l1, &key, NOW);
                l1_unlock(l1, 0);
            }
        }
        look(l1, &after);
        assert_true(after.memory_bytes < 80000);
        check_sums(l1);
        l1_destroy(&l1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_hit_wonders_leave_by_the_small_queue),
        cmocka_unit_test(what_was_read_in_the_small_queue_goes_to_main),
        cmocka_unit_test(a_write_is_no_read),
        cmocka_unit_test(a_key_the_ghost_knows_goes_to_main),
        cmocka_unit_test(the_ghost_forgets),
        cmocka_unit_test(a_scan_takes_nothing_that_is_in_use),
        cmocka_unit_test(an_overwrite_keeps_queue_and_credit),
        cmocka_unit_test(small_items_outlive_large_ones),
        cmocka_unit_test(the_small_queue_finds_its_share),
        cmocka_unit_test(there_is_always_a_victim),
        cmocka_unit_test(what_was_read_leaves_as_read),
        cmocka_unit_test(bytes_add_up_after_anything),
        cmocka_unit_test(its_own_memory_stays_small),
        cmocka_unit_test(churn_leaves_no_memory_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
