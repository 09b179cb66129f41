/* SPDX-License-Identifier: BSD-3-Clause */
/* write: changes on their way to the origins of their keys, as the option `write` of a policy says.
 *
 *   change made in memory --> waiting --> flying --> the origin has it, or not
 *                              (newest)    (one)
 *
 * Of each key at most one change flies, and at most one waits: the newest, which is the whole value and so makes up for those it
 * replaces. So an origin sees a key's changes in the order they were made, some left out, the last never. Keys go side by side.
 *
 * While a change is on its way no load may bring the origin's older value back: a read that misses memory gets what is on its way
 * (write_look), refreshes do not begin, and loads that had begun before are overtaken. In memory a new value is seen at once. What is
 * only there because a change is on its way stays off the disk until the origin has it.
 *
 * In the end:    taken                      refused, failed
 *   through      the value stays            it goes from every tier
 *   around       it goes from every tier    it goes from every tier
 *   back         the value stays            it is sent again, until it is taken
 *
 * A caller's reply waits for the end of the change it made, or of the one that replaced it. With back it waits only until the change is
 * in the log (persist/write_log.h); what else is written to a key before the origin has such a change, is sent again like it.
 *
 * Changes of back go in lanes, one per origin: ready, in the order in which keys came, some of them flying. When the origin fails, its
 * lane rests, for twice as long each time; when it refuses one change and is well otherwise, that key rests alone.
 *
 * All changes together take at most a number of bytes; beyond that write_refuses says so before a call has run. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/hash.h"
#include "src/iface/sink.h"
#include "src/iface/source.h"

struct hash_limits;
struct rule;
struct rules;
struct tier;
struct writes;

struct writes *writes_create(struct tier *t, size_t limit_bytes);
/* Nothing flies any more: every origin has been closed. */
void writes_destroy(struct writes **w);
/* Before the first change: what the log in dir has is on its way again. find: the origin of that name, or NULL. False with the
 * reason. Without it, changes of back are as lasting as the process. */
bool writes_open_log(struct writes *w, const char *dir, const struct hash_limits *limits, void *(*find)(void *ctx, struct slice origin),
                     void *ctx, struct buf *err);
/* Before the origins are closed: what they fail from now on is not sent again. Any thread. */
void writes_stop(struct writes *w);
/* After they were: the log is whole. */
void writes_close_log(struct writes *w);
/* Now and then, about ten times a second: what has rested is sent. Any thread. */
void writes_tick(struct writes *w);
void writes_set_limit(struct writes *w, size_t limit_bytes);

/* Why a call that may change a key under the rule must not run now: static text; NULL: it may. */
const char *write_refuses(struct writes *w, const struct rule *rule);
/* The key has just been changed in memory, and rule says that its origin is to have it. ack->done will be called once, before that
 * ack->failed if the origin did not take it. Shard locked; before the sinks are told. */
void write_changed(struct writes *w, const struct rule *rule, struct rules *rules, const struct key *key, unsigned loop_id,
                   int64_t now_ms, struct sink_ack *ack);

/* The newest change on its way: FOUND, a value (into out, the asker's); ABSENT, the key is gone; UNKNOWN, there is none. Any thread. */
enum probe_result write_look(struct writes *w, const struct key *key, struct found *out);
/* Whether the key's value is in memory only until its origin has answered. Any thread. */
bool write_keeps_off(struct writes *w, const struct key *key);
bool write_on_its_way(struct writes *w, const struct key *key);

/* Lines of INFO. Any thread. */
void writes_info(struct writes *w, struct buf *out);
