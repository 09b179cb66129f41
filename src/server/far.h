/* SPDX-License-Identifier: BSD-3-Clause */
/* far: calls that other nodes answer, counted where their clients are, as dispatch.c counts those that run here: commandstats, latency, the slow
 * log. Hits and misses are counted where the key is. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/slice.h"

struct buf;
struct call;
struct cmd;
struct session;
struct worker;

struct far_call {
    const struct cmd *cmd;
    uint64_t began; /* ticks */
};

/* The call leaves. Before its arguments go. */
void far_begin(struct far_call *far, const struct call *c, const struct worker *w);
/* Its reply, which begins with `start`, is there. commands gives what was sent to the i-th node (forward.h: commands), NULL behind the last:
 * read when the call goes into the slow log, a command of several nodes node by node. */
void far_end(const struct far_call *far, struct session *s, struct slice start, const struct buf *(*commands)(const void *ctx, unsigned i),
             const void *ctx);
/* A copy kept here has answered. */
void far_near(const struct call *c, struct worker *w);
