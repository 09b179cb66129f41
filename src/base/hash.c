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

uint64_t hash_bytes(const void *p, size_t n) {
    return XXH3_64bits_withSeed(p, n, seed);
}

static uint16_t crc16(const char *p, size_t n) {
    uint16_t crc = 0;
    for (size_t i = 0; i < n; i++) {
        crc = (uint16_t)(crc ^ ((uint8_t)p[i] << 8));
        for (int bit = 0; bit < 8; bit++) {
            crc = (uint16_t)(crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1);
        }
    }
    return crc;
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
