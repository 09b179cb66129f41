/* SPDX-License-Identifier: BSD-3-Clause */
/* crc64: eight bytes a step through eight tables, made at first use. */
#include "src/ds/crc64.h"

#include <pthread.h>
#include <string.h>

#define POLY 0x95ac9329ac4bc9b5ULL /* 0xad93d23594c935a9 reflected */

static uint64_t table[8][256]; /* table[k][b]: the remainder of b followed by k zero bytes */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void) {
    for (unsigned i = 0; i < 256; i++) {
        uint64_t v = i;
        for (int bit = 0; bit < 8; bit++) {
            v = v & 1 ? v >> 1 ^ POLY : v >> 1;
        }
        table[0][i] = v;
    }
    for (unsigned k = 1; k < 8; k++) {
        for (unsigned i = 0; i < 256; i++) {
            uint64_t v = table[k - 1][i];
            table[k][i] = table[0][v & 0xFF] ^ v >> 8;
        }
    }
}

uint64_t crc64(uint64_t crc, const void *data, size_t n) {
    const uint8_t *p = data;
    pthread_once(&once, make_tables);
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        crc ^= word;
        crc = table[7][crc & 0xFF] ^ table[6][crc >> 8 & 0xFF] ^ table[5][crc >> 16 & 0xFF] ^
              table[4][crc >> 24 & 0xFF] ^ table[3][crc >> 32 & 0xFF] ^ table[2][crc >> 40 & 0xFF] ^
              table[1][crc >> 48 & 0xFF] ^ table[0][crc >> 56];
    }
    for (; n > 0; n--) {
        crc = table[0][(uint8_t)(crc ^ *p++)] ^ crc >> 8;
    }
    return crc;
}
