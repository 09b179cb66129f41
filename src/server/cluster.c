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
#include "src/server/peers.h"
#include "src/server/server.h"
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
};

#define ID_FILE "node.id"
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

bool cluster_open(struct server *srv, const struct conf *conf, struct buf *err) {
    if (!conf->cluster_enabled) {
        return true;
    }
    struct cluster *k = mem_zalloc(sizeof(*k));
    if (!node_id_load(ID_FILE, k->id, err)) {
        mem_free(k);
        return false;
    }
    srv->cluster = k;
    ring_store_init(&k->rings);
    srv->host.rings = &k->rings;
    srv->handover = handover_create(srv);
    tier_add_source(&srv->tier, handover_source(srv->handover));
    k->agent = agent_create(conf, k->id, &k->rings, &(struct agent_hooks){.ctx = srv, .send = on_send, .ring = on_ring, .doubted = on_doubted});
    k->copies = near_node_create(&srv->host.near_copies, &srv->host.near_bytes);
    k->missed = open_missed();
    k->holders = holders_create(srv->host.l1->shard_count, srv->host.loop_count, wake, srv);
    for (unsigned i = 0; i < srv->host.loop_count; i++) {
        srv->workers[i]->peers = peers_create(srv->workers[i], k->id, conf->cluster_secret, k->copies, k->holders, k->missed);
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
    holders_destroy(&srv->cluster->holders);
    missed_close(&srv->cluster->missed);
    mem_free(srv->cluster);
    srv->cluster = NULL;
}
