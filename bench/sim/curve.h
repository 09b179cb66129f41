/* SPDX-License-Identifier: BSD-3-Clause */
/* curve: the miss-ratio curve that a server would show after a trace, beside full simulations of the same sizes. */
#pragma once

#include "bench/sim/sim.h"

struct curve_setup {
    const char *policy; /* a row of policies.def */
    const char *shadow; /* another, or NULL */
    uint64_t l1_bytes;  /* as the tier's limit counts */
    uint64_t l2_bytes;  /* of a disk tier, admission rule `all`; 0: none */
    unsigned items;     /* of all miniatures; 0: as the server has it, with one event loop */
    const struct trace *trace;
};

/* Feeds the trace to the miniatures of src/sight, and prints both; returns the largest difference in hit rate. quiet: prints nothing. */
double curve_compare(const struct curve_setup *setup, bool quiet);
