/* SPDX-License-Identifier: BSD-3-Clause */
/* link: a stream with frames on it. */
#include "cluster/link.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/base/sha256.h"
#include "src/net/send.h"
#include "src/rt/loop.h"

/* How a refusal for the version begins, in every version. */
#define SPEAKS "it speaks version "

enum {
    READ_BYTES = 64 << 10,
    KEEP_BYTES = 256 << 10, /* a larger input buffer goes when it is empty */
    KEEPALIVE_S = 30,
    HANDSHAKE_MS = 5000,
    ACCEPTED_SILENCE_FACTOR = 8, /* the one who dialled pings; the other only clears away what is left of it */
    LOG_EVERY_US = 5000000,
    FLUSH_BYTES = 256 << 10
};

/* What the next frame has to be. */
enum step { AWAIT_HELLO, AWAIT_WELCOME, AWAIT_PROOF, ESTABLISHED };

enum { HELLO_BYTES = 4 + LINK_NONCE_BYTES + LINK_ID_BYTES, WELCOME_BYTES = HELLO_BYTES + SHA256_BYTES };

static int64_t now_ms(void) {
    return clock_mono_us() / 1000;
}

/* ---- the end ---- */

static void on_closed(struct stream *s) {
    struct link *l = LIST_ENTRY(s, struct link, stream);
    out_free(&l->out);
    buf_free(&l->in);
    mem_free(l);
}

void link_close(struct link *l) {
    if (l->closing) {
        return;
    }
    l->closing = true;
    l->up = false;
    list_remove(&l->node);
    list_remove(&l->flush_node);
    l->links->count--;
    stream_close(&l->stream);
}

static void fail(struct link *l, const char *why) {
    if (!l->closing) {
        link_close(l);
        l->ops->down(l, why);
    }
}

/* Anybody can connect and be refused: the log is not theirs to fill. */
static void log_refusal(struct links *links, const char *name, const char *why) {
    int64_t now = clock_mono_us();
    if (links->logged_us != 0 && now - links->logged_us < LOG_EVERY_US) {
        links->unlogged++;
        return;
    }
    log_warning("peer %s refused: %s (%u more since the last such line)", name, why, links->unlogged);
    links->logged_us = now;
    links->unlogged = 0;
}

static void name_of(const struct link *l, char *out, size_t n) {
    char addr[128];
    stream_peer_name(&l->stream, addr, sizeof(addr));
    snprintf(out, n, "%s%s%s", addr, l->peer[0] != '\0' ? " id " : "", l->peer);
}

void link_blame(struct link *l, const char *why) {
    char name[192];
    if (l->closing) {
        return;
    }
    name_of(l, name, sizeof(name));
    STAT_ADD(l->links->stats->peer_protocol_errors, 1);
    log_refusal(l->links, name, why);
    fail(l, why);
}

/* During the handshake; the other end is told. */
static void refuse(struct link *l, const char *why) {
    char name[192];
    struct frame f = {.type = FRAME_REFUSED, .length = (uint32_t)strlen(why), .ring = l->links->ring};
    name_of(l, name, sizeof(name));
    STAT_ADD(l->links->stats->peer_handshakes_refused, 1);
    log_refusal(l->links, name, why);
    frame_put(&l->out.buf, &f);
    buf_puts(&l->out.buf, why);
    if (l->stream.queued_bytes == 0) {
        (void)!send_out(&l->stream, &l->out); /* without it, it sees the end */
    }
    fail(l, why);
}

/* ---- sending ---- */

static void want_flush(struct link *l) {
    if (list_empty(&l->flush_node) && !l->closing) {
        list_push_back(&l->links->flushing, &l->flush_node);
    }
}

void link_frame(struct link *l, struct frame f) {
    f.ring = l->links->ring;
    frame_put(&l->out.buf, &f);
    want_flush(l);
}

size_t link_unsent(const struct link *l) {
    return l->stream.queued_bytes + out_bytes(&l->out);
}

bool link_is_full(struct link *l) {
    l->full |= link_unsent(l) > l->links->max_unsent_bytes;
    return l->full;
}

static void flush(struct link *l) {
    size_t total = out_bytes(&l->out);
    list_remove(&l->flush_node);
    if (total == 0 || l->closing) {
        return;
    }
    STAT_ADD(l->links->stats->peer_bytes_sent, total);
    if (l->stream.queued_bytes > 0) {
        send_later(&l->stream, &l->out, 0);
    } else if (send_out(&l->stream, &l->out) < 0) {
        fail(l, "connection lost");
        return;
    }
    if (l->out.buf.cap > FLUSH_BYTES) {
        buf_free(&l->out.buf);
    }
}

void links_flush(struct links *links) {
    while (!list_empty(&links->flushing)) {
        flush(LIST_ENTRY(links->flushing.next, struct link, flush_node));
    }
}

static void on_drained(struct stream *s) {
    struct link *l = LIST_ENTRY(s, struct link, stream);
    flush(l);
    if (!l->closing && l->full && link_unsent(l) <= l->links->max_unsent_bytes / 2) {
        l->full = false;
        if (l->ops->roomy != NULL) {
            l->ops->roomy(l);
        }
    }
}

/* ---- handshake ---- */

/* The proof of one end: it says which, so that it cannot be sent back. */
static void make_proof(const struct link *l, bool by_dialer, unsigned char *out) {
    struct buf b = {0};
    const char *ids[2] = {l->links->id, l->peer};
    const unsigned char *nonces[2] = {l->nonce, l->peer_nonce};
    buf_printf(&b, "strata peer %d %s", FRAME_PROTOCOL, by_dialer ? "dialled" : "accepted");
    for (int i = 0; i < 2; i++) { /* the dialler's first, whichever end this is */
        int which = l->dialed ? i : !i;
        buf_put(&b, nonces[which], LINK_NONCE_BYTES);
        buf_put(&b, ids[which], LINK_ID_BYTES);
    }
    hmac_sha256(slice_cstr(l->links->secret), buf_slice(&b), out);
    buf_free(&b);
}

/* HELLO and WELCOME begin alike. */
static void put_greeting(struct link *l, enum frame_type type, uint32_t length) {
    char head[4] = {FRAME_PROTOCOL, (char)l->links->slot_run, 0, 0};
    link_frame(l, (struct frame){.type = (uint8_t)type, .length = length});
    buf_put(&l->out.buf, head, sizeof(head));
    buf_put(&l->out.buf, l->nonce, LINK_NONCE_BYTES);
    buf_put(&l->out.buf, l->links->id, LINK_ID_BYTES);
}

static void put_proof(struct link *l) {
    unsigned char mac[SHA256_BYTES];
    make_proof(l, l->dialed, mac);
    buf_put(&l->out.buf, mac, sizeof(mac));
}

static bool proves(const struct link *l, const char *mac) {
    unsigned char want[SHA256_BYTES];
    make_proof(l, !l->dialed, want);
    return sha256_equal(want, (const unsigned char *)mac);
}

/* False: refused. */
static bool take_greeting(struct link *l, struct slice p, size_t length) {
    char why[128];
    if (p.n < 1 || p.p[0] != FRAME_PROTOCOL) {
        snprintf(why, sizeof(why), SPEAKS "%d of the peer protocol, this node speaks %d", p.n > 0 ? (unsigned char)p.p[0] : 0,
                 FRAME_PROTOCOL);
        l->other_version = true;
        refuse(l, why);
        return false;
    }
    if (p.n == length && (unsigned char)p.p[1] != l->links->slot_run) {
        snprintf(why, sizeof(why), "its cluster-slot-run is %llu, this node's is %u: they would not agree who owns what",
                 1ULL << (p.p[1] & 63), 1U << l->links->slot_run);
        refuse(l, why);
        return false;
    }
    if (p.n != length) {
        refuse(l, "bad handshake");
        return false;
    }
    memcpy(l->peer_nonce, p.p + 4, LINK_NONCE_BYTES);
    memcpy(l->peer, p.p + 4 + LINK_NONCE_BYTES, LINK_ID_BYTES);
    for (int i = 0; i < LINK_ID_BYTES; i++) {
        if (strchr("0123456789abcdef", l->peer[i]) == NULL || l->peer[i] == '\0') {
            l->peer[0] = '\0';
            refuse(l, "bad node id");
            return false;
        }
    }
    return true;
}

static void established(struct link *l) {
    l->step = ESTABLISHED;
    l->up = l->was_up = true;
    STAT_ADD(l->links->stats->peer_links_opened, 1);
    l->ops->up(l);
}

static void take_handshake(struct link *l, const struct frame *f, struct slice p) {
    static const uint8_t expected[] = {[AWAIT_HELLO] = FRAME_HELLO, [AWAIT_WELCOME] = FRAME_WELCOME, [AWAIT_PROOF] = FRAME_PROOF};
    char why[320];
    if (f->type == FRAME_REFUSED) {
        snprintf(why, sizeof(why), "it refuses us: %.*s", SLICE_ARG(p));
        l->other_version = slice_starts(p, SLICE(SPEAKS));
        for (char *c = why; *c != '\0'; c++) {
            *c = *c < ' ' ? ' ' : *c;
        }
        link_blame(l, why);
    } else if (f->type != expected[l->step]) {
        link_blame(l, "not the handshake of a peer");
    } else if (l->step == AWAIT_HELLO && take_greeting(l, p, HELLO_BYTES)) {
        put_greeting(l, FRAME_WELCOME, WELCOME_BYTES);
        put_proof(l);
        l->step = AWAIT_PROOF;
    } else if (l->step == AWAIT_WELCOME && take_greeting(l, p.n == WELCOME_BYTES ? slice_make(p.p, HELLO_BYTES) : p, HELLO_BYTES)) {
        if (p.n != WELCOME_BYTES || !proves(l, p.p + HELLO_BYTES)) {
            refuse(l, "it does not know this node's cluster-secret");
            return;
        }
        link_frame(l, (struct frame){.type = FRAME_PROOF, .length = SHA256_BYTES});
        put_proof(l);
        established(l);
    } else if (l->step == AWAIT_PROOF) {
        if (p.n != SHA256_BYTES || !proves(l, p.p)) {
            refuse(l, "it does not know this node's cluster-secret");
            return;
        }
        established(l);
    }
}

/* ---- receiving ---- */

static void on_alloc(struct stream *s, char **p, size_t *n) {
    struct link *l = LIST_ENTRY(s, struct link, stream);
    if (!buf_try_reserve(&l->in, READ_BYTES)) {
        *p = &l->spare;
        *n = 0;
        return;
    }
    *p = l->in.p + l->in.n;
    *n = l->in.cap - l->in.n;
}

static void take_frame(struct link *l, const struct frame *f, struct slice bytes, uint32_t at) {
    if (l->step != ESTABLISHED) {
        take_handshake(l, f, bytes);
    } else if (f->type == FRAME_PING) {
        link_frame(l, (struct frame){.type = FRAME_PONG});
    } else if (f->type != FRAME_PONG) {
        l->ops->frame(l, f, bytes, at);
    }
}

/* One frame, or part of one, from the start of in. Returns the bytes used, 0 when more are needed. */
static size_t take_some(struct link *l, struct slice in) {
    size_t head = 0;
    if (!l->in_frame) {
        if (in.n < FRAME_HEAD) {
            return 0;
        }
        if (!frame_get(in.p, &l->frame) || (l->step != ESTABLISHED && frame_has_parts(l->frame.type))) {
            link_blame(l, "not a frame of the peer protocol");
            return 0;
        }
        if (!frame_has_parts(l->frame.type) && in.n - FRAME_HEAD < l->frame.length) {
            return 0;
        }
        head = FRAME_HEAD;
        l->in_frame = true;
        l->frame_at = 0;
        l->peer_ring = l->frame.ring;
    }
    struct frame f = l->frame;
    uint32_t at = l->frame_at, left = f.length - at;
    uint32_t n = in.n - head < left ? (uint32_t)(in.n - head) : left;
    l->frame_at += n;
    l->in_frame = l->frame_at < f.length;
    if (n > 0 || f.length == 0) {
        take_frame(l, &f, slice_make(in.p + head, n), at);
    }
    return head + n;
}

static void take_input(struct link *l) {
    size_t at = 0, used;
    while (!l->closing && !l->paused && (used = take_some(l, slice_make(l->in.p + at, l->in.n - at))) > 0) {
        at += used;
    }
    if (l->closing) {
        return;
    }
    if (at > 0) {
        memmove(l->in.p, l->in.p + at, l->in.n - at);
        l->in.n -= at;
    }
    if (l->in.n == 0 && l->in.cap > KEEP_BYTES) {
        buf_free(&l->in);
    }
}

static void on_data(struct stream *s, char *p, size_t n) {
    struct link *l = LIST_ENTRY(s, struct link, stream);
    (void)p;
    l->in.n += n;
    l->heard_ms = now_ms();
    STAT_ADD(l->links->stats->peer_bytes_received, n);
    take_input(l);
}

static void on_end(struct stream *s, int err) {
    (void)err;
    fail(LIST_ENTRY(s, struct link, stream), "connection lost");
}

void link_pause(struct link *l, bool pause) {
    if (l->closing || l->paused == pause) {
        return;
    }
    l->paused = pause;
    if (pause) {
        stream_read_stop(&l->stream);
        return;
    }
    l->heard_ms = now_ms(); /* it was not listened to meanwhile */
    take_input(l);
    if (!l->closing && !l->paused) {
        stream_read_start(&l->stream);
    }
}

/* ---- time ---- */

static void look_at(struct link *l, int64_t now) {
    int64_t silent = now - l->heard_ms, limit = l->links->silence_ms;
    if (l->step != ESTABLISHED) {
        int64_t most = limit < HANDSHAKE_MS ? limit : HANDSHAKE_MS;
        if (silent >= most) {
            fail(l, "the handshake took too long");
        }
    } else if (l->paused) {
        return;
    } else if (silent >= (l->dialed ? limit : limit * ACCEPTED_SILENCE_FACTOR)) {
        STAT_ADD(l->links->stats->peer_silences, 1);
        fail(l, "no answer");
    } else if (l->dialed && silent >= limit / 4 && now - l->pinged_ms >= limit / 4) {
        l->pinged_ms = now;
        link_frame(l, (struct frame){.type = FRAME_PING});
    }
}

void links_tick(struct links *links) {
    int64_t now = now_ms();
    for (struct list *n = links->all.next, *next; n != &links->all; n = next) {
        next = n->next;
        look_at(LIST_ENTRY(n, struct link, node), now);
    }
    links_flush(links);
}

/* ---- life ---- */

static const struct stream_events events = {
    .alloc = on_alloc, .data = on_data, .end = on_end, .drained = on_drained, .closed = on_closed};

void links_init(struct links *links, struct loop *loop, struct stats *stats, const char *id) {
    *links = (struct links){.loop = loop, .stats = stats, .secret = "", .silence_ms = HANDSHAKE_MS, .max_unsent_bytes = SIZE_MAX};
    snprintf(links->id, sizeof(links->id), "%s", id);
    CHECK(strlen(links->id) == LINK_ID_BYTES);
    list_init(&links->all);
    list_init(&links->flushing);
}

void links_close(struct links *links) {
    while (!list_empty(&links->all)) {
        link_close(LIST_ENTRY(links->all.next, struct link, node));
    }
}

struct link *link_open(struct links *links, int fd, bool dialed, const struct link_ops *ops, void *owner) {
    struct link *l = mem_zalloc(sizeof(*l));
    l->links = links;
    l->ops = ops;
    l->owner = owner;
    l->dialed = dialed;
    l->step = dialed ? AWAIT_WELCOME : AWAIT_HELLO;
    l->heard_ms = now_ms();
    list_init(&l->node);
    list_init(&l->flush_node);
    if (stream_adopt(&l->stream, links->loop, fd, false, KEEPALIVE_S, &events) != 0) {
        close(fd);
        mem_free(l);
        return NULL;
    }
    list_push_back(&links->all, &l->node);
    links->count++;
    rng_system(l->nonce, sizeof(l->nonce));
    if (dialed) {
        put_greeting(l, FRAME_HELLO, HELLO_BYTES);
    }
    stream_read_start(&l->stream);
    return l;
}
