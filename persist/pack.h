/* SPDX-License-Identifier: BSD-3-Clause */
/* pack: bytes compressed and made whole again. Any thread; a packer one at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

/* On disk: numbers stay what they are. */
enum codec { CODEC_NONE = 0, CODEC_LZ4 = 1, CODEC_ZSTD = 2, CODEC_LAST = CODEC_ZSTD };
enum { PACK_MAX = 1 << 30 /* more is not compressed */ };

/* What compressing needs again and again. */
struct packer;
struct packer *packer_create(void);
void packer_destroy(struct packer **p);

/* Appends the bytes compressed. False when that is no shorter than most, or there is no memory: nothing is appended. */
bool pack(struct packer *p, enum codec codec, struct slice bytes, size_t most, struct buf *out);
/* The bytes again, exactly n of them, into out, which has room. False: they are not what was packed. */
bool unpack(enum codec codec, struct slice packed, char *out, size_t n);
