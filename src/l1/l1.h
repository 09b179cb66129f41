/* SPDX-License-Identifier: BSD-3-Clause */
/* l1: the memory tier as commands and tiers see it: keys with typed values and deadlines, in S shards.
 *
 * Every function that takes a key needs that key's shard locked by the caller (l1_lock_*), unless its
 * comment says otherwise. Nothing here blocks, does I/O or evicts behind the caller's back: what l1_get
 * returned stays valid until the key is written or the shard is unlocked. Eviction, expiry, growth and
 * compaction happen in l1_make_room and l1_tick, in bounded slices.
 *
 * Table, item layout and policies: see table.h, item.h, arena.h and policy.h of this folder. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/hash.h"
#include "src/base/lock.h"
#include "src/base/slice.h"
#include "src/iface/item.h"
#include "src/value/value.h"

enum {
    L1_MAX_DBS = 64,      /* logical databases */
    L1_PHYSICAL_DBS = 256, /* numbers they map to; flushed ones rest until their items are swept */
    L1_GROUPS = 16 /* of items with a bound of their own; 0: none */
};

/* Deadlines are absolute wall-clock milliseconds; two values are special. */
#define L1_NO_TTL ((int64_t)-1)
#define L1_KEEP_TTL ((int64_t)-2)

enum l1_flags {
    L1_TOUCH = 0,       /* the access counts for the eviction policy (the default) */
    L1_NOTOUCH = 1 << 0, /* CLIENT NO-TOUCH, OBJECT, TYPE, TTL, internal reads */
    L1_RAW = 1 << 1,    /* a written string reports encoding "raw" whatever its bytes (APPEND, SETBIT...) */
    L1_STALE = 1 << 2   /* a read takes a value past its deadline, too, while its grace lasts */
};

/* A large string outside the slab, shared by reference with replies on their way out. */
struct blob {
    _Atomic uint32_t refs;
    size_t n;     /* bytes of the string */
    size_t size;  /* bytes it keeps allocated */
    char *bytes;  /* behind this head, or within memory */
    void *memory; /* a buffer it adopted, from base/mem; or NULL */
};
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b);
/* A blob of one reference around bytes that lie within memory, size bytes from mem_alloc, which it owns from now on.
 * NULL without memory. */
struct blob *blob_adopt(void *memory, size_t size, struct slice bytes);

/* What the tiers below have of a key: see l1_below. */
enum l1_below {
    L1_BELOW_UNKNOWN, /* perhaps an older version; also for an absent key */
    L1_BELOW_ABSENT,  /* no tier below has the key */
    L1_BELOW_SAME     /* a tier below has this very value: eviction needs no write */
};

/* Told about an item that leaves the tier unasked; read: it was read since it came, as far as the policy knows. Called with the shard locked; must not call l1. */
struct l1_hooks {
    void *ctx;
    void (*evicted)(void *ctx, const struct key *key, const struct item_view *item, enum l1_below below, bool read);
    /* Whether evicted is to be told at present. NULL: always. Shard locked; must not call l1. */
    bool (*heeds)(void *ctx);
    void (*expired)(void *ctx, const struct key *key, const struct item_view *item);
    /* The lifetime of an item has ended, whoever found that: told once, though it may rest in its grace. Shard locked; must not call
     * l1. May be NULL. */
    void (*lapsed)(void *ctx, const struct key *key);
    /* While l1_purging: since when an item has been past its deadline, given its own (or INT64_MAX) and what was noted; INT64_MIN:
     * it must not be served at all. */
    int64_t (*deadline)(void *ctx, const struct key *key, int64_t expire_ms, struct slice extra);
    /* While l1_purging: what is to be noted of a new item from the start, encoded into room; returns its length. */
    size_t (*newborn)(void *ctx, const struct key *key, unsigned char *room);
    /* Whoever takes what is evicted would not take this item: better another one. Asked of a few at a time only: when there are
     * none but such, they go. Shard locked; must not call l1. May be NULL. */
    bool (*spared)(void *ctx, const struct item_view *item);
    /* Whoever takes what is evicted cannot follow: evicting waits, within an eighth of the limit. May be NULL. */
    bool (*pressed)(void *ctx);
    /* While l1_set_groups has it so: the group of an item of that name, below L1_GROUPS; 0: none. */
    unsigned (*group)(void *ctx, uint8_t db, struct slice name);
};

struct l1_options {
    unsigned shards;    /* power of two, 1..4096 */
    size_t limit_bytes; /* 0: none */
    const char *policy; /* a row of policies.def, "noeviction" */
    struct l1_hooks hooks;
    /* conf values policies read: 0 means the default */
    int lfu_log_factor, lfu_decay_minutes, samples;
};

struct bucket;
struct policy;
struct shard;

struct l1 {
    /* fixed after create */
    unsigned shard_count, shard_shift; /* shard of a key: the low shard_shift bits of its hash */
    struct shard *shards;              /* cache-line aligned array */
    struct l1_hooks hooks;
    struct chunk_pool *pool;
    void *shard_memory;
    /* changed with every shard locked, so stable while any shard lock is held; read before that to hash early */
    _Atomic uint8_t db_map[L1_MAX_DBS];
    /* atomic */
    _Atomic size_t limit_bytes;
    _Atomic int64_t used_bytes;
    _Atomic(const struct policy *) policy;
    _Atomic uint64_t flush_generation; /* raised by flushes: shards sweep until they have seen it */
    _Atomic uint32_t holds;     /* l1_hold */
    bool purging, grouping;     /* changed with every shard locked */
    struct group *groups;       /* L1_GROUPS of them: quota.h */
    _Atomic uint32_t crowded;   /* bit g: group g is over its bound */
    _Atomic bool active_expire; /* DEBUG SET-ACTIVE-EXPIRE */
    _Atomic unsigned tick_at;   /* the part of the shard that l1_tick does next */
    _Atomic unsigned tick_quiet; /* parts in a row, up to that one, that had nothing left to do */
};

struct l1 *l1_create(const struct l1_options *options);
/* Frees everything. No shard may be locked. */
void l1_destroy(struct l1 **l1);

/* ---- locks: any thread; several shards in ascending order, each once ---- */
static inline unsigned l1_shard_of(const struct l1 *l1, uint64_t hash) {
    return (unsigned)hash & (l1->shard_count - 1);
}
void l1_lock(struct l1 *l1, unsigned shard);
void l1_unlock(struct l1 *l1, unsigned shard);
void l1_lock_all(struct l1 *l1);
/* How often l1_lock found that shard locked by another thread. No lock needed. */
uint64_t l1_contended(const struct l1 *l1, unsigned shard);
void l1_unlock_all(struct l1 *l1);
/* The shards of n keys, ascending, each once, into out (room for n); returns how many. */
unsigned l1_shards_of(const struct l1 *l1, const struct key *keys, size_t n, uint16_t *out);

/* ---- prefetch: no lock, any thread; wrong or stale input costs only the prefetch ---- */
/* Stage 1: the bucket's line. Returns the bucket, which stays mapped, for stage 2: the item's first lines. */
const struct bucket *l1_prefetch_bucket(const struct l1 *l1, uint64_t hash);
/* write: it is going to be changed, so that its lines are taken from whichever core has them. */
void l1_prefetch_item(const struct l1 *l1, uint64_t hash, const struct bucket *bucket, bool write);

/* ---- read ---- */
/* False when absent or expired (an expired item is removed now, and counted). */
bool l1_get(struct l1 *l1, const struct key *key, int64_t now_ms, unsigned flags,
            struct item_view *out);

/* ---- write; all of them return ERR_OUT_OF_MEMORY with nothing changed when memory is gone ---- */
/* Replaces or creates. expire_ms: a deadline, L1_NO_TTL, or L1_KEEP_TTL (a new key has none). value may not
 * point into the item itself unless it is the item_view's own str (which is copied first). */
enum err l1_set(struct l1 *l1, const struct key *key, struct slice value, int64_t expire_ms,
                unsigned flags, int64_t now_ms) __attribute__((warn_unused_result));
/* The same for a blob: takes the caller's reference on success. For values longer than an item holds. */
enum err l1_set_blob(struct l1 *l1, const struct key *key, struct blob *blob, int64_t expire_ms, unsigned flags,
                     int64_t now_ms) __attribute__((warn_unused_result));
/* The same for an aggregate: takes the caller's reference on success. */
enum err l1_set_value(struct l1 *l1, const struct key *key, struct value *value, int64_t expire_ms,
                      int64_t now_ms) __attribute__((warn_unused_result));
/* Several strings without deadlines, all or none: each key is made ready, which may fail; then each is set, or each that was made
 * ready is undone, neither of which can fail. All their shards are locked from the first to the last of these calls, and nothing else
 * is written meanwhile. A key may come up more than once, the later value wins. */
enum l1_ready_how {
    READY_PLACED,   /* the key was absent: it is in the table already */
    READY_IN_PLACE, /* the value goes over the old one, in its block */
    READY_MADE      /* a block has been made */
};
struct l1_ready {
    uint32_t handle; /* the block */
    uint8_t how;
};
/* Takes all the memory that setting the key will need. With a blob, its string (see l1_set_blob) and the caller's reference, the
 * latter on success. made: an earlier key of the call is READY_MADE, perhaps this very one. */
enum err l1_ready(struct l1 *l1, const struct key *key, struct slice value, struct blob *blob, bool made, int64_t now_ms,
                  struct l1_ready *out) __attribute__((warn_unused_result));
/* value: the same again. */
void l1_ready_set(struct l1 *l1, const struct key *key, struct slice value, const struct l1_ready *ready);
void l1_ready_undo(struct l1 *l1, const struct key *key, const struct l1_ready *ready);
/* The string's bytes for writing, made len bytes long (new bytes are zero; shorter cuts), created when absent,
 * its deadline kept, marked raw. The caller has checked that the key holds a string or nothing. */
enum err l1_string_mut(struct l1 *l1, const struct key *key, size_t len, int64_t now_ms, char **out)
    __attribute__((warn_unused_result));
/* Sets L1_RAW of a present string, which is no write. */
void l1_string_raw(struct l1 *l1, const struct key *key);
/* The key's aggregate for changing in place (copied first when another shares it, unless value_in_place); NULL when the
 * copy finds no memory. The key must hold one. Call l1_value_changed afterwards: it accounts the new size, and
 * removes the key when the aggregate became empty. Returns its bytes, 0 when it went. */
struct value *l1_value_mut(struct l1 *l1, const struct key *key);
size_t l1_value_changed(struct l1 *l1, const struct key *key);
/* Instead, when nothing was changed after all: only accounts the size (of a copy, or of a table that has grown). */
void l1_value_kept(struct l1 *l1, const struct key *key);
/* True when it existed (and was not expired). Large values are freed in later slices. */
bool l1_del(struct l1 *l1, const struct key *key, int64_t now_ms);
/* The key is absent here and nobody has looked further: whatever tiers below have of it goes. For those who watch it. */
void l1_del_below(struct l1 *l1, const struct key *key);
/* Sets the deadline (or L1_NO_TTL) of an existing key; false when there is none. */
bool l1_expire(struct l1 *l1, const struct key *key, int64_t expire_ms, int64_t now_ms);
/* Replaces what guards noted of a present key (struct item_extra, encoded; empty: nothing). Kept while the value is overwritten.
 * No change to the key: nobody is told. False without memory: the old one stands. */
bool l1_set_extra(struct l1 *l1, const struct key *key, struct slice extra, int64_t now_ms);
/* From now on hooks.deadline is asked on every look-up, or no more; what is purged already is swept. Flights are overtaken. Every
 * shard locked. */
void l1_purging(struct l1 *l1, bool on);

/* ---- what slower tiers know of a key ----
 * A tier below may hold an older version, or this very one. After every write commit settles which; l1 keeps it, through
 * overwrites too, so that a hot key's next write need not ask below again. With the key's shard locked. */
enum l1_below l1_below(const struct l1 *l1, const struct key *key);
/* The key must be present. */
void l1_set_below(struct l1 *l1, const struct key *key, enum l1_below below);
/* Keys of physical database db whose value a tier below has, too. No lock needed. */
uint64_t l1_db_same(const struct l1 *l1, uint8_t db);
/* Before anything is stored: logical database i is physical number map[i]. */
void l1_restore_map(struct l1 *l1, const uint8_t *map);

/* ---- whole keyspace ---- */
/* Live keys, keys with a deadline (both may include expired ones not yet swept, as in Redis) and the sum needed
 * for avg_ttl. No lock needed. db is physical. */
uint64_t l1_db_keys(const struct l1 *l1, uint8_t db);
uint64_t l1_db_expires(const struct l1 *l1, uint8_t db);
/* Items of all databases, those of flushed ones that are not swept yet too. A walk over 128 KB of counters. No lock needed. */
uint64_t l1_keys(const struct l1 *l1);
/* These three change db_map; every shard must be locked (l1_lock_all). O(1): items of a flushed database are
 * invisible at once and swept by l1_tick. False only when all physical numbers still await their sweep. */
bool l1_flush_db(struct l1 *l1, unsigned logical);
bool l1_flush_all(struct l1 *l1);
void l1_swap_db(struct l1 *l1, unsigned a, unsigned b);

typedef void (*l1_visit_fn)(void *ctx, const struct key *key, const struct item_view *item);
/* Visits whole buckets from that of position on, until at least `want` items or 16 x want buckets were seen, in an order
 * that tables which grow or shrink do not disturb (of positions, see hash_position; keys of one bucket in any order): a key present
 * all the time is visited exactly once. Returns the position behind what was visited, its
 * last 16 bits 0; 0 at the end. Locks one shard at a time itself, unless locked (then the caller holds all). db < 0: every live
 * database. Expired items are not visited. fn must not call l1. */
uint64_t l1_scan(struct l1 *l1, uint64_t position, size_t want, int db, int64_t now_ms, bool locked,
                 l1_visit_fn fn, void *ctx);
/* A uniformly enough random live key of db; fn is called once under the lock. False when there is none. */
bool l1_random(struct l1 *l1, uint8_t db, int64_t now_ms, bool locked, l1_visit_fn fn, void *ctx);

/* ---- memory ---- */
/* Bytes held now: items, tables, heap values, the policy's state. No lock needed. */
size_t l1_bytes(const struct l1 *l1);
void l1_set_limit(struct l1 *l1, size_t bytes); /* 0: none */
/* Gives memory of free chunks back to the system, about so many bytes, in a bounded slice. Any thread. */
void l1_trim(struct l1 *l1, size_t bytes);
/* False for an unknown name. Items keep their metadata byte; the new policy starts from it. */
bool l1_set_policy(struct l1 *l1, const char *name);
const char *l1_policy_name(const struct l1 *l1);
/* Called after a write call, shard locked: evicts from this shard while the tier is over its limit, at most
 * `max_victims`. A cheap inline check would be used first by callers: l1_over_limit. */
void l1_make_room(struct l1 *l1, unsigned shard, unsigned max_victims, int64_t now_ms);
/* While anyone holds it, nothing is evicted to make room: a call whose keys come from a slower tier has tried more than once
 * to have them here together. For as long as its reads take. Any thread. */
void l1_hold(struct l1 *l1, bool hold);
/* Evicts up to so many, over the limit or not; returns how many. Shard locked. */
unsigned l1_evict(struct l1 *l1, unsigned shard, unsigned max_victims, int64_t now_ms);
bool l1_over_limit(const struct l1 *l1);
/* Over its limit, or a group over its bound: l1_make_room has something to do. */
bool l1_needs_room(const struct l1 *l1);
/* So far over the limit that those who write should wait for l1_tick: eviction can help, but has not kept up. No lock needed. */
bool l1_is_behind(const struct l1 *l1);
/* True when the tier is over its limit and the policy has nothing it may evict (noeviction, or volatile-* with no
 * deadlines): the writer gets ERR_OOM. No lock needed. */
bool l1_deny_writes(const struct l1 *l1);
/* Maintenance for at most about budget_us, of each shard in turn, from where the last one ended: expiry due by now, sweep of flushed
 * databases, freeing of large values, eviction down to the limit, compaction of chunks, shrinking of tables. Takes a shard's lock for
 * slices well under 0.5 ms; with a budget of 0, for one. Returns true when work is left. Any thread; several share the work. */
bool l1_tick(struct l1 *l1, int64_t now_ms, int64_t budget_us);

/* ---- groups: items with a bound of their own, that push out one another beyond it ---- */
struct l1_group {
    uint64_t bytes, items, evicted;
};
/* From now on hooks.group sorts new items, and limits[g] bounds the bytes of group g (0: none). What is there already is sorted by
 * the tick. anew: groups, a bit each, whose evictions are counted from 0 again. Every shard locked. */
void l1_set_groups(struct l1 *l1, const int64_t limits[L1_GROUPS], uint32_t anew);
/* No lock needed. */
void l1_group_read(const struct l1 *l1, unsigned group, struct l1_group *out);

/* ---- inspection ---- */
struct item_info {
    size_t bytes;     /* item, its share of the table, and its heap value: MEMORY USAGE */
    int freq;         /* OBJECT FREQ: the policy's idea of frequency */
    int64_t idle_ms;  /* OBJECT IDLETIME; to about a second, as the next */
    int64_t age_ms;   /* since its value was written */
    int64_t expire_ms; /* L1_NO_TTL: none */
};
/* False when it is absent or past its deadline; one in its grace stays. */
bool l1_info(struct l1 *l1, const struct key *key, int64_t now_ms, struct item_info *out);
/* When a key's value was written and last used (stamps; 0: as it is), if there is one. No change to the key: nobody is told. */
void l1_set_stamps(struct l1 *l1, const struct key *key, uint32_t written, uint32_t touched);

/* Counters since start, summed over shards, each locked for a moment; a shard that stays locked is left out of the second and
 * third group. */
struct l1_stats {
    uint64_t expired, evicted, swept, spared, inserted; /* swept: of a flushed database, or purged */
    uint64_t chunk_resident_bytes; /* chunks, and free ones not yet given back */
    uint64_t chunk_bytes, live_bytes, table_bytes, heap_bytes; /* live: item slots in use */
    uint64_t policy_bytes; /* what the policy keeps beside the items */
    uint64_t buckets, overflow_buckets, splits, merges, moved_by_compaction;
    uint64_t flights, watches;
};
void l1_stats_read(const struct l1 *l1, struct l1_stats *out);
/* What a tier without values outside its chunks takes of memory: itself and of its chunks the part that some block or bucket has been on,
 * as the rest is not resident. Looks at every chunk: for small tiers. No shard locked. */
uint64_t l1_footprint(const struct l1 *l1);
