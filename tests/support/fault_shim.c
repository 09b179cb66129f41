/* SPDX-License-Identifier: BSD-3-Clause */
/* fault_shim: preloaded into a server. Calls on files below a folder named l2 (TABLE: writes to tables alone, not to the log) fail, are slow or stand still, as a shared page says;
 * tests/faults builds it and writes the page named by STRATA_FAULTS. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum kind { READ, WRITE, SYNC, OPEN, MSYNC, TABLE, KINDS };
enum { STAND_STILL = 1 << 16, SLOW = 1 << 17 /* plus milliseconds */, FILES = 65536, LOOK_US = 500 };

/* How calls of a kind go: 0 as always, an errno, STAND_STILL until that changes, or SLOW; and how many were hit. */
struct page {
    _Atomic uint32_t how[KINDS], hits[KINDS];
};

static struct page *page;
enum file { NOT_OURS, OURS, OUR_TABLE };
static _Atomic unsigned char ours[FILES]; /* enum file */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("STRATA_FAULTS");
    int (*real_open)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    int fd = path != NULL ? real_open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd >= 0 ? mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    page = p != MAP_FAILED ? p : NULL;
    if (fd >= 0) {
        close(fd);
    }
}

/* True: the call is to fail, errno says how. */
static int strikes(enum kind kind) {
    uint32_t how = page != NULL ? atomic_load(&page->how[kind]) : 0;
    if (how == 0) {
        return 0;
    }
    atomic_fetch_add(&page->hits[kind], 1);
    if (how & SLOW) {
        usleep((how & (SLOW - 1)) * 1000);
        return 0;
    }
    while (how == STAND_STILL) {
        usleep(LOOK_US);
        how = atomic_load(&page->how[kind]);
    }
    errno = (int)how;
    return how != 0 && how < STAND_STILL;
}

static enum file what_is(int fd) {
    return fd >= 0 && fd < FILES ? atomic_load(&ours[fd]) : NOT_OURS;
}

static int is_ours(int fd) {
    return what_is(fd) != NOT_OURS;
}

static int strikes_at(int fd, enum kind kind) {
    return is_ours(fd) && (strikes(kind) || (kind == WRITE && what_is(fd) == OUR_TABLE && strikes(TABLE)));
}

static int opened(int fd, enum file mine) {
    if (fd >= 0 && fd < FILES) {
        atomic_store(&ours[fd], (unsigned char)mine);
    }
    return fd;
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

static int open_as(const char *name, const char *path, int flags, mode_t mode) {
    size_t n = strlen(path);
    enum file mine = strstr(path, "l2/") == NULL ? NOT_OURS : n > 4 && strcmp(path + n - 4, ".sst") == 0 ? OUR_TABLE : OURS;
    if (mine != NOT_OURS && strikes(OPEN)) {
        return -1;
    }
    return opened(REAL(name, int (*)(const char *, int, ...))(path, flags, mode), mine);
}

static mode_t mode_of(int flags, va_list ap) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

#define OPENER(name)                                                                               \
    int name(const char *path, int flags, ...);                                                    \
    int name(const char *path, int flags, ...) {                                                   \
        va_list ap;                                                                                \
        va_start(ap, flags);                                                                       \
        mode_t mode = mode_of(flags, ap);                                                          \
        va_end(ap);                                                                                \
        return open_as(#name, path, flags, mode);                                                  \
    }
OPENER(open)
OPENER(open64)

int close(int fd) {
    opened(fd, NOT_OURS);
    return REAL("close", int (*)(int))(fd);
}

#define POSITIONED(name, kind, buffer)                                                             \
    ssize_t name(int fd, buffer p, size_t n, off_t at);                                            \
    ssize_t name(int fd, buffer p, size_t n, off_t at) {                                           \
        if (strikes_at(fd, kind)) {                                                                \
            return -1;                                                                             \
        }                                                                                          \
        return REAL(#name, ssize_t (*)(int, buffer, size_t, off_t))(fd, p, n, at);                 \
    }
POSITIONED(pread, READ, void *)
POSITIONED(pread64, READ, void *)
POSITIONED(pwrite, WRITE, const void *)
POSITIONED(pwrite64, WRITE, const void *)

ssize_t write(int fd, const void *p, size_t n) {
    if (strikes_at(fd, WRITE)) {
        return -1;
    }
    return REAL("write", ssize_t (*)(int, const void *, size_t))(fd, p, n);
}

#define SYNCER(name)                                                                               \
    int name(int fd) {                                                                             \
        if (is_ours(fd) && strikes(SYNC)) {                                                        \
            return -1;                                                                             \
        }                                                                                          \
        return REAL(#name, int (*)(int))(fd);                                                      \
    }
SYNCER(fsync)
SYNCER(fdatasync)

int msync(void *p, size_t n, int flags) {
    if (strikes(MSYNC)) {
        return -1;
    }
    return REAL("msync", int (*)(void *, size_t, int))(p, n, flags);
}
