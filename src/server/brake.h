/* SPDX-License-Identifier: BSD-3-Clause */
/* brake: a client that writes faster than the disk tier takes what memory must evict is slowed, so that the values are not
 * dropped instead: after a write its connection is not looked at until the tier has caught up, or l2-queue-wait is over. Reads of
 * other connections go on. On the worker's loop. */
#pragma once

#include <stdbool.h>

struct session;
struct worker;

/* The tier's queue is nearly full. */
bool brake_is_needed(const struct worker *w);
/* s has just written: it waits. */
void brake_session(struct session *s);
/* Timer: lets go whom there is no need to hold any more. */
void brake_tick(void *worker);
