/* SPDX-License-Identifier: BSD-3-Clause */
/* node_id: the name a node keeps for life, the lot it has taken under it (cluster/ring.h), and the other nodes it knows, each in a file. */
#pragma once

#include <stdbool.h>

struct buf;
struct member_record;

/* Reads 40 hexadecimal digits from the file, or makes them and the file, durably. id: 41 bytes. False with the reason in err. */
bool node_id_load(const char *path, char *id, struct buf *err);
/* Reads what node_lot_keep has written for this id: *lot, or -1 when there is none, or one of another id. False with the reason in err. */
bool node_lot_load(const char *path, const char *id, int *lot, struct buf *err);
/* Writes it, durably. May block. False with the reason in err. */
bool node_lot_keep(const char *path, const char *id, unsigned lot, struct buf *err);
/* Reads what node_peers_keep has written for this id: the number of records, which are the caller's to mem_free; 0 with *list NULL when there is no
 * file, or one of another id. -1 with the reason in err. */
int node_peers_load(const char *path, const char *id, struct member_record **list, struct buf *err);
/* Writes which other nodes there are, durably: addresses, weights, lots and incarnations. May block. False with the reason in err. */
bool node_peers_keep(const char *path, const char *id, const struct member_record *list, unsigned n, struct buf *err);
