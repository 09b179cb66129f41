/* SPDX-License-Identifier: BSD-3-Clause */
/* gunzip: zlib's inflate into a bounded buffer. */
#include "src/origin/gunzip.h"

#include <stdint.h>

enum { STEP_BYTES = 32 << 10, GZIP_ONLY = 16, WINDOW_BITS = 15 };

bool gunzip_init(struct gunzip *g) {
    *g = (struct gunzip){0};
    g->begun = inflateInit2(&g->z, WINDOW_BITS + GZIP_ONLY) == Z_OK;
    return g->begun;
}

void gunzip_fini(struct gunzip *g) {
    if (g->begun) {
        inflateEnd(&g->z);
        g->begun = false;
    }
}

/* One step: NULL, or why not. */
static const char *step(struct gunzip *g, struct buf *out, size_t max) {
    if (!buf_try_reserve(out, STEP_BYTES)) {
        return "out of memory";
    }
    g->z.next_out = (Bytef *)(out->p + out->n);
    g->z.avail_out = STEP_BYTES;
    int e = inflate(&g->z, Z_NO_FLUSH);
    out->n += STEP_BYTES - g->z.avail_out;
    g->ended = e == Z_STREAM_END;
    if (out->n > max) {
        return "longer than max-value";
    }
    return e == Z_OK || e == Z_STREAM_END || e == Z_BUF_ERROR ? NULL : e == Z_MEM_ERROR ? "out of memory" : "bad gzip";
}

const char *gunzip_feed(struct gunzip *g, struct slice bytes, struct buf *out, size_t max) {
    const char *error = NULL;
    bool more = bytes.n > 0;
    g->z.next_in = (Bytef *)(uintptr_t)bytes.p;
    g->z.avail_in = (uInt)bytes.n;
    while (more && error == NULL) {
        if (g->ended) { /* another member follows */
            inflateReset(&g->z);
        }
        error = step(g, out, max);
        more = g->z.avail_in > 0 || (!g->ended && g->z.avail_out == 0);
    }
    return error;
}
