/* SPDX-License-Identifier: BSD-3-Clause */
/* test_l1: the memory tier against a plain model, under growth, expiry, eviction, failing memory and four threads. */
#include "tests/unit/check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/ds/bloom.h"
#include "src/l1/chunk.h"
#include "src/l1/l1.h"
#include "src/l1/policy.h"

enum { NAMES = 400, BIG = 6000 };

static struct l1 *open_tier(unsigned shards, size_t limit, const char *policy) {
    return l1_create(&(struct l1_options){.shards = shards, .limit_bytes = limit, .policy = policy});
}

static struct key named(char *buf, size_t n, int i, uint8_t db) {
    /* every tenth name is too long to be kept inline */
    int len = snprintf(buf, n, i % 10 == 0 ? "key:%0300d" : "key:%d", i);
    return key_make(slice_make(buf, (size_t)len), db);
}

static bool get(struct l1 *l1, const struct key *key, int64_t now, struct item_view *v) {
    l1_lock(l1, l1_shard_of(l1, key->hash));
    bool found = l1_get(l1, key, now, L1_TOUCH, v);
    l1_unlock(l1, l1_shard_of(l1, key->hash));
    return found;
}

static enum err set(struct l1 *l1, const struct key *key, struct slice value, int64_t expire, int64_t now) {
    l1_lock(l1, l1_shard_of(l1, key->hash));
    enum err e = l1_set(l1, key, value, expire, 0, now);
    l1_unlock(l1, l1_shard_of(l1, key->hash));
    return e;
}

struct model {
    bool present;
    char *bytes;
    size_t n;
    int64_t expire;
};

static void model_put(struct model *m, const char *p, size_t n, int64_t expire) {
    free(m->bytes);
    *m = (struct model){true, malloc(n + 1), n, expire};
    memcpy(m->bytes, p, n);
}

static void tier_equals_its_model(void **state) {
    (void)state;
    rng_seed(7);
    struct l1 *l1 = open_tier(4, 0, "allkeys-s3fifo");
    static struct model model[2][NAMES];
    static char name[512], bytes[BIG];
    int64_t now = 1700000000000;
    for (int round = 0; round < 60000; round++) {
        int i = (int)rng_below(NAMES);
        unsigned db = (unsigned)rng_below(2);
        struct model *m = &model[db][i];
        struct key key = named(name, sizeof(name), i, l1->db_map[db]);
        unsigned shard = l1_shard_of(l1, key.hash);
        now += (int64_t)rng_below(20);
        bool present = m->present && (m->expire == L1_NO_TTL || m->expire > now);
        size_t n = rng_below(20) == 0 ? rng_below(BIG) : rng_below(100);
        int64_t expire = rng_below(3) == 0 ? now + 1 + (int64_t)rng_below(20000) : L1_NO_TTL;
        memset(bytes, 'a' + round % 26, n);
        l1_lock(l1, shard);
        switch (rng_below(6)) {
        case 0:
        case 1:
            assert_int_equal(l1_set(l1, &key, slice_make(bytes, n), expire, 0, now), OK);
            model_put(m, bytes, n, expire);
            break;
        case 2:
            assert_int_equal(l1_del(l1, &key, now), present);
            m->present = false;
            break;
        case 3:
            assert_int_equal(l1_expire(l1, &key, expire, now), present);
            m->expire = expire;
            m->present = present;
            break;
        case 4: {
            char *p;
            size_t old = present ? m->n : 0;
            assert_int_equal(l1_string_mut(l1, &key, n, now, &p), OK);
            for (size_t k = old; k < n; k++) {
                assert_int_equal(p[k], 0);
            }
            memset(p, 'z', n);
            memset(bytes, 'z', n);
            model_put(m, bytes, n, present ? m->expire : L1_NO_TTL);
            break;
        }
        default: {
            struct item_view v;
            assert_int_equal(l1_get(l1, &key, now, L1_TOUCH, &v), present);
            if (present) {
                assert_int_equal(v.str.n, m->n);
                assert_memory_equal(v.str.p, m->bytes, m->n);
                assert_true(v.expire_ms == m->expire);
            }
        }
        }
        l1_unlock(l1, shard);
        if (round % 50 == 0) {
            l1_tick(l1, now, 1000);
        }
        if (round % 20000 == 19999) {
            l1_lock_all(l1);
            assert_true(l1_flush_db(l1, db));
            l1_unlock_all(l1);
            for (int k = 0; k < NAMES; k++) {
                model[db][k].present = false;
            }
        }
    }
    for (int i = 0; i < 2 * NAMES; i++) {
        free(model[i / NAMES][i % NAMES].bytes);
    }
    l1_destroy(&l1);
}

static void count_visit(void *ctx, const struct key *key, const struct item_view *item) {
    (void)item;
    unsigned char *seen = ctx;
    char text[16];
    memcpy(text, key->name.p, key->name.n < 15 ? key->name.n : 15);
    text[key->name.n < 15 ? key->name.n : 15] = '\0';
    seen[atoi(text)]++;
}

static void put_numbered(struct l1 *l1, int from, int to) {
    char name[16];
    for (int i = from; i < to; i++) {
        struct key key = key_make(slice_make(name, (size_t)snprintf(name, sizeof(name), "%d", i)), l1->db_map[0]);
        assert_int_equal(set(l1, &key, SLICE("v"), L1_NO_TTL, 1), OK);
    }
}

static void scan_sees_each_key_once_while_tables_grow(void **state) {
    (void)state;
    struct l1 *l1 = open_tier(2, 0, "allkeys-s3fifo");
    static unsigned char seen[40000];
    memset(seen, 0, sizeof(seen));
    put_numbered(l1, 0, 5000);
    uint64_t cursor = 0;
    int next = 5000;
    do {
        cursor = l1_scan(l1, cursor, 20, l1->db_map[0], 1, false, count_visit, seen);
        put_numbered(l1, next, next + 50 < 40000 ? next + 50 : 40000);
        next = next + 50 < 40000 ? next + 50 : 40000;
        assert_int_equal(cursor & 0xffff, 0);
    } while (cursor != 0);
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(seen[i], 1);
    }
    l1_destroy(&l1);
}

static void expiry_is_never_early_and_soon_after(void **state) {
    (void)state;
    rng_seed(9);
    struct l1 *l1 = open_tier(2, 0, "allkeys-s3fifo");
    char name[16];
    int64_t start = clock_now_ms() + 1000, now = start; /* the wheel began at the real time */
    struct item_view v;
    enum { N = 4000 };
    static int64_t deadline[N];
    for (int i = 0; i < N; i++) {
        struct key key = key_make(slice_make(name, (size_t)snprintf(name, sizeof(name), "%d", i)), l1->db_map[0]);
        deadline[i] = start + 10 + (int64_t)rng_below(i % 10 == 0 ? 10000000 : 60000);
        assert_int_equal(set(l1, &key, SLICE("v"), deadline[i], now), OK);
    }
    for (; now < start + 61000; now += 100) {
        while (l1_tick(l1, now, 1000000)) {
        }
        uint64_t alive = 0;
        for (int i = 0; i < N; i++) {
            alive += deadline[i] > now;
        }
        uint64_t held = l1_db_keys(l1, l1->db_map[0]), late = 0;
        for (int i = 0; i < N; i++) {
            late += deadline[i] <= now && deadline[i] > now - 200;
        }
        assert_true(held >= alive);
        assert_true(held <= alive + late);
    }
    now = start + 20000000; /* a leap of hours */
    while (l1_tick(l1, now, 1000000)) {
    }
    assert_int_equal(l1_db_keys(l1, l1->db_map[0]), 0);
    struct key key = key_make(SLICE("0"), l1->db_map[0]);
    assert_false(get(l1, &key, now, &v));
    l1_destroy(&l1);
}

/* Mixed sizes far past the limit: bytes stay near it, for every policy that evicts. */
static void every_policy_keeps_the_limit(void **state) {
    (void)state;
    static char name[512], bytes[BIG];
    for (unsigned p = 0; p < policy_count(); p++) {
        rng_seed(11);
        const struct policy *policy = policy_at(p);
        size_t limit = 16 << 20;
        struct l1 *l1 = open_tier(4, limit, policy->name);
        int64_t now = 1700000000000;
        unsigned denied = 0;
        for (int round = 0; round < 60000; round++) {
            struct key key = named(name, sizeof(name), (int)rng_below(200000), l1->db_map[0]);
            size_t n = rng_below(50) == 0 ? rng_below(BIG) : rng_below(600);
            if (l1_deny_writes(l1)) {
                denied++;
                continue;
            }
            assert_int_equal(set(l1, &key, slice_make(bytes, n), round % 2 == 0 ? now + 100000000 : L1_NO_TTL, now), OK);
            unsigned shard = l1_shard_of(l1, key.hash);
            if (l1_over_limit(l1)) {
                l1_lock(l1, shard);
                l1_make_room(l1, shard, 16, now);
                l1_unlock(l1, shard);
            }
            if (round % 100 == 0) {
                l1_tick(l1, now, 1000);
            }
        }
        struct l1_stats s;
        l1_stats_read(l1, &s);
        assert_true(l1_bytes(l1) <= limit + limit / 8);
        if (policy->evicts && !policy->only_ttl) {
            assert_int_equal(denied, 0);
            assert_true(s.evicted > 1000);
            assert_true(s.chunk_bytes < limit + limit / 2);
        } else if (!policy->evicts) {
            assert_true(denied > 1000);
        }
        l1_destroy(&l1);
    }
}

static void volatile_policies_spare_keys_without_deadline(void **state) {
    (void)state;
    static const char *const names[] = {"volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"};
    for (int p = 0; p < 4; p++) {
        struct l1 *l1 = open_tier(1, 1 << 20, names[p]);
        char name[32], bytes[200] = "";
        struct item_view v;
        for (int i = 0; i < 20000; i++) {
            struct key key = key_make(slice_make(name, (size_t)snprintf(name, sizeof(name), "k%d", i)), l1->db_map[0]);
            assert_int_equal(set(l1, &key, slice_make(bytes, sizeof(bytes)), i < 1000 ? L1_NO_TTL : 10000000, 1), OK);
            l1_lock(l1, 0);
            l1_make_room(l1, 0, 16, 1);
            l1_unlock(l1, 0);
        }
        for (int i = 0; i < 1000; i++) {
            struct key key = key_make(slice_make(name, (size_t)snprintf(name, sizeof(name), "k%d", i)), l1->db_map[0]);
            assert_true(get(l1, &key, 1, &v));
        }
        l1_destroy(&l1);
    }
}

static void hot_keys_outlive_a_scan(void **state) {
    (void)state;
    static const char *const names[] = {"allkeys-s3fifo", "allkeys-lru", "allkeys-lfu"};
    for (int p = 0; p < 3; p++) {
        rng_seed(13);
        struct l1 *l1 = open_tier(1, 4 << 20, names[p]);
        char name[32], bytes[200] = "";
        struct item_view v;
        int kept = 0;
        for (int i = 0; i < 100000; i++) {
            int hot = (int)rng_below(500);
            struct key key = key_make(slice_make(name, (size_t)snprintf(name, sizeof(name), "hot%d", hot)), l1->db_map[0]);
            if (!get(l1, &key, 1, &v)) {
                assert_int_equal(set(l1, &key, slice_make(bytes, sizeof(bytes)), L1_NO_TTL, 1), OK);
            }
            key = key_make(slice_make(name, (size_t)snprintf(name, sizeof(name), "cold%d", i)), l1->db_map[0]);
            assert_int_equal(set(l1, &key, slice_make(bytes, sizeof(bytes)), L1_NO_TTL, 1), OK);
            l1_lock(l1, 0);
            l1_make_room(l1, 0, 16, 1);
            l1_unlock(l1, 0);
        }
        for (int hot = 0; hot < 500; hot++) {
            struct key key = key_make(slice_make(name, (size_t)snprintf(name, sizeof(name), "hot%d", hot)), l1->db_map[0]);
            kept += get(l1, &key, 1, &v);
        }
        assert_true(kept >= 480);
        l1_destroy(&l1);
    }
}

static void failing_memory_changes_nothing(void **state) {
    (void)state;
    rng_seed(17);
    struct l1 *l1 = open_tier(1, 0, "allkeys-s3fifo");
    static char name[512], bytes[BIG];
    struct item_view v;
    memset(bytes, 'x', sizeof(bytes));
    for (int i = 0; i < 3000; i++) {
        struct key key = named(name, sizeof(name), i % 300, l1->db_map[0]);
        bool had = get(l1, &key, 1, &v);
        size_t before = had ? v.str.n : 0, n = rng_below(BIG);
        mem_fail_nth(1 + rng_below(2));
        enum err e = set(l1, &key, slice_make(bytes, n), L1_NO_TTL, 1);
        mem_fail_nth(0);
        bool has = get(l1, &key, 1, &v);
        if (e == OK) {
            assert_true(has);
            assert_int_equal(v.str.n, n);
        } else {
            assert_int_equal(e, ERR_OUT_OF_MEMORY);
            assert_int_equal(has, had);
            assert_int_equal(had ? v.str.n : 0, before);
        }
    }
    l1_destroy(&l1);
}

static void *hammer(void *arg) {
    struct l1 *l1 = arg;
    char name[32], bytes[300];
    memset(bytes, 'y', sizeof(bytes));
    for (int i = 0; i < 30000; i++) {
        struct key key = key_make(slice_make(name, (size_t)snprintf(name, sizeof(name), "%d", (int)rng_below(5000))), 0);
        unsigned shard = l1_shard_of(l1, key.hash);
        l1_prefetch_item(l1, key.hash, l1_prefetch_bucket(l1, key.hash), i % 2 == 0);
        struct item_view v;
        l1_lock(l1, shard);
        if (rng_below(2)) {
            assert_int_equal(l1_set(l1, &key, slice_make(bytes, rng_below(sizeof(bytes))), rng_below(2) ? 1000 + i : L1_NO_TTL, 0, i), OK);
        } else if (l1_get(l1, &key, i, L1_TOUCH, &v)) {
            for (size_t k = 0; k < v.str.n; k++) {
                assert_int_equal(v.str.p[k], 'y');
            }
        }
        l1_make_room(l1, shard, 4, i);
        l1_unlock(l1, shard);
        if (i % 500 == 0) {
            l1_tick(l1, i, 200);
        }
    }
    return NULL;
}

static void four_threads_share_a_tier(void **state) {
    (void)state;
    struct l1 *l1 = open_tier(8, 512 << 10, "allkeys-s3fifo");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, hammer, l1);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    l1_destroy(&l1);
}

static void flights_and_watches_hear_of_writes(void **state) {
    (void)state;
    struct l1 *l1 = open_tier(1, 0, "allkeys-s3fifo");
    struct key key = key_make(SLICE("k"), l1->db_map[0]), other = key_make(SLICE("o"), l1->db_map[0]);
    _Atomic bool dirty = false;
    struct watch *w = mem_zalloc(sizeof(*w) + 1);
    *w = (struct watch){.dirty = &dirty, .hash = key.hash, .db = key.db, .name_len = 1};
    w->name[0] = 'k';
    l1_lock(l1, 0);
    struct flight *f = flight_begin(&l1->shards[0].flights, &key);
    watch_add(&l1->shards[0].watches, w);
    assert_int_equal(l1_set(l1, &other, SLICE("1"), L1_NO_TTL, 0, 1), OK);
    assert_false(f->overtaken);
    assert_false(dirty);
    assert_int_equal(l1_set(l1, &key, SLICE("1"), L1_NO_TTL, 0, 1), OK);
    assert_true(f->overtaken);
    assert_true(dirty);
    struct list woken;
    list_init(&woken);
    flight_end(&l1->shards[0].flights, f, &woken);
    watch_remove(&l1->shards[0].watches, w);
    l1_unlock(l1, 0);
    mem_free(w);
    l1_destroy(&l1);
}

/* A hash is copied for its writer, a Bloom filter is not: who holds it sees what is added; nor do two keys share it. */
static void a_filter_changes_under_its_readers(void **state) {
    (void)state;
    struct l1 *l1 = open_tier(1, 0, "noeviction");
    struct key key = key_make(SLICE("filter"), 0);
    struct l1_stats stats;
    struct value *v = value_of_bloom(bloom_create(0.001, 4, 2, SIZE_MAX)), *reader = value_ref(v);
    char text[16];
    l1_lock(l1, 0);
    assert_int_equal(l1_set_value(l1, &key, v, L1_NO_TTL, 1), OK);
    for (int i = 0; i < 100; i++) {
        struct slice item = slice_make(text, (size_t)snprintf(text, sizeof(text), "%d", i));
        assert_ptr_equal(l1_value_mut(l1, &key), reader);
        assert_true(bloom_add(v->u.bloom, item, SIZE_MAX) <= BLOOM_NEW);
        assert_int_equal(l1_value_changed(l1, &key), value_bytes(v));
        assert_true(bloom_exists(reader->u.bloom, item));
    }
    l1_unlock(l1, 0);
    l1_stats_read(l1, &stats);
    assert_int_equal(stats.heap_bytes, value_bytes(v));
    l1_lock(l1, 0);
    struct value *other = value_share(v);
    assert_ptr_not_equal(other, v);
    assert_true(bloom_exists(other->u.bloom, SLICE("7")));
    value_unref(other);
    assert_true(l1_del(l1, &key, 1)); /* a reader outlives the key */
    l1_unlock(l1, 0);
    assert_true(bloom_exists(reader->u.bloom, SLICE("99")));
    value_unref(reader);
    l1_destroy(&l1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tier_equals_its_model),
        cmocka_unit_test(scan_sees_each_key_once_while_tables_grow),
        cmocka_unit_test(expiry_is_never_early_and_soon_after),
        cmocka_unit_test(every_policy_keeps_the_limit),
        cmocka_unit_test(volatile_policies_spare_keys_without_deadline),
        cmocka_unit_test(hot_keys_outlive_a_scan),
        cmocka_unit_test(failing_memory_changes_nothing),
        cmocka_unit_test(four_threads_share_a_tier),
        cmocka_unit_test(flights_and_watches_hear_of_writes),
        cmocka_unit_test(a_filter_changes_under_its_readers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
