/* SPDX-License-Identifier: BSD-3-Clause */
/* session: one client connection: its input as it arrives, its replies in order, and the one call it may have parked.
 * Belongs to its worker's loop. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/cmd/call.h"
#include "src/cmd/client.h"
#include "src/net/stream.h"
#include "src/resp/parse.h"
#include "src/server/due.h"
#include "src/server/hold.h"
#include "src/server/worker.h"
#include "src/tier/tier.h"

struct channel;
struct parked;

enum { FLUSH_EARLY_BYTES = 256 << 10 /* so many replies are written, or queued, before the turn ends */ };

struct session {
    struct client client; /* first: a client is its session */
    struct stream stream;
    struct worker *worker;

    /* input: bytes [in_at, in_n) of in are unparsed; in lies in own, or in the worker's read area */
    char *in;
    size_t in_n, in_at;
    struct buf own;
    struct parse_resume resume;
    size_t need;      /* total bytes the request at in_at is known to need, 0 unknown */
    size_t turn_read; /* read in this turn */
    bool read_paused;
    bool ended;       /* the peer will send no more */
    bool closing;

    struct out out;
    int64_t out_soft_since_ms; /* above the soft output limit since; 0 not */

    struct dues dues;      /* replies still missing */
    struct holder holder;  /* leases held */
    struct parked *parked; /* the call this session waits for; input behind it waits too */

    int64_t braked_until_ms; /* while brake_node is in a list */

    struct channel *channel; /* its client is another node's: no stream; NULL: a client of ours */
    struct far *far;         /* what it has at peers: forward.c; NULL: nothing */
    bool stopped;            /* not read on until peers have answered */

    struct list ready_node, reader_node, flush_node, brake_node;
};

static inline struct session *session_of(struct client *c) {
    return (struct session *)c;
}

/* Adopts fd, which it owns from now on, also when refused (maxclients, protected mode: told and closed). */
void session_open(struct worker *w, int fd, bool is_unix);
/* A session without a stream, whose calls are fed to it and whose replies go to ch, to the end of ch->session. */
struct session *session_open_channel(struct worker *w, struct channel *ch, const char *addr);
/* Bytes for a session without a stream; whole: a request ends here. May close it (client-query-buffer-limit). */
void session_feed(struct session *s, struct slice bytes, bool whole);
/* Sessions without a stream that have closed: at the end of a turn. */
void sessions_sweep(struct worker *w);
/* Begins to close: no more calls, replies dropped. The memory goes when the loop has closed the handle. */
void session_close(struct session *s);
/* There is unparsed input, or may be: the worker looks at it in this or the next turn. */
void session_make_ready(struct session *s);
/* When reading was paused, the end of this turn takes it up again. */
void session_read_on(struct session *s);
/* After its parked call: the session's input is looked at, and read, again. */
void session_go_on(struct session *s);
/* There are replies to write. */
void session_want_flush(struct session *s);
/* Writes what the socket takes; queues the rest; enforces client-output-buffer-limit. */
void session_flush(struct session *s);
/* End of a turn: input left in the read area moves to the session's own buffer. */
void session_keep_input(struct session *s);
/* A reply buffer from the worker's spares, when s has none. */
void session_out_ready(struct session *s);
