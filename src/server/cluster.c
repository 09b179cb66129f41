/* SPDX-License-Identifier: BSD-3-Clause */
/* cluster: setting up and taking down what a node needs. */
#include "src/server/cluster.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cluster/agent.h"
#include "cluster/node_addr.h"
#include "cluster/node_id.h"
#include "cluster/ring.h"
#include "cluster/settings.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/conf/conf.h"
#include "src/l1/l1.h"
#include "src/net/listener.h"
#include "src/rt/loop.h"
#include "src/server/channel.h"
#include "src/server/handover.h"
#include "src/server/holders.h"
#include "src/server/missed.h"
#include "src/server/near.h"
#include "src/server/peer_count.h"
#include "src/server/peers.h"
#include "src/server/server.h"
#include "src/server/sight_int.h"
#include "src/server/worker.h"

struct cluster {
    struct ring_store rings;
    char id[NODE_ID_HEX + 1];
    struct listener *listeners[MAX_LISTENERS];
    unsigned listener_count;
    struct agent *agent;
    struct near_node *copies; /* of others' keys */
    struct holders *holders;  /* of copies of ours */
    struct missed *missed;    /* what was written in others' place */
    struct peer_counts counts;
};

#define ID_FILE "node.id"
#define LOT_FILE "node.lot"
#define PEERS_FILE "node.peers"
#define MISSED_FILE "node.missed"

struct ring_store *cluster_rings(struct server *srv) {
    return &srv->cluster->rings;
}

const char *cluster_id(const struct server *srv) {
    return srv->cluster != NULL ? srv->cluster->id : "";
}

/* ---- the port for peers ---- */

static void adopt(struct worker *w, void *arg) {
    served_open(w, (int)(uintptr_t)arg);
}

static void on_accept(void *ctx, int fd, bool is_unix) {
    struct server *srv = ctx;
    unsigned i = atomic_fetch_add_explicit(&srv->next_worker, 1, memory_order_relaxed);
    (void)is_unix;
    worker_post(srv->workers[i % srv->host.loop_count], adopt, (void *)(uintptr_t)fd);
}

static bool listen_for_peers(struct server *srv, const struct conf *conf, struct buf *err) {
    struct cluster *k = srv->cluster;
    char list[1024], text[256], *save = NULL;
    int port = cluster_bus_port(conf);
    snprintf(list, sizeof(list), "%s", conf->bind);
    for (char *addr = strtok_r(list, " ", &save); addr != NULL; addr = strtok_r(NULL, " ", &save)) {
        bool optional = addr[0] == '-';
        struct listener *l = listener_tcp(srv->workers[0]->loop, addr + optional, port, (int)conf->tcp_backlog, on_accept, srv, text, sizeof(text));
        if (l != NULL) {
            k->listeners[k->listener_count++] = l;
        } else if (!optional) {
            buf_printf(err, "Could not listen for peers: %s", text);
            return false;
        }
    }
    return true;
}

/* ---- the membership: what it sends goes out through worker 0 ---- */

struct letter {
    char id[NODE_ID_HEX + 1];
    struct node_addr to;
    size_t n;
    char bytes[];
};

static void send_letter(struct worker *w, void *arg) {
    struct letter *l = arg;
    if (!w->peers->closing) {
        peers_send(w->peers, l->id, &l->to, slice_make(l->bytes, l->n));
    }
    mem_free(l);
}

static void on_send(void *ctx, const char *id, const struct node_addr *to, struct slice bytes) {
    struct server *srv = ctx;
    struct letter *l = mem_try_alloc(sizeof(*l) + bytes.n);
    if (l != NULL) {
        snprintf(l->id, sizeof(l->id), "%s", id);
        l->to = *to;
        l->n = bytes.n;
        memcpy(l->bytes, bytes.p, bytes.n);
        worker_post(srv->workers[0], send_letter, l);
    }
}

/* What was changed at the stand-ins, this node does not know: it forgets what it has. */
static void forget_all(struct worker *w, void *arg) {
    struct host *h = &w->server->host;
    (void)arg;
    l1_lock_all(h->l1);
    bool done = tier_flush(h->tier, -1);
    l1_unlock_all(h->l1);
    near_wrote_all(w->server->cluster->copies); /* nor has it heard what became of others' keys */
    log_warning("cluster: this node had been given up for a while, and others stood in for it: %s",
                done ? "its keys are dropped" : "its keys are being dropped already");
}

static void on_ring(void *ctx, const struct ring *before, const struct ring *ring) {
    handover_ring(((struct server *)ctx)->handover, before, ring);
}

/* As long as the others serve, this node must not: they would not hear of what is written here, nor this node of what is written there. */
static void end_unjoined(struct worker *w, void *arg) {
    struct server *srv = w->server;
    struct node_addr *at = arg;
    if (!srv->failed) {
        srv->failed = true;
        log_warning("cluster: the node at %s:%u is of another version, and this one has not joined yet: it ends. Stop all nodes of the other version "
                    "first, or start this one as part of another cluster, with an empty dir",
                    at->host, at->bus_port);
        server_begin_shutdown(srv);
    }
    mem_free(at);
}

static void on_other_version(void *ctx, const struct node_addr *at) {
    struct server *srv = ctx;
    worker_post(srv->workers[0], end_unjoined, mem_memdup(at, sizeof(*at)));
}

void cluster_other_version(struct server *srv, const struct node_addr *at) {
    agent_other_version(srv->cluster->agent, at);
}

static void on_lot(void *ctx, unsigned lot) {
    struct server *srv = ctx;
    struct buf why = {0};
    if (!node_lot_keep(LOT_FILE, srv->cluster->id, lot, &why)) {
        log_warning("cluster: which slots this node owns will be others after a restart: %.*s", (int)why.n, why.p);
    }
    buf_free(&why);
}

static void on_peers(void *ctx, const struct member_record *list, unsigned n) {
    struct server *srv = ctx;
    struct buf why = {0};
    if (!node_peers_keep(PEERS_FILE, srv->cluster->id, list, n, &why)) {
        log_warning("cluster: a restart will not know the other nodes until it meets one: %.*s", (int)why.n, why.p);
    }
    buf_free(&why);
}

static void on_doubted(void *ctx) {
    struct server *srv = ctx;
    worker_post(srv->workers[0], forget_all, NULL);
}

void cluster_failed(struct server *srv, const char *id) {
    agent_failed(srv->cluster->agent, id);
}

void cluster_is_self(struct server *srv, const struct node_addr *at, const char *host) {
    struct node_addr addr = *at;
    snprintf(addr.host, sizeof(addr.host), "%s", host);
    agent_is_self(srv->cluster->agent, &addr);
}

void cluster_hear(struct server *srv, const char *id, const char *addr, struct slice bytes) {
    char host[NODE_HOST_BYTES];
    const char *start = addr + (addr[0] == '['), *end = strrchr(addr, ':');
    size_t n = end == NULL ? 0 : (size_t)(end - start) - (addr[0] == '[');
    snprintf(host, sizeof(host), "%.*s", (int)n, start);
    agent_hear(srv->cluster->agent, id, host, bytes);
}

void cluster_meet(struct host *h, const struct node_addr *at) {
    agent_meet(server_of(h)->cluster->agent, at);
}

bool cluster_forget(struct host *h, const char *id) {
    return agent_forget(server_of(h)->cluster->agent, id);
}

void cluster_leave(struct host *h) {
    agent_leave(server_of(h)->cluster->agent);
}

void cluster_leave_for_good(struct server *srv) {
    agent_leave_for_good(srv->cluster->agent);
}

void cluster_conf_changed(struct server *srv) {
    if (srv->cluster != NULL) {
        struct conf *conf = conf_store_current(srv->host.conf_store);
        agent_configure(srv->cluster->agent, conf);
        conf_unref(conf);
    }
}

/* ---- copies ---- */

static void look_up(struct worker *w, void *arg) {
    (void)w;
    (void)arg; /* the end of the turn does the rest */
}

static void wake(void *ctx, unsigned loop) {
    struct server *srv = ctx;
    worker_post(srv->workers[loop], look_up, NULL);
}

static void on_changed(void *ctx, const struct key *key) {
    struct server *srv = ctx;
    holders_changed(srv->cluster->holders, key != NULL ? l1_shard_of(srv->host.l1, key->hash) : 0, key);
}

/* ---- what is known of them ---- */

bool cluster_stats(struct server *srv, struct agent_stats *out) {
    if (srv->cluster == NULL || srv->cluster->agent == NULL) {
        *out = (struct agent_stats){0};
        return false;
    }
    agent_stats_read(srv->cluster->agent, out);
    return true;
}

struct peer_sum cluster_peer(struct server *srv, const char *id) {
    return peer_counts_read(&srv->cluster->counts, id);
}

const char *cluster_settings_of(const struct agent_stats *s, const char *id) {
    static const char *const names[] = {"same", "policies", "directives", "policies+directives"};
    for (unsigned i = 0; i < s->differing_count; i++) {
        if (strcmp(s->differing[i].id, id) == 0) {
            return names[s->differing[i].what & (DIFFER_POLICIES | DIFFER_DIRECTIVES)];
        }
    }
    return names[0];
}

static void put_differing(const struct agent_stats *s, struct buf *out) {
    buf_puts(out, "policies_differ:");
    for (unsigned i = 0, n = 0; i < s->differing_count; i++) {
        if (s->differing[i].what & DIFFER_POLICIES) {
            buf_printf(out, "%s%s", n++ > 0 ? "," : "", s->differing[i].id);
        }
    }
    buf_puts(out, "\r\n");
}

/* A line for each other node, as Redis has for its replicas. */
static void put_nodes(struct server *srv, const struct agent_stats *s, struct buf *out) {
    struct ring *ring = ring_store_current(&srv->cluster->rings);
    for (unsigned i = 0, n = 0; ring != NULL && i < ring->n; i++) {
        const struct ring_node *node = &ring->nodes[i];
        if (i != ring->self) {
            struct peer_sum p = cluster_peer(srv, node->id);
            buf_printf(out, "peer%u:id=%s,ip=%s,port=%u,state=%s,slots=%u,calls=%llu,answers=%llu,lost=%llu,rtt_us=%llu,settings=%s\r\n", n++, node->id,
                       node->host, node->port, node_state_name(node->state), node->slots, (unsigned long long)p.calls, (unsigned long long)p.answers,
                       (unsigned long long)p.lost, (unsigned long long)p.rtt_us, cluster_settings_of(s, node->id));
        }
    }
    ring_unref(ring);
}

void cluster_info(struct host *h, struct buf *out) {
    struct server *srv = server_of(h);
    struct agent_stats s;
    struct gauges g = {0};
    if (!cluster_stats(srv, &s)) {
        return;
    }
    cluster_gauges(&s, &g);
    for (unsigned i = 0; i < gauge_count; i++) {
        if (strcmp(gauge_rows[i].group, "members") == 0) {
            buf_printf(out, "members_%s:%llu\r\n", gauge_rows[i].name, (unsigned long long)gauge_value(&g, &gauge_rows[i]));
        }
    }
    put_differing(&s, out);
    put_nodes(srv, &s, out);
}

void cluster_gauges(const struct agent_stats *s, struct gauges *g) {
    g->members_nodes = s->members.nodes;
    g->members_answering = s->members.answering;
    g->members_differing = s->members.differing;
    g->members_joined = s->joined;
    g->members_rings = s->rings;
    g->members_messages_sent = s->members.sent;
    g->members_messages_received = s->members.received;
    g->members_messages_refused = s->members.refused;
    g->members_messages_dropped = s->dropped;
    g->members_syncs = s->members.syncs;
    g->members_suspected = s->members.suspected;
    g->members_died = s->members.died;
    g->members_removed = s->members.removed;
    g->members_overflow = s->members.overflow;
}

/* ---- life ---- */

static struct missed *open_missed(void) {
    struct buf why = {0};
    struct missed *m = missed_open(MISSED_FILE, &why);
    if (why.n > 0) {
        log_warning("cluster: what others miss is noted in memory alone: %.*s", (int)why.n, why.p);
    }
    buf_free(&why);
    return m;
}

/* False with the reason: what is there cannot be used. past->peers is the caller's. */
static bool load_past(struct cluster *k, struct agent_past *past, struct buf *err) {
    struct member_record *peers = NULL;
    if (!node_id_load(ID_FILE, k->id, err) || !node_lot_load(LOT_FILE, k->id, &past->lot, err)) {
        return false;
    }
    int n = node_peers_load(PEERS_FILE, k->id, &peers, err);
    past->peers = peers;
    past->peer_count = n > 0 ? (unsigned)n : 0;
    return n >= 0;
}

bool cluster_open(struct server *srv, const struct conf *conf, struct buf *err) {
    if (!conf->cluster_enabled) {
        return true;
    }
    struct cluster *k = mem_zalloc(sizeof(*k));
    struct agent_past past = {.id = k->id};
    if (!load_past(k, &past, err)) {
        mem_free(k);
        return false;
    }
    srv->cluster = k;
    ring_store_init(&k->rings);
    srv->host.rings = &k->rings;
    srv->handover = handover_create(srv);
    tier_add_source(&srv->tier, handover_source(srv->handover));
    struct agent_hooks hooks = {.ctx = srv, .send = on_send, .ring = on_ring, .other_version = on_other_version, .lot = on_lot, .peers = on_peers, .doubted = on_doubted};
    k->agent = agent_create(conf, &past, &k->rings, &hooks);
    mem_free((void *)(uintptr_t)past.peers);
    k->copies = near_node_create(&srv->host.near_copies, &srv->host.near_bytes);
    k->missed = open_missed();
    k->holders = holders_create(srv->host.l1->shard_count, srv->host.loop_count, wake, srv);
    peer_counts_init(&k->counts, srv->host.loop_count);
    struct peers_shared shared = {k->copies, k->holders, &k->counts, k->missed};
    for (unsigned i = 0; i < srv->host.loop_count; i++) {
        srv->workers[i]->peers = peers_create(srv->workers[i], k->id, conf->cluster_secret, &shared);
    }
    srv->tier.changed_ctx = srv;
    srv->tier.changed = on_changed;
    return true;
}

bool cluster_start(struct server *srv, const struct conf *conf, struct buf *err) {
    if (srv->cluster == NULL) {
        return true;
    }
    if (!listen_for_peers(srv, conf, err)) {
        return false;
    }
    agent_start(srv->cluster->agent);
    return true;
}

void cluster_stop(struct server *srv) {
    struct cluster *k = srv->cluster;
    for (unsigned i = 0; k != NULL && i < k->listener_count; i++) {
        listener_close(&k->listeners[i]);
    }
    if (k != NULL) {
        k->listener_count = 0;
    }
}

bool cluster_stopping(struct worker *w) {
    if (w->peers == NULL) {
        return false;
    }
    if (!w->peers->closing) {
        handover_stop(w);
        peers_close(w->peers);
    }
    return !w->peers->closed;
}

void cluster_end_membership(struct server *srv) {
    if (srv->cluster != NULL) {
        agent_destroy(&srv->cluster->agent);
    }
}

void cluster_close(struct server *srv) {
    if (srv->cluster == NULL) {
        return;
    }
    ring_store_fini(&srv->cluster->rings);
    handover_destroy(&srv->handover);
    srv->tier.changed = NULL;
    near_node_destroy(&srv->cluster->copies);
    peer_counts_fini(&srv->cluster->counts);
    holders_destroy(&srv->cluster->holders);
    missed_close(&srv->cluster->missed);
    mem_free(srv->cluster);
    srv->cluster = NULL;
}
