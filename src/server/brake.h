/* SPDX-License-Identifier: BSD-3-Clause */
/* brake: a client that writes faster than memory or the disk tier can follow is slowed, so that neither maxmemory is exceeded nor what
 * is evicted dropped: after a write its connection is not looked at until they have caught up, or l1-evict-wait or l2-queue-wait is
 * over. Reads of other connections go on. On the worker's loop. */
#pragma once

#include <stdbool.h>

struct session;
struct worker;

/* The disk tier's queue is nearly full, or eviction has fallen behind. */
bool brake_is_needed(const struct worker *w);
/* s has just written: it waits. */
void brake_session(struct session *s);
/* Timer: evicts, and lets go whom there is no need to hold any more. */
void brake_tick(void *worker);
