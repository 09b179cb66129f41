/* SPDX-License-Identifier: BSD-3-Clause */
/* reply: finds where RESP replies end without keeping them; a reply may come in any number of pieces. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum reply_kind {
    REPLY_PARTIAL, /* the bytes ended before the reply did */
    REPLY_VALUE,
    REPLY_NULL,
    REPLY_ERROR,
    REPLY_GARBAGE /* not RESP: give up on the connection */
};

enum { REPLY_LINE_MAX = 120 };

/* Zero is the state between two replies. */
struct reply {
    uint64_t skip;   /* bytes of a bulk and its end of line still to come */
    uint64_t open;   /* elements of started arrays still to come */
    unsigned line_n; /* bytes of an unfinished line in line */
    char line[REPLY_LINE_MAX + 1]; /* the last line, cut at REPLY_LINE_MAX: the text of an error */
};

/* Reads on from p; returns how many bytes were used and sets *kind. Any kind but REPLY_PARTIAL means
 * that exactly one top-level reply ended at the returned offset. */
size_t reply_feed(struct reply *r, const char *p, size_t n, enum reply_kind *kind);
