/* SPDX-License-Identifier: BSD-3-Clause */
/* guard: what the rules (src/guard/rule.h) make of a read that finds nothing fresh, and of a write: who loads, who waits, who
 * gets a value past its lifetime, and how long values live.
 *
 * A read under a rule, with the key's shard locked:
 *
 *   guard_before   fresh? -> run, perhaps refreshing early
 *                  in its grace, with an origin? -> run with the stale value, refreshing behind it
 *                  known absent, or loading just failed? -> run without, or answer the error
 *   (fill)         disk, then the origin: one load whoever waits
 *   guard_after    still absent, and clients load by themselves: the first is let go with a lease, the others get the stale
 *                  value, or wait for the write
 *
 * and a write: guard_deadline for the lifetime it gives, guard_changed when it is made. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/hash.h"
#include "src/base/lock.h"
#include "src/guard/lease.h"
#include "src/guard/marks.h"
#include "src/guard/purge.h"
#include "src/guard/rule.h"
#include "src/iface/sink.h"
#include "src/l1/l1.h"

struct loop;
struct tier;

struct guard {
    /* fixed after create */
    struct l1 *l1;
    struct tier *tier;
    struct lease_table *leases; /* one per shard, under its lock */
    struct marks *marks;        /* lines under their shards' locks */
    struct purges *purges;      /* changed with every shard locked */
    struct rules *metered;      /* whose quotas memory keeps; changed with every shard locked */
    struct lock editing; /* held by who changes the policies, from reading the old ones on */
    /* GUARD lock */
    struct lock lock;
    struct rules *rules;
    /* atomic */
    _Atomic bool active;   /* there are rules, or were leases: writes must be looked at */
    _Atomic bool off_disk; /* some rule keeps values off the disk */
    _Atomic bool packs;    /* some rule compresses what goes there */
    _Atomic bool requota;  /* the rules' quotas are to be put in force */
    _Atomic uint64_t leases_live;
};

struct guard *guard_create(struct l1 *l1, struct tier *tier, size_t marks, size_t purges);
void guard_destroy(struct guard **g);
/* Takes the reference (NULL: no rules any more). Quotas are in force from the next guard_tick on. Any thread. */
void guard_set_rules(struct guard *g, struct rules *rules);
/* A reference to the present set, or NULL. Any thread. */
struct rules *guard_rules(struct guard *g);
/* There are rules, or were leases; g may be NULL. Any thread. */
static inline bool guard_is_active(const struct guard *g) {
    return g != NULL && atomic_load_explicit(&g->active, memory_order_relaxed);
}

/* What a read may see. */
enum guard_see {
    SEE_FRESH,
    SEE_STALE,  /* values in their grace, too */
    SEE_NOTHING /* not even a fresh one: this reader is sent to refresh it */
};

enum guard_verdict {
    GUARD_GO,   /* run; what is missing may be filled before */
    GUARD_FILTERED, /* run; what is missing may be on disk, but neither at the origin nor with a client that would load it */
    GUARD_KNOWN, /* run as it is: filling would find nothing */
    GUARD_ERROR, /* answer the error */
    GUARD_WAIT   /* join the lease */
};

/* One key of a call. */
struct guard_read {
    /* set by the caller */
    const struct key *key;
    const struct rule *rule; /* not NULL */
    struct rules *rules;     /* its set */
    struct loop *loop;
    unsigned loop_id;
    int64_t now_ms;
    bool value;     /* the call reads the value: it counts, and may be served a stale one */
    bool again;     /* it was counted before */
    bool failed;    /* loading it has failed since the call began, or took too long */
    bool held;      /* it has waited for a lease */
    bool may_lease; /* it is a client's only key, and the client may be let go to load it */
    bool may_wait;  /* and made to wait */
    struct lease_owner *owner; /* the client's connection */
    /* set by guard */
    enum guard_see see;
    const char *error;  /* GUARD_ERROR: static text */
    struct lease *lease; /* GUARD_WAIT: to join; granted: the new one */
    bool granted;
};

enum guard_verdict guard_before(struct guard *g, struct guard_read *r);
enum guard_verdict guard_after(struct guard *g, struct guard_read *r);

/* Whether a load that nobody waits for yet would be of use to a read of the key that is to come, whatever it finds: nothing is in memory,
 * nothing is known of it, and its absence would be remembered. Shard locked. */
bool guard_may_load_ahead(const struct guard *g, const struct rule *rule, const struct key *key, int64_t now_ms);

/* The deadline a write under the rule really gives: jittered; never later. L1_NO_TTL and L1_KEEP_TTL stay. */
int64_t guard_deadline(const struct rule *rule, unsigned loop_id, int64_t expire_ms, int64_t now_ms);
/* After a change, before the sinks are told; shard locked. rule may be NULL. Ends the key's lease, forgets what was known of its
 * absence, gives it the rule's lifetime and grace. by: the connection that wrote, or NULL. */
void guard_changed(struct guard *g, const struct rule *rule, const struct key *key, enum sink_change change, unsigned loop_id,
                   int64_t now_ms);
/* The key may be a rule's filter: what memory has of it is that filter now. Shard locked. */
void guard_seen(struct guard *g, const struct rules *rules, const struct key *key, int64_t now_ms);
/* A loaded value's deadline and what to note, by the rule and what the origin says. now: when it arrived. */
struct lifetime;
int64_t guard_load_deadline(const struct rule *rule, const struct lifetime *life, int64_t now_ms, struct item_extra *extra);

/* The holder of these leases has gone: the first who waits for each gets it. Called with no lock held. */
struct lease_ticket {
    uint64_t hash, token;
};
void guard_abandon(struct guard *g, const struct lease_ticket *tickets, unsigned n);
/* The key's lease, or NULL; one past its deadline is ended first. Grants one to whoever has the token. Shard locked. */
struct lease *guard_lease(struct guard *g, const struct rule *rule, const struct key *key, unsigned loop_id, int64_t now_ms);
struct lease *guard_grant(struct guard *g, const struct key *key, struct lease_owner *owner, int64_t now_ms, int64_t time_ms);
/* Ends the key's lease if it has that token; who waits looks again. False when it has not. Shard locked. */
bool guard_drop(struct guard *g, const struct key *key, uint64_t token);
/* l1's hook: which group's bound a name counts against; ctx is the tier. Its shard locked. */
unsigned tier_group(void *ctx, uint8_t db, struct slice name);
/* What the values of a rule with a quota take in memory now, and how many had to go for it; all 0 without one. No lock needed. */
void guard_quota_read(const struct guard *g, const struct rule *rule, struct l1_group *out);
/* How values of that name are to be compressed on disk; ctx is the tier. Any thread. */
enum rule_compress tier_compress(void *ctx, struct slice name);
/* One has been, from so many bytes to so many; its policy counts it. */
void tier_packed(void *ctx, struct slice name, size_t from, size_t to);
/* Now and then: ends the leases past their deadlines that nobody has asked for since, and puts quotas in force. Called with no lock
 * held. */
void guard_tick(struct guard *g, int64_t now_ms);
/* A lease past its deadline ends: nobody waits for that key for a while. Shard locked. */
void guard_expire_lease(struct guard *g, const struct rule *rule, struct lease *l, unsigned loop_id, int64_t now_ms);
/* Purges a prefix in a physical database, or a tag (purge_tag_hash): what is in memory or below and was written before is never
 * served again, or only as stale (soft). Loads and leases under way are void. False when there are too many purges
 * already. Every shard locked. */
bool guard_purge_prefix(struct guard *g, uint8_t db, struct slice prefix, bool soft, int64_t now_ms);
bool guard_purge_tag(struct guard *g, uint32_t tag, bool soft, int64_t now_ms);
void guard_purge_slots(struct guard *g, const uint8_t *set);
/* What a file says of slots: purges_set_slots. Every shard locked, or before any thread. */
void guard_restore_slots(struct guard *g, const uint32_t *numbers);
/* Every database was emptied. Every shard locked. */
void guard_flushed(struct guard *g);
