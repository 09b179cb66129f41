/* SPDX-License-Identifier: BSD-3-Clause */
/* handover_send: a node that leaves sends what it has in memory to its next owners: first what was read since it came, then the rest, as
 * far as handover-rate and handover-time allow. */
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/rt/loop.h"
#include "src/server/forward.h"
#include "src/server/handover_int.h"
#include "src/server/pace.h"
#include "src/server/peers.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/worker.h"
#include "src/tier/parcel.h"

enum { TICK_MS = 10, SLICE = 256, SLICES = 16 /* a tick */, PASSES = 2, ENTRY_HEAD = 5 };

struct sending {
    struct handover *handover;
    struct timer *timer;
    struct buf names; /* database u8, length u32, name: to be sent, from at on */
    size_t at;
    uint64_t position; /* of the walk */
    int pass;          /* 0: keys that were read; 1: the others; then none */
    unsigned in_flight;
    struct pace pace;  /* bytes */
    int64_t until_ms;
    uint64_t sent, refused;
};

/* One key. */
struct gift {
    struct forward f; /* first */
    struct due due;
    struct sending *sending;
    struct key key;
    char name[];
};

static int64_t mono_ms(void) {
    return clock_mono_us() / 1000;
}

static struct worker *first(const struct sending *s) {
    return s->handover->srv->workers[0];
}

/* ---- which ---- */

static void gather(void *ctx, const struct key *key, const struct item_view *item) {
    struct sending *s = ctx;
    char head[ENTRY_HEAD] = {(char)key->db};
    uint32_t n = (uint32_t)key->name.n;
    if (item->read == (s->pass == 0) && handover_lends(&s->handover->srv->host, hash_slot(key->name))) {
        memcpy(head + 1, &n, sizeof(n));
        buf_put(&s->names, head, sizeof(head));
        buf_put_slice(&s->names, key->name);
    }
}

/* The next key's name, from a walk that goes on when the names have run out. False: there is none, or not yet. */
static bool next_name(struct sending *s, uint8_t *db, struct slice *name) {
    struct l1 *l1 = s->handover->srv->host.l1;
    for (int i = 0; s->at == s->names.n && s->pass < PASSES; i++) {
        if (i == SLICES) {
            return false;
        }
        s->names.n = s->at = 0;
        s->position = l1_scan(l1, s->position, SLICE, -1, clock_now_ms(), false, gather, s);
        s->pass += s->position == 0;
    }
    if (s->at == s->names.n) {
        return false;
    }
    uint32_t n;
    *db = (uint8_t)s->names.p[s->at];
    memcpy(&n, s->names.p + s->at + 1, sizeof(n));
    *name = slice_make(s->names.p + s->at + ENTRY_HEAD, n);
    s->at += ENTRY_HEAD + n;
    return true;
}

/* ---- one key ---- */

static void release(struct due *d) {
    struct gift *g = LIST_ENTRY(d, struct gift, due);
    g->sending->in_flight--;
    out_free(&d->before);
    out_free(&d->reply);
    forward_fini(&g->f);
    mem_free(g);
}

/* :1 or :0; whichever it is, the new owner has a value, or knows better. */
static void on_reply(struct forward *f) {
    struct gift *g = (struct gift *)f;
    struct worker *w = f->session->worker;
    struct l1 *l1 = w->server->host.l1;
    bool answered = f->reply.buf.n > 1 && f->reply.buf.p[0] == ':', taken = answered && f->reply.buf.p[1] == '1';
    if (answered && handover_lends(&w->server->host, hash_slot(g->key.name))) {
        unsigned shard = l1_shard_of(l1, g->key.hash);
        l1_lock(l1, shard);
        tier_let_go(&w->server->tier, &g->key, loop_now_ms(w->loop));
        l1_unlock(l1, shard);
    }
    STAT_ADD(w->stats->peer_handover_sent, taken);
    STAT_ADD(w->stats->peer_handover_refused, answered && !taken);
    g->sending->sent += taken;
    g->sending->refused += answered && !taken;
    due_done(f->session, &g->due);
}

static bool pack(struct sending *s, const struct key *key, struct buf *parcel) {
    struct l1 *l1 = s->handover->srv->host.l1;
    struct item_view item;
    size_t most = (size_t)first(s)->conf->handover_max_value;
    int64_t now_ms = loop_now_ms(first(s)->loop);
    unsigned shard = l1_shard_of(l1, key->hash);
    l1_lock(l1, shard);
    bool there = l1_get(l1, key, now_ms, L1_NOTOUCH, &item);
    bool large = there && item.str.n > most;
    bool packed = there && !large && parcel_put(parcel, &item, now_ms);
    l1_unlock(l1, shard);
    large |= parcel->n > most;
    STAT_ADD(first(s)->stats->peer_handover_large, large);
    return packed && !large;
}

/* Returns how many bytes go. */
static size_t send_key(struct sending *s, uint8_t physical, struct slice name) {
    struct worker *w = first(s);
    struct buf parcel = {0};
    int db = handover_logical(s->handover->srv, physical);
    struct key key = key_make(name, physical);
    if (db < 0 || !pack(s, &key, &parcel)) {
        buf_free(&parcel);
        return 0;
    }
    struct session *session = handover_session(&s->handover->askers[0]);
    struct gift *g = mem_zalloc(sizeof(*g) + name.n);
    memcpy(g->name, name.p, name.n);
    g->key = key;
    g->key.name = slice_make(g->name, name.n);
    g->sending = s;
    forward_init(&g->f, session, hash_slot(name), on_reply);
    g->f.db = (uint8_t)db;
    g->f.own = g->f.may_repeat = true; /* a second time, it is refused */
    g->due.release = g->due.orphan = release;
    struct slice argv[] = {{"CLUSTER", 7}, {"GIVE", 4}, name, buf_slice(&parcel)};
    forward_add(&g->f, argv, 4);
    size_t n = parcel.n + name.n;
    buf_free(&parcel);
    s->in_flight++;
    STAT_ADD(w->stats->peer_handover_bytes, n);
    due_begin(session, &g->due);
    forward_send(&g->f);
    return n;
}

/* ---- all ---- */

static void pump(void *ctx) {
    struct sending *s = ctx;
    int64_t now_us = clock_mono_us();
    uint8_t db;
    struct slice name;
    if (mono_ms() >= s->until_ms) {
        s->pass = PASSES;
        s->at = s->names.n;
    }
    unsigned most = (unsigned)first(s)->conf->handover_keys;
    while (s->in_flight < most && pace_allows(&s->pace, now_us) && next_name(s, &db, &name)) {
        pace_spend(&s->pace, (int64_t)send_key(s, db, name), now_us);
    }
    STAT_ADD(first(s)->stats->peer_handover_stops, s->in_flight >= most);
}

struct sending *sending_begin(struct handover *h) {
    struct worker *w = h->srv->workers[0];
    struct sending *s = mem_zalloc(sizeof(*s));
    s->handover = h;
    s->pass = w->conf->handover_rate > 0 ? 0 : PASSES;
    s->until_ms = mono_ms() + w->conf->handover_time;
    pace_start(&s->pace, w->conf->handover_rate, clock_mono_us());
    s->timer = timer_create_on(w->loop, pump, s);
    timer_start(s->timer, 0, TICK_MS);
    return s;
}

bool sending_goes_on(const struct sending *s) {
    return s->in_flight > 0 || s->pass < PASSES || s->at < s->names.n;
}

void sending_end(struct sending **sp) {
    struct sending *s = *sp;
    *sp = NULL;
    if (s != NULL) {
        log_notice("cluster: %llu keys went to their next owners, which had %llu others already", (unsigned long long)s->sent, (unsigned long long)s->refused);
        timer_destroy(&s->timer);
        buf_free(&s->names);
        mem_free(s);
    }
}
