/* SPDX-License-Identifier: BSD-3-Clause */
/* peers: the other nodes of the ring as one worker sees them: a link to each, made when it is first needed, and who is to be asked for a
 * slot. Belongs to its worker's loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cluster/link.h"
#include "cluster/node_addr.h"
#include "cluster/ring.h"
#include "src/base/list.h"

struct conf;
struct dial;
struct dialer;
struct forward;
struct holders;
struct missed;
struct peer_cell;
struct peer_count;
struct peer_counts;
struct near;
struct near_node;
struct peers;
struct server;
struct worker;

/* One other node. Lives as long as a ring names it, or something is on its way to it. */
struct peer {
    struct list node; /* of the worker's */
    struct peers *peers;
    char id[NODE_ID_HEX + 1]; /* "": whoever is at the address, for messages of the membership */
    char host[NODE_HOST_BYTES];
    uint16_t port, bus_port;
    struct buf letters; /* such messages, until the link is up: each with its length before it */
    int64_t used_ms;
    uint16_t index;     /* in the current ring, RING_NONE: no more */
    struct peer_count *count; /* NULL while nobody's id is known */
    struct peer_cell *cell;   /* this loop's of it */
    struct link *link;  /* NULL: none; not yet up: shaking hands */
    struct dial *dial;
    struct list waiting; /* forwards that wait for the link */
    struct list aways;   /* sessions' channels over the link */
    unsigned on_way;     /* calls sent, whose replies are still to come */
    struct away **channels; /* by the low bits of their ids */
    uint32_t channel_count, channel_free; /* a place that may be free */
    uint32_t generation;                  /* of channel numbers */
    bool down;           /* the last attempt failed: others stand in for it until one succeeds */
    bool tried;
    unsigned failures;
    int64_t retry_ms;    /* monotonic; when down: the next attempt */
    bool refused;        /* at its address, nobody listens */
    uint64_t missed_told; /* over this link: notes (missed.h) up to this one */
    uint32_t missed_tag;  /* of the last MISSED */
    int64_t missed_ms;    /* when that was */
    uint8_t *missed_set;  /* slots that were told and are not yet dropped; NULL: none */
};

struct peers {
    struct worker *worker;
    struct links links;
    struct dialer *dialer;
    struct ring_reader ring;
    struct list all;
    struct peer **by_index; /* of the current ring's nodes; NULL for this one */
    struct list timed;      /* forwards by deadline */
    struct list later;      /* forwards to be routed again */
    struct list broken;     /* channels of this node to itself that have closed */
    struct near *near;        /* copies of their keys */
    struct near_node *copies; /* of all loops; the cluster's */
    struct holders *holders;  /* who has copies of ours; the cluster's */
    struct missed *missed;    /* what was written in others' place; the cluster's */
    uint64_t missed_seen;     /* missed_last when all were told */
    struct peer_counts *counts; /* the cluster's */
    uint32_t last_tag;
    struct timer *tick;
    char *secret;
    bool closing, closed;
    uint64_t conf_version;
    int64_t swept_ms; /* idle channels */
};

/* For each worker when cluster-enabled. id: this node's; shared: what all workers have in common, and outlives them. */
struct peers_shared {
    struct near_node *copies;
    struct holders *holders;
    struct peer_counts *counts;
    struct missed *missed;
};
struct peers *peers_create(struct worker *w, const char *id, const char *secret, const struct peers_shared *shared);
/* Cancels what is on its way; the sessions are gone. The memory goes with peers_free, when the loop has run on (closed). */
void peers_close(struct peers *p);
void peers_free(struct peers **p);

/* Beginning and end of a turn: a new ring is looked at; frames are sent. */
void peers_turn(struct worker *w);
void peers_turn_end(struct worker *w);

struct links *peers_links(struct worker *w);
/* 0 before the first ring. */
uint64_t peers_ring_version(const struct worker *w);
/* Whom to ask for the slot: a peer, or NULL for this node itself. gutter: in place of the owner. */
struct peer *peers_for_slot(struct peers *p, unsigned slot, bool *gutter);
/* Whether this node is the one to serve the slot. */
bool peers_serve(const struct peers *p, unsigned slot);
/* The peer of a node of the ring; NULL for this node. */
struct peer *peers_at(const struct peers *p, unsigned index);
/* Makes sure the link is there or on its way. */
void peer_want(struct peer *peer);
/* Before a call goes over its link while missed_set is there: what was written in its place since it was told that. */
void peer_tell_rest(struct peer *peer);

/* Whether a node that did not answer is so surely gone that a call for all nodes is done without it, since it drops what it has before it
 * serves again: it is no node of the ring any more; or it is silent, and at its address nobody listens; or it is dead, and most nodes are here. */
bool peers_is_gone(struct peers *p, const char *id);
/* Sends a message of the membership to a node: by its id, or when that is "" or unknown, by its address. It may be lost. */
void peers_send(struct peers *p, const char *id, const struct node_addr *to, struct slice bytes);

/* A frame that is no call came over any link. */
void peers_frame(struct worker *w, struct link *l, const struct frame *f, struct slice bytes);
