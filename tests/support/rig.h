/* SPDX-License-Identifier: BSD-3-Clause */
/* rig: a whole server in the calling thread: one worker whose loop the test turns by hand, clients on socket pairs, no cron but
 * the one asked for. The same bytes and the same rng_seed give the same run. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

enum { RIG_CLIENTS = 3 };

struct rig_client {
    int fd;          /* -1: closed by the server */
    struct buf in;   /* received, not yet taken */
    int pending;     /* replies owed */
    bool resp3;      /* has ever said HELLO */
};

struct rig {
    struct server *srv;
    struct worker *w;
    struct rig_client clients[RIG_CLIENTS];
};

/* Once in the process, before the first rig. */
void rig_init(void);
/* options: directives as on the command line ("--databases", "4"), ended by NULL; threads, listeners and log are seen to. */
struct rig *rig_open(const char *const *options);
/* Closes every client and frees everything. */
void rig_close(struct rig **r);

void rig_connect(struct rig *r, int client);
void rig_disconnect(struct rig *r, int client);
/* Hands bytes to the server, turning the loop when the socket is full. replies: how many they are owed. */
void rig_send(struct rig *r, int client, struct slice bytes, int replies);
/* Appends a command as a RESP array. */
void rig_put_command(struct buf *b, const struct slice *argv, int argc);
/* Turns the loop until every client has its replies or is closed, then until nothing happens. CHECKs that each has exactly
 * as many well-formed replies as it was owed. They stay in client->in until rig_forget. */
void rig_settle(struct rig *r);
void rig_forget(struct rig *r);
/* send, settle; the one reply, in client->in until the next settle. Empty when the client was closed. */
struct slice rig_call(struct rig *r, int client, const struct slice *argv, int argc);
/* Moves the clock and lets everything owed to time happen: expiry, sweeps, deferred frees. */
void rig_advance(struct rig *r, int64_t ms);
/* CHECKs what must be true between two commands: counters against a walk over all keys, no empty aggregate. */
void rig_check(struct rig *r);
/* A number made of every key, its type, deadline and content: changed by any change of them. */
uint64_t rig_digest(struct rig *r);
/* Flushes everything and CHECKs that the tier holds no key and no heap byte. */
void rig_check_flushed(struct rig *r);

/* One reply at the start of s: its length; 0: incomplete; -1: malformed. */
ssize_t rig_reply_length(struct slice s, bool resp3);
