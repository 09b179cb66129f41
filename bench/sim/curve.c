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
#include "src/sight/sight.h"

enum { KEY_BYTES = 16, REQUESTS_PER_TICK = 4096 };

/* Hit rate of a full simulation. */
static double full(const struct curve_setup *setup, const char *policy, double scale) {
    struct sim_setup sim = {.policy = policy, .unit = SIM_MEMORY, .capacity = (uint64_t)((double)setup->l1_bytes * scale), .shards = 1, .trace = setup->trace};
    struct sim_result r;
    sim_run(&sim, &r);
    return 1 - (double)r.misses / (double)r.requests;
}

static void to_shelf(void *ctx, const struct mini_access *a) {
    shelf_put(ctx, a);
}

static struct mrc_event event_of(const struct trace_record *r) {
    struct sim_setup sim = {.unit = SIM_MEMORY};
    return (struct mrc_event){.kind = MRC_READ, .access = {.hash = hash_bytes(&r->key, sizeof(r->key)), .bytes = sim_cost(&sim, r), .expire_ms = L1_NO_TTL}};
}

/* The same of memory as it is before a disk of that size; none of it sampled. */
static double full_l2(const struct curve_setup *setup, double scale, int64_t now_ms) {
    const struct trace *t = setup->trace;
    struct shelf *shelf = shelf_create(t->keys + 1);
    struct mini_sizes *sizes = mini_sizes_create();
    struct mini *front = mini_create(sizes, setup->policy, UINT32_MAX, to_shelf, shelf);
    uint64_t hits = 0;
    mini_set_limit(front, (double)setup->l1_bytes);
    shelf_set_limit(shelf, (double)setup->l2_bytes * scale);
    for (uint64_t i = 0; i < t->n; i++) {
        struct mrc_event e = event_of(&t->records[i]);
        bool has = shelf_has(shelf, e.access.hash, now_ms);
        hits += mini_read(front, &e.access, now_ms) || has;
    }
    mini_destroy(&front);
    mini_sizes_destroy(&sizes);
    shelf_destroy(&shelf);
    return (double)hits / (double)t->n;
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
    struct mrc_tiers tiers = {.l1_bytes = setup->l1_bytes, .policy = setup->policy, .shadow = setup->shadow, .l2_bytes = setup->l2_bytes};
    bool l2 = setup->l2_bytes != 0;
    unsigned items = setup->items != 0 ? setup->items : sight_items(&(struct sight_options){.loops = 1, .l2 = l2});
    struct mrc *m = mrc_create(&(struct mrc_options){.l2 = l2, .items = items}, &tiers);
    int64_t start = clock_mono_us(), now_ms = clock_now_ms();
    rng_seed(1);
    for (uint64_t i = 0; i < t->n; i++) {
        struct mrc_event e = event_of(&t->records[i]);
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

/* A row; returns by how much it is off. */
static double row_print(const char *policy, const char *size, double want, double got, bool quiet) {
    if (!quiet) {
        printf("%-16s %9s %8.4f %8.4f %+8.2f\n", policy, size, want, got, (got - want) * 100);
    }
    return fabs(got - want);
}

double curve_compare(const struct curve_setup *setup, bool quiet) {
    struct mrc_report r;
    double ns, worst = 0;
    size_t bytes;
    char size[32];
    feed(setup, &r, &ns, &bytes);
    if (!quiet) {
        printf("%s at %llu bytes, disk %llu: %.2f%% of the keys sampled (disk %.2f%%), %llu items in the miniature of today's size, %.0f kB used and %zu kB resident, %.0f ns a request%s\n", setup->policy,
               (unsigned long long)setup->l1_bytes, (unsigned long long)setup->l2_bytes, r.rate * 100, r.l2_rate * 100, (unsigned long long)r.items,
               (double)r.memory / 1024, bytes / 1024, ns, r.rough ? ", rough" : "");
        printf("%-16s %9s %8s %8s %8s\n", "policy", "size", "full", "mrc", "points");
    }
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        snprintf(size, sizeof(size), "l1 %.2fx", mrc_scales[i]);
        worst = fmax(worst, row_print(setup->policy, size, full(setup, setup->policy, mrc_scales[i]), r.l1_hit[i], quiet));
    }
    if (setup->shadow != NULL) {
        worst = fmax(worst, row_print(setup->shadow, "shadow", full(setup, setup->shadow, 1), r.shadow_hit, quiet));
    }
    for (unsigned i = 0; setup->l2_bytes != 0 && i < MRC_SCALES; i++) {
        snprintf(size, sizeof(size), "l2 %.2fx", mrc_scales[i]);
        worst = fmax(worst, row_print(setup->policy, size, full_l2(setup, mrc_scales[i], clock_now_ms()), r.l2_hit[i], quiet));
    }
    if (!quiet) {
        printf("largest difference %.2f points\n", worst * 100);
    }
    return worst;
}
