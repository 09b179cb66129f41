/* SPDX-License-Identifier: BSD-3-Clause */
/* open: the disk tier's beginning and end, and what it says of itself. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "persist/disk_int.h"
#include "persist/record.h"
#include "persist/rocks.h"
#include "src/base/clock.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/rt/pool.h"

/* On RocksDB's threads: flushed databases' records and expired ones need not be kept. */
static bool is_dead(void *ctx, struct slice key, struct slice value) {
    struct disk *d = ctx;
    uint32_t generation;
    uint64_t position;
    struct slice name;
    int64_t expire_ms;
    if (!record_split_key(key, &generation, &position, &name) || !record_last(value, &expire_ms)) {
        return false;
    }
    if (!state_is_live(d->state, generation)) {
        disk_count(&d->count.flushed, 1);
        return true;
    }
    bool expired = expire_ms != -1 && expire_ms <= clock_now_ms();
    disk_count(&d->count.expired, expired);
    disk_count(&d->vanished, expired); /* it may have been replaced or deleted before, and counted then: nobody can say here */
    return expired;
}

struct notes {
    struct disk *d;
    uint64_t n;
    bool failed;
};

/* One key less in its database, if it has one. */
static void uncount(struct disk *d, struct slice record_key) {
    uint32_t generation;
    uint64_t position;
    struct slice name;
    for (unsigned i = 0; record_split_key(record_key, &generation, &position, &name) && i < STATE_LOGICAL; i++) {
        uint8_t physical = state_map(d->state)[i];
        uint64_t n = state_count(d->state, physical);
        if (state_generation(d->state, physical) == generation && n > 0) {
            state_set_count(d->state, physical, n - 1);
        }
    }
}

static void apply_note(void *ctx, struct slice record_key) {
    struct notes *notes = ctx;
    char err[256];
    struct store_write w = {.key = record_key};
    struct store_value v = {0};
    if (notes->d->store->get(notes->d->store, record_key, STORE_DEVICE, &v) == STORE_FOUND) {
        notes->d->store->release(notes->d->store, &v);
        uncount(notes->d, record_key);
    }
    if (!notes->failed && !notes->d->store->write(notes->d->store, &w, 1, false, err, sizeof(err))) {
        log_warning("disk tier: an invalidation could not be applied: %s", err);
        notes->failed = true;
    }
    notes->n++;
}

/* After a kill: what was changed since its copy was written is deleted before anything is served. */
static bool apply_notes(struct disk *d) {
    struct notes notes = {.d = d};
    if (!state_each_note(d->state, apply_note, &notes)) {
        log_warning("disk tier: the journal is damaged");
        notes.failed = true;
    }
    if (!notes.failed) {
        state_forget_all(d->state);
        log_notice("disk tier: the server had been killed: %llu noted changes applied", (unsigned long long)notes.n);
    }
    return !notes.failed;
}

/* Keys in the store as the state file has them: exact after an orderly close, but for the last batch after a kill, or, where values
 * need no log, for what RocksDB had not written to a file: then they are counted. */
static void adopt_counts(struct disk *d, enum state_kind kind) {
    int64_t total = 0;
    if (kind == STATE_CLEAN || kind == STATE_KILLED) {
        for (unsigned i = 0; i < STATE_LOGICAL; i++) {
            uint8_t physical = state_map(d->state)[i];
            atomic_store(&d->keys[physical], (int64_t)state_count(d->state, physical));
            total += d->keys[physical];
        }
    }
    d->adopted_keys = total > 0 ? total : 0;
    d->unsure = kind == STATE_KILLED && d->options.durability == DISK_NONE ? (uint64_t)d->adopted_keys : 0;
    log_notice("disk tier: '%s' %s: %lld keys", d->options.dir, d->adopted, (long long)d->adopted_keys);
}

static bool open_store(struct disk *d, enum state_kind *kind, char *err, size_t errcap) {
    static const char *const how[] = {
        [STATE_FRESH] = "new", [STATE_CLEAN] = "adopted", [STATE_KILLED] = "adopted after a kill", [STATE_DROPPED] = "emptied: "};
    const char *why = state_why_dropped(d->state);
    char path[4096];
    snprintf(path, sizeof(path), "%s/db", d->options.dir);
    struct rocks_options ro = {.path = path,
                               .cache_bytes = d->options.cache_bytes,
                               .write_buffer_bytes = d->options.write_buffer_bytes,
                               .sieve_bytes = d->options.write_buffer_bytes,
                               .compression = (enum rocks_compression)d->options.compression,
                               .direct_io = d->options.direct_io,
                               .is_dead = is_dead,
                               .is_dead_ctx = d};
    bool erase = *kind == STATE_DROPPED || *kind == STATE_FRESH;
    d->store = d->options.store != NULL ? d->options.store : rocks_open(&ro, erase, err, errcap);
    if (d->store == NULL && !erase) { /* damaged: a cache begins again */
        log_warning("disk tier: cannot be opened (%s): emptied", err);
        *kind = STATE_DROPPED;
        why = "it is damaged and could not be opened";
        state_distrust(d->state, true); /* a kill in the middle must not leave half of it */
        d->store = rocks_open(&ro, true, err, errcap);
    }
    bool reset = erase && d->options.store != NULL;
    if (d->store != NULL && *kind == STATE_KILLED && !apply_notes(d)) {
        *kind = STATE_DROPPED;
        why = "the journal could not be applied";
        state_distrust(d->state, true);
        reset = true;
    }
    if (reset && !d->store->reset(d->store, err, errcap)) {
        d->store->close(d->store);
        d->store = NULL;
    }
    if (*kind == STATE_DROPPED) {
        state_forget_all(d->state); /* there is nothing older left */
    }
    snprintf(d->adopted, sizeof(d->adopted), "%s%s", how[*kind], *kind == STATE_DROPPED ? why : "");
    return d->store != NULL;
}

struct disk *disk_open(const struct disk_options *o, char *err, size_t errcap) {
    enum state_kind kind;
    char path[4096];
    if (mkdir(o->dir, 0700) != 0 && errno != EEXIST) {
        snprintf(err, errcap, "'%s' cannot be created: %s", o->dir, strerror(errno));
        return NULL;
    }
    struct disk *d = mem_zalloc(sizeof(*d));
    d->options = *o;
    snprintf(path, sizeof(path), "%s/state", o->dir);
    d->state = state_open(path, o->journal_bytes, &kind, err, errcap);
    if (d->state == NULL) {
        mem_free(d);
        return NULL;
    }
    if (!open_store(d, &kind, err, errcap)) {
        state_close(&d->state, false); /* distrusted as far as it was not emptied */
        mem_free(d);
        return NULL;
    }
    state_distrust(d->state, false);
    state_sync(d->state); /* what records are written with must be there as long as they */
    hash_seed(state_hash_seed(d->state));
    admit_init(&d->admission);
    disk_tune(d, &o->limits);
    lock_init(&d->walk_lock, LOCK_WALK, 0);
    for (unsigned i = 0; i < STATE_LANES; i++) {
        lane_init(&d->lanes[i], i);
    }
    d->pool = pool_create(&(struct pool_options){.name = "l2-read", .threads = o->threads_min,
                                                   .threads_max = o->threads_max,
                                                   .lanes = READ_LANES,
                                                   .depth = o->reads_wait ? UINT_MAX : o->read_depth});
    disk_make_faces(d);
    adopt_counts(d, kind);
    d->packer = packer_create();
    writer_start(d);
    return d;
}

void disk_close(struct disk **dp) {
    struct disk *d = *dp;
    *dp = NULL;
    atomic_store(&d->closing, true);
    writer_stop(d);
    pool_destroy(&d->pool);
    survey_close(d);
    bool orderly = atomic_load(&d->mode) == DISK_SERVING;
    for (unsigned i = 0; i < STATE_PHYSICAL; i++) {
        int64_t n = atomic_load(&d->keys[i]);
        state_set_count(d->state, (uint8_t)i, n > 0 ? (uint64_t)n : 0);
    }
    for (unsigned i = 0; i < STATE_LANES; i++) {
        lane_fini(&d->lanes[i]);
    }
    d->store->close(d->store);
    state_close(&d->state, orderly);
    admit_fini(&d->admission);
    packer_destroy(&d->packer);
    mem_free(d);
}

struct source *disk_source(struct disk *d) {
    return &d->source;
}

struct sink *disk_sink(struct disk *d) {
    return &d->sink;
}

const uint8_t *disk_map(const struct disk *d) {
    return state_map(d->state);
}

void disk_tune(struct disk *d, const struct disk_limits *l) {
    admit_tune(&d->admission, &l->admit);
    atomic_store(&d->queue_bytes, l->queue_bytes);
    atomic_store(&d->max_bytes, l->max_bytes);
}

enum { MEMTABLES = 3 };

void disk_memory(const struct disk *d, size_t *now, size_t *most) {
    *now = atomic_load(&d->store_bytes) + disk_queued_bytes(d);
    *most = atomic_load(&d->queue_bytes) + d->options.cache_bytes + MEMTABLES * d->options.write_buffer_bytes;
}

const char *disk_trouble(const struct disk *d) {
    bool serving = atomic_load(&d->mode) == DISK_SERVING;
    return !serving ? "bypassed" : atomic_load(&d->stalled) ? "stalled" : disk_rests(d) ? "reads fail" : NULL;
}

static int64_t keys_of(struct disk *d) {
    int64_t keys = 0;
    for (unsigned i = 0; i < STATE_LOGICAL; i++) {
        keys += d->source.key_count(&d->source, state_map(d->state)[i]);
    }
    return keys > 0 ? keys : 0;
}

void disk_numbers(struct source *s, struct tier_numbers all[STAT_TIERS]) {
    struct disk *d = s->ctx;
    struct tier_numbers *n = &all[STAT_L2];
    const struct disk_counters *c = &d->count;
    static const enum stat_reject as[ADMIT_VERDICTS] = {[REFUSED_SIZE] = REJECT_size,     [REFUSED_TTL] = REJECT_ttl,
                                                        [REFUSED_UNREAD] = REJECT_unread, [REFUSED_RULE] = REJECT_admission,
                                                        [REFUSED_BUDGET] = REJECT_budget, [REFUSED_THRASH] = REJECT_thrash};
    n->negative += c->absent;
    n->promotions += c->queue_hits + c->memory_hits + c->disk_hits;
    n->fills += c->puts;
    n->evictions[EVICTION_window] += c->dropped;
    n->evictions[EVICTION_expired] += c->expired;
    n->evictions[EVICTION_flushed] += c->flushed;
    for (unsigned i = REFUSED_SIZE; i < ADMIT_VERDICTS; i++) {
        n->rejects[as[i]] += d->admission.verdicts[i];
    }
    n->rejects[REJECT_queue] += c->queue_full;
    n->bytes = atomic_load_explicit(&d->disk_bytes, memory_order_relaxed);
    n->limit_bytes = (uint64_t)atomic_load_explicit(&d->max_bytes, memory_order_relaxed);
    n->keys = (uint64_t)keys_of(d);
    all[STAT_L1].demotions += d->admission.verdicts[ADMITTED];
}

void disk_read_pressure(struct disk *d, struct disk_pressure *out) {
    struct store_stats st = {0};
    if (disk_enter(d)) {
        d->store->stats(d->store, &st);
        disk_leave(d);
    }
    *out = (struct disk_pressure){
        .queue_bytes = disk_queued_bytes(d), .compaction_bytes = st.pending_compaction_bytes, .stopped = st.stopped};
    for (unsigned lane = 0; lane < READ_LANES; lane++) {
        struct pool_stats reads;
        pool_stats_read(d->pool, lane, &reads);
        out->reads_waiting += reads.depth;
    }
}

static void line(struct buf *b, const char *name, uint64_t n) {
    buf_printf(b, "l2_%s:%llu\r\n", name, (unsigned long long)n);
}

void disk_info(struct source *s, struct buf *b) {
    struct disk *d = s->ctx;
    const struct disk_counters *c = &d->count;
    struct store_stats st = {0};
    bool serving = disk_enter(d);
    if (serving) {
        d->store->stats(d->store, &st);
        disk_leave(d);
    }
    const char *trouble = disk_trouble(d);
    buf_printf(b, "l2_state:%s\r\nl2_adopted:%s\r\nl2_last_error:%s\r\n", trouble != NULL ? trouble : "serving", d->adopted,
               d->last_error);
    line(b, "adopted_keys", (uint64_t)d->adopted_keys);
    line(b, "disk_bytes", st.disk_bytes);
    line(b, "memory_bytes", st.memory_bytes);
    line(b, "index_bytes", st.index_bytes);
    line(b, "windows", st.windows);
    line(b, "windows_dropped", st.dropped_windows);
    line(b, "compaction_pending_bytes", st.pending_compaction_bytes);
    line(b, "write_stalled", st.stopped);
    line(b, "probes", c->probes);
    line(b, "hits_queue", c->queue_hits);
    line(b, "hits_memory", c->memory_hits);
    line(b, "hits_disk", c->disk_hits);
    line(b, "misses_disk", c->disk_misses);
    line(b, "misses_definite", c->absent);
    line(b, "corrupt_records", c->corrupt);
    line(b, "reads_refused", c->reads_refused);
    line(b, "reads_late", c->reads_late);
    line(b, "read_failures", c->read_failures);
    line(b, "reads_skipped", c->reads_skipped);
    line(b, "reads_threads", pool_threads(d->pool));
    for (unsigned lane = 0; lane < READ_LANES; lane++) {
        static const char *const names[READ_LANES] = {[READS_WAITED_FOR] = "reads", [READS_IN_BACKGROUND] = "background"};
        struct pool_stats reads;
        pool_stats_read(d->pool, lane, &reads);
        buf_printf(b, "l2_%s_waiting:%llu\r\nl2_%s_wait_us:%llu\r\nl2_%s_busy_us:%llu\r\n", names[lane], (unsigned long long)reads.depth,
                   names[lane], (unsigned long long)reads.wait_us, names[lane], (unsigned long long)reads.busy_us);
    }
    line(b, "puts", c->puts);
    line(b, "deletes", c->deletes);
    line(b, "batches", c->batches);
    line(b, "bytes_in", c->bytes_in);
    line(b, "queue_bytes", disk_queued_bytes(d));
    line(b, "journal_bytes", state_noted_bytes(d->state));
    line(b, "journal_overflows", state_overflows(d->state));
    static const char *const reasons[ADMIT_VERDICTS] = {
        [ADMITTED] = "admitted",         [REFUSED_SIZE] = "refused_size",     [REFUSED_TTL] = "refused_ttl",
        [REFUSED_UNREAD] = "refused_unread", [REFUSED_RULE] = "refused_admission", [REFUSED_BUDGET] = "refused_budget",
        [REFUSED_THRASH] = "refused_thrash"};
    for (unsigned i = 0; i < ADMIT_VERDICTS; i++) {
        line(b, reasons[i], d->admission.verdicts[i]);
    }
    line(b, "thrash_guard", admit_is_guarding(&d->admission, clock_mono_us() / 1000));
    line(b, "thrash_guard_windows", d->admission.guarded_windows);
    line(b, "refused_queue", c->queue_full);
    line(b, "write_failures", c->write_failures);
    line(b, "writer_stalled", d->stalled);
    line(b, "writer_stalls", c->stalls);
    line(b, "packed", c->packed);
    line(b, "packed_from_bytes", c->packed_from);
    line(b, "packed_to_bytes", c->packed_to);
    line(b, "rebuilds", c->rebuilds);
    line(b, "recounts", c->recounts);
    line(b, "reclaims", c->reclaims);
    line(b, "sieve_bytes", st.sieve_bytes);
    line(b, "sieve_windows", st.sieved_windows);
    line(b, "surveys", c->surveys);
}
