/* SPDX-License-Identifier: BSD-3-Clause */
/* dns_srv: SRV records, which the system's look-up of names does not give. Blocks; for a driver's thread. */
#pragma once

#include "cluster/node_addr.h"

struct sockaddr_in;

/* The targets of the name's SRV records, at most max, ports as in the records, those for peers 10000 above (targets where that is no port are left out).
 * server: whom to ask; NULL: the system's. The number of them; 0 also when there is no such name; -1: no answer. */
int dns_srv_query(const char *name, const struct sockaddr_in *server, struct node_addr *out, int max);
