/* SPDX-License-Identifier: BSD-3-Clause */
/* tier: makes the keys of a call resident before it runs (fill) and tells the slower tiers what it changed (commit). Sources
 * and sinks are handed in at boot; with none, nothing here costs anything.
 *
 * Fill in three calls, so that the miss and the flight are one critical section:
 *   lock shards -> fill_begin (joins or leads a flight for each missing key) -> unlock -> fill_launch
 * and when the last answer is in, resume runs on the call's loop; the caller locks and begins again, until
 * nothing is missing: a key may have been evicted, or written, in between. A key a source said is absent is
 * settled for this call and not asked for again. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/hash.h"
#include "src/iface/sink.h"
#include "src/iface/source.h"
#include "src/l1/l1.h"
#include "src/tier/settled.h"

enum { TIER_MAX_SOURCES = 4, TIER_MAX_SINKS = 4 };

struct guard;
struct guard_read;
struct loop;
struct request;
struct rule;
struct rules;
struct writes;

struct tier {
    /* fixed after boot */
    struct l1 *l1;
    struct source *sources[TIER_MAX_SOURCES]; /* asked in this order; the first answer wins */
    struct sink *sinks[TIER_MAX_SINKS];
    unsigned source_count, sink_count;
    bool every_change, acks; /* some sink says so */
    _Atomic int64_t fill_deadline_ms; /* CONFIG SET changes it; how long one key's chain may take */
    struct guard *guard;      /* NULL: no rules, ever */
    struct writes *writes;    /* NULL: nothing is ever written to an origin */
    void (*ask)(void *target, struct request *r); /* sends a request to the origin that a rule names */
    void (*changed)(void *ctx, const struct key *key); /* of each change, with the key's shard locked; key NULL: any key may have changed. NULL: nobody asks */
    void *changed_ctx;
    bool (*takes)(void *target, enum value_type type); /* whether a value of the type can be written there; NULL: any can */
    struct settled settled; /* keys that their owner before is not asked for */
    /* atomic */
    _Atomic bool never_probe; /* tests: what sources have in memory counts as cold, too */
    _Atomic uint64_t fills, joined, found, absent, failed, late, dropped_late, loads;
};

void tier_init(struct tier *t, struct l1 *l1);
void tier_add_source(struct tier *t, struct source *s);
void tier_add_sink(struct tier *t, struct sink *s);

/* Looks for an absent key in the memory of the sources, in order: FOUND, it is resident now; ABSENT, no source has it;
 * UNKNOWN, only a fetch can tell. asked gets a bit (of enum stat_tier) for each tier that was; may be NULL. Shard locked. */
enum probe_result tier_probe(struct tier *t, const struct key *key, int64_t now_ms, uint8_t *asked);

struct fill_wait;

enum fill_settled {
    FILL_OPEN,
    FILL_ABSENT, /* no source has it */
    FILL_FAILED  /* nobody could tell: it counts as absent, unless error says that the call is to be refused */
};

/* One call's fill; zeroed but for the first group, owned by the parked call, stays until resume has run with nothing
 * pending. */
struct fill {
    struct tier *tier;
    struct loop *loop;
    const struct key *keys;
    const bool *wanted; /* which of them must be resident */
    int n;
    bool background; /* no client waits */
    struct rules *rules;             /* the set that rule_of is from, or NULL */
    const struct rule **rule_of;     /* the rule of each key, or NULL: its origin is asked last */
    int first_cold; /* of the keys, counted from 1: fill_needs has just said that it is missing, and of those before it that they are
                       not; 0: nobody has asked. For the next fill_begin alone */
    void (*resume)(struct fill *f); /* on loop */
    /* private */
    uint8_t *settled; /* enum fill_settled of each key */
    uint8_t *asked;   /* the tiers that were asked for each key, by whoever led its flight; made with settled */
    struct fill_wait *waits;
    int pending, rounds;
    bool holds; /* memory evicts nothing until this call has run: l1_hold */
    bool failed; /* some key is FILL_FAILED */
    bool passing; /* some value is here for this call only: it must look with L1_STALE */
    const char *error; /* why an origin did not give a key: static text */
};

/* Whether a key is missing and somebody slower, a source or the origin of its rule (may be NULL), may have it. A value in its
 * grace is missing, too: whose call that will do for does not ask. What the sources' memory has becomes resident on the way. asked as with tier_probe. Shard locked. */
bool fill_needs(struct tier *t, const struct key *key, const struct rule *rule, int64_t now_ms, uint8_t *asked);
/* With the shards of all keys locked. False: everything wanted is resident or known absent: run. True: flights were
 * joined; unlock and call fill_launch. */
bool fill_begin(struct fill *f, int64_t now_ms);
/* With no lock held. resume may be called before this returns only through a message to the loop. */
void fill_launch(struct fill *f, int64_t now_ms);
/* Waits no longer: what has not come counts as FILL_FAILED, and resume is called if that was all. The reads go on, and what they find
 * becomes resident for later calls. On the loop; nothing happens when nothing is pending. */
void fill_give_up(struct fill *f);
/* The same for those keys alone whose rule has an origin and a `wait` that is over; each has an error for the client. Returns the shortest
 * wait that is not, 0 for none: call it again then. With waited_ms 0 nothing is given up. */
int64_t fill_tire(struct fill *f, int64_t waited_ms);
/* Frees what fill_begin allocated. Nothing may be pending. */
void fill_end(struct fill *f);

/* Asks the origin of a key that has a value for a newer one; nobody waits for it. False when it is being loaded already. Shard locked. */
bool tier_refresh(struct tier *t, const struct guard_read *r);

/* A value that another node had, and has no more, is this one's from now on, in memory and for the tiers below; false: it is past its
 * life, or there is no memory. No origin hears of it. Takes what it uses of f. Shard locked. */
bool tier_take_in(struct tier *t, const struct key *key, struct found *f, int64_t now_ms);
/* The other way: the key goes from every tier of this node, and its origin keeps it. Shard locked. */
void tier_let_go(struct tier *t, const struct key *key, int64_t now_ms);

/* Keys of a physical database in all tiers, each once; exact but for what is on its way between them. Any thread. */
uint64_t tier_keys(struct tier *t, uint8_t physical);
/* Before the process ends: what only memory has goes to the sinks as if it were evicted; pause is called when they may need
 * time. Every loop has stopped. */
void tier_drain(struct tier *t, int64_t now_ms, void (*pause)(void *ctx), void *ctx);
/* l1's hooks; ctx is the tier. An item leaves memory for want of room: its policy counts that, and when no tier below has it, the sinks
 * may keep it; whether there are policies or sinks. */
void tier_evicted(void *ctx, const struct key *key, const struct item_view *item, enum l1_below below, bool read);
bool tier_heeds(void *ctx);
/* l1's hook: there are sinks, but none would ever take such an item. */
bool tier_spared(void *ctx, const struct item_view *item);
/* l1's hook: tier_is_pressed. */
bool tier_pressed(void *ctx);
/* FLUSHDB of a logical database, or FLUSHALL (-1), and SWAPDB, in every tier. Every shard locked. False as l1_flush_db. */
bool tier_flush(struct tier *t, int logical);
void tier_swap_db(struct tier *t, unsigned a, unsigned b);

/* Purges (src/guard/purge.h), with some shard locked: since when a value is past its deadline; the number of the last one; the stamp a
 * new value must carry. */
int64_t tier_deadline(struct tier *t, const struct key *key, int64_t expire_ms, const struct item_extra *e);
uint32_t tier_last_purge(const struct tier *t);
uint32_t tier_newborn_stamp(const struct tier *t, const struct key *key);
/* l1's hooks for them; ctx is the tier. */
int64_t tier_item_deadline(void *ctx, const struct key *key, int64_t expire_ms, struct slice extra);
size_t tier_newborn(void *ctx, const struct key *key, unsigned char *room);
/* An item's lifetime has ended: its policy counts that. */
void tier_item_lapsed(void *ctx, const struct key *key);
/* An item that somebody came for was past its end; of one that a purge has ended its policy counts that. */
void tier_item_ended(void *ctx, const struct key *key, const struct item_view *item);

/* Some sink is pressed. Any thread. */
static inline bool tier_is_pressed(const struct tier *t) {
    bool pressed = false;
    for (unsigned i = 0; i < t->sink_count; i++) {
        pressed |= atomic_load_explicit(&t->sinks[i]->pressed, memory_order_relaxed);
    }
    return pressed;
}

/* Commit: with the key's shard locked, after the change. True when a sink will call ack->done and the reply must wait
 * for it (once per true sink: *acks counts them). */
void tier_commit_slow(struct tier *t, enum sink_change change, const struct key *key,
                      int64_t now_ms, struct sink_ack *ack, int *acks);

/* A key has changed, its shard is locked; NULL: any key may have. tier_commit, tier_flush and tier_swap_db say so themselves. */
static inline void tier_changed(const struct tier *t, const struct key *key) {
    if (__builtin_expect(t->changed != NULL, 0)) {
        t->changed(t->changed_ctx, key);
    }
}

static inline void tier_commit(struct tier *t, enum sink_change change, const struct key *key,
                               int64_t now_ms, struct sink_ack *ack, int *acks) {
    tier_changed(t, key);
    if (__builtin_expect(t->sink_count != 0, 0)) {
        tier_commit_slow(t, change, key, now_ms, ack, acks);
    }
}
