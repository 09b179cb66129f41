/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz_resp: any bytes, parsed whole and in two pieces, give the same requests. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/check.h"
#include "src/resp/parse.h"

static const struct parse_limits limits = {1 << 20, 1024, 1 << 20, 4096};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct arena arena = {0};
    size_t at = 0;
    for (int i = 0; i < 64 && at < n; i++) {
        struct parse_resume whole = {0}, parts = {0};
        struct request a = {0}, b = {0};
        enum parse_status sa = parse_request(slice_make(data + at, n - at), &limits, &whole, &arena, &a);
        size_t half = (n - at) / 2;
        char *first = malloc(half + 1); /* exact blocks: a read beyond them is caught */
        memcpy(first, data + at, half);
        enum parse_status sb = parse_request(slice_make(first, half), &limits, &parts, &arena, &b);
        free(first);
        if (sb == PARSE_MORE) {
            sb = parse_request(slice_make(data + at, n - at), &limits, &parts, &arena, &b);
        }
        if (sb != PARSE_ERROR) {
            CHECK(sa == sb && a.argc == b.argc && a.used == b.used);
        }
        for (int k = 0; sa == PARSE_OK && k < a.argc; k++) {
            CHECK(a.argv[k].n <= n);
        }
        if (sa != PARSE_OK && sa != PARSE_EMPTY) {
            break;
        }
        CHECK(a.used > 0);
        at += a.used;
    }
    arena_free(&arena);
    return 0;
}
