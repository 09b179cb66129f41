/* SPDX-License-Identifier: BSD-3-Clause */
/* num: strict numbers, exactly as Redis reads and prints them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"

/* A decimal 64-bit integer: optional '-', no leading zeros, no '+', no spaces, no "-0". */
bool num_parse_i64(struct slice s, int64_t *out) __attribute__((warn_unused_result));
bool num_parse_u64(struct slice s, uint64_t *out) __attribute__((warn_unused_result));
/* A finite or infinite long double or double; NaN, leading or trailing space and hex garbage are refused as
 * Redis's string2ld and string2d do. */
bool num_parse_ld(struct slice s, long double *out) __attribute__((warn_unused_result));
bool num_parse_double(struct slice s, double *out) __attribute__((warn_unused_result));

enum { NUM_I64_MAX_LEN = 21, NUM_LD_MAX_LEN = 5 * 1024, NUM_DOUBLE_MAX_LEN = 40 };

/* Decimal text of v at p (room for NUM_I64_MAX_LEN); returns its length, no terminator. */
size_t num_print_i64(char *p, int64_t v);
size_t num_print_u64(char *p, uint64_t v);
/* INCRBYFLOAT's form: "%.17Lf" without trailing zeros. p has NUM_LD_MAX_LEN bytes. */
size_t num_print_ld(char *p, long double v);
/* The RESP3 form of a double: shortest of "%.17g", "inf", "-inf", "nan". p has NUM_DOUBLE_MAX_LEN bytes. */
size_t num_print_double(char *p, double v);
/* Decimal digits of v, sign included. */
size_t num_len_i64(int64_t v);
