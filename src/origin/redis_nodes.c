/* SPDX-License-Identifier: BSD-3-Clause */
/* redis_nodes: a small array of nodes, and a byte per slot that says which. */
#include "src/origin/redis_nodes.h"

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/base/num.h"
#include "src/origin/resp_pool.h"

enum { NODES_MAX = 128, SLOTS = 16384, REFRESH_US = 1000000, HOST_BYTES = 256 };

struct redis_node {
    char *host;
    int port, index;
    struct resp_pool *pool;
};

struct redis_nodes {
    struct resp_client_options options;
    int connections;
    struct redis_node *nodes[NODES_MAX]; /* [0] is the first, and stays */
    uint8_t *slots;                      /* indices; NULL: not a cluster */
    struct resp_request refresh;         /* CLUSTER SLOTS */
    struct redis_node *asked;            /* who has been; NULL: nobody now */
    int64_t refresh_after_us;
};

/* ---- nodes ---- */

static struct redis_node *node_create(struct redis_nodes *n, const char *host, int port, int index) {
    struct redis_node *node = mem_zalloc(sizeof(*node));
    struct resp_client_options options = n->options;
    options.host = host;
    options.port = port;
    node->host = mem_strdup(host);
    node->port = port;
    node->index = index;
    node->pool = resp_pool_create(&options, n->connections);
    return n->nodes[index] = node;
}

static void node_free(struct redis_nodes *n, struct redis_node *node) {
    n->nodes[node->index] = NULL;
    resp_pool_destroy(&node->pool);
    mem_free(node->host);
    mem_free(node);
}

struct redis_nodes *redis_nodes_create(const struct resp_client_options *options, int connections) {
    struct redis_nodes *n = mem_zalloc(sizeof(*n));
    n->options = *options;
    n->connections = connections;
    node_create(n, options->host, options->port, 0);
    return n;
}

void redis_nodes_destroy(struct redis_nodes **np) {
    struct redis_nodes *n = *np;
    *np = NULL;
    for (int i = 0; i < NODES_MAX; i++) {
        if (n->nodes[i] != NULL) {
            node_free(n, n->nodes[i]);
        }
    }
    buf_free(&n->refresh.bytes);
    mem_free(n->slots);
    mem_free(n);
}

struct redis_node *redis_nodes_of(struct redis_nodes *n, struct slice key) {
    return n->nodes[n->slots != NULL ? n->slots[hash_slot(key)] : 0];
}

const char *redis_node_send(struct redis_node *node, struct resp_request *r) {
    return resp_pool_send(node->pool, r);
}

const char *redis_node_send_of(struct redis_node *node, struct slice key, struct resp_request *r) {
    return resp_pool_send_of(node->pool, key, r);
}

/* Lets go of the nodes that have no slot and owe nothing; the one that is telling us something stays. */
static void forget_unused(struct redis_nodes *n, const struct redis_node *from) {
    bool used[NODES_MAX] = {true};
    for (int i = 0; n->slots != NULL && i < SLOTS; i++) {
        used[n->slots[i]] = true;
    }
    for (int i = 0; i < NODES_MAX; i++) {
        struct redis_node *node = n->nodes[i];
        if (node != NULL && !used[i] && node != from && node != n->asked && resp_pool_load(node->pool) == 0) {
            node_free(n, node);
        }
    }
}

static int free_index(const struct redis_nodes *n) {
    for (int i = 0; i < NODES_MAX; i++) {
        if (n->nodes[i] == NULL) {
            return i;
        }
    }
    return -1;
}

/* The node of that address, new or known. No host means that of the node that says so. */
static struct redis_node *node_get(struct redis_nodes *n, const struct redis_node *from, struct slice name, int64_t port) {
    char host[HOST_BYTES];
    if (name.n == 0 || slice_eq(name, SLICE("?"))) {
        name = slice_cstr(from->host);
    }
    if (name.n >= sizeof(host) || memchr(name.p, '\0', name.n) != NULL || port < 1 || port > 65535) {
        return NULL;
    }
    memcpy(host, name.p, name.n);
    host[name.n] = '\0';
    for (int i = 0; i < NODES_MAX; i++) {
        if (n->nodes[i] != NULL && n->nodes[i]->port == port && strcmp(n->nodes[i]->host, host) == 0) {
            return n->nodes[i];
        }
    }
    int index = free_index(n);
    if (index < 0) {
        forget_unused(n, from);
        index = free_index(n);
    }
    return index < 0 ? NULL : node_create(n, host, (int)port, index);
}

/* ---- slots ---- */

/* [first, last, [host, port, ...], replicas...] */
static void learn_range(struct redis_nodes *n, const struct redis_node *from, const struct reply *range) {
    if (range->kind != REPLY_ARRAY || range->n < 3 || range->items[0].kind != REPLY_INT ||
        range->items[1].kind != REPLY_INT || range->items[2].kind != REPLY_ARRAY || range->items[2].n < 2) {
        return;
    }
    int64_t first = range->items[0].integer, last = range->items[1].integer;
    const struct reply *master = range->items[2].items;
    struct slice host = master[0].kind == REPLY_BULK ? master[0].str : slice_make("", 0);
    struct redis_node *node = master[1].kind == REPLY_INT ? node_get(n, from, host, master[1].integer) : NULL;
    if (node != NULL && first >= 0 && first <= last && last < SLOTS) {
        memset(n->slots + first, node->index, (size_t)(last - first + 1));
    }
}

static void refresh_reply(struct resp_request *r, int index, const struct reply *reply) {
    struct redis_nodes *n = (struct redis_nodes *)(void *)((char *)r - offsetof(struct redis_nodes, refresh));
    struct redis_node *from = n->asked;
    (void)index;
    for (uint32_t i = 0; reply->kind == REPLY_ARRAY && i < reply->n; i++) {
        learn_range(n, from, &reply->items[i]);
    }
    n->asked = NULL;
}

static void refresh_failed(struct resp_request *r, enum resp_failure failure, const char *error) {
    struct redis_nodes *n = (struct redis_nodes *)(void *)((char *)r - offsetof(struct redis_nodes, refresh));
    (void)failure;
    (void)error;
    n->asked = NULL;
}

/* Asks a node for the table, once a second at most. */
static void refresh(struct redis_nodes *n, struct redis_node *node) {
    static const struct slice argv[2] = {{"CLUSTER", 7}, {"SLOTS", 5}};
    int64_t now = clock_mono_us();
    if (n->asked != NULL || now < n->refresh_after_us) {
        return;
    }
    n->refresh_after_us = now + REFRESH_US;
    n->refresh.commands = 1;
    n->refresh.reply = refresh_reply;
    n->refresh.failed = refresh_failed;
    buf_clear(&n->refresh.bytes);
    if (resp_put(&n->refresh.bytes, argv, 2) && redis_node_send(node, &n->refresh) == NULL) {
        n->asked = node;
    }
}

void redis_nodes_failed(struct redis_nodes *n, struct redis_node *node) {
    if (n->slots == NULL) {
        return;
    }
    for (int i = 1; i <= NODES_MAX; i++) { /* the next one, so that each gets its turn */
        struct redis_node *other = n->nodes[(node->index + i) % NODES_MAX];
        if (other != NULL && other != node) {
            refresh(n, other);
            return;
        }
    }
}

/* ---- redirections ---- */

static bool starts_with(struct slice s, const char *word) {
    size_t n = strlen(word);
    return s.n >= n && memcmp(s.p, word, n) == 0;
}

/* "3999 127.0.0.1:6381", and for IPv6 the last colon counts, too. */
static bool parse_target(struct slice s, int64_t *slot, struct slice *host, int64_t *port) {
    const char *space = memchr(s.p, ' ', s.n);
    const char *colon = memrchr(s.p, ':', s.n);
    if (space == NULL || colon == NULL || colon < space) {
        return false;
    }
    *host = slice_make(space + 1, (size_t)(colon - space - 1));
    return num_parse_i64(slice_make(s.p, (size_t)(space - s.p)), slot) && *slot >= 0 && *slot < SLOTS &&
           num_parse_i64(slice_make(colon + 1, (size_t)(s.p + s.n - colon - 1)), port);
}

enum redirect redis_nodes_redirect(struct redis_nodes *n, struct redis_node *from, struct slice error, struct redis_node **to) {
    bool moved = starts_with(error, "MOVED "), ask = starts_with(error, "ASK ");
    struct slice host;
    int64_t slot, port;
    *to = NULL;
    if (!moved && !ask) {
        return REDIRECT_NONE;
    }
    size_t head = moved ? 6 : 4;
    if (parse_target(slice_make(error.p + head, error.n - head), &slot, &host, &port)) {
        *to = node_get(n, from, host, port);
    }
    if (moved && *to != NULL) {
        if (n->slots == NULL) {
            n->slots = mem_zalloc(SLOTS);
        }
        n->slots[slot] = (uint8_t)(*to)->index;
        refresh(n, *to);
    }
    return moved ? REDIRECT_MOVED : REDIRECT_ASK;
}
