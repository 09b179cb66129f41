/* SPDX-License-Identifier: BSD-3-Clause */
/* peer_count: what was asked of each other node, and how long it took to answer: counted by each loop, read by any thread. */
#pragma once

#include <stdint.h>

#include "src/base/list.h"
#include "src/base/lock.h"
#include "src/stats/stat.h"

enum { PEER_ID_BYTES = 40 };

/* One loop's; written by that loop. As long as a cache line, so that loops do not write to one too often. */
struct peer_cell {
    stat_t calls, answers, lost; /* lost: sent, and the link broke before the reply */
    stat_t rtt_us;               /* from a call to its reply, smoothed over some ten of them; 0: none yet */
    stat_t spare[4];
};

/* One node, as long as a loop has to do with it. */
struct peer_count {
    struct list node;
    unsigned users;
    char id[PEER_ID_BYTES + 1];
    struct peer_cell cells[];
};

struct peer_counts {
    struct lock lock; /* PEER_COUNTS: list, users */
    struct list list;
    unsigned loops;
};

/* Of all loops. */
struct peer_sum {
    uint64_t calls, answers, lost, rtt_us;
};

void peer_counts_init(struct peer_counts *all, unsigned loops);
void peer_counts_fini(struct peer_counts *all);
/* The node's, made when it has none; given back with peer_counts_leave. Any thread. */
struct peer_count *peer_counts_take(struct peer_counts *all, const char *id);
void peer_counts_leave(struct peer_counts *all, struct peer_count **count);
/* Zeros when nothing is known. Any thread. */
struct peer_sum peer_counts_read(struct peer_counts *all, const char *id);
/* A reply came us microseconds after its call was sent. The cell's loop. */
void peer_cell_answered(struct peer_cell *cell, uint64_t us);
