/* SPDX-License-Identifier: BSD-3-Clause */
/* ring_methods: the product's placement, and those it was chosen from: consistent hashing on a circle (Karger 1997), with bounded loads (Mirrokni et al.
 * 2016), rendezvous (Thaler, Ravishankar 1998), with bounded loads, Maglev (Eisenbud et al. 2016), jump (Lamping, Veach 2014). Each as its paper has it. */
#include <stdlib.h>
#include <string.h>

#include "bench/sim/ring_sim.h"
#include "cluster/ring_place.h"
#include "src/base/mem.h"

enum { POINTS = 160 /* of each node on the circle */, BOUND_PCT = 105 };

static uint64_t mix(uint64_t v) {
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9ULL;
    v = (v ^ v >> 27) * 0x94d049bb133111ebULL;
    return v ^ v >> 31;
}

static uint64_t key_of(const struct ring_node *node) {
    uint64_t key = 0;
    for (const char *p = node->id; *p != '\0'; p++) {
        key = mix(key + (unsigned char)*p);
    }
    return key;
}

static void place(const struct ring_node *nodes, unsigned n, unsigned run, uint16_t *owner) {
    uint16_t weights[RING_MAX_NODES];
    for (unsigned i = 0; i < n; i++) {
        weights[i] = 100;
    }
    ring_place(nodes, weights, n, run, owner);
}

static void strata(const struct ring_node *nodes, unsigned n, uint16_t *owner) {
    place(nodes, n, 0, owner);
}

static void strata_4(const struct ring_node *nodes, unsigned n, uint16_t *owner) {
    place(nodes, n, 2, owner);
}

static void strata_16(const struct ring_node *nodes, unsigned n, uint16_t *owner) {
    place(nodes, n, 4, owner);
}

/* ---- the circle ---- */

struct point {
    uint64_t at;
    uint16_t node;
};

static int compare_points(const void *a, const void *b) {
    const struct point *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static struct point *circle_create(const struct ring_node *nodes, unsigned n) {
    struct point *points = mem_alloc((size_t)n * POINTS * sizeof(*points));
    for (unsigned i = 0; i < n; i++) {
        uint64_t key = key_of(&nodes[i]);
        for (unsigned k = 0; k < POINTS; k++) {
            points[i * POINTS + k] = (struct point){mix(key + k), (uint16_t)i};
        }
    }
    qsort(points, (size_t)n * POINTS, sizeof(*points), compare_points);
    return points;
}

static size_t first_behind(const struct point *points, size_t n, uint64_t at) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (points[mid].at < at) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low % n;
}

static void on_circle(const struct ring_node *nodes, unsigned n, unsigned most, uint16_t *owner) {
    struct point *points = circle_create(nodes, n);
    unsigned *count = mem_zalloc(n * sizeof(*count));
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        size_t at = first_behind(points, (size_t)n * POINTS, mix(slot));
        while (count[points[at].node] >= most) {
            at = (at + 1) % ((size_t)n * POINTS);
        }
        owner[slot] = points[at].node;
        count[owner[slot]]++;
    }
    mem_free(points);
    mem_free(count);
}

static unsigned bound_of(unsigned n) {
    return (RING_SLOTS * BOUND_PCT / 100 + n - 1) / n;
}

static void circle(const struct ring_node *nodes, unsigned n, uint16_t *owner) {
    on_circle(nodes, n, RING_SLOTS, owner);
}

static void circle_bounded(const struct ring_node *nodes, unsigned n, uint16_t *owner) {
    on_circle(nodes, n, bound_of(n), owner);
}

/* ---- rendezvous ---- */

static void by_score(const struct ring_node *nodes, unsigned n, unsigned most, uint16_t *owner) {
    uint64_t keys[RING_MAX_NODES];
    unsigned *count = mem_zalloc(n * sizeof(*count));
    for (unsigned i = 0; i < n; i++) {
        keys[i] = key_of(&nodes[i]);
    }
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        uint64_t best = 0;
        owner[slot] = RING_NONE;
        for (unsigned i = 0; i < n; i++) {
            uint64_t score = mix(keys[i] ^ mix(slot));
            if (count[i] < most && (owner[slot] == RING_NONE || score > best)) {
                owner[slot] = (uint16_t)i;
                best = score;
            }
        }
        count[owner[slot]]++;
    }
    mem_free(count);
}

static void rendezvous(const struct ring_node *nodes, unsigned n, uint16_t *owner) {
    by_score(nodes, n, RING_SLOTS, owner);
}

static void rendezvous_bounded(const struct ring_node *nodes, unsigned n, uint16_t *owner) {
    by_score(nodes, n, bound_of(n), owner);
}

/* ---- the others ---- */

/* Nodes take turns; each takes the next free slot of its permutation: any odd step goes through a power of two of slots. */
static void maglev(const struct ring_node *nodes, unsigned n, uint16_t *owner) {
    unsigned *next = mem_alloc(2 * n * sizeof(*next)), *step = next + n;
    for (unsigned i = 0; i < n; i++) {
        uint64_t key = key_of(&nodes[i]);
        next[i] = (unsigned)(mix(key + 1) % RING_SLOTS);
        step[i] = (unsigned)(mix(key + 2) % RING_SLOTS) | 1;
    }
    memset(owner, 0xff, RING_SLOTS * sizeof(*owner));
    for (unsigned taken = 0; taken < RING_SLOTS;) {
        for (unsigned i = 0; i < n && taken < RING_SLOTS; i++) {
            while (owner[next[i]] != RING_NONE) {
                next[i] = (next[i] + step[i]) % RING_SLOTS;
            }
            owner[next[i]] = (uint16_t)i;
            taken++;
        }
    }
    mem_free(next);
}

/* Buckets are numbered by the order of ids: without a history there is no other. */
static void jump(const struct ring_node *nodes, unsigned n, uint16_t *owner) {
    (void)nodes;
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        uint64_t key = mix(slot);
        int64_t bucket = -1, to = 0;
        while (to < n) {
            bucket = to;
            key = key * 2862933555777941757ULL + 1;
            to = (int64_t)((double)(bucket + 1) * ((double)(1LL << 31) / (double)((key >> 33) + 1)));
        }
        owner[slot] = (uint16_t)bucket;
    }
}

static const struct ring_method methods[] = {{"strata, grown", strata, LOTS_GROWN, 0},
                                             {"strata, at once", strata, LOTS_AT_ONCE, 0},
                                             {"strata, no lots", strata, LOTS_NONE, 0},
                                             {"grown, runs of 4", strata_4, LOTS_GROWN, 2},
                                             {"grown, runs of 16", strata_16, LOTS_GROWN, 4},
                                             {"no lots, runs of 4", strata_4, LOTS_NONE, 0},
                                             {"no lots, runs of 16", strata_16, LOTS_NONE, 0},
                                             {"circle, 160 points", circle, LOTS_NONE, 0},
                                             {"circle, bounded 5%", circle_bounded, LOTS_NONE, 0},
                                             {"rendezvous", rendezvous, LOTS_NONE, 0},
                                             {"rendezvous, bounded 5%", rendezvous_bounded, LOTS_NONE, 0},
                                             {"maglev", maglev, LOTS_NONE, 0},
                                             {"jump", jump, LOTS_NONE, 0}};

const struct ring_method *ring_method(unsigned i) {
    return i < sizeof(methods) / sizeof(methods[0]) ? &methods[i] : NULL;
}
