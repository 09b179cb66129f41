/* SPDX-License-Identifier: BSD-3-Clause */
/* replay: a trace against one or more servers, GET for each record and SET when it misses. */
#pragma once

#include <stdint.h>

#include "bench/load/hist.h"
#include "bench/load/reply.h"
#include "bench/load/sock.h"
#include "bench/load/trace.h"

enum { REPLAY_TARGETS_MAX = 8 };

struct replay_options {
    const struct address *targets;
    unsigned n_targets;
    unsigned connections; /* per target; a key always takes the same one */
    unsigned window;      /* requests of one connection under way */
    uint64_t slice;       /* records one target gets before the next has its turn */
    double rate;          /* records per second at most; 0 for as fast as answers come */
    int progress;         /* draw a bar on standard error */
};

struct replay_result {
    uint64_t hits;
    uint64_t misses;
    uint64_t errors;
    uint64_t commands; /* GETs and SETs, repeated GETs included */
    char first_error[REPLY_LINE_MAX + 1];
    double seconds;      /* this target's slices together */
    struct hist latency; /* of GETs and SETs, from sending to reply */
};

/* Every target sees the whole trace, in the same order but for the window. A GET that
 * missed only because the SET for the miss before it was not there yet is sent again and counted once, so
 * that hits and misses are those of a client that asks for one key at a time. results has room for n_targets. */
void replay_run(const struct replay_options *options, const struct trace *trace, struct replay_result *results);
