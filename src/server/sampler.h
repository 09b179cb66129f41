/* SPDX-License-Identifier: BSD-3-Clause */
/* sampler: what the process's threads spend their time on: a timer on each thread's own processor time sends it SIGPROF, whose handler
 * notes the stack. Equal stacks are counted in a table of fixed size, filled without locks or allocation. One at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

enum {
    SAMPLER_HZ = 99,
    SAMPLER_THREADS = 256,
    SAMPLER_STACKS = 4096, /* different ones; those beyond are counted only */
    SAMPLER_FRAMES = 48    /* of a stack, from the top */
};

/* False: one is under way, or there is no memory. */
bool sampler_start(void);
/* Looks for threads that are new: now and then while it runs. */
void sampler_look(void);
struct sampler_counts {
    uint64_t samples, dropped;
    unsigned stacks, threads;
};
/* Ends it and appends the stacks, folded: "thread;outermost;...;innermost count" a line. */
void sampler_stop(struct buf *out, struct sampler_counts *counts);
