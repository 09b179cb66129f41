/* SPDX-License-Identifier: BSD-3-Clause */
/* glance: whether it is worth looking for a key in the store's memory, when its sieve does not deny it. What was written lately may be
 * in a memtable; of all else the value is in a file, and a look would only find where, which the thread that reads it has
 * to find again. Unless the sieve is wrong: then the look would have spared that thread the way. So its word is trusted for as
 * long as it has mostly been true. Any answer is a right one: this is about time alone.
 *
 * Threads: one writes (wrote), any others ask and learn. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sieve;

struct glance {
    /* fixed after init */
    struct sieve *lately[2]; /* of the last two turns; NULL: no memory, all counts as written lately */
    uint64_t turn_bytes;
    /* the writer's */
    unsigned at;
    uint64_t bytes; /* in this turn */
    /* atomic */
    _Atomic uint32_t doubt; /* of 65,536: how often a key the sieve let pass was not there, of late */
};

/* memtable_bytes: as much as may be written before all before it is in files. */
void glance_init(struct glance *g, size_t memtable_bytes);
void glance_fini(struct glance *g);
/* Before the write of a key, so many bytes with its value. */
void glance_wrote(struct glance *g, uint64_t hash, size_t bytes);
/* A look in memory would find no more than that a file has to be read. */
bool glance_spares(const struct glance *g, uint64_t hash);
/* A key that a sieve let pass was there, or was not. */
void glance_learn(struct glance *g, bool there);
size_t glance_bytes(const struct glance *g);
