/* SPDX-License-Identifier: BSD-3-Clause */
/* ring: which node owns which of the 16,384 slots (src/base/hash.h: hash_slot). An immutable, counted snapshot, made from the set of nodes
 * alone: neither their order nor the rings before matter, so that nodes that know the same set agree without asking each other. How the
 * owners are chosen: docs/decisions/006-ring.md.
 *
 * An id stands for as many orders of preference as there are lots. A node that joins takes, once, the one that fits best between those who
 * are there (ring_choose_lot), and says so ever after: that is all of the past that there is in a ring.
 *
 * States (alive, suspect, dead) change no owner: the slots of a node that does not answer are served by the next node of each slot
 * (ring_serving) while the ring stays. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/lock.h"
#include "src/base/slice.h"

enum {
    RING_SLOTS = 16384,
    RING_MAX_NODES = 1000,
    RING_MAX_WEIGHT = 1000,
    RING_MAX_RUN = 6, /* as a power of two */
    RING_LOTS = 64,
    RING_NONE = 0xffff, /* no node */
    NODE_ID_HEX = 40,
    NODE_HOST_BYTES = 256
};

enum node_state {
    NODE_ALIVE,
    NODE_SUSPECT, /* does not answer this node, or others say so: passed over while it lasts */
    NODE_DEAD,    /* has been silent for cluster-node-timeout; still in the ring */
    NODE_LEAVING, /* owns nothing any more, hands over what it has, serves what it is asked */
    NODE_JOINING, /* owns nothing yet */
    NODE_STATE_COUNT
};

struct ring_node {
    char id[NODE_ID_HEX + 1];   /* lower-case hexadecimal */
    char host[NODE_HOST_BYTES]; /* a name or a numeric address without brackets */
    uint16_t port, bus_port;    /* for clients, for peers */
    uint16_t weight;            /* 0..RING_MAX_WEIGHT; 0: owns nothing */
    uint16_t lot;               /* below RING_LOTS: which of its orders of slots it has taken when it joined */
    uint8_t state;              /* enum node_state, as this node sees it */
    bool self;
    bool beginner;              /* for ring_choose_lot: has begun beside the joiner, and may have taken its lot since */
    /* set by ring_build */
    uint16_t slots; /* owned; 16,384 fits */
};

/* Not passed over. */
static inline bool ring_node_answers(const struct ring_node *node) {
    return node->state != NODE_SUSPECT && node->state != NODE_DEAD;
}

struct ring {
    uint64_t version; /* of the set: equal versions have equal nodes (but for their states) and owners. Newer ones are greater. */
    unsigned n;
    unsigned run;                  /* 2^run consecutive slots are placed together */
    uint16_t self;                 /* index of this node, or RING_NONE */
    uint16_t owner[RING_SLOTS];    /* index into nodes */
    uint16_t serving[RING_SLOTS];  /* the owner while it answers, else the first node behind it that does; this node rather than none */
    uint16_t previous[RING_SLOTS]; /* the last owner before, where it is another node that is still known, else RING_NONE */
    int64_t previous_until_ms;     /* until when that one is worth asking, monotonic milliseconds */
    _Atomic unsigned refs;
    struct ring_node nodes[]; /* by id: a node has the same index wherever the version is the same */
};

/* The ring of these nodes, in any order, ids distinct, 1 to RING_MAX_NODES of them; weights above the bound count as the bound. When
 * all weigh nothing, or leave or join, all own. run: 2^run consecutive slots are placed together, at most RING_MAX_RUN; all nodes must have the same. before: the ring until now, or NULL: where its owners differ they become `previous`
 * until previous_until_ms; where they do not, its own previous ones stay so. The caller has the reference. Takes about a millisecond at ten nodes, some tens at a thousand. Any thread. */
struct ring *ring_build(const struct ring_node *nodes, unsigned n, unsigned run, uint64_t version, const struct ring *before,
                        int64_t previous_until_ms);
/* The lot that the node at `joiner` had best take beside those of the others that own something: with it the node gets its share, and takes it where
 * most can be spared. Beginners, and who joins without a lot (0), take theirs in the order of ids, as each of them finds by the same function: so nodes that begin at
 * once fit in with each other. 0 when there are none. nodes: as ring_build; the joiner's state and lot do not matter. Takes as long as ring_build, and some
 * milliseconds for each lot. Any thread. */
uint16_t ring_choose_lot(const struct ring_node *nodes, unsigned n, unsigned run, unsigned joiner);
/* The same ring with other states and, when version is newer, another version: owners are copied. states: one for each node, in the ring's
 * order; only ALIVE, SUSPECT and DEAD may take each other's place. */
struct ring *ring_with_states(const struct ring *ring, const uint8_t *states, uint64_t version);
struct ring *ring_ref(struct ring *ring);
void ring_unref(struct ring *ring);

static inline const struct ring_node *ring_owner(const struct ring *ring, unsigned slot) {
    return &ring->nodes[ring->owner[slot]];
}

/* Who is asked now: see `serving`. */
static inline const struct ring_node *ring_serving(const struct ring *ring, unsigned slot) {
    return &ring->nodes[ring->serving[slot]];
}

static inline bool ring_owns(const struct ring *ring, unsigned slot) {
    return ring->owner[slot] == ring->self;
}

static inline bool ring_serves(const struct ring *ring, unsigned slot) {
    return ring->serving[slot] == ring->self;
}

/* The index of the k-th node behind the slot's owner, k from 1, whatever its state; RING_NONE when there are not so many that may own
 * something. Every node with this version says the same. Costs a pass over the nodes for each k: for when the owner is silent. */
unsigned ring_successor(const struct ring *ring, unsigned slot, unsigned k);
/* Who owned the slot before, during the window after a change, when it is another node; else NULL. */
const struct ring_node *ring_previous(const struct ring *ring, unsigned slot, int64_t now_ms);
/* The index of the node with this id, or RING_NONE. */
unsigned ring_find(const struct ring *ring, const char *id);
const char *node_state_name(unsigned state);

/* The current ring: one writer, many readers. */
struct ring_store {
    struct lock lock;        /* RING: current */
    _Atomic uint64_t change; /* counts publications; 0: none yet */
    struct ring *current;
};

void ring_store_init(struct ring_store *store);
void ring_store_fini(struct ring_store *store);
/* Takes the caller's reference. Any thread, one at a time. */
void ring_store_publish(struct ring_store *store, struct ring *ring);
/* A reference to the current ring; NULL before the first. Any thread. */
struct ring *ring_store_current(struct ring_store *store);

/* A reader's own reference, for a loop: refreshed once a turn, a load and a compare when nothing has changed. */
struct ring_reader {
    struct ring *ring; /* NULL before the first */
    uint64_t change;
};

/* True when the ring is another one than before. */
bool ring_reader_refresh_slow(struct ring_reader *reader, struct ring_store *store);
static inline bool ring_reader_refresh(struct ring_reader *reader, struct ring_store *store) {
    uint64_t now = atomic_load_explicit(&store->change, memory_order_acquire);
    return __builtin_expect(now != reader->change, 0) && ring_reader_refresh_slow(reader, store);
}
void ring_reader_release(struct ring_reader *reader);
