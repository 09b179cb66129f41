/* SPDX-License-Identifier: BSD-3-Clause */
/* holders: which other nodes keep copies (near.h) of this node's keys, and what they have still to be told.
 *
 * A cell for each such key, under the lock of the key's shard, with a bit for each node (of 64: with more nodes some are told what they need
 * not know). A change puts the key into the outbox of every loop that such a node has links to, within the same critical section: so a
 * reply that shows the change cannot be written to a link before the news of it, see served_tell. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/slice.h"

struct holders;
struct key;

enum { NEWS_MAX = 512 /* keys in an outbox; more are told as "everything" */ };

struct news {
    bool all;    /* any key may have changed */
    unsigned n;
    struct {
        uint64_t name_hash, nodes;
    } items[NEWS_MAX];
};

/* shards: of the memory tier. wake(ctx, loop) is called with locks held when the loop's outbox is empty no more. */
struct holders *holders_create(unsigned shards, unsigned loops, void (*wake)(void *ctx, unsigned loop), void *ctx);
void holders_destroy(struct holders **h);
/* The bit of a node. */
uint64_t holders_bit(struct slice node_id);
/* The loop has a link to these nodes, from now on. Any thread. */
void holders_linked(struct holders *h, unsigned loop, uint64_t nodes);
/* These nodes will keep a copy until then (monotonic). The key's shard is locked. */
void holders_add(struct holders *h, unsigned shard, const struct key *key, uint64_t nodes, int64_t now_ms, int64_t until_ms);
/* The key has changed, its shard is locked; or, NULL, any key may have. shard: the key's. */
void holders_changed(struct holders *h, unsigned shard, const struct key *key);
/* Whether there is anything to take: one load. */
bool holders_waiting(const struct holders *h, unsigned loop);
/* Takes what the loop has to tell; false: nothing. */
bool holders_take(struct holders *h, unsigned loop, struct news *out);
