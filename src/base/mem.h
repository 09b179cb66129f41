/* SPDX-License-Identifier: BSD-3-Clause */
/* mem: the only caller of the allocator. Sizes a client chooses go through mem_try_*, which can say
 * no; small fixed sizes go through mem_*, which abort when memory is gone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Never NULL; abort on exhaustion. The zero-byte request yields a unique pointer. */
void *mem_alloc(size_t n) __attribute__((malloc, returns_nonnull, warn_unused_result));
void *mem_zalloc(size_t n) __attribute__((malloc, returns_nonnull, warn_unused_result));
void *mem_realloc(void *p, size_t n) __attribute__((returns_nonnull, warn_unused_result));
char *mem_strdup(const char *s) __attribute__((returns_nonnull, warn_unused_result));
void *mem_memdup(const void *p, size_t n) __attribute__((returns_nonnull, warn_unused_result));

/* NULL on exhaustion or when a test asked for this call to fail; the old block stays valid. */
void *mem_try_alloc(size_t n) __attribute__((malloc, warn_unused_result));
void *mem_try_zalloc(size_t n) __attribute__((malloc, warn_unused_result));
void *mem_try_realloc(void *p, size_t n) __attribute__((warn_unused_result));

void mem_free(void *p);

/* Bytes the allocator really holds for p, slack included. */
size_t mem_usable(const void *p);

/* Settings the allocator takes only from a running process; once, before threads are started. */
void mem_start(void);

/* Bytes handed out by the allocator now, bytes of the pages they are on, and bytes it keeps resident for them. Any thread;
 * refreshed by mem_refresh, at most as old as the last call of it. */
size_t mem_allocated_bytes(void);
size_t mem_active_bytes(void);
size_t mem_resident_bytes(void);
void mem_refresh(void);
/* Gives unused pages back to the system (MEMORY PURGE). */
void mem_purge(void);
/* Whether the allocator records who allocates what, and writes that to a new file. May block. */
bool mem_can_profile(void);
bool mem_profile(const char *path);
/* "jemalloc-5.3.0" or "libc": INFO's mem_allocator. */
const char *mem_allocator_name(void);

/* Tests: the nth mem_try_* call from now on this thread fails (1 = the next), 0 turns it off. */
void mem_fail_nth(uint64_t n);
/* The same, and every call behind it, too. */
void mem_fail_from(uint64_t n);
/* How many calls until the next failure; 0: none will come, or (after mem_fail_from) they all do. */
uint64_t mem_fail_left(void);
/* For memory a client chooses that is not the allocator's (mmap): counts like a mem_try_* call, true when it must fail. */
bool mem_fails_now(void);
