/* SPDX-License-Identifier: BSD-3-Clause */
/* test_base64: the vectors of RFC 4648, and bytes with every bit. */
#include "tests/unit/check.h"

#include "src/base/base64.h"

static void base64_encodes_the_standards_vectors(void **state) {
    (void)state;
    static const char *const rows[][2] = {{"", ""},         {"f", "Zg=="},         {"fo", "Zm8="},         {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}, {"\xff\xfb\xef\xbe", "//vvvg=="}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf out = {0};
        buf_putc(&out, '.'); /* it appends */
        base64_encode(slice_cstr(rows[i][0]), &out);
        assert_slice(slice_make(out.p + 1, out.n - 1), rows[i][1]);
        buf_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(base64_encodes_the_standards_vectors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
