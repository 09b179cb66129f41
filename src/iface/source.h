/* SPDX-License-Identifier: BSD-3-Clause */
/* source: where a missing key may be read from (disk, a peer, an origin), as the tier sees it. A fetch is asynchronous and
 * completes, once, on the loop that asked. */
#pragma once

#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/hash.h"

struct loop;
struct value;

enum fetch_result { FETCH_FOUND, FETCH_ABSENT, FETCH_ERROR };

/* One key on its way. The asker owns it, and keeps it until done was called. */
struct fetch {
    /* set by the asker */
    struct key key; /* name borrowed: stays valid until done */
    struct loop *loop;
    int64_t deadline_ms; /* wall clock */
    void (*done)(struct fetch *f);
    /* set by the source before done */
    enum fetch_result result;
    struct buf str;      /* FOUND: a string's bytes, owned by the asker from then on, unless */
    struct value *value; /* FOUND: an aggregate, one reference for the asker */
    int64_t expire_ms;   /* FOUND: deadline or -1 */
    const char *error;   /* ERROR: static text */
    /* the source's own */
    void *source_data;
};

struct source {
    const char *name;
    void *ctx;
    /* Starts f on f->loop's thread; may complete it before returning. */
    void (*fetch)(struct source *s, struct fetch *f);
};
