/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include "base/cleanup.h"
#include "tests/lib/runner.h"

/* SipHash-1-3 of 00 01 02 ... under the key 00 01 ... 0f, as OpenSSL's SIPHASH gives it with
 * c-rounds:1 and d-rounds:3; the bytes of its answer are the number in little endian. */
static const struct {
    size_t len;
    uint64_t want;
} vectors[] = {
    {0, 0xabac0158050fc4dc},  {1, 0xc9f49bf37d57ca93},  {7, 0xd3927d989bb11140},
    {8, 0x369095118d299a8e},  {9, 0x25a48eb36c063de4},  {15, 0xd320d86d2a519956},
    {16, 0xcc4fdd1a7d908b66}, {17, 0x9cf2689063dbd80c}, {31, 0x2370dd1f8c21d1bc},
    {32, 0x81157b6c16a7b60d}, {63, 0x9d199062b7bbb3a8},
};

START_TEST(hash_bytes_is_siphash_1_3)
{
    struct hash_seed seed = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    uint8_t data[64];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)i;
    }
    uint64_t got = hash_bytes(bytes_of(data, vectors[_i].len), &seed);
    ck_assert_msg(got == vectors[_i].want, "%zu bytes: %016llx", vectors[_i].len,
                  (unsigned long long)got);
}
END_TEST

START_TEST(hash_bytes_reads_from_any_address)
{
    struct hash_seed seed = {1, 2};
    uint8_t data[48] = {0};
    uint64_t want = hash_bytes(bytes_of("0123456789abcdefghi", 19), &seed);
    for (size_t at = 0; at < 16; at++) {
        memcpy(data + at, "0123456789abcdefghi", 19);
        ck_assert_uint_eq(hash_bytes(bytes_of(data + at, 19), &seed), want);
    }
}
END_TEST

START_TEST(a_hash_depends_on_its_seed)
{
    struct hash_seed a = {1, 2};
    struct hash_seed b = {1, 3};
    ck_assert_uint_ne(hash_bytes(bytes_of_str("key"), &a), hash_bytes(bytes_of_str("key"), &b));
}
END_TEST

START_TEST(mix64_spreads_every_bit)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        int flipped = 0;
        for (uint64_t v = 0; v < 100; v++) {
            flipped += __builtin_popcountll(mix64(v * 77) ^ mix64((v * 77) ^ (1ull << bit)));
        }
        ck_assert_int_gt(flipped, 100 * 24);
        ck_assert_int_lt(flipped, 100 * 40);
    }
}
END_TEST

START_TEST(a_set_hash_knows_no_order)
{
    struct set_hash a = {0};
    struct set_hash b = {0};
    for (uint64_t i = 0; i < 100; i++) {
        set_hash_add(&a, set_hash_element(i, i + 1));
        set_hash_add(&b, set_hash_element(99 - i, 100 - i));
    }
    ck_assert(set_hash_equal(a, b));
    set_hash_add(&a, set_hash_element(500, 1));
    ck_assert(!set_hash_equal(a, b));
    set_hash_remove(&a, set_hash_element(500, 1));
    ck_assert(set_hash_equal(a, b));
}
END_TEST

START_TEST(a_set_hash_tells_sets_apart)
{
    struct set_hash empty = {0};
    ck_assert(!set_hash_equal(set_hash_element(0, 0), empty));
    ck_assert(!set_hash_equal(set_hash_element(1, 2), set_hash_element(2, 1)));
    struct set_hash crossed = {0}; /* contents that changed places */
    struct set_hash straight = {0};
    set_hash_add(&straight, set_hash_element(10, 1));
    set_hash_add(&straight, set_hash_element(20, 2));
    set_hash_add(&crossed, set_hash_element(20, 1));
    set_hash_add(&crossed, set_hash_element(10, 2));
    ck_assert(!set_hash_equal(straight, crossed));
}
END_TEST

static Suite *hash_suite(void)
{
    Suite *suite = suite_create("hash");
    TCase *tc = tcase_create("hash");
    tcase_add_loop_test(tc, hash_bytes_is_siphash_1_3, 0, (int)ARRAY_LEN(vectors));
    tcase_add_test(tc, hash_bytes_reads_from_any_address);
    tcase_add_test(tc, a_hash_depends_on_its_seed);
    tcase_add_test(tc, mix64_spreads_every_bit);
    tcase_add_test(tc, a_set_hash_knows_no_order);
    tcase_add_test(tc, a_set_hash_tells_sets_apart);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(hash_suite);
}
