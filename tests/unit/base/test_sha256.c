/* SPDX-License-Identifier: BSD-3-Clause */
/* test_sha256: against the vectors of the standard's examples and lengths around the padding's edges. */
#include "tests/unit/check.h"

#include "src/base/sha256.h"

#include <stdio.h>

static void assert_hash(struct slice s, const char *hex) {
    char out[SHA256_HEX + 1];
    sha256_hex(s, out);
    assert_string_equal(out, hex);
}

static void sha256_hashes_the_examples(void **state) {
    (void)state;
    assert_hash(SLICE(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_hash(SLICE("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_hash(SLICE("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void sha256_pads_every_length(void **state) {
    (void)state;
    static const struct {
        size_t n;
        const char *hex;
    } rows[] = {
        {55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
        {56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
        {57, "f13b2d724659eb3bf47f2dd6af1accc87b81f09f59f2b75e5c0bed6589dfe8c6"},
        {63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
        {64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
        {65, "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0"},
        {119, "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb"},
        {120, "2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c"},
        {127, "c57e9278af78fa3cab38667bef4ce29d783787a2f731d4e12200270f0c32320a"},
        {128, "6836cf13bac400e9105071cd6af47084dfacad4e5e302c94bfed24e013afb73e"},
        {200, "c2a908d98f5df987ade41b5fce213067efbcc21ef2240212a41e54b5e7c28ae5"}
    };
    char text[256];
    memset(text, 'a', sizeof(text));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_hash(slice_make(text, rows[i].n), rows[i].hex);
    }
}

static void assert_mac(struct slice key, struct slice message, const char *hex) {
    unsigned char raw[SHA256_BYTES];
    char out[SHA256_HEX + 1];
    hmac_sha256(key, message, raw);
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
    }
    assert_string_equal(out, hex);
}

/* RFC 4231, test cases 2, 3 and 6; and no key at all. */
static void hmac_sha256_follows_the_rfc(void **state) {
    (void)state;
    char key[131], text[50];
    memset(key, 0xaa, sizeof(key));
    memset(text, 0xdd, sizeof(text));
    assert_mac(SLICE("Jefe"), SLICE("what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_mac(slice_make(key, 20), slice_make(text, 50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    assert_mac(slice_make(key, 131), SLICE("Test Using Larger Than Block-Size Key - Hash Key First"),
               "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    assert_mac(SLICE(""), SLICE(""), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void sha256_equal_sees_every_byte(void **state) {
    (void)state;
    unsigned char a[SHA256_BYTES] = {0}, b[SHA256_BYTES] = {0};
    assert_true(sha256_equal(a, b));
    for (int i = 0; i < SHA256_BYTES; i++) {
        b[i] = 1;
        assert_false(sha256_equal(a, b));
        b[i] = 0;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sha256_hashes_the_examples), cmocka_unit_test(sha256_pads_every_length),
                                       cmocka_unit_test(hmac_sha256_follows_the_rfc), cmocka_unit_test(sha256_equal_sees_every_byte)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
