/* SPDX-License-Identifier: BSD-3-Clause */
/* record: one key with its value as the disk tier stores it.
 *
 *   key:    generation u32 BE | position u64 BE | name
 *   value:  format u8 | type u8 | flags u8 | length of extra u8 | deadline i64 LE, -1 none | written u32 LE | extra | body
 *
 * Written is when, in seconds since 1970, 0 unknown. Extra is what guards noted of the value (struct item_extra); a record without
 * is of format 1, with it of format 2. In format 3, with extra or without, the body is compressed, and before it stand
 * codec u8 (enum codec) | length of the body u32 LE.
 *
 * The body of a string is its bytes, of an aggregate its RDB body. The generation is the database's since its last flush,
 * so that a flush is O(1); the position (hash_position) before the name spreads keys evenly, and orders them as memory does. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "persist/pack.h"
#include "src/base/buf.h"
#include "src/base/hash.h"
#include "src/iface/item.h"
#include "src/iface/source.h"

enum {
    RECORD_FORMAT = 1,
    RECORD_FORMAT_EXTRA = 2,
    RECORD_FORMAT_PACKED = 3,
    RECORD_KEY_HEAD = 12,
    RECORD_HEAD = 16,
    RECORD_PACK_HEAD = 5,
    RECORD_PACK_LEAST = 128 /* a shorter body is left alone */
};

/* Appends the record's key. */
void record_put_key(struct buf *b, uint32_t generation, const struct key *key);
/* Appends the least key of a generation from a position on. */
void record_put_start(struct buf *b, uint32_t generation, uint64_t position);
/* The parts of a stored key; false when it is none. name is borrowed. */
bool record_split_key(struct slice raw, uint32_t *generation, uint64_t *position, struct slice *name);
/* Appends the record's value. */
void record_put_value(struct buf *b, const struct item_view *item);
/* An upper bound, cheaply, of what record_put_value appends. */
size_t record_size_hint(const struct item_view *item);
/* Appends a stored value with its body compressed. False when it is short, is compressed already, would not become an eighth shorter,
 * or there is no memory: nothing is appended. */
bool record_pack(struct packer *p, enum codec codec, struct slice raw, struct buf *out);
/* How many bytes decoding has to decompress; 0: it is not compressed. */
size_t record_packed_bytes(struct slice raw);
/* The deadline of a stored value (-1 none); false when it is no record of ours. */
bool record_deadline(struct slice raw, int64_t *expire_ms);
/* When it is of no use any more: the deadline, or the end of the grace behind it. */
bool record_last(struct slice raw, int64_t *last_ms);
/* What guards noted of it; borrowed. */
struct slice record_extra(struct slice raw);
/* Type of a stored value, TYPE_NONE when it is no record. */
enum value_type record_type(struct slice raw);
/* Decodes into out (found->same untouched). False: corrupt, or no memory; out is empty then. */
bool record_decode(struct slice raw, const struct hash_limits *limits, struct found *out);
