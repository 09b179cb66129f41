/* SPDX-License-Identifier: BSD-3-Clause */
/* txn: MULTI's queue, WATCH, and EXEC: the union of the queued calls' keys (and the watched ones) is locked once, so that the
 * whole transaction is one run step. */
#pragma once

#include <stdbool.h>

#include "src/cmd/call.h"

struct session;

/* Whether the call is EXEC with something queued. Inline: every call asks. */
static inline bool txn_is_exec(const struct call *c) {
    return (c->cmd->flags & CMD_EXEC) && c->client->txn != NULL;
}
/* The flags of all queued calls together. One that visits keys it does not name makes EXEC lock every shard. */
uint32_t txn_flags(const struct call *c);
/* EXEC, with the locks of its keys, will not run: what it queued and watched goes. */
void txn_drop(struct call *c);
/* The keys of all queued calls, in order, then the watched ones, into c->keys. */
void txn_find_keys(struct call *c);
/* Walks over all keys that are queued read the slower tiers, which may block: before EXEC takes any lock. True: they have been
 * begun, and EXEC (c) is to be parked (ERR_PARKED) and runs again when they are done. */
bool txn_walks_first(struct call *c);
/* The queued calls in order, with the logical database each leaves behind. */
void txn_each(const struct call *c, void (*fn)(void *ctx, const struct call *queued, int db_after), void *ctx);
/* Queues a copy of c and replies QUEUED. */
enum err txn_queue(struct call *c);
/* Drops queue and watches: the session closes, RESET. Locks the watched shards one by one. */
void txn_forget(struct client *client, struct l1 *l1);

/* Host operations. */
enum err txn_multi(struct call *c);
enum err txn_exec(struct call *c);
enum err txn_discard(struct call *c);
enum err txn_watch(struct call *c);
enum err txn_unwatch(struct call *c);
