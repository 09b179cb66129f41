/* SPDX-License-Identifier: BSD-3-Clause */
/* radix: byte strings to pointers, by a compressed prefix tree; answers which stored string is the longest prefix of a name.
 *
 *            "user:"            stored: "user:", "user:vip:", "us"
 *   (root) -- us* -- er:* -- vip:*    (* holds a pointer)
 *
 * A look-up costs a step per branching byte of the stored strings, not per stored string. Built once, then read by any number
 * of threads: no locks, no deletion. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "src/base/slice.h"

struct radix;

struct radix *radix_create(void);
/* What is stored stays the caller's. */
void radix_destroy(struct radix **r);
/* The pointer stored for that very string, or NULL. */
void *radix_get(const struct radix *r, struct slice name);
/* Stores a pointer (not NULL), replacing what was there. */
void radix_put(struct radix *r, struct slice name, void *value);
/* Calls fn with each pointer stored for a prefix of the name, the shortest first, until it says false. */
void radix_prefixes(const struct radix *r, struct slice name, bool (*fn)(void *ctx, void *value), void *ctx);
/* The pointer stored for the longest prefix of the name, or NULL. The empty string is a prefix of all. */
void *radix_longest(const struct radix *r, struct slice name);
