/* SPDX-License-Identifier: BSD-3-Clause */
/* slowlog: a ring of owned copies. */
#include "src/stats/slowlog.h"

#include <stdio.h>

#include "src/base/lock.h"
#include "src/base/mem.h"

struct slowlog {
    struct lock lock;
    struct slow_entry **ring; /* max of them; newest at (next - 1) % max */
    size_t max, len, next;
    int64_t next_id;
};

struct slowlog *slowlog_create(size_t max_len) {
    struct slowlog *s = mem_zalloc(sizeof(*s));
    lock_init(&s->lock, LOCK_SLOWLOG, 0);
    s->max = max_len;
    s->ring = mem_zalloc(max_len * sizeof(*s->ring));
    return s;
}

static void entry_free(struct slow_entry *e) {
    for (int i = 0; i < e->argc; i++) {
        mem_free(e->argv[i]);
    }
    mem_free(e->addr);
    mem_free(e->name);
    mem_free(e);
}

static struct slow_entry *nth_newest(const struct slowlog *s, size_t n) {
    return s->ring[(s->next + s->max - 1 - n) % s->max];
}

static void drop_all(struct slowlog *s) {
    for (size_t i = 0; i < s->len; i++) {
        entry_free(nth_newest(s, i));
    }
    s->len = 0;
}

void slowlog_destroy(struct slowlog **sp) {
    struct slowlog *s = *sp;
    *sp = NULL;
    drop_all(s);
    mem_free(s->ring);
    mem_free(s);
}

void slowlog_reset(struct slowlog *s) {
    lock_acquire(&s->lock);
    drop_all(s);
    lock_release(&s->lock);
}

void slowlog_set_max(struct slowlog *s, size_t max_len) {
    lock_acquire(&s->lock);
    if (max_len != s->max) {
        struct slow_entry **ring = mem_zalloc(max_len * sizeof(*ring));
        size_t keep = s->len < max_len ? s->len : max_len;
        for (size_t i = 0; i < s->len; i++) {
            if (i < keep) {
                ring[keep - 1 - i] = nth_newest(s, i);
            } else {
                entry_free(nth_newest(s, i));
            }
        }
        mem_free(s->ring);
        s->ring = ring;
        s->max = max_len;
        s->len = keep;
        s->next = keep;
    }
    lock_release(&s->lock);
}

static char *cut_copy(struct slice arg, size_t *n) {
    char more[64];
    size_t keep = arg.n, extra = 0;
    if (arg.n > SLOWLOG_MAX_ARG_BYTES) {
        keep = SLOWLOG_MAX_ARG_BYTES;
        extra = (size_t)snprintf(more, sizeof(more), "... (%zu more bytes)", arg.n - keep);
    }
    char *copy = mem_alloc(keep + extra + 1);
    memcpy(copy, arg.p, keep);
    memcpy(copy + keep, more, extra);
    copy[keep + extra] = '\0';
    *n = keep + extra;
    return copy;
}

static struct slow_entry *make_entry(int64_t now_ms, uint64_t us, const struct slice *argv, int argc,
                                     const char *addr, const char *name) {
    struct slow_entry *e = mem_zalloc(sizeof(*e));
    e->time_s = now_ms / 1000;
    e->us = us;
    e->argc = argc < SLOWLOG_MAX_ARGS ? argc : SLOWLOG_MAX_ARGS;
    for (int i = 0; i < e->argc; i++) {
        if (argc > SLOWLOG_MAX_ARGS && i == SLOWLOG_MAX_ARGS - 1) {
            char text[64];
            int n = snprintf(text, sizeof(text), "... (%d more arguments)", argc - i);
            e->argv[i] = cut_copy(slice_make(text, (size_t)n), &e->argn[i]);
        } else {
            e->argv[i] = cut_copy(argv[i], &e->argn[i]);
        }
    }
    e->addr = mem_strdup(addr);
    e->name = mem_strdup(name != NULL ? name : "");
    return e;
}

void slowlog_add(struct slowlog *s, int64_t now_ms, uint64_t us, const struct slice *argv, int argc,
                 const char *addr, const char *name, const struct slow_where *where) {
    struct slow_entry *e = make_entry(now_ms, us, argv, argc, addr, name);
    e->where = *where;
    lock_acquire(&s->lock);
    e->id = s->next_id++;
    if (s->max == 0) {
        entry_free(e);
    } else {
        size_t at = s->next % s->max;
        if (s->len == s->max) {
            entry_free(s->ring[at]);
        } else {
            s->len++;
        }
        s->ring[at] = e;
        s->next = at + 1;
    }
    lock_release(&s->lock);
}

size_t slowlog_len(struct slowlog *s) {
    lock_acquire(&s->lock);
    size_t n = s->len;
    lock_release(&s->lock);
    return n;
}

size_t slowlog_each(struct slowlog *s, size_t max, void (*fn)(void *ctx, const struct slow_entry *e),
                    void *ctx) {
    lock_acquire(&s->lock);
    size_t n = s->len < max ? s->len : max;
    for (size_t i = 0; i < n; i++) {
        fn(ctx, nth_newest(s, i));
    }
    lock_release(&s->lock);
    return n;
}
