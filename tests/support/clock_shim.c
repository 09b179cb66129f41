/* SPDX-License-Identifier: BSD-3-Clause */
/* clock_shim: preloaded into a server. The wall clock is STRATA_CLOCK_OFFSET_MS milliseconds from the machine's; monotonic clocks are as they are. */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long long offset_ms;

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("STRATA_CLOCK_OFFSET_MS");
    offset_ms = text != NULL ? atoll(text) : 0;
}

static int is_wall(clockid_t id) {
    return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
    static int (*real)(clockid_t, struct timespec *);
    real = real != NULL ? real : (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, ts);
    if (result == 0 && is_wall(id)) {
        long long ns = ts->tv_nsec + offset_ms % 1000 * 1000000;
        ts->tv_sec += offset_ms / 1000 + (ns >= 1000000000) - (ns < 0);
        ts->tv_nsec = ns + (ns < 0 ? 1000000000 : ns >= 1000000000 ? -1000000000 : 0);
    }
    return result;
}

int gettimeofday(struct timeval *tv, void *zone) {
    struct timespec ts;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (out != NULL) {
        *out = ts.tv_sec;
    }
    return ts.tv_sec;
}
