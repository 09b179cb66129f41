/* SPDX-License-Identifier: BSD-3-Clause */
/* sha256: the hash of FIPS 180-4, in which ACL LIST shows passwords, and the HMAC of RFC 2104 over it, with which peers prove that they
 * know the same secret. Not for speed. */
#pragma once

#include <stdbool.h>

#include "src/base/slice.h"

enum { SHA256_BYTES = 32, SHA256_HEX = 64 };

void sha256(struct slice s, unsigned char out[SHA256_BYTES]);
/* A key longer than 64 bytes counts as its hash. message: at most HMAC_MESSAGE_MAX bytes. */
enum { HMAC_MESSAGE_MAX = 512 };
void hmac_sha256(struct slice key, struct slice message, unsigned char out[SHA256_BYTES]);
/* Takes the same time whatever differs. */
bool sha256_equal(const unsigned char a[SHA256_BYTES], const unsigned char b[SHA256_BYTES]);

/* The hash of s in lower-case hexadecimal, ended by a zero. */
void sha256_hex(struct slice s, char out[SHA256_HEX + 1]);
