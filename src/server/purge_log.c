/* SPDX-License-Identifier: BSD-3-Clause */
/* purge_log: a file that is appended to, and now and then written anew. */
#include "src/server/purge_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/file.h"
#include "src/base/hash.h"
#include "src/base/list.h"
#include "src/base/lock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/ds/crc64.h"
#include "src/guard/purge.h"
#include "src/l1/l1.h"
#include "src/rt/pool.h"
#include "src/tier/guard.h"
#include "src/tier/tier.h"

enum { HEAD = 32, PREFIX_LIMIT = 1 << 20, NUMBERS_BYTES = PURGE_SLOTS * sizeof(uint32_t), TIDY_BYTES = 1 << 20, TIDY_FACTOR = 2 };

/* The last digit is the format's. Files of the format before had no head. */
static const char file_head[PURGE_FILE_HEAD + 1] = "strata purges 2\n";
enum { FORMAT_AT = PURGE_FILE_HEAD - 2 };

/* A purge between being noted and being made. */
struct pending {
    struct list link;
    uint64_t number;
    struct purge_record r;
    char prefix[];
};

struct purge_log {
    /* fixed after open */
    char *path, *beside;
    bool power_safe;
    struct guard *guard;

    struct lock lock; /* PURGES: the file */
    int fd;
    _Atomic int64_t end; /* read without it */

    struct lock pending_lock;  /* PENDING: what is noted and not made */
    struct list pending;       /* in the file's order */
    _Atomic uint64_t noted, made; /* numbers of the last; read without it */

    _Atomic int64_t tidy_at; /* bytes from which on it is worth it */
    struct job tidying;
    _Atomic bool busy; /* tidying is the pool's */
};

/* crc64 of all behind it | kind | soft | database | 0 | tag | length | number | time */
static void put_head(unsigned char *head, const struct purge_record *r) {
    uint32_t length = (uint32_t)r->prefix.n;
    memset(head, 0, HEAD);
    head[8] = (unsigned char)r->kind;
    head[9] = r->soft;
    head[10] = r->db;
    memcpy(head + 12, &r->tag, 4);
    memcpy(head + 16, &length, 4);
    memcpy(head + 20, &r->number, 4);
    memcpy(head + 24, &r->time_ms, 8);
    uint64_t crc = crc64(crc64(0, head + 8, HEAD - 8), r->prefix.p, r->prefix.n);
    memcpy(head, &crc, 8);
}

/* HEAD bytes and the prefix's; returns how many. */
static size_t put_record(unsigned char *to, const struct purge_record *r) {
    memcpy(to + HEAD, r->prefix.p == NULL ? "" : r->prefix.p, r->prefix.n);
    put_head(to, r);
    return HEAD + r->prefix.n;
}

static bool is_known(unsigned kind, uint32_t length) {
    static const uint32_t lengths[] = {[PURGE_BY_SLOTS] = PURGE_SLOT_BYTES, [PURGE_SLOT_NUMBERS] = NUMBERS_BYTES, [PURGE_LAST] = 0};
    return kind == PURGE_PREFIX || kind == PURGE_TAG ? length <= PREFIX_LIMIT : kind >= PURGE_BY_SLOTS && kind <= PURGE_LAST && length == lengths[kind];
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
    if (!is_known(p[8], length) || left - HEAD < length || crc != crc64(0, p + 8, HEAD - 8 + length)) {
        return 0;
    }
    *r = (struct purge_record){.kind = (enum purge_kind)p[8], .soft = p[9], .db = p[10], .prefix = slice_make(p + HEAD, length)};
    memcpy(&r->tag, p + 12, 4);
    memcpy(&r->number, p + 20, 4);
    memcpy(&r->time_ms, p + 24, 8);
    return HEAD + length;
}

/* ---- reading ---- */

static void restore_numbers(struct guard *g, struct slice bytes) {
    uint32_t *numbers = mem_memdup(bytes.p, bytes.n); /* aligned */
    guard_restore_slots(g, numbers);
    mem_free(numbers);
}

/* False: there is no room for another name. */
static bool purge_again(struct guard *g, const struct purge_record *r) {
    switch (r->kind) {
    case PURGE_BY_SLOTS:
        guard_purge_slots(g, (const uint8_t *)r->prefix.p);
        return true;
    case PURGE_SLOT_NUMBERS:
        restore_numbers(g, r->prefix);
        return true;
    case PURGE_LAST:
        purges_set_last(g->purges, r->number);
        return true;
    case PURGE_PREFIX:
        return guard_purge_prefix(g, r->db, r->prefix, r->soft, r->time_ms);
    default:
        return guard_purge_tag(g, r->tag, r->soft, r->time_ms);
    }
}

/* What was noted is in force, also when purge-max has become lower, or others were noted meanwhile. True when there was room for it. */
static bool make_one(struct guard *g, const struct purge_record *r) {
    if (r->number != 0) {
        purges_set_last(g->purges, r->number - 1);
    }
    bool room = purge_again(g, r);
    if (!room) {
        purges_set_max(g->purges, purges_count(g->purges) + 1);
        (void)purge_again(g, r);
    }
    return room;
}

static unsigned char *read_all(const struct purge_log *log, int64_t n) {
    unsigned char *bytes = mem_try_alloc((size_t)n);
    if (bytes != NULL && pread(log->fd, bytes, (size_t)n, 0) != n) {
        mem_free(bytes);
        return NULL;
    }
    return bytes;
}

/* Returns where the last whole record ends. */
static size_t replay(struct guard *g, const unsigned char *bytes, size_t n, size_t at) {
    struct purge_record r;
    bool room = true;
    unsigned count = 0;
    for (size_t used; (used = take(bytes + at, n - at, &r)) != 0; at += used) {
        room &= make_one(g, &r);
        count += r.kind != PURGE_LAST;
    }
    if (count > 0) {
        log_notice("%u purges are in force", count);
    }
    if (!room) {
        log_warning("purge-max is lower than what has been purged: all of it stays so, nothing else can be");
    }
    return at;
}

/* Where the records begin, by the head; -1 with the reason when they are not to be understood. */
static int records_begin(const unsigned char *bytes, size_t n, struct buf *why) {
    struct purge_record r;
    size_t head = n < PURGE_FILE_HEAD ? n : PURGE_FILE_HEAD;
    if (memcmp(bytes, file_head, head) == 0) {
        return (int)head; /* less than whole: a crash when it was made */
    }
    if (n >= PURGE_FILE_HEAD && memcmp(bytes, file_head, FORMAT_AT) == 0) {
        buf_printf(why, "its format is '%c', this version reads '%c': start the version that wrote it, or remove `dir`'s disk tier with it", bytes[FORMAT_AT],
                   file_head[FORMAT_AT]);
        return -1;
    }
    if (take(bytes, n, &r) != 0) {
        return 0;
    }
    buf_puts(why, "it is no file of purges: without it values that were purged would come back; remove it together with `dir`'s disk tier");
    return -1;
}

/* False with the reason. */
static bool read_file(struct purge_log *log, struct buf *why) {
    struct stat st;
    unsigned char *bytes = fstat(log->fd, &st) == 0 ? read_all(log, st.st_size) : NULL;
    if (bytes == NULL) {
        buf_puts(why, strerror(errno));
        return false;
    }
    int from = records_begin(bytes, (size_t)st.st_size, why);
    log->end = from >= 0 ? (int64_t)replay(log->guard, bytes, (size_t)st.st_size, (size_t)from) : 0;
    mem_free(bytes);
    if (from < 0) {
        return false;
    }
    bool ok = ftruncate(log->fd, log->end) == 0;
    if (ok && log->end < PURGE_FILE_HEAD) {
        ok = pwrite(log->fd, file_head, PURGE_FILE_HEAD, 0) == PURGE_FILE_HEAD && fsync(log->fd) == 0;
        log->end = PURGE_FILE_HEAD;
    } else if (ok && from == 0) {
        (void)purge_log_tidy(log); /* so that it has one */
    }
    if (!ok) {
        buf_puts(why, strerror(errno));
    }
    return ok;
}

struct purge_log *purge_log_open(const char *path, bool power_safe, struct guard *g, struct buf *err) {
    struct purge_log *log = mem_zalloc(sizeof(*log));
    struct buf beside = {0};
    struct buf why = {0};
    lock_init(&log->lock, LOCK_PURGES, 0);
    lock_init(&log->pending_lock, LOCK_PENDING, 0);
    list_init(&log->pending);
    log->guard = g;
    buf_printf(&beside, "%s.new", path);
    buf_putc(&beside, '\0');
    log->path = mem_strdup(path);
    log->beside = mem_strdup(beside.p);
    buf_free(&beside);
    log->power_safe = power_safe;
    log->tidy_at = TIDY_BYTES;
    unlink(log->beside); /* of a run that was cut off */
    log->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (log->fd < 0) {
        buf_puts(&why, strerror(errno));
    }
    if (log->fd < 0 || !read_file(log, &why)) {
        buf_printf(err, "'%s': %.*s", path, (int)why.n, why.p);
        purge_log_close(&log);
    }
    buf_free(&why);
    return log;
}

/* The oldest; there is one. */
static struct pending *take_pending(struct purge_log *log) {
    struct pending *p = LIST_ENTRY(log->pending.next, struct pending, link);
    list_remove(&p->link);
    return p;
}

void purge_log_close(struct purge_log **lp) {
    struct purge_log *log = *lp;
    *lp = NULL;
    if (log != NULL) {
        if (log->fd >= 0) {
            close(log->fd);
        }
        while (!list_empty(&log->pending)) {
            mem_free(take_pending(log));
        }
        mem_free(log->path);
        mem_free(log->beside);
        mem_free(log);
    }
}

/* ---- appending ---- */

int64_t purge_log_bytes(const struct purge_log *log) {
    return atomic_load_explicit(&log->end, memory_order_relaxed);
}

/* Behind those that are in the file before it; PURGES held. */
static uint64_t await_making(struct purge_log *log, struct pending *p) {
    lock_acquire(&log->pending_lock);
    uint64_t number = atomic_load_explicit(&log->noted, memory_order_relaxed) + 1;
    p->number = number;
    list_push_back(&log->pending, &p->link);
    atomic_store_explicit(&log->noted, number, memory_order_release);
    lock_release(&log->pending_lock); /* from here on it may be made, and freed, by another */
    return number;
}

static struct pending *pending_create(const struct purge_record *r) {
    struct pending *p = mem_alloc(sizeof(*p) + r->prefix.n);
    p->r = *r;
    memcpy(p->prefix, r->prefix.p == NULL ? "" : r->prefix.p, r->prefix.n);
    p->r.prefix.p = p->prefix;
    return p;
}

uint64_t purge_log_append(struct purge_log *log, const struct purge_record *r) {
    unsigned char *bytes = mem_alloc(HEAD + r->prefix.n);
    struct pending *p = pending_create(r);
    size_t n = put_record(bytes, r);
    uint64_t number = 0;
    lock_acquire(&log->lock);
    int64_t end = purge_log_bytes(log);
    ssize_t done = pwrite(log->fd, bytes, n, end);
    bool ok = done == (ssize_t)n && (!log->power_safe || fdatasync(log->fd) == 0);
    if (ok) {
        atomic_store_explicit(&log->end, end + (int64_t)n, memory_order_relaxed);
        number = await_making(log, p);
        p = NULL;
    } else if (done >= 0 && done != (ssize_t)n) {
        errno = ENOSPC;
    }
    lock_release(&log->lock);
    mem_free(p);
    mem_free(bytes);
    return number;
}

/* ---- making ---- */

void purge_log_make(struct purge_log *log, uint64_t upto) {
    lock_acquire(&log->pending_lock);
    while (!list_empty(&log->pending) && LIST_ENTRY(log->pending.next, struct pending, link)->number <= upto) {
        struct pending *p = take_pending(log);
        lock_release(&log->pending_lock); /* the order stands: the shards are locked */
        (void)make_one(log->guard, &p->r);
        atomic_store_explicit(&log->made, p->number, memory_order_release);
        mem_free(p);
        lock_acquire(&log->pending_lock);
    }
    lock_release(&log->pending_lock);
}

void purge_log_make_rest(struct purge_log *log) {
    uint64_t noted = atomic_load_explicit(&log->noted, memory_order_acquire);
    if (atomic_load_explicit(&log->made, memory_order_acquire) < noted) {
        l1_lock_all(log->guard->l1);
        purge_log_make(log, noted);
        tier_changed(log->guard->tier, NULL);
        l1_unlock_all(log->guard->l1);
    }
}

/* ---- writing anew ---- */

/* A prefix's or tag's purge in the bytes of a file. */
struct noted {
    uint64_t hash; /* of what it is about */
    const unsigned char *at;
    uint32_t number;
};

/* What the bytes of a file come to. */
struct digest {
    struct noted *list;
    size_t n, cap, bytes; /* bytes: of the records in list */
    uint32_t *slots, last; /* slots: NULL when there was no purge of any */
};

static uint64_t hash_record(const struct purge_record *r) {
    uint64_t about = (uint64_t)r->kind << 48 | (uint64_t)r->soft << 40 | (uint64_t)r->db << 32 | r->tag;
    return hash_name(r->prefix) ^ about * 0x9e3779b97f4a7c15ULL;
}

static bool same_record(const unsigned char *a, const unsigned char *b) {
    struct purge_record x, y;
    return take(a, SIZE_MAX, &x) != 0 && take(b, SIZE_MAX, &y) != 0 && x.kind == y.kind && x.soft == y.soft && x.db == y.db && x.tag == y.tag &&
           slice_eq(x.prefix, y.prefix);
}

static void digest_slots(struct digest *d, const struct purge_record *r) {
    if (d->slots == NULL) {
        d->slots = mem_zalloc(NUMBERS_BYTES);
    }
    if (r->kind == PURGE_SLOT_NUMBERS) {
        memcpy(d->slots, r->prefix.p, NUMBERS_BYTES);
        return;
    }
    for (unsigned s = 0; s < PURGE_SLOTS; s++) {
        d->slots[s] = slot_set_has((const uint8_t *)r->prefix.p, s) ? d->last : d->slots[s];
    }
}

/* False: no memory. */
static bool digest_one(struct digest *d, const struct purge_record *r, const unsigned char *at) {
    if (r->kind == PURGE_SLOT_NUMBERS) {
        digest_slots(d, r);
        return true;
    }
    d->last = r->number != 0 ? r->number : d->last + 1;
    if (r->kind == PURGE_BY_SLOTS) {
        digest_slots(d, r);
    } else if (r->kind != PURGE_LAST) {
        if (d->n == d->cap) {
            size_t cap = d->cap * 2 + 256;
            struct noted *list = mem_try_realloc(d->list, cap * sizeof(*list));
            if (list == NULL) {
                return false;
            }
            d->list = list;
            d->cap = cap;
        }
        d->list[d->n++] = (struct noted){hash_record(r), at, d->last};
    }
    return true;
}

/* What is about the same side by side, the last first. */
static int compare_noted(const void *a, const void *b) {
    const struct noted *x = a, *y = b;
    return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : x->number > y->number ? -1 : x->number < y->number;
}

/* Only the last of each remains. */
static void drop_void(struct digest *d) {
    size_t kept = 0, group = 0; /* group: where what has this hash begins, of those kept */
    qsort(d->list, d->n, sizeof(*d->list), compare_noted);
    for (size_t i = 0; i < d->n; i++) {
        bool later = false;
        group = kept > 0 && d->list[kept - 1].hash == d->list[i].hash ? group : kept;
        for (size_t k = group; k < kept && !later; k++) {
            later = same_record(d->list[k].at, d->list[i].at);
        }
        if (!later) {
            struct purge_record r;
            d->bytes += take(d->list[i].at, SIZE_MAX, &r);
            d->list[kept++] = d->list[i];
        }
    }
    d->n = kept;
}

static bool digest_bytes(struct digest *d, const unsigned char *bytes, size_t n) {
    struct purge_record r;
    size_t used;
    for (size_t at = memcmp(bytes, file_head, PURGE_FILE_HEAD) == 0 ? PURGE_FILE_HEAD : 0; (used = take(bytes + at, n - at, &r)) != 0; at += used) {
        if (!digest_one(d, &r, bytes + at)) {
            return false;
        }
    }
    if (d->n > 0) {
        drop_void(d);
    }
    return true;
}

/* NULL: no memory. */
static unsigned char *render(const struct digest *d, size_t *n) {
    unsigned char *out = mem_try_alloc(PURGE_FILE_HEAD + d->bytes + 2 * HEAD + NUMBERS_BYTES);
    *n = PURGE_FILE_HEAD;
    if (out != NULL) {
        memcpy(out, file_head, PURGE_FILE_HEAD);
    }
    for (size_t i = 0; out != NULL && i < d->n; i++) {
        struct purge_record r;
        (void)take(d->list[i].at, SIZE_MAX, &r);
        r.number = d->list[i].number;
        *n += put_record(out + *n, &r);
    }
    if (out != NULL && d->slots != NULL) {
        *n += put_record(out + *n, &(struct purge_record){.kind = PURGE_SLOT_NUMBERS, .prefix = slice_make((const char *)d->slots, NUMBERS_BYTES)});
    }
    if (out != NULL) {
        *n += put_record(out + *n, &(struct purge_record){.kind = PURGE_LAST, .number = d->last});
    }
    return out;
}

/* The new file beside the old one; -1 with errno. */
static int write_beside(const struct purge_log *log, const unsigned char *bytes, size_t n) {
    int fd = open(log->beside, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0 && (pwrite(fd, bytes, n, 0) != (ssize_t)n || fsync(fd) != 0)) {
        int code = errno;
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

static bool copy_behind(const struct purge_log *log, int64_t from, int fd, size_t to) {
    size_t n = (size_t)(purge_log_bytes(log) - from);
    char *bytes = n > 0 ? mem_try_alloc(n) : NULL;
    bool ok = n == 0 || (bytes != NULL && pread(log->fd, bytes, n, from) == (ssize_t)n && pwrite(fd, bytes, n, (off_t)to) == (ssize_t)n && fsync(fd) == 0);
    mem_free(bytes);
    return ok;
}

/* What was appended meanwhile goes behind it, then it is the file. n: its bytes, which stand for the first `upto` of the old one. */
static bool replace(struct purge_log *log, int fd, size_t n, int64_t upto) {
    lock_acquire(&log->lock);
    int64_t end = (int64_t)n + purge_log_bytes(log) - upto;
    bool ok = copy_behind(log, upto, fd, n) && rename(log->beside, log->path) == 0;
    if (ok) {
        close(log->fd);
        log->fd = fd;
        atomic_store_explicit(&log->end, end, memory_order_relaxed);
        if (!file_sync_folder(".")) {
            log_warning("the folder of '%s' could not be synced: %s", log->path, strerror(errno));
        }
    }
    lock_release(&log->lock);
    return ok;
}

static bool tidy(struct purge_log *log, int64_t upto) {
    struct digest d = {0};
    unsigned char *bytes = read_all(log, upto), *out = NULL; /* what is there stays as it is: the file only grows */
    size_t n = 0;
    errno = ENOMEM;
    if (bytes != NULL && digest_bytes(&d, bytes, (size_t)upto)) {
        out = render(&d, &n);
    }
    int fd = out != NULL ? write_beside(log, out, n) : -1;
    bool ok = fd >= 0 && replace(log, fd, n, upto);
    if (!ok && fd >= 0) {
        close(fd);
    }
    mem_free(bytes);
    mem_free(out);
    mem_free(d.list);
    mem_free(d.slots);
    return ok;
}

bool purge_log_tidy(struct purge_log *log) {
    int64_t before = purge_log_bytes(log);
    bool ok = tidy(log, before);
    int64_t now = purge_log_bytes(log), next = now * TIDY_FACTOR;
    if (ok) {
        log_notice("'%s' was written anew: %lld bytes of %lld", log->path, (long long)now, (long long)before);
    } else {
        log_warning("'%s' could not be written anew, and grows: %s", log->path, strerror(errno));
        unlink(log->beside);
    }
    atomic_store_explicit(&log->tidy_at, next > TIDY_BYTES ? next : TIDY_BYTES, memory_order_relaxed);
    return ok;
}

static void run_tidy(struct job *job) {
    (void)purge_log_tidy(LIST_ENTRY(job, struct purge_log, tidying));
}

static void end_tidy(struct job *job) {
    atomic_store_explicit(&LIST_ENTRY(job, struct purge_log, tidying)->busy, false, memory_order_release);
}

void purge_log_tick(struct purge_log *log, struct pool *pool) {
    bool large = purge_log_bytes(log) > atomic_load_explicit(&log->tidy_at, memory_order_relaxed);
    if (large && !atomic_load_explicit(&log->busy, memory_order_acquire)) {
        atomic_store_explicit(&log->busy, true, memory_order_relaxed);
        log->tidying = (struct job){.run = run_tidy, .done = end_tidy};
        if (!pool_submit(pool, 0, &log->tidying)) { /* full: the next tick tries again */
            atomic_store_explicit(&log->busy, false, memory_order_relaxed);
        }
    }
}
