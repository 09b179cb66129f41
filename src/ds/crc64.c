/* SPDX-License-Identifier: BSD-3-Clause */
/* crc64: one table, made at first use. */
#include "src/ds/crc64.h"

#include <pthread.h>

#define POLY 0x95ac9329ac4bc9b5ULL /* 0xad93d23594c935a9 reflected */

static uint64_t table[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_table(void) {
    for (unsigned i = 0; i < 256; i++) {
        uint64_t v = i;
        for (int bit = 0; bit < 8; bit++) {
            v = v & 1 ? v >> 1 ^ POLY : v >> 1;
        }
        table[i] = v;
    }
}

uint64_t crc64(uint64_t crc, const void *data, size_t n) {
    const uint8_t *p = data;
    pthread_once(&once, make_table);
    for (; n > 0; n--) {
        crc = table[(uint8_t)(crc ^ *p++)] ^ crc >> 8;
    }
    return crc;
}
