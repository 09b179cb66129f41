/* SPDX-License-Identifier: BSD-3-Clause */
/* save: the keyspace as an RDB file, written shard by shard under short locks, without fork; and read back at start. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/err.h"

struct call;
struct conf;
struct server;

/* Host operations: SAVE, BGSAVE; DEBUG RELOAD. */
enum err save_command(struct call *c, bool background);
enum err save_reload(struct call *c, bool nosave, bool noflush);
/* Writes the file on the calling thread. False when it could not (logged). */
bool save_now(struct server *srv);
/* Begins a background save when a save point is reached. */
void save_by_points(struct server *srv, const struct conf *conf, int64_t now_ms);
/* Reads the file if there is one. False when it is there and cannot be read: err says where and why, and nothing of it
 * has been kept. */
bool save_load(struct server *srv, struct buf *err);
