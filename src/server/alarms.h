/* SPDX-License-Identifier: BSD-3-Clause */
/* alarms: when the server's health is to be looked at, by the rows of health.def, how long an alarm lasts and how often it is logged.
 * Pure: time and what is known are passed in. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum alarm {
#define ALARM(field, name, doc) ALARM_##field,
#define HEALTH(field, name, doc)
#include "src/server/health.def"
#undef ALARM
#undef HEALTH
    ALARMS
};

struct alarm_row {
    const char *name, *doc;
};
extern const struct alarm_row alarm_rows[ALARMS];

/* What was seen at one look; all zero is a healthy server. */
struct signs {
    uint64_t lag_us, lag_limit_us;         /* longest turn of a loop; 0: any is well */
    uint64_t rss_percent, rss_limit;       /* of maxmemory; 0: any is well */
    int64_t grown, maxmemory;              /* bytes that nothing explains, in ten minutes; 0: no limit */
    uint64_t kept, used, slack_limit;      /* the allocator's bytes; what it may keep beyond those used; 0: any is well */
    uint64_t refused, done, wait_us;       /* the pool's jobs since the last look, and how long those done had waited together */
    unsigned idle_looks;                   /* at so many looks in a row, a second apart, jobs waited and none was done */
    bool stopped;                          /* RocksDB takes no writes */
    unsigned differing;                    /* nodes whose settings are not this one's */
};
bool alarm_is_due(enum alarm a, const struct signs *s);

struct alarm_state {
    /* atomic, for any reader */
    _Atomic uint64_t count;
    _Atomic int64_t last_us; /* monotonic; 0: never */
    /* who raises it */
    int64_t logged_us;
    uint64_t unlogged;
};
/* Counts it. True when it is to be logged, at most once a minute; *unlogged: how often it was not, since. */
bool alarm_raise(struct alarm_state *s, int64_t now_us, uint64_t *unlogged);
/* For five seconds after the last time. Any thread. */
bool alarm_lasts(const struct alarm_state *s, int64_t now_us);
