/* SPDX-License-Identifier: BSD-3-Clause */
/* deadline: the arithmetic of lifetimes: jitter, pile-ups, early refresh. Pure but for the ring of a rule's statistics; any
 * thread. Times in milliseconds of the wall clock, handed in; randomness too. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/guard/rule.h"

/* What a deadline (past now) becomes under the rule: earlier by a random share of what is left, up to ttl-jitter; never later.
 * With `auto`, only when far more lifetimes end in its second than in others near it: then by up to a tenth. random: 64 bits. */
int64_t deadline_jittered(const struct rule *rule, int64_t expire_ms, int64_t now_ms, uint64_t random);

/* Optimal probabilistic early expiration (XFetch; Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede
 * Prevention, VLDB 2015), beta 1: whether this reader should refresh a value that took load_ms to make and has left_ms to
 * live. Never when load_ms is 0 (unknown). */
bool deadline_is_early(int64_t left_ms, uint32_t load_ms, uint64_t random);
