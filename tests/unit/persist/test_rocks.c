/* SPDX-License-Identifier: BSD-3-Clause */
/* test_rocks: the store over RocksDB itself: whatever its sieves and surveys know, no key that is there is ever said to be absent,
 * while windows come and go, surveys are under way, and over a new start. */
#include "tests/unit/check.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "persist/rocks.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { KEYS = 8192, STEP = 64 };

/* A store beside what it should have. */
struct pair {
    char dir[64], path[96];
    size_t sieve_bytes, write_buffer_bytes;
    struct store *store;
    int version[KEYS]; /* 0: none */
    int last;          /* version given out */
    void *survey;
    int learnt; /* surveys that came to their end */
};

static void open_store(struct pair *p) {
    char err[256] = "";
    struct rocks_options o = {.path = p->path,
                              .cache_bytes = 1 << 20,
                              .write_buffer_bytes = p->write_buffer_bytes,
                              .sieve_bytes = p->sieve_bytes};
    p->store = rocks_open(&o, false, err, sizeof(err));
    if (p->store == NULL) {
        fail_msg("%s", err);
    }
}

static struct pair *begin(size_t sieve_bytes) {
    struct pair *p = mem_zalloc(sizeof(*p));
    log_set_level(LOG_NOTHING);
    snprintf(p->dir, sizeof(p->dir), "%s/strata-rocks-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof(p->path), "%s/db", p->dir);
    p->sieve_bytes = sieve_bytes;
    p->write_buffer_bytes = 256 << 10;
    open_store(p);
    return p;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static void end(struct pair *p) {
    p->store->close(p->store);
    assert_int_equal(nftw(p->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    mem_free(p);
}

static void reopen(struct pair *p) {
    p->store->close(p->store);
    open_store(p);
}

struct name {
    char text[16];
};

static struct slice name_of(int i, struct name *room) {
    return slice_make(room->text, (size_t)snprintf(room->text, sizeof(room->text), "key:%d", i));
}

/* Keys from the first on; versions of 0 delete. */
static void write_some(struct pair *p, const int *keys, const int *versions, size_t n) {
    struct store_write writes[256];
    struct name names[256];
    static char values[256][200];
    char err[256] = "";
    assert_true(n <= 256);
    for (size_t i = 0; i < n; i++) {
        memset(values[i], 'v', sizeof(values[i]));
        memcpy(values[i], &versions[i], sizeof(versions[i]));
        writes[i] = (struct store_write){.key = name_of(keys[i], &names[i]),
                                         .value = slice_make(versions[i] == 0 ? NULL : values[i], versions[i] == 0 ? 0 : sizeof(values[i]))};
        p->version[keys[i]] = versions[i];
    }
    if (!p->store->write(p->store, writes, n, false, err, sizeof(err))) {
        fail_msg("%s", err);
    }
}

/* The version it has; 0: none. */
static int read_one(struct pair *p, int key) {
    struct name room;
    struct store_value v = {0};
    int version = 0;
    enum store_result r = p->store->get(p->store, name_of(key, &room), STORE_DEVICE, &v);
    assert_true(r == STORE_FOUND || r == STORE_ABSENT);
    if (r == STORE_FOUND) {
        memcpy(&version, v.bytes.p, sizeof(version));
        p->store->release(p->store, &v);
    }
    return version;
}

static enum store_result reach(struct pair *p, struct slice key, enum store_reach how) {
    struct store_value v = {0};
    enum store_result r = p->store->get(p->store, key, how, &v);
    if (r == STORE_FOUND) {
        p->store->release(p->store, &v);
    }
    return r;
}

static void check(struct pair *p, int key) {
    struct name room;
    struct slice name = name_of(key, &room);
    assert_int_equal(read_one(p, key), p->version[key]);
    if (p->version[key] != 0) {
        assert_int_not_equal(reach(p, name, STORE_GLANCE), STORE_ABSENT);
        assert_int_not_equal(reach(p, name, STORE_MEMORY), STORE_ABSENT);
        assert_true(p->store->may_have(p->store, name));
    }
}

static void check_all(struct pair *p) {
    for (int i = 0; i < KEYS; i++) {
        check(p, i);
    }
}

static void write_random(struct pair *p, size_t n, int bound) {
    int keys[256], versions[256];
    for (size_t i = 0; i < n; i++) {
        keys[i] = (int)rng_below((uint64_t)bound);
        versions[i] = rng_below(4) == 0 ? 0 : ++p->last;
        for (size_t k = 0; k < i; k++) { /* the last one of a batch counts */
            versions[i] = keys[k] == keys[i] ? versions[k] : versions[i];
        }
    }
    write_some(p, keys, versions, n);
}

/* A step of the survey under way, or the first of one that is due; true while there is one. */
static bool survey(struct pair *p) {
    if (p->survey == NULL) {
        p->survey = p->store->survey_begin(p->store);
    } else if (!p->store->survey_step(p->store, p->survey, STEP)) {
        p->learnt += p->store->survey_end(p->store, p->survey); /* unless its window has gone */
        p->survey = NULL;
        return true;
    }
    return p->survey != NULL;
}

static struct store_stats stats_of(struct pair *p) {
    struct store_stats st;
    p->store->stats(p->store, &st);
    return st;
}

/* Strangers that a glance does not deny, of a thousand. */
static unsigned passed(struct pair *p) {
    unsigned n = 0;
    for (int i = 0; i < 10000; i++) {
        struct name room;
        n += reach(p, name_of(KEYS + i, &room), STORE_GLANCE) != STORE_ABSENT;
    }
    return n / 10;
}

static void a_new_store_denies_from_the_start(void **state) {
    (void)state;
    struct pair *p = begin(1 << 20);
    assert_true(stats_of(p).sieved_windows == 1 && stats_of(p).sieve_bytes > 0);
    assert_null(p->store->survey_begin(p->store));
    for (int i = 0; i < 40; i++) {
        write_random(p, 256, KEYS);
    }
    check_all(p);
    assert_int_equal(passed(p), 0);
    end(p);
}

static void what_is_adopted_is_surveyed(void **state) {
    (void)state;
    struct pair *p = begin(1 << 20);
    for (int i = 0; i < 40; i++) {
        write_random(p, 256, KEYS);
    }
    reopen(p);
    assert_true(stats_of(p).sieved_windows == 0);
    check_all(p);
    while (survey(p)) { /* keys come and go meanwhile */
        write_random(p, 20, KEYS);
        check(p, (int)rng_below(KEYS));
    }
    assert_true(stats_of(p).sieved_windows == 1);
    check_all(p);
    write_random(p, 256, KEYS);
    check_all(p);
    end(p);
}

static void write_all(struct pair *p) {
    int keys[256], versions[256];
    for (int at = 0; at < KEYS; at += 256) {
        for (int i = 0; i < 256; i++) {
            keys[i] = at + i;
            versions[i] = ++p->last;
        }
        write_some(p, keys, versions, 256);
    }
}

static void a_worn_sieve_is_made_anew(void **state) {
    (void)state;
    struct pair *p = begin(2048); /* for a third of the keys */
    assert_false(survey(p));
    write_all(p);
    assert_true(survey(p));
    while (survey(p)) {
    }
    assert_int_equal(p->learnt, 1); /* and not again at once */
    check_all(p);
    end(p);
}

static void a_sieve_has_a_bound(void **state) {
    (void)state;
    struct pair *p = begin(KEYS / 2);
    assert_true(stats_of(p).sieve_bytes > 0 && stats_of(p).sieve_bytes <= KEYS / 2);
    write_all(p);
    p->sieve_bytes = KEYS / 8;
    reopen(p); /* with so little memory that it would be of no use */
    assert_false(survey(p));
    assert_true(stats_of(p).sieve_bytes == 0);
    check_all(p);
    p->sieve_bytes = 1 << 20;
    reopen(p);
    assert_true(survey(p));
    while (survey(p)) {
    }
    assert_true(stats_of(p).sieve_bytes > KEYS / 2 && passed(p) == 0);
    end(p);
}

/* A full store: windows begin and go, and surveys of them meanwhile. What a dropped window had is gone. */
static void windows_have_sieves_of_their_own(void **state) {
    (void)state;
    struct pair *p = begin(256 << 10);
    uint64_t dropped = 0;
    for (int round = 0; round < 400; round++) {
        write_random(p, 64, KEYS);
        p->store->maintain(p->store, 1 << 20);
        if (round % 100 == 50) {
            if (p->survey != NULL) {
                assert_false(p->store->survey_end(p->store, p->survey));
                p->survey = NULL;
            }
            reopen(p); /* no sieves */
        }
        (void)survey(p);
        struct store_stats st = stats_of(p);
        assert_true(st.sieve_bytes <= 256 << 10);
        if (st.dropped_windows != dropped) {
            dropped = st.dropped_windows;
            for (int i = 0; i < KEYS; i++) {
                int found = read_one(p, i);
                assert_true(found == p->version[i] || found == 0);
                p->version[i] = found;
            }
        }
        for (int i = 0; i < 50; i++) {
            check(p, (int)rng_below(KEYS));
        }
    }
    assert_true(stats_of(p).windows > 2 && p->learnt > 3);
    if (p->survey != NULL) {
        p->store->survey_end(p->store, p->survey);
    }
    end(p);
}

static void a_reset_ends_a_survey(void **state) {
    (void)state;
    char err[256];
    struct pair *p = begin(1 << 20);
    for (int i = 0; i < 10; i++) {
        write_random(p, 256, KEYS);
    }
    reopen(p);
    assert_true(survey(p) && survey(p));
    assert_true(p->store->reset(p->store, err, sizeof(err)));
    assert_false(p->store->survey_end(p->store, p->survey));
    memset(p->version, 0, sizeof(p->version));
    assert_true(stats_of(p).sieved_windows == 1); /* an empty one */
    write_random(p, 256, KEYS);
    check_all(p);
    end(p);
}

/* Once sieves have been right for long, what lies in a file is not looked for in memory, what was written lately is. */
static void a_glance_finds_what_was_written_lately(void **state) {
    (void)state;
    struct pair *p = begin(1 << 20);
    struct name room;
    write_all(p);
    reopen(p); /* all is in files now, */
    while (survey(p)) {
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_not_equal(reach(p, name_of(i, &room), STORE_DEVICE), STORE_ABSENT);
    }
    write_some(p, (int[]){5}, (int[]){++p->last}, 1); /* but this */
    write_some(p, (int[]){6}, (int[]){0}, 1);
    assert_int_equal(reach(p, name_of(5, &room), STORE_GLANCE), STORE_FOUND);
    assert_int_equal(reach(p, name_of(6, &room), STORE_GLANCE), STORE_ABSENT);
    assert_int_equal(reach(p, name_of(7, &room), STORE_GLANCE), STORE_COLD);
    assert_int_equal(reach(p, name_of(KEYS + 1, &room), STORE_GLANCE), STORE_ABSENT);
    check_all(p);
    end(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_store_denies_from_the_start), cmocka_unit_test(what_is_adopted_is_surveyed),
        cmocka_unit_test(a_worn_sieve_is_made_anew),         cmocka_unit_test(a_sieve_has_a_bound),
        cmocka_unit_test(windows_have_sieves_of_their_own),
        cmocka_unit_test(a_reset_ends_a_survey),             cmocka_unit_test(a_glance_finds_what_was_written_lately),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
