/* SPDX-License-Identifier: BSD-3-Clause */
/* glance: two sieves by turns, and a running mean. */
#include "persist/glance.h"

#include "src/ds/sieve.h"

enum {
    LEAST_RECORD = 128, /* the sieves' size; with shorter records they let more pass, and a look is taken */
    ALL = 65536,
    MOST_DOUBT = ALL / 16,
    INERTIA = 6 /* the mean is of some 2^6 */
};

void glance_init(struct glance *g, size_t memtable_bytes) {
    *g = (struct glance){.turn_bytes = memtable_bytes};
    atomic_init(&g->doubt, ALL);
    for (int i = 0; i < 2; i++) {
        g->lately[i] = sieve_create(memtable_bytes / LEAST_RECORD, SIZE_MAX);
    }
    if (g->lately[0] == NULL || g->lately[1] == NULL) {
        glance_fini(g);
    }
}

void glance_fini(struct glance *g) {
    sieve_unref(&g->lately[0]);
    sieve_unref(&g->lately[1]);
}

void glance_wrote(struct glance *g, uint64_t hash, size_t bytes) {
    if (g->lately[0] == NULL) {
        return;
    }
    g->bytes += bytes;
    if (g->bytes > g->turn_bytes) {
        g->bytes = bytes;
        g->at ^= 1;
        sieve_clear(g->lately[g->at]);
    }
    sieve_add(g->lately[g->at], hash);
}

bool glance_spares(const struct glance *g, uint64_t hash) {
    return g->lately[0] != NULL && atomic_load_explicit(&g->doubt, memory_order_relaxed) <= MOST_DOUBT &&
           !sieve_has(g->lately[0], hash) && !sieve_has(g->lately[1], hash);
}

/* Two threads at once may lose a step, which does not matter. */
void glance_learn(struct glance *g, bool there) {
    uint32_t doubt = atomic_load_explicit(&g->doubt, memory_order_relaxed), was = doubt;
    doubt = there ? doubt - (doubt >> INERTIA) : doubt + ((ALL - doubt) >> INERTIA);
    if (doubt != was) {
        atomic_store_explicit(&g->doubt, doubt, memory_order_relaxed);
    }
}

size_t glance_bytes(const struct glance *g) {
    return g->lately[0] == NULL ? 0 : sieve_bytes(g->lately[0]) + sieve_bytes(g->lately[1]);
}
