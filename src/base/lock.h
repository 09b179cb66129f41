/* SPDX-License-Identifier: BSD-3-Clause */
/* lock: a 4-byte mutex on a futex (Drepper, "Futexes are tricky", mutex2), uncontended in one atomic
 * instruction each way. Classes and ranks are rows of locks.def: a thread takes locks in rising rank,
 * several of one MANY class in rising order number. Debug builds check rank and holder. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_class {
#define LOCK(name, rank, many, doc) LOCK_##name,
#include "src/base/locks.def"
#undef LOCK
    LOCK_CLASS_COUNT
};

struct lock {
    _Atomic uint32_t word; /* 0 free, 1 held, 2 held with sleepers */
#ifndef NDEBUG
    uint16_t cls;
    uint32_t order;
#endif
};

/* order: the lock's place among its class's, for MANY classes. */
void lock_init(struct lock *l, enum lock_class cls, uint32_t order);

void lock_acquire_slow(struct lock *l);
void lock_release_slow(struct lock *l);
#ifdef NDEBUG
static inline void lock_debug_acquire(struct lock *l) {
    (void)l;
}
static inline void lock_debug_note(struct lock *l) {
    (void)l;
}
static inline void lock_debug_release(struct lock *l) {
    (void)l;
}
static inline void lock_assert_held(const struct lock *l) {
    (void)l;
}
#else
void lock_debug_acquire(struct lock *l); /* checks the rank, then notes */
void lock_debug_note(struct lock *l);
void lock_debug_release(struct lock *l);
/* Aborts unless this thread holds l. */
void lock_assert_held(const struct lock *l);
#endif

static inline void lock_acquire(struct lock *l) {
    uint32_t zero = 0;
    if (__builtin_expect(!atomic_compare_exchange_strong_explicit(
                             &l->word, &zero, 1, memory_order_acquire, memory_order_relaxed),
                         0)) {
        lock_acquire_slow(l);
    }
    lock_debug_acquire(l);
}

/* A hint: the line is about to be written, and may still be another core's. */
static inline void prefetch_write(const void *p) {
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)p)); /* __builtin_prefetch means to read where the processor may be any */
#else
    __builtin_prefetch(p, 1);
#endif
}

/* lock_acquire; true when another thread held it. */
static inline bool lock_acquire_late(struct lock *l) {
    uint32_t zero = 0;
    bool late = __builtin_expect(!atomic_compare_exchange_strong_explicit(
                                     &l->word, &zero, 1, memory_order_acquire, memory_order_relaxed),
                                 0);
    if (late) {
        lock_acquire_slow(l);
    }
    lock_debug_acquire(l);
    return late;
}

/* True when the lock was free and is now held. */
static inline bool lock_try(struct lock *l) {
    uint32_t zero = 0;
    if (!atomic_compare_exchange_strong_explicit(&l->word, &zero, 1, memory_order_acquire,
                                                 memory_order_relaxed)) {
        return false;
    }
    lock_debug_note(l); /* a try cannot deadlock: it may go against the ranks */
    return true;
}

static inline void lock_release(struct lock *l) {
    lock_debug_release(l);
    if (__builtin_expect(atomic_exchange_explicit(&l->word, 0, memory_order_release) == 2, 0)) {
        lock_release_slow(l);
    }
}

/* Times a thread had to sleep for a lock of the class since start. */
uint64_t lock_contended(enum lock_class cls);
const char *lock_class_name(enum lock_class cls);
int lock_class_rank(enum lock_class cls);
const char *lock_class_doc(enum lock_class cls);
