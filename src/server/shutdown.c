/* SPDX-License-Identifier: BSD-3-Clause */
/* shutdown: begins on worker 0, drains every worker, and ends when the last loop has stopped. */
#include "src/server/shutdown.h"

#include "src/base/log.h"
#include "src/net/listener.h"
#include "src/rt/loop.h"
#include "src/server/cluster.h"
#include "src/server/handover.h"
#include "src/server/import.h"
#include "src/server/preheat.h"
#include "src/server/profile.h"
#include "src/server/save.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/warm.h"

enum { NOSAVE = 1, SAVE = 2, NOW = 4, FORCE = 8, ABORT = 16 };

/* What worker 0 does by itself; true while some of it is still on its way. */
static bool jobs_stopping(struct server *srv) {
    bool warming = warm_stopping(srv->warm), preheating = preheat_stopping(srv->preheat), importing = import_stopping(srv->import);
    return warming || preheating || importing;
}

void shutdown_drain_turn(struct worker *w) {
    bool over = loop_now_ms(w->loop) >= w->drain_until_ms;
    for (struct list *n = w->sessions.next, *next; n != &w->sessions; n = next) {
        next = n->next;
        struct session *s = LIST_ENTRY(n, struct session, client.node);
        bool busy = s->in_at < s->in_n || out_bytes(&s->out) > 0 || s->dues.count > 0 || s->stream.queued_bytes > 0;
        if (over || (!busy && s->parked == NULL)) {
            session_close(s);
        }
    }
    bool waiting = w->id == 0 && jobs_stopping(w->server) && !over;
    bool fetching = w->aheads > 0 && !over;
    bool linked = list_empty(&w->sessions) && cluster_stopping(w) && !over;
    if (list_empty(&w->sessions) && !waiting && !fetching && !linked && !w->stopped) {
        w->stopped = true;
        loop_stop(w->loop);
    }
}

static void drain(struct worker *w, void *arg) {
    (void)arg;
    w->draining = true;
    w->drain_until_ms = loop_now_ms(w->loop) + w->conf->shutdown_timeout * 1000;
}

static void begin_on_first(struct worker *w, void *arg) {
    struct server *srv = w->server;
    (void)arg;
    for (unsigned i = 0; i < srv->listener_count; i++) {
        listener_close(&srv->listeners[i]);
    }
    srv->listener_count = 0;
    cluster_stop(srv);
    for (unsigned i = 0; i < srv->host.loop_count; i++) {
        worker_post(srv->workers[i], drain, NULL);
    }
}

void server_begin_shutdown(struct server *srv) {
    if (handover_goes_first(srv) || atomic_exchange(&srv->host.shutting_down, true)) {
        return;
    }
    log_notice("User requested shutdown...");
    if (srv->profile != NULL) {
        profile_stopping(srv->profile);
    }
    worker_post(srv->workers[0], begin_on_first, NULL);
}

enum err shutdown_command(struct call *c, unsigned flags) {
    struct server *srv = server_of(c->host);
    if (flags & ABORT) {
        return call_errorf(c, "ERR No shutdown in progress.");
    }
    atomic_store(&srv->shutdown_save, flags & NOSAVE ? 0 : flags & SAVE ? 1 : -1);
    if ((flags & SAVE) && !save_now(srv) && !(flags & FORCE)) {
        return call_errorf(c, "ERR Errors trying to SHUTDOWN. Check logs.");
    }
    client_flag(c->client, CLIENT_CLOSE_AFTER_REPLY, true);
    server_begin_shutdown(srv);
    return OK;
}
