/* SPDX-License-Identifier: BSD-3-Clause */
/* slice: borrowed bytes, passed by value, never stored beyond the call without a copy. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct slice {
    const char *p;
    size_t n;
};

/* A slice of a string literal. */
#define SLICE(lit) ((struct slice){"" lit, sizeof(lit) - 1})
/* printf arguments for "%.*s". */
#define SLICE_ARG(s) (int)(s).n, (s).p

static inline struct slice slice_make(const void *p, size_t n) {
    return (struct slice){(const char *)p, n};
}

static inline struct slice slice_cstr(const char *s) {
    return (struct slice){s, strlen(s)};
}

/* memcmp == 0, without the call where most keys are: at 8 to 16 bytes. */
static inline bool bytes_eq(const char *a, const char *b, size_t n) {
    if (n - 8 <= 8) {
        uint64_t a_head, a_tail, b_head, b_tail;
        memcpy(&a_head, a, 8);
        memcpy(&b_head, b, 8);
        memcpy(&a_tail, a + n - 8, 8);
        memcpy(&b_tail, b + n - 8, 8);
        return ((a_head ^ b_head) | (a_tail ^ b_tail)) == 0;
    }
    return n == 0 || memcmp(a, b, n) == 0;
}

static inline bool slice_eq(struct slice a, struct slice b) {
    return a.n == b.n && bytes_eq(a.p, b.p, a.n);
}

/* Equal but for the case of ASCII letters: option words and command names. */
static inline bool slice_eqi(struct slice a, const char *word) {
    return a.n == strlen(word) && strncasecmp(a.p, word, a.n) == 0;
}

static inline bool slice_starts(struct slice s, struct slice prefix) {
    return s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0;
}
