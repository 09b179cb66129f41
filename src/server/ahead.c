/* SPDX-License-Identifier: BSD-3-Clause */
/* ahead: fills that nobody waits for yet. The calls themselves, when their turn comes, find the keys in memory or join the flights. */
#include "src/server/ahead.h"

#include <string.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/l1/shard.h"
#include "src/rt/loop.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/tier/guard.h"

enum { MOST_OF_A_CALL = 32, MOST_OF_A_WORKER = 256 };

/* One key on its way. */
struct ahead {
    struct fill fill;
    struct key key;
    bool wanted;
    struct rules *rules; /* NULL without a policy that has an origin */
    const struct rule *rule;
    struct worker *worker;
    char name[];
};

static void end(struct fill *f) {
    struct ahead *a = (struct ahead *)f;
    a->worker->aheads--;
    fill_end(f);
    rules_unref(a->rules);
    mem_free(a);
}

static struct ahead *make(struct worker *w, const struct key *key, const struct rule *rule, struct rules *rules) {
    struct ahead *a = mem_zalloc(sizeof(*a) + key->name.n);
    memcpy(a->name, key->name.p, key->name.n);
    a->key = (struct key){slice_make(a->name, key->name.n), key->hash, key->db};
    a->wanted = true;
    a->worker = w;
    a->fill = (struct fill){.tier = &w->server->tier, .loop = w->loop, .keys = &a->key, .wanted = &a->wanted, .n = 1, .first_cold = 1, .resume = end};
    if (rule != NULL) {
        a->rule = rule;
        a->rules = a->fill.rules = rules_ref(rules);
        a->fill.rule_of = &a->rule;
    }
    w->aheads++;
    return a;
}

/* rule: the key's, or NULL. */
static void fetch(struct worker *w, const struct key *key, const struct rule *rule, struct rules *rules) {
    struct l1 *l1 = w->server->host.l1;
    int64_t now_ms = loop_now_ms(w->loop);
    unsigned shard = l1_shard_of(l1, key->hash);
    l1_lock(l1, shard);
    bool on_its_way = flight_find(&l1->shards[shard].flights, key) != NULL;
    bool useful = !on_its_way && (rule == NULL || guard_may_load_ahead(w->server->tier.guard, rule, key, now_ms));
    if (!useful || !fill_needs(&w->server->tier, key, rule, now_ms, NULL)) {
        l1_unlock(l1, shard);
        return;
    }
    struct ahead *a = make(w, key, rule, rules);
    CHECK(fill_begin(&a->fill, now_ms));
    l1_unlock(l1, shard);
    STAT_ADD(w->stats->fills_ahead, 1);
    fill_launch(&a->fill, now_ms);
}

static bool needs_value(uint8_t access) {
    return access == KEY_R || access == KEY_RW || access == KEY_M;
}

/* A key that waits for a lease is its own call's business; so is one that only its owner among several nodes loads, and what DEL needs. */
static bool may_ask(const struct worker *w, const struct call *c, const struct rule *rule) {
    return rule == NULL || (rule->target != NULL && w->server->cluster == NULL && !(c->cmd->flags & CMD_DROPS));
}

void ahead_look(struct worker *w, const struct session *s, const struct slot *slots, unsigned n) {
    for (unsigned i = 0; i < n && !client_is(&s->client, CLIENT_MULTI); i++) {
        const struct call *c = &slots[i].call;
        bool usual = slots[i].session == s && slots[i].proto_error == NULL && c->cmd != NULL && !(c->cmd->flags & CMD_EXEC);
        for (int k = 0; usual && k < c->nkeys && k < MOST_OF_A_CALL && w->aheads < MOST_OF_A_WORKER; k++) {
            if (needs_value(c->access[k]) && may_ask(w, c, call_rule(c, k))) {
                fetch(w, &c->keys[k], call_rule(c, k), c->rules);
            }
        }
    }
}
