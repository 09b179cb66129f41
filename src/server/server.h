/* SPDX-License-Identifier: BSD-3-Clause */
/* server: everything one process has, built and taken down by boot.c in one visible order. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/cmd/host.h"
#include "src/tier/tier.h"

struct cluster;
struct handover;
struct conf;
struct disk;
struct http;
struct listener;
struct import;
struct origins;
struct health;
struct preheat;
struct chronicle;
struct profile;
struct purge_log;
struct warm;
struct worker;

enum { MAX_LISTENERS = 32 };

struct server {
    struct host host; /* first: a host is its server */

    /* fixed after boot */
    struct tier tier;
    struct warm *warm; /* NULL without a disk tier */
    struct preheat *preheat; /* WARM */
    struct import *import;   /* IMPORT */
    struct profile *profile; /* DEBUG PROFILE; NULL in tests without threads */
    struct health *health;   /* NULL likewise */
    struct disk *disk; /* the disk tier, NULL without */
    struct cluster *cluster; /* NULL without */
    struct handover *handover; /* likewise */
    struct origins *origins; /* NULL when there is none */
    struct purge_log *purge_log; /* NULL without a disk tier */
    struct chronicle *chronicle;
    struct http *http; /* NULL when http-port is 0 or was taken */
    struct worker **workers; /* host.loop_count of them */
    struct listener *listeners[MAX_LISTENERS];
    unsigned listener_count;
    bool bound_by_choice; /* a bind directive was given: protected mode trusts it */

    /* worker 0 only */
    struct {
        int64_t at_us;
        uint64_t ops, in, out;
    } rates; /* at the last sample */
    int64_t looked_us, second_us; /* when the cron last did what it does each tenth, and each second */
    int64_t cron_period_ms;
    struct {
        uint64_t reads;
        size_t bytes;
    } seen; /* at its last run */
    int64_t l1_limit; /* live bytes the memory tier may hold: see cron.c */
    struct {
        size_t rss, held;
        int64_t at_us;
    } asked; /* when the allocator was last asked what it has, and what there was then */

    /* atomic */
    _Atomic uint64_t conf_version;    /* counts CONFIG SETs: workers refresh their snapshot */
    _Atomic int64_t pause_until_ms;   /* CLIENT PAUSE; 0 none */
    _Atomic bool pause_writes_only;
    _Atomic unsigned next_worker;     /* round robin of accepted connections */
    _Atomic int exit_code;
    _Atomic unsigned running_workers; /* still draining at shutdown */
    bool failed;                      /* worker 0: the process ends because it must not run */
    _Atomic int shutdown_save;        /* save at exit: -1 by the save points, 0 no, 1 yes */
};

static inline struct server *server_of(struct host *h) {
    return (struct server *)h;
}

/* clients.c, txn.c, save.c, shutdown.c: the host's operations. */
extern const struct host_ops server_ops;

/* boot.c: limits, policy, log level and the like as the current configuration says. Any thread. */
void server_apply_conf(struct server *srv);

enum { SERVER_CRON_MS = 100 };
/* cron.c: worker 0 calls it that often, less often while nothing happens. */
void server_cron(struct server *srv);

/* shutdown.c: begins the drain; safe from any loop, and twice. */
void server_begin_shutdown(struct server *srv);
