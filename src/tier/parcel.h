/* SPDX-License-Identifier: BSD-3-Clause */
/* parcel: a key's value as one node hands it to another:
 *
 *   remaining life i64 milliseconds, -1 none | raw u8 | extra's length u8 | extra | DUMP payload
 *
 * A life and not a deadline: clocks differ. extra is what guards noted, but for its stamp, which is each node's own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/iface/item.h"
#include "src/iface/source.h"

struct hash_limits;

/* Appends item's parcel. False: it cannot be handed over, or there is no memory; b is as before. */
bool parcel_put(struct buf *b, const struct item_view *item, int64_t now_ms);
/* stamp: the last purge here (tier_last_purge) when the other node was asked. False: no parcel; out is empty. */
bool parcel_get(struct slice bytes, const struct hash_limits *limits, int64_t now_ms, uint32_t stamp, struct found *out);
