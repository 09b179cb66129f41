/* SPDX-License-Identifier: BSD-3-Clause */
/* lzf: greedy matching through a table of the last place of each three-byte hash. */
#include "src/ds/lzf.h"

#include <stdint.h>
#include <string.h>

enum { TABLE_BITS = 13, MAX_LITERAL = 32, MAX_DISTANCE = 8192, MAX_MATCH = 264 };

static uint32_t hash3(const uint8_t *p) {
    uint32_t v = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
    return (v * 2654435761u) >> (32 - TABLE_BITS);
}

/* Writes the literal bytes from p on in runs; the place behind them, NULL when they do not fit. */
static uint8_t *put_literals(const uint8_t *p, size_t n, uint8_t *out, const uint8_t *end) {
    while (n > 0) {
        size_t run = n < MAX_LITERAL ? n : MAX_LITERAL;
        if ((size_t)(end - out) < run + 1) {
            return NULL;
        }
        *out++ = (uint8_t)(run - 1);
        memcpy(out, p, run);
        out += run;
        p += run;
        n -= run;
    }
    return out;
}

static uint8_t *put_match(size_t distance, size_t length, uint8_t *out, const uint8_t *end) {
    if (end - out < 3) {
        return NULL;
    }
    size_t d = distance - 1, l = length - 2;
    if (l < 7) {
        *out++ = (uint8_t)(l << 5 | d >> 8);
    } else {
        *out++ = (uint8_t)(7 << 5 | d >> 8);
        *out++ = (uint8_t)(l - 7);
    }
    *out++ = (uint8_t)(d & 0xFF);
    return out;
}

size_t lzf_compress(const void *in, size_t n, void *out_start, size_t cap) {
    const uint8_t *base = in, *p = base, *literals = base, *in_end = base + n;
    uint8_t *out = out_start;
    const uint8_t *end = out + cap;
    uint32_t table[1 << TABLE_BITS] = {0}; /* offsets plus one */
    if (n < 4 || n > UINT32_MAX) {
        return 0;
    }
    while (in_end - p >= 3) {
        uint32_t *slot = &table[hash3(p)];
        const uint8_t *match = *slot == 0 ? NULL : base + *slot - 1;
        *slot = (uint32_t)(p - base) + 1;
        if (match == NULL || p - match > MAX_DISTANCE || memcmp(match, p, 3) != 0) {
            p++;
            continue;
        }
        size_t length = 3;
        while (length < MAX_MATCH && p + length < in_end && match[length] == p[length]) {
            length++;
        }
        out = put_literals(literals, (size_t)(p - literals), out, end);
        if (out != NULL) {
            out = put_match((size_t)(p - match), length, out, end);
        }
        if (out == NULL) {
            return 0;
        }
        p += length;
        literals = p;
    }
    out = put_literals(literals, (size_t)(in_end - literals), out, end);
    return out == NULL ? 0 : (size_t)(out - (uint8_t *)out_start);
}

int lzf_decompress(const void *in, size_t n, void *out_start, size_t n_out) {
    if (n == 0 || n_out == 0) {
        return n == n_out; /* nothing gives nothing; the addresses may be NULL */
    }
    const uint8_t *p = in, *end = p + n;
    uint8_t *start = out_start, *out = start, *out_end = start + n_out;
    while (p < end) {
        size_t ctrl = *p++;
        if (ctrl < 32) {
            size_t run = ctrl + 1;
            if ((size_t)(end - p) < run || (size_t)(out_end - out) < run) {
                return 0;
            }
            memcpy(out, p, run);
            p += run;
            out += run;
            continue;
        }
        size_t length = ctrl >> 5;
        if (length == 7) {
            if (p == end) {
                return 0;
            }
            length += *p++;
        }
        if (p == end) {
            return 0;
        }
        size_t distance = ((ctrl & 31) << 8 | *p++) + 1;
        length += 2;
        if ((size_t)(out - start) < distance || (size_t)(out_end - out) < length) {
            return 0;
        }
        for (; length > 0; length--, out++) {
            *out = *(out - distance); /* may overlap: byte by byte */
        }
    }
    return out == out_end;
}
