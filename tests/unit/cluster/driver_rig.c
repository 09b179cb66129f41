/* SPDX-License-Identifier: BSD-3-Clause */
/* driver_rig: a driver under test, and what it has found. */
#include "tests/unit/cluster/driver_rig.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "src/base/check.h"
#include "src/conf/conf.h"

enum { PATIENCE_S = 60, WORDS_MAX = 32 };

static void on_found(void *ctx, const struct node_addr *list, unsigned n, bool authoritative, const struct node_addr *self) {
    struct driver_rig *rig = ctx;
    CHECK(n <= RIG_MAX);
    pthread_mutex_lock(&rig->lock);
    memcpy(rig->list, list, n * sizeof(*list));
    rig->n = n;
    rig->reports++;
    rig->authoritative = authoritative;
    rig->has_self = self != NULL;
    rig->self = self != NULL ? *self : rig->self;
    pthread_cond_signal(&rig->changed);
    pthread_mutex_unlock(&rig->lock);
}

void rig_start(struct driver_rig *rig, char digit, int port, const char *const *directives) {
    const char *argv[WORDS_MAX] = {"", "--cluster-enabled", "yes", "--cluster-secret", "a secret of the tests"};
    int argc = 5;
    struct buf err = {0};
    for (; *directives != NULL; directives++) {
        CHECK(argc < WORDS_MAX);
        argv[argc++] = *directives;
    }
    struct conf_store *store = conf_load(argc, (char **)(uintptr_t)argv, NULL, &err);
    CHECK(store != NULL);
    struct conf *conf = conf_store_current(store);
    memset(rig, 0, sizeof(*rig));
    pthread_mutex_init(&rig->lock, NULL);
    pthread_cond_init(&rig->changed, NULL);
    struct driver_options o = {.conf = conf, .addr = {.port = (uint16_t)port, .bus_port = (uint16_t)(port + NODE_BUS_OFFSET)}, .hooks = {rig, on_found}, .conns = &rig->conns};
    memset(o.id, digit, NODE_ID_HEX);
    rig->driver = driver_start(&o);
    conf_unref(conf);
    conf_store_free(&store);
    buf_free(&err);
}

void rig_stop(struct driver_rig *rig) {
    driver_stop(&rig->driver);
    CHECK(STAT_GET(rig->conns.open) + STAT_GET(rig->conns.idle) == 0);
    pthread_mutex_destroy(&rig->lock);
    pthread_cond_destroy(&rig->changed);
}

static bool is_list(const struct driver_rig *rig, const int *ports, unsigned n) {
    unsigned found = 0;
    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = 0; k < rig->n; k++) {
            found += rig->list[k].port == ports[i];
        }
    }
    return rig->reports > 0 && rig->n == n && found == n;
}

bool rig_waits_for(struct driver_rig *rig, const int *ports, unsigned n) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&rig->lock);
    bool is = is_list(rig, ports, n);
    while (!is && pthread_cond_timedwait(&rig->changed, &rig->lock, &until) == 0) {
        is = is_list(rig, ports, n);
    }
    pthread_mutex_unlock(&rig->lock);
    return is;
}
