/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_rig: a disk tier on a fake store, asked and told as the memory tier would, and killed on demand. */
#pragma once

#include "tests/unit/check.h"

#include "persist/disk_int.h"
#include "persist/record.h"
#include "tests/unit/persist/fake_store.h"

struct rig {
    char dir[64];
    struct disk_options options;
    struct fake_store *fake;
    struct disk *disk;
};

/* Options of a small tier: everysec, back, no limits. */
struct disk_options rig_options(void);
/* A tier of its own in a new directory. */
struct rig *rig_open(const struct disk_options *o);
/* Closes what is open, removes the directory. */
void rig_free(struct rig *r);
/* Opens the tier again behind rig_end or rig_kill. */
void rig_reopen(struct rig *r);
void rig_end(struct rig *r);
/* State and store are as they are now, whatever the tier would still do. */
void rig_kill(struct rig *r);
/* What the operator would read; NULL when it opened. */
const char *rig_refused(struct rig *r);

/* Versions of a key are numbers above 0; 0 is none. The value's bytes are the number and padding of pad bytes. */
unsigned rig_set_long(struct rig *r, const struct key *key, int version, size_t pad, struct sink_ack *ack);
unsigned rig_set(struct rig *r, const struct key *key, int version, struct sink_ack *ack);
unsigned rig_del(struct rig *r, const struct key *key, struct sink_ack *ack);
void rig_evict_long(struct rig *r, const struct key *key, int version, size_t pad, bool alone);
void rig_evict(struct rig *r, const struct key *key, int version, bool alone);
/* The version; 0 absent, -1 not known without a read. */
int rig_probe(struct rig *r, const struct key *key);
/* Logical database 0 is now this physical one; emptied: and new. */
void rig_map(struct rig *r, uint8_t physical, bool emptied);

struct rig_fetch {
    struct fetch fetch;
    _Atomic bool done;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};
void rig_fetch_begin(struct rig *r, struct rig_fetch *f, const struct key *key);
/* Waits for its end; the version, 0 absent, -1 failed. */
int rig_fetch_end(struct rig_fetch *f);
int rig_fetch(struct rig *r, const struct key *key);

/* What the store has of the key; 0 nothing. */
int rig_stored(struct rig *r, const struct key *key);
/* What it would have after a kill, if nothing unlogged had come to a file. */
int rig_logged(struct rig *r, const struct key *key);
/* Waits until all that was queued is in the store, and until the tier serves. */
void rig_settle(struct rig *r);
void rig_await_serving(struct rig *r);
/* The number of a line of INFO. */
uint64_t rig_info(struct rig *r, const char *name);

/* Keys it counts in all logical databases. */
int64_t rig_keys(struct rig *r);

/* An ack that counts. */
struct rig_ack {
    struct sink_ack ack;
    _Atomic int called;
};
struct rig_ack rig_ack_make(void);
