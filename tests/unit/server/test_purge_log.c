/* SPDX-License-Identifier: BSD-3-Clause */
/* test_purge_log: what was purged stays so over a restart, a file that is written anew, and a kill at any moment of that. */
#include "tests/unit/check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/guard/purge.h"
#include "src/l1/l1.h"
#include "src/server/purge_log.h"
#include "src/tier/guard.h"
#include "src/tier/tier.h"

enum { MAX = 200, NAMES = 20 };

static const char file[] = "purges", beside[] = "purges.new";

/* ---- a server's part of it ---- */

struct life {
    struct l1 *l1;
    struct tier tier;
    struct purge_log *log;
};

/* Without a log. */
static struct life *make_life(size_t max) {
    struct life *life = mem_zalloc(sizeof(*life));
    life->l1 = l1_create(&(struct l1_options){.shards = 2, .policy = "noeviction", .hooks = {.ctx = &life->tier}});
    tier_init(&life->tier, life->l1);
    life->tier.guard = guard_create(life->l1, &life->tier, 10, max);
    return life;
}

static struct life *begin_with(size_t max) {
    struct life *life = make_life(max);
    struct buf err = {0};
    life->log = purge_log_open(file, false, life->tier.guard, &err);
    assert_non_null(life->log);
    assert_int_equal(err.n, 0);
    return life;
}

static struct life *begin(void) {
    return begin_with(MAX);
}

static void end(struct life *life) {
    purge_log_close(&life->log);
    guard_destroy(&life->tier.guard);
    l1_destroy(&life->l1);
    mem_free(life);
}

static void make(struct life *life, uint64_t number) {
    l1_lock_all(life->l1);
    purge_log_make(life->log, number);
    l1_unlock_all(life->l1);
}

static bool purge(struct life *life, const struct purge_record *r) {
    uint64_t number = purge_log_append(life->log, r);
    make(life, number);
    return number != 0;
}

static void purge_prefix(struct life *life, const char *prefix, bool soft, int64_t time_ms) {
    assert_true(purge(life, &(struct purge_record){.kind = PURGE_PREFIX, .soft = soft, .db = 1, .time_ms = time_ms, .prefix = slice_cstr(prefix)}));
}

static uint64_t note_prefix(struct life *life, const char *prefix) {
    return purge_log_append(life->log, &(struct purge_record){.kind = PURGE_PREFIX, .db = 1, .prefix = slice_cstr(prefix)});
}

static void purge_slot(struct life *life, const char *name) {
    uint8_t set[PURGE_SLOT_BYTES] = {0};
    slot_set_put(set, hash_slot(slice_cstr(name)), true);
    assert_true(purge(life, &(struct purge_record){.kind = PURGE_BY_SLOTS, .prefix = slice_make((const char *)set, sizeof(set))}));
}

/* ---- what is in force ---- */

/* Deadlines of values of all names, with and without a tag, of every age: all that purges can say. */
struct truth {
    uint32_t last;
    size_t count;
    int64_t deadlines[NAMES][2][64];
};

static const char *name_of(unsigned i, char *room) {
    snprintf(room, 16, "%c%c:%u", 'a' + (int)(i % 5), 'x' + (int)(i % 2), i % 3);
    return room;
}

static void read_truth(const struct life *life, struct truth *t) {
    const struct purges *p = life->tier.guard->purges;
    t->last = purges_last(p);
    t->count = purges_count(p);
    for (unsigned i = 0; i < NAMES; i++) {
        char room[16];
        struct slice name = slice_cstr(name_of(i, room));
        for (unsigned tagged = 0; tagged < 2; tagged++) {
            for (uint32_t age = 0; age < 64; age++) {
                struct item_extra e = {.stamp = t->last > age ? t->last - age : 0, .tags = (uint8_t)tagged, .tag = {1 + i % 7}};
                t->deadlines[i][tagged][age] = purges_deadline(p, 1, name, INT64_MAX, &e);
            }
        }
    }
}

static void assert_same_truth(const struct life *life, const struct truth *want) {
    struct truth *got = mem_zalloc(sizeof(*got));
    read_truth(life, got);
    assert_int_equal(got->last, want->last);
    assert_int_equal(got->count, want->count);
    assert_memory_equal(got->deadlines, want->deadlines, sizeof(want->deadlines));
    mem_free(got);
}

static void purge_something(struct life *life, int64_t time_ms) {
    char room[16];
    uint64_t kind = rng_below(10);
    if (kind < 5) {
        char prefix[16];
        snprintf(prefix, 1 + (size_t)rng_below(4) + 1, "%s", name_of((unsigned)rng_below(NAMES), room));
        purge_prefix(life, prefix, kind == 0, time_ms);
    } else if (kind < 8) {
        assert_true(purge(life, &(struct purge_record){.kind = PURGE_TAG, .soft = kind == 5, .tag = 1 + (uint32_t)rng_below(7), .time_ms = time_ms}));
    } else {
        purge_slot(life, name_of((unsigned)rng_below(NAMES), room));
    }
}

static off_t size_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

/* ---- tests ---- */

static void purge_log_keeps_all_over_a_restart(void **state) {
    (void)state;
    struct truth *want = mem_zalloc(sizeof(*want));
    unlink(file);
    for (unsigned round = 0; round < 30; round++) {
        struct life *life = begin();
        if (round > 0) {
            assert_same_truth(life, want);
        }
        for (unsigned i = 0; i < 40; i++) {
            purge_something(life, 1000 + i);
            if (i == round) {
                read_truth(life, want);
                assert_true(purge_log_tidy(life->log));
                assert_same_truth(life, want); /* it is about the file alone */
            }
        }
        read_truth(life, want);
        end(life);
    }
    mem_free(want);
}

static void purge_log_is_as_large_as_what_is_in_force(void **state) {
    (void)state;
    unlink(file);
    struct life *life = begin();
    for (unsigned i = 0; i < 20000; i++) {
        purge_prefix(life, i % 2 ? "user:" : "item:", i % 3 == 0, i);
    }
    assert_true(purge_log_bytes(life->log) > 20000 * 32);
    assert_true(purge_log_tidy(life->log));
    assert_in_range(purge_log_bytes(life->log), 1, 5 * 64);
    assert_int_equal(size_of(file), purge_log_bytes(life->log));
    for (unsigned i = 0; i < 100; i++) {
        purge_slot(life, "a");
    }
    assert_true(purge_log_tidy(life->log));
    assert_in_range(purge_log_bytes(life->log), 65536, 65536 + 6 * 64);
    struct truth *want = mem_zalloc(sizeof(*want));
    read_truth(life, want);
    end(life);
    life = begin();
    assert_same_truth(life, want);
    mem_free(want);
    end(life);
}

/* As a value's stamp is the number of a purge. */
static bool is_purged(const struct life *life, const char *name, uint32_t stamp) {
    struct item_extra e = {.stamp = stamp};
    return purges_deadline(life->tier.guard->purges, 1, slice_cstr(name), INT64_MAX, &e) == INT64_MIN;
}

/* Whoever is first to make one: a value written between two would else be older than the other one of them after a restart. */
static void purge_log_makes_in_the_order_of_the_file(void **state) {
    (void)state;
    struct truth *want = mem_zalloc(sizeof(*want));
    unlink(file);
    struct life *life = begin();
    uint64_t first = note_prefix(life, "a"), second = note_prefix(life, "b");
    assert_true(first != 0 && second > first);
    make(life, second);
    uint32_t stamp = purges_last(life->tier.guard->purges); /* of a value that is written now */
    make(life, first);
    assert_int_equal(purges_last(life->tier.guard->purges), 2);
    bool gone = is_purged(life, "ax:1", stamp);
    read_truth(life, want);
    end(life);
    life = begin();
    assert_same_truth(life, want);
    assert_int_equal(is_purged(life, "ax:1", stamp), gone);
    end(life);
    mem_free(want);
}

/* Its client has gone: others make it, or the next tick. */
static void purge_log_makes_what_nobody_comes_for(void **state) {
    (void)state;
    unlink(file);
    struct life *life = begin_with(1);
    note_prefix(life, "a");
    uint64_t number = note_prefix(life, "b");
    make(life, number - 1);
    assert_true(is_purged(life, "a", 0) && !is_purged(life, "b", 0));
    purge_log_make_rest(life->log);
    assert_true(is_purged(life, "b", 0)); /* past what may be remembered, too: the next start would make it */
    purge_log_make_rest(life->log);
    assert_int_equal(purges_last(life->tier.guard->purges), 2);
    note_prefix(life, "c");
    end(life); /* and what is not made when the process ends, by the next one */
    life = begin();
    assert_true(is_purged(life, "c", 2));
    end(life);
}

static void *purge_many(void *arg) {
    struct life *life = arg;
    for (unsigned i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%c", 'a' + (int)(i % 5));
        make(life, note_prefix(life, name));
    }
    return NULL;
}

static void purge_log_is_as_what_many_threads_made(void **state) {
    (void)state;
    struct truth *want = mem_zalloc(sizeof(*want));
    pthread_t threads[4];
    unlink(file);
    struct life *life = begin();
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, purge_many, life), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    read_truth(life, want);
    assert_int_equal(want->last, 800);
    end(life);
    life = begin();
    assert_same_truth(life, want);
    end(life);
    mem_free(want);
}

/* Too many for what the directive allows now: they were acknowledged. */
static void purge_log_keeps_more_than_there_may_be(void **state) {
    (void)state;
    unlink(file);
    struct life *life = begin();
    for (unsigned i = 0; i < 50; i++) {
        char prefix[16];
        snprintf(prefix, sizeof(prefix), "%u:", i);
        purge_prefix(life, prefix, false, 0);
    }
    end(life);
    life = begin_with(16);
    const struct purges *p = life->tier.guard->purges;
    assert_int_equal(purges_count(p), 50);
    assert_false(purges_have_room(p, 1));
    assert_true(purges_has_prefix(p, 1, slice_cstr("49:")));
    assert_false(purges_has_prefix(p, 1, slice_cstr("50:")));
    end(life);
}

static void put_file(const char *path, const void *bytes, size_t n) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, bytes, n), n);
    close(fd);
}

static struct buf get_file(const char *path) {
    struct buf b = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;
    do {
        char *to = buf_reserve(&b, 4096);
        n = read(fd, to, 4096);
        buf_commit(&b, n > 0 ? (size_t)n : 0);
    } while (n > 0);
    close(fd);
    return b;
}

static void assert_refused(const char *why) {
    struct life *life = make_life(MAX);
    struct buf err = {0};
    assert_null(purge_log_open(file, false, life->tier.guard, &err));
    buf_putc(&err, '\0');
    assert_non_null(strstr(err.p, why));
    buf_free(&err);
    end(life);
}

/* A file of another format is left as it is; one of the format before, which had no head, is read and given one. */
static void purge_log_knows_its_format(void **state) {
    (void)state;
    struct truth *want = mem_zalloc(sizeof(*want));
    unlink(file);
    struct life *life = begin();
    assert_int_equal(size_of(file), PURGE_FILE_HEAD);
    for (unsigned i = 0; i < 30; i++) {
        purge_something(life, i);
    }
    read_truth(life, want);
    end(life);
    struct buf now = get_file(file);
    for (unsigned round = 0; round < 2; round++) {
        put_file(file, now.p + PURGE_FILE_HEAD, now.n - PURGE_FILE_HEAD);
        life = begin();
        assert_same_truth(life, want);
        end(life);
        struct buf again = get_file(file);
        assert_memory_equal(again.p, now.p, PURGE_FILE_HEAD);
        buf_free(&again);
    }
    now.p[PURGE_FILE_HEAD - 2]++;
    put_file(file, now.p, now.n);
    assert_refused("its format is '3', this version reads '2'");
    assert_int_equal(size_of(file), now.n);
    put_file(file, "something else altogether", 25);
    assert_refused("no file of purges");
    assert_int_equal(size_of(file), 25);
    put_file(file, "strata", 6); /* cut off when it was made */
    life = begin();
    purge_prefix(life, "a", false, 0);
    end(life);
    life = begin();
    assert_true(is_purged(life, "a", 0));
    end(life);
    buf_free(&now);
    mem_free(want);
}

/* What a kill leaves at each step: the new file in part, whole, and in the old one's place. */
static void purge_log_is_whole_at_each_step(void **state) {
    (void)state;
    unlink(file);
    struct truth *want = mem_zalloc(sizeof(*want));
    struct life *life = begin();
    for (unsigned i = 0; i < 60; i++) {
        purge_something(life, i);
    }
    read_truth(life, want);
    end(life);
    struct buf old = get_file(file);
    life = begin();
    assert_true(purge_log_tidy(life->log));
    end(life);
    struct buf new = get_file(file);
    for (size_t n = 0; n <= new.n; n += n < 400 || n + 100 > new.n ? 1 : 977) {
        put_file(file, old.p, old.n);
        put_file(beside, new.p, n);
        life = begin();
        assert_same_truth(life, want);
        end(life);
        assert_int_equal(size_of(beside), -1);
        assert_int_equal(size_of(file), old.n);
    }
    put_file(file, new.p, new.n);
    life = begin();
    assert_same_truth(life, want);
    end(life);
    buf_free(&old);
    buf_free(&new);
    mem_free(want);
}

/* Purges without end, written anew all the time. acked: how many prefixes were. */
static void purge_until_killed(_Atomic unsigned *acked) {
    struct life *life = begin_with(100000);
    for (unsigned i = atomic_load(acked);; i++) {
        char prefix[16];
        snprintf(prefix, sizeof(prefix), "%u:", i);
        purge_prefix(life, prefix, false, 0);
        atomic_store(acked, i + 1);
        if (i % 8 == 0 && !purge_log_tidy(life->log)) {
            _exit(1);
        }
    }
}

static void purge_log_survives_kills(void **state) {
    (void)state;
    _Atomic unsigned *acked = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unlink(file);
    for (unsigned round = 0; round < 12; round++) {
        unsigned before = atomic_load(acked);
        pid_t child = fork();
        if (child == 0) {
            purge_until_killed(acked);
        }
        while (atomic_load(acked) < before + 20 + round * 3) {
            usleep(100 + (unsigned)rng_below(900));
        }
        int status;
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        struct life *life = begin_with(100000);
        for (unsigned i = 0; i < atomic_load(acked); i++) {
            char prefix[16];
            snprintf(prefix, sizeof(prefix), "%u:", i);
            assert_true(purges_has_prefix(life->tier.guard->purges, 1, slice_cstr(prefix)));
        }
        end(life);
    }
    munmap((void *)acked, 4096);
}

static void purge_log_goes_on_when_it_cannot_be_written_anew(void **state) {
    (void)state;
    unlink(file);
    struct truth *want = mem_zalloc(sizeof(*want));
    struct life *life = begin();
    for (unsigned i = 0; i < 30; i++) {
        purge_something(life, i);
    }
    assert_int_equal(mkdir(beside, 0755), 0);
    assert_false(purge_log_tidy(life->log));
    for (unsigned i = 0; i < 30; i++) {
        purge_something(life, i);
    }
    read_truth(life, want);
    end(life);
    assert_int_equal(rmdir(beside), 0);
    life = begin();
    assert_same_truth(life, want);
    for (uint64_t nth = 1; nth < 5; nth++) { /* no memory */
        mem_fail_nth(nth);
        bool ok = purge_log_tidy(life->log);
        bool failed = mem_fail_left() == 0;
        mem_fail_nth(0);
        assert_true(ok != failed);
        assert_same_truth(life, want);
    }
    end(life);
    life = begin();
    assert_same_truth(life, want);
    end(life);
    mem_free(want);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(purge_log_makes_in_the_order_of_the_file), cmocka_unit_test(purge_log_makes_what_nobody_comes_for),
                                       cmocka_unit_test(purge_log_is_as_what_many_threads_made), cmocka_unit_test(purge_log_knows_its_format),
                                       cmocka_unit_test(purge_log_keeps_all_over_a_restart), cmocka_unit_test(purge_log_is_as_large_as_what_is_in_force),
                                       cmocka_unit_test(purge_log_keeps_more_than_there_may_be), cmocka_unit_test(purge_log_is_whole_at_each_step),
                                       cmocka_unit_test(purge_log_survives_kills), cmocka_unit_test(purge_log_goes_on_when_it_cannot_be_written_anew)};
    const char *tmp = getenv("TMPDIR");
    char dir[256];
    snprintf(dir, sizeof(dir), "%s/strata-purges-%d", tmp != NULL ? tmp : "/tmp", (int)getpid());
    rng_seed(7);
    if (mkdir(dir, 0755) != 0 || chdir(dir) != 0) {
        return 1;
    }
    int failed = cmocka_run_group_tests_name("purge_log", tests, NULL, NULL);
    unlink(file);
    unlink(beside);
    rmdir(dir);
    return failed;
}
