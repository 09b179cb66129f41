/* SPDX-License-Identifier: BSD-3-Clause */
/* route: whose a call is, when there are peers. */
#pragma once

#include "src/base/err.h"

struct call;
struct session;

/* OK: it runs here. ERR_PARKED: a peer, or several, have been asked; the reply will come in its place (due.h). Anything else: an error,
 * ERR_REPLIED with its text written. */
enum err route_call(struct session *s, struct call *c);
/* Before MULTI queues the call: OK, or why it cannot be part of a transaction here. */
enum err route_queued(struct session *s, struct call *c);
