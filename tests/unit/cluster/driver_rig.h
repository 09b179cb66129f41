/* SPDX-License-Identifier: BSD-3-Clause */
/* driver_rig: a driver under test, and what it has found. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "cluster/driver.h"
#include "src/stats/conns.h"

enum { RIG_MAX = 64 };

struct driver_rig {
    struct driver *driver;
    struct conns conns;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct node_addr list[RIG_MAX];
    unsigned n, reports;
    bool authoritative, has_self;
    struct node_addr self;
};

/* Starts the driver that the directives choose (name, value, ..., NULL), with an id of 40 times that digit, at port. */
void rig_start(struct driver_rig *rig, char digit, int port, const char *const *directives);
void rig_stop(struct driver_rig *rig);
/* Waits until the last report is just these ports; false after a minute. */
bool rig_waits_for(struct driver_rig *rig, const int *ports, unsigned n);
