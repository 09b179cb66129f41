/* SPDX-License-Identifier: BSD-3-Clause */
/* mrc: the miniatures together, and what was counted. */
#include "src/sight/mrc.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/l1/l1.h"

const double mrc_scales[MRC_SCALES] = {0.25, 0.5, 1, 1.5, 2, 4};

enum {
    ALL = 0,               /* counts of all keys, before those of the rules */
    GROUPS = MRC_RULES + 1,
    LEAST_RATE = 4,        /* of MINI_RATE_ONE */
    L1 = 0,                /* points: memory at each scale, */
    L2 = MRC_SCALES,       /* the disk at each, behind memory of today's size, */
    SHADOW = 2 * MRC_SCALES,
    POINTS,
    BASE = L1,             /* whose sample all others are parts of */
    FRONT = L1 + MRC_TODAY /* what it evicts goes on the shelves */
};

/* A miniature with a sample of its own, so that each holds about as many items as it may. The sample is part of the sample of the point
 * before, so that both can be compared over the same reads: whose keys they happen to be matters little to how many of the misses of
 * the one are misses of the other. A point's miss ratio is that of the point before times that. */
struct point {
    struct mini *mini;   /* of memory, or */
    struct shelf *shelf; /* of the disk; neither: the point is not wanted */
    uint32_t below;
};

/* In units of the point's sample as it is. */
struct count {
    double reads, misses;
    double before; /* misses of the point before, of the same reads */
};

struct mrc {
    struct mrc_options options;
    struct mrc_tiers tiers;
    struct mini_sizes *sizes;
    struct point points[POINTS];
    struct count counts[GROUPS][POINTS];
    double all[GROUPS]; /* reads of all keys, times the share in the base's sample then */
    double lost;        /* sampled reads not yet taken from those */
};

/* ---- points ---- */

static double share(uint32_t below) {
    return (double)below / MINI_RATE_ONE;
}

static bool is_used(const struct point *p) {
    return p->mini != NULL || p->shelf != NULL;
}

static unsigned scale_of(unsigned point) {
    return point == SHADOW ? MRC_TODAY : point % MRC_SCALES;
}

/* The point before. */
static unsigned before(unsigned point) {
    return point == L2 || point == SHADOW ? FRONT : point - 1;
}

static bool is_shelf(unsigned point) {
    return point >= L2 && point < L2 + MRC_SCALES;
}

static void to_shelves(void *ctx, const struct mini_access *a) {
    struct mrc *m = ctx;
    for (unsigned i = L2; i < L2 + MRC_SCALES; i++) {
        if (m->points[i].shelf != NULL && mini_draw(a->hash) < m->points[i].below) {
            shelf_put(m->points[i].shelf, a);
        }
    }
}

static unsigned items_of(const struct mrc *m) {
    return m->options.items != 0 ? m->options.items : MRC_ITEMS;
}

/* How many items a miniature of memory may hold: each as many, as the smaller ones have the denser samples on which the others rest. */
static unsigned most_items(const struct mrc *m) {
    return items_of(m) / (MRC_SCALES + (m->points[SHADOW].mini != NULL));
}

static void set_limit(struct mrc *m, unsigned point) {
    struct point *p = &m->points[point];
    double part = share(p->below) * mrc_scales[scale_of(point)];
    if (p->mini != NULL) {
        mini_set_limit(p->mini, (double)m->tiers.l1_bytes * part);
    } else if (p->shelf != NULL) {
        shelf_set_limit(p->shelf, (double)m->tiers.l2_bytes * part);
        shelf_set_rule(p->shelf, m->tiers.l2_rule, m->tiers.l2_chance_ppm);
    }
}

/* Empty. */
static void open_point(struct mrc *m, unsigned point) {
    struct point *p = &m->points[point];
    const char *policy = point == SHADOW ? m->tiers.shadow : m->tiers.policy;
    if (!is_shelf(point) && policy != NULL) {
        p->mini = mini_create(m->sizes, policy, items_of(m), m->options.l2 && point == FRONT ? to_shelves : NULL, m);
    } else if (is_shelf(point) && m->options.l2) {
        p->shelf = shelf_create(MRC_DISK_ITEMS);
    }
    set_limit(m, point);
}

static void close_point(struct point *p) {
    if (p->mini != NULL) {
        mini_destroy(&p->mini);
    }
    if (p->shelf != NULL) {
        shelf_destroy(&p->shelf);
    }
}

/* Counts are in units of the sample as it is: what was counted of a larger one must not outweigh what follows. */
static void set_rate(struct mrc *m, unsigned point, uint32_t below) {
    struct point *p = &m->points[point];
    double factor = share(below) / share(p->below);
    for (unsigned g = 0; g < GROUPS; g++) {
        struct count *c = &m->counts[g][point];
        *c = (struct count){c->reads * factor, c->misses * factor, c->before * factor};
        m->all[g] *= point == BASE ? factor : 1;
    }
    m->lost *= point == BASE ? factor : 1;
    p->below = below;
    set_limit(m, point);
}

/* ---- life ---- */

struct mrc *mrc_create(const struct mrc_options *o, const struct mrc_tiers *tiers) {
    struct mrc *m = mem_zalloc(sizeof(*m));
    m->options = *o;
    m->tiers = *tiers;
    m->sizes = mini_sizes_create();
    for (unsigned i = 0; i < POINTS; i++) {
        m->points[i].below = MINI_RATE_ONE;
        open_point(m, i);
    }
    return m;
}

void mrc_destroy(struct mrc **m) {
    for (unsigned i = 0; i < POINTS; i++) {
        close_point(&(*m)->points[i]);
    }
    mini_sizes_destroy(&(*m)->sizes);
    mem_free(*m);
    *m = NULL;
}

uint32_t mrc_below(const struct mrc *m) {
    return m->points[BASE].below;
}

/* ---- tiers ---- */

static bool is_same(const char *a, const char *b) {
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

void mrc_set_tiers(struct mrc *m, const struct mrc_tiers *tiers) {
    bool policy = !is_same(m->tiers.policy, tiers->policy), shadow = !is_same(m->tiers.shadow, tiers->shadow);
    m->tiers = *tiers;
    for (unsigned i = L1; policy && i < L1 + MRC_SCALES; i++) {
        mini_set_policy(m->points[i].mini, tiers->policy);
    }
    if (shadow) {
        struct point *p = &m->points[SHADOW];
        close_point(p);
        p->below = m->points[FRONT].below;
        open_point(m, SHADOW);
    }
    if (policy || shadow) { /* of the old one; and so that both are of the same reads */
        memset(m->counts, 0, sizeof(m->counts));
        memset(m->all, 0, sizeof(m->all));
    }
    for (unsigned i = 0; i < POINTS; i++) {
        set_limit(m, i);
    }
}

/* ---- the sample ---- */

/* The point's sample becomes smaller, and with it those that are parts of it. */
static void lower(struct mrc *m, unsigned point, uint32_t below, int64_t now_ms) {
    for (unsigned i = point; i < POINTS; i++) {
        struct point *p = &m->points[i];
        uint32_t most = i == point ? below : m->points[before(i)].below;
        if (p->below <= most) {
            continue;
        }
        set_rate(m, i, most);
        if (p->mini != NULL) {
            mini_thin(p->mini, p->below, now_ms);
        } else if (p->shelf != NULL) {
            shelf_thin(p->shelf, p->below);
        }
    }
}

bool mrc_lower_rate(struct mrc *m, int64_t now_ms) {
    if (m->points[BASE].below <= LEAST_RATE) {
        return false;
    }
    lower(m, BASE, m->points[BASE].below / 4 * 3, now_ms);
    return true;
}

static uint32_t most_below(const struct mrc *m, unsigned point) {
    return point == BASE ? MINI_RATE_ONE : m->points[before(point)].below;
}

static bool is_small(const struct mrc *m, unsigned point) {
    const struct point *p = &m->points[point];
    if (p->below >= most_below(m, point)) {
        return false;
    }
    return p->mini != NULL ? mini_items(p->mini) < most_items(m) / 4 : p->shelf != NULL && shelf_items(p->shelf) < MRC_DISK_ITEMS / 4;
}

bool mrc_is_small(const struct mrc *m) {
    bool any = false;
    for (unsigned i = 0; i < POINTS; i++) {
        any |= is_small(m, i);
    }
    return any;
}

void mrc_double_rate(struct mrc *m) {
    for (unsigned i = 0; i < POINTS; i++) {
        if (is_small(m, i)) {
            uint32_t most = most_below(m, i), twice = m->points[i].below * 2;
            close_point(&m->points[i]);
            set_rate(m, i, twice < most ? twice : most);
            open_point(m, i);
        }
    }
}

/* Keeps each within its number of items. */
static void keep_size(struct mrc *m, int64_t now_ms) {
    for (unsigned i = 0; i < POINTS; i++) {
        const struct point *p = &m->points[i];
        bool over = p->mini != NULL ? mini_items(p->mini) > most_items(m) : p->shelf != NULL && shelf_is_short(p->shelf);
        if (over && p->below > LEAST_RATE) {
            lower(m, i, p->below / 4 * 3, now_ms);
        }
    }
}

/* ---- events ---- */

static void count_read(struct mrc *m, unsigned rule, unsigned point, bool missed, bool missed_before) {
    for (unsigned g = ALL;; g = rule) {
        struct count *c = &m->counts[g][point];
        c->reads++;
        c->misses += missed;
        c->before += missed_before;
        if (g == rule) {
            return;
        }
    }
}

static void read_all(struct mrc *m, const struct mrc_event *e, unsigned rule, int64_t now_ms) {
    uint32_t draw = mini_draw(e->access.hash);
    bool has[MRC_SCALES], hits[POINTS] = {false};
    for (unsigned i = 0; i < MRC_SCALES; i++) { /* before the front's read, which may push others onto the shelves */
        const struct point *p = &m->points[L2 + i];
        has[i] = p->shelf != NULL && draw < p->below && shelf_has(p->shelf, e->access.hash, now_ms);
    }
    for (unsigned i = 0; i < POINTS; i++) {
        const struct point *p = &m->points[i];
        if (draw < p->below && is_used(p)) {
            hits[i] = p->mini != NULL ? mini_read(p->mini, &e->access, now_ms) : hits[FRONT] || has[i - L2];
            count_read(m, rule, i, !hits[i], i != BASE && !hits[before(i)]);
        }
    }
}

static void change_all(struct mrc *m, const struct mrc_event *e, int64_t now_ms) {
    for (unsigned i = 0; i < POINTS; i++) {
        const struct point *p = &m->points[i];
        if (mini_draw(e->access.hash) >= p->below || !is_used(p)) {
            continue;
        }
        if (p->shelf != NULL) {
            shelf_drop(p->shelf, e->access.hash);
        } else if (e->kind == MRC_WRITE) {
            mini_write(p->mini, &e->access, now_ms);
        } else {
            mini_remove(p->mini, e->access.hash, now_ms);
        }
    }
}

void mrc_feed(struct mrc *m, const struct mrc_event *e, int64_t now_ms) {
    if (mini_draw(e->access.hash) >= m->points[BASE].below) {
        return; /* was sent before the threshold fell */
    }
    if (e->kind == MRC_READ) {
        read_all(m, e, e->rule < GROUPS ? e->rule : 0, now_ms);
    } else {
        change_all(m, e, now_ms);
    }
    keep_size(m, now_ms);
}

void mrc_lost(struct mrc *m, uint64_t n) {
    m->lost += (double)n;
}

void mrc_reads(struct mrc *m, uint64_t reads, const uint64_t *rules, uint64_t lost) {
    double rate = share(m->points[BASE].below), all_lost = m->lost + (double)lost;
    m->lost = 0;
    m->all[ALL] += (double)reads * rate - all_lost;
    for (unsigned g = 1; rules != NULL && g < GROUPS; g++) {
        double of_rule = reads > 0 ? (double)rules[g - 1] / (double)reads : 0; /* so many of the lost were of it, about */
        m->all[g] += (double)rules[g - 1] * rate - all_lost * of_rule;
    }
}

void mrc_fade(struct mrc *m) {
    for (unsigned g = 0; g < GROUPS; g++) {
        for (unsigned i = 0; i < POINTS; i++) {
            struct count *c = &m->counts[g][i];
            *c = (struct count){c->reads / 2, c->misses / 2, c->before / 2};
        }
        m->all[g] /= 2;
    }
}

void mrc_forget_rules(struct mrc *m) {
    memset(m->counts[1], 0, sizeof(m->counts[0]) * MRC_RULES);
    memset(&m->all[1], 0, sizeof(m->all[0]) * MRC_RULES);
}

void mrc_tick(struct mrc *m, int64_t now_ms) {
    for (unsigned i = 0; i < POINTS; i++) {
        if (m->points[i].mini != NULL) {
            mini_tick(m->points[i].mini, now_ms);
        }
    }
}

/* ---- the report ---- */

/* Hit rates of all points. Of the base: misses of so many sampled reads, where there should have been `all`; the difference are hits. */
static void find_rates(const struct count *c, double all, double rates[POINTS]) {
    all = all > 0 ? all : c[BASE].reads; /* they have not been counted yet: the sample is all there is */
    double missed = all > 0 ? c[BASE].misses / all : 1;
    rates[BASE] = 1 - (missed < 1 ? missed : 1);
    for (unsigned i = BASE + 1; i < POINTS; i++) {
        missed = (1 - rates[before(i)]) * (c[i].before > 0 ? c[i].misses / c[i].before : 1);
        rates[i] = 1 - (missed < 1 ? missed : 1);
    }
}

static size_t memory_of(const struct mrc *m) {
    size_t n = sizeof(*m);
    for (unsigned i = 0; i < POINTS; i++) {
        const struct point *p = &m->points[i];
        n += p->mini != NULL ? mini_bytes(p->mini) : 0;
        n += p->shelf != NULL ? shelf_bytes(p->shelf) : 0;
    }
    return n;
}

void mrc_report(const struct mrc *m, unsigned rule, struct mrc_report *out) {
    unsigned group = rule < GROUPS ? rule : ALL;
    const struct count *c = m->counts[group];
    double rates[POINTS];
    find_rates(c, m->all[group], rates);
    *out = (struct mrc_report){.rate = share(m->points[FRONT].below),
                               .l2_rate = share(m->points[L2 + MRC_TODAY].below),
                               .items = mini_items(m->points[FRONT].mini),
                               .reads = c[FRONT].reads,
                               .l1_bytes = m->tiers.l1_bytes,
                               .l2_bytes = m->tiers.l2_bytes,
                               .has_l2 = m->options.l2 && m->tiers.l2_bytes != 0,
                               .has_shadow = m->points[SHADOW].mini != NULL,
                               .shadow_hit = rates[SHADOW],
                               .policy = m->tiers.policy,
                               .shadow = m->tiers.shadow,
                               .memory = memory_of(m)};
    out->rough = (out->items < MRC_ROUGH_ITEMS && out->rate < 1) || out->reads < MRC_ROUGH_ITEMS;
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        out->l1_hit[i] = rates[L1 + i];
        out->l2_hit[i] = rates[L2 + i];
    }
}

double mrc_hit_at(const struct mrc_report *r, double l1_bytes) {
    double scale = r->l1_bytes > 0 ? l1_bytes / (double)r->l1_bytes : 1;
    if (scale <= mrc_scales[0]) {
        return r->l1_hit[0] * scale / mrc_scales[0];
    }
    for (unsigned i = 1; i < MRC_SCALES; i++) {
        if (scale <= mrc_scales[i]) {
            double part = (scale - mrc_scales[i - 1]) / (mrc_scales[i] - mrc_scales[i - 1]);
            return r->l1_hit[i - 1] + part * (r->l1_hit[i] - r->l1_hit[i - 1]);
        }
    }
    return r->l1_hit[MRC_SCALES - 1];
}
