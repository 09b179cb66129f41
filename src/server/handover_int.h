/* SPDX-License-Identifier: BSD-3-Clause */
/* handover_int: what the parts of handover share. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "cluster/ring.h"
#include "src/base/list.h"
#include "src/guard/purge.h"
#include "src/iface/source.h"
#include "src/rt/pool.h"
#include "src/server/channel.h"
#include "src/server/handover.h"

struct sending;

enum lent { LENT_NOT, LENT, LENT_DROP /* at once: this node has to stand in */ };

/* One worker's session for what this node itself asks of others. */
struct asker {
    struct channel channel;
    struct worker *worker;
    struct list asked; /* keys that are asked for, oldest first */
};

struct handover {
    /* fixed after create */
    struct server *srv;
    struct source source;
    struct asker *askers; /* one per worker */

    /* the membership's thread writes, any reads */
    _Atomic uint8_t asks[RING_SLOTS]; /* there is an owner before to be asked */
    _Atomic int64_t asks_until_ms, drop_at_ms; /* monotonic */

    /* the membership's thread only */
    bool fell;                   /* the last process of this node ended while it served */
    bool served;                 /* this one has, and the mark is set */
    bool never_asks[RING_SLOTS]; /* so of these slots nobody before it has the newest values */

    /* changed with every shard locked, but for becoming LENT (the membership's thread) and LENT_DROP (any loop) */
    _Atomic uint8_t lent[RING_SLOTS];
    _Atomic unsigned lent_count;
    _Atomic bool hurry; /* some are LENT_DROP */

    _Atomic int exit; /* enum exit_state */

    /* worker 0 only */
    struct job drop;
    bool dropping, stopping;
    unsigned dropped; /* slots, by the job */
    struct sending *sending; /* keys on their way to their next owners; NULL: none */
    bool sent;               /* since this node leaves */
    int64_t exit_by_ms;
};

/* The session for the worker's calls, opened when there is none. */
struct session *handover_session(struct asker *a);
/* The client's number of a physical database, -1: it has been flushed. */
int handover_logical(const struct server *srv, uint8_t physical);

/* ---- handover_ask.c ---- */
void handover_source_init(struct handover *h);

/* ---- handover_send.c: worker 0 ---- */
struct sending *sending_begin(struct handover *h);
/* True while it goes on. */
bool sending_goes_on(const struct sending *s);
/* Nothing of it is on its way any more: its session has closed, or it has ended. */
void sending_end(struct sending **s);
