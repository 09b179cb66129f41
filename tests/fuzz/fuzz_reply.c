/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz_reply: any bytes as a server's replies, scanned whole and in two pieces, give the same; what is whole can be built. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/check.h"
#include "src/resp/reply_parse.h"

static const struct reply_limits limits = {1 << 16, 1 << 18, 1024};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_within(const struct reply *r, struct slice whole) {
    if (r->kind == REPLY_BULK || r->kind == REPLY_STATUS || r->kind == REPLY_ERROR) {
        CHECK(r->str.p >= whole.p && r->str.p + r->str.n <= whole.p + whole.n);
    }
    for (uint32_t i = 0; r->kind == REPLY_ARRAY && i < r->n; i++) {
        check_within(&r->items[i], whole);
    }
}

static enum reply_status scan_in_two(const uint8_t *data, size_t n, size_t *length) {
    struct reply_scan scan = {0};
    char *half = malloc(n / 2 + 1); /* exact blocks: a read beyond them is caught */
    memcpy(half, data, n / 2);
    enum reply_status status = reply_scan(slice_make(half, n / 2), &limits, &scan, length);
    free(half);
    return status == REPLY_MORE ? reply_scan(slice_make(data, n), &limits, &scan, length) : status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct arena arena = {0};
    size_t at = 0;
    while (at < n) {
        struct reply_scan scan = {0};
        struct reply reply;
        size_t whole = 0, parts = 0;
        struct slice rest = slice_make(data + at, n - at);
        enum reply_status status = reply_scan(rest, &limits, &scan, &whole);
        CHECK(scan_in_two(data + at, n - at, &parts) == status);
        CHECK(status != REPLY_MORE || whole > rest.n);
        if (status != REPLY_OK) {
            break;
        }
        CHECK(whole > 0 && whole <= rest.n && whole == parts);
        reply_build(slice_make(rest.p, whole), &arena, &reply);
        check_within(&reply, slice_make(rest.p, whole));
        arena_reset(&arena);
        at += whole;
    }
    arena_free(&arena);
    return 0;
}
