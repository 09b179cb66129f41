/* SPDX-License-Identifier: BSD-3-Clause */
/* gunzip: a gzip stream that comes in pieces, unpacked into a buffer up to a bound. Knows whether the stream was whole, which
 * libcurl's own decoding does not tell. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <zlib.h>

#include "src/base/buf.h"

struct gunzip {
    z_stream z;
    bool begun; /* gunzip_init has succeeded */
    bool ended; /* the stream is whole: it ended where the bytes did, its length and checksum right */
};

bool gunzip_init(struct gunzip *g) __attribute__((warn_unused_result)); /* false without memory */
void gunzip_fini(struct gunzip *g);                                     /* zero-initialised is fine, too */
/* Appends what the bytes unpack to, max bytes in out at most. NULL, or why not (static text). */
const char *gunzip_feed(struct gunzip *g, struct slice bytes, struct buf *out, size_t max);
