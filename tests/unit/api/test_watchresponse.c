/* SPDX-License-Identifier: Apache-2.0 */
#include "api/watchresponse.h"

#include "proto/rpc.pb-c.h"
#include "tests/lib/runner.h"

#define LONG_REASON                                                    \
    "a reason that is longer than anybody would ever read, and longer" \
    " than what is kept of it: it goes on and on, and on, and on, and" \
    " on, and on"

static const struct {
    const char *name;
    struct watch_response response;
} responses[] = {
    {"nothing", {.watch_id = 0}},
    {"created", {.header = {1, 2, 3, 4}, .watch_id = 7, .created = true}},
    {"refused",
     {.header = {1, 2, 3, 4},
      .watch_id = -1,
      .created = true,
      .canceled = true,
      .cancel_reason = "why"}},
    {"compacted", {.header = {1, 2, 0, 4}, .watch_id = 5, .canceled = true, .compact_revision = 9}},
    {"a fragment", {.header = {1, 2, 3, 4}, .watch_id = 5, .fragment = true}},
    {"as wide as can be",
     {.header = {UINT64_MAX, UINT64_MAX, INT64_MAX, UINT64_MAX},
      .watch_id = INT64_MIN,
      .created = true,
      .canceled = true,
      .fragment = true,
      .compact_revision = INT64_MAX,
      .cancel_reason = LONG_REASON}},
};

START_TEST(a_decoder_reads_what_was_encoded)
{
    const struct watch_response *want = &responses[_i].response;
    uint8_t bytes[WATCH_RESPONSE_BYTES_MAX];
    size_t len = watch_response_encode(bytes, want);
    Etcdserverpb__WatchResponse *got = etcdserverpb__watch_response__unpack(NULL, len, bytes);
    ck_assert_ptr_nonnull(got);
    ck_assert_ptr_nonnull(got->header);
    ck_assert_uint_eq(got->header->cluster_id, want->header.cluster_id);
    ck_assert_uint_eq(got->header->member_id, want->header.member_id);
    ck_assert_int_eq(got->header->revision, want->header.revision);
    ck_assert_uint_eq(got->header->raft_term, want->header.raft_term);
    ck_assert_int_eq(got->watch_id, want->watch_id);
    ck_assert_int_eq(got->created, want->created);
    ck_assert_int_eq(got->canceled, want->canceled);
    ck_assert_int_eq(got->fragment, want->fragment);
    ck_assert_int_eq(got->compact_revision, want->compact_revision);
    const char *reason = want->cancel_reason == NULL ? "" : want->cancel_reason;
    ck_assert_uint_eq(strncmp(got->cancel_reason, reason, 128), 0);
    ck_assert_uint_le(strlen(got->cancel_reason), 128);
    /* byte for byte what the generated code writes */
    ck_assert_uint_eq(etcdserverpb__watch_response__get_packed_size(got), len);
    etcdserverpb__watch_response__free_unpacked(got, NULL);
}
END_TEST

static Suite *watchresponse_suite(void)
{
    Suite *suite = suite_create("watchresponse");
    TCase *tc = tcase_create("bytes");
    tcase_add_loop_test(tc, a_decoder_reads_what_was_encoded, 0,
                        sizeof responses / sizeof responses[0]);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(watchresponse_suite);
}
