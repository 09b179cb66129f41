/* SPDX-License-Identifier: BSD-3-Clause */
/* sha256: the hash of FIPS 180-4, in which ACL LIST shows passwords. Not for speed. */
#pragma once

#include "src/base/slice.h"

enum { SHA256_HEX = 64 };

/* The hash of s in lower-case hexadecimal, ended by a zero. */
void sha256_hex(struct slice s, char out[SHA256_HEX + 1]);
