/* SPDX-License-Identifier: BSD-3-Clause */
/* lease: absent keys that a client was let go to load, and those who wait for it to write them (Nishtala et al.: Scaling
 * Memcache at Facebook, NSDI 2013). A lease ends with a write, a deletion, its deadline, or its holder's connection.
 *
 * One table per shard of the memory tier, whose lock guards it. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/hash.h"
#include "src/base/list.h"

/* A connection that holds leases: how many live ones, and when the last of them is past its deadline. Counted by its leases and
 * its session. */
struct lease_owner {
    _Atomic unsigned refs;
    _Atomic int live;
    int64_t until_ms; /* its own loop only */
    uint64_t client;  /* the connection's id */
};
struct lease_owner *lease_owner_create(uint64_t client);
void lease_owner_unref(struct lease_owner *o);
/* On its own loop: leases it may still fill, some of them perhaps past their deadlines; 0 when all are. o may be NULL. */
static inline int lease_owner_live(const struct lease_owner *o, int64_t now_ms) {
    bool in_time = o != NULL && o->until_ms > now_ms;
    return in_time ? atomic_load_explicit(&o->live, memory_order_relaxed) : 0;
}

/* A call that waits for a lease's end; embedded in it. */
struct lease_waiter {
    struct list node;
    bool woken; /* wake has been, or will be called */
    void (*wake)(struct lease_waiter *w); /* any thread, perhaps with the shard locked: it only sends a message */
};

struct lease {
    struct lease *next; /* in the table's chain */
    struct list waiters;
    struct lease_owner *owner; /* NULL: whoever has the token */
    uint64_t hash, token;
    int64_t granted_ms, deadline_ms;
    uint32_t waiting;
    uint8_t db;
    uint32_t name_len;
    char name[];
};

enum { LEASE_BUCKETS = 32 };

struct lease_table {
    uint32_t count;
    struct lease *buckets[LEASE_BUCKETS];
};

/* The lease of the key, or NULL; also one past its deadline. */
struct lease *lease_find(const struct lease_table *t, const struct key *key);
/* The lease of that token among keys of that hash, or NULL. */
struct lease *lease_by_token(const struct lease_table *t, uint64_t hash, uint64_t token);
/* There is none of the key. owner may be NULL; a reference is taken. */
struct lease *lease_grant(struct lease_table *t, const struct key *key, struct lease_owner *owner, int64_t now_ms,
                          int64_t deadline_ms);
/* Who asks now and may wait; lease_leave takes it back, when it has not been woken. */
void lease_join(struct lease *l, struct lease_waiter *w);
void lease_leave(struct lease *l, struct lease_waiter *w);
/* Unregisters and frees l; its waiters move to woken (initialised by the caller). */
void lease_end(struct lease_table *t, struct lease *l, struct list *woken);
/* Calls wake of each. */
void lease_wake(struct list *woken);
