/* SPDX-License-Identifier: BSD-3-Clause */
/* test_state: what the state file says after an orderly end, a kill and damage; its journals against a plain model. */
#include "tests/unit/check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "persist/state.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { HEADER = 16384, RING = 65536 };

static char dir[64], path[96];

static int make_dir(void **state) {
    (void)state;
    snprintf(dir, sizeof(dir), "%s/strata-state-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/state", dir);
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static struct state *open_as(enum state_kind want) {
    enum state_kind kind;
    char err[512] = "";
    struct state *s = state_open(path, 0, &kind, err, sizeof(err));
    if (s == NULL) {
        fail_msg("%s", err);
    }
    assert_int_equal(kind, want);
    return s;
}

/* As the tier does: what is new is trusted once the store is known to be empty. */
static struct state *open_trusted(enum state_kind want) {
    struct state *s = open_as(want);
    state_distrust(s, false);
    return s;
}

static void refused(const char *why) {
    enum state_kind kind;
    char err[512] = "";
    assert_null(state_open(path, 0, &kind, err, sizeof(err)));
    assert_non_null(strstr(err, why));
    assert_non_null(strstr(err, path));
}

static void poke(off_t at, const void *p, size_t n) {
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, p, n, at), n);
    close(fd);
}

/* The offset in the file of the first place that has these bytes. */
static off_t find(const void *p, size_t n) {
    int fd = open(path, O_RDONLY);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    char *all = mem_alloc((size_t)st.st_size);
    assert_int_equal(read(fd, all, (size_t)st.st_size), st.st_size);
    const char *at = memmem(all, (size_t)st.st_size, p, n);
    assert_non_null(at);
    off_t offset = at - all;
    mem_free(all);
    close(fd);
    return offset;
}

/* ---- kinds ---- */

static void each_end_is_told_from_the_others(void **state) {
    (void)state;
    struct state *s = open_trusted(STATE_FRESH);
    state_close(&s, true);
    assert_null(s);
    s = open_as(STATE_CLEAN);
    state_close(&s, false);
    s = open_as(STATE_KILLED);
    state_close(&s, false);
    s = open_as(STATE_KILLED); /* a second kill before anything happened */
    state_close(&s, true);
    s = open_as(STATE_CLEAN);
    state_distrust(s, true);
    state_close(&s, true); /* not even an orderly end makes good of it */
    s = open_as(STATE_DROPPED);
    state_distrust(s, false);
    state_close(&s, false);
    s = open_as(STATE_KILLED);
    state_close(&s, true);
}

static void until_the_store_was_emptied_a_kill_drops_it_again(void **state) {
    (void)state;
    struct state *s = open_as(STATE_FRESH); /* a directory may be there without its state file */
    state_close(&s, false);
    for (int i = 0; i < 2; i++) {
        s = open_as(STATE_DROPPED);
        state_close(&s, false);
    }
    s = open_trusted(STATE_DROPPED);
    state_close(&s, false);
    s = open_as(STATE_KILLED);
    state_close(&s, true);
}

static void what_is_no_state_is_dropped(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 100, HEADER, HEADER + 8 * RING};
    char *junk = mem_alloc(HEADER + 8 * RING);
    memset(junk, 'j', HEADER + 8 * RING);
    for (size_t i = 0; i < 4; i++) {
        close(open(path, O_CREAT | O_WRONLY, 0600));
        poke(0, junk, sizes[i]);
        struct state *s = open_trusted(STATE_DROPPED);
        assert_int_equal(state_map(s)[5], 5);
        state_close(&s, true);
        s = open_as(STATE_CLEAN);
        state_close(&s, true);
        assert_int_equal(unlink(path), 0);
    }
    mem_free(junk);
    close(open(path, O_CREAT | O_WRONLY, 0600)); /* empty: never written */
    struct state *s = open_trusted(STATE_FRESH);
    state_close(&s, true);
    assert_int_equal(truncate(path, HEADER + RING), 0);
    s = open_trusted(STATE_DROPPED);
    state_close(&s, true);
    s = open_as(STATE_CLEAN);
    state_close(&s, true);
}

static void a_second_opener_is_refused(void **state) {
    (void)state;
    struct state *s = open_trusted(STATE_FRESH);
    refused("in use by another server");
    state_close(&s, true);
    s = open_as(STATE_CLEAN); /* the refused one changed nothing */
    state_close(&s, true);
}

static void another_format_is_refused_and_kept(void **state) {
    (void)state;
    struct state *s = open_trusted(STATE_FRESH);
    uint64_t seed = state_hash_seed(s);
    state_close(&s, true);
    uint32_t format = 1;
    poke(8, &format, 4);
    refused("format 1");
    format = 2;
    poke(8, &format, 4);
    s = open_as(STATE_CLEAN);
    assert_true(state_hash_seed(s) == seed);
    state_close(&s, true);
}

static void what_cannot_be_opened_says_why(void **state) {
    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    refused("Is a directory");
    assert_int_equal(rmdir(path), 0);
    close(open(path, O_CREAT | O_WRONLY, 0600));
}

/* ---- databases ---- */

static void databases_survive_a_kill(void **state) {
    (void)state;
    struct state *s = open_trusted(STATE_FRESH);
    uint8_t map[STATE_LOGICAL];
    uint32_t seen[STATE_LOGICAL];
    uint64_t seed = state_hash_seed(s);
    for (unsigned i = 0; i < STATE_LOGICAL; i++) {
        assert_int_equal(state_map(s)[i], i);
        seen[i] = state_generation(s, (uint8_t)i);
        assert_true(state_is_live(s, seen[i]));
        for (unsigned k = 0; k < i; k++) {
            assert_true(seen[k] != seen[i]);
        }
    }
    memcpy(map, state_map(s), sizeof(map));
    map[0] = 200; /* flushed */
    state_renew(s, 200);
    map[1] = 2; /* swapped */
    map[2] = 1;
    state_set_map(s, map);
    state_renew(s, 3); /* flushed in place */
    uint32_t fresh = state_generation(s, 200), in_place = state_generation(s, 3);
    state_close(&s, false);
    s = open_as(STATE_KILLED);
    assert_memory_equal(state_map(s), map, sizeof(map));
    assert_true(state_hash_seed(s) == seed);
    assert_true(state_generation(s, 200) == fresh && state_generation(s, 3) == in_place);
    assert_true(state_generation(s, 1) == seen[1] && state_generation(s, 2) == seen[2]);
    assert_true(state_is_live(s, fresh) && state_is_live(s, in_place) && state_is_live(s, seen[1]));
    assert_false(state_is_live(s, seen[0]) || state_is_live(s, seen[3]));
    state_renew(s, 0);
    assert_true(state_generation(s, 0) > in_place && state_generation(s, 0) > fresh); /* never one used before */
    state_close(&s, true);
}

static void counts_survive_an_orderly_end(void **state) {
    (void)state;
    struct state *s = open_trusted(STATE_FRESH);
    state_set_count(s, 7, 123456789012);
    state_set_count(s, 255, 1);
    state_close(&s, true);
    s = open_as(STATE_CLEAN);
    assert_true(state_count(s, 7) == 123456789012 && state_count(s, 255) == 1 && state_count(s, 0) == 0);
    state_renew(s, 7);
    assert_true(state_count(s, 7) == 0);
    state_close(&s, true);
}

static void what_is_dropped_starts_anew(void **state) {
    (void)state;
    struct state *s = open_trusted(STATE_FRESH);
    uint8_t map[STATE_LOGICAL] = {9, 8, 7};
    uint64_t seed = state_hash_seed(s);
    state_set_map(s, map);
    state_set_count(s, 1, 5);
    assert_true(state_note(s, 0, SLICE("noted")) != 0);
    state_distrust(s, true);
    state_close(&s, false);
    s = open_trusted(STATE_DROPPED);
    assert_int_equal(state_map(s)[0], 0);
    assert_true(state_count(s, 1) == 0 && state_noted_bytes(s) == 0 && state_hash_seed(s) != seed);
    state_close(&s, true);
}

struct swapper {
    struct state *s;
    _Atomic bool stop;
};

static void *swap_until_stopped(void *arg) {
    struct swapper *w = arg;
    uint8_t map[STATE_LOGICAL];
    memcpy(map, state_map(w->s), sizeof(map));
    for (unsigned i = 0; !w->stop; i++) {
        unsigned a = i % STATE_LOGICAL, b = i * 7 % STATE_LOGICAL;
        uint8_t was = map[a];
        map[a] = map[b];
        map[b] = was;
        state_set_map(w->s, map);
    }
    return NULL;
}

static void a_swap_takes_no_database_away_for_a_moment(void **state) {
    (void)state;
    struct swapper w = {.s = open_trusted(STATE_FRESH)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, swap_until_stopped, &w), 0);
    int lost = 0;
    for (int i = 0; i < 200000; i++) {
        lost += !state_is_live(w.s, state_generation(w.s, (uint8_t)(i % STATE_LOGICAL)));
    }
    w.stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(lost, 0);
    state_close(&w.s, true);
}

/* Runs fn in a process that is killed after_us later, or when fn is through (0). */
static void in_a_killed_process(void (*fn)(struct state *s), enum state_kind want, useconds_t after_us) {
    pid_t pid = fork();
    if (pid == 0) {
        enum state_kind kind;
        char err[512];
        struct state *s = state_open(path, 0, &kind, err, sizeof(err));
        if (s == NULL || kind != want) {
            _exit(1);
        }
        state_distrust(s, false);
        ualarm(after_us, 0);
        fn(s);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void swap_for_ever(struct state *s) {
    struct swapper w = {.s = s};
    swap_until_stopped(&w);
}

static void a_kill_between_swaps_leaves_every_database_once(void **state) {
    (void)state;
    rng_seed(5);
    struct state *s = open_trusted(STATE_FRESH);
    state_close(&s, false);
    for (int round = 0; round < 60; round++) {
        bool seen[STATE_LOGICAL] = {false};
        in_a_killed_process(swap_for_ever, STATE_KILLED, (useconds_t)(1000 + rng_below(3000)));
        s = open_as(STATE_KILLED);
        for (unsigned i = 0; i < STATE_LOGICAL; i++) {
            uint8_t physical = state_map(s)[i];
            assert_true(physical < STATE_LOGICAL && !seen[physical]);
            seen[physical] = true;
        }
        state_close(&s, false);
    }
}

/* ---- journals ---- */

enum { MAX_NOTES = 20000 };

/* One lane as it should be: the keys noted and not forgotten, in order; their bytes follow from their number. */
struct model {
    uint64_t position[MAX_NOTES];
    uint32_t n[MAX_NOTES], number[MAX_NOTES];
    size_t first, last;
};

static struct model *models;
static unsigned at_lane;
static size_t at_note;

static struct slice bytes_of(uint32_t number, uint32_t n) {
    static char room[RING];
    for (uint32_t i = 0; i < n; i++) {
        room[i] = (char)(number * 31 + i * 7);
    }
    return slice_make(room, n);
}

static void expect_note(void *ctx, struct slice key) {
    int *left = ctx;
    while (at_lane < STATE_LANES && at_note == models[at_lane].last) {
        at_note = ++at_lane < STATE_LANES ? models[at_lane].first : 0;
    }
    assert_true(at_lane < STATE_LANES);
    struct model *m = &models[at_lane];
    assert_int_equal(key.n, m->n[at_note]);
    assert_true(slice_eq(key, bytes_of(m->number[at_note], m->n[at_note])));
    at_note++;
    (*left)--;
}

static void journals_are_the_model(struct state *s) {
    int left = 0;
    for (unsigned i = 0; i < STATE_LANES; i++) {
        left += (int)(models[i].last - models[i].first);
    }
    at_lane = 0;
    at_note = models[0].first;
    assert_true(state_each_note(s, expect_note, &left));
    assert_int_equal(left, 0);
}

static uint32_t a_size(void) {
    switch (rng_below(16)) {
    case 0:
        return (uint32_t)rng_below(RING / 2 - 8);
    case 1:
        return (uint32_t)rng_below(2000);
    default:
        return (uint32_t)rng_below(40);
    }
}

static void journals_equal_their_model(void **state) {
    (void)state;
    struct state *s = open_trusted(STATE_FRESH);
    models = mem_zalloc(STATE_LANES * sizeof(*models));
    rng_seed(3);
    uint64_t refusals = 0;
    for (uint32_t i = 0; i < 100000; i++) {
        unsigned lane = (unsigned)rng_below(STATE_LANES);
        struct model *m = &models[lane];
        if (rng_below(100) < (i / 5000 % 2 == 0 ? 75 : 40) && m->last < MAX_NOTES) { /* they fill, they empty */
            uint32_t n = a_size();
            uint64_t position = state_note(s, lane, bytes_of(i, n));
            if (position == 0) {
                refusals++;
                state_forget(s, lane, 0);
                assert_true(m->last > m->first); /* an empty ring takes anything of up to half of it */
                continue;
            }
            m->position[m->last] = position;
            m->number[m->last] = i;
            m->n[m->last++] = n;
        } else if (m->first < m->last) {
            size_t many = rng_below(40) == 0 ? m->last - m->first : 1;
            m->first += many;
            state_forget(s, lane, m->position[m->first - 1]);
        }
        if (i % 100 == 0) {
            journals_are_the_model(s);
        }
        if (i % 4000 == 0) {
            state_close(&s, false);
            s = open_as(STATE_KILLED);
            journals_are_the_model(s);
        }
    }
    assert_true(refusals > 20);
    state_forget_all(s);
    assert_true(state_noted_bytes(s) == 0);
    for (unsigned i = 0; i < STATE_LANES; i++) {
        models[i].first = models[i].last;
    }
    journals_are_the_model(s);
    mem_free(models);
    state_close(&s, false);
    s = open_as(STATE_KILLED);
    assert_true(state_noted_bytes(s) == 0);
    state_close(&s, true);
}

static void collect(void *ctx, struct slice key) {
    struct buf *b = ctx;
    buf_put_slice(b, key);
    buf_putc(b, ' ');
}

static void note_three_forget_one(struct state *s) {
    uint64_t first = state_note(s, 2, SLICE("one"));
    state_note(s, 2, SLICE("two"));
    state_note(s, 7, SLICE("three"));
    state_forget(s, 2, first);
}

static void notes_survive_a_kill(void **state) {
    (void)state;
    struct buf got = {0};
    struct state *s = open_trusted(STATE_FRESH);
    state_close(&s, true);
    in_a_killed_process(note_three_forget_one, STATE_CLEAN, 0);
    s = open_as(STATE_KILLED);
    assert_true(state_each_note(s, collect, &got));
    assert_slice(buf_slice(&got), "two three ");
    assert_true(state_noted_bytes(s) == 32);
    state_close(&s, false); /* killed before they were applied */
    s = open_as(STATE_KILLED);
    buf_clear(&got);
    assert_true(state_each_note(s, collect, &got));
    assert_slice(buf_slice(&got), "two three ");
    state_forget_all(s);
    state_close(&s, false);
    s = open_as(STATE_KILLED);
    buf_clear(&got);
    assert_true(state_each_note(s, collect, &got));
    assert_int_equal(got.n, 0);
    buf_free(&got);
    state_close(&s, true);
}

static void what_nobody_could_note_drops_the_tier(void **state) {
    (void)state;
    struct state *s = open_trusted(STATE_FRESH);
    char key[1000] = {0};
    uint64_t position, last = 0;
    while ((position = state_note(s, 4, slice_make(key, sizeof(key)))) != 0) {
        last = position;
    }
    assert_true(state_overflows(s) == 1);
    assert_true(state_note(s, 5, slice_make(key, sizeof(key))) != 0); /* the others have their own room */
    state_forget(s, 4, last);
    assert_true(state_note(s, 4, slice_make(key, sizeof(key))) != 0); /* there is room again, yet one is not noted */
    state_close(&s, false);
    s = open_trusted(STATE_DROPPED);
    static char huge[RING / 2];
    assert_true(state_note(s, 4, slice_make(huge, sizeof(huge))) == 0);
    assert_true(state_note(s, 4, slice_make(huge, sizeof(huge))) == 0);
    state_forget(s, 4, 0);
    state_close(&s, false);
    s = open_trusted(STATE_DROPPED); /* of two one is still on its way */
    assert_true(state_note(s, 4, slice_make(huge, sizeof(huge))) == 0);
    state_forget(s, 4, 0);
    assert_true(state_overflows(s) == 1); /* since start */
    state_close(&s, false);
    s = open_as(STATE_KILLED);
    assert_true(state_note(s, 4, slice_make(huge, sizeof(huge))) == 0);
    state_forget_all(s);
    state_close(&s, false);
    s = open_as(STATE_KILLED);
    state_close(&s, true);
}

static void a_file_keeps_the_journals_it_was_made_with(void **state) {
    (void)state;
    enum state_kind kind;
    char err[512];
    struct buf got = {0};
    struct state *s = state_open(path, 8 << 20, &kind, err, sizeof(err));
    assert_non_null(s);
    state_distrust(s, false);
    char key[100000] = {0};
    assert_true(state_note(s, 1, slice_make(key, sizeof(key))) != 0);
    assert_true(state_note(s, 1, SLICE("behind")) != 0);
    state_close(&s, false);
    s = open_as(STATE_KILLED);
    assert_true(state_each_note(s, collect, &got));
    assert_int_equal(got.n, sizeof(key) + 1 + 7);
    buf_free(&got);
    state_close(&s, true);
}

static void a_damaged_journal_is_not_trusted(void **state) {
    (void)state;
    struct buf got = {0};
    struct state *s = open_trusted(STATE_FRESH);
    state_note(s, 0, SLICE("whole-note"));
    state_note(s, 0, SLICE("damaged-note"));
    state_note(s, 1, SLICE("other-lane"));
    state_close(&s, false);
    uint32_t n = 70000;
    poke(find("damaged-note", 12) - 8, &n, 4);
    s = open_as(STATE_KILLED); /* it looks well until it is read */
    assert_false(state_each_note(s, collect, &got));
    state_close(&s, false);
    s = open_trusted(STATE_DROPPED);
    state_note(s, 0, SLICE("x"));
    state_close(&s, false);
    uint64_t head = 3; /* no entry ends there */
    uint64_t was = 16;
    poke(find(&was, 8), &head, 8);
    s = open_as(STATE_DROPPED);
    buf_free(&got);
    state_close(&s, true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(each_end_is_told_from_the_others),
        TEST(until_the_store_was_emptied_a_kill_drops_it_again),
        TEST(what_is_no_state_is_dropped),
        TEST(a_second_opener_is_refused),
        TEST(another_format_is_refused_and_kept),
        TEST(what_cannot_be_opened_says_why),
        TEST(databases_survive_a_kill),
        TEST(counts_survive_an_orderly_end),
        TEST(what_is_dropped_starts_anew),
        TEST(a_swap_takes_no_database_away_for_a_moment),
        TEST(a_kill_between_swaps_leaves_every_database_once),
        TEST(journals_equal_their_model),
        TEST(notes_survive_a_kill),
        TEST(what_nobody_could_note_drops_the_tier),
        TEST(a_file_keeps_the_journals_it_was_made_with),
        TEST(a_damaged_journal_is_not_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
