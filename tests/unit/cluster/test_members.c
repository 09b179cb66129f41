/* SPDX-License-Identifier: BSD-3-Clause */
/* test_members: a cluster on a simulated network and clock: it agrees, soon, whatever is lost, cut, killed or hung. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "tests/support/members_net.h"

enum { TIMEOUT = 2000 };

static struct net *start_all(unsigned n, uint64_t seed, unsigned seeds) {
    struct net *net = net_create(n, seed, TIMEOUT);
    for (unsigned i = 0; i < n; i++) {
        net_start(net, i, seeds);
    }
    return net;
}

/* All running nodes agree within so many timeouts. */
static void assert_agrees_within(struct net *net, int timeouts) {
    assert_in_range(net_run_until(net, net_agrees, (int64_t)timeouts * TIMEOUT), 0, (int64_t)timeouts * TIMEOUT);
}

/* Whether all running nodes see node k in that state; -1: not at all. */
static unsigned watched;
static int wanted;

static bool all_see(const struct net *net) {
    for (unsigned i = 0; i < net->n; i++) {
        if (i != watched && net->nodes[i].members != NULL && !net->nodes[i].hung && net_state(net, i, watched) != wanted) {
            return false;
        }
    }
    return true;
}

static int64_t run_until_seen(struct net *net, unsigned node, int state, int64_t most_ms) {
    watched = node;
    wanted = state;
    return net_run_until(net, all_see, most_ms);
}

/* ---- forming ---- */

static void members_is_a_ring_of_one_at_once_when_alone(void **state) {
    (void)state;
    struct net *net = start_all(1, 1, 0);
    assert_true(net_agrees(net));
    assert_true(members_joined(net->nodes[0].members));
    net_run(net, 10 * TIMEOUT);
    assert_int_equal(net->sent, 0);
    net_destroy(&net);
}

static void members_alone_among_its_seeds_stops_waiting(void **state) {
    (void)state;
    struct net *net = net_create(3, 1, TIMEOUT);
    net_start(net, 0, 3);
    net_run(net, TIMEOUT + 200);
    assert_true(members_joined(net->nodes[0].members));
    assert_true(net_agrees(net));
    net_destroy(&net);
}

static void members_agree_from_a_list_of_all(void **state) {
    (void)state;
    for (unsigned n = 2; n <= 12; n++) {
        struct net *net = start_all(n, n, n);
        assert_agrees_within(net, 2);
        assert_int_equal(net->nodes[0].ring->n, n);
        net_destroy(&net);
    }
}

static void members_agree_from_one_seed(void **state) {
    (void)state;
    struct net *net = start_all(12, 3, 1);
    assert_agrees_within(net, 3);
    net_destroy(&net);
}

static void members_agree_though_messages_are_lost_and_late(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct net *net = net_create(10, seed, TIMEOUT);
        net->loss_pct = 20;
        net->delay_max_ms = 200;
        for (unsigned i = 0; i < 10; i++) {
            net_start(net, i, 10);
        }
        assert_agrees_within(net, 6);
        net_destroy(&net);
    }
}

static void members_join_one_at_a_time(void **state) {
    (void)state;
    struct net *net = net_create(8, 5, TIMEOUT);
    uint64_t version = 0;
    for (unsigned i = 0; i < 8; i++) {
        net_start(net, i, i == 0 ? 0 : 1);
        assert_agrees_within(net, 2);
        assert_true(net->nodes[0].ring->version > version);
        version = net->nodes[0].ring->version;
    }
    net_destroy(&net);
}

static void members_learn_their_address_from_others(void **state) {
    (void)state;
    struct net *net = start_all(3, 6, 3);
    assert_agrees_within(net, 2);
    for (unsigned i = 0; i < 3; i++) {
        assert_string_equal(members_self(net->nodes[i].members)->addr.host, net->nodes[i].addr.host);
    }
    net_destroy(&net);
}

static void members_meet_each_other(void **state) {
    (void)state;
    struct net *net = start_all(4, 7, 0);
    for (unsigned i = 1; i < 4; i++) {
        members_meet(net->nodes[0].members, &net->nodes[i].addr, net->now_ms);
    }
    assert_agrees_within(net, 2);
    net_destroy(&net);
}

/* ---- quiet ---- */

static void members_change_nothing_in_peace(void **state) {
    (void)state;
    struct net *net = start_all(10, 8, 10);
    assert_agrees_within(net, 2);
    net_run(net, 2 * TIMEOUT);
    uint64_t version = net->nodes[0].ring->version;
    unsigned published = net->nodes[3].published;
    struct members_stats before, after;
    members_stats_read(net->nodes[3].members, &before);
    net_run(net, 60 * TIMEOUT);
    members_stats_read(net->nodes[3].members, &after);
    assert_int_equal(net->nodes[0].ring->version, version);
    assert_int_equal(net->nodes[3].published, published);
    assert_int_equal(after.syncs, before.syncs);
    assert_int_equal(after.suspected, 0);
    net_destroy(&net);
}

static void members_do_not_mind_a_tenth_of_losses(void **state) {
    (void)state;
    struct net *net = start_all(10, 9, 10);
    assert_agrees_within(net, 2);
    uint64_t version = net->nodes[0].ring->version;
    net->loss_pct = 10;
    net_run(net, 100 * TIMEOUT);
    for (unsigned i = 0; i < 10; i++) {
        struct members_stats s;
        members_stats_read(net->nodes[i].members, &s);
        assert_int_equal(s.died, 0);
        assert_int_equal(net->nodes[i].ring->version, version);
    }
    net_destroy(&net);
}

/* ---- failures ---- */

static void members_pass_over_a_node_that_died_and_keep_the_ring(void **state) {
    (void)state;
    struct net *net = start_all(6, 10, 6);
    assert_agrees_within(net, 2);
    net_run(net, TIMEOUT);
    uint64_t version = net->nodes[0].ring->version;
    struct ring *before = ring_ref(net->nodes[0].ring);
    net_kill(net, 4);
    int64_t suspected = run_until_seen(net, 4, NODE_SUSPECT, TIMEOUT);
    assert_in_range(suspected, 1, TIMEOUT);
    int64_t died = run_until_seen(net, 4, NODE_DEAD, TIMEOUT);
    assert_in_range(suspected + died, TIMEOUT / 2, TIMEOUT * 3 / 2);
    struct ring *ring = net->nodes[0].ring;
    assert_int_equal(ring->version, version);
    assert_memory_equal(ring->owner, before->owner, sizeof(ring->owner));
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        assert_true(strcmp(ring_serving(ring, slot)->id, net->nodes[4].id) != 0);
    }
    net_run(net, 100 * TIMEOUT); /* and it stays so */
    assert_int_equal(net->nodes[0].ring->version, version);
    ring_unref(before);
    net_destroy(&net);
}

static void members_take_back_a_node_that_was_dead(void **state) {
    (void)state;
    struct net *net = start_all(6, 11, 6);
    assert_agrees_within(net, 2);
    uint64_t version = net->nodes[0].ring->version;
    net_kill(net, 4);
    assert_in_range(run_until_seen(net, 4, NODE_DEAD, 2 * TIMEOUT), 1, 2 * TIMEOUT);
    net_start(net, 4, 6);
    assert_in_range(run_until_seen(net, 4, NODE_ALIVE, 3 * TIMEOUT), 1, 3 * TIMEOUT);
    assert_agrees_within(net, 3);
    assert_int_equal((uint32_t)net->nodes[0].ring->version, (uint32_t)version); /* the same set, and the same owners */
    net_destroy(&net);
}

static void members_think_a_hung_node_dead_until_it_contradicts(void **state) {
    (void)state;
    struct net *net = start_all(6, 12, 6);
    assert_agrees_within(net, 2);
    net->delay_min_ms = net->delay_max_ms = 200; /* so that it is waiting for answers when it falls asleep */
    net_run(net, TIMEOUT);
    net->nodes[2].hung = true;
    assert_in_range(run_until_seen(net, 2, NODE_DEAD, 2 * TIMEOUT), 1, 2 * TIMEOUT);
    net_run(net, 10 * TIMEOUT);
    net->nodes[2].hung = false;
    assert_in_range(run_until_seen(net, 2, NODE_ALIVE, 4 * TIMEOUT), 1, 4 * TIMEOUT);
    assert_true(net->nodes[2].events[MEMBERS_DOUBTED] > 0);
    net_run(net, 4 * TIMEOUT);
    struct members_stats s;
    members_stats_read(net->nodes[2].members, &s);
    assert_int_equal(s.suspected, 0); /* it blamed nobody for its own sleep */
    assert_true(net_agrees(net));
    net_destroy(&net);
}

/* One of five is cut off and gives all others up: what these have counts, and they keep it; it is the one who missed things. */
static void members_do_not_take_the_word_of_one_who_was_apart(void **state) {
    (void)state;
    struct net *net = start_all(5, 15, 5);
    assert_agrees_within(net, 2);
    net_run(net, 3 * TIMEOUT);
    for (unsigned i = 1; i < 5; i++) {
        net_cut(net, 0, i, true);
    }
    net_run(net, 4 * TIMEOUT);
    for (unsigned i = 1; i < 5; i++) {
        assert_int_equal(net_state(net, 0, i), NODE_DEAD);
        assert_int_equal(net_state(net, i, 0), NODE_DEAD);
        net_cut(net, 0, i, false);
    }
    net_run(net, 4 * TIMEOUT);
    assert_true(net_agrees(net));
    assert_true(net->nodes[0].events[MEMBERS_DOUBTED] > 0);
    assert_int_equal(net->nodes[0].events[MEMBERS_BLAMED], 0);
    unsigned blamed = 0;
    for (unsigned i = 1; i < 5; i++) {
        assert_int_equal(net->nodes[i].events[MEMBERS_DOUBTED], 0);
        blamed += net->nodes[i].events[MEMBERS_BLAMED];
    }
    assert_true(blamed > 0);
    net_destroy(&net);
}

/* Of two nodes neither is most: both drop what they have. */
static void members_of_a_pair_doubt_each_other(void **state) {
    (void)state;
    struct net *net = start_all(2, 16, 2);
    assert_agrees_within(net, 2);
    net_run(net, 3 * TIMEOUT);
    net_cut(net, 0, 1, true);
    net_run(net, 4 * TIMEOUT);
    net_cut(net, 0, 1, false);
    net_run(net, 4 * TIMEOUT);
    assert_true(net_agrees(net));
    assert_true(net->nodes[0].events[MEMBERS_DOUBTED] > 0 && net->nodes[1].events[MEMBERS_DOUBTED] > 0);
    net_destroy(&net);
}

/* It may have what it had then, on its disk. */
static void members_that_were_gone_hear_of_it_in_their_next_life(void **state) {
    (void)state;
    struct net *net = start_all(4, 17, 4);
    assert_agrees_within(net, 2);
    members_leave_for_good(net->nodes[3].members, net->now_ms);
    net_kill(net, 3);
    net_run(net, 2 * TIMEOUT);
    assert_int_equal(net_state(net, 0, 3), -1);
    net_start(net, 3, 4);
    assert_agrees_within(net, 3);
    assert_true(net->nodes[3].events[MEMBERS_DOUBTED] > 0);
    unsigned doubts = net->nodes[3].events[MEMBERS_DOUBTED];
    net_run(net, 10 * TIMEOUT);
    assert_int_equal(net->nodes[3].events[MEMBERS_DOUBTED], doubts); /* and it was that once */
    net_kill(net, 2); /* one that fell, and is expected back, is told slot by slot */
    net_run(net, 3 * TIMEOUT);
    net_start(net, 2, 4);
    assert_agrees_within(net, 3);
    assert_int_equal(net->nodes[2].events[MEMBERS_DOUBTED], 0);
    net_destroy(&net);
}

static void members_count_failed_calls_at_once(void **state) {
    (void)state;
    struct net *net = start_all(4, 13, 4);
    assert_agrees_within(net, 2);
    net_run(net, TIMEOUT);
    for (int i = 0; i < 2; i++) {
        members_failed(net->nodes[0].members, net->nodes[1].id, net->now_ms);
        assert_int_equal(net_state(net, 0, 1), NODE_ALIVE);
    }
    members_failed(net->nodes[0].members, net->nodes[1].id, net->now_ms);
    assert_int_equal(net_state(net, 0, 1), NODE_SUSPECT); /* not a millisecond later */
    assert_int_equal(net_state(net, 2, 1), NODE_ALIVE);
    /* one answer is not enough, two are */
    assert_in_range(run_until_seen(net, 1, NODE_ALIVE, 2 * TIMEOUT), TIMEOUT / 4, 2 * TIMEOUT);
    struct members_stats s;
    members_stats_read(net->nodes[0].members, &s);
    assert_int_equal(s.suspected, 0);
    net_destroy(&net);
}

/* A cannot reach B, the others can: A uses stand-ins, and nobody gives B up. */
static void members_see_for_themselves_when_one_cable_is_cut(void **state) {
    (void)state;
    struct net *net = start_all(5, 14, 5);
    assert_agrees_within(net, 2);
    net_cut_one_way(net, 0, 1, true);
    net_run(net, 20 * TIMEOUT);
    assert_int_equal(net_state(net, 0, 1), NODE_SUSPECT);
    for (unsigned i = 0; i < 5; i++) {
        struct members_stats s;
        members_stats_read(net->nodes[i].members, &s);
        assert_int_equal(s.suspected, 0);
        assert_true(i < 2 || net_state(net, i, 1) == NODE_ALIVE);
    }
    net_cut_one_way(net, 0, 1, false);
    assert_in_range(run_until_seen(net, 1, NODE_ALIVE, 3 * TIMEOUT), 1, 3 * TIMEOUT);
    net_destroy(&net);
}

static void cut_in_two(struct net *net, unsigned first, bool cut) {
    for (unsigned a = 0; a < first; a++) {
        for (unsigned b = first; b < net->n; b++) {
            net_cut(net, a, b, cut);
        }
    }
}

static void members_serve_on_in_a_minority_and_removes_nobody(void **state) {
    (void)state;
    struct net *net = net_create(7, 15, TIMEOUT);
    net->remove_after_ms = 10 * TIMEOUT;
    for (unsigned i = 0; i < 7; i++) {
        net_start(net, i, 7);
    }
    assert_agrees_within(net, 2);
    cut_in_two(net, 2, true);
    net_run(net, 30 * TIMEOUT);
    assert_int_equal(net->nodes[0].ring->n, 7); /* two of seven */
    assert_int_equal(net->nodes[6].ring->n, 5); /* five of seven */
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        const char *id = ring_serving(net->nodes[0].ring, slot)->id;
        assert_true(strcmp(id, net->nodes[0].id) == 0 || strcmp(id, net->nodes[1].id) == 0);
    }
    cut_in_two(net, 2, false);
    assert_agrees_within(net, 6);
    assert_int_equal(net->nodes[6].ring->n, 7);
    net_destroy(&net);
}

static void members_of_two_halves_find_each_other_again(void **state) {
    (void)state;
    for (uint64_t seed = 20; seed < 24; seed++) {
        struct net *net = net_create(8, seed, TIMEOUT);
        net->remove_after_ms = 3 * TIMEOUT;
        for (unsigned i = 0; i < 8; i++) {
            net_start(net, i, 1); /* only the first is named in their lists */
        }
        assert_agrees_within(net, 3);
        cut_in_two(net, 4, true);
        net_run(net, 20 * TIMEOUT);
        assert_int_equal(net->nodes[0].ring->n, 8); /* no majority anywhere */
        assert_int_equal(net->nodes[7].ring->n, 8);
        cut_in_two(net, 4, false);
        assert_agrees_within(net, 8);
        net_destroy(&net);
    }
}

/* What it missed is old news to the others: only their tables tell it. */
static void members_hear_of_a_removal_they_missed(void **state) {
    (void)state;
    struct net *net = net_create(6, 25, TIMEOUT);
    net->remove_after_ms = 3 * TIMEOUT;
    for (unsigned i = 0; i < 6; i++) {
        net_start(net, i, 5);
    }
    assert_agrees_within(net, 2);
    cut_in_two(net, 1, true);
    net_kill(net, 5);
    net_run(net, 60 * TIMEOUT);
    assert_int_equal(net_state(net, 0, 5), NODE_DEAD); /* one of six */
    assert_int_equal(net_state(net, 1, 5), -1);
    cut_in_two(net, 1, false);
    assert_agrees_within(net, 6);
    net_destroy(&net);
}

/* ---- memory of a former life ---- */

static struct net *start_with_memory(uint64_t seed, int64_t remove_after_ms) {
    struct net *net = net_create(5, seed, TIMEOUT);
    net->memory = true;
    net->lots = true;
    net->remove_after_ms = remove_after_ms;
    for (unsigned i = 0; i < 5; i++) {
        net_start(net, i, 5);
    }
    assert_agrees_within(net, 2);
    return net;
}

/* Node 0 begins anew while nobody hears it. */
static void restart_cut_off(struct net *net) {
    cut_in_two(net, 1, true);
    net_kill(net, 0);
    net_run(net, 2 * TIMEOUT);
    net_start(net, 0, 5);
}

static void members_that_begin_cut_off_are_a_minority(void **state) {
    (void)state;
    struct net *net = start_with_memory(70, 0);
    restart_cut_off(net);
    net_run(net, TIMEOUT / 2);
    assert_true(ring_find(net->nodes[0].ring, net->nodes[4].id) != RING_NONE); /* from the first moment on */
    net_run(net, 4 * TIMEOUT);
    const struct ring *alone = net->nodes[0].ring, *rest = net->nodes[1].ring;
    assert_int_equal(alone->n, 5);
    assert_memory_equal(alone->owner, rest->owner, sizeof(rest->owner));
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        assert_string_equal(ring_serving(alone, slot)->id, net->nodes[0].id);
    }
    cut_in_two(net, 1, false);
    assert_agrees_within(net, 6);
    assert_int_equal(net->nodes[0].ring->n, 5);
    assert_int_equal(net->nodes[0].events[MEMBERS_DOUBTED], 0); /* it was expected back: it is told slot by slot, and tells */
    net_destroy(&net);
}

/* Others have had its share, and have noted nothing for it. */
static void members_that_begin_cut_off_hear_that_they_were_removed(void **state) {
    (void)state;
    struct net *net = start_with_memory(71, 5 * TIMEOUT);
    restart_cut_off(net);
    net_run(net, 30 * TIMEOUT);
    assert_int_equal(net_state(net, 1, 0), -1);
    assert_int_equal(net->nodes[0].ring->n, 5);
    cut_in_two(net, 1, false);
    assert_agrees_within(net, 8);
    assert_int_equal(net->nodes[0].ring->n, 5);
    assert_true(net->nodes[0].events[MEMBERS_DOUBTED] > 0);
    net_destroy(&net);
}

static void members_find_each_other_by_what_they_remember(void **state) {
    (void)state;
    struct net *net = start_with_memory(72, 0);
    uint32_t digest = (uint32_t)net->nodes[0].ring->version;
    for (unsigned i = 0; i < 5; i++) {
        net_kill(net, i);
    }
    for (unsigned i = 0; i < 5; i++) {
        net_start(net, i, 0); /* no address is given */
        net_run(net, i * TIMEOUT / 10);
    }
    assert_agrees_within(net, 4);
    assert_int_equal((uint32_t)net->nodes[0].ring->version, digest);
    net_destroy(&net);
}

/* What is remembered is old: it is not told to a cluster where it is not known. */
static void members_believe_the_cluster_they_find(void **state) {
    (void)state;
    struct net *net = start_with_memory(73, 0);
    for (unsigned i = 0; i < 5; i++) {
        net_kill(net, i);
    }
    net->memory = false;
    net_run(net, TIMEOUT); /* until nothing is under way */
    for (unsigned i = 0; i < 3; i++) {
        net_start(net, i, 3);
    }
    assert_agrees_within(net, 2);
    net->memory = true;
    net_start(net, 4, 3);
    net_run(net, 3 * TIMEOUT);
    assert_true(net_agrees(net));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(net_state(net, i, 3), -1);
    }
    assert_int_equal(net_state(net, 4, 3), -1);
    net_destroy(&net);
}

/* ---- leaving ---- */

static void members_leave_and_come_back(void **state) {
    (void)state;
    struct net *net = start_all(5, 30, 5);
    assert_agrees_within(net, 2);
    members_leave(net->nodes[3].members, net->now_ms);
    assert_in_range(run_until_seen(net, 3, NODE_LEAVING, TIMEOUT), 0, TIMEOUT);
    net_run(net, TIMEOUT);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(net->nodes[i].ring->nodes[ring_find(net->nodes[i].ring, net->nodes[3].id)].slots, 0);
    }
    members_meet(net->nodes[3].members, &net->nodes[0].addr, net->now_ms);
    assert_in_range(run_until_seen(net, 3, NODE_ALIVE, 2 * TIMEOUT), 0, 2 * TIMEOUT);
    members_leave(net->nodes[3].members, net->now_ms);
    members_leave_for_good(net->nodes[3].members, net->now_ms);
    net_kill(net, 3);
    assert_in_range(run_until_seen(net, 3, -1, TIMEOUT), 0, TIMEOUT);
    assert_agrees_within(net, 1);
    net_start(net, 3, 5); /* the next life of the same node */
    assert_agrees_within(net, 3);
    net_destroy(&net);
}

/* Whatever became of it meanwhile: a node has the slots it had when it is back. */
static void members_take_one_lot_for_life(void **state) {
    (void)state;
    struct net *net = net_create(6, 33, TIMEOUT);
    net->lots = true;
    net->remove_after_ms = 10 * TIMEOUT;
    for (unsigned i = 0; i < 6; i++) {
        net_start(net, i, i == 0 ? 0 : 1);
        assert_agrees_within(net, 2);
        assert_int_equal(net->nodes[i].lots_taken, 1);
        const struct ring *ring = net->nodes[0].ring;
        assert_int_equal(ring->nodes[ring_find(ring, net->nodes[i].id)].lot, net->nodes[i].lot);
    }
    uint32_t digest = (uint32_t)net->nodes[0].ring->version;
    net_kill(net, 4); /* it falls and comes back */
    net_start(net, 4, 6);
    assert_agrees_within(net, 3);
    assert_int_equal(net->nodes[4].lots_taken, 1);
    assert_int_equal((uint32_t)net->nodes[0].ring->version, digest);
    net_kill(net, 4); /* it falls, and is given up */
    assert_in_range(run_until_seen(net, 4, -1, 40 * TIMEOUT), 0, 40 * TIMEOUT);
    net_start(net, 4, 6);
    assert_agrees_within(net, 3);
    assert_int_equal(net->nodes[4].lots_taken, 1);
    assert_int_equal((uint32_t)net->nodes[0].ring->version, digest);
    members_leave(net->nodes[3].members, net->now_ms);
    assert_in_range(run_until_seen(net, 3, NODE_LEAVING, TIMEOUT), 0, TIMEOUT);
    members_meet(net->nodes[3].members, &net->nodes[0].addr, net->now_ms);
    assert_in_range(run_until_seen(net, 3, NODE_ALIVE, 2 * TIMEOUT), 0, 2 * TIMEOUT);
    assert_agrees_within(net, 3);
    assert_int_equal(net->nodes[3].lots_taken, 1);
    assert_int_equal((uint32_t)net->nodes[0].ring->version, digest);
    for (unsigned i = 0; i < 6; i++) {
        const struct ring *ring = net->nodes[i].ring;
        assert_int_equal(ring->nodes[ring_find(ring, net->nodes[3].id)].lot, net->nodes[3].lot);
    }
    net_destroy(&net);
}

/* Started at once, each finds its lot by itself, and they are the ones that all would find who know all. */
static void members_that_begin_at_once_take_lots_that_fit(void **state) {
    (void)state;
    enum { FLEET = 12 };
    struct net *net = net_create(FLEET, 34, TIMEOUT);
    unsigned same = 0;
    struct ring_node nodes[FLEET];
    memset(nodes, 0, sizeof(nodes));
    net->lots = true;
    for (unsigned i = 0; i < FLEET; i++) {
        net_start(net, i, 3);
        net_run(net, i % 3 * TIMEOUT / 200);
        memcpy(nodes[i].id, net->nodes[i].id, sizeof(nodes[i].id));
        nodes[i].weight = 100;
        nodes[i].state = NODE_JOINING;
    }
    net_run(net, 3 * TIMEOUT);
    assert_true(net_agrees(net));
    for (unsigned i = 0; i < FLEET; i++) {
        assert_int_equal(net->nodes[i].lots_taken, 1);
        same += net->nodes[i].lot == ring_choose_lot(nodes, FLEET, 0, i);
        assert_in_range(net->nodes[0].ring->nodes[i].slots, RING_SLOTS * 95 / (FLEET * 100), RING_SLOTS * 105 / (FLEET * 100) + 1);
    }
    assert_int_equal(same, FLEET);
    net_destroy(&net);
}

static void members_forget_a_node_and_it_keeps_away(void **state) {
    (void)state;
    struct net *net = start_all(5, 31, 5);
    assert_agrees_within(net, 2);
    assert_false(members_forget(net->nodes[0].members, net->nodes[0].id, net->now_ms));
    assert_false(members_forget(net->nodes[0].members, "0123456789012345678901234567890123456789", net->now_ms));
    assert_true(members_forget(net->nodes[0].members, net->nodes[2].id, net->now_ms));
    assert_in_range(run_until_seen(net, 2, -1, TIMEOUT), 0, TIMEOUT);
    net_run(net, 30 * TIMEOUT);
    assert_true(all_see(net));
    assert_int_equal(net->nodes[2].ring->n, 1);
    assert_int_equal(net->nodes[2].events[MEMBERS_FORGOTTEN], 1);
    members_meet(net->nodes[2].members, &net->nodes[0].addr, net->now_ms);
    assert_true(net->nodes[2].events[MEMBERS_DOUBTED] > 0); /* the others had its share meanwhile */
    assert_agrees_within(net, 3);
    assert_int_equal(net->nodes[0].ring->n, 5);
    net_destroy(&net);
}

static void members_remove_who_is_dead_for_long(void **state) {
    (void)state;
    struct net *net = net_create(5, 32, TIMEOUT);
    net->remove_after_ms = 5 * TIMEOUT;
    for (unsigned i = 0; i < 5; i++) {
        net_start(net, i, 5);
    }
    assert_agrees_within(net, 2);
    net_kill(net, 1);
    assert_in_range(run_until_seen(net, 1, -1, 8 * TIMEOUT), 5 * TIMEOUT, 8 * TIMEOUT);
    net_run(net, TIMEOUT);
    assert_true(net_agrees(net));
    net_start(net, 1, 5);
    assert_agrees_within(net, 3);
    net_destroy(&net);
}

static void members_remove_at_once_whom_the_driver_does_not_list(void **state) {
    (void)state;
    struct net *net = start_all(4, 33, 4);
    assert_agrees_within(net, 2);
    net_kill(net, 3);
    for (unsigned i = 0; i < 3; i++) {
        struct node_addr list[3] = {net->nodes[0].addr, net->nodes[1].addr, net->nodes[2].addr};
        members_set_seeds(net->nodes[i].members, list, 3, true, net->now_ms);
    }
    assert_in_range(run_until_seen(net, 3, -1, 2 * TIMEOUT), TIMEOUT / 2, 2 * TIMEOUT);
    net_destroy(&net);
}

static void members_keep_whom_the_driver_does_not_list_while_it_answers(void **state) {
    (void)state;
    struct net *net = start_all(3, 34, 3);
    assert_agrees_within(net, 2);
    members_set_seeds(net->nodes[0].members, NULL, 0, true, net->now_ms);
    net_run(net, 10 * TIMEOUT);
    assert_int_equal(net->nodes[0].ring->n, 3);
    net_destroy(&net);
}

/* A container that starts anew with an id of its own at the same address. */
static void members_replace_a_node_by_the_one_at_its_address(void **state) {
    (void)state;
    struct net *net = start_all(4, 35, 4);
    assert_agrees_within(net, 2);
    net_kill(net, 2);
    memset(net->nodes[2].id, 'e', NODE_ID_HEX);
    net_start(net, 2, 4);
    assert_in_range(net_run_until(net, net_agrees, 4 * TIMEOUT), 1, 4 * TIMEOUT);
    assert_int_equal(net->nodes[0].ring->n, 4);
    net_destroy(&net);
}

static void members_follow_a_weight(void **state) {
    (void)state;
    struct net *net = start_all(4, 36, 4);
    assert_agrees_within(net, 2);
    members_set_weight(net->nodes[1].members, 300, net->now_ms);
    net_run(net, TIMEOUT);
    assert_true(net_agrees(net));
    struct ring *ring = net->nodes[3].ring;
    assert_in_range(ring->nodes[ring_find(ring, net->nodes[1].id)].slots, RING_SLOTS / 2 * 95 / 100, RING_SLOTS / 2 * 105 / 100);
    net_destroy(&net);
}

static void members_tell_of_another_with_the_same_id(void **state) {
    (void)state;
    struct net *net = start_all(3, 37, 3);
    assert_agrees_within(net, 2);
    net_kill(net, 2);
    memcpy(net->nodes[2].id, net->nodes[1].id, sizeof(net->nodes[2].id));
    net_start(net, 2, 3);
    net_run(net, 20 * TIMEOUT);
    assert_true(net->nodes[1].events[MEMBERS_CLASH] + net->nodes[2].events[MEMBERS_CLASH] > 0);
    net_destroy(&net);
}

/* ---- anything at all ---- */

/* Nodes die, hang, come back, and cables are cut and mended at random under losses; when it is over, all agree soon. */
static void members_agree_after_any_chaos(void **state) {
    (void)state;
    for (uint64_t seed = 100; seed < 112; seed++) {
        struct net *net = net_create(9, seed, TIMEOUT);
        uint64_t random = seed;
        net->loss_pct = 5;
        net->delay_max_ms = 30;
        net->remove_after_ms = seed % 2 ? 4 * TIMEOUT : 0;
        for (unsigned i = 0; i < 9; i++) {
            net_start(net, i, 3);
        }
        for (int step = 0; step < 40; step++) {
            random = random * 6364136223846793005ULL + 1442695040888963407ULL;
            unsigned a = (unsigned)(random >> 33) % 9, b = (unsigned)(random >> 40) % 9;
            struct net_node *node = &net->nodes[a];
            switch ((random >> 50) % 6) {
            case 0:
                net_kill(net, a);
                break;
            case 1:
                net_start(net, a, 3);
                break;
            case 2:
                node->hung = node->members != NULL && !node->hung;
                break;
            case 3:
                if (node->members != NULL) {
                    members_failed(node->members, net->nodes[b].id, net->now_ms);
                }
                break;
            default:
                net_cut_one_way(net, a, b, (random >> 55) % 2);
            }
            net_run(net, (int64_t)(random >> 45) % TIMEOUT);
        }
        net->loss_pct = 0;
        for (unsigned i = 0; i < 9; i++) {
            net->nodes[i].hung = false;
            if (net->nodes[i].members == NULL) {
                net_start(net, i, 3);
            }
            for (unsigned k = 0; k < 9; k++) {
                net_cut_one_way(net, i, k, false);
            }
        }
        assert_agrees_within(net, 12);
        net_destroy(&net);
    }
}

/* ---- messages ---- */

static void count_one(void *ctx, const struct member_record *r, enum node_state state, int64_t heard_ms) {
    (void)r;
    (void)state;
    (void)heard_ms;
    ++*(unsigned *)ctx;
}

static unsigned known(const struct members *m) {
    unsigned n = 0;
    members_each(m, count_one, &n);
    return n;
}

static void members_refuse_what_is_no_message(void **state) {
    (void)state;
    struct net *net = start_all(2, 40, 2);
    assert_agrees_within(net, 2);
    struct member_record r = *members_self(net->nodes[1].members);
    struct members_message head = {.type = MEMBERS_PING, .records = 1, .to = net->nodes[0].addr};
    struct buf bytes = {0};
    memcpy(head.from, r.id, sizeof(r.id));
    members_put_head(&bytes, &head);
    members_put_record(&bytes, &r);
    struct members_message parsed;
    assert_true(members_parse(buf_slice(&bytes), &parsed));
    for (size_t n = 0; n < bytes.n; n++) {
        assert_false(members_parse(slice_make(bytes.p, n), &parsed));
    }
    buf_putc(&bytes, 0);
    assert_false(members_parse(buf_slice(&bytes), &parsed));
    struct members_stats before, after;
    members_stats_read(net->nodes[0].members, &before);
    members_receive(net->nodes[0].members, r.id, NULL, buf_slice(&bytes), net->now_ms);
    bytes.n--;
    members_receive(net->nodes[0].members, "0123456789012345678901234567890123456789", NULL, buf_slice(&bytes), net->now_ms);
    members_stats_read(net->nodes[0].members, &after);
    assert_int_equal(after.refused, before.refused + 2);
    bytes.n = 0; /* one that is not known and does not say where it is: nobody could call it */
    memset(r.id, 'e', sizeof(r.id) - 1);
    memset(r.addr.host, 0, sizeof(r.addr.host));
    memcpy(head.from, r.id, sizeof(r.id));
    members_put_head(&bytes, &head);
    members_put_record(&bytes, &r);
    members_receive(net->nodes[0].members, r.id, NULL, buf_slice(&bytes), net->now_ms);
    assert_int_equal(known(net->nodes[0].members), 2);
    members_receive(net->nodes[0].members, r.id, "10.0.0.9", buf_slice(&bytes), net->now_ms);
    assert_int_equal(known(net->nodes[0].members), 3);
    buf_free(&bytes);
    net_destroy(&net);
}

static void members_have_a_bound(void **state) {
    (void)state;
    struct net *net = start_all(1, 41, 0);
    struct members_message head = {.type = MEMBERS_ACK, .records = 1500, .to = net->nodes[0].addr};
    struct member_record r = {.addr = net->nodes[0].addr, .weight = 1, .intent = INTENT_JOINING};
    struct buf bytes = {0};
    memset(head.from, 'a', NODE_ID_HEX);
    members_put_head(&bytes, &head);
    for (unsigned i = 0; i < 1500; i++) {
        char id[NODE_ID_HEX + 1];
        snprintf(id, sizeof(id), "%040x", i + 1);
        memcpy(r.id, i == 0 ? head.from : id, sizeof(id));
        members_put_record(&bytes, &r);
    }
    members_receive(net->nodes[0].members, head.from, NULL, buf_slice(&bytes), net->now_ms);
    struct members_stats s;
    members_stats_read(net->nodes[0].members, &s);
    assert_int_equal(s.nodes, RING_MAX_NODES);
    assert_int_equal(s.overflow, 501);
    buf_free(&bytes);
    net_destroy(&net);
}

static void members_tell_whose_settings_differ(void **state) {
    (void)state;
    struct net *net = net_create(3, 77, TIMEOUT);
    for (unsigned i = 0; i < 3; i++) {
        net_start(net, i, 3);
    }
    assert_true(net_run_until(net, net_agrees, 10000) >= 0);
    uint64_t version = members_version(net->nodes[0].members);
    struct members *a = net->nodes[0].members;
    members_set_settings(net->nodes[2].members, (uint64_t)1 << 32 | 7); /* others, and other directives */
    net_run(net, 2000);
    struct members_stats s;
    members_stats_read(a, &s);
    assert_int_equal(s.differing, 1);
    assert_int_equal(net->nodes[0].events[MEMBERS_DIFFERS], 1); /* once, however many messages came */
    assert_int_equal(members_differs(a, net->nodes[2].id), DIFFER_POLICIES | DIFFER_DIRECTIVES);
    assert_int_equal(members_differs(a, net->nodes[1].id), 0);
    members_set_settings(a, (uint64_t)1 << 32 | 8);
    assert_int_equal(members_differs(a, net->nodes[2].id), DIFFER_POLICIES);
    assert_int_equal(members_differs(a, net->nodes[1].id), DIFFER_POLICIES | DIFFER_DIRECTIVES);
    members_set_settings(a, (uint64_t)1 << 32 | 7);
    members_set_settings(net->nodes[1].members, (uint64_t)1 << 32 | 7);
    net_run(net, 2000);
    members_stats_read(a, &s);
    assert_int_equal(s.differing, 0);
    assert_int_equal(members_version(a), version); /* the ring is as it was */
    net_destroy(&net);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(members_is_a_ring_of_one_at_once_when_alone),
                                       cmocka_unit_test(members_alone_among_its_seeds_stops_waiting),
                                       cmocka_unit_test(members_agree_from_a_list_of_all),
                                       cmocka_unit_test(members_agree_from_one_seed),
                                       cmocka_unit_test(members_agree_though_messages_are_lost_and_late),
                                       cmocka_unit_test(members_join_one_at_a_time),
                                       cmocka_unit_test(members_learn_their_address_from_others),
                                       cmocka_unit_test(members_meet_each_other),
                                       cmocka_unit_test(members_change_nothing_in_peace),
                                       cmocka_unit_test(members_do_not_mind_a_tenth_of_losses),
                                       cmocka_unit_test(members_pass_over_a_node_that_died_and_keep_the_ring),
                                       cmocka_unit_test(members_take_back_a_node_that_was_dead),
                                       cmocka_unit_test(members_think_a_hung_node_dead_until_it_contradicts),
                                       cmocka_unit_test(members_do_not_take_the_word_of_one_who_was_apart),
        cmocka_unit_test(members_of_a_pair_doubt_each_other),
        cmocka_unit_test(members_that_were_gone_hear_of_it_in_their_next_life),
        cmocka_unit_test(members_count_failed_calls_at_once),
                                       cmocka_unit_test(members_see_for_themselves_when_one_cable_is_cut),
                                       cmocka_unit_test(members_serve_on_in_a_minority_and_removes_nobody),
                                       cmocka_unit_test(members_of_two_halves_find_each_other_again),
                                       cmocka_unit_test(members_hear_of_a_removal_they_missed),
                                       cmocka_unit_test(members_that_begin_cut_off_are_a_minority),
                                       cmocka_unit_test(members_that_begin_cut_off_hear_that_they_were_removed),
                                       cmocka_unit_test(members_find_each_other_by_what_they_remember),
                                       cmocka_unit_test(members_believe_the_cluster_they_find),
                                       cmocka_unit_test(members_leave_and_come_back),
                                       cmocka_unit_test(members_take_one_lot_for_life),
                                       cmocka_unit_test(members_that_begin_at_once_take_lots_that_fit),
                                       cmocka_unit_test(members_forget_a_node_and_it_keeps_away),
                                       cmocka_unit_test(members_remove_who_is_dead_for_long),
                                       cmocka_unit_test(members_tell_whose_settings_differ),
                                       cmocka_unit_test(members_remove_at_once_whom_the_driver_does_not_list),
                                       cmocka_unit_test(members_keep_whom_the_driver_does_not_list_while_it_answers),
                                       cmocka_unit_test(members_replace_a_node_by_the_one_at_its_address),
                                       cmocka_unit_test(members_follow_a_weight),
                                       cmocka_unit_test(members_tell_of_another_with_the_same_id),
                                       cmocka_unit_test(members_agree_after_any_chaos),
                                       cmocka_unit_test(members_refuse_what_is_no_message),
                                       cmocka_unit_test(members_have_a_bound)};
    return cmocka_run_group_tests_name("members", tests, NULL, NULL);
}
