/* SPDX-License-Identifier: BSD-3-Clause */
/* driver: where the addresses of nodes come from. A driver is one file and one row of drivers.def; it runs on a thread of its own, where it may
 * block, and says what it has found whenever that changes. */
#pragma once

#include <stdbool.h>

#include "cluster/node_addr.h"

struct buf;
struct conf;
struct conns;
struct driver;

struct driver_hooks {
    void *ctx;
    /* Where nodes may be, as of now; borrowed. authoritative: what is not listed is no node any more. self: which of them this node is, or where
     * others reach it; NULL: it could not be told. On the driver's thread. */
    void (*found)(void *ctx, const struct node_addr *list, unsigned n, bool authoritative, const struct node_addr *self);
};

/* One row of drivers.def. */
struct driver_kind {
    const char *name;
    void (*run)(struct driver *d); /* until driver_wait says no */
    /* Whoever made driver_wait say no wants run to return from whatever it waits in, too. Any thread; may be NULL. */
    void (*wake)(struct driver *d);
    const char *doc;
};

struct driver_options {
    const struct conf *conf; /* a reference is taken */
    char id[NODE_ID_HEX + 1];
    struct node_addr addr; /* host "" when it is not known */
    struct driver_hooks hooks;
    struct conns *conns; /* where connections that the driver keeps are counted; outlives it */
};

/* Begins. */
struct driver *driver_start(const struct driver_options *o);
/* Ends it and waits for that: as long as what it is blocked in. */
void driver_stop(struct driver **d);
/* NULL behind the last. In the order of the choices of cluster-driver. */
const struct driver_kind *driver_kind(unsigned i);

/* ---- for drivers ---- */

struct driver {
    struct driver_options o;
    const struct driver_kind *kind;
    struct driver_wait *wait;
    void *state; /* of the kind */
};

/* Waits so long, or until the end; false at the end. */
bool driver_wait(struct driver *d, int64_t ms);
bool driver_ends(const struct driver *d);
/* What `wake` finds in d->state; NULL before the thing goes. */
void driver_set_state(struct driver *d, void *state);
/* This node's address among them: one of an interface of this machine, with this node's ports. Looks names up. NULL: none. */
const struct node_addr *driver_own(const struct driver *d, const struct node_addr *list, unsigned n);

void driver_static_run(struct driver *d);
void driver_dns_run(struct driver *d);
void driver_etcd_run(struct driver *d);
void driver_etcd_wake(struct driver *d);
