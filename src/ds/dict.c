/* SPDX-License-Identifier: BSD-3-Clause */
/* dict: linear hashing (Litwin 1980) over segments of chained buckets. */
#include "src/ds/dict.h"

#include "src/base/check.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { SEGMENT = 256 /* buckets */ };

struct dict {
    size_t len, bytes;
    size_t buckets;      /* in use */
    unsigned level;      /* 2^level <= buckets < 2^(level+1) */
    size_t longest;      /* no chain was ever longer: bounds the draws of dict_random */
    size_t segment_cap;
    struct dict_entry ***segments;
};

struct dict *dict_create(void) {
    struct dict *d = mem_zalloc(sizeof(*d));
    d->segment_cap = 4;
    d->segments = mem_zalloc(d->segment_cap * sizeof(*d->segments));
    d->segments[0] = mem_zalloc(SEGMENT * sizeof(**d->segments));
    d->buckets = 4;
    d->level = 2;
    d->bytes = sizeof(*d) + (SEGMENT + d->segment_cap) * sizeof(void *);
    return d;
}

static struct dict_entry **bucket_at(const struct dict *d, size_t i) {
    return &d->segments[i / SEGMENT][i % SEGMENT];
}

static size_t bucket_index(const struct dict *d, uint64_t hash) {
    size_t i = hash & (((size_t)2 << d->level) - 1);
    return i < d->buckets ? i : i & (((size_t)1 << d->level) - 1);
}

static size_t entry_bytes(const struct dict_entry *e) {
    return mem_usable(e);
}

/* Adds bucket number d->buckets and moves to it what belongs there. Best effort: without memory the chains get
 * longer. */
static void split(struct dict *d) {
    size_t fresh = d->buckets, segment = fresh / SEGMENT;
    if (segment >= d->segment_cap) {
        struct dict_entry ***grown = mem_try_realloc(d->segments, d->segment_cap * 2 * sizeof(*grown));
        if (grown == NULL) {
            return;
        }
        memset(grown + d->segment_cap, 0, d->segment_cap * sizeof(*grown));
        d->bytes += d->segment_cap * sizeof(*grown);
        d->segments = grown;
        d->segment_cap *= 2;
    }
    if (d->segments[segment] == NULL) {
        d->segments[segment] = mem_try_alloc(SEGMENT * sizeof(**d->segments));
        if (d->segments[segment] == NULL) {
            return;
        }
        memset(d->segments[segment], 0, SEGMENT * sizeof(**d->segments));
        d->bytes += SEGMENT * sizeof(void *);
    }
    size_t old = fresh - ((size_t)1 << d->level);
    d->buckets++;
    if (d->buckets == (size_t)2 << d->level) {
        d->level++;
    }
    struct dict_entry *e = *bucket_at(d, old);
    *bucket_at(d, old) = NULL;
    while (e != NULL) {
        struct dict_entry *next = e->next, **to = bucket_at(d, bucket_index(d, e->hash));
        e->next = *to;
        *to = e;
        e = next;
    }
}

static void free_segment(struct dict *d, size_t segment) {
    mem_free(d->segments[segment]);
    d->segments[segment] = NULL;
    d->bytes -= SEGMENT * sizeof(void *);
}

/* Undoes the last split. */
static void merge(struct dict *d) {
    size_t last = d->buckets - 1, length = 0;
    struct dict_entry *moved = *bucket_at(d, last);
    *bucket_at(d, last) = NULL;
    d->buckets--;
    if (d->buckets < (size_t)1 << d->level) {
        d->level--;
    }
    struct dict_entry **to = bucket_at(d, last - ((size_t)1 << d->level));
    for (; *to != NULL; to = &(*to)->next) {
        length++;
    }
    *to = moved;
    for (; moved != NULL; moved = moved->next) {
        length++;
    }
    d->longest = length > d->longest ? length : d->longest;
    if (last % SEGMENT == 0) {
        free_segment(d, last / SEGMENT);
    }
}

struct dict_entry *dict_find(const struct dict *d, struct slice field) {
    uint64_t hash = hash_bytes(field.p, field.n);
    struct dict_entry *e = *bucket_at(d, bucket_index(d, hash));
    while (e != NULL && !(e->hash == hash && slice_eq(dict_field(e), field))) {
        e = e->next;
    }
    return e;
}

struct dict_entry *dict_make(struct slice field, struct slice value) {
    struct dict_entry *e = mem_try_alloc(sizeof(*e) + field.n + value.n);
    if (e != NULL) {
        *e = (struct dict_entry){
            .hash = hash_bytes(field.p, field.n), .field_len = (uint32_t)field.n, .value_len = (uint32_t)value.n};
        if (field.n > 0) { /* an empty slice may have no address */
            memcpy(e->bytes, field.p, field.n);
        }
        if (value.n > 0) {
            memcpy(e->bytes + field.n, value.p, value.n);
        }
    }
    return e;
}

void dict_unmake(struct dict_entry *e) {
    mem_free(e);
}

bool dict_put(struct dict *d, struct dict_entry *e) {
    struct dict_entry **at = bucket_at(d, bucket_index(d, e->hash));
    size_t length = 1;
    for (; *at != NULL && !((*at)->hash == e->hash && slice_eq(dict_field(*at), dict_field(e))); length++) {
        at = &(*at)->next;
    }
    struct dict_entry *old = *at;
    e->next = old == NULL ? NULL : old->next;
    *at = e;
    d->bytes += entry_bytes(e);
    if (old != NULL) {
        d->bytes -= entry_bytes(old);
        mem_free(old);
        return false;
    }
    d->len++;
    d->longest = length > d->longest ? length : d->longest;
    if (d->len > d->buckets) {
        split(d);
    }
    return true;
}

int dict_set(struct dict *d, struct slice field, struct slice value) {
    struct dict_entry *e = dict_make(field, value);
    return e == NULL ? -1 : dict_put(d, e);
}

bool dict_del(struct dict *d, struct slice field) {
    uint64_t hash = hash_bytes(field.p, field.n);
    struct dict_entry **at = bucket_at(d, bucket_index(d, hash));
    while (*at != NULL && !((*at)->hash == hash && slice_eq(dict_field(*at), field))) {
        at = &(*at)->next;
    }
    struct dict_entry *e = *at;
    if (e == NULL) {
        return false;
    }
    *at = e->next;
    d->len--;
    d->bytes -= entry_bytes(e);
    mem_free(e);
    for (int i = 0; i < 8 && d->buckets > 4 && d->len < d->buckets / 4; i++) {
        merge(d); /* four a time would just keep pace with deletes */
    }
    return true;
}

size_t dict_len(const struct dict *d) {
    return d->len;
}

size_t dict_bytes(const struct dict *d) {
    return d->bytes;
}

struct dict_entry *dict_next(const struct dict *d, size_t *bucket, struct dict_entry *entry) {
    if (entry != NULL) {
        if (entry->next != NULL) {
            return entry->next;
        }
        ++*bucket;
    }
    for (; *bucket < d->buckets; ++*bucket) {
        if (*bucket_at(d, *bucket) != NULL) {
            return *bucket_at(d, *bucket);
        }
    }
    return NULL;
}

struct dict_entry *dict_random(const struct dict *d) {
    for (;;) {
        /* a bucket, then a place in the longest chain; a miss draws again, so every entry has the same chance */
        struct dict_entry *e = *bucket_at(d, rng_below(d->buckets));
        for (uint64_t skip = rng_below(d->longest); e != NULL && skip > 0; skip--) {
            e = e->next;
        }
        if (e != NULL) {
            return e;
        }
    }
}

static uint64_t reverse64(uint64_t v) {
    v = ((v >> 1) & 0x5555555555555555ULL) | ((v & 0x5555555555555555ULL) << 1);
    v = ((v >> 2) & 0x3333333333333333ULL) | ((v & 0x3333333333333333ULL) << 2);
    v = ((v >> 4) & 0x0f0f0f0f0f0f0f0fULL) | ((v & 0x0f0f0f0f0f0f0f0fULL) << 4);
    return __builtin_bswap64(v);
}

uint64_t dict_scan(const struct dict *d, uint64_t cursor, size_t count,
                   void (*fn)(void *ctx, struct slice field, struct slice value), void *ctx) {
    /* the cursor is a place in the order of bit-reversed hashes, of which each bucket is an interval */
    uint64_t at = cursor << 16;
    size_t seen = 0;
    for (size_t steps = 0; steps < count * 10 + 10; steps++) {
        size_t i = bucket_index(d, reverse64(at));
        for (struct dict_entry *e = *bucket_at(d, i); e != NULL; e = e->next) {
            fn(ctx, dict_field(e), dict_value(e));
            seen++;
        }
        size_t half = (size_t)1 << d->level;
        bool narrow = i >= half || i + half < d->buckets; /* split already: half as wide */
        uint64_t width = (uint64_t)1 << (64 - d->level - (narrow ? 1 : 0));
        at = (at & ~(width - 1)) + width;
        if (at == 0) {
            return 0;
        }
        if (seen >= count) {
            break;
        }
    }
    return at >> 16;
}

bool dict_free_some(struct dict *d, size_t n) {
    while (d->buckets > 0) {
        size_t last = d->buckets - 1;
        struct dict_entry **at = bucket_at(d, last);
        for (; *at != NULL; n--) {
            if (n == 0) {
                return false;
            }
            struct dict_entry *e = *at;
            *at = e->next;
            d->bytes -= entry_bytes(e);
            d->len--;
            mem_free(e);
        }
        if (last % 16 == 0) { /* empty buckets cost time too */
            if (n == 0) {
                return false;
            }
            n--;
        }
        d->buckets = last;
        if (last % SEGMENT == 0) {
            free_segment(d, last / SEGMENT);
        }
    }
    return true;
}

void dict_destroy(struct dict **dp) {
    struct dict *d = *dp;
    *dp = NULL;
    dict_free_some(d, SIZE_MAX);
    for (size_t i = 0; i < d->segment_cap; i++) {
        mem_free(d->segments[i]);
    }
    mem_free(d->segments);
    mem_free(d);
}
