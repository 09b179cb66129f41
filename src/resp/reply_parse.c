/* SPDX-License-Identifier: BSD-3-Clause */
/* reply_parse: a scan over elements with a stack of counts, then a recursive descent over what is known to be sound. */
#include "src/resp/reply_parse.h"

#include "src/base/check.h"
#include "src/base/num.h"

/* One element without the items of an array. */
struct element {
    struct reply reply;
    size_t n; /* bytes */
};

/* The line at the start of in. */
static enum reply_status get_line(struct slice in, struct slice *line, size_t *n) {
    size_t look = in.n < REPLY_LINE_BYTES ? in.n : REPLY_LINE_BYTES;
    const char *end = look == 0 ? NULL : memchr(in.p, '\n', look);
    if (end == NULL) {
        *n = in.n + 1;
        return in.n < REPLY_LINE_BYTES ? REPLY_MORE : REPLY_GARBAGE;
    }
    size_t len = (size_t)(end - in.p);
    if (len < 2 || in.p[len - 1] != '\r') {
        return REPLY_GARBAGE;
    }
    *line = slice_make(in.p, len - 1);
    *n = len + 1;
    return REPLY_OK;
}

static enum reply_status get_bulk(struct slice in, const struct reply_limits *limits, int64_t len, struct element *e) {
    if (len == -1) {
        e->reply.kind = REPLY_NULL;
        return REPLY_OK;
    }
    if (len < 0) {
        return REPLY_GARBAGE;
    }
    if ((uint64_t)len > limits->max_bulk_bytes) {
        return REPLY_TOO_LONG;
    }
    size_t head = e->n;
    e->reply.kind = REPLY_BULK;
    e->reply.str = slice_make(in.p + head, (size_t)len);
    e->n = head + (size_t)len + 2;
    if (in.n < e->n) {
        return REPLY_MORE;
    }
    return in.p[e->n - 2] == '\r' && in.p[e->n - 1] == '\n' ? REPLY_OK : REPLY_GARBAGE;
}

static enum reply_status get_array(const struct reply_limits *limits, int64_t len, struct element *e) {
    if (len == -1) {
        e->reply.kind = REPLY_NULL;
        return REPLY_OK;
    }
    if (len < 0) {
        return REPLY_GARBAGE;
    }
    if (len > limits->max_elements) {
        return REPLY_TOO_LONG;
    }
    e->reply.kind = REPLY_ARRAY;
    e->reply.n = (uint32_t)len;
    return REPLY_OK;
}

/* The element at the start of in. MORE: e->n is what it takes. */
static enum reply_status get_element(struct slice in, const struct reply_limits *limits, struct element *e) {
    struct slice line;
    int64_t number = 0;
    *e = (struct element){.n = 1};
    if (in.n > 0 && memchr("+-:$*", in.p[0], 5) == NULL) {
        return REPLY_GARBAGE; /* at once: garbage may never send a line end */
    }
    enum reply_status status = get_line(in, &line, &e->n);
    if (status != REPLY_OK) {
        return status;
    }
    struct slice rest = slice_make(line.p + 1, line.n - 1);
    if (line.p[0] != '+' && line.p[0] != '-' && !num_parse_i64(rest, &number)) {
        return REPLY_GARBAGE;
    }
    switch (line.p[0]) {
    case '$':
        return get_bulk(in, limits, number, e);
    case '*':
        return get_array(limits, number, e);
    case ':':
        e->reply.kind = REPLY_INT;
        e->reply.integer = number;
        return REPLY_OK;
    default:
        e->reply.kind = line.p[0] == '+' ? REPLY_STATUS : REPLY_ERROR;
        e->reply.str = rest;
        return REPLY_OK;
    }
}

/* Counts an element that has come; opens it when it is an array, closes the arrays that it completes. */
static enum reply_status count_element(struct reply_scan *scan, const struct reply_limits *limits, const struct reply *r) {
    if (scan->depth > 0) {
        scan->left[scan->depth - 1]--;
    }
    if (r->kind == REPLY_ARRAY && r->n > 0) {
        if (scan->depth == REPLY_DEPTH) {
            return REPLY_GARBAGE;
        }
        scan->elements += r->n;
        if (scan->elements > limits->max_elements) {
            return REPLY_TOO_LONG;
        }
        scan->left[scan->depth++] = r->n;
    }
    while (scan->depth > 0 && scan->left[scan->depth - 1] == 0) {
        scan->depth--;
    }
    return REPLY_OK;
}

enum reply_status reply_scan(struct slice in, const struct reply_limits *limits, struct reply_scan *scan, size_t *n) {
    do {
        struct element e;
        enum reply_status status = get_element(slice_make(in.p + scan->at, in.n - scan->at), limits, &e);
        *n = scan->at + e.n;
        if ((status == REPLY_OK || status == REPLY_MORE) && *n > limits->max_bytes) {
            return REPLY_TOO_LONG;
        }
        if (status == REPLY_OK) {
            status = count_element(scan, limits, &e.reply);
        }
        if (status != REPLY_OK) {
            return status;
        }
        scan->at = *n;
    } while (scan->depth > 0);
    return REPLY_OK;
}

/* As deep as REPLY_DEPTH at most, by the scan. */
static size_t build(struct slice in, struct arena *arena, struct reply *out) {
    static const struct reply_limits none = {SIZE_MAX, SIZE_MAX, UINT32_MAX};
    struct element e;
    enum reply_status status = get_element(in, &none, &e);
    CHECK(status == REPLY_OK);
    *out = e.reply;
    if (out->kind == REPLY_ARRAY) {
        struct reply *items = arena_alloc(arena, out->n * sizeof(*items));
        for (uint32_t i = 0; i < out->n; i++) {
            e.n += build(slice_make(in.p + e.n, in.n - e.n), arena, &items[i]);
        }
        out->items = items;
    }
    return e.n;
}

void reply_build(struct slice whole, struct arena *arena, struct reply *out) {
    size_t n = build(whole, arena, out);
    CHECK(n == whole.n);
}
