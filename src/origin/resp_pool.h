/* SPDX-License-Identifier: BSD-3-Clause */
/* resp_pool: a few connections to one server. A request goes to the one that owes the fewest replies, so that one connection is
 * enough as long as nothing waits, and a slow answer holds up few others; a write goes to that of its key. Loop's thread only. */
#pragma once

#include "src/origin/resp_client.h"

struct resp_pool;

struct resp_pool *resp_pool_create(const struct resp_client_options *options, int connections);
/* As resp_client_destroy. */
void resp_pool_destroy(struct resp_pool **p);
/* As resp_send. */
const char *resp_pool_send(struct resp_pool *p, struct resp_request *r);
/* The same, always on the connection that key has, as long as it is up: what is sent of one key arrives in the order in which it was
 * sent, also behind a request that was given up. */
const char *resp_pool_send_of(struct resp_pool *p, struct slice key, struct resp_request *r);
/* Replies owed, by all of them. */
size_t resp_pool_load(const struct resp_pool *p);
