/* SPDX-License-Identifier: BSD-3-Clause */
/* purge: values invalidated by prefix, tag or slot, all at once and at no cost per value: a purge gets the next number; a value carries
 * the number of the last purge when it was known to be valid (its stamp), and is purged when a later one is for its name's
 * prefix or slot, or for one of its tags. Only values written under a purged prefix or slot, and tagged ones, carry a stamp at all; without one
 * it is 0. A soft purge makes a value stale instead: it ended when it was purged, and its grace may serve.
 *
 * A tag is known by the 32-bit hash of its name (and database): two tags of one hash are purged together, which loses
 * values, never keeps one.
 *
 * Changed with every shard of the memory tier locked, so read under any shard's lock. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"
#include "src/iface/item.h"

struct purges;

enum { PURGE_SLOTS = 16384, PURGE_SLOT_BYTES = PURGE_SLOTS / 8 /* of a set of slots: bit s % 8 of byte s / 8 */ };

static inline bool slot_set_has(const uint8_t *set, unsigned slot) {
    return set[slot / 8] >> slot % 8 & 1;
}
static inline void slot_set_put(uint8_t *set, unsigned slot, bool in) {
    set[slot / 8] = (uint8_t)((set[slot / 8] & ~(1u << slot % 8)) | (unsigned)in << slot % 8);
}

/* max: so many prefixes and tags can be remembered. */
struct purges *purges_create(size_t max);
void purges_destroy(struct purges **p);
/* False when there are too many already: nothing is purged. db is physical. */
bool purges_prefix(struct purges *p, uint8_t db, struct slice prefix, bool soft, int64_t now_ms);
bool purges_tag(struct purges *p, uint32_t tag, bool soft, int64_t now_ms);
/* Whatever is in these slots (hash_slot), in every database. Takes no place of max. */
void purges_slots(struct purges *p, const uint8_t set[PURGE_SLOT_BYTES]);
/* A prefix or tag that was purged before needs no more room; whether there is some for so many others. */
bool purges_has_prefix(const struct purges *p, uint8_t db, struct slice prefix);
bool purges_has_tag(const struct purges *p, uint32_t tag);
bool purges_have_room(const struct purges *p, size_t more);
/* For what is read from a file: how many may be remembered from now on; the last purge had that number; the last purge of each slot, of
 * PURGE_SLOTS numbers. */
void purges_set_max(struct purges *p, size_t max);
void purges_set_last(struct purges *p, uint32_t last);
void purges_set_slots(struct purges *p, const uint32_t *numbers);
/* Never 0. */
uint32_t purge_tag_hash(uint8_t db, struct slice name);
/* The number of the last purge; 0: there was none. No lock. */
uint32_t purges_last(const struct purges *p);
size_t purges_count(const struct purges *p);
/* Since when a value has been past its deadline: its own (INT64_MAX none), or an earlier soft purge; INT64_MIN: it is purged. */
int64_t purges_deadline(const struct purges *p, uint8_t db, struct slice name, int64_t expire_ms, const struct item_extra *e);
/* Whether a new value of that name must carry a stamp. */
bool purges_concern(const struct purges *p, uint8_t db, struct slice name);
