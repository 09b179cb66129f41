/* SPDX-License-Identifier: BSD-3-Clause */
/* test_node_addr: what is an address and what is not. */
#include "tests/unit/check.h"

#include "cluster/node_addr.h"

static void node_addr_reads_what_it_prints(void **state) {
    (void)state;
    static const struct {
        const char *text, *host;
        int port, bus_port;
        const char *printed;
    } rows[] = {{"a.example:6379", "a.example", 6379, 16379, "a.example:6379"},
                {"10.0.0.1:6379@7000", "10.0.0.1", 6379, 7000, "10.0.0.1:6379@7000"},
                {"[::1]:6379", "::1", 6379, 16379, "[::1]:6379"},
                {"[fe80::1%eth0]:1@2", "fe80::1%eth0", 1, 2, "[fe80::1%eth0]:1@2"},
                {"h:6379@16379", "h", 6379, 16379, "h:6379"},
                {"h:65535@1", "h", 65535, 1, "h:65535@1"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct node_addr a;
        struct buf why = {0}, out = {0};
        assert_true(node_addr_parse(slice_cstr(rows[i].text), &a, &why));
        assert_string_equal(a.host, rows[i].host);
        assert_int_equal(a.port, rows[i].port);
        assert_int_equal(a.bus_port, rows[i].bus_port);
        node_addr_print(&a, &out);
        assert_slice(buf_slice(&out), rows[i].printed);
        buf_free(&out);
        buf_free(&why);
    }
}

static void node_addr_refuses_what_is_none(void **state) {
    (void)state;
    static const char *const rows[] = {"",      "a",       ":1",         "a:",       "a:0",       "a:65536", "a:-1",   "a:+1",     "a:1@",
                                       "a:1@0", "a:1@70000", "::1:99",   "[::1]99",  "[::1]",     "[::1:9",  "a b:1",  "a/b:1",    "a:60000",
                                       "a:1@2@3", "a:1 ",  "a\n:1",      "[]:1",     "a:0x10"};
    char longest[NODE_HOST_BYTES + 8];
    struct node_addr a;
    struct buf why = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        buf_clear(&why);
        assert_false(node_addr_parse(slice_cstr(rows[i]), &a, &why));
        assert_true(why.n > 0);
    }
    memset(longest, 'a', sizeof(longest));
    memcpy(longest + NODE_HOST_BYTES, ":1", 3);
    assert_false(node_addr_parse(slice_cstr(longest), &a, &why));
    memcpy(longest + NODE_HOST_BYTES - 1, ":1", 3);
    assert_true(node_addr_parse(slice_cstr(longest), &a, &why));
    buf_free(&why);
}

static void node_addrs_reads_a_list(void **state) {
    (void)state;
    struct node_addr list[3];
    struct buf why = {0};
    assert_int_equal(node_addrs_parse("", list, 3, &why), 0);
    assert_int_equal(node_addrs_parse("  a:1   b:2@3 ", list, 3, &why), 2);
    assert_string_equal(list[1].host, "b");
    assert_int_equal(node_addrs_parse("a:1 b", list, 3, &why), -1);
    assert_int_equal(strncmp(why.p, "b: not an address", 17), 0);
    buf_clear(&why);
    assert_int_equal(node_addrs_parse("a:1 b:1 c:1 d:1", list, 3, &why), -1);
    assert_int_equal(strncmp(why.p, "d:1: too many", 13), 0);
    buf_free(&why);
}

static void node_addr_compares_names_without_case(void **state) {
    (void)state;
    struct node_addr list[3];
    struct buf why = {0};
    assert_int_equal(node_addrs_parse("Host:1 hosT:1 host:1@9", list, 3, &why), 3);
    assert_true(node_addr_equal(&list[0], &list[1]));
    assert_false(node_addr_equal(&list[0], &list[2]));
    buf_free(&why);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(node_addr_reads_what_it_prints), cmocka_unit_test(node_addr_refuses_what_is_none),
                                       cmocka_unit_test(node_addrs_reads_a_list), cmocka_unit_test(node_addr_compares_names_without_case)};
    return cmocka_run_group_tests_name("node_addr", tests, NULL, NULL);
}
