/* SPDX-License-Identifier: BSD-3-Clause */
/* base64: three bytes become four letters. */
#include "src/base/base64.h"

#include <stdint.h>

void base64_encode(struct slice s, struct buf *out) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < s.n; i += 3) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++) {
            bits = bits << 8 | (i + k < s.n ? (unsigned char)s.p[i + k] : 0);
        }
        for (size_t k = 0; k < 4; k++) {
            buf_putc(out, i + k <= s.n ? letters[bits >> (18 - 6 * k) & 63] : '=');
        }
    }
}
