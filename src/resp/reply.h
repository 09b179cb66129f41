/* SPDX-License-Identifier: BSD-3-Clause */
/* reply: the one builder of replies. Appends to a struct out; the protocol (RESP2 or RESP3) is picked inside, so that
 * handlers say what they mean (a map, a null, a double) once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

/* Bytes held by reference in the middle of a reply, instead of copied: a large value on its way out. */
struct out_ref {
    size_t at; /* goes out after this many bytes of buf */
    struct slice bytes;
    void *owner;
    void (*release)(void *owner); /* called once, when the bytes are sent or dropped */
};

struct out {
    struct buf buf;
    struct out_ref *refs; /* in rising order of at */
    uint32_t ref_count, ref_cap;
    size_t ref_bytes; /* sum of refs[].bytes.n */
    uint8_t proto;    /* 2 or 3 */
};

void out_free(struct out *o); /* releases refs too */
/* Everything: bytes waiting in o. */
static inline size_t out_bytes(const struct out *o) {
    return o->buf.n + o->ref_bytes;
}
/* Appends all of src (bytes and refs) to dst and empties src. */
void out_append(struct out *dst, struct out *src);
/* Drops what was appended since the mark out_bytes/out->buf.n/ref_count said, as when a call is rolled back. */
void out_truncate(struct out *o, size_t buf_n, uint32_t ref_count);

/* Puts bytes in at a place of buf, which must be within or at the end of the last reply. */
void out_insert(struct out *o, size_t at, struct slice bytes);

void reply_ok(struct out *o);
void reply_status(struct out *o, const char *text); /* +text */
/* -text; text starts with its code ("ERR ..."). CR and LF become spaces. */
void reply_error(struct out *o, struct slice text);
void reply_errorf(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void reply_int(struct out *o, int64_t v);
void reply_bulk(struct out *o, struct slice s);
void reply_bulk_cstr(struct out *o, const char *s);
void reply_bulk_int(struct out *o, int64_t v);
/* A bulk whose bytes are not copied: release(owner) is called once they are sent. */
void reply_bulk_ref(struct out *o, struct slice s, void *owner, void (*release)(void *owner));
void reply_verbatim(struct out *o, const char *fmt3, struct slice s); /* RESP3 =, RESP2 bulk */
void reply_null(struct out *o);       /* RESP3 _, RESP2 $-1 */
void reply_null_array(struct out *o); /* RESP3 _, RESP2 *-1 */
void reply_bool(struct out *o, bool v);
void reply_double(struct out *o, double v);
void reply_array(struct out *o, int64_t n);
void reply_map(struct out *o, int64_t pairs); /* RESP2: array of 2 x pairs */
void reply_set(struct out *o, int64_t n);
void reply_push(struct out *o, int64_t n);
void reply_attribute(struct out *o, int64_t pairs); /* RESP3 only: nothing in RESP2 */
void reply_big_number(struct out *o, struct slice digits);
/* An array or map whose length is known only later: begin reserves, end fills in. Elements may be appended
 * between. Nesting allowed, ends in reverse order. */
struct reply_deferred {
    size_t at;
    uint32_t refs;
    char kind;
};
struct reply_deferred reply_defer(struct out *o, char kind); /* '*', '%', '~' */
void reply_defer_end(struct out *o, struct reply_deferred d, int64_t n);
