/* SPDX-License-Identifier: BSD-3-Clause */
/* warm: the hot set over a restart. While the server runs with a disk tier, the names of the keys in memory that were read go
 * to a manifest, now and then and at the end; at the next start they are fetched from disk again in the background, so many
 * a second, until memory is nearly full. A client's read goes first. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct buf;
struct server;
struct warm;

/* Begins to fetch what the manifest names; before the loops run. With l2-warm-rate 0 there is nothing to do. */
struct warm *warm_start(struct server *srv);
/* Once a second on worker 0's loop: now and then writes the manifest, on a pool thread. */
void warm_tick(struct warm *w);
/* Worker 0's loop: fetch no more; true while some are still on their way. */
bool warm_stopping(struct warm *w);
/* After the loops; writes the manifest for the last time. */
void warm_end(struct warm **w);
/* Its lines of INFO. Any thread. */
void warm_info(const struct warm *w, struct buf *out);
