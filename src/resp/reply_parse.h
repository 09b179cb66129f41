/* SPDX-License-Identifier: BSD-3-Clause */
/* reply_parse: replies of a RESP2 server, for those who ask one. First a scan finds where a reply ends, however its bytes
 * arrive and without allocating; then a whole reply is built, its strings borrowed from the input. Knows no connection. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "src/base/arena.h"
#include "src/base/slice.h"

enum reply_kind { REPLY_STATUS, REPLY_ERROR, REPLY_INT, REPLY_BULK, REPLY_NULL, REPLY_ARRAY };

struct reply {
    enum reply_kind kind;
    uint32_t n;                /* ARRAY: its items */
    int64_t integer;           /* INT */
    struct slice str;          /* STATUS, ERROR (without sign and line end), BULK */
    const struct reply *items; /* ARRAY */
};

struct reply_limits {
    size_t max_bulk_bytes;  /* of one string */
    size_t max_bytes;       /* of a whole reply */
    uint32_t max_elements;  /* of a whole reply, all arrays together */
};

enum { REPLY_DEPTH = 8 /* arrays in arrays */, REPLY_LINE_BYTES = 16 << 10 /* a line, with its end */ };

enum reply_status {
    REPLY_OK,
    REPLY_MORE,     /* incomplete */
    REPLY_GARBAGE,  /* not RESP2, or nested too deep */
    REPLY_TOO_LONG  /* it announces more than the limits allow: known before the bytes have come */
};

/* What a scan remembers while the input grows; zero it for each reply. */
struct reply_scan {
    size_t at;                    /* whole elements end here */
    uint32_t elements;
    uint32_t depth;
    uint32_t left[REPLY_DEPTH];   /* elements still to come, of each open array */
};

/* Scans the reply at the start of in, which may have moved and grown since the last call with this scan. OK: *n is the
 * reply's length. MORE: *n is how many bytes of input it takes to get on, at least. */
enum reply_status reply_scan(struct slice in, const struct reply_limits *limits, struct reply_scan *scan, size_t *n);

/* Builds a reply out of the whole bytes that a scan found. Items are in the arena, strings in whole. */
void reply_build(struct slice whole, struct arena *arena, struct reply *out);
