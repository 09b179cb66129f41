/* SPDX-License-Identifier: BSD-3-Clause */
/* node_addr: where a node is: `host:port`, `host:port@port-for-peers`, IPv6 in brackets. Bytes only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cluster/ring.h"
#include "src/base/buf.h"

enum { NODE_BUS_OFFSET = 10000 /* from the port for clients to the one for peers, unless said otherwise */ };

struct node_addr {
    char host[NODE_HOST_BYTES]; /* a name or a numeric address without brackets */
    uint16_t port, bus_port;    /* 1..65535 */
};

/* False with "reason; allowed: ..." in why. */
bool node_addr_parse(struct slice word, struct node_addr *out, struct buf *why);
/* A name, or a numeric address without brackets, of a length that fits: letters, digits, `.`, `-`, `_`, and `:` and `%` of IPv6. */
bool node_host_valid(struct slice host);
/* As it is parsed; `@` only where it is needed. */
void node_addr_print(const struct node_addr *a, struct buf *out);
/* Names without regard to case. */
bool node_addr_equal(const struct node_addr *a, const struct node_addr *b);

/* All words of a text, at most max; the number of them, or -1 with the reason in why, the word at fault first. */
int node_addrs_parse(const char *text, struct node_addr *out, int max, struct buf *why);
