/* SPDX-License-Identifier: BSD-3-Clause */
/* test_ring: agreement whatever the order and the past, even loads, few moves, and who stands in for whom. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "cluster/ring.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/base/sha256.h"

enum { MOST = 200, GROWN = 100 };

/* Node number i of a family: its id is a hash, as real ones are random. */
static struct ring_node make_node(unsigned family, unsigned i) {
    struct ring_node node = {.port = 7000, .bus_port = 17000, .weight = 100};
    char text[64], hex[SHA256_HEX + 1];
    snprintf(text, sizeof(text), "%u/%u", family, i);
    sha256_hex(slice_cstr(text), hex);
    memcpy(node.id, hex, NODE_ID_HEX);
    snprintf(node.host, sizeof(node.host), "10.0.%u.%u", i / 256, i % 256);
    return node;
}

static struct ring *make_ring(unsigned family, unsigned n) {
    struct ring_node nodes[MOST];
    for (unsigned i = 0; i < n; i++) {
        nodes[i] = make_node(family, i);
    }
    nodes[0].self = true;
    return ring_build(nodes, n, 0, 1, NULL, 0);
}

static unsigned moved(const struct ring *a, const struct ring *b) {
    unsigned n = 0;
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        n += strcmp(ring_owner(a, slot)->id, ring_owner(b, slot)->id) != 0;
    }
    return n;
}

static void ring_gives_out_every_slot(void **state) {
    (void)state;
    for (unsigned n = 1; n <= 20; n++) {
        struct ring *ring = make_ring(1, n);
        unsigned sum = 0;
        for (unsigned i = 0; i < n; i++) {
            sum += ring->nodes[i].slots;
        }
        assert_int_equal(sum, RING_SLOTS);
        ring_unref(ring);
    }
}

static void ring_is_the_same_whatever_the_order(void **state) {
    (void)state;
    struct ring_node nodes[30];
    for (unsigned i = 0; i < 30; i++) {
        nodes[i] = make_node(2, i);
        nodes[i].weight = (uint16_t)(50 + i * 7);
    }
    struct ring *first = ring_build(nodes, 30, 0, 1, NULL, 0);
    rng_seed(2);
    for (int round = 0; round < 5; round++) {
        for (unsigned i = 29; i > 0; i--) {
            unsigned k = (unsigned)rng_below(i + 1);
            struct ring_node kept = nodes[i];
            nodes[i] = nodes[k];
            nodes[k] = kept;
        }
        struct ring *other = ring_build(nodes, 30, 0, 1, round % 2 ? first : NULL, 1);
        assert_int_equal(moved(first, other), 0);
        ring_unref(other);
    }
    ring_unref(first);
}

/* Programs of different ages and machines must agree: this value may only change together with the version of the peers' protocol. */
static void ring_is_the_same_on_every_machine(void **state) {
    (void)state;
    struct ring_node nodes[9];
    char hex[SHA256_HEX + 1];
    struct ring *even = make_ring(3, 9);
    sha256_hex(slice_make((char *)even->owner, sizeof(even->owner)), hex);
    assert_string_equal(hex, "4fa4b47ec7533e2a7e305b982265e2a0a402cffeb00e93d4bdc4fcf323bcd093");
    for (unsigned i = 0; i < 9; i++) {
        nodes[i] = make_node(3, i);
        nodes[i].weight = (uint16_t)(1 + i * i);
    }
    struct ring *weighted = ring_build(nodes, 9, 0, 1, NULL, 0);
    sha256_hex(slice_make((char *)weighted->owner, sizeof(weighted->owner)), hex);
    assert_string_equal(hex, "836448cd586010d821189d0e2046b8dc66127dc93700bb6884b7e27674c5703b");
    struct ring *runs = ring_build(nodes, 9, 3, 1, NULL, 0);
    sha256_hex(slice_make((char *)runs->owner, sizeof(runs->owner)), hex);
    assert_string_equal(hex, "71f1cfa9735d959608986be3badba59ac4d15c5b60dcc32fcf78979510adb5f3");
    ring_unref(even);
    ring_unref(weighted);
    ring_unref(runs);
}

static void ring_places_runs_together(void **state) {
    (void)state;
    for (unsigned run = 0; run <= RING_MAX_RUN; run++) {
        for (unsigned family = 0; family < 5; family++) {
            struct ring_node nodes[5];
            for (unsigned i = 0; i < 5; i++) {
                nodes[i] = make_node(family, i);
            }
            struct ring *four = ring_build(nodes, 4, run, 1, NULL, 0), *five = ring_build(nodes, 5, run, 2, four, 1);
            unsigned cut = 0;
            for (unsigned slot = 1; slot < RING_SLOTS; slot++) {
                cut += slot % (1U << run) != 0 && five->owner[slot] != five->owner[slot - 1];
            }
            assert_in_range(cut, 0, 4 * 5); /* at a node's bound a run is cut */
            assert_in_range(moved(four, five), RING_SLOTS / 5 * 90 / 100, RING_SLOTS / 5 * (run <= 4 ? 115 : 140) / 100);
            for (unsigned i = 0; i < 5; i++) {
                assert_in_range(five->nodes[i].slots, RING_SLOTS / 5 * 97 / 100, RING_SLOTS / 5 * 103 / 100);
            }
            for (unsigned slot = 0; slot < RING_SLOTS; slot += 1U << run) {
                assert_int_equal(ring_successor(five, slot, 1) == RING_NONE, 0);
            }
            ring_unref(four);
            ring_unref(five);
        }
    }
}

static void ring_spreads_slots_within_five_percent_at_ten_nodes(void **state) {
    (void)state;
    for (unsigned family = 0; family < 40; family++) {
        struct ring *ring = make_ring(family, 10);
        unsigned least = RING_SLOTS, most = 0;
        for (unsigned i = 0; i < 10; i++) {
            least = ring->nodes[i].slots < least ? ring->nodes[i].slots : least;
            most = ring->nodes[i].slots > most ? ring->nodes[i].slots : most;
        }
        assert_in_range(most - least, 0, RING_SLOTS / 10 * 5 / 100);
        ring_unref(ring);
    }
}

static void ring_moves_little_more_than_it_must(void **state) {
    (void)state;
    for (unsigned n = 3; n <= 20; n++) {
        unsigned sum = 0;
        for (unsigned family = 0; family < 10; family++) {
            struct ring *before = make_ring(family, n - 1), *after = make_ring(family, n);
            unsigned m = moved(before, after);
            assert_in_range(m, RING_SLOTS / n * 95 / 100, RING_SLOTS / n * 110 / 100);
            sum += m;
            ring_unref(before);
            ring_unref(after);
        }
        assert_in_range(sum, 0, RING_SLOTS / n * 10 * 105 / 100);
    }
}

/* Owners before and after a node has come or gone: what moved, at most a twentieth over its share, and the rounding. */
static void assert_moves_its_share(const struct ring *a, const struct ring *b, unsigned n) {
    assert_in_range(moved(a, b), RING_SLOTS / n * 90 / 100, RING_SLOTS * 105 / (n * 100) + 1);
}

/* Nodes that come one by one, as a fleet grows: each takes a lot. At every size, one comes, and any that is there may go. */
static void ring_grows_and_shrinks_by_its_share(void **state) {
    (void)state;
    struct ring_node nodes[GROWN], rest[GROWN];
    struct ring *before = NULL;
    for (unsigned n = 1; n <= GROWN; n++) {
        nodes[n - 1] = make_node(100, n - 1);
        nodes[n - 1].lot = ring_choose_lot(nodes, n, 0, n - 1);
        struct ring *after = ring_build(nodes, n, 0, n, NULL, 0);
        if (n >= 3) {
            assert_moves_its_share(before, after, n);
            unsigned gone = n * 7 % (n - 1);
            memcpy(rest, nodes, sizeof(rest));
            rest[gone] = rest[n - 1];
            struct ring *less = ring_build(rest, n - 1, 0, n, NULL, 0);
            assert_moves_its_share(less, after, n);
            ring_unref(less);
        }
        for (unsigned i = 0; i < n; i++) { /* any of them may go */
            assert_in_range(after->nodes[i].slots, 0, RING_SLOTS * 105 / (n * 100) + 1);
        }
        ring_unref(before);
        before = after;
    }
    ring_unref(before);
}

/* One that comes to a fleet that was started at once, where nobody has taken a lot. */
static void ring_moves_its_share_when_one_comes_to_many(void **state) {
    (void)state;
    for (unsigned n = 3; n <= GROWN; n += n < 20 ? 1 : 16) {
        for (unsigned family = 0; family < 2; family++) {
            struct ring_node nodes[GROWN];
            for (unsigned i = 0; i < n; i++) {
                nodes[i] = make_node(200 + family, i);
            }
            nodes[n - 1].lot = ring_choose_lot(nodes, n, 0, n - 1);
            struct ring *before = ring_build(nodes, n - 1, 0, 1, NULL, 0), *after = ring_build(nodes, n, 0, 1, NULL, 0);
            assert_moves_its_share(before, after, n);
            ring_unref(before);
            ring_unref(after);
        }
    }
}

/* A fleet that is started at once: each node chooses by itself, and all fit together, as if they had come one by one. */
static void ring_gives_lots_that_fit_to_nodes_that_begin_at_once(void **state) {
    (void)state;
    enum { FLEET = 50 };
    struct ring_node nodes[FLEET], alone[FLEET];
    for (unsigned i = 0; i < FLEET; i++) {
        nodes[i] = make_node(210, i);
        nodes[i].state = NODE_JOINING;
    }
    memcpy(alone, nodes, sizeof(alone));
    unsigned lots = 0;
    for (unsigned i = 0; i < FLEET; i++) {
        alone[i].lot = ring_choose_lot(nodes, FLEET, 0, i);
        lots += alone[i].lot != 0;
    }
    assert_in_range(lots, FLEET * 3 / 4, FLEET);
    for (unsigned i = 0; i < FLEET; i++) {
        alone[i].state = NODE_ALIVE;
    }
    struct ring *ring = ring_build(alone, FLEET, 0, 1, NULL, 0);
    for (unsigned i = 0; i < FLEET; i++) { /* any of them may go */
        assert_in_range(ring->nodes[i].slots, RING_SLOTS * 90 / (FLEET * 100), RING_SLOTS * 105 / (FLEET * 100) + 1);
    }
    ring_unref(ring);
}

static void ring_gives_no_lot_where_there_is_no_choice(void **state) {
    (void)state;
    struct ring_node nodes[3] = {make_node(300, 0), make_node(300, 1), make_node(300, 2)};
    assert_int_equal(ring_choose_lot(nodes, 1, 0, 0), 0); /* alone */
    nodes[0].state = NODE_JOINING;
    nodes[1].state = NODE_LEAVING;
    nodes[2].state = NODE_JOINING;
    assert_int_equal(ring_choose_lot(nodes, 3, 0, 2), 0); /* the others own nothing */
    nodes[0].state = NODE_ALIVE;
    nodes[2].weight = 0;
    assert_int_equal(ring_choose_lot(nodes, 3, 0, 2), 0);
}

static void ring_heeds_weights(void **state) {
    (void)state;
    struct ring_node nodes[12];
    unsigned total = 0;
    for (unsigned i = 0; i < 12; i++) {
        nodes[i] = make_node(4, i);
        nodes[i].weight = (uint16_t)(i * 10);
        total += nodes[i].weight;
    }
    struct ring *ring = ring_build(nodes, 12, 0, 1, NULL, 0);
    for (unsigned i = 0; i < 12; i++) {
        double share = (double)RING_SLOTS * ring->nodes[i].weight / total;
        double off = ring->nodes[i].slots - share;
        assert_true(off * off <= share * share / 400 || off * off <= 4 * share);
    }
    /* one that weighs more takes slots from the others, which keep the rest */
    nodes[5].weight = 100;
    struct ring *heavier = ring_build(nodes, 12, 0, 2, NULL, 0);
    unsigned lost = 0, index = ring_find(heavier, nodes[5].id);
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        lost += ring->owner[slot] != heavier->owner[slot] && heavier->owner[slot] != index;
    }
    assert_in_range(lost, 0, RING_SLOTS / 50);
    ring_unref(ring);
    ring_unref(heavier);
}

static void ring_leaves_out_who_leaves_or_joins(void **state) {
    (void)state;
    struct ring_node nodes[3];
    for (unsigned i = 0; i < 3; i++) {
        nodes[i] = make_node(5, i);
    }
    struct ring *two = ring_build(nodes, 2, 0, 1, NULL, 0);
    nodes[2].state = NODE_JOINING;
    struct ring *joining = ring_build(nodes, 3, 0, 2, NULL, 0);
    nodes[2].state = NODE_LEAVING;
    struct ring *leaving = ring_build(nodes, 3, 0, 3, NULL, 0);
    assert_int_equal(moved(two, joining), 0);
    assert_int_equal(moved(two, leaving), 0);
    nodes[0].weight = nodes[1].weight = 0; /* and nobody else is left */
    struct ring *none = ring_build(nodes, 3, 0, 4, NULL, 0);
    assert_int_not_equal(moved(none, two), 0);
    ring_unref(two);
    ring_unref(joining);
    ring_unref(leaving);
    ring_unref(none);
}

static void ring_lets_the_next_node_serve_for_a_silent_one(void **state) {
    (void)state;
    struct ring *ring = make_ring(6, 5);
    uint8_t states[5] = {0};
    unsigned silent = ring->self == 3 ? 2 : 3;
    states[silent] = NODE_SUSPECT;
    struct ring *other = ring_with_states(ring, states, 1);
    unsigned others[5] = {0};
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        assert_int_equal(other->owner[slot], ring->owner[slot]);
        assert_int_equal(ring->serving[slot], ring->owner[slot]);
        if (ring->owner[slot] == silent) {
            assert_int_equal(other->serving[slot], ring_successor(ring, slot, 1));
            others[other->serving[slot]]++;
        } else {
            assert_int_equal(other->serving[slot], ring->owner[slot]);
        }
    }
    for (unsigned i = 0; i < 5; i++) { /* its load is shared by all */
        assert_in_range(others[i], i == silent ? 0 : RING_SLOTS / 20 / 2, i == silent ? 0 : RING_SLOTS / 20 * 2);
    }
    memset(states, NODE_DEAD, sizeof(states));
    struct ring *alone = ring_with_states(ring, states, 1);
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        assert_true(ring_serves(alone, slot));
    }
    ring_unref(ring);
    ring_unref(other);
    ring_unref(alone);
}

static void ring_orders_all_nodes_behind_the_owner(void **state) {
    (void)state;
    struct ring *ring = make_ring(7, 8);
    for (unsigned slot = 0; slot < RING_SLOTS; slot += 97) {
        unsigned seen = 1U << ring->owner[slot];
        for (unsigned k = 1; k < 8; k++) {
            unsigned node = ring_successor(ring, slot, k);
            assert_in_range(node, 0, 7);
            assert_int_equal(seen & 1U << node, 0);
            seen |= 1U << node;
        }
        assert_int_equal(ring_successor(ring, slot, 8), RING_NONE);
    }
    ring_unref(ring);
}

static void ring_remembers_the_owners_before(void **state) {
    (void)state;
    struct ring_node nodes[6];
    for (unsigned i = 0; i < 6; i++) {
        nodes[i] = make_node(8, i);
    }
    struct ring *before = ring_build(nodes, 5, 0, 1, NULL, 0);
    struct ring *after = ring_build(nodes, 6, 0, 2, before, 1000);
    struct ring *gone = ring_build(nodes + 1, 5, 0, 3, after, 2000);
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        const struct ring_node *old = ring_previous(after, slot, 999);
        bool same = strcmp(ring_owner(before, slot)->id, ring_owner(after, slot)->id) == 0;
        assert_true(same ? old == NULL : strcmp(old->id, ring_owner(before, slot)->id) == 0);
        assert_null(ring_previous(after, slot, 1000));
        assert_null(ring_previous(before, slot, 0));
        if (strcmp(ring_owner(after, slot)->id, nodes[0].id) == 0) {
            assert_null(ring_previous(gone, slot, 0)); /* nobody is there to be asked */
        }
    }
    ring_unref(before);
    ring_unref(after);
    ring_unref(gone);
}

static void ring_finds_nodes_by_id(void **state) {
    (void)state;
    struct ring *ring = make_ring(9, 50);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(ring_find(ring, ring->nodes[i].id), i);
    }
    assert_int_equal(ring_find(ring, "0000000000000000000000000000000000000000"), RING_NONE);
    assert_int_equal(ring_find(ring, "ffffffffffffffffffffffffffffffffffffffff"), RING_NONE);
    ring_unref(ring);
}

static void ring_store_gives_readers_the_newest(void **state) {
    (void)state;
    struct ring_store store;
    struct ring_reader reader = {0};
    ring_store_init(&store);
    assert_null(ring_store_current(&store));
    assert_false(ring_reader_refresh(&reader, &store));
    ring_store_publish(&store, make_ring(1, 3));
    assert_true(ring_reader_refresh(&reader, &store));
    assert_false(ring_reader_refresh(&reader, &store));
    assert_int_equal(reader.ring->n, 3);
    ring_store_publish(&store, make_ring(1, 4));
    assert_int_equal(reader.ring->n, 3); /* still good */
    assert_true(ring_reader_refresh(&reader, &store));
    struct ring *current = ring_store_current(&store);
    assert_ptr_equal(current, reader.ring);
    ring_unref(current);
    ring_reader_release(&reader);
    ring_store_fini(&store);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ring_gives_out_every_slot),
                                       cmocka_unit_test(ring_is_the_same_whatever_the_order),
                                       cmocka_unit_test(ring_is_the_same_on_every_machine),
                                       cmocka_unit_test(ring_places_runs_together),
                                       cmocka_unit_test(ring_spreads_slots_within_five_percent_at_ten_nodes),
                                       cmocka_unit_test(ring_moves_little_more_than_it_must),
                                       cmocka_unit_test(ring_grows_and_shrinks_by_its_share),
                                       cmocka_unit_test(ring_moves_its_share_when_one_comes_to_many),
                                       cmocka_unit_test(ring_gives_lots_that_fit_to_nodes_that_begin_at_once),
                                       cmocka_unit_test(ring_gives_no_lot_where_there_is_no_choice),
                                       cmocka_unit_test(ring_heeds_weights),
                                       cmocka_unit_test(ring_leaves_out_who_leaves_or_joins),
                                       cmocka_unit_test(ring_lets_the_next_node_serve_for_a_silent_one),
                                       cmocka_unit_test(ring_orders_all_nodes_behind_the_owner),
                                       cmocka_unit_test(ring_remembers_the_owners_before),
                                       cmocka_unit_test(ring_finds_nodes_by_id),
                                       cmocka_unit_test(ring_store_gives_readers_the_newest)};
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
