/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz_origin: what an origin's URL, its lines and an HTTP server may say. The first byte chooses: `c` cache headers, `u` a URL
 * template with key and match on lines of their own, `l` a line of the configuration, `z` a gzip stream. */
#include <stdint.h>
#include <string.h>

#include "src/base/check.h"
#include "src/origin/cache_control.h"
#include "src/origin/gunzip.h"
#include "src/origin/http_url.h"
#include "src/origin/origin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 1 << 20 };

/* Takes the bytes up to the next c, or all. */
static struct slice cut(struct slice *rest, char c) {
    const char *at = rest->n > 0 ? memchr(rest->p, c, rest->n) : NULL;
    size_t n = at != NULL ? (size_t)(at - rest->p) : rest->n;
    struct slice head = slice_make(rest->p, n);
    n += at != NULL;
    *rest = slice_make(rest->p + n, rest->n - n);
    return head;
}

static void try_cache_headers(struct slice text) {
    struct cache_headers h = {0};
    while (text.n > 0) {
        struct slice value = cut(&text, '\n'), name = cut(&value, ':');
        cache_header(&h, name, value);
    }
    struct lifetime l = cache_lifetime(&h, 1700000000000);
    CHECK(l.ttl_ms >= -1 && l.stale_ms >= -1 && l.error_ms >= -1);
    CHECK(l.ttl_ms != 0 || (l.stale_ms == 0 && l.error_ms == 0));
    CHECK(!h.forbidden || l.ttl_ms == 0);
}

/* Whatever the key: the host stays, and the rest are characters of a URL. */
static void try_url(struct slice text) {
    struct slice url = cut(&text, '\n'), key = cut(&text, '\n');
    struct buf why = {0}, out = {0};
    if (!http_url_check(url, &why)) {
        CHECK(why.n > 0);
    } else if (http_url_expand(url, key, text, &out) == NULL) {
        const char *host = strstr(out.p, "://") + 3;
        size_t n = (size_t)(host - out.p) + strcspn(host, "/?#");
        CHECK(n < url.n && memcmp(out.p, url.p, n) == 0 && strchr("/?", out.p[n]) != NULL);
        CHECK(strlen(out.p) == out.n - 1);
        for (const char *p = out.p; *p != '\0'; p++) {
            CHECK(*p > ' ' && *p != 127 && *p != '#');
        }
        out.p[n + strcspn(out.p + n, "?")] = '\0'; /* the path stays, too */
        CHECK(strstr(out.p + n, "/../") == NULL && strstr(out.p + n, "/./") == NULL);
    }
    buf_free(&why);
    buf_free(&out);
}

static void try_line(struct slice text) {
    struct buf why = {0};
    CHECK(origin_check(text, &why) || why.n > 0);
    buf_free(&why);
}

static const char *unpack(struct slice bytes, size_t step, struct buf *out, bool *whole) {
    struct gunzip g;
    const char *error = NULL;
    CHECK(gunzip_init(&g));
    while (bytes.n > 0 && error == NULL) {
        size_t n = bytes.n < step ? bytes.n : step;
        error = gunzip_feed(&g, slice_make(bytes.p, n), out, MAX_BYTES);
        bytes = slice_make(bytes.p + n, bytes.n - n);
    }
    *whole = g.ended;
    gunzip_fini(&g);
    return error;
}

/* In pieces it gives what it gives at once. */
static void try_gzip(struct slice bytes) {
    struct buf a = {0}, b = {0};
    bool whole_a, whole_b;
    const char *error_a = unpack(bytes, SIZE_MAX, &a, &whole_a), *error_b = unpack(bytes, 7, &b, &whole_b);
    CHECK((error_a == NULL) == (error_b == NULL));
    CHECK(error_a != NULL || (whole_a == whole_b && slice_eq(buf_slice(&a), buf_slice(&b)) && a.n <= MAX_BYTES));
    buf_free(&a);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0) {
        struct slice rest = slice_make(data + 1, size - 1);
        switch (data[0]) {
        case 'c':
            try_cache_headers(rest);
            break;
        case 'u':
            try_url(rest);
            break;
        case 'l':
            try_line(rest);
            break;
        case 'z':
            try_gzip(rest);
            break;
        default:
            break;
        }
    }
    return 0;
}
