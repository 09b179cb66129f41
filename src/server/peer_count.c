/* SPDX-License-Identifier: BSD-3-Clause */
/* peer_count: what was asked of each other node. */
#include "src/server/peer_count.h"

#include <stdio.h>
#include <string.h>

#include "src/base/check.h"
#include "src/base/mem.h"

enum { SMOOTHED_OVER = 8 };

void peer_counts_init(struct peer_counts *all, unsigned loops) {
    lock_init(&all->lock, LOCK_PEER_COUNTS, 0);
    list_init(&all->list);
    all->loops = loops;
}

void peer_counts_fini(struct peer_counts *all) {
    CHECK(list_empty(&all->list));
}

static struct peer_count *find(const struct peer_counts *all, const char *id) {
    for (struct list *n = all->list.next; n != &all->list; n = n->next) {
        struct peer_count *c = LIST_ENTRY(n, struct peer_count, node);
        if (strcmp(c->id, id) == 0) {
            return c;
        }
    }
    return NULL;
}

struct peer_count *peer_counts_take(struct peer_counts *all, const char *id) {
    size_t bytes = sizeof(struct peer_count) + all->loops * sizeof(struct peer_cell);
    lock_acquire(&all->lock);
    struct peer_count *c = find(all, id);
    if (c == NULL) {
        c = mem_zalloc(bytes);
        snprintf(c->id, sizeof(c->id), "%s", id);
        list_push_back(&all->list, &c->node);
    }
    c->users++;
    lock_release(&all->lock);
    return c;
}

void peer_counts_leave(struct peer_counts *all, struct peer_count **count) {
    struct peer_count *c = *count;
    *count = NULL;
    if (c == NULL) {
        return;
    }
    lock_acquire(&all->lock);
    bool last = --c->users == 0;
    if (last) {
        list_remove(&c->node);
    }
    lock_release(&all->lock);
    if (last) {
        mem_free(c);
    }
}

struct peer_sum peer_counts_read(struct peer_counts *all, const char *id) {
    struct peer_sum sum = {0};
    uint64_t answered = 0;
    lock_acquire(&all->lock);
    const struct peer_count *c = find(all, id);
    for (unsigned i = 0; c != NULL && i < all->loops; i++) {
        const struct peer_cell *cell = &c->cells[i];
        uint64_t answers = STAT_GET(cell->answers);
        sum.calls += STAT_GET(cell->calls);
        sum.answers += answers;
        sum.lost += STAT_GET(cell->lost);
        sum.rtt_us += STAT_GET(cell->rtt_us) * (answers > 0);
        answered += answers > 0;
    }
    lock_release(&all->lock);
    sum.rtt_us = answered > 0 ? sum.rtt_us / answered : 0;
    return sum;
}

void peer_cell_answered(struct peer_cell *cell, uint64_t us) {
    uint64_t before = STAT_GET(cell->rtt_us), first = STAT_GET(cell->answers) == 0;
    uint64_t now = first ? us : (before * (SMOOTHED_OVER - 1) + us + SMOOTHED_OVER / 2) / SMOOTHED_OVER;
    atomic_store_explicit(&cell->rtt_us, now, memory_order_relaxed);
    STAT_ADD(cell->answers, 1);
}
