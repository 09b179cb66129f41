/* SPDX-License-Identifier: BSD-3-Clause */
/* write_log: changes that origins have still to be told of, in files, so that they outlive the process. Append-only segments in a
 * directory of their own, written by one thread, many records at a time:
 *
 *   0000000000000007.log   "STRATAW1" | record | record | ...
 *   record: crc64 of what follows u64 | length of body u32 | kind u8 | length of origin u8 | 0 u16 | sequence u64 | time i64 |
 *           length of name u32 | 0 u32 | body: origin, name, and of SET the value (record.h)
 *
 * SET and DEL are changes; a later one of a name replaces the earlier. DONE ends every change of its name up to its sequence number.
 * So only one record of each name counts, the live one. Segments go from the oldest on, when nothing in them is live; when the files
 * hold more than twice the limit, what is live in the oldest is written once more at the end, and it goes, too.
 *
 * A record is in the file, and outlives a kill, when written is called; it outlives a power loss a second later. One cut off by a
 * crash was never acknowledged; it ends its segment. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/iface/item.h"
#include "src/iface/source.h"
#include "src/value/value.h"

struct write_log;

enum write_log_kind { WRITE_LOG_SET = 1, WRITE_LOG_DEL, WRITE_LOG_DONE };

enum { WRITE_LOG_ORIGIN_MAX = 255 };

/* A record to be written; it and what it points to belong to the log until written. */
struct write_log_entry {
    enum write_log_kind kind;
    uint64_t seq;
    int64_t time_ms;
    struct slice origin, name;
    struct item_view item; /* SET */
    /* On the log's thread. error: NULL, or why it is not in the file; static or strerror's. */
    void (*written)(struct write_log_entry *e, const char *error);
    struct write_log_entry *next; /* the log's */
};

/* A change found at the start. */
struct write_log_found {
    enum write_log_kind kind;
    uint64_t seq;
    int64_t time_ms;
    struct slice origin, name; /* borrowed */
    struct found *value;       /* SET: the visitor may take what it holds */
};

struct write_log_options {
    const char *dir; /* made when there is something to write */
    size_t limit_bytes;   /* of live records, about: see above */
    size_t segment_bytes; /* 0: an eighth of the limit, 64 KB to 8 MB */
    const struct hash_limits *hash_limits;
    /* Each live change, once, in the order of the files. */
    void (*replay)(void *ctx, const struct write_log_found *f);
    void *ctx;
};

struct write_log_stats {
    uint64_t live, segments, bytes; /* records that count; files and what is in them */
    uint64_t records, batches, failures, rewritten;
};

/* Reads what there is; *next_seq: greater than any in it. NULL with the reason. */
struct write_log *write_log_open(const struct write_log_options *o, uint64_t *next_seq, struct buf *err);
/* Writes what is queued, and ends the thread. An empty log leaves no file. */
void write_log_close(struct write_log **log);
/* Queues e: what is appended first, is written first. Never waits. Any thread. */
void write_log_append(struct write_log *log, struct write_log_entry *e);
/* Why the last second's writes failed, NULL when none did. Any thread. */
const char *write_log_trouble(struct write_log *log);
void write_log_set_limit(struct write_log *log, size_t limit_bytes);
/* Any thread. */
void write_log_stats_read(struct write_log *log, struct write_log_stats *out);
