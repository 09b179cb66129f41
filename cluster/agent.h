/* SPDX-License-Identifier: BSD-3-Clause */
/* agent: the membership of this node at work: a thread with a loop of its own, on which members decides and rings are built, and the driver that finds
 * the others. What happens on other threads is told to it, in messages of a bounded number. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cluster/members.h"
#include "cluster/ring.h"
#include "src/stats/conns.h"

struct agent;
struct conf;

struct agent_hooks {
    void *ctx;
    /* A message of the membership for that node: id "" when only its address is known. Bytes are borrowed. On the agent's thread; may drop them. */
    void (*send)(void *ctx, const char *id, const struct node_addr *to, struct slice bytes);
    /* The ring that is about to be published; before: the one in force, or NULL. May block for a moment. On the agent's thread, the first
     * time within agent_create. May be NULL. */
    void (*ring)(void *ctx, const struct ring *before, const struct ring *ring);
    /* At that address is a node of another version, which this one found before it had joined: it must not begin a cluster of its own. On the
     * agent's thread. May be NULL. */
    void (*other_version)(void *ctx, const struct node_addr *at);
    /* This node has taken a lot, which it is to be given again by agent_create in its next life. May block for a moment. On the agent's thread.
     * May be NULL. */
    void (*lot)(void *ctx, unsigned lot);
    /* Which other nodes there are, to be given to agent_create in its next life; not more often than ten times a second. May block for a moment. On
     * the agent's thread, and within agent_destroy. May be NULL. */
    void (*peers)(void *ctx, const struct member_record *list, unsigned n);
    /* This node had been given up for a while: others used stand-ins for it, and it may not know of what was changed there. On the agent's thread. */
    void (*doubted)(void *ctx);
};

enum { AGENT_DIFFERING_MAX = 16 };

/* A node whose settings are not this one's: bits of DIFFER_. */
struct agent_differing {
    char id[NODE_ID_HEX + 1];
    unsigned what;
};

struct agent_stats {
    struct members_stats members;
    uint64_t dropped; /* messages of other threads that were too many */
    uint64_t rings;   /* published */
    uint64_t version;
    bool joined;
    struct conn_numbers driver; /* connections of the driver that finds nodes */
    unsigned differing_count; /* of those below; members.differing may be more */
    struct agent_differing differing[AGENT_DIFFERING_MAX];
};

/* What a node has of its last life: of node_id_load, node_lot_load and node_peers_load. Borrowed until agent_create returns. */
struct agent_past {
    const char *id;
    int lot; /* -1: none */
    const struct member_record *peers;
    unsigned peer_count;
};

/* Nothing runs before agent_start, but the store has a ring: of this node and those it remembers. */
struct agent *agent_create(const struct conf *conf, const struct agent_past *past, struct ring_store *store, const struct agent_hooks *hooks);
void agent_start(struct agent *a);
/* Ends driver and thread, frees. No hook is called afterwards. */
void agent_destroy(struct agent **a);

/* ---- from any thread, without waiting ---- */

/* A message came from the node with this id (proved); from_host: the numeric address it came from, or NULL. */
void agent_hear(struct agent *a, const char *id, const char *from_host, struct slice bytes);
/* A call to that node failed: it could not be reached, or did not answer in time. */
void agent_failed(struct agent *a, const char *id);
/* Whoever was dialled there is this node. */
void agent_is_self(struct agent *a, const struct node_addr *at);
/* Whoever was dialled there speaks another version of the peers' protocol. */
void agent_other_version(struct agent *a, const struct node_addr *at);
void agent_meet(struct agent *a, const struct node_addr *at);
/* False: no such node in the ring, or this one. */
bool agent_forget(struct agent *a, const char *id);
/* Gives up its share, stays reachable. */
void agent_leave(struct agent *a);
/* Tells the others that the process ends: sends at once. */
void agent_leave_for_good(struct agent *a);
/* After CONFIG SET. */
void agent_configure(struct agent *a, const struct conf *conf);
void agent_stats_read(struct agent *a, struct agent_stats *out);
