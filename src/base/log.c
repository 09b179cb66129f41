/* SPDX-License-Identifier: BSD-3-Clause */
/* log: "pid:M 24 Nov 2026 11:48:27.123 * text", written by one write call each. */
#include "src/base/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static _Atomic int sink_fd = STDOUT_FILENO;
static _Atomic int threshold = LOG_NOTICE;

void log_set_level(enum log_level level) {
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

bool log_open(const char *path) {
    int fd = STDOUT_FILENO;
    if (path != NULL && path[0] != '\0') {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd < 0) {
            return false;
        }
    }
    int old = atomic_exchange(&sink_fd, fd);
    if (old != STDOUT_FILENO && old != fd) {
        close(old);
    }
    return true;
}

void log_line(enum log_level level, const char *fmt, ...) {
    if ((int)level < atomic_load_explicit(&threshold, memory_order_relaxed)) {
        return;
    }
    char line[1024];
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    localtime_r(&ts.tv_sec, &tm);
    int n = snprintf(line, sizeof(line), "%d:M ", (int)getpid());
    n += (int)strftime(line + n, sizeof(line) - (size_t)n, "%d %b %Y %H:%M:%S", &tm);
    n += snprintf(line + n, sizeof(line) - (size_t)n, ".%03ld %c ", ts.tv_nsec / 1000000,
                  ".-*#"[level]);
    va_list ap;
    va_start(ap, fmt);
    int body = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
    va_end(ap);
    n += body;
    if (n > (int)sizeof(line) - 2) {
        n = (int)sizeof(line) - 2; /* a long line is cut, not split */
    }
    for (char *p = line; p < line + n; p++) {
        if (*p == '\n' || *p == '\r') {
            *p = ' ';
        }
    }
    line[n++] = '\n';
    if (write(atomic_load(&sink_fd), line, (size_t)n) < 0) {
        return; /* a full disk must not stop the server; nobody is left to tell */
    }
}
