/* SPDX-License-Identifier: BSD-3-Clause */
/* bring: a fill without a call. */
#include "src/server/bring.h"

#include "src/base/mem.h"
#include "src/guard/rule.h"
#include "src/rt/loop.h"
#include "src/server/server.h"
#include "src/server/worker.h"

enum { VICTIMS = 16 };

/* A key on its way. */
struct bringing {
    struct fill fill;
    struct server *srv;
    struct key key;
    const struct rule *rule; /* or NULL; of the worker's present set */
    bool wanted;
    unsigned flags;
    void (*done)(void *ctx, enum brought how, const char *error);
    void *ctx;
    char name[];
};

static void end(struct bringing *b, enum brought how, const char *error) {
    b->done(b->ctx, how, error);
    fill_end(&b->fill);
    mem_free(b);
}

static bool is_present(const struct bringing *b, int64_t now_ms) {
    struct item_view item;
    return l1_get(b->srv->host.l1, &b->key, now_ms, b->flags & BRING_TOUCH ? L1_TOUCH : L1_NOTOUCH, &item);
}

static void resumed(struct fill *f) {
    struct bringing *b = (struct bringing *)f;
    struct l1 *l1 = b->srv->host.l1;
    int64_t now_ms = loop_now_ms(f->loop);
    unsigned shard = l1_shard_of(l1, b->key.hash);
    l1_lock(l1, shard);
    enum brought how = f->settled[0] == FILL_FAILED ? BROUGHT_FAILED : f->settled[0] == FILL_ABSENT ? BROUGHT_ABSENT : BROUGHT_FOUND;
    if (how == BROUGHT_FOUND && !is_present(b, now_ms) && tier_probe(f->tier, &b->key, now_ms, NULL) == PROBE_ABSENT) {
        how = BROUGHT_ABSENT; /* deleted meanwhile, and not only gone down again */
    }
    if (l1_needs_room(l1)) {
        l1_make_room(l1, shard, VICTIMS, now_ms);
    }
    l1_unlock(l1, shard);
    end(b, how, f->error);
}

/* Hashed for the database as it is mapped now, whose shard is locked then. */
static unsigned lock_key(struct bringing *b, unsigned db, struct slice name) {
    struct l1 *l1 = b->srv->host.l1;
    for (;;) {
        b->key = key_make(name, l1->db_map[db]);
        unsigned shard = l1_shard_of(l1, b->key.hash);
        l1_lock(l1, shard);
        if (likely(b->key.db == l1->db_map[db])) {
            return shard;
        }
        l1_unlock(l1, shard);
    }
}

/* What is remembered of a key that was asked for a moment ago. */
static enum mark remembered(const struct bringing *b, int64_t now_ms) {
    bool asks = b->rule != NULL && b->rule->target != NULL;
    return asks ? marks_get(b->srv->tier.guard->marks, b->key.hash, now_ms) : MARK_NONE;
}

void bring_key(struct server *srv, unsigned db, struct slice name, unsigned flags,
               void (*done)(void *ctx, enum brought how, const char *error), void *ctx) {
    struct worker *w = srv->workers[0];
    struct bringing *b = mem_zalloc(sizeof(*b) + name.n);
    int64_t now_ms = loop_now_ms(w->loop);
    memcpy(b->name, name.p, name.n);
    b->srv = srv;
    b->flags = flags;
    b->done = done;
    b->ctx = ctx;
    b->wanted = true;
    b->rule = flags & BRING_ORIGIN ? rules_match(w->rules, name) : NULL;
    b->fill = (struct fill){.tier = &srv->tier, .loop = w->loop, .keys = &b->key, .wanted = &b->wanted, .n = 1, .background = true,
                            .rules = b->rule != NULL ? w->rules : NULL, .rule_of = b->rule != NULL ? &b->rule : NULL, .resume = resumed};
    unsigned shard = lock_key(b, db, slice_make(b->name, name.n));
    bool present = is_present(b, now_ms);
    enum mark mark = present ? MARK_NONE : remembered(b, now_ms);
    bool known = mark == MARK_ABSENT || mark == MARK_FAILED;
    bool waits = !present && !known && fill_begin(&b->fill, now_ms);
    bool found = !present && !known && !waits && is_present(b, now_ms);
    l1_unlock(srv->host.l1, shard);
    if (waits) {
        fill_launch(&b->fill, now_ms);
    } else if (mark == MARK_FAILED) {
        end(b, BROUGHT_FAILED, "loading it failed a moment ago");
    } else {
        end(b, present ? BROUGHT_PRESENT : found ? BROUGHT_FOUND : BROUGHT_ABSENT, NULL);
    }
}
