/* SPDX-License-Identifier: Apache-2.0 */
#include "server/stateframe.h"

#include "base/codec.h"
#include "tests/lib/runner.h"

static const struct store_manifest manifest = {.cluster_id = 7,
                                               .applied_index = 100,
                                               .applied_term = 3,
                                               .revision = 55,
                                               .compacted_revision = -1,
                                               .hash = {.lo = 8, .hi = 9}};

static const struct stateframe frames[] = {
    {.what = STATE_ASK, .number = 5, .size_bytes = 1},
    {.what = STATE_HAVE, .number = 5, .manifest = manifest},
    {.what = STATE_OFFER, .number = UINT64_MAX, .size_bytes = 4096, .manifest = manifest},
    {.what = STATE_WANT, .number = 5, .offset = STATE_CHUNK_BYTES, .again = true},
    {.what = STATE_WANT, .number = 5, .offset = 77},
    {.what = STATE_END, .number = 5, .size_bytes = STATE_BYTES_MAX, .digest = {.lo = 1, .hi = 2}},
    {.what = STATE_REFUSED, .number = 5, .refusal = STATE_WRONG},
    {.what = STATE_LACK, .index = 1},
};

START_TEST(what_is_written_is_read)
{
    struct stateframe read;
    struct blob *blob = stateframe_encode(&frames[_i]);
    ck_assert_ptr_nonnull(blob);
    ck_assert_int_eq(stateframe_decode(blob_bytes(blob), &read), OK);
    ck_assert_int_eq(read.what, frames[_i].what);
    ck_assert_uint_eq(read.number, frames[_i].number);
    ck_assert_uint_eq(read.size_bytes, frames[_i].size_bytes);
    ck_assert_uint_eq(read.offset, frames[_i].offset);
    ck_assert_int_eq(read.again, frames[_i].again);
    ck_assert_int_eq(read.refusal, frames[_i].refusal);
    ck_assert_uint_eq(read.index, frames[_i].index);
    ck_assert(set_hash_equal(read.digest, frames[_i].digest));
    ck_assert(store_manifest_equal(&read.manifest, &frames[_i].manifest));
    /* Nothing shorter or longer is one. */
    for (size_t len = 0; len < blob->len; len++) {
        ck_assert_int_ne(stateframe_decode(bytes_of(blob->data, len), &read), OK);
    }
    struct blob *longer = blob_new(blob->len + 1);
    memcpy(longer->data, blob->data, blob->len);
    longer->data[blob->len] = 0;
    ck_assert_int_ne(stateframe_decode(blob_bytes(longer), &read), OK);
    blob_unref(longer);
    blob_unref(blob);
}
END_TEST

START_TEST(a_chunk_is_read)
{
    struct stateframe read;
    struct blob *blob = stateframe_new_chunk(5, 2 * STATE_CHUNK_BYTES, 3);
    memcpy(blob->data + STATEFRAME_CHUNK_HEAD, "abc", 3);
    ck_assert_int_eq(stateframe_decode(blob_bytes(blob), &read), OK);
    ck_assert_int_eq(read.what, STATE_CHUNK);
    ck_assert_uint_eq(read.number, 5);
    ck_assert_uint_eq(read.offset, 2 * STATE_CHUNK_BYTES);
    ck_assert(bytes_equal(read.chunk, bytes_of_str("abc")));
    blob_unref(blob);
}
END_TEST

struct bad {
    uint8_t what;
    uint64_t a;
    size_t len; /* of zeros behind */
};

static const struct bad refused[] = {
    {0, 0, 0},
    {8, 0, 0},
    {255, 0, 100},
    {STATE_ASK, 0, 0},
    {STATE_OFFER, 0, 57},                                    /* no size */
    {STATE_OFFER, STATE_BYTES_MAX + 1, 57},                  /* more than any database has */
    {STATE_OFFER, 4096, 57},                                 /* a manifest of version 0 */
    {STATE_CHUNK, 0, 0},                                     /* empty */
    {STATE_CHUNK, 1, 10},                                    /* not where one begins */
    {STATE_CHUNK, STATE_BYTES_MAX, 10},                      /* behind any end */
    {STATE_CHUNK, STATE_CHUNK_BYTES, STATE_CHUNK_BYTES + 1}, /* too long */
    {STATE_END, 0, 16},
    {STATE_END, STATE_BYTES_MAX + 1, 16},
};

START_TEST(what_is_malformed_is_refused)
{
    struct buf buf = {0};
    static const uint8_t zeros[STATE_CHUNK_BYTES + 1];
    write_u8(&buf, refused[_i].what);
    write_u64(&buf, 5);
    if (refused[_i].what >= STATE_ASK && refused[_i].what <= STATE_END) {
        write_u64(&buf, refused[_i].a);
    }
    buf_append_bytes(&buf, bytes_of(zeros, refused[_i].len));
    struct stateframe read;
    ck_assert_int_eq(stateframe_decode(buf_bytes(&buf), &read), ERR_MALFORMED);
    buf_fini(&buf);
}
END_TEST

START_TEST(a_refusal_has_a_reason)
{
    uint8_t bytes[10] = {STATE_REFUSED};
    struct stateframe read;
    for (unsigned reason = 0; reason < 256; reason++) {
        bytes[9] = (uint8_t)reason;
        bool good = reason >= STATE_BUSY && reason <= STATE_WRONG;
        ck_assert_int_eq(stateframe_decode(bytes_of(bytes, sizeof bytes), &read),
                         good ? OK : ERR_MALFORMED);
    }
}
END_TEST

START_TEST(again_is_yes_or_no)
{
    uint8_t bytes[18] = {STATE_WANT};
    struct stateframe read;
    for (unsigned again = 0; again < 256; again++) {
        bytes[17] = (uint8_t)again;
        enum err err = stateframe_decode(bytes_of(bytes, sizeof bytes), &read);
        ck_assert_int_eq(err, again <= 1 ? OK : ERR_MALFORMED);
        ck_assert(err != OK || read.again == (again == 1));
    }
}
END_TEST

START_TEST(the_last_chunk_is_what_is_left)
{
    ck_assert_uint_eq(stateframe_chunk_len(0, 4096), 4096);
    ck_assert_uint_eq(stateframe_chunk_len(0, STATE_CHUNK_BYTES), STATE_CHUNK_BYTES);
    ck_assert_uint_eq(stateframe_chunk_len(STATE_CHUNK_BYTES, STATE_CHUNK_BYTES + 4096), 4096);
}
END_TEST

START_TEST(a_digest_knows_bytes_and_places)
{
    struct set_hash a = stateframe_element(0, bytes_of_str("abc"));
    ck_assert(!set_hash_equal(a, stateframe_element(0, bytes_of_str("abd"))));
    ck_assert(!set_hash_equal(a, stateframe_element(STATE_CHUNK_BYTES, bytes_of_str("abc"))));
}
END_TEST

static Suite *stateframe_suite(void)
{
    Suite *suite = suite_create("stateframe");
    TCase *tc = tcase_create("stateframe");
    tcase_add_loop_test(tc, what_is_written_is_read, 0, (int)ARRAY_LEN(frames));
    tcase_add_test(tc, a_chunk_is_read);
    tcase_add_loop_test(tc, what_is_malformed_is_refused, 0, (int)ARRAY_LEN(refused));
    tcase_add_test(tc, a_refusal_has_a_reason);
    tcase_add_test(tc, again_is_yes_or_no);
    tcase_add_test(tc, the_last_chunk_is_what_is_left);
    tcase_add_test(tc, a_digest_knows_bytes_and_places);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(stateframe_suite);
}
