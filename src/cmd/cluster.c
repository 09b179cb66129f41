/* SPDX-License-Identifier: BSD-3-Clause */
/* cluster: the commands of Redis Cluster, for its clients: who serves which slot. Slots are placed by the ring (cluster/ring.h), so what
 * moves them by hand is refused. Without a cluster all of it is, in Redis's words. */
#include "cluster/node_addr.h"
#include "cluster/ring.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/cmd/handover.h"

enum { WALK_SLICE = 2000 /* keys looked at before others get a turn */ };

static enum err refuse_disabled(struct call *c) {
    return call_errorf(c, "ERR This instance has cluster support disabled");
}

static enum err no_ring(struct call *c) {
    return call_errorf(c, "CLUSTERDOWN The ring is not known yet");
}

/* A handler that reads the ring. */
static enum err with_ring(struct call *c, enum err (*fn)(struct call *c, const struct ring *ring)) {
    if (c->host->rings == NULL) {
        return refuse_disabled(c);
    }
    struct ring *ring = ring_store_current(c->host->rings);
    if (ring == NULL) {
        return no_ring(c);
    }
    enum err e = fn(c, ring);
    ring_unref(ring);
    return e;
}

/* ---- who serves what ---- */

/* Calls fn for every range of slots that one node serves. */
static int64_t each_range(const struct ring *ring, void (*fn)(void *ctx, unsigned from, unsigned to, unsigned node), void *ctx) {
    int64_t n = 0;
    for (unsigned from = 0, to; from < RING_SLOTS; from = to + 1, n++) {
        for (to = from; to + 1 < RING_SLOTS && ring->serving[to + 1] == ring->serving[from]; to++) {
        }
        if (fn != NULL) {
            fn(ctx, from, to, ring->serving[from]);
        }
    }
    return n;
}

struct listing {
    const struct ring *ring;
    struct out *out;
    struct buf *text;
    struct out tails; /* what ends the ranges of each node, from tail_at[node] on */
    size_t *tail_at;
    unsigned node;
    int64_t count;
};

/* Slots are scattered, so there are ten thousand ranges and more: what is the same in all of a node's is made once. */
static void put_slots(void *ctx, unsigned from, unsigned to, unsigned i) {
    struct listing *l = ctx;
    char head[2 * NUM_I64_MAX_LEN + 16] = "*3\r\n:";
    size_t n = strlen(head);
    n += num_print_u64(head + n, from);
    memcpy(head + n, "\r\n:", 3);
    n += 3;
    n += num_print_u64(head + n, to);
    memcpy(head + n, "\r\n", 2);
    buf_put(&l->out->buf, head, n + 2);
    buf_put(&l->out->buf, l->tails.buf.p + l->tail_at[i], l->tail_at[i + 1] - l->tail_at[i]);
}

static void make_tails(struct listing *l, struct arena *arena) {
    l->tails.proto = l->out->proto;
    l->tail_at = arena_alloc(arena, (l->ring->n + 1) * sizeof(*l->tail_at));
    for (unsigned i = 0; i < l->ring->n; i++) {
        const struct ring_node *node = &l->ring->nodes[i];
        l->tail_at[i] = l->tails.buf.n;
        reply_array(&l->tails, 4);
        reply_bulk_cstr(&l->tails, node->host);
        reply_int(&l->tails, node->port);
        reply_bulk_cstr(&l->tails, node->id);
        reply_array(&l->tails, 0);
    }
    l->tail_at[l->ring->n] = l->tails.buf.n;
}

static enum err tell_slots(struct call *c, const struct ring *ring) {
    struct listing l = {.ring = ring, .out = c->out};
    make_tails(&l, c->arena);
    reply_array(c->out, each_range(ring, NULL, NULL));
    each_range(ring, put_slots, &l);
    out_free(&l.tails);
    return OK;
}

static void count_range(void *ctx, unsigned from, unsigned to, unsigned i) {
    struct listing *l = ctx;
    (void)from;
    (void)to;
    l->count += i == l->node;
}

static void put_range(void *ctx, unsigned from, unsigned to, unsigned i) {
    struct listing *l = ctx;
    if (i == l->node) {
        reply_int(l->out, from);
        reply_int(l->out, to);
    }
}

static void put_shard_node(struct out *out, const struct ring_node *node) {
    bool silent = !ring_node_answers(node);
    reply_array(out, 1);
    reply_map(out, 7);
    reply_bulk_cstr(out, "id");
    reply_bulk_cstr(out, node->id);
    reply_bulk_cstr(out, "port");
    reply_int(out, node->port);
    reply_bulk_cstr(out, "ip");
    reply_bulk_cstr(out, node->host);
    reply_bulk_cstr(out, "endpoint");
    reply_bulk_cstr(out, node->host);
    reply_bulk_cstr(out, "role");
    reply_bulk_cstr(out, "master");
    reply_bulk_cstr(out, "replication-offset");
    reply_int(out, 0);
    reply_bulk_cstr(out, "health");
    reply_bulk_cstr(out, silent ? "fail" : "online");
}

static enum err tell_shards(struct call *c, const struct ring *ring) {
    reply_array(c->out, ring->n);
    for (unsigned i = 0; i < ring->n; i++) {
        struct listing l = {.ring = ring, .out = c->out, .node = i};
        each_range(ring, count_range, &l);
        reply_map(c->out, 2);
        reply_bulk_cstr(c->out, "slots");
        reply_array(c->out, l.count * 2);
        each_range(ring, put_range, &l);
        reply_bulk_cstr(c->out, "nodes");
        put_shard_node(c->out, &ring->nodes[i]);
    }
    return OK;
}

static void print_range(void *ctx, unsigned from, unsigned to, unsigned i) {
    struct listing *l = ctx;
    if (i == l->node) {
        char range[2 * NUM_I64_MAX_LEN + 2] = " ";
        size_t n = 1 + num_print_u64(range + 1, from);
        if (to > from) {
            range[n++] = '-';
            n += num_print_u64(range + n, to);
        }
        buf_put(l->text, range, n);
    }
}

static const char *flags_of(const struct ring_node *node) {
    return node->self ? "myself,master" : node->state == NODE_SUSPECT ? "master,fail?" : node->state == NODE_DEAD ? "master,fail" : "master";
}

static enum err tell_nodes(struct call *c, const struct ring *ring) {
    struct buf text = {0};
    for (unsigned i = 0; i < ring->n; i++) {
        const struct ring_node *node = &ring->nodes[i];
        struct listing l = {.ring = ring, .text = &text, .node = i};
        bool silent = !ring_node_answers(node);
        buf_printf(&text, "%s %s:%u@%u %s - 0 0 %llu %s", node->id, node->host, node->port, node->bus_port, flags_of(node),
                   (unsigned long long)ring->version >> 32, silent ? "disconnected" : "connected");
        each_range(ring, print_range, &l);
        buf_putc(&text, '\n');
    }
    reply_verbatim(c->out, "txt", buf_slice(&text));
    buf_free(&text);
    return OK;
}

static enum err tell_info(struct call *c, const struct ring *ring) {
    struct buf text = {0};
    unsigned suspect = 0, dead = 0, owning = 0, mine = 0;
    for (unsigned i = 0; i < ring->n; i++) {
        suspect += ring->nodes[i].state == NODE_SUSPECT ? ring->nodes[i].slots : 0;
        dead += ring->nodes[i].state == NODE_DEAD ? ring->nodes[i].slots : 0;
        owning += ring->nodes[i].slots > 0;
    }
    for (unsigned s = 0; s < RING_SLOTS; s++) {
        mine += ring_serves(ring, s);
    }
    buf_printf(&text,
               "cluster_state:ok\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%u\r\ncluster_slots_pfail:%u\r\ncluster_slots_fail:%u\r\n"
               "cluster_known_nodes:%u\r\ncluster_size:%u\r\ncluster_current_epoch:%llu\r\ncluster_my_epoch:%llu\r\n"
               "cluster_ring_version:%llu\r\ncluster_slots_served_here:%u\r\n",
               RING_SLOTS, RING_SLOTS - suspect - dead, suspect, dead, ring->n, owning, (unsigned long long)ring->version >> 32,
               (unsigned long long)ring->version >> 32, (unsigned long long)ring->version, mine);
    reply_verbatim(c->out, "txt", buf_slice(&text));
    buf_free(&text);
    return OK;
}

static enum err tell_id(struct call *c, const struct ring *ring) {
    if (ring->self == RING_NONE) {
        return no_ring(c);
    }
    reply_bulk_cstr(c->out, ring->nodes[ring->self].id);
    return OK;
}

static enum err slots_run(struct call *c) {
    return with_ring(c, tell_slots);
}

static enum err shards_run(struct call *c) {
    return with_ring(c, tell_shards);
}

static enum err nodes_run(struct call *c) {
    return with_ring(c, tell_nodes);
}

static enum err info_run(struct call *c) {
    return with_ring(c, tell_info);
}

static enum err myid_run(struct call *c) {
    return with_ring(c, tell_id);
}

/* ---- keys and slots ---- */

static enum err keyslot_run(struct call *c) {
    if (c->host->rings == NULL) {
        return refuse_disabled(c);
    }
    reply_int(c->out, hash_slot(c->argv[2]));
    return OK;
}

/* Keys of one slot that are in memory, found by a walk over all of them. */
struct slot_walk {
    uint64_t next;
    unsigned slot;
    int64_t count, most;
    struct out names;
};

static void slot_walk_free(void *state) {
    struct slot_walk *w = state;
    out_free(&w->names);
    mem_free(w);
}

static void look_at(void *ctx, const struct key *key, const struct item_view *item) {
    struct slot_walk *w = ctx;
    (void)item;
    if (w->count < w->most && hash_slot(key->name) == w->slot) {
        w->count++;
        reply_bulk(&w->names, key->name);
    }
}

/* OK: it is over. ERR_PARKED: the handler runs again. */
static enum err walk_on(struct call *c, int64_t slot, int64_t most) {
    struct slot_walk *w = c->state;
    if (w == NULL) {
        w = mem_zalloc(sizeof(*w));
        w->slot = (unsigned)slot;
        w->most = most;
        w->names.proto = c->out->proto;
        c->state = w;
        c->state_free = slot_walk_free;
    }
    do {
        w->next = l1_scan(c->l1, w->next, WALK_SLICE, c->db, c->now_ms, c->all_locked, look_at, w);
        if (w->next != 0 && w->count < w->most && call_may_yield(c)) {
            return call_yield(c);
        }
    } while (w->next != 0 && w->count < w->most);
    return OK;
}

static enum err arg_slot(struct call *c, int64_t *slot) {
    if (c->host->rings == NULL) {
        return refuse_disabled(c);
    }
    return arg_i64(c, 2, slot) != OK || *slot < 0 || *slot >= RING_SLOTS ? call_errorf(c, "ERR Invalid or out of range slot") : OK;
}

static enum err countkeysinslot_run(struct call *c) {
    int64_t slot;
    enum err e = arg_slot(c, &slot);
    e = e != OK ? e : walk_on(c, slot, INT64_MAX);
    if (e == OK) {
        reply_int(c->out, ((struct slot_walk *)c->state)->count);
        slot_walk_free(c->state);
        c->state = NULL;
    }
    return e;
}

static enum err getkeysinslot_run(struct call *c) {
    int64_t slot, most;
    enum err e = arg_slot(c, &slot);
    if (e == OK && (arg_i64(c, 3, &most) != OK || most < 0)) {
        return call_errorf(c, "ERR Invalid number of keys");
    }
    e = e != OK ? e : walk_on(c, slot, most);
    if (e == OK) {
        struct slot_walk *w = c->state;
        reply_array(c->out, w->count);
        out_append(c->out, &w->names);
        slot_walk_free(w);
        c->state = NULL;
    }
    return e;
}

/* ---- nodes ---- */

static enum err meet_run(struct call *c) {
    struct node_addr addr = {0};
    int64_t port, bus;
    if (c->host->rings == NULL) {
        return refuse_disabled(c);
    }
    bool ok = c->argc <= 5 && node_host_valid(c->argv[2]) && arg_i64(c, 3, &port) == OK && port >= 1 && port <= UINT16_MAX;
    bus = ok ? port + NODE_BUS_OFFSET : 0;
    if (!ok || (c->argc == 5 && arg_i64(c, 4, &bus) != OK) || bus < 1 || bus > UINT16_MAX) {
        return call_errorf(c, "ERR Invalid node address specified: host, port, and the port for peers where it is not port + %d", NODE_BUS_OFFSET);
    }
    memcpy(addr.host, c->argv[2].p, c->argv[2].n);
    addr.port = (uint16_t)port;
    addr.bus_port = (uint16_t)bus;
    c->host->ops->cluster_meet(c->host, &addr);
    reply_ok(c->out);
    return OK;
}

static enum err forget(struct call *c, const struct ring *ring) {
    char id[NODE_ID_HEX + 1] = "";
    if (c->argv[2].n == NODE_ID_HEX) {
        memcpy(id, c->argv[2].p, NODE_ID_HEX);
    }
    unsigned i = ring_find(ring, id);
    if (i == RING_NONE) {
        return call_errorf(c, "ERR Unknown node %.*s", (int)(c->argv[2].n < 128 ? c->argv[2].n : 128), c->argv[2].p);
    }
    if (i == ring->self) {
        return call_errorf(c, "ERR I tried hard but I can't forget myself...");
    }
    if (!c->host->ops->cluster_forget(c->host, id)) {
        return call_errorf(c, "ERR Unknown node %s", id);
    }
    reply_ok(c->out);
    return OK;
}

static enum err forget_run(struct call *c) {
    return with_ring(c, forget);
}

static enum err leave_run(struct call *c) {
    if (c->host->rings == NULL) {
        return refuse_disabled(c);
    }
    c->host->ops->cluster_leave(c->host);
    reply_ok(c->out);
    return OK;
}

static enum err by_ring_run(struct call *c) {
    return c->host->rings == NULL ? refuse_disabled(c) : call_errorf(c, "ERR Slots and epochs follow from the set of nodes, and nodes have no replicas: nothing is placed by hand");
}

static enum err no_replicas_run(struct call *c) {
    if (c->host->rings == NULL) {
        return refuse_disabled(c);
    }
    reply_array(c->out, 0);
    return OK;
}

static enum err zero_run(struct call *c) {
    if (c->host->rings == NULL) {
        return refuse_disabled(c);
    }
    reply_int(c->out, 0);
    return OK;
}

static enum err help_run(struct call *c) {
    static const char *const lines[] = {"COUNTKEYSINSLOT <slot>", "    Count the keys of a slot that are in this node's memory.",
                                        "FORGET <node-id>", "    Have all nodes forget a node.",
                                        "GETKEYSINSLOT <slot> <count>", "    Return keys of a slot that are in this node's memory.",
                                        "INFO", "    Return how the cluster is.",
                                        "KEYSLOT <key>", "    Return the slot of a key.",
                                        "LEAVE", "    Take this node out of the ring; it goes on answering.",
                                        "MEET <host> <port> [<port-for-peers>]", "    Join the cluster of the node there.",
                                        "MYID", "    Return the id of this node.",
                                        "NODES", "    Return the nodes, one a line, as Redis does.",
                                        "SHARDS", "    Return the nodes and the slots that they serve.",
                                        "SLOTS", "    Return the ranges of slots and who serves them.", NULL};
    return c->host->rings == NULL ? refuse_disabled(c) : call_reply_help(c, lines);
}

static enum err switch_run(struct call *c) {
    if (c->host->rings == NULL) {
        return refuse_disabled(c);
    }
    client_flag(c->client, CLIENT_READONLY, c->cmd->row->name[4] == 'o');
    reply_ok(c->out);
    return OK;
}

static enum err asking_run(struct call *c) {
    if (c->host->rings == NULL) {
        return refuse_disabled(c);
    }
    reply_ok(c->out);
    return OK;
}

#define ROW(nm, args, n, fl, fn, ver, order, text, hint) \
    {.name = nm, .syntax = args, .arity = n, .flags = CMD_STALE | (fl), .run = fn, .since = ver, .cost = order, .summary = text, .tips = hint}
#define ASKS(nm, args, n, fn, ver, text) ROW(nm, args, n, 0, fn, ver, "O(1)", text, NULL)
#define TELLS(nm, args, n, fl, fn, ver, text) ROW(nm, args, n, fl, fn, ver, "O(N) for N nodes", text, "nondeterministic_output")
#define CHANGES(nm, args, n, fn, ver, text) ROW(nm, args, n, CMD_ADMIN | CMD_NO_ASYNC_LOADING, fn, ver, "O(1)", text, NULL)
#define BY_HAND "Refused: the ring places slots."

static const struct command cluster_subs[] = {
    CHANGES("addslots", "slot [slot ...]", -3, by_ring_run, "3.0.0", BY_HAND),
    CHANGES("addslotsrange", "start-slot end-slot [start-slot end-slot ...]", -4, by_ring_run, "7.0.0", BY_HAND),
    ROW("bumpepoch", "", 2, CMD_ADMIN | CMD_NO_ASYNC_LOADING, by_ring_run, "3.0.0", "O(1)", BY_HAND, "nondeterministic_output"),
    TELLS("count-failure-reports", "node-id", 3, CMD_ADMIN, zero_run, "3.0.0", "Returns 0: reports are not counted but agreed upon."),
    ROW("countkeysinslot", "slot", 3, CMD_WHOLE, countkeysinslot_run, "3.0.0", "O(N) for all keys in memory, in slices",
        "Counts the keys of a slot that are in this node's memory.", NULL),
    CHANGES("delslots", "slot [slot ...]", -3, by_ring_run, "3.0.0", BY_HAND),
    CHANGES("delslotsrange", "start-slot end-slot [start-slot end-slot ...]", -4, by_ring_run, "7.0.0", BY_HAND),
    CHANGES("failover", "[FORCE | TAKEOVER]", -2, by_ring_run, "3.0.0", BY_HAND),
    CHANGES("flushslots", "", 2, by_ring_run, "3.0.0", BY_HAND),
    CHANGES("forget", "node-id", 3, forget_run, "3.0.0", "Has all nodes forget a node."),
    ROW("getkeysinslot", "slot count", 4, CMD_WHOLE, getkeysinslot_run, "3.0.0", "O(N) for all keys in memory, in slices",
        "Returns keys of a slot that are in this node's memory.", "nondeterministic_output"),
    {.name = "give", .syntax = "key value", .arity = 4, .keys = "2:N", .flags = CMD_WRITE | CMD_DENYOOM | CMD_NOSCRIPT | CMD_NO_MULTI, .run = cluster_give_run,
     .since = "7.2.0", .cost = "O(N) for N bytes", .summary = "Of nodes to each other: hands a key to its next owner."},
    ROW("help", "", 2, CMD_LOADING, help_run, "5.0.0", "O(1)", "Lists the subcommands.", NULL),
    TELLS("info", "", 2, 0, info_run, "3.0.0", "Tells how the cluster is."),
    ASKS("keyslot", "key", 3, keyslot_run, "3.0.0", "Returns the slot of a key."),
    CHANGES("leave", "", 2, leave_run, "7.2.0", "Takes this node out of the ring; it goes on answering."),
    TELLS("links", "", 2, 0, no_replicas_run, "7.0.0", "Returns nothing: links belong to threads here, see INFO peers."),
    CHANGES("meet", "ip port [cluster-bus-port]", -4, meet_run, "3.0.0", "Joins the cluster of the node at that address."),
    ASKS("myid", "", 2, myid_run, "3.0.0", "Returns the id of this node."),
    ASKS("myshardid", "", 2, myid_run, "7.2.0", "Returns the id of this node, which is a shard of its own."),
    TELLS("nodes", "", 2, 0, nodes_run, "3.0.0", "Returns the nodes, one a line."),
    TELLS("replicas", "node-id", 3, CMD_ADMIN, no_replicas_run, "5.0.0", "Returns nothing: there are no replicas."),
    CHANGES("replicate", "node-id", 3, by_ring_run, "3.0.0", BY_HAND),
    ROW("reset", "[HARD | SOFT]", -2, CMD_ADMIN | CMD_NOSCRIPT, by_ring_run, "3.0.0", "O(1)", "Refused: see CLUSTER LEAVE.", NULL),
    CHANGES("saveconfig", "", 2, by_ring_run, "3.0.0", BY_HAND),
    CHANGES("set-config-epoch", "config-epoch", 3, by_ring_run, "3.0.0", BY_HAND),
    CHANGES("setslot", "slot IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE", -4, by_ring_run, "3.0.0", BY_HAND),
    TELLS("shards", "", 2, 0, shards_run, "7.0.0", "Returns the nodes and the slots that they serve."),
    TELLS("slaves", "node-id", 3, CMD_ADMIN, no_replicas_run, "3.0.0", "Returns nothing: there are no replicas."),
    TELLS("slots", "", 2, 0, slots_run, "3.0.0", "Returns the ranges of slots and who serves them."),
    {.name = "take", .syntax = "key", .arity = 3, .keys = "2:RW", .flags = CMD_WRITE | CMD_NOSCRIPT | CMD_NO_MULTI, .run = cluster_take_run,
     .since = "7.2.0", .cost = "O(N) for N bytes", .summary = "Of nodes to each other: asks the owner before for a key that has moved."},
    {0}};

#define SWITCH(nm, fl, fn, text) \
    {.name = nm, .syntax = "", .arity = 1, .flags = CMD_FAST | CMD_CONNECTION | (fl), .run = fn, .since = "3.0.0", .cost = "O(1)", .summary = text}

const struct command cluster_commands[] = {
    SWITCH("asking", 0, asking_run, "Does nothing: slots do not move from hand to hand."),
    {.name = "cluster", .syntax = "subcommand [argument ...]", .arity = -2, .sub = cluster_subs, .flags = 0, .since = "3.0.0",
     .cost = "Depends on the subcommand.", .summary = "Tells about the cluster."},
    SWITCH("readonly", CMD_LOADING | CMD_STALE, switch_run, "Does nothing: there are no replicas to read from."),
    SWITCH("readwrite", CMD_LOADING | CMD_STALE, switch_run, "Does nothing: there are no replicas to read from."),
    {0}};
