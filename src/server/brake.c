/* SPDX-License-Identifier: BSD-3-Clause */
/* brake: the braked sessions of a worker, looked at each millisecond while there are any. */
#include "src/server/brake.h"

#include "src/rt/loop.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/worker.h"

enum { LOOK_MS = 1 };

bool brake_is_needed(const struct worker *w) {
    return w->conf->l2_queue_wait > 0 && tier_is_pressed(&w->server->tier);
}

void brake_session(struct session *s) {
    struct worker *w = s->worker;
    s->braked_until_ms = loop_now_ms(w->loop) + w->conf->l2_queue_wait;
    if (list_empty(&w->braked)) {
        timer_start(w->brake_timer, LOOK_MS, LOOK_MS);
    }
    list_push_back(&w->braked, &s->brake_node);
    STAT_ADD(w->stats->braked_writes, 1);
}

void brake_tick(void *ctx) {
    struct worker *w = ctx;
    int64_t now = loop_now_ms(w->loop);
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
