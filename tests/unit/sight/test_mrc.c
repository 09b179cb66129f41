/* SPDX-License-Identifier: BSD-3-Clause */
/* test_mrc: curves from a sample against the tier itself at those sizes; shelves against a plain model; growth; big keys; HOTKEYS; the
 * rings and the thread. */
#include "tests/unit/check.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/l1/l1.h"
#include "src/sight/growth.h"
#include "src/sight/hotkeys.h"
#include "src/sight/sight.h"

enum { KEYS = 30000, DRAWS = 150000, ITEM = 128, NOW = 1000000 };

static uint32_t draws[DRAWS];

/* Zipf draws over a set that drifts, so that recency counts, too. */
static void make_draws(void) {
    static double sum[KEYS];
    double total = 0;
    rng_seed(5);
    for (unsigned i = 0; i < KEYS; i++) {
        total += pow(i + 1, -0.9);
        sum[i] = total;
    }
    for (unsigned d = 0; d < DRAWS; d++) {
        double x = (double)(rng_u64() >> 11) / 9007199254740992.0 * total;
        unsigned low = 0, high = KEYS - 1;
        while (low < high) {
            unsigned mid = (low + high) / 2;
            *(sum[mid] <= x ? &low : &high) = sum[mid] <= x ? mid + 1 : mid;
        }
        draws[d] = low + d / 100;
    }
}

static uint64_t hash_of(uint32_t id) {
    return hash_bytes(&id, sizeof(id));
}

static struct mrc_event event(enum mrc_kind kind, uint32_t id, size_t bytes) {
    return (struct mrc_event){.kind = (uint8_t)kind, .access = {.hash = hash_of(id), .bytes = bytes, .expire_ms = L1_NO_TTL}};
}

/* Hit rate of every key through a miniature that samples all of them: the tier itself. */
static double full(const char *policy, double bytes) {
    struct mini_sizes *sizes = mini_sizes_create();
    struct mini *m = mini_create(sizes, policy, UINT32_MAX, NULL, NULL);
    uint64_t hits = 0;
    mini_set_limit(m, bytes);
    for (unsigned d = 0; d < DRAWS; d++) {
        struct mrc_event e = event(MRC_READ, draws[d], ITEM);
        hits += mini_read(m, &e.access, NOW);
    }
    mini_destroy(&m);
    mini_sizes_destroy(&sizes);
    return (double)hits / DRAWS;
}

static void to_shelf(void *ctx, const struct mini_access *a) {
    shelf_put(ctx, a);
}

/* The miniature's limit is the tier's: as many items as the bytes hold. */
static void a_miniature_holds_what_the_tier_would(void **state) {
    (void)state;
    struct mini_sizes *sizes = mini_sizes_create();
    struct mini *m = mini_create(sizes, "allkeys-s3fifo", UINT32_MAX, NULL, NULL);
    mini_set_limit(m, 1000 * ITEM);
    for (uint32_t i = 0; i < 5000; i++) {
        struct mrc_event e = event(MRC_READ, i, ITEM);
        assert_false(mini_read(m, &e.access, NOW));
    }
    assert_in_range(mini_items(m), 950, 1050);
    struct mrc_event e = event(MRC_READ, 100000, 0); /* of unknown size: is not there, and is not put there */
    assert_false(mini_read(m, &e.access, NOW));
    assert_false(mini_read(m, &e.access, NOW));
    e.access.bytes = ITEM;
    e.access.expire_ms = NOW + 50;
    mini_write(m, &e.access, NOW);
    assert_true(mini_read(m, &e.access, NOW + 49));
    assert_false(mini_read(m, &(struct mini_access){.hash = e.access.hash}, NOW + 50)); /* its time is over */
    e.access.expire_ms = L1_NO_TTL;
    mini_write(m, &e.access, NOW);
    mini_remove(m, e.access.hash, NOW);
    e.access.bytes = 0;
    assert_false(mini_read(m, &e.access, NOW));
    mini_thin(m, MINI_RATE_ONE / 4, NOW);
    assert_in_range(mini_items(m), 180, 320);
    mini_destroy(&m);
    mini_sizes_destroy(&sizes);
}

static void read_one(struct mrc *m, uint32_t id) {
    struct mrc_event e = event(MRC_READ, id, ITEM);
    mrc_feed(m, &e, NOW);
    mrc_reads(m, 1, NULL, 0);
}

static void curves_are_within_two_points(void **state) {
    (void)state;
    static const char *const policies[] = {"allkeys-s3fifo", "allkeys-lru", "allkeys-lfu"};
    make_draws();
    for (unsigned p = 0; p < 3; p++) {
        struct mrc_tiers tiers = {.l1_bytes = 3000 * ITEM, .policy = policies[p], .shadow = policies[(p + 1) % 3]};
        struct mrc *m = mrc_create(&(struct mrc_options){0}, &tiers);
        for (unsigned d = 0; d < DRAWS; d++) {
            read_one(m, draws[d]);
        }
        struct mrc_report r;
        mrc_report(m, 0, &r);
        assert_true(r.rate < 0.6); /* it did have to sample */
        assert_false(r.rough);
        for (unsigned i = 0; i < MRC_SCALES; i++) {
            double want = full(policies[p], 3000 * ITEM * mrc_scales[i]);
            assert_true(fabs(r.l1_hit[i] - want) < 0.02);
        }
        assert_true(r.has_shadow && fabs(r.shadow_hit - full(tiers.shadow, 3000 * ITEM)) < 0.02);
        assert_true(r.memory < 1 << 20);
        assert_true(mrc_hit_at(&r, 3000 * ITEM * 3.0) > r.l1_hit[4] && mrc_hit_at(&r, 3000 * ITEM * 3.0) < r.l1_hit[5]);
        mrc_destroy(&m);
    }
}

/* Hit rate of every key through memory and a disk of so many bytes, none of it sampled. */
static double full_l2(const char *policy, double l1_bytes, double l2_bytes) {
    struct mini_sizes *sizes = mini_sizes_create();
    struct shelf *shelf = shelf_create(2 * KEYS);
    struct mini *m = mini_create(sizes, policy, UINT32_MAX, to_shelf, shelf);
    uint64_t hits = 0;
    mini_set_limit(m, l1_bytes);
    shelf_set_limit(shelf, l2_bytes);
    for (unsigned d = 0; d < DRAWS; d++) {
        struct mrc_event e = event(MRC_READ, draws[d], ITEM);
        bool has = shelf_has(shelf, e.access.hash, NOW);
        hits += mini_read(m, &e.access, NOW) || has;
    }
    mini_destroy(&m);
    mini_sizes_destroy(&sizes);
    shelf_destroy(&shelf);
    return (double)hits / DRAWS;
}

/* With as many items as a server with a disk tier and a shadow has, whatever the disk's size and the placement of keys. */
static void curves_with_a_disk_are_within_two_points(void **state) {
    (void)state;
    static const double times[] = {1, 4, 20};
    unsigned items = sight_items(&(struct sight_options){.loops = 2, .l2 = true});
    for (unsigned t = 0; t < sizeof(times) / sizeof(times[0]); t++) {
        hash_seed(t + 1);
        make_draws();
        double l1 = 1000 * ITEM, l2 = l1 * times[t];
        struct mrc_tiers tiers = {.l1_bytes = (uint64_t)l1, .policy = "allkeys-s3fifo", .shadow = "allkeys-lru", .l2_bytes = (uint64_t)l2};
        struct mrc *m = mrc_create(&(struct mrc_options){.l2 = true, .items = items}, &tiers);
        for (unsigned d = 0; d < DRAWS; d++) {
            read_one(m, draws[d]);
        }
        struct mrc_report r;
        mrc_report(m, 0, &r);
        assert_true(r.has_l2 && !r.rough);
        assert_true(r.l2_rate <= r.rate);
        for (unsigned i = 0; i < MRC_SCALES; i++) {
            assert_true(fabs(r.l1_hit[i] - full(tiers.policy, l1 * mrc_scales[i])) < 0.02);
            assert_true(fabs(r.l2_hit[i] - full_l2(tiers.policy, l1, l2 * mrc_scales[i])) < 0.02);
        }
        assert_true(fabs(r.shadow_hit - full(tiers.shadow, l1)) < 0.02);
        mrc_destroy(&m);
    }
    hash_seed(1);
}

/* Of the reads by key 0, which are half of all, none may be in the sample: the curve must not notice. */
static void a_hot_key_outside_the_sample_counts(void **state) {
    (void)state;
    for (int hot_sampled = 0; hot_sampled < 2; hot_sampled++) {
        struct mrc *m = mrc_create(&(struct mrc_options){.items = 2000}, &(struct mrc_tiers){.l1_bytes = 1000 * ITEM, .policy = "allkeys-s3fifo"});
        while (mrc_below(m) > MINI_RATE_ONE / 8) {
            mrc_lower_rate(m, NOW);
        }
        uint32_t hot = 0;
        while ((mini_draw(hash_of(hot)) < mrc_below(m)) != (bool)hot_sampled) {
            hot++;
        }
        rng_seed(9);
        for (int i = 0; i < 200000; i++) {
            uint32_t id = i % 2 == 0 ? hot : 1000 + (uint32_t)rng_below(4000);
            read_one(m, id);
        }
        struct mrc_report r;
        mrc_report(m, 0, &r);
        assert_true(fabs(r.l1_hit[MRC_TODAY] - (0.5 + 0.5 * 1000 / 4000)) < 0.06); /* uncorrected it would be off by more than 0.3 */
        mrc_destroy(&m);
    }
}

static void rules_have_curves_of_their_own(void **state) {
    (void)state;
    struct mrc *m = mrc_create(&(struct mrc_options){0}, &(struct mrc_tiers){.l1_bytes = 1000 * ITEM, .policy = "allkeys-lru"});
    uint64_t reads[MRC_RULES] = {0};
    struct mrc_report r;
    for (uint32_t i = 0; i < 20000; i++) { /* rule 1 asks for the same hundred, rule 2 for something new each time */
        struct mrc_event e = event(MRC_READ, i % 2 == 0 ? i % 200 : 1000 + i, ITEM);
        e.rule = i % 2 == 0 ? 1 : 2;
        reads[0] = i % 2 == 0;
        reads[1] = i % 2;
        mrc_feed(m, &e, NOW);
        mrc_reads(m, 1, reads, 0);
    }
    mrc_report(m, 1, &r);
    assert_true(r.l1_hit[MRC_TODAY] > 0.95);
    mrc_report(m, 2, &r);
    assert_true(r.l1_hit[MRC_TODAY] < 0.01);
    mrc_report(m, 0, &r);
    assert_true(fabs(r.l1_hit[MRC_TODAY] - 0.495) < 0.02);
    mrc_forget_rules(m);
    mrc_report(m, 2, &r);
    assert_true(r.reads == 0);
    mrc_destroy(&m);
}

/* A loop over 4,000 keys with room for 1,000 in memory: the disk decides, and only one that holds them all gives hits. */
static void the_disk_has_a_curve(void **state) {
    (void)state;
    struct mrc *m = mrc_create(&(struct mrc_options){.l2 = true}, &(struct mrc_tiers){.l1_bytes = 1000 * ITEM, .policy = "allkeys-lru", .l2_bytes = 3000 * ITEM});
    struct mrc_report r;
    for (uint32_t i = 0; i < 200000; i++) {
        read_one(m, i % 4000);
    }
    mrc_report(m, 0, &r);
    assert_true(r.has_l2);
    assert_true(r.l2_hit[5] > 0.93);                /* 12,000 */
    assert_true(r.l2_hit[4] > 0.93);                /* 6,000 */
    assert_true(r.l2_hit[0] < r.l2_hit[4] - 0.3);   /* 750 */
    for (unsigned i = 1; i < MRC_SCALES; i++) {
        assert_true(r.l2_hit[i] >= r.l2_hit[i - 1] - 0.02);
    }
    mrc_destroy(&m);
}

/* ---- shelves ---- */

static void a_shelf_equals_its_model(void **state) {
    (void)state;
    enum { IDS = 500, MOST = 200, STEPS = 50000 };
    struct shelf *s = shelf_create(MOST);
    static int64_t at[IDS]; /* when it came, 0: not there */
    unsigned items = 0;
    int64_t order = 0;
    rng_seed(3);
    shelf_set_limit(s, 1e12);
    for (int step = 0; step < STEPS; step++) {
        uint32_t id = (uint32_t)rng_below(IDS);
        struct mini_access a = {.hash = hash_of(id), .bytes = 100, .expire_ms = L1_NO_TTL};
        if (rng_below(4) == 0) {
            shelf_drop(s, a.hash);
            items -= at[id] != 0;
            at[id] = 0;
        } else if (at[id] == 0) {
            shelf_put(s, &a);
            at[id] = ++order;
            items++;
        } else {
            shelf_put(s, &a); /* stays where it is */
        }
        assert_true(shelf_has(s, a.hash, NOW) == (at[id] != 0));
        if (shelf_items(s) != items) { /* the oldest went */
            for (unsigned i = 0; i < IDS; i++) {
                bool there = shelf_has(s, hash_of(i), NOW);
                for (unsigned k = 0; at[i] != 0 && !there && k < IDS; k++) {
                    assert_true(at[k] == 0 || !shelf_has(s, hash_of(k), NOW) || at[k] > at[i]);
                }
            }
            for (unsigned i = 0; i < IDS; i++) {
                bool there = shelf_has(s, hash_of(i), NOW);
                items -= at[i] != 0 && !there;
                at[i] = there ? at[i] : 0;
            }
        }
        assert_int_equal(shelf_items(s), items);
        assert_true(items <= MOST);
    }
    assert_true(shelf_is_short(s));
    shelf_thin(s, MINI_RATE_ONE / 2);
    for (unsigned i = 0; i < IDS; i++) {
        assert_true(shelf_has(s, hash_of(i), NOW) == (at[i] != 0 && mini_draw(hash_of(i)) < MINI_RATE_ONE / 2));
    }
    shelf_destroy(&s);
}

static void a_full_shelf_admits_what_was_evicted_before(void **state) {
    (void)state;
    struct shelf *s = shelf_create(1000);
    shelf_set_limit(s, 100 * ITEM);
    shelf_set_rule(s, SHELF_SECOND, 0);
    for (uint32_t i = 0; i < 98; i++) {
        struct mini_access a = {.hash = hash_of(i), .bytes = ITEM, .expire_ms = L1_NO_TTL};
        shelf_put(s, &a);
    }
    struct mini_access late = {.hash = hash_of(5000), .bytes = ITEM, .expire_ms = NOW + 60000};
    shelf_put(s, &late);
    assert_false(shelf_has(s, late.hash, NOW));
    shelf_put(s, &late);
    assert_true(shelf_has(s, late.hash, NOW));
    assert_false(shelf_has(s, late.hash, NOW + 62000));
    shelf_destroy(&s);
}

/* What the sample has lost, and what was dropped, leaves gaps in the ring: they must not push out what is there. */
static void gaps_push_nothing_out(void **state) {
    (void)state;
    enum { MOST = 800 };
    struct shelf *s = shelf_create(MOST);
    shelf_set_limit(s, 1e12);
    for (uint32_t i = 0; i < 10000; i++) { /* the first stay, the rest come and go */
        struct mini_access a = {.hash = hash_of(i), .bytes = ITEM, .expire_ms = L1_NO_TTL};
        shelf_put(s, &a);
        if (i >= MOST / 2) {
            shelf_drop(s, a.hash);
        }
    }
    assert_int_equal(shelf_items(s), MOST / 2);
    assert_false(shelf_is_short(s));
    for (uint32_t i = 0; i < 10000; i++) {
        assert_true(shelf_has(s, hash_of(i), NOW) == (i < MOST / 2));
    }
    shelf_destroy(&s);
}

/* ---- growth ---- */

static int64_t minutes(struct growth *g, int64_t *now, int n, int64_t *value, int64_t step, int64_t noise) {
    int64_t grown = 0;
    for (int i = 0; i < n * 60; i++) {
        *now += 1000;
        *value += step / 60;
        grown = growth_add(g, *now, *value + (i % 7) * noise, 1000);
    }
    return grown;
}

static void only_steady_growth_alarms(void **state) {
    (void)state;
    struct growth g = {0};
    int64_t now = NOW, value = 5000000;
    assert_int_equal(minutes(&g, &now, 30, &value, 0, 100000), 0);       /* noise */
    assert_int_equal(minutes(&g, &now, 5, &value, 600000, 0), 0);        /* it fills, */
    assert_int_equal(minutes(&g, &now, 20, &value, 0, 0), 0);            /* and stays */
    int64_t grown = minutes(&g, &now, 13, &value, 60000, 5000);          /* a leak */
    assert_in_range(grown, 590000, 610000);
    assert_int_equal(minutes(&g, &now, 3, &value, 0, 0), 0);             /* that has ended */
    now += 3600000;                                                      /* nobody looked for an hour */
    assert_int_equal(minutes(&g, &now, 9, &value, 60000, 0), 0);
}

/* ---- big keys ---- */

static struct key numbered(char *name, size_t n, unsigned i) {
    int len = snprintf(name, n, "big:%u", i);
    return key_make(slice_make(name, (size_t)len), 0);
}

static void the_largest_are_kept(void **state) {
    (void)state;
    struct big b;
    struct big_item items[BIG_KEEP];
    char name[32];
    big_init(&b, 1);
    for (unsigned i = 0; i < 1000; i++) {
        struct key key = numbered(name, sizeof(name), i);
        big_note(&b, &key, 1000 + i * 7 % 1000);
    }
    unsigned n = big_list(&b, items, BIG_KEEP);
    assert_int_equal(n, BIG_KEEP);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(items[i].bytes, 1999 - i);
    }
    uint64_t first = items[0].hash, second = items[1].hash;
    big_items_free(items, n);
    big_correct(&b, first, 0);    /* gone */
    big_correct(&b, second, 1950);
    struct key key = numbered(name, sizeof(name), 5000);
    big_note(&b, &key, 1900); /* there is room again */
    n = big_list(&b, items, BIG_KEEP);
    assert_int_equal(n, BIG_KEEP);
    assert_int_equal(items[0].bytes, 1997);
    bool found = false;
    for (unsigned i = 0; i < n; i++) {
        assert_true(items[i].hash != first);
        found |= items[i].hash == key.hash;
    }
    assert_true(found);
    big_items_free(items, n);
    big_fini(&b);
}

/* ---- HOTKEYS ---- */

static void tracking_charges_keys_and_stops_by_itself(void **state) {
    (void)state;
    struct hotkeys *h = hotkeys_create(2, 10);
    struct hotkeys_report r;
    char a[32], b[32];
    struct key keys[2] = {numbered(a, sizeof(a), 1), numbered(b, sizeof(b), 2)};
    assert_false(hotkeys_report(h, NOW, &r));
    assert_false(hotkeys_stop(h, NOW));
    hotkeys_charge(h, 0, keys, 1, 16, 10); /* before: not charged */
    assert_true(hotkeys_start(h, &(struct hotkeys_order){.metric = {true, true}, .count = 10, .sample = 1, .duration_ms = 5000}, NOW));
    assert_false(hotkeys_start(h, &(struct hotkeys_order){.metric = {true, true}, .count = 10, .sample = 1}, NOW));
    assert_false(hotkeys_reset(h));
    hotkeys_charge(h, 0, keys, 1, 16 * 100, 10);
    hotkeys_charge(h, 1, keys, 2, 16 * 50, 1000); /* shared out */
    hotkeys_charge(h, 1, NULL, 0, 16 * 7, 3);     /* no key: of all commands only */
    assert_true(hotkeys_report(h, NOW + 1000, &r));
    assert_true(r.active);
    assert_int_equal(r.took_ms, 1000);
    assert_int_equal(r.all[HOT_CPU], 157);
    assert_int_equal(r.all[HOT_NET], 1013);
    assert_int_equal(r.n[HOT_CPU], 2);
    assert_int_equal(r.keys[HOT_CPU][0].weight, 125);
    assert_int_equal(r.keys[HOT_CPU][1].weight, 25);
    assert_int_equal(r.keys[HOT_NET][0].weight, 510);
    hotkeys_report_free(&r);
    assert_true(hotkeys_report(h, NOW + 9000, &r));
    assert_false(r.active);
    assert_int_equal(r.took_ms, 5000);
    hotkeys_report_free(&r);
    assert_true(hotkeys_reset(h));
    assert_false(hotkeys_report(h, NOW, &r));
    hotkeys_destroy(&h);
}

/* ---- rings and thread ---- */

enum { LOOPS = 2, NOTES = 50000 };

struct noter {
    struct sight *sight;
    unsigned loop;
};

static void *note_all(void *arg) {
    const struct noter *n = arg;
    char name[32];
    for (uint32_t i = 0; i < NOTES; i++) {
        struct mrc_event e = event(MRC_READ, i % 500, ITEM);
        if (mini_draw(e.access.hash) < atomic_load(&n->sight->below)) {
            sight_note(n->sight, n->loop, &e);
        }
        if (i % SIGHT_HOT_EVERY == 0) {
            struct key key = numbered(name, sizeof(name), i % 3 == 0 ? 1 : i);
            sight_hot(n->sight, n->loop, &key, 1);
        }
    }
    return NULL;
}

/* Two loops, a reader and the thread at once; nothing is lost without being counted. */
static void loops_and_readers_run_together(void **state) {
    (void)state;
    struct mrc_tiers tiers = {.l1_bytes = 1000 * ITEM, .policy = "allkeys-s3fifo", .l2_bytes = 5000 * ITEM};
    struct sight *s = sight_create(&(struct sight_options){.loops = LOOPS, .l2 = true}, &tiers);
    struct noter noters[LOOPS] = {{s, 0}, {s, 1}};
    pthread_t threads[LOOPS];
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, note_all, &noters[i]), 0);
    }
    struct sight_stats st;
    struct mrc_report r;
    struct sight_key *keys;
    for (int i = 0; i < 200; i++) {
        struct sight_now now = {.tiers = tiers, .reads = (uint64_t)i * 500, .now_ms = clock_now_ms()};
        sight_tick(s, &now);
        sight_mrc(s, 0, &r);
        unsigned n = sight_hot_keys(s, 5, &keys);
        assert_true(n <= 5);
        mem_free(keys);
        sight_stats(s, &st);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        pthread_join(threads[i], NULL);
    }
    unsigned n = sight_hot_keys(s, 5, &keys);
    assert_true(n == 5 && keys[0].name_n == 5 && memcmp(keys[0].name, "big:1", 5) == 0);
    assert_true(keys[0].accesses > NOTES * LOOPS / 3 / 2);
    mem_free(keys);
    sight_destroy(&s);
}

static void what_is_noted_arrives(void **state) {
    (void)state;
    struct mrc_tiers tiers = {.l1_bytes = 1000 * ITEM, .policy = "allkeys-s3fifo"};
    struct sight *s = sight_create(&(struct sight_options){.loops = 1, .inline_jobs = true}, &tiers);
    struct sight_stats st;
    struct sight_now now = {.tiers = tiers, .now_ms = clock_now_ms()};
    sight_tick(s, &now);
    for (uint32_t i = 0; i < 4000; i++) {
        struct mrc_event e = event(MRC_READ, i, ITEM);
        sight_note(s, 0, &e); /* drained inline at half, so nothing is lost */
    }
    sight_stats(s, &st);
    assert_int_equal(st.lost, 0);
    now.reads = 4000;
    sight_tick(s, &now);
    struct mrc_report r;
    sight_mrc(s, 0, &r);
    assert_true(r.reads == 4000);
    assert_true(r.items > 900);
    sight_destroy(&s);
}

/* Whatever the number of loops, with everything that can be had. */
static void all_of_it_stays_within_a_megabyte(void **state) {
    (void)state;
    static const unsigned loops[] = {1, 2, 6, 14, 16, 64, 128};
    for (unsigned i = 0; i < 2 * sizeof(loops) / sizeof(loops[0]); i++) {
        unsigned n = loops[i / 2];
        struct mrc_tiers tiers = {.l1_bytes = 100000 * ITEM, .policy = "allkeys-s3fifo", .shadow = "allkeys-lru", .l2_bytes = 1000000 * ITEM};
        struct sight *s = sight_create(&(struct sight_options){.loops = n, .l2 = i % 2, .inline_jobs = true}, &tiers);
        struct sight_now now = {.tiers = tiers, .now_ms = clock_now_ms()};
        sight_tick(s, &now);
        for (uint32_t k = 0; k < 60000; k++) {
            char name[32];
            struct key key = numbered(name, sizeof(name), k);
            struct mrc_event e = event(MRC_READ, k % 40000, ITEM);
            if (mini_draw(e.access.hash) < atomic_load(&s->below)) {
                sight_note(s, k % n, &e);
            }
            sight_hot(s, k % n, &key, 1);
        }
        now.reads = 60000;
        sight_tick(s, &now);
        struct sight_stats st;
        sight_stats(s, &st);
        assert_in_range(st.memory, 200000, 1 << 20);
        sight_destroy(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_miniature_holds_what_the_tier_would),
        cmocka_unit_test(curves_are_within_two_points),
        cmocka_unit_test(curves_with_a_disk_are_within_two_points),
        cmocka_unit_test(a_hot_key_outside_the_sample_counts),
        cmocka_unit_test(rules_have_curves_of_their_own),
        cmocka_unit_test(the_disk_has_a_curve),
        cmocka_unit_test(a_shelf_equals_its_model),
        cmocka_unit_test(a_full_shelf_admits_what_was_evicted_before),
        cmocka_unit_test(gaps_push_nothing_out),
        cmocka_unit_test(only_steady_growth_alarms),
        cmocka_unit_test(the_largest_are_kept),
        cmocka_unit_test(tracking_charges_keys_and_stops_by_itself),
        cmocka_unit_test(loops_and_readers_run_together),
        cmocka_unit_test(what_is_noted_arrives),
        cmocka_unit_test(all_of_it_stays_within_a_megabyte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
