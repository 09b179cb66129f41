/* SPDX-License-Identifier: BSD-3-Clause */
/* link: one connection to a peer, either end of it: the handshake, frames in and out, silence noticed. Belongs to one loop; every function is
 * for its thread only. What is said over it is its owner's business.
 *
 *   dialled                         accepted
 *   HELLO  version, run, nonce, id  ->
 *                              <-   WELCOME  version, run, nonce, id, HMAC(secret, both nonces and ids)
 *   PROOF  HMAC(secret, ...)   ->
 *   up; sends at once               up
 *
 * Both prove that they know the secret, for nonces of the other's making; neither sends it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/frame.h"
#include "src/base/list.h"
#include "src/net/stream.h"
#include "src/resp/reply.h"
#include "src/stats/stats.h"

struct link;
struct loop;

enum { LINK_ID_BYTES = 40, LINK_NONCE_BYTES = 32 };

struct link_ops {
    /* The peer (link->peer) has proved itself. */
    void (*up)(struct link *l);
    /* Bytes of a frame's payload from offset `at` on; all of it unless frame_has_parts. Borrowed. */
    void (*frame)(struct link *l, const struct frame *f, struct slice bytes, uint32_t at);
    /* The link is of no use any more, also when it never was up; why is static or lives until this returns. Not after link_close. The
     * link's memory goes later, by itself. */
    void (*down)(struct link *l, const char *why);
    /* After link_is_full, half of what was waiting has been sent. May be NULL. */
    void (*roomy)(struct link *l);
};

/* What the links of one loop share. */
struct links {
    /* fixed after links_init */
    struct loop *loop;
    struct stats *stats;
    char id[LINK_ID_BYTES + 1];

    /* owner loop only; the first four are set by the owner as configuration and ring change */
    const char *secret;     /* borrowed */
    unsigned slot_run;      /* of the ring: a peer that has another one is refused */
    int64_t silence_ms;     /* a peer that has not been heard for so long is given up */
    size_t max_unsent_bytes;
    uint64_t ring;          /* the version that goes into every head */
    struct list all, flushing;
    unsigned count;
    int64_t logged_us;      /* the last line about a refused peer */
    unsigned unlogged;
};

struct link {
    struct links *links;
    const struct link_ops *ops;
    void *owner;
    char peer[LINK_ID_BYTES + 1]; /* the other's id, once it has said it */
    uint64_t peer_ring;           /* the version in the last head it sent */
    bool dialed, up, was_up, closing;
    bool other_version;           /* why it was refused, by either end */

    struct stream stream;
    struct list node, flush_node;
    struct out out;
    bool full;   /* more than max_unsent_bytes wait */
    bool paused; /* the owner does not want to hear more now */
    struct buf in;
    char spare;
    struct frame frame; /* the one whose parts are arriving */
    uint32_t frame_at;
    bool in_frame;
    unsigned char nonce[LINK_NONCE_BYTES], peer_nonce[LINK_NONCE_BYTES];
    unsigned step;
    int64_t heard_ms, pinged_ms; /* monotonic */
};

void links_init(struct links *links, struct loop *loop, struct stats *stats, const char *id);
/* Sends what the links were given in this turn. */
void links_flush(struct links *links);
/* Every few tens of milliseconds: pings, and gives up who is silent or does not finish the handshake. */
void links_tick(struct links *links);
/* Closes every link without telling owners. */
void links_close(struct links *links);

/* Takes a connected socket, also when it fails: NULL then. dialed: this end begins the handshake. */
struct link *link_open(struct links *links, int fd, bool dialed, const struct link_ops *ops, void *owner);
/* For the owner: no callback comes after this. Twice is harmless. */
void link_close(struct link *l);
/* The peer breaks the rules: logged, counted, closed; down is called. */
void link_blame(struct link *l, const char *why);
/* Puts the head of a frame (its ring is filled in) into l->out, where the caller puts `length` bytes behind it before anything else is
 * written; they are sent at the end of the turn. */
void link_frame(struct link *l, struct frame f);
/* Bytes not yet taken by the socket. */
size_t link_unsent(const struct link *l);
/* More than max_unsent_bytes are waiting: the owner should write no more until `roomy`. */
bool link_is_full(struct link *l);
/* Stops and resumes reading. */
void link_pause(struct link *l, bool pause);
