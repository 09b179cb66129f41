/* SPDX-License-Identifier: BSD-3-Clause */
/* value: the heap form of the aggregate types (strings are bytes, kept by l1 itself). Knows no key and no deadline. A value
 * may be shared by reference; it is changed only by a holder who is alone (refs == 1), under its shard's lock.
 *
 * But a Bloom filter is changed in place, however many hold it: they all read what is added, without a lock (src/ds/bloom.h), for
 * as long as the key has this very value (evicted and back, it is another). And it never belongs to two keys: value_share. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/slice.h"

enum value_type {
#define TYPE(name, id, text) TYPE_##name = id,
#include "src/value/types.def"
#undef TYPE
};

/* "string", "hash", ... "none". */
const char *value_type_name(enum value_type t);

enum value_encoding { ENC_LISTPACK, ENC_HASHTABLE, ENC_BLOOM };

struct value {
    _Atomic uint32_t refs;
    uint8_t type;     /* enum value_type */
    uint8_t encoding; /* enum value_encoding */
    union {
        unsigned char *lp; /* ENC_LISTPACK: src/ds/listpack.h */
        struct dict *dict; /* ENC_HASHTABLE: src/ds/dict.h */
        struct bloom *bloom; /* ENC_BLOOM: src/ds/bloom.h */
    } u;
};

struct value *value_ref(struct value *v);
void value_unref(struct value *v);
/* A copy of one's own (refs 1), NULL when memory is gone. */
struct value *value_dup(const struct value *v);
/* A reference for another key: to v itself, or to a copy when v is changed in place. NULL when memory is gone. */
struct value *value_share(struct value *v);
/* Whether holders see one another's changes. */
static inline bool value_in_place(const struct value *v) {
    return v->encoding == ENC_BLOOM;
}
/* Elements; of a Bloom filter its layers. 0: the key goes. */
size_t value_len(const struct value *v);
/* Memory held, O(1) (O(layers) of a Bloom filter). */
size_t value_bytes(const struct value *v);
const char *value_encoding_name(const struct value *v);
/* Frees up to about budget elements of a value nobody else refers to; true when it is all gone. */
bool value_free_some(struct value *v, size_t budget);

/* ---- hash ---- */

struct hash_limits {
    size_t max_entries, max_bytes; /* of the compact encoding: hash-max-listpack-* */
};
/* Holds the text of an integer kept in binary by the compact encoding. */
struct hash_scratch {
    char text[24];
};

/* Empty and compact. Aborts without memory. */
struct value *hash_create(void);
/* False when absent. out is borrowed from v or scratch until v changes. */
bool hash_get(const struct value *v, struct slice field, struct hash_scratch *scratch,
              struct slice *out);
/* ERR_OUT_OF_MEMORY leaves v as it was. created may be NULL. */
enum err hash_set(struct value *v, struct slice field, struct slice value,
                  const struct hash_limits *limits, bool *created) __attribute__((warn_unused_result));
/* Sets n pairs, all or, with ERR_OUT_OF_MEMORY, none. words: field, value, field, value. created: how many fields are new. */
enum err hash_set_all(struct value *v, const struct slice *words, size_t n, const struct hash_limits *limits, size_t *created)
    __attribute__((warn_unused_result));
bool hash_del(struct value *v, struct slice field);

struct hash_iter {
    const struct value *v;
    unsigned char *p;
    size_t bucket;
    void *entry;
    struct hash_scratch a, b;
};
void hash_iter_init(struct hash_iter *it, const struct value *v);
/* field and value are borrowed until the next call. False at the end. */
bool hash_iter_next(struct hash_iter *it, struct slice *field, struct slice *value);
/* A uniformly random pair of a hash that is not empty. */
void hash_random(const struct value *v, struct hash_iter *it, struct slice *field,
                 struct slice *value);
/* Visits n different pairs (n <= value_len), every set of n with the same chance; the order means nothing. A few out of
 * many are drawn, O(n); else one walk. Scratch of O(n) bytes; without memory for it, the walk. */
void hash_sample(const struct value *v, size_t n, void (*fn)(void *ctx, struct slice field, struct slice value), void *ctx);
/* Visits at least count pairs from cursor on; returns the next cursor, 0 at the end. The compact encoding is
 * visited whole. */
uint64_t hash_scan(const struct value *v, uint64_t cursor, size_t count,
                   void (*fn)(void *ctx, struct slice field, struct slice value), void *ctx);

/* ---- Bloom filter ---- */

/* Takes the filter. Aborts without memory. */
struct value *value_of_bloom(struct bloom *b);
