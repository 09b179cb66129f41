/* SPDX-License-Identifier: BSD-3-Clause */
/* purge_log: purges are as lasting as the values they are about: with a disk tier each is appended to a file before it takes effect, and
 * read again at the next start.
 *
 *   record: crc64 u64 | kind u8 | soft u8 | database u8 | 0 u8 | tag u32 | length u32 | number u32 | time i64 | prefix
 *
 * The file's head says which format it is; another one is refused. A record cut off by a crash was never acknowledged, and ends the file. A record
 * without a number has the next one.
 *
 * Purges are made in the order in which they were noted, whoever comes first to make one: else a value written between two would be purged by another
 * one of them after a restart than before, and come back. So who makes a purge makes those noted before it, too.
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

enum { PURGE_FILE_HEAD = 16 /* bytes before the first record */ };

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
 * purge_log_append returns. NULL with the reason: it cannot be read, is of another version's format, or none at all. */
struct purge_log *purge_log_open(const char *path, bool power_safe, struct guard *g, struct buf *err);
/* Nothing may write to it any more, purge_log_tick's jobs included. */
void purge_log_close(struct purge_log **log);
/* Notes a purge that is to be made: its number, from 1, for purge_log_make. 0 with errno: nothing was noted. May block. Any thread. */
uint64_t purge_log_append(struct purge_log *log, const struct purge_record *r);
/* Makes what was noted up to that number and has not been made, in order; nothing when somebody else has. Past purge-max, too: it was noted. Every
 * shard of the memory tier locked. */
void purge_log_make(struct purge_log *log, uint64_t upto);
/* As above with the shards locked by itself, and the other tiers told: what was noted for clients who left before it was made. A load when there is
 * nothing. Any thread, no lock held. */
void purge_log_make_rest(struct purge_log *log);
int64_t purge_log_bytes(const struct purge_log *log);
/* Writes the file anew, without what later purges have made void. False, said in the log: it is as it was. May block. One thread at a time. */
bool purge_log_tidy(struct purge_log *log);
/* Now and then: has the pool do that when the file is more than twice as large as it need be, and a megabyte. One thread. */
void purge_log_tick(struct purge_log *log, struct pool *pool);
