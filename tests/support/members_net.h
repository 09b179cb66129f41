/* SPDX-License-Identifier: BSD-3-Clause */
/* members_net: members of a cluster on a network that exists in memory only, with its own clock: delays, losses, cut cables, processes that die, hang and
 * come back. The same seed gives the same run. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cluster/members.h"

enum { NET_MAX = 1000 };

struct net;

struct net_node {
    struct net *net;
    char id[NODE_ID_HEX + 1];
    struct node_addr addr;
    struct members *members; /* NULL: the process does not run */
    bool hung;               /* neither ticks nor hears */
    struct ring *ring;       /* as published last */
    unsigned lives;
    unsigned lots_taken; /* how often; what a node has on its disk outlives it */
    uint16_t lot;
    struct member_record *kept; /* the other nodes, as known when its last process ended */
    unsigned kept_count;
    unsigned events[MEMBERS_EVENT_COUNT];
    unsigned published; /* how often */
};

struct net_message;
struct net_ring;

struct net {
    unsigned n;
    struct net_node *nodes;
    bool *cut; /* [from * n + to]: what is sent there is lost */
    int64_t now_ms, timeout_ms, remove_after_ms;
    int64_t delay_min_ms, delay_max_ms;
    unsigned loss_pct;
    bool lots; /* nodes take lots, which takes time */
    bool memory; /* nodes remember the others over a restart */
    uint64_t random;
    struct net_message **wheel; /* those under way, by the millisecond they arrive at */
    uint64_t sent, bytes;
    struct net_ring *rings; /* one for each set of nodes: what ring_build makes of it, made once */
    void (*after_each_ms)(struct net *net); /* or NULL */
};

/* n nodes, none of which runs yet; ids by seed. */
struct net *net_create(unsigned n, uint64_t seed, int64_t timeout_ms);
void net_destroy(struct net **net);
/* Starts (or starts anew) node i, which knows the first `seeds` addresses, itself among them or not. */
void net_start(struct net *net, unsigned i, unsigned seeds);
void net_kill(struct net *net, unsigned i);
/* Both ways. */
void net_cut(struct net *net, unsigned a, unsigned b, bool cut);
void net_cut_one_way(struct net *net, unsigned from, unsigned to, bool cut);
void net_run(struct net *net, int64_t ms);
/* Runs until `done` says so; the milliseconds it took, or -1 after so many. */
int64_t net_run_until(struct net *net, bool (*done)(const struct net *net), int64_t most_ms);
/* All running nodes have published the same version, of a ring of exactly the running nodes, which are all in it by right. */
bool net_agrees(const struct net *net);
/* The state that node i has published of node k; -1: not in its ring. */
int net_state(const struct net *net, unsigned i, unsigned k);
