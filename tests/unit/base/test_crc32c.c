/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"

#include <string.h>

#include "base/cleanup.h"
#include "tests/lib/runner.h"

static uint8_t zeros[32];
static uint8_t ones[32];
static uint8_t rising[32];

/* RFC 3720, appendix B.4, and the usual check value. */
static const struct {
    const void *data;
    size_t len;
    uint32_t want;
} vectors[] = {
    {"", 0, 0},
    {"123456789", 9, 0xe3069283},
    {zeros, 32, 0x8a9136aa},
    {ones, 32, 0x62a8ab43},
    {rising, 32, 0x46dd794e},
};

static void setup(void)
{
    memset(ones, 0xff, sizeof ones);
    for (size_t i = 0; i < sizeof rising; i++) {
        rising[i] = (uint8_t)i;
    }
}

START_TEST(gives_the_known_values)
{
    ck_assert_uint_eq(crc32c(0, vectors[_i].data, vectors[_i].len), vectors[_i].want);
    ck_assert_uint_eq(crc32c_portable(0, vectors[_i].data, vectors[_i].len), vectors[_i].want);
}
END_TEST

/* The definition, bit by bit. */
static uint32_t naive(const uint8_t *data, size_t len)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

START_TEST(any_length_at_any_address_cut_anywhere)
{
    uint8_t data[800]; /* three lanes are 240 bytes */
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * i * 197 + i / 7 + 13);
    }
    for (size_t at = 0; at < 9; at++) {
        for (size_t len = 0; at + len <= sizeof data; len += len == 60 ? 170 : 1) {
            uint32_t want = naive(data + at, len);
            ck_assert_uint_eq(crc32c(0, data + at, len), want);
            ck_assert_uint_eq(crc32c_portable(0, data + at, len), want);
            size_t cut = len / 3;
            uint32_t first = crc32c(0, data + at, cut);
            ck_assert_uint_eq(crc32c(first, data + at + cut, len - cut), want);
        }
    }
}
END_TEST

static Suite *crc32c_suite(void)
{
    Suite *suite = suite_create("crc32c");
    TCase *tc = tcase_create("crc32c");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_loop_test(tc, gives_the_known_values, 0, (int)ARRAY_LEN(vectors));
    tcase_add_test(tc, any_length_at_any_address_cut_anywhere);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(crc32c_suite);
}
