/* SPDX-License-Identifier: BSD-3-Clause */
/* test_disk: what the disk tier answers, and what its store has, while one key is read, written, deleted, evicted and flushed
 * in every order a gate can make. */
#include "tests/unit/persist/disk_rig.h"

#include <sched.h>
#include <stdio.h>

#include "src/base/clock.h"
#include "src/base/mem.h"

static struct key key_of(const char *name) {
    return key_make(slice_cstr(name), 0);
}

static struct rig *open_back(void) {
    struct disk_options o = rig_options();
    return rig_open(&o);
}

static struct rig *open_as(enum disk_write_policy policy, enum disk_durability durability) {
    struct disk_options o = rig_options();
    o.write_policy = policy;
    o.durability = durability;
    return rig_open(&o);
}

/* The key is in the store with version 1, and nothing is queued. */
static struct rig *open_with_one(struct key *key) {
    struct rig *r = open_back();
    *key = key_of("k");
    rig_evict(r, key, 1, true);
    rig_settle(r);
    assert_int_equal(rig_stored(r, key), 1);
    return r;
}

/* The writer stops before it writes what is queued next, and has taken something already. */
static void block_writer(struct rig *r) {
    struct key filler = key_of("filler");
    fake_stop_all(r->fake, FAKE_WRITE);
    rig_evict(r, &filler, 1, true);
    fake_await(r->fake, FAKE_WRITE);
}

static void tune(struct rig *r, size_t queue_bytes, int64_t max_bytes, enum admit_rule rule) {
    struct disk_limits l = r->options.limits;
    l.queue_bytes = queue_bytes;
    l.max_bytes = max_bytes;
    l.admit.rule = rule;
    disk_tune(r->disk, &l);
}

/* Room for no more than is queued. */
static void fill_queue(struct rig *r) {
    tune(r, 8, 0, ADMIT_ALL);
}

static void open_and_settle(struct rig *r) {
    fake_open_gates(r->fake);
    rig_settle(r);
}

/* ---- reading ---- */

static void a_value_is_readable_until_it_is_written_and_after(void **state) {
    (void)state;
    struct rig *r = open_back();
    struct key k = key_of("k");
    fake_stop_all(r->fake, FAKE_WRITE);
    fake_stop_all(r->fake, FAKE_WRITTEN);
    rig_evict(r, &k, 1, true);
    assert_int_equal(rig_probe(r, &k), 1);
    fake_await(r->fake, FAKE_WRITE);
    assert_int_equal(rig_probe(r, &k), 1);
    assert_int_equal(rig_stored(r, &k), 0);
    fake_let(r->fake, FAKE_WRITE);
    fake_await(r->fake, FAKE_WRITTEN);
    assert_int_equal(rig_probe(r, &k), 1);
    assert_int_equal(rig_stored(r, &k), 1);
    assert_true(rig_info(r, "hits_queue") == 3 && rig_info(r, "hits_memory") == 0);
    open_and_settle(r);
    assert_int_equal(rig_probe(r, &k), 1);
    assert_true(rig_info(r, "hits_queue") == 3 && rig_info(r, "hits_memory") == 1);
    rig_free(r);
}

static void a_cold_value_is_fetched(void **state) {
    (void)state;
    struct key k, other = key_of("other");
    struct rig *r = open_with_one(&k);
    r->fake->cold = true;
    assert_int_equal(rig_probe(r, &k), -1);
    assert_int_equal(rig_fetch(r, &k), 1);
    assert_int_equal(rig_probe(r, &other), -1);
    assert_int_equal(rig_fetch(r, &other), 0);
    r->fake->fail_gets = 1;
    assert_int_equal(rig_fetch(r, &k), -1);
    assert_int_equal(rig_fetch(r, &k), 1);
    assert_true(rig_info(r, "read_failures") == 1 && rig_info(r, "hits_disk") == 2);
    rig_free(r);
}

static void a_hash_comes_back(void **state) {
    (void)state;
    struct rig *r = open_back();
    struct key k = key_of("k");
    struct value *v = hash_create();
    assert_int_equal(hash_set(v, SLICE("f"), SLICE("text"), &r->options.hash_limits, NULL), OK);
    struct item_view item = {.type = TYPE_HASH, .value = v, .expire_ms = clock_now_ms() + 100000};
    disk_sink(r->disk)->evicted(disk_sink(r->disk), &k, &item, &(struct eviction){.alone = true});
    value_unref(v);
    for (int i = 0; i < 2; i++) { /* from the queue or the store, and from the store */
        struct found found = {0};
        struct hash_scratch scratch;
        struct slice got;
        assert_int_equal(disk_source(r->disk)->probe(disk_source(r->disk), &k, clock_now_ms(), &found), PROBE_FOUND);
        assert_true(found.same && found.expire_ms == item.expire_ms && found.str.n == 0);
        assert_true(hash_get(found.value, SLICE("f"), &scratch, &got));
        assert_slice(got, "text");
        value_unref(found.value);
        rig_settle(r);
    }
    rig_free(r);
}

static void late_and_surplus_reads_are_refused(void **state) {
    (void)state;
    struct disk_options o = rig_options();
    o.threads_min = o.threads_max = 1;
    o.read_depth = 1;
    struct rig *r = rig_open(&o);
    struct key k = key_of("k");
    struct rig_fetch a, b, c;
    rig_evict(r, &k, 1, true);
    rig_settle(r);
    fake_stop_next(r->fake, FAKE_GET);
    rig_fetch_begin(r, &a, &k);
    fake_await(r->fake, FAKE_GET);
    rig_fetch_begin(r, &b, &k);
    b.fetch.deadline_ms = clock_now_ms() - 1; /* it will be late when its turn comes */
    rig_fetch_begin(r, &c, &k);
    assert_true(c.done);
    assert_int_equal(rig_fetch_end(&c), -1);
    fake_let(r->fake, FAKE_GET);
    assert_int_equal(rig_fetch_end(&a), 1);
    assert_int_equal(rig_fetch_end(&b), -1);
    assert_true(rig_info(r, "reads_refused") == 1 && rig_info(r, "reads_late") == 1);
    rig_free(r);
}

static void what_is_expired_or_no_record_is_absent(void **state) {
    (void)state;
    struct rig *r = open_back();
    struct key k = key_of("k");
    struct buf key = {0}, record = {0};
    struct item_view item = {.type = TYPE_STRING, .str = SLICE("1:"), .expire_ms = clock_now_ms() - 1};
    record_put_key(&key, state_generation(r->disk->state, 0), &k);
    record_put_value(&record, &item);
    fake_put(r->fake, buf_slice(&key), buf_slice(&record));
    assert_int_equal(rig_probe(r, &k), 0);
    assert_int_equal(rig_fetch(r, &k), 0);
    assert_true(rig_info(r, "corrupt_records") == 0);
    record.p[0] = 9;
    fake_put(r->fake, buf_slice(&key), buf_slice(&record));
    assert_int_equal(rig_probe(r, &k), 0);
    assert_int_equal(rig_fetch(r, &k), 0);
    fake_put(r->fake, buf_slice(&key), SLICE("short"));
    assert_int_equal(rig_probe(r, &k), 0);
    assert_true(rig_info(r, "corrupt_records") == 3);
    buf_free(&key);
    buf_free(&record);
    rig_free(r);
}

/* ---- one key: a read under way ---- */

/* before: the read is stopped before it looked, else with what it found in its hands. */
static struct rig *open_reading(struct key *k, struct rig_fetch *f, bool before) {
    struct rig *r = open_with_one(k);
    enum fake_gate gate = before ? FAKE_GET : FAKE_GOT;
    r->fake->cold = true;
    fake_stop_next(r->fake, gate);
    assert_int_equal(rig_probe(r, k), -1);
    rig_fetch_begin(r, f, k);
    fake_await(r->fake, gate);
    return r;
}

static void end_reading(struct rig *r, struct rig_fetch *f, bool before, int version) {
    fake_let(r->fake, before ? FAKE_GET : FAKE_GOT);
    assert_int_equal(rig_fetch_end(f), version);
}

static void a_delete_does_not_wait_for_a_read(void **state) {
    (void)state;
    for (int before = 0; before < 2; before++) {
        struct key k;
        struct rig_fetch f;
        struct rig *r = open_reading(&k, &f, before);
        rig_del(r, &k, NULL);
        rig_settle(r);
        assert_int_equal(rig_stored(r, &k), 0);
        end_reading(r, &f, before, before ? 0 : 1); /* what it found is stale: its asker was overtaken, and knows */
        assert_int_equal(rig_fetch(r, &k), 0);
        rig_free(r);
    }
}

static void an_eviction_does_not_wait_for_a_read(void **state) {
    (void)state;
    for (int before = 0; before < 2; before++) {
        struct key k;
        struct rig_fetch f;
        struct rig *r = open_reading(&k, &f, before);
        rig_set(r, &k, 2, NULL);
        rig_evict(r, &k, 2, true);
        r->fake->cold = false;
        assert_int_equal(rig_probe(r, &k), 2);
        rig_settle(r);
        assert_int_equal(rig_stored(r, &k), 2);
        end_reading(r, &f, before, before ? 2 : 1);
        assert_int_equal(rig_fetch(r, &k), 2);
        rig_free(r);
    }
}

static void a_flush_does_not_wait_for_a_read(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool before = i % 2, in_place = i / 2;
        struct key k;
        struct rig_fetch f;
        struct rig *r = open_reading(&k, &f, before);
        uint8_t physical = in_place ? 0 : 70;
        struct key fresh = key_make(k.name, physical);
        rig_map(r, physical, true);
        assert_int_equal(rig_fetch(r, &fresh), 0);
        rig_evict(r, &fresh, 5, true);
        rig_settle(r);
        end_reading(r, &f, before, 1); /* of the database that was */
        assert_int_equal(rig_fetch(r, &fresh), 5);
        rig_free(r);
    }
}

/* ---- one key: a write under way ---- */

static void changes_during_a_write_win(void **state) {
    (void)state;
    for (int written = 0; written < 2; written++) {
        enum fake_gate gate = written ? FAKE_WRITTEN : FAKE_WRITE;
        struct rig *r = open_back();
        struct key k = key_of("k");
        fake_stop_all(r->fake, gate);
        rig_evict(r, &k, 1, true);
        fake_await(r->fake, gate);
        rig_set(r, &k, 2, NULL);
        assert_int_equal(rig_probe(r, &k), 0);
        rig_evict(r, &k, 2, true);
        assert_int_equal(rig_probe(r, &k), 2);
        assert_int_equal(rig_stored(r, &k), written);
        fake_let(r->fake, gate);
        fake_await(r->fake, gate);
        assert_int_equal(rig_probe(r, &k), 2);
        rig_del(r, &k, NULL);
        assert_int_equal(rig_probe(r, &k), 0);
        open_and_settle(r);
        assert_int_equal(rig_probe(r, &k), 0);
        assert_int_equal(rig_stored(r, &k), 0);
        rig_free(r);
    }
}

static void what_was_not_taken_yet_is_never_written(void **state) {
    (void)state;
    struct rig *r = open_back();
    struct key k = key_of("k");
    block_writer(r);
    rig_evict(r, &k, 1, true);
    assert_int_equal(rig_probe(r, &k), 1);
    rig_set(r, &k, 2, NULL);
    assert_int_equal(rig_probe(r, &k), 0);
    rig_evict(r, &k, 2, true);
    assert_int_equal(rig_probe(r, &k), 2);
    fake_let(r->fake, FAKE_WRITE);
    fake_await(r->fake, FAKE_WRITE);
    rig_del(r, &k, NULL);
    rig_del(r, &k, NULL);
    open_and_settle(r);
    assert_int_equal(rig_stored(r, &k), 0);
    assert_int_equal(r->fake->writes, 3); /* the filler, 2, its end */
    rig_free(r);
}

static void a_flush_hides_what_is_queued(void **state) {
    (void)state;
    struct rig *r = open_back();
    struct key k = key_of("k"), fresh = key_make(k.name, 70);
    fake_stop_all(r->fake, FAKE_WRITE);
    rig_evict(r, &k, 1, true);
    fake_await(r->fake, FAKE_WRITE);
    rig_map(r, 70, true);
    assert_int_equal(rig_probe(r, &fresh), 0);
    rig_evict(r, &fresh, 2, true);
    assert_int_equal(rig_probe(r, &fresh), 2);
    rig_map(r, 70, true); /* in place */
    assert_int_equal(rig_probe(r, &fresh), 0);
    open_and_settle(r);
    assert_int_equal(rig_probe(r, &fresh), 0);
    assert_int_equal(rig_stored(r, &fresh), 0);
    struct source *s = disk_source(r->disk);
    assert_true(s->key_count(s, 70) == 0);
    rig_kill(r);
    rig_reopen(r);
    assert_int_equal(disk_map(r->disk)[0], 70);
    assert_int_equal(rig_probe(r, &fresh), 0);
    rig_free(r);
}

/* ---- what is dropped ---- */

static void an_evicted_value_that_is_dropped_uncovers_nothing(void **state) {
    (void)state;
    static const struct {
        size_t pad, queue;
        int64_t ttl;
        const char *counter;
    } rows[] = {{10, 8, -1, "refused_queue"}, {2 << 20, 64 << 20, -1, "refused_size"}, {10, 64 << 20, 500, "refused_ttl"}};
    for (int i = 0; i < 3; i++) {
        struct key k;
        struct rig *r = open_with_one(&k);
        struct buf b = {0};
        buf_puts(&b, "2:");
        memset(buf_reserve(&b, rows[i].pad), '.', rows[i].pad);
        buf_commit(&b, rows[i].pad);
        struct item_view item = {.type = TYPE_STRING, .str = buf_slice(&b),
                                 .expire_ms = rows[i].ttl < 0 ? -1 : clock_now_ms() + rows[i].ttl};
        tune(r, rows[i].queue, 0, ADMIT_ALL);
        fake_stop_all(r->fake, FAKE_WRITE);
        disk_sink(r->disk)->evicted(disk_sink(r->disk), &k, &item, &(struct eviction){.alone = false});
        assert_int_equal(rig_probe(r, &k), 0);
        open_and_settle(r);
        assert_int_equal(rig_probe(r, &k), 0);
        assert_int_equal(rig_stored(r, &k), 0);
        int writes = r->fake->writes;
        disk_sink(r->disk)->evicted(disk_sink(r->disk), &k, &item, &(struct eviction){.alone = true});
        rig_settle(r);
        assert_int_equal(r->fake->writes, writes); /* alone: there is nothing to uncover */
        assert_true(rig_info(r, rows[i].counter) == 2);
        buf_free(&b);
        rig_free(r);
    }
}

static void a_queued_older_version_is_not_uncovered_either(void **state) {
    (void)state;
    struct rig *r = open_back();
    struct key k = key_of("k");
    block_writer(r);
    rig_evict(r, &k, 1, true);
    rig_evict_long(r, &k, 2, 2 << 20, false); /* too large */
    assert_int_equal(rig_probe(r, &k), 0);
    open_and_settle(r);
    assert_int_equal(rig_stored(r, &k), 0);
    rig_free(r);
}

/* Until what the writer does each second has been done once more. */
static void await_maintenance(struct rig *r) {
    fake_await_count(r->fake, &r->fake->maintained, r->fake->maintained + 1);
}

static void a_full_store_takes_its_share(void **state) {
    (void)state;
    struct key k;
    struct rig *r = open_with_one(&k);
    struct key other = key_of("other");
    r->fake->disk_bytes = 900;
    tune(r, 64 << 20, 1000, ADMIT_RANDOM); /* none: the share is 0 */
    rig_evict(r, &other, 1, true); /* the writer may have been asleep for good */
    await_maintenance(r);
    rig_evict(r, &k, 2, false);
    rig_settle(r);
    assert_int_equal(rig_stored(r, &k), 0);
    assert_true(rig_info(r, "refused_admission") == 1);
    tune(r, 64 << 20, 1000, ADMIT_ALL);
    rig_evict(r, &k, 3, true);
    rig_settle(r);
    assert_int_equal(rig_stored(r, &k), 3);
    rig_free(r);
}

/* ---- space of what is dead ---- */

enum { BULK = 200, BULK_BYTES = 40000 };

/* Evicts so many values with a deadline. */
static void evict_bulk(struct rig *r, int from, int n, int64_t expire_ms) {
    static char bytes[BULK_BYTES];
    for (int i = from; i < from + n; i++) {
        char name[32];
        snprintf(name, sizeof(name), "bulk:%d", i);
        struct key k = key_of(name);
        struct item_view item = {.type = TYPE_STRING, .str = slice_make(bytes, BULK_BYTES), .expire_ms = expire_ms};
        struct sink *s = disk_sink(r->disk);
        s->evicted(s, &k, &item, &(struct eviction){.alone = true, .read = true});
    }
    rig_settle(r);
}

/* Has a look taken, and waits for its end. */
static void look(struct rig *r) {
    int sized = r->fake->sized;
    atomic_store(&r->disk->flushed, true);
    writer_wake(r->disk);
    fake_await_count(r->fake, &r->fake->sized, sized + 1);
    while (atomic_load(&r->disk->looking)) {
        sched_yield();
    }
}

static void what_is_alive_is_left_alone(void **state) {
    (void)state;
    struct rig *r = open_back();
    evict_bulk(r, 0, BULK, -1);
    evict_bulk(r, BULK, BULK / 10, clock_now_ms() + 2000);
    clock_advance_ms(5000);
    look(r);
    assert_int_equal(r->fake->reclaims, 0);
    assert_int_equal(fake_records(r->fake), BULK + BULK / 10);
    clock_advance_ms(-5000);
    rig_free(r);
}

static void what_was_flushed_is_reclaimed_at_once(void **state) {
    (void)state;
    struct rig *r = open_back();
    evict_bulk(r, 0, BULK, -1);
    r->fake->disk_bytes = BULK * BULK_BYTES;
    look(r);
    rig_map(r, 200, true);
    fake_await_count(r->fake, &r->fake->reclaims, 1);
    while (atomic_load(&r->disk->looking)) {
        sched_yield();
    }
    assert_int_equal(fake_records(r->fake), 0);
    r->fake->disk_bytes = 0;
    struct key k = key_make(SLICE("k"), 200);
    rig_evict(r, &k, 1, true);
    rig_settle(r);
    look(r);
    assert_int_equal(rig_stored(r, &k), 1);
    assert_true(rig_info(r, "reclaims") == 1);
    rig_free(r);
}

static void what_has_expired_is_reclaimed(void **state) {
    (void)state;
    struct rig *r = open_back();
    evict_bulk(r, 0, BULK / 2, -1);
    evict_bulk(r, BULK / 2, BULK, clock_now_ms() + 2000);
    look(r);
    assert_int_equal(r->fake->reclaims, 0);
    clock_advance_ms(5000);
    look(r);
    assert_int_equal(r->fake->reclaims, 1);
    assert_int_equal(fake_records(r->fake), BULK / 2 + BULK); /* of its ranges nothing was alive: there were none */
    clock_advance_ms(-5000);
    rig_free(r);
}

/* ---- surveys ---- */

static void evict_one(struct rig *r) {
    struct key k = key_of("k");
    rig_evict(r, &k, 1, true);
}

static void a_survey_is_walked_in_the_background(void **state) {
    (void)state;
    struct rig *r = open_back();
    atomic_store(&r->fake->survey_steps, 3);
    evict_one(r);
    fake_await_count(r->fake, &r->fake->surveys_ended, 1);
    assert_true(r->fake->surveys_begun == 1 && r->fake->steps == 3);
    while (rig_info(r, "surveys") == 0) {
        sched_yield();
    }
    rig_free(r);
}

/* With a survey under way that would never end. */
static struct rig *open_surveying(void) {
    struct rig *r = open_back();
    atomic_store(&r->fake->survey_steps, -1);
    evict_one(r);
    fake_await_count(r->fake, &r->fake->steps, 5);
    return r;
}

static void a_survey_under_way_keeps_nobody_from_closing(void **state) {
    (void)state;
    struct rig *r = open_surveying();
    rig_end(r);
    assert_true(r->fake->surveys_begun == 1 && r->fake->surveys_ended == 1);
    rig_free(r);
}

static void a_survey_of_a_store_that_was_emptied_teaches_nothing(void **state) {
    (void)state;
    struct rig *r = open_surveying();
    r->fake->fail_writes = 1;
    evict_one(r);
    fake_await_count(r->fake, &r->fake->resets, r->fake->resets + 1);
    rig_await_serving(r);
    evict_one(r);
    fake_await_count(r->fake, &r->fake->surveys_ended, 1);
    rig_settle(r);
    assert_true(rig_info(r, "surveys") == 0 && r->fake->surveys_begun == 1);
    rig_free(r);
}

/* ---- policies ---- */

static void back_deletes_only_what_may_be_below(void **state) {
    (void)state;
    struct key k, other = key_of("other");
    struct rig *r = open_with_one(&k);
    assert_false(disk_sink(r->disk)->every_change || disk_sink(r->disk)->acks);
    assert_int_equal(rig_set(r, &other, 1, NULL), SINK_DONE);
    assert_int_equal(rig_del(r, &other, NULL), SINK_DONE);
    rig_settle(r);
    assert_true(rig_info(r, "deletes") == 0);
    assert_int_equal(rig_set(r, &k, 2, NULL), SINK_DONE);
    assert_int_equal(rig_probe(r, &k), 0);
    rig_settle(r);
    assert_int_equal(rig_stored(r, &k), 0);
    assert_true(rig_info(r, "deletes") == 1);
    rig_free(r);
}

static void through_writes_with_every_change(void **state) {
    (void)state;
    struct rig *r = open_as(DISK_THROUGH, DISK_EVERYSEC);
    struct key k = key_of("k");
    assert_true(disk_sink(r->disk)->every_change);
    fake_stop_all(r->fake, FAKE_WRITE);
    assert_int_equal(rig_set(r, &k, 1, NULL), SINK_SAME);
    assert_int_equal(rig_probe(r, &k), 1);
    assert_int_equal(rig_set(r, &k, 2, NULL), SINK_SAME);
    assert_int_equal(rig_probe(r, &k), 2);
    open_and_settle(r);
    assert_int_equal(rig_stored(r, &k), 2);
    assert_int_equal(rig_set_long(r, &k, 3, 2 << 20, NULL), SINK_DONE); /* too large to be kept: what is below must go */
    assert_int_equal(rig_probe(r, &k), 0);
    rig_settle(r);
    assert_int_equal(rig_stored(r, &k), 0);
    assert_int_equal(rig_set(r, &k, 4, NULL), SINK_SAME);
    rig_settle(r);
    fill_queue(r);
    assert_int_equal(rig_set(r, &k, 5, NULL), SINK_DONE);
    assert_int_equal(rig_probe(r, &k), 0);
    rig_settle(r);
    assert_int_equal(rig_stored(r, &k), 0);
    rig_free(r);
}

static void replies_wait_for_the_log(void **state) {
    (void)state;
    struct rig *r = open_as(DISK_THROUGH, DISK_ALWAYS);
    struct key k = key_of("k"), other = key_of("other");
    struct rig_ack one = rig_ack_make(), two = rig_ack_make(), three = rig_ack_make(), none = rig_ack_make();
    assert_true(disk_sink(r->disk)->acks);
    fake_stop_all(r->fake, FAKE_WRITE);
    fake_stop_all(r->fake, FAKE_WRITTEN);
    assert_int_equal(rig_set(r, &k, 1, &one.ack), SINK_SAME | SINK_WAIT);
    fake_await(r->fake, FAKE_WRITE);
    fill_queue(r); /* whom a reply waits for is never refused */
    assert_int_equal(rig_set(r, &k, 2, &two.ack), SINK_SAME | SINK_WAIT);
    assert_int_equal(rig_del(r, &other, &none.ack), SINK_DONE);
    fake_let(r->fake, FAKE_WRITE);
    fake_await(r->fake, FAKE_WRITTEN);
    assert_int_equal(one.called, 0);
    assert_int_equal(rig_stored(r, &k), 1);
    fake_let(r->fake, FAKE_WRITTEN);
    fake_await(r->fake, FAKE_WRITE);
    assert_true(one.called == 1 && two.called == 0);
    tune(r, 64 << 20, 0, ADMIT_ALL);
    assert_int_equal(rig_del(r, &k, &three.ack), SINK_WAIT);
    open_and_settle(r);
    assert_true(one.called == 1 && two.called == 1 && three.called == 1 && none.called == 0);
    assert_int_equal(rig_stored(r, &k), 0);
    assert_true(r->fake->writes == r->fake->synced_writes);
    rig_free(r);
}

static void replies_are_sent_when_the_write_fails_too(void **state) {
    (void)state;
    struct rig *r = open_as(DISK_THROUGH, DISK_ALWAYS);
    struct key k = key_of("k"), other = key_of("other");
    struct rig_ack acks[3] = {rig_ack_make(), rig_ack_make(), rig_ack_make()};
    fake_stop_all(r->fake, FAKE_WRITE);
    fake_stop_all(r->fake, FAKE_RESET);
    r->fake->fail_writes = 1;
    rig_set(r, &k, 1, &acks[0].ack);
    fake_await(r->fake, FAKE_WRITE);
    rig_set(r, &other, 1, &acks[1].ack);
    fake_let(r->fake, FAKE_WRITE);
    fake_await(r->fake, FAKE_RESET);
    assert_true(acks[0].called == 1 && acks[1].called == 1);
    assert_int_equal(rig_set(r, &k, 2, &acks[2].ack), SINK_DONE); /* bypassed: nothing to wait for */
    open_and_settle(r);
    assert_true(acks[0].called == 1 && acks[1].called == 1 && acks[2].called == 0);
    assert_int_equal(fake_records(r->fake), 0);
    rig_free(r);
}

static void the_log_is_synced_each_second(void **state) {
    (void)state;
    struct key k;
    struct rig *r = open_with_one(&k);
    fake_await_count(r->fake, &r->fake->syncs, 1);
    assert_int_equal(r->fake->synced_writes, 0);
    assert_int_equal(rig_stored(r, &k), 1);
    r->fake->fail_syncs = 1; /* what is not in the log for sure is not trusted */
    rig_set(r, &k, 2, NULL);
    fake_await_count(r->fake, &r->fake->resets, 2); /* one was at open */
    rig_await_serving(r);
    assert_true(rig_info(r, "rebuilds") == 1);
    rig_free(r);
}

/* ---- failures ---- */

static void a_failed_write_empties_the_tier_which_serves_again(void **state) {
    (void)state;
    struct key k, other = key_of("other");
    struct rig *r = open_with_one(&k);
    int resets = r->fake->resets;
    fake_stop_all(r->fake, FAKE_RESET);
    r->fake->fail_writes = 1;
    rig_evict(r, &other, 7, true);
    fake_await(r->fake, FAKE_RESET);
    assert_int_equal(rig_stored(r, &k), 1); /* still there, but not to be believed */
    assert_int_equal(rig_probe(r, &k), 0);
    assert_int_equal(rig_fetch(r, &k), 0);
    assert_int_equal(rig_probe(r, &other), 0);
    rig_evict(r, &other, 8, true);
    assert_int_equal(rig_set(r, &k, 9, NULL), SINK_DONE);
    assert_int_equal(rig_probe(r, &other), 0);
    open_and_settle(r);
    assert_int_equal(r->fake->resets, resets + 1);
    assert_int_equal(fake_records(r->fake), 0);
    assert_true(rig_probe(r, &k) == 0 && rig_probe(r, &other) == 0);
    assert_true(rig_info(r, "write_failures") == 1 && rig_info(r, "rebuilds") == 1 && rig_keys(r) == 0);
    assert_string_equal(r->disk->last_error, "write failed on demand");
    rig_evict(r, &k, 9, true);
    rig_settle(r);
    assert_int_equal(rig_stored(r, &k), 9);
    rig_free(r);
}

static void the_store_is_emptied_when_no_read_uses_it(void **state) {
    (void)state;
    for (int before = 0; before < 2; before++) {
        struct key k, other = key_of("other");
        struct rig_fetch f;
        struct rig *r = open_reading(&k, &f, before);
        int resets = r->fake->resets;
        r->fake->fail_writes = 1;
        rig_evict(r, &other, 1, true);
        disk_settle(r->disk);
        assert_int_equal(r->fake->resets, resets);
        end_reading(r, &f, before, 0); /* the queue may have given up a newer change */
        rig_await_serving(r); /* the fake checks that none was under way */
        assert_int_equal(r->fake->resets, resets + 1);
        rig_free(r);
    }
}

static void count_walked(void *ctx, const struct walked *found) {
    (void)found;
    ++*(int *)ctx;
}

/* Keys of database 0 met on a walk over all positions. */
static int walked(struct rig *r) {
    struct source *s = disk_source(r->disk);
    int n = 0;
    assert_true(s->walk(s, 0, 0, 0, 1000, clock_now_ms(), count_walked, &n) == 0);
    return n;
}

static void what_is_queued_is_not_read_while_bypassed(void **state) {
    (void)state;
    struct rig *r = open_back();
    struct key k = key_of("k");
    block_writer(r);
    rig_evict(r, &k, 1, true);
    assert_int_equal(rig_probe(r, &k), 1);
    assert_int_equal(rig_fetch(r, &k), 1);
    assert_int_equal(walked(r), 2);
    fill_queue(r);
    assert_int_equal(rig_del(r, &k, NULL), SINK_DONE); /* too far behind to note it: all is given up instead */
    assert_true(atomic_load(&r->disk->mode) == DISK_BYPASSED);
    assert_int_equal(rig_probe(r, &k), 0);
    assert_int_equal(rig_fetch(r, &k), 0);
    assert_int_equal(walked(r), 0);
    open_and_settle(r);
    assert_int_equal(rig_probe(r, &k), 0);
    assert_int_equal(fake_records(r->fake), 0);
    rig_free(r);
}

static void a_device_that_fails_every_read_has_a_rest(void **state) {
    (void)state;
    struct rig *r = open_back();
    struct key k = key_of("k");
    rig_evict(r, &k, 1, true);
    rig_settle(r);
    r->fake->cold = true;
    r->fake->fail_gets = FAILS_IN_A_ROW - 1;
    for (int i = 0; i < FAILS_IN_A_ROW - 1; i++) {
        assert_int_equal(rig_fetch(r, &k), -1);
    }
    assert_int_equal(rig_fetch(r, &k), 1); /* one success, and they are not in a row */
    r->fake->fail_gets = 1000;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(rig_fetch(r, &k), -1);
    }
    assert_true(rig_info(r, "reads_skipped") > 0);
    assert_true(rig_info(r, "read_failures") < 100);
    r->fake->fail_gets = 0;
    while (rig_fetch(r, &k) != 1) { /* it is tried again by itself */
        sched_yield();
    }
    rig_free(r);
}

static void nobody_waits_for_a_device_that_does_not_answer(void **state) {
    (void)state;
    struct rig *r = open_back();
    struct sink *s = disk_sink(r->disk);
    tune(r, 64 << 10, 0, ADMIT_ALL);
    block_writer(r);
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        struct key k = key_of(name);
        rig_evict_long(r, &k, 1, 1000, true);
    }
    assert_true(s->pressed); /* those who write had better wait a little */
    while (rig_info(r, "writer_stalled") == 0) {
        disk_watch_writer(r->disk);
    }
    struct key late = key_of("late");
    assert_false(s->pressed);
    tune(r, 80 << 10, 0, ADMIT_ALL);
    rig_evict_long(r, &late, 1, 1000, true);
    assert_false(s->pressed);
    assert_int_equal(rig_info(r, "writer_stalls"), 1);
    open_and_settle(r);
    assert_int_equal(rig_info(r, "writer_stalled"), 0);
    rig_free(r);
}

struct order_met {
    int at, deletion, stored; /* 1, 2, ...: when it was met */
};

static void note_order(void *ctx, const struct walked *found) {
    struct order_met *o = ctx;
    o->at++;
    if (slice_eq(found->name, slice_cstr("k"))) {
        *(found->type == TYPE_NONE ? &o->deletion : &o->stored) = o->at;
        assert_int_equal(found->queued, found->type == TYPE_NONE);
    }
}

/* A deletion may leave the queue while the store, as of a moment before, is still looked at. */
static void a_walk_is_told_of_queued_deletions_before_it_looks(void **state) {
    (void)state;
    struct rig *r = open_back();
    struct source *s = disk_source(r->disk);
    struct key k = key_of("k");
    rig_evict(r, &k, 1, true);
    rig_settle(r);
    block_writer(r);
    rig_del(r, &k, NULL);
    struct order_met o = {0};
    s->walk(s, 0, 0, 0, 1000, clock_now_ms(), note_order, &o);
    assert_int_equal(o.stored, 0);
    assert_true(o.deletion > 0);
    open_and_settle(r);
    rig_free(r);
}

/* One client with a key of its own. */
struct client {
    struct rig *r;
    struct key key;
    _Atomic bool *stop;
    int found; /* after its delete */
};

static void *evict_and_delete(void *arg) {
    struct client *c = arg;
    for (int version = 1; !*c->stop; version++) {
        rig_evict(c->r, &c->key, version, true);
        rig_del(c->r, &c->key, NULL);
        rig_await_serving(c->r);
        c->found += rig_probe(c->r, &c->key) != 0;
    }
    return NULL;
}

static void what_comes_in_while_the_tier_goes_out_is_not_kept(void **state) {
    (void)state;
    struct rig *r = open_back();
    _Atomic bool stop = false;
    struct client clients[3];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"a", "b", "c"};
        clients[i] = (struct client){.r = r, .key = key_of(names[i]), .stop = &stop};
        assert_int_equal(pthread_create(&threads[i], NULL, evict_and_delete, &clients[i]), 0);
    }
    for (int i = 0; i < 2000; i++) {
        int resets = r->fake->resets;
        r->fake->fail_writes = 1;
        fake_await_count(r->fake, &r->fake->resets, resets + 1);
    }
    stop = true;
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(clients[i].found, 0);
    }
    rig_settle(r);
    assert_true(rig_info(r, "journal_bytes") == 0 && fake_records(r->fake) == 0);
    rig_free(r);
}

static void a_kill_while_bypassed_empties_the_tier(void **state) {
    (void)state;
    struct key k;
    struct rig *r = open_with_one(&k);
    fake_stop_all(r->fake, FAKE_RESET);
    r->fake->fail_writes = 1;
    rig_set(r, &k, 2, NULL);
    fake_await(r->fake, FAKE_RESET);
    assert_int_equal(rig_stored(r, &k), 1);
    rig_kill(r);
    rig_reopen(r);
    assert_int_equal(rig_probe(r, &k), 0);
    assert_int_equal(fake_records(r->fake), 0);
    rig_free(r);
}

static void a_store_that_cannot_be_emptied_is_not_trusted_later(void **state) {
    (void)state;
    struct key k;
    struct rig *r = open_with_one(&k);
    r->fake->fail_writes = 1;
    r->fake->fail_resets = 1000;
    rig_set(r, &k, 2, NULL);
    fake_await_count(r->fake, &r->fake->resets, 2);
    disk_settle(r->disk);
    assert_int_equal(rig_probe(r, &k), 0);
    rig_evict(r, &k, 2, true);
    assert_int_equal(rig_probe(r, &k), 0);
    rig_end(r); /* in order, yet it was never emptied */
    assert_non_null(strstr(rig_refused(r), "reset failed"));
    r->fake->fail_resets = 0;
    rig_reopen(r);
    assert_int_equal(rig_probe(r, &k), 0);
    assert_int_equal(fake_records(r->fake), 0);
    rig_free(r);
}

/* ---- life ---- */

static void what_is_queued_is_written_before_the_end(void **state) {
    (void)state;
    struct rig *r = open_back();
    char names[500][16];
    for (int i = 0; i < 500; i++) {
        snprintf(names[i], sizeof(names[i]), "key:%d", i);
        struct key k = key_of(names[i]);
        rig_evict(r, &k, i + 1, true);
    }
    rig_end(r);
    rig_reopen(r);
    assert_true(rig_keys(r) == 500);
    for (int i = 0; i < 500; i++) {
        struct key k = key_of(names[i]);
        assert_int_equal(rig_probe(r, &k), i + 1);
    }
    rig_kill(r);
    rig_reopen(r);
    assert_true(rig_keys(r) == 500);
    rig_free(r);
}

static void noted_changes_are_applied_after_a_kill(void **state) {
    (void)state;
    for (int step = 0; step < 4; step++) {
        struct key k;
        struct rig *r = open_with_one(&k);
        fake_stop_all(r->fake, step < 3 ? FAKE_WRITE : FAKE_WRITTEN);
        if (step == 0) {
            rig_del(r, &k, NULL);
        } else if (step == 1) {
            rig_evict(r, &k, 2, false);
        } else {
            rig_set(r, &k, 2, NULL);
            rig_evict(r, &k, 2, true);
        }
        rig_kill(r);
        rig_reopen(r);
        assert_int_equal(rig_stored(r, &k), 0);
        assert_int_equal(rig_probe(r, &k), 0);
        assert_true(rig_info(r, "journal_bytes") == 0);
        rig_free(r);
    }
}

static void notes_that_cannot_be_applied_empty_the_tier(void **state) {
    (void)state;
    struct key k, other = key_of("other");
    struct rig *r = open_with_one(&k);
    rig_evict(r, &other, 1, true);
    rig_settle(r);
    fake_stop_all(r->fake, FAKE_WRITE);
    rig_set(r, &k, 2, NULL);
    rig_kill(r);
    r->fake->fail_writes = 1;
    r->fake->fail_resets = 1;
    assert_non_null(strstr(rig_refused(r), "reset failed"));
    rig_reopen(r); /* the notes are still known to be missing */
    assert_true(rig_probe(r, &k) == 0 && rig_probe(r, &other) == 0);
    assert_int_equal(fake_records(r->fake), 0);
    rig_free(r);
}

static void a_damaged_journal_empties_the_tier(void **state) {
    (void)state;
    struct key k, other = key_of("other");
    struct rig *r = open_with_one(&k);
    rig_evict(r, &other, 1, true);
    rig_settle(r);
    fake_stop_all(r->fake, FAKE_WRITE);
    rig_set(r, &k, 2, NULL);
    char path[96];
    snprintf(path, sizeof(path), "%s/state", r->dir);
    rig_kill(r);
    FILE *f = fopen(path, "r+b");
    uint32_t damaged = 1 << 30;
    assert_int_equal(fseek(f, 16384 + (long)lane_of(hash_position(k.hash)) * 65536, SEEK_SET), 0);
    assert_int_equal(fwrite(&damaged, sizeof(damaged), 1, f), 1);
    fclose(f);
    rig_reopen(r);
    assert_true(rig_probe(r, &k) == 0 && rig_probe(r, &other) == 0);
    assert_int_equal(fake_records(r->fake), 0);
    rig_free(r);
}

static void what_was_acknowledged_survives_a_kill(void **state) {
    (void)state;
    struct rig *r = open_as(DISK_THROUGH, DISK_ALWAYS);
    struct key k = key_of("k");
    struct rig_ack one = rig_ack_make(), two = rig_ack_make();
    rig_set(r, &k, 1, &one.ack);
    rig_settle(r);
    assert_int_equal(one.called, 1);
    fake_stop_all(r->fake, FAKE_WRITE);
    rig_set(r, &k, 2, &two.ack);
    fake_await(r->fake, FAKE_WRITE);
    assert_int_equal(two.called, 0);
    rig_kill(r);
    rig_reopen(r);
    assert_int_equal(rig_probe(r, &k), 1);
    rig_free(r);
}

static void a_directory_has_one_tier(void **state) {
    (void)state;
    struct key k;
    struct rig *r = open_with_one(&k);
    struct disk *first = r->disk;
    const char *why = rig_refused(r);
    assert_non_null(why);
    assert_non_null(strstr(why, "in use by another server"));
    r->disk = first;
    assert_int_equal(rig_probe(r, &k), 1);
    rig_free(r);
}

static int64_t counted(struct rig *r) {
    struct source *s = disk_source(r->disk);
    return s->key_count(s, 0);
}

static void keys_are_counted_once(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct rig *r = open_as(i % 2 ? DISK_THROUGH : DISK_BACK, i / 2 ? DISK_ALWAYS : DISK_EVERYSEC);
        struct rig_ack acks[6];
        struct key k = key_of("k"), other = key_of("other"), fresh = key_of("fresh");
        bool through = i % 2;
        for (int n = 0; n < 6; n++) {
            acks[n] = rig_ack_make();
        }
        for (int n = 0; n < 3; n++) {
            rig_set(r, &k, n + 1, i == 3 ? &acks[n].ack : NULL);
            rig_evict(r, &other, n + 1, n == 0);
            rig_settle(r);
            assert_int_equal(counted(r), through + 1);
        }
        fake_stop_all(r->fake, FAKE_WRITE);
        rig_evict(r, &other, 9, false);
        fake_await(r->fake, FAKE_WRITE);
        rig_set(r, &fresh, 8, i == 3 ? &acks[3].ack : NULL); /* three of one key in one batch */
        rig_set(r, &fresh, 9, i == 3 ? &acks[4].ack : NULL);
        rig_del(r, &fresh, i == 3 ? &acks[5].ack : NULL);
        assert_int_equal(counted(r), through + 1);
        rig_del(r, &k, NULL);
        assert_int_equal(counted(r), 1); /* before the writer knows of it */
        rig_del(r, &other, NULL);
        assert_int_equal(counted(r), 0);
        open_and_settle(r);
        assert_int_equal(counted(r), 0);
        assert_int_equal(fake_records(r->fake), 0);
        rig_free(r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_readable_until_it_is_written_and_after),
        cmocka_unit_test(a_cold_value_is_fetched),
        cmocka_unit_test(a_hash_comes_back),
        cmocka_unit_test(late_and_surplus_reads_are_refused),
        cmocka_unit_test(what_is_expired_or_no_record_is_absent),
        cmocka_unit_test(a_delete_does_not_wait_for_a_read),
        cmocka_unit_test(an_eviction_does_not_wait_for_a_read),
        cmocka_unit_test(a_flush_does_not_wait_for_a_read),
        cmocka_unit_test(changes_during_a_write_win),
        cmocka_unit_test(what_was_not_taken_yet_is_never_written),
        cmocka_unit_test(a_flush_hides_what_is_queued),
        cmocka_unit_test(an_evicted_value_that_is_dropped_uncovers_nothing),
        cmocka_unit_test(a_queued_older_version_is_not_uncovered_either),
        cmocka_unit_test(a_full_store_takes_its_share),
        cmocka_unit_test(what_is_alive_is_left_alone),
        cmocka_unit_test(what_was_flushed_is_reclaimed_at_once),
        cmocka_unit_test(what_has_expired_is_reclaimed),
        cmocka_unit_test(a_survey_is_walked_in_the_background),
        cmocka_unit_test(a_survey_under_way_keeps_nobody_from_closing),
        cmocka_unit_test(a_survey_of_a_store_that_was_emptied_teaches_nothing),
        cmocka_unit_test(back_deletes_only_what_may_be_below),
        cmocka_unit_test(through_writes_with_every_change),
        cmocka_unit_test(replies_wait_for_the_log),
        cmocka_unit_test(replies_are_sent_when_the_write_fails_too),
        cmocka_unit_test(the_log_is_synced_each_second),
        cmocka_unit_test(a_failed_write_empties_the_tier_which_serves_again),
        cmocka_unit_test(the_store_is_emptied_when_no_read_uses_it),
        cmocka_unit_test(a_device_that_fails_every_read_has_a_rest),
        cmocka_unit_test(nobody_waits_for_a_device_that_does_not_answer),
        cmocka_unit_test(a_walk_is_told_of_queued_deletions_before_it_looks),
        cmocka_unit_test(what_is_queued_is_not_read_while_bypassed),
        cmocka_unit_test(what_comes_in_while_the_tier_goes_out_is_not_kept),
        cmocka_unit_test(a_kill_while_bypassed_empties_the_tier),
        cmocka_unit_test(a_store_that_cannot_be_emptied_is_not_trusted_later),
        cmocka_unit_test(what_is_queued_is_written_before_the_end),
        cmocka_unit_test(noted_changes_are_applied_after_a_kill),
        cmocka_unit_test(notes_that_cannot_be_applied_empty_the_tier),
        cmocka_unit_test(a_damaged_journal_empties_the_tier),
        cmocka_unit_test(what_was_acknowledged_survives_a_kill),
        cmocka_unit_test(a_directory_has_one_tier),
        cmocka_unit_test(keys_are_counted_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
