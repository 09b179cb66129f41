/* SPDX-License-Identifier: BSD-3-Clause */
/* sight_int: what the renderers share. */
#pragma once

#include "src/base/lock.h"
#include "src/server/sight.h"
#include "src/stats/conns.h"
#include "src/stats/history.h"

struct conf;

struct chronicle {
    /* fixed after create */
    struct server *server;
    /* the cron's */
    int64_t noted_ms; /* when it last noted */
    /* HISTORY lock */
    struct lock lock;
    struct history *history;
    struct window tiers[STAT_TIERS];
    struct window **commands; /* by id; NULL until the command has read a key */
};

struct gauges {
#define GAUGE(group, field, kind, doc) uint64_t group##_##field;
#include "src/stats/gauges.def"
#undef GAUGE
};

struct gauge_row {
    const char *group, *name, *kind, *doc;
    uint32_t offset;
};
extern const struct gauge_row gauge_rows[];
extern const unsigned gauge_count;

static inline uint64_t gauge_value(const struct gauges *g, const struct gauge_row *row) {
    return *(const uint64_t *)((const char *)g + row->offset);
}

/* Reads what there is. conf: the present snapshot. */
void sight_gauges(struct server *srv, const struct conf *conf, struct gauges *out);
double sight_fragmentation(const struct gauges *g);
/* fn is called for each pool of outgoing connections: `peers`, `origin_NAME`, and once there were any the driver's that finds nodes (`etcd`)
 * and `import`. Any thread. */
void sight_conns(struct server *srv, void (*fn)(void *ctx, const char *name, const struct conn_numbers *n), void *ctx);
/* INFO's section Health, or nothing while there is no such thing. */
void sight_health(struct server *srv, struct buf *out);
/* The value of a line "name:value" of a section of INFO; as a number. False: there is no such line, or no number in it. */
bool info_value(struct slice info, const char *name, struct slice *value);
bool info_number(struct slice info, const char *name, uint64_t *value);
