/* SPDX-License-Identifier: BSD-3-Clause */
/* test_hash: the slots of keys, as redis-server's CLUSTER KEYSLOT answers them. */
#include "tests/unit/check.h"

#include "src/base/hash.h"

static void slot_is_that_of_redis(void **state) {
    (void)state;
    static const struct {
        const char *key;
        int slot;
    } rows[] = {{"foo", 12182},
                {"123456789", 12739},
                {"{user1000}.following", 3443},
                {"{user1000}.followers", 3443},
                {"foo{}{bar}", 8363},
                {"foo{{bar}}zap", 4015},
                {"foo{bar}{zap}", 5061},
                {"{}", 15257},
                {"{", 4092},
                {"}", 12090},
                {"{a", 10276},
                {"a}b{c}", 7365},
                {"a", 15495},
                {"ab", 13567},
                {"abc", 7638},
                {"abcd", 10294},
                {"abcde", 16097},
                {"key:{tag}", 8338},
                {"", 0},
                {"{}x", 10595},
                {"x{y", 2740}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(hash_slot(slice_cstr(rows[i].key)), rows[i].slot);
    }
}

static void slot_of_any_bytes_and_lengths(void **state) {
    (void)state;
    char longest[1000];
    memset(longest, 'k', sizeof(longest));
    assert_int_equal(hash_slot(slice_make(longest, sizeof(longest))), 15858);
    assert_int_equal(hash_slot(slice_make("\0\xff{\0}", 5)), 0);
    assert_int_equal(hash_slot(slice_make("\0\xff\0", 3)), 1023);
}

/* The sum by its definition, a bit at a time. */
static unsigned slow_slot(const unsigned char *p, size_t n) {
    unsigned crc = 0;
    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned)p[i] << 8;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc << 1 ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
        }
    }
    return crc & 16383;
}

static void slot_of_every_byte_at_every_place(void **state) {
    (void)state;
    unsigned char key[9] = "abcdefgh";
    for (size_t n = 1; n < 9; n++) {
        for (size_t at = 0; at < n; at++) {
            unsigned char was = key[at];
            for (unsigned b = 0; b < 256; b++) {
                key[at] = (unsigned char)b;
                assert_int_equal(hash_slot(slice_make((char *)key, n)), slow_slot(key, n));
            }
            key[at] = was;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(slot_is_that_of_redis), cmocka_unit_test(slot_of_any_bytes_and_lengths),
                                       cmocka_unit_test(slot_of_every_byte_at_every_place)};
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
