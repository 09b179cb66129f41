/* SPDX-License-Identifier: BSD-3-Clause */
/* test_node_id: made once, then kept; what is no id is not overwritten. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster/members_wire.h"
#include "cluster/node_addr.h"
#include "cluster/node_id.h"
#include "cluster/ring.h"
#include "src/base/buf.h"
#include "src/base/mem.h"

static char path[64];

static void write_file(const char *text) {
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void node_id_is_made_once(void **state) {
    (void)state;
    char first[NODE_ID_HEX + 1], second[NODE_ID_HEX + 1], third[NODE_ID_HEX + 1];
    struct buf err = {0};
    unlink(path);
    assert_true(node_id_load(path, first, &err));
    assert_true(node_id_load(path, second, &err));
    assert_int_equal(strlen(first), NODE_ID_HEX);
    assert_string_equal(first, second);
    unlink(path);
    assert_true(node_id_load(path, third, &err));
    assert_string_not_equal(first, third);
    assert_int_equal(err.n, 0);
}

static void node_id_refuses_what_is_none(void **state) {
    (void)state;
    static const char *const rows[] = {"", "\n", "abc\n", "0123456789012345678901234567890123456789", "0123456789012345678901234567890123456789 \n",
                                       "0123456789ABCDEF012301234567890123456789\n", "01234567890123456789012345678901234567890\n"};
    char id[NODE_ID_HEX + 1];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf err = {0};
        char text[100] = "";
        write_file(rows[i]);
        assert_false(node_id_load(path, id, &err));
        assert_true(err.n > 0);
        FILE *f = fopen(path, "re");
        size_t n = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
        assert_int_equal(n, strlen(rows[i]));
        assert_string_equal(text, rows[i]);
        buf_free(&err);
    }
}

static void node_lot_is_the_ids(void **state) {
    (void)state;
    static const char id[] = "0123456789012345678901234567890123456789", other[] = "1123456789012345678901234567890123456789";
    static const char *const none[] = {"", "7\n", "0123456789012345678901234567890123456789 7", "0123456789012345678901234567890123456789 64\n",
                                       "0123456789012345678901234567890123456789 -1\n", "0123456789012345678901234567890123456789\n",
                                       "0123456789012345678901234567890123456789 7 \n"};
    struct buf err = {0};
    int lot = 5;
    unlink(path);
    assert_true(node_lot_load(path, id, &lot, &err));
    assert_int_equal(lot, -1);
    assert_true(node_lot_keep(path, id, 7, &err));
    assert_true(node_lot_keep(path, id, 63, &err));
    assert_true(node_lot_load(path, id, &lot, &err));
    assert_int_equal(lot, 63);
    assert_true(node_lot_load(path, other, &lot, &err)); /* the file with the id was removed: another node */
    assert_int_equal(lot, -1);
    assert_int_equal(err.n, 0);
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        struct buf why = {0};
        write_file(none[i]);
        assert_false(node_lot_load(path, id, &lot, &why));
        assert_true(why.n > 0);
        buf_free(&why);
    }
    unlink(path);
    assert_false(node_lot_keep("/nonexistent/node.lot", id, 1, &err));
    buf_free(&err);
}

static void node_id_says_why_it_cannot(void **state) {
    (void)state;
    char id[NODE_ID_HEX + 1];
    struct buf err = {0};
    assert_false(node_id_load("/nonexistent/node.id", id, &err));
    assert_non_null(memmem(err.p, err.n, "No such file", 12));
    buf_free(&err);
}

static void node_peers_are_what_was_kept(void **state) {
    (void)state;
    static const char id[] = "0123456789012345678901234567890123456789", other[] = "1123456789012345678901234567890123456789";
    struct member_record kept[2] = {{.addr = {"10.0.0.1", 6379, 16379}, .weight = 100, .lot = 63, .incarnation = UINT64_MAX},
                                    {.addr = {"fe80::1", 1, 65535}, .weight = 0, .lot = 0, .incarnation = 1}};
    struct member_record *list = kept;
    struct buf err = {0};
    memset(kept[0].id, 'a', NODE_ID_HEX);
    memset(kept[1].id, '0', NODE_ID_HEX);
    unlink(path);
    assert_int_equal(node_peers_load(path, id, &list, &err), 0);
    assert_null(list);
    assert_true(node_peers_keep(path, id, kept, 2, &err));
    assert_int_equal(node_peers_load(path, id, &list, &err), 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_string_equal(list[i].id, kept[i].id);
        assert_true(node_addr_equal(&list[i].addr, &kept[i].addr));
        assert_int_equal(list[i].weight, kept[i].weight);
        assert_int_equal(list[i].lot, kept[i].lot);
        assert_int_equal(list[i].incarnation, kept[i].incarnation);
    }
    mem_free(list);
    assert_int_equal(node_peers_load(path, other, &list, &err), 0); /* the file was copied from another node */
    assert_true(node_peers_keep(path, id, NULL, 0, &err));
    assert_int_equal(node_peers_load(path, id, &list, &err), 0);
    assert_int_equal(err.n, 0);
}

static void node_peers_refuses_what_is_none(void **state) {
    (void)state;
#define ID "0123456789012345678901234567890123456789"
    static const char *const rows[] = {"", "x\n", "strata peers 2 " ID "\n", "strata peers 1\n", "strata peers 1 " ID "\nx\n", "strata peers 1 " ID "\n" ID "\n",
                                       "strata peers 1 " ID "\n" ID " 1 1001 0 h:1\n", "strata peers 1 " ID "\n" ID " 1 1 64 h:1\n",
                                       "strata peers 1 " ID "\n" ID " 1 1 1 h\n", "strata peers 1 " ID "\n" ID " 1 1 1 h:1@0\n"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct member_record *list;
        struct buf err = {0};
        write_file(rows[i]);
        assert_int_equal(node_peers_load(path, ID, &list, &err), -1);
        assert_null(list);
        assert_true(err.n > 0);
        buf_free(&err);
    }
#undef ID
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(node_id_is_made_once), cmocka_unit_test(node_id_refuses_what_is_none), cmocka_unit_test(node_lot_is_the_ids), cmocka_unit_test(node_peers_are_what_was_kept), cmocka_unit_test(node_peers_refuses_what_is_none),
                                       cmocka_unit_test(node_id_says_why_it_cannot)};
    const char *dir = getenv("TMPDIR");
    snprintf(path, sizeof(path), "%s/node.id.%d", dir != NULL ? dir : "/tmp", (int)getpid());
    int failed = cmocka_run_group_tests_name("node_id", tests, NULL, NULL);
    unlink(path);
    return failed;
}
