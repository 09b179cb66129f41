/* SPDX-License-Identifier: BSD-3-Clause */
/* purge_log: an append-only file. */
#include "src/server/purge_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/lock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/ds/crc64.h"
#include "src/guard/purge.h"
#include "src/tier/guard.h"

enum { HEAD = 32, PREFIX_LIMIT = 1 << 20 };

struct purge_log {
    struct lock lock; /* PURGES: the file */
    int fd;
    off_t end;
    bool power_safe;
};

/* crc64 of all behind it | kind | soft | database | 0 | tag | length | 0 u32 | time */
static void put_head(unsigned char *head, const struct purge_record *r) {
    uint32_t length = (uint32_t)r->prefix.n;
    memset(head, 0, HEAD);
    head[8] = (unsigned char)r->kind;
    head[9] = r->soft;
    head[10] = r->db;
    memcpy(head + 12, &r->tag, 4);
    memcpy(head + 16, &length, 4);
    memcpy(head + 24, &r->time_ms, 8);
    uint64_t crc = crc64(crc64(0, head + 8, HEAD - 8), r->prefix.p, r->prefix.n);
    memcpy(head, &crc, 8);
}

/* One record at p; its length, or 0 when it is none. */
static size_t take(const unsigned char *p, size_t left, struct purge_record *r) {
    uint32_t length;
    uint64_t crc;
    if (left < HEAD) {
        return 0;
    }
    memcpy(&crc, p, 8);
    memcpy(&length, p + 16, 4);
    bool known = p[8] == PURGE_PREFIX || p[8] == PURGE_TAG || (p[8] == PURGE_BY_SLOTS && length == PURGE_SLOT_BYTES);
    if (!known || length > PREFIX_LIMIT || left - HEAD < length || crc != crc64(0, p + 8, HEAD - 8 + length)) {
        return 0;
    }
    *r = (struct purge_record){.kind = (enum purge_kind)p[8], .soft = p[9], .db = p[10], .prefix = slice_make(p + HEAD, length)};
    memcpy(&r->tag, p + 12, 4);
    memcpy(&r->time_ms, p + 24, 8);
    return HEAD + length;
}

static bool purge_again(struct guard *g, const struct purge_record *r) {
    if (r->kind == PURGE_BY_SLOTS) {
        guard_purge_slots(g, (const uint8_t *)r->prefix.p);
        return true;
    }
    return r->kind == PURGE_PREFIX ? guard_purge_prefix(g, r->db, r->prefix, r->soft, r->time_ms)
                                   : guard_purge_tag(g, r->tag, r->soft, r->time_ms);
}

static bool replay(struct purge_log *log, struct guard *g) {
    struct stat st;
    if (fstat(log->fd, &st) != 0) {
        return false;
    }
    unsigned char *bytes = mem_alloc((size_t)st.st_size);
    ssize_t n = pread(log->fd, bytes, (size_t)st.st_size, 0);
    struct purge_record r;
    size_t at = 0, used;
    unsigned count = 0;
    while (n > 0 && (used = take(bytes + at, (size_t)n - at, &r)) != 0) {
        if (!purge_again(g, &r)) {
            log_warning("purge-max is lower than when these purges were made");
            n = -1;
        }
        at += used;
        count++;
    }
    mem_free(bytes);
    log->end = (off_t)at;
    if (count > 0) {
        log_notice("%u purges are in force", count);
    }
    return n >= 0 && ftruncate(log->fd, log->end) == 0;
}

struct purge_log *purge_log_open(const char *path, bool power_safe, struct guard *g, struct buf *err) {
    struct purge_log *log = mem_zalloc(sizeof(*log));
    lock_init(&log->lock, LOCK_PURGES, 0);
    log->power_safe = power_safe;
    log->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (log->fd < 0 || !replay(log, g)) {
        buf_printf(err, "'%s': %s", path, strerror(errno));
        purge_log_close(&log);
    }
    return log;
}

void purge_log_close(struct purge_log **log) {
    if (*log != NULL) {
        if ((*log)->fd >= 0) {
            close((*log)->fd);
        }
        mem_free(*log);
        *log = NULL;
    }
}

bool purge_log_append(struct purge_log *log, const struct purge_record *r) {
    size_t n = HEAD + r->prefix.n;
    unsigned char *bytes = mem_alloc(n);
    put_head(bytes, r);
    memcpy(bytes + HEAD, r->prefix.p == NULL ? "" : r->prefix.p, r->prefix.n);
    lock_acquire(&log->lock);
    ssize_t done = pwrite(log->fd, bytes, n, log->end);
    bool ok = done == (ssize_t)n && (!log->power_safe || fdatasync(log->fd) == 0);
    if (ok) {
        log->end += (off_t)n;
    } else if (done >= 0 && done != (ssize_t)n) {
        errno = ENOSPC;
    }
    lock_release(&log->lock);
    mem_free(bytes);
    return ok;
}
