/* SPDX-License-Identifier: Apache-2.0 */
#include "server/leaseframe.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "tests/lib/runner.h"

/* Decoded from memory that ends where the frame ends, and begins anywhere. */
static enum err decode(struct bytes bytes, size_t *count)
{
    CLEANUP(freep) uint8_t *copy = malloc(bytes.len + 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy + 1, bytes.data, bytes.len);
    struct leaseframe frame;
    TRY(leaseframe_decode(bytes_of(copy + 1, bytes.len), &frame));
    *count = leaseframe_count(&frame);
    uint64_t sum = 0;
    for (size_t i = 0; i < *count; i++) {
        sum += (uint64_t)leaseframe_word(&frame, i);
    }
    ck_assert_uint_ne(sum + frame.number, 1); /* every byte was looked at */
    return OK;
}

START_TEST(a_frame_keeps_every_field)
{
    static const int64_t words[] = {0, 1, -1, INT64_MIN, INT64_MAX};
    for (int what = LEASE_RENEW; what <= LEASE_ANSWER; what++) {
        struct blob *blob =
            leaseframe_new((enum leaseframe_what)what, UINT64_MAX - 1, ARRAY_LEN(words));
        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
            leaseframe_set(blob, i, words[i]);
        }
        struct leaseframe frame;
        ck_assert(leaseframe_is(blob_bytes(blob)));
        ck_assert_int_eq(leaseframe_decode(blob_bytes(blob), &frame), OK);
        ck_assert_int_eq((int)frame.what, what);
        ck_assert_uint_eq(frame.number, UINT64_MAX - 1);
        ck_assert_uint_eq(leaseframe_count(&frame), ARRAY_LEN(words));
        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
            ck_assert_int_eq(leaseframe_word(&frame, i), words[i]);
        }
        blob_unref(blob);
    }
}
END_TEST

/* Cut between words it is a shorter one, everywhere else malformed. */
START_TEST(a_cut_frame_is_malformed)
{
    struct blob *blob = leaseframe_new(LEASE_RENEW, 7, 5);
    memset(blob->data + 9, 0x55, 40);
    for (size_t len = 0; len <= blob->len; len++) {
        size_t count = 99;
        bool whole = len > 9 && (len - 9) % 8 == 0;
        ck_assert_int_eq(decode(bytes_of(blob->data, len), &count), whole ? OK : ERR_MALFORMED);
        ck_assert(!whole || count == (len - 9) / 8);
    }
    blob_unref(blob);
}
END_TEST

START_TEST(the_number_of_words_has_bounds)
{
    static const struct {
        enum leaseframe_what what;
        size_t count;
        enum err want;
    } cases[] = {
        {LEASE_RENEW, 0, ERR_MALFORMED},
        {LEASE_REMAINING, 0, ERR_MALFORMED},
        {LEASE_ANSWER, 0, OK},
        {LEASE_RENEW, LEASE_ASK_MAX, OK},
        {LEASE_RENEW, LEASE_ASK_MAX + 1, ERR_MALFORMED},
        {LEASE_ANSWER, LEASE_ASK_MAX + 1, ERR_MALFORMED},
    };
    struct blob *blob = leaseframe_new(cases[_i].what, 7, cases[_i].count);
    memset(blob->data + 9, 0x55, blob->len - 9);
    size_t count;
    ck_assert_int_eq(decode(blob_bytes(blob), &count), cases[_i].want);
    blob_unref(blob);
}
END_TEST

START_TEST(other_frames_are_not_these)
{
    for (unsigned what = 0; what < 256; what++) {
        uint8_t frame[17] = {(uint8_t)what};
        bool is = what >= LEASE_RENEW && what <= LEASE_ANSWER;
        size_t count;
        ck_assert(leaseframe_is(bytes_of(frame, sizeof frame)) == is);
        ck_assert_int_eq(decode(bytes_of(frame, sizeof frame), &count), is ? OK : ERR_MALFORMED);
    }
    ck_assert(!leaseframe_is(bytes_of(NULL, 0)));
}
END_TEST

static Suite *leaseframe_suite(void)
{
    Suite *suite = suite_create("leaseframe");
    TCase *tc = tcase_create("leaseframe");
    tcase_add_test(tc, a_frame_keeps_every_field);
    tcase_add_test(tc, a_cut_frame_is_malformed);
    tcase_add_loop_test(tc, the_number_of_words_has_bounds, 0, 6);
    tcase_add_test(tc, other_frames_are_not_these);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(leaseframe_suite);
}
