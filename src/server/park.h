/* SPDX-License-Identifier: BSD-3-Clause */
/* park: calls that wait. A parked call has left its session's input (it owns copies of its arguments) and blocks the
 * session: what the client sent behind it stays unread until the reply is made, so replies keep their order. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/arena.h"
#include "src/base/list.h"
#include "src/cmd/call.h"
#include "src/rt/loop.h"
#include "src/server/hold.h"
#include "src/tier/tier.h"

struct session;
struct worker;

enum park {
    PARK_NONE,
    PARK_YIELD, /* runs again next turn */
    PARK_FILL,  /* until its keys are resident */
    PARK_JOB,   /* until its work on a pool thread is done */
    PARK_ACKS,  /* has run; the reply waits until the sinks have its changes */
    PARK_PAUSE, /* CLIENT PAUSE */
    PARK_SLEEP, /* DEBUG SLEEP */
    PARK_HOLD   /* its reply is held until another client has written the key; its session goes on: hold.h */
};

struct parked {
    struct call call;
    struct session *session; /* NULL once it has closed: the call's result is not wanted */
    struct worker *worker;
    struct arena arena;
    enum park why;
    uint64_t began; /* ticks, when the call first ran */
    uint64_t asleep_since, filling; /* ticks: since when it waits for its keys, or acknowledgements; and how long it has for keys */
    int64_t waits_since_ms; /* for its keys, monotonic, all rounds of it; 0: not yet */
    int db; /* the client's logical database when it parked: what runs behind a held reply may change that */
    struct list node; /* worker's yielded or paused */
    struct fill fill;
    bool *wanted;
    const struct rule **loaders; /* of each key, for the fill */
    struct timer *timer;
    struct out held; /* PARK_ACKS: the reply */
    struct hold hold;
    _Alignas(16) char room[]; /* the arena's first */
};

/* Under the locks of c's keys: when some must be fetched first, detaches the call, joins or begins their flights and
 * returns true: the caller unlocks and returns ERR_PARKED. */
bool park_for_fill(struct call *c, struct worker *w);
/* A handler, or park_for_fill, said ERR_PARKED. */
void park_call(struct session *s, struct call *c, uint64_t ticks);
/* True when CLIENT PAUSE holds this call; it is parked then. */
bool park_while_paused(struct session *s, struct call *c);
/* The pause is over or was shortened: looks at the paused calls again. */
void park_wake_paused(struct worker *w);
/* Runs the calls that yielded in the last turn. */
void park_run_yielded(struct worker *w);
/* Of a detached call that ends now: ticks since it first ran. */
uint64_t park_ticks(const struct call *c, uint64_t now);
/* And those of them that it waited for its keys. */
uint64_t park_filling(const struct call *c);
/* The call is finished: frees p and lets its session go on. */
void park_done(struct parked *p);
/* The session closes. The second when it was not the session's one parked call. */
void park_orphan(struct parked *p);
void park_orphan_free(struct parked *p);
/* Moves a call off its session's input and the worker's arena; nothing happens to one that has been. */
struct parked *park_detach(struct call *c);
void park_free(struct parked *p);

/* ---- sinks that answer later ---- */
/* With sinks, or policies that write to origins, the reply of a call is made aside, in case it has to wait. */
void park_hold_reply(struct session *s, struct call *c);
/* Sends one change to the sinks, counting the acknowledgements to wait for. Shard locked. */
void park_commit(struct call *c, struct tier *tier, enum sink_change change, const struct key *key);
/* Sends one change to the key's origin, as the rule says; the reply will wait for it. Shard locked, before park_commit. */
void park_write(struct call *c, struct tier *tier, const struct rule *rule, const struct key *key);
/* After the call: the reply goes out, or waits for its acknowledgements. */
void park_release_reply(struct session *s, struct call *c);
