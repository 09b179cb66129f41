/* SPDX-License-Identifier: BSD-3-Clause */
/* ring_sim: ways to give 16,384 slots to nodes, side by side, and how long a cluster takes to agree. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cluster/ring.h"

enum ring_lots {
    LOTS_NONE,
    LOTS_GROWN,  /* nodes have joined one by one, and each has taken a lot */
    LOTS_AT_ONCE /* they were started at once, and have taken lots by their ids */
};

/* One way: from the nodes (in the order of their ids) alone to the owner of each slot. */
struct ring_method {
    const char *name;
    void (*place)(const struct ring_node *nodes, unsigned n, uint16_t *owner);
    enum ring_lots lots;
    unsigned run; /* for lots: as a power of two */
};

/* NULL behind the last. The first is the product's. */
const struct ring_method *ring_method(unsigned i);
/* The tables: for each of these numbers of nodes, over so many sets of ids. */
void ring_sim(const unsigned *nodes, unsigned count, unsigned runs);
