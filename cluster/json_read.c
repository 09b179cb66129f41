/* SPDX-License-Identifier: BSD-3-Clause */
/* json_read: just enough of it. */
#include "cluster/json_read.h"

#include <string.h>

#include "src/base/num.h"

enum { DEPTH_MAX = 32 };

/* Where reading is: p at the next byte, NULL when the text is no JSON; short when it ends too early. */
struct scan {
    const char *p, *end;
    bool cut;
};

static void fail(struct scan *s, bool cut) {
    s->cut = cut;
    s->p = NULL;
}

static char peek(struct scan *s) {
    while (s->p != NULL && s->p < s->end && memchr(" \t\r\n", *s->p, 4) != NULL) {
        s->p++;
    }
    if (s->p == NULL) {
        return '\0';
    }
    if (s->p == s->end) {
        fail(s, true);
        return '\0';
    }
    return *s->p;
}

static void skip_string(struct scan *s) {
    for (s->p++; s->p < s->end && *s->p != '"'; s->p++) {
        s->p += *s->p == '\\';
    }
    if (s->p >= s->end) {
        fail(s, true);
        return;
    }
    s->p++;
}

/* true, false, null, numbers: whatever stands there without a mark. */
static void skip_plain(struct scan *s) {
    const char *from = s->p;
    while (s->p < s->end && memchr("+-.", *s->p, 3) != NULL) {
        s->p++;
    }
    while (s->p < s->end && ((*s->p >= '0' && *s->p <= '9') || (*s->p >= 'a' && *s->p <= 'z') || memchr("+-.E", *s->p, 4) != NULL)) {
        s->p++;
    }
    if (s->p == from) {
        fail(s, false);
    }
}

static void skip_value(struct scan *s, unsigned depth);

static void skip_many(struct scan *s, char close, unsigned depth) {
    s->p++;
    if (peek(s) == close) {
        s->p++;
        return;
    }
    while (s->p != NULL) {
        if (close == '}') {
            if (peek(s) != '"') {
                fail(s, s->cut);
                return;
            }
            skip_string(s);
            if (peek(s) != ':') {
                fail(s, s->cut);
                return;
            }
            s->p++;
        }
        skip_value(s, depth + 1);
        char c = peek(s);
        if (s->p == NULL || (c != ',' && c != close)) {
            fail(s, s->cut);
            return;
        }
        s->p++;
        if (c == close) {
            return;
        }
    }
}

static void skip_value(struct scan *s, unsigned depth) {
    char c = peek(s);
    if (s->p == NULL || depth > DEPTH_MAX) {
        fail(s, s->cut);
    } else if (c == '{' || c == '[') {
        skip_many(s, c == '{' ? '}' : ']', depth);
    } else if (c == '"') {
        skip_string(s);
    } else {
        skip_plain(s);
    }
}

int64_t json_measure(struct slice text) {
    struct scan s = {text.p, text.p + text.n, false};
    if (text.n == 0) {
        return 0;
    }
    skip_value(&s, 0);
    return s.p != NULL ? s.p - text.p : s.cut ? 0 : -1;
}

/* The value at the scan, without the space before it. */
static bool take_value(struct scan *s, struct slice *value) {
    peek(s);
    const char *from = s->p;
    if (s->p != NULL) {
        skip_value(s, 0);
    }
    *value = slice_make(from, s->p != NULL ? (size_t)(s->p - from) : 0);
    return s->p != NULL;
}

bool json_get(struct slice object, const char *name, struct slice *value) {
    struct scan s = {object.p, object.p + object.n, false};
    struct slice key;
    if (object.n == 0 || peek(&s) != '{') {
        return false;
    }
    s.p++;
    while (peek(&s) == '"' && take_value(&s, &key) && peek(&s) == ':') {
        s.p++;
        if (!take_value(&s, value)) {
            return false;
        }
        if (key.n == strlen(name) + 2 && memcmp(key.p + 1, name, key.n - 2) == 0) {
            return true;
        }
        if (peek(&s) != ',') {
            return false;
        }
        s.p++;
    }
    return false;
}

bool json_path(struct slice object, const char *path, struct slice *value) {
    *value = object;
    while (*path != '\0') {
        char name[64];
        size_t n = strcspn(path, ".");
        if (n >= sizeof(name)) {
            return false;
        }
        memcpy(name, path, n);
        name[n] = '\0';
        if (!json_get(*value, name, value)) {
            return false;
        }
        path += n;
        path += *path == '.';
    }
    return true;
}

bool json_next(struct slice *array, struct slice *item) {
    struct scan s = {array->p, array->p + array->n, false};
    char c = array->n > 0 ? peek(&s) : '\0';
    if (c != '[' && c != ',') {
        return false;
    }
    s.p++;
    if (peek(&s) == ']' || !take_value(&s, item)) {
        return false;
    }
    *array = slice_make(s.p, (size_t)(s.end - s.p));
    return true;
}

bool json_plain(struct slice value, struct slice *out) {
    if (value.n < 2 || value.p[0] != '"' || memchr(value.p, '\\', value.n) != NULL) {
        return false;
    }
    *out = slice_make(value.p + 1, value.n - 2);
    return true;
}

bool json_int(struct slice value, int64_t *out) {
    struct slice text;
    return num_parse_i64(json_plain(value, &text) ? text : value, out);
}

/* ---- base64 ---- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct slice s, struct buf *out) {
    const unsigned char *p = (const unsigned char *)s.p;
    for (size_t i = 0; i < s.n; i += 3) {
        unsigned v = (unsigned)p[i] << 16 | (i + 1 < s.n ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < s.n ? p[i + 2] : 0U);
        buf_putc(out, digits[v >> 18]);
        buf_putc(out, digits[v >> 12 & 63]);
        buf_putc(out, i + 1 < s.n ? digits[v >> 6 & 63] : '=');
        buf_putc(out, i + 2 < s.n ? digits[v & 63] : '=');
    }
}

bool base64_get(struct slice s, struct buf *out) {
    if (s.n % 4 != 0) {
        return false;
    }
    for (size_t i = 0; i < s.n; i += 4) {
        unsigned v = 0, pad = 0;
        for (size_t k = 0; k < 4; k++) {
            char c = s.p[i + k];
            const char *digit = c != '\0' ? strchr(digits, c) : NULL;
            bool is_pad = c == '=' && i + 4 == s.n && k >= 2;
            if (digit == NULL ? !is_pad : pad > 0) {
                return false;
            }
            pad += is_pad;
            v = v << 6 | (digit != NULL ? (unsigned)(digit - digits) : 0);
        }
        char bytes[3] = {(char)(v >> 16), (char)(v >> 8), (char)v};
        buf_put(out, bytes, 3 - pad);
    }
    return true;
}
