/* SPDX-License-Identifier: BSD-3-Clause */
/* purge_log: purges are as lasting as the values they are about: with a disk tier each is appended to a file before it takes effect, and
 * read again at the next start.
 *
 *   record: crc64 u64 | kind u8 | soft u8 | database u8 | 0 u8 | tag u32 | length u32 | number u32 | time i64 | prefix
 *
 * A record cut off by a crash was never acknowledged, and ends the file. A record without a number has the next one.
 *
 * When the file has become large, it is written anew with the last purge of each prefix, tag and slot under its number, beside the old one,
 * which it then replaces: whenever that is cut off, one of the two is whole. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

struct guard;
struct pool;
struct purge_log;

enum purge_kind {
    PURGE_PREFIX = 1,
    PURGE_TAG = 2,
    PURGE_BY_SLOTS = 3, /* prefix is the set: PURGE_SLOT_BYTES */
    /* only in a file that was written anew */
    PURGE_SLOT_NUMBERS = 4, /* prefix is the number of each slot's last purge, u32 */
    PURGE_LAST = 5          /* number is the last that was given */
};

struct purge_record {
    enum purge_kind kind;
    bool soft;
    uint8_t db; /* physical */
    uint32_t tag, number; /* number 0: the next */
    int64_t time_ms;
    struct slice prefix;
};

/* Opens or creates the file and purges again what it says, before any thread. power_safe: a record survives a power loss, too, when
 * purge_log_append returns. NULL with the reason. */
struct purge_log *purge_log_open(const char *path, bool power_safe, struct guard *g, struct buf *err);
/* Nothing may write to it any more, purge_log_tick's jobs included. */
void purge_log_close(struct purge_log **log);
/* False with errno: nothing was noted. May block. Any thread. */
bool purge_log_append(struct purge_log *log, const struct purge_record *r);
int64_t purge_log_bytes(const struct purge_log *log);
/* Writes the file anew, without what later purges have made void. False, said in the log: it is as it was. May block. One thread at a time. */
bool purge_log_tidy(struct purge_log *log);
/* Now and then: has the pool do that when the file is more than twice as large as it need be, and a megabyte. One thread. */
void purge_log_tick(struct purge_log *log, struct pool *pool);
