/* SPDX-License-Identifier: BSD-3-Clause */
/* ahead: while a call waits for the disk or an origin, the keys of the calls its client has sent behind it are fetched, too: a pipeline of
 * cold reads costs about one wait, not one for each. */
#pragma once

#include "src/server/worker.h"

/* The session's first call of these slots, and those behind it, will not run in this window. No lock held. */
void ahead_look(struct worker *w, const struct session *s, const struct slot *slots, unsigned n);
