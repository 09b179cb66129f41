/* SPDX-License-Identifier: BSD-3-Clause */
/* handover: which slots' keys are lent, and when they are dropped; leaving before the end. */
#include "src/server/handover.h"

#include <fcntl.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/conf/conf.h"
#include "src/rt/loop.h"
#include "src/server/cluster.h"
#include "src/server/handover_int.h"
#include "src/server/peers.h"
#include "src/server/purge_log.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/worker.h"
#include "src/tier/guard.h"

#define MARK "node.serving" /* in dir while this node serves slots among others */
enum exit_state { EXIT_NO, EXIT_LEAVING, EXIT_NOW };
enum { GRACE_MS = 1000 /* of the window, for who has asked at its end */ };

static int64_t mono_ms(void) {
    return clock_mono_us() / 1000;
}

static enum lent lent_of(const struct handover *h, unsigned slot) {
    return (enum lent)atomic_load_explicit(&h->lent[slot], memory_order_acquire);
}

bool handover_lends(struct host *host, unsigned slot) {
    const struct handover *h = server_of(host)->handover;
    return h != NULL && lent_of(h, slot) == LENT;
}

int handover_logical(const struct server *srv, uint8_t physical) {
    for (int db = 0; db < L1_MAX_DBS; db++) {
        if (srv->host.l1->db_map[db] == physical) {
            return db;
        }
    }
    return -1;
}

/* ---- dropping ---- */

/* Its number for make_drop; 0: not noted on disk, or there is none. May block. */
static uint64_t note_drop(struct server *srv, const uint8_t *set) {
    struct purge_record r = {.kind = PURGE_BY_SLOTS, .time_ms = clock_now_ms(), .prefix = slice_make((const char *)set, PURGE_SLOT_BYTES)};
    return srv->purge_log != NULL ? purge_log_append(srv->purge_log, &r) : 0;
}

/* Every shard locked. */
static void make_drop(struct server *srv, const uint8_t *set, uint64_t noted) {
    if (noted != 0) {
        purge_log_make(srv->purge_log, noted);
    } else {
        guard_purge_slots(srv->tier.guard, set);
    }
}

bool handover_drop_missed(struct server *srv, const uint8_t *set) {
    uint64_t noted = note_drop(srv, set);
    l1_lock_all(srv->host.l1);
    make_drop(srv, set, noted);
    tier_changed(srv->host.tier, NULL);
    l1_unlock_all(srv->host.l1);
    return noted != 0 || srv->purge_log == NULL;
}

/* Purges the slots of set that are lent. May block: the disk notes it first. Returns how many there were. */
static unsigned drop(struct handover *h, uint8_t *set) {
    struct server *srv = h->srv;
    unsigned n = 0;
    uint64_t noted = note_drop(srv, set);
    if (noted == 0 && srv->purge_log != NULL) {
        log_warning("cluster: that slots have moved away could not be noted on disk");
    }
    l1_lock_all(srv->host.l1);
    for (unsigned s = 0; s < RING_SLOTS; s++) {
        if (slot_set_has(set, s)) {
            bool was = atomic_exchange(&h->lent[s], LENT_NOT) != LENT_NOT; /* else somebody else was first, and it may be in use again */
            n += was;
            slot_set_put(set, s, was || noted != 0); /* what is noted is made as it is */
        }
    }
    make_drop(srv, set, noted);
    l1_unlock_all(srv->host.l1);
    atomic_fetch_sub(&h->lent_count, n);
    return n;
}

static void run_drop(struct job *job) {
    struct handover *h = LIST_ENTRY(job, struct handover, drop);
    bool all = mono_ms() >= atomic_load(&h->drop_at_ms);
    uint8_t set[PURGE_SLOT_BYTES] = {0};
    for (unsigned s = 0; s < RING_SLOTS; s++) {
        enum lent lent = lent_of(h, s);
        slot_set_put(set, s, lent == LENT_DROP || (all && lent == LENT));
    }
    h->dropped = drop(h, set);
}

static void end_drop(struct job *job) {
    struct handover *h = LIST_ENTRY(job, struct handover, drop);
    h->dropping = false;
    STAT_ADD(h->srv->workers[0]->stats->peer_handover_dropped, h->dropped);
}

static void begin_drop(struct handover *h) {
    bool due = atomic_load(&h->lent_count) > 0 && mono_ms() >= atomic_load(&h->drop_at_ms) && h->sending == NULL;
    if (!h->dropping && !h->stopping && (due || atomic_exchange(&h->hurry, false))) {
        h->drop = (struct job){.loop = h->srv->workers[0]->loop, .run = run_drop, .done = end_drop};
        h->dropping = pool_submit(h->srv->host.pool, 0, &h->drop);
    }
}

static void begin_drop_on_first(struct worker *w, void *arg) {
    (void)arg;
    begin_drop(w->server->handover);
}

bool handover_may_stand_in(struct server *srv, unsigned slot) {
    struct handover *h = srv->handover;
    if (likely(lent_of(h, slot) == LENT_NOT)) {
        return true;
    }
    uint8_t lent = LENT;
    if (atomic_compare_exchange_strong(&h->lent[slot], &lent, LENT_DROP)) {
        atomic_store(&h->hurry, true);
        worker_post(srv->workers[0], begin_drop_on_first, NULL);
    }
    return false;
}

/* ---- rings ---- */

static void lend(struct handover *h, unsigned slot) {
    uint8_t lent = LENT_NOT;
    if (atomic_compare_exchange_strong(&h->lent[slot], &lent, LENT)) {
        atomic_fetch_add(&h->lent_count, 1);
    }
}

/* What is served here from now on begins empty, where what is here is of another time. */
static void drop_taken_back(struct handover *h, const struct ring *ring) {
    uint8_t set[PURGE_SLOT_BYTES] = {0};
    bool any = false;
    for (unsigned s = 0; s < RING_SLOTS; s++) {
        bool back = ring_serves(ring, s) && lent_of(h, s) != LENT_NOT;
        slot_set_put(set, s, back);
        any |= back;
    }
    if (any) {
        drop(h, set);
    }
}

/* The last process of this node may have left values of slots that others own since. */
static void drop_what_moved(struct handover *h, const struct ring *ring) {
    uint8_t set[PURGE_SLOT_BYTES] = {0};
    for (unsigned s = 0; s < RING_SLOTS; s++) {
        slot_set_put(set, s, !ring_owns(ring, s));
    }
    (void)handover_drop_missed(h->srv, set);
}

/* A node that falls and is back at once finds its slots as they were: who owned them before it came still has what was overwritten here,
 * in memory that is lost. The mark tells it from a node that comes. */
static void note_serving(struct handover *h, const struct ring *ring) {
    bool serves = false, first = !h->served && h->fell;
    for (unsigned s = 0; s < RING_SLOTS; s++) {
        bool mine = ring->n > 1 && ring_serves(ring, s);
        serves |= mine;
        h->never_asks[s] = mine && (first || h->never_asks[s]);
    }
    if (ring->n == 1 || serves == h->served) {
        return;
    }
    if (first && serves) {
        drop_what_moved(h, ring);
    }
    h->served = serves;
    h->fell = false;
    int fd = serves ? open(MARK, O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;
    if (fd >= 0) {
        close(fd);
    } else if (serves || unlink(MARK) != 0) {
        log_warning("cluster: the file " MARK " could not be %s", serves ? "made" : "removed");
    }
}

static bool note_whom_to_ask(struct handover *h, const struct ring *ring) {
    bool any = false;
    for (unsigned s = 0; s < RING_SLOTS; s++) {
        bool asks = ring_owns(ring, s) && ring_serves(ring, s) && ring->previous[s] != RING_NONE && ring->previous[s] != ring->self && !h->never_asks[s];
        atomic_store_explicit(&h->asks[s], asks, memory_order_relaxed);
        any |= asks;
    }
    return any;
}

void handover_ring(struct handover *h, const struct ring *before, const struct ring *ring) {
    struct settled *settled = &h->srv->tier.settled;
    bool lost = false;
    for (unsigned s = 0; before != NULL && s < RING_SLOTS; s++) {
        if (ring_serves(before, s) && !ring_serves(ring, s)) {
            lend(h, s);
            lost = true;
        } else if (!ring_serves(before, s) && ring_serves(ring, s)) {
            atomic_fetch_add_explicit(&settled->terms[s], 1, memory_order_relaxed);
        }
    }
    drop_taken_back(h, ring);
    note_serving(h, ring);
    int64_t until = ring->previous_until_ms;
    if (lost) {
        atomic_store(&h->drop_at_ms, (until > mono_ms() ? until : mono_ms()) + GRACE_MS);
    }
    atomic_store(&h->asks_until_ms, until);
    if (note_whom_to_ask(h, ring) && until > mono_ms()) {
        if (!settled_is_on(settled)) {
            settled_fill(settled, false);
        }
        atomic_store(&settled->on, true);
    }
}

/* ---- leaving ---- */

static bool has_others(const struct ring *ring) {
    bool others = false;
    for (unsigned i = 0; ring != NULL && i < ring->n; i++) {
        others |= i != ring->self && ring->nodes[i].state == NODE_ALIVE;
    }
    return others;
}

bool handover_goes_first(struct server *srv) {
    struct handover *h = srv->handover;
    int state = EXIT_NO;
    if (h == NULL || atomic_load(&srv->host.loading)) {
        return false;
    }
    struct conf *conf = conf_store_current(srv->host.conf_store);
    struct ring *ring = ring_store_current(cluster_rings(srv));
    bool leaves = conf->leave_on_exit && has_others(ring) && atomic_compare_exchange_strong(&h->exit, &state, EXIT_LEAVING);
    ring_unref(ring);
    conf_unref(conf);
    if (leaves) {
        log_notice("cluster: leaving; the hottest keys go to their next owners");
        cluster_leave(&srv->host);
    } else {
        atomic_store(&h->exit, EXIT_NOW);
    }
    return leaves;
}

static bool is_leaving(const struct handover *h) {
    const struct ring *ring = h->srv->workers[0]->peers->ring.ring;
    return ring != NULL && ring->self != RING_NONE && ring->nodes[ring->self].state == NODE_LEAVING;
}

/* Sends once for each time that this node leaves. */
static void watch_leaving(struct handover *h) {
    bool leaving = is_leaving(h);
    if (h->sending != NULL && !sending_goes_on(h->sending)) {
        sending_end(&h->sending);
        h->sent = true;
    } else if (h->sending == NULL && leaving && !h->sent && !h->stopping) {
        h->sending = sending_begin(h);
    }
    h->sent &= leaving;
}

static void watch_exit(struct handover *h) {
    struct server *srv = h->srv;
    if (atomic_load(&h->exit) != EXIT_LEAVING) {
        return;
    }
    if (h->exit_by_ms == 0) {
        h->exit_by_ms = mono_ms() + srv->workers[0]->conf->handover_time + GRACE_MS;
    } else if (h->sent || mono_ms() >= h->exit_by_ms) {
        cluster_leave_for_good(srv);
        server_begin_shutdown(srv); /* which asks again, and is let through */
    }
}

void handover_tick(struct server *srv) {
    struct handover *h = srv->handover;
    if (h == NULL || h->stopping) {
        return;
    }
    if (settled_is_on(&srv->tier.settled) && mono_ms() >= atomic_load(&h->asks_until_ms)) {
        atomic_store(&srv->tier.settled.on, false);
    }
    begin_drop(h);
    watch_leaving(h);
    watch_exit(h);
}

/* ---- life ---- */

static void drop_reply(struct channel *ch, uint32_t tag, struct out *reply) {
    (void)ch;
    (void)tag;
    out_free(reply);
}

static void ignore_wrong(struct channel *ch, uint32_t tag) {
    (void)ch;
    (void)tag;
}

struct session *handover_session(struct asker *a) {
    if (a->channel.session == NULL) {
        a->channel = (struct channel){.replied = drop_reply, .wrong = ignore_wrong};
        channel_open(&a->channel, a->worker, "handover");
    }
    return a->channel.session;
}

struct handover *handover_create(struct server *srv) {
    struct handover *h = mem_zalloc(sizeof(*h));
    h->srv = srv;
    h->fell = access(MARK, F_OK) == 0;
    h->askers = mem_zalloc(srv->host.loop_count * sizeof(*h->askers));
    for (unsigned i = 0; i < srv->host.loop_count; i++) {
        h->askers[i].worker = srv->workers[i];
        list_init(&h->askers[i].asked);
    }
    srv->tier.settled.words = mem_zalloc(SETTLED_WORDS * sizeof(*srv->tier.settled.words));
    srv->tier.settled.terms = mem_zalloc(SETTLED_SLOTS * sizeof(*srv->tier.settled.terms));
    handover_source_init(h);
    return h;
}

struct source *handover_source(struct handover *h) {
    return &h->source;
}

void handover_stop(struct worker *w) {
    struct handover *h = w->server->handover;
    struct asker *a = &h->askers[w->id];
    if (a->channel.session != NULL) {
        channel_close(&a->channel);
    }
    if (w->id == 0) {
        h->stopping = true;
        sending_end(&h->sending);
    }
}

void handover_destroy(struct handover **hp) {
    struct handover *h = *hp;
    *hp = NULL;
    if (h != NULL) {
        mem_free((void *)h->srv->tier.settled.words);
        mem_free((void *)h->srv->tier.settled.terms);
        h->srv->tier.settled = (struct settled){0};
        mem_free(h->askers);
        mem_free(h);
    }
}
