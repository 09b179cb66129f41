/* SPDX-License-Identifier: BSD-3-Clause */
/* channel: sessions of other nodes' clients, and the links they come over. */
#include "src/server/channel.h"

#include <unistd.h>

#include "cluster/link.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/guard/purge.h"
#include "src/rt/pool.h"
#include "src/server/handover.h"
#include "src/server/holders.h"
#include "src/server/peers.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/worker.h"

void channel_open(struct channel *ch, struct worker *w, const char *addr) {
    ch->session = session_open_channel(w, ch, addr);
}

void channel_take(struct channel *ch, const struct frame *f, struct slice bytes, uint32_t at) {
    struct session *s = ch->session; /* which may close on the way, and ch be freed; s lives to the end of the turn */
    struct buf head = {0};
    if (s == NULL) {
        return;
    }
    if (at == 0) {
        frame_put(&head, f);
        session_feed(s, buf_slice(&head), false);
    }
    session_feed(s, bytes, at + bytes.n == f->length);
    buf_free(&head);
}

void channel_close(struct channel *ch) {
    if (ch->session != NULL) {
        ch->closed = NULL;
        session_close(ch->session);
    }
}

size_t channel_head(const struct session *s, size_t at, struct channel_origin *from, size_t *length) {
    struct frame f;
    if (s->in_n - at < FRAME_HEAD) {
        return 0;
    }
    CHECK(frame_get(s->in + at, &f)); /* it was put there by channel_take */
    if (s->in_n - at - FRAME_HEAD < f.length) {
        return 0;
    }
    from->tag = f.tag;
    from->peer = (uint8_t)((f.flags & CALL_QUIET ? PEER_QUIET : 0) | (f.flags & CALL_GUTTER ? PEER_GUTTER : 0) |
                            (f.flags & CALL_NODE ? PEER_NODE : 0) | (f.flags & CALL_NEAR ? PEER_NEAR : 0) |
                            (f.ring != peers_ring_version(s->worker) ? PEER_STALE : 0));
    *length = f.length;
    return FRAME_HEAD;
}

enum parse_status channel_status(enum parse_status status, struct request *r, size_t length) {
    if (status == PARSE_ERROR || (status == PARSE_OK && r->used == length)) {
        return status;
    }
    r->used = 0;
    r->error = "Protocol error: a peer's frame is not one command";
    return PARSE_ERROR;
}

/* A stand-in's value, or one by another ring, or one that is not simply there, is not to be kept. */
static bool may_grant(const struct call *c) {
    bool usual = (c->peer & (PEER_NEAR | PEER_STALE | PEER_GUTTER)) == PEER_NEAR && c->nkeys == 1 && !c->in_exec;
    return usual && (c->cmd->flags & CMD_READONLY) && c->see == SEE_FRESH && !c->stale && session_of(c->client)->channel->node != 0;
}

void channel_grant(struct call *c, struct worker *w) {
    const struct key *key = &c->keys[0];
    struct item_view v;
    if (!may_grant(c) || !l1_get(c->l1, key, c->now_ms, L1_NOTOUCH, &v)) {
        return;
    }
    int64_t ms = c->conf->near_ttl, left = v.expire_ms == L1_NO_TTL ? ms : v.expire_ms - c->now_ms, now_ms = clock_mono_us() / 1000;
    ms = left < ms ? left : ms;
    if (ms <= 0) {
        return;
    }
    c->keep_ms = (uint32_t)ms;
    holders_add(w->peers->holders, l1_shard_of(c->l1, key->hash), key, session_of(c->client)->channel->node, now_ms, now_ms + ms + 1);
    STAT_ADD(w->stats->near_grants, 1);
}

/* ---- links that peers have opened ---- */

enum { CHANNEL_INDEX_BITS = 20, CHANNELS_MAX = 1 << CHANNEL_INDEX_BITS, LOG_EVERY_MS = 5000 };

/* One channel of such a link. */
struct served_channel {
    struct channel channel;
    struct served *served;
    uint32_t id;
};

static const struct link_ops served_ops;

struct served {
    struct worker *worker;
    struct link *link;
    struct served_channel **channels; /* by the low bits of their ids */
    size_t count;
    uint64_t node;   /* holders_bit of the peer */
    struct dropping *dropping; /* under way; the link is not read meanwhile */
    int64_t logged_ms; /* the last line about what was missed */
    unsigned unlogged; /* slots since */
    bool owes;       /* it was full when there was news: it is to be told that anything may have changed */
    char addr[CLIENT_ADDR_MAX];
};

static void put_hash(struct buf *b, uint64_t hash) {
    char bytes[8];
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)(hash >> (8 * i));
    }
    buf_put(b, bytes, sizeof(bytes));
}

static void tell_all(struct served *sv) {
    sv->owes = false;
    link_frame(sv->link, (struct frame){.type = FRAME_CHANGED});
    STAT_ADD(sv->worker->stats->near_told, 1);
}

static void tell(struct served *sv, const struct news *news) {
    struct buf b = {0};
    if (link_is_full(sv->link)) {
        sv->owes = true;
        return;
    }
    if (news->all) {
        tell_all(sv);
        return;
    }
    for (unsigned i = 0; i < news->n; i++) {
        if (news->items[i].nodes & sv->node) {
            put_hash(&b, news->items[i].name_hash);
        }
    }
    if (b.n > 0) {
        link_frame(sv->link, (struct frame){.type = FRAME_CHANGED, .length = (uint32_t)b.n});
        buf_put_slice(&sv->link->out.buf, buf_slice(&b));
        STAT_ADD(sv->worker->stats->near_told, b.n / 8);
    }
    buf_free(&b);
}

void served_tell(struct worker *w) {
    struct news news;
    struct links *links = peers_links(w);
    if (!holders_take(w->peers->holders, w->id, &news)) {
        return;
    }
    for (struct list *n = links->all.next; n != &links->all; n = n->next) {
        struct link *l = LIST_ENTRY(n, struct link, node);
        if (l->ops == &served_ops && l->up && !l->closing) {
            tell(l->owner, &news);
        }
    }
}

/* What the reply may show to be new was told before it: who hears it does not use an older copy afterwards. */
static void tell_first(struct worker *w) {
    if (unlikely(holders_waiting(w->peers->holders, w->id))) {
        served_tell(w);
    }
}

static void put_reply(struct served_channel *sc, uint8_t flags, uint32_t tag, struct out *reply) {
    struct link *l = sc->served->link;
    size_t n = out_bytes(reply);
    tell_first(sc->served->worker);
    if (n > UINT32_MAX) { /* no frame is so long */
        out_truncate(reply, 0, 0);
        reply_errorf(reply, "ERR the reply is too long to be sent to a peer");
        n = out_bytes(reply);
    }
    link_frame(l, (struct frame){.type = FRAME_REPLY, .flags = flags, .channel = sc->id, .tag = tag, .length = (uint32_t)n});
    out_append(&l->out, reply);
    if (link_is_full(l) && !l->paused) {
        STAT_ADD(sc->served->worker->stats->peer_served_stops, 1);
        link_pause(l, true);
    }
}

static void on_replied(struct channel *ch, uint32_t tag, struct out *reply) {
    put_reply((struct served_channel *)ch, 0, tag, reply);
}

static void on_keep(struct channel *ch, uint32_t tag, uint32_t ms) {
    struct served_channel *sc = (struct served_channel *)ch;
    struct link *l = sc->served->link;
    char bytes[4] = {(char)ms, (char)(ms >> 8), (char)(ms >> 16), (char)(ms >> 24)};
    link_frame(l, (struct frame){.type = FRAME_KEEP, .channel = sc->id, .tag = tag, .length = sizeof(bytes)});
    buf_put(&l->out.buf, bytes, sizeof(bytes));
}

static void on_wrong(struct channel *ch, uint32_t tag) {
    struct out none = {0};
    put_reply((struct served_channel *)ch, REPLY_WRONG, tag, &none);
}

static void forget(struct served_channel *sc) {
    sc->served->channels[sc->id & (CHANNELS_MAX - 1)] = NULL;
    mem_free(sc);
}

static void on_closed_itself(struct channel *ch) {
    struct served_channel *sc = (struct served_channel *)ch;
    link_frame(sc->served->link, (struct frame){.type = FRAME_CLOSE, .channel = sc->id});
    forget(sc);
}

/* The channel of that id, opened when it is new; NULL: the id is out of bounds. */
static struct served_channel *find(struct served *sv, uint32_t id, bool open) {
    size_t i = id & (CHANNELS_MAX - 1);
    if (i >= sv->count && open) {
        size_t n = (i + 1) * 2;
        sv->channels = mem_realloc(sv->channels, n * sizeof(*sv->channels));
        memset(sv->channels + sv->count, 0, (n - sv->count) * sizeof(*sv->channels));
        sv->count = n;
    }
    struct served_channel *sc = i < sv->count ? sv->channels[i] : NULL;
    if (sc != NULL && sc->id != id) {
        return NULL;
    }
    if (sc == NULL && open) {
        sc = mem_zalloc(sizeof(*sc));
        sc->served = sv;
        sc->id = id;
        sc->channel.replied = on_replied;
        sc->channel.keep = on_keep;
        sc->channel.node = sv->node;
        sc->channel.wrong = on_wrong;
        sc->channel.closed = on_closed_itself;
        sv->channels[i] = sc;
        channel_open(&sc->channel, sv->worker, sv->addr);
    }
    return sc;
}

/* ---- what was written in this node's place ---- */

struct dropping {
    struct job job; /* first */
    struct server *srv;
    struct served *served; /* NULL: the link is gone */
    uint32_t tag;
    bool noted;
    uint8_t set[PURGE_SLOT_BYTES];
};

static void run_drop(struct job *job) {
    struct dropping *d = (struct dropping *)job;
    d->noted = handover_drop_missed(d->srv, d->set);
}

/* Not noted: it is told again over the next link. */
static void end_drop(struct job *job) {
    struct dropping *d = (struct dropping *)job;
    struct served *sv = d->served;
    if (sv != NULL) {
        sv->dropping = NULL;
        if (d->noted) {
            link_frame(sv->link, (struct frame){.type = FRAME_DROPPED, .tag = d->tag});
        }
        link_pause(sv->link, link_is_full(sv->link));
    }
    mem_free(d);
}

/* Calls behind it are not to see what is being dropped: the link waits. */
static void drop_missed(struct served *sv, const struct frame *f, struct slice bytes) {
    struct worker *w = sv->worker;
    struct dropping *d = NULL;
    unsigned n = 0;
    if (bytes.n != sizeof(d->set)) {
        link_blame(sv->link, "a set of slots of another size");
        return;
    }
    d = mem_zalloc(sizeof(*d));
    d->job = (struct job){.loop = w->loop, .run = run_drop, .done = end_drop};
    d->srv = w->server;
    d->served = sv;
    d->tag = f->tag;
    memcpy(d->set, bytes.p, sizeof(d->set));
    for (size_t i = 0; i < sizeof(d->set); i++) {
        n += (unsigned)__builtin_popcount(d->set[i]);
    }
    if (!pool_submit(w->server->host.pool, 0, &d->job)) {
        mem_free(d);
        link_blame(sv->link, "what was missed cannot be dropped now"); /* it is told again over the next one */
        return;
    }
    sv->dropping = d;
    link_pause(sv->link, true);
    STAT_ADD(w->stats->peer_missed_dropped, n);
    int64_t now_ms = clock_mono_us() / 1000;
    sv->unlogged += n;
    if (sv->logged_ms == 0 || now_ms - sv->logged_ms >= LOG_EVERY_MS) {
        log_notice("cluster: node %.8s has passed this one over, and written to %u slots in its place: what is here of them is dropped", sv->link->peer,
                   sv->unlogged);
        sv->logged_ms = now_ms;
        sv->unlogged = 0;
    }
}

static void on_frame(struct link *l, const struct frame *f, struct slice bytes, uint32_t at) {
    struct served *sv = l->owner;
    struct served_channel *sc = NULL;
    switch (f->type) {
    case FRAME_CALL:
        sc = find(sv, f->channel, at == 0); /* not there: it has closed by itself while the call was on its way */
        if (sc != NULL) {
            STAT_ADD(sv->worker->stats->peer_served_calls, at == 0);
            channel_take(&sc->channel, f, bytes, at);
        }
        return;
    case FRAME_CLOSE:
        sc = find(sv, f->channel, false);
        if (sc != NULL) {
            channel_close(&sc->channel);
            forget(sc);
        }
        return;
    case FRAME_MISSED:
        drop_missed(sv, f, bytes);
        return;
    default:
        peers_frame(sv->worker, l, f, bytes);
    }
}

static void on_down(struct link *l, const char *why) {
    struct served *sv = l->owner;
    (void)why;
    if (sv->dropping != NULL) {
        sv->dropping->served = NULL;
    }
    for (size_t i = 0; i < sv->count; i++) {
        if (sv->channels[i] != NULL) {
            channel_close(&sv->channels[i]->channel);
            mem_free(sv->channels[i]);
        }
    }
    mem_free(sv->channels);
    mem_free(sv);
}

static void on_up(struct link *l) {
    struct served *sv = l->owner;
    stream_peer_name(&l->stream, sv->addr, sizeof(sv->addr));
    sv->node = holders_bit(slice_cstr(l->peer));
    holders_linked(sv->worker->peers->holders, sv->worker->id, sv->node);
}

static void on_roomy(struct link *l) {
    struct served *sv = l->owner;
    if (sv->owes) {
        tell_all(sv);
    }
    link_pause(l, sv->dropping != NULL);
}

static const struct link_ops served_ops = {.up = on_up, .frame = on_frame, .down = on_down, .roomy = on_roomy};

void served_open(struct worker *w, int fd) {
    if (w->peers->closing) {
        close(fd);
        return;
    }
    struct served *sv = mem_zalloc(sizeof(*sv));
    sv->worker = w;
    sv->link = link_open(peers_links(w), fd, false, &served_ops, sv);
    if (sv->link == NULL) {
        mem_free(sv);
    }
}

void served_close(struct link *l) {
    if (l->ops == &served_ops && !l->closing) {
        link_close(l);
        on_down(l, "");
    }
}
