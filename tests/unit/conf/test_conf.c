/* SPDX-License-Identifier: BSD-3-Clause */
/* test_conf: files and command lines, read, refused, changed and written back. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/conf/conf.h"

static char path[64];

static void write_file(const char *text) {
    snprintf(path, sizeof(path), "conf-test-%d.conf", (int)getpid());
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

static struct conf_store *load(const char *text, struct buf *err) {
    write_file(text);
    char *argv[] = {"strata-server", path, NULL};
    return conf_load(2, argv, NULL, err);
}

static void file_sets_fields_of_every_kind(void **state) {
    (void)state;
    struct buf err = {0};
    setenv("STRATA_TEST_PORT", "7123", 1);
    struct conf_store *s = load("# comment\nport ${STRATA_TEST_PORT}\nmaxmemory 1gb\ntimeout 5m\nprotected-mode no\n"
                                "maxmemory-policy allkeys-lru\nrequirepass \"a b\\x41\"\nsave 900 1\nsave 300 10\nappendonly yes\n"
                                "dir ${NOT_SET:-./elsewhere}\n", &err);
    assert_non_null(s);
    struct conf *c = conf_store_current(s);
    struct buf v = {0};
    assert_int_equal(c->port, 7123);
    assert_int_equal(c->maxmemory, 1 << 30);
    assert_int_equal(c->timeout, 300);
    assert_false(c->protected_mode);
    assert_string_equal(c->requirepass, "a bA");
    assert_string_equal(c->save, "900 1 300 10");
    assert_string_equal(c->dir, "./elsewhere");
    assert_true(conf_value(c, SLICE("maxmemory-policy"), &v));
    assert_slice(buf_slice(&v), "allkeys-lru");
    buf_clear(&v);
    assert_true(conf_value(c, SLICE("appendonly"), &v));
    assert_slice(buf_slice(&v), "yes");
    buf_clear(&v);
    conf_store_take_notes(s, &v);
    assert_slice(buf_slice(&v), "appendonly");
    buf_free(&v);
    conf_unref(c);
    conf_store_free(&s);
    unlink(path);
}

static void bad_lines_are_refused_with_their_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *words[3];
    } rows[] = {{"port 6379\nmaxmemry 1gb\n", {":2: 'maxmemry 1gb'", "unknown directive", "did you mean 'maxmemory'"}},
                {"maxmemory 1xb\n", {":1:", "not a number", "allowed: bytes"}},
                {"port 70000\n", {":1:", "out of range", "0 to 65535"}},
                {"loglevel loud\n", {":1:", "unknown word", "debug verbose notice"}},
                {"requirepass \"open\n", {":1:", "unbalanced quotes", ""}},
                {"port\n", {":1:", "wrong number of arguments", ""}},
                {"replicaof 1.2.3.4 5\n", {":1:", "replication", ""}},
                {"requirepass ${STRATA_NO_SUCH}\n", {":1:", "not set", ""}},
                {"port 1\n\nl2-durability always\nmaxclients 5\n", {":3: 'l2-durability always'", "through", "everysec"}},
                {"l1-shards 4\nl1-shards 3\n", {":2: 'l1-shards 3'", "power of two", ""}},
                {"l2-threads-min 60\nport 1\n", {"'l2-threads-max': less", "", ""}}}; /* which has no line */
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf err = {0};
        struct conf_store *s = load(rows[i].text, &err);
        assert_null(s);
        buf_putc(&err, '\0');
        for (int k = 0; k < 3; k++) {
            if (strstr(err.p, rows[i].words[k]) == NULL) {
                fail_msg("%s: '%s' lacks '%s'", rows[i].text, err.p, rows[i].words[k]);
            }
        }
        buf_free(&err);
    }
    unlink(path);
}

static bool any_line(const char *directive, struct slice line, struct buf *why) {
    (void)directive;
    (void)line;
    (void)why;
    return true;
}

static bool no_second(const struct conf *c, struct conf_fault *fault, struct buf *why) {
    (void)c;
    *fault = (struct conf_fault){.name = "policy", .word = "b*"};
    buf_puts(why, "no");
    return false;
}

static void of_several_lines_the_one_at_fault_is_named(void **state) {
    (void)state;
    static const struct conf_hooks hooks = {.line = any_line, .all = no_second};
    struct buf err = {0};
    write_file("policy a* x=1\npolicy b* x=1\npolicy bb* x=1\n");
    char *argv[] = {"strata-server", path, "--policy", "c* x=1", NULL};
    assert_null(conf_load(4, argv, &hooks, &err));
    buf_putc(&err, '\0');
    assert_non_null(strstr(err.p, ":2: 'policy b* x=1': no"));
    buf_clear(&err);
    char *line[] = {"strata-server", "--port", "1", "--policy", "b* x=1", NULL};
    assert_null(conf_load(5, line, &hooks, &err));
    assert_slice(buf_slice(&err), "command line: '--policy b* x=1': no");
    buf_free(&err);
    unlink(path);
}

static void command_line_comes_after_the_file(void **state) {
    (void)state;
    struct buf err = {0};
    write_file("port 1\nmaxclients 5\n");
    char *argv[] = {"strata-server", path, "--port", "2", "--bind", "127.0.0.1", "::1", "--save", "", NULL};
    struct conf_store *s = conf_load(9, argv, NULL, &err);
    assert_non_null(s);
    struct conf *c = conf_store_current(s);
    assert_int_equal(c->port, 2);
    assert_int_equal(c->maxclients, 5);
    assert_string_equal(c->bind, "127.0.0.1 ::1");
    assert_string_equal(c->save, "");
    assert_true(conf_store_bind_given(s));
    conf_unref(c);
    conf_store_free(&s);
    unlink(path);
}

static void set_is_all_or_nothing(void **state) {
    (void)state;
    struct buf err = {0};
    struct conf_store *s = load("maxclients 100\n", &err);
    const struct slice bad[] = {SLICE("maxclients"), SLICE("200"), SLICE("loglevel"), SLICE("loud")};
    const struct slice boot[] = {SLICE("port"), SLICE("200")};
    const struct slice good[] = {SLICE("maxclients"), SLICE("300"), SLICE("list-max-listpack-size"), SLICE("7")};
    assert_false(conf_store_set(s, bad, 2, &err));
    assert_non_null(memmem(err.p, err.n, "argument 'loglevel'", 19));
    buf_clear(&err);
    assert_false(conf_store_set(s, boot, 1, &err));
    assert_non_null(memmem(err.p, err.n, "can't set immutable config", 26));
    struct conf *c = conf_store_current(s);
    assert_int_equal(c->maxclients, 100);
    assert_true(conf_store_set(s, good, 2, &err));
    assert_int_equal(c->maxclients, 100); /* a snapshot does not change */
    conf_unref(c);
    c = conf_store_current(s);
    assert_int_equal(c->maxclients, 300);
    conf_unref(c);
    conf_store_free(&s);
    buf_free(&err);
    unlink(path);
}

static void rewrite_keeps_comments_and_adds_what_changed(void **state) {
    (void)state;
    struct buf err = {0};
    struct conf_store *s = load("# mine\nmaxclients 100\n\n# end\n", &err);
    const struct slice pairs[] = {SLICE("maxclients"), SLICE("300"), SLICE("requirepass"), SLICE("p w")};
    assert_true(conf_store_set(s, pairs, 2, &err));
    assert_true(conf_rewrite(s, &err));
    char text[512] = "";
    FILE *f = fopen(path, "r");
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(text, "# mine\nmaxclients 300\n\n# end\nrequirepass \"p w\"\n");
    conf_store_free(&s);
    unlink(path);
}

static void read_back(char *text, size_t size) {
    FILE *f = fopen(path, "r");
    text[fread(text, 1, size - 1, f)] = '\0';
    fclose(f);
}

static void rewrite_leaves_alone_what_has_not_changed(void **state) {
    (void)state;
    struct buf err = {0};
    static const char file[] = "proto-max-bulk-len 256mb  \nsave 10 1\nsave 20 2\n requirepass ${CONF_TEST_SECRET}\nMaxClients 100\n"
                               "client-output-buffer-limit normal 0 0 0\nlist-max-listpack-size 1\nappendonly yes\nslowlog-max-len 7";
    setenv("CONF_TEST_SECRET", "it's # a \"secret\"", 1);
    struct conf_store *s = load(file, &err);
    const struct slice pairs[] = {SLICE("maxclients"), SLICE("0300"), SLICE("list-max-listpack-size"), SLICE("5"), SLICE("repl-timeout"), SLICE("9"),
                                  SLICE("aclfile"), SLICE("a b ${HOME}$")};
    assert_non_null(s);
    assert_false(conf_store_set(s, pairs, 4, &err)); /* 0300 is no number */
    buf_clear(&err);
    assert_true(conf_store_set(s, (const struct slice[]){SLICE("maxclients"), SLICE("300")}, 1, &err));
    assert_true(conf_store_set(s, pairs + 2, 3, &err));
    assert_true(conf_rewrite(s, &err));
    char text[1024];
    read_back(text, sizeof(text));
    assert_string_equal(text, "proto-max-bulk-len 256mb  \nsave 10 1\nsave 20 2\n requirepass ${CONF_TEST_SECRET}\nmaxclients 300\n"
                              "client-output-buffer-limit normal 0 0 0\nlist-max-listpack-size 5\nappendonly yes\nslowlog-max-len 7\n"
                              "aclfile \"a b $${HOME}$\"\nrepl-timeout 9\n");
    assert_true(conf_store_set(s, (const struct slice[]){SLICE("save"), SLICE("30 3")}, 1, &err));
    assert_true(conf_rewrite(s, &err));
    read_back(text, sizeof(text));
    assert_memory_equal(text, "proto-max-bulk-len 256mb  \nsave 30 3\n requirepass", 48); /* one line for two */
    conf_store_free(&s);
    char *argv[] = {(char *)(uintptr_t) "", path};
    s = conf_load(2, argv, NULL, &err);
    assert_non_null(s);
    struct conf *c = conf_store_current(s);
    struct buf v = {0};
    assert_true(conf_value(c, SLICE("aclfile"), &v));
    assert_slice(buf_slice(&v), "a b ${HOME}$");
    buf_free(&v);
    assert_string_equal(c->requirepass, "it's # a \"secret\"");
    conf_unref(c);
    conf_store_free(&s);
    buf_free(&err);
    unlink(path);
}

static void rewrite_keeps_the_file_from_others(void **state) {
    (void)state;
    struct buf err = {0};
    struct stat st;
    struct conf_store *s = load("maxclients 100\n", &err);
    chmod(path, 0600);
    assert_true(conf_store_set(s, (const struct slice[]){SLICE("requirepass"), SLICE("secret")}, 1, &err));
    assert_true(conf_rewrite(s, &err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    conf_store_free(&s);
    unlink(path);
}

static void rewrite_refuses_a_file_it_does_not_understand(void **state) {
    (void)state;
    struct buf err = {0};
    struct conf_store *s = load("maxclients 100\n", &err);
    FILE *f = fopen(path, "w");
    fputs("maxclients many\n", f);
    fclose(f);
    assert_false(conf_rewrite(s, &err));
    assert_non_null(memmem(err.p, err.n, ":1: 'maxclients many'", 21));
    char text[64];
    read_back(text, sizeof(text));
    assert_string_equal(text, "maxclients many\n");
    unlink(path);
    buf_clear(&err);
    assert_true(conf_rewrite(s, &err)); /* no file is an empty one */
    read_back(text, sizeof(text));
    assert_string_equal(text, "maxclients 100\n");
    buf_free(&err);
    conf_store_free(&s);
    unlink(path);
}

static void the_printed_file_gives_the_defaults(void **state) {
    (void)state;
    struct buf text = {0}, err = {0}, a = {0}, b = {0};
    conf_print_file(&text);
    buf_putc(&text, '\0');
    struct conf_store *s = load(text.p, &err), *empty = load("", &err);
    assert_non_null(s);
    struct conf *x = conf_store_current(s), *y = conf_store_current(empty);
    static const char *const names[] = {"port", "save", "dir", "maxmemory", "maxmemory-policy", "client-output-buffer-limit", "slowlog-log-slower-than"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        buf_clear(&a);
        buf_clear(&b);
        assert_true(conf_value(x, slice_cstr(names[i]), &a) && conf_value(y, slice_cstr(names[i]), &b));
        assert_true(slice_eq(slice_make(a.p, a.n), slice_make(b.p, b.n)));
    }
    conf_unref(x);
    conf_unref(y);
    conf_store_free(&s);
    conf_store_free(&empty);
    buf_free(&text);
    buf_free(&a);
    buf_free(&b);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_sets_fields_of_every_kind),
        cmocka_unit_test(bad_lines_are_refused_with_their_place), cmocka_unit_test(of_several_lines_the_one_at_fault_is_named),
        cmocka_unit_test(command_line_comes_after_the_file),
        cmocka_unit_test(set_is_all_or_nothing),
        cmocka_unit_test(rewrite_keeps_comments_and_adds_what_changed),
        cmocka_unit_test(rewrite_leaves_alone_what_has_not_changed),
        cmocka_unit_test(rewrite_keeps_the_file_from_others),
        cmocka_unit_test(rewrite_refuses_a_file_it_does_not_understand),
        cmocka_unit_test(the_printed_file_gives_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
