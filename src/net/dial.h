/* SPDX-License-Identifier: BSD-3-Clause */
/* dial: outbound connections. A dial looks a name up on libuv's pool, tries its addresses in order, and hands over a connected
 * socket for stream_adopt, or says why not. Never blocks the loop. Everything here is for the loop's thread only. */
#pragma once

#include <stdint.h>

struct loop;
struct dial;
struct dialer;

/* What dials of one loop share: the cache of names, bounded, and good for a few seconds. */
struct dialer *dialer_create(struct loop *loop);
/* Cancels every dial. closed(ctx) is called later, when the loop has nothing of it left: a lookup under way cannot be stopped and
 * takes as long as the system's resolver does. */
void dialer_close(struct dialer **d, void (*closed)(void *ctx), void *ctx);
/* Lookups that went to the system's resolver so far. */
uint64_t dialer_lookups(const struct dialer *d);

/* What a dial says when nobody listens at the address. */
extern const char dial_refused[];

/* done is called once, never before this returns, unless the dial is cancelled: with a connected, non-blocking socket that is the
 * callee's, or with fd -1 and the reason, a static text ("connection refused", "host not found", "timed out", ...). The dial is
 * gone then. host is copied: a name, a numeric address (IPv6 without brackets), or, when port is 0, the path of a unix socket.
 * Everything together takes timeout_ms at most. */
struct dial *dial_start(struct dialer *dialer, const char *host, int port, int64_t timeout_ms,
                        void (*done)(void *ctx, int fd, const char *error), void *ctx);
void dial_cancel(struct dial **d);
