/* SPDX-License-Identifier: BSD-3-Clause */
/* chunk: a pool of chunks. The fullest extents are served first, so that the emptiest can become empty.
 *
 * The first touch of a huge page clears 2 MiB, which takes its caller a millisecond or ten when the system has to look for one. So once
 * the tier is not small any more, a thread has the next extent ready. Who comes before it is gets one of small pages. */
#include "src/l1/chunk.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include "src/base/check.h"
#include "src/base/list.h"
#include "src/base/lock.h"
#include "src/base/mem.h"
#include "src/rt/pool.h"

enum {
    TRIM_EXTENTS = 32, /* looked at in one trim: it holds the pool's lock */
    SMALL_EXTENTS = 8  /* so many ask for no huge pages: a small cache stays small */
};

struct extent {
    struct list node; /* in pool->some while it has free chunks */
    char *base;
    uint64_t free_bits;    /* one per chunk */
    uint64_t touched_bits; /* handed out since its memory last went back to the system */
    bool asks_huge;        /* for huge pages: not while it has holes, which the system would fill again */
};

struct chunk_pool {
    struct lock lock;
    struct list some; /* extents with free chunks, fuller ones first */
    struct extent **all;
    size_t count, cap, trim_at; /* trim_at: the extent the next trim looks at first */
    struct pool *helper;        /* one thread; NULL as long as the tier is small */
    struct job prepare;
    bool preparing;             /* prepare is the helper's */
    char *ready;                /* an extent of resident huge pages, or NULL */
    _Atomic size_t bytes, resident;
};

_Static_assert(CHUNKS_PER_EXTENT == 64, "one bit per chunk");

struct chunk_pool *chunk_pool_create(void) {
    struct chunk_pool *p = mem_zalloc(sizeof(*p));
    lock_init(&p->lock, LOCK_CHUNKS, 0);
    list_init(&p->some);
    return p;
}

static char *map_extent(void) {
    char *raw = mmap(NULL, 2 * (size_t)EXTENT_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) {
        return NULL;
    }
    uintptr_t aligned = ((uintptr_t)raw + EXTENT_BYTES - 1) & ~(uintptr_t)(EXTENT_BYTES - 1);
    size_t before = aligned - (uintptr_t)raw;
    if (before > 0) {
        munmap(raw, before);
    }
    munmap((char *)aligned + EXTENT_BYTES, EXTENT_BYTES - before);
    return (char *)aligned;
}

static void prepare_run(struct job *job) {
    struct chunk_pool *p = (struct chunk_pool *)((char *)job - offsetof(struct chunk_pool, prepare));
    char *base = map_extent();
    if (base != NULL) {
        madvise(base, EXTENT_BYTES, MADV_HUGEPAGE);
        madvise(base, EXTENT_BYTES, MADV_POPULATE_WRITE); /* an older kernel leaves that to the first touch */
        atomic_fetch_add_explicit(&p->resident, EXTENT_BYTES, memory_order_relaxed);
    }
    lock_acquire(&p->lock);
    p->ready = base;
    lock_release(&p->lock);
}

static void prepare_done(struct job *job) {
    struct chunk_pool *p = (struct chunk_pool *)((char *)job - offsetof(struct chunk_pool, prepare));
    lock_acquire(&p->lock);
    p->preparing = false;
    lock_release(&p->lock);
}

/* Has the next extent made, unless it is there or on its way. */
static void prepare_next(struct chunk_pool *p) {
    if (p->count < SMALL_EXTENTS || p->preparing || p->ready != NULL) {
        return;
    }
    if (p->helper == NULL) {
        p->helper = pool_create(&(struct pool_options){.name = "chunks", .threads = 1, .lanes = 1, .depth = 1});
    }
    p->prepare = (struct job){.run = prepare_run, .done = prepare_done};
    p->preparing = pool_submit(p->helper, 0, &p->prepare);
}

static void ask_huge(struct extent *e, bool huge) {
    madvise(e->base, EXTENT_BYTES, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    e->asks_huge = huge;
}

static struct extent *add_extent(struct chunk_pool *p) {
    bool ready = p->ready != NULL;
    char *base = ready ? p->ready : map_extent();
    p->ready = NULL;
    prepare_next(p);
    if (base == NULL) {
        return NULL;
    }
    struct extent *e = mem_zalloc(sizeof(*e));
    e->base = base;
    e->asks_huge = ready;
    e->touched_bits = ready ? UINT64_MAX : 0;
    e->free_bits = UINT64_MAX;
    if (p->count == p->cap) {
        p->cap = p->cap == 0 ? 16 : p->cap * 2;
        p->all = mem_realloc(p->all, p->cap * sizeof(*p->all));
    }
    /* sorted by address, for chunk_give */
    size_t i = p->count++;
    for (; i > 0 && p->all[i - 1]->base > base; i--) {
        p->all[i] = p->all[i - 1];
    }
    p->all[i] = e;
    list_push_back(&p->some, &e->node);
    return e;
}

void *chunk_take(struct chunk_pool *p) {
    if (mem_fails_now()) {
        return NULL;
    }
    lock_acquire(&p->lock);
    struct extent *e = list_empty(&p->some) ? add_extent(p)
                                            : LIST_ENTRY(p->some.next, struct extent, node);
    void *chunk = NULL;
    if (e != NULL) {
        int bit = __builtin_ctzll(e->free_bits);
        e->free_bits &= e->free_bits - 1;
        if (!(e->touched_bits >> bit & 1)) {
            e->touched_bits |= (uint64_t)1 << bit;
            atomic_fetch_add_explicit(&p->resident, CHUNK_BYTES, memory_order_relaxed);
        }
        if (e->free_bits == 0) {
            list_remove(&e->node);
            if (!e->asks_huge && p->count > SMALL_EXTENTS) {
                ask_huge(e, true);
            }
        }
        chunk = e->base + (size_t)bit * CHUNK_BYTES;
        atomic_fetch_add_explicit(&p->bytes, CHUNK_BYTES, memory_order_relaxed);
    }
    lock_release(&p->lock);
    return chunk;
}

static struct extent *extent_of(const struct chunk_pool *p, const char *chunk) {
    size_t lo = 0, hi = p->count;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (p->all[mid]->base <= chunk) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return p->all[lo];
}

/* Returns the memory of these free chunks to the system. */
static size_t release(struct chunk_pool *p, struct extent *e, uint64_t bits) {
    size_t n = 0;
    e->touched_bits &= ~bits;
    while (bits != 0) { /* neighbours at once */
        unsigned first = (unsigned)__builtin_ctzll(bits);
        uint64_t behind = ~(bits >> first);
        unsigned run = behind != 0 ? (unsigned)__builtin_ctzll(behind) : CHUNKS_PER_EXTENT;
        madvise(e->base + (size_t)first * CHUNK_BYTES, (size_t)run * CHUNK_BYTES, MADV_DONTNEED);
        n += (size_t)run * CHUNK_BYTES;
        bits &= first + run < CHUNKS_PER_EXTENT ? UINT64_MAX << (first + run) : 0;
    }
    atomic_fetch_sub_explicit(&p->resident, n, memory_order_relaxed);
    return n;
}

void chunk_pool_trim(struct chunk_pool *p, size_t bytes) {
    lock_acquire(&p->lock);
    for (size_t n = p->count < TRIM_EXTENTS ? p->count : TRIM_EXTENTS; n-- > 0 && bytes > 0;) {
        p->trim_at = p->trim_at + 1 < p->count ? p->trim_at + 1 : 0;
        struct extent *e = p->all[p->trim_at];
        uint64_t bits = e->free_bits & e->touched_bits;
        if (bits != 0 && e->asks_huge) {
            ask_huge(e, false);
        }
        size_t freed = release(p, e, bits);
        bytes -= freed < bytes ? freed : bytes;
    }
    lock_release(&p->lock);
}

size_t chunk_pool_resident(const struct chunk_pool *p) {
    return atomic_load_explicit(&p->resident, memory_order_relaxed);
}

void chunk_give(struct chunk_pool *p, void *chunk) {
    lock_acquire(&p->lock);
    struct extent *e = extent_of(p, chunk);
    uint64_t bit = (uint64_t)1 << (((char *)chunk - e->base) / CHUNK_BYTES);
    CHECK((e->free_bits & bit) == 0);
    if (e->free_bits == 0) {
        list_push_front(&p->some, &e->node);
    }
    e->free_bits |= bit;
    if (e->free_bits == UINT64_MAX) {
        release(p, e, e->touched_bits);
        list_remove(&e->node);
        list_push_back(&p->some, &e->node);
    }
    atomic_fetch_sub_explicit(&p->bytes, CHUNK_BYTES, memory_order_relaxed);
    lock_release(&p->lock);
}

size_t chunk_pool_bytes(const struct chunk_pool *p) {
    return atomic_load_explicit(&p->bytes, memory_order_relaxed);
}

void chunk_pool_destroy(struct chunk_pool **pool) {
    struct chunk_pool *p = *pool;
    *pool = NULL;
    CHECK(chunk_pool_bytes(p) == 0);
    if (p->helper != NULL) {
        pool_destroy(&p->helper);
    }
    if (p->ready != NULL) {
        munmap(p->ready, EXTENT_BYTES);
    }
    for (size_t i = 0; i < p->count; i++) {
        munmap(p->all[i]->base, EXTENT_BYTES);
        mem_free(p->all[i]);
    }
    mem_free(p->all);
    mem_free(p);
}
