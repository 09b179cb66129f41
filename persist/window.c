/* SPDX-License-Identifier: BSD-3-Clause */
/* window: counting references. */
#include "persist/window.h"

#include <string.h>

#include "src/base/check.h"
#include "src/base/mem.h"

struct window window_make(rocksdb_column_family_handle_t *cf, unsigned number, struct sieve *sieve) {
    struct family *f = mem_zalloc(sizeof(*f));
    f->cf = cf;
    f->number = number;
    atomic_init(&f->refs, 1);
    return (struct window){.family = f, .sieve = sieve};
}

struct window window_ref(const struct window *w) {
    atomic_fetch_add_explicit(&w->family->refs, 1, memory_order_relaxed);
    sieve_ref(w->sieve);
    return *w;
}

void window_unref(struct window *w) {
    sieve_unref(&w->sieve);
    if (atomic_fetch_sub_explicit(&w->family->refs, 1, memory_order_acq_rel) == 1) {
        rocksdb_column_family_handle_destroy(w->family->cf);
        mem_free(w->family);
    }
    w->family = NULL;
}

void view_place_init(struct view_place *p) {
    lock_init(&p->lock, LOCK_STORE, 0);
    p->view = NULL;
}

struct view *view_take(struct view_place *p) {
    lock_acquire(&p->lock);
    struct view *v = p->view;
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    lock_release(&p->lock);
    return v;
}

void view_drop(struct view *v) {
    if (atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1) {
        for (unsigned i = 0; i < v->n; i++) {
            window_unref(&v->windows[i]);
        }
        mem_free(v);
    }
}

void view_windows(const struct view *v, unsigned n, struct window *out) {
    for (unsigned i = 0; i < n; i++) {
        out[i] = window_ref(&v->windows[i]);
    }
}

void view_replace(struct view_place *p, const struct window *windows, unsigned n) {
    struct view *fresh = NULL;
    CHECK(n <= MAX_WINDOWS);
    if (n > 0) {
        fresh = mem_zalloc(sizeof(*fresh));
        atomic_init(&fresh->refs, 1);
        fresh->n = n;
        memcpy(fresh->windows, windows, n * sizeof(*windows));
    }
    lock_acquire(&p->lock);
    struct view *old = p->view;
    p->view = fresh;
    lock_release(&p->lock);
    if (old != NULL) {
        view_drop(old);
    }
}
