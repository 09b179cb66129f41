/* SPDX-License-Identifier: BSD-3-Clause */
/* flight: a small chained table per shard. */
#include "src/l1/flight.h"

#include "src/base/check.h"
#include "src/base/mem.h"

static struct flight **flight_slot(const struct flight_table *t, uint64_t hash) {
    return (struct flight **)&t->buckets[hash % FLIGHT_BUCKETS];
}

static bool flight_is(const struct flight *f, const struct key *key) {
    return f->hash == key->hash && f->db == key->db &&
           slice_eq(slice_make(f->name, f->name_len), key->name);
}

struct flight *flight_find(const struct flight_table *t, const struct key *key) {
    if (t->count == 0) {
        return NULL;
    }
    struct flight *f = *flight_slot(t, key->hash);
    while (f != NULL && !flight_is(f, key)) {
        f = f->next;
    }
    return f;
}

struct flight *flight_begin(struct flight_table *t, const struct key *key) {
    ASSERT(flight_find(t, key) == NULL);
    struct flight *f = mem_alloc(sizeof(*f) + key->name.n);
    struct flight **slot = flight_slot(t, key->hash);
    *f = (struct flight){.next = *slot,
                         .hash = key->hash,
                         .db = key->db,
                         .name_len = (uint32_t)key->name.n};
    list_init(&f->waiters);
    memcpy(f->name, key->name.p, key->name.n);
    *slot = f;
    t->count++;
    return f;
}

void flight_end(struct flight_table *t, struct flight *f, struct list *woken) {
    struct flight **at = flight_slot(t, f->hash);
    while (*at != f) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = f->next;
    t->count--;
    for (struct list *n; (n = list_pop_front(&f->waiters)) != NULL;) {
        LIST_ENTRY(n, struct waiter, node)->landed = true;
        list_push_back(woken, n);
    }
    mem_free(f);
}

void flight_overtake_slow(struct flight_table *t, const struct key *key) {
    struct flight *f = flight_find(t, key);
    if (f != NULL) {
        f->overtaken = true;
    }
}

void flight_overtake_all(struct flight_table *t) {
    for (int i = 0; i < FLIGHT_BUCKETS && t->count != 0; i++) {
        for (struct flight *f = t->buckets[i]; f != NULL; f = f->next) {
            f->overtaken = true;
        }
    }
}
