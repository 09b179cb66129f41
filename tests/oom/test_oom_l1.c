/* SPDX-License-Identifier: BSD-3-Clause */
/* test_oom_l1: writes to the memory tier with every allocation failing in turn: one that fails leaves the key as it was. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/l1/l1.h"

enum { KEYS = 30, STEPS = 200, LONGEST = 3000, ENOUGH = 100000 };

/* What a key holds: a string of n bytes that begin with its fill, or a hash of n fields. */
struct held {
    bool present, hash, ttl;
    size_t n;
    char fill;
};

static struct l1 *l1;
static struct held held[KEYS];
static bool failed;

static struct key named(int i) {
    static char name[512];
    return key_make(slice_make(name, (size_t)snprintf(name, sizeof(name), i % 8 == 0 ? "%0300d" : "key:%d", i)), 0);
}

static void check_key(int i) {
    struct item_view v;
    struct key key = named(i);
    const struct held *h = &held[i];
    assert_int_equal(l1_get(l1, &key, 1, L1_TOUCH, &v), h->present);
    if (!h->present) {
        return;
    }
    assert_int_equal(v.expire_ms != L1_NO_TTL, h->ttl);
    if (h->hash) {
        assert_int_equal(v.type, TYPE_HASH);
        assert_int_equal(value_len(v.value), h->n);
        assert_true(h->n > 0);
        return;
    }
    assert_int_equal(v.type, TYPE_STRING);
    assert_int_equal(v.str.n, h->n);
    for (size_t k = 0; k < h->n; k++) {
        assert_true(v.str.p[k] == h->fill || v.str.p[k] == 0);
    }
}

/* Takes over what the step made of the key when it went well. */
static void settle(int i, enum err e, struct held now) {
    assert_true(e == OK || e == ERR_OUT_OF_MEMORY);
    failed |= e != OK;
    held[i] = e == OK ? now : held[i];
    check_key(i);
}

static void set_string(int i, size_t n) {
    char *bytes = mem_alloc(n);
    struct held now = {true, false, n % 2 == 1, n, (char)('a' + n % 20)};
    memset(bytes, now.fill, n);
    struct key key = named(i);
    settle(i, l1_set(l1, &key, slice_make(bytes, n), now.ttl ? 1000000 : L1_NO_TTL, 0, 1), now);
    mem_free(bytes);
}

/* Several keys at once, two of them twice: all or none. */
static void set_several(int first, size_t n) {
    enum { MANY = 5 };
    struct l1_ready ready[MANY];
    struct held now[MANY];
    int key_of[MANY], made = 0;
    enum err e = OK;
    char *bytes = mem_alloc(LONGEST);
    bool block = false;
    for (int k = 0; k < MANY && e == OK; k++) {
        key_of[k] = (first + 7 * (k % 3)) % KEYS;
        now[k] = (struct held){true, false, false, (n + (size_t)k * 331) % LONGEST, (char)('a' + k)};
        memset(bytes, now[k].fill, now[k].n);
        struct key key = named(key_of[k]);
        e = l1_ready(l1, &key, slice_make(bytes, now[k].n), NULL, block, 1, &ready[k]);
        made += e == OK;
        block |= e == OK && ready[k].how == READY_MADE;
    }
    assert_true(e == OK || e == ERR_OUT_OF_MEMORY);
    for (int k = 0; k < made; k++) {
        struct key key = named(key_of[k]);
        if (e == OK) {
            memset(bytes, now[k].fill, now[k].n);
            l1_ready_set(l1, &key, slice_make(bytes, now[k].n), &ready[k]);
            held[key_of[k]] = now[k];
        } else {
            l1_ready_undo(l1, &key, &ready[k]);
        }
    }
    failed |= e != OK;
    for (int k = 0; k < made; k++) {
        check_key(key_of[k]);
    }
    mem_free(bytes);
}

static void set_adopted(int i, size_t n) {
    char *bytes = mem_alloc(n);
    struct held now = {true, false, false, n, 'z'};
    memset(bytes, now.fill, n);
    struct key key = named(i);
    struct blob *b = blob_adopt(bytes, n, slice_make(bytes, n));
    enum err e = b == NULL ? ERR_OUT_OF_MEMORY : l1_set_blob(l1, &key, b, L1_NO_TTL, 0, 1);
    settle(i, e, now);
    if (b == NULL) {
        mem_free(bytes);
    } else if (e != OK) {
        blob_unref(b);
    }
}

static void stretch(int i, size_t n) {
    if (held[i].hash) {
        return;
    }
    char *p;
    struct key key = named(i);
    struct held now = held[i];
    now.present = true;
    now.n = n;
    settle(i, l1_string_mut(l1, &key, n, 1, &p), now);
}

static void set_hash(int i, size_t n) {
    static const struct hash_limits limits = {32, 64};
    struct value *h = hash_create();
    char f[32];
    enum err e = OK;
    for (size_t k = 0; k < n && e == OK; k++) {
        e = hash_set(h, slice_make(f, (size_t)snprintf(f, sizeof(f), "f%zu", k)), SLICE("value"), &limits, NULL);
    }
    struct key key = named(i);
    e = e == OK ? l1_set_value(l1, &key, h, L1_NO_TTL, 1) : e;
    settle(i, e, (struct held){true, true, false, n, 0});
    if (e != OK) {
        value_unref(h);
    }
}

/* One field goes while a reader shares the hash: it is copied first. */
static void shrink_shared(int i) {
    struct item_view v;
    struct key key = named(i);
    if (!held[i].hash || !l1_get(l1, &key, 1, L1_TOUCH, &v)) {
        return;
    }
    struct value *reader = value_ref(v.value), *mine = l1_value_mut(l1, &key);
    struct held now = held[i];
    if (mine != NULL) {
        char f[32];
        assert_true(hash_del(mine, slice_make(f, (size_t)snprintf(f, sizeof(f), "f%zu", now.n - 1))));
        now.n--;
        now.present = l1_value_changed(l1, &key) != 0;
        now.hash = now.present;
    }
    settle(i, mine == NULL ? ERR_OUT_OF_MEMORY : OK, now);
    value_unref(reader);
}

static void set_deadline(int i, bool ttl) {
    struct key key = named(i);
    struct held now = held[i];
    now.ttl = ttl;
    if (held[i].present) {
        settle(i, l1_expire(l1, &key, ttl ? 5000000 : L1_NO_TTL, 1) ? OK : ERR_OUT_OF_MEMORY, now);
    }
}

static void drop(int i) {
    struct key key = named(i);
    assert_int_equal(l1_del(l1, &key, 1), held[i].present);
    held[i] = (struct held){0};
    check_key(i);
}

static void step(void) {
    int i = (int)rng_below(KEYS);
    size_t n = rng_below(3) == 0 ? rng_below(LONGEST) : rng_below(200);
    switch (rng_below(9)) {
    case 0: case 1:
        set_string(i, n);
        break;
    case 2:
        set_adopted(i, 2000 + n);
        break;
    case 3:
        stretch(i, n);
        break;
    case 4:
        set_hash(i, 1 + n % 50);
        break;
    case 5:
        shrink_shared(i);
        break;
    case 6:
        set_deadline(i, n % 2 == 0);
        break;
    case 7:
        set_several(i, n);
        break;
    default:
        drop(i);
        break;
    }
}

static void tidy(void) {
    l1_unlock_all(l1);
    while (l1_tick(l1, 1, 1000000)) {
    }
    l1_lock_all(l1);
}

/* True when an allocation failed. */
static bool run_steps(uint64_t n) {
    rng_seed(11);
    memset(held, 0, sizeof(held));
    failed = false;
    l1 = l1_create(&(struct l1_options){.shards = 2, .policy = "allkeys-s3fifo"});
    l1_lock_all(l1);
    mem_fail_nth(n);
    for (int k = 0; k < STEPS; k++) {
        step();
        if (k % 100 == 99) {
            tidy();
        }
    }
    bool fired = n != 0 && mem_fail_left() == 0;
    mem_fail_nth(0);
    for (int i = 0; i < KEYS; i++) {
        check_key(i);
    }
    tidy();
    for (int i = 0; i < KEYS; i++) {
        drop(i);
    }
    tidy();
    l1_unlock_all(l1);
    struct l1_stats stats;
    l1_stats_read(l1, &stats);
    assert_int_equal(l1_keys(l1), 0);
    assert_int_equal(stats.heap_bytes, 0);
    l1_destroy(&l1);
    return fired;
}

static void every_write_passes_with_memory(void **state) {
    (void)state;
    assert_false(run_steps(0));
    assert_false(failed);
}

static void a_failed_write_leaves_its_key_alone(void **state) {
    (void)state;
    uint64_t n = 0;
    bool fired;
    do {
        size_t before = mem_allocated_bytes();
        fired = run_steps(++n);
        assert_int_equal(mem_allocated_bytes(), before);
    } while (fired && n < ENOUGH);
    assert_true(n > 300 && n < ENOUGH);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_write_passes_with_memory),
                                       cmocka_unit_test(a_failed_write_leaves_its_key_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
