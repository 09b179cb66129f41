/* SPDX-License-Identifier: BSD-3-Clause */
/* errors: a sorted array of kinds; there are rarely more than a handful. */
#include "src/stats/errors.h"

#include <stdbool.h>
#include <string.h>

#include "src/base/lock.h"
#include "src/base/log.h"
#include "src/base/mem.h"

struct kind {
    char name[ERROR_KIND_BYTES + 1]; /* zeros behind it, so that all bytes may be compared */
    uint64_t count;
};

struct error_counts {
    struct lock lock;
    bool disabled; /* there were too many kinds */
    size_t used;
    struct kind kinds[ERROR_KINDS_MAX];
};

struct error_counts *error_counts_create(void) {
    struct error_counts *e = mem_zalloc(sizeof(*e));
    lock_init(&e->lock, LOCK_ERRORS, 0);
    return e;
}

void error_counts_destroy(struct error_counts **ep) {
    mem_free(*ep);
    *ep = NULL;
}

static struct kind kind_of(struct slice text) {
    size_t within = text.n < ERROR_KIND_BYTES ? text.n : ERROR_KIND_BYTES;
    const char *space = memchr(text.p, ' ', within);
    struct kind k = {.name = "ERR"};
    if (space != NULL) {
        memset(k.name, 0, sizeof(k.name));
        memcpy(k.name, text.p, (size_t)(space - text.p));
    }
    return k;
}

/* Where the kind is, or belongs. */
static size_t place_of(const struct error_counts *e, const struct kind *k, bool *found) {
    size_t i = 0;
    while (i < e->used && memcmp(e->kinds[i].name, k->name, sizeof(k->name)) < 0) {
        i++;
    }
    *found = i < e->used && memcmp(e->kinds[i].name, k->name, sizeof(k->name)) == 0;
    return i;
}

static void disable(struct error_counts *e) {
    e->disabled = true;
    e->used = 1;
    e->kinds[0] = (struct kind){.name = "ERRORSTATS_DISABLED", .count = 1};
}

/* False when there are too many kinds. */
static bool count_kind(struct error_counts *e, const struct kind *k) {
    bool found;
    size_t at = place_of(e, k, &found);
    if (!found && e->used == ERROR_KINDS_MAX) {
        return false;
    }
    if (!found) {
        memmove(&e->kinds[at + 1], &e->kinds[at], (e->used - at) * sizeof(*e->kinds));
        e->kinds[at] = *k;
        e->used++;
    }
    e->kinds[at].count++;
    return true;
}

void error_counts_add(struct error_counts *e, struct slice text) {
    struct kind k = kind_of(text);
    lock_acquire(&e->lock);
    bool too_many = !e->disabled && !count_kind(e, &k);
    if (too_many) {
        disable(e);
    }
    lock_release(&e->lock);
    if (too_many) {
        log_warning("more than %d kinds of errors: they are not counted by kind until CONFIG RESETSTAT", ERROR_KINDS_MAX);
    }
}

void error_counts_each(struct error_counts *e, void (*fn)(void *ctx, const char *kind, uint64_t count), void *ctx) {
    lock_acquire(&e->lock);
    for (size_t i = 0; i < e->used; i++) {
        fn(ctx, e->kinds[i].name, e->kinds[i].count);
    }
    lock_release(&e->lock);
}

void error_counts_reset(struct error_counts *e) {
    lock_acquire(&e->lock);
    e->disabled = false;
    e->used = 0;
    lock_release(&e->lock);
}
