/* SPDX-License-Identifier: BSD-3-Clause */
/* cluster: this process as a node: the port for peers, its id, who the others are. */
#pragma once

#include <stdbool.h>

#include "src/base/slice.h"
#include "src/server/peer_count.h"

struct agent_stats;
struct buf;
struct cluster;
struct conf;
struct gauges;
struct host;
struct node_addr;
struct ring_store;
struct server;
struct worker;

/* When cluster-enabled: reads or makes the node's id, and gives every worker its peers. False with the reason in err. In dir. */
bool cluster_open(struct server *srv, const struct conf *conf, struct buf *err);
/* Listens on the port for peers, and begins to look for the others. */
bool cluster_start(struct server *srv, const struct conf *conf, struct buf *err);
/* At the end, on worker 0: no more connections. */
void cluster_stop(struct server *srv);
/* For a worker that has ended its sessions: closes its links. True while something of them is left: to be called again. */
bool cluster_stopping(struct worker *w);
/* After the loops, before the workers go: the membership's thread ends. */
void cluster_end_membership(struct server *srv);
/* After the workers. */
void cluster_close(struct server *srv);

struct ring_store *cluster_rings(struct server *srv);
/* "" without a cluster. */
const char *cluster_id(const struct server *srv);
/* Any loop: the node does not answer. */
void cluster_failed(struct server *srv, const char *id);
/* Any loop: whoever answers at this address is this node. host: of the address, instead of the one in it. */
void cluster_is_self(struct server *srv, const struct node_addr *at, const char *host);
/* Whoever was dialled there speaks another version of the peers' protocol: a node that has not joined ends. Any thread. */
void cluster_other_version(struct server *srv, const struct node_addr *at);
/* Any loop: a message of the membership. id: who has sent it; addr: where from, "host:port". */
void cluster_hear(struct server *srv, const char *id, const char *addr, struct slice bytes);
/* Directives that may change at run time. */
void cluster_conf_changed(struct server *srv);

/* What the membership has counted; zeros and false without a cluster. Any thread. */
bool cluster_stats(struct server *srv, struct agent_stats *out);
/* As the gauges of group `members`. */
void cluster_gauges(const struct agent_stats *s, struct gauges *g);
/* Calls to that node. Only with a cluster; any thread. */
struct peer_sum cluster_peer(struct server *srv, const char *id);
/* "same", or what of the node's settings is not as here. */
const char *cluster_settings_of(const struct agent_stats *s, const char *id);

/* Host operations: of INFO peers; of src/cmd/cluster.c. */
void cluster_info(struct host *h, struct buf *out);
void cluster_meet(struct host *h, const struct node_addr *at);
bool cluster_forget(struct host *h, const char *id);
void cluster_leave(struct host *h);
/* The process ends: all are told at once. */
void cluster_leave_for_good(struct server *srv);
