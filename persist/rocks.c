/* SPDX-License-Identifier: BSD-3-Clause */
/* rocks: RocksDB through its C API: one column family a window of time. Writes go to the newest; a key lives in one window
 * only; when the tier is full the oldest window goes, whole, at the cost of removing its files. */
#include "persist/rocks.h"

#include <dirent.h>
#include <errno.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/lock.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum {
    MAX_WINDOWS = 8,
    NAME_BYTES = 24,
    BLOCK_BYTES = 8192,
    CACHE_SHARD_BYTES = 8 * BLOCK_BYTES, /* of the block cache, a lock each: event loops look into it, and readers hold it */
    CACHE_SHARD_BITS = 6,                /* at most */
    READ_AHEAD_BYTES = 256 << 10, /* of each file a merge reads; with direct I/O it would be 2 MB, and twenty files are many */
    FILTER_BITS = 16,
    INDEX_RESTART = 8,
    L0_SLOW = 20,
    L0_STOP = 36,
    SAY_US = 1000000,
    ROCKS_QUIET = 4 /* fatal only: a line it cannot write to its own log, on a full device, aborts builds with assertions */
};

struct window {
    rocksdb_column_family_handle_t *cf;
    unsigned number;
};

/* The windows at one moment, newest first; shared by readers, replaced by the writer. */
struct view {
    _Atomic uint32_t refs;
    unsigned n;
    struct window windows[MAX_WINDOWS];
    struct window gone; /* dropped by the change that replaced this view: destroyed with it */
};

struct rocks {
    struct store store;
    struct rocks_options options;
    char *path;
    rocksdb_t *db;
    rocksdb_options_t *opts;
    rocksdb_cache_t *cache;
    rocksdb_compactionfilter_t *filter;
    rocksdb_readoptions_t *read_any, *read_memory, *read_walk;
    rocksdb_writeoptions_t *write_unlogged, *write_log, *write_sync;
    rocksdb_writebatch_t *batch;
    struct lock lock; /* view */
    struct view *view;
    uint64_t dropped;
    _Atomic int64_t said_us; /* when a failed read was logged last */
};

static struct rocks *rocks_of(struct store *s) {
    return s->ctx;
}

/* Takes RocksDB's message; true when there was one. */
static bool failed(char *message, char *err, size_t errcap) {
    if (message == NULL) {
        return false;
    }
    snprintf(err, errcap, "%s", message);
    rocksdb_free(message);
    return true;
}

/* ---- views ---- */

static struct view *view_take(struct rocks *r) {
    lock_acquire(&r->lock);
    struct view *v = r->view;
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    lock_release(&r->lock);
    return v;
}

static void view_drop(struct view *v) {
    if (atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1) {
        if (v->gone.cf != NULL) {
            rocksdb_column_family_handle_destroy(v->gone.cf);
        }
        mem_free(v);
    }
}

static void view_replace(struct rocks *r, struct view *fresh) {
    lock_acquire(&r->lock);
    struct view *old = r->view;
    r->view = fresh;
    lock_release(&r->lock);
    if (old != NULL) {
        view_drop(old);
    }
}

/* ---- reading ---- */

/* A device that fails, fails often: a line a second. */
static bool may_say(struct rocks *r) {
    int64_t now = clock_mono_us(), said = atomic_load_explicit(&r->said_us, memory_order_relaxed);
    return (said == 0 || now - said > SAY_US) && atomic_compare_exchange_strong(&r->said_us, &said, now);
}

static enum store_result get_in(struct rocks *r, const struct window *w, struct slice key, bool memory_only,
                                struct store_value *out) {
    char *message = NULL;
    rocksdb_pinnableslice_t *pin = rocksdb_get_pinned_cf(r->db, memory_only ? r->read_memory : r->read_any, w->cf, key.p,
                                                         key.n, &message);
    if (message != NULL) {
        bool cold = memory_only && strncmp(message, "Result incomplete", 17) == 0;
        if (!cold && may_say(r)) {
            log_warning("disk tier: read failed: %s", message);
        }
        rocksdb_free(message);
        return cold ? STORE_COLD : STORE_FAILED;
    }
    if (pin == NULL) {
        return STORE_ABSENT;
    }
    size_t n;
    const char *p = rocksdb_pinnableslice_value(pin, &n);
    out->bytes = slice_make(p, n);
    out->pin = pin;
    return STORE_FOUND;
}

static enum store_result rocks_get(struct store *s, struct slice key, bool memory_only, struct store_value *out) {
    struct rocks *r = rocks_of(s);
    rocksdb_set_perf_level(rocksdb_disable); /* of this thread; its counters, which nobody reads, were a twentieth of a get */
    struct view *v = view_take(r);
    enum store_result result = STORE_ABSENT;
    for (unsigned i = 0; i < v->n && result == STORE_ABSENT; i++) {
        result = get_in(r, &v->windows[i], key, memory_only, out);
        out->old = v->n > 2 && i == v->n - 1;
    }
    view_drop(v);
    return result;
}

static void rocks_release(struct store *s, struct store_value *v) {
    (void)s;
    rocksdb_pinnableslice_destroy(v->pin);
    v->pin = NULL;
}

static bool may_have_in(struct rocks *r, const struct window *w, struct slice key) {
    return rocksdb_key_may_exist_cf(r->db, r->read_memory, w->cf, key.p, key.n, NULL, NULL, NULL, 0, NULL);
}

static bool rocks_may_have(struct store *s, struct slice key) {
    struct rocks *r = rocks_of(s);
    struct view *v = view_take(r);
    bool may = false;
    for (unsigned i = 0; i < v->n && !may; i++) {
        may = may_have_in(r, &v->windows[i], key);
    }
    view_drop(v);
    return may;
}

static bool walk_windows(struct rocks *r, const rocksdb_readoptions_t *how, struct slice from,
                         bool (*fn)(void *ctx, struct slice key, struct slice value), void *ctx) {
    struct view *v = view_take(r);
    rocksdb_iterator_t *its[MAX_WINDOWS];
    bool ok = true, more = true;
    for (unsigned i = 0; i < v->n; i++) {
        its[i] = rocksdb_create_iterator_cf(r->db, how, v->windows[i].cf);
        rocksdb_iter_seek(its[i], from.p, from.n);
    }
    while (more) {
        rocksdb_iterator_t *least = NULL;
        struct slice key = {NULL, 0};
        for (unsigned i = 0; i < v->n; i++) { /* the windows' orders merged; few windows, so no heap */
            size_t n;
            if (!rocksdb_iter_valid(its[i])) {
                continue;
            }
            const char *p = rocksdb_iter_key(its[i], &n);
            int order = least == NULL ? -1 : memcmp(p, key.p, n < key.n ? n : key.n);
            if (order < 0 || (order == 0 && n < key.n)) {
                least = its[i];
                key = slice_make(p, n);
            }
        }
        if (least == NULL) {
            break;
        }
        size_t n;
        const char *p = rocksdb_iter_value(least, &n);
        more = fn(ctx, key, slice_make(p, n));
        rocksdb_iter_next(least);
    }
    for (unsigned i = 0; i < v->n; i++) {
        char *message = NULL;
        char text[256];
        rocksdb_iter_get_error(its[i], &message);
        if (failed(message, text, sizeof(text))) {
            ok = false;
            if (may_say(r)) {
                log_warning("disk tier: scan failed: %s", text);
            }
        }
        rocksdb_iter_destroy(its[i]);
    }
    view_drop(v);
    return ok;
}

static bool rocks_each(struct store *s, struct slice from, bool (*fn)(void *ctx, struct slice key, struct slice value),
                       void *ctx) {
    struct rocks *r = rocks_of(s);
    return walk_windows(r, r->read_walk, from, fn, ctx);
}

static void *rocks_mark(struct store *s) {
    return (void *)(uintptr_t)rocksdb_create_snapshot(rocks_of(s)->db);
}

static void rocks_unmark(struct store *s, void *mark) {
    rocksdb_release_snapshot(rocks_of(s)->db, mark);
}

static bool rocks_each_at(struct store *s, void *mark, bool (*fn)(void *ctx, struct slice key, struct slice value), void *ctx) {
    rocksdb_readoptions_t *how = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(how, mark);
    rocksdb_readoptions_set_fill_cache(how, 0);
    bool ok = walk_windows(rocks_of(s), how, slice_make("", 0), fn, ctx);
    rocksdb_readoptions_destroy(how);
    return ok;
}

/* ---- writing ---- */

static void add_write(struct rocks *r, const struct view *v, const struct store_write *w) {
    if (w->value.p != NULL) {
        rocksdb_writebatch_put_cf(r->batch, v->windows[0].cf, w->key.p, w->key.n, w->value.p, w->value.n);
    } else {
        rocksdb_writebatch_delete_cf(r->batch, v->windows[0].cf, w->key.p, w->key.n);
    }
    for (unsigned k = 1; k < v->n; k++) { /* one window only has the key */
        if (may_have_in(r, &v->windows[k], w->key)) {
            rocksdb_writebatch_delete_cf(r->batch, v->windows[k].cf, w->key.p, w->key.n);
        }
    }
}

static char *write_part(struct rocks *r, const struct store_write *writes, size_t n, bool unlogged, const rocksdb_writeoptions_t *how) {
    char *message = NULL;
    struct view *v = view_take(r);
    rocksdb_writebatch_clear(r->batch);
    for (size_t i = 0; i < n; i++) {
        if (writes[i].unlogged == unlogged) {
            add_write(r, v, &writes[i]);
        }
    }
    view_drop(v);
    if (rocksdb_writebatch_count(r->batch) > 0) {
        rocksdb_write(r->db, how, r->batch, &message);
    }
    return message;
}

static bool rocks_write(struct store *s, const struct store_write *writes, size_t n, bool sync, char *err, size_t errcap) {
    struct rocks *r = rocks_of(s);
    char *message = write_part(r, writes, n, true, r->write_unlogged);
    if (message == NULL) {
        message = write_part(r, writes, n, false, sync ? r->write_sync : r->write_log);
    }
    return !failed(message, err, errcap);
}

static bool rocks_sync_log(struct store *s, char *err, size_t errcap) {
    char *message = NULL;
    rocksdb_flush_wal(rocks_of(s)->db, 1, &message);
    return !failed(message, err, errcap);
}

/* ---- windows ---- */

static uint64_t property(struct rocks *r, const struct window *w, const char *name) {
    uint64_t n = 0;
    return rocksdb_property_int_cf(r->db, w->cf, name, &n) == 0 ? n : 0;
}

static uint64_t window_bytes(struct rocks *r, const struct window *w) {
    return property(r, w, "rocksdb.live-sst-files-size") + property(r, w, "rocksdb.cur-size-all-mem-tables");
}

static void window_name(unsigned number, char *out) {
    snprintf(out, NAME_BYTES, "w%08u", number);
}

static bool start_window(struct rocks *r) {
    char name[NAME_BYTES], text[256], *message = NULL;
    unsigned number = r->view->windows[0].number + 1;
    window_name(number, name);
    rocksdb_column_family_handle_t *cf = rocksdb_create_column_family(r->db, r->opts, name, &message);
    if (failed(message, text, sizeof(text))) {
        log_warning("disk tier: no new window: %s", text);
        return false;
    }
    struct view *fresh = mem_zalloc(sizeof(*fresh));
    atomic_init(&fresh->refs, 1);
    fresh->n = r->view->n + 1;
    fresh->windows[0] = (struct window){cf, number};
    memcpy(&fresh->windows[1], r->view->windows, r->view->n * sizeof(struct window));
    view_replace(r, fresh);
    return true;
}

static uint64_t drop_oldest(struct rocks *r) {
    char text[256], *message = NULL;
    struct view *old = view_take(r);
    struct window gone = old->windows[old->n - 1];
    uint64_t records = property(r, &gone, "rocksdb.estimate-num-keys");
    struct view *fresh = mem_zalloc(sizeof(*fresh));
    atomic_init(&fresh->refs, 1);
    fresh->n = old->n - 1;
    memcpy(fresh->windows, old->windows, fresh->n * sizeof(struct window));
    rocksdb_drop_column_family(r->db, gone.cf, &message);
    if (failed(message, text, sizeof(text))) {
        log_warning("disk tier: window not dropped: %s", text);
    }
    old->gone = gone; /* readers of the old view may still use it */
    view_replace(r, fresh);
    view_drop(old);
    r->dropped++;
    return records;
}

/* A full tier has four windows: a quarter goes at a time. */
static uint64_t rocks_maintain(struct store *s, int64_t max_bytes) {
    struct rocks *r = rocks_of(s);
    uint64_t records = 0;
    if (max_bytes <= 0) {
        return 0;
    }
    uint64_t total = 0, max = (uint64_t)max_bytes;
    for (unsigned i = 0; i < r->view->n; i++) {
        total += window_bytes(r, &r->view->windows[i]);
    }
    while (total > max && r->view->n > 1) {
        uint64_t oldest = window_bytes(r, &r->view->windows[r->view->n - 1]);
        records += drop_oldest(r);
        total -= oldest < total ? oldest : total;
    }
    if (window_bytes(r, &r->view->windows[0]) > max / 4) {
        if (r->view->n == MAX_WINDOWS) {
            records += drop_oldest(r);
        }
        start_window(r);
    }
    return records;
}

static void rocks_stats(struct store *s, struct store_stats *out) {
    struct rocks *r = rocks_of(s);
    struct view *v = view_take(r);
    *out = (struct store_stats){.windows = v->n, .dropped_windows = r->dropped};
    for (unsigned i = 0; i < v->n; i++) {
        const struct window *w = &v->windows[i];
        out->disk_bytes += property(r, w, "rocksdb.live-sst-files-size");
        uint64_t index = property(r, w, "rocksdb.estimate-table-readers-mem");
        out->index_bytes += index;
        out->memory_bytes += property(r, w, "rocksdb.cur-size-all-mem-tables") + index;
        out->keys_estimate += property(r, w, "rocksdb.estimate-num-keys");
        out->pending_compaction_bytes += property(r, w, "rocksdb.estimate-pending-compaction-bytes");
        out->stopped |= property(r, w, "rocksdb.is-write-stopped") != 0;
    }
    out->memory_bytes += rocksdb_cache_get_usage(r->cache);
    view_drop(v);
}

/* ---- space of what is dead ---- */

static void rocks_sizes(struct store *s, const struct store_range *ranges, size_t n, uint64_t *bytes) {
    struct rocks *r = rocks_of(s);
    struct view *v = view_take(r);
    memset(bytes, 0, n * sizeof(*bytes));
    for (unsigned i = 0; i < v->n; i++) {
        for (size_t k = 0; k < n; k++) {
            const struct store_range *range = &ranges[k];
            uint64_t some = 0;
            char *message = NULL;
            rocksdb_approximate_sizes_cf(r->db, v->windows[i].cf, 1, &range->from.p, &range->from.n, &range->to.p, &range->to.n, &some, &message);
            rocksdb_free(message);
            bytes[k] += some;
        }
    }
    view_drop(v);
}

/* Files that lie in dead ranges go at once. The others become too old for the period of a moment, of which RocksDB takes note as the
 * option is set, and are merged without what the filter finds dead. */
static void rocks_reclaim(struct store *s, bool on, const struct store_range *dead, size_t n) {
    static const char *const name[] = {"periodic_compaction_seconds"}, *const seconds[] = {"0", "1"};
    struct rocks *r = rocks_of(s);
    struct view *v = view_take(r);
    for (unsigned i = 0; i < v->n; i++) {
        char text[256], *message = NULL;
        for (size_t k = 0; k < n; k++) {
            rocksdb_delete_file_in_range_cf(r->db, v->windows[i].cf, dead[k].from.p, dead[k].from.n, dead[k].to.p, dead[k].to.n, &message);
            rocksdb_free(message);
            message = NULL;
        }
        rocksdb_set_options_cf(r->db, v->windows[i].cf, 1, name, &seconds[on], &message);
        if (failed(message, text, sizeof(text))) {
            log_warning("disk tier: space is not given back: %s", text);
        }
    }
    view_drop(v);
}

/* ---- compaction filter ---- */

static unsigned char filter_record(void *ctx, int level, const char *key, size_t key_n, const char *value, size_t value_n,
                                   char **fresh, size_t *fresh_n, unsigned char *changed) {
    const struct rocks_options *o = ctx;
    (void)level;
    (void)fresh;
    (void)fresh_n;
    (void)changed;
    return o->is_dead != NULL && o->is_dead(o->is_dead_ctx, slice_make(key, key_n), slice_make(value, value_n));
}

static void filter_destroy(void *ctx) {
    (void)ctx;
}

static const char *filter_name(void *ctx) {
    (void)ctx;
    return "strata.dead-records";
}

/* ---- life ---- */

static rocksdb_block_based_table_options_t *table_options(struct rocks *r) {
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(t, r->cache);
    rocksdb_block_based_options_set_block_size(t, BLOCK_BYTES);
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_ribbon_hybrid(FILTER_BITS, 1));
    rocksdb_block_based_options_set_index_block_restart_interval(t, INDEX_RESTART); /* a third of the index */
    rocksdb_block_based_options_set_whole_key_filtering(t, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 0); /* always in memory, outside the cache */
    return t;
}

/* Options the C API has no function for; the string keeps what was set before. No period of merging, until rocks_reclaim. */
static void add_what_c_lacks(struct rocks *r) {
    rocksdb_options_t *more = rocksdb_options_create();
    char *message = NULL, text[256];
    rocksdb_get_options_from_string(r->opts, "periodic_compaction_seconds=0", more, &message);
    if (failed(message, text, sizeof(text))) {
        log_warning("disk tier: option refused: %s", text);
        rocksdb_options_destroy(more);
        return;
    }
    rocksdb_options_destroy(r->opts);
    r->opts = more;
}

/* RocksDB would make shards of 512 KB: two, where memory is small, and a loop waits for a reader that was put to sleep in one. */
static rocksdb_cache_t *make_cache(size_t bytes) {
    rocksdb_lru_cache_options_t *o = rocksdb_lru_cache_options_create();
    int bits = 0;
    while (bits < CACHE_SHARD_BITS && bytes >> (bits + 1) >= CACHE_SHARD_BYTES) {
        bits++;
    }
    rocksdb_lru_cache_options_set_capacity(o, bytes);
    rocksdb_lru_cache_options_set_num_shard_bits(o, bits);
    rocksdb_cache_t *cache = rocksdb_cache_create_lru_opts(o);
    rocksdb_lru_cache_options_destroy(o);
    return cache;
}

static void make_options(struct rocks *r) {
    const struct rocks_options *o = &r->options;
    rocksdb_options_t *p = r->opts = rocksdb_options_create();
    rocksdb_block_based_table_options_t *t = table_options(r);
    rocksdb_options_set_block_based_table_factory(p, t);
    rocksdb_block_based_options_destroy(t);
    rocksdb_options_set_create_if_missing(p, 1);
    rocksdb_options_set_create_missing_column_families(p, 1);
    rocksdb_options_set_max_open_files(p, -1);
    rocksdb_options_set_write_buffer_size(p, o->write_buffer_bytes);
    rocksdb_options_set_max_write_buffer_number(p, 3);
    rocksdb_options_set_db_write_buffer_size(p, 3 * o->write_buffer_bytes);
    rocksdb_options_set_memtable_whole_key_filtering(p, 1);
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(p, 0.1);
    rocksdb_options_set_compaction_style(p, rocksdb_universal_compaction);
    rocksdb_options_set_level0_slowdown_writes_trigger(p, L0_SLOW);
    rocksdb_options_set_level0_stop_writes_trigger(p, L0_STOP);
    rocksdb_options_set_max_background_jobs(p, 2);
    rocksdb_options_set_compaction_filter(p, r->filter);
    rocksdb_options_set_use_direct_reads(p, o->direct_io);
    rocksdb_options_set_use_direct_io_for_flush_and_compaction(p, o->direct_io);
    rocksdb_options_compaction_readahead_size(p, READ_AHEAD_BYTES);
    rocksdb_options_set_bytes_per_sync(p, 1 << 20);
    rocksdb_options_set_keep_log_file_num(p, 2);
    rocksdb_options_set_info_log_level(p, ROCKS_QUIET);
    rocksdb_options_set_max_total_wal_size(p, 4 * o->write_buffer_bytes);
    rocksdb_options_set_avoid_unnecessary_blocking_io(p, 1);
    static const int kinds[] = {rocksdb_no_compression, rocksdb_lz4_compression, rocksdb_zstd_compression};
    int levels[7] = {0};
    for (int i = 2; i < 7; i++) {
        levels[i] = kinds[o->compression];
    }
    rocksdb_options_set_compression_per_level(p, levels, 7);
    add_what_c_lacks(r);
}

static void remove_tree(const char *path) {
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char name[4096];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (unlink(name) != 0 && (errno == EISDIR || errno == EPERM)) {
            remove_tree(name);
        }
    }
    if (d != NULL) {
        closedir(d);
        rmdir(path);
    }
}

static int by_number(const void *a, const void *b) {
    unsigned x = ((const struct window *)a)->number, y = ((const struct window *)b)->number;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Opens the database with all the windows it has; a new one has window 1. */
static bool open_windows(struct rocks *r, char *err, size_t errcap) {
    char *message = NULL, *names[MAX_WINDOWS + 2] = {(char *)(uintptr_t)"default"}, fresh[NAME_BYTES];
    const rocksdb_options_t *opts[MAX_WINDOWS + 2];
    rocksdb_column_family_handle_t *cfs[MAX_WINDOWS + 2];
    size_t count = 0;
    int n = 1;
    char **found = rocksdb_list_column_families(r->opts, r->path, &count, &message);
    if (message != NULL) { /* no database yet */
        rocksdb_free(message);
        rocksdb_list_column_families_destroy(found, 0);
        message = NULL;
        found = NULL;
        count = 0;
    }
    for (size_t i = 0; i < count && n < MAX_WINDOWS + 2; i++) {
        if (found[i][0] == 'w') {
            names[n++] = found[i];
        }
    }
    if (n == 1) {
        window_name(1, fresh);
        names[n++] = fresh;
    }
    for (int i = 0; i < n; i++) {
        opts[i] = r->opts;
    }
    r->db = rocksdb_open_column_families(r->opts, r->path, n, (const char *const *)names, opts, cfs, &message);
    bool ok = !failed(message, err, errcap);
    struct view *v = mem_zalloc(sizeof(*v));
    atomic_init(&v->refs, 1);
    for (int i = 1; ok && i < n; i++) {
        unsigned number = 1;
        (void)sscanf(names[i], "w%u", &number);
        v->windows[v->n++] = (struct window){cfs[i], number};
    }
    if (found != NULL) {
        rocksdb_list_column_families_destroy(found, count);
    }
    if (!ok) {
        mem_free(v);
        return false;
    }
    rocksdb_column_family_handle_destroy(cfs[0]);
    qsort(v->windows, v->n, sizeof(v->windows[0]), by_number);
    r->view = v;
    return true;
}

static void close_db(struct rocks *r) {
    for (unsigned i = 0; r->view != NULL && i < r->view->n; i++) {
        rocksdb_column_family_handle_destroy(r->view->windows[i].cf);
    }
    if (r->view != NULL) {
        view_drop(r->view);
        r->view = NULL;
    }
    if (r->db != NULL) {
        rocksdb_close(r->db);
        r->db = NULL;
    }
}

static bool rocks_reset(struct store *s, char *err, size_t errcap) {
    struct rocks *r = rocks_of(s);
    close_db(r);
    remove_tree(r->path);
    return open_windows(r, err, errcap);
}

static void rocks_close(struct store *s) {
    struct rocks *r = rocks_of(s);
    close_db(r);
    rocksdb_writebatch_destroy(r->batch);
    rocksdb_writeoptions_destroy(r->write_unlogged);
    rocksdb_writeoptions_destroy(r->write_log);
    rocksdb_writeoptions_destroy(r->write_sync);
    rocksdb_readoptions_destroy(r->read_any);
    rocksdb_readoptions_destroy(r->read_memory);
    rocksdb_readoptions_destroy(r->read_walk);
    rocksdb_options_destroy(r->opts);
    rocksdb_compactionfilter_destroy(r->filter);
    rocksdb_cache_destroy(r->cache);
    mem_free(r->path);
    mem_free(r);
}

struct store *rocks_open(const struct rocks_options *o, bool erase, char *err, size_t errcap) {
    struct rocks *r = mem_zalloc(sizeof(*r));
    r->options = *o;
    r->path = mem_strdup(o->path);
    lock_init(&r->lock, LOCK_STORE, 0);
    r->cache = make_cache(o->cache_bytes);
    r->filter = rocksdb_compactionfilter_create(&r->options, filter_destroy, filter_record, filter_name);
    r->read_any = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(r->read_any, 1);
    rocksdb_readoptions_set_fill_cache(r->read_any, 0); /* hashed keys have no neighbours, and this one goes to memory */
    r->read_walk = rocksdb_readoptions_create(); /* interval after interval lies in one block */
    r->read_memory = rocksdb_readoptions_create();
    rocksdb_readoptions_set_read_tier(r->read_memory, 1);
    r->write_unlogged = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(r->write_unlogged, 1);
    r->write_log = rocksdb_writeoptions_create();
    r->write_sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(r->write_sync, 1);
    r->batch = rocksdb_writebatch_create();
    make_options(r);
    r->store = (struct store){.ctx = r,
                              .get = rocks_get,
                              .release = rocks_release,
                              .may_have = rocks_may_have,
                              .write = rocks_write,
                              .sync_log = rocks_sync_log,
                              .each = rocks_each,
                              .mark = rocks_mark,
                              .unmark = rocks_unmark,
                              .each_at = rocks_each_at,
                              .maintain = rocks_maintain,
                              .sizes = rocks_sizes,
                              .reclaim = rocks_reclaim,
                              .stats = rocks_stats,
                              .reset = rocks_reset,
                              .close = rocks_close};
    if (erase) {
        remove_tree(r->path);
    }
    if (!open_windows(r, err, errcap)) {
        rocks_close(&r->store);
        return NULL;
    }
    return &r->store;
}
