/* SPDX-License-Identifier: BSD-3-Clause */
/* test_disk_order: every short sequence, and many long ones, of what can happen to one key: written, deleted, evicted, read, flushed,
 * the writer one step further, a write that fails, a full queue. The key's true version is known all along: a read finds it, or
 * nothing where it may have been lost, and a kill at any moment leaves it, or nothing, behind. */
#include "tests/unit/persist/disk_rig.h"

#include <sched.h>
#include <stdio.h>

#include "src/base/mem.h"
#include "src/base/rng.h"

enum event { SET, DEL, EVICT, READ, STEP, FLUSH, FAIL, FULL, EVENTS };

/* The key as the memory tier has it, and as it truly is. */
struct one {
    struct rig *r;
    char name[32];
    struct key key;
    uint8_t physical;
    bool through;
    unsigned flushes;
    int version, last; /* the true one, 0 none; the last there was */
    bool present;      /* in memory */
    enum { BELOW_UNKNOWN, BELOW_ABSENT, BELOW_SAME } below;
    bool may_be_lost;  /* something failed or was full */
    bool full;
    bool reading, overtaken;
    enum fake_gate read_gate;
    struct rig_fetch fetch;
    char story[256];
    size_t story_n;
};

static void wrong(struct one *o, const char *what, int got) {
    fail_msg("%.*s: %s: got %d, true is %d", (int)o->story_n, o->story, what, got, o->version);
}

static void tell(struct one *o, const char *what) {
    o->story_n += (size_t)snprintf(o->story + o->story_n, sizeof(o->story) - o->story_n, "%s ", what);
}

/* ---- the writer, step by step ---- */

static bool writer_is_held(struct one *o) {
    struct fake_store *f = o->r->fake;
    return fake_is_held(f, FAKE_WRITE) || fake_is_held(f, FAKE_WRITTEN) || fake_is_held(f, FAKE_RESET);
}

/* Until the writer can do nothing by itself. */
static void rest(struct one *o) {
    struct disk *d = o->r->disk;
    while (!writer_is_held(o)) {
        bool idle = atomic_load(&d->queued) == atomic_load(&d->done);
        bool waits = atomic_load(&d->mode) == DISK_SERVING || o->reading; /* it empties the store when no read is in it */
        if (idle && waits && !writer_is_held(o)) {
            return;
        }
        sched_yield();
    }
}

static void step(struct one *o) {
    struct fake_store *f = o->r->fake;
    static const enum fake_gate gates[] = {FAKE_WRITE, FAKE_WRITTEN, FAKE_RESET};
    for (int i = 0; i < 3; i++) {
        if (fake_is_held(f, gates[i])) {
            fake_let(f, gates[i]);
            break;
        }
    }
}

/* ---- a kill ---- */

struct search {
    struct slice key;
    bool found;
};

static void is_it(void *ctx, struct slice record_key) {
    struct search *s = ctx;
    s->found |= slice_eq(record_key, s->key);
}

/* What the next start would find. The writer rests. */
static void check_kill(struct one *o) {
    struct disk *d = o->r->disk;
    if (atomic_load(&d->mode) != DISK_SERVING) {
        return; /* it would empty the store */
    }
    struct buf key = {0};
    record_put_key(&key, state_generation(d->state, o->key.db), &o->key);
    struct search s = {.key = buf_slice(&key)};
    assert_true(state_each_note(d->state, is_it, &s));
    buf_free(&key);
    for (int i = 0; !s.found && i < 2; i++) { /* what was written without a log may have come to a file, or not */
        int left = i == 0 ? rig_stored(o->r, &o->key) : rig_logged(o->r, &o->key);
        if (left != 0 && left != o->version) {
            wrong(o, i == 0 ? "a kill leaves an older version" : "a kill brings an older version up", left);
        }
    }
}

/* ---- events ---- */

static void tune(struct rig *r, size_t queue_bytes) {
    struct disk_limits l = r->options.limits;
    l.queue_bytes = queue_bytes;
    disk_tune(r->disk, &l);
}

static void do_set(struct one *o) {
    o->version = ++o->last;
    o->present = true;
    o->overtaken = true;
    if (o->below != BELOW_ABSENT || o->through) {
        unsigned result = rig_set(o->r, &o->key, o->version, NULL);
        o->below = result & SINK_SAME ? BELOW_SAME : BELOW_ABSENT;
    }
}

static void do_del(struct one *o) {
    o->version = 0;
    o->present = false;
    o->overtaken = true;
    o->below = BELOW_UNKNOWN;
    rig_del(o->r, &o->key, NULL);
}

static void do_evict(struct one *o) {
    if (o->present) {
        if (o->below != BELOW_SAME) {
            o->may_be_lost |= o->full || atomic_load(&o->r->disk->mode) != DISK_SERVING;
            rig_evict(o->r, &o->key, o->version, o->below == BELOW_ABSENT);
        }
        o->present = false;
        o->below = BELOW_UNKNOWN;
    }
}

static void was_read(struct one *o, const char *how, int version) {
    if (version != o->version && !(version <= 0 && o->may_be_lost)) {
        wrong(o, how, version);
    }
    if (version > 0) {
        o->present = true;
        o->below = BELOW_SAME;
        o->overtaken = true;
    } else {
        o->version = 0; /* lost: from now on it is absent */
    }
}

/* Begins a read, or ends the one under way. */
static void do_read(struct one *o) {
    if (o->reading) {
        fake_let(o->r->fake, o->read_gate);
        int version = rig_fetch_end(&o->fetch);
        o->reading = false;
        if (!o->overtaken) {
            was_read(o, "fetched", version);
        }
    } else if (!o->present) {
        int version = rig_probe(o->r, &o->key);
        if (version >= 0) {
            was_read(o, "probed", version);
            return;
        }
        o->reading = true;
        o->overtaken = false;
        fake_stop_next(o->r->fake, o->read_gate);
        rig_fetch_begin(o->r, &o->fetch, &o->key);
        while (!fake_is_held(o->r->fake, o->read_gate)) {
            if (o->fetch.done) { /* bypassed meanwhile: it never came to the store */
                fake_stop_none(o->r->fake, o->read_gate);
                o->reading = false;
                was_read(o, "fetched at once", rig_fetch_end(&o->fetch));
                return;
            }
            sched_yield();
        }
    }
}

static void do_flush(struct one *o) {
    o->physical = (uint8_t)(++o->flushes % 2 ? o->physical : o->physical % 100 + 64); /* in place, or to another */
    rig_map(o->r, o->physical, true);
    o->key = key_make(o->key.name, o->physical);
    o->version = 0;
    o->present = false;
    o->below = BELOW_UNKNOWN;
    o->overtaken = true;
}

static void happen(struct one *o, enum event e) {
    static const char *const names[] = {"set", "del", "evict", "read", "step", "flush", "fail", "full"};
    tell(o, names[e]);
    switch (e) {
    case SET:
        do_set(o);
        break;
    case DEL:
        do_del(o);
        break;
    case EVICT:
        do_evict(o);
        break;
    case READ:
        do_read(o);
        break;
    case STEP:
        step(o);
        break;
    case FLUSH:
        do_flush(o);
        break;
    case FAIL:
        o->r->fake->fail_writes = 1;
        o->may_be_lost = true;
        break;
    default:
        o->full = !o->full;
        o->may_be_lost = true; /* it may be too far behind, too */
        tune(o->r, o->full ? 8 : 64 << 20);
    }
    rest(o);
    check_kill(o);
}

/* ---- sequences ---- */

/* How one begins: nothing is known of the key; it is in the store; the writer has something else in its hands. */
struct start {
    bool through, stored, blocked, vague;
    enum { HOT, COLD_BEFORE, COLD_AFTER } reads;
};

static void begin(struct one *o, struct rig *r, const struct start *start, int number) {
    *o = (struct one){.r = r, .physical = disk_map(r->disk)[0], .through = start->through,
                      .read_gate = start->reads == COLD_BEFORE ? FAKE_GET : FAKE_GOT};
    snprintf(o->name, sizeof(o->name), "key:%d", number);
    o->key = key_make(slice_cstr(o->name), o->physical);
    r->fake->cold = start->reads != HOT;
    r->fake->vague = start->vague;
    if (start->stored) {
        tell(o, "(stored)");
        o->version = o->last = 1;
        rig_evict(r, &o->key, 1, true);
        rig_settle(r);
        fake_flush(r->fake);
    }
    fake_stop_all(r->fake, FAKE_WRITE);
    fake_stop_all(r->fake, FAKE_WRITTEN);
    fake_stop_all(r->fake, FAKE_RESET);
    if (start->blocked) {
        struct key filler = key_make(SLICE("filler"), 200);
        tell(o, "(blocked)");
        rig_evict(r, &filler, 1, true);
        fake_await(r->fake, FAKE_WRITE);
    }
}

/* Lets everything come to its end: what is read then and what the store has is true. */
static void end(struct one *o) {
    struct rig *r = o->r;
    tell(o, "(end)");
    r->fake->fail_writes = 0;
    if (o->reading) {
        do_read(o);
    }
    while (rest(o), writer_is_held(o)) {
        step(o);
        rest(o);
        check_kill(o);
    }
    fake_open_gates(r->fake);
    rig_settle(r);
    tune(r, 64 << 20);
    o->full = false;
    int stored = rig_stored(r, &o->key);
    bool kept = !o->present || o->below == BELOW_SAME;
    if (stored != 0 && (stored != o->version || (o->present && o->below == BELOW_ABSENT))) {
        wrong(o, "the store has", stored);
    }
    if (kept && stored == 0 && o->version != 0 && !o->may_be_lost) {
        wrong(o, "the store lacks it", 0);
    }
    if (!o->present) {
        int version = r->fake->cold ? rig_fetch(r, &o->key) : rig_probe(r, &o->key);
        was_read(o, "at the end", version);
    }
    struct source *s = disk_source(r->disk);
    if (s->key_count(s, o->physical) != (stored != 0)) {
        wrong(o, "keys counted", (int)s->key_count(s, o->physical));
    }
    rig_del(r, &o->key, NULL);
    rig_settle(r);
    if (rig_info(r, "journal_bytes") != 0) {
        wrong(o, "bytes still noted", (int)rig_info(r, "journal_bytes"));
    }
}

static struct rig *open_for(const struct start *start) {
    struct disk_options o = rig_options();
    o.write_policy = start->through ? DISK_THROUGH : DISK_BACK;
    o.durability = DISK_NONE;
    return rig_open(&o);
}

static int numbers;

static void every_sequence(const struct start *start, int length) {
    struct rig *r = open_for(start);
    int count = 1;
    for (int i = 0; i < length; i++) {
        count *= EVENTS;
    }
    for (int i = 0; i < count; i++) {
        struct one o;
        begin(&o, r, start, numbers++);
        for (int k = 0, rest_of = i; k < length; k++, rest_of /= EVENTS) {
            happen(&o, (enum event)(rest_of % EVENTS));
        }
        end(&o);
    }
    rig_free(r);
}

static struct start start_of(int i) {
    return (struct start){.through = i & 1, .stored = i & 2, .blocked = i & 4, .reads = i / 8};
}

static void every_short_sequence_is_true(void **state) {
    (void)state;
    for (int i = 0; i < 24; i++) {
        struct start start = start_of(i);
        every_sequence(&start, 3);
    }
}

static void many_long_sequences_are_true(void **state) {
    (void)state;
    rng_seed(17);
    for (int i = 0; i < 24; i++) {
        struct start start = start_of(i);
        struct rig *r = open_for(&start);
        for (int round = 0; round < 250; round++) {
            struct one o;
            start.vague = rng_below(4) == 0;
            begin(&o, r, &start, numbers++);
            bool trouble = rng_below(2) == 0;
            for (uint64_t left = 4 + rng_below(20); left > 0; left--) {
                happen(&o, (enum event)rng_below(trouble ? EVENTS : FAIL));
            }
            end(&o);
        }
        rig_free(r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_short_sequence_is_true),
        cmocka_unit_test(many_long_sequences_are_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
