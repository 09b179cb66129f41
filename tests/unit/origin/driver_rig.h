/* SPDX-License-Identifier: BSD-3-Clause */
/* driver_rig: one driver of an origin on a loop in the calling thread. It stands in for the core: the linker hands it every
 * request_end. */
#pragma once

#include "src/origin/origin.h"
#include "src/stats/conns.h"
#include "tests/unit/run_loop.h"

struct driver_rig {
    struct run_loop run;
    const struct origin_driver *driver;
    struct origin_options options;
    struct conns conns;
    void *self;
    bool closed;
};

struct ask {
    struct request r;
    bool ended, retry;
};

/* Defaults of options.def, but for times: connecting 500 ms, an attempt a second. */
void rig_options(struct driver_rig *rig);
/* After rig_options and what the test changes of them. */
void rig_open(struct driver_rig *rig, const struct origin_driver *driver, const char *url);
/* Closes the driver and CHECKs that its loop has nothing left, and that no connection is counted any more. */
void rig_close(struct driver_rig *rig);

/* What the driver says about a URL: NULL when it takes it. Static. */
const char *rig_refusal(const struct origin_driver *driver, const char *url);

void rig_start(struct driver_rig *rig, struct ask *a, enum request_kind kind, const char *key);
/* Runs until it has ended. */
void rig_wait(struct driver_rig *rig, struct ask *a);
/* Both, for LOAD; as text: the value, "(absent)", or "!" and the error. Static, until the next call. The request is freed. */
const char *rig_load(struct driver_rig *rig, const char *key);
/* Loads again and again until the key is found: true within ten seconds. How soon a lost server is dialled again is a matter of
 * chance. */
bool rig_recovers(struct driver_rig *rig, const char *key);
/* The time is over, as the core would say. */
void rig_cancel(struct driver_rig *rig, struct ask *a);
/* Sets an ordinary string or deletes; the result as with rig_load, "OK" when it went well. */
const char *rig_put(struct driver_rig *rig, const char *key, const char *value, int64_t ttl_ms);
const char *rig_del(struct driver_rig *rig, const char *key);
