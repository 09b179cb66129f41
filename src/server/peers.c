/* SPDX-License-Identifier: BSD-3-Clause */
/* peers: links to the nodes of the ring, and whom to ask. */
#include "src/server/peers.h"

#include <stdio.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/conf/conf.h"
#include "src/net/dial.h"
#include "src/rt/loop.h"
#include "src/server/channel.h"
#include "src/server/cluster.h"
#include "src/server/forward.h"
#include "src/guard/purge.h"
#include "src/server/handover.h"
#include "src/server/missed.h"
#include "src/server/near.h"
#include "src/server/peer_count.h"
#include "src/server/server.h"
#include "src/server/worker.h"

enum { TICK_MS = 50, BACKOFF_MIN_MS = 50, BACKOFF_MAX_MS = 2000, SUCCESSORS_MAX = 8, LINK_BUFFER_BYTES = 64 << 20,
       LETTERS_MAX_BYTES = 4 << 20, KEEP_UNUSED_MS = 30000,
       MISSED_AGAIN_MS = 1000 /* what was told and is not said to be dropped, since it could not be noted there, does not hold up more for longer */ };

static int64_t now_ms(void) {
    return clock_mono_us() / 1000;
}

struct links *peers_links(struct worker *w) {
    return &w->peers->links;
}

uint64_t peers_ring_version(const struct worker *w) {
    return w->peers->links.ring;
}

/* ---- one peer ---- */

/* Nothing is on its way to it, and no ring names it. */
static bool is_unused(const struct peer *peer, int64_t now) {
    return peer->index == RING_NONE && peer->dial == NULL && list_empty(&peer->waiting) && list_empty(&peer->aways) &&
           list_empty(&peer->peers->timed) && now - peer->used_ms > KEEP_UNUSED_MS;
}

/* What it was told may not have arrived: it is told anew. */
static void forget_told(struct peer *peer) {
    mem_free(peer->missed_set);
    peer->missed_set = NULL;
    peer->missed_told = 0;
}

static void drop_link(struct peer *peer) {
    forget_told(peer);
    if (peer->dial != NULL) {
        dial_cancel(&peer->dial);
    }
    if (peer->link != NULL) {
        link_close(peer->link);
        peer->link = NULL;
    }
}

static void peer_free(struct peer *peer) {
    drop_link(peer);
    list_remove(&peer->node);
    near_drop(peer->peers->near, peer);
    peer_counts_leave(peer->peers->counts, &peer->count);
    mem_free(peer->channels);
    buf_free(&peer->letters);
    mem_free(peer);
}

/* It did not answer: others stand in for it until it does. */
static void failed(struct peer *peer, const char *why) {
    int shift = peer->failures < 6 ? (int)peer->failures : 6;
    int64_t ms = (int64_t)BACKOFF_MIN_MS << shift;
    ms = ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
    peer->retry_ms = now_ms() + ms / 2 + (int64_t)rng_below((uint64_t)ms / 2 + 1);
    peer->failures++;
    if (!peer->down) {
        log_notice("peer %.8s at %s:%u does not answer: %s", peer->id, peer->host, peer->bus_port, why);
    }
    peer->down = true;
    buf_free(&peer->letters);
    if (peer->id[0] != '\0') {
        cluster_failed(peer->peers->worker->server, peer->id);
    }
    forward_peer_lost(peer, false);
}

static void put_letter(struct link *l, struct slice bytes) {
    link_frame(l, (struct frame){.type = FRAME_MEMBERS, .length = (uint32_t)bytes.n});
    buf_put_slice(&l->out.buf, bytes);
}

static void send_letters(struct peer *peer) {
    struct buf *b = &peer->letters;
    for (size_t at = 0; at < b->n;) {
        size_t n;
        memcpy(&n, b->p + at, sizeof(n));
        put_letter(peer->link, slice_make(b->p + at + sizeof(n), n));
        at += sizeof(n) + n;
    }
    buf_free(b);
}

/* ---- what it missed ---- */

/* Before any call that goes to it from now on. One telling at a time, but when a call must go (now): the other end looks at nothing else while
 * it drops what it was told of, so that news of each write by itself would leave it no time for what its membership is told. */
static void tell_missed(struct peer *peer, bool now) {
    struct peers *p = peer->peers;
    if (peer->missed_set != NULL && !now) {
        return; /* when it has dropped that; or in a while */
    }
    struct link *l = peer->link;
    uint64_t last = missed_last(p->missed);
    uint8_t set[PURGE_SLOT_BYTES];
    unsigned n = last == peer->missed_told ? 0 : missed_since(p->missed, l->peer, peer->missed_told, set);
    peer->missed_told = last;
    if (n == 0) {
        return;
    }
    peer->missed_ms = now_ms();
    if (peer->missed_set == NULL) {
        peer->missed_set = mem_zalloc(sizeof(set));
    }
    for (size_t i = 0; i < sizeof(set); i++) {
        peer->missed_set[i] |= set[i];
    }
    link_frame(l, (struct frame){.type = FRAME_MISSED, .tag = ++peer->missed_tag, .length = sizeof(set)});
    buf_put(&l->out.buf, set, sizeof(set));
    STAT_ADD(p->worker->stats->peer_missed_told, n);
}

static void tell_all_missed(struct peers *p) {
    for (struct list *n = p->all.next; n != &p->all; n = n->next) {
        struct peer *peer = LIST_ENTRY(n, struct peer, node);
        if (peer->link != NULL && peer->link->up) {
            tell_missed(peer, false);
        }
    }
    p->missed_seen = missed_last(p->missed);
}

static void dropped(struct peer *peer, uint32_t tag) {
    if (peer->missed_set != NULL && tag == peer->missed_tag) {
        missed_dropped(peer->peers->missed, peer->link->peer, peer->missed_set, peer->missed_told);
        mem_free(peer->missed_set);
        peer->missed_set = NULL;
        tell_missed(peer, false);
    }
}

void peer_tell_rest(struct peer *peer) {
    if (missed_last(peer->peers->missed) != peer->missed_told) {
        tell_missed(peer, true);
    }
}

static void on_up(struct link *l) {
    struct peer *peer = l->owner;
    struct peers *p = peer->peers;
    if (peer->id[0] == '\0' && strcmp(l->peer, p->links.id) == 0) {
        cluster_is_self(p->worker->server, &(struct node_addr){.port = peer->port, .bus_port = peer->bus_port}, peer->host);
    } else if (peer->id[0] != '\0' && strcmp(l->peer, peer->id) != 0) { /* another node has its address now: the membership will hear of that */
        link_close(l);
        peer->link = NULL;
        STAT_ADD(p->worker->stats->links.failed, 1);
        failed(peer, "another node is there");
        return;
    }
    STAT_ADD(p->worker->stats->links.opened, 1);
    if (peer->down) {
        log_notice("peer %.8s at %s:%u answers again", peer->id, peer->host, peer->bus_port);
    }
    peer->down = peer->refused = false;
    peer->failures = 0;
    tell_missed(peer, true);
    send_letters(peer);
    forward_peer_up(peer);
}

/* Keys of the peer's have changed, or anything may have. */
static void changed(struct peer *peer, struct slice bytes) {
    struct peers *p = peer->peers;
    for (size_t at = 0; at + 8 <= bytes.n; at += 8) {
        uint64_t hash = 0;
        for (size_t i = 8; i-- > 0;) {
            hash = hash << 8 | (unsigned char)bytes.p[at + i];
        }
        near_wrote_key(p->copies, hash);
    }
    STAT_ADD(p->worker->stats->near_heard, bytes.n >= 8 ? bytes.n / 8 : 1);
    if (bytes.n == 0) {
        near_drop(p->near, peer);
    }
}

static void on_frame(struct link *l, const struct frame *f, struct slice bytes, uint32_t at) {
    struct peer *peer = l->owner;
    if (f->type == FRAME_REPLY) {
        forward_reply(peer, f, bytes, at);
    } else if (f->type == FRAME_KEEP) {
        forward_keep(peer, f, bytes);
    } else if (f->type == FRAME_CHANGED) {
        changed(peer, bytes);
    } else if (f->type == FRAME_DROPPED) {
        dropped(peer, f->tag);
    } else if (f->type == FRAME_CLOSE) {
        forward_closed(peer, f->channel);
    } else {
        peers_frame(peer->peers->worker, l, f, bytes);
    }
}

/* A link that was up and broke is tried once more at once: a node that was restarted is back; one that is gone says so. */
static void on_down(struct link *l, const char *why) {
    struct peer *peer = l->owner;
    bool was_up = l->was_up, silent = strcmp(why, "no answer") == 0;
    peer->link = NULL;
    forget_told(peer);
    if (was_up) { /* what has changed there is not heard any more */
        near_drop(peer->peers->near, peer);
    }
    if (l->other_version) {
        struct node_addr at = {.port = peer->port, .bus_port = peer->bus_port};
        snprintf(at.host, sizeof(at.host), "%s", peer->host);
        cluster_other_version(peer->peers->worker->server, &at);
    }
    if (was_up && !silent) {
        forward_peer_lost(peer, true);
    } else {
        STAT_ADD(peer->peers->worker->stats->links.failed, !was_up);
        failed(peer, why);
    }
}

static const struct link_ops peer_ops = {.up = on_up, .frame = on_frame, .down = on_down};

static void on_dialed(void *ctx, int fd, const char *error) {
    struct peer *peer = ctx;
    peer->dial = NULL;
    if (fd >= 0) {
        peer->link = link_open(&peer->peers->links, fd, true, &peer_ops, peer);
    }
    if (peer->link == NULL) {
        peer->refused = fd < 0 && error == dial_refused;
        STAT_ADD(peer->peers->worker->stats->links.failed, 1);
        failed(peer, fd >= 0 ? "no memory for a connection" : error);
    }
}

void peer_want(struct peer *peer) {
    struct peers *p = peer->peers;
    if (peer->link != NULL || peer->dial != NULL || p->closing) {
        return;
    }
    if (peer->tried) {
        STAT_ADD(p->worker->stats->peer_reconnects, 1);
    }
    peer->tried = true;
    peer->dial = dial_start(p->dialer, peer->host, peer->bus_port, p->links.silence_ms, on_dialed, peer);
}

/* ---- the ring ---- */

static struct peer *peer_make(struct peers *p) {
    struct peer *peer = mem_zalloc(sizeof(*peer));
    peer->peers = p;
    peer->index = RING_NONE;
    peer->used_ms = now_ms();
    list_init(&peer->waiting);
    list_init(&peer->aways);
    list_push_back(&p->all, &peer->node);
    return peer;
}

static struct peer *find_peer(struct peers *p, const struct ring_node *node) {
    for (struct list *n = p->all.next; n != &p->all; n = n->next) {
        struct peer *peer = LIST_ENTRY(n, struct peer, node);
        if (strcmp(peer->id, node->id) == 0) {
            return peer;
        }
    }
    struct peer *peer = peer_make(p);
    snprintf(peer->id, sizeof(peer->id), "%s", node->id);
    peer->count = peer_counts_take(p->counts, peer->id);
    peer->cell = &peer->count->cells[p->worker->id];
    return peer;
}

static void take_ring(struct peers *p) {
    const struct ring *ring = p->ring.ring;
    p->links.ring = ring->version;
    near_drop(p->near, NULL); /* who owns what, and who answers, may be others now */
    for (struct list *n = p->all.next; n != &p->all; n = n->next) {
        LIST_ENTRY(n, struct peer, node)->index = RING_NONE;
    }
    p->by_index = mem_realloc(p->by_index, (ring->n + 1) * sizeof(*p->by_index));
    for (unsigned i = 0; i < ring->n; i++) {
        const struct ring_node *node = &ring->nodes[i];
        p->by_index[i] = NULL; /* this node */
        if (i == ring->self) {
            continue;
        }
        struct peer *peer = find_peer(p, node);
        if (strcmp(peer->host, node->host) != 0 || peer->bus_port != node->bus_port) {
            snprintf(peer->host, sizeof(peer->host), "%s", node->host);
            peer->port = node->port;
            peer->bus_port = node->bus_port;
            peer->retry_ms = 0; /* it may answer there */
        }
        peer->index = (uint16_t)i;
        p->by_index[i] = peer;
    }
}

bool peers_serve(const struct peers *p, unsigned slot) {
    return ring_serves(p->ring.ring, slot);
}

struct peer *peers_at(const struct peers *p, unsigned index) {
    return p->by_index[index];
}

struct peer *peers_for_slot(struct peers *p, unsigned slot, bool *gutter) {
    const struct ring *ring = p->ring.ring;
    unsigned first = ring->serving[slot], i = first;
    for (unsigned k = 0; k <= SUCCESSORS_MAX && i != RING_NONE; k++, i = ring_successor(ring, slot, k)) {
        struct peer *peer = p->by_index[i];
        bool silent = !ring_node_answers(&ring->nodes[i]);
        if (peer == NULL || (!peer->down && (i == first || !silent))) {
            *gutter = i != ring->owner[slot];
            return peer;
        }
    }
    *gutter = true;
    return NULL; /* nobody answers: we do */
}

static bool most_are_here(const struct ring *ring) {
    unsigned here = 0;
    for (unsigned i = 0; i < ring->n; i++) {
        here += ring_node_answers(&ring->nodes[i]);
    }
    return here * 2 > ring->n;
}

bool peers_is_gone(struct peers *p, const char *id) {
    const struct ring *ring = p->ring.ring;
    unsigned i = ring_find(ring, id);
    if (i == RING_NONE) {
        return true;
    }
    const struct peer *peer = p->by_index[i];
    bool nobody_there = peer != NULL && peer->refused && !ring_node_answers(&ring->nodes[i]);
    return nobody_there || (ring->nodes[i].state == NODE_DEAD && most_are_here(ring));
}

/* ---- turns ---- */

static void take_conf(struct peers *p) {
    const struct conf *conf = p->worker->conf;
    p->conf_version = p->worker->conf_version;
    p->links.secret = p->secret;
    p->links.slot_run = (unsigned)conf->cluster_slot_run;
    p->links.silence_ms = conf->cluster_call_timeout;
    atomic_store_explicit(&p->worker->server->host.near_limit_bytes, conf->near_size, memory_order_relaxed);
    near_configure(p->near, (size_t)conf->near_size / p->worker->server->host.loop_count, conf->near_ttl * 1000, (uint64_t)conf->near_reads);
    p->links.max_unsent_bytes = conf->cluster_link_sendbuf_limit > 0 ? (size_t)conf->cluster_link_sendbuf_limit : LINK_BUFFER_BYTES;
}

void peers_turn(struct worker *w) {
    struct peers *p = w->peers;
    if (unlikely(p->closing)) {
        return;
    }
    if (unlikely(p->conf_version != w->conf_version)) {
        take_conf(p);
    }
    if (!p->closing && unlikely(ring_reader_refresh(&p->ring, cluster_rings(w->server)))) {
        take_ring(p);
    }
    if (unlikely(p->missed_seen != missed_last(p->missed))) {
        tell_all_missed(p);
    }
}

void peers_turn_end(struct worker *w) {
    served_tell(w);
    links_flush(&w->peers->links);
}

static void count_links(struct peers *p) {
    struct conns *c = &p->worker->stats->links;
    uint64_t open = 0, idle = 0;
    for (struct list *n = p->all.next; n != &p->all; n = n->next) {
        const struct peer *peer = LIST_ENTRY(n, struct peer, node);
        bool up = peer->link != NULL && peer->link->up;
        open += up;
        idle += up && peer->on_way == 0;
    }
    STAT_SET(c->open, open);
    STAT_SET(c->idle, idle);
}

static void on_tick(void *ctx) {
    struct peers *p = ctx;
    int64_t now = now_ms();
    count_links(p);
    links_tick(&p->links);
    forward_tick(p, now);
    handover_tick_worker(p->worker);
    near_tick(p->near, clock_mono_us());
    for (struct list *n = p->all.next, *next; n != &p->all; n = next) {
        next = n->next;
        struct peer *peer = LIST_ENTRY(n, struct peer, node);
        if (peer->missed_set != NULL && now - peer->missed_ms >= MISSED_AGAIN_MS) {
            peer_tell_rest(peer);
        }
        if (is_unused(peer, now)) {
            peer_free(peer);
        } else if (peer->down && peer->index != RING_NONE && now >= peer->retry_ms) {
            peer_want(peer);
        }
    }
}

/* ---- what is not about calls ---- */

/* The node with that id if there is one, else whoever is at the address. */
static struct peer *addressee(struct peers *p, const char *id, const struct node_addr *to) {
    struct peer *at = NULL;
    for (struct list *n = p->all.next; n != &p->all; n = n->next) {
        struct peer *peer = LIST_ENTRY(n, struct peer, node);
        if (id[0] != '\0' && strcmp(peer->id, id) == 0) {
            return peer;
        }
        if (peer->id[0] == '\0' && peer->bus_port == to->bus_port && strcmp(peer->host, to->host) == 0) {
            at = peer;
        }
    }
    if (at == NULL) {
        at = peer_make(p);
        snprintf(at->host, sizeof(at->host), "%s", to->host);
        at->port = to->port;
        at->bus_port = to->bus_port;
    }
    return at;
}

void peers_send(struct peers *p, const char *id, const struct node_addr *to, struct slice bytes) {
    struct peer *peer = addressee(p, id, to);
    peer->used_ms = now_ms();
    if (peer->link != NULL && peer->link->up) {
        put_letter(peer->link, bytes);
    } else if (peer->letters.n + bytes.n <= LETTERS_MAX_BYTES) {
        buf_put(&peer->letters, &bytes.n, sizeof(bytes.n));
        buf_put_slice(&peer->letters, bytes);
    }
    peer_want(peer);
}

void peers_frame(struct worker *w, struct link *l, const struct frame *f, struct slice bytes) {
    if (f->type == FRAME_MEMBERS) {
        char addr[128];
        stream_peer_name(&l->stream, addr, sizeof(addr));
        cluster_hear(w->server, l->peer, addr, bytes);
    } else {
        link_blame(l, "a frame at the wrong end");
    }
}

/* ---- life ---- */

struct peers *peers_create(struct worker *w, const char *id, const char *secret, const struct peers_shared *shared) {
    struct peers *p = mem_zalloc(sizeof(*p));
    p->worker = w;
    p->secret = mem_strdup(secret);
    p->copies = shared->copies;
    p->holders = shared->holders;
    p->counts = shared->counts;
    p->missed = shared->missed;
    p->near = near_create(p->copies, w->stats);
    links_init(&p->links, w->loop, w->stats, id);
    p->dialer = dialer_create(w->loop);
    list_init(&p->all);
    list_init(&p->timed);
    list_init(&p->later);
    list_init(&p->broken);
    take_conf(p);
    p->tick = timer_create_on(w->loop, on_tick, p);
    timer_start(p->tick, TICK_MS, TICK_MS);
    return p;
}

static void on_dialer_closed(void *ctx) {
    ((struct peers *)ctx)->closed = true;
}

void peers_close(struct peers *p) {
    p->closing = true;
    timer_destroy(&p->tick);
    while (!list_empty(&p->links.all)) { /* those that peers have opened first close their channels */
        struct link *l = LIST_ENTRY(p->links.all.next, struct link, node);
        if (l->ops == &peer_ops) {
            struct peer *peer = l->owner;
            peer->link = NULL;
            link_close(l);
        } else {
            served_close(l);
        }
    }
    while (!list_empty(&p->all)) {
        peer_free(LIST_ENTRY(p->all.next, struct peer, node));
    }
    dialer_close(&p->dialer, on_dialer_closed, p);
}

void peers_free(struct peers **pp) {
    struct peers *p = *pp;
    *pp = NULL;
    ring_reader_release(&p->ring);
    near_destroy(&p->near);
    mem_free(p->by_index);
    mem_free(p->secret);
    mem_free(p);
}
