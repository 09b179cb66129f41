/* SPDX-License-Identifier: BSD-3-Clause */
/* test_list: the intrusive list against an array of numbers. */
#include "tests/unit/check.h"

#include "src/base/list.h"
#include "src/base/rng.h"

enum { NODES = 40, STEPS = 20000 };

struct item {
    int number;
    struct list node;
    bool in;
};

static struct item items[NODES];
static int order[NODES], count;

static void check(struct list *head) {
    int i = 0;
    for (struct list *n = head->next; n != head; n = n->next, i++) {
        assert_true(i < count);
        assert_int_equal(LIST_ENTRY(n, struct item, node)->number, order[i]);
        assert_ptr_equal(n->next->prev, n);
    }
    assert_int_equal(i, count);
    assert_int_equal(list_empty(head), count == 0);
}

static void forget(int at) {
    items[order[at]].in = false;
    memmove(&order[at], &order[at + 1], (size_t)(count - at - 1) * sizeof(*order));
    count--;
}

static void step(struct list *head) {
    struct item *it = &items[rng_below(NODES)];
    uint64_t what = rng_below(4);
    if (what == 0) {
        struct list *n = list_pop_front(head);
        assert_int_equal(n != NULL, count > 0);
        if (n != NULL) {
            assert_int_equal(LIST_ENTRY(n, struct item, node)->number, order[0]);
            forget(0);
        }
    } else if (it->in) {
        int at = 0;
        while (order[at] != it->number) {
            at++;
        }
        list_remove(&it->node);
        list_remove(&it->node); /* a second time is harmless */
        forget(at);
    } else if (what == 1) {
        list_push_front(head, &it->node);
        memmove(&order[1], &order[0], (size_t)count * sizeof(*order));
        order[0] = it->number;
        it->in = true;
        count++;
    } else {
        list_push_back(head, &it->node);
        order[count++] = it->number;
        it->in = true;
    }
}

static void list_agrees_with_an_array(void **state) {
    (void)state;
    struct list head;
    list_init(&head);
    rng_seed(3);
    for (int i = 0; i < NODES; i++) {
        items[i].number = i;
        list_init(&items[i].node);
    }
    check(&head);
    for (int i = 0; i < STEPS; i++) {
        step(&head);
        check(&head);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(list_agrees_with_an_array)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
