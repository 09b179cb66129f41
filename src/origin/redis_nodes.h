/* SPDX-License-Identifier: BSD-3-Clause */
/* redis_nodes: the servers of a Redis upstream. One, until it says MOVED; then a Redis Cluster: a table of slots, told by each
 * MOVED and by CLUSTER SLOTS, asked for now and then. Nodes are dialled when something is for them. Loop's thread only. */
#pragma once

#include <stdbool.h>

#include "src/origin/resp_client.h"

struct redis_node;
struct redis_nodes;

/* options: those of every connection; host and port are the first node's. */
struct redis_nodes *redis_nodes_create(const struct resp_client_options *options, int connections);
/* As resp_client_destroy. */
void redis_nodes_destroy(struct redis_nodes **n);

/* The node that has the key, as far as is known. */
struct redis_node *redis_nodes_of(struct redis_nodes *n, struct slice key);
/* As resp_send. */
const char *redis_node_send(struct redis_node *node, struct resp_request *r);
/* As resp_pool_send_of. */
const char *redis_node_send_of(struct redis_node *node, struct slice key, struct resp_request *r);
/* A connection to the node failed: when there are others, one of them may know who replaces it. */
void redis_nodes_failed(struct redis_nodes *n, struct redis_node *node);

enum redirect { REDIRECT_NONE, REDIRECT_MOVED, REDIRECT_ASK };
/* What an error reply that came from a node says about where to go instead, in *to: NULL with more nodes than are allowed, or
 * when it is malformed. */
enum redirect redis_nodes_redirect(struct redis_nodes *n, struct redis_node *from, struct slice error, struct redis_node **to);
