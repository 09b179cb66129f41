/* SPDX-License-Identifier: BSD-3-Clause */
/* route: by the slots of its keys a call runs here, is sent to one peer, or to several. */
#include "src/server/route.h"

#include <stdlib.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/server/channel.h"
#include "src/server/due.h"
#include "src/server/far.h"
#include "src/server/forward.h"
#include "src/server/gather.h"
#include "src/server/handover.h"
#include "src/server/missed.h"
#include "src/server/near.h"
#include "src/server/peers.h"
#include "src/server/session.h"
#include "src/server/txn.h"
#include "src/server/worker.h"

enum { MODE_REDIRECT = 1 /* its place among the choices of cluster-mode */, SCAN_NODE_BITS = 10 };

/* A call, or a transaction, that one node answers. */
struct direct {
    struct forward f; /* first */
    struct due due;
    struct far_call far;
    bool watch;   /* it is WATCH */
    int end_db;   /* the client's database when the transaction has run; -1: as it was */
    struct near_key copy; /* f.near: what the reply would be a copy of; what is allocated */
    int scan_node; /* it is SCAN, at the node of this place in the ring; -1: it is not */
    bool reads; /* a single key */
};

static bool is_named(const struct call *c, const char *name) {
    return strcmp(c->cmd->row->name, name) == 0;
}

/* ---- one node ---- */

static void direct_release(struct due *d) {
    struct direct *x = LIST_ENTRY(d, struct direct, due);
    out_free(&d->before);
    out_free(&d->reply);
    mem_free((void *)(uintptr_t)x->copy.what.p);
    forward_fini(&x->f);
    mem_free(x);
}

/* A read of another node's key has been answered: for this node a look into the tier behind its memory and disk. */
static void account_read(struct stats *stats, bool found) {
    STAT_ADD(*(found ? &stats->forwarded.hits : &stats->forwarded.misses), 1);
}

/* No error, null or empty array: whatever the command calls nothing. */
static bool is_something(struct slice reply) {
    return reply.n > 1 && reply.p[0] != '-' && reply.p[0] != '_' && reply.p[1] != '-' && !(reply.p[0] == '*' && reply.p[1] == '0');
}

static void rewrite_cursor(struct direct *d);
static void keep_near(struct direct *d);

static const struct buf *commands_of(const void *ctx, unsigned i) {
    return i == 0 ? &((const struct direct *)ctx)->f.commands : NULL;
}

static void direct_done(struct forward *f) {
    struct direct *d = (struct direct *)f;
    struct client *client = &f->session->client;
    char kind = f->reply.buf.n > 0 ? f->reply.buf.p[0] : '-';
    if (d->watch && kind != '+') {
        forward_lose_watch(f->session);
    }
    if (d->end_db >= 0 && kind == '*' && f->reply.buf.p[1] != '-') {
        atomic_store_explicit(&client->db, (uint8_t)d->end_db, memory_order_relaxed);
    }
    if (d->scan_node >= 0 && kind == '*') {
        rewrite_cursor(d);
    }
    if (f->near) {
        keep_near(d);
    }
    if (d->reads) {
        account_read(f->session->worker->stats, f->reply.ref_count > 0 || is_something(buf_slice(&f->reply.buf)));
    }
    far_end(&d->far, f->session, buf_slice(&f->reply.buf), commands_of, d);
    out_append(&d->due.reply, &f->reply);
    due_done(f->session, &d->due);
}

static struct direct *direct_make(struct session *s, const struct call *c, unsigned slot) {
    struct direct *d = mem_zalloc(sizeof(*d));
    forward_init(&d->f, s, slot, direct_done);
    far_begin(&d->far, c, s->worker);
    d->end_db = d->scan_node = -1;
    d->due.release = d->due.orphan = direct_release;
    d->due.silent = client_is(&s->client, CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP);
    return d;
}

static enum err send_direct(struct session *s, struct direct *d, bool drain) {
    due_begin(s, &d->due);
    forward_send(&d->f);
    forward_brake(s, drain);
    return ERR_PARKED;
}

static enum err moved(struct session *s, struct call *c, unsigned slot) {
    const struct ring_node *node = ring_serving(s->worker->peers->ring.ring, slot);
    STAT_ADD(c->stats->peer_moved_replies, 1);
    return call_errorf(c, "MOVED %u %s:%u", slot, node->host, node->port);
}

static bool redirects(const struct session *s) {
    return s->worker->conf->cluster_mode == MODE_REDIRECT;
}

/* ---- copies of hot keys ---- */

enum { KIND_MANY = 1 << 8 /* what is all arguments, with their lengths; else it is the key alone */ };

/* All arguments behind the name, which are not to be taken for fewer or others. */
static struct slice join_args(const struct call *c) {
    struct buf b = {0};
    size_t n = 0;
    for (int i = 1; i < c->argc; i++) {
        n += sizeof(uint32_t) + c->argv[i].n;
    }
    b.p = arena_alloc(c->arena, n);
    for (int i = 1; i < c->argc; i++) {
        uint32_t length = (uint32_t)c->argv[i].n;
        memcpy(b.p + b.n, &length, sizeof(length));
        memcpy(b.p + b.n + sizeof(length), c->argv[i].p, length);
        b.n += sizeof(length) + length;
    }
    return buf_slice(&b);
}

static struct near_key near_key(const struct session *s, const struct call *c, uint64_t name_hash, unsigned slot) {
    uint8_t db = atomic_load_explicit(&s->client.db, memory_order_relaxed);
    bool many = c->argc > 2;
    struct slice what = many ? join_args(c) : c->keys[0].name;
    uint32_t kind = (uint32_t)c->cmd->id << 16 | (many ? KIND_MANY : 0) | s->out.proto;
    return (struct near_key){.what = what, .hash = hash_key(what, db) ^ kind * 0x9e3779b97f4a7c15ULL, .name_hash = name_hash, .kind = kind,
                             .slot = (uint16_t)slot, .db = db};
}

/* What the owner answered, if it may be kept; if not, what was kept before goes, too. */
static void keep_near(struct direct *d) {
    struct forward *f = &d->f;
    struct peers *p = f->session->worker->peers;
    struct stats *stats = f->session->worker->stats;
    struct slice reply = buf_slice(&f->reply.buf);
    bool nothing = reply.n <= 1 || reply.p[0] == '-' || (f->keep_ms == 0 && !is_something(reply));
    if (nothing || f->reply.ref_count > 0) {
        near_forget(p->near, &d->copy);
        STAT_ADD(stats->tiers[STAT_L3].rejects[REJECT_size], !nothing);
        return;
    }
    bool kept = near_put(p->near, &d->copy, f->ran_at, &f->ticket, f->keep_ms, reply, clock_mono_us());
    STAT_ADD(stats->forwarded.fills, kept);
}

/* A read of another node's key: answered by a copy (true), or perhaps worth one (hot), which k names. A client with a watch is to read what
 * EXEC will find, one with a call for the key on its way what that will leave. */
static bool answer_near(struct session *s, struct call *c, unsigned slot, uint64_t name_hash, struct near_key *k, bool *hot) {
    struct peers *p = s->worker->peers;
    struct slice reply;
    bool gutter;
    *hot = false;
    if (!near_is_on(p->near) || !(c->cmd->flags & CMD_READONLY) || c->nkeys != 1) {
        return false;
    }
    if (!(c->cmd->flags & CMD_NEAR)) {
        STAT_ADD(c->stats->tiers[STAT_L3].rejects[REJECT_kind], 1);
        return false;
    }
    const struct peer *owner = peers_for_slot(p, slot, &gutter);
    if (owner == NULL || gutter) {
        STAT_ADD(c->stats->tiers[STAT_L3].rejects[REJECT_owner], owner != NULL);
        return false;
    }
    *k = near_key(s, c, name_hash, slot);
    bool may_use = forward_watch_slot(s) < 0 && !forward_has_key(s, name_hash) && s->client.watch_count == 0;
    if (!near_read(p->near, k, owner, may_use, clock_mono_us(), &reply, hot)) {
        return false;
    }
    buf_put_slice(&c->out->buf, reply);
    STAT_ADD(c->stats->near_hits, 1);
    account_read(c->stats, is_something(reply));
    far_near(c, s->worker);
    return true;
}

/* near: what a copy of the reply would be known by, NULL when none is wanted. */
static void name_direct(struct direct *d, const struct call *c, uint64_t name_hash, const struct near_key *near) {
    bool writes = !(c->cmd->flags & CMD_READONLY);
    if (c->nkeys == 1) {
        forward_name(&d->f, name_hash);
    }
    d->f.wrote = !writes ? WROTE_NOTHING : c->nkeys == 1 ? WROTE_KEY : WROTE_SLOT;
    d->f.near = near != NULL;
    d->reads = !writes && c->nkeys == 1;
    if (near != NULL) {
        d->copy = *near;
        d->copy.what.p = mem_memdup(near->what.p, near->what.n);
    }
}

/* A call that runs here in the place of the slot's owner. */
static void stand_in(struct peers *p, struct call *c, unsigned slot, bool writes) {
    c->peer |= PEER_GUTTER;
    if (writes) {
        missed_note(p->missed, p->ring.ring, slot);
    }
}

static enum err route_slot(struct session *s, struct call *c, unsigned slot) {
    struct peers *p = s->worker->peers;
    if (likely(peers_serve(p, slot))) {
        if (unlikely(!ring_owns(p->ring.ring, slot))) {
            stand_in(p, c, slot, c->cmd->flags & CMD_WRITE);
        }
        return OK;
    }
    if (redirects(s)) {
        return moved(s, c, slot);
    }
    bool hot;
    struct near_key k;
    uint64_t name_hash = hash_name(c->keys[0].name);
    if (answer_near(s, c, slot, name_hash, &k, &hot)) {
        return ERR_PARKED; /* answered */
    }
    struct direct *d = direct_make(s, c, slot);
    d->f.may_repeat = forward_may_repeat(c);
    forward_add(&d->f, c->argv, c->argc);
    name_direct(d, c, name_hash, hot ? &k : NULL);
    if ((c->cmd->flags & CMD_DIRECT) && is_named(c, "watch")) {
        d->watch = d->f.sets_watch = true;
        forward_watch(s, slot);
    }
    return send_direct(s, d, false);
}

/* ---- several keys ---- */

/* The slot of all keys of c; -1: they differ; -2: none. */
static int slot_of_all(const struct call *c) {
    int slot = c->nkeys > 0 ? hash_slot(c->keys[0].name) : -2;
    for (int i = 1; i < c->nkeys; i++) {
        if (!slice_eq(c->keys[i].name, c->keys[i - 1].name) && hash_slot(c->keys[i].name) != slot) {
            return -1;
        }
    }
    return slot;
}

static enum err cross_slot(struct call *c) {
    return call_errorf(c, "CROSSSLOT Keys in request don't hash to the same slot");
}

static enum err route_keys(struct session *s, struct call *c) {
    int slot = slot_of_all(c);
    if (slot >= 0) {
        return route_slot(s, c, (unsigned)slot);
    }
    bool splits = c->cmd->row->spread != SPREAD_NONE && c->cmd->spec_count == 1 && !redirects(s);
    return splits ? gather_split(s, c) : cross_slot(c);
}

/* ---- transactions ---- */

struct building {
    struct direct *d;
    bool may_repeat;
    int db;
};

static void add_queued(void *ctx, const struct call *c, int db_after) {
    struct building *b = ctx;
    forward_add(&b->d->f, c->argv, c->argc);
    b->may_repeat &= forward_may_repeat(c);
    b->d->f.wrote |= c->cmd->flags & CMD_READONLY ? WROTE_NOTHING : WROTE_SLOT;
    b->db = db_after;
}

static enum err answer_null(struct session *s, struct call *c) {
    txn_forget(&s->client, c->l1);
    forward_unwatch(s, true);
    reply_null_array(c->out);
    return ERR_PARKED; /* answered */
}

static enum err send_transaction(struct session *s, struct call *c, unsigned slot) {
    int db = atomic_load_explicit(&s->client.db, memory_order_relaxed);
    struct direct *d = direct_make(s, c, slot);
    struct building b = {d, true, db};
    forward_add(&d->f, &(struct slice){"MULTI", 5}, 1);
    txn_each(c, add_queued, &b);
    forward_add(&d->f, &(struct slice){"EXEC", 4}, 1);
    d->f.watching = forward_watch_slot(s) >= 0;
    d->f.may_repeat = b.may_repeat && !d->f.watching;
    d->f.forgets_db = b.db != db;
    d->end_db = b.db != db ? b.db : -1;
    txn_forget(&s->client, c->l1);
    enum err e = send_direct(s, d, b.db != db);
    forward_unwatch(s, false);
    return e;
}

static enum err route_exec(struct session *s, struct call *c) {
    int watched = forward_watch_slot(s);
    if (!txn_is_exec(c) || client_is(&s->client, CLIENT_DIRTY_EXEC)) {
        forward_unwatch(s, true);
        return OK; /* refused by its handler */
    }
    txn_find_keys(c);
    int slot = slot_of_all(c);
    if (slot == -1 || (slot >= 0 && watched >= 0 && slot != watched)) {
        txn_forget(&s->client, c->l1);
        forward_unwatch(s, true);
        return cross_slot(c);
    }
    slot = slot >= 0 ? slot : watched;
    bool here = slot < 0 || peers_serve(s->worker->peers, (unsigned)slot);
    if (here && watched < 0) {
        if (slot >= 0 && !ring_owns(s->worker->peers->ring.ring, (unsigned)slot)) {
            stand_in(s->worker->peers, c, (unsigned)slot, txn_flags(c) & CMD_WRITE);
        }
        return OK;
    }
    if (here || s->client.watch_count > 0 || forward_watch_lost(s)) {
        return answer_null(s, c); /* watched at another node than the one that would run it: nobody knows whether it was changed */
    }
    if (redirects(s)) {
        txn_forget(&s->client, c->l1);
        return moved(s, c, (unsigned)slot);
    }
    return send_transaction(s, c, (unsigned)slot);
}

static enum err route_watch(struct session *s, struct call *c) {
    int slot = slot_of_all(c), before = forward_watch_slot(s);
    if (client_is(&s->client, CLIENT_MULTI)) {
        return OK; /* refused by its handler */
    }
    if (slot < 0 || (before >= 0 && slot != before)) {
        return cross_slot(c);
    }
    return route_slot(s, c, (unsigned)slot);
}

/* EXEC, WATCH, DISCARD, and the others that MULTI does not queue. */
static enum err route_transaction(struct session *s, struct call *c) {
    if (c->cmd->flags & CMD_EXEC) {
        return route_exec(s, c);
    }
    if (is_named(c, "watch")) {
        return route_watch(s, c);
    }
    if (is_named(c, "discard") && client_is(&s->client, CLIENT_MULTI)) {
        forward_unwatch(s, true);
    }
    return OK;
}

enum err route_queued(struct session *s, struct call *c) {
    const struct peers *p = s->worker->peers;
    if (p->ring.ring == NULL || s->channel != NULL) {
        return OK;
    }
    if (c->nkeys == 0 && c->cmd->row->spread != SPREAD_NONE) {
        return call_errorf(c, "ERR '%s' is for every node, and cannot be part of a transaction in a cluster", c->cmd->row->name);
    }
    int slot = slot_of_all(c);
    if (slot == -1) {
        return cross_slot(c);
    }
    return slot >= 0 && redirects(s) && !peers_serve(p, (unsigned)slot) ? moved(s, c, (unsigned)slot) : OK;
}

/* ---- SCAN: the node's place in the ring is in the cursor's low digits ---- */

/* The cursor of node `i`'s part of the keys. The walk goes on with the next node when one is done. */
static enum err route_scan(struct session *s, struct call *c) {
    const struct ring *ring = s->worker->peers->ring.ring;
    char text[24];
    uint64_t cursor;
    if (!num_parse_u64(c->argv[1], &cursor)) {
        return OK; /* refused by its handler */
    }
    unsigned i = (unsigned)(cursor & ((1u << SCAN_NODE_BITS) - 1));
    while (i < ring->n && !ring_node_answers(&ring->nodes[i])) {
        i++;
        cursor = i;
    }
    if (i >= ring->n) { /* the ring has become smaller: the end */
        reply_array(c->out, 2);
        reply_bulk_cstr(c->out, "0");
        reply_array(c->out, 0);
        return ERR_PARKED;
    }
    struct direct *d = direct_make(s, c, FORWARD_ANY_SLOT);
    struct slice *argv = arena_alloc(c->arena, (size_t)c->argc * sizeof(*argv));
    memcpy(argv, c->argv, (size_t)c->argc * sizeof(*argv));
    argv[1] = slice_make(text, num_print_u64(text, cursor >> SCAN_NODE_BITS));
    d->scan_node = (int)i;
    d->f.may_repeat = true;
    forward_add(&d->f, argv, c->argc);
    due_begin(s, &d->due);
    forward_send_to(&d->f, ring->nodes[i].id);
    forward_brake(s, false);
    return ERR_PARKED;
}

/* *2 $n cursor, then the names: the node goes into the cursor. */
static void rewrite_cursor(struct direct *d) {
    const struct ring *ring = d->f.session->worker->peers->ring.ring;
    struct buf *b = &d->f.reply.buf, out = {0};
    const char *second = memchr(b->p, '\n', b->n), *third = second == NULL ? NULL : memchr(second + 1, '\n', b->n - (size_t)(second + 1 - b->p));
    const char *end = third == NULL ? NULL : memchr(third + 1, '\r', b->n - (size_t)(third + 1 - b->p));
    uint64_t cursor = 0;
    if (end == NULL || !num_parse_u64(slice_make(third + 1, (size_t)(end - third) - 1), &cursor)) {
        return;
    }
    unsigned node = (unsigned)d->scan_node;
    cursor = cursor != 0 ? cursor << SCAN_NODE_BITS | node : node + 1 < ring->n ? node + 1 : 0;
    char text[24];
    size_t n = num_print_u64(text, cursor);
    buf_printf(&out, "*2\r\n$%zu\r\n%.*s", n, (int)n, text);
    buf_put(&out, end, b->n - (size_t)(end - b->p));
    buf_free(b);
    *b = out;
}

/* ---- all of them ---- */

/* Whether a call of a peer may use the slot here. A node that asks for a key that has moved to it does so where it is served no more. */
static bool may_serve(struct session *s, const struct call *c, unsigned slot) {
    bool serves = peers_serve(s->worker->peers, slot);
    if (c->peer & PEER_NODE) {
        return serves != is_named(c, "take");
    }
    return serves || ((c->peer & PEER_GUTTER ? handover_may_stand_in(s->worker->server, slot) : !(c->peer & PEER_STALE)));
}

/* A call that a peer has sent, and that runs: what it writes in others' place is noted here, too. */
static void note_served(struct peers *p, const struct call *c) {
    const struct ring *ring = p->ring.ring;
    bool writes = (txn_is_exec(c) ? txn_flags(c) : c->cmd->flags) & CMD_WRITE;
    if (!writes) {
        return;
    }
    for (int i = 0; i < c->nkeys && (c->peer & PEER_GUTTER); i++) {
        missed_note(p->missed, ring, hash_slot(c->keys[i].name));
    }
    for (unsigned i = 0; c->nkeys == 0 && c->cmd->row->spread != SPREAD_NONE && i < ring->n; i++) {
        if (ring->nodes[i].state == NODE_DEAD) { /* it was for every node */
            missed_note_all(p->missed, ring, i);
        }
    }
}

/* A call that a peer has sent, by another ring than ours: not run when we do not serve all of its keys. */
static enum err serve(struct session *s, struct call *c) {
    struct peers *p = s->worker->peers;
    if (likely((c->peer & (PEER_STALE | PEER_GUTTER | PEER_NODE)) == 0) || (c->peer & PEER_QUIET)) {
        if (unlikely(c->nkeys == 0)) {
            note_served(p, c);
        }
        return OK;
    }
    if (txn_is_exec(c)) {
        txn_find_keys(c);
    }
    for (int i = 0; i < c->nkeys; i++) {
        if (!may_serve(s, c, hash_slot(c->keys[i].name))) {
            STAT_ADD(c->stats->peer_wrong_calls, 1);
            txn_forget(&s->client, c->l1);
            s->channel->wrong(s->channel, c->tag);
            return ERR_PARKED;
        }
    }
    note_served(p, c);
    return OK;
}

enum err route_call(struct session *s, struct call *c) {
    struct peers *p = s->worker->peers;
    const struct cmd *cmd = c->cmd;
    c->step = STEP_ROUTE;
    if (unlikely(p->ring.ring == NULL)) {
        return OK;
    }
    if (s->channel != NULL) {
        return serve(s, c);
    }
    if (unlikely(cmd->flags & (CMD_DIRECT | CMD_EXEC))) {
        return route_transaction(s, c);
    }
    if (likely(c->nkeys == 1)) {
        return route_slot(s, c, hash_slot(c->keys[0].name));
    }
    if (c->nkeys > 1) {
        return route_keys(s, c);
    }
    if (cmd->row->spread != SPREAD_NONE && !redirects(s) && p->ring.ring->n > 1) {
        return cmd->row->spread == SPREAD_SCAN ? route_scan(s, c) : gather_everywhere(s, c);
    }
    if (unlikely(forward_watch_slot(s) >= 0) && is_named(c, "unwatch")) {
        forward_unwatch(s, true);
    }
    return OK;
}
