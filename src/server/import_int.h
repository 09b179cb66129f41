/* SPDX-License-Identifier: BSD-3-Clause */
/* import_int: between an import and where its keys come from, private to import*.c. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "src/base/slice.h"
#include "src/server/import.h"
#include "src/server/pace.h"
#include "src/stats/conns.h"
#include "src/value/value.h"

struct loop;
struct timer;

/* A key that came. */
struct import_key {
    uint64_t db; /* logical */
    struct slice name;
    int64_t expire_ms;   /* or -1 */
    struct slice str;    /* a string, unless */
    struct value *value; /* it is an aggregate: one reference, taken */
};

/* Where keys come from: all on worker 0's loop. */
struct import_source {
    void *(*open)(struct import *m);
    /* Goes on as far as import_may_go says; called every few milliseconds and when keys have arrived. */
    void (*step)(void *self);
    /* Ends everything; import_closed is called when nothing of it can call back any more, perhaps before this returns. Frees self. */
    void (*close)(void *self);
};
extern const struct import_source import_file, import_redis;

#define IMPORT_STATES(X) \
    X(IDLE, "idle") X(RUNNING, "running") X(DONE, "done") X(CANCELLED, "cancelled") X(STOPPED, "stopped") X(FAILED, "failed")
enum import_state {
#define X(name, text) IMPORT_##name,
    IMPORT_STATES(X)
#undef X
};

typedef _Atomic uint64_t import_count;

struct import {
    struct server *srv;
    struct loop *loop;
    /* worker 0's loop */
    struct timer *timer;
    const struct import_source *source;
    void *self;      /* the source's; NULL when it has closed */
    char *from;      /* path or URL */
    bool replace, at_start, stopping, closing, stepping;
    enum import_state end; /* it ends so; RUNNING while it goes on */
    struct pace pace;
    int in_flight;   /* keys for which the tiers below are asked */
    int64_t started_us, drawn_us;
    uint32_t told;   /* types named in the log, a bit each */
    bool told_db;
    bool bar;        /* draws its progress on standard error */
    /* any thread */
    _Atomic int state; /* whoever makes it RUNNING owns the rest until the loop has begun */
    _Atomic bool cancel;
    struct conns conns; /* with live servers; written by worker 0's loop */
    import_count seen, imported, existing, skipped, expired, failed, total, permille, reconnects, took_ms;
    _Atomic(const char *) error; /* static text */
    import_count error_at;       /* byte of the file; 0: none */
};

enum { IMPORT_IN_FLIGHT = 64 };

static inline void import_add(import_count *c, uint64_t n) {
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static inline void import_set(import_count *c, uint64_t n) {
    atomic_store_explicit(c, n, memory_order_relaxed);
}

static inline uint64_t import_get(const import_count *c) {
    return atomic_load_explicit(c, memory_order_relaxed);
}

/* Whether n more keys may come now. */
bool import_may_go(struct import *m);
/* A key has come: it is counted, and stored unless it is here, or too old, or there is no such database. */
void import_put(struct import *m, const struct import_key *k);
/* A key of a type that cannot be kept. */
void import_skip(struct import *m, const char *type, struct slice name);
/* A key that was gone, or cannot be read. */
void import_gone(struct import *m);
void import_unreadable(struct import *m, struct slice name, const char *why);
/* There are no more keys; or there cannot be: why is static text, at the byte of the file or 0. */
void import_ended(struct import *m);
void import_broken(struct import *m, const char *why, uint64_t at);
/* The source may go on: keys have arrived. */
void import_step(struct import *m);
void import_closed(struct import *m);
