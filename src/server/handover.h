/* SPDX-License-Identifier: BSD-3-Clause */
/* handover: keys follow their slots.
 *
 * When the ring gives slots of this node to another one, what it has of them is lent: it goes to the new owner, key by key, when that
 * misses one and asks (CLUSTER TAKE), or, hottest first, because this node leaves (CLUSTER GIVE); either way it is here no more. What is
 * left is dropped when handover-window is over, and before this node may serve the slot again, as its owner or in its place: by then it
 * is not known what was written elsewhere.
 *
 *   served here --ring--> lent --window over, or to be served again--> dropped (a purge by slots: every tier, lasting)
 *
 * The new owner asks for each key once at most: never for one that was written, deleted or looked for since (src/tier/settled.h). So no
 * value comes back that was overwritten. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct call;
struct handover;
struct host;
struct ring;
struct server;
struct source;
struct worker;

/* With the cluster; before its first ring. */
struct handover *handover_create(struct server *srv);
/* The loops have ended. */
void handover_destroy(struct handover **h);
/* Other nodes as a source of keys: asked behind the disk, ahead of origins. */
struct source *handover_source(struct handover *h);
/* Before a ring is published, on the membership's thread; before: the one in force, or NULL. */
void handover_ring(struct handover *h, const struct ring *before, const struct ring *ring);

/* Host operation: whether the slot's keys are lent. */
bool handover_lends(struct host *h, unsigned slot);
/* This node is to stand in for the slot's owner. False: it still has keys of a time when it owned the slot; they are being dropped, it
 * is to be asked again in a moment. Any loop. */
bool handover_may_stand_in(struct server *srv, unsigned slot);

/* Worker 0, about ten times a second. */
void handover_tick(struct server *srv);
/* What is here of these slots (set as in src/guard/purge.h) is dropped, in all tiers, and their copies end: others have written them in this node's
 * place. False: it could not be noted on disk, and may come back with the next start. May block. Any thread without a shard's lock. */
bool handover_drop_missed(struct server *srv, const uint8_t *set);
/* Each worker, now and then: keys that were asked for in vain. */
void handover_tick_worker(struct worker *w);
/* The worker ends: what it has at other nodes is cancelled. */
void handover_stop(struct worker *w);

/* At the beginning of a shutdown: true when, by leave-on-exit, the node leaves first; server_begin_shutdown is called again when it has.
 * Asked a second time meanwhile, it does not wait any longer: false. Any thread. */
bool handover_goes_first(struct server *srv);
