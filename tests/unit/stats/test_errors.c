/* SPDX-License-Identifier: BSD-3-Clause */
/* test_errors: what is counted under which word, in order, and no more kinds than there may be. */
#include "tests/unit/check.h"

#include <stdio.h>

#include "src/base/log.h"
#include "src/stats/errors.h"

static struct error_counts *errors;
static char listing[8192];

static void put(void *ctx, const char *kind, uint64_t count) {
    (void)ctx;
    size_t n = strlen(listing);
    snprintf(listing + n, sizeof(listing) - n, "%s=%llu ", kind, (unsigned long long)count);
}

static void assert_counts(const char *text) {
    listing[0] = '\0';
    error_counts_each(errors, put, NULL);
    assert_string_equal(listing, text);
}

static int create(void **state) {
    (void)state;
    log_set_level(LOG_NOTHING);
    errors = error_counts_create();
    return 0;
}

static int destroy(void **state) {
    (void)state;
    error_counts_destroy(&errors);
    assert_null(errors);
    return 0;
}

static void errors_are_counted_by_their_first_word(void **state) {
    (void)state;
    error_counts_add(errors, SLICE("WRONGTYPE Operation against a key"));
    error_counts_add(errors, SLICE("ERR syntax error"));
    error_counts_add(errors, SLICE("ERR no such key"));
    error_counts_add(errors, SLICE("ERRO x"));
    error_counts_add(errors, SLICE("ER x"));
    assert_counts("ER=1 ERR=2 ERRO=1 WRONGTYPE=1 ");
}

static void errors_without_a_word_count_as_err(void **state) {
    (void)state;
    error_counts_add(errors, SLICE("one-word-and-nothing-else"));
    error_counts_add(errors, SLICE(""));
    error_counts_add(errors, SLICE("thirty-one-bytes-before-a-space x"));
    assert_counts("ERR=3 ");
    error_counts_add(errors, SLICE("thirty-bytes-before-a-space-xx y"));
    error_counts_add(errors, SLICE(" begins with a space"));
    assert_counts("=1 ERR=3 thirty-bytes-before-a-space-xx=1 ");
}

static void errors_of_too_many_kinds_are_not_counted_until_reset(void **state) {
    (void)state;
    char text[32];
    for (int i = 0; i < ERROR_KINDS_MAX; i++) {
        error_counts_add(errors, slice_make(text, (size_t)snprintf(text, sizeof(text), "K%03d x", ERROR_KINDS_MAX - 1 - i)));
    }
    error_counts_add(errors, SLICE("K000 again"));
    listing[0] = '\0';
    error_counts_each(errors, put, NULL);
    assert_memory_equal(listing, "K000=2 K001=1 K002=1 ", 21);
    assert_non_null(strstr(listing, "K127=1 "));
    error_counts_add(errors, SLICE("ONE too many"));
    assert_counts("ERRORSTATS_DISABLED=1 ");
    error_counts_add(errors, SLICE("ERR more"));
    assert_counts("ERRORSTATS_DISABLED=1 ");
    error_counts_reset(errors);
    assert_counts("");
    error_counts_add(errors, SLICE("ERR more"));
    assert_counts("ERR=1 ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(errors_are_counted_by_their_first_word, create, destroy),
        cmocka_unit_test_setup_teardown(errors_without_a_word_count_as_err, create, destroy),
        cmocka_unit_test_setup_teardown(errors_of_too_many_kinds_are_not_counted_until_reset, create, destroy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
