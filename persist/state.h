/* SPDX-License-Identifier: BSD-3-Clause */
/* state: what the disk tier must know even after the process was killed in mid-step: which databases are live, and which
 * keys were changed since their copy on disk was written. One small file, mapped into memory and shared: a store to it is
 * a note that survives the process (not the machine), at the cost of a memcpy.
 *
 *   header | journal of lane 0 | journal of lane 1 | ...
 *
 * A journal is a ring of the record keys whose change is queued but not yet in the store's log. After a kill they are
 * deleted from the store before anything is served: values may be lost, an older one never returns. What does not fit
 * in the ring is counted instead: while that count is not zero a kill costs the whole disk tier, not its truth.
 *
 * Functions about a lane are called with that lane's lock held, or before and after all threads. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

enum { STATE_LANES = 8, STATE_LOGICAL = 64, STATE_PHYSICAL = 256 };

struct state;

/* What was found at open. What is fresh or dropped stays distrusted until the caller has emptied the store and says so. */
enum state_kind {
    STATE_FRESH,   /* no file: a new tier */
    STATE_CLEAN,   /* closed in order */
    STATE_KILLED,  /* adopt after applying the journals */
    STATE_DROPPED  /* killed with changes nobody noted, or the file is damaged: the store's content cannot be trusted */
};

/* Opens or creates path with journals of journal_bytes together; the file is locked while open. NULL with a message for
 * the operator when it is another server's or of another format. */
struct state *state_open(const char *path, size_t journal_bytes, enum state_kind *kind, char *err, size_t errcap);
/* Why it was dropped at open, for the operator; else NULL. */
const char *state_why_dropped(const struct state *s);
/* orderly: the store has everything; the next open finds STATE_CLEAN. */
void state_close(struct state **s, bool orderly);

/* The hash seed this tier's keys were written with. */
uint64_t state_hash_seed(const struct state *s);

/* Physical number of each logical database. A change of it is there whole after a kill, or not at all. */
const uint8_t *state_map(const struct state *s);
void state_set_map(struct state *s, const uint8_t *map);
/* The generation of a physical database; a fresh one makes all its records dead. Any thread. */
uint32_t state_generation(const struct state *s, uint8_t physical);
void state_renew(struct state *s, uint8_t physical);
/* The generations of all logical databases in rising order, into out (room for STATE_LOGICAL); returns how many. Any thread. */
unsigned state_live(const struct state *s, uint32_t *out);
/* Whether any logical database has this generation. Any thread. */
bool state_is_live(const struct state *s, uint32_t generation);
/* Keys in the store of a physical database, as of the last orderly close. */
uint64_t state_count(const struct state *s, uint8_t physical);
void state_set_count(struct state *s, uint8_t physical, uint64_t n);

/* Notes a record key; returns the position to give back later, 0 when it did not fit and was counted instead. */
uint64_t state_note(struct state *s, unsigned lane, struct slice record_key);
/* The change is in the store's log: forgets the note and all before it (position), or one uncounted (0). */
void state_forget(struct state *s, unsigned lane, uint64_t position);
/* The noted keys of all lanes, after a kill. False: damaged, and not all were read; the state is distrusted from now on. */
bool state_each_note(struct state *s, void (*fn)(void *ctx, struct slice record_key), void *ctx);
/* Nothing is queued any more. */
void state_forget_all(struct state *s);
/* The store cannot be trusted until it has been emptied: survives a kill. */
void state_distrust(struct state *s, bool distrust);
/* Bytes noted now, and changes counted for want of room so far. */
uint64_t state_noted_bytes(const struct state *s);
uint64_t state_overflows(const struct state *s);
/* Writes the header through to the device (a power loss then keeps it). Blocks. */
void state_sync(struct state *s);
