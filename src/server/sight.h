/* SPDX-License-Identifier: BSD-3-Clause */
/* sight: what the server says of itself, for whoever renders it: Prometheus text, JSON, INFO, CACHE STATS. The cron notes the
 * history and the windows of the hit rates; everything else is read when it is asked.
 *
 * Rendering takes each shard's lock for a moment, as INFO does, and never waits for an event loop; no event loop waits for it:
 * the cron tries the lock HISTORY and comes back later. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/stats/tiers.h"
#include "src/stats/window.h"

struct server;
struct chronicle;

struct chronicle *chronicle_create(struct server *srv);
void chronicle_destroy(struct chronicle **s);
/* The cron, worker 0: notes what a second has brought, when one has passed. now_ms: wall clock. */
void chronicle_tick(struct chronicle *s, int64_t now_ms);

/* Appends the text of /metrics: Prometheus's text format 0.0.4. Any thread but one that holds a lock. */
void sight_prom(struct server *srv, struct buf *out);
/* Appends the object of /api/stats: docs/api.md. The same. */
void sight_json(struct server *srv, struct buf *out);
/* Appends only {"history":{...}}: the last four hours in steps of ten seconds. The same. */
void sight_json_long(struct server *srv, struct buf *out);
/* Whether clients can be served as they should: false with the reasons, one a line, in why. Any thread. */
bool sight_ready(struct server *srv, struct buf *why);

/* The tiers' numbers, and their hit rates of late. The same. */
void sight_tiers(struct server *srv, struct tier_numbers tiers[STAT_TIERS]);
struct hits sight_window(struct server *srv, enum stat_tier tier, enum window_span span);
/* Hits and misses of a command (by its id) or of a policy's statistics of late. The same. */
struct rule_stats;
struct hits sight_command_window(struct server *srv, unsigned id, enum window_span span);
struct hits sight_rule_window(struct server *srv, const struct rule_stats *rule, enum window_span span);
/* Appends the lines of INFO tiers that come from the table. The same. */
void sight_tier_lines(struct server *srv, struct buf *out);
