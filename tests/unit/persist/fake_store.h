/* SPDX-License-Identifier: BSD-3-Clause */
/* fake_store: a store in memory that outlives the tiers opened on it, fails when told to, and stops a call at a gate until the
 * test lets it go on. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "persist/store.h"
#include "src/base/buf.h"

/* Where a call can be stopped. */
enum fake_gate {
    FAKE_GET,      /* a read that may block, before it looks */
    FAKE_GOT,      /* and after */
    FAKE_WRITE,    /* before anything is written */
    FAKE_WRITTEN,  /* all is written (or it has failed), the caller does not know yet */
    FAKE_RESET,
    FAKE_GATES
};

enum { FAKE_BUCKETS = 4096 };

struct fake_record {
    struct fake_record *next;
    struct buf key, value;
};

struct fake_table {
    struct fake_record *at[FAKE_BUCKETS];
    size_t records;
};

struct fake_store {
    struct store store;
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    /* mutex */
    struct fake_table now, logged; /* the second: without what was written unlogged, as a kill may leave it */
    enum { FAKE_OPEN, FAKE_STOPS_NEXT, FAKE_STOPS_ALL } gate[FAKE_GATES];
    bool held[FAKE_GATES], let[FAKE_GATES]; /* one call at a time is stopped at a gate */
    /* set by the test at any time */
    _Atomic bool cold;   /* reads from memory cannot tell */
    _Atomic bool vague;  /* may_have never says no */
    _Atomic int fail_gets, fail_writes, fail_syncs, fail_resets; /* so many times */
    _Atomic uint64_t disk_bytes;                                 /* for stats */
    _Atomic int survey_steps; /* of the next survey; 0: there is nothing to learn; -1: without end */
    /* counted; see fake_await_count */
    _Atomic int gets, pins, writes, synced_writes, syncs, resets, maintained, sized, reclaims, closed, surveys_begun, steps, surveys_ended;
};

void fake_init(struct fake_store *f);
void fake_fini(struct fake_store *f);
/* An independent copy of the content of from, which may be in use. */
void fake_copy(struct fake_store *f, struct fake_store *from);

/* The next call (or every one) that comes to the gate stops there. */
void fake_stop_next(struct fake_store *f, enum fake_gate gate);
void fake_stop_all(struct fake_store *f, enum fake_gate gate);
void fake_stop_none(struct fake_store *f, enum fake_gate gate);
/* Waits until a call is stopped there. */
void fake_await(struct fake_store *f, enum fake_gate gate);
bool fake_is_held(struct fake_store *f, enum fake_gate gate);
/* Lets the stopped call go on; the gate stays as it is set. */
void fake_let(struct fake_store *f, enum fake_gate gate);
/* Waits until the counter is at least n. */
void fake_await_count(struct fake_store *f, _Atomic int *counter, int n);
/* Nothing stops any more. */
void fake_open_gates(struct fake_store *f);

/* Appends the value to out; false when there is none. */
bool fake_read(struct fake_store *f, struct slice key, struct buf *out);
/* The same of what a kill would leave, if nothing unlogged had come to a file. */
bool fake_read_logged(struct fake_store *f, struct slice key, struct buf *out);
/* All there is comes to a file. */
void fake_flush(struct fake_store *f);
/* Writes behind the tier's back. */
void fake_put(struct fake_store *f, struct slice key, struct slice value);
size_t fake_records(struct fake_store *f);
