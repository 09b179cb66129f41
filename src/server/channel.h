/* SPDX-License-Identifier: BSD-3-Clause */
/* channel: a session whose client is another node, on behalf of one of its own clients. Its calls arrive as frames over a link, or from
 * this very worker (what a split command has for this node); each reply is handed over by itself, as soon as it is there. Otherwise it
 * is a session like any other: MULTI, WATCH, parked calls, leases. Nothing that comes this way is forwarded again.
 *
 * input of the session: [head][one command][head][one command]... where a head is that of the CALL frame. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/resp/parse.h"
#include "src/resp/reply.h"

struct call;
struct frame;
struct link;
struct session;
struct worker;

/* One of a session that serves another node. Embedded in its owner. */
struct channel {
    struct session *session; /* NULL once it has closed */
    uint64_t node;           /* holders_bit of who is behind it; 0: nobody who keeps copies */
    /* The reply to the call of that number, which it takes. */
    void (*replied)(struct channel *ch, uint32_t tag, struct out *reply);
    /* That reply, which comes next, may be kept for so long. Where calls may be PEER_NEAR. */
    void (*keep)(struct channel *ch, uint32_t tag, uint32_t ms);
    /* Not run: by our ring, this node does not serve the keys. */
    void (*wrong)(struct channel *ch, uint32_t tag);
    /* The session has closed by itself. No reply comes any more. The owner may free ch. */
    void (*closed)(struct channel *ch);
};

/* Opens a session at this end. addr: for CLIENT INFO, the slow log and MONITOR. */
void channel_open(struct channel *ch, struct worker *w, const char *addr);
/* A call's bytes, whole or from `at` on. */
void channel_take(struct channel *ch, const struct frame *f, struct slice bytes, uint32_t at);
/* The other end is gone: the session closes, closed is not called. */
void channel_close(struct channel *ch);

/* What a call's head says of it: struct call's tag and peer. */
struct channel_origin {
    uint32_t tag;
    uint8_t peer;
};
/* For the worker: the head of the next call of s, at this offset of its input. Returns how long the head is and the length of the command
 * behind it; 0 while it is not there. */
size_t channel_head(const struct session *s, size_t at, struct channel_origin *from, size_t *length);
/* What it means for a frame of that length that its command was parsed so: it must hold one command and nothing else. */
enum parse_status channel_status(enum parse_status status, struct request *r, size_t length);

/* A read that a peer wants to keep the reply of has been run, the key's shard is locked: the peer will hear of the key's next change, and
 * c->keep_ms says how long it may. */
void channel_grant(struct call *c, struct worker *w);

/* ---- links that peers have opened ---- */

/* Takes an accepted connection of the peer port. */
void served_open(struct worker *w, int fd);
/* Puts what has changed into the links of those who have copies. At the end of a turn at the latest. */
void served_tell(struct worker *w);
/* Closes a link that was opened so, and its channels; another one is left alone. */
void served_close(struct link *l);
