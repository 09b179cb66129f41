/* SPDX-License-Identifier: BSD-3-Clause */
/* json: the writer. */
#include "src/base/json.h"

#include <math.h>

void json_name(struct json *j, const char *name) {
    if (j->more) {
        buf_putc(j->out, ',');
    }
    j->more = true;
    if (name != NULL) {
        buf_printf(j->out, "\"%s\":", name);
    }
}

void json_open(struct json *j, const char *name, char kind) {
    json_name(j, name);
    buf_putc(j->out, kind);
    j->more = false;
}

void json_close(struct json *j, char kind) {
    buf_putc(j->out, kind);
    j->more = true;
}

void json_u64(struct json *j, const char *name, uint64_t v) {
    json_name(j, name);
    buf_printf(j->out, "%llu", (unsigned long long)v);
}

void json_i64(struct json *j, const char *name, int64_t v) {
    json_name(j, name);
    buf_printf(j->out, "%lld", (long long)v);
}

void json_double(struct json *j, const char *name, double v) {
    json_name(j, name);
    if (isfinite(v)) {
        buf_printf(j->out, "%.6g", v);
    } else {
        buf_puts(j->out, "null");
    }
}

void json_bool(struct json *j, const char *name, bool v) {
    json_name(j, name);
    buf_puts(j->out, v ? "true" : "false");
}

size_t utf8_len(const char *p, size_t n) {
    const unsigned char *s = (const unsigned char *)p;
    size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xC2 && s[0] < 0xE0 ? 2 : s[0] >= 0xE0 && s[0] < 0xF0 ? 3 : s[0] >= 0xF0 && s[0] < 0xF5 ? 4 : 0;
    if (len == 0 || len > n) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    bool outside = (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF4 && s[1] > 0x8F);
    return overlong || outside ? 0 : len;
}

void json_text(struct json *j, const char *name, struct slice text) {
    json_name(j, name);
    buf_putc(j->out, '"');
    for (size_t i = 0; i < text.n;) {
        unsigned char c = (unsigned char)text.p[i];
        size_t len = utf8_len(text.p + i, text.n - i);
        if (len == 0 || c < 0x20 || c == 0x7F) {
            buf_printf(j->out, "\\u%04x", c);
            len = 1;
        } else {
            if (c == '"' || c == '\\') {
                buf_putc(j->out, '\\');
            }
            buf_put(j->out, text.p + i, len);
        }
        i += len;
    }
    buf_putc(j->out, '"');
}

void json_cstr(struct json *j, const char *name, const char *text) {
    json_text(j, name, slice_make(text, strlen(text)));
}
