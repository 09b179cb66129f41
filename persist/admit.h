/* SPDX-License-Identifier: BSD-3-Clause */
/* admit: which values that memory evicts are worth a write to the disk. Each refusal has a reason that is counted.
 *
 * While the disk has room everything is, but what is too large or about to expire. On a full one the rule decides; the usual is
 * `second`: a key must have been evicted before, so that what is read once does not push out what is read again
 * (EVICTION: a bloom-like table of fingerprints, as in flash caches' reuse filters). Two budgets bound the wear of the
 * device. The thrash guard refuses everything for a while when most of what goes down had gone down seconds before, came back and
 * was changed.
 *
 * All functions: any thread, no lock. Sums are approximate where threads meet. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum admit_rule { ADMIT_ALL, ADMIT_SECOND, ADMIT_RANDOM };

struct admit_limits {
    enum admit_rule rule;
    uint32_t random_ppm;
    size_t max_value_bytes;
    int64_t min_ttl_ms;
    int64_t second_bytes, day_bytes; /* budgets, 0: none */
    bool guard;
};

enum admit_verdict {
    ADMITTED,
    REFUSED_SIZE,
    REFUSED_TTL,
    REFUSED_UNREAD, /* write policy around */
    REFUSED_RULE,
    REFUSED_BUDGET,
    REFUSED_THRASH,
    ADMIT_VERDICTS
};

enum { ADMIT_SEEN = 1 << 20, ADMIT_RECENT = 1 << 16 };

struct admission {
    /* atomic */
    _Atomic int rule;
    _Atomic uint32_t random_ppm;
    _Atomic size_t max_value_bytes;
    _Atomic int64_t min_ttl_ms, second_bytes, day_bytes;
    _Atomic bool guard;
    _Atomic bool full; /* the rule counts */
    _Atomic uint64_t verdicts[ADMIT_VERDICTS];
    _Atomic int64_t second, second_used, day, day_used;
    /* thrash guard: this window's demotions, and how many of them were undone */
    _Atomic int64_t window_start_ms, guard_until_ms;
    _Atomic uint32_t window_down, window_undone;
    _Atomic uint64_t guarded_windows;
    _Atomic uint32_t *recent;  /* fingerprint and second of what went down lately */
    _Atomic uint16_t *seen;    /* fingerprints of keys evicted while full */
};

void admit_init(struct admission *a);
void admit_fini(struct admission *a);
void admit_tune(struct admission *a, const struct admit_limits *limits);
/* The verdict on a value, counted. ttl_ms: time left, -1 none; now_ms: any clock that goes on. */
enum admit_verdict admit_value(struct admission *a, uint64_t hash, size_t bytes, int64_t ttl_ms, int64_t now_ms);
/* The key's value was wanted back: going down again soon, changed, it will have been written for nothing. */
void admit_wanted(struct admission *a, uint64_t hash, int64_t now_ms);
bool admit_is_guarding(const struct admission *a, int64_t now_ms);
