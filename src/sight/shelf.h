/* SPDX-License-Identifier: BSD-3-Clause */
/* shelf: a miniature of the disk tier: what memory evicts is put on it, behind what is there already, if the admission rule takes it;
 * when it is full its oldest quarter goes, as in the tier itself. It holds 12 bytes a key. One owner at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/sight/mini.h"

struct shelf;

enum shelf_rule { SHELF_ALL, SHELF_SECOND, SHELF_RANDOM };

/* most: keys beyond which the oldest go whatever their bytes. */
struct shelf *shelf_create(unsigned most);
void shelf_destroy(struct shelf **s);
/* Bytes of the tier that it stands for, times the share of keys. */
void shelf_set_limit(struct shelf *s, double bytes);
/* chance_ppm: of RANDOM. The rule applies while the shelf is nearly full. */
void shelf_set_rule(struct shelf *s, enum shelf_rule rule, uint32_t chance_ppm);
/* Whether the key is there and not past its deadline. */
bool shelf_has(const struct shelf *s, uint64_t hash, int64_t now_ms);
/* Memory has evicted the key; nothing happens when it is there. */
void shelf_put(struct shelf *s, const struct mini_access *a);
/* The key was changed: what is there is of no use. */
void shelf_drop(struct shelf *s, uint64_t hash);
void shelf_thin(struct shelf *s, uint32_t below);
unsigned shelf_items(const struct shelf *s);
/* The number of keys, not the bytes, has been the limit. */
bool shelf_is_short(const struct shelf *s);
size_t shelf_bytes(const struct shelf *s);
