/* SPDX-License-Identifier: BSD-3-Clause */
/* resp_client: one pipelined connection to a RESP2 server. Connects when there is something to send; a connection that is lost
 * fails what was on it and comes back with the next request, after failures no sooner than a growing, jittered while.
 *
 *   resp_send -> unsent -> [connected, logged in] -> sent -> reply, in order, or failed
 *
 * Belongs to one loop; everything here is for its thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/slice.h"
#include "src/origin/origin.h"
#include "src/resp/reply_parse.h"

struct conns;
struct dialer;
struct loop;
struct resp_client;

struct resp_client_options {
    struct loop *loop;
    struct dialer *dialer;
    const char *host; /* as in dial_start; copied, like the next three */
    int port;
    struct slice user, password; /* no password: no AUTH; no user: AUTH password */
    int db;                      /* SELECTed unless 0 */
    int64_t connect_ms;          /* connecting, and logging in */
    int64_t silence_ms;          /* a connection that owes replies and sends nothing so long is dropped */
    size_t max_bulk_bytes;       /* a longer string in a reply costs the connection, before it is read */
    size_t max_abandoned;        /* cancelled requests whose replies still have to come: with more the connection is dropped */
    size_t max_unsent_bytes;     /* waiting to be written: beyond, requests are refused */
    struct conns *conns;         /* where its connections are counted; of this loop, outlives the client */
};

/* How a request failed. */
enum resp_failure {
    RESP_LOST,      /* the connection is gone, or was never there: trying again may help */
    RESP_BYSTANDER, /* the same, for another request's reply that was too long */
    RESP_LOGIN,     /* AUTH or SELECT was refused: trying again does not help */
    RESP_TOO_LONG   /* this one's reply was: trying again does not help */
};

/* What an origin's core is told of it. */
enum request_blame resp_blame(enum resp_failure f);
bool resp_may_retry(enum resp_failure f);

/* Some commands that go out together, with a reply each. The sender owns it, until it has ended: failed was called, or reply for
 * the last command, or resp_cancel. */
struct resp_request {
    int commands;
    struct buf bytes; /* the commands, by resp_put; taken by resp_send */
    /* The reply to commands[index]; borrowed while this runs. */
    void (*reply)(struct resp_request *r, int index, const struct reply *reply);
    /* No (more) replies will come. error is static text. */
    void (*failed)(struct resp_request *r, enum resp_failure failure, const char *error);
    /* the client's */
    struct resp_client *client;
    struct resp_pending *pending;
};

/* Appends a command. False without memory, b as it was. */
bool resp_put(struct buf *b, const struct slice *argv, int argc) __attribute__((warn_unused_result));

struct resp_client *resp_client_create(const struct resp_client_options *options);
/* Drops the connection and forgets what is on it; no request is told. The loop has its handles for a turn more. Not while a
 * request of this client is being told something. */
void resp_client_destroy(struct resp_client **c);

/* Takes the request; its end comes later, never before this returns. NULL, or why it was not taken, a static text: the last
 * failure, while it is too early to connect again. Trying again at once does not help. */
const char *resp_send(struct resp_client *c, struct resp_request *r);
/* Nothing more is heard of r. What was sent is answered all the same: those replies are dropped when they come. */
void resp_cancel(struct resp_request *r);
/* Requests and cancelled ones that it owes replies to. */
size_t resp_client_load(const struct resp_client *c);
/* How many connections it has had: what one of them was told, the next may not know. */
uint64_t resp_client_connections(const struct resp_client *c);
/* True when a request would be refused now. */
bool resp_client_is_down(const struct resp_client *c);
