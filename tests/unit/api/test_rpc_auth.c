/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/api/service_fixture.h"

static struct reply reply;

static void teardown(void)
{
    reply_fini(&reply);
    served_stop();
}

START_TEST(the_status_is_off)
{
    Etcdserverpb__AuthStatusRequest request = ETCDSERVERPB__AUTH_STATUS_REQUEST__INIT;
    put_key("k", "1");
    ask(&reply, "/etcdserverpb.Auth/AuthStatus", &request.base);
    Etcdserverpb__AuthStatusResponse *answer =
        answer_of(&reply, &etcdserverpb__auth_status_response__descriptor);
    ck_assert_uint_eq(answer->header->member_id, MEMBER_ID);
    ck_assert_int_eq(answer->header->revision, 2);
    ck_assert(!answer->enabled);
    ck_assert_uint_eq(answer->authrevision, 1);
    etcdserverpb__auth_status_response__free_unpacked(answer, NULL);
}
END_TEST

/* Go's client of etcd looks at the text, and goes on without a token. */
START_TEST(who_has_a_password_hears_that_none_is_asked_for)
{
    Etcdserverpb__AuthenticateRequest request = ETCDSERVERPB__AUTHENTICATE_REQUEST__INIT;
    request.name = (char *)(uintptr_t) "root";
    request.password = (char *)(uintptr_t) "secret";
    ask(&reply, "/etcdserverpb.Auth/Authenticate", &request.base);
    ck_status(&reply, GRPC_FAILED_PRECONDITION, "etcdserver: authentication is not enabled");
}
END_TEST

static Suite *rpc_auth_suite(void)
{
    Suite *suite = suite_create("rpc_auth");
    TCase *tc = tcase_create("off");
    tcase_add_checked_fixture(tc, served_start, teardown);
    tcase_add_test(tc, the_status_is_off);
    tcase_add_test(tc, who_has_a_password_hears_that_none_is_asked_for);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(rpc_auth_suite);
}
