/* SPDX-License-Identifier: BSD-3-Clause */
/* preheat: WARM, which brings keys to memory from the disk tier or the origin of their policy: those named, those in a file, or the
 * cold ones of a pattern. One job at a time; it belongs to worker 0's loop, paced, with so many keys on their way at once, and
 * ends when memory is full.
 *
 *   names (a call's, a piece of the file, an interval of the walk) -> bring_key, counted -> more names, read on a pool thread
 */
#pragma once

#include <stdbool.h>

#include "src/base/buf.h"
#include "src/base/err.h"

struct call;
struct preheat;
struct server;
struct warm_order;

struct preheat *preheat_create(struct server *srv);
/* Worker 0's loop: bring no more; true while something is still on its way. */
bool preheat_stopping(struct preheat *p);
/* After the loops. */
void preheat_destroy(struct preheat **p);

/* WARM KEYS, PATTERN, FILE: begins, or writes an error. Any loop. */
enum err preheat_command(struct call *c, const struct warm_order *order);
/* False when nothing is under way. Any thread. */
bool preheat_cancel(struct preheat *p);
/* Its lines of INFO. Any thread. */
void preheat_info(const struct preheat *p, struct buf *out);
