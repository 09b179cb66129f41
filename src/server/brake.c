/* SPDX-License-Identifier: BSD-3-Clause */
/* brake: the braked sessions of a worker, looked at each millisecond while there are any. */
#include "src/server/brake.h"

#include "src/rt/loop.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/worker.h"

enum { LOOK_MS = 1, SLICE_US = 500 };

/* How long a client that has just written may have to wait; 0: not at all. */
static int64_t wait_ms(const struct worker *w) {
    int64_t evict = w->conf->l1_evict_wait, queue = w->conf->l2_queue_wait;
    evict = evict > 0 && l1_is_behind(w->server->host.l1) ? evict : 0;
    queue = queue > 0 && tier_is_pressed(&w->server->tier) ? queue : 0;
    return evict > queue ? evict : queue;
}

bool brake_is_needed(const struct worker *w) {
    return wait_ms(w) > 0;
}

void brake_session(struct session *s) {
    struct worker *w = s->worker;
    s->braked_until_ms = loop_now_ms(w->loop) + wait_ms(w);
    if (list_empty(&w->braked)) {
        timer_start(w->brake_timer, LOOK_MS, LOOK_MS);
    }
    list_push_back(&w->braked, &s->brake_node);
    STAT_ADD(w->stats->braked_writes, 1);
}

void brake_tick(void *ctx) {
    struct worker *w = ctx;
    int64_t now = loop_now_ms(w->loop);
    if (l1_is_behind(w->server->host.l1)) {
        l1_tick(w->server->host.l1, now, SLICE_US);
    }
    bool needed = brake_is_needed(w);
    for (struct list *n = w->braked.next, *next; n != &w->braked; n = next) {
        next = n->next;
        struct session *s = LIST_ENTRY(n, struct session, brake_node);
        if (!needed || now >= s->braked_until_ms) {
            list_remove(&s->brake_node);
            session_go_on(s);
        }
    }
    if (list_empty(&w->braked)) {
        timer_stop(w->brake_timer);
    }
}
