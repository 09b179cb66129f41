/* SPDX-License-Identifier: BSD-3-Clause */
/* quiet: the threads that see how late they wake. */
#include "bench/load/quiet.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "bench/load/sock.h"
#include "src/base/mem.h"

enum { CORES_MAX = 256, NAP_NS = 500000, LATE_NS = 1000000 };

struct quiet {
    _Atomic uint64_t last_late;
    atomic_bool stop;
    unsigned n;
    pthread_t threads[CORES_MAX];
};

static void *watch_core(void *arg) {
    struct quiet *q = arg;
    prctl(PR_SET_TIMERSLACK, 1000);
    uint64_t before = sock_now();
    while (!atomic_load_explicit(&q->stop, memory_order_relaxed)) {
        struct timespec nap = {0, NAP_NS};
        nanosleep(&nap, NULL);
        uint64_t now = sock_now();
        if (now - before > NAP_NS + LATE_NS) {
            atomic_store_explicit(&q->last_late, now, memory_order_relaxed);
        }
        before = now;
    }
    return NULL;
}

static void thread_start(struct quiet *q, unsigned long core) {
    pthread_attr_t attr;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    struct sched_param first = {.sched_priority = 2};
    pthread_attr_init(&attr);
    pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
    pthread_attr_setschedparam(&attr, &first);
    if (pthread_attr_setaffinity_np(&attr, sizeof(set), &set) != 0 || pthread_create(&q->threads[q->n], &attr, watch_core, q) != 0) {
        die("--watch: core %lu cannot be watched: that takes the right to run before others (SCHED_FIFO)", core);
    }
    pthread_attr_destroy(&attr);
    q->n++;
}

struct quiet *quiet_start(const char *cores) {
    struct quiet *q = mem_zalloc(sizeof(*q));
    for (const char *p = cores;; p++) {
        char *end;
        unsigned long core = strtoul(p, &end, 10);
        if (end == p || (*end != ',' && *end != '\0') || core >= CPU_SETSIZE || q->n == CORES_MAX) {
            die("%s: want numbers of cores, as in 0,1", cores);
        }
        thread_start(q, core);
        if (*end == '\0') {
            return q;
        }
        p = end;
    }
}

uint64_t quiet_last_late(const struct quiet *q) {
    return atomic_load_explicit(&q->last_late, memory_order_relaxed);
}

void quiet_stop(struct quiet *q) {
    atomic_store_explicit(&q->stop, true, memory_order_relaxed);
    for (unsigned i = 0; i < q->n; i++) {
        pthread_join(q->threads[i], NULL);
    }
    mem_free(q);
}
