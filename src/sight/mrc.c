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
    LEAST_RATE = 4         /* of MINI_RATE_ONE */
};

struct counts {
    double reads, l2_reads; /* sampled */
    double all;             /* reads of all keys, times the share in the sample then */
    double l2_all;
    double l1_hits[MRC_SCALES], l2_hits[MRC_SCALES], shadow_hits;
};

struct mrc {
    struct mrc_options options;
    struct mrc_tiers tiers;
    struct mini_sizes *sizes;
    struct mini *l1[MRC_SCALES], *shadow;
    struct mini *front; /* memory before the disk's miniatures */
    struct shelf *l2[MRC_SCALES];
    uint32_t below, l2_below;
    double lost; /* sampled reads not yet taken from those that there should be */
    struct counts counts[GROUPS];
};

/* ---- life ---- */

static double share(uint32_t below) {
    return (double)below / MINI_RATE_ONE;
}

static void to_shelves(void *ctx, const struct mini_access *a) {
    struct mrc *m = ctx;
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        shelf_put(m->l2[i], a);
    }
}

static unsigned items_of(const struct mrc *m) {
    return m->options.items != 0 ? m->options.items : MRC_ITEMS;
}

static struct mini *make_mini(struct mrc *m, const char *policy) {
    return mini_create(m->sizes, policy, items_of(m), NULL, NULL);
}

static void open_minis(struct mrc *m) {
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        m->l1[i] = make_mini(m, m->tiers.policy);
    }
    if (m->options.l2) {
        m->front = mini_create(m->sizes, m->tiers.policy, items_of(m), to_shelves, m);
    }
    for (unsigned i = 0; m->options.l2 && i < MRC_SCALES; i++) {
        double most = MRC_DISK_ITEMS * mrc_scales[i] / mrc_scales[MRC_SCALES - 1];
        m->l2[i] = shelf_create((unsigned)most < 256 ? 256 : (unsigned)most);
    }
}

static void close_minis(struct mrc *m) {
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        mini_destroy(&m->l1[i]);
        if (m->l2[i] != NULL) {
            shelf_destroy(&m->l2[i]);
        }
    }
    if (m->front != NULL) {
        mini_destroy(&m->front);
    }
    if (m->shadow != NULL) {
        mini_destroy(&m->shadow);
    }
}

struct mrc *mrc_create(const struct mrc_options *o, const struct mrc_tiers *tiers) {
    struct mrc *m = mem_zalloc(sizeof(*m));
    m->options = *o;
    m->tiers = *tiers;
    m->tiers.shadow = NULL; /* begins below */
    m->sizes = mini_sizes_create();
    m->below = m->l2_below = MINI_RATE_ONE;
    open_minis(m);
    mrc_set_tiers(m, tiers);
    return m;
}

void mrc_destroy(struct mrc **m) {
    close_minis(*m);
    mini_sizes_destroy(&(*m)->sizes);
    mem_free(*m);
    *m = NULL;
}

uint32_t mrc_below(const struct mrc *m) {
    return m->below;
}

/* ---- tiers ---- */

static void set_limits(struct mrc *m) {
    double l1 = (double)m->tiers.l1_bytes;
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        mini_set_limit(m->l1[i], l1 * share(m->below) * mrc_scales[i]);
        if (m->l2[i] != NULL) {
            shelf_set_limit(m->l2[i], (double)m->tiers.l2_bytes * share(m->l2_below) * mrc_scales[i]);
            shelf_set_rule(m->l2[i], m->tiers.l2_rule, m->tiers.l2_chance_ppm);
        }
    }
    if (m->front != NULL) {
        mini_set_limit(m->front, l1 * share(m->l2_below));
    }
    if (m->shadow != NULL) {
        mini_set_limit(m->shadow, l1 * share(m->below));
    }
}

static bool is_same(const char *a, const char *b) {
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* What was counted of the old one is no longer of use. */
static void change_shadow(struct mrc *m, const char *shadow) {
    if (m->shadow != NULL) {
        mini_destroy(&m->shadow);
    }
    m->shadow = shadow != NULL ? make_mini(m, shadow) : NULL;
    for (unsigned g = 0; g < GROUPS; g++) {
        m->counts[g].shadow_hits = 0;
    }
}

static void change_policy(struct mrc *m, const char *policy) {
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        mini_set_policy(m->l1[i], policy);
    }
    if (m->front != NULL) {
        mini_set_policy(m->front, policy);
    }
}

void mrc_set_tiers(struct mrc *m, const struct mrc_tiers *tiers) {
    if (!is_same(m->tiers.policy, tiers->policy)) {
        change_policy(m, tiers->policy);
        memset(m->counts, 0, sizeof(m->counts));
    }
    if (!is_same(m->tiers.shadow, tiers->shadow)) {
        change_shadow(m, tiers->shadow);
        memset(m->counts, 0, sizeof(m->counts)); /* so that both are of the same reads */
    }
    m->tiers = *tiers;
    set_limits(m);
}

/* ---- the sample ---- */

static void thin(struct mrc *m, int64_t now_ms) {
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        mini_thin(m->l1[i], m->below, now_ms);
    }
    if (m->shadow != NULL) {
        mini_thin(m->shadow, m->below, now_ms);
    }
}

static void thin_l2(struct mrc *m, int64_t now_ms) {
    if (m->front == NULL) {
        return;
    }
    mini_thin(m->front, m->l2_below, now_ms);
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        shelf_thin(m->l2[i], m->l2_below);
    }
}

/* Counts are in units of the sample as it is: what was counted of a larger one must not outweigh what follows. */
static void rescale(struct mrc *m, double factor, double l2_factor) {
    m->lost *= factor;
    for (unsigned g = 0; g < GROUPS; g++) {
        struct counts *c = &m->counts[g];
        c->reads *= factor;
        c->all *= factor;
        c->shadow_hits *= factor;
        c->l2_reads *= l2_factor;
        c->l2_all *= l2_factor;
        for (unsigned i = 0; i < MRC_SCALES; i++) {
            c->l1_hits[i] *= factor;
            c->l2_hits[i] *= l2_factor;
        }
    }
}

static void set_rate(struct mrc *m, uint32_t below, uint32_t l2_below) {
    rescale(m, share(below) / share(m->below), share(l2_below) / share(m->l2_below));
    m->below = below;
    m->l2_below = l2_below;
    set_limits(m);
}

bool mrc_lower_rate(struct mrc *m, int64_t now_ms) {
    if (m->below <= LEAST_RATE) {
        return false;
    }
    uint32_t below = m->below / 4 * 3;
    bool l2 = m->l2_below > below;
    set_rate(m, below, l2 ? below : m->l2_below);
    thin(m, now_ms);
    if (l2) {
        thin_l2(m, now_ms);
    }
    return true;
}

void mrc_double_rate(struct mrc *m) {
    if (m->below >= MINI_RATE_ONE) {
        return;
    }
    const char *shadow = m->tiers.shadow;
    bool with = m->shadow != NULL;
    close_minis(m);
    open_minis(m);
    m->shadow = with ? make_mini(m, shadow) : NULL;
    set_rate(m, m->below * 2, m->below * 2);
}

static bool l2_is_short(const struct mrc *m) {
    bool is_short = mini_items(m->front) > MRC_DISK_ITEMS / 2;
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        is_short |= shelf_is_short(m->l2[i]);
    }
    return is_short;
}

/* Of all miniatures together: while a cache fills they hold the same. */
static uint64_t all_items(const struct mrc *m) {
    uint64_t n = m->shadow != NULL ? mini_items(m->shadow) : 0;
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        n += mini_items(m->l1[i]);
    }
    return n;
}

bool mrc_is_small(const struct mrc *m) {
    return m->below < MINI_RATE_ONE && all_items(m) < items_of(m) / 4;
}

/* Keeps the miniatures within their number of items. */
static void keep_size(struct mrc *m, int64_t now_ms) {
    if (all_items(m) > items_of(m)) {
        mrc_lower_rate(m, now_ms);
    }
    if (m->front != NULL && m->l2_below > LEAST_RATE && l2_is_short(m)) {
        set_rate(m, m->below, m->l2_below / 4 * 3);
        thin_l2(m, now_ms);
    }
}

/* ---- events ---- */

static void add_hits(struct mrc *m, unsigned rule, double *(*of)(struct counts *c), unsigned i) {
    of(&m->counts[ALL])[i]++;
    if (rule != 0) {
        of(&m->counts[rule])[i]++;
    }
}

static double *l1_hits(struct counts *c) {
    return c->l1_hits;
}

static double *l2_hits(struct counts *c) {
    return c->l2_hits;
}

static double *shadow_hits(struct counts *c) {
    return &c->shadow_hits;
}

static void count_read(struct mrc *m, unsigned rule, bool l2) {
    for (unsigned g = 0;; g = rule) {
        m->counts[g].reads++;
        m->counts[g].l2_reads += l2;
        if (g == rule) {
            return;
        }
    }
}

static void read_l2(struct mrc *m, const struct mrc_event *e, unsigned rule, int64_t now_ms) {
    bool has[MRC_SCALES];
    for (unsigned i = 0; i < MRC_SCALES; i++) { /* before the read, which may push others onto the shelves */
        has[i] = shelf_has(m->l2[i], e->access.hash, now_ms);
    }
    bool hit = mini_read(m->front, &e->access, now_ms);
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        if (hit || has[i]) {
            add_hits(m, rule, l2_hits, i);
        }
    }
}

static void read_all(struct mrc *m, const struct mrc_event *e, bool l2, int64_t now_ms) {
    unsigned rule = e->rule < GROUPS ? e->rule : 0;
    count_read(m, rule, l2);
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        if (mini_read(m->l1[i], &e->access, now_ms)) {
            add_hits(m, rule, l1_hits, i);
        }
    }
    if (m->shadow != NULL && mini_read(m->shadow, &e->access, now_ms)) {
        add_hits(m, rule, shadow_hits, 0);
    }
    if (l2) {
        read_l2(m, e, rule, now_ms);
    }
}

static void change_all(struct mrc *m, const struct mrc_event *e, bool l2, int64_t now_ms) {
    struct mini *all[MRC_SCALES + 2];
    unsigned n = MRC_SCALES;
    memcpy(all, m->l1, sizeof(m->l1));
    if (m->shadow != NULL) {
        all[n++] = m->shadow;
    }
    if (l2) {
        all[n++] = m->front;
    }
    for (unsigned i = 0; i < n; i++) {
        if (e->kind == MRC_WRITE) {
            mini_write(all[i], &e->access, now_ms);
        } else {
            mini_remove(all[i], e->access.hash, now_ms);
        }
    }
    for (unsigned i = 0; l2 && i < MRC_SCALES; i++) {
        shelf_drop(m->l2[i], e->access.hash);
    }
}

void mrc_feed(struct mrc *m, const struct mrc_event *e, int64_t now_ms) {
    uint32_t draw = mini_draw(e->access.hash);
    if (draw >= m->below) {
        return; /* was sent before the threshold fell */
    }
    bool l2 = m->front != NULL && draw < m->l2_below;
    if (e->kind == MRC_READ) {
        read_all(m, e, l2, now_ms);
    } else {
        change_all(m, e, l2, now_ms);
    }
    keep_size(m, now_ms);
}

void mrc_lost(struct mrc *m, uint64_t n) {
    m->lost += (double)n;
}

void mrc_reads(struct mrc *m, uint64_t reads, const uint64_t *rules, uint64_t lost) {
    double rate = share(m->below), l2_rate = share(m->l2_below), all_lost = m->lost + (double)lost, part = all_lost * (rate > 0 ? l2_rate / rate : 0);
    m->lost = 0;
    m->counts[ALL].all += (double)reads * rate - all_lost;
    m->counts[ALL].l2_all += (double)reads * l2_rate - part;
    for (unsigned g = 1; rules != NULL && g < GROUPS; g++) {
        double of_rule = reads > 0 ? (double)rules[g - 1] / (double)reads : 0; /* so many of the lost were of it, about */
        m->counts[g].all += (double)rules[g - 1] * rate - all_lost * of_rule;
        m->counts[g].l2_all += (double)rules[g - 1] * l2_rate - part * of_rule;
    }
}

static void fade(struct counts *c) {
    double *at = (double *)c;
    for (size_t i = 0; i < sizeof(*c) / sizeof(*at); i++) {
        at[i] /= 2;
    }
}

void mrc_fade(struct mrc *m) {
    for (unsigned g = 0; g < GROUPS; g++) {
        fade(&m->counts[g]);
    }
}

void mrc_forget_rules(struct mrc *m) {
    memset(&m->counts[1], 0, sizeof(m->counts[0]) * MRC_RULES);
}

void mrc_tick(struct mrc *m, int64_t now_ms) {
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        mini_tick(m->l1[i], now_ms);
    }
    if (m->front != NULL) {
        mini_tick(m->front, now_ms);
    }
    if (m->shadow != NULL) {
        mini_tick(m->shadow, now_ms);
    }
}

/* ---- the report ---- */

/* hits of so many sampled reads, where there should have been `all`: the difference are hits. */
static double rate_of(double hits, double reads, double all) {
    if (all <= 0) { /* they have not been counted yet: the sample is all there is */
        all = reads;
    }
    double rate = all > 0 ? (hits + all - reads) / all : 0;
    return rate < 0 ? 0 : rate > 1 ? 1 : rate;
}

static size_t memory_of(const struct mrc *m) {
    size_t n = sizeof(*m);
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        n += mini_bytes(m->l1[i]) + (m->l2[i] != NULL ? shelf_bytes(m->l2[i]) : 0);
    }
    n += m->front != NULL ? mini_bytes(m->front) : 0;
    return n + (m->shadow != NULL ? mini_bytes(m->shadow) : 0);
}

void mrc_report(const struct mrc *m, unsigned rule, struct mrc_report *out) {
    const struct counts *c = &m->counts[rule < GROUPS ? rule : 0];
    *out = (struct mrc_report){.rate = share(m->below),
                               .l2_rate = share(m->l2_below),
                               .items = mini_items(m->l1[MRC_TODAY]),
                               .reads = c->reads,
                               .l1_bytes = m->tiers.l1_bytes,
                               .l2_bytes = m->tiers.l2_bytes,
                               .has_l2 = m->front != NULL && m->tiers.l2_bytes != 0,
                               .has_shadow = m->shadow != NULL,
                               .shadow_hit = rate_of(c->shadow_hits, c->reads, c->all),
                               .policy = m->tiers.policy,
                               .shadow = m->tiers.shadow,
                               .memory = memory_of(m)};
    out->rough = (out->items < MRC_ROUGH_ITEMS && m->below < MINI_RATE_ONE) || c->reads < MRC_ROUGH_ITEMS;
    for (unsigned i = 0; i < MRC_SCALES; i++) {
        out->l1_hit[i] = rate_of(c->l1_hits[i], c->reads, c->all);
        out->l2_hit[i] = rate_of(c->l2_hits[i], c->l2_reads, c->l2_all);
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
