/* SPDX-License-Identifier: BSD-3-Clause */
/* topk: sketch and list. */
#include "src/sight/topk.h"

#include <math.h>
#include <stdlib.h>

#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { ROWS = 2, CELLS = 1024, WORN = 256 /* units from which on a cell is not worn down any more */ };

#define WEIGHT_MAX (((uint64_t)1 << 44) - 1)

static const double base = 1.08;

struct cell {
    uint64_t print : 20, weight : 44; /* saturates */
};

struct listed {
    uint64_t weight;
    char *name;
    uint16_t name_n;
    uint8_t db;
    bool cut;
};

struct topk {
    struct cell cells[ROWS][CELLS];
    uint64_t hashes[TOPK_KEEP]; /* apart from the rest, for the look through them */
    struct listed list[TOPK_KEEP];
    unsigned n;
    uint64_t floor; /* nothing in a full list weighs less: most keys need no look through it */
    uint64_t total;
    uint32_t chance[WORN]; /* of 2^32: that a cell of so many units is worn by one */
};

struct topk *topk_create(void) {
    struct topk *t = mem_zalloc(sizeof(*t));
    for (int i = 0; i < WORN; i++) {
        t->chance[i] = (uint32_t)(pow(base, -i) * UINT32_MAX);
    }
    return t;
}

void topk_clear(struct topk *t) {
    for (unsigned i = 0; i < t->n; i++) {
        mem_free(t->list[i].name);
    }
    memset(t->cells, 0, sizeof(t->cells));
    t->n = 0;
    t->floor = 0;
    t->total = 0;
}

void topk_destroy(struct topk **t) {
    topk_clear(*t);
    mem_free(*t);
    *t = NULL;
}

/* ---- sketch ---- */

/* Bits that neither shards nor the miniatures' sampling are drawn from. */
static uint32_t print_of(uint64_t hash) {
    return ((uint32_t)(hash >> 16) | 1) & 0xFFFFF;
}

static struct cell *cell_of(struct topk *t, unsigned row, uint64_t hash) {
    uint64_t mixed = hash * (row == 0 ? 0x9e3779b97f4a7c15ULL : 0xc2b2ae3d27d4eb4fULL);
    return &t->cells[row][mixed >> 54 & (CELLS - 1)];
}

static uint64_t more(uint64_t a, uint64_t b) {
    return a + b < WEIGHT_MAX ? a + b : WEIGHT_MAX;
}

/* The cell after so much of another key: it may change hands. */
static void wear(const struct topk *t, struct cell *c, uint32_t print, uint32_t weight) {
    uint64_t units = c->weight / weight;
    if (units >= WORN || (uint32_t)rng_u64() > t->chance[units]) {
        return;
    }
    if (c->weight > weight) {
        c->weight -= weight;
    } else {
        *c = (struct cell){.print = print & 0xFFFFF, .weight = weight};
    }
}

static uint64_t sketch_add(struct topk *t, uint64_t hash, uint32_t weight) {
    uint32_t print = print_of(hash);
    uint64_t best = 0;
    for (unsigned row = 0; row < ROWS; row++) {
        struct cell *c = cell_of(t, row, hash);
        if (c->weight == 0) {
            *c = (struct cell){.print = print & 0xFFFFF, .weight = weight};
        } else if (c->print == print) {
            c->weight = more(c->weight, weight) & WEIGHT_MAX;
        } else {
            wear(t, c, print, weight);
        }
        if (c->print == print && c->weight > best) {
            best = c->weight;
        }
    }
    return best;
}

uint64_t topk_weight(const struct topk *t, uint64_t hash) {
    uint64_t best = 0;
    for (unsigned row = 0; row < ROWS; row++) {
        const struct cell *c = cell_of((struct topk *)(uintptr_t)t, row, hash);
        if (c->print == print_of(hash) && c->weight > best) {
            best = c->weight;
        }
    }
    return best;
}

/* ---- list ---- */

static unsigned lightest(const struct topk *t) {
    unsigned at = 0;
    for (unsigned i = 1; i < t->n; i++) {
        if (t->list[i].weight < t->list[at].weight) {
            at = i;
        }
    }
    return at;
}

static void enlist(struct topk *t, const struct key *key, uint64_t weight) {
    unsigned at = t->n;
    if (t->n < TOPK_KEEP) {
        t->n++;
        t->floor = 0;
    } else {
        at = lightest(t);
        t->floor = t->list[at].weight;
        if (weight <= t->floor) {
            return;
        }
        mem_free(t->list[at].name);
    }
    size_t n = key->name.n < TOPK_NAME_MAX ? key->name.n : TOPK_NAME_MAX;
    t->hashes[at] = key->hash;
    t->list[at] = (struct listed){
        .weight = weight, .name = mem_memdup(key->name.p, n), .name_n = (uint16_t)n, .db = key->db, .cut = n < key->name.n};
}

void topk_add(struct topk *t, const struct key *key, uint32_t weight) {
    weight = weight > 0 ? weight : 1;
    t->total += weight;
    uint64_t now = sketch_add(t, key->hash, weight);
    if (now == 0 || (t->n == TOPK_KEEP && now <= t->floor)) {
        return; /* a listed key that is so light has that weight in the list */
    }
    for (unsigned i = 0; i < t->n; i++) {
        if (t->hashes[i] == key->hash) {
            t->list[i].weight = now > t->list[i].weight ? now : t->list[i].weight;
            return;
        }
    }
    enlist(t, key, now);
}

void topk_halve(struct topk *t) {
    for (unsigned row = 0; row < ROWS; row++) {
        for (unsigned i = 0; i < CELLS; i++) {
            t->cells[row][i].weight /= 2;
        }
    }
    for (unsigned i = 0; i < t->n;) {
        t->list[i].weight /= 2;
        if (t->list[i].weight > 0) {
            i++;
            continue;
        }
        mem_free(t->list[i].name);
        t->n--;
        t->list[i] = t->list[t->n];
        t->hashes[i] = t->hashes[t->n];
    }
    t->floor /= 2;
    t->total /= 2;
}

static int by_weight(const void *a, const void *b) {
    uint64_t x = ((const struct topk_item *)a)->weight, y = ((const struct topk_item *)b)->weight;
    return x < y ? 1 : x > y ? -1 : 0;
}

unsigned topk_list(const struct topk *t, struct topk_item *out, unsigned max) {
    struct topk_item all[TOPK_KEEP];
    for (unsigned i = 0; i < t->n; i++) {
        const struct listed *l = &t->list[i];
        all[i] = (struct topk_item){
            .hash = t->hashes[i], .weight = l->weight, .db = l->db, .name = slice_make(l->name, l->name_n), .cut = l->cut};
    }
    qsort(all, t->n, sizeof(*all), by_weight);
    unsigned n = t->n < max ? t->n : max;
    memcpy(out, all, n * sizeof(*all));
    return n;
}

uint64_t topk_total(const struct topk *t) {
    return t->total;
}

size_t topk_bytes(void) {
    return sizeof(struct topk);
}
