/* SPDX-License-Identifier: BSD-3-Clause */
/* sink: who must hear of a changed key (disk, holders of copies, an origin), as the tier sees it. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/hash.h"
#include "src/iface/item.h"

struct loop;

enum sink_change { SINK_SET, SINK_DEL, SINK_EXPIRE };

/* A caller that must not answer before the sink has the change safe. */
struct sink_ack {
    struct loop *loop;
    /* Called once for every change that returned SINK_WAIT, on any thread. */
    void (*done)(struct sink_ack *ack);
    /* Before done, when an origin did not take the change: the reply becomes the first such error. The texts are the caller's. Any
     * thread. */
    void (*failed)(struct sink_ack *ack, const char *origin, const char *error);
};

/* What a sink made of a change; may be joined. */
enum sink_result {
    SINK_DONE = 0,
    SINK_WAIT = 1, /* ack->done will be called and the reply must wait */
    SINK_SAME = 2  /* the sink's tier now has this very value: evicting it needs no write */
};

struct eviction {
    bool alone; /* no tier below has an older version either */
    bool read;  /* since it was written */
};

struct sink {
    const char *name;
    void *ctx;
    bool every_change; /* changed is called also for keys no tier below has */
    bool acks;         /* changed may return SINK_WAIT */
    _Atomic bool pressed; /* what is on its way to it is near its bound: writers had better wait a little */
    /* Called with the key's shard locked, so that one key's changes arrive in order: must only enqueue. item is NULL for
     * SINK_DEL. ack is NULL when the sink has no acks. */
    unsigned (*changed)(struct sink *s, enum sink_change change, const struct key *key, const struct item_view *item,
                        int64_t now_ms, struct sink_ack *ack);
    /* An item is leaving memory and no tier below has this value: the last chance to keep it. Whether it will. Shard locked. May be
     * NULL. */
    bool (*evicted)(struct sink *s, const struct key *key, const struct item_view *item, const struct eviction *e);
    /* False: evicted would never take such an item, it is too large. Any thread, a shard locked; brief. NULL: no bound. */
    bool (*fits)(struct sink *s, const struct item_view *item);
    /* FLUSHDB, FLUSHALL, SWAPDB: logical database i is now physical number map[i]; emptied has a bit for each logical
     * one whose number is to be seen as new. Every shard locked. May be NULL. */
    void (*mapped)(struct sink *s, const uint8_t *map, uint64_t emptied);
    /* What mapped has told survives a power loss when it returns. Blocks. NULL when the sink has no acks. */
    void (*sync)(struct sink *s);
};
