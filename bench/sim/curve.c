/* SPDX-License-Identifier: BSD-3-Clause */
/* curve: each request is a read, and the tier charges each key what the simulated one would. */
#include "bench/sim/curve.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/load/trace.h"
#include "src/base/clock.h"
#include "src/base/rng.h"
#include "src/l1/l1.h"
#include "src/sight/mrc.h"

enum { KEY_BYTES = 16, REQUESTS_PER_TICK = 4096 };

/* Hit rate of a full simulation. */
static double full(const struct curve_setup *setup, const char *policy, double scale) {
    struct sim_setup sim = {.policy = policy, .unit = SIM_MEMORY, .capacity = (uint64_t)((double)setup->l1_bytes * scale), .shards = 1, .trace = setup->trace};
    struct sim_result r;
    sim_run(&sim, &r);
    return 1 - (double)r.misses / (double)r.requests;
}

/* Resident bytes of the process. */
static size_t resident(void) {
    unsigned long total = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL || fscanf(f, "%lu %lu", &total, &pages) != 2) {
        pages = 0;
    }
    if (f != NULL) {
        fclose(f);
    }
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void feed(const struct curve_setup *setup, struct mrc_report *out, double *ns, size_t *bytes) {
    const struct trace *t = setup->trace;
    size_t before = resident();
    struct mrc_tiers tiers = {.l1_bytes = setup->l1_bytes, .policy = setup->policy, .shadow = setup->shadow};
    struct mrc *m = mrc_create(&(struct mrc_options){.items = setup->items}, &tiers);
    struct sim_setup sim = {.unit = SIM_MEMORY};
    int64_t start = clock_mono_us(), now_ms = clock_now_ms();
    rng_seed(1);
    for (uint64_t i = 0; i < t->n; i++) {
        const struct trace_record *r = &t->records[i];
        struct mrc_event e = {.kind = MRC_READ, .access = {.hash = hash_bytes(&r->key, sizeof(r->key)), .bytes = sim_cost(&sim, r), .expire_ms = L1_NO_TTL}};
        if (mini_draw(e.access.hash) < mrc_below(m)) {
            uint32_t below = mrc_below(m);
            mrc_feed(m, &e, now_ms);
            if (mrc_below(m) != below || i % REQUESTS_PER_TICK == 0) {
                mrc_tick(m, now_ms);
            }
        }
        mrc_reads(m, 1, NULL, 0);
    }
    *ns = (double)(clock_mono_us() - start) * 1000 / (double)t->n;
    mrc_report(m, 0, out);
    size_t after = resident();
    *bytes = after > before ? after - before : 0;
    mrc_destroy(&m);
}

double curve_compare(const struct curve_setup *setup, bool quiet) {
    struct mrc_report r;
    double ns, worst = 0;
    size_t bytes;
    feed(setup, &r, &ns, &bytes);
    if (!quiet) {
        printf("%s at %llu bytes: %.2f%% of the keys sampled, %llu items in the miniature of today's size, %.0f kB of address space used and %zu kB resident, %.0f ns a request%s\n", setup->policy,
               (unsigned long long)setup->l1_bytes, r.rate * 100, (unsigned long long)r.items, (double)r.memory / 1024, bytes / 1024, ns,
               r.rough ? ", rough" : "");
        printf("%-16s %8s %8s %8s %8s\n", "policy", "size", "full", "mrc", "points");
    }
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        double want = full(setup, setup->policy, mrc_scales[i]), off = r.l1_hit[i] - want;
        worst = fabs(off) > worst ? fabs(off) : worst;
        if (!quiet) {
            printf("%-16s %7.2fx %8.4f %8.4f %+8.2f\n", setup->policy, mrc_scales[i], want, r.l1_hit[i], off * 100);
        }
    }
    if (setup->shadow != NULL) {
        double want = full(setup, setup->shadow, 1), off = r.shadow_hit - want;
        worst = fabs(off) > worst ? fabs(off) : worst;
        if (!quiet) {
            printf("%-16s   shadow %8.4f %8.4f %+8.2f\n", setup->shadow, want, r.shadow_hit, off * 100);
        }
    }
    return worst;
}
