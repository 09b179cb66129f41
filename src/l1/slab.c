/* SPDX-License-Identifier: BSD-3-Clause */
/* slab: size classes over chunks. */
#include "src/l1/slab.h"

#include <string.h>

#include "src/base/check.h"
#include "src/base/mem.h"

enum { NONE16 = 0xFFFF };
#define NONE UINT32_MAX

static size_t class_bytes(unsigned cls) {
    if (cls == SLAB_TABLE_CLASS) {
        return 64;
    }
    if (cls <= 32) {
        return (size_t)cls * 8;
    }
    if (cls <= 48) {
        return 256 + (size_t)(cls - 32) * 16;
    }
    unsigned step = (cls - 49) / 32, within = (cls - 49) % 32 + 1;
    size_t base = (size_t)512 << step;
    return base + within * base / 32;
}

unsigned slab_class_of(size_t bytes) {
    ASSERT(bytes > 0 && bytes <= SLAB_MAX);
    if (bytes <= 256) {
        return (unsigned)((bytes + 7) / 8);
    }
    if (bytes <= 512) {
        return 32 + (unsigned)((bytes - 256 + 15) / 16);
    }
    unsigned step = (unsigned)(63 - __builtin_clzll(bytes - 1)) - 9;
    size_t base = (size_t)512 << step, unit = base / 32;
    return 49 + step * 32 + (unsigned)((bytes - base + unit - 1) / unit) - 1;
}

void slab_init(struct slab *s, struct chunk_pool *pool) {
    memset(s, 0, sizeof(*s));
    s->pool = pool;
    s->vacant = NONE;
    for (unsigned c = 0; c < SLAB_CLASSES; c++) {
        size_t size = class_bytes(c);
        s->classes[c] = (struct slab_class){
            .size = (uint32_t)size, .per_chunk = (uint32_t)(CHUNK_BYTES / size), .some = NONE};
    }
}

void slab_fini(struct slab *s) {
    for (uint32_t i = 0; i < s->chunk_count; i++) {
        if (s->chunks[i].base != NULL) {
            chunk_give(s->pool, s->chunks[i].base);
        }
    }
    for (uint32_t i = 0; i < s->retired_count; i++) {
        mem_free(s->retired[i]);
    }
    mem_free(s->retired);
    mem_free(s->chunks);
    mem_free(s->bases);
}

/* ---- chunks ---- */

static void unlist(struct slab *s, uint32_t i) {
    struct slab_chunk *c = &s->chunks[i];
    if (!c->listed) {
        return;
    }
    if (c->prev == NONE) {
        s->classes[c->cls].some = c->next;
    } else {
        s->chunks[c->prev].next = c->next;
    }
    if (c->next != NONE) {
        s->chunks[c->next].prev = c->prev;
    }
    c->listed = false;
}

static void enlist(struct slab *s, uint32_t i) {
    struct slab_chunk *c = &s->chunks[i];
    struct slab_class *cls = &s->classes[c->cls];
    c->prev = NONE;
    c->next = cls->some;
    if (c->next != NONE) {
        s->chunks[c->next].prev = i;
    }
    cls->some = i;
    c->listed = true;
}

static bool grow_arrays(struct slab *s) {
    uint32_t cap = s->chunk_cap == 0 ? 8 : s->chunk_cap * 2;
    struct slab_chunk *chunks = mem_try_realloc(s->chunks, cap * sizeof(*chunks));
    if (chunks == NULL) {
        return false;
    }
    s->chunks = chunks;
    char **bases = mem_try_alloc(cap * sizeof(*bases));
    if (bases == NULL) {
        return false;
    }
    memset(bases, 0, cap * sizeof(*bases));
    if (s->chunk_count > 0) {
        memcpy(bases, s->bases, s->chunk_count * sizeof(*bases));
    }
    if (s->bases != NULL) { /* a prefetch without the lock may be reading it */
        s->retired = mem_realloc(s->retired, (s->retired_count + 1) * sizeof(*s->retired));
        s->retired[s->retired_count++] = s->bases;
    }
    __atomic_store_n(&s->bases, bases, __ATOMIC_RELEASE);
    s->chunk_cap = cap;
    return true;
}

static bool add_chunk(struct slab *s, unsigned cls) {
    if (s->vacant == NONE && s->chunk_count == s->chunk_cap && !grow_arrays(s)) {
        return false;
    }
    char *base = s->chunk_count < NONE / HANDLES_PER_CHUNK ? chunk_take(s->pool) : NULL;
    if (base == NULL) {
        return false;
    }
    uint32_t i = s->vacant;
    if (i != NONE) {
        s->vacant = s->chunks[i].next;
    } else {
        i = s->chunk_count++;
    }
    s->chunks[i] = (struct slab_chunk){.base = base, .cls = (uint16_t)cls, .free_head = NONE16};
    s->bases[i] = base;
    struct slab_class *c = &s->classes[cls];
    if (i == 0) {
        s->chunks[i].bump = 1; /* handle 0 means none */
    }
    s->chunk_bytes += CHUNK_BYTES;
    c->free_blocks += c->per_chunk - s->chunks[i].bump;
    s->free_bytes += (uint64_t)(c->per_chunk - s->chunks[i].bump) * c->size;
    enlist(s, i);
    return true;
}

static void drop_chunk(struct slab *s, uint32_t i) {
    struct slab_chunk *c = &s->chunks[i];
    unlist(s, i);
    chunk_give(s->pool, c->base);
    s->chunk_bytes -= CHUNK_BYTES;
    c->base = NULL;
    s->bases[i] = NULL;
    c->next = s->vacant;
    s->vacant = i;
}

static void drop_empty(struct slab *s, uint32_t i) {
    struct slab_class *k = &s->classes[s->chunks[i].cls];
    k->free_blocks -= k->per_chunk;
    s->free_bytes -= (uint64_t)k->per_chunk * k->size;
    drop_chunk(s, i);
}

static uint32_t live_blocks(const struct slab_chunk *c) {
    return (uint32_t)c->bump - c->free_count;
}

/* ---- blocks ---- */

uint32_t slab_alloc(struct slab *s, unsigned cls) {
    struct slab_class *k = &s->classes[cls];
    if (unlikely(k->some == NONE) && !add_chunk(s, cls)) {
        return 0;
    }
    uint32_t i = k->some;
    struct slab_chunk *c = &s->chunks[i];
    uint32_t block;
    if (c->free_head != NONE16) {
        block = c->free_head;
        memcpy(&c->free_head, c->base + (size_t)block * k->size + 2, 2);
        c->free_count--;
    } else {
        block = c->bump++;
    }
    if (c->free_head == NONE16 && c->bump == k->per_chunk) {
        unlist(s, i);
    }
    k->free_blocks--;
    s->free_bytes -= k->size;
    s->live_bytes += k->size;
    return i * HANDLES_PER_CHUNK + block * (k->size / 8);
}

void slab_free(struct slab *s, uint32_t handle) {
    uint32_t i = handle / HANDLES_PER_CHUNK;
    struct slab_chunk *c = &s->chunks[i];
    struct slab_class *k = &s->classes[c->cls];
    uint32_t block = handle % HANDLES_PER_CHUNK * 8 / k->size;
    unsigned char *p = slab_at(s, handle);
    ASSERT(p[0] != SLAB_FREE || c->cls == SLAB_TABLE_CLASS);
    p[0] = SLAB_FREE;
    memcpy(p + 2, &c->free_head, 2);
    c->free_head = (uint16_t)block;
    c->free_count++;
    k->free_blocks++;
    s->free_bytes += k->size;
    s->live_bytes -= k->size;
    bool empty = live_blocks(c) == (i == 0); /* chunk 0 keeps its null block */
    if (empty && i != 0 && k->free_blocks >= 2 * (uint64_t)k->per_chunk) {
        drop_empty(s, i);
    } else if (!c->listed) {
        enlist(s, i);
    }
}

bool slab_is_live(const struct slab *s, uint32_t handle) {
    uint32_t i = handle / HANDLES_PER_CHUNK;
    if (handle == 0 || i >= s->chunk_count || s->chunks[i].base == NULL) {
        return false;
    }
    const struct slab_chunk *c = &s->chunks[i];
    size_t offset = (size_t)(handle % HANDLES_PER_CHUNK) * 8, size = s->classes[c->cls].size;
    return c->cls != SLAB_TABLE_CLASS && offset % size == 0 && offset / size < c->bump &&
           (unsigned char)c->base[offset] != SLAB_FREE;
}

/* ---- compaction ---- */

uint64_t slab_untouched(const struct slab *s) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->chunk_count; i++) {
        const struct slab_chunk *c = &s->chunks[i];
        n += c->base != NULL ? (uint64_t)(s->classes[c->cls].per_chunk - c->bump) * s->classes[c->cls].size : 0;
    }
    return n;
}

uint32_t slab_sparse_chunk(struct slab *s, unsigned n) {
    for (unsigned k = 0; k < n && s->chunk_count > 1; k++) {
        s->sweep = s->sweep + 1 < s->chunk_count ? s->sweep + 1 : 1;
        const struct slab_chunk *c = &s->chunks[s->sweep];
        if (c->base == NULL || c->cls == SLAB_TABLE_CLASS || !c->listed) {
            continue;
        }
        const struct slab_class *cls = &s->classes[c->cls];
        uint32_t live = live_blocks(c), own_free = cls->per_chunk - live;
        if (own_free * 4 >= cls->per_chunk && cls->free_blocks - own_free >= live) {
            return s->sweep;
        }
    }
    return NONE;
}

unsigned slab_evacuate(struct slab *s, uint32_t i, uint32_t *out, unsigned n) {
    struct slab_chunk *c = &s->chunks[i];
    const struct slab_class *k = &s->classes[c->cls];
    unlist(s, i);
    unsigned found = 0;
    for (uint32_t b = 0; b < c->bump && found < n; b++) {
        if ((unsigned char)c->base[(size_t)b * k->size] != SLAB_FREE) {
            out[found++] = i * HANDLES_PER_CHUNK + b * (k->size / 8);
        }
    }
    return found;
}

void slab_give_back(struct slab *s, uint32_t i) {
    struct slab_chunk *c = &s->chunks[i];
    if (c->base != NULL && live_blocks(c) == 0) {
        drop_empty(s, i);
    }
}
