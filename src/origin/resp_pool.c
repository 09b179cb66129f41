/* SPDX-License-Identifier: BSD-3-Clause */
/* resp_pool: the least loaded of a few resp_clients. */
#include "src/origin/resp_pool.h"

#include "src/base/hash.h"
#include "src/base/mem.h"

struct resp_pool {
    int n;
    struct resp_client *clients[];
};

struct resp_pool *resp_pool_create(const struct resp_client_options *options, int connections) {
    struct resp_pool *p = mem_zalloc(sizeof(*p) + (size_t)connections * sizeof(struct resp_client *));
    p->n = connections;
    for (int i = 0; i < p->n; i++) {
        p->clients[i] = resp_client_create(options);
    }
    return p;
}

void resp_pool_destroy(struct resp_pool **pp) {
    struct resp_pool *p = *pp;
    *pp = NULL;
    for (int i = 0; i < p->n; i++) {
        resp_client_destroy(&p->clients[i]);
    }
    mem_free(p);
}

const char *resp_pool_send(struct resp_pool *p, struct resp_request *r) {
    struct resp_client *best = NULL;
    for (int i = 0; i < p->n; i++) {
        struct resp_client *c = p->clients[i];
        if (!resp_client_is_down(c) && (best == NULL || resp_client_load(c) < resp_client_load(best))) {
            best = c;
        }
    }
    return resp_send(best != NULL ? best : p->clients[0], r);
}

const char *resp_pool_send_of(struct resp_pool *p, struct slice key, struct resp_request *r) {
    struct resp_client *c = p->clients[hash_bytes(key.p, key.n) % (unsigned)p->n];
    return resp_client_is_down(c) ? resp_pool_send(p, r) : resp_send(c, r);
}

size_t resp_pool_load(const struct resp_pool *p) {
    size_t load = 0;
    for (int i = 0; i < p->n; i++) {
        load += resp_client_load(p->clients[i]);
    }
    return load;
}
