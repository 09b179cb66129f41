/* SPDX-License-Identifier: BSD-3-Clause */
/* missed: slots that were written in place of their silent owner, until that one has heard of it. Whoever sent such a write to a stand-in notes
 * it, and so does the stand-in: both outlive one of them. When the owner can be reached it is told the slots before any call
 * (FRAME_MISSED), drops what it has of them in all tiers, and says so (FRAME_DROPPED); then they are forgotten here.
 *
 * A note is the number of the write, and whose the slot was: no key, no value. All are in one file of dir, mapped, so that a kill -9 loses none. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"

struct missed;
struct ring;

/* path: made when it is not there. Never NULL: what cannot be mapped is kept in memory alone, and err says why. */
struct missed *missed_open(const char *path, struct buf *err);
void missed_close(struct missed **m);

/* The slot was written, or is about to be, and its owner by this ring does not hear of it. Nothing when that is this node. Any thread. */
void missed_note(struct missed *m, const struct ring *ring, unsigned slot);
/* Anything may have been written of what that node of the ring owns. Any thread. */
void missed_note_all(struct missed *m, const struct ring *ring, unsigned node);
/* The number of the last note; grows with each. One load. Any thread. */
uint64_t missed_last(const struct missed *m);
/* Puts the slots of the node with that id that were noted behind `since` into set (of PURGE_SLOT_BYTES). How many. Any thread. */
unsigned missed_since(const struct missed *m, const char *id, uint64_t since, uint8_t *set);
/* That node has dropped these slots, which it was told when missed_last was `upto`. Any thread. */
void missed_dropped(struct missed *m, const char *id, const uint8_t *set, uint64_t upto);
