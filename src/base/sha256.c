/* SPDX-License-Identifier: BSD-3-Clause */
/* sha256: written from FIPS 180-4. */
#include "src/base/sha256.h"

#include <stdint.h>
#include <string.h>

#include "src/base/check.h"

enum { BLOCK = 64 };

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turned(uint32_t v, int n) {
    return v >> n | v << (32 - n);
}

static void take_block(uint32_t state[8], const unsigned char *block) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++) {
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    memcpy(v, state, sizeof(v));
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = turned(v[4], 6) ^ turned(v[4], 11) ^ turned(v[4], 25), choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t s0 = turned(v[0], 2) ^ turned(v[0], 13) ^ turned(v[0], 22), most = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        uint32_t t = v[7] + s1 + choice + round_constants[i] + w[i];
        memmove(v + 1, v, 7 * sizeof(*v));
        v[4] += t;
        v[0] = t + s0 + most;
    }
    for (int i = 0; i < 8; i++) {
        state[i] += v[i];
    }
}

void sha256(struct slice s, unsigned char out[SHA256_BYTES]) {
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    unsigned char end[2 * BLOCK] = {0};
    const unsigned char *p = (const unsigned char *)s.p;
    size_t left = s.n;
    for (; left >= BLOCK; p += BLOCK, left -= BLOCK) {
        take_block(state, p);
    }
    if (left > 0) {
        memcpy(end, p, left);
    }
    end[left] = 0x80; /* then zeros, and the length in bits in the last eight bytes */
    size_t blocks = left + 9 <= BLOCK ? 1 : 2;
    for (unsigned i = 0; i < 8; i++) {
        end[blocks * BLOCK - 1 - i] = (unsigned char)((uint64_t)s.n * 8 >> (8 * i));
    }
    for (size_t i = 0; i < blocks; i++) {
        take_block(state, end + i * BLOCK);
    }
    for (unsigned i = 0; i < SHA256_BYTES; i++) {
        out[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
    }
}

void sha256_hex(struct slice s, char out[SHA256_HEX + 1]) {
    unsigned char raw[SHA256_BYTES];
    sha256(s, raw);
    for (unsigned i = 0; i < SHA256_HEX; i++) {
        out[i] = "0123456789abcdef"[raw[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
    }
    out[SHA256_HEX] = '\0';
}

void hmac_sha256(struct slice key, struct slice message, unsigned char out[SHA256_BYTES]) {
    unsigned char padded[BLOCK] = {0}, text[BLOCK + HMAC_MESSAGE_MAX];
    CHECK(message.n <= HMAC_MESSAGE_MAX);
    if (key.n > BLOCK) {
        sha256(key, padded);
    } else if (key.n > 0) {
        memcpy(padded, key.p, key.n);
    }
    for (int i = 0; i < BLOCK; i++) {
        text[i] = padded[i] ^ 0x36;
    }
    memcpy(text + BLOCK, message.p, message.n);
    sha256(slice_make(text, BLOCK + message.n), out);
    for (int i = 0; i < BLOCK; i++) {
        text[i] = padded[i] ^ 0x5c;
    }
    memcpy(text + BLOCK, out, SHA256_BYTES);
    sha256(slice_make(text, BLOCK + SHA256_BYTES), out);
}

bool sha256_equal(const unsigned char a[SHA256_BYTES], const unsigned char b[SHA256_BYTES]) {
    unsigned diff = 0;
    for (int i = 0; i < SHA256_BYTES; i++) {
        diff |= a[i] ^ b[i];
    }
    return diff == 0;
}
