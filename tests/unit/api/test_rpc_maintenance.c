/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/alarm.h"
#include "tests/unit/api/service_fixture.h"

#define ALARM       "/etcdserverpb.Maintenance/Alarm"
#define STATUS      "/etcdserverpb.Maintenance/Status"
#define DEFRAGMENT  "/etcdserverpb.Maintenance/Defragment"
#define HASH        "/etcdserverpb.Maintenance/Hash"
#define MOVE_LEADER "/etcdserverpb.Maintenance/MoveLeader"

#define GET        ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET
#define ACTIVATE   ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE
#define DEACTIVATE ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE

static struct reply reply;

static void tear_down(void)
{
    reply_fini(&reply);
    served_stop();
}

/* ---- Alarm ---- */

/* Ask, and hold the answer against WANT. */
static void ask_alarm(int action, int type, uint64_t member_id, const struct alarm *want,
                      size_t count)
{
    Etcdserverpb__AlarmRequest request = ETCDSERVERPB__ALARM_REQUEST__INIT;
    request.action = (Etcdserverpb__AlarmRequest__AlarmAction)action;
    request.alarm = (Etcdserverpb__AlarmType)type;
    request.memberid = member_id;
    ask(&reply, ALARM, &request.base);
    Etcdserverpb__AlarmResponse *answer =
        answer_of(&reply, &etcdserverpb__alarm_response__descriptor);
    ck_assert_ptr_nonnull(answer->header);
    ck_assert_int_eq(answer->header->revision, store_revision(served.store));
    ck_assert_uint_eq(answer->n_alarms, count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(answer->alarms[i]->alarm, want[i].type);
        ck_assert_uint_eq(answer->alarms[i]->memberid, want[i].member_id);
    }
    etcdserverpb__alarm_response__free_unpacked(answer, NULL);
}

START_TEST(alarms_are_raised_listed_and_cleared)
{
    static const struct alarm all[] = {
        {ALARM_NOSPACE, 3}, {ALARM_NOSPACE, MEMBER_ID}, {ALARM_CORRUPT, 0}, {9, 1}};
    put_key("k", "1");
    ask_alarm(GET, ALARM_NONE, 0, NULL, 0);
    ask_alarm(ACTIVATE, 9, 1, &all[3], 1);
    ask_alarm(ACTIVATE, ALARM_NOSPACE, MEMBER_ID, &all[1], 1);
    ask_alarm(ACTIVATE, ALARM_NOSPACE, MEMBER_ID, &all[1], 1);
    ask_alarm(ACTIVATE, ALARM_CORRUPT, 0, &all[2], 1);
    ask_alarm(ACTIVATE, ALARM_NOSPACE, 3, &all[0], 1);
    ask_alarm(GET, ALARM_NONE, 0, all, 4);
    ask_alarm(GET, ALARM_NONE, 3, all, 4); /* whose is not asked */
    ask_alarm(GET, ALARM_NOSPACE, 0, all, 2);
    ask_alarm(GET, ALARM_CORRUPT, 0, all + 2, 1);
    ask_alarm(GET, 8, 0, NULL, 0);
    ask_alarm(GET, 10, 0, NULL, 0);
    ask_alarm(DEACTIVATE, ALARM_CORRUPT, 3, NULL, 0);
    ask_alarm(DEACTIVATE, ALARM_CORRUPT, 0, &all[2], 1);
    ask_alarm(DEACTIVATE, ALARM_CORRUPT, 0, NULL, 0);
    ask_alarm(GET, ALARM_CORRUPT, 0, NULL, 0);
}
END_TEST

START_TEST(no_alarm_and_no_action_do_nothing)
{
    ask_alarm(ACTIVATE, ALARM_NONE, MEMBER_ID, NULL, 0);
    ask_alarm(DEACTIVATE, ALARM_NONE, MEMBER_ID, NULL, 0);
    ask_alarm(17, ALARM_NOSPACE, MEMBER_ID, NULL, 0);
    ask_alarm(GET, ALARM_NONE, 0, NULL, 0);
}
END_TEST

START_TEST(a_list_of_alarms_is_linearizable)
{
    Etcdserverpb__AlarmRequest request = ETCDSERVERPB__ALARM_REQUEST__INIT;
    served.hold_reads = true;
    call_message(&reply, ALARM, &request.base);
    SERVE_UNTIL(node_fake_read_count(served.node) == 1);
    ck_assert(!reply.ended);
    node_fake_answer_reads(served.node, ERR_TIMEOUT);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_UNAVAILABLE, "etcdserver: request timed out");
}
END_TEST

START_TEST(status_tells_alarms_after_the_missing_leader)
{
    static const char *const want[] = {"etcdserver: no leader", "memberID:3 alarm:NOSPACE",
                                       "alarm:CORRUPT", "memberID:10276657743932975437 alarm:77"};
    static const struct alarm alarms[] = {{ALARM_NOSPACE, 3}, {ALARM_CORRUPT, 0}, {77, MEMBER_ID}};
    for (size_t i = 0; i < ARRAY_LEN(alarms); i++) {
        ask_alarm(ACTIVATE, (int)alarms[i].type, alarms[i].member_id, &alarms[i], 1);
    }
    node_fake_set_leader(served.node, TERM, 0);
    Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;
    ask(&reply, STATUS, &request.base);
    Etcdserverpb__StatusResponse *answer =
        answer_of(&reply, &etcdserverpb__status_response__descriptor);
    ck_assert_uint_eq(answer->n_errors, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        ck_assert_str_eq(answer->errors[i], want[i]);
    }
    etcdserverpb__status_response__free_unpacked(answer, NULL);
}
END_TEST

/* ---- Defragment ---- */

START_TEST(defragment_answers_nothing_when_it_is_done)
{
    Etcdserverpb__DefragmentRequest request = ETCDSERVERPB__DEFRAGMENT_REQUEST__INIT;
    store_model_set_size(served.store, 4096);
    ask(&reply, DEFRAGMENT, &request.base);
    ck_status(&reply, GRPC_OK, "");
    ck_assert_uint_eq(reply.got.len, 0);
    ck_assert_uint_eq(reply.message_count, 1);
    ck_assert_uint_eq(store_size_bytes(served.store), 2048);
    store_model_fail_defragment(served.store, ERR_IO);
    ask(&reply, DEFRAGMENT, &request.base);
    ck_status(&reply, GRPC_UNKNOWN, "input/output error");
}
END_TEST

/* ---- Hash ---- */

static uint32_t hash(void)
{
    Etcdserverpb__HashRequest request = ETCDSERVERPB__HASH_REQUEST__INIT;
    ask(&reply, HASH, &request.base);
    Etcdserverpb__HashResponse *answer =
        answer_of(&reply, &etcdserverpb__hash_response__descriptor);
    ck_assert_int_eq(answer->header->revision, store_revision(served.store));
    uint32_t found = answer->hash;
    etcdserverpb__hash_response__free_unpacked(answer, NULL);
    return found;
}

START_TEST(hash_is_of_everything)
{
    static const struct alarm raised = {ALARM_CORRUPT, 3};
    uint32_t empty = hash();
    put_key("k", "1");
    uint32_t one = hash();
    ck_assert_uint_ne(one, empty);
    ck_assert_uint_eq(hash(), one);
    ask_alarm(ACTIVATE, ALARM_CORRUPT, 3, &raised, 1);
    ck_assert_uint_ne(hash(), one);
    ask_alarm(DEACTIVATE, ALARM_CORRUPT, 3, &raised, 1);
    ck_assert_uint_eq(hash(), one);
}
END_TEST

/* ---- MoveLeader ---- */

#define OTHER 5u

/* A second member, which has told its name. */
static void add_member(void)
{
    CLEANUP(buf_fini) struct buf entry = {0};
    struct bytes url = bytes_of_str("http://localhost:3380");
    struct command add = {.kind = COMMAND_MEMBER_ADD,
                          .member = {.id = OTHER, .peer_urls = &url, .peer_url_count = 1}};
    struct command publish = {
        .kind = COMMAND_MEMBER_PUBLISH,
        .member_publish = {.member_id = OTHER, .name = bytes_of_str("other")}};
    entry_begin(&entry);
    command_encode(&entry, (struct command_origin){.member_id = OTHER, .op = 1}, &add);
    command_encode(&entry, (struct command_origin){.member_id = OTHER, .op = 2}, &publish);
    entry_apply(&entry);
}

static void begin_move(uint64_t target)
{
    Etcdserverpb__MoveLeaderRequest request = ETCDSERVERPB__MOVE_LEADER_REQUEST__INIT;
    reply_fini(&reply);
    request.targetid = target;
    call_message(&reply, MOVE_LEADER, &request.base);
}

static void move_leader(uint64_t target)
{
    begin_move(target);
    SERVE_UNTIL(reply.ended);
}

START_TEST(only_the_leader_moves_leadership_and_only_to_a_member)
{
    add_member();
    move_leader(77);
    ck_status(&reply, GRPC_FAILED_PRECONDITION, "etcdserver: bad leader transferee");
    move_leader(0);
    ck_status(&reply, GRPC_FAILED_PRECONDITION, "etcdserver: bad leader transferee");
    move_leader(MEMBER_ID); /* has it */
    ck_status(&reply, GRPC_OK, "");
    ck_assert(!node_fake_transferring(served.node));
    node_fake_set_leader(served.node, TERM, OTHER);
    move_leader(OTHER);
    ck_status(&reply, GRPC_FAILED_PRECONDITION, "etcdserver: not leader");
    move_leader(77);
    ck_status(&reply, GRPC_FAILED_PRECONDITION, "etcdserver: not leader");
}
END_TEST

static const struct {
    enum err status; /* of the transfer */
    uint64_t leader;
    enum grpc_status want;
    const char *text;
} moves[] = {
    {OK, OTHER, GRPC_OK, ""},
    {OK, 6, GRPC_UNKNOWN, "etcdserver: request timed out, leader transfer took too long"},
    {ERR_TIMEOUT, MEMBER_ID, GRPC_UNKNOWN,
     "etcdserver: request timed out, leader transfer took too long"},
    {ERR_NOT_FOUND, MEMBER_ID, GRPC_UNKNOWN,
     "etcdserver: request timed out, leader transfer took too long"},
    {ERR_TOO_MANY_REQUESTS, MEMBER_ID, GRPC_UNKNOWN, "etcdserver: too many requests"},
    {ERR_STOPPED, MEMBER_ID, GRPC_UNAVAILABLE, "etcdserver: server stopped"},
};

START_TEST(moving_leadership_waits_until_it_is_done)
{
    add_member();
    begin_move(OTHER);
    SERVE_UNTIL(node_fake_transferring(served.node));
    ck_assert(!reply.ended);
    ck_assert_uint_eq(node_fake_transfer_target(served.node), OTHER);
    node_fake_set_leader(served.node, TERM, moves[_i].leader);
    node_fake_finish_transfer(served.node, moves[_i].status);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, moves[_i].want, moves[_i].text);
    ck_assert_uint_eq(reply.got.len, 0);
}
END_TEST

START_TEST(who_moves_leadership_and_leaves_is_forgotten)
{
    add_member();
    begin_move(OTHER);
    SERVE_UNTIL(node_fake_transferring(served.node));
    grpc_client_close(served.client);
    SERVE_UNTIL(served.client_closed);
    node_fake_finish_transfer(served.node, OK);
    SERVE_UNTIL(!node_fake_transferring(served.node));
}
END_TEST

static Suite *maintenance_suite(void)
{
    Suite *suite = suite_create("rpc_maintenance");
    TCase *tc = tcase_create("rpc_maintenance");
    tcase_add_checked_fixture(tc, served_start, tear_down);
    tcase_add_test(tc, alarms_are_raised_listed_and_cleared);
    tcase_add_test(tc, no_alarm_and_no_action_do_nothing);
    tcase_add_test(tc, a_list_of_alarms_is_linearizable);
    tcase_add_test(tc, status_tells_alarms_after_the_missing_leader);
    tcase_add_test(tc, defragment_answers_nothing_when_it_is_done);
    tcase_add_test(tc, hash_is_of_everything);
    tcase_add_test(tc, only_the_leader_moves_leadership_and_only_to_a_member);
    tcase_add_loop_test(tc, moving_leadership_waits_until_it_is_done, 0, ARRAY_LEN(moves));
    tcase_add_test(tc, who_moves_leadership_and_leaves_is_forgotten);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(maintenance_suite);
}
