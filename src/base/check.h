/* SPDX-License-Identifier: BSD-3-Clause */
/* check: CHECK stays in release builds (memory safety, on-disk facts); ASSERT is for debug builds.
 * Neither is ever used on what a client sent. */
#pragma once

/* Prints the failed condition with its place to stderr, runs the crash hook, aborts. */
__attribute__((noreturn, cold)) void check_failed(const char *cond, const char *file, int line,
                                                  const char *func);
/* The hook prints what the process was doing; it must not allocate or lock. NULL removes it. */
void check_set_hook(void (*hook)(void));

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0)) {                                                        \
            check_failed(#cond, __FILE__, __LINE__, __func__);                                     \
        }                                                                                          \
    } while (0)

#ifdef NDEBUG
#define ASSERT(cond)                                                                               \
    do {                                                                                           \
        (void)sizeof(cond);                                                                        \
    } while (0)
#else
#define ASSERT(cond) CHECK(cond)
#endif

#define UNREACHABLE() check_failed("unreachable", __FILE__, __LINE__, __func__)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* For the path of every call, where saving and restoring registers costs as much as the work, and for what must stay out of it. */
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NEVER_INLINE __attribute__((noinline))
