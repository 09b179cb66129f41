/* SPDX-License-Identifier: BSD-3-Clause */
/* disk: the disk tier: a source of what was demoted, a sink for what changes, over a store.
 *
 *   probe   queued changes, then the store's memory: microseconds, on the asking loop
 *   fetch   a read that may block, on the tier's own threads
 *   changed what the store may still have of a written key is deleted (back), or the new value goes down (through)
 *   evicted a value that leaves memory goes down, when it is admitted
 *
 * One writer thread takes the queued changes to the store. What it cannot write, for whatever reason, ends the trust in the
 * store: the tier is bypassed, emptied and opened again, while clients are served from memory. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "persist/admit.h"
#include "persist/pack.h"
#include "persist/store.h"
#include "src/base/buf.h"
#include "src/iface/sink.h"
#include "src/iface/source.h"
#include "src/value/value.h"

enum disk_write_policy { DISK_BACK, DISK_THROUGH, DISK_AROUND };
enum disk_durability { DISK_NONE, DISK_EVERYSEC, DISK_ALWAYS };

/* What may change while it runs. */
struct disk_limits {
    struct admit_limits admit;
    size_t queue_bytes; /* changes on their way to the store */
    int64_t max_bytes;  /* on the device; 0: no limit */
};

struct disk_options {
    const char *dir; /* of the tier's files; created when missing */
    enum disk_write_policy write_policy;
    enum disk_durability durability;
    int compression; /* enum rocks_compression */
    bool direct_io;
    size_t cache_bytes, write_buffer_bytes, journal_bytes;
    unsigned threads_min, threads_max, read_depth;
    bool reads_wait; /* past the depth and the deadline, too */
    struct hash_limits hash_limits;
    /* How a value of that name is to be compressed, beside what the store does. By the writer. NULL: it is not. */
    enum codec (*codec)(void *ctx, struct slice name);
    void (*packed)(void *ctx, struct slice name, size_t from, size_t to); /* one has been. NULL: nobody wants to know */
    void *codec_ctx;
    struct disk_limits limits;
    struct store *store;    /* tests: instead of RocksDB */
};

struct disk;

/* Opens or adopts the tier and sets the process's hash seed to its own: before any key is hashed. NULL with a message for the
 * operator. */
struct disk *disk_open(const struct disk_options *o, char *err, size_t errcap);
/* After the last call on it and with every loop stopped: writes what is queued, closes. */
void disk_close(struct disk **d);
struct source *disk_source(struct disk *d);
struct sink *disk_sink(struct disk *d);
/* Physical number of each logical database at open. */
const uint8_t *disk_map(const struct disk *d);
/* Any thread. */
void disk_tune(struct disk *d, const struct disk_limits *limits);
/* Bytes of memory beside the memory tier that it takes now, and that it may come to take: room is to be kept for those.
 * Any thread. */
void disk_memory(const struct disk *d, size_t *now, size_t *most);
/* What keeps it from serving, as INFO's l2_state says, or NULL. Any thread. */
const char *disk_trouble(const struct disk *d);
struct disk_pressure {
    uint64_t reads_waiting, queue_bytes, compaction_bytes;
    bool stopped; /* RocksDB takes no writes now */
};
/* How hard it is pressed. Any thread. */
void disk_read_pressure(struct disk *d, struct disk_pressure *out);
/* Now and then: whether the device still takes what is written. While it does not, nobody is slowed for it: what memory evicts is
 * dropped instead when the queue is full. Any thread. */
void disk_watch_writer(struct disk *d);
/* Waits until what is queued is in the store. Not on a loop. */
void disk_settle(struct disk *d);
