/* SPDX-License-Identifier: BSD-3-Clause */
/* stream: one byte stream with a peer, TCP or unix socket, in both directions; knows no protocol. Belongs to one loop;
 * every function is for its thread only. Transport differences (TLS later) are a table of operations. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "src/base/buf.h"

struct loop;
struct stream;
struct tail;

struct stream_events {
    /* Where the next bytes should go: at least one byte of room. */
    void (*alloc)(struct stream *s, char **p, size_t *n);
    /* n > 0 bytes have arrived at p (in the room alloc gave, from its start). */
    void (*data)(struct stream *s, char *p, size_t n);
    /* The peer closed, or reading failed (err is a negative uv code, 0 for a clean end). The owner
     * decides when to stream_close. */
    void (*end)(struct stream *s, int err);
    /* Everything queued by stream_queue has been written (or failed). */
    void (*drained)(struct stream *s);
    /* stream_close is complete; the memory that embeds the stream may be freed. */
    void (*closed)(struct stream *s);
};

enum { STREAM_HANDLE_BYTES = 160 };

/* Embedded in its owner. */
struct stream {
    union {
        char uv[STREAM_HANDLE_BYTES]; /* uv_poll_t */
        long double align;
    } handle;
    const struct stream_events *events;
    struct tail *tails, *last_tail; /* what stream_queue was given; last_tail means nothing when tails is NULL */
    size_t queued_bytes; /* of those, not yet written */
    int fd, watched; /* watched: uv events the loop looks for */
    bool reading, closing, is_unix;
    bool resting; /* not reading, but still watched for that */
};

/* Adopts a connected socket (made non-blocking; TCP_NODELAY, and SO_KEEPALIVE when keepalive_s > 0).
 * 0 or a negative uv code (the fd stays the caller's then). */
int stream_adopt(struct stream *s, struct loop *loop, int fd, bool is_unix, int keepalive_s,
                 const struct stream_events *events);
/* Either costs no system call when the other follows within a turn of the loop. */
void stream_read_start(struct stream *s);
void stream_read_stop(struct stream *s);
/* Writes what the socket takes now, 128 kB at most: bytes written (0 when it takes none), or a negative uv code. Never while
 * queued_bytes > 0. */
ssize_t stream_try_writev(struct stream *s, const struct iovec *iov, int n);
/* Queues bytes for writing as the socket takes them, a slice in each turn of the loop, behind what is queued already.
 * release(owner) is called once, when they are written or dropped. */
void stream_queue(struct stream *s, const struct iovec *iov, int n, void *owner,
                  void (*release)(void *owner));
/* No callback but closed comes after this (drained not, releases yes). Safe in any callback, and twice. */
void stream_close(struct stream *s);
int stream_fd(const struct stream *s);
/* "127.0.0.1:1234", "[::1]:1234" or "/path:0" of peer and own end, at most n bytes with terminator. */
void stream_peer_name(const struct stream *s, char *out, size_t n);
void stream_own_name(const struct stream *s, char *out, size_t n);
