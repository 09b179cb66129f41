/* SPDX-License-Identifier: BSD-3-Clause */
/* near: copies of hot keys that other nodes own, so that a read of one costs no way to its owner. What may be seen of them:
 * docs/consistency.md.
 *
 *   node:    epochs, counted up by writes that this node has sent and by what owners say has changed; atomic, shared by its loops
 *   worker:  a table of copies, each with the epoch from before its read was sent: when the epoch is another one, it is no copy any more
 *
 * A copy is the reply to one call: the same key asked for otherwise is another copy. All end with a change of the key.
 *
 * A copy lives from the moment its read was sent, so that no clock but this node's own is needed; at most near-ttl, and no longer than the
 * owner allowed. All live about as long, so the oldest goes first, by time and for room. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"

struct near;
struct near_node;
struct stats;

/* ---- of the node: any thread ---- */

/* copies, bytes: where is counted how many copies there are, and what they take. */
struct near_node *near_node_create(_Atomic int64_t *copies, _Atomic int64_t *bytes);
void near_node_destroy(struct near_node **node);
/* What may have been written: a key (hash_name of it), some keys of a slot, any key. Before the write's reply is handed to its client. */
void near_wrote_key(struct near_node *node, uint64_t name_hash);
void near_wrote_slot(struct near_node *node, unsigned slot);
void near_wrote_all(struct near_node *node);

/* ---- of a loop ---- */

struct near_key {
    struct slice what;  /* what is asked for: the key's name, and whatever else of the call makes the answer; borrowed */
    uint64_t hash;      /* of what and kind, seeded */
    uint64_t name_hash; /* hash_name of the key: the same at every node */
    uint32_t kind;      /* of call: what is the same has one answer */
    uint16_t slot;
    uint8_t db; /* logical */
};

/* Taken before a read is sent. */
struct near_ticket {
    uint64_t epoch, since;
    int64_t sent_us;
};

/* stats: the loop's: what is kept, and by reason what is not, and what ends, is counted there, the reasons as those of tier l3. */
struct near *near_create(struct near_node *node, struct stats *stats);
void near_destroy(struct near **n);
/* Bytes and life of copies, 0 of either for none; from how many reads in about a second a key is hot. */
void near_configure(struct near *n, size_t max_bytes, int64_t ttl_us, uint64_t hot_reads);
bool near_is_on(const struct near *n);

/* A read, of a key that `owner` (any pointer that stands for it) serves. True: `reply` is the copy, the table's until the next call of
 * near_*. may_use: false when the client must ask the owner. Otherwise `hot` says whether a copy is wanted. Times are monotonic. */
bool near_read(struct near *n, const struct near_key *k, const void *owner, bool may_use, int64_t now_us, struct slice *reply, bool *hot);
struct near_ticket near_ticket(const struct near *n, uint64_t name_hash, unsigned slot, int64_t now_us);
/* The reply to the read with that ticket, which the owner allows to be kept for keep_ms; 0: not at all. Takes the place of the copy there
 * was. False when it is not kept: something was written meanwhile, it is too long or too late, or there is no memory. */
bool near_put(struct near *n, const struct near_key *k, const void *owner, const struct near_ticket *t, uint32_t keep_ms, struct slice reply,
              int64_t now_us);
/* The key has no value that could be a copy: the one there was goes. */
void near_forget(struct near *n, const struct near_key *k);
/* The copies from this owner go, or all (NULL), and reads under way leave none: changes may not be heard of any more. */
void near_drop(struct near *n, const void *owner);
/* Now and then, at least every second: copies past their end go, and old times count less. */
void near_tick(struct near *n, int64_t now_us);
