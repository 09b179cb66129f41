/* SPDX-License-Identifier: BSD-3-Clause */
/* test_arena: bump memory that is aligned, apart, and all gone at once. */
#include "tests/unit/check.h"

#include "src/base/arena.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { PIECES = 2000, BLOCK = 64 << 10 };

static struct {
    unsigned char *p;
    size_t n;
} pieces[PIECES];

static void take_pieces(struct arena *a, int count) {
    for (int i = 0; i < count; i++) {
        pieces[i].n = rng_below(rng_below(100) == 0 ? 3 * BLOCK : 300);
        pieces[i].p = arena_alloc(a, pieces[i].n);
        assert_int_equal((uintptr_t)pieces[i].p % 16, 0);
        memset(pieces[i].p, i & 255, pieces[i].n);
    }
    for (int i = 0; i < count; i++) { /* none was written over by a later one */
        for (size_t k = 0; k < pieces[i].n; k++) {
            assert_int_equal(pieces[i].p[k], i & 255);
        }
    }
}

static void arena_pieces_are_aligned_and_apart(void **state) {
    (void)state;
    struct arena a = {0};
    rng_seed(2);
    size_t before = mem_allocated_bytes();
    for (int round = 0; round < 5; round++) {
        take_pieces(&a, PIECES);
        assert_true(mem_allocated_bytes() - before > BLOCK);
        arena_reset(&a);
        assert_true(mem_allocated_bytes() - before <= BLOCK + 64);
    }
    arena_free(&a);
    assert_int_equal(mem_allocated_bytes(), before);
}

static void arena_keeps_a_block_over_resets(void **state) {
    (void)state;
    struct arena a = {0};
    void *first = arena_alloc(&a, 100);
    size_t held = mem_allocated_bytes();
    for (int i = 0; i < 1000; i++) {
        arena_reset(&a);
        assert_ptr_equal(arena_alloc(&a, 100), first);
        assert_int_equal(mem_allocated_bytes(), held);
    }
    arena_free(&a);
    arena_reset(&a); /* an empty one may be reset, too */
    assert_null(a.blocks);
}

static void arena_uses_borrowed_room_first(void **state) {
    (void)state;
    static _Alignas(16) char room[256];
    struct arena a = {0};
    size_t before = mem_allocated_bytes();
    arena_borrow(&a, room, sizeof(room));
    assert_ptr_equal(arena_alloc(&a, 100), room);
    assert_ptr_equal(arena_alloc(&a, 144), room + 112);
    assert_int_equal(mem_allocated_bytes(), before);
    char *more = arena_alloc(&a, 1);
    assert_true(more < room || more >= room + sizeof(room));
    arena_free(&a);
    assert_int_equal(mem_allocated_bytes(), before);
}

static void arena_gives_zero_bytes_an_address(void **state) {
    (void)state;
    struct arena a = {0};
    assert_non_null(arena_alloc(&a, 0));
    arena_free(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(arena_pieces_are_aligned_and_apart), cmocka_unit_test(arena_keeps_a_block_over_resets),
                                       cmocka_unit_test(arena_uses_borrowed_room_first),
                                       cmocka_unit_test(arena_gives_zero_bytes_an_address)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
