/* SPDX-License-Identifier: Apache-2.0 */
#include "server/hashframe.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/lib/runner.h"

/* Decoded from memory that ends where the frame ends, and begins anywhere. */
static enum err decode(struct bytes bytes, struct hashframe *frame)
{
    CLEANUP(freep) uint8_t *copy = malloc(bytes.len + 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy + 1, bytes.data, bytes.len);
    return hashframe_decode(bytes_of(copy + 1, bytes.len), frame);
}

static const struct hashframe frames[] = {
    {HASH_QUESTION, HASH_RECORDS, UINT64_MAX, {.index = 1}},
    {HASH_QUESTION, HASH_TABLES, 0, {.index = UINT64_MAX}},
    {HASH_ANSWER, HASH_RECORDS, 7, {9, INT64_MAX, {UINT64_MAX, 1}}},
    {HASH_ANSWER, HASH_TABLES, 7, {UINT64_MAX, 0, {0, UINT64_MAX - 1}}},
};

START_TEST(a_frame_keeps_every_field)
{
    const struct hashframe *want = &frames[_i];
    struct blob *blob = hashframe_encode(want);
    struct hashframe got;
    ck_assert(hashframe_is(blob_bytes(blob)));
    ck_assert_int_eq(decode(blob_bytes(blob), &got), OK);
    ck_assert_int_eq((int)got.what, (int)want->what);
    ck_assert_int_eq((int)got.topic, (int)want->topic);
    ck_assert_uint_eq(got.number, want->number);
    ck_assert_uint_eq(got.note.index, want->note.index);
    ck_assert_int_eq(got.note.revision, want->note.revision);
    ck_assert(set_hash_equal(got.note.hash, want->note.hash));
    blob_unref(blob);
}
END_TEST

START_TEST(a_frame_of_another_length_is_malformed)
{
    struct blob *blob = hashframe_encode(&frames[_i]);
    struct hashframe got;
    for (size_t len = 0; len < blob->len; len++) {
        ck_assert_int_eq(decode(bytes_of(blob->data, len), &got), ERR_MALFORMED);
    }
    uint8_t longer[64] = {0};
    memcpy(longer, blob->data, blob->len);
    ck_assert_int_eq(decode(bytes_of(longer, blob->len + 1), &got), ERR_MALFORMED);
    blob_unref(blob);
}
END_TEST

static const struct {
    const char *name;
    size_t at;
    uint8_t byte;
} refused[] = {
    {"what is below", 0, 15},          {"what is above", 0, 18}, {"no topic", 1, 0},
    {"a topic from the future", 1, 3}, {"index 0", 10, 0},       {"a revision below 0", 25, 0x80},
};

START_TEST(what_cannot_be_is_malformed)
{
    struct blob *blob = hashframe_encode(&frames[2]);
    struct hashframe got;
    blob->data[refused[_i].at] = refused[_i].byte;
    ck_assert_msg(decode(blob_bytes(blob), &got) == ERR_MALFORMED, "%s", refused[_i].name);
    blob_unref(blob);
}
END_TEST

static Suite *hashframe_suite(void)
{
    Suite *suite = suite_create("hashframe");
    TCase *tc = tcase_create("hashframe");
    tcase_add_loop_test(tc, a_frame_keeps_every_field, 0, ARRAY_LEN(frames));
    tcase_add_loop_test(tc, a_frame_of_another_length_is_malformed, 0, ARRAY_LEN(frames));
    tcase_add_loop_test(tc, what_cannot_be_is_malformed, 0, ARRAY_LEN(refused));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(hashframe_suite);
}
