/* SPDX-License-Identifier: BSD-3-Clause */
/* test_lane: changes on their way to a store that is an array, against a plain model: the newest is found, their order is kept,
 * and a kill at any moment leaves no version behind that a later change had replaced. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "persist/lane.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/iface/sink.h"

enum { KEYS = 40, GENERATIONS = 2, ALL = KEYS * GENERATIONS, ACKS = 400, NAME = 4100, NONE = 0 };

/* A version of a key: a number, written as its record; NONE is its absence. */
struct fixture {
    char dir[64], path[96];
    struct state *state;
    struct lane lane;
    int64_t newest[ALL];  /* the last change, queued or done */
    int64_t stored[ALL];  /* what the store has, */
    int64_t written[ALL]; /* and what it has when the taken changes were written */
    size_t taken;
    struct op *batch[64];
    struct sink_ack acks[ACKS];
    bool ack_out[ACKS];
    int64_t changes;
    int growth; /* of what is queued, as lane_add said */
};

static struct fixture *setup(size_t journal_bytes) {
    struct fixture *t = mem_zalloc(sizeof(*t));
    enum state_kind kind;
    char err[512];
    snprintf(t->dir, sizeof(t->dir), "%s/strata-lane-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(t->dir));
    snprintf(t->path, sizeof(t->path), "%s/state", t->dir);
    t->state = state_open(t->path, journal_bytes, &kind, err, sizeof(err));
    assert_non_null(t->state);
    state_distrust(t->state, false);
    lane_init(&t->lane, 3);
    lane_lock(&t->lane);
    return t;
}

static void teardown(struct fixture *t) {
    lane_unlock(&t->lane);
    lane_fini(&t->lane);
    state_close(&t->state, false);
    unlink(t->path);
    assert_int_equal(rmdir(t->dir), 0);
    mem_free(t);
}

/* Key i; two keys share a hash, and every fifth has a long name. */
static struct key key_of(unsigned i, char *room) {
    int n = snprintf(room, NAME, i % 5 == 0 ? "%u:%04000d" : "%u:", i % KEYS, 0);
    return (struct key){slice_make(room, (size_t)n), i % KEYS / 2, 1};
}

static unsigned number_of(struct slice record_key) {
    uint32_t generation = 0;
    for (int i = 0; i < 4; i++) {
        generation = generation << 8 | (unsigned char)record_key.p[i];
    }
    return (unsigned)atoi(record_key.p + 12) + KEYS * (generation - 1);
}

static int64_t version_of(const struct op *op) {
    return op->change == CHANGE_DELETE ? NONE : atoll(op->record.p);
}

static void add(struct fixture *t, unsigned i, int64_t version, bool note, struct sink_ack *ack) {
    char room[NAME];
    struct key key = key_of(i, room);
    struct buf record = {0};
    if (version != NONE) {
        buf_printf(&record, "%lld", (long long)version);
        buf_reserve(&record, rng_below(200));
        buf_putc(&record, '\0');
    }
    struct change_request r = {.change = version == NONE ? CHANGE_DELETE : CHANGE_PUT, .key = &key,
                               .generation = 1 + i / KEYS, .record = &record, .had = t->newest[i] != NONE, .note = note, .ack = ack};
    int growth;
    lane_add(&t->lane, t->state, &r, &growth);
    t->growth += growth;
    assert_null(record.p); /* taken over */
    t->newest[i] = version;
}

static const struct op *find(struct fixture *t, unsigned i) {
    char room[NAME];
    struct key key = key_of(i, room);
    return lane_find(&t->lane, &key, 1 + i / KEYS);
}

/* ---- a kill ---- */

static void note_one(void *ctx, struct slice record_key) {
    bool *noted = ctx;
    noted[number_of(record_key)] = true;
}

/* The batch under way may be in the store or not; the noted keys are deleted. Nothing but the newest may be left. */
static bool a_kill_is_harmless(struct fixture *t) {
    bool noted[ALL] = {false};
    for (const struct op *op = t->lane.first; op != NULL; op = op->next) {
        if (op->noted && op->note == 0) {
            return false; /* counted: the tier would be dropped */
        }
    }
    assert_true(state_each_note(t->state, note_one, noted));
    for (unsigned i = 0; i < ALL; i++) {
        assert_true(noted[i] || t->stored[i] == NONE || t->stored[i] == t->newest[i]);
        assert_true(noted[i] || t->written[i] == NONE || t->written[i] == t->newest[i]);
    }
    return true;
}

/* ---- the model's steps ---- */

static void change_one(struct fixture *t, bool with_acks) {
    unsigned i = (unsigned)rng_below(ALL);
    const struct op *op = find(t, i);
    bool below = op != NULL ? op->change == CHANGE_PUT : t->stored[i] != NONE;
    int64_t version = rng_below(3) == 0 ? NONE : ++t->changes;
    /* what disk.c may say: that nothing older is there, when nothing older is there */
    bool note = version == NONE || below || rng_below(2) == 0;
    struct sink_ack *ack = NULL;
    unsigned a = (unsigned)rng_below(ACKS);
    if (with_acks && rng_below(3) == 0 && !t->ack_out[a]) {
        ack = &t->acks[a];
        t->ack_out[a] = true;
    }
    add(t, i, version, note, ack);
    op = find(t, i);
    assert_true(op != NULL && version_of(op) == version && op->ack == ack && op->found && !op->taken);
    assert_true(!note || op->noted || !below || op->change == CHANGE_DELETE);
}

/* Few, mostly: the lane is to grow, too. */
static size_t some(size_t most) {
    return 1 + rng_below(rng_below(12) == 0 || most < 2 ? most : 2);
}

static void take_some(struct fixture *t) {
    struct op *out[64];
    size_t max = some(64 - t->taken), bytes = 1 + rng_below(20000), sum = 0;
    size_t n = lane_take(&t->lane, out, max, bytes);
    assert_true(n <= max && (n > 0 || t->lane.ops == t->taken));
    for (size_t k = 0; k < n; k++) {
        assert_true(sum < bytes && out[k]->taken);
        sum += sizeof(struct op) + out[k]->key_len + out[k]->record.cap;
        t->batch[t->taken++] = out[k];
        t->written[number_of(slice_make(out[k]->key, out[k]->key_len))] = version_of(out[k]);
    }
}

static void finish_some(struct fixture *t) {
    struct sink_ack *acks[64], *want[64];
    size_t n = t->taken == 0 ? 0 : some(t->taken), wanted = 0;
    for (size_t k = 0; k < n; k++) {
        struct op *op = t->batch[k];
        t->growth -= op_growth(op);
        t->stored[number_of(slice_make(op->key, op->key_len))] = version_of(op);
        if (op->ack != NULL) {
            want[wanted++] = op->ack;
        }
    }
    assert_int_equal(lane_done(&t->lane, t->state, n, acks), wanted);
    for (size_t k = 0; k < wanted; k++) {
        assert_ptr_equal(acks[k], want[k]);
        assert_true(t->ack_out[acks[k] - t->acks]);
        t->ack_out[acks[k] - t->acks] = false;
    }
    t->taken -= n;
    memmove(t->batch, t->batch + n, t->taken * sizeof(t->batch[0]));
}

static int present(const int64_t *versions) {
    int n = 0;
    for (unsigned i = 0; i < ALL; i++) {
        n += versions[i] != NONE;
    }
    return n;
}

/* Every key is found as it was changed last, and the sums are those of the list. */
static void lane_is_sound(struct fixture *t) {
    size_t ops = 0, bytes = 0;
    int64_t seen[ALL];
    memcpy(seen, t->stored, sizeof(seen));
    for (const struct op *op = t->lane.first; op != NULL; op = op->next) {
        unsigned i = number_of(slice_make(op->key, op->key_len));
        assert_true(op->taken == (ops < t->taken));
        assert_true(op->found == (find(t, i) == op));
        seen[i] = version_of(op);
        ops++;
        bytes += sizeof(*op) + op->key_len + op->record.cap;
    }
    assert_memory_equal(seen, t->newest, sizeof(seen)); /* in this order they end in what was said last */
    assert_true(ops == t->lane.ops && bytes == t->lane.bytes);
    assert_int_equal(t->growth, present(t->newest) - present(t->stored));
    for (unsigned i = 0; i < ALL; i++) {
        const struct op *op = find(t, i);
        assert_true(op != NULL ? version_of(op) == t->newest[i] : t->stored[i] == t->newest[i]);
    }
}

static void finish_all(struct fixture *t) {
    while (t->lane.ops > 0) {
        if (t->taken < 64) {
            take_some(t);
        }
        finish_some(t);
    }
    lane_is_sound(t);
    assert_true(t->lane.first == NULL && t->lane.last == NULL && t->lane.untaken == NULL && t->lane.bytes == 0);
    assert_true(state_noted_bytes(t->state) == 0);
    assert_true(a_kill_is_harmless(t));
    for (int a = 0; a < ACKS; a++) {
        assert_false(t->ack_out[a]);
    }
}

static void run(size_t journal_bytes, bool with_acks, uint64_t seed, bool want_overflows) {
    struct fixture *t = setup(journal_bytes);
    rng_seed(seed);
    int checked = 0;
    for (int round = 0; round < 12000; round++) {
        uint64_t what = rng_below(100);
        if (what < (round / 1000 % 2 == 0 ? 70u : 40u)) { /* it fills, it empties */
            change_one(t, with_acks);
        } else if (what < 85 && t->taken < 64) {
            take_some(t);
        } else {
            finish_some(t);
        }
        if (round % 7 == 0) {
            lane_is_sound(t);
        }
        checked += a_kill_is_harmless(t);
    }
    finish_all(t);
    assert_true(checked > 3000);
    assert_int_equal(state_overflows(t->state) > 0, want_overflows);
    enum state_kind kind;
    char err[512];
    state_close(&t->state, false);
    t->state = state_open(t->path, 0, &kind, err, sizeof(err));
    assert_int_equal(kind, STATE_KILLED); /* no change is still counted */
    teardown(t);
}

static void a_lane_equals_its_model(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        run(8 << 20, false, seed, false);
    }
}

static void a_lane_with_acks_equals_its_model(void **state) {
    (void)state;
    run(8 << 20, true, 11, false);
}

static void a_lane_without_room_to_note_equals_its_model(void **state) {
    (void)state;
    run(0, true, 21, true);
}

/* ---- single rules ---- */

static size_t ops_of(struct fixture *t) {
    return t->lane.ops;
}

static void a_waiting_change_becomes_the_next_of_its_key(void **state) {
    (void)state;
    struct fixture *t = setup(0);
    add(t, 1, 1, true, NULL);
    uint64_t noted = state_noted_bytes(t->state);
    assert_true(noted > 0);
    add(t, 1, 2, true, NULL);
    add(t, 1, NONE, true, NULL);
    add(t, 1, 3, false, NULL);
    assert_int_equal(ops_of(t), 1);
    assert_true(state_noted_bytes(t->state) == noted);
    t->taken = lane_take(&t->lane, t->batch, 64, 1 << 20);
    add(t, 1, 4, true, NULL); /* that one is on its way */
    assert_int_equal(ops_of(t), 2);
    assert_true(version_of(t->batch[0]) == 3 && version_of(find(t, 1)) == 4);
    add(t, 1, 5, false, NULL);
    assert_int_equal(ops_of(t), 2);
    finish_all(t);
    assert_true(t->stored[1] == 5);
    teardown(t);
}

static void what_needs_no_note_makes_none(void **state) {
    (void)state;
    struct fixture *t = setup(0);
    add(t, 1, 1, false, NULL);    /* nothing older is below, */
    add(t, 1, NONE, true, NULL);  /* so its going is worth no note */
    assert_int_equal(ops_of(t), 1);
    assert_true(state_noted_bytes(t->state) == 0);
    t->taken = lane_take(&t->lane, t->batch, 64, 1 << 20);
    add(t, 2, 2, false, NULL);
    t->taken += lane_take(&t->lane, t->batch + t->taken, 63, 1 << 20);
    add(t, 2, NONE, true, NULL); /* the writer has it: it may come to be written */
    assert_true(state_noted_bytes(t->state) > 0);
    finish_all(t);
    teardown(t);
}

static void a_change_somebody_waits_for_stays_as_it_is(void **state) {
    (void)state;
    struct fixture *t = setup(0);
    struct sink_ack *acks[4];
    add(t, 1, 1, true, NULL);
    add(t, 1, 2, true, &t->acks[0]);
    assert_int_equal(ops_of(t), 1); /* who waits for the second waits for both */
    add(t, 1, 3, true, &t->acks[1]);
    add(t, 1, 4, true, NULL);
    assert_int_equal(ops_of(t), 3);
    assert_int_equal(lane_take(&t->lane, t->batch, 64, 1 << 20), 3);
    assert_int_equal(lane_done(&t->lane, t->state, 2, acks), 2);
    assert_true(acks[0] == &t->acks[0] && acks[1] == &t->acks[1]);
    assert_int_equal(lane_done(&t->lane, t->state, 1, acks), 0);
    teardown(t);
}

static void what_is_left_is_dropped_without_a_call(void **state) {
    (void)state;
    struct fixture *t = setup(0);
    for (unsigned i = 0; i < ALL; i++) {
        add(t, i, i + 1, true, i % 2 == 0 ? &t->acks[i] : NULL);
    }
    lane_take(&t->lane, t->batch, 10, 1 << 20);
    teardown(t); /* ASan sees what was not freed */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lane_equals_its_model),
        cmocka_unit_test(a_lane_with_acks_equals_its_model),
        cmocka_unit_test(a_lane_without_room_to_note_equals_its_model),
        cmocka_unit_test(a_waiting_change_becomes_the_next_of_its_key),
        cmocka_unit_test(what_needs_no_note_makes_none),
        cmocka_unit_test(a_change_somebody_waits_for_stays_as_it_is),
        cmocka_unit_test(what_is_left_is_dropped_without_a_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
