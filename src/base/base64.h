/* SPDX-License-Identifier: BSD-3-Clause */
/* base64: the encoding of RFC 4648, with padding. */
#pragma once

#include "src/base/buf.h"
#include "src/base/slice.h"

/* Appends the encoding of s. */
void base64_encode(struct slice s, struct buf *out);
