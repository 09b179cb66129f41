/* SPDX-License-Identifier: BSD-3-Clause */
/* guard: verdicts on reads, consequences of writes. */
#include "src/tier/guard.h"

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/guard/deadline.h"
#include "src/l1/shard.h"
#include "src/origin/origin.h"
#include "src/tier/tier.h"

enum {
    ALONE_TIMES = 10, /* after a lease nobody filled, so many of its lifetimes without another for the key */
    PASSING_MS = 10000 /* how long a value that must not be kept waits for those it was loaded for */
};

static void read_count(const struct guard_read *r, enum rule_counter c) {
    rule_count(r->rule, r->loop_id, c);
}

/* ---- life ---- */

struct guard *guard_create(struct l1 *l1, struct tier *tier, size_t marks, size_t purges) {
    struct guard *g = mem_zalloc(sizeof(*g));
    g->l1 = l1;
    g->tier = tier;
    g->leases = mem_zalloc(l1->shard_count * sizeof(*g->leases));
    g->marks = marks_create(marks, l1->shard_count);
    g->purges = purges_create(purges);
    lock_init(&g->lock, LOCK_GUARD, 0);
    lock_init(&g->editing, LOCK_POLICIES, 0);
    return g;
}

void guard_destroy(struct guard **gp) {
    struct guard *g = *gp;
    *gp = NULL;
    struct list woken;
    list_init(&woken);
    for (unsigned i = 0; i < g->l1->shard_count; i++) {
        for (unsigned b = 0; b < LEASE_BUCKETS; b++) {
            while (g->leases[i].buckets[b] != NULL) {
                lease_end(&g->leases[i], g->leases[i].buckets[b], &woken);
            }
        }
    }
    rules_unref(g->rules);
    rules_unref(g->metered);
    marks_destroy(&g->marks);
    purges_destroy(&g->purges);
    mem_free(g->leases);
    mem_free(g);
}

void guard_set_rules(struct guard *g, struct rules *rules) {
    bool off_disk = false, quotas = rules != NULL && rules->quotas > 0;
    for (unsigned i = 0; rules != NULL && i < rules->count; i++) {
        off_disk |= rules->list[i]->opt.tier == TIER_L1;
    }
    lock_acquire(&g->lock);
    quotas |= g->rules != NULL && g->rules->quotas > 0;
    struct rules *old = g->rules;
    g->rules = rules;
    lock_release(&g->lock);
    atomic_store_explicit(&g->off_disk, off_disk, memory_order_relaxed);
    atomic_store_explicit(&g->packs, rules != NULL && rules->packs > 0, memory_order_relaxed);
    if (quotas) {
        atomic_store(&g->requota, true);
    }
    if (rules != NULL) {
        atomic_store_explicit(&g->active, true, memory_order_relaxed);
    }
    rules_unref(old);
}

struct rules *guard_rules(struct guard *g) {
    lock_acquire(&g->lock);
    struct rules *rules = rules_ref(g->rules);
    lock_release(&g->lock);
    return rules;
}

/* ---- leases ---- */

static struct lease_table *leases_of(struct guard *g, uint64_t hash) {
    return &g->leases[l1_shard_of(g->l1, hash)];
}

/* Its waiters look again. */
static void end_lease(struct guard *g, struct lease *l) {
    struct list woken;
    list_init(&woken);
    lease_end(leases_of(g, l->hash), l, &woken);
    atomic_fetch_sub_explicit(&g->leases_live, 1, memory_order_relaxed);
    lease_wake(&woken);
}

struct lease *guard_grant(struct guard *g, const struct key *key, struct lease_owner *owner, int64_t now_ms, int64_t time_ms) {
    atomic_store_explicit(&g->active, true, memory_order_relaxed);
    atomic_fetch_add_explicit(&g->leases_live, 1, memory_order_relaxed);
    return lease_grant(leases_of(g, key->hash), key, owner, now_ms, now_ms + time_ms);
}

static void grant_lease(struct guard *g, struct guard_read *r) {
    r->lease = guard_grant(g, r->key, r->owner, r->now_ms, r->rule->opt.wait_ms);
    r->granted = true;
    read_count(r, RULE_leases);
}

struct lease *guard_lease(struct guard *g, const struct rule *rule, const struct key *key, unsigned loop_id, int64_t now_ms) {
    struct lease *l = lease_find(leases_of(g, key->hash), key);
    if (l != NULL && l->deadline_ms <= now_ms) {
        guard_expire_lease(g, rule, l, loop_id, now_ms);
        return NULL;
    }
    return l;
}

bool guard_drop(struct guard *g, const struct key *key, uint64_t token) {
    struct lease *l = lease_find(leases_of(g, key->hash), key);
    if (l == NULL || l->token != token) {
        return false;
    }
    end_lease(g, l);
    return true;
}

void guard_expire_lease(struct guard *g, const struct rule *rule, struct lease *l, unsigned loop_id, int64_t now_ms) {
    int64_t alone_ms = (l->deadline_ms - l->granted_ms) * ALONE_TIMES;
    marks_put(g->marks, l->hash, MARK_ALONE, now_ms + alone_ms);
    if (rule != NULL) {
        rule_count(rule, loop_id, RULE_leases_expired);
    }
    end_lease(g, l);
}

/* ---- quotas ---- */

/* The number of a rule's group: the one it has, else a free one, best one whose last items have gone. What is still there of
 * another rule's moves when the memory tier sorts. */
static unsigned pick_group(const struct l1 *l1, uint32_t taken) {
    unsigned best = 0;
    struct l1_group sums;
    for (unsigned i = L1_GROUPS - 1; i > 0; i--) {
        l1_group_read(l1, i, &sums);
        if ((taken >> i & 1) == 0 && (best == 0 || sums.items == 0)) {
            best = i;
        }
    }
    return best;
}

_Static_assert((int)RULE_QUOTAS_MAX < (int)L1_GROUPS, "each has a group of its own");

/* The rules in force become those whose quotas memory keeps. */
static void meter(struct guard *g) {
    struct rules *rules = guard_rules(g), *before = g->metered;
    int64_t limits[L1_GROUPS] = {0};
    uint32_t taken = 0, anew = 0;
    l1_lock_all(g->l1);
    for (unsigned i = 0; rules != NULL && i < rules->count; i++) {
        const struct rule *rule = rules->list[i];
        if (rule->opt.quota_bytes == 0) {
            atomic_store_explicit(&rule->stats->group, 0, memory_order_relaxed);
        }
        taken |= (uint32_t)1 << atomic_load_explicit(&rule->stats->group, memory_order_relaxed);
    }
    for (unsigned i = 0; rules != NULL && i < rules->count; i++) {
        const struct rule *rule = rules->list[i];
        unsigned group = atomic_load_explicit(&rule->stats->group, memory_order_relaxed);
        if (rule->opt.quota_bytes != 0 && group == 0) {
            group = pick_group(g->l1, taken);
            atomic_store_explicit(&rule->stats->group, group, memory_order_relaxed);
            taken |= (uint32_t)1 << group;
            anew |= (uint32_t)1 << group;
        }
        limits[group] = rule->opt.quota_bytes;
    }
    g->metered = rules;
    l1_set_groups(g->l1, limits, anew);
    l1_unlock_all(g->l1);
    rules_unref(before);
}

unsigned tier_group(void *ctx, uint8_t db, struct slice name) {
    const struct tier *t = ctx;
    (void)db; /* policies know no databases */
    const struct rule *rule = rules_match(t->guard->metered, name);
    return rule != NULL ? atomic_load_explicit(&rule->stats->group, memory_order_relaxed) : 0;
}

void guard_quota_read(const struct guard *g, const struct rule *rule, struct l1_group *out) {
    unsigned group = atomic_load_explicit(&rule->stats->group, memory_order_relaxed);
    *out = (struct l1_group){0};
    if (group != 0) {
        l1_group_read(g->l1, group, out);
    }
}

enum rule_compress tier_compress(void *ctx, struct slice name) {
    const struct tier *t = ctx;
    if (t->guard == NULL || !atomic_load_explicit(&t->guard->packs, memory_order_relaxed)) {
        return COMPRESS_NONE;
    }
    struct rules *rules = guard_rules(t->guard);
    const struct rule *rule = rules_match(rules, name);
    enum rule_compress how = rule != NULL ? (enum rule_compress)rule->opt.compress : COMPRESS_NONE;
    rules_unref(rules);
    return how;
}

void tier_packed(void *ctx, struct slice name, size_t from, size_t to) {
    const struct tier *t = ctx;
    struct rules *rules = guard_rules(t->guard);
    const struct rule *rule = rules_match(rules, name);
    if (rule != NULL) {
        rule_count(rule, 0, RULE_packed);
        rule_add(rule, 0, RULE_packed_saved, from > to ? from - to : 0);
    }
    rules_unref(rules);
}

void guard_tick(struct guard *g, int64_t now_ms) {
    if (unlikely(atomic_load_explicit(&g->requota, memory_order_relaxed)) && atomic_exchange(&g->requota, false)) {
        meter(g);
    }
    if (atomic_load_explicit(&g->leases_live, memory_order_relaxed) == 0) {
        return;
    }
    struct rules *rules = guard_rules(g);
    for (unsigned i = 0; i < g->l1->shard_count; i++) {
        l1_lock(g->l1, i);
        for (unsigned b = 0; g->leases[i].count > 0 && b < LEASE_BUCKETS; b++) {
            for (struct lease *l = g->leases[i].buckets[b], *next; l != NULL; l = next) {
                next = l->next;
                if (l->deadline_ms <= now_ms) {
                    guard_expire_lease(g, rules_match(rules, slice_make(l->name, l->name_len)), l, 0, now_ms);
                }
            }
        }
        l1_unlock(g->l1, i);
    }
    rules_unref(rules);
}

void guard_abandon(struct guard *g, const struct lease_ticket *tickets, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        unsigned shard = l1_shard_of(g->l1, tickets[i].hash);
        l1_lock(g->l1, shard);
        struct lease *l = lease_by_token(&g->leases[shard], tickets[i].hash, tickets[i].token);
        if (l != NULL) {
            end_lease(g, l);
        }
        l1_unlock(g->l1, shard);
    }
}

/* ---- reads ---- */

/* What memory has of the key, and what was noted of it. */
static bool look(const struct guard *g, const struct guard_read *r, struct item_view *v, struct item_extra *e) {
    bool found = l1_get(g->l1, r->key, r->now_ms, L1_NOTOUCH | L1_STALE, v);
    if (!found && r->rule->target != NULL && g->tier->source_count != 0) { /* a value in its grace below is as good */
        found = tier_probe(g->tier, r->key, r->now_ms, NULL) == PROBE_FOUND && l1_get(g->l1, r->key, r->now_ms, L1_NOTOUCH | L1_STALE, v);
    }
    return found && item_extra_get(v->extra, e);
}

/* A fresh value: this reader may be the one to refresh it before its end. */
static void maybe_early(struct guard *g, struct guard_read *r, const struct item_view *v, const struct item_extra *e) {
    if (r->rule->opt.early != EARLY_ON || v->expire_ms == L1_NO_TTL ||
        !deadline_is_early(v->expire_ms - r->now_ms, e->load_ms, rng_u64())) {
        return;
    }
    bool begun = false;
    if (r->rule->target != NULL) {
        begun = tier_refresh(g->tier, r);
    } else if (rule_leases(r->rule) && r->may_lease && guard_lease(g, r->rule, r->key, r->loop_id, r->now_ms) == NULL) {
        grant_lease(g, r);
        r->see = SEE_NOTHING;
        begun = true;
    }
    if (begun) {
        read_count(r, RULE_refreshes);
        read_count(r, RULE_early);
    }
}

/* As many wait for its load as may. */
static bool is_crowded(const struct guard *g, const struct guard_read *r) {
    const struct flight *f = flight_find(&g->l1->shards[l1_shard_of(g->l1, r->key->hash)].flights, r->key);
    return f != NULL && f->waiting >= (uint32_t)r->rule->opt.waiters;
}

/* What is remembered of a key that is not there. */
static enum guard_verdict recall(const struct guard *g, struct guard_read *r) {
    enum mark mark = marks_get(g->marks, r->key->hash, r->now_ms);
    if (mark == MARK_ABSENT) {
        if (!r->again) {
            read_count(r, RULE_negative);
        }
        return GUARD_KNOWN;
    }
    if (mark == MARK_FAILED && r->rule->target != NULL && !r->again) { /* who waited for it hears why */
        read_count(r, RULE_failed_fast);
        r->error = "loading it failed a moment ago";
        return GUARD_ERROR;
    }
    if (!r->again && r->rule->target != NULL && is_crowded(g, r)) {
        read_count(r, RULE_uncoalesced);
        r->error = "too many wait for it";
        return GUARD_ERROR;
    }
    return GUARD_GO;
}

/* A value in its grace goes to the reader: while it is refreshed, or since that has failed. False when it is to be had only then, and
 * nothing has failed yet. */
static bool serve_stale(struct guard *g, struct guard_read *r, const struct item_view *v, const struct item_extra *e) {
    bool failed = r->failed || marks_get(g->marks, r->key->hash, r->now_ms) == MARK_FAILED;
    bool early = e->error_ms == 0 || r->now_ms - v->expire_ms < (int64_t)e->grace_ms - (int64_t)e->error_ms;
    if (!failed && !early && !is_crowded(g, r)) {
        return false;
    }
    r->see = SEE_STALE;
    read_count(r, RULE_stale);
    if (!failed && early && tier_refresh(g->tier, r)) {
        read_count(r, RULE_refreshes);
    }
    return true;
}

enum guard_verdict guard_before(struct guard *g, struct guard_read *r) {
    struct item_view v;
    struct item_extra e = {0};
    bool found = look(g, r, &v, &e);
    r->see = SEE_FRESH;
    if (found && !v.stale) {
        if (r->held) {
            read_count(r, RULE_waits_filled);
        }
        if (r->value && !r->again) {
            read_count(r, RULE_hits);
            maybe_early(g, r, &v, &e);
        }
        return GUARD_GO;
    }
    if (found && !e.passing && r->value && r->rule->target != NULL && serve_stale(g, r, &v, &e)) {
        return GUARD_KNOWN;
    }
    if (r->value && !r->again) {
        read_count(r, RULE_misses);
    }
    enum guard_verdict known = recall(g, r);
    if (known != GUARD_GO || r->rule->opt.filter == FILTER_OFF || !filter_excludes(&r->rule->stats->filter, r->key, r->now_ms)) {
        return known;
    }
    if (r->value && !r->again) {
        read_count(r, RULE_filtered);
    }
    return GUARD_FILTERED;
}

/* Somebody is loading the key. */
static enum guard_verdict beside_lease(struct guard_read *r, struct lease *l, bool stale) {
    if (stale) {
        r->see = SEE_STALE;
        read_count(r, RULE_stale);
        return GUARD_GO;
    }
    if (!r->may_wait || l->waiting >= (uint32_t)r->rule->opt.waiters) {
        read_count(r, r->held ? RULE_waits_expired : RULE_uncoalesced);
        return GUARD_GO;
    }
    r->lease = l;
    if (!r->held) {
        read_count(r, RULE_waits);
    }
    return GUARD_WAIT;
}

enum guard_verdict guard_after(struct guard *g, struct guard_read *r) {
    struct item_view v;
    struct item_extra e = {0};
    bool found = look(g, r, &v, &e);
    if ((found && !v.stale) || !rule_leases(r->rule)) {
        return GUARD_GO;
    }
    struct lease *l = guard_lease(g, r->rule, r->key, r->loop_id, r->now_ms);
    if (l != NULL) {
        return beside_lease(r, l, found);
    }
    /* where a stale value is there for the others nobody has to wait, in vain or not */
    bool alone = !found && marks_get(g->marks, r->key->hash, r->now_ms) == MARK_ALONE;
    if (!alone && r->may_lease) {
        grant_lease(g, r);
    } else {
        read_count(r, r->held ? RULE_waits_expired : RULE_uncoalesced);
    }
    return GUARD_GO;
}

bool guard_may_load_ahead(const struct guard *g, const struct rule *rule, const struct key *key, int64_t now_ms) {
    struct item_view v;
    bool remembers = rule->target != NULL && rule->opt.negative_ms > 0 && rule->opt.error_ms > 0;
    return remembers && !l1_get(g->l1, key, now_ms, L1_NOTOUCH | L1_STALE, &v) && marks_get(g->marks, key->hash, now_ms) == MARK_NONE &&
           (rule->opt.filter == FILTER_OFF || !filter_excludes(&rule->stats->filter, key, now_ms));
}

/* ---- writes ---- */

int64_t guard_deadline(const struct rule *rule, unsigned loop_id, int64_t expire_ms, int64_t now_ms) {
    if (expire_ms <= now_ms || rule->opt.jitter_ppm == 0) { /* also L1_NO_TTL and L1_KEEP_TTL, which are negative */
        return expire_ms;
    }
    int64_t jittered = deadline_jittered(rule, expire_ms, now_ms, rng_u64());
    if (jittered != expire_ms) {
        rule_count(rule, loop_id, RULE_jittered);
    }
    return jittered;
}

/* The rule's lifetime for a value without one, and what is to be noted of it. */
static void apply_rule(struct guard *g, const struct rule *rule, const struct key *key, enum sink_change change, uint32_t load_ms,
                       unsigned loop_id, int64_t now_ms) {
    struct item_view v;
    struct item_extra e = {0};
    unsigned char bytes[ITEM_EXTRA_MAX];
    int64_t lent_ms = 0;
    if (!l1_get(g->l1, key, now_ms, L1_NOTOUCH, &v)) {
        return;
    }
    bool ends = v.expire_ms != L1_NO_TTL;
    if (!ends && change == SINK_SET && rule->opt.ttl_ms > 0) {
        ends = l1_expire(g->l1, key, guard_deadline(rule, loop_id, now_ms + rule->opt.ttl_ms, now_ms), now_ms);
        l1_get(g->l1, key, now_ms, L1_NOTOUCH, &v);
        lent_ms = ends && rule->opt.write != WRITE_OFF ? v.expire_ms : 0;
    }
    item_extra_get(v.extra, &e);
    if (lent_ms == 0 && e.lent_ms == v.expire_ms) { /* it is still the one that was lent before */
        lent_ms = e.lent_ms;
    } else {
        e.own_ms = L1_NO_TTL;
    }
    uint32_t grace_ms = (uint32_t)rule->opt.grace_ms, noted_ms = load_ms != 0 ? load_ms : e.load_ms;
    if (e.grace_ms != grace_ms || e.error_ms != 0 || e.load_ms != noted_ms || e.lent_ms != lent_ms) {
        e.grace_ms = grace_ms;
        e.error_ms = 0;
        e.lent_ms = lent_ms;
        e.load_ms = noted_ms;
        l1_set_extra(g->l1, key, slice_make(bytes, item_extra_put(&e, bytes)), now_ms);
    }
}

void guard_changed(struct guard *g, const struct rule *rule, const struct key *key, enum sink_change change, unsigned loop_id,
                   int64_t now_ms) {
    uint32_t load_ms = 0;
    struct lease *l = lease_find(leases_of(g, key->hash), key);
    if (l != NULL && change != SINK_EXPIRE) {
        int64_t took = now_ms - l->granted_ms;
        load_ms = change == SINK_SET && rule != NULL && rule->opt.early == EARLY_ON ? (uint32_t)(took > 0 ? took : 1) : 0;
        if (rule != NULL && change == SINK_SET) {
            rule_count(rule, loop_id, RULE_leases_settled);
        }
        end_lease(g, l);
    }
    if (marks_count(g->marks) != 0) {
        marks_drop(g->marks, key->hash);
    }
    if (rule != NULL && change != SINK_DEL) {
        apply_rule(g, rule, key, change, load_ms, loop_id, now_ms);
    }
}

void guard_seen(struct guard *g, const struct rules *rules, const struct key *key, int64_t now_ms) {
    struct item_view v;
    const struct rule *rule = rules_filtered_by(rules, key->name);
    if (rule == NULL) {
        return;
    }
    bool found = l1_get(g->l1, key, now_ms, L1_NOTOUCH, &v);
    filter_set(&rule->stats->filter, found ? v.value : NULL, key->db, found ? v.expire_ms : -1);
}

int64_t guard_load_deadline(const struct rule *rule, const struct lifetime *life, int64_t now_ms, struct item_extra *extra) {
    int64_t ttl = rule->opt.ttl_ms, grace = rule->opt.grace_ms, early = 0;
    if (ttl < 0) {
        ttl = life->ttl_ms;
        grace = life->stale_ms > grace ? life->stale_ms : grace;
        early = grace; /* of it; what follows is for errors alone */
        grace = life->error_ms > grace ? life->error_ms : grace;
        extra->passing = ttl == 0;
    } else if (life->exact && life->ttl_ms >= 0 && (ttl == 0 || life->ttl_ms < ttl)) {
        ttl = life->ttl_ms;
    } else if (ttl == 0) {
        ttl = -1;
    }
    if (extra->passing) {
        extra->grace_ms = PASSING_MS;
        return now_ms;
    }
    extra->grace_ms = grace > UINT32_MAX ? UINT32_MAX : (uint32_t)grace;
    extra->error_ms = rule->opt.ttl_ms < 0 && early < (int64_t)extra->grace_ms ? extra->grace_ms - (uint32_t)early : 0;
    if (ttl < 0) {
        return L1_NO_TTL; /* the grace is for soft purges */
    }
    int64_t expire_ms = deadline_jittered(rule, now_ms + ttl, now_ms, rng_u64());
    if (rule->opt.write != WRITE_OFF) {
        extra->lent_ms = expire_ms;
        extra->own_ms = life->exact && life->ttl_ms >= 0 ? now_ms + life->ttl_ms : L1_NO_TTL;
    }
    return expire_ms;
}

/* What was on its way, or known, may be of before. */
static void void_all(struct guard *g) {
    marks_clear(g->marks);
    for (unsigned i = 0; i < g->l1->shard_count; i++) {
        for (unsigned b = 0; b < LEASE_BUCKETS; b++) {
            while (g->leases[i].buckets[b] != NULL) {
                end_lease(g, g->leases[i].buckets[b]);
            }
        }
    }
}

void guard_flushed(struct guard *g) {
    struct rules *rules = guard_rules(g);
    for (unsigned i = 0; rules != NULL && i < rules->count; i++) {
        struct filter *f = &rules->list[i]->stats->filter;
        filter_set(f, NULL, f->db, -1);
    }
    rules_unref(rules);
    void_all(g);
}

/* ---- purges ---- */

static bool purged(struct guard *g, bool ok) {
    if (ok) {
        atomic_store_explicit(&g->active, true, memory_order_relaxed);
        void_all(g);
        l1_purging(g->l1, true);
    }
    return ok;
}

bool guard_purge_prefix(struct guard *g, uint8_t db, struct slice prefix, bool soft, int64_t now_ms) {
    return purged(g, purges_prefix(g->purges, db, prefix, soft, now_ms));
}

bool guard_purge_tag(struct guard *g, uint32_t tag, bool soft, int64_t now_ms) {
    return purged(g, purges_tag(g->purges, tag, soft, now_ms));
}

void guard_purge_slots(struct guard *g, const uint8_t *set) {
    purges_slots(g->purges, set);
    purged(g, true);
}

void guard_restore_slots(struct guard *g, const uint32_t *numbers) {
    purges_set_slots(g->purges, numbers);
    purged(g, true);
}

int64_t tier_deadline(struct tier *t, const struct key *key, int64_t expire_ms, const struct item_extra *e) {
    return t->guard == NULL ? expire_ms : purges_deadline(t->guard->purges, key->db, key->name, expire_ms, e);
}

uint32_t tier_last_purge(const struct tier *t) {
    return t->guard == NULL ? 0 : purges_last(t->guard->purges);
}

uint32_t tier_newborn_stamp(const struct tier *t, const struct key *key) {
    bool concerned = t->guard != NULL && purges_concern(t->guard->purges, key->db, key->name);
    return concerned ? purges_last(t->guard->purges) : 0;
}

int64_t tier_item_deadline(void *ctx, const struct key *key, int64_t expire_ms, struct slice extra) {
    struct item_extra e = {0};
    return item_extra_get(extra, &e) ? tier_deadline(ctx, key, expire_ms, &e) : INT64_MIN;
}

/* Of the key's policy, on the lines of its shard: who calls holds its lock, whichever loop that is. */
static void count_at_shard(const struct tier *t, const struct key *key, enum rule_counter c) {
    struct rules *rules = guard_rules(t->guard);
    const struct rule *rule = rules_match(rules, key->name);
    if (rule != NULL) {
        rule_count(rule, l1_shard_of(t->l1, key->hash), c);
    }
    rules_unref(rules);
}

void tier_item_lapsed(void *ctx, const struct key *key) {
    const struct tier *t = ctx;
    if (unlikely(guard_is_active(t->guard))) {
        count_at_shard(t, key, RULE_expired);
    }
}

void tier_item_ended(void *ctx, const struct key *key, const struct item_view *item) {
    const struct tier *t = ctx;
    if (t->guard != NULL && tier_last_purge(t) != 0 && tier_item_deadline(ctx, key, INT64_MAX, item->extra) == INT64_MIN) {
        count_at_shard(t, key, RULE_purged);
    }
}

size_t tier_newborn(void *ctx, const struct key *key, unsigned char *room) {
    return item_extra_put(&(struct item_extra){.stamp = tier_newborn_stamp(ctx, key)}, room);
}
