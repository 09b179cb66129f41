/* SPDX-License-Identifier: BSD-3-Clause */
/* lock: slow paths and debug checks of the futex mutex. */
#include "src/base/lock.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/base/check.h"

enum { SPINS = 100 };

static const struct {
    const char *name;
    int rank;
    bool many;
    const char *doc;
} classes[] = {
#define ONE false
#define MANY true
#define LOCK(name, rank, many, doc) {#name, rank, many, doc},
#include "src/base/locks.def"
#undef LOCK
#undef ONE
#undef MANY
};

static _Atomic uint64_t contended[LOCK_CLASS_COUNT];

const char *lock_class_name(enum lock_class cls) {
    return classes[cls].name;
}

int lock_class_rank(enum lock_class cls) {
    return classes[cls].rank;
}

const char *lock_class_doc(enum lock_class cls) {
    return classes[cls].doc;
}

uint64_t lock_contended(enum lock_class cls) {
    return atomic_load_explicit(&contended[cls], memory_order_relaxed);
}

static void count_contended(struct lock *l) {
#ifndef NDEBUG
    atomic_fetch_add_explicit(&contended[l->cls], 1, memory_order_relaxed);
#else
    (void)l; /* the class is not stored in release builds: count the shards', by far the most */
    atomic_fetch_add_explicit(&contended[LOCK_SHARD], 1, memory_order_relaxed);
#endif
}

void lock_acquire_slow(struct lock *l) {
    for (int i = 0; i < SPINS; i++) {
        uint32_t zero = 0;
        if (atomic_load_explicit(&l->word, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_weak_explicit(&l->word, &zero, 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            return;
        }
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    count_contended(l);
    while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire) != 0) {
        syscall(SYS_futex, &l->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
    }
}

void lock_release_slow(struct lock *l) {
    syscall(SYS_futex, &l->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

#ifdef NDEBUG
void lock_init(struct lock *l, enum lock_class cls, uint32_t order) {
    (void)cls;
    (void)order;
    atomic_init(&l->word, 0);
}
#else
enum { MAX_HELD = 4200 };

/* What this thread holds, in the order taken. */
static _Thread_local struct {
    const struct lock *held[MAX_HELD];
    int count;
} mine;

void lock_init(struct lock *l, enum lock_class cls, uint32_t order) {
    atomic_init(&l->word, 0);
    l->cls = (uint16_t)cls;
    l->order = order;
}

void lock_debug_note(struct lock *l) {
    CHECK(mine.count < MAX_HELD);
    mine.held[mine.count++] = l;
}

void lock_debug_acquire(struct lock *l) {
    if (mine.count > 0) {
        const struct lock *last = mine.held[mine.count - 1];
        int rank = classes[l->cls].rank, last_rank = classes[last->cls].rank;
        CHECK(rank > last_rank ||
              (l->cls == last->cls && classes[l->cls].many && l->order > last->order));
    }
    lock_debug_note(l);
}

void lock_debug_release(struct lock *l) {
    for (int i = mine.count - 1; i >= 0; i--) {
        if (mine.held[i] == l) {
            for (int j = i; j + 1 < mine.count; j++) {
                mine.held[j] = mine.held[j + 1];
            }
            mine.count--;
            return;
        }
    }
    UNREACHABLE();
}

void lock_assert_held(const struct lock *l) {
    for (int i = mine.count - 1; i >= 0; i--) {
        if (mine.held[i] == l) {
            return;
        }
    }
    UNREACHABLE();
}
#endif
