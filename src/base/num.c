/* SPDX-License-Identifier: BSD-3-Clause */
/* num: strict numbers, as Redis reads and prints them. */
#include "src/base/num.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool num_parse_u64(struct slice s, uint64_t *out) {
    if (s.n == 0 || s.n > 20 || (s.p[0] == '0' && s.n > 1)) {
        return false;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned)(s.p[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v)) {
            return false;
        }
    }
    *out = v;
    return true;
}

bool num_parse_i64(struct slice s, int64_t *out) {
    uint64_t v;
    if (s.n > 0 && s.p[0] == '-') {
        if (!num_parse_u64(slice_make(s.p + 1, s.n - 1), &v) || v == 0 || v > (uint64_t)1 << 63) {
            return false;
        }
        *out = (int64_t)(0 - v);
        return true;
    }
    if (!num_parse_u64(s, &v) || v > INT64_MAX) {
        return false;
    }
    *out = (int64_t)v;
    return true;
}

enum { FLOAT_TEXT_MAX = NUM_LD_MAX_LEN };

/* A terminated copy of a number's text, or false when it cannot be one. */
static bool float_text(struct slice s, char text[FLOAT_TEXT_MAX]) {
    if (s.n == 0 || s.n >= FLOAT_TEXT_MAX || isspace((unsigned char)s.p[0])) {
        return false;
    }
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return true;
}

bool num_parse_ld(struct slice s, long double *out) {
    char text[FLOAT_TEXT_MAX], *end;
    if (!float_text(s, text)) {
        return false;
    }
    errno = 0;
    long double v = strtold(text, &end);
    if (end != text + s.n || isnan(v) || (errno == ERANGE && (isinf(v) || v == 0.0L)) ||
        errno == EINVAL) {
        return false;
    }
    *out = v;
    return true;
}

bool num_parse_double(struct slice s, double *out) {
    char text[FLOAT_TEXT_MAX], *end;
    if (!float_text(s, text)) {
        return false;
    }
    errno = 0;
    double v = strtod(text, &end);
    if (end != text + s.n || isnan(v) || (errno == ERANGE && (isinf(v) || v == 0.0)) ||
        errno == EINVAL) {
        return false;
    }
    *out = v;
    return true;
}

size_t num_print_u64(char *p, uint64_t v) {
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    for (size_t i = 0; i < n; i++) {
        p[i] = digits[n - 1 - i];
    }
    return n;
}

size_t num_print_i64(char *p, int64_t v) {
    if (v >= 0) {
        return num_print_u64(p, (uint64_t)v);
    }
    *p = '-';
    return 1 + num_print_u64(p + 1, 0 - (uint64_t)v);
}

size_t num_len_i64(int64_t v) {
    char text[NUM_I64_MAX_LEN];
    return num_print_i64(text, v);
}

size_t num_print_ld(char *p, long double v) {
    if (isinf(v)) {
        memcpy(p, v > 0 ? "inf" : "-inf", v > 0 ? 3 : 4);
        return v > 0 ? 3 : 4;
    }
    int n = snprintf(p, NUM_LD_MAX_LEN, "%.17Lf", v);
    size_t len = n > 0 && n < NUM_LD_MAX_LEN ? (size_t)n : 0;
    if (memchr(p, '.', len) != NULL) {
        while (p[len - 1] == '0') {
            len--;
        }
        len -= p[len - 1] == '.';
    }
    if (len == 2 && p[0] == '-' && p[1] == '0') {
        p[0] = '0';
        len = 1;
    }
    return len;
}

size_t num_print_double(char *p, double v) {
    if (isnan(v)) {
        memcpy(p, "nan", 3);
        return 3;
    }
    if (isinf(v)) {
        memcpy(p, v > 0 ? "inf" : "-inf", v > 0 ? 3 : 4);
        return v > 0 ? 3 : 4;
    }
    int n = snprintf(p, NUM_DOUBLE_MAX_LEN, "%.17g", v);
    return n > 0 ? (size_t)n : 0;
}
