/* SPDX-License-Identifier: BSD-3-Clause */
/* handover: a key goes from one node to another. Nothing of it reaches an origin: the value does not change. */
#include "src/cmd/handover.h"

#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/tier/parcel.h"
#include "src/tier/tier.h"

static enum err refuse_client(struct call *c) {
    return call_errorf(c, "ERR only nodes hand keys to each other");
}

/* The key's new owner asks for it: it gets the value, which is here no more. The caller's loop has seen that the slot is not served here. */
enum err cluster_take_run(struct call *c) {
    struct item_view v;
    struct buf b = {0};
    if (!(c->peer & PEER_NODE)) {
        return refuse_client(c);
    }
    bool lent = c->host->ops->lends_slot(c->host, hash_slot(c->keys[0].name));
    if (!lent || !l1_get(c->l1, &c->keys[0], c->now_ms, L1_NOTOUCH, &v) || !parcel_put(&b, &v, c->now_ms)) {
        reply_null(c->out);
        return OK;
    }
    reply_bulk_ref(c->out, buf_slice(&b), b.p, mem_free);
    tier_let_go(c->host->tier, &c->keys[0], c->now_ms);
    STAT_ADD(c->stats->peer_handover_given, 1);
    return OK;
}

/* The owner before, which leaves, sends the key: taken unless it is here, or has been changed here. */
enum err cluster_give_run(struct call *c) {
    struct tier *t = c->host->tier;
    struct item_view v;
    struct found f;
    if (!(c->peer & PEER_NODE)) {
        return refuse_client(c);
    }
    struct hash_limits limits = {(size_t)c->conf->hash_max_listpack_entries, (size_t)c->conf->hash_max_listpack_value};
    if (!parcel_get(c->argv[3], &limits, c->now_ms, tier_last_purge(t), &f)) {
        return ERR_BAD_DUMP;
    }
    bool known = l1_get(c->l1, &c->keys[0], c->now_ms, L1_NOTOUCH, &v) || (settled_is_on(&t->settled) && settled_has(&t->settled, &c->keys[0]));
    bool taken = !known && tier_take_in(t, &c->keys[0], &f, c->now_ms);
    found_free(&f);
    reply_int(c->out, taken);
    return OK;
}
