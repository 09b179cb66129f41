/* SPDX-License-Identifier: BSD-3-Clause */
/* source: where a missing key may be read from (disk, a peer, an origin), as the tier sees it. A probe answers at once from
 * memory, or not at all; a fetch is asynchronous and completes, once, on the loop that asked. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/hash.h"

struct loop;
struct value;

enum fetch_result { FETCH_FOUND, FETCH_ABSENT, FETCH_ERROR };
enum probe_result { PROBE_FOUND, PROBE_ABSENT, PROBE_UNKNOWN };

/* A value that was found; the asker's. */
struct found {
    struct buf str;      /* a string's bytes, unless */
    struct value *value; /* it is an aggregate: one reference */
    bool raw;            /* the string reports encoding "raw" */
    bool same;           /* the source keeps this value and will hear of its changes: the copy above is clean */
    int64_t expire_ms;   /* deadline or -1 */
};

/* One key on its way. The asker owns it, and keeps it until done was called. */
struct fetch {
    /* set by the asker */
    struct key key; /* name borrowed: stays valid until done */
    struct loop *loop;
    int64_t deadline_ms; /* wall clock */
    void (*done)(struct fetch *f);
    /* set by the source before done */
    enum fetch_result result;
    struct found found;
    const char *error;   /* ERROR: static text */
    /* the source's own */
    void *source_data;
};

struct source {
    const char *name;
    void *ctx;
    /* From memory, with the key's shard locked, on any thread; microseconds. NULL: always PROBE_UNKNOWN. */
    enum probe_result (*probe)(struct source *s, const struct key *key, int64_t now_ms, struct found *out);
    /* Keys it has of a physical database, about; those memory has, too, among them. May be NULL. Any thread. */
    int64_t (*key_count)(struct source *s, uint8_t physical);
    /* Appends its lines of INFO. May be NULL. Any thread. */
    void (*info)(struct source *s, struct buf *out);
    /* Starts f on f->loop's thread; may complete it before returning. */
    void (*fetch)(struct source *s, struct fetch *f);
};
