/* SPDX-License-Identifier: BSD-3-Clause */
/* conns: what is counted of outgoing connections that are kept, by the rows of conns.def: live, by the one thread that has them, and
 * added up for a reader. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/stats/stat.h"

/* All zero to begin with. STAT_ADD and STAT_SET by the thread that has the connections. */
struct conns {
#define CONN(field, kind, doc) stat_t field;
#include "src/stats/conns.def"
#undef CONN
};

/* The same of all threads. */
struct conn_numbers {
#define CONN(field, kind, doc) uint64_t field;
#include "src/stats/conns.def"
#undef CONN
};

/* The rows, for printing. */
struct conn_row {
    const char *name, *doc;
    bool counts;     /* false: a gauge */
    uint32_t offset; /* of the uint64_t within struct conn_numbers */
};
enum {
#define CONN(field, kind, doc) CONN_##field,
#include "src/stats/conns.def"
#undef CONN
    CONN_ROWS
};
extern const struct conn_row conn_rows[CONN_ROWS];

static inline uint64_t conn_number(const struct conn_numbers *n, const struct conn_row *row) {
    return *(const uint64_t *)((const char *)n + row->offset);
}
/* Any thread. */
void conn_numbers_add(struct conn_numbers *n, const struct conns *c);
/* Counters begin anew, gauges stay. Any thread: what is counted meanwhile may be lost. */
void conns_reset(struct conns *c);
