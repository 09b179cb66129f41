/* SPDX-License-Identifier: BSD-3-Clause */
/* listpack: Redis 7's packed list. */
#include "src/ds/listpack.h"

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/base/num.h"

enum { LP_EOF = 0xFF, MAX_ENCODED = 9 + 5 };

static void put_u32(unsigned char *p, uint32_t v) {
    memcpy(p, &v, 4);
}

size_t lp_bytes(const unsigned char *lp) {
    uint32_t v;
    memcpy(&v, lp, 4);
    return v;
}

static unsigned header_count(const unsigned char *lp) {
    return (unsigned)(lp[4] | lp[5] << 8);
}

static void set_header(unsigned char *lp, size_t bytes, size_t count) {
    unsigned n = count >= 65535 ? 65535 : (unsigned)count;
    put_u32(lp, (uint32_t)bytes);
    lp[4] = (unsigned char)(n & 0xFF);
    lp[5] = (unsigned char)(n >> 8);
}

/* Bytes of the backward length that follows an element of n bytes. From two bytes on, Redis leaves the last number
 * that would fit to the next size: 16383 takes three bytes. */
static size_t backlen_size(size_t n) {
    return n <= 127 ? 1 : n < 16383 ? 2 : n < 2097151 ? 3 : n < 268435455 ? 4 : 5;
}

static size_t put_backlen(unsigned char *p, size_t n) {
    size_t size = backlen_size(n);
    for (size_t i = 0; i < size; i++) {
        size_t shift = 7 * (size - 1 - i);
        p[i] = (unsigned char)(((n >> shift) & 127) | (i > 0 ? 128 : 0));
    }
    return size;
}

/* Bytes of encoding and data at p, without the backward length. 0: not an element. avail: readable bytes. */
static size_t element_size(const unsigned char *p, size_t avail) {
    unsigned char e = p[0];
    if (!(e & 0x80)) {
        return 1; /* 7-bit unsigned */
    }
    if ((e & 0xC0) == 0x80) {
        return 1 + (size_t)(e & 0x3F);
    }
    if ((e & 0xE0) == 0xC0) {
        return 2;
    }
    if ((e & 0xF0) == 0xE0) {
        return avail < 2 ? 0 : 2 + (((size_t)(e & 0x0F) << 8) | p[1]);
    }
    if (e == 0xF0) {
        uint32_t n;
        if (avail < 5) {
            return 0;
        }
        memcpy(&n, p + 1, 4);
        return 5 + (size_t)n;
    }
    return e == 0xF1 ? 3 : e == 0xF2 ? 4 : e == 0xF3 ? 5 : e == 0xF4 ? 9 : 0;
}

static const unsigned char *skip(const unsigned char *p) {
    size_t n = element_size(p, 5);
    return p + n + backlen_size(n);
}

unsigned char *lp_create(void) {
    unsigned char *lp = mem_alloc(LP_HEADER + 1);
    set_header(lp, LP_HEADER + 1, 0);
    lp[LP_HEADER] = LP_EOF;
    return lp;
}

unsigned char *lp_first(const unsigned char *lp) {
    const unsigned char *p = lp + LP_HEADER;
    return *p == LP_EOF ? NULL : (unsigned char *)(uintptr_t)p;
}

unsigned char *lp_next(const unsigned char *lp, const unsigned char *p) {
    (void)lp;
    p = skip(p);
    return *p == LP_EOF ? NULL : (unsigned char *)(uintptr_t)p;
}

size_t lp_len(const unsigned char *lp) {
    unsigned n = header_count(lp);
    if (n != 65535) {
        return n;
    }
    size_t count = 0;
    for (unsigned char *p = lp_first(lp); p != NULL; p = lp_next(lp, p)) {
        count++;
    }
    return count;
}

static int64_t sign_extend(uint64_t v, unsigned bits) {
    uint64_t sign = (uint64_t)1 << (bits - 1);
    return (int64_t)((v ^ sign) - sign);
}

static int64_t read_int(const unsigned char *p, size_t bytes) {
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return bytes == 8 ? (int64_t)v : sign_extend(v, (unsigned)bytes * 8);
}

struct slice lp_get(const unsigned char *p, char *text) {
    unsigned char e = p[0];
    int64_t v;
    if (!(e & 0x80)) {
        v = e;
    } else if ((e & 0xC0) == 0x80) {
        return slice_make(p + 1, e & 0x3F);
    } else if ((e & 0xE0) == 0xC0) {
        v = sign_extend(((uint64_t)(e & 0x1F) << 8) | p[1], 13);
    } else if ((e & 0xF0) == 0xE0) {
        return slice_make(p + 2, element_size(p, 5) - 2);
    } else if (e == 0xF0) {
        return slice_make(p + 5, element_size(p, 5) - 5);
    } else {
        v = read_int(p + 1, element_size(p, 5) - 1);
    }
    return slice_make(text, num_print_i64(text, v));
}

/* Encoding bytes of s into out (MAX_ENCODED); returns their number. Strings' data is not copied: *data says whether it
 * follows. */
static size_t encode_head(struct slice s, unsigned char *out, bool *data) {
    int64_t v;
    *data = false;
    if (s.n <= 20 && num_parse_i64(s, &v)) {
        if (v >= 0 && v <= 127) {
            out[0] = (unsigned char)v;
            return 1;
        }
        if (v >= -4096 && v <= 4095) {
            out[0] = (unsigned char)(0xC0 | ((v >> 8) & 0x1F));
            out[1] = (unsigned char)(v & 0xFF);
            return 2;
        }
        size_t bytes = v >= -32768 && v <= 32767             ? 2
                       : v >= -8388608 && v <= 8388607       ? 3
                       : v >= INT32_MIN && v <= INT32_MAX ? 4
                                                             : 8;
        out[0] = (unsigned char)(bytes == 8 ? 0xF4 : 0xF1 + bytes - 2);
        for (size_t i = 0; i < bytes; i++) {
            out[1 + i] = (unsigned char)((uint64_t)v >> (8 * i));
        }
        return 1 + bytes;
    }
    *data = true;
    if (s.n < 64) {
        out[0] = (unsigned char)(0x80 | s.n);
        return 1;
    }
    if (s.n < 4096) {
        out[0] = (unsigned char)(0xE0 | (s.n >> 8));
        out[1] = (unsigned char)(s.n & 0xFF);
        return 2;
    }
    out[0] = 0xF0;
    put_u32(out + 1, (uint32_t)s.n);
    return 5;
}

/* Puts s in the place of old_bytes bytes at offset at; count changes by delta. */
static unsigned char *splice(unsigned char *lp, size_t at, size_t old_bytes, struct slice s,
                             int delta) {
    unsigned char head[MAX_ENCODED], tail[5];
    bool data;
    size_t h = encode_head(s, head, &data), body = h + (data ? s.n : 0);
    size_t t = put_backlen(tail, body), fresh = body + t;
    size_t total = lp_bytes(lp), count = lp_len(lp);
    if (total + fresh > UINT32_MAX) {
        return NULL;
    }
    if (fresh > old_bytes) {
        unsigned char *grown = mem_try_realloc(lp, total + fresh - old_bytes);
        if (grown == NULL) {
            return NULL;
        }
        lp = grown;
    }
    memmove(lp + at + fresh, lp + at + old_bytes, total - at - old_bytes);
    memcpy(lp + at, head, h);
    if (data && s.n > 0) { /* an empty slice may have no address */
        memcpy(lp + at + h, s.p, s.n);
    }
    memcpy(lp + at + body, tail, t);
    set_header(lp, total + fresh - old_bytes, count + (size_t)(int64_t)delta);
    return lp;
}

unsigned char *lp_append(unsigned char *lp, struct slice s) {
    return splice(lp, lp_bytes(lp) - 1, 0, s, 1);
}

unsigned char *lp_replace(unsigned char *lp, unsigned char **p, struct slice s) {
    size_t at = (size_t)(*p - lp);
    lp = splice(lp, at, (size_t)(skip(*p) - *p), s, 0);
    if (lp != NULL) {
        *p = lp + at;
    }
    return lp;
}

unsigned char *lp_delete(unsigned char *lp, unsigned char *p, size_t n) {
    size_t total = lp_bytes(lp), count = lp_len(lp);
    const unsigned char *end = p;
    for (size_t i = 0; i < n && *end != LP_EOF; i++, count--) {
        end = skip(end);
    }
    size_t gone = (size_t)(end - p);
    memmove(p, end, total - (size_t)(end - lp));
    set_header(lp, total - gone, count);
    unsigned char *shrunk = mem_try_realloc(lp, total - gone);
    return shrunk == NULL ? lp : shrunk;
}

static bool backlen_matches(const unsigned char *p, size_t n) {
    unsigned char expect[5];
    size_t size = put_backlen(expect, n);
    return memcmp(p, expect, size) == 0;
}

bool lp_validate(const unsigned char *lp, size_t n) {
    if (n < LP_HEADER + 1 || lp_bytes(lp) != n || lp[n - 1] != LP_EOF) {
        return false;
    }
    const unsigned char *p = lp + LP_HEADER, *end = lp + n - 1;
    size_t count = 0;
    while (p < end) {
        size_t size = element_size(p, (size_t)(end - p));
        if (size == 0 || size > (size_t)(end - p) || backlen_size(size) > (size_t)(end - p) - size ||
            !backlen_matches(p + size, size)) {
            return false;
        }
        p += size + backlen_size(size);
        count++;
    }
    return p == end && (header_count(lp) == 65535 || header_count(lp) == count);
}
