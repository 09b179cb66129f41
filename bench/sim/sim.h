/* SPDX-License-Identifier: BSD-3-Clause */
/* sim: what a simulated cache is, whether the tier of src/l1 under one of its policies or a reference implementation, and the
 * run that drives it: each request is a GET, and a SET when it misses. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trace;
struct trace_record;

/* What a capacity counts. */
enum sim_unit {
    SIM_MEMORY, /* bytes as the tier's limit counts them: table, item, key and value */
    SIM_VALUES, /* bytes of values alone */
    SIM_ITEMS   /* items, all alike */
};

enum { SIM_OVERHEAD = 32 }; /* of an item in SIM_MEMORY, about: key, head, rounding, table */

struct sim_setup {
    const char *policy; /* a row of policies.def, or a reference's name */
    enum sim_unit unit;
    uint64_t capacity;
    unsigned shards;    /* of the tier; references have one */
    const struct trace *trace; /* references index their state by trace_record.id */
};

struct sim_cache {
    const struct sim_kind *kind;
    struct sim_setup setup;
};

/* One way to be a cache. */
struct sim_kind {
    const char *name;
    struct sim_cache *(*open)(const struct sim_setup *setup);
    void (*close)(struct sim_cache *c);
    /* True on a hit; a miss has been stored when it returns. */
    bool (*request)(struct sim_cache *c, const struct trace_record *r);
    uint64_t (*items)(const struct sim_cache *c);
};

struct sim_result {
    uint64_t requests, misses, bytes, missed_bytes, items;
    double seconds;
};

/* Runs the whole trace through a fresh cache. */
void sim_run(const struct sim_setup *setup, struct sim_result *out);
/* How a capacity counts one item of the trace: the references' charge, the same as the tier's up to its size classes. */
uint64_t sim_cost(const struct sim_setup *setup, const struct trace_record *r);
/* The i-th name that sim_run knows: the tier's evicting policies first, then the references; NULL at the end. */
const char *sim_policy(unsigned i);
bool sim_is_policy(const char *name);

/* tier.c: src/l1 under the policy of that name. */
extern const struct sim_kind sim_tier;
