/* SPDX-License-Identifier: BSD-3-Clause */
/* topk: the heaviest keys of a stream in bounded memory (HeavyKeeper, Gong et al., ATC 2018): a small sketch whose cells a mismatching
 * key wears down with a chance that falls with what the cell holds, and a list of the best with their names. What a key is said
 * to weigh is never more than what it weighed, but for keys of one 20-bit fingerprint and place. One owner at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"

struct key;
struct topk;

enum {
    TOPK_KEEP = 64,      /* keys in the list */
    TOPK_NAME_MAX = 512  /* bytes of a name that are kept; of a longer key, its beginning */
};

struct topk_item {
    uint64_t hash, weight;
    uint8_t db;       /* physical */
    struct slice name; /* the owner's: valid until its next change */
    bool cut;         /* the key is longer than that */
};

struct topk *topk_create(void);
void topk_destroy(struct topk **t);
/* The key weighed so much more (0 is as 1). */
void topk_add(struct topk *t, const struct key *key, uint32_t weight);
/* What the sketch knows of a key; 0 when nothing. */
uint64_t topk_weight(const struct topk *t, uint64_t hash);
/* Everything weighs half: old times fade. */
void topk_halve(struct topk *t);
void topk_clear(struct topk *t);
/* The list, heaviest first, at most max; returns how many. */
unsigned topk_list(const struct topk *t, struct topk_item *out, unsigned max);
/* Sum of all weights, halved alike. */
uint64_t topk_total(const struct topk *t);
/* Memory of one, without names. */
size_t topk_bytes(void);
