/* SPDX-License-Identifier: BSD-3-Clause */
/* commit: tells every sink what changed, in the order the changes were made, and notes what the tiers below know of a key. */
#include "src/base/check.h"
#include "src/tier/guard.h"
#include "src/tier/tier.h"
#include "src/tier/write.h"

void tier_init(struct tier *t, struct l1 *l1) {
    *t = (struct tier){.l1 = l1, .fill_deadline_ms = 5000};
}

void tier_add_source(struct tier *t, struct source *s) {
    CHECK(t->source_count < TIER_MAX_SOURCES);
    t->sources[t->source_count++] = s;
}

void tier_add_sink(struct tier *t, struct sink *s) {
    CHECK(t->sink_count < TIER_MAX_SINKS);
    t->sinks[t->sink_count++] = s;
    t->every_change |= s->every_change;
    t->acks |= s->acks;
}

/* A policy keeps the key's values off the disk, or it is not known yet whether its origin takes this one. */
static bool stays_off(struct tier *t, const struct key *key, const struct rule *rule) {
    return write_keeps_off(t->writes, key) || (rule != NULL && rule->opt.tier == TIER_L1);
}

void tier_commit_slow(struct tier *t, enum sink_change change, const struct key *key,
                      int64_t now_ms, struct sink_ack *ack, int *acks) {
    bool off_disk = t->guard != NULL && atomic_load_explicit(&t->guard->off_disk, memory_order_relaxed);
    struct rules *rules = unlikely(off_disk) ? guard_rules(t->guard) : NULL;
    bool off = stays_off(t, key, rules_match(rules, key->name));
    rules_unref(rules);
    if (l1_below(t->l1, key) == L1_BELOW_ABSENT && (!t->every_change || off)) {
        return; /* the usual rewrite of a hot key: nobody below has it */
    }
    struct item_view item;
    bool present = change != SINK_DEL && l1_get(t->l1, key, now_ms, L1_NOTOUCH, &item), goes = present && !off;
    if (!goes) {
        change = SINK_DEL; /* also when set with a deadline that has just passed */
    }
    unsigned result = SINK_DONE;
    for (unsigned i = 0; i < t->sink_count; i++) {
        struct sink *s = t->sinks[i];
        unsigned r = s->changed(s, change, key, goes ? &item : NULL, now_ms, ack);
        *acks += r & SINK_WAIT ? 1 : 0;
        result |= r;
    }
    if (present) {
        l1_set_below(t->l1, key, result & SINK_SAME ? L1_BELOW_SAME : L1_BELOW_ABSENT);
    }
}

bool tier_heeds(void *ctx) {
    const struct tier *t = ctx;
    return t->sink_count != 0 || guard_is_active(t->guard);
}

void tier_evicted(void *ctx, const struct key *key, const struct item_view *item, enum l1_below below, bool read) {
    struct tier *t = ctx;
    struct rules *rules = guard_is_active(t->guard) ? guard_rules(t->guard) : NULL;
    const struct rule *rule = rules_match(rules, key->name);
    bool off = stays_off(t, key, rule), kept = !off && below == L1_BELOW_SAME;
    for (unsigned i = 0; i < t->sink_count && !off && below != L1_BELOW_SAME; i++) {
        if (t->sinks[i]->evicted != NULL) {
            kept |= t->sinks[i]->evicted(t->sinks[i], key, item, &(struct eviction){below == L1_BELOW_ABSENT, read});
        }
    }
    if (rule != NULL) { /* counted on the lines of the key's shard: who evicts holds its lock, whichever loop that is */
        rule_count(rule, l1_shard_of(t->l1, key->hash), RULE_evicted);
        rule_add(rule, l1_shard_of(t->l1, key->hash), RULE_demoted, kept);
    }
    rules_unref(rules);
}

bool tier_spared(void *ctx, const struct item_view *item) {
    const struct tier *t = ctx;
    bool spared = false;
    for (unsigned i = 0; i < t->sink_count; i++) {
        struct sink *s = t->sinks[i];
        if (s->evicted != NULL && (s->fits == NULL || s->fits(s, item))) {
            return false;
        }
        spared |= s->evicted != NULL;
    }
    return spared;
}

bool tier_pressed(void *ctx) {
    return tier_is_pressed(ctx);
}

static void tell_map(struct tier *t, uint64_t emptied) {
    uint8_t map[L1_MAX_DBS];
    for (unsigned i = 0; i < L1_MAX_DBS; i++) {
        map[i] = t->l1->db_map[i];
    }
    for (unsigned i = 0; i < t->sink_count; i++) {
        if (t->sinks[i]->mapped != NULL) {
            t->sinks[i]->mapped(t->sinks[i], map, emptied);
        }
    }
}

bool tier_flush(struct tier *t, int logical) {
    bool ok = logical < 0 ? l1_flush_all(t->l1) : l1_flush_db(t->l1, (unsigned)logical);
    if (ok && t->guard != NULL) {
        guard_flushed(t->guard);
    }
    if (ok && settled_is_on(&t->settled)) {
        settled_fill(&t->settled, true); /* what the owner before has is not to come back */
    }
    if (ok && t->sink_count != 0) {
        tell_map(t, logical < 0 ? UINT64_MAX : (uint64_t)1 << logical);
    }
    tier_changed(t, NULL);
    return ok;
}

void tier_swap_db(struct tier *t, unsigned a, unsigned b) {
    l1_swap_db(t->l1, a, b);
    if (t->sink_count != 0) {
        tell_map(t, 0);
    }
    tier_changed(t, NULL);
}

uint64_t tier_keys(struct tier *t, uint8_t physical) {
    int64_t below = 0;
    for (unsigned i = 0; i < t->source_count; i++) {
        struct source *s = t->sources[i];
        below += s->key_count != NULL ? s->key_count(s, physical) : 0;
    }
    below -= below > 0 ? (int64_t)l1_db_same(t->l1, physical) : 0;
    return l1_db_keys(t->l1, physical) + (below > 0 ? (uint64_t)below : 0);
}

static void drain_one(void *ctx, const struct key *key, const struct item_view *item) {
    struct tier *t = ctx;
    tier_evicted(t, key, item, l1_below(t->l1, key), true);
}

void tier_drain(struct tier *t, int64_t now_ms, void (*pause)(void *ctx), void *ctx) {
    uint64_t cursor = 0;
    do {
        cursor = l1_scan(t->l1, cursor, 256, -1, now_ms, false, drain_one, t);
        pause(ctx);
    } while (cursor != 0);
}
