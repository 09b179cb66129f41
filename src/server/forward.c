/* SPDX-License-Identifier: BSD-3-Clause */
/* forward: sessions' channels at other nodes, and the calls on their way. */
#include "src/server/forward.h"

#include <stdio.h>

#include "cluster/frame.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/num.h"
#include "src/cmd/call.h"
#include "src/rt/loop.h"
#include "src/server/channel.h"
#include "src/server/missed.h"
#include "src/server/peer_count.h"
#include "src/server/peers.h"
#include "src/server/session.h"
#include "src/server/worker.h"

enum {
    TRIES_MAX = 16,
    AGAIN_MS = 20,            /* between two tries at a node whose ring is another one than ours: it, or we, will hear of it */
    WRONG_TRIES = 12,         /* then whoever seems right is asked to stand in */
    DEADLINE_FACTOR = 60,     /* of cluster-call-timeout, which is for silence */
    CHANNEL_INDEX_BITS = 20,
    CHANNELS_MAX = 1 << CHANNEL_INDEX_BITS,
    UNKNOWN_DB = 255,
    IDLE_MS = 120000,         /* a channel that is not used is closed: it costs memory at the other end */
    SWEEP_MS = 5000,
    BUSY_WORDS = 4            /* of 64 keys */
};

/* A session's channel at one node. */
struct away {
    struct list node;      /* of the session's */
    struct list peer_node; /* of the peer's */
    struct session *session;
    struct peer *peer;     /* NULL: this node itself */
    uint32_t id;
    uint8_t db, proto;     /* of the session there */
    bool no_touch, watching;
    int64_t used_ms;
    struct list sent;      /* calls without their replies, oldest first */
    struct channel inner;  /* of this node itself */
};

/* All that a session has on its way. */
struct far {
    struct list aways;
    unsigned calls, named;
    uint64_t keys[BUSY_WORDS]; /* a bit for each key of the named ones, until there are none */
    size_t bytes;
    int watch_slot;        /* -1: none */
    bool watch_lost, full, drain;
};

static struct peers *peers_of(const struct forward *f) {
    return f->session->worker->peers;
}

static int64_t now_ms(void) {
    return clock_mono_us() / 1000;
}

static struct far *far_of(struct session *s) {
    if (s->far == NULL) {
        s->far = mem_zalloc(sizeof(*s->far));
        s->far->watch_slot = -1;
        list_init(&s->far->aways);
    }
    return s->far;
}

/* ---- a call's life ---- */

void forward_init(struct forward *f, struct session *s, unsigned slot, void (*done)(struct forward *f)) {
    const struct client *client = &s->client;
    *f = (struct forward){.session = s, .slot = (uint16_t)slot, .done = done};
    list_init(&f->node);
    list_init(&f->timed);
    f->db = atomic_load_explicit(&client->db, memory_order_relaxed);
    f->proto = s->out.proto;
    f->no_touch = client_is(client, CLIENT_NO_TOUCH);
    f->deadline_ms = now_ms() + s->worker->conf->cluster_call_timeout * DEADLINE_FACTOR;
    list_push_back(&s->worker->peers->timed, &f->timed);
    far_of(s)->calls++;
}

static uint64_t *busy_word(struct far *far, uint64_t name_hash) {
    return &far->keys[name_hash >> 6 & (BUSY_WORDS - 1)];
}

void forward_name(struct forward *f, uint64_t name_hash) {
    struct far *far = f->session->far;
    f->named = true;
    f->name_hash = name_hash;
    far->named++;
    *busy_word(far, name_hash) |= (uint64_t)1 << (name_hash & 63);
}

bool forward_has_key(const struct session *s, uint64_t name_hash) {
    struct far *far = s->far;
    return far != NULL && far->calls > 0 && (far->named < far->calls || (*busy_word(far, name_hash) >> (name_hash & 63) & 1));
}

static void resume(struct session *s) {
    const struct conf *conf = s->worker->conf;
    struct far *far = s->far;
    bool enough = far->drain ? far->calls == 0
                             : far->calls <= (size_t)conf->cluster_client_calls / 2 && far->bytes <= (size_t)conf->cluster_client_bytes / 2;
    if (s->stopped && enough) {
        s->stopped = far->drain = false;
        session_go_on(s);
    }
}

/* Its reply is not to come from there any more. */
static void leave_away(struct forward *f) {
    if (f->away != NULL && f->away->peer != NULL) {
        f->away->peer->on_way--;
    }
    f->away = NULL;
}

void forward_fini(struct forward *f) {
    struct far *far = f->session->far;
    leave_away(f);
    list_remove(&f->node);
    list_remove(&f->timed);
    far->calls--;
    far->named -= f->named;
    if (far->calls == 0) {
        memset(far->keys, 0, sizeof(far->keys));
    }
    far->bytes -= f->commands.n;
    buf_free(&f->commands);
    out_free(&f->reply);
    resume(f->session);
}

void forward_brake(struct session *s, bool drain) {
    struct far *far = s->far;
    if (far == NULL || far->calls == 0) {
        return;
    }
    const struct conf *conf = s->worker->conf;
    bool many = far->calls >= (size_t)conf->cluster_client_calls || far->bytes >= (size_t)conf->cluster_client_bytes;
    if (drain || far->full || many) {
        s->stopped = true;
        far->drain |= drain;
        STAT_ADD(s->worker->stats->peer_forward_stops, many);
        STAT_ADD(s->worker->stats->peer_link_stops, far->full && !many);
    }
    far->full = false;
}

static void put_head(struct buf *b, char kind, size_t n) {
    char *p = buf_reserve(b, NUM_I64_MAX_LEN + 3);
    *p = kind;
    size_t len = num_print_u64(p + 1, n);
    memcpy(p + 1 + len, "\r\n", 2);
    buf_commit(b, len + 3);
}

void forward_add(struct forward *f, const struct slice *argv, int argc) {
    struct buf *b = &f->commands;
    size_t start = b->n;
    uint32_t length;
    buf_put(b, "len", sizeof(length));
    put_head(b, '*', (size_t)argc);
    for (int i = 0; i < argc; i++) {
        put_head(b, '$', argv[i].n);
        buf_put_slice(b, argv[i]);
        buf_put(b, "\r\n", 2);
    }
    length = (uint32_t)(b->n - start - sizeof(length));
    memcpy(b->p + start, &length, sizeof(length));
    f->session->far->bytes += b->n - start;
}

/* Before the client hears that it has written: whoever reads here from now on sees that. */
static void end_copies(const struct forward *f) {
    struct peers *p = peers_of(f);
    struct near_node *copies = p->copies;
    if (f->gutter && (f->wrote == WROTE_KEY || f->wrote == WROTE_SLOT)) {
        missed_note(p->missed, p->ring.ring, f->slot);
    }
    if (f->wrote == WROTE_KEY) {
        near_wrote_key(copies, f->name_hash);
    } else if (f->wrote == WROTE_SLOT) {
        near_wrote_slot(copies, f->slot);
    } else if (f->wrote == WROTE_ALL) {
        near_wrote_all(copies);
    }
}

static void finish(struct forward *f) {
    end_copies(f);
    list_remove(&f->node);
    list_remove(&f->timed);
    leave_away(f);
    f->done(f);
}

void forward_fail(struct forward *f, const char *why) {
    f->failed = true;
    STAT_ADD(f->session->worker->stats->peer_forward_errors, 1);
    out_truncate(&f->reply, 0, 0);
    reply_errorf(&f->reply, "CLUSTERDOWN %s", why);
    finish(f);
}

static bool is_conditional(struct slice word) {
    static const char *const words[] = {"nx", "xx", "get", "gt", "lt", "fnx", "fxx"};
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (slice_eqi(word, words[i])) {
            return true;
        }
    }
    return false;
}

bool forward_may_repeat(const struct call *c) {
    if (c->cmd->flags & CMD_READONLY) {
        return true;
    }
    for (int i = 3; i < c->argc; i++) { /* a value that reads so is taken for an option: on the safe side */
        if (is_conditional(c->argv[i])) {
            return false;
        }
    }
    return (c->cmd->flags & CMD_REPEATABLE) != 0;
}

/* ---- channels ---- */

static void on_inner_reply(struct channel *ch, uint32_t tag, struct out *reply);
static void on_inner_wrong(struct channel *ch, uint32_t tag);
static void on_inner_closed(struct channel *ch);

/* A number for the channel that no other one of the link has, nor has had lately: replies to that one may still come. */
static bool enlist(struct away *a) {
    struct peer *p = a->peer;
    uint32_t i = p->channel_free;
    while (i < p->channel_count && p->channels[i] != NULL) {
        i++;
    }
    if (i == p->channel_count) {
        uint32_t n = i == 0 ? 16 : i * 2;
        if (n > CHANNELS_MAX) {
            return false;
        }
        p->channels = mem_realloc(p->channels, n * sizeof(*p->channels));
        memset(p->channels + i, 0, (n - i) * sizeof(*p->channels));
        p->channel_count = n;
    }
    p->channels[i] = a;
    p->channel_free = i + 1;
    a->id = i | p->generation++ << CHANNEL_INDEX_BITS;
    list_push_back(&p->aways, &a->peer_node);
    return true;
}

static struct away *away_make(struct session *s, struct peer *peer) {
    struct away *a = mem_zalloc(sizeof(*a));
    a->session = s;
    a->peer = peer;
    a->proto = 2;
    list_init(&a->sent);
    list_init(&a->peer_node);
    if (peer != NULL && !enlist(a)) {
        mem_free(a);
        return NULL;
    }
    list_push_front(&far_of(s)->aways, &a->node);
    if (peer == NULL) {
        a->inner.replied = on_inner_reply;
        a->inner.wrong = on_inner_wrong;
        a->inner.closed = on_inner_closed;
        channel_open(&a->inner, s->worker, s->client.addr);
    }
    return a;
}

static struct away *away_to(struct session *s, struct peer *peer) {
    struct list *aways = &far_of(s)->aways;
    for (struct list *n = aways->next; n != aways; n = n->next) {
        struct away *a = LIST_ENTRY(n, struct away, node);
        if (a->peer == peer) {
            return a;
        }
    }
    return away_make(s, peer);
}

static void away_free(struct away *a) {
    CHECK(list_empty(&a->sent));
    list_remove(&a->node);
    list_remove(&a->peer_node);
    if (a->peer != NULL) {
        uint32_t i = a->id & (CHANNELS_MAX - 1);
        a->peer->channels[i] = NULL;
        a->peer->channel_free = i < a->peer->channel_free ? i : a->peer->channel_free;
    }
    mem_free(a);
}

/* ---- sending ---- */

static void put(struct away *a, unsigned flags, uint32_t tag, struct slice command) {
    struct frame f = {.type = FRAME_CALL, .flags = (uint8_t)flags, .channel = a->id, .tag = tag, .length = (uint32_t)command.n};
    if (a->peer != NULL) {
        link_frame(a->peer->link, f);
        buf_put_slice(&a->peer->link->out.buf, command);
    } else if (a->inner.session != NULL) {
        f.ring = peers_ring_version(a->session->worker);
        channel_take(&a->inner, &f, command, 0);
    }
}

static void put_text(struct away *a, const char *fmt, unsigned n) {
    char text[64];
    int len = snprintf(text, sizeof(text), fmt, n);
    put(a, CALL_QUIET, 0, slice_make(text, (size_t)len));
}

/* The session there is in the state of the client here. */
static void put_state(struct away *a, const struct forward *f) {
    if (a->proto != f->proto) {
        put_text(a, "*2\r\n$5\r\nHELLO\r\n$1\r\n%u\r\n", f->proto);
        a->proto = f->proto;
    }
    if (a->db != f->db) {
        put_text(a, f->db < 10 ? "*2\r\n$6\r\nSELECT\r\n$1\r\n%u\r\n" : "*2\r\n$6\r\nSELECT\r\n$2\r\n%u\r\n", f->db);
        a->db = f->db;
    }
    if (a->no_touch != f->no_touch) {
        put_text(a, f->no_touch ? "*3\r\n$6\r\nCLIENT\r\n$8\r\nNO-TOUCH\r\n$2\r\nON\r\n" : "*3\r\n$6\r\nCLIENT\r\n$8\r\nNO-TOUCH\r\n$3\r\nOFF\r\n", 0);
        a->no_touch = f->no_touch;
    }
}

static void send_over(struct away *a, struct forward *f) {
    struct peers *p = peers_of(f);
    bool stands_in = f->gutter || f->insist;
    unsigned flags = (stands_in ? CALL_GUTTER : f->near && a->peer != NULL ? CALL_NEAR : 0) | (f->own ? CALL_NODE : 0);
    f->keep_ms = 0;
    if (f->near) {
        f->ticket = near_ticket(p->near, f->name_hash, f->slot, clock_mono_us());
    }
    if (a->peer != NULL && unlikely(a->peer->missed_set != NULL)) {
        peer_tell_rest(a->peer);
    }
    f->away = a;
    f->ran_at = a->peer;
    f->tag = ++p->last_tag;
    a->used_ms = now_ms();
    list_remove(&f->node);
    list_push_back(&a->sent, &f->node);
    put_state(a, f);
    for (size_t at = 0; at < f->commands.n;) {
        uint32_t length;
        memcpy(&length, f->commands.p + at, sizeof(length));
        at += sizeof(length);
        bool last = at + length == f->commands.n;
        put(a, last ? flags : CALL_QUIET | flags, last ? f->tag : 0, slice_make(f->commands.p + at, length));
        at += length;
    }
    a->watching |= f->sets_watch;
    a->db = f->forgets_db ? UNKNOWN_DB : a->db;
    if (a->peer != NULL) {
        STAT_ADD(p->worker->stats->peer_forwarded_calls, 1);
        STAT_ADD(p->worker->stats->links.reused, !f->waited);
        STAT_ADD(a->peer->cell->calls, 1);
        a->peer->on_way++;
        f->waited = false;
        f->sent_us = clock_mono_us();
        f->session->far->full |= link_is_full(a->peer->link);
    }
    STAT_ADD(p->worker->stats->peer_gutter_calls, f->gutter);
    STAT_ADD(p->worker->stats->peer_forward_retries, f->tries > 0);
}

/* What EXEC answers when a watched key was changed; here, when nobody can say that it was not. */
static void answer_watch_lost(struct forward *f) {
    reply_null_array(&f->reply);
    finish(f);
}

/* peer: NULL for this node itself. */
static void go(struct forward *f, struct peer *peer) {
    bool up = peer == NULL || (peer->link != NULL && peer->link->up);
    if (!up) {
        f->waited = true;
        list_remove(&f->node);
        list_push_back(&peer->waiting, &f->node);
        peer_want(peer);
    } else if (f->ran_at != NULL && f->ran_at == peer && !f->may_repeat) {
        forward_fail(f, "The connection to the key's node was lost; the call may or may not have been run");
    } else {
        struct away *a = away_to(f->session, peer);
        if (a != NULL && f->watching && !a->watching) {
            answer_watch_lost(f);
        } else if (a == NULL) {
            forward_fail(f, "Too many clients of this node have calls at the key's node");
        } else {
            send_over(a, f);
        }
    }
}

void forward_send(struct forward *f) {
    struct peers *p = peers_of(f);
    if (f->slot != FORWARD_ANY_SLOT) {
        go(f, peers_for_slot(p, f->slot, &f->gutter));
        return;
    }
    unsigned i = ring_find(p->ring.ring, f->to);
    struct peer *peer = i == RING_NONE ? NULL : peers_at(p, i);
    if (i == RING_NONE || (peer != NULL && peer->down)) {
        forward_fail(f, "A node does not answer");
    } else {
        go(f, peer);
    }
}

void forward_send_to(struct forward *f, const char *id) {
    f->slot = FORWARD_ANY_SLOT;
    snprintf(f->to, sizeof(f->to), "%s", id);
    forward_send(f);
}

/* ---- replies ---- */

static struct forward *sent_as(struct away *a, uint32_t tag) {
    for (struct list *n = a->sent.next; n != &a->sent; n = n->next) {
        struct forward *f = LIST_ENTRY(n, struct forward, node);
        if (f->tag == tag) {
            return f;
        }
    }
    return NULL; /* nobody waits for it any more */
}

/* The ring there is another one: the call goes by the newer one, in a moment. */
static void again_later(struct forward *f) {
    struct peers *p = peers_of(f);
    leave_away(f);
    f->ran_at = NULL; /* it was not run */
    list_remove(&f->node);
    if (++f->tries >= TRIES_MAX) {
        forward_fail(f, "The nodes do not agree who serves the key");
        return;
    }
    f->again_ms = now_ms() + (f->tries > 1 ? AGAIN_MS : 0);
    list_push_back(&p->later, &f->node);
}

static struct away *away_of(struct peer *peer, uint32_t channel) {
    uint32_t i = channel & (CHANNELS_MAX - 1);
    struct away *a = i < peer->channel_count ? peer->channels[i] : NULL;
    return a != NULL && a->id == channel ? a : NULL;
}

void forward_keep(struct peer *peer, const struct frame *frame, struct slice bytes) {
    struct away *a = away_of(peer, frame->channel);
    struct forward *f = a != NULL ? sent_as(a, frame->tag) : NULL;
    for (size_t i = bytes.n; f != NULL && i-- > 0;) {
        f->keep_ms = f->keep_ms << 8 | (unsigned char)bytes.p[i];
    }
}

void forward_reply(struct peer *peer, const struct frame *frame, struct slice bytes, uint32_t at) {
    struct away *a = away_of(peer, frame->channel);
    struct forward *f = a != NULL ? sent_as(a, frame->tag) : NULL;
    if (f == NULL) {
        return;
    }
    if (frame->flags & REPLY_WRONG) {
        again_later(f);
        return;
    }
    buf_put_slice(&f->reply.buf, bytes);
    if (at + bytes.n == frame->length) {
        peer_cell_answered(peer->cell, (uint64_t)(clock_mono_us() - f->sent_us));
        finish(f);
    }
}

static struct away *away_of_inner(struct channel *ch) {
    return LIST_ENTRY(ch, struct away, inner);
}

static void on_inner_reply(struct channel *ch, uint32_t tag, struct out *reply) {
    struct forward *f = sent_as(away_of_inner(ch), tag);
    if (f != NULL) {
        out_append(&f->reply, reply);
        finish(f);
    }
    out_truncate(reply, 0, 0);
}

static void on_inner_wrong(struct channel *ch, uint32_t tag) {
    struct forward *f = sent_as(away_of_inner(ch), tag);
    if (f != NULL) {
        again_later(f);
    }
}

/* ---- losses ---- */

static void splice(struct list *to, struct list *from) {
    struct list *n;
    while ((n = list_pop_front(from)) != NULL) {
        list_push_back(to, n);
    }
}

/* The channel is no more, but for the calls that were sent over it. */
static void away_lose(struct away *a, struct list *calls) {
    struct far *far = a->session->far;
    far->watch_lost |= a->watching;
    for (struct list *n = a->sent.next; n != &a->sent; n = n->next) {
        leave_away(LIST_ENTRY(n, struct forward, node));
        if (a->peer != NULL) {
            STAT_ADD(a->peer->cell->lost, 1);
        }
    }
    splice(calls, &a->sent);
    away_free(a);
}

/* here: they wait for this peer; NULL: whoever serves their slots now. */
static void send_again(struct list *calls, struct peer *here) {
    while (!list_empty(calls)) {
        struct forward *f = LIST_ENTRY(calls->next, struct forward, node);
        list_remove(&f->node);
        out_truncate(&f->reply, 0, 0); /* what may have come of it */
        if (++f->tries >= TRIES_MAX) {
            forward_fail(f, "The key's node does not answer");
        } else if (here != NULL) {
            list_push_back(&here->waiting, &f->node);
        } else if (f->split != NULL) {
            f->split(f);
        } else {
            forward_send(f);
        }
    }
}

void forward_peer_lost(struct peer *peer, bool again) {
    struct list calls;
    list_init(&calls);
    while (!list_empty(&peer->aways)) {
        away_lose(LIST_ENTRY(peer->aways.next, struct away, peer_node), &calls);
    }
    splice(&calls, &peer->waiting);
    bool wanted = !list_empty(&calls);
    send_again(&calls, again ? peer : NULL);
    if (again && wanted) {
        peer_want(peer);
    }
}

void forward_peer_up(struct peer *peer) {
    struct list calls;
    list_init(&calls);
    splice(&calls, &peer->waiting);
    while (!list_empty(&calls)) {
        struct forward *f = LIST_ENTRY(calls.next, struct forward, node);
        list_remove(&f->node);
        go(f, peer);
    }
}

/* A session at the other end closed by itself: over a limit. */
static void lose_one(struct away *a) {
    struct list calls;
    list_init(&calls);
    away_lose(a, &calls);
    while (!list_empty(&calls)) {
        forward_fail(LIST_ENTRY(calls.next, struct forward, node), "The key's node has closed the session");
    }
}

void forward_closed(struct peer *peer, uint32_t channel) {
    struct away *a = away_of(peer, channel);
    if (a != NULL) {
        lose_one(a);
    }
}

/* Perhaps while a call is being put into it. */
static void on_inner_closed(struct channel *ch) {
    struct away *a = away_of_inner(ch);
    list_push_back(&a->session->worker->peers->broken, &a->peer_node);
}

/* ---- watches ---- */

int forward_watch_slot(const struct session *s) {
    return s->far != NULL ? s->far->watch_slot : -1;
}

bool forward_watch_lost(const struct session *s) {
    return s->far != NULL && s->far->watch_lost;
}

void forward_watch(struct session *s, unsigned slot) {
    far_of(s)->watch_slot = (int)slot;
}

void forward_unwatch(struct session *s, bool tell) {
    if (s->far == NULL || (s->far->watch_slot < 0 && !s->far->watch_lost)) {
        return;
    }
    s->far->watch_slot = -1;
    s->far->watch_lost = false;
    for (struct list *n = s->far->aways.next; n != &s->far->aways; n = n->next) {
        struct away *a = LIST_ENTRY(n, struct away, node);
        if (a->watching && tell) {
            put_text(a, "*1\r\n$7\r\nUNWATCH\r\n", 0);
        }
        a->watching = false;
    }
}

void forward_lose_watch(struct session *s) {
    s->far->watch_lost |= s->far->watch_slot >= 0;
}

/* ---- time, and the end ---- */

static void away_close(struct away *a) {
    if (a->peer == NULL) {
        channel_close(&a->inner);
    } else if (a->peer->link != NULL) {
        link_frame(a->peer->link, (struct frame){.type = FRAME_CLOSE, .channel = a->id});
    }
    away_free(a);
}

static void close_idle(struct peers *p, int64_t now) {
    for (struct list *n = p->all.next; n != &p->all; n = n->next) {
        struct peer *peer = LIST_ENTRY(n, struct peer, node);
        for (struct list *m = peer->aways.next, *next; m != &peer->aways; m = next) {
            struct away *a = LIST_ENTRY(m, struct away, peer_node);
            next = m->next;
            if (list_empty(&a->sent) && !a->watching && now - a->used_ms > IDLE_MS) {
                away_close(a);
            }
        }
    }
}

void forward_tick(struct peers *p, int64_t now) {
    struct list due;
    list_init(&due);
    while (!list_empty(&p->broken)) {
        lose_one(LIST_ENTRY(p->broken.next, struct away, peer_node));
    }
    if (now - p->swept_ms > SWEEP_MS) {
        p->swept_ms = now;
        close_idle(p, now);
    }
    while (!list_empty(&p->timed) && LIST_ENTRY(p->timed.next, struct forward, timed)->deadline_ms <= now) {
        forward_fail(LIST_ENTRY(p->timed.next, struct forward, timed), "The key's node did not answer in time");
    }
    for (struct list *n = p->later.next, *next; n != &p->later; n = next) {
        next = n->next;
        if (LIST_ENTRY(n, struct forward, node)->again_ms <= now) {
            list_remove(n);
            list_push_back(&due, n);
        }
    }
    while (!list_empty(&due)) {
        struct forward *f = LIST_ENTRY(due.next, struct forward, node);
        list_remove(&f->node);
        f->insist = f->tries >= WRONG_TRIES;
        if (f->split != NULL && !f->insist) {
            f->split(f);
        } else {
            forward_send(f);
        }
    }
}

void forward_close(struct session *s) {
    struct far *far = s->far;
    if (far == NULL) {
        return;
    }
    CHECK(far->calls == 0);
    while (!list_empty(&far->aways)) {
        away_close(LIST_ENTRY(far->aways.next, struct away, node));
    }
    mem_free(far);
    s->far = NULL;
}
