/* SPDX-License-Identifier: BSD-3-Clause */
/* dict: a hash table of field -> value byte strings for large hashes. Chained buckets, a power of two of them, growing and
 * shrinking a bucket at a time (linear hashing), so no operation pauses. Owned by its value; no lock. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"

struct dict;

struct dict_entry {
    struct dict_entry *next;
    uint64_t hash;
    uint32_t field_len, value_len;
    char bytes[]; /* field, then value */
};

static inline struct slice dict_field(const struct dict_entry *e) {
    return slice_make(e->bytes, e->field_len);
}
static inline struct slice dict_value(const struct dict_entry *e) {
    return slice_make(e->bytes + e->field_len, e->value_len);
}

struct dict *dict_create(void);
void dict_destroy(struct dict **d);
size_t dict_len(const struct dict *d);
size_t dict_bytes(const struct dict *d);
struct dict_entry *dict_find(const struct dict *d, struct slice field);
/* 1 created, 0 replaced, -1 no memory (nothing changed). */
int dict_set(struct dict *d, struct slice field, struct slice value);
/* The same in two steps, for several fields all or none: an entry of no dict yet (NULL: no memory), which dict_put takes, without
 * fail, or dict_unmake frees. */
struct dict_entry *dict_make(struct slice field, struct slice value);
void dict_unmake(struct dict_entry *e);
/* True when created, false when replaced. */
bool dict_put(struct dict *d, struct dict_entry *e);
bool dict_del(struct dict *d, struct slice field);
/* The next entry after (bucket, entry); start with *bucket = 0, entry NULL. NULL at the end. */
struct dict_entry *dict_next(const struct dict *d, size_t *bucket, struct dict_entry *entry);
/* Every entry with the same chance. d is not empty; O(longest chain) draws on average. */
struct dict_entry *dict_random(const struct dict *d);
/* Bit-reversed order: an entry present all the time is visited, whatever grows. */
uint64_t dict_scan(const struct dict *d, uint64_t cursor, size_t count,
                   void (*fn)(void *ctx, struct slice field, struct slice value), void *ctx);
/* Frees up to n entries and the buckets they leave, counting 16 empty buckets as one entry; only dict_len, dict_bytes
 * and dict_destroy may follow. True when nothing is left. */
bool dict_free_some(struct dict *d, size_t n);
