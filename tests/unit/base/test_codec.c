/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/lib/runner.h"

/* One of everything, as a decoder has it. */
struct record {
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    uint32_t u32_be;
    uint64_t u64_be;
    uint64_t varint;
    struct bytes fixed;
    struct bytes var;
};

static void write_record(struct buf *buf)
{
    write_u8(buf, 0xfe);
    write_u16(buf, 0x1234);
    write_u32(buf, 0x12345678);
    write_u64(buf, 0x123456789abcdef0);
    write_u32_be(buf, 0x12345678);
    write_u64_be(buf, 0x123456789abcdef0);
    write_varint(buf, 300);
    buf_append_str(buf, "fix");
    write_var_bytes(buf, bytes_of_str("variable"));
}

static enum err read_record(struct bytes bytes, struct record *ret)
{
    struct reader r = reader_of(bytes);
    *ret = (struct record){
        .u8 = read_u8(&r),
    };
    ret->u16 = read_u16(&r);
    ret->u32 = read_u32(&r);
    ret->u64 = read_u64(&r);
    ret->u32_be = read_u32_be(&r);
    ret->u64_be = read_u64_be(&r);
    ret->varint = read_varint(&r);
    ret->fixed = read_bytes(&r, 3);
    ret->var = read_var_bytes(&r, 100);
    return reader_end(&r);
}

START_TEST(what_was_written_is_read_back)
{
    struct buf buf = {0};
    write_record(&buf);
    ck_assert(buf_ok(&buf));
    struct record got;
    ck_assert_int_eq(read_record(buf_bytes(&buf), &got), OK);
    ck_assert_uint_eq(got.u8, 0xfe);
    ck_assert_uint_eq(got.u16, 0x1234);
    ck_assert_uint_eq(got.u32, 0x12345678);
    ck_assert_uint_eq(got.u64, 0x123456789abcdef0);
    ck_assert_uint_eq(got.u32_be, 0x12345678);
    ck_assert_uint_eq(got.u64_be, 0x123456789abcdef0);
    ck_assert_uint_eq(got.varint, 300);
    ck_assert(bytes_equal(got.fixed, bytes_of_str("fix")));
    ck_assert(bytes_equal(got.var, bytes_of_str("variable")));
    buf_fini(&buf);
}
END_TEST

START_TEST(the_bytes_are_those_of_the_format)
{
    struct buf buf = {0};
    write_record(&buf);
    static const uint8_t want[] = {
        0xfe,                                           /* u8 */
        0x34, 0x12,                                     /* u16 */
        0x78, 0x56, 0x34, 0x12,                         /* u32 */
        0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, /* u64 */
        0x12, 0x34, 0x56, 0x78,                         /* u32_be */
        0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, /* u64_be */
        0xac, 0x02,                                     /* varint */
        'f',  'i',  'x',                                /* fixed */
        8,    'v',  'a',  'r',  'i',  'a',  'b',  'l',  'e',
    };
    ck_assert(bytes_equal(buf_bytes(&buf), bytes_of(want, sizeof want)));
    buf_fini(&buf);
}
END_TEST

/* Copied to memory of exactly that size, so that the sanitizer sees a byte read too many. */
START_TEST(a_record_cut_anywhere_is_malformed)
{
    struct buf buf = {0};
    write_record(&buf);
    for (size_t len = 0; len < buf.len; len++) {
        uint8_t *cut = malloc(len + (len == 0));
        ck_assert_ptr_nonnull(cut);
        memcpy(cut, buf.data, len);
        struct record got;
        ck_assert_int_eq(read_record(bytes_of(cut, len), &got), ERR_MALFORMED);
        free(cut);
    }
    buf_fini(&buf);
}
END_TEST

START_TEST(a_byte_too_many_is_malformed)
{
    struct buf buf = {0};
    write_record(&buf);
    write_u8(&buf, 0);
    struct record got;
    ck_assert_int_eq(read_record(buf_bytes(&buf), &got), ERR_MALFORMED);
    buf_fini(&buf);
}
END_TEST

START_TEST(after_an_error_there_are_zeros)
{
    uint8_t data[3] = {0xff, 0xff, 0xff};
    struct reader r = reader_of(bytes_of(data, sizeof data));
    ck_assert_uint_eq(read_u32(&r), 0);
    ck_assert_uint_eq(read_u8(&r), 0);
    ck_assert_uint_eq(read_varint(&r), 0);
    ck_assert_uint_eq(read_bytes(&r, 0).len, 0);
    ck_assert_uint_eq(reader_left(&r), 0);
    ck_assert_int_eq(reader_end(&r), ERR_MALFORMED);
}
END_TEST

static const struct {
    uint64_t value;
    size_t size;
} varints[] = {
    {0, 1},           {1, 1},           {127, 1},        {128, 2},        {16383, 2},
    {16384, 3},       {UINT32_MAX, 5},  {1ull << 55, 8}, {1ull << 56, 9}, {(1ull << 63) - 1, 9},
    {1ull << 63, 10}, {UINT64_MAX, 10},
};

START_TEST(varints_have_the_least_size)
{
    struct buf buf = {0};
    write_varint(&buf, varints[_i].value);
    ck_assert_uint_eq(buf.len, varints[_i].size);
    ck_assert_uint_eq(varint_size(varints[_i].value), varints[_i].size);
    uint8_t direct[10];
    ck_assert_ptr_eq(put_varint(direct, varints[_i].value), direct + varints[_i].size);
    ck_assert_mem_eq(direct, buf.data, buf.len);
    struct reader r = reader_of(buf_bytes(&buf));
    ck_assert_uint_eq(read_varint(&r), varints[_i].value);
    ck_assert_int_eq(reader_end(&r), OK);
    buf_fini(&buf);
}
END_TEST

static const struct {
    const char *name;
    const char *bytes;
    size_t len;
} bad_varints[] = {
    {"no end", "\x80\x80", 2},
    {"more than 64 bits", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10},
    {"eleven bytes", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11},
};

START_TEST(a_bad_varint_is_malformed)
{
    struct reader r = reader_of(bytes_of(bad_varints[_i].bytes, bad_varints[_i].len));
    ck_assert_uint_eq(read_varint(&r), 0);
    ck_assert_msg(reader_end(&r) == ERR_MALFORMED, "%s", bad_varints[_i].name);
}
END_TEST

START_TEST(a_length_over_the_cap_is_malformed)
{
    struct buf buf = {0};
    write_var_bytes(&buf, bytes_of_str("0123456789"));
    struct reader r = reader_of(buf_bytes(&buf));
    ck_assert_uint_eq(read_var_bytes(&r, 10).len, 10);
    ck_assert_int_eq(reader_end(&r), OK);
    r = reader_of(buf_bytes(&buf));
    ck_assert_uint_eq(read_var_bytes(&r, 9).len, 0);
    ck_assert_int_eq(reader_end(&r), ERR_MALFORMED);
    buf_fini(&buf);
}
END_TEST

START_TEST(a_length_near_the_end_of_memory_is_malformed)
{
    struct buf buf = {0};
    write_varint(&buf, UINT64_MAX);
    buf_append_str(&buf, "x");
    struct reader r = reader_of(buf_bytes(&buf));
    ck_assert_uint_eq(read_var_bytes(&r, SIZE_MAX).len, 0);
    ck_assert_int_eq(reader_end(&r), ERR_MALFORMED);
    buf_fini(&buf);
}
END_TEST

START_TEST(headers_can_be_filled_in_later)
{
    uint8_t at[8];
    put_u32(at, 0xdeadbeef);
    ck_assert_uint_eq(get_u32(at), 0xdeadbeef);
    ck_assert_uint_eq(at[0], 0xef);
    put_u64(at, 0x0102030405060708);
    ck_assert_uint_eq(get_u64(at), 0x0102030405060708);
    ck_assert_uint_eq(at[0], 8);
    put_u32_be(at, 0xdeadbeef);
    ck_assert_uint_eq(at[0], 0xde);
    put_u64_be(at, 0x0102030405060708);
    ck_assert_uint_eq(at[0], 1);
}
END_TEST

static Suite *codec_suite(void)
{
    Suite *suite = suite_create("codec");
    TCase *tc = tcase_create("codec");
    tcase_add_test(tc, what_was_written_is_read_back);
    tcase_add_test(tc, the_bytes_are_those_of_the_format);
    tcase_add_test(tc, a_record_cut_anywhere_is_malformed);
    tcase_add_test(tc, a_byte_too_many_is_malformed);
    tcase_add_test(tc, after_an_error_there_are_zeros);
    tcase_add_loop_test(tc, varints_have_the_least_size, 0, (int)ARRAY_LEN(varints));
    tcase_add_loop_test(tc, a_bad_varint_is_malformed, 0, (int)ARRAY_LEN(bad_varints));
    tcase_add_test(tc, a_length_over_the_cap_is_malformed);
    tcase_add_test(tc, a_length_near_the_end_of_memory_is_malformed);
    tcase_add_test(tc, headers_can_be_filled_in_later);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(codec_suite);
}
