/* SPDX-License-Identifier: BSD-3-Clause */
/* handover_ask: a missing key of a slot that has moved here is asked of its owner before. */
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/rt/loop.h"
#include "src/server/forward.h"
#include "src/server/handover_int.h"
#include "src/server/peers.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/worker.h"
#include "src/tier/parcel.h"

/* One key. */
struct asking {
    struct forward f; /* first */
    struct due due;
    struct list node; /* in the asker's */
    struct fetch *fetch; /* NULL: answered */
    struct handover *handover;
    int64_t until_ms; /* monotonic */
    uint32_t stamp;
};

static int64_t mono_ms(void) {
    return clock_mono_us() / 1000;
}

static bool may_ask(const struct handover *h, const struct key *key) {
    const struct settled *settled = &h->srv->tier.settled;
    return settled_is_on(settled) && atomic_load_explicit(&h->asks[hash_slot(key->name)], memory_order_relaxed) && !settled_has(settled, key);
}

static enum probe_result probe(struct source *s, const struct key *key, int64_t now_ms, struct found *out) {
    (void)now_ms;
    (void)out;
    return may_ask(s->ctx, key) ? PROBE_UNKNOWN : PROBE_ABSENT;
}

/* Only then is the key settled: until its value is in memory, others must find that somebody looks for it. */
static void finish(struct handover *h, struct fetch *f, enum fetch_result result) {
    uint64_t hash = settled_hash(&h->srv->tier.settled, &f->key);
    f->result = result;
    f->error = result == FETCH_ERROR ? "the owner before did not answer" : NULL;
    f->done(f);
    settled_add_hash(&h->srv->tier.settled, hash);
}

static void answer(struct asking *x, enum fetch_result result) {
    struct fetch *f = x->fetch;
    struct stats *stats = x->f.session->worker->stats;
    x->fetch = NULL;
    list_remove(&x->node);
    STAT_ADD(stats->peer_handover_found, result == FETCH_FOUND);
    STAT_ADD(stats->peer_handover_failed, result == FETCH_ERROR);
    finish(x->handover, f, result);
}

static void release(struct due *d) {
    struct asking *x = LIST_ENTRY(d, struct asking, due);
    out_free(&d->before);
    out_free(&d->reply);
    forward_fini(&x->f);
    mem_free(x);
}

static void orphan(struct due *d) {
    struct asking *x = LIST_ENTRY(d, struct asking, due);
    if (x->fetch != NULL) {
        answer(x, FETCH_ERROR);
    }
    release(d);
}

/* $n, or nothing. */
static enum fetch_result read_reply(struct asking *x, struct slice reply) {
    struct worker *w = x->f.session->worker;
    struct hash_limits limits = {(size_t)w->conf->hash_max_listpack_entries, (size_t)w->conf->hash_max_listpack_value};
    const char *end = reply.n > 0 && reply.p[0] == '$' ? memchr(reply.p, '\n', reply.n) : NULL;
    if (end == NULL) {
        return FETCH_ERROR;
    }
    if (reply.p[1] == '-') {
        return FETCH_ABSENT;
    }
    size_t head = (size_t)(end + 1 - reply.p);
    struct slice parcel = slice_make(end + 1, reply.n > head + 2 ? reply.n - head - 2 : 0);
    return parcel_get(parcel, &limits, loop_now_ms(w->loop), x->stamp, &x->fetch->found) ? FETCH_FOUND : FETCH_ERROR;
}

static void on_reply(struct forward *f) {
    struct asking *x = (struct asking *)f;
    if (x->fetch != NULL) {
        answer(x, read_reply(x, buf_slice(&f->reply.buf)));
    }
    due_done(f->session, &x->due);
}

static void ask(struct handover *h, struct worker *w, struct fetch *f, int db, const char *node) {
    struct asker *a = &h->askers[w->id];
    struct session *s = handover_session(a);
    struct asking *x = mem_zalloc(sizeof(*x));
    struct slice argv[] = {{"CLUSTER", 7}, {"TAKE", 4}, f->key.name};
    forward_init(&x->f, s, FORWARD_ANY_SLOT, on_reply);
    x->f.db = (uint8_t)db;
    x->f.own = true;
    x->fetch = f;
    x->handover = h;
    x->stamp = tier_last_purge(&h->srv->tier);
    x->until_ms = mono_ms() + w->conf->cluster_call_timeout;
    x->due.release = release;
    x->due.orphan = orphan;
    list_push_back(&a->asked, &x->node);
    forward_add(&x->f, argv, 3);
    due_begin(s, &x->due);
    STAT_ADD(w->stats->peer_handover_asked, 1);
    forward_send_to(&x->f, node);
}

static void fetch(struct source *s, struct fetch *f) {
    struct handover *h = s->ctx;
    struct worker *w = h->srv->workers[loop_id(f->loop)];
    const struct ring *ring = w->peers->ring.ring;
    int db = handover_logical(h->srv, f->key.db);
    const struct ring_node *node = NULL;
    if (may_ask(h, &f->key) && ring != NULL && db >= 0 && !w->peers->closing) {
        node = ring_previous(ring, hash_slot(f->key.name), mono_ms());
    }
    if (node == NULL || node->self) {
        f->result = FETCH_ABSENT;
        f->done(f);
    } else if (!ring_node_answers(node)) {
        finish(h, f, FETCH_ABSENT); /* whatever it has, it is not asked for it later */
    } else {
        ask(h, w, f, db, node->id);
    }
}

void handover_source_init(struct handover *h) {
    h->source = (struct source){.name = "owner before", .ctx = h, .tier = STAT_L3, .probe = probe, .fetch = fetch};
}

void handover_tick_worker(struct worker *w) {
    struct handover *h = w->server->handover;
    int64_t now = mono_ms();
    struct list *asked = &h->askers[w->id].asked;
    while (!list_empty(asked)) {
        struct asking *x = LIST_ENTRY(asked->next, struct asking, node);
        if (x->until_ms > now) {
            return;
        }
        struct session *s = x->f.session;
        answer(x, FETCH_ERROR);
        due_done(s, &x->due);
    }
}
