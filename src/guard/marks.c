/* SPDX-License-Identifier: BSD-3-Clause */
/* marks: a set-associative table. */
#include "src/guard/marks.h"

#include <string.h>

#include "src/base/mem.h"

enum { WAYS = 4, KIND_BITS = 2, KIND_MASK = (1 << KIND_BITS) - 1 };

struct line {
    uint64_t hash[WAYS];
    int64_t word[WAYS]; /* end in ms, shifted by KIND_BITS | enum mark; 0: free */
};

struct marks {
    size_t mask; /* lines - 1 */
    _Atomic size_t count;
    struct line *lines;
    void *memory;
};

struct marks *marks_create(size_t capacity, unsigned shards) {
    size_t lines = shards;
    while (lines * WAYS < capacity) {
        lines *= 2;
    }
    struct marks *m = mem_zalloc(sizeof(*m));
    m->mask = lines - 1;
    m->memory = mem_zalloc(lines * sizeof(struct line) + 64);
    m->lines = (struct line *)(((uintptr_t)m->memory + 63) & ~(uintptr_t)63);
    return m;
}

void marks_destroy(struct marks **m) {
    if (*m != NULL) {
        mem_free((*m)->memory);
        mem_free(*m);
        *m = NULL;
    }
}

static struct line *line_of(const struct marks *m, uint64_t hash) {
    return &m->lines[hash & m->mask];
}

static int way_of(const struct line *l, uint64_t hash) {
    for (int i = 0; i < WAYS; i++) {
        if (l->hash[i] == hash && l->word[i] != 0) {
            return i;
        }
    }
    return -1;
}

void marks_put(struct marks *m, uint64_t hash, enum mark mark, int64_t until_ms) {
    struct line *l = line_of(m, hash);
    int way = way_of(l, hash);
    for (int i = 0; way < 0 && i < WAYS; i++) {
        way = l->word[i] == 0 ? i : -1;
    }
    if (way < 0) { /* full: the one that ends first goes; one that has ended is among them */
        way = 0;
        for (int i = 1; i < WAYS; i++) {
            way = l->word[i] < l->word[way] ? i : way;
        }
    } else if (l->word[way] == 0) {
        atomic_fetch_add_explicit(&m->count, 1, memory_order_relaxed);
    }
    l->hash[way] = hash;
    l->word[way] = until_ms * (1 << KIND_BITS) | (int64_t)mark;
}

enum mark marks_get(const struct marks *m, uint64_t hash, int64_t now_ms) {
    const struct line *l = line_of(m, hash);
    int way = way_of(l, hash);
    if (way < 0 || l->word[way] >> KIND_BITS <= now_ms) {
        return MARK_NONE;
    }
    return (enum mark)(l->word[way] & KIND_MASK);
}

void marks_drop(struct marks *m, uint64_t hash) {
    struct line *l = line_of(m, hash);
    int way = way_of(l, hash);
    if (way >= 0) {
        l->word[way] = 0;
        atomic_fetch_sub_explicit(&m->count, 1, memory_order_relaxed);
    }
}

void marks_clear(struct marks *m) {
    memset(m->lines, 0, (m->mask + 1) * sizeof(struct line));
    atomic_store_explicit(&m->count, 0, memory_order_relaxed);
}

size_t marks_count(const struct marks *m) {
    return atomic_load_explicit(&m->count, memory_order_relaxed);
}

size_t marks_bytes(const struct marks *m) {
    return (m->mask + 1) * sizeof(struct line);
}
