/* SPDX-License-Identifier: BSD-3-Clause */
/* purge_log: purges are as lasting as the values they are about: with a disk tier each is appended to a file before it takes effect, and
 * read again at the next start.
 *
 *   record: crc64 u64 | kind u8 | soft u8 | database u8 | 0 u8 | tag u32 | length u32 | 0 u32 | time i64 | prefix
 *
 * A record cut off by a crash was never acknowledged, and ends the file. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

struct guard;
struct purge_log;

enum purge_kind { PURGE_PREFIX = 1, PURGE_TAG = 2, PURGE_BY_SLOTS = 3 /* prefix is the set: PURGE_SLOT_BYTES */ };

struct purge_record {
    enum purge_kind kind;
    bool soft;
    uint8_t db; /* physical */
    uint32_t tag;
    int64_t time_ms;
    struct slice prefix;
};

/* Opens or creates the file and purges again what it says, before any thread. power_safe: a record survives a power loss, too, when
 * purge_log_append returns. NULL with the reason. */
struct purge_log *purge_log_open(const char *path, bool power_safe, struct guard *g, struct buf *err);
void purge_log_close(struct purge_log **log);
/* False with errno: nothing was noted. May block. Any thread. */
bool purge_log_append(struct purge_log *log, const struct purge_record *r);
