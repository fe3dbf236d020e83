/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "server/bootstrap.h"
#include "tests/unit/api/service_fixture.h"

#define ADD     "/etcdserverpb.Cluster/MemberAdd"
#define REMOVE  "/etcdserverpb.Cluster/MemberRemove"
#define UPDATE  "/etcdserverpb.Cluster/MemberUpdate"
#define PROMOTE "/etcdserverpb.Cluster/MemberPromote"
#define LIST    "/etcdserverpb.Cluster/MemberList"
#define RANGE   "/etcdserverpb.KV/Range"
#define PUT     "/etcdserverpb.KV/Put"
#define STATUS  "/etcdserverpb.Maintenance/Status"
#define WATCH   "/etcdserverpb.Watch/Watch"
#define HEALTH  "/grpc.health.v1.Health/Check"

#define URL_OF_SELF "http://localhost:2380"

static struct reply reply;

static void tear_down(void)
{
    reply_fini(&reply);
    served_stop();
}

/* ---- requests ---- */

static void ask_add(const char *const *urls, size_t count, bool learner)
{
    Etcdserverpb__MemberAddRequest request = ETCDSERVERPB__MEMBER_ADD_REQUEST__INIT;
    request.peerurls = (char **)(uintptr_t)urls;
    request.n_peerurls = count;
    request.islearner = learner;
    ask(&reply, ADD, &request.base);
}

static void ask_add_one(const char *url, bool learner)
{
    ask_add(&url, 1, learner);
}

static void ask_update(uint64_t id, const char *url)
{
    Etcdserverpb__MemberUpdateRequest request = ETCDSERVERPB__MEMBER_UPDATE_REQUEST__INIT;
    request.id = id;
    request.peerurls = (char **)(uintptr_t)&url;
    request.n_peerurls = 1;
    ask(&reply, UPDATE, &request.base);
}

static void ask_remove(uint64_t id)
{
    Etcdserverpb__MemberRemoveRequest request = ETCDSERVERPB__MEMBER_REMOVE_REQUEST__INIT;
    request.id = id;
    ask(&reply, REMOVE, &request.base);
}

static void ask_promote(uint64_t id)
{
    Etcdserverpb__MemberPromoteRequest request = ETCDSERVERPB__MEMBER_PROMOTE_REQUEST__INIT;
    request.id = id;
    ask(&reply, PROMOTE, &request.base);
}

/* The member that was added, from the answer. */
static uint64_t added_id(void)
{
    Etcdserverpb__MemberAddResponse *answer =
        answer_of(&reply, &etcdserverpb__member_add_response__descriptor);
    ck_assert_ptr_nonnull(answer->member);
    uint64_t id = answer->member->id;
    etcdserverpb__member_add_response__free_unpacked(answer, NULL);
    return id;
}

static const struct cluster_member *member(uint64_t id)
{
    return cluster_member(server_cluster(served.server), id);
}

/* It has been started: with data it is connected and near. */
static void publish(uint64_t id)
{
    CLEANUP(buf_fini) struct buf entry = {0};
    struct command command = {.kind = COMMAND_MEMBER_PUBLISH,
                              .member_publish = {.member_id = id, .name = bytes_of_str("other")}};
    entry_begin(&entry);
    command_encode(&entry, (struct command_origin){.member_id = id, .op = 1}, &command);
    entry_apply(&entry);
    node_fake_set_peer(served.node, id, 10000, 1);
}

/* ---- changes ---- */

START_TEST(a_member_is_added)
{
    static const char *const urls[] = {" http://b:2 ", "http://a:1"};
    ask_add(urls, 2, false);
    Etcdserverpb__MemberAddResponse *answer =
        answer_of(&reply, &etcdserverpb__member_add_response__descriptor);
    ck_assert_int_eq(answer->header->revision, 0);
    ck_assert_uint_eq(answer->header->member_id, MEMBER_ID);
    ck_assert_uint_eq(answer->member->n_peerurls, 2);
    ck_assert_str_eq(answer->member->peerurls[0], "http://a:1"); /* sorted and trimmed */
    ck_assert_str_eq(answer->member->peerurls[1], "http://b:2");
    ck_assert_str_eq(answer->member->name, "");
    ck_assert(!answer->member->islearner);
    ck_assert_uint_eq(answer->n_members, 2);
    ck_assert_uint_lt(answer->members[0]->id, answer->members[1]->id);
    ck_assert_ptr_nonnull(member(answer->member->id));
    etcdserverpb__member_add_response__free_unpacked(answer, NULL);
}
END_TEST

/* As etcd computes it: of the URLs and the time. */
START_TEST(its_id_is_etcds)
{
    char *urls[] = {(char[]){"http://a:1"}};
    uint64_t before = env_wall_ms(served.loop.env) / 1000;
    ask_add_one(urls[0], true);
    uint64_t after = env_wall_ms(served.loop.env) / 1000;
    uint64_t id = added_id();
    bool found = false;
    for (uint64_t second = before; second <= after; second++) {
        char token[32];
        snprintf(token, sizeof token, "%lu", second);
        found |= bootstrap_member_id(urls, 1, token) == id;
    }
    ck_assert(found);
}
END_TEST

static const char *const bad_urls[] = {
    "",
    "localhost:1",
    "ftp://localhost:1",
    "http://localhost",
    "http://localhost:1/path",
    "http://localhost:1/",
    "http://localhost:x",
    "http://user@localhost:1",
    "http://",
    " ",
};

START_TEST(urls_must_be_good)
{
    const char *urls[] = {"http://good:1", bad_urls[_i]};
    ask_add(urls, 2, false);
    ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: given member URLs are invalid");
    ask_update(MEMBER_ID, bad_urls[_i]);
    ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: given member URLs are invalid");
    ck_assert_str_eq(member(MEMBER_ID)->peer_urls[0], URL_OF_SELF);
}
END_TEST

START_TEST(urls_must_be_some_and_not_too_many)
{
    const char *urls[MEMBER_URLS_MAX + 1];
    char texts[MEMBER_URLS_MAX + 1][32];
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        snprintf(texts[i], sizeof texts[i], "http://h:%zu", i + 1);
        urls[i] = texts[i];
    }
    ask_add(urls, 0, false);
    ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: given member URLs are invalid");
    ask_add(urls, MEMBER_URLS_MAX + 1, false);
    ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: given member URLs are invalid");
    ask_add(urls, MEMBER_URLS_MAX, false);
    ck_assert_uint_eq(member(added_id())->peer_url_count, MEMBER_URLS_MAX);
}
END_TEST

START_TEST(what_is_against_the_rules_is_said_in_etcds_words)
{
    ask_add_one(URL_OF_SELF, false);
    ck_status(&reply, GRPC_FAILED_PRECONDITION, "etcdserver: Peer URLs already exists");
    ask_remove(0);
    ck_status(&reply, GRPC_NOT_FOUND, "etcdserver: member not found");
    ask_remove(77);
    ck_status(&reply, GRPC_NOT_FOUND, "etcdserver: member not found");
    ask_update(77, "http://a:1");
    ck_status(&reply, GRPC_NOT_FOUND, "etcdserver: member not found");
    ask_promote(77);
    ck_status(&reply, GRPC_NOT_FOUND, "etcdserver: member not found");
    ask_promote(MEMBER_ID);
    ck_status(&reply, GRPC_FAILED_PRECONDITION, "etcdserver: can only promote a learner member");
    ask_remove(MEMBER_ID);
    ck_status(&reply, GRPC_UNKNOWN,
              "etcdserver: re-configuration failed due to not enough started members");
    ask_add_one("http://a:1", true);
    ck_status(&reply, GRPC_OK, "");
    ask_add_one("http://b:1", true);
    ck_status(&reply, GRPC_FAILED_PRECONDITION, "etcdserver: too many learner members in cluster");
    ask_add_one("http://b:1", false);
    ck_status(&reply, GRPC_OK, "");
    ask_add_one("http://c:1", false);
    ck_status(&reply, GRPC_UNKNOWN,
              "etcdserver: re-configuration failed due to not enough started members");
}
END_TEST

START_TEST(a_cluster_that_is_not_whole_grows_no_more)
{
    ask_add_one("http://a:1", false);
    uint64_t second = added_id();
    publish(second);
    node_fake_set_peer(served.node, second, 0, 1);
    ask_add_one("http://b:1", false);
    ck_status(&reply, GRPC_UNAVAILABLE, "etcdserver: unhealthy cluster");
    node_fake_set_peer(served.node, second, 10000, 1);
    ask_add_one("http://b:1", false);
    ck_status(&reply, GRPC_OK, "");
}
END_TEST

START_TEST(a_learner_is_promoted_when_it_has_caught_up)
{
    ask_add_one("http://a:1", true);
    uint64_t learner = added_id();
    node_fake_set_peer(served.node, MEMBER_ID, 0, 100);
    node_fake_set_peer(served.node, learner, 10000, 89);
    ask_promote(learner);
    ck_status(&reply, GRPC_FAILED_PRECONDITION,
              "etcdserver: can only promote a learner member which is in sync with leader");
    ck_assert(member(learner)->learner);
    node_fake_set_peer(served.node, learner, 10000, 90);
    ask_promote(learner);
    Etcdserverpb__MemberPromoteResponse *answer =
        answer_of(&reply, &etcdserverpb__member_promote_response__descriptor);
    ck_assert_uint_eq(answer->n_members, 2);
    ck_assert(!answer->members[0]->islearner && !answer->members[1]->islearner);
    etcdserverpb__member_promote_response__free_unpacked(answer, NULL);
    ck_assert(!member(learner)->learner);
}
END_TEST

START_TEST(a_member_moves)
{
    ask_update(MEMBER_ID, "http://elsewhere:2380");
    Etcdserverpb__MemberUpdateResponse *answer =
        answer_of(&reply, &etcdserverpb__member_update_response__descriptor);
    ck_assert_uint_eq(answer->n_members, 1);
    ck_assert_str_eq(answer->members[0]->peerurls[0], "http://elsewhere:2380");
    ck_assert_str_eq(answer->members[0]->name, "default");
    etcdserverpb__member_update_response__free_unpacked(answer, NULL);
}
END_TEST

START_TEST(a_member_is_removed_for_good)
{
    ask_add_one("http://a:1", false);
    uint64_t second = added_id();
    ask_remove(second);
    Etcdserverpb__MemberRemoveResponse *answer =
        answer_of(&reply, &etcdserverpb__member_remove_response__descriptor);
    ck_assert_uint_eq(answer->n_members, 1);
    etcdserverpb__member_remove_response__free_unpacked(answer, NULL);
    ask_remove(second);
    ck_status(&reply, GRPC_NOT_FOUND, "etcdserver: member not found");
    ask_add_one("http://a:1", false); /* in the same second, perhaps: another one all the same */
    ck_assert_uint_ne(added_id(), second);
}
END_TEST

/* ---- a learner ---- */

static void set_up_learner(void)
{
    served.learner = true;
    served_start();
}

static void tear_down_learner(void)
{
    tear_down();
    served.learner = false;
}

static void expect_refused(const char *path, const ProtobufCMessage *request)
{
    ask(&reply, path, request);
    ck_status(&reply, GRPC_FAILED_PRECONDITION, "etcdserver: rpc not supported for learner");
}

START_TEST(a_learner_serves_next_to_nothing)
{
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__MemberListRequest list = ETCDSERVERPB__MEMBER_LIST_REQUEST__INIT;
    Etcdserverpb__MemberRemoveRequest remove = ETCDSERVERPB__MEMBER_REMOVE_REQUEST__INIT;
    Etcdserverpb__WatchRequest watch = ETCDSERVERPB__WATCH_REQUEST__INIT;
    Grpc__Health__V1__HealthCheckRequest health = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    range.key = BINARY("k");
    put.key = BINARY("k");
    expect_refused(RANGE, &range.base);
    expect_refused(PUT, &put.base);
    expect_refused(LIST, &list.base);
    expect_refused(REMOVE, &remove.base);
    expect_refused(WATCH, &watch.base);
    expect_refused(HEALTH, &health.base);
    range.serializable = true;
    ask(&reply, RANGE, &range.base);
    ck_status(&reply, GRPC_OK, "");
}
END_TEST

START_TEST(a_learner_says_that_it_is_one)
{
    for (unsigned learner = 0; learner < 2; learner++) {
        Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;
        ask(&reply, STATUS, &request.base);
        Etcdserverpb__StatusResponse *answer =
            answer_of(&reply, &etcdserverpb__status_response__descriptor);
        ck_assert_int_eq(answer->islearner, served.learner);
        etcdserverpb__status_response__free_unpacked(answer, NULL);
        if (learner == 0) { /* the other kind */
            bool was = served.learner;
            tear_down();
            served.learner = !was;
            served_start();
        }
    }
}
END_TEST

static Suite *cluster_suite(void)
{
    Suite *suite = suite_create("rpc_cluster");
    TCase *tc = tcase_create("rpc_cluster");
    tcase_add_checked_fixture(tc, served_start, tear_down);
    tcase_add_test(tc, a_member_is_added);
    tcase_add_test(tc, its_id_is_etcds);
    tcase_add_loop_test(tc, urls_must_be_good, 0, (int)ARRAY_LEN(bad_urls));
    tcase_add_test(tc, urls_must_be_some_and_not_too_many);
    tcase_add_test(tc, what_is_against_the_rules_is_said_in_etcds_words);
    tcase_add_test(tc, a_cluster_that_is_not_whole_grows_no_more);
    tcase_add_test(tc, a_learner_is_promoted_when_it_has_caught_up);
    tcase_add_test(tc, a_member_moves);
    tcase_add_test(tc, a_member_is_removed_for_good);
    suite_add_tcase(suite, tc);
    tc = tcase_create("learner");
    tcase_add_checked_fixture(tc, set_up_learner, tear_down_learner);
    tcase_add_test(tc, a_learner_serves_next_to_nothing);
    tcase_add_test(tc, a_learner_says_that_it_is_one);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(cluster_suite);
}
