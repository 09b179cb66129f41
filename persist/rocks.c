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

#include "persist/glance.h"
#include "persist/window.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum {
    NAME_BYTES = 24,
    BLOCK_BYTES = 8192,
    CACHE_SHARD_BYTES = 8 * BLOCK_BYTES, /* of the block cache, a lock each: event loops look into it, and readers hold it */
    CACHE_SHARD_BITS = 6,                /* at most */
    READ_AHEAD_BYTES = 256 << 10, /* of each file a merge reads; with direct I/O it would be 2 MB, and twenty files are many */
    FILTER_BITS = 12, /* sieves have seen to most strangers */
    CHECKSUM_XXH3 = 4, /* enum ChecksumType; of a block 600 instructions less than the default */
    MEMTABLES = 3,
    FIRST_KEYS = 65536, /* 48 KB */
    SIEVE_LEAST = 2, /* bits a key, below which a sieve lets half of all pass */
    INDEX_RESTART = 8,
    L0_SLOW = 20,
    L0_STOP = 36,
    SAY_US = 1000000,
    ROCKS_QUIET = 4 /* fatal only: a line it cannot write to its own log, on a full device, aborts builds with assertions */
};

/* A walk under way over one window's keys, for a sieve that has them all. */
struct survey {
    unsigned number; /* the window's */
    rocksdb_iterator_t *keys; /* NULL: walked, or stopped */
    struct sieve *sieve;
    bool begun, whole;
};

struct rocks {
    struct store store;
    struct rocks_options options;
    char *path;
    rocksdb_t *db;
    rocksdb_options_t *opts;
    rocksdb_cache_t *cache;
    rocksdb_compactionfilter_t *filter;
    rocksdb_readoptions_t *read_any, *read_memory, *read_walk, *read_once;
    rocksdb_writeoptions_t *write_unlogged, *write_log, *write_sync;
    rocksdb_writebatch_t *batch;
    struct view_place windows;
    struct glance glance;
    struct survey *survey; /* the writer's: what is written meanwhile goes into its sieve, too */
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

/* ---- reading ---- */

/* A device that fails, fails often: a line a second. */
static bool may_say(struct rocks *r) {
    int64_t now = clock_mono_us(), said = atomic_load_explicit(&r->said_us, memory_order_relaxed);
    return (said == 0 || now - said > SAY_US) && atomic_compare_exchange_strong(&r->said_us, &said, now);
}

static enum store_result get_in(struct rocks *r, const struct window *w, struct slice key, bool memory_only,
                                struct store_value *out) {
    char *message = NULL;
    rocksdb_pinnableslice_t *pin = rocksdb_get_pinned_cf(r->db, memory_only ? r->read_memory : r->read_any, w->family->cf,
                                                         key.p, key.n, &message);
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

/* What a sieve let pass, and then was there or not, tells how far to trust it. Not in a window that has no sieve. */
static void learn(struct rocks *r, const struct window *w, enum store_reach reach, enum store_result result) {
    if (w->sieve != NULL && reach != STORE_MEMORY && result != STORE_FAILED) {
        glance_learn(&r->glance, result != STORE_ABSENT);
    }
}

static enum store_result rocks_get(struct store *s, struct slice key, enum store_reach reach, struct store_value *out) {
    struct rocks *r = rocks_of(s);
    uint64_t hash = hash_name(key);
    rocksdb_set_perf_level(rocksdb_disable); /* of this thread; its counters, which nobody reads, were a twentieth of a get */
    struct view *v = view_take(&r->windows);
    enum store_result result = STORE_ABSENT;
    for (unsigned i = 0; i < v->n && result == STORE_ABSENT; i++) {
        const struct window *w = &v->windows[i];
        if (window_denies(w, hash)) {
            continue;
        }
        if (reach == STORE_GLANCE && w->sieve != NULL && glance_spares(&r->glance, hash)) {
            result = STORE_COLD;
            break;
        }
        result = get_in(r, w, key, reach != STORE_DEVICE, out);
        out->old = v->n > 2 && i == v->n - 1;
        learn(r, w, reach, result);
    }
    view_drop(v);
    return result;
}

static void rocks_release(struct store *s, struct store_value *v) {
    (void)s;
    rocksdb_pinnableslice_destroy(v->pin);
    v->pin = NULL;
}

static bool may_have_in(struct rocks *r, const struct window *w, struct slice key, uint64_t hash) {
    return !window_denies(w, hash) &&
           rocksdb_key_may_exist_cf(r->db, r->read_memory, w->family->cf, key.p, key.n, NULL, NULL, NULL, 0, NULL);
}

static bool rocks_may_have(struct store *s, struct slice key) {
    struct rocks *r = rocks_of(s);
    uint64_t hash = hash_name(key);
    struct view *v = view_take(&r->windows);
    bool may = false;
    for (unsigned i = 0; i < v->n && !may; i++) {
        may = may_have_in(r, &v->windows[i], key, hash);
    }
    view_drop(v);
    return may;
}

static bool walk_windows(struct rocks *r, const rocksdb_readoptions_t *how, struct slice from,
                         bool (*fn)(void *ctx, struct slice key, struct slice value), void *ctx) {
    struct view *v = view_take(&r->windows);
    rocksdb_iterator_t *its[MAX_WINDOWS];
    bool ok = true, more = true;
    for (unsigned i = 0; i < v->n; i++) {
        its[i] = rocksdb_create_iterator_cf(r->db, how, v->windows[i].family->cf);
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

/* A sieve has a key before the store does. */
static void note_key(struct rocks *r, const struct window *newest, uint64_t hash) {
    if (newest->sieve != NULL) {
        sieve_add(newest->sieve, hash);
    }
    if (r->survey != NULL && r->survey->number == newest->family->number) {
        sieve_add(r->survey->sieve, hash);
    }
}

static void add_write(struct rocks *r, const struct view *v, const struct store_write *w) {
    uint64_t hash = hash_name(w->key);
    glance_wrote(&r->glance, hash, w->key.n + w->value.n);
    if (w->value.p != NULL) {
        note_key(r, &v->windows[0], hash);
        rocksdb_writebatch_put_cf(r->batch, v->windows[0].family->cf, w->key.p, w->key.n, w->value.p, w->value.n);
    } else {
        rocksdb_writebatch_delete_cf(r->batch, v->windows[0].family->cf, w->key.p, w->key.n);
    }
    for (unsigned k = 1; k < v->n; k++) { /* one window only has the key */
        if (may_have_in(r, &v->windows[k], w->key, hash)) {
            rocksdb_writebatch_delete_cf(r->batch, v->windows[k].family->cf, w->key.p, w->key.n);
        }
    }
}

static char *write_part(struct rocks *r, const struct store_write *writes, size_t n, bool unlogged, const rocksdb_writeoptions_t *how) {
    char *message = NULL;
    struct view *v = view_take(&r->windows);
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
    return rocksdb_property_int_cf(r->db, w->family->cf, name, &n) == 0 ? n : 0;
}

static uint64_t window_bytes(struct rocks *r, const struct window *w) {
    return property(r, w, "rocksdb.live-sst-files-size") + property(r, w, "rocksdb.cur-size-all-mem-tables");
}

static void window_name(unsigned number, char *out) {
    snprintf(out, NAME_BYTES, "w%08u", number);
}

/* Bytes that sieves may take beside those of all windows but this one; NULL: of all. */
static size_t sieve_room(const struct rocks *r, const struct window *but) {
    size_t room = r->options.sieve_bytes;
    for (unsigned i = 0; r->windows.view != NULL && i < r->windows.view->n; i++) {
        const struct window *w = &r->windows.view->windows[i];
        size_t bytes = w == but || w->sieve == NULL ? 0 : sieve_bytes(w->sieve);
        room -= bytes < room ? bytes : room;
    }
    return room;
}

/* A window that begins has no key, and its sieve knows that. As many are expected as the one before had. */
static struct sieve *first_sieve(const struct rocks *r, uint64_t keys) {
    size_t room = sieve_room(r, NULL);
    return room < SIEVE_LINE_BYTES ? NULL : sieve_create(keys > FIRST_KEYS ? keys : FIRST_KEYS, room);
}

static bool start_window(struct rocks *r) {
    char name[NAME_BYTES], text[256], *message = NULL;
    const struct view *old = r->windows.view;
    unsigned number = old->windows[0].family->number + 1;
    struct window windows[MAX_WINDOWS];
    window_name(number, name);
    rocksdb_column_family_handle_t *cf = rocksdb_create_column_family(r->db, r->opts, name, &message);
    if (failed(message, text, sizeof(text))) {
        log_warning("disk tier: no new window: %s", text);
        return false;
    }
    windows[0] = window_make(cf, number, first_sieve(r, property(r, &old->windows[0], "rocksdb.estimate-num-keys")));
    view_windows(old, old->n, windows + 1);
    view_replace(&r->windows, windows, old->n + 1);
    return true;
}

static uint64_t drop_oldest(struct rocks *r) {
    char text[256], *message = NULL;
    const struct view *old = r->windows.view;
    const struct window *gone = &old->windows[old->n - 1];
    struct window windows[MAX_WINDOWS];
    uint64_t records = property(r, gone, "rocksdb.estimate-num-keys");
    rocksdb_drop_column_family(r->db, gone->family->cf, &message);
    if (failed(message, text, sizeof(text))) {
        log_warning("disk tier: window not dropped: %s", text);
    }
    view_windows(old, old->n - 1, windows);
    view_replace(&r->windows, windows, old->n - 1); /* readers of the old view may still use what is gone */
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
    for (unsigned i = 0; i < r->windows.view->n; i++) {
        total += window_bytes(r, &r->windows.view->windows[i]);
    }
    while (total > max && r->windows.view->n > 1) {
        uint64_t oldest = window_bytes(r, &r->windows.view->windows[r->windows.view->n - 1]);
        records += drop_oldest(r);
        total -= oldest < total ? oldest : total;
    }
    if (window_bytes(r, &r->windows.view->windows[0]) > max / 4) {
        if (r->windows.view->n == MAX_WINDOWS) {
            records += drop_oldest(r);
        }
        start_window(r);
    }
    return records;
}

static void rocks_stats(struct store *s, struct store_stats *out) {
    struct rocks *r = rocks_of(s);
    struct view *v = view_take(&r->windows);
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
        out->sieve_bytes += w->sieve == NULL ? 0 : sieve_bytes(w->sieve);
        out->sieved_windows += w->sieve != NULL;
    }
    out->index_bytes += out->sieve_bytes;
    out->memory_bytes += rocksdb_cache_get_usage(r->cache) + out->sieve_bytes + glance_bytes(&r->glance);
    view_drop(v);
}

/* ---- space of what is dead ---- */

static void rocks_sizes(struct store *s, const struct store_range *ranges, size_t n, uint64_t *bytes) {
    struct rocks *r = rocks_of(s);
    struct view *v = view_take(&r->windows);
    memset(bytes, 0, n * sizeof(*bytes));
    for (unsigned i = 0; i < v->n; i++) {
        for (size_t k = 0; k < n; k++) {
            const struct store_range *range = &ranges[k];
            uint64_t some = 0;
            char *message = NULL;
            rocksdb_approximate_sizes_cf(r->db, v->windows[i].family->cf, 1, &range->from.p, &range->from.n, &range->to.p, &range->to.n, &some, &message);
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
    struct view *v = view_take(&r->windows);
    for (unsigned i = 0; i < v->n; i++) {
        char text[256], *message = NULL;
        for (size_t k = 0; k < n; k++) {
            rocksdb_delete_file_in_range_cf(r->db, v->windows[i].family->cf, dead[k].from.p, dead[k].from.n, dead[k].to.p, dead[k].to.n, &message);
            rocksdb_free(message);
            message = NULL;
        }
        rocksdb_set_options_cf(r->db, v->windows[i].family->cf, 1, name, &seconds[on], &message);
        if (failed(message, text, sizeof(text))) {
            log_warning("disk tier: space is not given back: %s", text);
        }
    }
    view_drop(v);
}

/* ---- surveys ---- */

/* A sieve that has twice the keys it was made for lets a quarter of all others pass; so does one whose keys have mostly gone. */
static bool is_worn(const struct window *w) {
    if (w->sieve == NULL) {
        return true;
    }
    uint64_t most = sieve_capacity(w->sieve) > w->learnt ? sieve_capacity(w->sieve) : w->learnt;
    return sieve_items(w->sieve) >= 2 * most;
}

/* For the keys a window has by now; NULL: with the memory there is it would be of no use. */
static struct sieve *next_sieve(struct rocks *r, const struct window *w) {
    uint64_t keys = property(r, w, "rocksdb.estimate-num-keys");
    size_t room = sieve_room(r, w);
    if (w->sieve != NULL && sieve_items(w->sieve) < keys) {
        keys = sieve_items(w->sieve); /* the estimate counts a key once for each run that has it */
    }
    return room < SIEVE_LINE_BYTES || room / SIEVE_LEAST < keys / 8 ? NULL : sieve_create(keys > FIRST_KEYS ? keys : FIRST_KEYS, room);
}

static void *rocks_survey_begin(struct store *s) {
    struct rocks *r = rocks_of(s);
    const struct view *v = r->windows.view;
    for (unsigned i = 0; r->survey == NULL && i < v->n; i++) {
        const struct window *w = &v->windows[i];
        struct sieve *sieve = is_worn(w) ? next_sieve(r, w) : NULL;
        if (sieve != NULL) {
            r->survey = mem_zalloc(sizeof(*r->survey));
            r->survey->number = w->family->number;
            r->survey->sieve = sieve;
            r->survey->keys = rocksdb_create_iterator_cf(r->db, r->read_once, w->family->cf);
            return r->survey;
        }
    }
    return NULL;
}

static void survey_stop(struct survey *survey) {
    if (survey->keys != NULL) {
        rocksdb_iter_destroy(survey->keys);
        survey->keys = NULL;
    }
}

static bool rocks_survey_step(struct store *s, void *ctx, size_t n) {
    struct survey *survey = ctx;
    char text[256], *message = NULL;
    if (!survey->begun) {
        survey->begun = true;
        rocksdb_iter_seek_to_first(survey->keys);
    }
    for (; n > 0 && rocksdb_iter_valid(survey->keys); n--) {
        struct slice key;
        key.p = rocksdb_iter_key(survey->keys, &key.n);
        sieve_add(survey->sieve, hash_name(key));
        rocksdb_iter_next(survey->keys);
    }
    if (rocksdb_iter_valid(survey->keys)) {
        return true;
    }
    rocksdb_iter_get_error(survey->keys, &message);
    survey->whole = !failed(message, text, sizeof(text));
    if (!survey->whole && may_say(rocks_of(s))) {
        log_warning("disk tier: survey of keys failed: %s", text);
    }
    survey_stop(survey);
    return false;
}

/* The window may have gone meanwhile. */
static bool put_in_place(struct rocks *r, const struct survey *survey) {
    const struct view *old = r->windows.view;
    struct window windows[MAX_WINDOWS];
    bool put = false;
    view_windows(old, old->n, windows);
    for (unsigned i = 0; i < old->n; i++) {
        if (windows[i].family->number == survey->number) {
            sieve_unref(&windows[i].sieve);
            windows[i].sieve = sieve_ref(survey->sieve);
            windows[i].learnt = sieve_items(survey->sieve);
            put = true;
        }
    }
    view_replace(&r->windows, windows, old->n);
    return put;
}

static bool rocks_survey_end(struct store *s, void *ctx) {
    struct rocks *r = rocks_of(s);
    struct survey *survey = ctx;
    bool mine = r->survey == survey; /* else the database it was of is gone */
    bool done = mine && survey->whole && put_in_place(r, survey);
    r->survey = mine ? NULL : r->survey;
    survey_stop(survey);
    sieve_unref(&survey->sieve);
    mem_free(survey);
    return done;
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
    rocksdb_block_based_options_set_checksum(t, CHECKSUM_XXH3);
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
    rocksdb_options_set_max_write_buffer_number(p, MEMTABLES);
    rocksdb_options_set_db_write_buffer_size(p, MEMTABLES * o->write_buffer_bytes);
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
    unsigned x = ((const struct window *)a)->family->number, y = ((const struct window *)b)->family->number;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Opens the database with all the windows it has; a new one has window 1. */
static bool open_windows(struct rocks *r, char *err, size_t errcap) {
    char *message = NULL, *names[MAX_WINDOWS + 1] = {(char *)(uintptr_t)"default"}, fresh[NAME_BYTES];
    const rocksdb_options_t *opts[MAX_WINDOWS + 1];
    rocksdb_column_family_handle_t *cfs[MAX_WINDOWS + 1];
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
    for (size_t i = 0; i < count && n < MAX_WINDOWS + 1; i++) {
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
    bool ok = !failed(message, err, errcap), fresh_one = names[n - 1] == fresh;
    struct window windows[MAX_WINDOWS];
    for (int i = 1; ok && i < n; i++) {
        unsigned number = 1;
        (void)sscanf(names[i], "w%u", &number);
        windows[i - 1] = window_make(cfs[i], number, fresh_one ? first_sieve(r, 0) : NULL); /* a survey will tell */
    }
    if (found != NULL) {
        rocksdb_list_column_families_destroy(found, count);
    }
    if (!ok) {
        return false;
    }
    rocksdb_column_family_handle_destroy(cfs[0]);
    qsort(windows, (size_t)n - 1, sizeof(windows[0]), by_number);
    view_replace(&r->windows, windows, (unsigned)n - 1);
    return true;
}

static void close_db(struct rocks *r) {
    if (r->survey != NULL) {
        survey_stop(r->survey); /* nobody walks now; the tier still has it, to end it */
        r->survey = NULL;
    }
    if (r->windows.view != NULL) {
        view_replace(&r->windows, NULL, 0);
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
    rocksdb_readoptions_destroy(r->read_once);
    rocksdb_options_destroy(r->opts);
    rocksdb_compactionfilter_destroy(r->filter);
    rocksdb_cache_destroy(r->cache);
    glance_fini(&r->glance);
    mem_free(r->path);
    mem_free(r);
}

struct store *rocks_open(const struct rocks_options *o, bool erase, char *err, size_t errcap) {
    struct rocks *r = mem_zalloc(sizeof(*r));
    r->options = *o;
    r->path = mem_strdup(o->path);
    view_place_init(&r->windows);
    glance_init(&r->glance, MEMTABLES * o->write_buffer_bytes);
    r->cache = make_cache(o->cache_bytes);
    r->filter = rocksdb_compactionfilter_create(&r->options, filter_destroy, filter_record, filter_name);
    r->read_any = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(r->read_any, 1);
    rocksdb_readoptions_set_fill_cache(r->read_any, 0); /* hashed keys have no neighbours, and this one goes to memory */
    r->read_walk = rocksdb_readoptions_create(); /* interval after interval lies in one block */
    r->read_once = rocksdb_readoptions_create(); /* all of a window, which would push everything else out of the cache */
    rocksdb_readoptions_set_fill_cache(r->read_once, 0);
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
                              .survey_begin = rocks_survey_begin,
                              .survey_step = rocks_survey_step,
                              .survey_end = rocks_survey_end,
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
