/* SPDX-License-Identifier: BSD-3-Clause */
/* buf: growable owned bytes. Zero-initialised is empty and valid. One owner, no lock. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "src/base/slice.h"

struct buf {
    char *p;
    size_t n;   /* bytes in use */
    size_t cap; /* bytes allocated */
};

/* Makes room for n more bytes, doubling; aborts when memory is gone. Returns the end of the data. */
char *buf_grow(struct buf *b, size_t n);
/* The same, but false (and nothing changed) when memory is gone: for sizes a client chooses. */
bool buf_try_reserve(struct buf *b, size_t n) __attribute__((warn_unused_result));
/* An empty buffer with room for n bytes and no more: for what is kept as it is. */
bool buf_try_exact(struct buf *b, size_t n) __attribute__((warn_unused_result));
void buf_free(struct buf *b);
/* Appends formatted text. */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Room for n bytes at the end; the caller writes them and calls buf_commit. */
static inline char *buf_reserve(struct buf *b, size_t n) {
    return b->cap - b->n >= n ? b->p + b->n : buf_grow(b, n);
}

static inline void buf_commit(struct buf *b, size_t n) {
    b->n += n;
}

static inline void buf_put(struct buf *b, const void *p, size_t n) {
    if (n > 0) {
        memcpy(buf_reserve(b, n), p, n);
        b->n += n;
    }
}

static inline void buf_put_slice(struct buf *b, struct slice s) {
    buf_put(b, s.p, s.n);
}

static inline void buf_putc(struct buf *b, char c) {
    *buf_reserve(b, 1) = c;
    b->n++;
}

static inline void buf_puts(struct buf *b, const char *s) {
    buf_put(b, s, strlen(s));
}

static inline struct slice buf_slice(const struct buf *b) {
    return slice_make(b->p, b->n);
}

static inline void buf_clear(struct buf *b) {
    b->n = 0;
}
