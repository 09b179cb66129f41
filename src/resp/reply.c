/* SPDX-License-Identifier: BSD-3-Clause */
/* reply: the builder of replies. */
#include "src/resp/reply.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/base/num.h"

enum { DEFER_WIDTH = 24 };

void out_free(struct out *o) {
    for (uint32_t i = 0; i < o->ref_count; i++) {
        o->refs[i].release(o->refs[i].owner);
    }
    mem_free(o->refs);
    buf_free(&o->buf);
    *o = (struct out){.proto = o->proto};
}

static struct out_ref *add_ref(struct out *o) {
    if (o->ref_count == o->ref_cap) {
        o->ref_cap = o->ref_cap == 0 ? 4 : o->ref_cap * 2;
        o->refs = mem_realloc(o->refs, o->ref_cap * sizeof(*o->refs));
    }
    return &o->refs[o->ref_count++];
}

void out_append(struct out *dst, struct out *src) {
    size_t base = dst->buf.n;
    for (uint32_t i = 0; i < src->ref_count; i++) {
        struct out_ref *ref = add_ref(dst);
        *ref = src->refs[i];
        ref->at += base;
        dst->ref_bytes += ref->bytes.n;
    }
    buf_put_slice(&dst->buf, buf_slice(&src->buf));
    src->ref_count = 0;
    src->ref_bytes = 0;
    out_free(src);
}

void out_truncate(struct out *o, size_t buf_n, uint32_t ref_count) {
    while (o->ref_count > ref_count) {
        struct out_ref *ref = &o->refs[--o->ref_count];
        o->ref_bytes -= ref->bytes.n;
        ref->release(ref->owner);
    }
    o->buf.n = buf_n;
}

/* ---- heads: a type byte, a number, CRLF ---- */

static inline void put_head(struct out *o, char type, int64_t n) {
    char *p = buf_reserve(&o->buf, NUM_I64_MAX_LEN + 3);
    char *q = p;
    *q++ = type;
    if (likely(n >= 0 && n < 10)) {
        *q++ = (char)('0' + n);
    } else if (n >= 10 && n < 100) {
        *q++ = (char)('0' + n / 10);
        *q++ = (char)('0' + n % 10);
    } else {
        q += num_print_i64(q, n);
    }
    *q++ = '\r';
    *q++ = '\n';
    buf_commit(&o->buf, (size_t)(q - p));
}

static inline void put_text(struct out *o, const char *text, size_t n) {
    buf_put(&o->buf, text, n);
}

#define PUT(o, literal) put_text((o), literal, sizeof(literal) - 1)

void out_insert(struct out *o, size_t at, struct slice bytes) {
    size_t behind = o->buf.n - at;
    buf_reserve(&o->buf, bytes.n);
    memmove(o->buf.p + at + bytes.n, o->buf.p + at, behind);
    memcpy(o->buf.p + at, bytes.p, bytes.n);
    buf_commit(&o->buf, bytes.n);
    for (uint32_t i = o->ref_count; i-- > 0 && o->refs[i].at > at;) {
        o->refs[i].at += bytes.n;
    }
}

void reply_ok(struct out *o) {
    PUT(o, "+OK\r\n");
}

void reply_status(struct out *o, const char *text) {
    buf_putc(&o->buf, '+');
    buf_puts(&o->buf, text);
    PUT(o, "\r\n");
}

void reply_error(struct out *o, struct slice text) {
    char *p = buf_reserve(&o->buf, text.n + 3);
    *p++ = '-';
    for (size_t i = 0; i < text.n; i++) {
        *p++ = text.p[i] == '\r' || text.p[i] == '\n' ? ' ' : text.p[i];
    }
    memcpy(p, "\r\n", 2);
    buf_commit(&o->buf, text.n + 3);
}

void reply_errorf(struct out *o, const char *fmt, ...) {
    struct buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    reply_error(o, buf_slice(&text));
    buf_free(&text);
}

void reply_int(struct out *o, int64_t v) {
    put_head(o, ':', v);
}

void reply_bulk(struct out *o, struct slice s) {
    /* one reservation for head, bytes and end */
    char *p = buf_reserve(&o->buf, s.n + NUM_I64_MAX_LEN + 5), *q = p;
    *q++ = '$';
    if (likely(s.n < 10)) {
        *q++ = (char)('0' + s.n);
    } else if (likely(s.n < 1000)) {
        unsigned n = (unsigned)s.n;
        if (n >= 100) {
            *q++ = (char)('0' + n / 100);
            n %= 100;
        }
        *q++ = (char)('0' + n / 10);
        *q++ = (char)('0' + n % 10);
    } else {
        q += num_print_u64(q, s.n);
    }
    *q++ = '\r';
    *q++ = '\n';
    memcpy(q, s.p, s.n);
    q += s.n;
    *q++ = '\r';
    *q++ = '\n';
    buf_commit(&o->buf, (size_t)(q - p));
}

void reply_bulk_cstr(struct out *o, const char *s) {
    reply_bulk(o, slice_cstr(s));
}

void reply_bulk_int(struct out *o, int64_t v) {
    char text[NUM_I64_MAX_LEN];
    reply_bulk(o, slice_make(text, num_print_i64(text, v)));
}

void reply_bulk_ref(struct out *o, struct slice s, void *owner, void (*release)(void *owner)) {
    put_head(o, '$', (int64_t)s.n);
    struct out_ref *ref = add_ref(o);
    *ref = (struct out_ref){o->buf.n, s, owner, release};
    o->ref_bytes += s.n;
    PUT(o, "\r\n");
}

void reply_verbatim(struct out *o, const char *fmt3, struct slice s) {
    if (o->proto < 3) {
        reply_bulk(o, s);
        return;
    }
    put_head(o, '=', (int64_t)s.n + 4);
    put_text(o, fmt3, 3);
    buf_putc(&o->buf, ':');
    buf_put_slice(&o->buf, s);
    PUT(o, "\r\n");
}

void reply_null(struct out *o) {
    if (o->proto < 3) {
        PUT(o, "$-1\r\n");
    } else {
        PUT(o, "_\r\n");
    }
}

void reply_null_array(struct out *o) {
    if (o->proto < 3) {
        PUT(o, "*-1\r\n");
    } else {
        PUT(o, "_\r\n");
    }
}

void reply_bool(struct out *o, bool v) {
    if (o->proto < 3) {
        reply_int(o, v);
    } else if (v) {
        PUT(o, "#t\r\n");
    } else {
        PUT(o, "#f\r\n");
    }
}

void reply_double(struct out *o, double v) {
    char text[NUM_DOUBLE_MAX_LEN];
    size_t n = num_print_double(text, v);
    if (o->proto < 3) {
        reply_bulk(o, slice_make(text, n));
        return;
    }
    buf_putc(&o->buf, ',');
    put_text(o, text, n);
    PUT(o, "\r\n");
}

void reply_array(struct out *o, int64_t n) {
    put_head(o, '*', n);
}

void reply_map(struct out *o, int64_t pairs) {
    if (o->proto < 3) {
        put_head(o, '*', pairs * 2);
    } else {
        put_head(o, '%', pairs);
    }
}

void reply_set(struct out *o, int64_t n) {
    put_head(o, o->proto < 3 ? '*' : '~', n);
}

void reply_push(struct out *o, int64_t n) {
    put_head(o, o->proto < 3 ? '*' : '>', n);
}

void reply_attribute(struct out *o, int64_t pairs) {
    if (o->proto >= 3) {
        put_head(o, '|', pairs);
    }
}

void reply_big_number(struct out *o, struct slice digits) {
    if (o->proto < 3) {
        reply_bulk(o, digits);
        return;
    }
    buf_putc(&o->buf, '(');
    buf_put_slice(&o->buf, digits);
    PUT(o, "\r\n");
}

/* ---- lengths known later ---- */

struct reply_deferred reply_defer(struct out *o, char kind) {
    struct reply_deferred d = {o->buf.n, o->ref_count, kind};
    buf_reserve(&o->buf, DEFER_WIDTH);
    buf_commit(&o->buf, DEFER_WIDTH);
    return d;
}

void reply_defer_end(struct out *o, struct reply_deferred d, int64_t n) {
    char kind = d.kind;
    if (o->proto < 3 && kind != '*') {
        n = kind == '%' ? n * 2 : n;
        kind = '*';
    }
    char head[DEFER_WIDTH];
    size_t len = 0;
    head[len++] = kind;
    len += num_print_i64(head + len, n);
    head[len++] = '\r';
    head[len++] = '\n';
    size_t gap = DEFER_WIDTH - len, tail = o->buf.n - d.at - DEFER_WIDTH;
    memcpy(o->buf.p + d.at, head, len);
    memmove(o->buf.p + d.at + len, o->buf.p + d.at + DEFER_WIDTH, tail);
    o->buf.n -= gap;
    for (uint32_t i = d.refs; i < o->ref_count; i++) {
        o->refs[i].at -= gap;
    }
}
