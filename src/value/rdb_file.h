/* SPDX-License-Identifier: BSD-3-Clause */
/* rdb_file: the keys of an RDB file, one after another, through a window that holds about one key and no more. Where the bytes come
 * from is the caller's. Knows no database but by its number; whoever reads decides what to do with each key. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "src/base/buf.h"
#include "src/value/rdb.h"

struct rdb_entry {
    uint64_t db;
    struct slice name;    /* borrowed until the next call */
    int64_t expire_ms;    /* wall clock, or -1 */
    const char *foreign;  /* the name of its type, when it cannot be kept here and was passed over; else NULL and: */
    struct slice str;     /* a string, borrowed until the next call, unless */
    struct value *value;  /* it is an aggregate: one reference, the caller's */
};

enum rdb_next { RDB_NEXT_KEY, RDB_NEXT_END, RDB_NEXT_BAD };

/* Zeroed but for the first group. */
struct rdb_file {
    /* Up to n bytes; 0 at the end, -1 with errno. May block. */
    ssize_t (*read)(void *ctx, void *p, size_t n);
    void *ctx;
    uint64_t size;          /* of the whole; 0: unknown */
    size_t max_entry_bytes; /* a longer key and value are refused; 0: any length */
    bool check;             /* the checksum at its end counts */
    struct hash_limits limits;
    /* why reading failed: static text */
    const char *error;
    /* private */
    struct buf window;
    size_t at;         /* read so far in the window */
    uint64_t base;     /* of the window in the file */
    uint64_t bad_at;
    uint64_t crc;
    bool ended;        /* the window has the last byte */
    int version;       /* 0: the head has not been read */
    uint64_t db;
    int64_t expire_ms;
    struct buf name, str;
};

/* KEY: the next key. END: that was all, and the checksum is right. BAD: error and rdb_file_offset say why and where; nothing more can
 * be read. */
enum rdb_next rdb_file_next(struct rdb_file *f, struct rdb_entry *e);
/* Bytes read so far, or where it failed. */
uint64_t rdb_file_offset(const struct rdb_file *f);
void rdb_file_free(struct rdb_file *f);
