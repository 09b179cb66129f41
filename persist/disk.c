/* SPDX-License-Identifier: BSD-3-Clause */
/* disk: the tier's two faces, source and sink. Opening is open.c, writing writer.c. */
#include "persist/disk.h"

#include <string.h>

#include "persist/disk_int.h"
#include "persist/record.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/rt/loop.h"
#include "src/rt/pool.h"

enum {
    SMALL_KEY = 512,
    UNPACK_ON_LOOP = 16384 /* bytes decompressed on an event loop: some ten microseconds; more is a pool thread's work */
};

/* A record key on the stack when it is small. */
struct raw_key {
    struct buf b;
    char room[SMALL_KEY];
};

static struct slice raw_key_make(struct raw_key *k, uint32_t generation, const struct key *key) {
    bool small = RECORD_KEY_HEAD + key->name.n <= SMALL_KEY;
    k->b = small ? (struct buf){.p = k->room, .cap = SMALL_KEY} : (struct buf){0};
    record_put_key(&k->b, generation, key);
    return buf_slice(&k->b);
}

static void raw_key_free(struct raw_key *k) {
    if (k->b.p != k->room) {
        buf_free(&k->b);
    }
}

/* ---- reading ---- */

/* A stored value as found; false when it is expired, or cannot be used. */
static bool take_record(struct disk *d, struct slice raw, int64_t now_ms, struct found *out) {
    int64_t last_ms;
    if (!record_last(raw, &last_ms)) {
        disk_count(&d->count.corrupt, 1);
        return false;
    }
    if (last_ms != -1 && last_ms <= now_ms) {
        return false;
    }
    if (!record_decode(raw, &d->options.hash_limits, out)) {
        disk_count(&d->count.corrupt, 1);
        return false;
    }
    out->same = true;
    return true;
}

static void forget(struct found *f) {
    found_free(f);
    *f = (struct found){.expire_ms = -1};
}

/* What is queued counts before what the store has. True: result says. */
static bool probe_queue(struct disk *d, const struct key *key, uint32_t generation, int64_t now_ms, struct found *out,
                        enum probe_result *result) {
    struct lane *lane = disk_lane(d, key);
    lane_lock(lane);
    const struct op *op = lane_find(lane, key, generation);
    if (op != NULL) {
        bool found = op->change == CHANGE_PUT && take_record(d, buf_slice(&op->record), now_ms, out);
        *result = found ? PROBE_FOUND : PROBE_ABSENT;
    }
    lane_unlock(lane);
    return op != NULL;
}

static enum probe_result probe_store(struct disk *d, const struct key *key, uint32_t generation, int64_t now_ms,
                                     struct found *out) {
    enum probe_result result = PROBE_ABSENT;
    struct raw_key raw;
    struct store_value v = {0};
    switch (d->store->get(d->store, raw_key_make(&raw, generation, key), STORE_GLANCE, &v)) {
    case STORE_FOUND:
        if (record_packed_bytes(v.bytes) > UNPACK_ON_LOOP) {
            result = PROBE_UNKNOWN;
        } else {
            result = take_record(d, v.bytes, now_ms, out) ? PROBE_FOUND : PROBE_ABSENT;
            disk_count(&d->count.memory_hits, 1);
            admit_wanted(&d->admission, key->hash, clock_mono_us() / 1000);
        }
        d->store->release(d->store, &v);
        break;
    case STORE_COLD:
        result = PROBE_UNKNOWN;
        break;
    default:
        disk_count(&d->count.absent, 1);
    }
    raw_key_free(&raw);
    return result;
}

static enum probe_result probe(struct source *s, const struct key *key, int64_t now_ms, struct found *out) {
    struct disk *d = s->ctx;
    uint32_t generation = state_generation(d->state, key->db);
    enum probe_result result = PROBE_ABSENT;
    disk_count(&d->count.probes, 1);
    if (!disk_enter(d)) {
        return PROBE_ABSENT; /* the queue's word counts no more, either: it does not hear of changes now */
    }
    if (!probe_queue(d, key, generation, now_ms, out, &result)) {
        result = probe_store(d, key, generation, now_ms, out);
    } else if (result == PROBE_FOUND) {
        disk_count(&d->count.queue_hits, 1);
        admit_wanted(&d->admission, key->hash, clock_mono_us() / 1000);
    }
    if (!disk_still_serves(d)) {
        forget(out);
        result = PROBE_ABSENT;
    }
    disk_leave(d);
    return result;
}

/* ---- a device that fails every read: each may take it seconds, so that most are skipped ---- */

static void note_read(struct disk *d, bool failed) {
    if (!failed) {
        atomic_store_explicit(&d->fails_in_a_row, 0, memory_order_relaxed);
    } else if (atomic_fetch_add_explicit(&d->fails_in_a_row, 1, memory_order_relaxed) + 1 >= FAILS_IN_A_ROW) {
        atomic_store_explicit(&d->reads_rest_until_us, clock_mono_us() + READS_REST_MS * 1000, memory_order_relaxed);
    }
}

bool disk_rests(const struct disk *d) {
    int64_t until = atomic_load_explicit(&d->reads_rest_until_us, memory_order_relaxed);
    return until != 0 && clock_mono_us() < until;
}

struct read_job {
    struct job job;
    struct disk *disk;
    struct fetch *fetch;
};

static void read_store(struct disk *d, struct fetch *f, uint32_t generation, int64_t now_ms) {
    struct raw_key raw;
    struct store_value v = {0};
    enum store_result got = d->store->get(d->store, raw_key_make(&raw, generation, &f->key), STORE_DEVICE, &v);
    note_read(d, got == STORE_FAILED);
    switch (got) {
    case STORE_FOUND:
        f->result = take_record(d, v.bytes, now_ms, &f->found) ? FETCH_FOUND : FETCH_ABSENT;
        d->store->release(d->store, &v);
        break;
    case STORE_FAILED:
        disk_count(&d->count.read_failures, 1);
        f->result = FETCH_ERROR;
        break;
    default:
        break;
    }
    if (f->result == FETCH_FOUND) {
        disk_count(&d->count.disk_hits, 1);
        admit_wanted(&d->admission, f->key.hash, clock_mono_us() / 1000);
    } else {
        disk_count(&d->count.disk_misses, 1);
    }
    raw_key_free(&raw);
}

static void read_run(struct job *job) {
    struct read_job *r = (struct read_job *)job;
    struct disk *d = r->disk;
    struct fetch *f = r->fetch;
    int64_t now_ms = clock_now_ms();
    f->result = FETCH_ABSENT;
    if (now_ms > f->deadline_ms && !d->options.reads_wait) {
        disk_count(&d->count.reads_late, 1);
        f->result = FETCH_ERROR;
        return;
    }
    if (!disk_enter(d)) {
        return;
    }
    uint32_t generation = state_generation(d->state, f->key.db);
    enum probe_result queued;
    if (!probe_queue(d, &f->key, generation, now_ms, &f->found, &queued)) {
        read_store(d, f, generation, now_ms);
    } else if (queued == PROBE_FOUND) {
        f->result = FETCH_FOUND;
    }
    if (!disk_still_serves(d)) {
        forget(&f->found);
        f->result = FETCH_ABSENT;
    }
    disk_leave(d);
}

static void read_done(struct job *job) {
    struct read_job *r = (struct read_job *)job;
    struct fetch *f = r->fetch;
    mem_free(r);
    f->done(f);
}

static void fetch(struct source *s, struct fetch *f) {
    struct disk *d = s->ctx;
    if (disk_rests(d)) {
        disk_count(&d->count.reads_skipped, 1);
        f->result = FETCH_ERROR;
        f->done(f);
        return;
    }
    struct read_job *r = mem_zalloc(sizeof(*r));
    *r = (struct read_job){.job = {.loop = f->loop, .run = read_run, .done = read_done}, .disk = d, .fetch = f};
    if (!pool_submit(d->pool, f->background ? READS_IN_BACKGROUND : READS_WAITED_FOR, &r->job)) {
        disk_count(&d->count.reads_refused, 1);
        mem_free(r);
        f->result = FETCH_ERROR; /* past the bound a cold key is a miss */
        f->done(f);
    }
}

/* ---- writing ---- */

static size_t lane_room(const struct disk *d) {
    return atomic_load_explicit(&d->queue_bytes, memory_order_relaxed) / STATE_LANES;
}

/* A value larger than its lane's part may have what the others leave. */
static bool has_room(const struct disk *d, const struct lane *lane, size_t size) {
    return lane->bytes + size <= lane_room(d) ||
           (size > lane_room(d) / 2 && disk_queued_bytes(d) + size <= atomic_load_explicit(&d->queue_bytes, memory_order_relaxed));
}

/* Where replies wait for the log nothing is noted: an older version may stand for a change nobody was told of. */
static void queue(struct disk *d, struct lane *lane, struct change_request *r) {
    size_t ops = lane->ops;
    int growth;
    r->note = r->replaces && d->options.durability != DISK_ALWAYS;
    const struct op *op = lane_add(lane, d->state, r, &growth);
    if (atomic_load(&d->watch_count) != 0) {
        disk_note_change(d, op);
    }
    atomic_fetch_add_explicit(&d->growth_queued[r->key->db], growth, memory_order_relaxed);
    atomic_fetch_add(&d->queued, lane->ops - ops); /* none when a queued change became this one */
    disk_count(r->change == CHANGE_PUT ? &d->count.puts : &d->count.deletes, 1);
    if (lane->bytes > lane_room(d) / 4 * 3 && !atomic_load_explicit(&d->stalled, memory_order_relaxed)) {
        atomic_store_explicit(&d->sink.pressed, true, memory_order_relaxed); /* until the writer says otherwise */
    }
}

/* Whether the queue has the key, or else the store, as far as its filters know. Lane locked. */
static bool has_below(struct disk *d, struct lane *lane, const struct key *key, uint32_t generation) {
    const struct op *op = lane_find(lane, key, generation);
    if (op != NULL) {
        return op->change == CHANGE_PUT;
    }
    struct raw_key raw;
    bool may = d->store->may_have(d->store, raw_key_make(&raw, generation, key));
    raw_key_free(&raw);
    return may;
}

/* Deletes what the store, or the queue, may have of the key. Lane locked. */
static void delete_below(struct disk *d, struct lane *lane, const struct key *key, uint32_t generation,
                         struct sink_ack *ack, unsigned *result) {
    if (!has_below(d, lane, key, generation)) {
        return;
    }
    if (lane->bytes > 4 * lane_room(d)) {
        disk_bypass(d, "the writer is too far behind"); /* an emptied store needs no delete */
        return;
    }
    queue(d, lane, &(struct change_request){
                       .change = CHANGE_DELETE, .key = key, .generation = generation, .replaces = true, .had = true, .ack = ack});
    *result |= ack != NULL ? SINK_WAIT : SINK_DONE;
}

/* The value as a record; false without memory. */
static bool make_record(struct disk *d, const struct item_view *item, size_t size, struct buf *record) {
    if (!buf_try_exact(record, size)) {
        disk_count(&d->count.queue_full, 1);
        return false;
    }
    record_put_value(record, item);
    disk_count(&d->count.bytes_in, record->n);
    return true;
}

static bool put_through(struct disk *d, struct lane *lane, const struct key *key, uint32_t generation,
                        const struct item_view *item, struct sink_ack *ack) {
    size_t size = record_size_hint(item);
    if (size > atomic_load_explicit(&d->admission.max_value_bytes, memory_order_relaxed)) {
        disk_count(&d->admission.verdicts[REFUSED_SIZE], 1);
        return false;
    }
    if (!has_room(d, lane, size) && ack == NULL) {
        disk_count(&d->count.queue_full, 1);
        return false;
    }
    struct buf record;
    if (!make_record(d, item, size, &record)) {
        return false;
    }
    queue(d, lane, &(struct change_request){.change = CHANGE_PUT, .key = key, .generation = generation,
                                            .record = &record, .replaces = true,
                                            .had = has_below(d, lane, key, generation), .ack = ack});
    return true;
}

static unsigned changed(struct sink *s, enum sink_change change, const struct key *key, const struct item_view *item,
                        int64_t now_ms, struct sink_ack *ack) {
    struct disk *d = s->ctx;
    unsigned result = SINK_DONE;
    (void)now_ms;
    if (!disk_enter(d)) {
        return result;
    }
    uint32_t generation = state_generation(d->state, key->db);
    struct lane *lane = disk_lane(d, key);
    lane_lock(lane);
    if (change != SINK_DEL && d->options.write_policy == DISK_THROUGH &&
        put_through(d, lane, key, generation, item, ack)) {
        result = SINK_SAME | (ack != NULL ? SINK_WAIT : SINK_DONE);
    } else {
        delete_below(d, lane, key, generation, ack, &result);
    }
    bool queued = lane->untaken != NULL;
    lane_unlock(lane);
    disk_leave(d);
    if (queued) {
        writer_wake(d);
    }
    return result;
}

/* Whether a value that leaves memory is worth a write. */
static bool is_admitted(struct disk *d, const struct key *key, const struct item_view *item, size_t size, bool read) {
    if (d->options.write_policy == DISK_AROUND && !read) {
        disk_count(&d->admission.verdicts[REFUSED_UNREAD], 1);
        return false;
    }
    int64_t ttl_ms = item->expire_ms == -1 ? -1 : item->expire_ms - clock_now_ms();
    return admit_value(&d->admission, key->hash, size, ttl_ms < -1 ? 0 : ttl_ms, clock_mono_us() / 1000) == ADMITTED;
}

/* Not when it would need more than the whole queue, either. */
static bool fits(struct sink *s, const struct item_view *item) {
    struct disk *d = s->ctx;
    size_t size = record_size_hint(item);
    return size <= atomic_load_explicit(&d->admission.max_value_bytes, memory_order_relaxed) &&
           size <= atomic_load_explicit(&d->queue_bytes, memory_order_relaxed);
}

static bool evicted(struct sink *s, const struct key *key, const struct item_view *item, const struct eviction *e) {
    struct disk *d = s->ctx;
    size_t size = record_size_hint(item);
    bool admitted = is_admitted(d, key, item, size, e->read);
    if ((!admitted && e->alone) || !disk_enter(d)) {
        return false;
    }
    struct lane *lane = disk_lane(d, key);
    uint32_t generation = state_generation(d->state, key->db);
    lane_lock(lane);
    bool room = has_room(d, lane, size);
    disk_count(&d->count.queue_full, admitted && !room);
    struct buf record;
    bool taken = admitted && room && make_record(d, item, size, &record);
    if (taken) {
        queue(d, lane, &(struct change_request){
                           .change = CHANGE_PUT, .key = key, .generation = generation, .record = &record, .replaces = !e->alone,
                           .had = !e->alone && has_below(d, lane, key, generation)});
    } else if (!e->alone) { /* dropped, it would uncover the older version */
        delete_below(d, lane, key, generation, NULL, &(unsigned){0});
    }
    lane_unlock(lane);
    disk_leave(d);
    writer_wake(d);
    return taken;
}

static void mapped(struct sink *s, const uint8_t *map, uint64_t emptied) {
    struct disk *d = s->ctx;
    for (unsigned i = 0; i < STATE_LOGICAL; i++) {
        if (emptied >> i & 1) {
            state_renew(d->state, map[i]);
            atomic_store_explicit(&d->keys[map[i]], 0, memory_order_relaxed);
            atomic_store_explicit(&d->growth_queued[map[i]], 0, memory_order_relaxed);
        }
    }
    state_set_map(d->state, map);
    if (emptied != 0) {
        atomic_store(&d->flushed, true);
        writer_wake(d);
    }
}

static void sync_map(struct sink *s) {
    state_sync(((struct disk *)s->ctx)->state);
}

static int64_t key_count(struct source *s, uint8_t physical) {
    struct disk *d = s->ctx;
    if (!disk_still_serves(d)) {
        return 0;
    }
    return atomic_load_explicit(&d->keys[physical], memory_order_relaxed) +
           atomic_load_explicit(&d->growth_queued[physical], memory_order_relaxed);
}

void disk_make_faces(struct disk *d) {
    bool through = d->options.write_policy == DISK_THROUGH;
    d->source = (struct source){.name = "l2", .ctx = d, .tier = STAT_L2, .probe = probe, .fetch = fetch, .key_count = key_count, .walk = disk_walk, .watch = disk_watch, .unwatch = disk_unwatch, .unpack = disk_unpack, .info = disk_info, .numbers = disk_numbers};
    d->sink.name = "l2";
    d->sink.ctx = d;
    d->sink.every_change = through;
    d->sink.acks = d->options.durability == DISK_ALWAYS;
    d->sink.changed = changed;
    d->sink.evicted = evicted;
    d->sink.fits = fits;
    d->sink.mapped = mapped;
    d->sink.sync = d->options.durability == DISK_ALWAYS ? sync_map : NULL;
}
