/* SPDX-License-Identifier: BSD-3-Clause */
/* scan: walks over all keys. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/cmd/key.h"

enum { KEYS_SLICE = 2000 /* keys looked at before KEYS lets others have a turn */ };

struct matching {
    struct slice pattern;
    bool all;      /* the pattern is "*" */
    int type;      /* -1: any */
    struct out *out;
    int64_t count;
};

static void collect(void *ctx, const struct key *key, const struct item_view *item) {
    struct matching *m = ctx;
    if ((m->type < 0 || m->type == (int)item->type) &&
        (m->all || glob_match(m->pattern, key->name, false))) {
        reply_bulk(m->out, key->name);
        m->count++;
    }
}

static bool matches_all(struct slice pattern) {
    return pattern.n == 1 && pattern.p[0] == '*';
}

/* ---- KEYS: sliced, the reply made aside until its length is known ---- */

struct keys_state {
    uint64_t cursor;
    struct out names;
    int64_t count;
};

static void keys_state_free(void *state) {
    struct keys_state *s = state;
    out_free(&s->names);
    mem_free(s);
}

enum err keys_run(struct call *c) {
    struct keys_state *s = c->state;
    if (s == NULL) {
        s = mem_zalloc(sizeof(*s));
        s->names.proto = c->out->proto;
        c->state = s;
        c->state_free = keys_state_free;
    }
    struct matching m = {.pattern = c->argv[1], .all = matches_all(c->argv[1]), .type = -1, .out = &s->names};
    do {
        s->cursor = l1_scan(c->l1, s->cursor, KEYS_SLICE, c->db, c->now_ms, c->all_locked, collect, &m);
        s->count += m.count;
        m.count = 0;
        if (s->cursor != 0 && call_may_yield(c)) {
            return call_yield(c);
        }
    } while (s->cursor != 0);
    reply_array(c->out, s->count);
    out_append(c->out, &s->names);
    keys_state_free(s);
    c->state = NULL;
    return OK;
}

/* ---- SCAN ---- */

enum err arg_cursor(struct call *c, int i, unsigned long *cursor) {
    char text[32], *end;
    struct slice s = c->argv[i];
    if (s.n >= sizeof(text) || (s.n > 0 && isspace((unsigned char)s.p[0]))) {
        return call_errorf(c, "ERR invalid cursor");
    }
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    errno = 0;
    *cursor = strtoul(text, &end, 10);
    return errno != 0 || end != text + s.n ? call_errorf(c, "ERR invalid cursor") : OK;
}

enum err scan_run(struct call *c) {
    unsigned long cursor;
    int64_t count = 10;
    struct out names = {.proto = c->out->proto};
    struct matching m = {.all = true, .type = -1, .out = &names};
    enum err e = arg_cursor(c, 1, &cursor);
    if (e != OK) {
        return e;
    }
    for (int i = 2; i < c->argc; i += 2) {
        if (i + 1 >= c->argc) {
            return ERR_SYNTAX;
        }
        if (arg_is(c, i, "count")) {
            if (arg_i64(c, i + 1, &count) != OK) {
                return ERR_NOT_INT;
            }
            if (count < 1) {
                return ERR_SYNTAX;
            }
        } else if (arg_is(c, i, "match")) {
            m.pattern = c->argv[i + 1];
            m.all = matches_all(m.pattern);
        } else if (arg_is(c, i, "type")) {
            m.type = TYPE_NONE; /* an unknown type matches nothing */
            for (int t = TYPE_STRING; t < TYPE_NONE; t++) {
                m.type = slice_eqi(c->argv[i + 1], value_type_name((enum value_type)t)) ? t : m.type;
            }
        } else {
            return ERR_SYNTAX;
        }
    }
    size_t want = count > KEYS_SLICE * 10 ? KEYS_SLICE * 10 : (size_t)count; /* a bounded slice a call */
    uint64_t next = l1_scan(c->l1, cursor, want, c->db, c->now_ms, c->all_locked, collect, &m);
    reply_array(c->out, 2);
    reply_bulk_int(c->out, (int64_t)next);
    reply_array(c->out, m.count);
    out_append(c->out, &names);
    return OK;
}

static void reply_name(void *ctx, const struct key *key, const struct item_view *item) {
    (void)item;
    reply_bulk(ctx, key->name);
}

enum err randomkey_run(struct call *c) {
    if (!l1_random(c->l1, c->db, c->now_ms, c->all_locked, reply_name, c->out)) {
        reply_null(c->out);
    }
    return OK;
}
