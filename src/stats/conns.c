/* SPDX-License-Identifier: BSD-3-Clause */
/* conns: the rows as a table, and adding up. */
#include "src/stats/conns.h"

#include <stddef.h>

enum { counter = true, gauge = false };

const struct conn_row conn_rows[CONN_ROWS] = {
#define CONN(field, kind, doc) {#field, doc, kind, offsetof(struct conn_numbers, field)},
#include "src/stats/conns.def"
#undef CONN
};

void conn_numbers_add(struct conn_numbers *n, const struct conns *c) {
#define CONN(field, kind, doc) n->field += STAT_GET(c->field);
#include "src/stats/conns.def"
#undef CONN
}

void conns_reset(struct conns *c) {
#define CONN(field, kind, doc)    \
    if (kind) {                   \
        STAT_SET(c->field, 0);    \
    }
#include "src/stats/conns.def"
#undef CONN
}
