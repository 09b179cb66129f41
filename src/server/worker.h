/* SPDX-License-Identifier: BSD-3-Clause */
/* worker: one event loop and the sessions it serves. In each turn: the read callbacks collect bytes; then windows of parsed
 * calls are hashed and prefetched, prefetched again, and run in order; then every session with replies writes
 * once. All fields belong to the loop's thread but those under other banners. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/arena.h"
#include "src/base/buf.h"
#include "src/base/list.h"
#include "src/base/lock.h"
#include "src/cmd/call.h"

struct bucket;
struct loop;
struct parked;
struct peers;
struct server;
struct session;
struct timer;

enum {
    WINDOW = 32,               /* calls prefetched together */
    READ_AREA_BYTES = 512 << 10, /* input of one turn, parsed in place */
    READ_CHUNK_BYTES = 64 << 10,
    SPARE_OUT_BUFS = 64,
    SPARE_OUT_MAX_BYTES = 64 << 10
};

/* A parsed call waiting for its place in the window. */
struct slot {
    struct call call;
    struct session *session;
    size_t end; /* offset in the session's input after this call */
    const char *proto_error; /* not a call: answer this and close */
    bool well_formed;        /* a command with fitting arguments, its keys found */
    const struct bucket *bucket; /* of the first key, prefetched */
    struct key one_key; /* storage of the common single key */
    uint8_t one_access;
};

/* How the call that is about to say ERR_PARKED wants to wait. */
struct parking {
    int why; /* enum park */
    int64_t ms;
    struct parked *parked;
    struct call_job *job;
};

struct worker {
    /* fixed after create */
    struct server *server;
    struct loop *loop;
    unsigned id;
    struct stats *stats;
    char *read_area;
    uint64_t turn_ticks, backlog_ticks;

    /* owner loop only */
    struct conf *conf; /* this turn's snapshot */
    struct rules *rules; /* and its policies by key pattern; NULL: none */
    uint64_t conf_version;
    uint64_t slow_ticks; /* slowlog-log-slower-than; UINT64_MAX off */
    uint64_t latency_ticks; /* latency-monitor-threshold */
    uint32_t sample_below; /* keys drawn (src/sight) below this are sampled */
    uint32_t hot_skip;   /* calls before the next one that is looked at for hot keys */
    bool tracking;       /* HOTKEYS is on */
    bool slow;           /* something rare needs a look at every call: monitors, pause, loading, shutdown */
    bool draining, stopped;
    int64_t drain_until_ms;
    uint64_t lap;        /* clock_ticks() when the call before this one ended */
    size_t read_at;      /* used part of read_area */
    struct arena arena;  /* the window's arguments and keys */
    struct list ready;   /* sessions with unparsed input */
    struct list readers; /* sessions whose input lies in read_area */
    struct list flushing; /* sessions with replies to write */
    struct parking parking;
    struct out held;     /* replies made while there are sinks */
    struct list yielded; /* parked calls to run again */
    struct list paused;  /* parked calls waiting for the end of a CLIENT PAUSE */
    struct list braked;  /* sessions: src/server/brake.h */
    struct list ended;   /* sessions without a stream that have closed */
    struct peers *peers; /* other nodes, as this loop sees them; NULL while there is no cluster */
    unsigned aheads;     /* src/server/ahead.h: keys on their way */
    struct timer *cron, *pause_timer, *brake_timer;
    int64_t last_cron_ms, last_second_ms;
    struct buf spare_out[SPARE_OUT_BUFS];
    unsigned spare_out_count;
    size_t out_total;    /* bytes of replies held for all sessions */
    struct slot window[WINDOW];

    /* SESSIONS lock */
    struct lock sessions_lock;
    struct list sessions; /* client.node */
    unsigned session_count;
};

struct worker *worker_create(struct server *srv, unsigned id);
void worker_destroy(struct worker **w);
/* Any thread: the worker adopts a connected socket. */
void worker_hand_over(struct worker *w, int fd, bool is_unix);
/* Any thread: runs fn on the worker's loop. */
void worker_post(struct worker *w, void (*fn)(struct worker *w, void *arg), void *arg);
