/* SPDX-License-Identifier: BSD-3-Clause */
/* members_net: members of a cluster on a network that exists in memory only. */
#include "tests/support/members_net.h"

#include <stdio.h>
#include <string.h>

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/base/sha256.h"

enum { WHEEL_MS = 4096 };

struct net_message {
    struct net_message *next;
    unsigned from, to;
    char id[NODE_ID_HEX + 1];
    size_t n;
    char bytes[];
};

struct net_ring {
    struct net_ring *next;
    struct ring *ring;
};


static uint64_t next_random(struct net *net) {
    uint64_t v = net->random += 0x9e3779b97f4a7c15ULL;
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9ULL;
    v = (v ^ v >> 27) * 0x94d049bb133111ebULL;
    return v ^ v >> 31;
}

/* ---- hooks ---- */

static void net_send(void *ctx, const char *id, const struct node_addr *to, struct slice bytes) {
    struct net_node *sender = ctx;
    struct net *net = sender->net;
    unsigned from = (unsigned)(sender - net->nodes), target = NET_MAX, a, b;
    net->sent++;
    net->bytes += bytes.n;
    if (sscanf(to->host, "10.0.%u.%u", &a, &b) == 2) {
        target = a * 250 + b;
    }
    if (target >= net->n || to->port != net->nodes[target].addr.port || net->cut[from * net->n + target] ||
        next_random(net) % 100 < net->loss_pct) {
        return;
    }
    struct net_message *m = mem_alloc(sizeof(*m) + bytes.n);
    *m = (struct net_message){.from = from, .to = target, .n = bytes.n};
    memcpy(m->id, id, strlen(id) + 1);
    memcpy(m->bytes, bytes.p, bytes.n);
    int64_t delay = net->delay_min_ms + (int64_t)(next_random(net) % (uint64_t)(net->delay_max_ms - net->delay_min_ms + 1));
    struct net_message **slot = &net->wheel[(net->now_ms + delay) % WHEEL_MS];
    while (*slot != NULL) {
        slot = &(*slot)->next;
    }
    *slot = m;
}

static void net_publish(void *ctx, struct ring *ring) {
    struct net_node *node = ctx;
    ring_unref(node->ring);
    node->ring = ring;
    node->published++;
}

static void net_event(void *ctx, enum members_event event, const char *id, const char *text) {
    struct net_node *node = ctx;
    (void)id;
    (void)text;
    node->events[event]++;
    node->lot = event == MEMBERS_LOT ? members_self(node->members)->lot : node->lot;
}

static struct ring *net_build(void *ctx, const struct ring_node *nodes, unsigned n, unsigned run, uint64_t version,
                              const struct ring *before, int64_t until_ms) {
    struct net *net = ((struct net_node *)ctx)->net;
    struct net_ring *r = net->rings;
    uint8_t states[RING_MAX_NODES];
    (void)before;
    (void)until_ms;
    for (; r != NULL && (uint32_t)r->ring->version != (uint32_t)version; r = r->next) {
    }
    if (r == NULL) {
        r = mem_alloc(sizeof(*r));
        *r = (struct net_ring){net->rings, ring_build(nodes, n, run, version, NULL, 0)};
        net->rings = r;
    }
    CHECK(r->ring->n == n);
    for (unsigned i = 0; i < n; i++) {
        states[i] = nodes[i].state; /* members hands them over by id */
    }
    return ring_with_states(r->ring, states, version);
}

static uint16_t net_choose_lot(void *ctx, const struct ring_node *nodes, unsigned n, unsigned run, unsigned joiner) {
    struct net_node *node = ctx;
    const struct net *net = node->net;
    node->lots_taken++;
    return net->lots ? ring_choose_lot(nodes, n, run, joiner) : 0;
}

/* ---- nodes ---- */

struct net *net_create(unsigned n, uint64_t seed, int64_t timeout_ms) {
    struct net *net = mem_zalloc(sizeof(*net));
    CHECK(n <= NET_MAX);
    net->n = n;
    net->nodes = mem_zalloc(n * sizeof(*net->nodes));
    net->cut = mem_zalloc((size_t)n * n * sizeof(*net->cut));
    net->wheel = mem_zalloc(WHEEL_MS * sizeof(struct net_message *));
    net->timeout_ms = timeout_ms;
    net->delay_min_ms = 1;
    net->delay_max_ms = 3;
    net->random = seed;
    net->now_ms = 1000000;
    for (unsigned i = 0; i < n; i++) {
        struct net_node *node = &net->nodes[i];
        node->net = net;
        char text[64], hex[SHA256_HEX + 1];
        snprintf(text, sizeof(text), "%llu/%u", (unsigned long long)seed, i);
        sha256_hex(slice_cstr(text), hex);
        memcpy(node->id, hex, NODE_ID_HEX);
        snprintf(node->addr.host, sizeof(node->addr.host), "10.0.%u.%u", i / 250, i % 250);
        node->addr.port = 6379;
        node->addr.bus_port = 16379;
    }
    return net;
}

static void keep_one(void *ctx, const struct member_record *r, enum node_state state, int64_t heard_ms) {
    struct net_node *node = ctx;
    (void)state;
    (void)heard_ms;
    if (r->intent == INTENT_MEMBER && r->verdict < VERDICT_REMOVED && strcmp(r->id, node->id) != 0) {
        node->kept[node->kept_count++] = *r;
    }
}

/* What a node has on its disk. */
static void keep_others(struct net_node *node) {
    if (members_joined(node->members)) {
        node->kept = mem_realloc(node->kept, (node->net->n + 1) * sizeof(*node->kept));
        node->kept_count = 0;
        members_each(node->members, keep_one, node);
    }
}

void net_kill(struct net *net, unsigned i) {
    struct net_node *node = &net->nodes[i];
    if (node->members != NULL) {
        keep_others(node);
        members_destroy(&node->members);
    }
    ring_unref(node->ring);
    node->ring = NULL;
    node->hung = false;
}

void net_start(struct net *net, unsigned i, unsigned seeds) {
    net_kill(net, i);
    struct net_node *node = &net->nodes[i];
    node->lives++;
    struct members_options o = {.addr = node->addr,
                                .weight = 100,
                                .incarnation = (uint64_t)net->now_ms,
                                .has_lot = node->lots_taken > 0,
                                .lot = node->lot,
                                .remembered = node->kept,
                                .remembered_count = net->memory ? node->kept_count : 0,
                                .seed = next_random(net),
                                .timeout_ms = net->timeout_ms,
                                .remove_after_ms = net->remove_after_ms,
                                .window_ms = 60000};
    memcpy(o.id, node->id, sizeof(o.id));
    memset(o.addr.host, 0, sizeof(o.addr.host)); /* to be learnt */
    struct members_hooks hooks = {.ctx = node, .send = net_send, .publish = net_publish, .build = net_build, .choose_lot = net_choose_lot, .event = net_event};
    node->members = members_create(&o, &hooks, net->now_ms);
    struct node_addr *list = mem_alloc((seeds + 1) * sizeof(*list));
    for (unsigned k = 0; k < seeds; k++) {
        list[k] = net->nodes[k].addr;
    }
    members_set_seeds(node->members, list, seeds, false, net->now_ms);
    mem_free(list);
}

void net_destroy(struct net **np) {
    struct net *net = *np;
    *np = NULL;
    for (unsigned i = 0; i < net->n; i++) {
        net_kill(net, i);
        mem_free(net->nodes[i].kept);
    }
    for (unsigned i = 0; i < WHEEL_MS; i++) {
        for (struct net_message *m = net->wheel[i], *next; m != NULL; m = next) {
            next = m->next;
            mem_free(m);
        }
    }
    for (struct net_ring *r = net->rings, *next; r != NULL; r = next) {
        next = r->next;
        ring_unref(r->ring);
        mem_free(r);
    }
    mem_free(net->nodes);
    mem_free(net->cut);
    mem_free(net->wheel);
    mem_free(net);
}

void net_cut_one_way(struct net *net, unsigned from, unsigned to, bool cut) {
    net->cut[from * net->n + to] = cut;
}

void net_cut(struct net *net, unsigned a, unsigned b, bool cut) {
    net_cut_one_way(net, a, b, cut);
    net_cut_one_way(net, b, a, cut);
}

/* ---- time ---- */

static void deliver(struct net *net, const struct net_message *m) {
    struct net_node *to = &net->nodes[m->to], *from = &net->nodes[m->from];
    bool meant = m->id[0] == '\0' || strcmp(m->id, to->id) == 0; /* links prove who they are */
    if (meant && to->members != NULL && !to->hung && !net->cut[m->from * net->n + m->to]) {
        members_receive(to->members, from->id, from->addr.host, slice_make(m->bytes, m->n), net->now_ms);
    }
}

static void run_ms(struct net *net) {
    net->now_ms++;
    struct net_message **slot = &net->wheel[net->now_ms % WHEEL_MS];
    for (struct net_message *m = *slot, *next; m != NULL; m = next) {
        next = m->next;
        *slot = next;
        deliver(net, m);
        mem_free(m);
    }
    for (unsigned i = 0; i < net->n; i++) {
        struct net_node *node = &net->nodes[i];
        if (node->members != NULL && !node->hung && (net->now_ms + i) % members_tick_ms(node->members) == 0) {
            members_tick(node->members, net->now_ms);
        }
    }
    if (net->after_each_ms != NULL) {
        net->after_each_ms(net);
    }
}

void net_run(struct net *net, int64_t ms) {
    for (int64_t i = 0; i < ms; i++) {
        run_ms(net);
    }
}

int64_t net_run_until(struct net *net, bool (*done)(const struct net *net), int64_t most_ms) {
    int64_t ms = 0;
    for (; !done(net); ms++) {
        if (ms >= most_ms) {
            return -1;
        }
        run_ms(net);
    }
    return ms;
}

/* ---- questions ---- */

bool net_agrees(const struct net *net) {
    const struct net_node *first = NULL;
    unsigned running = 0;
    for (unsigned i = 0; i < net->n; i++) {
        running += net->nodes[i].members != NULL;
    }
    for (unsigned i = 0; i < net->n; i++) {
        const struct net_node *node = &net->nodes[i];
        if (node->members == NULL) {
            continue;
        }
        first = first == NULL ? node : first;
        if (node->ring == NULL || node->ring->n != running || node->ring->version != first->ring->version) {
            return false;
        }
        for (unsigned k = 0; k < running; k++) {
            if (node->ring->nodes[k].state == NODE_JOINING) {
                return false;
            }
        }
    }
    return true;
}

int net_state(const struct net *net, unsigned i, unsigned k) {
    const struct ring *ring = net->nodes[i].ring;
    unsigned at = ring != NULL ? ring_find(ring, net->nodes[k].id) : RING_NONE;
    return at == RING_NONE ? -1 : ring->nodes[at].state;
}
