/* SPDX-License-Identifier: BSD-3-Clause */
/* test_peer_count: one count for all who have to do with a node, the sum of the loops, a smoothed time. */
#include "tests/unit/check.h"

#include "src/server/peer_count.h"

#define NODE_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define NODE_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void peer_counts_are_shared_and_summed(void **state) {
    struct peer_counts all;
    (void)state;
    peer_counts_init(&all, 2);
    struct peer_count *one = peer_counts_take(&all, NODE_A), *two = peer_counts_take(&all, NODE_A), *other = peer_counts_take(&all, NODE_B);
    assert_ptr_equal(one, two);
    assert_ptr_not_equal(one, other);
    STAT_ADD(one->cells[0].calls, 3);
    STAT_ADD(one->cells[1].calls, 4);
    STAT_ADD(one->cells[1].lost, 1);
    peer_cell_answered(&one->cells[0], 100);
    struct peer_sum sum = peer_counts_read(&all, NODE_A);
    assert_int_equal(sum.calls, 7);
    assert_int_equal(sum.lost, 1);
    assert_int_equal(sum.answers, 1);
    assert_int_equal(sum.rtt_us, 100); /* a loop that has asked nothing does not count */
    assert_int_equal(peer_counts_read(&all, NODE_B).calls, 0);
    peer_counts_leave(&all, &one);
    assert_null(one);
    assert_int_equal(peer_counts_read(&all, NODE_A).calls, 7); /* the other user has it */
    peer_counts_leave(&all, &two);
    assert_int_equal(peer_counts_read(&all, NODE_A).calls, 0);
    peer_counts_leave(&all, &other);
    peer_counts_leave(&all, &other); /* none */
    peer_counts_fini(&all);
}

static void peer_cell_smoothes_the_time(void **state) {
    struct peer_cell cell = {0};
    (void)state;
    peer_cell_answered(&cell, 800);
    assert_int_equal(STAT_GET(cell.rtt_us), 800);
    peer_cell_answered(&cell, 1600);
    assert_int_equal(STAT_GET(cell.rtt_us), 900);
    for (int i = 0; i < 100; i++) {
        peer_cell_answered(&cell, 200);
    }
    assert_in_range(STAT_GET(cell.rtt_us), 200, 204);
    assert_int_equal(STAT_GET(cell.answers), 102);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(peer_counts_are_shared_and_summed), cmocka_unit_test(peer_cell_smoothes_the_time)};
    return cmocka_run_group_tests_name("peer_count", tests, NULL, NULL);
}
