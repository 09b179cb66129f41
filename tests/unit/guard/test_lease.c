/* SPDX-License-Identifier: BSD-3-Clause */
/* test_lease: who may load a key, and who waits for it. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/guard/lease.h"

static int woken_count;

static void on_wake(struct lease_waiter *w) {
    assert_true(w->woken);
    woken_count++;
    memset(w, 0xee, sizeof(*w)); /* it may be gone now */
}

static struct key named(const char *name, uint8_t db) {
    return key_make(slice_cstr(name), db);
}

static void a_lease_is_found_by_key_and_by_token(void **state) {
    (void)state;
    struct lease_table t = {0};
    struct list woken;
    list_init(&woken);
    struct key a = named("a", 0), other_db = named("a", 1), b = named("b", 0);
    assert_null(lease_find(&t, &a));
    struct lease *l = lease_grant(&t, &a, NULL, 100, 300);
    assert_ptr_equal(lease_find(&t, &a), l);
    assert_null(lease_find(&t, &other_db));
    assert_null(lease_find(&t, &b));
    assert_int_not_equal(l->token, 0);
    assert_ptr_equal(lease_by_token(&t, a.hash, l->token), l);
    assert_null(lease_by_token(&t, a.hash, l->token ^ 2));
    assert_null(lease_by_token(&t, b.hash, l->token));
    assert_int_equal(l->granted_ms, 100);
    assert_int_equal(l->deadline_ms, 300);
    struct lease *m = lease_grant(&t, &other_db, NULL, 100, 300);
    assert_int_not_equal(l->token, m->token);
    lease_end(&t, l, &woken);
    assert_null(lease_find(&t, &a));
    assert_ptr_equal(lease_find(&t, &other_db), m);
    lease_end(&t, m, &woken);
    assert_int_equal(t.count, 0);
    assert_true(list_empty(&woken));
}

static void who_waits_is_woken_in_order_when_it_ends(void **state) {
    (void)state;
    struct lease_table t = {0};
    struct lease_waiter w[5];
    struct list woken;
    list_init(&woken);
    struct key a = named("a", 0);
    struct lease *l = lease_grant(&t, &a, NULL, 0, 10);
    for (int i = 0; i < 5; i++) {
        w[i].wake = on_wake;
        lease_join(l, &w[i]);
    }
    lease_leave(l, &w[2]);
    assert_int_equal(l->waiting, 4);
    lease_end(&t, l, &woken);
    static const int order[] = {0, 1, 3, 4};
    int i = 0;
    for (struct list *n = woken.next; n != &woken; n = n->next) {
        assert_ptr_equal(LIST_ENTRY(n, struct lease_waiter, node), &w[order[i++]]);
    }
    assert_int_equal(i, 4);
    assert_false(w[2].woken);
    woken_count = 0;
    lease_wake(&woken);
    assert_int_equal(woken_count, 4);
}

static void an_owner_counts_its_leases_and_outlives_its_session(void **state) {
    (void)state;
    struct lease_table t = {0};
    struct list woken;
    list_init(&woken);
    struct key a = named("a", 0), b = named("b", 0);
    struct lease_owner *o = lease_owner_create(1);
    assert_int_equal(lease_owner_live(NULL, 0), 0);
    assert_int_equal(lease_owner_live(o, 0), 0);
    struct lease *la = lease_grant(&t, &a, o, 0, 200), *lb = lease_grant(&t, &b, o, 50, 100);
    assert_int_equal(lease_owner_live(o, 50), 2);
    lease_end(&t, lb, &woken);
    assert_int_equal(lease_owner_live(o, 199), 1);
    assert_int_equal(lease_owner_live(o, 200), 0); /* past the last deadline, though nobody has ended it */
    lease_owner_unref(o); /* the session closes */
    lease_end(&t, la, &woken); /* and its last lease ends: freed now, as the leak checker sees */
    lease_owner_unref(NULL);
}

static void the_table_is_a_map_of_keys(void **state) {
    (void)state;
    enum { KEYS = 500 };
    static struct lease *model[KEYS];
    static char names[KEYS][16];
    struct lease_table t = {0};
    struct list woken;
    list_init(&woken);
    uint32_t count = 0;
    rng_seed(9);
    for (int step = 0; step < 200000; step++) {
        int i = (int)rng_below(KEYS);
        snprintf(names[i], sizeof(names[i]), "k%d", i);
        struct key key = named(names[i], (uint8_t)(i % 3));
        assert_ptr_equal(lease_find(&t, &key), model[i]);
        if (model[i] == NULL) {
            model[i] = lease_grant(&t, &key, NULL, step, step + 10);
            count++;
        } else {
            assert_ptr_equal(lease_by_token(&t, key.hash, model[i]->token), model[i]);
            lease_end(&t, model[i], &woken);
            model[i] = NULL;
            count--;
        }
        assert_int_equal(t.count, count);
    }
    for (int i = 0; i < KEYS; i++) {
        if (model[i] != NULL) {
            lease_end(&t, model[i], &woken);
        }
    }
    assert_int_equal(t.count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lease_is_found_by_key_and_by_token),
        cmocka_unit_test(who_waits_is_woken_in_order_when_it_ends),
        cmocka_unit_test(an_owner_counts_its_leases_and_outlives_its_session),
        cmocka_unit_test(the_table_is_a_map_of_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
