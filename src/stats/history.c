/* SPDX-License-Identifier: BSD-3-Clause */
/* history: the rings. */
#include "src/stats/history.h"

#include "src/base/clock.h"
#include "src/base/mem.h"

const char *const series_sum_names[SERIES_SUMS] = {
#define SERIES_SUM(name, doc) #name,
#include "src/stats/series.def"
};
const char *const series_now_names[SERIES_NOWS] = {
#define SERIES_NOW(name, doc) #name,
#include "src/stats/series.def"
};

/* One ring, and where its present step began. */
struct ring {
    struct moment *moments;
    unsigned size, next, count;
    struct hist_sum latency;
};

struct history {
    uint64_t noted;
    struct ring rings[2]; /* fine, coarse */
};

_Static_assert((HISTORY_FINE + HISTORY_COARSE) * sizeof(struct moment) < 1000000, "the history is less than a megabyte");

struct history *history_create(void) {
    struct history *h = mem_zalloc(sizeof(*h));
    static const unsigned sizes[2] = {HISTORY_FINE, HISTORY_COARSE};
    for (int i = 0; i < 2; i++) {
        h->rings[i].size = sizes[i];
        h->rings[i].moments = mem_zalloc(sizes[i] * sizeof(struct moment));
    }
    return h;
}

void history_destroy(struct history **hp) {
    struct history *h = *hp;
    *hp = NULL;
    mem_free(h->rings[0].moments);
    mem_free(h->rings[1].moments);
    mem_free(h);
}

/* The step's commands by how long they took. */
static void put_latency(struct moment *m, const struct hist_sum *step) {
    static const struct {
        enum series_now to;
        double percent;
    } percentiles[] = {{NOW_p50_us, 50}, {NOW_p99_us, 99}, {NOW_p999_us, 99.9}};
    for (unsigned i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++) {
        m->nows[percentiles[i].to] = clock_ticks_to_us(hist_quantile(step, percentiles[i].percent));
    }
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        uint64_t us = step->n[i] > 0 ? clock_ticks_to_us(hist_edge(i)) : 0;
        unsigned k = us <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(us - 1);
        m->heat[k < HEAT_BUCKETS ? k : HEAT_BUCKETS - 1] += (uint32_t)step->n[i];
    }
}

static void ring_note(struct ring *r, const struct moment *m, const struct hist_sum *latency) {
    struct moment *to = &r->moments[r->next];
    struct hist_sum step = *latency;
    hist_sum_take(&step, &r->latency);
    r->latency = *latency;
    *to = *m;
    put_latency(to, &step);
    r->next = (r->next + 1) % r->size;
    r->count += r->count < r->size;
}

void history_note(struct history *h, const struct moment *m, const struct hist_sum *latency) {
    ring_note(&h->rings[0], m, latency);
    if (h->noted++ % HISTORY_COARSE_S == 0) {
        ring_note(&h->rings[1], m, latency);
    }
}

static uint64_t since(uint64_t before, uint64_t now) {
    return now >= before ? now - before : now; /* CONFIG RESETSTAT begins anew */
}

unsigned history_read(const struct history *h, int coarse, struct moment *out, unsigned max) {
    const struct ring *r = &h->rings[coarse != 0];
    unsigned steps = r->count > 0 ? r->count - 1 : 0, n = steps < max ? steps : max;
    for (unsigned i = 0; i < n; i++) {
        unsigned at = (r->next + r->size - n + i) % r->size;
        const struct moment *before = &r->moments[(at + r->size - 1) % r->size];
        out[i] = r->moments[at];
        for (unsigned s = 0; s < SERIES_SUMS; s++) {
            out[i].sums[s] = since(before->sums[s], out[i].sums[s]);
        }
    }
    return n;
}
