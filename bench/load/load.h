/* SPDX-License-Identifier: BSD-3-Clause */
/* load: drives one server from several threads and measures throughput and latency. */
#pragma once

#include <stdint.h>

#include "bench/load/hist.h"
#include "bench/load/reply.h"
#include "bench/load/request.h"
#include "bench/load/sock.h"

struct load_options {
    struct address address;
    struct request_shape shape;
    unsigned threads;
    unsigned connections; /* of all threads together, at least one each */
    unsigned pipeline;    /* requests of one connection under way */
    double seconds;       /* how long to measure; 0 when requests says how much */
    double warmup;        /* seconds before that, not measured */
    uint64_t requests;    /* how many to measure; 0 when seconds says how long */
    double rate;          /* requests per second of all together; 0 for as fast as answers come */
    uint64_t seed;
    const char *watch;    /* cores to be watched: what falls into a stretch in which they did not run is not part of the latency; or NULL */
};

struct load_result {
    uint64_t replies;
    uint64_t nulls;  /* misses, when GETs are sent */
    uint64_t errors;
    char first_error[REPLY_LINE_MAX + 1];
    double seconds;  /* from the first request measured to the last reply */
    struct hist latency; /* of every request, from when it was due (rate) or sent to its reply */
    uint64_t windows;    /* with watch: stretches of 10 ms, of all threads, */
    uint64_t late;       /* and how many of them are not in latency: a watched core was late in them or in the one before */
};

/* Runs to the end; the caller frees *result with mem_free. Ends the process on a lost connection. */
struct load_result *load_run(const struct load_options *options);
