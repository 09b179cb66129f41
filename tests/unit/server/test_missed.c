/* SPDX-License-Identifier: BSD-3-Clause */
/* test_missed: what was written in others' place is known until they have dropped it, over a restart, and no longer. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cluster/ring.h"
#include "src/base/buf.h"
#include "src/guard/purge.h"
#include "src/server/missed.h"

enum { NODES = 3 };

static char path[64];
static const char *const ids[NODES] = {"0123456789012345678901234567890123456789", "abcdef0123456789012345678901234567890123",
                                       "ffffff0123456789012345678901234567890123"};

/* Node 0 is this one. */
static struct ring *three(void) {
    struct ring_node nodes[NODES];
    memset(nodes, 0, sizeof(nodes));
    for (int i = 0; i < NODES; i++) {
        snprintf(nodes[i].id, sizeof(nodes[i].id), "%s", ids[i]);
        snprintf(nodes[i].host, sizeof(nodes[i].host), "10.0.0.%d", i + 1);
        nodes[i].port = nodes[i].bus_port = 1;
        nodes[i].weight = 100;
        nodes[i].self = i == 0;
    }
    return ring_build(nodes, NODES, 0, 1, NULL, 0);
}

static unsigned slot_of(const struct ring *ring, unsigned node, unsigned k) {
    unsigned s = 0;
    while (ring->owner[s] != node || k-- > 0) {
        s++;
    }
    return s;
}

static struct missed *begin(void) {
    struct buf err = {0};
    snprintf(path, sizeof(path), "%s/test_missed.%d", P_tmpdir, (int)getpid());
    struct missed *m = missed_open(path, &err);
    assert_int_equal(err.n, 0);
    return m;
}

static void end(struct missed *m, struct ring *ring) {
    missed_close(&m);
    assert_null(m);
    unlink(path);
    ring_unref(ring);
}

static bool has(const uint8_t *set, unsigned slot) {
    return set[slot / 8] >> slot % 8 & 1;
}

static void missed_tells_each_node_its_own(void **state) {
    (void)state;
    struct ring *ring = three();
    struct missed *m = begin();
    uint8_t set[PURGE_SLOT_BYTES];
    unsigned one = slot_of(ring, 1, 0), two = slot_of(ring, 2, 0), more = slot_of(ring, 2, 5);
    missed_note(m, ring, slot_of(ring, 0, 0)); /* this node's: it has not missed it */
    assert_int_equal(missed_last(m), 0);
    missed_note(m, ring, one);
    missed_note(m, ring, two);
    missed_note(m, ring, more);
    assert_int_equal(missed_since(m, ids[1], 0, set), 1);
    assert_true(has(set, one) && !has(set, two));
    assert_int_equal(missed_since(m, ids[2], 0, set), 2);
    assert_true(has(set, two) && has(set, more));
    assert_int_equal(missed_since(m, ids[0], 0, set), 0);
    uint64_t told = missed_last(m);
    assert_int_equal(missed_since(m, ids[2], told, set), 0);
    missed_note(m, ring, more);
    assert_true(missed_last(m) > told);
    assert_int_equal(missed_since(m, ids[2], told, set), 1);
    end(m, ring);
}

static void missed_forgets_what_was_dropped_and_nothing_newer(void **state) {
    (void)state;
    struct ring *ring = three();
    struct missed *m = begin();
    uint8_t set[PURGE_SLOT_BYTES], left[PURGE_SLOT_BYTES];
    unsigned a = slot_of(ring, 1, 0), b = slot_of(ring, 1, 1);
    missed_note(m, ring, a);
    missed_note(m, ring, b);
    uint64_t told = missed_last(m);
    assert_int_equal(missed_since(m, ids[1], 0, set), 2);
    missed_note(m, ring, b); /* once more, on the way of what was told */
    missed_dropped(m, ids[2], set, told); /* another node: not about these */
    assert_int_equal(missed_since(m, ids[1], 0, left), 2);
    missed_dropped(m, ids[1], set, told);
    assert_int_equal(missed_since(m, ids[1], 0, left), 1);
    assert_true(has(left, b));
    end(m, ring);
}

static void missed_outlives_the_process_and_another_ring(void **state) {
    (void)state;
    struct ring *ring = three();
    struct missed *m = begin();
    uint8_t set[PURGE_SLOT_BYTES];
    missed_note_all(m, ring, 2);
    uint64_t last = missed_last(m);
    missed_close(&m);
    m = begin();
    assert_int_equal(missed_last(m), last);
    assert_int_equal(missed_since(m, ids[2], 0, set), ring->nodes[2].slots);
    struct ring_node alone = ring->nodes[0];
    struct ring *other = ring_build(&alone, 1, 0, 2, ring, 0); /* the node was removed: when it is back, it still is told */
    assert_int_equal(missed_since(m, ids[2], 0, set), ring->nodes[2].slots);
    ring_unref(other);
    end(m, ring);
}

static void missed_without_a_file_is_in_memory(void **state) {
    (void)state;
    struct ring *ring = three();
    struct buf err = {0};
    uint8_t set[PURGE_SLOT_BYTES];
    struct missed *m = missed_open("/no/such/folder/missed", &err);
    assert_true(err.n > 0);
    buf_free(&err);
    missed_note(m, ring, slot_of(ring, 1, 0));
    assert_int_equal(missed_since(m, ids[1], 0, set), 1);
    end(m, ring);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missed_tells_each_node_its_own),
        cmocka_unit_test(missed_forgets_what_was_dropped_and_nothing_newer),
        cmocka_unit_test(missed_outlives_the_process_and_another_ring),
        cmocka_unit_test(missed_without_a_file_is_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
