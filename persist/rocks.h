/* SPDX-License-Identifier: BSD-3-Clause */
/* rocks: the store in RocksDB. */
#pragma once

#include "persist/store.h"

enum rocks_compression { ROCKS_NONE, ROCKS_LZ4, ROCKS_ZSTD };

struct rocks_options {
    const char *path;
    size_t cache_bytes, write_buffer_bytes;
    size_t sieve_bytes; /* that sieves of keys may take in memory */
    enum rocks_compression compression;
    bool direct_io;
    /* Called on RocksDB's threads while it compacts: true when the record need not be kept. */
    bool (*is_dead)(void *ctx, struct slice key, struct slice value);
    void *is_dead_ctx;
};

/* Opens or creates; erase: what is there is removed first. NULL with a message. */
struct store *rocks_open(const struct rocks_options *o, bool erase, char *err, size_t errcap);
