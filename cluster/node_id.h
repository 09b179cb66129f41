/* SPDX-License-Identifier: BSD-3-Clause */
/* node_id: the name a node keeps for life, in a file. */
#pragma once

#include <stdbool.h>

struct buf;

/* Reads 40 hexadecimal digits from the file, or makes them and the file, durably. id: 41 bytes. False with the reason in err. */
bool node_id_load(const char *path, char *id, struct buf *err);
