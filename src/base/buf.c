/* SPDX-License-Identifier: BSD-3-Clause */
/* buf: growable owned bytes. */
#include "src/base/buf.h"

#include <stdio.h>

#include "src/base/check.h"
#include "src/base/mem.h"

static size_t next_cap(const struct buf *b, size_t n) {
    size_t want = b->n + n;
    CHECK(want >= n);
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < want) {
        cap = cap > want / 2 ? want + want / 8 : cap * 2; /* the last step wastes an eighth, not a half */
    }
    return cap;
}

char *buf_grow(struct buf *b, size_t n) {
    if (b->cap - b->n < n) {
        size_t cap = next_cap(b, n);
        b->p = mem_realloc(b->p, cap);
        b->cap = cap;
    }
    return b->p + b->n;
}

bool buf_try_reserve(struct buf *b, size_t n) {
    if (b->cap - b->n >= n) {
        return true;
    }
    size_t cap = next_cap(b, n);
    char *p = mem_try_realloc(b->p, cap);
    if (p == NULL) {
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

bool buf_try_exact(struct buf *b, size_t n) {
    *b = (struct buf){.p = mem_try_alloc(n), .cap = n};
    return b->p != NULL;
}

void buf_free(struct buf *b) {
    mem_free(b->p);
    *b = (struct buf){0};
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    CHECK(n >= 0);
    vsnprintf(buf_reserve(b, (size_t)n + 1), (size_t)n + 1, fmt, again);
    b->n += (size_t)n;
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}
