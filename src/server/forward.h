/* SPDX-License-Identifier: BSD-3-Clause */
/* forward: calls that another node is asked, and what becomes of them when it does not answer.
 *
 * A session has a channel (struct away) to each node that it has asked something: a session of its own there. Calls to one node keep
 * their order; the replies come with the calls' numbers. What this node itself is asked as part of a split call goes the same way, to a
 * channel that ends in the same worker.
 *
 * When a link is lost: what it had not been sent goes on to the same node, or to the next one of the slot when that does not answer. What
 * had been sent may have been run: a call that may run twice goes on likewise; another one only to another node, since each node then
 * runs it once; and it is answered with an error when its node is there again. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/list.h"
#include "src/resp/reply.h"
#include "src/server/near.h"

struct away;
struct call;
struct cmd;
struct frame;
struct peer;
struct peers;
struct session;
struct slice;

enum { FORWARD_ANY_SLOT = 0xffff };

/* What a call may have written when its reply comes: copies (near.h) of it end then. */
enum forward_wrote { WROTE_NOTHING, WROTE_KEY, WROTE_SLOT, WROTE_ALL };

struct forward {
    struct list node;     /* in the away's, or the peer's waiting, or later */
    struct list timed;    /* in the worker's, by deadline */
    struct session *session;
    struct away *away;    /* sent over it */
    struct peer *ran_at;  /* was sent there and may have run */
    struct buf commands;  /* [4 bytes of length][RESP]...; all but the last only set the session's state */
    struct out reply;
    uint32_t tag;
    uint16_t slot;        /* FORWARD_ANY_SLOT: for a certain node */
    char to[41];          /* its id then */
    uint8_t db, proto, tries;
    bool no_touch, may_repeat;
    bool watching;        /* is a transaction under a watch: worth nothing in another session */
    bool sets_watch;      /* it is WATCH */
    bool forgets_db;      /* a transaction that may select another database */
    bool gutter;          /* whoever gets it stands in for the owner */
    bool own;             /* asked on this node's own behalf, with a session of its own */
    bool insist;          /* nodes do not agree who serves the slot: the next one asked is to */
    uint8_t wrote;        /* enum forward_wrote */
    bool named;           /* it has one key, of this hash: */
    bool failed;          /* the reply is this node's own: there was no other */
    bool near;            /* its reply is wanted as a copy */
    bool waited;          /* for the link */
    uint64_t name_hash;
    uint32_t keep_ms;     /* how long it may be kept; 0: not */
    struct near_ticket ticket;
    int64_t sent_us;      /* monotonic */
    int64_t deadline_ms;  /* monotonic */
    int64_t again_ms;     /* in later */
    /* The reply is there; f is the callee's to free. */
    void (*done)(struct forward *f);
    /* The node serves the slot no more and there are several keys: the callee asks anew, f is its to free. NULL: by slot. */
    void (*split)(struct forward *f);
};

/* A call of s, in its database and protocol. Embedded or not: forward_free is the owner's. */
void forward_init(struct forward *f, struct session *s, unsigned slot, void (*done)(struct forward *f));
/* Its only key. Before it is sent. */
void forward_name(struct forward *f, uint64_t name_hash);
/* Whether a call of s is on its way that may have to do with the key: a read behind it must go the same way. */
bool forward_has_key(const struct session *s, uint64_t name_hash);
/* Adds a command; the last one's reply is the reply. */
void forward_add(struct forward *f, const struct slice *argv, int argc);
/* Whoever serves the slot is asked. done may be called before this returns. */
void forward_send(struct forward *f);
/* This node of the ring is asked, and no other. */
void forward_send_to(struct forward *f, const char *id);
/* Takes it off all lists and frees what it holds; a reply still to come is dropped. */
void forward_fini(struct forward *f);
/* Answers with an error. */
void forward_fail(struct forward *f, const char *why);
/* Whether the command may be run twice: reads, and writes of the same value. */
bool forward_may_repeat(const struct call *c);

/* Too many calls of s are on their way: it is not read on until half have been answered. drain: until all have. */
void forward_brake(struct session *s, bool drain);
/* The node whose channel watches keys for s: its slot, or -1. */
int forward_watch_slot(const struct session *s);
bool forward_watch_lost(const struct session *s);
void forward_watch(struct session *s, unsigned slot);
/* tell: the node is told; otherwise the transaction just sent ends the watch. */
void forward_unwatch(struct session *s, bool tell);
/* WATCH failed: a transaction behind it cannot be run. */
void forward_lose_watch(struct session *s);
/* The session closes: so do its channels. */
void forward_close(struct session *s);

/* ---- for peers.c ---- */
/* The link is up: what waits for it is sent. */
void forward_peer_up(struct peer *peer);
/* The link is lost (answered: it had been up), or the node does not answer: what it was asked goes elsewhere. */
void forward_peer_lost(struct peer *peer, bool again);
/* The reply to come may be kept. */
void forward_keep(struct peer *peer, const struct frame *frame, struct slice bytes);
void forward_reply(struct peer *peer, const struct frame *frame, struct slice bytes, uint32_t at);
/* The other end has closed the channel. */
void forward_closed(struct peer *peer, uint32_t channel);
void forward_tick(struct peers *p, int64_t now_ms);
