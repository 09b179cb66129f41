/* SPDX-License-Identifier: BSD-3-Clause */
/* alarms: thresholds. */
#include "src/server/alarms.h"

enum {
    SECOND_US = 1000000,
    LOG_EVERY_US = 60 * SECOND_US,
    LASTS_US = 5 * SECOND_US,
    GROWTH_LEAST = 16 << 20, /* in ten minutes, */
    GROWTH_PART = 50,        /* and of maxmemory this part */
    SLACK_PART = 4,          /* of what is in use the allocator may keep so much more */
    POOL_WAIT_US = SECOND_US
};

const struct alarm_row alarm_rows[ALARMS] = {
#define ALARM(field, name, doc) {name, doc},
#define HEALTH(field, name, doc)
#include "src/server/health.def"
#undef ALARM
#undef HEALTH
};

static bool lag_is_due(const struct signs *s) {
    return s->lag_limit_us > 0 && s->lag_us > s->lag_limit_us;
}

static bool rss_is_due(const struct signs *s) {
    return s->rss_limit > 0 && s->rss_percent > s->rss_limit;
}

static bool growth_is_due(const struct signs *s) {
    return s->grown >= GROWTH_LEAST && s->grown >= s->maxmemory / GROWTH_PART;
}

static bool fragmentation_is_due(const struct signs *s) {
    uint64_t slack = s->kept > s->used ? s->kept - s->used : 0;
    return s->slack_limit > 0 && slack >= s->slack_limit && slack >= s->used / SLACK_PART;
}

static bool pool_is_due(const struct signs *s) {
    return s->refused > 0 || (s->done > 0 && s->wait_us / s->done > POOL_WAIT_US) || s->idle_looks > 1;
}

static bool stall_is_due(const struct signs *s) {
    return s->stopped;
}

static bool settings_is_due(const struct signs *s) {
    return s->differing > 0;
}

static bool (*const due[ALARMS])(const struct signs *s) = {
#define ALARM(field, name, doc) field##_is_due,
#define HEALTH(field, name, doc)
#include "src/server/health.def"
#undef ALARM
#undef HEALTH
};

bool alarm_is_due(enum alarm a, const struct signs *s) {
    return due[a](s);
}

bool alarm_raise(struct alarm_state *s, int64_t now_us, uint64_t *unlogged) {
    atomic_fetch_add_explicit(&s->count, 1, memory_order_relaxed);
    atomic_store_explicit(&s->last_us, now_us, memory_order_relaxed);
    if (s->logged_us != 0 && now_us - s->logged_us < LOG_EVERY_US) {
        s->unlogged++;
        return false;
    }
    *unlogged = s->unlogged;
    s->logged_us = now_us;
    s->unlogged = 0;
    return true;
}

bool alarm_lasts(const struct alarm_state *s, int64_t now_us) {
    int64_t last_us = atomic_load_explicit(&s->last_us, memory_order_relaxed);
    return last_us != 0 && now_us - last_us < LASTS_US;
}
