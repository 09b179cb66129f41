/* SPDX-License-Identifier: BSD-3-Clause */
/* watch: a small chained table per shard. */
#include "src/l1/watch.h"

#include "src/base/check.h"

static struct watch **watch_slot(struct watch_table *t, uint64_t hash) {
    return &t->buckets[hash % WATCH_BUCKETS];
}

void watch_add(struct watch_table *t, struct watch *w) {
    struct watch **slot = watch_slot(t, w->hash);
    w->next = *slot;
    *slot = w;
    t->count++;
}

void watch_remove(struct watch_table *t, struct watch *w) {
    struct watch **at = watch_slot(t, w->hash);
    while (*at != w) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = w->next;
    t->count--;
}

void watch_touch_slow(struct watch_table *t, const struct key *key) {
    for (struct watch *w = *watch_slot(t, key->hash); w != NULL; w = w->next) {
        if (w->hash == key->hash && w->db == key->db &&
            slice_eq(slice_make(w->name, w->name_len), key->name)) {
            atomic_store_explicit(w->dirty, true, memory_order_relaxed);
        }
    }
}

void watch_touch_db(struct watch_table *t, int db) {
    for (int i = 0; i < WATCH_BUCKETS && t->count != 0; i++) {
        for (struct watch *w = t->buckets[i]; w != NULL; w = w->next) {
            if (db < 0 || w->db == db) {
                atomic_store_explicit(w->dirty, true, memory_order_relaxed);
            }
        }
    }
}
