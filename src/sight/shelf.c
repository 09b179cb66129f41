/* SPDX-License-Identifier: BSD-3-Clause */
/* shelf: a ring of entries in the order they came, and an index of open addresses over it. */
#include "src/sight/shelf.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/l1/l1.h"

enum {
    SEEN_BITS = 15, /* a key of two generations of evicted ones is taken for another with a chance of some percent */
    UNIT = 16,      /* bytes are counted in such steps */
    NEARLY_FULL = 7 /* eighths */
};

struct entry {
    uint32_t id;       /* 0: taken away */
    uint32_t units;
    uint32_t expire_s; /* 0: never */
};

struct shelf {
    struct entry *ring;
    uint32_t cap, head, tail; /* cap: a power of two */
    uint32_t *index;          /* twice as many; place in the ring + 1, 0: free */
    unsigned most, items;
    uint64_t units, limit;
    enum shelf_rule rule;
    uint32_t chance_ppm;
    bool is_short;
    uint64_t *seen[2]; /* bits of keys evicted once: the older half of them, and the newer */
    unsigned seen_n;
};

static uint32_t id_of(uint64_t hash) {
    return (uint32_t)(hash >> 32) != 0 ? (uint32_t)(hash >> 32) : 1; /* the threshold's bits on top */
}

struct shelf *shelf_create(unsigned most) {
    struct shelf *s = mem_zalloc(sizeof(*s));
    s->most = most;
    s->cap = 16;
    while (s->cap < most + most / 4) { /* room for what was taken away */
        s->cap *= 2;
    }
    s->ring = mem_zalloc(s->cap * sizeof(*s->ring));
    s->index = mem_zalloc(2 * (size_t)s->cap * sizeof(*s->index));
    s->seen[0] = mem_zalloc((1 << SEEN_BITS) / 8);
    s->seen[1] = mem_zalloc((1 << SEEN_BITS) / 8);
    return s;
}

void shelf_destroy(struct shelf **s) {
    mem_free((*s)->ring);
    mem_free((*s)->index);
    mem_free((*s)->seen[0]);
    mem_free((*s)->seen[1]);
    mem_free(*s);
    *s = NULL;
}

void shelf_set_rule(struct shelf *s, enum shelf_rule rule, uint32_t chance_ppm) {
    s->rule = rule;
    s->chance_ppm = chance_ppm;
}

/* ---- index ---- */

static uint32_t home(const struct shelf *s, uint32_t id) {
    return (uint32_t)((id * 0x9e3779b97f4a7c15ULL) >> 40) & (2 * s->cap - 1);
}

/* Where the key is in the index, or the free place where its search ended. */
static uint32_t find(const struct shelf *s, uint32_t id) {
    uint32_t i = home(s, id);
    while (s->index[i] != 0 && s->ring[s->index[i] - 1].id != id) {
        i = (i + 1) & (2 * s->cap - 1);
    }
    return i;
}

/* Frees a place of the index, and moves up what was put behind it for want of that place. */
static void unindex(struct shelf *s, uint32_t hole) {
    uint32_t mask = 2 * s->cap - 1;
    for (uint32_t i = (hole + 1) & mask; s->index[i] != 0; i = (i + 1) & mask) {
        uint32_t from_home = (i - home(s, s->ring[s->index[i] - 1].id)) & mask;
        if (from_home >= ((i - hole) & mask)) {
            s->index[hole] = s->index[i];
            hole = i;
        }
    }
    s->index[hole] = 0;
}

static void take_away(struct shelf *s, uint32_t place) {
    struct entry *e = &s->ring[s->index[place] - 1];
    uint32_t units = e->units;
    unindex(s, place);
    e->id = 0;
    s->units -= units;
    s->items--;
}

static void drop_oldest(struct shelf *s) {
    const struct entry *e = &s->ring[s->head & (s->cap - 1)];
    if (e->id != 0) {
        take_away(s, find(s, e->id));
    }
    s->head++;
}

/* ---- keys ---- */

bool shelf_has(const struct shelf *s, uint64_t hash, int64_t now_ms) {
    uint32_t at = s->index[find(s, id_of(hash))];
    return at != 0 && (s->ring[at - 1].expire_s == 0 || s->ring[at - 1].expire_s > now_ms / 1000);
}

/* Closes the gaps that what was taken away has left, so that they do not push out the oldest. */
static void close_gaps(struct shelf *s) {
    uint32_t mask = s->cap - 1, to = s->head;
    for (uint32_t i = s->head; i != s->tail; i++) {
        if (s->ring[i & mask].id != 0) {
            s->ring[to++ & mask] = s->ring[i & mask];
        }
    }
    s->tail = to;
    memset(s->index, 0, 2 * (size_t)s->cap * sizeof(*s->index));
    for (uint32_t i = s->head; i != s->tail; i++) {
        s->index[find(s, s->ring[i & mask].id)] = (i & mask) + 1;
    }
}

static void make_room(struct shelf *s) {
    if (s->units > s->limit) {
        while (s->items > 0 && s->units > s->limit / 4 * 3) {
            drop_oldest(s);
        }
    }
    while (s->items >= s->most) {
        s->is_short = true;
        drop_oldest(s);
    }
    if (s->tail - s->head >= s->cap) {
        close_gaps(s);
    }
}

void shelf_set_limit(struct shelf *s, double bytes) {
    double units = bytes / UNIT;
    s->limit = units < 1 ? 1 : units < 1e18 ? (uint64_t)units : (uint64_t)1e18;
}

/* Whether the key has been evicted before, within about as many evictions as there are keys on the shelf; now it has. */
static bool was_seen(struct shelf *s, uint32_t id) {
    uint32_t bit = (uint32_t)((id * 0xc2b2ae3d27d4eb4fULL) >> 40) & ((1 << SEEN_BITS) - 1);
    uint64_t mask = (uint64_t)1 << (bit % 64);
    bool seen = ((s->seen[0][bit / 64] | s->seen[1][bit / 64]) & mask) != 0;
    s->seen[1][bit / 64] |= mask;
    if (++s->seen_n > s->items / 2 + 64) {
        uint64_t *old = s->seen[0];
        s->seen[0] = s->seen[1];
        s->seen[1] = old;
        memset(old, 0, (1 << SEEN_BITS) / 8);
        s->seen_n = 0;
    }
    return seen;
}

static bool admits(struct shelf *s, uint32_t id) {
    if (s->units < s->limit / 8 * NEARLY_FULL) {
        return true;
    }
    switch (s->rule) {
    case SHELF_SECOND:
        return was_seen(s, id);
    case SHELF_RANDOM:
        return rng_below(1000000) < s->chance_ppm;
    default:
        return true;
    }
}

void shelf_put(struct shelf *s, const struct mini_access *a) {
    uint32_t id = id_of(a->hash), place = find(s, id);
    if (s->index[place] != 0 || !admits(s, id)) {
        return;
    }
    make_room(s);
    struct entry *e = &s->ring[s->tail & (s->cap - 1)];
    uint64_t units = a->bytes / UNIT + 1, expire_s = a->expire_ms == L1_NO_TTL ? 0 : (uint64_t)a->expire_ms / 1000 + 1;
    *e = (struct entry){.id = id,
                        .units = units < UINT32_MAX ? (uint32_t)units : UINT32_MAX,
                        .expire_s = expire_s < UINT32_MAX ? (uint32_t)expire_s : UINT32_MAX};
    s->index[find(s, id)] = (s->tail & (s->cap - 1)) + 1;
    s->units += e->units;
    s->items++;
    s->tail++;
}

void shelf_drop(struct shelf *s, uint64_t hash) {
    uint32_t place = find(s, id_of(hash));
    if (s->index[place] != 0) {
        take_away(s, place);
    }
}

void shelf_thin(struct shelf *s, uint32_t below) {
    for (uint32_t i = s->head; i != s->tail; i++) {
        uint32_t id = s->ring[i & (s->cap - 1)].id;
        if (id != 0 && id >> 16 >= below) {
            take_away(s, find(s, id));
        }
    }
    s->is_short = false;
}

unsigned shelf_items(const struct shelf *s) {
    return s->items;
}

bool shelf_is_short(const struct shelf *s) {
    return s->is_short;
}

size_t shelf_bytes(const struct shelf *s) {
    return s->cap * (sizeof(*s->ring) + 2 * sizeof(*s->index)) + (2 << SEEN_BITS) / 8 + sizeof(*s);
}
