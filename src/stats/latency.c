/* SPDX-License-Identifier: BSD-3-Clause */
/* latency: a handful of events with a ring of samples each. */
#include "src/stats/latency.h"

#include <string.h>

#include "src/base/lock.h"
#include "src/base/mem.h"

enum { MAX_EVENTS = 16 };

struct latency {
    struct lock lock;
    struct latency_event *events[MAX_EVENTS];
};

struct latency *latency_create(void) {
    struct latency *l = mem_zalloc(sizeof(*l));
    lock_init(&l->lock, LOCK_SLOWLOG, 1);
    return l;
}

void latency_destroy(struct latency **lp) {
    struct latency *l = *lp;
    *lp = NULL;
    for (int i = 0; i < MAX_EVENTS; i++) {
        mem_free(l->events[i]);
    }
    mem_free(l);
}

static struct latency_event *event_for(struct latency *l, const char *name) {
    for (int i = 0; i < MAX_EVENTS; i++) {
        if (l->events[i] == NULL) {
            l->events[i] = mem_zalloc(sizeof(**l->events));
            l->events[i]->name = name;
            return l->events[i];
        }
        if (strcmp(l->events[i]->name, name) == 0) {
            return l->events[i];
        }
    }
    return NULL;
}

void latency_add(struct latency *l, const char *event, int64_t time_s, uint64_t ms) {
    lock_acquire(&l->lock);
    struct latency_event *e = event_for(l, event);
    if (e != NULL) {
        struct latency_sample *last = &e->samples[(e->next + LATENCY_SAMPLES - 1) % LATENCY_SAMPLES];
        if (e->count > 0 && last->time_s == time_s) {
            last->ms = ms > last->ms ? ms : last->ms;
        } else {
            e->samples[e->next] = (struct latency_sample){time_s, ms};
            e->next = (e->next + 1) % LATENCY_SAMPLES;
            e->count += e->count < LATENCY_SAMPLES;
        }
        e->max_ms = ms > e->max_ms ? ms : e->max_ms;
    }
    lock_release(&l->lock);
}

void latency_each(struct latency *l, const char *only, void (*fn)(void *ctx, const struct latency_event *e),
                  void *ctx) {
    lock_acquire(&l->lock);
    for (int i = 0; i < MAX_EVENTS && l->events[i] != NULL; i++) {
        if (only == NULL || strcmp(l->events[i]->name, only) == 0) {
            fn(ctx, l->events[i]);
        }
    }
    lock_release(&l->lock);
}

size_t latency_reset(struct latency *l, const struct slice *names, size_t n) {
    size_t gone = 0;
    lock_acquire(&l->lock);
    for (int i = 0; i < MAX_EVENTS && l->events[i] != NULL;) {
        bool named = n == 0;
        for (size_t k = 0; k < n; k++) {
            named |= slice_eqi(names[k], l->events[i]->name);
        }
        if (!named) {
            i++;
            continue;
        }
        mem_free(l->events[i]);
        memmove(&l->events[i], &l->events[i + 1], (size_t)(MAX_EVENTS - 1 - i) * sizeof(*l->events));
        l->events[MAX_EVENTS - 1] = NULL;
        gone++;
    }
    lock_release(&l->lock);
    return gone;
}
