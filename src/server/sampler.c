/* SPDX-License-Identifier: BSD-3-Clause */
/* sampler: timers, the handler, the table. The handler may run on any thread at any place, with any lock held: it calls only
 * backtrace, whose library was loaded before, and writes to memory that was made before. */
#include "src/server/sampler.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

#include "src/base/buf.h"
#include "src/server/symbols.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { PROBES = 32, HANDLER_FRAMES = 8 /* most that the handler and the signal add on top */ };

struct stack {
    _Atomic uint64_t hash; /* 0: free */
    _Atomic uint32_t count;
    _Atomic uint32_t n; /* frames, once they are written */
    uint32_t thread;
    void *frames[SAMPLER_FRAMES];
};

struct thread {
    pid_t tid;
    timer_t timer;
    char name[16];
};

struct sampler {
    struct stack stacks[SAMPLER_STACKS];
    _Atomic uint64_t samples, dropped;
    struct thread threads[SAMPLER_THREADS]; /* the owner's */
    unsigned thread_n;
};

/* Read by a signal handler, which has no other way to know. */
static _Atomic(struct sampler *) current;
static _Atomic int handlers; /* that may be using it */

/* ---- the handler ---- */

static uintptr_t interrupted_at(const void *context) {
#if defined(__x86_64__)
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.pc;
#else
    (void)context;
    return 0;
#endif
}

static uint64_t hash_stack(void *const *frames, int n, uint32_t thread) {
    uint64_t h = 0x9e3779b97f4a7c15ULL ^ thread;
    for (int i = 0; i < n; i++) {
        h = (h ^ (uintptr_t)frames[i]) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }
    return h != 0 ? h : 1;
}

static void note(struct sampler *s, void *const *frames, int n, uint32_t thread) {
    uint64_t h = hash_stack(frames, n, thread);
    for (unsigned i = 0; i < PROBES; i++) {
        struct stack *at = &s->stacks[(h + i) % SAMPLER_STACKS];
        uint64_t there = 0;
        if (atomic_compare_exchange_strong(&at->hash, &there, h)) {
            at->thread = thread;
            memcpy(at->frames, frames, (size_t)n * sizeof(*frames));
            atomic_store_explicit(&at->n, (uint32_t)n, memory_order_release);
            there = h;
        }
        if (there == h) {
            atomic_fetch_add_explicit(&at->count, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&s->samples, 1, memory_order_relaxed);
            return;
        }
    }
    atomic_fetch_add_explicit(&s->dropped, 1, memory_order_relaxed);
}

static void on_sigprof(int signum, siginfo_t *info, void *context) {
    int saved = errno;
    (void)signum;
    atomic_fetch_add(&handlers, 1);
    struct sampler *s = atomic_load(&current);
    if (s != NULL && info->si_code == SI_TIMER) {
        void *frames[SAMPLER_FRAMES + HANDLER_FRAMES];
        int n = backtrace(frames, SAMPLER_FRAMES + HANDLER_FRAMES), skip = 0;
        while (skip < n && skip < HANDLER_FRAMES && (uintptr_t)frames[skip] != interrupted_at(context)) {
            skip++;
        }
        skip = skip < n && skip < HANDLER_FRAMES ? skip : n > 2 ? 2 : 0;
        n = n - skip < SAMPLER_FRAMES ? n - skip : SAMPLER_FRAMES;
        note(s, frames + skip, n, (uint32_t)info->si_value.sival_int);
    }
    atomic_fetch_sub(&handlers, 1);
    errno = saved;
}

/* It stays for good: a last signal may come late, and would end the process. */
static void install(void) {
    void *frame[4];
    struct sigaction act = {.sa_sigaction = on_sigprof, .sa_flags = SA_SIGINFO | SA_RESTART};
    backtrace(frame, 4); /* loads the unwinder now: the handler must not */
    sigemptyset(&act.sa_mask);
    sigaction(SIGPROF, &act, NULL);
}

/* ---- timers ---- */

static void read_name(struct thread *t) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", (int)t->tid);
    FILE *f = fopen(path, "re");
    snprintf(t->name, sizeof(t->name), "%d", (int)t->tid);
    if (f != NULL) {
        if (fgets(t->name, sizeof(t->name), f) != NULL) {
            t->name[strcspn(t->name, "\n")] = '\0';
        }
        fclose(f);
    }
}

/* A timer on the thread's processor time. */
static void add_thread(struct sampler *s, pid_t tid) {
    for (unsigned i = 0; i < s->thread_n; i++) {
        if (s->threads[i].tid == tid) {
            return;
        }
    }
    if (s->thread_n == SAMPLER_THREADS) {
        return;
    }
    struct thread *t = &s->threads[s->thread_n];
    clockid_t clock = (clockid_t)(((~(unsigned)tid) << 3) | 6); /* as the kernel names a thread's own clock */
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF, .sigev_value.sival_int = (int)s->thread_n};
    ev.sigev_notify_thread_id = tid;
    struct itimerspec every = {.it_interval.tv_nsec = 1000000000 / SAMPLER_HZ, .it_value.tv_nsec = 1000000000 / SAMPLER_HZ};
    t->tid = tid;
    if (timer_create(clock, &ev, &t->timer) != 0) {
        return; /* has ended */
    }
    read_name(t);
    s->thread_n++;
    timer_settime(t->timer, 0, &every, NULL);
}

static void look(struct sampler *s) {
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        int tid = atoi(e->d_name);
        if (tid > 0) {
            add_thread(s, tid);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}

void sampler_look(void) {
    struct sampler *s = atomic_load(&current);
    if (s != NULL) {
        look(s);
    }
}

bool sampler_start(void) {
    /* not the allocator's: its pages are touched only where there are stacks, and go with it */
    struct sampler *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sampler *none = NULL;
    if (s == MAP_FAILED) {
        return false;
    }
    install();
    if (!atomic_compare_exchange_strong(&current, &none, s)) {
        munmap(s, sizeof(*s));
        return false;
    }
    look(s);
    return true;
}

/* ---- the result ---- */

static void fold(const struct sampler *s, const struct stack *at, const struct symbols *names, struct buf *out) {
    uint32_t n = atomic_load_explicit(&at->n, memory_order_acquire);
    size_t begin = out->n;
    buf_puts(out, s->threads[at->thread % SAMPLER_THREADS].name);
    for (uint32_t i = n; i-- > 0;) {
        buf_putc(out, ';');
        symbols_print(names, (uintptr_t)at->frames[i] - (i > 0), out); /* the call, not what follows it */
    }
    for (size_t i = begin; i < out->n; i++) {
        out->p[i] = out->p[i] == ' ' ? '_' : out->p[i];
    }
    buf_printf(out, " %u\n", atomic_load_explicit(&at->count, memory_order_relaxed));
}

void sampler_stop(struct buf *out, struct sampler_counts *counts) {
    struct sampler *s = atomic_load(&current);
    *counts = (struct sampler_counts){0};
    if (s == NULL) {
        return;
    }
    for (unsigned i = 0; i < s->thread_n; i++) {
        timer_delete(s->threads[i].timer);
    }
    atomic_store(&current, NULL);
    while (atomic_load(&handlers) != 0) {
        sched_yield();
    }
    struct symbols *names = symbols_open();
    for (unsigned i = 0; i < SAMPLER_STACKS; i++) {
        if (atomic_load_explicit(&s->stacks[i].n, memory_order_acquire) > 0) {
            fold(s, &s->stacks[i], names, out);
            counts->stacks++;
        }
    }
    symbols_close(&names);
    counts->samples = atomic_load(&s->samples);
    counts->dropped = atomic_load(&s->dropped);
    counts->threads = s->thread_n;
    munmap(s, sizeof(*s));
}
