/* SPDX-License-Identifier: BSD-3-Clause */
/* item: a key's value as tiers hand it to one another. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"
#include "src/value/value.h"

struct blob;

enum { ITEM_MAX_TAGS = 16, ITEM_EXTRA_MAX = 1 + 4 + 4 + 4 + 4 + 16 + 1 + ITEM_MAX_TAGS * 4, ITEM_EXTRA_RESTING = 16 /* in the flags */ };

/* Moments to about a second, as items keep them: units of 1,024 ms of wall time modulo 2^24, which is 198 days; 0: unknown. */
enum { ITEM_STAMP_SHIFT = 10, ITEM_STAMP_MASK = 0xFFFFFF, ITEM_STAMP_AHEAD = 1024 /* how far clocks may disagree */ };

static inline uint32_t item_stamp(int64_t ms) {
    uint32_t v = (uint32_t)(ms >> ITEM_STAMP_SHIFT) & ITEM_STAMP_MASK;
    return v + (v == 0);
}
/* How long ago that was, in milliseconds; 0 when it is unknown, or ahead of this clock. */
static inline int64_t item_stamp_age(uint32_t stamp, int64_t now_ms) {
    uint32_t age = (item_stamp(now_ms) - stamp) & ITEM_STAMP_MASK;
    return stamp == 0 || age > ITEM_STAMP_MASK - ITEM_STAMP_AHEAD ? 0 : (int64_t)age << ITEM_STAMP_SHIFT;
}

/* What a reader sees of an item of the memory tier: borrowed while its shard is locked and the key not written. */
struct item_view {
    enum value_type type;
    bool raw;            /* a string that reports encoding "raw" whatever its bytes */
    struct slice str;    /* TYPE_STRING: its bytes */
    struct blob *blob;   /* TYPE_STRING longer than the inline limit: where str lives; else NULL */
    struct value *value; /* other types */
    bool read;           /* on a walk: read since it came, as far as the policy knows */
    uint32_t written;    /* when, a stamp */
    bool stale;          /* past its deadline, within its grace: only for who asked for L1_STALE */
    int64_t expire_ms;   /* absolute wall-clock milliseconds, or -1; of a stale one, since when it has been */
    struct slice extra;  /* what guards noted: struct item_extra, encoded; mostly empty */
};

/* What guards note beside a value. Encoded it is position-independent bytes, the same in memory and on disk:
 *
 *   flags u8 | [grace u32] | [error u32] | [load u32] | [stamp u32] | [lent i64 | own i64] | [count u8 | count x tag u32]
 */
struct item_extra {
    uint32_t grace_ms; /* it stays so long behind its deadline, unseen by ordinary reads */
    uint32_t error_ms; /* the last part of that: it is served then only when a newer one cannot be loaded (stale-if-error) */
    uint32_t load_ms;  /* how long it took to load; 0 unknown */
    uint32_t stamp;    /* the last purge when it was known to be valid: src/guard/purge.h */
    int64_t lent_ms;   /* 0, or a deadline that only the copy in the cache has, by its policy; while the item still has it, */
    int64_t own_ms;    /* this is the value's own (-1 none), which a write to the origin hands on */
    bool resting;      /* memory tier: past its deadline, no longer counted among the keys */
    bool passing;      /* must not be kept: here only for those who waited for it */
    uint8_t tags;
    uint32_t tag[ITEM_MAX_TAGS]; /* hashes of its tags' names */
};

/* At most ITEM_EXTRA_MAX bytes into out; returns how many, 0 when there is nothing to note. */
size_t item_extra_put(const struct item_extra *e, unsigned char *out);
/* All of e is set; false (and e zero) when the bytes are none of ours. */
bool item_extra_get(struct slice bytes, struct item_extra *e);
/* The deadline an item's value has wherever it is kept, -1 none: its own, not one its policy lent to the copy in the cache. */
int64_t item_own_deadline(int64_t expire_ms, const struct item_extra *e);
