/* SPDX-License-Identifier: BSD-3-Clause */
/* mem: allocation with accounting. jemalloc keeps the counts when it is linked; otherwise (sanitizer
 * builds) a relaxed counter of usable sizes does. */
#include "src/base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/check.h"

static _Thread_local uint64_t fail_countdown;
static _Thread_local bool fail_on; /* and do not stop at the first */

void mem_fail_nth(uint64_t n) {
    fail_countdown = n;
    fail_on = false;
}

void mem_fail_from(uint64_t n) {
    fail_countdown = n;
    fail_on = n != 0;
}

uint64_t mem_fail_left(void) {
    return fail_countdown - (fail_on && fail_countdown == 1);
}

static bool injected_failure(void) {
    if (likely(fail_countdown == 0)) {
        return false;
    }
    if (fail_on && fail_countdown == 1) {
        return true;
    }
    return --fail_countdown == 0;
}

bool mem_fails_now(void) {
    return injected_failure();
}

__attribute__((noreturn, cold)) static void out_of_memory(size_t n) {
    fprintf(stderr, "out of memory allocating %zu bytes\n", n);
    abort();
}

#ifdef STRATA_JEMALLOC
#include <jemalloc/jemalloc.h>

/* Read by jemalloc before main: freed pages go back to the system soon, as maxmemory bounds what is resident; of large blocks, too, on
 * its own thread: 256 MB take 40 ms, which who deletes a value has not. */
extern const char *malloc_conf;
const char *malloc_conf = "narenas:4,background_thread:true,dirty_decay_ms:200,muzzy_decay_ms:0,oversize_threshold:0";

static _Atomic size_t allocated_bytes, active_bytes, resident_bytes;

#define raw_usable(p) malloc_usable_size((void *)(uintptr_t)(p))
#define count_add(p) ((void)(p))
#define count_sub(p) ((void)(p))

void mem_start(void) {
    size_t never = SIZE_MAX / 2; /* the first arena is made before the option is looked at */
    mallctl("arena.0.oversize_threshold", NULL, NULL, &never, sizeof(never));
}

void mem_refresh(void) {
    uint64_t epoch = 1;
    size_t len = sizeof(epoch), value = 0, vlen = sizeof(value);
    mallctl("epoch", &epoch, &len, &epoch, len);
    if (mallctl("stats.allocated", &value, &vlen, NULL, 0) == 0) {
        atomic_store_explicit(&allocated_bytes, value, memory_order_relaxed);
    }
    if (mallctl("stats.active", &value, &vlen, NULL, 0) == 0) {
        atomic_store_explicit(&active_bytes, value, memory_order_relaxed);
    }
    if (mallctl("stats.resident", &value, &vlen, NULL, 0) == 0) {
        atomic_store_explicit(&resident_bytes, value, memory_order_relaxed);
    }
}

size_t mem_resident_bytes(void) {
    return atomic_load_explicit(&resident_bytes, memory_order_relaxed);
}

size_t mem_active_bytes(void) {
    return atomic_load_explicit(&active_bytes, memory_order_relaxed);
}

void mem_purge(void) {
    mallctl("arena." "4096" ".purge", NULL, NULL, NULL, 0); /* 4096: every arena */
}

bool mem_can_profile(void) {
    bool on = false;
    size_t n = sizeof(on);
    return mallctl("opt.prof", &on, &n, NULL, 0) == 0 && on;
}

bool mem_profile(const char *path) {
    return mallctl("prof.dump", NULL, NULL, &path, sizeof(path)) == 0;
}

const char *mem_allocator_name(void) {
    return "jemalloc-5.3.0";
}
#else
static _Atomic size_t allocated_bytes;

#define raw_usable(p) malloc_usable_size((void *)(uintptr_t)(p))
#define count_add(p) atomic_fetch_add_explicit(&allocated_bytes, raw_usable(p), memory_order_relaxed)
#define count_sub(p) atomic_fetch_sub_explicit(&allocated_bytes, raw_usable(p), memory_order_relaxed)

void mem_start(void) {
}

void mem_refresh(void) {
}

size_t mem_resident_bytes(void) {
    return mem_allocated_bytes();
}

size_t mem_active_bytes(void) {
    return mem_allocated_bytes();
}

void mem_purge(void) {
    malloc_trim(0);
}

bool mem_can_profile(void) {
    return false;
}

bool mem_profile(const char *path) {
    (void)path;
    return false;
}

const char *mem_allocator_name(void) {
    return "libc";
}
#endif

size_t mem_allocated_bytes(void) {
    return atomic_load_explicit(&allocated_bytes, memory_order_relaxed);
}

void *mem_try_alloc(size_t n) {
    if (injected_failure()) {
        return NULL;
    }
    void *p = malloc(n == 0 ? 1 : n);
    if (p != NULL) {
        count_add(p);
    }
    return p;
}

void *mem_try_zalloc(size_t n) {
    if (injected_failure()) {
        return NULL;
    }
    void *p = calloc(1, n == 0 ? 1 : n);
    if (p != NULL) {
        count_add(p);
    }
    return p;
}

void *mem_try_realloc(void *p, size_t n) {
    if (p == NULL) {
        return mem_try_alloc(n);
    }
    if (injected_failure()) {
        return NULL;
    }
    count_sub(p);
    void *q = realloc(p, n == 0 ? 1 : n);
    if (q != NULL) {
        count_add(q);
    } else {
        count_add(p);
    }
    return q;
}

void *mem_alloc(size_t n) {
    void *p = malloc(n == 0 ? 1 : n);
    if (unlikely(p == NULL)) {
        out_of_memory(n);
    }
    count_add(p);
    return p;
}

void *mem_zalloc(size_t n) {
    void *p = calloc(1, n == 0 ? 1 : n);
    if (unlikely(p == NULL)) {
        out_of_memory(n);
    }
    count_add(p);
    return p;
}

void *mem_realloc(void *p, size_t n) {
    if (p != NULL) {
        count_sub(p);
    }
    void *q = realloc(p, n == 0 ? 1 : n);
    if (unlikely(q == NULL)) {
        out_of_memory(n);
    }
    count_add(q);
    return q;
}

void *mem_memdup(const void *p, size_t n) {
    void *q = mem_alloc(n);
    if (n > 0) {
        memcpy(q, p, n);
    }
    return q;
}

char *mem_strdup(const char *s) {
    return mem_memdup(s, strlen(s) + 1);
}

void mem_free(void *p) {
    if (p != NULL) {
        count_sub(p);
        free(p);
    }
}

size_t mem_usable(const void *p) {
    return p == NULL ? 0 : raw_usable(p);
}
