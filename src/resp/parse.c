/* SPDX-License-Identifier: BSD-3-Clause */
/* parse: requests out of bytes. A request is looked at twice: once to see that it is whole (remembering how far it got, so
 * that a large one is not rescanned), once to cut it into slices. Nothing is allocated before it is whole. */
#include "src/resp/parse.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "src/base/check.h"

enum { MAX_HEADER = 64 * 1024 }; /* a count line without an end is an error beyond this */

enum phase { PHASE_START, PHASE_BULKS };

static enum parse_status fail(struct request *out, const char *text) {
    out->error = text;
    return PARSE_ERROR;
}

/* The number between p and the CR at end; false when it is none. */
static bool read_number(const char *p, const char *end, int64_t *out) {
    bool negative = p < end && *p == '-';
    uint64_t v = 0;
    p += negative;
    if (p >= end || end - p > 18 || (*p == '0' && (negative || end - p > 1))) {
        return false;
    }
    for (; p < end; p++) {
        unsigned digit = (unsigned)(*p - '0');
        if (digit > 9) {
            return false;
        }
        v = v * 10 + digit;
    }
    *out = negative ? -(int64_t)v : (int64_t)v;
    return true;
}

/* One "<type><number>\r\n" line at p. PARSE_MORE when it has no end yet. *next is behind it. */
static inline enum parse_status read_line(const char *p, const char *end, int64_t *value,
                                          const char **next, bool *valid) {
    /* the common case: one to three digits */
    const char *q = p;
    int64_t v = 0;
    while (q < end && (unsigned)(*q - '0') <= 9 && q - p < 10) {
        v = v * 10 + (*q - '0');
        q++;
    }
    if (q + 1 < end && q > p && *q == '\r' && (*p != '0' || q - p == 1)) {
        *value = v;
        *next = q + 2;
        *valid = true;
        return PARSE_OK;
    }
    const char *cr = memchr(p, '\r', (size_t)(end - p));
    if (cr == NULL || cr + 1 >= end) {
        return PARSE_MORE;
    }
    *valid = read_number(p, cr, value);
    *next = cr + 2;
    return PARSE_OK;
}

/* ---- inline ---- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0';
}

static char unescape(char c) {
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* One quoted run from behind its opening quote; writes its bytes to *to. NULL: not closed, or something other than a
 * space follows the closing quote. */
static const char *copy_quoted(const char *p, const char *end, char quote, char **to) {
    for (; p < end; p++) {
        if (quote == '"' && *p == '\\' && end - p >= 4 && p[1] == 'x' && hex_digit(p[2]) >= 0 &&
            hex_digit(p[3]) >= 0) {
            *(*to)++ = (char)(hex_digit(p[2]) * 16 + hex_digit(p[3]));
            p += 3;
        } else if (quote == '"' && *p == '\\' && end - p >= 2) {
            *(*to)++ = unescape(*++p);
        } else if (quote == '\'' && *p == '\\' && end - p >= 2 && p[1] == '\'') {
            *(*to)++ = *++p;
        } else if (*p == quote) {
            p++;
            return p == end || is_space(*p) ? p : NULL;
        } else {
            *(*to)++ = *p;
        }
    }
    return NULL;
}

/* Splits a line as redis-cli would. -1: unbalanced quotes. */
static int split_inline(const char *p, const char *end, struct arena *arena, struct slice **argv) {
    size_t n = (size_t)(end - p);
    char *bytes = arena_alloc(arena, n + 1);
    *argv = arena_alloc(arena, (n / 2 + 1) * sizeof(**argv));
    int argc = 0;
    for (;;) {
        while (p < end && is_space(*p)) {
            p++;
        }
        if (p == end) {
            return argc;
        }
        char *start = bytes;
        while (p < end && !is_space(*p)) {
            if (*p == '"' || *p == '\'') {
                p = copy_quoted(p + 1, end, *p, &bytes);
                if (p == NULL) {
                    return -1;
                }
                break;
            }
            *bytes++ = *p++;
        }
        (*argv)[argc++] = slice_make(start, (size_t)(bytes - start));
    }
}

static enum parse_status parse_inline(struct slice in, const struct parse_limits *limits,
                                      struct arena *arena, struct request *out) {
    const char *lf = memchr(in.p, '\n', in.n);
    if (lf == NULL) {
        return in.n > (size_t)limits->max_inline_bytes
                   ? fail(out, "Protocol error: too big inline request")
                   : PARSE_MORE;
    }
    out->used = (size_t)(lf + 1 - in.p);
    const char *end = lf > in.p && lf[-1] == '\r' ? lf - 1 : lf;
    out->argc = split_inline(in.p, end, arena, &out->argv);
    if (out->argc < 0) {
        return fail(out, "Protocol error: unbalanced quotes in request");
    }
    return out->argc == 0 ? PARSE_EMPTY : PARSE_OK;
}

/* ---- arrays ---- */

static enum parse_status bulk_error(struct request *out, struct arena *arena, char got) {
    char *text = arena_alloc(arena, 64);
    snprintf(text, 64, "Protocol error: expected '$', got '%c'", got == '\r' || got == '\n' ? ' ' : got);
    return fail(out, text);
}

/* The "*N\r\n" line. */
static enum parse_status parse_count(struct slice in, const struct parse_limits *limits,
                                     struct parse_resume *resume, struct request *out) {
    int64_t n = 0;
    bool valid = false;
    const char *next;
    if (read_line(in.p + 1, in.p + in.n, &n, &next, &valid) == PARSE_MORE) {
        return in.n > MAX_HEADER ? fail(out, "Protocol error: too big mbulk count string")
                                 : PARSE_MORE;
    }
    if (!valid || n > INT32_MAX) {
        return fail(out, "Protocol error: invalid multibulk length");
    }
    if (n > limits->max_args) {
        return fail(out, "Protocol error: unauthenticated multibulk length");
    }
    size_t used = (size_t)(next - in.p);
    if (n <= 0) {
        out->used = used;
        return PARSE_EMPTY;
    }
    *resume = (struct parse_resume){
        .scanned = used, .args_left = n, .argc = n, .phase = PHASE_BULKS};
    return PARSE_OK;
}

/* One "$N\r\n" line at p; *body is behind it. */
static inline enum parse_status parse_bulk_length(const char *p, const char *end,
                                                  const struct parse_limits *limits,
                                                  struct arena *arena, struct request *out,
                                                  int64_t *n, const char **body) {
    bool valid = false;
    if (p >= end) {
        return PARSE_MORE;
    }
    if (unlikely(*p != '$')) {
        /* Redis looks at the line only once it has an end */
        if (memchr(p, '\r', (size_t)(end - p)) == NULL) {
            return end - p > MAX_HEADER ? fail(out, "Protocol error: too big bulk count string")
                                        : PARSE_MORE;
        }
        return bulk_error(out, arena, *p);
    }
    if (read_line(p + 1, end, n, body, &valid) == PARSE_MORE) {
        return end - p > MAX_HEADER ? fail(out, "Protocol error: too big bulk count string")
                                    : PARSE_MORE;
    }
    if (!valid || *n < 0 || *n > limits->max_bulk_bytes) {
        return fail(out, "Protocol error: invalid bulk length");
    }
    if (*n > limits->max_auth_bulk) {
        return fail(out, "Protocol error: unauthenticated bulk length");
    }
    return PARSE_OK;
}

/* Walks the bulks from where the last look ended. */
static enum parse_status scan_bulks(struct slice in, const struct parse_limits *limits,
                                    struct parse_resume *resume, struct arena *arena,
                                    struct request *out) {
    const char *end = in.p + in.n;
    while (resume->args_left > 0) {
        const char *p = in.p + resume->scanned, *body;
        int64_t n;
        enum parse_status status = parse_bulk_length(p, end, limits, arena, out, &n, &body);
        if (status != PARSE_OK) {
            return status;
        }
        if (end - body < n + 2) {
            out->need = (size_t)(body - in.p) + (size_t)n + 2;
            return PARSE_MORE;
        }
        resume->scanned = (size_t)(body - in.p) + (size_t)n + 2;
        resume->args_left--;
    }
    out->used = resume->scanned;
    return PARSE_OK;
}

/* The request is whole and valid: cut it. */
static void cut_bulks(const char *p, int argc, struct slice *argv) {
    while (*p != '\r') { /* the byte behind the CR may be any, as in Redis */
        p++;
    }
    p += 2;
    for (int i = 0; i < argc; i++) {
        size_t n = 0;
        for (p++; *p != '\r'; p++) {
            n = n * 10 + (size_t)(*p - '0');
        }
        argv[i] = slice_make(p + 2, n);
        p += n + 4;
    }
}

enum { FEW_ARGS = 8 };

/* A small request that is all there, in one pass. PARSE_MORE: the careful way must look. */
static inline enum parse_status parse_small(struct slice in, const struct parse_limits *limits,
                                            struct arena *arena, struct request *out) {
    const char *p = in.p + 1, *end = in.p + in.n;
    unsigned argc = (unsigned)(*p - '0');
    if (argc == 0 || argc > FEW_ARGS || argc > limits->max_args || in.n < 4 || p[1] != '\r') {
        return PARSE_MORE;
    }
    p += 3;
    int64_t most = limits->max_auth_bulk < limits->max_bulk_bytes ? limits->max_auth_bulk : limits->max_bulk_bytes;
    struct slice *argv = arena_alloc(arena, argc * sizeof(*argv));
    for (unsigned i = 0; i < argc; i++) {
        if (end - p < 5 || *p != '$') {
            return PARSE_MORE;
        }
        const char *q = p + 2;
        size_t n = (unsigned)(p[1] - '0'), digit = n;
        while (digit <= 9 && *q != '\r' && q < end - 1) {
            digit = n > 0 && q < p + 6 ? (unsigned)(*q++ - '0') : 10; /* no leading zeros, five digits */
            n = n * 10 + digit;
        }
        if (digit > 9 || *q != '\r' || (int64_t)n > most || (size_t)(end - q) < n + 4) {
            return PARSE_MORE;
        }
        argv[i] = slice_make(q + 2, n);
        p = q + n + 4;
    }
    out->argc = (int)argc;
    out->argv = argv;
    out->used = (size_t)(p - in.p);
    return PARSE_OK;
}

enum parse_status parse_request(struct slice in, const struct parse_limits *limits,
                                struct parse_resume *resume, struct arena *arena,
                                struct request *out) {
    out->need = 0;
    out->argc = 0;
    out->used = 0;
    if (in.n == 0) {
        return PARSE_MORE;
    }
    if (resume->phase == PHASE_START) {
        if (in.p[0] != '*') {
            return parse_inline(in, limits, arena, out);
        }
        if (in.n > 4 && likely(parse_small(in, limits, arena, out) == PARSE_OK)) {
            return PARSE_OK;
        }
        enum parse_status status = parse_count(in, limits, resume, out);
        if (status != PARSE_OK) {
            return status;
        }
    }
    enum parse_status status = scan_bulks(in, limits, resume, arena, out);
    if (status != PARSE_OK) {
        return status;
    }
    out->argc = (int)resume->argc;
    out->argv = arena_alloc(arena, (size_t)resume->argc * sizeof(*out->argv));
    cut_bulks(in.p, out->argc, out->argv);
    return PARSE_OK;
}
