/* SPDX-License-Identifier: BSD-3-Clause */
/* ghost: lines of 16-bit fingerprints; the highest bit says which queue let the key go. */
#include "src/l1/ghost.h"

#include <string.h>

#include "src/base/mem.h"

enum {
    PERCENT = 110,     /* fingerprints per item */
    FIT_LINES = 8,     /* lines added or taken in one call */
    BLOCK_LINES = 16,
    BY_MAIN = 0x8000
};

struct ghost_block {
    uint16_t line[BLOCK_LINES][GHOST_WAYS];
};

static uint16_t *line_at(const struct ghost *g, uint32_t i) {
    return g->blocks[i / BLOCK_LINES]->line[i % BLOCK_LINES];
}

static uint16_t *line_of(const struct ghost *g, uint32_t hash) {
    uint32_t i = hash & (((uint32_t)2 << g->level) - 1);
    return line_at(g, i < g->lines ? i : i & (((uint32_t)1 << g->level) - 1));
}

static uint16_t fingerprint(uint16_t print) {
    print &= BY_MAIN - 1;
    return print != 0 ? print : 1; /* 0: no more in the line */
}

static void make_block(struct ghost *g, uint32_t i) {
    if (i == g->cap) {
        uint32_t cap = g->cap == 0 ? 4 : g->cap * 2;
        g->blocks = mem_realloc(g->blocks, cap * sizeof(*g->blocks));
        *g->bytes += (cap - g->cap) * sizeof(*g->blocks);
        g->cap = cap;
    }
    g->blocks[i] = mem_zalloc(sizeof(**g->blocks));
    *g->bytes += sizeof(**g->blocks);
}

void ghost_init(struct ghost *g, uint64_t *bytes) {
    *g = (struct ghost){.lines = 1, .bytes = bytes};
    make_block(g, 0);
}

static void free_block(struct ghost *g, uint32_t i) {
    mem_free(g->blocks[i]);
    *g->bytes -= sizeof(**g->blocks);
}

void ghost_fini(struct ghost *g) {
    for (uint32_t i = 0; i * BLOCK_LINES < g->lines; i++) {
        free_block(g, i);
    }
    *g->bytes -= g->cap * sizeof(*g->blocks);
    mem_free(g->blocks);
}

/* ---- size ---- */

static uint64_t wanted(uint32_t items) {
    return (uint64_t)items * PERCENT / 100;
}

/* A line is split by copying it: in the wrong half a fingerprint is never asked for, and soon pushed out. */
static void split(struct ghost *g) {
    if (g->lines % BLOCK_LINES == 0) {
        make_block(g, g->lines / BLOCK_LINES);
    }
    memcpy(line_at(g, g->lines), line_at(g, g->lines - ((uint32_t)1 << g->level)), sizeof((*g->blocks)->line[0]));
    g->lines++;
    if (g->lines == (uint32_t)2 << g->level) {
        g->level++;
    }
}

/* Undoes the last split. What the line held is forgotten: the shard has become small, and its other half is as long as before. */
static void unsplit(struct ghost *g) {
    g->lines--;
    if (g->lines < (uint32_t)1 << g->level) {
        g->level--;
    }
    if (g->lines % BLOCK_LINES == 0) {
        free_block(g, g->lines / BLOCK_LINES);
    }
}

static uint64_t wanted_lines(uint32_t items) {
    return (wanted(items) + GHOST_WAYS - 1) / GHOST_WAYS;
}

void ghost_grow(struct ghost *g, uint32_t items) {
    for (int i = 0; i < FIT_LINES && g->lines < wanted_lines(items); i++) {
        split(g);
    }
}

void ghost_shrink(struct ghost *g, uint32_t items) {
    for (int i = 0; i < FIT_LINES && g->lines > 2 * wanted_lines(items) + 1; i++) {
        unsplit(g);
    }
}

/* ---- fingerprints ---- */

void ghost_add(struct ghost *g, uint32_t hash, uint16_t print, bool by_main) {
    uint16_t *line = line_of(g, hash);
    memmove(line + 1, line, (GHOST_WAYS - 1) * sizeof(*line));
    line[0] = (uint16_t)(fingerprint(print) | (by_main ? BY_MAIN : 0));
}

bool ghost_take(struct ghost *g, uint32_t hash, uint16_t print, uint32_t items, struct ghost_find *out) {
    uint16_t *line = line_of(g, hash);
    uint64_t each = wanted(items) / g->lines + 1; /* fewer when the cache has shrunk */
    unsigned ways = each < GHOST_WAYS ? (unsigned)each : GHOST_WAYS, before[2] = {0, 0};
    for (unsigned i = 0; i < ways && line[i] != 0; i++) {
        bool by_main = line[i] & BY_MAIN;
        if ((line[i] & ~BY_MAIN) == fingerprint(print)) {
            *out = (struct ghost_find){by_main, before[by_main]};
            memmove(line + i, line + i + 1, (GHOST_WAYS - 1 - i) * sizeof(*line));
            line[GHOST_WAYS - 1] = 0;
            return true;
        }
        before[by_main]++;
    }
    return false;
}
