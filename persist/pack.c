/* SPDX-License-Identifier: BSD-3-Clause */
/* pack: LZ4 and Zstandard. */
#include "persist/pack.h"

#include <lz4.h>
#include <zstd.h>

#include "src/base/check.h"
#include "src/base/mem.h"

enum { ZSTD_LEVEL = 1 /* one thread packs all there is to write */ };

struct packer {
    ZSTD_CCtx *zstd; /* NULL until it is needed */
};

struct packer *packer_create(void) {
    return mem_zalloc(sizeof(struct packer));
}

void packer_destroy(struct packer **p) {
    ZSTD_freeCCtx((*p)->zstd); /* NULL is nothing */
    mem_free(*p);
    *p = NULL;
}

/* At most room bytes; 0: it needs more, or memory. */
static size_t pack_zstd(struct packer *p, struct slice bytes, char *out, size_t room) {
    p->zstd = p->zstd == NULL ? ZSTD_createCCtx() : p->zstd;
    size_t n = p->zstd == NULL ? 0 : ZSTD_compressCCtx(p->zstd, out, room, bytes.p, bytes.n, ZSTD_LEVEL);
    return ZSTD_isError(n) ? 0 : n;
}

bool pack(struct packer *p, enum codec codec, struct slice bytes, size_t most, struct buf *out) {
    ASSERT(codec == CODEC_LZ4 || codec == CODEC_ZSTD);
    if (bytes.n > PACK_MAX || most > PACK_MAX || !buf_try_reserve(out, most)) {
        return false;
    }
    char *at = out->p + out->n;
    size_t n = codec == CODEC_LZ4 ? (size_t)LZ4_compress_default(bytes.p, at, (int)bytes.n, (int)most) : pack_zstd(p, bytes, at, most);
    out->n += n;
    return n != 0;
}

bool unpack(enum codec codec, struct slice packed, char *out, size_t n) {
    if (n > PACK_MAX || packed.n > PACK_MAX) {
        return false;
    }
    if (codec == CODEC_LZ4) {
        return LZ4_decompress_safe(packed.p, out, (int)packed.n, (int)n) == (int)n;
    }
    return codec == CODEC_ZSTD && ZSTD_decompress(out, n, packed.p, packed.n) == n; /* an error is a huge number */
}
