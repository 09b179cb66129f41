/* SPDX-License-Identifier: BSD-3-Clause */
/* store: the records on disk as the disk tier sees them: an ordered map of bytes. RocksDB's is rocks.c; tests have one in
 * memory that fails and waits on demand. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"

enum store_result {
    STORE_FOUND,
    STORE_ABSENT,
    STORE_COLD, /* only a read that may block can tell */
    STORE_FAILED
};

/* How far a get goes. */
enum store_reach {
    STORE_GLANCE, /* as far as pays for who would have it read next: COLD, too, where memory might have told */
    STORE_MEMORY, /* no I/O, microseconds: COLD only where none can tell without */
    STORE_DEVICE  /* it may read the disk */
};

/* A value found, borrowed from the store until released. */
struct store_value {
    struct slice bytes;
    void *pin;
    bool old; /* it lies in the part that will be dropped next */
};

struct store_write {
    struct slice key, value; /* value.p NULL: delete */
    bool unlogged;           /* a kill may undo it */
};

/* Keys from the first on, before the second. */
struct store_range {
    struct slice from, to;
};

/* Numbers for INFO; 0 where the store does not know. */
struct store_stats {
    uint64_t disk_bytes, memory_bytes, index_bytes, keys_estimate, pending_compaction_bytes, windows, dropped_windows;
    uint64_t sieve_bytes, sieved_windows; /* the first is part of index_bytes, and that of memory_bytes */
    bool stopped; /* writes are stalled */
};

struct store {
    void *ctx;
    /* Any thread. */
    enum store_result (*get)(struct store *s, struct slice key, enum store_reach reach, struct store_value *out);
    void (*release)(struct store *s, struct store_value *v);
    /* Any thread, no I/O. False: certainly absent. */
    bool (*may_have)(struct store *s, struct slice key);
    /* One writer at a time. The unlogged ones, then all others or none; those are in the log when it returns; sync: and on the
     * device. False with a reason. */
    bool (*write)(struct store *s, const struct store_write *writes, size_t n, bool sync, char *err, size_t errcap);
    /* The log so far to the device. */
    bool (*sync_log)(struct store *s, char *err, size_t errcap);
    /* Calls fn for the records of keys >= from in order until it returns false. May block. A key may come twice when it
     * was rewritten meanwhile. False: failed. */
    bool (*each)(struct store *s, struct slice from, bool (*fn)(void *ctx, struct slice key, struct slice value), void *ctx);
    /* The records as they are now, for each_at; NULL when there can be none. Given back with unmark. Any thread. */
    void *(*mark)(struct store *s);
    void (*unmark)(struct store *s, void *mark);
    /* each from the first record on, of what was there at the mark. */
    bool (*each_at)(struct store *s, void *mark, bool (*fn)(void *ctx, struct slice key, struct slice value), void *ctx);
    /* After writes, by the writer: starts and drops windows to stay within the size; returns about how many records went.
     * May block. */
    uint64_t (*maintain)(struct store *s, int64_t max_bytes);
    /* About how many bytes in files the keys of each range take. Any thread; no reads. */
    void (*sizes)(struct store *s, const struct store_range *ranges, size_t n, uint64_t *bytes);
    /* on: files are to be rewritten soon, in the background, without what is dead; of the ranges all is. Off, a little later: that
     * is over. May block for a moment. NULL: it sees to it by itself. */
    void (*reclaim)(struct store *s, bool on, const struct store_range *dead, size_t n);
    /* A walk over what it has, from which it learns to deny keys at once; it answers the same before and after. begin and end by the
     * writer, between two writes; NULL: there is nothing to learn now. step by any thread, one at a time, about n keys; false: that was
     * all, or it failed. end, at any time when no step is under way; true when something was learnt. All NULL: it needs none. */
    void *(*survey_begin)(struct store *s);
    bool (*survey_step)(struct store *s, void *survey, size_t n);
    bool (*survey_end)(struct store *s, void *survey);
    void (*stats)(struct store *s, struct store_stats *out);
    /* Forgets everything, reopens empty. No other call may be under way; a survey may, between its steps, and learns nothing. */
    bool (*reset)(struct store *s, char *err, size_t errcap);
    void (*close)(struct store *s);
};
