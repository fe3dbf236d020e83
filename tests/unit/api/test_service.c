/* SPDX-License-Identifier: Apache-2.0 */
#include "api/service.h"

#include <stdlib.h>

#include "tests/unit/api/service_fixture.h"

#define PUT     "/etcdserverpb.KV/Put"
#define RANGE   "/etcdserverpb.KV/Range"
#define COMPACT "/etcdserverpb.KV/Compact"
#define HASH_KV "/etcdserverpb.Maintenance/HashKV"
#define STATUS  "/etcdserverpb.Maintenance/Status"
#define MEMBERS "/etcdserverpb.Cluster/MemberList"

static struct reply reply;

static void setup(void)
{
    served_start();
}

static void setup_without_quota(void)
{
    served.no_quota = true;
    served_start();
}

static void teardown(void)
{
    reply_fini(&reply);
    served_stop();
}

static uint64_t calls_under_way(void)
{
    return grpc_server_stats(service_grpc(served.service))->calls;
}

/* ---- what holds for all methods ---- */

START_TEST(who_requires_a_leader_is_refused_without_one)
{
    static const char *const paths[] = {PUT, RANGE, STATUS, MEMBERS,
                                        "/grpc.health.v1.Health/Watch"};
    Etcdserverpb__StatusRequest empty = ETCDSERVERPB__STATUS_REQUEST__INIT;
    node_fake_set_leader(served.node, TERM, 0);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        call_with_metadata(&reply, paths[i], &empty.base, "hasleader", bytes_of_str("true"));
        SERVE_UNTIL(reply.ended);
        ck_status(&reply, GRPC_UNAVAILABLE, "etcdserver: no leader");
    }
    call_with_metadata(&reply, STATUS, &empty.base, "hasleader", bytes_of_str("yes"));
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OK, "");
    node_fake_set_leader(served.node, TERM + 1, MEMBER_ID);
    call_with_metadata(&reply, STATUS, &empty.base, "hasleader", bytes_of_str("true"));
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OK, "");
}
END_TEST

START_TEST(a_client_version_is_a_text)
{
    Etcdserverpb__StatusRequest empty = ETCDSERVERPB__STATUS_REQUEST__INIT;
    call_with_metadata(&reply, STATUS, &empty.base, "client-api-version", bytes_of_str("3.7"));
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OK, "");
    call_with_metadata(&reply, STATUS, &empty.base, "client-api-version", bytes_of_str("\xff"));
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: invalid client api version");
}
END_TEST

static const struct {
    const char *name;
    const char *path;
    const char *bytes;
    size_t len;
} malformed[] = {
    {"a length beyond the end", PUT, "\x0a\x05k", 3},
    {"a tag that is cut off", RANGE, "\x80", 1},
    {"a text that is not UTF-8", "/grpc.health.v1.Health/Check", "\x0a\x01\xff", 3},
    {"a nested message that is cut off", "/etcdserverpb.KV/Txn", "\x12\x04\x12\x05\x0a\x01", 6},
    {"more than a request may take", STATUS, NULL, 1500000},
};

START_TEST(a_malformed_message_is_refused)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    if (malformed[_i].bytes != NULL) {
        buf_append(&bytes, malformed[_i].bytes, malformed[_i].len);
    }
    while (bytes.len < malformed[_i].len) {
        buf_append(&bytes, "\x78\x01", 2); /* field 15 = 1: unknown */
    }
    call_bytes(&reply, malformed[_i].path, buf_bytes(&bytes));
    SERVE_UNTIL(reply.ended);
    ck_assert_msg(reply.status == GRPC_INTERNAL, "%s: %s", malformed[_i].name,
                  grpc_status_name(reply.status));
    ck_assert(bytes_has_prefix(buf_bytes(&reply.text),
                               bytes_of_str("grpc: error unmarshalling request: ")));
}
END_TEST

START_TEST(unknown_fields_are_passed_over)
{
    static const char put[] = "\x0a\x01k\x12\x01v\x78\x01\x82\x7d\x03"
                              "abc\x7dzzzz\x79xxxxxxxx";
    call_bytes(&reply, PUT, bytes_of(put, sizeof put - 1));
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OK, "");
    struct key_version version;
    ck_assert(store_key_version(served.store, bytes_of_str("k"), &version));
}
END_TEST

START_TEST(what_is_not_served_is_unimplemented)
{
    static const struct {
        const char *path;
        const char *text;
    } cases[] = {
        {"/etcdserverpb.Cluster/MemberDemote",
         "unknown method MemberDemote for service etcdserverpb.Cluster"},
        {"/etcdserverpb.Auth/UserList", "unknown method UserList for service etcdserverpb.Auth"},
        {"/etcdserverpb.Maintenance/Downgrade",
         "unknown method Downgrade for service etcdserverpb.Maintenance"},
        {"/etcdserverpb.KV/Nothing", "unknown method Nothing for service etcdserverpb.KV"},
        {"/etcdserverpb.Nothing/Range", "unknown service etcdserverpb.Nothing"},
    };
    call_bytes(&reply, cases[_i].path, bytes_of_str("whatever"));
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_UNIMPLEMENTED, cases[_i].text);
}
END_TEST

/* ---- clients that go away ---- */

static bool op_waits(void)
{
    return node_fake_proposal_count(served.node) == 1;
}

static bool read_waits(void)
{
    return node_fake_read_count(served.node) == 1;
}

static bool store_waits(void)
{
    return store_model_waiting(served.store) == 1;
}

static const struct {
    const char *name;
    const char *path;
    const char *message;
    bool (*waits)(void);
    bool hold_reads;
    bool hold_writes;
} waits[] = {
    {"for its command", PUT, "\x0a\x01k", op_waits, true, true},
    {"for its read index", RANGE, "\x0a\x01k", read_waits, true, true},
    {"for a range in slices", RANGE, "\x0a\x01k\x12\x01z\x38\x01", store_waits, true, true},
    {"for the members", MEMBERS, "\x08\x01", read_waits, true, true},
    {"for a hash", HASH_KV, "", store_waits, true, true},
    {"for a compaction", COMPACT, "\x08\x02\x10\x01", store_waits, true, false},
    {"for a piece of a stream", "/etcdserverpb.KV/RangeStream", "\x0a\x01k\x12\x01z\x38\x01",
     store_waits, true, true},
};

START_TEST(a_client_that_goes_away_leaves_nothing_behind)
{
    put_key("k", "1");
    store_model_set_dear(served.store, true);
    store_model_hold(served.store, true);
    served.hold_reads = waits[_i].hold_reads;
    served.hold_writes = waits[_i].hold_writes;
    call_bytes(&reply, waits[_i].path, bytes_of_str(waits[_i].message));
    SERVE_UNTIL(waits[_i].waits());
    grpc_request_cancel(&reply.request);
    SERVE_UNTIL(calls_under_way() == 0);
    served.hold_writes = false;
    store_model_hold(served.store, false);
    SERVE_UNTIL(store_model_waiting(served.store) == 0);
    ck_assert_uint_eq(node_fake_read_count(served.node), 0);
}
END_TEST

START_TEST(a_deadline_ends_the_waiting)
{
    served.hold_writes = true;
    struct grpc_request_options options = {.path = PUT, .timeout_ms = 20};
    call_bytes(&reply, STATUS, bytes_of(NULL, 0)); /* sets the callbacks */
    SERVE_UNTIL(reply.ended);
    buf_clear(&reply.text);
    buf_clear(&reply.got);
    reply.ended = false;
    grpc_request_unary(served.client, &reply.request, &options, bytes_of_str("\x0a\x01k"));
    SERVE_UNTIL(reply.ended);
    ck_assert_int_eq(reply.status, GRPC_DEADLINE_EXCEEDED);
    SERVE_UNTIL(calls_under_way() == 0);
}
END_TEST

/* The server stops under calls that wait, and whoever is still connected is told. */
START_TEST(a_server_that_stops_answers_what_waits)
{
    struct reply put = {0};
    struct reply get = {0};
    served.hold_reads = true;
    served.hold_writes = true;
    call_bytes(&put, PUT, bytes_of_str("\x0a\x01k"));
    call_bytes(&get, RANGE, bytes_of_str("\x0a\x01k"));
    SERVE_UNTIL(op_waits() && read_waits());
    served_stop_server();
    RUN_UNTIL(&served.loop, put.ended && get.ended);
    ck_status(&put, GRPC_UNAVAILABLE, "etcdserver: server stopped");
    ck_status(&get, GRPC_UNAVAILABLE, "etcdserver: server stopped");
    reply_fini(&put);
    reply_fini(&get);
}
END_TEST

/* ---- Maintenance, Cluster ---- */

START_TEST(status_tells_how_the_member_is)
{
    put_key("k", "1");
    store_model_set_size(served.store, 40960);
    Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;
    ask(&reply, STATUS, &request.base);
    Etcdserverpb__StatusResponse *answer =
        answer_of(&reply, &etcdserverpb__status_response__descriptor);
    ck_assert_int_eq(answer->header->revision, 2);
    ck_assert_uint_eq(answer->header->member_id, MEMBER_ID);
    ck_assert_str_eq(answer->version, "3.7.1");
    ck_assert_str_eq(answer->storageversion, "3.7.0");
    ck_assert_int_eq(answer->dbsize, 40960);
    ck_assert_int_eq(answer->dbsizeinuse, 20480);
    ck_assert_int_eq(answer->dbsizequota, 2147483648);
    ck_assert_uint_eq(answer->leader, MEMBER_ID);
    ck_assert_uint_eq(answer->raftterm, TERM);
    ck_assert_uint_eq(answer->raftindex, node_commit_index(served.node));
    ck_assert_uint_eq(answer->raftappliedindex, node_applied_index(served.node));
    ck_assert_uint_eq(answer->n_errors, 0);
    ck_assert(!answer->islearner);
    ck_assert_ptr_nonnull(answer->downgradeinfo);
    ck_assert(!answer->downgradeinfo->enabled);
    etcdserverpb__status_response__free_unpacked(answer, NULL);
    node_fake_set_leader(served.node, TERM, 0);
    ask(&reply, STATUS, &request.base);
    answer = answer_of(&reply, &etcdserverpb__status_response__descriptor);
    ck_assert_uint_eq(answer->leader, 0);
    ck_assert_uint_eq(answer->n_errors, 1);
    ck_assert_str_eq(answer->errors[0], "etcdserver: no leader");
    etcdserverpb__status_response__free_unpacked(answer, NULL);
}
END_TEST

/* Alerts divide by it. */
START_TEST(no_quota_is_none_that_is_passed)
{
    CLEANUP(buf_fini) struct buf text = {0};
    Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;
    ask(&reply, STATUS, &request.base);
    Etcdserverpb__StatusResponse *answer =
        answer_of(&reply, &etcdserverpb__status_response__descriptor);
    ck_assert_int_eq(answer->dbsizequota, -1);
    etcdserverpb__status_response__free_unpacked(answer, NULL);
    metrics_write(served.metrics, &text);
    buf_append(&text, "", 1);
    ck_assert(buf_ok(&text));
    ck_assert_ptr_nonnull(strstr((char *)text.data, "\netcd_server_quota_backend_bytes -1\n"));
}
END_TEST

START_TEST(hash_kv_tells_what_was_hashed)
{
    put_key("k", "1");
    put_key("k", "2");
    Etcdserverpb__HashKVRequest request = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    request.revision = 2;
    ask(&reply, HASH_KV, &request.base);
    Etcdserverpb__HashKVResponse *answer =
        answer_of(&reply, &etcdserverpb__hash_kvresponse__descriptor);
    ck_assert_int_eq(answer->header->revision, 3);
    ck_assert_int_eq(answer->hash_revision, 2);
    ck_assert_int_eq(answer->compact_revision, -1);
    ck_assert_uint_ne(answer->hash, 0);
    etcdserverpb__hash_kvresponse__free_unpacked(answer, NULL);
    request.revision = 4;
    ask(&reply, HASH_KV, &request.base);
    ck_status(&reply, GRPC_OUT_OF_RANGE,
              "etcdserver: mvcc: required revision is a future revision");
}
END_TEST

START_TEST(member_list_shows_the_members)
{
    Etcdserverpb__MemberListRequest request = ETCDSERVERPB__MEMBER_LIST_REQUEST__INIT;
    request.linearizable = true;
    ask(&reply, MEMBERS, &request.base);
    Etcdserverpb__MemberListResponse *answer =
        answer_of(&reply, &etcdserverpb__member_list_response__descriptor);
    ck_assert_int_eq(answer->header->revision, 0);
    ck_assert_uint_eq(answer->header->cluster_id, CLUSTER_ID);
    ck_assert_uint_eq(answer->n_members, 1);
    const Etcdserverpb__Member *member = answer->members[0];
    ck_assert_uint_eq(member->id, MEMBER_ID);
    ck_assert_str_eq(member->name, "default");
    ck_assert_uint_eq(member->n_peerurls, 1);
    ck_assert_str_eq(member->peerurls[0], "http://localhost:2380");
    ck_assert_uint_eq(member->n_clienturls, 1);
    ck_assert_str_eq(member->clienturls[0], "http://localhost:2379");
    ck_assert(!member->islearner);
    etcdserverpb__member_list_response__free_unpacked(answer, NULL);
    served.hold_reads = true; /* the local list waits for nobody */
    request.linearizable = false;
    ask(&reply, MEMBERS, &request.base);
    ck_status(&reply, GRPC_OK, "");
}
END_TEST

/* ---- health ---- */

#define SERVING         GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define SERVICE_UNKNOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

static int health_in(struct bytes message)
{
    Grpc__Health__V1__HealthCheckResponse *answer =
        grpc__health__v1__health_check_response__unpack(NULL, message.len, message.data);
    ck_assert_ptr_nonnull(answer);
    int status = (int)answer->status;
    grpc__health__v1__health_check_response__free_unpacked(answer, NULL);
    return status;
}

START_TEST(health_is_told_to_who_asks)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    ask(&reply, "/grpc.health.v1.Health/Check", &request.base);
    ck_status(&reply, GRPC_OK, "");
    ck_assert_int_eq(health_in(buf_bytes(&reply.got)), SERVING);
    request.service = (char *)(uintptr_t) "etcdserverpb.KV";
    ask(&reply, "/grpc.health.v1.Health/Check", &request.base);
    ck_status(&reply, GRPC_NOT_FOUND, "unknown service");
    Grpc__Health__V1__HealthListRequest all = GRPC__HEALTH__V1__HEALTH_LIST_REQUEST__INIT;
    ask(&reply, "/grpc.health.v1.Health/List", &all.base);
    Grpc__Health__V1__HealthListResponse *answer =
        answer_of(&reply, &grpc__health__v1__health_list_response__descriptor);
    ck_assert_uint_eq(answer->n_statuses, 1);
    ck_assert_str_eq(answer->statuses[0]->key, "");
    ck_assert_int_eq(answer->statuses[0]->value->status, SERVING);
    grpc__health__v1__health_list_response__free_unpacked(answer, NULL);
}
END_TEST

START_TEST(health_watchers_hear_of_the_stop_and_are_let_go)
{
    struct reply known = {0};
    struct reply unknown = {0};
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    call_message(&known, "/grpc.health.v1.Health/Watch", &request.base);
    request.service = (char *)(uintptr_t) "x";
    call_message(&unknown, "/grpc.health.v1.Health/Watch", &request.base);
    call_message(&reply, "/grpc.health.v1.Health/Watch", &request.base);
    SERVE_UNTIL(known.message_count == 1 && unknown.message_count == 1 && reply.message_count == 1);
    ck_assert_int_eq(health_in(buf_bytes(&known.got)), SERVING);
    ck_assert_int_eq(health_in(buf_bytes(&unknown.got)), SERVICE_UNKNOWN);
    grpc_request_cancel(&reply.request);
    SERVE_UNTIL(calls_under_way() == 2);
    service_drain(served.service);
    SERVE_UNTIL(known.ended && unknown.ended);
    ck_assert_uint_eq(known.message_count, 2);
    ck_assert_int_eq(
        health_in(bytes_of(known.got.data + known.sizes[0], known.got.len - known.sizes[0])),
        NOT_SERVING);
    ck_assert_uint_eq(unknown.message_count, 1);
    ck_status(&known, GRPC_CANCELLED, "Stream has ended.");
    /* Who comes now is told at once. */
    request.service = (char *)(uintptr_t) "";
    ask(&known, "/grpc.health.v1.Health/Watch", &request.base);
    ck_assert_uint_eq(known.message_count, 1);
    ck_assert_int_eq(health_in(buf_bytes(&known.got)), NOT_SERVING);
    reply_fini(&known);
    reply_fini(&unknown);
}
END_TEST

static Suite *service_suite(void)
{
    Suite *suite = suite_create("service");
    TCase *tc = tcase_create("all_methods");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, who_requires_a_leader_is_refused_without_one);
    tcase_add_test(tc, a_client_version_is_a_text);
    tcase_add_loop_test(tc, a_malformed_message_is_refused, 0, ARRAY_LEN(malformed));
    tcase_add_test(tc, unknown_fields_are_passed_over);
    tcase_add_loop_test(tc, what_is_not_served_is_unimplemented, 0, 5);
    suite_add_tcase(suite, tc);
    tc = tcase_create("gone");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_client_that_goes_away_leaves_nothing_behind, 0, ARRAY_LEN(waits));
    tcase_add_test(tc, a_deadline_ends_the_waiting);
    tcase_add_test(tc, a_server_that_stops_answers_what_waits);
    suite_add_tcase(suite, tc);
    tc = tcase_create("member");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, status_tells_how_the_member_is);
    tcase_add_test(tc, hash_kv_tells_what_was_hashed);
    tcase_add_test(tc, member_list_shows_the_members);
    tcase_add_test(tc, health_is_told_to_who_asks);
    tcase_add_test(tc, health_watchers_hear_of_the_stop_and_are_let_go);
    suite_add_tcase(suite, tc);
    tc = tcase_create("no_quota");
    tcase_add_checked_fixture(tc, setup_without_quota, teardown);
    tcase_add_test(tc, no_quota_is_none_that_is_passed);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(service_suite);
}
