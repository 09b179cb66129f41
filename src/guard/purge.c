/* SPDX-License-Identifier: BSD-3-Clause */
/* purge: prefixes in a radix tree, tags in a hash table, slots in an array. */
#include "src/guard/purge.h"

#include <stdatomic.h>
#include <string.h>

#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/ds/radix.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* The last purges of one prefix or tag. */
struct purge {
    uint32_t hard, soft; /* numbers; 0 none */
    int64_t soft_ms;     /* when the soft one was */
};

struct tagged {
    uint32_t tag; /* with purge.hard and soft 0: a free place */
    struct purge purge;
};

struct purges {
    _Atomic uint32_t last;
    size_t count, max;
    struct radix *prefixes; /* database byte and prefix -> struct purge */
    struct purge **owned;   /* what the tree points to */
    size_t prefix_count, tag_count, tag_cap;
    struct tagged *tags; /* open addressing, tag_cap a power of two */
    uint32_t *slots;     /* the last purge of each slot, 0 none; NULL: there was none at all */
};

struct purges *purges_create(size_t max) {
    struct purges *p = mem_zalloc(sizeof(*p));
    p->max = max;
    p->prefixes = radix_create();
    return p;
}

void purges_destroy(struct purges **pp) {
    struct purges *p = *pp;
    *pp = NULL;
    for (size_t i = 0; i < p->prefix_count; i++) {
        mem_free(p->owned[i]);
    }
    radix_destroy(&p->prefixes);
    mem_free(p->owned);
    mem_free(p->tags);
    mem_free(p->slots);
    mem_free(p);
}

static void note(struct purges *p, struct purge *purge, bool soft, int64_t now_ms) {
    uint32_t number = atomic_load_explicit(&p->last, memory_order_relaxed) + 1;
    if (soft) {
        purge->soft = number;
        purge->soft_ms = now_ms;
    } else {
        purge->hard = number;
    }
    atomic_store_explicit(&p->last, number, memory_order_relaxed);
}

/* Names are longer than this only by malice; what is cut is purged by its beginning: more, not less. */
enum { PREFIX_MAX = 1024 };

static struct slice scoped(uint8_t db, struct slice name, char *room) {
    size_t n = name.n < PREFIX_MAX ? name.n : PREFIX_MAX;
    room[0] = (char)db;
    memcpy(room + 1, name.p, n);
    return slice_make(room, n + 1);
}

bool purges_prefix(struct purges *p, uint8_t db, struct slice prefix, bool soft, int64_t now_ms) {
    char room[PREFIX_MAX + 1];
    struct slice name = scoped(db, prefix, room);
    struct purge *purge = radix_get(p->prefixes, name);
    if (purge == NULL) {
        if (p->count == p->max) {
            return false;
        }
        purge = mem_zalloc(sizeof(*purge));
        p->owned = mem_realloc(p->owned, (p->prefix_count + 1) * sizeof(struct purge *));
        p->owned[p->prefix_count++] = purge;
        p->count++;
        radix_put(p->prefixes, name, purge);
    }
    note(p, purge, soft, now_ms);
    return true;
}

uint32_t purge_tag_hash(uint8_t db, struct slice name) {
    uint32_t h = (uint32_t)XXH3_64bits_withSeed(name.p, name.n, db); /* on disk: the seed must not change */
    return h != 0 ? h : 1;
}

static bool is_free(const struct tagged *t) {
    return t->purge.hard == 0 && t->purge.soft == 0;
}

static struct tagged *place_of(const struct purges *p, uint32_t tag) {
    size_t i = tag & (p->tag_cap - 1);
    while (!is_free(&p->tags[i]) && p->tags[i].tag != tag) {
        i = (i + 1) & (p->tag_cap - 1);
    }
    return &p->tags[i];
}

static void grow_tags(struct purges *p) {
    struct tagged *old = p->tags;
    size_t n = p->tag_cap;
    p->tag_cap = n == 0 ? 64 : n * 2;
    p->tags = mem_zalloc(p->tag_cap * sizeof(*p->tags));
    for (size_t i = 0; i < n; i++) {
        if (!is_free(&old[i])) {
            *place_of(p, old[i].tag) = old[i];
        }
    }
    mem_free(old);
}

bool purges_tag(struct purges *p, uint32_t tag, bool soft, int64_t now_ms) {
    if (p->tag_count * 2 >= p->tag_cap) {
        grow_tags(p);
    }
    struct tagged *t = place_of(p, tag);
    if (is_free(t)) {
        if (p->count == p->max) {
            return false;
        }
        t->tag = tag;
        p->tag_count++;
        p->count++;
    }
    note(p, &t->purge, soft, now_ms);
    return true;
}

void purges_slots(struct purges *p, const uint8_t set[PURGE_SLOT_BYTES]) {
    uint32_t number = atomic_load_explicit(&p->last, memory_order_relaxed) + 1;
    if (p->slots == NULL) {
        p->slots = mem_zalloc(PURGE_SLOTS * sizeof(*p->slots));
    }
    for (unsigned s = 0; s < PURGE_SLOTS; s++) {
        p->slots[s] = slot_set_has(set, s) ? number : p->slots[s];
    }
    atomic_store_explicit(&p->last, number, memory_order_relaxed);
}

bool purges_has_prefix(const struct purges *p, uint8_t db, struct slice prefix) {
    char room[PREFIX_MAX + 1];
    return radix_get(p->prefixes, scoped(db, prefix, room)) != NULL;
}

bool purges_has_tag(const struct purges *p, uint32_t tag) {
    return p->tag_count != 0 && !is_free(place_of(p, tag));
}

bool purges_have_room(const struct purges *p, size_t more) {
    return p->count + more <= p->max;
}

void purges_set_max(struct purges *p, size_t max) {
    p->max = max;
}

void purges_set_last(struct purges *p, uint32_t last) {
    atomic_store_explicit(&p->last, last, memory_order_relaxed);
}

void purges_set_slots(struct purges *p, const uint32_t *numbers) {
    if (p->slots == NULL) {
        p->slots = mem_zalloc(PURGE_SLOTS * sizeof(*p->slots));
    }
    memcpy(p->slots, numbers, PURGE_SLOTS * sizeof(*p->slots));
}

uint32_t purges_last(const struct purges *p) {
    return atomic_load_explicit(&p->last, memory_order_relaxed);
}

size_t purges_count(const struct purges *p) {
    return p->count;
}

/* What the purges met so far make of a value. */
struct verdict {
    uint32_t stamp;
    int64_t deadline_ms;
};

static bool apply(void *ctx, void *value) {
    struct verdict *v = ctx;
    const struct purge *purge = value;
    if (v->stamp < purge->hard) {
        v->deadline_ms = INT64_MIN;
        return false;
    }
    if (v->stamp < purge->soft && purge->soft_ms < v->deadline_ms) {
        v->deadline_ms = purge->soft_ms;
    }
    return true;
}

int64_t purges_deadline(const struct purges *p, uint8_t db, struct slice name, int64_t expire_ms, const struct item_extra *e) {
    struct verdict v = {.stamp = e->stamp, .deadline_ms = expire_ms};
    if (p->slots != NULL && e->stamp < p->slots[hash_slot(name)]) {
        return INT64_MIN;
    }
    if (p->prefix_count != 0) {
        char room[PREFIX_MAX + 1];
        radix_prefixes(p->prefixes, scoped(db, name, room), apply, &v);
    }
    for (unsigned i = 0; i < e->tags && p->tag_count != 0 && v.deadline_ms != INT64_MIN; i++) {
        apply(&v, &place_of(p, e->tag[i])->purge);
    }
    return v.deadline_ms;
}

static bool found(void *ctx, void *value) {
    (void)value;
    *(bool *)ctx = true;
    return false;
}

bool purges_concern(const struct purges *p, uint8_t db, struct slice name) {
    bool concerned = p->slots != NULL && p->slots[hash_slot(name)] != 0;
    if (!concerned && p->prefix_count != 0) {
        char room[PREFIX_MAX + 1];
        radix_prefixes(p->prefixes, scoped(db, name, room), found, &concerned);
    }
    return concerned;
}
