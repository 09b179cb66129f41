/* SPDX-License-Identifier: BSD-3-Clause */
/* sight: what the server knows of its own traffic: hot keys, big keys, miss-ratio curves and a shadow policy, always on.
 *
 *   loop   a key below the threshold: its access goes into the loop's ring; about every sixty-fourth call: one of its keys into
 *          a HeavyKeeper that some loops share
 *   cron   sight_tick: what the miniatures stand for, and how many reads there were
 *   sight  a thread of its own drains the rings into the miniatures. It may use a hundredth of a processor: when it uses more, or a
 *          ring has overflowed, the threshold falls
 *
 * Results are published as copies; all functions that list them may be called by any thread, whatever locks of lower rank it holds. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/hash.h"
#include "src/sight/big.h"
#include "src/sight/hotkeys.h"
#include "src/sight/mrc.h"
#include "src/sight/topk.h"

enum { SIGHT_HOT_EVERY = 64 /* calls, on average, of which one is looked at for hot keys */ };

struct sight_options {
    unsigned loops;
    bool l2;
    bool inline_jobs; /* no thread: drained where it is asked for. Tests */
};

struct sight {
    /* atomic, read by every loop in each turn */
    _Atomic uint32_t below; /* keys drawn (mini_draw) below this are sampled */
    struct big big;
    struct hotkeys *tracking; /* HOTKEYS */
    struct sight_state *state;
};

/* How many items the miniatures of memory may hold together. */
unsigned sight_items(const struct sight_options *o);
struct sight *sight_create(const struct sight_options *o, const struct mrc_tiers *tiers);
/* After the last call on it; every loop stopped. */
void sight_destroy(struct sight **s);

/* ---- loops ---- */
/* An access to a sampled key by loop number `loop`, on its thread. */
void sight_note(struct sight *s, unsigned loop, const struct mrc_event *e);
/* A call in SIGHT_HOT_EVERY touched the key, of so many. */
void sight_hot(struct sight *s, unsigned loop, const struct key *key, uint32_t weight);

/* ---- cron ---- */
struct sight_now {
    struct mrc_tiers tiers;  /* names static, as rows of policies.def have them */
    uint64_t reads;          /* since start: hits and misses of read commands; may fall, when statistics are reset */
    uint64_t rule_reads[MRC_RULES];
    uint64_t rules_version;  /* another set of policies by key pattern: their numbers mean others */
    int64_t now_ms;
};
void sight_tick(struct sight *s, const struct sight_now *now);
/* Waits for nothing but brings the rings into the miniatures now, as far as no one else is about it. */
void sight_drain(struct sight *s);

/* ---- what is known; any thread ---- */
/* As of the last drain, at most a second or so ago. rule: 1 + number, 0 for all. */
void sight_mrc(struct sight *s, unsigned rule, struct mrc_report *out);
struct sight_key {
    uint64_t accesses;  /* about, since a minute or two */
    double per_second;
    uint8_t db;         /* physical */
    bool cut;           /* the key is longer than its name here */
    uint16_t name_n;
    char name[TOPK_NAME_MAX];
};
/* The hottest first, at most max (TOPK_KEEP make sense); *out is the caller's to mem_free. Returns how many. */
unsigned sight_hot_keys(struct sight *s, unsigned max, struct sight_key **out);
struct sight_stats {
    uint64_t sampled, lost; /* accesses put into rings; that found them full */
    uint64_t cpu_us;        /* of the thread */
    size_t memory;
};
void sight_stats(struct sight *s, struct sight_stats *out);
/* Lines of INFO's tiers: what more memory would buy, the shadow policy, the sample. */
void sight_info(struct sight *s, struct buf *out);
