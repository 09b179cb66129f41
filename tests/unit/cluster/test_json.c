/* SPDX-License-Identifier: BSD-3-Clause */
/* test_json: what is found, what is cut, what is none. */
#include "tests/unit/check.h"

#include "cluster/json_read.h"

static void json_finds_members_by_path(void **state) {
    (void)state;
    struct slice text = SLICE(" {\"a\": {\"b\" : [1, {\"c\":\"}\"}], \"long\":\"-12\"},\"e\\\"x\":true, \"n\":7,\"empty\":{},\"none\":[]} "), v;
    int64_t n = 0;
    assert_true(json_path(text, "a.long", &v) && json_int(v, &n));
    assert_int_equal(n, -12);
    assert_true(json_path(text, "n", &v) && json_int(v, &n));
    assert_int_equal(n, 7);
    assert_true(json_path(text, "a.b", &v));
    assert_slice(v, "[1, {\"c\":\"}\"}]");
    assert_false(json_path(text, "a.c", &v));
    assert_false(json_path(text, "n.x", &v));
    assert_false(json_path(text, "empty.x", &v));
    assert_true(json_get(text, "none", &v));
    assert_false(json_next(&v, &(struct slice){0}));
}

static void json_walks_arrays(void **state) {
    (void)state;
    struct slice array = SLICE("[ {\"k\":\"v\"} , 2,\"x\" ]"), item, text;
    assert_true(json_next(&array, &item));
    assert_slice(item, "{\"k\":\"v\"}");
    assert_true(json_next(&array, &item));
    assert_slice(item, "2");
    assert_false(json_plain(item, &text));
    assert_true(json_next(&array, &item));
    assert_true(json_plain(item, &text));
    assert_slice(text, "x");
    assert_false(json_next(&array, &item));
}

static void json_tells_the_cut_from_the_wrong(void **state) {
    (void)state;
    struct slice whole = SLICE("{\"a\":[1,\"\\\"\",{}],\"b\":null}");
    assert_int_equal(json_measure(whole), whole.n);
    for (size_t n = 0; n < whole.n; n++) {
        assert_int_equal(json_measure(slice_make(whole.p, n)), 0);
    }
    static const char *const wrong[] = {"}", "{a:1}", "{\"a\" 1}", "[1 2]", "{\"a\":1,}", "[,]", "{\"a\":}"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(json_measure(slice_cstr(wrong[i])), -1);
    }
    char deep[200];
    memset(deep, '[', sizeof(deep));
    assert_int_equal(json_measure(slice_make(deep, sizeof(deep))), -1);
    assert_int_equal(json_measure(SLICE("{\"a\":1} {\"b\"")), 7); /* the first of several */
}

static void base64_goes_both_ways(void **state) {
    (void)state;
    static const char *const rows[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}, {"\xff\xfe\xfd", "//79"}};
    static const char *const wrong[] = {"Zg=", "Zg", "Z===", "====", "Zg==Zg==", "Zm9*", "Zg=v"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf text = {0}, back = {0};
        base64_put(slice_cstr(rows[i][0]), &text);
        assert_slice(buf_slice(&text), rows[i][1]);
        assert_true(base64_get(buf_slice(&text), &back));
        assert_slice(buf_slice(&back), rows[i][0]);
        buf_free(&text);
        buf_free(&back);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct buf back = {0};
        assert_false(base64_get(slice_cstr(wrong[i]), &back));
        buf_free(&back);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(json_finds_members_by_path), cmocka_unit_test(json_walks_arrays),
                                       cmocka_unit_test(json_tells_the_cut_from_the_wrong), cmocka_unit_test(base64_goes_both_ways)};
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
