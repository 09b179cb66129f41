/* SPDX-License-Identifier: BSD-3-Clause */
/* agent: the membership of this node at work. */
#include "cluster/agent.h"

#include <string.h>

#include "cluster/driver.h"
#include "cluster/settings.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/conf/conf.h"
#include "src/rt/loop.h"

enum { KEEP_MS = 100, AGENT_LOOP_ID = 2000, WAITING_MAX_BYTES = 16 << 20, WAITING_MAX = 10000 };

struct agent {
    /* fixed after create */
    struct loop *loop;
    struct agent_hooks hooks;
    struct ring_store *store;
    struct driver_options driver_options;
    struct conf *conf; /* as at the start */

    /* the agent's thread only */
    struct members *members;
    struct timer *timer;
    uint32_t kept;     /* of which set the others have been kept */
    int64_t kept_ms;

    /* the creator's thread only */
    struct driver *driver;
    bool started;

    /* atomic */
    _Atomic unsigned waiting; /* messages to the agent */
    _Atomic size_t waiting_bytes;
    _Atomic uint64_t dropped, rings;
    struct conns driver_conns;

    struct lock stats_lock; /* MEMBERS: stats */
    struct agent_stats stats;
};

/* Something another thread has to say. */
struct word {
    struct msg msg;
    struct agent *agent;
    void (*say)(struct agent *a, const struct word *w, int64_t now_ms);
    char id[NODE_ID_HEX + 1];
    char host[NODE_HOST_BYTES];
    bool has_self, authoritative;
    struct node_addr addr;
    int64_t numbers[3];
    uint64_t settings;
    size_t n; /* of bytes, or of addresses */
    _Alignas(struct node_addr) char bytes[];
};

static int64_t now_ms(void) {
    return clock_mono_us() / 1000;
}

/* ---- what members does ---- */

static void on_send(void *ctx, const char *id, const struct node_addr *to, struct slice bytes) {
    struct agent *a = ctx;
    if (a->started) {
        a->hooks.send(a->hooks.ctx, id, to, bytes);
    }
}

static void on_publish(void *ctx, struct ring *ring) {
    struct agent *a = ctx;
    atomic_fetch_add_explicit(&a->rings, 1, memory_order_relaxed);
    if (a->hooks.ring != NULL) {
        struct ring *before = ring_store_current(a->store);
        a->hooks.ring(a->hooks.ctx, before, ring);
        ring_unref(before);
    }
    ring_store_publish(a->store, ring);
}

static void on_event(void *ctx, enum members_event event, const char *id, const char *text) {
    struct agent *a = ctx;
    switch (event) {
    case MEMBERS_CLASH:
        log_warning("cluster: %s: %.8s; node.id must not be copied", text, id);
        return;
    case MEMBERS_DOUBTED:
        log_notice("cluster: the others thought this node %s; it is back", text);
        a->hooks.doubted(a->hooks.ctx);
        return;
    case MEMBERS_BLAMED:
        log_notice("cluster: others, cut off from most, thought this node %s; they tell what they wrote in its place", text);
        return;
    case MEMBERS_LOT:
        if (a->hooks.lot != NULL) {
            a->hooks.lot(a->hooks.ctx, members_self(a->members)->lot);
        }
        return;
    case MEMBERS_DIFFERS:
        log_warning("cluster: node %.8s %s", id, text);
        return;
    case MEMBERS_FORGOTTEN:
        log_warning("cluster: %s; CLUSTER MEET brings it back", text);
        return;
    default:
        log_notice("cluster: %.8s %s", id, text);
    }
}

struct differing {
    const struct members *members;
    struct agent_stats *stats;
};

static void note_differing(void *ctx, const struct member_record *r, enum node_state state, int64_t heard_ms) {
    const struct differing *d = ctx;
    unsigned what = members_differs(d->members, r->id);
    (void)state;
    (void)heard_ms;
    if (what != 0 && d->stats->differing_count < AGENT_DIFFERING_MAX) {
        struct agent_differing *to = &d->stats->differing[d->stats->differing_count++];
        memcpy(to->id, r->id, sizeof(to->id));
        to->what = what;
    }
}

static void note_stats(struct agent *a) {
    struct agent_stats s = {.version = members_version(a->members), .joined = members_joined(a->members)};
    members_stats_read(a->members, &s.members);
    if (s.members.differing > 0) {
        members_each(a->members, note_differing, &(struct differing){a->members, &s});
    }
    lock_acquire(&a->stats_lock);
    a->stats = s;
    lock_release(&a->stats_lock);
}

struct others {
    struct member_record *list;
    unsigned n;
};

static void note_other(void *ctx, const struct member_record *r, enum node_state state, int64_t heard_ms) {
    struct others *others = ctx;
    (void)state;
    (void)heard_ms;
    if (r->intent == INTENT_MEMBER && r->verdict < VERDICT_REMOVED && others->n < RING_MAX_NODES) {
        others->list[others->n++] = *r;
    }
}

/* So that this node's next life does not think itself alone when it meets nobody. Before it has joined it knows less than what is kept. */
static void keep_peers(struct agent *a) {
    uint32_t set = (uint32_t)members_version(a->members);
    if (a->hooks.peers == NULL || !members_joined(a->members) || set == a->kept) {
        return;
    }
    struct others others = {mem_alloc((RING_MAX_NODES + 1) * sizeof(*others.list)), 0};
    members_each(a->members, note_other, &others);
    for (unsigned i = 0; i < others.n; i++) {
        if (strcmp(others.list[i].id, members_self(a->members)->id) == 0) {
            others.list[i] = others.list[--others.n];
        }
    }
    a->kept = set;
    a->hooks.peers(a->hooks.ctx, others.list, others.n);
    mem_free(others.list);
}

static void on_tick(void *ctx) {
    struct agent *a = ctx;
    members_tick(a->members, now_ms());
    note_stats(a);
    if (now_ms() - a->kept_ms >= KEEP_MS) {
        keep_peers(a);
        a->kept_ms = now_ms();
    }
}

/* ---- what it is told ---- */

static void word_run(struct loop *loop, struct msg *msg) {
    struct word *w = (struct word *)msg;
    struct agent *a = w->agent;
    (void)loop;
    atomic_fetch_sub_explicit(&a->waiting, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&a->waiting_bytes, w->n, memory_order_relaxed);
    if (a->members != NULL) {
        w->say(a, w, now_ms());
    }
    mem_free(w);
}

/* NULL, counted: there are too many already. */
static struct word *word_create(struct agent *a, size_t n, void (*say)(struct agent *a, const struct word *w, int64_t now_ms)) {
    if (atomic_load_explicit(&a->waiting, memory_order_relaxed) >= WAITING_MAX ||
        atomic_load_explicit(&a->waiting_bytes, memory_order_relaxed) + n > WAITING_MAX_BYTES) {
        atomic_fetch_add_explicit(&a->dropped, 1, memory_order_relaxed);
        return NULL;
    }
    struct word *w = mem_zalloc(sizeof(*w) + n);
    w->msg.run = word_run;
    w->agent = a;
    w->say = say;
    w->n = n;
    return w;
}

static void word_post(struct word *w) {
    atomic_fetch_add_explicit(&w->agent->waiting, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->agent->waiting_bytes, w->n, memory_order_relaxed);
    loop_post(w->agent->loop, &w->msg);
}

static void set_id(struct word *w, const char *id) {
    CHECK(strlen(id) == NODE_ID_HEX);
    memcpy(w->id, id, sizeof(w->id));
}

static void say_hear(struct agent *a, const struct word *w, int64_t ms) {
    members_receive(a->members, w->id, w->host[0] != '\0' ? w->host : NULL, slice_make(w->bytes, w->n), ms);
}

void agent_hear(struct agent *a, const char *id, const char *from_host, struct slice bytes) {
    struct word *w = word_create(a, bytes.n, say_hear);
    if (w != NULL) {
        set_id(w, id);
        if (from_host != NULL && node_host_valid(slice_cstr(from_host))) {
            memcpy(w->host, from_host, strlen(from_host) + 1);
        }
        memcpy(w->bytes, bytes.p, bytes.n);
        word_post(w);
    }
}

static void say_failed(struct agent *a, const struct word *w, int64_t ms) {
    members_failed(a->members, w->id, ms);
}

void agent_failed(struct agent *a, const char *id) {
    struct word *w = word_create(a, 0, say_failed);
    if (w != NULL) {
        set_id(w, id);
        word_post(w);
    }
}

static void say_addr(struct agent *a, void (*say)(struct agent *a, const struct word *w, int64_t now_ms), const struct node_addr *at) {
    struct word *w = word_create(a, 0, say);
    if (w != NULL) {
        w->addr = *at;
        word_post(w);
    }
}

static void say_is_self(struct agent *a, const struct word *w, int64_t ms) {
    members_is_self(a->members, &w->addr, ms);
}

void agent_is_self(struct agent *a, const struct node_addr *at) {
    say_addr(a, say_is_self, at);
}

static void say_other_version(struct agent *a, const struct word *w, int64_t ms) {
    (void)ms;
    if (!members_joined(a->members) && a->hooks.other_version != NULL) {
        a->hooks.other_version(a->hooks.ctx, &w->addr);
    }
}

void agent_other_version(struct agent *a, const struct node_addr *at) {
    say_addr(a, say_other_version, at);
}

static void say_meet(struct agent *a, const struct word *w, int64_t ms) {
    members_meet(a->members, &w->addr, ms);
}

void agent_meet(struct agent *a, const struct node_addr *at) {
    say_addr(a, say_meet, at);
}

static void say_forget(struct agent *a, const struct word *w, int64_t ms) {
    members_forget(a->members, w->id, ms);
}

bool agent_forget(struct agent *a, const char *id) {
    struct ring *ring = ring_store_current(a->store);
    unsigned at = ring_find(ring, id);
    bool known = at != RING_NONE && at != ring->self;
    ring_unref(ring);
    struct word *w = known ? word_create(a, 0, say_forget) : NULL;
    if (w != NULL) {
        set_id(w, id);
        word_post(w);
    }
    return known;
}

static void say_leave(struct agent *a, const struct word *w, int64_t ms) {
    (void)w;
    members_leave(a->members, ms);
}

void agent_leave(struct agent *a) {
    struct word *w = word_create(a, 0, say_leave);
    if (w != NULL) {
        word_post(w);
    }
}

static void say_leave_for_good(struct agent *a, const struct word *w, int64_t ms) {
    (void)w;
    members_leave_for_good(a->members, ms);
}

void agent_leave_for_good(struct agent *a) {
    struct word *w = word_create(a, 0, say_leave_for_good);
    if (w != NULL) {
        word_post(w);
    }
}

static void say_configure(struct agent *a, const struct word *w, int64_t ms) {
    members_set_times(a->members, w->numbers[0], w->numbers[1]);
    members_set_weight(a->members, (unsigned)w->numbers[2], ms);
    members_set_settings(a->members, w->settings);
}

void agent_configure(struct agent *a, const struct conf *conf) {
    struct word *w = word_create(a, 0, say_configure);
    if (w != NULL) {
        w->numbers[0] = conf->cluster_remove_after;
        w->numbers[1] = conf->handover_window;
        w->numbers[2] = conf->cluster_weight;
        w->settings = cluster_settings_digest(conf);
        word_post(w);
    }
}

static void say_found(struct agent *a, const struct word *w, int64_t ms) {
    members_set_seeds(a->members, (const struct node_addr *)(const void *)w->bytes, (unsigned)(w->n / sizeof(w->addr)), w->authoritative, ms);
    if (w->has_self) {
        members_is_self(a->members, &w->addr, ms);
    }
}

/* On the driver's thread. */
static void on_found(void *ctx, const struct node_addr *list, unsigned n, bool authoritative, const struct node_addr *self) {
    struct agent *a = ctx;
    struct word *w = word_create(a, n * sizeof(*list), say_found);
    if (w != NULL) {
        memcpy(w->bytes, list, n * sizeof(*list));
        w->authoritative = authoritative;
        w->has_self = self != NULL;
        w->addr = self != NULL ? *self : w->addr;
        word_post(w);
    }
}

void agent_stats_read(struct agent *a, struct agent_stats *out) {
    lock_acquire(&a->stats_lock);
    *out = a->stats;
    lock_release(&a->stats_lock);
    out->dropped = atomic_load_explicit(&a->dropped, memory_order_relaxed);
    out->rings = atomic_load_explicit(&a->rings, memory_order_relaxed);
    out->driver = (struct conn_numbers){0};
    conn_numbers_add(&out->driver, &a->driver_conns);
}

/* ---- life ---- */

/* Where others reach this node, as far as the configuration says it. */
static struct node_addr announced(const struct conf *conf) {
    struct node_addr addr = {.port = (uint16_t)conf->port, .bus_port = (uint16_t)cluster_bus_port(conf)};
    struct buf why = {0};
    if (conf->cluster_announce_addr[0] != '\0') {
        CHECK(node_addr_parse(slice_cstr(conf->cluster_announce_addr), &addr, &why)); /* cluster_settings_check has seen it */
    }
    return addr;
}

struct agent *agent_create(const struct conf *conf, const struct agent_past *past, struct ring_store *store, const struct agent_hooks *hooks) {
    static const struct loop_ops ops = {0};
    struct agent *a = mem_zalloc(sizeof(*a));
    a->hooks = *hooks;
    a->store = store;
    a->conf = conf_ref((struct conf *)(uintptr_t)conf);
    lock_init(&a->stats_lock, LOCK_MEMBERS, 0);
    a->loop = loop_create(AGENT_LOOP_ID, "members", &ops, a);
    a->driver_options = (struct driver_options){.conf = conf, .addr = announced(conf), .hooks = {a, on_found}, .conns = &a->driver_conns};
    memcpy(a->driver_options.id, past->id, sizeof(a->driver_options.id));
    struct members_options o = {.addr = a->driver_options.addr,
                                .weight = (uint16_t)conf->cluster_weight,
                                .has_lot = past->lot >= 0,
                                .lot = (uint16_t)(past->lot >= 0 ? past->lot : 0),
                                .remembered = past->peers,
                                .remembered_count = past->peer_count,
                                .slot_run = (unsigned)conf->cluster_slot_run,
                                .incarnation = (uint64_t)clock_now_ms(),
                                .timeout_ms = conf->cluster_node_timeout,
                                .remove_after_ms = conf->cluster_remove_after,
                                .window_ms = conf->handover_window,
                                .settings = cluster_settings_digest(conf)};
    memcpy(o.id, past->id, sizeof(o.id));
    rng_system(&o.seed, sizeof(o.seed));
    struct members_hooks members_hooks = {.ctx = a, .send = on_send, .publish = on_publish, .event = on_event};
    a->members = members_create(&o, &members_hooks, now_ms());
    note_stats(a);
    return a;
}

void agent_start(struct agent *a) {
    a->started = true;
    a->timer = timer_create_on(a->loop, on_tick, a);
    timer_start(a->timer, 0, members_tick_ms(a->members));
    loop_start(a->loop);
    a->driver = driver_start(&a->driver_options);
}

void agent_destroy(struct agent **ap) {
    struct agent *a = *ap;
    *ap = NULL;
    if (a->started) {
        driver_stop(&a->driver);
        loop_stop(a->loop);
        loop_join(a->loop);
        timer_destroy(&a->timer);
        keep_peers(a);
    }
    members_destroy(&a->members); /* what is said now is not heard */
    loop_destroy(&a->loop);
    conf_unref(a->conf);
    mem_free(a);
}
