/* SPDX-License-Identifier: BSD-3-Clause */
/* hotkeys: HOTKEYS START ... STOP: for a while every call (or one in `sample`) is charged to its keys, by the time it took and by the
 * bytes of its request and reply. Each loop keeps its own sums under a lock that only a reader contends for. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/hash.h"
#include "src/sight/topk.h"

struct hotkeys;

enum hotkeys_metric { HOT_CPU, HOT_NET, HOT_METRICS };
enum { HOTKEYS_SLOTS = 16384 };

struct hotkeys_order {
    bool metric[HOT_METRICS];
    unsigned count;       /* keys to report per metric, 1..TOPK_KEEP */
    int64_t duration_ms;  /* 0: until stopped */
    uint32_t sample;      /* one call in so many; 1: every */
    bool by_slot;         /* only keys of these slots: */
    uint64_t slots[HOTKEYS_SLOTS / 64];
};

struct hotkeys *hotkeys_create(unsigned loops, uint32_t lock_order);
void hotkeys_destroy(struct hotkeys **h);
/* False: under way. */
bool hotkeys_start(struct hotkeys *h, const struct hotkeys_order *order, int64_t now_ms);
/* False: none is under way. */
bool hotkeys_stop(struct hotkeys *h, int64_t now_ms);
/* Forgets what was found. False: one is under way. */
bool hotkeys_reset(struct hotkeys *h);
/* Ends one whose time is over. Now and then. */
void hotkeys_tick(struct hotkeys *h, int64_t now_ms);
bool hotkeys_is_active(const struct hotkeys *h);

/* A call on the loop's thread: its time in sixteenths of a microsecond, as many calls take less than one, and bytes, shared out
 * evenly among its keys. */
void hotkeys_charge(struct hotkeys *h, unsigned loop, const struct key *keys, int nkeys, uint64_t us16, uint64_t bytes);

struct hotkeys_key {
    uint64_t weight; /* us or bytes, of the sampled calls */
    uint16_t name_n;
    char name[TOPK_NAME_MAX];
};

struct hotkeys_report {
    bool active;
    struct hotkeys_order order;
    int64_t started_ms, took_ms;
    uint64_t all[HOT_METRICS];     /* of all calls, */
    uint64_t slots[HOT_METRICS];   /* of those with keys in the slots, */
    uint64_t sampled[HOT_METRICS]; /* and of those in the sample */
    uint64_t user_ms, sys_ms;      /* of the process, meanwhile */
    unsigned n[HOT_METRICS];
    struct hotkeys_key *keys[HOT_METRICS]; /* heaviest first; hotkeys_report_free */
};
/* False: nothing was ever started, or it was forgotten. */
bool hotkeys_report(struct hotkeys *h, int64_t now_ms, struct hotkeys_report *out);
void hotkeys_report_free(struct hotkeys_report *r);
