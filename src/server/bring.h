/* SPDX-License-Identifier: BSD-3-Clause */
/* bring: one key into memory from whoever has it, though no client waits: behind those somebody waits for, and once, whoever else
 * asks. */
#pragma once

#include "src/base/slice.h"

struct server;

enum brought {
    BROUGHT_PRESENT, /* memory had it */
    BROUGHT_FOUND,
    BROUGHT_ABSENT, /* nobody has it, or it must not be kept */
    BROUGHT_FAILED  /* nobody could tell */
};

enum bring_flags {
    BRING_ORIGIN = 1 << 0, /* the origin of the key's policy is asked last */
    BRING_TOUCH = 1 << 1   /* counts as a read for the eviction policy */
};

/* Worker 0's loop. done is called once on it, perhaps before this returns; error is static text or NULL. db is logical. */
void bring_key(struct server *srv, unsigned db, struct slice name, unsigned flags,
               void (*done)(void *ctx, enum brought how, const char *error), void *ctx);
