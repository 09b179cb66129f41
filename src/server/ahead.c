/* SPDX-License-Identifier: BSD-3-Clause */
/* ahead: fills that nobody waits for. The calls themselves, when their turn comes, find the keys in memory or join the flights. */
#include "src/server/ahead.h"

#include <string.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/l1/shard.h"
#include "src/rt/loop.h"
#include "src/server/server.h"
#include "src/server/session.h"

enum { MOST_OF_A_CALL = 32, MOST_OF_A_WORKER = 256 };

/* One key on its way. */
struct ahead {
    struct fill fill;
    struct key key;
    bool wanted;
    struct worker *worker;
    char name[];
};

static void end(struct fill *f) {
    struct ahead *a = (struct ahead *)f;
    a->worker->aheads--;
    fill_end(f);
    mem_free(a);
}

static struct ahead *make(struct worker *w, const struct key *key) {
    struct ahead *a = mem_zalloc(sizeof(*a) + key->name.n);
    memcpy(a->name, key->name.p, key->name.n);
    a->key = (struct key){slice_make(a->name, key->name.n), key->hash, key->db};
    a->wanted = true;
    a->worker = w;
    a->fill = (struct fill){.tier = &w->server->tier, .loop = w->loop, .keys = &a->key, .wanted = &a->wanted, .n = 1, .first_cold = 1, .resume = end};
    w->aheads++;
    return a;
}

static void fetch(struct worker *w, const struct key *key) {
    struct l1 *l1 = w->server->host.l1;
    int64_t now_ms = loop_now_ms(w->loop);
    unsigned shard = l1_shard_of(l1, key->hash);
    l1_lock(l1, shard);
    bool on_its_way = flight_find(&l1->shards[shard].flights, key) != NULL;
    if (on_its_way || !fill_needs(&w->server->tier, key, NULL, now_ms, NULL)) {
        l1_unlock(l1, shard);
        return;
    }
    struct ahead *a = make(w, key);
    CHECK(fill_begin(&a->fill, now_ms));
    l1_unlock(l1, shard);
    STAT_ADD(w->stats->fills_ahead, 1);
    fill_launch(&a->fill, now_ms);
}

static bool needs_value(uint8_t access) {
    return access == KEY_R || access == KEY_RW || access == KEY_M;
}

void ahead_look(struct worker *w, const struct session *s, const struct slot *slots, unsigned n) {
    for (unsigned i = 0; i < n && !client_is(&s->client, CLIENT_MULTI); i++) {
        const struct call *c = &slots[i].call;
        bool usual = slots[i].session == s && slots[i].proto_error == NULL && c->cmd != NULL && !(c->cmd->flags & CMD_EXEC);
        for (int k = 0; usual && k < c->nkeys && k < MOST_OF_A_CALL && w->aheads < MOST_OF_A_WORKER; k++) {
            /* a key under a policy may have an origin to be asked, or a lease to wait for: that is its own call's business */
            if (needs_value(c->access[k]) && call_rule(c, k) == NULL) {
                fetch(w, &c->keys[k]);
            }
        }
    }
}
