/* SPDX-License-Identifier: BSD-3-Clause */
/* import_file: an RDB file, a batch of keys at a time. A pool thread reads and decodes a batch; the loop puts it in, a slice in each
 * turn; then the next is read. */
#include <string.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/conf/conf.h"
#include "src/rt/loop.h"
#include "src/rt/pool.h"
#include "src/server/dir_file.h"
#include "src/server/import_int.h"
#include "src/server/server.h"
#include "src/server/worker.h"
#include "src/value/rdb_file.h"

enum { BATCH_KEYS = 1024, BATCH_BYTES = 1 << 20, BATCH_US = 5000, SLICE_US = 500, SLICE_LOOK = 16 };

/* A key of the batch: name and string in bytes, one behind the other. */
struct held {
    uint64_t db;
    size_t at, name_n, str_n;
    int64_t expire_ms;
    const char *foreign;
    struct value *value;
};

struct file {
    struct job job; /* reads a batch; done on the loop */
    struct import *m;
    /* the job's while reading */
    struct rdb_file rdb;
    int fd;
    struct buf bytes;
    struct held *keys; /* BATCH_KEYS of them */
    size_t count;
    enum rdb_next last; /* KEY: there is more */
    const char *wrong;  /* it cannot even be opened */
    /* the loop's */
    size_t next; /* key to put in */
    bool reading, closing;
};

/* ---- on the pool thread ---- */

static ssize_t read_bytes(void *ctx, void *p, size_t n) {
    return read(((struct file *)ctx)->fd, p, n);
}

static void hold_key(struct file *f, const struct rdb_entry *e) {
    struct held *h = &f->keys[f->count++];
    *h = (struct held){.db = e->db, .at = f->bytes.n, .name_n = e->name.n, .expire_ms = e->expire_ms, .foreign = e->foreign, .value = e->value};
    buf_put_slice(&f->bytes, e->name);
    if (e->foreign == NULL && e->value == NULL) {
        h->str_n = e->str.n;
        buf_put_slice(&f->bytes, e->str);
    }
}

static void read_batch(struct job *job) {
    struct file *f = (struct file *)job;
    struct rdb_entry e;
    uint64_t from = rdb_file_offset(&f->rdb);
    int64_t until_us = clock_mono_us() + BATCH_US;
    buf_clear(&f->bytes);
    f->count = 0;
    if (f->fd < 0 && (f->fd = dir_file_open(f->m->from, f->m->at_start, &f->rdb.size, &f->wrong)) < 0) {
        f->last = RDB_NEXT_BAD;
        return;
    }
    do {
        f->last = rdb_file_next(&f->rdb, &e);
        if (f->last == RDB_NEXT_KEY) {
            hold_key(f, &e);
        }
    } while (f->last == RDB_NEXT_KEY && f->count < BATCH_KEYS && rdb_file_offset(&f->rdb) - from < BATCH_BYTES &&
             clock_mono_us() < until_us);
}

/* ---- on the loop ---- */

static void destroy(struct file *f) {
    struct import *m = f->m;
    for (; f->next < f->count; f->next++) {
        value_unref(f->keys[f->next].value);
    }
    if (f->fd >= 0) {
        close(f->fd);
    }
    rdb_file_free(&f->rdb);
    buf_free(&f->bytes);
    mem_free(f->keys);
    mem_free(f);
    import_closed(m);
}

static void batch_read(struct job *job) {
    struct file *f = (struct file *)job;
    f->reading = false;
    f->next = 0;
    if (f->closing) {
        destroy(f);
    } else {
        import_step(f->m);
    }
}

static void put(struct file *f, const struct held *h) {
    struct slice name = slice_make(f->bytes.p + h->at, h->name_n);
    if (h->foreign != NULL) {
        import_skip(f->m, h->foreign, name);
    } else {
        import_put(f->m, &(struct import_key){.db = h->db, .name = name, .expire_ms = h->expire_ms,
                                              .str = slice_make(name.p + h->name_n, h->str_n), .value = h->value});
    }
}

static void put_slice(struct file *f) {
    int64_t until_us = clock_mono_us() + SLICE_US;
    for (int i = 1; f->next < f->count && import_may_go(f->m); i++) {
        put(f, &f->keys[f->next++]);
        pace_spend(&f->m->pace, 1, until_us - SLICE_US);
        if (i % SLICE_LOOK == 0 && clock_mono_us() > until_us) {
            return;
        }
    }
}

static void end(struct file *f) {
    if (f->last == RDB_NEXT_END) {
        import_ended(f->m);
    } else if (f->wrong != NULL) {
        import_broken(f->m, f->wrong, 0);
    } else {
        import_broken(f->m, f->rdb.error, rdb_file_offset(&f->rdb));
    }
}

static void file_step(void *self) {
    struct file *f = self;
    if (f->reading) {
        return;
    }
    put_slice(f);
    if (f->next < f->count) {
        return;
    }
    import_set(&f->m->permille, f->rdb.size == 0 ? 0 : rdb_file_offset(&f->rdb) * 1000 / f->rdb.size);
    if (f->last != RDB_NEXT_KEY) {
        if (f->m->in_flight == 0) {
            end(f);
        }
        return;
    }
    f->count = f->next = 0;
    f->job = (struct job){.loop = f->m->loop, .run = read_batch, .done = batch_read};
    f->reading = pool_submit(f->m->srv->host.pool, 0, &f->job); /* refused: the next tick tries again */
}

static void *file_open(struct import *m) {
    struct file *f = mem_zalloc(sizeof(*f));
    const struct conf *conf = m->srv->workers[0]->conf;
    f->m = m;
    f->fd = -1;
    f->keys = mem_alloc(BATCH_KEYS * sizeof(*f->keys));
    f->last = RDB_NEXT_KEY;
    f->rdb = (struct rdb_file){.read = read_bytes, .ctx = f, .check = conf->rdbchecksum,
                               .max_entry_bytes = (size_t)conf->proto_max_bulk_len,
                               .limits = {(size_t)conf->hash_max_listpack_entries, (size_t)conf->hash_max_listpack_value}};
    return f;
}

static void file_close(void *self) {
    struct file *f = self;
    f->closing = true;
    if (!f->reading) {
        destroy(f);
    }
}

const struct import_source import_file = {.open = file_open, .step = file_step, .close = file_close};
