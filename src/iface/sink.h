/* SPDX-License-Identifier: BSD-3-Clause */
/* sink: who must hear of a changed key (disk, holders of copies, an origin), as the tier sees it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/hash.h"

struct item_view;
struct loop;

enum sink_change { SINK_SET, SINK_DEL, SINK_EXPIRE, SINK_FLUSH_DB, SINK_FLUSH_ALL };

/* A caller that must not answer before the sink has the change safe. */
struct sink_ack {
    struct loop *loop;
    /* Called once for every change that returned true, on any thread. */
    void (*done)(struct sink_ack *ack);
};

struct sink {
    const char *name;
    void *ctx;
    /* Called with the key's shard locked, so that one key's changes arrive in order: must only enqueue.
     * item is NULL for SINK_DEL. Returns true when ack->done will be called and the reply must wait. */
    bool (*changed)(struct sink *s, enum sink_change change, const struct key *key,
                    const struct item_view *item, struct sink_ack *ack);
};
