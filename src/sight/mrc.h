/* SPDX-License-Identifier: BSD-3-Clause */
/* mrc: miss-ratio curves while the cache runs: miniatures (mini.h, shelf.h) of the memory tier at several multiples of its size, and
 * of the disk tier behind a memory tier of today's size, fed with sampled reads and writes. And one more of today's size under
 * another policy, the shadow. One owner at a time; no clock is read.
 *
 * The samples are of keys, by their hash: all of them at first. When a miniature would hold more than its part of the items its threshold
 * falls and the keys above it leave (SHARDS' fixed size); so those of small tiers, which need many of the keys, keep many, and those of
 * large ones, above all of the disk, few. A key that is hot enough to matter by itself may be in the largest sample or not, which would
 * shift the curve; so the reads that it should have had by its share of all reads are known, and the difference is counted as hits, as
 * such a key's would be. Each sample is part of the one before, and a point is told by its share of the misses of the point before. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/sight/shelf.h"

struct mrc;

enum {
    MRC_ITEMS = 12000,     /* of all miniatures of memory */
    MRC_DISK_ITEMS = 1600, /* of each one of the disk */
    MRC_ROUGH_ITEMS = 500, /* a miniature of today's size that holds fewer says little */
    MRC_RULES = 32,        /* policies by key pattern that are told apart */
    MRC_SCALES = 6
};

/* Multiples of a tier's size, ascending. */
extern const double mrc_scales[MRC_SCALES];
enum { MRC_TODAY = 2 /* which of them is 1 */ };

enum mrc_kind { MRC_READ, MRC_WRITE, MRC_REMOVE };

struct mrc_event {
    struct mini_access access;
    uint8_t kind; /* enum mrc_kind */
    uint8_t rule; /* 1 + the policy's number, 0 for none */
};

/* What the miniatures stand for. */
struct mrc_tiers {
    uint64_t l1_bytes;  /* limit of the memory tier, as it counts itself */
    const char *policy; /* a row of policies.def */
    const char *shadow; /* another one, or NULL */
    uint64_t l2_bytes;  /* limit of the disk tier; 0: none, or no limit, and no curve */
    enum shelf_rule l2_rule;
    uint32_t l2_chance_ppm;
};

struct mrc_options {
    bool l2;              /* there is a disk tier */
    unsigned items;       /* instead of MRC_ITEMS, when not 0 */
};

struct mrc *mrc_create(const struct mrc_options *o, const struct mrc_tiers *tiers);
void mrc_destroy(struct mrc **m);
/* Keys drawn (mini_draw) at or above this are in no sample. */
uint32_t mrc_below(const struct mrc *m);
void mrc_set_tiers(struct mrc *m, const struct mrc_tiers *tiers);
void mrc_feed(struct mrc *m, const struct mrc_event *e, int64_t now_ms);
/* So many reads of keys of any hash there have been since the last call, of those of each rule (may be NULL), and so many sampled ones
 * that were lost on the way. */
void mrc_reads(struct mrc *m, uint64_t reads, const uint64_t *rules, uint64_t lost);
/* So many sampled reads were lost on the way, at the present rate: told before that changes, counted by the next mrc_reads. */
void mrc_lost(struct mrc *m, uint64_t n);
/* The sample takes too much time: three quarters of it. False when it is as small as it gets. */
bool mrc_lower_rate(struct mrc *m, int64_t now_ms);
/* The opposite, for a sample that has become much smaller than it may be: the miniatures begin anew. */
void mrc_double_rate(struct mrc *m);
/* Whether it has: a quarter of what it may hold. */
bool mrc_is_small(const struct mrc *m);
/* What was counted counts half from now on. */
void mrc_fade(struct mrc *m);
/* Counts of policies by key pattern begin anew: they are others. */
void mrc_forget_rules(struct mrc *m);
/* Expiry in the miniatures. */
void mrc_tick(struct mrc *m, int64_t now_ms);

struct mrc_report {
    double rate;          /* share of keys in the sample for memory of today's size, */
    double l2_rate;       /* and for the disk of today's size */
    uint64_t items;       /* of the miniature of today's size */
    double reads;         /* sampled reads behind the figures, newer ones count more */
    bool rough;           /* too few items, or reads, to rely on */
    uint64_t l1_bytes, l2_bytes;
    double l1_hit[MRC_SCALES];  /* hit rate of memory at that multiple of its size, */
    bool has_l2;
    double l2_hit[MRC_SCALES];  /* of memory as it is with so large a disk behind it */
    bool has_shadow;
    double shadow_hit;    /* of memory as large as it is, under the shadow policy */
    const char *policy, *shadow;
    size_t memory;        /* bytes that all this takes */
};

/* rule: as in mrc_event, 0 for all keys. Rates are 0 before the first read. */
void mrc_report(const struct mrc *m, unsigned rule, struct mrc_report *out);
/* The curve's hit rate at so many bytes of memory: between its points on a straight line, beyond the last as there. */
double mrc_hit_at(const struct mrc_report *r, double l1_bytes);
