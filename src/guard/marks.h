/* SPDX-License-Identifier: BSD-3-Clause */
/* marks: what is known for a while of keys that have no value: that the origin does not know them, that loading them failed,
 * or that waiting for somebody else's load of them is in vain.
 *
 * A table of fixed size, four marks to a cache line; a fifth takes the place of the one that ends first. So keys nobody has
 * cost 16 bytes each, of memory that is theirs, and cannot push out values, however many there are. A key is known by its
 * 64-bit hash (of name and database, seeded per process): a stranger with the same one is taken for it, once in 2^64.
 *
 * A line belongs to one shard of the memory tier, whose lock guards it. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum mark {
    MARK_NONE,
    MARK_ABSENT, /* the origin says there is no such key */
    MARK_FAILED, /* loading it failed a moment ago */
    MARK_ALONE   /* its lease was not filled: nobody waits for it */
};

struct marks;

/* Room for at least so many, in at least so many lines as there are shards (a power of two). */
struct marks *marks_create(size_t capacity, unsigned shards);
void marks_destroy(struct marks **m);
/* Shard of the hash locked. Replaces the key's mark. */
void marks_put(struct marks *m, uint64_t hash, enum mark mark, int64_t until_ms);
enum mark marks_get(const struct marks *m, uint64_t hash, int64_t now_ms);
/* The key was written. */
void marks_drop(struct marks *m, uint64_t hash);
/* FLUSHALL and the like: all shards locked. */
void marks_clear(struct marks *m);
/* Marks in the table, those that have ended since among them; and bytes. No lock. */
size_t marks_count(const struct marks *m);
size_t marks_bytes(const struct marks *m);
