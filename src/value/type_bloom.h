/* SPDX-License-Identifier: BSD-3-Clause */
/* type_bloom: a Bloom filter's body in RDB: that of RedisBloom's type, so that a Redis with that module loads it, and the other way
 * round. What rdb.c needs of it. */
#pragma once

#include <stdbool.h>

#include "src/value/rdb.h"

/* Appends it. Another thread may add to the filter meanwhile: what was added before is written. */
void bloom_put_body(struct buf *b, const struct bloom *bloom);
/* At most so many bytes, when nothing is added. */
size_t bloom_body_bound(const struct bloom *bloom);
/* Whether the body of a module's value that r is at is one, as far as it is there; r stays there. */
bool bloom_is_next(const struct rdb_reader *r);
/* The body of a module's value into *value, when it is a Bloom filter; scratch is emptied first. */
bool bloom_get_body(struct rdb_reader *r, struct buf *scratch, struct value **value);
