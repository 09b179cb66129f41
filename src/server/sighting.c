/* SPDX-License-Identifier: BSD-3-Clause */
/* sighting: from a call's keys to events. */
#include "src/server/sighting.h"

#include "src/base/buf.h"
#include "src/base/clock.h"
#include "src/base/rng.h"
#include "src/conf/conf.h"
#include "src/guard/rule.h"
#include "src/l1/policy.h"
#include "src/server/server.h"
#include "src/tier/guard.h"

/* ---- calls ---- */

/* What the key is now, in the event; false: it is absent. */
static bool look_at(struct call *c, const struct key *key, struct mrc_event *e) {
    struct item_info info;
    if (!l1_info(c->l1, key, c->now_ms, &info)) {
        return false;
    }
    e->access.bytes = info.bytes;
    e->access.expire_ms = info.expire_ms;
    return true;
}

static void note_key(struct call *c, struct worker *w, int i) {
    struct mrc_event e = {.access = {.hash = c->keys[i].hash, .expire_ms = L1_NO_TTL}};
    bool changed = c->changes != NULL && c->changes[i] != CHANGE_NONE, there = look_at(c, &c->keys[i], &e);
    const struct rule *rule = call_rule(c, i);
    e.rule = rule != NULL && rule->at < MRC_RULES ? (uint8_t)(rule->at + 1) : 0;
    if (changed) {
        e.kind = there ? MRC_WRITE : MRC_REMOVE;
    } else if ((c->cmd->flags & CMD_READONLY) && c->access[i] == KEY_R) {
        e.kind = MRC_READ;
    } else {
        return;
    }
    sight_note(c->host->sight, w->id, &e);
}

void sighting_call_slow(struct call *c, struct worker *w, enum err e) {
    if (e == ERR_PARKED || (c->cmd->flags & CMD_EXEC)) {
        return; /* EXEC: its calls have been seen one by one */
    }
    for (int i = 0; i < c->nkeys; i++) {
        if (mini_draw(c->keys[i].hash) < w->sample_below) {
            note_key(c, w, i);
        }
    }
}

/* Not a call that a peer answers, or that was refused. */
void sighting_hot(const struct call *c, struct worker *w) {
    /* adopted: the buffer with the names has gone; EXEC: the queue, whose calls' keys were its keys, has */
    if (c->nkeys > 0 && c->step >= STEP_FILL && c->adopted == NULL && !(c->cmd->flags & CMD_EXEC)) {
        int i = c->nkeys > 1 ? (int)rng_below((uint64_t)c->nkeys) : 0; /* stands for all of them */
        sight_hot(c->host->sight, w->id, &c->keys[i], (uint32_t)c->nkeys);
    }
    w->hot_skip = (uint32_t)rng_below(2 * SIGHT_HOT_EVERY - 1);
}

/* Bytes of the request as RESP frames it. */
static size_t request_bytes(const struct call *c) {
    size_t n = 4;
    for (int i = 0; i < c->argc; i++) {
        size_t digits = 1;
        for (size_t len = c->argv[i].n; len >= 10; len /= 10) {
            digits++;
        }
        n += 5 + digits + c->argv[i].n;
    }
    return n;
}

void sighting_charge(const struct call *c, struct worker *w, uint64_t ticks, size_t reply_bytes) {
    uint64_t bytes = request_bytes(c) + reply_bytes;
    hotkeys_charge(c->host->sight->tracking, w->id, c->keys, c->nkeys, clock_ticks_to_us(16 * ticks), bytes);
}

/* ---- cron ---- */

/* The row of the policy that a directive names, or NULL. */
static const struct policy *shadow_of(const struct conf *conf) {
    struct buf name = {0};
    conf_value(conf, SLICE("shadow-policy"), &name);
    buf_putc(&name, '\0');
    const struct policy *p = policy_find(name.p);
    buf_free(&name);
    return p;
}

static void tiers_of(const struct server *srv, const struct conf *conf, struct mrc_tiers *out) {
    const struct l1 *l1 = srv->host.l1;
    size_t limit = atomic_load_explicit(&l1->limit_bytes, memory_order_relaxed);
    const struct policy *shadow = conf->shadow_policy != 0 ? shadow_of(conf) : NULL;
    int rule = 0;
    *out = (struct mrc_tiers){.l1_bytes = limit != 0 ? limit : l1_bytes(l1) + 1,
                              .policy = l1_policy_name(l1),
                              .shadow = shadow != NULL ? shadow->name : NULL,
                              .l2_bytes = srv->disk != NULL ? (uint64_t)conf->l2_max_size : 0};
    conf_parse_admission(conf->l2_admission, &rule, &out->l2_chance_ppm);
    out->l2_rule = (enum shelf_rule)rule;
}

struct sight *sighting_open(struct server *srv, const struct conf *conf) {
    struct mrc_tiers tiers;
    tiers_of(srv, conf, &tiers);
    return sight_create(&(struct sight_options){.loops = srv->host.loop_count, .l2 = srv->disk != NULL}, &tiers);
}

/* Reads of each rule, and a number that changes with their patterns. */
static void count_rules(struct server *srv, struct sight_now *now) {
    struct rules *rules = guard_rules(srv->tier.guard);
    static const enum rule_counter reads[] = {RULE_hits, RULE_misses, RULE_stale, RULE_negative, RULE_filtered, RULE_failed_fast};
    for (unsigned i = 0; rules != NULL && i < rules->count && i < MRC_RULES; i++) {
        struct slice pattern = rules->list[i]->pattern;
        now->rules_version = now->rules_version * 31 + hash_bytes(pattern.p, pattern.n);
        for (unsigned k = 0; k < sizeof(reads) / sizeof(reads[0]); k++) {
            now->rule_reads[i] += rule_count_read(rules->list[i]->stats, reads[k]);
        }
    }
    rules_unref(rules);
}

void sighting_tick(struct server *srv, const struct conf *conf, int64_t now_ms) {
    const struct host *h = &srv->host;
    struct sight_now now = {.now_ms = now_ms};
    tiers_of(srv, conf, &now.tiers);
    now.reads = STATS_SUM_COMMANDS(h->stats, h->loop_count, hits) + STATS_SUM_COMMANDS(h->stats, h->loop_count, misses);
    count_rules(srv, &now);
    sight_tick(h->sight, &now);
}
