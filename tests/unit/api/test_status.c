/* SPDX-License-Identifier: Apache-2.0 */
#include "api/status.h"

#include "base/cleanup.h"
#include "tests/lib/runner.h"

/* What a 3.7 server sends, code and text, written down again from the contract and not from the
 * table under test. */
static const struct {
    enum err err;
    int code;
    const char *text;
} contract[] = {
    {ERR_KEY_EMPTY, 3, "etcdserver: key is not provided"},
    {ERR_KEY_NOT_FOUND, 3, "etcdserver: key not found"},
    {ERR_VALUE_PROVIDED, 3, "etcdserver: value is provided"},
    {ERR_LEASE_PROVIDED, 3, "etcdserver: lease is provided"},
    {ERR_TOO_MANY_OPS, 3, "etcdserver: too many operations in txn request"},
    {ERR_DUPLICATE_KEY, 3, "etcdserver: duplicate key given in txn request"},
    {ERR_CLIENT_VERSION, 3, "etcdserver: invalid client api version"},
    {ERR_SORT_OPTION, 3, "etcdserver: invalid sort option"},
    {ERR_COMPACTED, 11, "etcdserver: mvcc: required revision has been compacted"},
    {ERR_FUTURE_REVISION, 11, "etcdserver: mvcc: required revision is a future revision"},
    {ERR_QUOTA, 8, "etcdserver: mvcc: database space exceeded"},
    {ERR_NO_SPACE, 8, "etcdserver: mvcc: database space exceeded"},
    {ERR_LEASE_NOT_FOUND, 5, "etcdserver: requested lease not found"},
    {ERR_LEASE_EXISTS, 9, "etcdserver: lease already exists"},
    {ERR_LEASE_TTL, 11, "etcdserver: too large lease TTL"},
    {ERR_TOO_LARGE, 3, "etcdserver: request is too large"},
    {ERR_TOO_MANY_REQUESTS, 2, "etcdserver: too many requests"}, /* declared 8, sent as 2 */
    {ERR_NO_LEADER, 14, "etcdserver: no leader"},
    {ERR_NOT_LEADER, 9, "etcdserver: not leader"},
    {ERR_LEADER_CHANGED, 14, "etcdserver: leader changed"},
    {ERR_STOPPED, 14, "etcdserver: server stopped"},
    {ERR_TIMEOUT, 14, "etcdserver: request timed out"},
    {ERR_CORRUPT, 15, "etcdserver: corrupt cluster"},
    {ERR_MEMBER_NOT_FOUND, 5, "etcdserver: member not found"},
    {ERR_MEMBER_EXISTS, 9, "etcdserver: member ID already exist"},
    {ERR_MEMBER_URLS, 3, "etcdserver: given member URLs are invalid"},
    {ERR_PEER_URL_EXISTS, 9, "etcdserver: Peer URLs already exists"},
    {ERR_FEW_STARTED, 2, /* declared 9, sent as 2 */
     "etcdserver: re-configuration failed due to not enough started members"},
    {ERR_UNHEALTHY, 14, "etcdserver: unhealthy cluster"},
    {ERR_NOT_LEARNER, 9, "etcdserver: can only promote a learner member"},
    {ERR_LEARNER_BEHIND, 9,
     "etcdserver: can only promote a learner member which is in sync with leader"},
    {ERR_MANY_LEARNERS, 9, "etcdserver: too many learner members in cluster"},
    {ERR_LEARNER, 9, "etcdserver: rpc not supported for learner"},
    {ERR_CANCELLED, 1, "etcdserver: request canceled"},
    {ERR_BAD_TRANSFEREE, 9, "etcdserver: bad leader transferee"},
    {ERR_TRANSFER_TIMEOUT, 2, "etcdserver: request timed out, leader transfer took too long"},
};

START_TEST(a_client_reads_etcds_code_and_text)
{
    struct status got = status_of(contract[_i].err);
    ck_assert_int_eq((int)got.code, contract[_i].code);
    ck_assert_str_eq(got.text, contract[_i].text);
}
END_TEST

/* The rest goes out as etcd's unmapped errors do: UNKNOWN, with the plain text. */
START_TEST(what_etcd_has_no_text_for_is_unknown)
{
    for (int err = OK + 1; err < ERR_COUNT; err++) {
        bool mapped = false;
        for (size_t i = 0; i < ARRAY_LEN(contract); i++) {
            mapped |= (int)contract[i].err == err;
        }
        struct status got = status_of((enum err)err);
        ck_assert_ptr_nonnull(got.text);
        if (!mapped) {
            ck_assert_msg(got.code == GRPC_UNKNOWN, "%s: %d", err_text((enum err)err), got.code);
            ck_assert_str_eq(got.text, err_text((enum err)err));
        }
    }
}
END_TEST

START_TEST(a_number_that_is_no_error_has_a_text_too)
{
    static const int numbers[] = {-1, ERR_COUNT, ERR_COUNT + 1, 1 << 30};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        struct status got = status_of((enum err)numbers[i]);
        ck_assert_int_eq(got.code, GRPC_UNKNOWN);
        ck_assert_ptr_nonnull(got.text);
    }
}
END_TEST

static Suite *status_suite(void)
{
    Suite *suite = suite_create("status");
    TCase *tc = tcase_create("status");
    tcase_add_loop_test(tc, a_client_reads_etcds_code_and_text, 0, (int)ARRAY_LEN(contract));
    tcase_add_test(tc, what_etcd_has_no_text_for_is_unknown);
    tcase_add_test(tc, a_number_that_is_no_error_has_a_text_too);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(status_suite);
}
