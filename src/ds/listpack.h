/* SPDX-License-Identifier: BSD-3-Clause */
/* listpack: a list of strings and integers in one block, byte for byte the format of Redis 7.
 *
 *   total bytes u32 | elements u16 | element ... | 0xFF
 *   element: encoding and data | its length again, readable backwards
 *
 * Everything is O(bytes). Owned by the caller; no lock. Growing functions return NULL when memory is gone and leave
 * the list as it was. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"

enum { LP_HEADER = 6, LP_INT_TEXT = 21 };

unsigned char *lp_create(void);
size_t lp_bytes(const unsigned char *lp);
/* Counts by walking when there are more than 65534. */
size_t lp_len(const unsigned char *lp);
/* First and next element; NULL at the end. */
unsigned char *lp_first(const unsigned char *lp);
unsigned char *lp_next(const unsigned char *lp, const unsigned char *p);
/* The element at p; integers are printed into text (LP_INT_TEXT bytes). */
struct slice lp_get(const unsigned char *p, char *text);
unsigned char *lp_append(unsigned char *lp, struct slice s);
/* Replaces the element at *p, which then points at the new one. */
unsigned char *lp_replace(unsigned char *lp, unsigned char **p, struct slice s);
/* Removes n elements from p on. Never fails. */
unsigned char *lp_delete(unsigned char *lp, unsigned char *p, size_t n);
/* Whether the bytes are a well-formed listpack of exactly n bytes, reading nothing outside them. */
bool lp_validate(const unsigned char *lp, size_t n);
