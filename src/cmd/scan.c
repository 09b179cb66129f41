/* SPDX-License-Identifier: BSD-3-Clause */
/* scan: walks over all keys. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/cmd/call.h"
#include "src/cmd/key.h"
#include "src/tier/walk.h"

enum {
    KEYS_SLICE = 2000,     /* keys looked at before KEYS lets others have a turn */
};
static const size_t ALL_KEYS = SIZE_MAX / 64; /* more than there can be */

struct matching {
    struct slice pattern;
    bool all;      /* the pattern is "*" */
    int type;      /* -1: any */
    struct out *out;
    int64_t count;
};

static void match(struct matching *m, struct slice name, enum value_type type) {
    if ((m->type < 0 || m->type == (int)type) && (m->all || glob_match(m->pattern, name, false))) {
        reply_bulk(m->out, name);
        m->count++;
    }
}

static void match_item(void *ctx, const struct key *key, const struct item_view *item) {
    match(ctx, key->name, item->type);
}

static bool matches_all(struct slice pattern) {
    return pattern.n == 1 && pattern.p[0] == '*';
}

/* ---- one interval of keys, of memory and of the tiers below ---- */

struct key_walk {
    struct call_job job; /* first: the job is the walk */
    struct walk walk;
    bool below; /* the tiers below are being asked */
    /* KEYS: what was found so far */
    struct out names;
    int64_t count;
};

static void key_walk_free(void *state) {
    struct key_walk *k = state;
    walk_free(&k->walk);
    out_free(&k->names);
    mem_free(k);
}

static void ask_below(struct job *job) {
    walk_below(&((struct key_walk *)job)->walk);
}

static struct key_walk *key_walk_of(struct call *c) {
    struct key_walk *k = c->state;
    if (k == NULL) {
        k = mem_zalloc(sizeof(*k));
        k->job.job.run = ask_below;
        k->names.proto = c->out->proto;
        k->walk.tier = c->host->tier;
        c->state = k;
        c->state_free = key_walk_free;
    }
    return k;
}

static void key_walk_end(struct call *c) {
    key_walk_free(c->state);
    c->state = NULL;
}

/* OK: k->walk has the keys of [from, next). ERR_PARKED: the handler runs again. Inside a transaction, where nothing may wait, it has
 * run so far ahead of the locks (c->ahead), and what changed since was noted; but in a database that has become this one
 * meanwhile nobody looked. */
static enum err key_walk_step(struct call *c, struct key_walk *k, uint64_t from, size_t want) {
    struct walk *w = &k->walk;
    bool begin = !k->below || w->physical != c->db;
    w->locked = c->all_locked;
    w->now_ms = c->now_ms;
    if (begin && c->in_exec && !walk_is_empty_below(w->tier, c->db)) {
        return call_errorf(c, "BUSY The databases were swapped during a walk over all keys");
    }
    if (begin) {
        walk_clear(w);
        w->from = from;
        w->want = want;
        w->physical = c->db;
        walk_before(w);
        if (!c->in_exec) {
            k->below = true;
            return call_wait(c, &k->job);
        }
    }
    k->below = false;
    if (k->job.refused) {
        return call_errorf(c, "BUSY Too many walks over all keys are under way");
    }
    if (!walk_after(w) && want > 1) { /* too much moved: a shorter interval */
        return c->in_exec ? call_errorf(c, "BUSY Too many keys moved during a walk over all keys")
                          : key_walk_step(c, k, w->from, want / 4 + 1);
    }
    return OK;
}

static void match_walk(struct matching *m, const struct walk *w) {
    for (size_t i = 0; i < w->count; i++) {
        match(m, walk_name(w, &w->keys[i]), (enum value_type)w->keys[i].type);
    }
}

/* ---- KEYS: sliced, the reply made aside until its length is known ---- */

enum err keys_run(struct call *c) {
    struct key_walk *k = key_walk_of(c);
    struct matching m = {.pattern = c->argv[1], .all = matches_all(c->argv[1]), .type = -1, .out = &k->names};
    bool below = walk_has_below(c->host->tier), yield;
    do {
        if (below) {
            enum err e = key_walk_step(c, k, k->walk.next, c->ahead || c->in_exec ? ALL_KEYS : KEYS_SLICE);
            if (e != OK) {
                return e;
            }
            match_walk(&m, &k->walk);
        } else {
            k->walk.next = l1_scan(c->l1, k->walk.next, KEYS_SLICE, c->db, c->now_ms, c->all_locked, match_item, &m);
        }
        k->count += m.count;
        m.count = 0;
        yield = k->walk.next != 0 && call_may_yield(c);
    } while (k->walk.next != 0 && !yield);
    if (yield) {
        return call_yield(c);
    }
    reply_array(c->out, k->count);
    out_append(c->out, &k->names);
    key_walk_end(c);
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

/* The options behind the cursor. */
static enum err scan_options(struct call *c, struct matching *m, int64_t *count) {
    for (int i = 2; i < c->argc; i += 2) {
        if (i + 1 >= c->argc) {
            return ERR_SYNTAX;
        }
        if (arg_is(c, i, "count")) {
            if (arg_i64(c, i + 1, count) != OK) {
                return ERR_NOT_INT;
            }
            if (*count < 1) {
                return ERR_SYNTAX;
            }
        } else if (arg_is(c, i, "match")) {
            m->pattern = c->argv[i + 1];
            m->all = matches_all(m->pattern);
        } else if (arg_is(c, i, "type")) {
            m->type = TYPE_NONE; /* an unknown type matches nothing */
            for (int t = TYPE_STRING; t < TYPE_NONE; t++) {
                m->type = slice_eqi(c->argv[i + 1], value_type_name((enum value_type)t)) ? t : m->type;
            }
        } else {
            return ERR_SYNTAX;
        }
    }
    return OK;
}

enum err scan_run(struct call *c) {
    unsigned long cursor;
    int64_t count = 10;
    struct out names = {.proto = c->out->proto};
    struct matching m = {.all = true, .type = -1, .out = &names};
    enum err e = arg_cursor(c, 1, &cursor);
    e = e != OK ? e : scan_options(c, &m, &count);
    if (e != OK) {
        return e;
    }
    size_t want = count > KEYS_SLICE * 10 ? KEYS_SLICE * 10 : (size_t)count; /* a bounded slice a call */
    uint64_t next, from = (uint64_t)cursor << WALK_STEP_BITS;
    if (walk_has_below(c->host->tier)) {
        struct key_walk *k = key_walk_of(c);
        e = key_walk_step(c, k, from, want);
        if (e != OK) {
            return e;
        }
        match_walk(&m, &k->walk);
        next = k->walk.next;
        key_walk_end(c);
    } else {
        next = l1_scan(c->l1, from, want, c->db, c->now_ms, c->all_locked, match_item, &m);
    }
    reply_array(c->out, 2);
    reply_bulk_int(c->out, (int64_t)(next >> WALK_STEP_BITS));
    reply_array(c->out, m.count);
    out_append(c->out, &names);
    return OK;
}

/* ---- RANDOMKEY ---- */

enum { RANDOM_WANT = 16, RANDOM_WANT_AHEAD = 256 /* of which the transaction may have deleted some by then */ };

static void reply_name(void *ctx, const struct key *key, const struct item_view *item) {
    (void)item;
    reply_bulk(ctx, key->name);
}

static void reply_random_of_memory(struct call *c) {
    if (!l1_random(c->l1, c->db, c->now_ms, c->all_locked, reply_name, c->out)) {
        reply_null(c->out);
    }
}

/* A position from which on there are about so many of all the keys. */
static uint64_t random_start(uint64_t all, uint64_t want) {
    return all > want ? rng_below(UINT64_MAX - UINT64_MAX / all * want) >> WALK_STEP_BITS << WALK_STEP_BITS : 0;
}

/* Some cold key from a random position on, in turn with memory's as their numbers are. */
enum err randomkey_run(struct call *c) {
    uint64_t memory = l1_db_keys(c->l1, c->db), all = tier_keys(c->host->tier, c->db);
    bool cold = c->state != NULL || (all > memory && !c->in_exec && (c->ahead || rng_below(all) >= memory));
    if (!cold || !walk_has_below(c->host->tier)) {
        reply_random_of_memory(c);
        return OK;
    }
    size_t want = c->ahead ? RANDOM_WANT_AHEAD : RANDOM_WANT;
    struct key_walk *k = key_walk_of(c);
    struct walk *w = &k->walk;
    enum err e = key_walk_step(c, k, k->below ? w->from : random_start(all, want), want);
    if (e != OK) {
        return e;
    }
    if (w->count > 0) {
        reply_bulk(c->out, walk_name(w, &w->keys[rng_below(w->count)]));
    } else if (!c->in_exec && (w->next != 0 || k->count++ == 0)) { /* nothing there: further on, and once from the start */
        return key_walk_step(c, k, w->next, want);
    } else {
        reply_random_of_memory(c);
    }
    key_walk_end(c);
    return OK;
}
