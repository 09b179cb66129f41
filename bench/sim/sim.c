/* SPDX-License-Identifier: BSD-3-Clause */
/* sim: names of policies, costs of items, and the run. */
#include "bench/sim/sim.h"

#include <string.h>

#include "bench/load/trace.h"
#include "bench/sim/reference.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/rng.h"
#include "src/l1/policy.h"

enum { KEY_BYTES = 16, HEAD_BYTES = 5, TABLE_SHARE = 8 };

static const struct sim_kind *const references[] = {&reference_lru, &reference_s3fifo, &reference_s3fifo_eager,
                                                    &reference_belady};
enum { REFERENCES = sizeof(references) / sizeof(references[0]) };

uint64_t sim_cost(const struct sim_setup *setup, const struct trace_record *r) {
    switch (setup->unit) {
    case SIM_ITEMS:
        return 1;
    case SIM_VALUES:
        return r->length;
    case SIM_MEMORY:
        return ((uint64_t)HEAD_BYTES + KEY_BYTES + r->length + 7) / 8 * 8 + TABLE_SHARE;
    }
    UNREACHABLE();
}

const char *sim_policy(unsigned i) {
    for (unsigned k = 0; k < policy_count(); k++) {
        const struct policy *p = policy_at(k);
        if (p->evicts && !p->only_ttl && i-- == 0) {
            return p->name;
        }
    }
    return i < REFERENCES ? references[i]->name : NULL;
}

bool sim_is_policy(const char *name) {
    for (unsigned i = 0; sim_policy(i) != NULL; i++) {
        if (strcmp(sim_policy(i), name) == 0) {
            return true;
        }
    }
    return false;
}

static const struct sim_kind *kind_of(const char *policy) {
    for (unsigned i = 0; i < REFERENCES; i++) {
        if (strcmp(references[i]->name, policy) == 0) {
            return references[i];
        }
    }
    return &sim_tier;
}

void sim_run(const struct sim_setup *setup, struct sim_result *out) {
    const struct sim_kind *kind = kind_of(setup->policy);
    const struct trace *t = setup->trace;
    *out = (struct sim_result){.requests = t->n};
    rng_seed(1);
    int64_t start = clock_mono_us();
    struct sim_cache *c = kind->open(setup);
    for (uint64_t i = 0; i < t->n; i++) {
        const struct trace_record *r = &t->records[i];
        out->bytes += r->length;
        if (!kind->request(c, r)) {
            out->misses++;
            out->missed_bytes += r->length;
        }
    }
    out->items = kind->items(c);
    kind->close(c);
    out->seconds = (double)(clock_mono_us() - start) / 1e6;
}
