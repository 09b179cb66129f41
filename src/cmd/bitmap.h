/* SPDX-License-Identifier: BSD-3-Clause */
/* bitmap: what bitmap.c and bitfield.c share. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/err.h"

struct call;
/* A bit offset; "#N" (when hash) counts in units of bits. */
enum err arg_bit_offset(struct call *c, int i, bool hash, int bits, uint64_t *offset);
enum err bitfield_run(struct call *c);
enum err bitfield_ro_run(struct call *c);
