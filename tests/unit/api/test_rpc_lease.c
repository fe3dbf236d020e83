/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/codec.h"
#include "tests/unit/api/service_fixture.h"

#define GRANT        "/etcdserverpb.Lease/LeaseGrant"
#define REVOKE       "/etcdserverpb.Lease/LeaseRevoke"
#define KEEP_ALIVE   "/etcdserverpb.Lease/LeaseKeepAlive"
#define TIME_TO_LIVE "/etcdserverpb.Lease/LeaseTimeToLive"
#define LEASES       "/etcdserverpb.Lease/LeaseLeases"
#define TTL_MIN      2 /* of elections of a second */

static struct reply reply;
static struct reply other;

static void setup(void)
{
    served_start();
}

static void teardown(void)
{
    reply_fini(&reply);
    reply_fini(&other);
    served_stop();
}

static void ask_grant(int64_t id, int64_t ttl_s)
{
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    request.id = id;
    request.ttl = ttl_s;
    ask(&reply, GRANT, &request.base);
}

static int64_t grant(int64_t id, int64_t ttl_s)
{
    ask_grant(id, ttl_s);
    Etcdserverpb__LeaseGrantResponse *answer =
        answer_of(&reply, &etcdserverpb__lease_grant_response__descriptor);
    ck_assert_uint_eq(answer->header->cluster_id, CLUSTER_ID);
    ck_assert_uint_eq(answer->header->member_id, MEMBER_ID);
    ck_assert_str_eq(answer->error, "");
    ck_assert_int_eq(answer->ttl, ttl_s > TTL_MIN ? ttl_s : TTL_MIN);
    int64_t got = answer->id;
    etcdserverpb__lease_grant_response__free_unpacked(answer, NULL);
    return got;
}

static void put(const char *key, int64_t lease)
{
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = BINARY(key);
    request.lease = lease;
    ask(&reply, "/etcdserverpb.KV/Put", &request.base);
}

static void ask_revoke(int64_t id)
{
    Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    request.id = id;
    ask(&reply, REVOKE, &request.base);
}

START_TEST(a_grant_chooses_an_id_and_raises_a_short_ttl)
{
    static const int64_t ttls[] = {INT64_MIN, -5, 0, 1, 2, 3, LEASE_TTL_MAX};
    int64_t last = 0;
    for (size_t i = 0; i < ARRAY_LEN(ttls); i++) {
        int64_t id = grant(0, ttls[i]);
        ck_assert_int_gt(id, 0);
        ck_assert_int_eq(id >> 48, MEMBER_ID & 0x7fff);
        ck_assert(i == 0 || id == last + 1);
        last = id;
    }
    ck_assert_int_eq(grant(77, 60), 77);
    ck_assert_int_eq(grant(INT64_MIN, 60), INT64_MIN);
    ck_assert_uint_eq(leases_count(fsm_leases(server_fsm(served.server))), ARRAY_LEN(ttls) + 2);
}
END_TEST

START_TEST(a_grant_is_refused_as_etcd_does)
{
    grant(7, 60);
    ask_grant(7, 60);
    ck_status(&reply, GRPC_FAILED_PRECONDITION, "etcdserver: lease already exists");
    ask_grant(7, LEASE_TTL_MAX + 1);
    ck_status(&reply, GRPC_OUT_OF_RANGE, "etcdserver: too large lease TTL");
    store_model_set_size(served.store, 2147483648);
    ask_grant(8, 60);
    ck_status(&reply, GRPC_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded");
    ask_revoke(7); /* gives space back */
    ck_status(&reply, GRPC_OK, "");
}
END_TEST

START_TEST(a_revoke_deletes_the_keys)
{
    grant(7, 60);
    put("a", 7);
    put("b", 7);
    ck_status(&reply, GRPC_OK, "");
    int64_t before = store_revision(served.store);
    ask_revoke(7);
    Etcdserverpb__LeaseRevokeResponse *answer =
        answer_of(&reply, &etcdserverpb__lease_revoke_response__descriptor);
    ck_assert_int_eq(answer->header->revision, before + 1);
    etcdserverpb__lease_revoke_response__free_unpacked(answer, NULL);
    ck_assert_uint_eq(store_key_count(served.store), 0);
    ask_revoke(7);
    ck_status(&reply, GRPC_NOT_FOUND, "etcdserver: requested lease not found");
    ask_revoke(0);
    ck_status(&reply, GRPC_NOT_FOUND, "etcdserver: requested lease not found");
    put("a", 7);
    ck_status(&reply, GRPC_NOT_FOUND, "etcdserver: requested lease not found");
}
END_TEST

/* ---- LeaseTimeToLive ---- */

static Etcdserverpb__LeaseTimeToLiveResponse *time_to_live(int64_t id, bool keys)
{
    Etcdserverpb__LeaseTimeToLiveRequest request = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    request.id = id;
    request.keys = keys;
    ask(&reply, TIME_TO_LIVE, &request.base);
    return answer_of(&reply, &etcdserverpb__lease_time_to_live_response__descriptor);
}

START_TEST(what_is_left_is_told_with_the_keys)
{
    grant(-7, 60);
    put("a", -7);
    put("b", -7);
    for (unsigned keys = 0; keys < 2; keys++) {
        Etcdserverpb__LeaseTimeToLiveResponse *answer = time_to_live(-7, keys != 0);
        ck_assert_int_eq(answer->header->revision, 3);
        ck_assert_int_eq(answer->id, -7);
        ck_assert_int_eq(answer->grantedttl, 60);
        ck_assert_int_ge(answer->ttl, 50);
        ck_assert_int_lt(answer->ttl, 61);
        ck_assert_uint_eq(answer->n_keys, keys * 2);
        for (size_t i = 0; i < answer->n_keys; i++) {
            ck_assert_uint_eq(answer->keys[i].len, 1);
        }
        ck_assert(answer->n_keys == 0 || answer->keys[0].data[0] != answer->keys[1].data[0]);
        etcdserverpb__lease_time_to_live_response__free_unpacked(answer, NULL);
    }
}
END_TEST

START_TEST(nothing_is_left_of_an_unknown_lease)
{
    Etcdserverpb__LeaseTimeToLiveResponse *answer = time_to_live(7, true);
    ck_assert_int_eq(answer->id, 7);
    ck_assert_int_eq(answer->ttl, -1);
    ck_assert_int_eq(answer->grantedttl, 0);
    etcdserverpb__lease_time_to_live_response__free_unpacked(answer, NULL);
}
END_TEST

/* ---- LeaseLeases ---- */

START_TEST(all_leases_are_listed)
{
    static const unsigned counts[] = {0, 1, 4095, 4096, 4097, 9000};
    struct buf entry;
    entry_begin(&entry);
    for (int64_t id = 1; id <= (int64_t)counts[_i]; id++) {
        struct command command = {.kind = COMMAND_LEASE_GRANT,
                                  .lease_grant = {.id = id, .ttl_s = 60}};
        command_encode(&entry, (struct command_origin){.member_id = 1}, &command);
    }
    entry_apply(&entry);
    Etcdserverpb__LeaseLeasesRequest request = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    ask(&reply, LEASES, &request.base);
    Etcdserverpb__LeaseLeasesResponse *answer =
        answer_of(&reply, &etcdserverpb__lease_leases_response__descriptor);
    ck_assert_uint_eq(answer->header->member_id, MEMBER_ID);
    ck_assert_uint_eq(answer->n_leases, counts[_i]);
    for (size_t i = 0; i < answer->n_leases; i++) {
        ck_assert_int_eq(answer->leases[i]->id, (int64_t)i + 1);
    }
    etcdserverpb__lease_leases_response__free_unpacked(answer, NULL);
}
END_TEST

/* ---- LeaseKeepAlive ---- */

static void send_id(struct reply *to, int64_t id)
{
    CLEANUP(buf_fini) struct buf message = {0};
    if (id != 0) {
        write_u8(&message, 8);
        write_varint(&message, (uint64_t)id);
    }
    grpc_request_send(&to->request, buf_bytes(&message));
}

static void ck_renewed(const struct reply *from, size_t i, int64_t id, int64_t ttl_s)
{
    size_t at = 0;
    for (size_t j = 0; j < i; j++) {
        at += from->sizes[j];
    }
    Etcdserverpb__LeaseKeepAliveResponse *answer =
        etcdserverpb__lease_keep_alive_response__unpack(NULL, from->sizes[i], from->got.data + at);
    ck_assert_ptr_nonnull(answer);
    ck_assert_uint_eq(answer->header->member_id, MEMBER_ID);
    ck_assert_int_eq(answer->header->revision, store_revision(served.store));
    ck_assert_int_eq(answer->id, id);
    ck_assert_int_eq(answer->ttl, ttl_s);
    etcdserverpb__lease_keep_alive_response__free_unpacked(answer, NULL);
}

START_TEST(renewals_are_answered_in_order)
{
    grant(7, 60);
    grant(-8, 100);
    call_stream(&reply, KEEP_ALIVE);
    static const int64_t ids[] = {7, 9, -8, 0, 7};
    static const int64_t ttls[] = {60, 0, 100, 0, 60};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        send_id(&reply, ids[i]);
    }
    SERVE_UNTIL(reply.message_count == 5);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        ck_renewed(&reply, i, ids[i], ttls[i]);
    }
    send_id(&reply, -8);
    SERVE_UNTIL(reply.message_count == 6);
    ck_renewed(&reply, 5, -8, 100);
    ck_assert(!reply.ended);
    send_id(&reply, 7);
    grpc_request_half_close(&reply.request);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OK, "");
    ck_assert_uint_eq(reply.message_count, 7); /* what came before the end is answered */
}
END_TEST

START_TEST(a_stream_without_a_message_ends_well)
{
    call_stream(&reply, KEEP_ALIVE);
    grpc_request_half_close(&reply.request);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OK, "");
}
END_TEST

static bool read_waits(void)
{
    return node_fake_read_count(served.node) == 1;
}

START_TEST(a_renewal_waits_until_the_leader_is_certain)
{
    grant(7, 60);
    served.hold_reads = true;
    call_stream(&reply, KEEP_ALIVE);
    send_id(&reply, 7);
    SERVE_UNTIL(read_waits());
    ck_assert_uint_eq(reply.message_count, 0);
    served.hold_reads = false;
    SERVE_UNTIL(reply.message_count == 1);
    ck_renewed(&reply, 0, 7, 60);
    grpc_request_cancel(&reply.request);
}
END_TEST

START_TEST(a_client_that_goes_away_is_forgotten)
{
    grant(7, 60);
    served.hold_reads = true;
    call_stream(&reply, KEEP_ALIVE);
    send_id(&reply, 7);
    SERVE_UNTIL(read_waits());
    grpc_request_cancel(&reply.request);
    SERVE_UNTIL(grpc_server_stats(service_grpc(served.service))->calls == 0);
    served.hold_reads = false;
    call_stream(&other, KEEP_ALIVE);
    send_id(&other, 7);
    SERVE_UNTIL(other.message_count == 1);
    ck_renewed(&other, 0, 7, 60);
    grpc_request_cancel(&other.request);
}
END_TEST

START_TEST(a_stop_ends_a_renewal)
{
    grant(7, 60);
    served.hold_reads = true;
    call_stream(&reply, KEEP_ALIVE);
    send_id(&reply, 7);
    SERVE_UNTIL(read_waits());
    served_stop_server();
    RUN_UNTIL(&served.loop, reply.ended);
    ck_status(&reply, GRPC_UNAVAILABLE, "etcdserver: server stopped");
}
END_TEST

/* ---- leaders ---- */

START_TEST(who_requires_a_leader_is_refused_without_one)
{
    node_fake_set_leader(served.node, TERM, 0);
    call_stream_with_metadata(&reply, KEEP_ALIVE, "hasleader", "true");
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_UNAVAILABLE, "etcdserver: no leader");
}
END_TEST

START_TEST(who_requires_a_leader_is_ended_when_there_is_none_for_long)
{
    struct reply renewing = {0};
    grant(7, 60);
    call_stream_with_metadata(&reply, KEEP_ALIVE, "hasleader", "true");
    call_stream_with_metadata(&renewing, KEEP_ALIVE, "hasleader", "true");
    call_stream(&other, KEEP_ALIVE);
    send_id(&reply, 7);
    send_id(&renewing, 7);
    send_id(&other, 7);
    SERVE_UNTIL(reply.message_count == 1 && renewing.message_count == 1 &&
                other.message_count == 1);
    node_fake_set_leader(served.node, TERM, 0);
    uint64_t before = env_now_ms(served.loop.env);
    send_id(&renewing, 7); /* it waits for a leader */
    SERVE_UNTIL(reply.ended && renewing.ended);
    ck_status(&reply, GRPC_UNAVAILABLE, "etcdserver: no leader");
    ck_status(&renewing, GRPC_UNAVAILABLE, "etcdserver: no leader");
    ck_assert_uint_eq(renewing.message_count, 1);
    ck_assert_uint_ge(env_now_ms(served.loop.env) - before, 2900); /* three election timeouts */
    ck_assert(!other.ended);
    grpc_request_cancel(&other.request);
    reply_fini(&renewing);
}
END_TEST

START_TEST(a_member_that_stops_ends_its_streams)
{
    grant(7, 60);
    call_stream(&reply, KEEP_ALIVE);
    send_id(&reply, 7);
    SERVE_UNTIL(reply.message_count == 1);
    service_drain(served.service);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_UNAVAILABLE, "etcdserver: server stopped");
    call_stream(&other, KEEP_ALIVE);
    SERVE_UNTIL(other.ended);
    ck_status(&other, GRPC_UNAVAILABLE, "etcdserver: server stopped");
}
END_TEST

static const struct {
    struct bytes message;
    bool well;
} messages[] = {
    {{(const uint8_t *)"\x08\x07", 2}, true},
    {{(const uint8_t *)"\x08\x01\x08\x07", 4}, true}, /* the last one wins */
    {{(const uint8_t *)"\x12\x03"
                       "abc"
                       "\x08\x07\x78\x01",
      9},
     true}, /* unknown fields */
    {{(const uint8_t *)"\x19"
                       "12345678"
                       "\x08\x07",
      11},
     true},
    {{(const uint8_t *)"\x1d"
                       "1234"
                       "\x08\x07",
      7},
     true},
    {{(const uint8_t *)"\x08", 1}, false},
    {{(const uint8_t *)"\x08\x87", 2}, false},
    {{(const uint8_t *)"\x12\x03"
                       "ab",
      4},
     false},
    {{(const uint8_t *)"\x19"
                       "1234567",
      8},
     false},
    {{(const uint8_t *)"\x1d"
                       "123",
      4},
     false},
    {{(const uint8_t *)"\x0b", 1}, false}, /* a group */
    {{(const uint8_t *)"\x00\x01", 2}, false},
    {{(const uint8_t *)"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}, false},
};

START_TEST(a_request_is_read_as_protobuf_says)
{
    grant(7, 60);
    call_stream(&reply, KEEP_ALIVE);
    grpc_request_send(&reply.request, messages[_i].message);
    SERVE_UNTIL(reply.ended || reply.message_count == 1);
    if (messages[_i].well) {
        ck_renewed(&reply, 0, 7, 60);
        grpc_request_cancel(&reply.request);
    } else {
        ck_assert(reply.ended);
        ck_assert_int_eq(reply.status, GRPC_INTERNAL);
        ck_assert(bytes_has_prefix(buf_bytes(&reply.text),
                                   bytes_of_str("grpc: error unmarshalling request: ")));
    }
}
END_TEST

START_TEST(a_stream_that_does_not_wait_has_a_bound)
{
    served.hold_reads = true;
    call_stream(&reply, KEEP_ALIVE);
    for (unsigned i = 0; i < LEASE_ASK_MAX + 2; i++) {
        send_id(&reply, 7);
    }
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_UNKNOWN, "etcdserver: too many requests");
}
END_TEST

START_TEST(leases_are_counted)
{
    grant(7, 60);
    grant(8, 60);
    ask_revoke(8);
    call_stream(&reply, KEEP_ALIVE);
    send_id(&reply, 7);
    send_id(&reply, 7);
    SERVE_UNTIL(reply.message_count == 2);
    grpc_request_cancel(&reply.request);
    CLEANUP(buf_fini) struct buf text = {0};
    metrics_write(served.metrics, &text);
    buf_append(&text, "", 1);
    static const char *const lines[] = {
        "\netcd_debugging_lease_granted_total 2\n",
        "\netcd_debugging_lease_revoked_total 1\n",
        "\netcd_debugging_lease_renewed_total 2\n",
        "\netcd_debugging_lease_ttl_total_sum 120\n",
        "\netcd_debugging_lease_ttl_total_bucket{le=\"64\"} 2\n",
        "\netcd_debugging_server_lease_expired_total 0\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        ck_assert_msg(strstr((const char *)text.data, lines[i]) != NULL, "no line %s", lines[i]);
    }
}
END_TEST

static Suite *rpc_lease_suite(void)
{
    Suite *suite = suite_create("rpc_lease");
    TCase *tc = tcase_create("lease");
    tcase_set_timeout(tc, 60); /* the model walks over all rows for each */
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_grant_chooses_an_id_and_raises_a_short_ttl);
    tcase_add_test(tc, a_grant_is_refused_as_etcd_does);
    tcase_add_test(tc, a_revoke_deletes_the_keys);
    tcase_add_test(tc, what_is_left_is_told_with_the_keys);
    tcase_add_test(tc, nothing_is_left_of_an_unknown_lease);
    tcase_add_loop_test(tc, all_leases_are_listed, 0, 6);
    tcase_add_test(tc, leases_are_counted);
    suite_add_tcase(suite, tc);
    tc = tcase_create("keep_alive");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, renewals_are_answered_in_order);
    tcase_add_test(tc, a_stream_without_a_message_ends_well);
    tcase_add_test(tc, a_renewal_waits_until_the_leader_is_certain);
    tcase_add_test(tc, a_client_that_goes_away_is_forgotten);
    tcase_add_test(tc, a_stop_ends_a_renewal);
    tcase_add_test(tc, who_requires_a_leader_is_refused_without_one);
    tcase_add_test(tc, who_requires_a_leader_is_ended_when_there_is_none_for_long);
    tcase_add_test(tc, a_member_that_stops_ends_its_streams);
    tcase_add_loop_test(tc, a_request_is_read_as_protobuf_says, 0, ARRAY_LEN(messages));
    tcase_add_test(tc, a_stream_that_does_not_wait_has_a_bound);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(rpc_lease_suite);
}
