/* SPDX-License-Identifier: BSD-3-Clause */
/* hash: XXH3 inlined, and the cluster's CRC16. */
#include "src/base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "src/base/rng.h"

static uint64_t seed = 0x5eed;

void hash_seed(uint64_t s) {
    seed = s;
}

void hash_init(void) {
    rng_system(&seed, sizeof(seed));
}

uint64_t hash_key(struct slice name, uint8_t db) {
    return XXH3_64bits_withSeed(name.p, name.n, seed + (uint64_t)db * 0x9e3779b97f4a7c15ULL);
}

uint64_t hash_name(struct slice name) {
    return XXH3_64bits(name.p, name.n);
}

uint64_t hash_bytes(const void *p, size_t n) {
    return XXH3_64bits_withSeed(p, n, seed);
}

/* CRC16 of XMODEM, four bytes a step: CRC[j][b] is what a byte does to the sum j bytes later. The sum is linear, so that a row is made from
 * what its eight bits do. */
#define CRC_1(b, c0, c1, c2, c3, c4, c5, c6, c7)                                                                        \
    (((b) & 1 ? c0 : 0) ^ ((b) & 2 ? c1 : 0) ^ ((b) & 4 ? c2 : 0) ^ ((b) & 8 ? c3 : 0) ^ ((b) & 16 ? c4 : 0) ^          \
     ((b) & 32 ? c5 : 0) ^ ((b) & 64 ? c6 : 0) ^ ((b) & 128 ? c7 : 0))
#define CRC_4(b, ...)                                                                                                   \
    CRC_1(b, __VA_ARGS__), CRC_1((b) + 1, __VA_ARGS__), CRC_1((b) + 2, __VA_ARGS__), CRC_1((b) + 3, __VA_ARGS__)
#define CRC_16(b, ...)                                                                                                  \
    CRC_4(b, __VA_ARGS__), CRC_4((b) + 4, __VA_ARGS__), CRC_4((b) + 8, __VA_ARGS__), CRC_4((b) + 12, __VA_ARGS__)
#define CRC_64(b, ...)                                                                                                  \
    CRC_16(b, __VA_ARGS__), CRC_16((b) + 16, __VA_ARGS__), CRC_16((b) + 32, __VA_ARGS__), CRC_16((b) + 48, __VA_ARGS__)
#define CRC_256(...)                                                                                                    \
    { CRC_64(0, __VA_ARGS__), CRC_64(64, __VA_ARGS__), CRC_64(128, __VA_ARGS__), CRC_64(192, __VA_ARGS__) }

static const uint16_t CRC[4][256] = {CRC_256(0x1021, 0x2042, 0x4084, 0x8108, 0x1231, 0x2462, 0x48c4, 0x9188),
                                     CRC_256(0x3331, 0x6662, 0xccc4, 0x89a9, 0x0373, 0x06e6, 0x0dcc, 0x1b98),
                                     CRC_256(0x3730, 0x6e60, 0xdcc0, 0xa9a1, 0x4363, 0x86c6, 0x1dad, 0x3b5a),
                                     CRC_256(0x76b4, 0xed68, 0xcaf1, 0x85c3, 0x1ba7, 0x374e, 0x6e9c, 0xdd38)};

static uint16_t crc16(const char *text, size_t n) {
    const unsigned char *p = (const unsigned char *)text;
    unsigned crc = 0;
    for (; n >= 4; p += 4, n -= 4) {
        crc = (unsigned)CRC[3][p[0] ^ crc >> 8] ^ CRC[2][p[1] ^ (crc & 255)] ^ CRC[1][p[2]] ^ CRC[0][p[3]];
    }
    for (; n > 0; p++, n--) {
        crc = (crc << 8 & 0xffff) ^ CRC[0][*p ^ crc >> 8];
    }
    return (uint16_t)crc;
}

uint16_t hash_slot(struct slice name) {
    const char *open = memchr(name.p, '{', name.n);
    if (open != NULL) {
        size_t rest = name.n - (size_t)(open + 1 - name.p);
        const char *close = memchr(open + 1, '}', rest);
        if (close != NULL && close > open + 1) {
            return crc16(open + 1, (size_t)(close - open - 1)) & 16383;
        }
    }
    return crc16(name.p, name.n) & 16383;
}
