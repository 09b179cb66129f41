/* SPDX-License-Identifier: BSD-3-Clause */
/* lease: a small chained table per shard. */
#include "src/guard/lease.h"

#include <string.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

struct lease_owner *lease_owner_create(uint64_t client) {
    struct lease_owner *o = mem_zalloc(sizeof(*o));
    o->client = client;
    atomic_init(&o->refs, 1);
    return o;
}

void lease_owner_unref(struct lease_owner *o) {
    if (o != NULL && atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) == 1) {
        mem_free(o);
    }
}

static struct lease **slot_of(const struct lease_table *t, uint64_t hash) {
    /* the low bits chose the shard */
    return (struct lease **)(uintptr_t)&t->buckets[(hash >> 32) % LEASE_BUCKETS];
}

static bool lease_is(const struct lease *l, const struct key *key) {
    return l->hash == key->hash && l->db == key->db && slice_eq(slice_make(l->name, l->name_len), key->name);
}

struct lease *lease_find(const struct lease_table *t, const struct key *key) {
    if (t->count == 0) {
        return NULL;
    }
    struct lease *l = *slot_of(t, key->hash);
    while (l != NULL && !lease_is(l, key)) {
        l = l->next;
    }
    return l;
}

struct lease *lease_by_token(const struct lease_table *t, uint64_t hash, uint64_t token) {
    struct lease *l = t->count != 0 ? *slot_of(t, hash) : NULL;
    while (l != NULL && (l->hash != hash || l->token != token)) {
        l = l->next;
    }
    return l;
}

struct lease *lease_grant(struct lease_table *t, const struct key *key, struct lease_owner *owner, int64_t now_ms,
                          int64_t deadline_ms) {
    ASSERT(lease_find(t, key) == NULL);
    struct lease **slot = slot_of(t, key->hash);
    struct lease *l = mem_alloc(sizeof(*l) + key->name.n);
    *l = (struct lease){.next = *slot,
                        .owner = owner,
                        .hash = key->hash,
                        .token = rng_u64() | 1, /* 0 is no token */
                        .granted_ms = now_ms,
                        .deadline_ms = deadline_ms,
                        .db = key->db,
                        .name_len = (uint32_t)key->name.n};
    list_init(&l->waiters);
    memcpy(l->name, key->name.p, key->name.n);
    *slot = l;
    t->count++;
    if (owner != NULL) {
        atomic_fetch_add_explicit(&owner->refs, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&owner->live, 1, memory_order_relaxed);
        owner->until_ms = deadline_ms > owner->until_ms ? deadline_ms : owner->until_ms;
    }
    return l;
}

void lease_join(struct lease *l, struct lease_waiter *w) {
    w->woken = false;
    list_push_back(&l->waiters, &w->node);
    l->waiting++;
}

void lease_leave(struct lease *l, struct lease_waiter *w) {
    ASSERT(!w->woken);
    list_remove(&w->node);
    l->waiting--;
}

void lease_end(struct lease_table *t, struct lease *l, struct list *woken) {
    struct lease **at = slot_of(t, l->hash);
    while (*at != l) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = l->next;
    t->count--;
    for (struct list *n; (n = list_pop_front(&l->waiters)) != NULL;) {
        LIST_ENTRY(n, struct lease_waiter, node)->woken = true;
        list_push_back(woken, n);
    }
    if (l->owner != NULL) {
        atomic_fetch_sub_explicit(&l->owner->live, 1, memory_order_relaxed);
        lease_owner_unref(l->owner);
    }
    mem_free(l);
}

void lease_wake(struct list *woken) {
    for (struct list *n; (n = list_pop_front(woken)) != NULL;) {
        struct lease_waiter *w = LIST_ENTRY(n, struct lease_waiter, node);
        w->wake(w); /* w may be gone now */
    }
}
