/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_rig: see the header. */
#include "tests/unit/persist/disk_rig.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"

/* ---- life ---- */

struct disk_options rig_options(void) {
    return (struct disk_options){.durability = DISK_EVERYSEC,
                                 .threads_min = 2,
                                 .threads_max = 2,
                                 .read_depth = 16,
                                 .hash_limits = {128, 64},
                                 .limits = {.admit = {.max_value_bytes = 1 << 20, .min_ttl_ms = 1000}, .queue_bytes = 64 << 20}};
}

const char *rig_refused(struct rig *r) {
    static char err[512];
    r->options.dir = r->dir;
    r->options.store = &r->fake->store;
    r->disk = disk_open(&r->options, err, sizeof(err));
    return r->disk == NULL ? err : NULL;
}

void rig_reopen(struct rig *r) {
    const char *why = rig_refused(r);
    if (why != NULL) {
        fail_msg("%s", why);
    }
}

struct rig *rig_open(const struct disk_options *o) {
    struct rig *r = mem_zalloc(sizeof(*r));
    log_set_level(LOG_NOTHING);
    snprintf(r->dir, sizeof(r->dir), "%s/strata-disk-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(r->dir));
    r->options = *o;
    r->fake = mem_zalloc(sizeof(*r->fake));
    fake_init(r->fake);
    rig_reopen(r);
    return r;
}

void rig_end(struct rig *r) {
    int closed = r->fake->closed;
    fake_open_gates(r->fake);
    disk_close(&r->disk);
    assert_int_equal(r->fake->closed, closed + 1);
}

void rig_free(struct rig *r) {
    char path[96];
    if (r->disk != NULL) {
        rig_end(r);
    }
    fake_fini(r->fake);
    mem_free(r->fake);
    snprintf(path, sizeof(path), "%s/state", r->dir);
    unlink(path);
    assert_int_equal(rmdir(r->dir), 0);
    mem_free(r);
}

static void transfer(const char *path, char *bytes, size_t n, bool write_back) {
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_true((write_back ? pwrite(fd, bytes, n, 0) : pread(fd, bytes, n, 0)) == (ssize_t)n);
    close(fd);
}

void rig_kill(struct rig *r) {
    char path[96];
    struct stat st;
    struct fake_store *left = mem_zalloc(sizeof(*left));
    snprintf(path, sizeof(path), "%s/state", r->dir);
    assert_int_equal(stat(path, &st), 0);
    char *bytes = mem_alloc((size_t)st.st_size);
    transfer(path, bytes, (size_t)st.st_size, false);
    fake_copy(left, r->fake);
    rig_end(r);
    transfer(path, bytes, (size_t)st.st_size, true);
    mem_free(bytes);
    fake_fini(r->fake);
    mem_free(r->fake);
    r->fake = left;
}

/* ---- the memory tier's part ---- */

static struct slice text_of(int version, size_t pad, struct buf *b) {
    buf_printf(b, "%d:", version);
    memset(buf_reserve(b, pad), '.', pad);
    buf_commit(b, pad);
    return buf_slice(b);
}

unsigned rig_set_long(struct rig *r, const struct key *key, int version, size_t pad, struct sink_ack *ack) {
    struct buf b = {0};
    struct item_view item = {.type = TYPE_STRING, .str = text_of(version, pad, &b), .expire_ms = -1};
    struct sink *s = disk_sink(r->disk);
    unsigned result = s->changed(s, SINK_SET, key, &item, clock_now_ms(), ack);
    buf_free(&b);
    return result;
}

unsigned rig_set(struct rig *r, const struct key *key, int version, struct sink_ack *ack) {
    return rig_set_long(r, key, version, 10, ack);
}

unsigned rig_del(struct rig *r, const struct key *key, struct sink_ack *ack) {
    struct sink *s = disk_sink(r->disk);
    return s->changed(s, SINK_DEL, key, NULL, clock_now_ms(), ack);
}

void rig_evict_long(struct rig *r, const struct key *key, int version, size_t pad, bool alone) {
    struct buf b = {0};
    struct item_view item = {.type = TYPE_STRING, .str = text_of(version, pad, &b), .expire_ms = -1};
    struct sink *s = disk_sink(r->disk);
    s->evicted(s, key, &item, &(struct eviction){.alone = alone, .read = true});
    buf_free(&b);
}

void rig_evict(struct rig *r, const struct key *key, int version, bool alone) {
    rig_evict_long(r, key, version, 10, alone);
}

static int version_of(struct found *f) {
    assert_true(f->value == NULL && f->same);
    buf_putc(&f->str, '\0');
    int version = atoi(f->str.p);
    buf_free(&f->str);
    assert_true(version > 0);
    return version;
}

int rig_probe(struct rig *r, const struct key *key) {
    struct found found = {.expire_ms = -1};
    struct source *s = disk_source(r->disk);
    enum probe_result result = s->probe(s, key, clock_now_ms(), &found);
    if (result == PROBE_FOUND) {
        return version_of(&found);
    }
    assert_true(found.str.n == 0 && found.value == NULL && !found.same);
    buf_free(&found.str);
    return result == PROBE_ABSENT ? 0 : -1;
}

void rig_map(struct rig *r, uint8_t physical, bool emptied) {
    uint8_t map[STATE_LOGICAL];
    struct sink *s = disk_sink(r->disk);
    memcpy(map, disk_map(r->disk), sizeof(map));
    map[0] = physical;
    s->mapped(s, map, emptied);
}

/* ---- reads ---- */

static void fetched(struct fetch *fetch) {
    struct rig_fetch *f = (struct rig_fetch *)fetch;
    pthread_mutex_lock(&f->mutex);
    f->done = true;
    pthread_cond_signal(&f->cond);
    pthread_mutex_unlock(&f->mutex);
}

void rig_fetch_begin(struct rig *r, struct rig_fetch *f, const struct key *key) {
    struct source *s = disk_source(r->disk);
    *f = (struct rig_fetch){.fetch = {.key = *key, .deadline_ms = clock_now_ms() + 60000, .done = fetched, .found.expire_ms = -1}};
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->cond, NULL);
    s->fetch(s, &f->fetch);
}

int rig_fetch_end(struct rig_fetch *f) {
    pthread_mutex_lock(&f->mutex);
    while (!f->done) {
        pthread_cond_wait(&f->cond, &f->mutex);
    }
    pthread_mutex_unlock(&f->mutex);
    pthread_cond_destroy(&f->cond);
    pthread_mutex_destroy(&f->mutex);
    if (f->fetch.result == FETCH_FOUND) {
        return version_of(&f->fetch.found);
    }
    assert_true(f->fetch.found.str.n == 0 && f->fetch.found.value == NULL && !f->fetch.found.same);
    buf_free(&f->fetch.found.str);
    return f->fetch.result == FETCH_ABSENT ? 0 : -1;
}

int rig_fetch(struct rig *r, const struct key *key) {
    struct rig_fetch f;
    rig_fetch_begin(r, &f, key);
    return rig_fetch_end(&f);
}

/* ---- looking ---- */

static int version_in(struct rig *r, const struct key *key, bool (*read)(struct fake_store *f, struct slice key, struct buf *out)) {
    struct buf record_key = {0}, record = {0};
    struct found found = {.same = true};
    int version = 0;
    record_put_key(&record_key, state_generation(r->disk->state, key->db), key);
    if (read(r->fake, buf_slice(&record_key), &record)) {
        assert_true(record_decode(buf_slice(&record), &r->options.hash_limits, &found));
        version = version_of(&found);
    }
    buf_free(&record_key);
    buf_free(&record);
    return version;
}

int rig_stored(struct rig *r, const struct key *key) {
    return version_in(r, key, fake_read);
}

int rig_logged(struct rig *r, const struct key *key) {
    return version_in(r, key, fake_read_logged);
}

void rig_await_serving(struct rig *r) {
    while (atomic_load(&r->disk->mode) != DISK_SERVING) {
        sched_yield();
    }
}

void rig_settle(struct rig *r) {
    disk_settle(r->disk);
    rig_await_serving(r);
}

int64_t rig_keys(struct rig *r) {
    struct source *s = disk_source(r->disk);
    int64_t n = 0;
    for (unsigned i = 0; i < STATE_LOGICAL; i++) {
        n += s->key_count(s, disk_map(r->disk)[i]);
    }
    return n;
}

uint64_t rig_info(struct rig *r, const char *name) {
    struct buf b = {0};
    char line[64];
    struct source *s = disk_source(r->disk);
    s->info(s, &b);
    buf_putc(&b, '\0');
    snprintf(line, sizeof(line), "l2_%s:", name);
    const char *at = strstr(b.p, line);
    assert_non_null(at);
    uint64_t n = strtoull(at + strlen(line), NULL, 10);
    buf_free(&b);
    return n;
}

static void count_ack(struct sink_ack *ack) {
    atomic_fetch_add(&((struct rig_ack *)ack)->called, 1);
}

struct rig_ack rig_ack_make(void) {
    return (struct rig_ack){.ack.done = count_ack};
}
