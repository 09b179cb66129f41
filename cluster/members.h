/* SPDX-License-Identifier: BSD-3-Clause */
/* members: which nodes there are, and which of them answer. A state machine without sockets, threads or a clock of its own: time is passed in
 * (monotonic milliseconds), messages go out through a hook and are handed in. One thread.
 *
 * What is agreed on. Of each node there is a record: where it is, its weight, its lot, its intent (joining, member, leaving, left), which only itself
 * changes, raising its incarnation; and the others' verdict on that incarnation (alive, suspect, dead, removed, forgotten), which only rises. Records
 * merge by the greater incarnation, then the graver verdict: in whatever order they arrive, everybody ends with the same table. A node that hears of a
 * verdict on itself raises its incarnation. A process that is back under the id of a node that was gone (removed, left) is suspect once: so it
 * learns that others have had its share. The ring is made from the records; its version is an epoch, which grows with each change, and a digest of
 * the set. Every message carries both that version and a hash of the table, and a difference brings on an exchange of tables.
 *
 * What each node judges by itself. It pings others, and counts calls that failed (members_failed). A node that does not answer is passed over
 * at once (ring_serving), here only; if others cannot reach it for us either, it becomes suspect for all, then dead. None of this changes the ring.
 * A dead node is removed from it when it has been dead for long and most of the ring is here to say so; or when the driver, which knows, does not
 * list it any more; or when another node has its address. A minority removes nobody: it serves on, standing in for the others.
 *
 * What a node remembers of its last life. It begins with the nodes it knew then, and asks them, too. Whoever is in a cluster that it finds knows
 * better: what is not among them is dropped. When it finds none, or only others that begin, they stay: it is a minority, not a cluster of its own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cluster/members_wire.h"
#include "cluster/node_addr.h"
#include "cluster/ring.h"

struct members;

enum members_event {
    MEMBERS_JOINED,    /* this node is in the ring from now on */
    MEMBERS_DOUBTED,   /* most others, or who can tell, thought this node suspect or worse and used stand-ins; it has contradicted */
    MEMBERS_BLAMED,    /* likewise, but this node was with most of the ring and running all the time: who did so was apart, and tells what it wrote */
    MEMBERS_FORGOTTEN, /* somebody had the others forget this node: it is alone until it meets one */
    MEMBERS_CLASH,     /* another process says to be this node */
    MEMBERS_REFUSED,   /* a message of another protocol, or none: id is whose; not more often than once a minute */
    MEMBERS_LOT,       /* this node has taken a lot, to be kept: members_self(m)->lot */
    MEMBERS_DIFFERS,   /* a node has other settings than this one, or has them no more */
    MEMBERS_CHANGED,   /* a node came, went, or was given another verdict: id and text say so */
    MEMBERS_EVENT_COUNT
};

struct members_hooks {
    void *ctx;
    /* id: whom, "" when only the address is known. Bytes are borrowed. May drop them. Must not call back. */
    void (*send)(void *ctx, const char *id, const struct node_addr *to, struct slice bytes);
    /* A new snapshot; the reference is the callee's. */
    void (*publish)(void *ctx, struct ring *ring);
    /* ring_build, or something like it; NULL: that. */
    struct ring *(*build)(void *ctx, const struct ring_node *nodes, unsigned n, unsigned run, uint64_t version,
                          const struct ring *before, int64_t previous_until_ms);
    /* ring_choose_lot, or something like it; NULL: that. */
    uint16_t (*choose_lot)(void *ctx, const struct ring_node *nodes, unsigned n, unsigned run, unsigned joiner);
    /* id: the node it is about; text: a few words for the log, borrowed. */
    void (*event)(void *ctx, enum members_event event, const char *id, const char *text);
};

struct members_options {
    char id[NODE_ID_HEX + 1];
    struct node_addr addr; /* host "": to be learnt from the others; the ports are always known */
    uint16_t weight;
    bool has_lot;          /* from a former life; else one is taken when this node joins */
    uint16_t lot;
    unsigned slot_run;     /* of ring_build */
    uint64_t incarnation;  /* greater than in this node's last life: wall time will do */
    uint64_t seed;         /* of the order in which nodes are asked */
    int64_t timeout_ms;    /* cluster-node-timeout */
    int64_t remove_after_ms; /* cluster-remove-after; 0: never */
    int64_t window_ms;       /* handover-window */
    const struct member_record *remembered; /* of other nodes, as members_each told of them; read in members_create alone */
    unsigned remembered_count;
    uint64_t settings;       /* cluster_settings_digest: low half policies, high half directives; nodes should have the same */
};

/* What of a node's settings is not as here. */
enum { DIFFER_POLICIES = 1, DIFFER_DIRECTIVES = 2 };

struct members_stats {
    uint64_t sent, received, refused;        /* messages; refused: malformed, or of another protocol */
    uint64_t syncs, suspected, died, removed; /* exchanges of tables; verdicts given here */
    uint64_t overflow;                        /* records not taken because there are too many nodes */
    unsigned differing;                       /* nodes that have other settings than this one, now */
    unsigned nodes, answering;                /* now, this one included */
};

/* Publishes a first ring, of this node and those it remembers. */
struct members *members_create(const struct members_options *o, const struct members_hooks *hooks, int64_t now_ms);
void members_destroy(struct members **m);

/* Directives that may change while it runs. */
void members_set_weight(struct members *m, unsigned weight, int64_t now_ms);
void members_set_settings(struct members *m, uint64_t settings);
void members_set_times(struct members *m, int64_t remove_after_ms, int64_t window_ms);

/* Addresses where nodes may be: this one is found out and left alone. Replaces those of the last call. authoritative: what is not among them and dead is
 * no node any more. An empty list that is not authoritative says that there is nobody to wait for. */
void members_set_seeds(struct members *m, const struct node_addr *seeds, unsigned n, bool authoritative, int64_t now_ms);

/* What a peer sent: from is the id that the link to it has proved, from_host its address as seen here, or NULL. */
void members_receive(struct members *m, const char *from, const char *from_host, struct slice bytes, int64_t now_ms);
/* Whoever answers at that address is this node. */
void members_is_self(struct members *m, const struct node_addr *at, int64_t now_ms);
/* A call to that node failed: no connection, no answer in time. */
void members_failed(struct members *m, const char *id, int64_t now_ms);
/* Timers, probes, publication of what has changed. Call it every members_tick_ms. */
void members_tick(struct members *m, int64_t now_ms);
int64_t members_tick_ms(const struct members *m);

/* CLUSTER MEET: also ends leaving and being forgotten. */
void members_meet(struct members *m, const struct node_addr *at, int64_t now_ms);
/* CLUSTER FORGET. False: no such node, or this one. */
bool members_forget(struct members *m, const char *id, int64_t now_ms);
/* Out of the ring, but still there: CLUSTER LEAVE. */
void members_leave(struct members *m, int64_t now_ms);
/* The last word before the process ends: tells everybody at once. */
void members_leave_for_good(struct members *m, int64_t now_ms);

uint64_t members_version(const struct members *m);
bool members_joined(const struct members *m);
void members_stats_read(const struct members *m, struct members_stats *out);
/* Bits of DIFFER_ for that node, as it has last said. 0 as well when it is not known. */
unsigned members_differs(const struct members *m, const char *id);
const struct member_record *members_self(const struct members *m);
/* Calls fn for every record, those of nodes that are gone included, in the order of their ids; state: as in the ring, heard_ms: when it last answered, -1 never. */
void members_each(const struct members *m, void (*fn)(void *ctx, const struct member_record *r, enum node_state state, int64_t heard_ms), void *ctx);
