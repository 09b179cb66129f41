/* SPDX-License-Identifier: BSD-3-Clause */
/* send: replies, with what they hold by reference, onto a stream. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct out;
struct stream;

/* Writes what the socket takes now; the rest is queued. Either way o is empty afterwards, and keeps its buffer when all was written.
 * Returns the bytes written now, or a negative uv code (o is as it was then). Not while the stream has something queued. */
ssize_t send_out(struct stream *s, struct out *o);
/* Queues all of o but its first `sent` bytes, which leaves it empty. */
void send_later(struct stream *s, struct out *o, size_t sent);
