/* SPDX-License-Identifier: BSD-3-Clause */
/* item: one key with its value in one block of the slab.
 *
 *   type and flags u8 | db u8 | value length u16 | key length u8 | written u24 | touched u24 | [deadline, 6 bytes of ms] |
 *   [extra: length u8, bytes] | key | value
 *
 * Written and touched are stamps (item_stamp): when the value was written, here or in the tier it came from, and last used.
 *
 * The top bit of the value length says that there is an extra: what guards noted (struct item_extra). The four bits below it are the
 * item's group (src/l1/quota.h), the rest is the length.
 *
 * A value that does not fit is a pointer (ITEM_HEAP: struct blob or struct value); so is a long key (ITEM_LONG_KEY: struct
 * long_key). Deadlines reach to the year 10889; later ones are cut to that. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "src/base/slice.h"
#include "src/l1/l1.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "item_has_extra looks at the high byte of the length");

enum {
    ITEM_STAMPS = 5, /* where they begin */
    ITEM_HEAD = 11,
    ITEM_TTL_BYTES = 6,
    ITEM_TYPE_MASK = 0x07,
    ITEM_TTL = 0x08,
    ITEM_HEAP = 0x10,
    ITEM_LONG_KEY = 0x20,
    ITEM_RAW = 0x40,
    ITEM_ALONE = 0x80, /* no tier below has the key: kept over overwrites */
    ITEM_EXTRA = 0x8000, /* in the value length */
    ITEM_LENGTH = 0x07FF, /* the length in it */
    ITEM_GROUP_SHIFT = 3, /* of its high byte */
    ITEM_GROUP_MASK = L1_GROUPS - 1,
    ITEM_KEY_INLINE_MAX = 254
};
#define ITEM_MAX_DEADLINE ((int64_t)0xFFFFFFFFFFFF)

struct long_key {
    size_t n;
    char bytes[];
};

static inline bool item_is(const unsigned char *it, unsigned flag) {
    return (it[0] & flag) != 0;
}
static inline enum value_type item_type(const unsigned char *it) {
    return (enum value_type)(it[0] & ITEM_TYPE_MASK);
}
static inline bool item_has_extra(const unsigned char *it) {
    return (it[3] & (ITEM_EXTRA >> 8)) != 0;
}
static inline size_t item_extra_offset(const unsigned char *it) {
    return ITEM_HEAD + (item_is(it, ITEM_TTL) ? ITEM_TTL_BYTES : 0);
}
static inline size_t item_key_offset(const unsigned char *it) {
    size_t at = item_extra_offset(it);
    return __builtin_expect(item_has_extra(it), 0) ? at + 1 + it[at] : at;
}
static inline struct slice item_extra_bytes(const unsigned char *it) {
    size_t at = item_extra_offset(it);
    return item_has_extra(it) ? slice_make(it + at + 1, it[at]) : slice_make(NULL, 0);
}
static inline void *item_pointer(const unsigned char *p) {
    void *v;
    memcpy(&v, p, sizeof(v));
    return v;
}
static inline struct slice item_key(const unsigned char *it) {
    const unsigned char *p = it + item_key_offset(it);
    if (__builtin_expect(item_is(it, ITEM_LONG_KEY), 0)) {
        const struct long_key *k = item_pointer(p);
        return slice_make(k->bytes, k->n);
    }
    return slice_make(p, it[4]);
}
static inline unsigned char *item_value_at(const unsigned char *it) {
    size_t key = item_is(it, ITEM_LONG_KEY) ? sizeof(void *) : it[4];
    return (unsigned char *)(uintptr_t)it + item_key_offset(it) + key;
}
static inline size_t item_value_len(const unsigned char *it) {
    uint16_t n;
    memcpy(&n, it + 2, 2);
    return n & ITEM_LENGTH;
}
static inline void item_set_value_len(unsigned char *it, size_t n) {
    uint16_t v = (uint16_t)(n | (it[3] << 8 & ~ITEM_LENGTH));
    memcpy(it + 2, &v, 2);
}
static inline unsigned item_group(const unsigned char *it) {
    return it[3] >> ITEM_GROUP_SHIFT & ITEM_GROUP_MASK;
}
static inline void item_set_group(unsigned char *it, unsigned group) {
    it[3] = (unsigned char)((it[3] & ~(ITEM_GROUP_MASK << ITEM_GROUP_SHIFT)) | group << ITEM_GROUP_SHIFT);
}
static inline uint32_t item_written(const unsigned char *it) {
    uint32_t v;
    memcpy(&v, it + ITEM_STAMPS - 1, sizeof(v));
    return v >> 8;
}
static inline uint32_t item_touched(const unsigned char *it) {
    uint32_t v;
    memcpy(&v, it + ITEM_STAMPS + 2, sizeof(v));
    return v >> 8;
}
static inline void item_set_stamps(unsigned char *it, uint32_t written, uint32_t touched) {
    uint64_t v = written | (uint64_t)touched << 24;
    memcpy(it + ITEM_STAMPS, &v, 6);
}
static inline int64_t item_expire(const unsigned char *it) {
    if (!item_is(it, ITEM_TTL)) {
        return L1_NO_TTL;
    }
    uint64_t v = 0;
    memcpy(&v, it + ITEM_HEAD, ITEM_TTL_BYTES);
    return (int64_t)v;
}
static inline void item_set_expire(unsigned char *it, int64_t ms) {
    uint64_t v = ms < 0 ? 0 : ms > ITEM_MAX_DEADLINE ? (uint64_t)ITEM_MAX_DEADLINE : (uint64_t)ms;
    memcpy(it + ITEM_HEAD, &v, ITEM_TTL_BYTES);
}
static inline bool item_expired(const unsigned char *it, int64_t now_ms) {
    return item_is(it, ITEM_TTL) && item_expire(it) <= now_ms;
}
/* There is room: made for bytes of that length. */
static inline void item_put_extra(unsigned char *it, struct slice extra) {
    unsigned char *p = it + item_extra_offset(it);
    p[0] = (unsigned char)extra.n;
    memmove(p + 1, extra.p, extra.n);
}
/* The first byte of what is noted holds the flags: src/iface/item.c. */
static inline bool item_is_resting(const unsigned char *it) {
    return item_has_extra(it) && (it[item_extra_offset(it) + 1] & ITEM_EXTRA_RESTING) != 0;
}
static inline void item_set_resting(unsigned char *it) {
    it[item_extra_offset(it) + 1] |= ITEM_EXTRA_RESTING;
}
/* When it goes: at its deadline, or at the end of its grace. Only for items with a deadline. */
static inline int64_t item_last(const unsigned char *it) {
    struct item_extra e = {0};
    return item_expire(it) + (item_has_extra(it) && item_extra_get(item_extra_bytes(it), &e) ? (int64_t)e.grace_ms : 0);
}
