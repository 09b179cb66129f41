/* SPDX-License-Identifier: BSD-3-Clause */
/* dispatch: the six steps of a call (src/cmd/call.h), and the only caller of handlers.
 *
 * resolve  look-up, arity, authentication, MULTI's queue; keys found and hashed        dispatch_resolve, dispatch_admit
 * route    whose key is it: this node's, or a peer is asked                             is_ours, src/server/route.h
 * fill     under the shards' locks: missing keys are fetched from the slower tiers,
 *          and the call parks until they are resident                                   run_with_keys
 * run      the handler                                                                  run_handler
 * commit   what changed goes to the sinks, still under the lock; then room is made      run_handler, tier_commit
 * reply    the error's text if any, statistics, slow log; sink acknowledgements first   finish */
#pragma once

#include "src/cmd/call.h"
#include "src/server/worker.h"

struct parked;
struct session;

/* Finds the command and its keys and prefetches the first one's bucket. Needs no lock, decides nothing. */
void dispatch_resolve(struct slot *slot);
/* Runs the call of a window slot. When the session is blocked afterwards (s->parked), the caller rewinds its
 * input to slot->end. */
void dispatch_run(struct slot *slot);
/* Runs a parked call again, from admission (after a pause) or from its run step. p is gone afterwards
 * unless it parked again. */
void dispatch_again(struct parked *p);
/* The call has been answered, its reply begins at this mark of s->out: CLIENT REPLY OFF and SKIP drop it, a channel takes it. */
void dispatch_replied(struct session *s, const struct call *c, size_t buf_n, uint32_t refs);
/* The reply goes out that has waited since blocked_at (ticks) for its changes to be acknowledged: if only that made the call slow, it is
 * in the slow log now. */
void dispatch_acknowledged(const struct call *c, struct worker *w, uint64_t blocked_at);
/* Before a parked call runs again: it sees the present time, configuration and policies. */
void dispatch_refresh(struct call *c, const struct worker *w);
/* Runs a held call again, its reply into c->out. False when it waits once more. */
bool dispatch_held(struct call *c, struct worker *w);
/* Extracts and hashes the keys of c (c->argv, c->cmd, logical database of the client). False when the arguments do not fit
 * the command's key positions. one/one_access: storage for a single key, or NULL. */
bool call_find_keys(struct call *c, struct key *one, uint8_t *one_access);
/* The keys of one command line, at most max of them, when the client's logical database is db; returns how many there are,
 * -1 when the arguments are too few. keys may be NULL. */
int keys_of_line(struct call *c, const struct cmd *cmd, const struct slice *argv, int argc, int db, struct key *keys,
                 uint8_t *access, int max);
/* One call of a transaction, its keys' shards locked: run and commit, reply into c->out. */
void dispatch_run_queued(struct call *c, struct worker *w);
