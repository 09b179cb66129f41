/* SPDX-License-Identifier: BSD-3-Clause */
/* save: RDB files. A save walks each database in the order growth does not disturb, a few buckets at a time, so no lock is held for
 * long; the file is not one instant's picture but holds every key once, as it was when its bucket was passed. */
#include "src/server/save.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/conf/conf.h"
#include "src/ds/crc64.h"
#include "src/rt/pool.h"
#include "src/server/server.h"
#include "src/tier/walk.h"
#include "src/value/rdb.h"
#include "src/value/rdb_file.h"

enum { SLICE_KEYS = 128, FLUSH_BYTES = 1 << 20, PATH_BYTES = 4200, MOST_WAITS = 100, WAIT_US = 500 };

/* ---- writing ---- */

struct writer {
    FILE *file;
    struct buf buf;
    uint64_t crc;
    bool compress, failed;
    uint64_t keys;
};

static void write_out(struct writer *w) {
    w->crc = crc64(w->crc, w->buf.p, w->buf.n);
    w->failed |= fwrite(w->buf.p, 1, w->buf.n, w->file) != w->buf.n;
    buf_clear(&w->buf);
}

static void put_aux(struct buf *b, const char *name, const char *value) {
    buf_putc(b, (char)RDB_OP_AUX);
    rdb_put_string(b, slice_cstr(name), false);
    rdb_put_string(b, slice_cstr(value), false);
}

static void put_value(struct buf *b, struct slice name, const struct item_view *item, bool compress) {
    if (item->expire_ms != L1_NO_TTL) {
        buf_putc(b, (char)RDB_OP_EXPIRETIME_MS);
        buf_put(b, &item->expire_ms, 8);
    }
    buf_putc(b, (char)rdb_type_of(item->value));
    rdb_put_string(b, name, compress);
    rdb_put_body(b, item->str, item->value, compress);
}

static void put_item(void *ctx, const struct key *key, const struct item_view *item) {
    struct writer *w = ctx;
    put_value(&w->buf, key->name, item, w->compress);
    w->keys++;
}

static void put_head(struct writer *w) {
    char text[32];
    buf_printf(&w->buf, "REDIS%04d", RDB_VERSION);
    put_aux(&w->buf, "redis-ver", "7.0.15");
    put_aux(&w->buf, "redis-bits", "64");
    snprintf(text, sizeof(text), "%lld", (long long)(clock_now_ms() / 1000));
    put_aux(&w->buf, "ctime", text);
    put_aux(&w->buf, "strata-ver", STRATA_VERSION);
}

static void pack_record(struct buf *data, struct source *s, const struct walked *found) {
    struct found value = {.expire_ms = L1_NO_TTL};
    if (s->unpack(s, found->record, &value)) {
        struct item_view item = {.type = found->type, .str = buf_slice(&value.str), .value = value.value, .expire_ms = found->expire_ms};
        put_value(data, found->name, &item, false);
    }
    found_free(&value);
}

static bool put_resident(struct writer *w, struct l1 *l1, const struct key *key, int64_t now_ms, bool locked) {
    struct item_view item;
    unsigned shard = l1_shard_of(l1, key->hash);
    if (!locked) {
        l1_lock(l1, shard);
    }
    bool resident = l1_get(l1, key, now_ms, L1_NOTOUCH, &item);
    if (resident) {
        put_item(w, key, &item);
    }
    if (!locked) {
        l1_unlock(l1, shard);
    }
    return resident;
}

/* Each key as memory has it, or else as a tier below had it. */
static void put_all_tiers(struct writer *w, struct server *srv, uint8_t physical, bool locked) {
    struct l1 *l1 = srv->host.l1;
    struct walk walk = {.tier = &srv->tier, .physical = physical, .want = SLICE_KEYS, .locked = locked, .pack = pack_record};
    struct buf one = {0};
    bool again;
    do {
        walk.from = walk.next;
        walk_clear(&walk);
        walk.now_ms = clock_now_ms();
        walk_before(&walk);
        walk_below(&walk);
        again = !walk_after(&walk) && walk.want > 1;
        if (again) { /* too much moved: a shorter interval */
            walk.next = walk.from;
            walk.want = walk.want / 4 + 1;
        }
        for (size_t i = 0; i < walk.count && !again; i++) {
            const struct walk_key *k = &walk.keys[i];
            struct key key = {walk_name(&walk, k), hash_position(k->position), physical};
            if (!put_resident(w, l1, &key, walk.now_ms, locked) && (k->data_len > 0 || walk_below_one(&walk, k, &one))) {
                buf_put_slice(&w->buf, k->data_len > 0 ? slice_make(walk.data.p + k->data, k->data_len) : buf_slice(&one));
                w->keys++;
            }
        }
        if (w->buf.n > FLUSH_BYTES) {
            write_out(w);
        }
    } while ((again || walk.next != 0) && !w->failed);
    buf_free(&one);
    walk_free(&walk);
}

/* locked: the caller holds every shard. */
static void put_database(struct writer *w, struct server *srv, unsigned db, bool locked) {
    struct l1 *l1 = srv->host.l1;
    uint8_t physical = l1->db_map[db];
    uint64_t keys = tier_keys(&srv->tier, physical), cursor = 0;
    if (keys == 0) {
        return;
    }
    buf_putc(&w->buf, (char)RDB_OP_SELECTDB);
    rdb_put_len(&w->buf, db);
    buf_putc(&w->buf, (char)RDB_OP_RESIZEDB);
    rdb_put_len(&w->buf, keys);
    rdb_put_len(&w->buf, l1_db_expires(l1, physical));
    if (walk_has_below(&srv->tier)) {
        put_all_tiers(w, srv, physical, locked);
        return;
    }
    do {
        cursor = l1_scan(l1, cursor, SLICE_KEYS, physical, clock_now_ms(), locked, put_item, w);
        if (w->buf.n > FLUSH_BYTES) {
            write_out(w);
        }
    } while (cursor != 0 && !w->failed);
}

static bool write_file(struct server *srv, const struct conf *conf, const char *path, bool locked, uint64_t *keys) {
    struct writer w = {.file = fopen(path, "we"), .compress = conf->rdbcompression};
    if (w.file == NULL) {
        return false;
    }
    put_head(&w);
    for (unsigned db = 0; db < (unsigned)conf->databases && !w.failed; db++) {
        put_database(&w, srv, db, locked);
    }
    buf_putc(&w.buf, (char)RDB_OP_EOF);
    write_out(&w);
    uint64_t crc = conf->rdbchecksum ? w.crc : 0;
    w.failed |= fwrite(&crc, sizeof(crc), 1, w.file) != 1;
    w.failed |= fflush(w.file) != 0 || fsync(fileno(w.file)) != 0;
    w.failed |= fclose(w.file) != 0;
    buf_free(&w.buf);
    *keys = w.keys;
    return !w.failed;
}

/* The one save at a time; the caller has moved save_state to SAVE_RUNNING. */
static bool save_file(struct server *srv, bool locked) {
    struct host *h = &srv->host;
    struct conf *conf = conf_store_current(h->conf_store);
    char temp[PATH_BYTES];
    int64_t start = clock_mono_us(), dirty = atomic_load(&h->dirty);
    uint64_t keys = 0;
    snprintf(temp, sizeof(temp), "temp-%d.rdb", (int)getpid());
    bool ok = write_file(srv, conf, temp, locked, &keys) && rename(temp, conf->dbfilename) == 0;
    int64_t took_ms = (clock_mono_us() - start) / 1000;
    if (ok) {
        atomic_fetch_sub(&h->dirty, dirty);
        atomic_store(&h->last_save_s, clock_now_ms() / 1000);
        log_notice("DB saved on disk: %llu keys in %lld ms", (unsigned long long)keys, (long long)took_ms);
    } else {
        log_warning("Error saving DB on disk: %s: %s", conf->dbfilename, strerror(errno));
        unlink(temp);
    }
    atomic_store(&h->last_save_took_ms, took_ms);
    atomic_store(&h->last_save_ok, ok);
    atomic_store(&h->save_state, SAVE_IDLE);
    conf_unref(conf);
    return ok;
}

static bool claim_save(struct host *h) {
    int idle = SAVE_IDLE;
    if (!atomic_compare_exchange_strong(&h->save_state, &idle, SAVE_RUNNING)) {
        return false;
    }
    atomic_store(&h->save_started_ms, clock_now_ms());
    return true;
}

bool save_now(struct server *srv) {
    return claim_save(&srv->host) && save_file(srv, false);
}

struct save_job {
    struct job job;
    struct server *srv;
};

static void run_save(struct job *job) {
    save_file(((struct save_job *)job)->srv, false);
}

static void free_save(struct job *job) {
    mem_free(job);
}

static bool save_in_background(struct server *srv) {
    if (!claim_save(&srv->host)) {
        return false;
    }
    struct save_job *j = mem_zalloc(sizeof(*j));
    j->srv = srv;
    j->job.run = run_save;
    j->job.done = free_save;
    if (!pool_submit(srv->host.pool, 0, &j->job)) {
        atomic_store(&srv->host.save_state, SAVE_IDLE);
        mem_free(j);
        return false;
    }
    return true;
}

/* SAVE waits for its file by yielding, so that its loop goes on; the work is the background save's. c->state, once
 * set, says that it has begun. */

enum err save_command(struct call *c, bool background) {
    struct server *srv = server_of(c->host);
    bool running = atomic_load(&c->host->save_state) == SAVE_RUNNING;
    if (background) {
        if (running) {
            return call_errorf(c, "ERR Background save already in progress");
        }
        if (!save_in_background(srv)) {
            return call_errorf(c, "ERR");
        }
        reply_status(c->out, "Background saving started");
        return OK;
    }
    if (c->state == NULL) {
        if (running) {
            return call_errorf(c, "ERR Background save already in progress");
        }
        if (!save_in_background(srv)) {
            return call_errorf(c, "ERR");
        }
        c->state = mem_alloc(1);
        c->state_free = mem_free;
        running = true;
    }
    if (running) {
        return call_yield(c);
    }
    mem_free(c->state);
    c->state = NULL;
    if (!atomic_load(&c->host->last_save_ok)) {
        return call_errorf(c, "ERR");
    }
    reply_ok(c->out);
    return OK;
}

void save_by_points(struct server *srv, const struct conf *conf, int64_t now_ms) {
    int64_t dirty = atomic_load(&srv->host.dirty), age_s = now_ms / 1000 - atomic_load(&srv->host.last_save_s);
    long long seconds, changes;
    int used;
    for (const char *p = conf->save; sscanf(p, "%lld %lld%n", &seconds, &changes, &used) == 2; p += used) {
        if (dirty >= changes && age_s >= seconds) {
            log_notice("%lld changes in %lld seconds. Saving...", changes, seconds);
            save_in_background(srv);
            return;
        }
    }
}

/* ---- reading ---- */

struct loading {
    struct rdb_file file;
    struct server *srv;
    int fd;
    int64_t now_ms, databases;
    bool locked;
    uint64_t keys, expired;
};

static ssize_t read_file(void *ctx, void *p, size_t n) {
    return read(((struct loading *)ctx)->fd, p, n);
}

static void make_room(struct l1 *l1, unsigned shard, int64_t now_ms) {
    enum { VICTIMS = 16 };
    if (l1_needs_room(l1)) {
        l1_make_room(l1, shard, VICTIMS, now_ms);
    }
}

/* NULL, or why the file is refused. Takes the value. */
static const char *store(struct loading *l, const struct rdb_entry *e) {
    struct l1 *l1 = l->srv->host.l1;
    if (e->foreign != NULL || e->db >= (uint64_t)l->databases) {
        value_unref(e->value);
        return e->foreign != NULL ? "a value of a type that is not supported yet" : "database number beyond `databases`";
    }
    if (e->expire_ms != L1_NO_TTL && e->expire_ms <= l->now_ms) {
        l->expired++;
        value_unref(e->value);
        return NULL;
    }
    struct key key = key_make(e->name, l1->db_map[e->db]);
    unsigned shard = l1_shard_of(l1, key.hash);
    struct item_view view;
    if (!l->locked) {
        l1_lock(l1, shard);
    }
    bool twice = l1_get(l1, &key, l->now_ms, L1_NOTOUCH, &view);
    enum err err = e->value != NULL ? l1_set_value(l1, &key, e->value, e->expire_ms, l->now_ms)
                                    : l1_set(l1, &key, e->str, e->expire_ms, 0, l->now_ms);
    for (int i = 0; i < MOST_WAITS && l->locked && tier_is_pressed(&l->srv->tier); i++) {
        usleep(WAIT_US); /* the whole server waits: so may what is evicted */
    }
    make_room(l1, shard, l->now_ms);
    if (!l->locked) {
        l1_unlock(l1, shard);
    }
    if (err != OK) {
        value_unref(e->value);
        return "out of memory";
    }
    l->keys++;
    return twice ? "duplicate key" : NULL;
}

/* NULL, or why the file is refused. */
static const char *load_keys(struct loading *l) {
    struct rdb_entry e;
    for (;;) {
        enum rdb_next next = rdb_file_next(&l->file, &e);
        const char *why = next == RDB_NEXT_KEY ? store(l, &e) : next == RDB_NEXT_BAD ? l->file.error : NULL;
        if (next != RDB_NEXT_KEY || why != NULL) {
            return why;
        }
    }
}

static bool load_file(struct server *srv, bool locked, struct buf *err) {
    struct conf *conf = conf_store_current(srv->host.conf_store);
    struct stat st;
    struct loading l = {.fd = open(conf->dbfilename, O_RDONLY | O_CLOEXEC),
                        .srv = srv,
                        .now_ms = clock_now_ms(),
                        .databases = conf->databases,
                        .locked = locked};
    bool ok = l.fd < 0 && errno == ENOENT;
    if (l.fd >= 0 && fstat(l.fd, &st) == 0) {
        l.file = (struct rdb_file){.read = read_file,
                                   .ctx = &l,
                                   .size = (uint64_t)st.st_size,
                                   .check = conf->rdbchecksum,
                                   .limits = {(size_t)conf->hash_max_listpack_entries, (size_t)conf->hash_max_listpack_value}};
        const char *why = load_keys(&l);
        ok = why == NULL;
        if (ok) {
            log_notice("DB loaded from disk: %llu keys, %llu expired ones left out", (unsigned long long)l.keys,
                       (unsigned long long)l.expired);
        } else {
            buf_printf(err, "%s: refused at byte %llu: %s", conf->dbfilename, (unsigned long long)rdb_file_offset(&l.file), why);
        }
        rdb_file_free(&l.file);
    } else if (!ok) {
        buf_printf(err, "%s: %s", conf->dbfilename, strerror(errno));
    }
    if (l.fd >= 0) {
        close(l.fd);
    }
    conf_unref(conf);
    return ok;
}

static void forget_all(struct server *srv, bool locked) {
    if (!locked) {
        l1_lock_all(srv->host.l1);
    }
    tier_flush(&srv->tier, -1);
    if (!locked) {
        l1_unlock_all(srv->host.l1);
    }
}

bool save_load(struct server *srv, struct buf *err) {
    bool ok = load_file(srv, false, err);
    if (!ok) {
        forget_all(srv, false);
    }
    return ok;
}

/* Every shard is locked: the whole server waits, as it does in Redis. */
enum err save_reload(struct call *c, bool nosave, bool noflush) {
    struct server *srv = server_of(c->host);
    struct buf err = {0};
    if (!nosave && (!claim_save(c->host) || !save_file(srv, true))) {
        return call_errorf(c, "ERR Error trying to save the DB, can't exit.");
    }
    if (!noflush) {
        forget_all(srv, true);
    }
    if (!load_file(srv, true, &err)) {
        forget_all(srv, true);
        log_warning("%.*s", (int)err.n, err.p);
        buf_free(&err);
        return call_errorf(c, "ERR Error trying to load the RDB dump, check server logs.");
    }
    buf_free(&err);
    reply_ok(c->out);
    return OK;
}
