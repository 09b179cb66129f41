/* SPDX-License-Identifier: BSD-3-Clause */
/* settings: the directives of the section "Cluster" that must go together. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct buf;
struct conf;

enum { CLUSTER_MAX_PEERS = 1000, CLUSTER_SECRET_MIN = 16 };
enum cluster_driver { CLUSTER_STATIC, CLUSTER_DNS, CLUSTER_ETCD /* places among the choices of cluster-driver */ };
enum cluster_mode { CLUSTER_PROXY, CLUSTER_REDIRECT /* and of cluster-mode */ };

/* False with the directive at fault in name and the reason in why. Nothing is checked while cluster-enabled is no. Any thread. */
bool cluster_settings_check(const struct conf *c, const char **name, struct buf *why);
/* Of what all nodes should have alike: low half the policies, whatever blanks are in them, high half databases, handover-window and gutter-ttl.
 * The same on every machine. */
uint64_t cluster_settings_digest(const struct conf *c);
/* The port for peers. */
int cluster_bus_port(const struct conf *c);
