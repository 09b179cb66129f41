/* SPDX-License-Identifier: BSD-3-Clause */
/* reply: finds where RESP replies end without keeping them. */
#include "bench/load/reply.h"

#include <stdlib.h>
#include <string.h>

static void line_keep(struct reply *r, const char *p, size_t n) {
    size_t room = REPLY_LINE_MAX - r->line_n;
    size_t take = n < room ? n : room;
    memcpy(r->line + r->line_n, p, take);
    r->line_n += (unsigned)take;
}

/* One element has ended: the reply has too unless an array around it waits for more. */
static enum reply_kind element_end(struct reply *r, enum reply_kind kind) {
    if (r->open == 0) {
        return kind;
    }
    return --r->open > 0 ? REPLY_PARTIAL : REPLY_VALUE;
}

static enum reply_kind aggregate_start(struct reply *r, long long count, unsigned per_count) {
    if (count < 0) {
        return element_end(r, REPLY_NULL);
    }
    if (count == 0) {
        return element_end(r, REPLY_VALUE);
    }
    r->open += (uint64_t)count * per_count + (r->open > 0 ? 0 : 1);
    r->open--; /* the aggregate itself was one of the elements awaited */
    return REPLY_PARTIAL;
}

static enum reply_kind line_end(struct reply *r) {
    if (r->line_n > 0 && r->line[r->line_n - 1] == '\r') {
        r->line_n--;
    }
    r->line[r->line_n] = '\0';
    r->line_n = 0;
    long long count = strtoll(r->line + 1, NULL, 10);
    switch (r->line[0]) {
    case '$':
    case '=':
    case '!':
        if (count < 0) {
            return element_end(r, REPLY_NULL);
        }
        r->skip = (uint64_t)count + 2;
        return REPLY_PARTIAL;
    case '*':
    case '~':
    case '>':
        return aggregate_start(r, count, 1);
    case '%':
        return aggregate_start(r, count, 2);
    case '-':
        return element_end(r, REPLY_ERROR);
    case '_':
        return element_end(r, REPLY_NULL);
    case '+':
    case ':':
    case ',':
    case '#':
    case '(':
        return element_end(r, REPLY_VALUE);
    default:
        return REPLY_GARBAGE;
    }
}

size_t reply_feed(struct reply *r, const char *p, size_t n, enum reply_kind *kind) {
    size_t used = 0;
    *kind = REPLY_PARTIAL;
    while (used < n && *kind == REPLY_PARTIAL) {
        if (r->skip > 0) {
            size_t take = r->skip < n - used ? (size_t)r->skip : n - used;
            used += take;
            r->skip -= take;
            *kind = r->skip == 0 ? element_end(r, REPLY_VALUE) : REPLY_PARTIAL;
            continue;
        }
        const char *end = memchr(p + used, '\n', n - used);
        size_t take = end == NULL ? n - used : (size_t)(end - p) - used;
        line_keep(r, p + used, take);
        used += take;
        if (end != NULL) {
            used++;
            *kind = line_end(r);
        }
    }
    return used;
}
