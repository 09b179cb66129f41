/* SPDX-License-Identifier: BSD-3-Clause */
/* test_file: folders are synced, and what is none says so. */
#include "tests/unit/check.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/file.h"

static void only_a_folder_is_synced(void **state) {
    (void)state;
    char path[64];
    snprintf(path, sizeof(path), "file-test-%d", (int)getpid());
    assert_true(file_sync_folder("."));
    assert_false(file_sync_folder(path));
    assert_int_equal(errno, ENOENT);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    assert_false(file_sync_folder(path));
    assert_int_equal(errno, ENOTDIR);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_a_folder_is_synced)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
