/* SPDX-License-Identifier: BSD-3-Clause */
/* test_compact: compaction of sparse chunks comes to an end, and gives back what it emptied. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/rng.h"
#include "src/l1/chunk.h"
#include "src/l1/l1.h"

enum { SIZES = 24, PER_SIZE = 9000, MAX_TICKS = 10000 };

static struct key named(char *buf, size_t room, int size, int i) {
    return key_make(slice_make(buf, (size_t)snprintf(buf, room, "%02d:%05d", size, i)), 0);
}

static void put(struct l1 *l1, int size, int i) {
    static const char bytes[512];
    char name[32];
    struct key key = named(name, sizeof(name), size, i);
    assert_int_equal(l1_set(l1, &key, slice_make(bytes, (size_t)size * 8), L1_NO_TTL, 0, 1), OK);
}

static unsigned tick_to_the_end(struct l1 *l1) {
    unsigned ticks = 0;
    while (l1_tick(l1, 1, 1000000)) {
        assert_true(++ticks < MAX_TICKS);
    }
    return ticks;
}

/* Of each size, one in keep_every items stays. */
static void compact_what_is_left(int keep_every, uint64_t least_shrink) {
    rng_seed(5);
    char name[32];
    struct l1_stats full, sparse, again;
    struct l1 *l1 = l1_create(&(struct l1_options){.shards = 1, .policy = "noeviction"});
    l1_lock(l1, 0);
    for (int size = 0; size < SIZES; size++) {
        for (int i = 0; i < PER_SIZE; i++) {
            put(l1, size, i);
        }
    }
    l1_unlock(l1, 0);
    l1_stats_read(l1, &full);
    l1_lock(l1, 0);
    for (int size = 0; size < SIZES; size++) {
        for (int i = 0; i < PER_SIZE; i++) {
            struct key key = named(name, sizeof(name), size, i);
            assert_true(i % keep_every == 0 || l1_del(l1, &key, 1));
        }
    }
    l1_unlock(l1, 0);
    tick_to_the_end(l1);
    l1_stats_read(l1, &sparse);
    assert_true(sparse.chunk_bytes < full.chunk_bytes / least_shrink + SIZES * 2 * (uint64_t)CHUNK_BYTES);
    l1_lock(l1, 0); /* chunks that were emptied are not lost: the same items need no more room than before */
    for (int size = 0; size < SIZES; size++) {
        for (int i = 0; i < PER_SIZE; i++) {
            put(l1, size, i);
        }
    }
    l1_unlock(l1, 0);
    l1_stats_read(l1, &again);
    assert_true(again.chunk_bytes <= full.chunk_bytes + SIZES * (uint64_t)CHUNK_BYTES);
    l1_destroy(&l1);
}

static void compaction_of_a_tier_nearly_emptied_ends(void **state) {
    (void)state;
    compact_what_is_left(1000, 4);
}

static void compaction_of_half_full_chunks_ends(void **state) {
    (void)state;
    compact_what_is_left(7, 2);
    compact_what_is_left(3, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(compaction_of_a_tier_nearly_emptied_ends),
                                       cmocka_unit_test(compaction_of_half_full_chunks_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
