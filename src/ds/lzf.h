/* SPDX-License-Identifier: BSD-3-Clause */
/* lzf: the LZF format of strings in RDB files. A control byte below 32 begins that many and one literal bytes; otherwise its top three
 * bits (7: plus the next byte) are a length less two, and the low five with the next byte a distance less one. */
#pragma once

#include <stddef.h>

/* Compressed size, at most cap; 0 when it would not fit. */
size_t lzf_compress(const void *in, size_t n, void *out, size_t cap);
/* Fills out with exactly n_out bytes, or returns 0: the input is not that. Reads and writes nothing outside. */
int lzf_decompress(const void *in, size_t n, void *out, size_t n_out);
