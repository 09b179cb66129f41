/* SPDX-License-Identifier: BSD-3-Clause */
/* write_log: segments, the one thread that writes them, and what they say at the start. */
#include "persist/write_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "persist/record.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/ds/crc64.h"
#include "src/ds/dict.h"

static const char MAGIC[8] = {'S', 'T', 'R', 'A', 'T', 'A', 'W', '1'};
enum { HEAD = 40, SEGMENT_LEAST = 64 << 10, SEGMENT_MOST = 8 << 20, BATCH_BYTES = 1 << 20, SECOND_US = 1000000, NAME_LEN = 24 };

struct segment {
    uint64_t number;
    size_t bytes, live;
};

/* What the index has of a name: its live record. */
struct place {
    uint64_t seq, segment;
};

struct write_log {
    /* fixed after open */
    char *dir;
    struct hash_limits hash_limits;
    size_t segment_bytes;
    /* the mutex */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct write_log_entry *first, *last;
    bool started, stopping;
    pthread_t thread;
    /* the thread's own (before it is started and after it has ended, the caller's) */
    struct segment *segments; /* the oldest first; the last is written to, when fd >= 0 */
    size_t count;
    uint64_t next_number;
    int fd;
    bool unsynced;
    struct dict *index; /* name -> struct place */
    struct buf batch;
    /* atomic */
    _Atomic size_t limit_bytes;
    _Atomic uint64_t live, files, bytes, records, batches, failures, rewritten;
    _Atomic int trouble; /* errno of the last failure */
    _Atomic int64_t trouble_us;
};

/* ---- records ---- */

struct head {
    enum write_log_kind kind;
    uint64_t seq;
    int64_t time_ms;
    struct slice origin, name, value;
    size_t size; /* of the whole record */
};

static void put_entry(struct buf *b, const struct write_log_entry *e) {
    size_t start = b->n;
    unsigned char head[HEAD] = {0};
    uint32_t name_len = (uint32_t)e->name.n;
    head[12] = (unsigned char)e->kind;
    head[13] = (unsigned char)e->origin.n;
    memcpy(head + 16, &e->seq, 8);
    memcpy(head + 24, &e->time_ms, 8);
    memcpy(head + 32, &name_len, 4);
    buf_put(b, head, HEAD);
    buf_put_slice(b, e->origin);
    buf_put_slice(b, e->name);
    if (e->kind == WRITE_LOG_SET) {
        record_put_value(b, &e->item);
    }
    uint32_t length = (uint32_t)(b->n - start - HEAD);
    memcpy(b->p + start + 8, &length, 4);
    uint64_t crc = crc64(0, b->p + start + 8, b->n - start - 8);
    memcpy(b->p + start, &crc, 8);
}

/* The record at the beginning of bytes; false when it is none. */
static bool take_record(struct slice bytes, struct head *h) {
    uint64_t crc;
    uint32_t length, name_len;
    if (bytes.n < HEAD) {
        return false;
    }
    memcpy(&crc, bytes.p, 8);
    memcpy(&length, bytes.p + 8, 4);
    if (bytes.n - HEAD < length || crc != crc64(0, bytes.p + 8, HEAD - 8 + (size_t)length)) {
        return false;
    }
    size_t origin_len = (unsigned char)bytes.p[13];
    h->kind = (enum write_log_kind)bytes.p[12];
    memcpy(&h->seq, bytes.p + 16, 8);
    memcpy(&h->time_ms, bytes.p + 24, 8);
    memcpy(&name_len, bytes.p + 32, 4);
    if (h->kind < WRITE_LOG_SET || h->kind > WRITE_LOG_DONE || origin_len > length || name_len > length - origin_len) {
        return false;
    }
    h->origin = slice_make(bytes.p + HEAD, origin_len);
    h->name = slice_make(bytes.p + HEAD + origin_len, name_len);
    h->value = slice_make(bytes.p + HEAD + origin_len + name_len, length - origin_len - name_len);
    h->size = HEAD + (size_t)length;
    return true;
}

/* ---- files ---- */

static void path_of(const struct write_log *log, uint64_t number, struct buf *out) {
    buf_clear(out);
    buf_printf(out, "%s/%016llx.log", log->dir, (unsigned long long)number);
    buf_putc(out, '\0');
}

static void note_files(struct write_log *log) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < log->count; i++) {
        bytes += log->segments[i].bytes;
    }
    atomic_store_explicit(&log->bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&log->files, log->count, memory_order_relaxed);
    atomic_store_explicit(&log->live, dict_len(log->index), memory_order_relaxed);
}

static bool write_all(int fd, const char *p, size_t n) {
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            errno = done == 0 ? ENOSPC : errno;
            return false;
        }
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static bool sync_active(struct write_log *log) {
    bool ok = log->fd < 0 || !log->unsynced || fdatasync(log->fd) == 0;
    log->unsynced = log->unsynced && !ok;
    return ok;
}

static struct segment *add_segment(struct write_log *log, uint64_t number, size_t bytes) {
    log->segments = mem_realloc(log->segments, (log->count + 1) * sizeof(struct segment));
    log->segments[log->count] = (struct segment){.number = number, .bytes = bytes};
    return &log->segments[log->count++];
}

/* Opens the next segment for writing. False with errno. */
static bool begin_segment(struct write_log *log) {
    struct buf path = {0};
    if (mkdir(log->dir, 0755) != 0 && errno != EEXIST) {
        return false;
    }
    path_of(log, log->next_number, &path);
    int fd = open(path.p, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    bool ok = fd >= 0 && write_all(fd, MAGIC, sizeof(MAGIC));
    if (ok) {
        sync_active(log);
        if (log->fd >= 0) {
            close(log->fd);
        }
        log->fd = fd;
        add_segment(log, log->next_number++, sizeof(MAGIC));
        (void)file_sync_folder(log->dir);
    } else if (fd >= 0) {
        close(fd);
        unlink(path.p);
    }
    buf_free(&path);
    return ok;
}

/* Appends the batch to the active segment, whole or not at all. False with errno. */
static bool append_batch(struct write_log *log) {
    struct segment *s = log->count > 0 ? &log->segments[log->count - 1] : NULL;
    if ((log->fd < 0 || s->bytes >= log->segment_bytes) && !begin_segment(log)) {
        return false;
    }
    s = &log->segments[log->count - 1];
    if (!write_all(log->fd, log->batch.p, log->batch.n)) {
        int error = errno;
        CHECK(ftruncate(log->fd, (off_t)s->bytes) == 0);
        errno = error;
        return false;
    }
    s->bytes += log->batch.n;
    log->unsynced = true;
    return true;
}

static bool read_segment(const struct write_log *log, uint64_t number, struct buf *out) {
    struct buf path = {0};
    struct stat st;
    path_of(log, number, &path);
    int fd = open(path.p, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fstat(fd, &st) == 0;
    buf_clear(out);
    if (ok) {
        char *p = buf_reserve(out, (size_t)st.st_size + 1);
        ssize_t n;
        while ((n = read(fd, p + out->n, (size_t)st.st_size - out->n)) > 0) {
            out->n += (size_t)n;
        }
        ok = n == 0;
    }
    if (fd >= 0) {
        close(fd);
    }
    buf_free(&path);
    return ok;
}

/* ---- what counts ---- */

static struct place *place_of(struct write_log *log, struct slice name) {
    struct dict_entry *e = dict_find(log->index, name);
    return e == NULL ? NULL : (struct place *)(void *)(e->bytes + e->field_len);
}

static bool get_place(struct write_log *log, struct slice name, struct place *out) {
    const struct place *p = place_of(log, name);
    if (p != NULL) {
        memcpy(out, p, sizeof(*out)); /* it lies where it lies in the entry */
    }
    return p != NULL;
}

static struct segment *segment_of(struct write_log *log, uint64_t number) {
    size_t i = 0;
    while (log->segments[i].number != number) {
        i++;
    }
    return &log->segments[i];
}

/* A record has been written to (or found in) the segment. */
static void count_record(struct write_log *log, enum write_log_kind kind, struct slice name, uint64_t seq, uint64_t segment) {
    struct place old, now = {seq, segment};
    bool had = get_place(log, name, &old);
    if (had && old.seq > seq) {
        return;
    }
    if (had) {
        segment_of(log, old.segment)->live--;
    }
    if (kind == WRITE_LOG_DONE) {
        dict_del(log->index, name);
    } else {
        CHECK(dict_set(log->index, name, slice_make((const char *)&now, sizeof(now))) >= 0);
        segment_of(log, segment)->live++;
    }
}

static void drop_oldest(struct write_log *log) {
    struct buf path = {0};
    path_of(log, log->segments[0].number, &path);
    if (unlink(path.p) != 0 && errno != ENOENT) {
        log_warning("write log: '%s': %s", path.p, strerror(errno));
    }
    buf_free(&path);
    log->count--;
    memmove(log->segments, log->segments + 1, log->count * sizeof(struct segment));
}

static void drop_dead(struct write_log *log) {
    while (log->count > 1 && log->segments[0].live == 0) {
        drop_oldest(log);
    }
}

/* What is live in the oldest segment is written once more. */
static bool rewrite_oldest(struct write_log *log) {
    struct buf bytes = {0};
    struct head h;
    uint64_t number = log->segments[0].number;
    bool ok = read_segment(log, number, &bytes);
    buf_clear(&log->batch);
    for (size_t at = sizeof(MAGIC); ok && at <= bytes.n && take_record(slice_make(bytes.p + at, bytes.n - at), &h); at += h.size) {
        struct place p;
        if (get_place(log, h.name, &p) && p.segment == number && p.seq == h.seq && h.kind != WRITE_LOG_DONE) {
            buf_put(&log->batch, bytes.p + at, h.size);
        }
    }
    ok = ok && (log->batch.n == 0 || (append_batch(log) && sync_active(log)));
    for (size_t at = 0; ok && at < log->batch.n && take_record(slice_make(log->batch.p + at, log->batch.n - at), &h); at += h.size) {
        count_record(log, h.kind, h.name, h.seq, log->segments[log->count - 1].number);
        atomic_fetch_add_explicit(&log->rewritten, 1, memory_order_relaxed);
    }
    buf_free(&bytes);
    return ok;
}

static void make_room(struct write_log *log) {
    drop_dead(log);
    note_files(log);
    uint64_t most = 2 * (uint64_t)atomic_load_explicit(&log->limit_bytes, memory_order_relaxed);
    if (atomic_load_explicit(&log->bytes, memory_order_relaxed) > most && log->count > 1 && rewrite_oldest(log)) {
        drop_dead(log);
        note_files(log);
    }
}

/* ---- the thread ---- */

/* Cuts off the next records to be written together. */
static struct write_log_entry *encode_some(struct write_log *log, struct write_log_entry *e) {
    buf_clear(&log->batch);
    do {
        put_entry(&log->batch, e);
        e = e->next;
    } while (e != NULL && log->batch.n < BATCH_BYTES);
    return e;
}

static void note_trouble(struct write_log *log) {
    atomic_fetch_add_explicit(&log->failures, 1, memory_order_relaxed);
    atomic_store_explicit(&log->trouble, errno, memory_order_relaxed);
    atomic_store_explicit(&log->trouble_us, clock_mono_us(), memory_order_relaxed);
    log_warning("write log: %s", strerror(errno));
}

static void write_entries(struct write_log *log, struct write_log_entry *e) {
    while (e != NULL) {
        struct write_log_entry *end = encode_some(log, e), *next;
        bool ok = append_batch(log);
        int error = errno;
        if (!ok) {
            note_trouble(log);
        }
        atomic_fetch_add_explicit(&log->batches, ok, memory_order_relaxed);
        for (; e != end; e = next) {
            next = e->next;
            if (ok) {
                count_record(log, e->kind, e->name, e->seq, log->segments[log->count - 1].number);
                atomic_fetch_add_explicit(&log->records, 1, memory_order_relaxed);
            }
            e->written(e, ok ? NULL : strerror(error));
        }
        if (ok) {
            make_room(log);
        }
    }
    if (log->batch.cap > 2 * BATCH_BYTES) {
        buf_free(&log->batch);
    }
}

/* What is queued, waited for at most until the next sync is due. NULL with *stop. */
static struct write_log_entry *next_entries(struct write_log *log, bool *stop) {
    pthread_mutex_lock(&log->mutex);
    if (log->first == NULL && !log->stopping) {
        if (log->unsynced) {
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_sec++;
            pthread_cond_timedwait(&log->wake, &log->mutex, &until);
        } else {
            pthread_cond_wait(&log->wake, &log->mutex);
        }
    }
    struct write_log_entry *e = log->first;
    log->first = log->last = NULL;
    *stop = log->stopping && e == NULL;
    pthread_mutex_unlock(&log->mutex);
    return e;
}

static void *log_main(void *arg) {
    struct write_log *log = arg;
    int64_t synced_us = clock_mono_us();
    for (bool stop = false; !stop;) {
        write_entries(log, next_entries(log, &stop));
        if (log->unsynced && (stop || clock_mono_us() - synced_us >= SECOND_US)) {
            if (!sync_active(log)) {
                note_trouble(log);
            }
            synced_us = clock_mono_us();
        }
    }
    return NULL;
}

void write_log_append(struct write_log *log, struct write_log_entry *e) {
    e->next = NULL;
    pthread_mutex_lock(&log->mutex);
    if (log->last != NULL) {
        log->last->next = e;
    } else {
        log->first = e;
    }
    log->last = e;
    if (!log->started) {
        log->started = true;
        CHECK(pthread_create(&log->thread, NULL, log_main, log) == 0);
        pthread_setname_np(log->thread, "write-log");
    }
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->mutex);
}

/* ---- the start ---- */

static int by_number(const void *a, const void *b) {
    const struct segment *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* The segments there are. False with errno; a directory that does not exist has none. */
static bool list_segments(struct write_log *log) {
    DIR *d = opendir(log->dir);
    if (d == NULL) {
        return errno == ENOENT;
    }
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        unsigned long long number;
        char expected[NAME_LEN];
        if (sscanf(e->d_name, "%16llx.log", &number) == 1) {
            snprintf(expected, sizeof(expected), "%016llx.log", number);
            if (strcmp(expected, e->d_name) == 0) {
                add_segment(log, number, 0);
                log->next_number = number >= log->next_number ? number + 1 : log->next_number;
            }
        }
    }
    closedir(d);
    if (log->count > 1) {
        qsort(log->segments, log->count, sizeof(struct segment), by_number);
    }
    return true;
}

/* Notes what the records of a segment say. */
static bool scan_segment(struct write_log *log, size_t i, struct buf *bytes, uint64_t *next_seq) {
    struct head h;
    uint64_t number = log->segments[i].number;
    if (!read_segment(log, number, bytes)) {
        return false;
    }
    bool ours = bytes->n >= sizeof(MAGIC) && memcmp(bytes->p, MAGIC, sizeof(MAGIC)) == 0;
    size_t at = ours ? sizeof(MAGIC) : 0;
    while (ours && take_record(slice_make(bytes->p + at, bytes->n - at), &h)) {
        count_record(log, h.kind, h.name, h.seq, number);
        *next_seq = h.seq >= *next_seq ? h.seq + 1 : *next_seq;
        at += h.size;
    }
    log->segments[i].bytes = bytes->n;
    if (at < bytes->n) {
        log_warning("write log: %016llx.log ends behind %zu of %zu bytes", (unsigned long long)number, at, bytes->n);
    }
    return true;
}

static void replay_record(struct write_log *log, const struct write_log_options *o, const struct head *h) {
    struct found value = {.expire_ms = -1};
    if (h->kind == WRITE_LOG_SET && !record_decode(h->value, &log->hash_limits, &value)) {
        log_warning("write log: a value of %zu bytes cannot be read", h->value.n);
        return;
    }
    o->replay(o->ctx, &(struct write_log_found){h->kind, h->seq, h->time_ms, h->origin, h->name, &value});
    found_free(&value);
}

static bool replay_segment(struct write_log *log, const struct write_log_options *o, uint64_t number, struct buf *bytes) {
    struct head h;
    struct place p;
    if (!read_segment(log, number, bytes)) {
        return false;
    }
    for (size_t at = sizeof(MAGIC); at <= bytes->n && take_record(slice_make(bytes->p + at, bytes->n - at), &h); at += h.size) {
        if (h.kind != WRITE_LOG_DONE && get_place(log, h.name, &p) && p.segment == number && p.seq == h.seq) {
            replay_record(log, o, &h);
        }
    }
    return true;
}

static bool read_all(struct write_log *log, const struct write_log_options *o, uint64_t *next_seq) {
    struct buf bytes = {0};
    bool ok = list_segments(log);
    for (size_t i = 0; ok && i < log->count; i++) {
        ok = scan_segment(log, i, &bytes, next_seq);
    }
    for (size_t i = 0; ok && i < log->count; i++) {
        ok = log->segments[i].live == 0 || replay_segment(log, o, log->segments[i].number, &bytes);
    }
    buf_free(&bytes);
    return ok;
}

struct write_log *write_log_open(const struct write_log_options *o, uint64_t *next_seq, struct buf *err) {
    struct write_log *log = mem_zalloc(sizeof(*log));
    log->dir = mem_strdup(o->dir);
    log->hash_limits = *o->hash_limits;
    log->fd = -1;
    log->index = dict_create();
    log->next_number = 1;
    atomic_init(&log->limit_bytes, o->limit_bytes);
    size_t part = o->limit_bytes / 8;
    log->segment_bytes = o->segment_bytes != 0 ? o->segment_bytes : part < SEGMENT_LEAST ? SEGMENT_LEAST : part > SEGMENT_MOST ? SEGMENT_MOST : part;
    pthread_mutex_init(&log->mutex, NULL);
    pthread_cond_init(&log->wake, NULL);
    *next_seq = 1;
    if (!read_all(log, o, next_seq)) {
        buf_printf(err, "write log '%s': %s", log->dir, strerror(errno));
        log->count = 0; /* nothing of it is touched */
        write_log_close(&log);
        return NULL;
    }
    while (log->count > 0 && log->segments[0].live == 0) {
        drop_oldest(log);
    }
    note_files(log);
    return log;
}

void write_log_close(struct write_log **lp) {
    struct write_log *log = *lp;
    *lp = NULL;
    if (log->started) {
        pthread_mutex_lock(&log->mutex);
        log->stopping = true;
        pthread_cond_signal(&log->wake);
        pthread_mutex_unlock(&log->mutex);
        pthread_join(log->thread, NULL);
    }
    if (log->fd >= 0) {
        close(log->fd);
    }
    while (log->count > 0 && log->segments[0].live == 0) {
        drop_oldest(log);
    }
    pthread_cond_destroy(&log->wake);
    pthread_mutex_destroy(&log->mutex);
    dict_destroy(&log->index);
    buf_free(&log->batch);
    mem_free(log->segments);
    mem_free(log->dir);
    mem_free(log);
}

/* ---- numbers ---- */

const char *write_log_trouble(struct write_log *log) {
    int error = atomic_load_explicit(&log->trouble, memory_order_relaxed);
    bool recent = clock_mono_us() - atomic_load_explicit(&log->trouble_us, memory_order_relaxed) < SECOND_US;
    return error != 0 && recent ? strerror(error) : NULL;
}

void write_log_set_limit(struct write_log *log, size_t limit_bytes) {
    atomic_store_explicit(&log->limit_bytes, limit_bytes, memory_order_relaxed);
}

void write_log_stats_read(struct write_log *log, struct write_log_stats *out) {
    *out = (struct write_log_stats){.live = atomic_load_explicit(&log->live, memory_order_relaxed),
                                    .segments = atomic_load_explicit(&log->files, memory_order_relaxed),
                                    .bytes = atomic_load_explicit(&log->bytes, memory_order_relaxed),
                                    .records = atomic_load_explicit(&log->records, memory_order_relaxed),
                                    .batches = atomic_load_explicit(&log->batches, memory_order_relaxed),
                                    .failures = atomic_load_explicit(&log->failures, memory_order_relaxed),
                                    .rewritten = atomic_load_explicit(&log->rewritten, memory_order_relaxed)};
}
