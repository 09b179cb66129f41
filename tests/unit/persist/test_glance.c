/* SPDX-License-Identifier: BSD-3-Clause */
/* test_glance: who is spared a look in memory, and who is not. */
#include "tests/unit/check.h"

#include "persist/glance.h"
#include "src/base/hash.h"
#include "src/base/mem.h"

enum { TURN = 1 << 20, RECORD = 256 };

static uint64_t hash_of(uint64_t i) {
    return hash_name(slice_make((const char *)&i, sizeof(i)));
}

static void learn(struct glance *g, bool there, int times) {
    for (int i = 0; i < times; i++) {
        glance_learn(g, there);
    }
}

static void a_look_is_spared_while_sieves_are_right(void **state) {
    (void)state;
    struct glance g;
    glance_init(&g, TURN);
    assert_false(glance_spares(&g, hash_of(1)));
    learn(&g, true, 500);
    assert_true(glance_spares(&g, hash_of(1)));
    learn(&g, false, 10);
    assert_false(glance_spares(&g, hash_of(1)));
    for (int i = 0; i < 5000; i++) { /* one of a hundred is wrong */
        glance_learn(&g, i % 100 != 50);
    }
    assert_true(glance_spares(&g, hash_of(1)));
    for (int i = 0; i < 5000; i++) { /* one of four */
        glance_learn(&g, i % 4 != 0);
    }
    assert_false(glance_spares(&g, hash_of(1)));
    glance_fini(&g);
}

/* Whatever a memtable may still have is looked for: a whole turn's bytes back at least. */
static void what_was_written_lately_is_looked_for(void **state) {
    (void)state;
    struct glance g;
    glance_init(&g, TURN);
    learn(&g, true, 500);
    for (uint64_t i = 0; i < 10 * TURN / RECORD; i++) {
        uint64_t least = i < TURN / RECORD ? 0 : i - TURN / RECORD + 1;
        glance_wrote(&g, hash_of(i), RECORD);
        assert_false(glance_spares(&g, hash_of(i)));
        assert_false(glance_spares(&g, hash_of(least)));
        assert_false(glance_spares(&g, hash_of((least + i) / 2)));
    }
    unsigned spared = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        spared += glance_spares(&g, hash_of(i));
    }
    assert_true(spared > 800);
    glance_fini(&g);
}

static void without_memory_nothing_is_spared(void **state) {
    (void)state;
    struct glance g;
    mem_fail_nth(3);
    glance_init(&g, TURN);
    mem_fail_nth(0);
    learn(&g, true, 500);
    glance_wrote(&g, hash_of(1), RECORD);
    assert_false(glance_spares(&g, hash_of(2)));
    assert_int_equal(glance_bytes(&g), 0);
    glance_fini(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_look_is_spared_while_sieves_are_right),
        cmocka_unit_test(what_was_written_lately_is_looked_for),
        cmocka_unit_test(without_memory_nothing_is_spared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
