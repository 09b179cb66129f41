/* SPDX-License-Identifier: BSD-3-Clause */
/* lcs: longest common subsequence by the textbook table of prefix lengths. */
#include "src/cmd/lcs.h"

#include "src/base/mem.h"
#include "src/cmd/call.h"

struct lcs {
    struct slice a, b;
    uint32_t *table; /* (a.n + 1) x (b.n + 1) */
    bool idx, len, with_match_len;
    int64_t min_match_len;
};

static uint32_t *cell(const struct lcs *l, size_t i, size_t j) {
    return &l->table[i * (l->b.n + 1) + j];
}

static void fill_table(struct lcs *l) {
    for (size_t i = 0; i <= l->a.n; i++) {
        for (size_t j = 0; j <= l->b.n; j++) {
            if (i == 0 || j == 0) {
                *cell(l, i, j) = 0;
            } else if (l->a.p[i - 1] == l->b.p[j - 1]) {
                *cell(l, i, j) = *cell(l, i - 1, j - 1) + 1;
            } else {
                uint32_t up = *cell(l, i - 1, j), left = *cell(l, i, j - 1);
                *cell(l, i, j) = up > left ? up : left;
            }
        }
    }
}

static void reply_range(struct call *c, const struct lcs *l, size_t a0, size_t a1, size_t b0, size_t b1,
                        int64_t *count) {
    size_t n = a1 - a0 + 1;
    if (l->min_match_len > 0 && (int64_t)n < l->min_match_len) {
        return;
    }
    reply_array(c->out, l->with_match_len ? 3 : 2);
    reply_array(c->out, 2);
    reply_int(c->out, (int64_t)a0);
    reply_int(c->out, (int64_t)a1);
    reply_array(c->out, 2);
    reply_int(c->out, (int64_t)b0);
    reply_int(c->out, (int64_t)b1);
    if (l->with_match_len) {
        reply_int(c->out, (int64_t)n);
    }
    ++*count;
}

/* Walks the table backwards: collects the subsequence, or replies with its contiguous ranges. */
static void walk_back(struct call *c, const struct lcs *l, char *text) {
    size_t i = l->a.n, j = l->b.n, at = *cell(l, i, j);
    bool open = false;
    size_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
    int64_t count = 0;
    struct reply_deferred d = {0};
    if (l->idx) {
        reply_map(c->out, 2);
        reply_bulk_cstr(c->out, "matches");
        d = reply_defer(c->out, '*');
    }
    while (i > 0 && j > 0) {
        if (l->a.p[i - 1] == l->b.p[j - 1]) {
            if (text != NULL) {
                text[--at] = l->a.p[i - 1];
            }
            bool extends = open && a0 == i && b0 == j;
            if (open && !extends && l->idx) {
                reply_range(c, l, a0, a1, b0, b1, &count);
            }
            if (!extends) {
                a1 = i - 1;
                b1 = j - 1;
            }
            a0 = i - 1;
            b0 = j - 1;
            open = true;
            i--;
            j--;
        } else if (*cell(l, i - 1, j) > *cell(l, i, j - 1)) {
            i--;
        } else {
            j--;
        }
    }
    if (l->idx) {
        if (open) {
            reply_range(c, l, a0, a1, b0, b1, &count);
        }
        reply_defer_end(c->out, d, count);
        reply_bulk_cstr(c->out, "len");
        reply_int(c->out, *cell(l, l->a.n, l->b.n));
    }
}

static enum err parse_options(struct call *c, struct lcs *l) {
    for (int i = 3; i < c->argc; i++) {
        if (arg_is(c, i, "idx")) {
            l->idx = true;
        } else if (arg_is(c, i, "len")) {
            l->len = true;
        } else if (arg_is(c, i, "withmatchlen")) {
            l->with_match_len = true;
        } else if (arg_is(c, i, "minmatchlen") && i + 1 < c->argc) {
            if (arg_i64(c, ++i, &l->min_match_len) != OK) {
                return ERR_NOT_INT;
            }
            l->min_match_len = l->min_match_len < 0 ? 0 : l->min_match_len;
        } else {
            return ERR_SYNTAX;
        }
    }
    if (l->idx && l->len) {
        return call_errorf(c, "ERR If you want both the length and indexes, please just use IDX.");
    }
    return OK;
}

enum err lcs_run(struct call *c) {
    struct lcs l = {0};
    struct item_view a, b;
    bool bad = call_get_type(c, 0, TYPE_STRING, &a) != OK;
    bad |= call_get_type(c, 1, TYPE_STRING, &b) != OK;
    if (bad) {
        return call_errorf(c, "ERR The specified keys must contain string values");
    }
    l.a = a.str;
    l.b = b.str;
    enum err e = parse_options(c, &l);
    if (e != OK) {
        return e;
    }
    unsigned __int128 bytes = (unsigned __int128)(l.a.n + 1) * (l.b.n + 1) * sizeof(uint32_t);
    if (bytes > (uint64_t)c->conf->proto_max_bulk_len) {
        return call_errorf(c, "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    }
    l.table = mem_try_alloc((size_t)bytes);
    if (l.table == NULL) {
        return call_errorf(c, "ERR Insufficient memory, failed allocating transient memory for LCS");
    }
    fill_table(&l);
    size_t n = *cell(&l, l.a.n, l.b.n);
    if (l.len) {
        reply_int(c->out, (int64_t)n);
    } else if (l.idx) {
        walk_back(c, &l, NULL);
    } else {
        char *text = mem_try_alloc(n + 1);
        if (text == NULL) {
            mem_free(l.table);
            return ERR_OUT_OF_MEMORY;
        }
        walk_back(c, &l, text);
        reply_bulk(c->out, slice_make(text, n));
        mem_free(text);
    }
    mem_free(l.table);
    return OK;
}
