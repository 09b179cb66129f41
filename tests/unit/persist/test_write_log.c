/* SPDX-License-Identifier: BSD-3-Clause */
/* test_write_log: what is written is there after the next opening, whatever a crash cut off; files go when nothing in them counts. */
#include "tests/unit/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "persist/record.h"
#include "persist/write_log.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum { MAX_FOUND = 64 };
static const struct hash_limits limits = {128, 64};

struct fixture {
    char root[64], dir[80];
    struct write_log *log;
    uint64_t next_seq;
    _Atomic int written, failed;
    /* the last opening's */
    char found[MAX_FOUND][64]; /* "SET o k=v" */
    int count;
};

static struct fixture *current;

static void on_replay(void *ctx, const struct write_log_found *f) {
    struct fixture *t = ctx;
    static const char *const kinds[] = {[WRITE_LOG_SET] = "SET", [WRITE_LOG_DEL] = "DEL"};
    char text[32] = "";
    if (f->value->value != NULL) {
        struct hash_scratch scratch;
        struct slice v;
        assert_true(hash_get(f->value->value, SLICE("f"), &scratch, &v));
        snprintf(text, sizeof(text), "=f:%.*s", SLICE_ARG(v));
    } else if (f->kind == WRITE_LOG_SET) {
        snprintf(text, sizeof(text), "=%.*s", (int)(f->value->str.n < 8 ? f->value->str.n : 8), f->value->str.p);
    }
    assert_true(t->count < MAX_FOUND);
    snprintf(t->found[t->count++], sizeof(t->found[0]), "%s %.*s %.*s%s", kinds[f->kind], SLICE_ARG(f->origin), SLICE_ARG(f->name), text);
    assert_int_equal(f->time_ms, 1000 + (int64_t)f->seq);
    assert_true(f->seq < t->next_seq);
}

static void open_log(struct fixture *t, size_t limit, size_t segment) {
    struct buf err = {0};
    t->count = 0;
    struct write_log_options o = {.dir = t->dir, .limit_bytes = limit, .segment_bytes = segment, .hash_limits = &limits, .replay = on_replay, .ctx = t};
    t->log = write_log_open(&o, &t->next_seq, &err);
    assert_non_null(t->log);
    buf_free(&err);
}

static struct fixture *setup(void) {
    struct fixture *t = mem_zalloc(sizeof(*t));
    log_set_level(LOG_NOTHING);
    snprintf(t->root, sizeof(t->root), "%s/strata-writes-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(t->root));
    snprintf(t->dir, sizeof(t->dir), "%s/w", t->root);
    current = t;
    open_log(t, 1 << 20, 0);
    return t;
}

/* The names of the segments, sorted; how many there are. */
static int files(const struct fixture *t, char names[][32], int max) {
    struct dirent **list;
    int n = scandir(t->dir, &list, NULL, alphasort), count = 0;
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.') {
            assert_true(count < max);
            snprintf(names[count++], 32, "%.31s", list[i]->d_name);
        }
        free(list[i]);
    }
    if (n >= 0) {
        free(list);
    }
    return count;
}

static void teardown(struct fixture *t) {
    char names[64][32], path[128];
    if (t->log != NULL) {
        write_log_close(&t->log);
    }
    for (int i = files(t, names, 64); i-- > 0;) {
        snprintf(path, sizeof(path), "%s/%s", t->dir, names[i]);
        unlink(path);
    }
    rmdir(t->dir);
    rmdir(t->root);
    mem_free(t);
}

struct record {
    struct write_log_entry entry;
    struct value *value;
    char text[];
};

static void on_written(struct write_log_entry *e, const char *error) {
    struct record *r = (struct record *)e;
    error == NULL ? current->written++ : current->failed++;
    value_unref(r->value);
    mem_free(r);
}

/* value: NULL for none, "f:v" for a hash. */
static void append_n(struct fixture *t, enum write_log_kind kind, uint64_t seq, const char *name, const char *value, size_t n) {
    size_t name_len = strlen(name);
    struct record *r = mem_zalloc(sizeof(*r) + name_len + n);
    memcpy(r->text, name, name_len);
    memcpy(r->text + name_len, value == NULL ? "" : value, n);
    r->entry = (struct write_log_entry){.kind = kind, .seq = seq, .time_ms = 1000 + (int64_t)seq, .origin = SLICE("o"), .written = on_written};
    r->entry.name = slice_make(r->text, name_len);
    if (n > 2 && memcmp(value, "f:", 2) == 0) {
        r->value = hash_create();
        assert_int_equal(hash_set(r->value, SLICE("f"), slice_make(value + 2, n - 2), &limits, NULL), OK);
        r->entry.item = (struct item_view){.type = TYPE_HASH, .value = r->value, .expire_ms = 77};
    } else if (kind == WRITE_LOG_SET) {
        r->entry.item = (struct item_view){.type = TYPE_STRING, .str = slice_make(r->text + name_len, n), .expire_ms = -1};
    }
    write_log_append(t->log, &r->entry);
}

static void append(struct fixture *t, enum write_log_kind kind, uint64_t seq, const char *name, const char *value) {
    append_n(t, kind, seq, name, value, value == NULL ? 0 : strlen(value));
}

static void reopen(struct fixture *t) {
    write_log_close(&t->log);
    open_log(t, 1 << 20, 0);
}

static void what_is_written_is_found(void **state) {
    (void)state;
    struct fixture *t = setup();
    append(t, WRITE_LOG_SET, 1, "a", "one");
    append(t, WRITE_LOG_DEL, 2, "b", NULL);
    append(t, WRITE_LOG_SET, 3, "c", "f:v");
    append(t, WRITE_LOG_SET, 4, "", "");
    reopen(t);
    assert_int_equal(t->written, 4);
    assert_int_equal(t->count, 4);
    assert_string_equal(t->found[0], "SET o a=one");
    assert_string_equal(t->found[1], "DEL o b");
    assert_string_equal(t->found[2], "SET o c=f:v");
    assert_string_equal(t->found[3], "SET o =");
    assert_int_equal(t->next_seq, 5);
    reopen(t);
    assert_int_equal(t->count, 4);
    teardown(t);
}

static void the_newest_of_a_name_counts(void **state) {
    (void)state;
    struct fixture *t = setup();
    append(t, WRITE_LOG_SET, 1, "a", "1");
    append(t, WRITE_LOG_SET, 2, "b", "1");
    append(t, WRITE_LOG_SET, 3, "a", "2");
    append(t, WRITE_LOG_DONE, 2, "b", NULL);
    append(t, WRITE_LOG_DONE, 1, "a", NULL); /* of the older one */
    append(t, WRITE_LOG_DEL, 4, "c", NULL);
    append(t, WRITE_LOG_SET, 5, "c", "1");
    reopen(t);
    assert_int_equal(t->count, 2);
    assert_string_equal(t->found[0], "SET o a=2");
    assert_string_equal(t->found[1], "SET o c=1");
    append(t, WRITE_LOG_DONE, 3, "a", NULL); /* what an earlier life began */
    append(t, WRITE_LOG_DONE, 9, "c", NULL);
    reopen(t);
    assert_int_equal(t->count, 0);
    teardown(t);
}

static void an_empty_log_leaves_no_file(void **state) {
    (void)state;
    char names[8][32];
    struct fixture *t = setup();
    assert_int_equal(files(t, names, 8), 0);
    append(t, WRITE_LOG_SET, 1, "a", "1");
    reopen(t);
    assert_int_equal(files(t, names, 8), 1);
    append(t, WRITE_LOG_DONE, 1, "a", NULL);
    reopen(t);
    assert_int_equal(files(t, names, 8), 0);
    append(t, WRITE_LOG_SET, 2, "a", "1");
    append(t, WRITE_LOG_DONE, 2, "a", NULL);
    write_log_close(&t->log);
    assert_int_equal(files(t, names, 8), 0);
    teardown(t);
}

static void read_file(const char *path, struct buf *out) {
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    assert_int_equal(read(fd, buf_reserve(out, (size_t)st.st_size), (size_t)st.st_size), st.st_size);
    out->n = (size_t)st.st_size;
    close(fd);
}

static void write_file(const char *path, const char *p, size_t n) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

/* The only segment's bytes, the log closed. */
static void take_segment(struct fixture *t, char *path, size_t room, struct buf *bytes) {
    char names[8][32];
    write_log_close(&t->log);
    assert_int_equal(files(t, names, 8), 1);
    snprintf(path, room, "%s/%s", t->dir, names[0]);
    read_file(path, bytes);
}

static void a_cut_at_any_byte_costs_what_is_behind_it(void **state) {
    (void)state;
    struct fixture *t = setup();
    char path[128];
    struct buf bytes = {0};
    append(t, WRITE_LOG_SET, 1, "a", "one");
    append(t, WRITE_LOG_SET, 2, "b", "f:x");
    append(t, WRITE_LOG_DONE, 1, "a", NULL);
    append(t, WRITE_LOG_SET, 3, "a", "two");
    take_segment(t, path, sizeof(path), &bytes);
    int before = -1;
    for (size_t cut = 0; cut <= bytes.n; cut++) {
        write_file(path, bytes.p, cut);
        open_log(t, 1 << 20, 0);
        int seen = t->count == 2 && strcmp(t->found[1], "SET o a=two") == 0 ? 4
                   : t->count == 1 && t->found[0][6] == 'b'                ? 3
                   : t->count == 2                                         ? 2
                                                                           : t->count;
        assert_true(seen == before || seen == before + 1);
        before = seen;
        /* what comes now is not behind the torn end */
        append(t, WRITE_LOG_SET, t->next_seq, "new", "1");
        reopen(t);
        assert_string_equal(t->found[t->count - 1], "SET o new=1");
        append(t, WRITE_LOG_DONE, 100, "new", NULL);
        append(t, WRITE_LOG_DONE, 100, "a", NULL);
        append(t, WRITE_LOG_DONE, 100, "b", NULL);
        write_log_close(&t->log);
    }
    assert_int_equal(before, 4);
    buf_free(&bytes);
    teardown(t);
}

static void a_wrong_byte_ends_the_segment(void **state) {
    (void)state;
    struct fixture *t = setup();
    char path[128];
    struct buf bytes = {0};
    append(t, WRITE_LOG_SET, 1, "a", "one");
    append(t, WRITE_LOG_SET, 2, "b", "two");
    take_segment(t, path, sizeof(path), &bytes);
    size_t first = 8 + 40 + 1 + 1 + RECORD_HEAD + 3; /* magic, head, origin, name, value's head, value */
    for (size_t i = 0; i < bytes.n; i++) {
        bytes.p[i] = (char)(bytes.p[i] ^ 0x20);
        write_file(path, bytes.p, bytes.n);
        bytes.p[i] = (char)(bytes.p[i] ^ 0x20);
        open_log(t, 1 << 20, 0);
        assert_int_equal(t->count, i < first ? 0 : 1);
        write_log_close(&t->log);
    }
    buf_free(&bytes);
    teardown(t);
}

static void segments_go_when_nothing_in_them_counts(void **state) {
    (void)state;
    struct fixture *t = setup();
    char names[64][32], text[1000] = "v";
    write_log_close(&t->log);
    open_log(t, 1 << 20, 4096);
    for (uint64_t i = 1; i <= 400; i++) { /* one hot key: 400 kB, of which one record counts */
        append_n(t, WRITE_LOG_SET, i, "hot", text, sizeof(text));
        if (i % 4 == 0) { /* so that batches are small */
            while (t->written < (int)i) {
            }
        }
    }
    write_log_close(&t->log);
    assert_true(files(t, names, 64) <= 2);
    open_log(t, 1 << 20, 4096);
    assert_int_equal(t->count, 1);
    teardown(t);
}

static void what_still_counts_moves_on(void **state) {
    (void)state;
    struct fixture *t = setup();
    struct write_log_stats s;
    char text[1000] = "v";
    write_log_close(&t->log);
    open_log(t, 16 << 10, 4096);
    append(t, WRITE_LOG_SET, 1, "old", "kept");
    append(t, WRITE_LOG_DEL, 2, "gone", NULL);
    for (uint64_t i = 3; i <= 300; i++) {
        append_n(t, WRITE_LOG_SET, i, "hot", text, sizeof(text));
        while (t->written < (int)i) {
        }
    }
    write_log_stats_read(t->log, &s);
    assert_true(s.rewritten > 0);
    assert_true(s.bytes <= (2 * 16 + 8) << 10);
    assert_int_equal(s.live, 3);
    write_log_close(&t->log);
    open_log(t, 16 << 10, 4096);
    assert_int_equal(t->count, 3);
    bool old = false, gone = false;
    for (int i = 0; i < 3; i++) {
        old |= strcmp(t->found[i], "SET o old=kept") == 0;
        gone |= strcmp(t->found[i], "DEL o gone") == 0;
    }
    assert_true(old && gone);
    teardown(t);
}

static void a_log_that_cannot_be_written_says_so(void **state) {
    (void)state;
    struct fixture *t = setup();
    assert_null(write_log_trouble(t->log));
    write_file(t->dir, "x", 1); /* a file is where the directory should be */
    append(t, WRITE_LOG_SET, 1, "a", "1");
    while (t->failed == 0) {
    }
    assert_non_null(write_log_trouble(t->log));
    assert_int_equal(t->written, 0);
    unlink(t->dir);
    append(t, WRITE_LOG_SET, 2, "a", "2");
    reopen(t);
    assert_int_equal(t->written, 1);
    assert_string_equal(t->found[0], "SET o a=2");
    teardown(t);
}

static void other_files_are_left_alone(void **state) {
    (void)state;
    struct fixture *t = setup();
    char path[128], names[8][32];
    append(t, WRITE_LOG_SET, 1, "a", "1");
    write_log_close(&t->log);
    snprintf(path, sizeof(path), "%s/readme", t->dir);
    write_file(path, "x", 1);
    open_log(t, 1 << 20, 0);
    assert_int_equal(t->count, 1);
    append(t, WRITE_LOG_DONE, 1, "a", NULL);
    write_log_close(&t->log);
    assert_int_equal(files(t, names, 8), 1);
    teardown(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_found),
        cmocka_unit_test(the_newest_of_a_name_counts),
        cmocka_unit_test(an_empty_log_leaves_no_file),
        cmocka_unit_test(a_cut_at_any_byte_costs_what_is_behind_it),
        cmocka_unit_test(a_wrong_byte_ends_the_segment),
        cmocka_unit_test(segments_go_when_nothing_in_them_counts),
        cmocka_unit_test(what_still_counts_moves_on),
        cmocka_unit_test(a_log_that_cannot_be_written_says_so),
        cmocka_unit_test(other_files_are_left_alone),
    };
    clock_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
