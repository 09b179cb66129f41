/* SPDX-License-Identifier: BSD-3-Clause */
/* gather: one call that several nodes answer together: MGET and the like, split by who serves their keys, and DBSIZE, KEYS, FLUSHALL and
 * the like, which every node is asked. How the answers become one is the command's `spread`. */
#pragma once

#include <stdbool.h>

#include "src/base/err.h"

struct call;
struct session;

/* A call with keys of several slots. OK: they are all served here. ERR_PARKED: it was split. */
enum err gather_split(struct session *s, struct call *c);
/* A call for every node. */
enum err gather_everywhere(struct session *s, struct call *c);
