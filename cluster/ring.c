/* SPDX-License-Identifier: BSD-3-Clause */
/* ring: snapshots of it, and the store they are published in. Who owns what is decided in ring_place.c. */
#include "cluster/ring.h"

#include <stdlib.h>
#include <string.h>

#include "cluster/ring_place.h"
#include "src/base/check.h"
#include "src/base/mem.h"

static struct ring *ring_alloc(unsigned n) {
    struct ring *ring = mem_zalloc(sizeof(*ring) + n * sizeof(ring->nodes[0]));
    atomic_init(&ring->refs, 1);
    ring->n = n;
    ring->self = RING_NONE;
    return ring;
}

static int compare_ids(const void *a, const void *b) {
    return strcmp(((const struct ring_node *)a)->id, ((const struct ring_node *)b)->id);
}

static bool owns_by_right(const struct ring_node *node) {
    return node->weight > 0 && node->state != NODE_LEAVING && node->state != NODE_JOINING;
}

/* What each node counts for when slots are given out. */
static void weigh(const struct ring *ring, uint16_t *weights) {
    unsigned owners = 0;
    for (unsigned i = 0; i < ring->n; i++) {
        weights[i] = owns_by_right(&ring->nodes[i]) ? ring->nodes[i].weight : 0;
        owners += weights[i] > 0;
    }
    for (unsigned i = 0; owners == 0 && i < ring->n; i++) {
        weights[i] = 1;
    }
}

static void choose_serving(struct ring *ring) {
    uint16_t weights[RING_MAX_NODES];
    bool answering[RING_MAX_NODES];
    for (unsigned i = 0; i < ring->n; i++) {
        answering[i] = ring_node_answers(&ring->nodes[i]);
    }
    weigh(ring, weights);
    ring_place_serving(ring->nodes, weights, ring->n, ring->run, answering, ring->owner, ring->self, ring->serving);
}

/* Where a node of another ring is in this one. */
static void map_nodes(const struct ring *from, const struct ring *to, uint16_t *map) {
    for (unsigned i = 0; i < from->n; i++) {
        map[i] = (uint16_t)ring_find(to, from->nodes[i].id);
    }
}

static void remember_previous(struct ring *ring, const struct ring *before, int64_t until_ms) {
    memset(ring->previous, 0xff, sizeof(ring->previous));
    if (before == NULL) {
        return;
    }
    uint16_t *map = mem_alloc(before->n * sizeof(*map));
    map_nodes(before, ring, map);
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        unsigned node = map[before->owner[slot]], older = before->previous[slot];
        bool moved = node != ring->owner[slot];
        node = moved || older == RING_NONE ? node : map[older];
        ring->previous[slot] = node != ring->owner[slot] ? (uint16_t)node : RING_NONE;
    }
    ring->previous_until_ms = until_ms;
    mem_free(map);
}

struct ring *ring_build(const struct ring_node *nodes, unsigned n, unsigned run, uint64_t version, const struct ring *before,
                        int64_t previous_until_ms) {
    CHECK(n > 0 && n <= RING_MAX_NODES && run <= RING_MAX_RUN);
    struct ring *ring = ring_alloc(n);
    ring->run = run;
    ring->version = version;
    memcpy(ring->nodes, nodes, n * sizeof(*nodes));
    qsort(ring->nodes, n, sizeof(*nodes), compare_ids);
    for (unsigned i = 0; i < n; i++) {
        struct ring_node *node = &ring->nodes[i];
        CHECK(i == 0 || strcmp(node[-1].id, node->id) < 0);
        node->weight = node->weight > RING_MAX_WEIGHT ? RING_MAX_WEIGHT : node->weight;
        node->slots = 0;
        ring->self = node->self ? (uint16_t)i : ring->self;
    }
    uint16_t weights[RING_MAX_NODES];
    weigh(ring, weights);
    ring_place(ring->nodes, weights, n, run, ring->owner);
    for (unsigned slot = 0; slot < RING_SLOTS; slot++) {
        ring->nodes[ring->owner[slot]].slots++;
    }
    choose_serving(ring);
    remember_previous(ring, before, previous_until_ms);
    return ring;
}

/* It begins as the joiner does, whether or not it has its lot by now. */
static bool takes_too(const struct ring_node *node) {
    return node->beginner || (node->state == NODE_JOINING && node->lot == 0);
}

/* Puts i among the count before it, which are in the order of their ids. */
static void insert_by_id(const struct ring_node *nodes, unsigned *order, unsigned count, unsigned i) {
    unsigned at = count;
    for (; at > 0 && strcmp(nodes[order[at - 1]].id, nodes[i].id) > 0; at--) {
        order[at] = order[at - 1];
    }
    order[at] = i;
}

uint16_t ring_choose_lot(const struct ring_node *nodes, unsigned n, unsigned run, unsigned joiner) {
    uint16_t weights[RING_MAX_NODES] = {0}, takers[RING_MAX_NODES] = {0};
    unsigned order[RING_MAX_NODES], count = 0;
    CHECK(n > 0 && n <= RING_MAX_NODES && joiner < n);
    for (unsigned i = 0; i < n; i++) {
        const struct ring_node *node = &nodes[i];
        if (i == joiner) {
            continue;
        }
        if (!takes_too(node)) {
            weights[i] = owns_by_right(node) || node->state == NODE_JOINING ? node->weight : 0;
        } else if (node->weight > 0 && strcmp(node->id, nodes[joiner].id) < 0) {
            insert_by_id(nodes, order, count++, i);
            takers[i] = node->weight;
        }
    }
    order[count++] = joiner;
    takers[joiner] = nodes[joiner].weight;
    return nodes[joiner].weight > 0 ? ring_place_lot(nodes, weights, takers, n, run, order, count) : 0;
}

struct ring *ring_with_states(const struct ring *from, const uint8_t *states, uint64_t version) {
    struct ring *ring = ring_alloc(from->n);
    size_t fixed = offsetof(struct ring, refs);
    memcpy(ring, from, fixed); /* others may be counting themselves in and out of it */
    memcpy(ring->nodes, from->nodes, from->n * sizeof(from->nodes[0]));
    ring->version = version;
    for (unsigned i = 0; i < ring->n; i++) {
        ring->nodes[i].state = states[i];
    }
    choose_serving(ring);
    return ring;
}

struct ring *ring_ref(struct ring *ring) {
    atomic_fetch_add_explicit(&ring->refs, 1, memory_order_relaxed);
    return ring;
}

void ring_unref(struct ring *ring) {
    if (ring != NULL && atomic_fetch_sub_explicit(&ring->refs, 1, memory_order_acq_rel) == 1) {
        mem_free(ring);
    }
}

unsigned ring_successor(const struct ring *ring, unsigned slot, unsigned k) {
    uint16_t weights[RING_MAX_NODES];
    weigh(ring, weights);
    return ring_place_successor(ring->nodes, weights, ring->n, ring->run, slot, ring->owner[slot], k);
}

const struct ring_node *ring_previous(const struct ring *ring, unsigned slot, int64_t now_ms) {
    unsigned node = ring->previous[slot];
    return node == RING_NONE || now_ms >= ring->previous_until_ms ? NULL : &ring->nodes[node];
}

unsigned ring_find(const struct ring *ring, const char *id) {
    unsigned low = 0, high = ring->n;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        int order = strcmp(ring->nodes[mid].id, id);
        if (order == 0) {
            return mid;
        }
        low = order < 0 ? mid + 1 : low;
        high = order < 0 ? high : mid;
    }
    return RING_NONE;
}

const char *node_state_name(unsigned state) {
    static const char *const names[NODE_STATE_COUNT] = {"alive", "suspect", "dead", "leaving", "joining"};
    return state < NODE_STATE_COUNT ? names[state] : "?";
}

/* ---- the store ---- */

void ring_store_init(struct ring_store *store) {
    lock_init(&store->lock, LOCK_RING, 0);
    atomic_init(&store->change, 0);
    store->current = NULL;
}

void ring_store_fini(struct ring_store *store) {
    ring_unref(store->current);
    store->current = NULL;
}

void ring_store_publish(struct ring_store *store, struct ring *ring) {
    lock_acquire(&store->lock);
    struct ring *old = store->current;
    store->current = ring;
    atomic_fetch_add_explicit(&store->change, 1, memory_order_release);
    lock_release(&store->lock);
    ring_unref(old);
}

struct ring *ring_store_current(struct ring_store *store) {
    lock_acquire(&store->lock);
    struct ring *ring = store->current != NULL ? ring_ref(store->current) : NULL;
    lock_release(&store->lock);
    return ring;
}

bool ring_reader_refresh_slow(struct ring_reader *reader, struct ring_store *store) {
    lock_acquire(&store->lock);
    struct ring *old = reader->ring;
    reader->ring = store->current != NULL ? ring_ref(store->current) : NULL;
    reader->change = atomic_load_explicit(&store->change, memory_order_relaxed);
    lock_release(&store->lock);
    bool changed = old != reader->ring;
    ring_unref(old);
    return changed;
}

void ring_reader_release(struct ring_reader *reader) {
    ring_unref(reader->ring);
    *reader = (struct ring_reader){0};
}
