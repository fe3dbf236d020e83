/* SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "net/grpc_client_private.h"
#include "proto/election.pb-c.h"
#include "tests/lib/effort.h"
#include "tests/unit/api/contend_fixture.h"

#define CAMPAIGN "/v3electionpb.Election/Campaign"
#define PROCLAIM "/v3electionpb.Election/Proclaim"
#define LEADER   "/v3electionpb.Election/Leader"
#define OBSERVE  "/v3electionpb.Election/Observe"
#define RESIGN   "/v3electionpb.Election/Resign"

#define CALLERS 4
static struct reply replies[CALLERS];
static struct reply reply;
static struct reply observed;

static void setup(void)
{
    served_start();
    for (int64_t id = 1; id <= CALLERS; id++) {
        grant_lease(id);
    }
}

static void end(struct reply *r)
{
    if (grpc_request_is_active(&r->request)) {
        grpc_request_cancel(&r->request);
    }
    reply_fini(r);
}

static void teardown(void)
{
    for (size_t i = 0; i < CALLERS; i++) {
        end(&replies[i]);
    }
    end(&reply);
    end(&observed);
    served_stop();
}

/* ---- requests ---- */

static void campaign(struct reply *r, int64_t lease, const char *value)
{
    V3electionpb__CampaignRequest request = V3ELECTIONPB__CAMPAIGN_REQUEST__INIT;
    request.name = BINARY("e");
    request.lease = lease;
    request.value = BINARY(value);
    call_message(r, CAMPAIGN, &request.base);
}

/* Answered with that key, made at REV, and a header of REVISION. */
static void ck_elected(const struct reply *r, const char *key, int64_t rev, int64_t lease,
                       int64_t revision)
{
    V3electionpb__CampaignResponse *answer =
        answer_of(r, &v3electionpb__campaign_response__descriptor);
    ck_assert_uint_eq(answer->header->member_id, MEMBER_ID);
    ck_assert_int_eq(answer->header->revision, revision);
    ck_assert_uint_eq(answer->leader->name.len, 1);
    ck_assert_int_eq(answer->leader->name.data[0], 'e');
    ck_assert_uint_eq(answer->leader->key.len, strlen(key));
    ck_assert_mem_eq(answer->leader->key.data, key, strlen(key));
    ck_assert_int_eq(answer->leader->rev, rev);
    ck_assert_int_eq(answer->leader->lease, lease);
    v3electionpb__campaign_response__free_unpacked(answer, NULL);
}

static void elect(int64_t lease, const char *value)
{
    campaign(&reply, lease, value);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OK, "");
}

static V3electionpb__LeaderKey leader_key(const char *key, int64_t rev, int64_t lease)
{
    V3electionpb__LeaderKey leader = V3ELECTIONPB__LEADER_KEY__INIT;
    leader.name = BINARY("e");
    leader.key = BINARY(key);
    leader.rev = rev;
    leader.lease = lease;
    return leader;
}

static void proclaim(V3electionpb__LeaderKey *leader, const char *value)
{
    V3electionpb__ProclaimRequest request = V3ELECTIONPB__PROCLAIM_REQUEST__INIT;
    request.leader = leader;
    request.value = BINARY(value);
    ask(&reply, PROCLAIM, &request.base);
}

static void resign(V3electionpb__LeaderKey *leader)
{
    V3electionpb__ResignRequest request = V3ELECTIONPB__RESIGN_REQUEST__INIT;
    request.leader = leader;
    ask(&reply, RESIGN, &request.base);
}

static void ask_leader(void)
{
    V3electionpb__LeaderRequest request = V3ELECTIONPB__LEADER_REQUEST__INIT;
    request.name = BINARY("e");
    ask(&reply, LEADER, &request.base);
}

/* "key=value@mod_revision#header ". */
static void write_leader(const struct reply *r, size_t at, size_t size, struct buf *text)
{
    V3electionpb__LeaderResponse *answer =
        v3electionpb__leader_response__unpack(NULL, size, r->got.data + at);
    ck_assert_ptr_nonnull(answer);
    ck_assert_uint_eq(answer->header->member_id, MEMBER_ID);
    buf_printf(text, "%.*s=%.*s@%lld#%lld ", (int)answer->kv->key.len,
               (const char *)answer->kv->key.data, (int)answer->kv->value.len,
               (const char *)answer->kv->value.data, (long long)answer->kv->mod_revision,
               (long long)answer->header->revision);
    v3electionpb__leader_response__free_unpacked(answer, NULL);
}

/* What was told so far. */
static void ck_told(const struct reply *r, const char *want)
{
    CLEANUP(buf_fini) struct buf text = {0};
    size_t at = 0;
    for (size_t i = 0; i < r->message_count; i++) {
        write_leader(r, at, r->sizes[i], &text);
        at += r->sizes[i];
    }
    buf_append(&text, "", 1);
    ck_assert_str_eq((const char *)text.data, want);
}

static void observe(struct reply *r)
{
    V3electionpb__LeaderRequest request = V3ELECTIONPB__LEADER_REQUEST__INIT;
    request.name = BINARY("e");
    call_message(r, OBSERVE, &request.base);
}

/* ---- campaigns ---- */

START_TEST(who_campaigns_alone_is_elected)
{
    campaign(&replies[0], 1, "one");
    SERVE_UNTIL(replies[0].ended);
    ck_elected(&replies[0], "e/1", 2, 1, 2);
    ask_leader();
    ck_told(&reply, "e/1=one@2#2 ");
}
END_TEST

START_TEST(who_campaigns_again_changes_its_value)
{
    elect(1, "one");
    put_key("other", "x");
    campaign(&replies[0], 1, "two");
    SERVE_UNTIL(replies[0].ended);
    ck_elected(&replies[0], "e/1", 2, 1, 3);
    ask_leader();
    ck_told(&reply, "e/1=two@4#4 ");
    campaign(&replies[0], 1, "two"); /* and not without need */
    SERVE_UNTIL(replies[0].ended);
    ck_elected(&replies[0], "e/1", 2, 1, 4);
    ck_assert_int_eq(store_revision(served.store), 4);
}
END_TEST

START_TEST(others_are_elected_in_order)
{
    for (unsigned i = 0; i < CALLERS; i++) {
        campaign(&replies[i], i + 1, "v");
        SERVE_UNTIL(i == 0 ? replies[0].ended : watcher_count() == 2 * i);
    }
    for (unsigned i = 1; i < CALLERS; i++) {
        char key[8];
        snprintf(key, sizeof key, "e/%u", i);
        V3electionpb__LeaderKey leader = leader_key(key, i + 1, i);
        resign(&leader);
        ck_status(&reply, GRPC_OK, "");
        SERVE_UNTIL(replies[i].ended);
        snprintf(key, sizeof key, "e/%u", i + 1);
        ck_elected(&replies[i], key, i + 2, i + 1, i + 2);
        for (unsigned j = i + 1; j < CALLERS; j++) {
            ck_assert(!replies[j].ended);
        }
    }
}
END_TEST

START_TEST(whose_lease_ends_meanwhile_is_not_elected)
{
    elect(1, "one");
    campaign(&replies[1], 2, "two");
    SERVE_UNTIL(watcher_count() == 2);
    revoke_lease(2);
    SERVE_UNTIL(replies[1].ended);
    ck_status(&replies[1], GRPC_UNKNOWN, "election: not leader");
    campaign(&replies[1], 2, "two");
    SERVE_UNTIL(replies[1].ended);
    ck_status(&replies[1], GRPC_UNKNOWN, "etcdserver: requested lease not found");
}
END_TEST

START_TEST(who_goes_away_is_no_candidate_any_more)
{
    elect(1, "one");
    campaign(&replies[1], 2, "two");
    SERVE_UNTIL(watcher_count() == 2);
    grpc_request_cancel(&replies[1].request);
    SERVE_UNTIL(!has_key("e/2") && watcher_count() == 0 && call_count() == 0);
    ck_assert(has_key("e/1"));
}
END_TEST

/* The value is put in a second step: what happens in between. */
START_TEST(a_change_of_value_is_one_step_of_several)
{
    elect(1, "one");
    served.hold_writes = true;
    campaign(&replies[1], 1, "two");
    SERVE_UNTIL(node_fake_proposal_count(served.node) == 1);
    store_model_set_pending(served.store, _i == 2 ? RING_BYTES_MAX + 1 : 0);
    node_fake_commit(served.node);
    SERVE_UNTIL(_i == 2 ? replies[1].ended : node_fake_proposal_count(served.node) == 1);
    if (_i == 0) { /* the key goes */
        served.hold_writes = false;
        struct buf entry;
        entry_begin(&entry);
        struct command command = {.kind = COMMAND_DELETE_RANGE,
                                  .delete_range.key = bytes_of_str("e/1")};
        command_encode(&entry, (struct command_origin){.member_id = 1}, &command);
        entry_apply(&entry);
        SERVE_UNTIL(replies[1].ended);
        ck_status(&replies[1], GRPC_UNKNOWN, "election: not leader");
    } else if (_i == 1) { /* the client goes: the earlier campaign stands */
        grpc_request_cancel(&replies[1].request);
        SERVE_UNTIL(call_count() == 0);
        served.hold_writes = false;
        put_key("other", "x");
        ck_assert(has_key("e/1"));
    } else { /* it is refused: likewise */
        served.hold_writes = false;
        store_model_set_pending(served.store, 0);
        ck_status(&replies[1], GRPC_UNKNOWN, "etcdserver: too many requests");
        put_key("other", "x");
        ck_assert(has_key("e/1"));
    }
}
END_TEST

/* ---- leaders ---- */

START_TEST(who_leads_proclaims)
{
    elect(1, "one");
    V3electionpb__LeaderKey leader = leader_key("e/1", 2, 1);
    proclaim(&leader, "two");
    V3electionpb__ProclaimResponse *answer =
        answer_of(&reply, &v3electionpb__proclaim_response__descriptor);
    ck_assert_int_eq(answer->header->revision, 3);
    v3electionpb__proclaim_response__free_unpacked(answer, NULL);
    ask_leader();
    ck_told(&reply, "e/1=two@3#3 ");
}
END_TEST

START_TEST(who_leads_no_more_does_not_proclaim_but_resigns)
{
    elect(1, "one");
    V3electionpb__LeaderKey leader = leader_key("e/1", 2, 1);
    revoke_lease(1);
    proclaim(&leader, "two");
    ck_status(&reply, GRPC_UNKNOWN, "election: not leader");
    resign(&leader);
    V3electionpb__ResignResponse *answer =
        answer_of(&reply, &v3electionpb__resign_response__descriptor);
    ck_assert_int_eq(answer->header->revision, 3);
    v3electionpb__resign_response__free_unpacked(answer, NULL);
}
END_TEST

START_TEST(another_term_of_the_same_key_is_not_touched)
{
    elect(1, "one");
    V3electionpb__LeaderKey first = leader_key("e/1", 2, 1);
    resign(&first);
    ck_assert(!has_key("e/1"));
    elect(1, "again");
    proclaim(&first, "two");
    ck_status(&reply, GRPC_UNKNOWN, "election: not leader");
    resign(&first);
    ck_status(&reply, GRPC_OK, "");
    ask_leader();
    ck_told(&reply, "e/1=again@4#4 ");
}
END_TEST

START_TEST(a_proclamation_without_a_lease_gets_one)
{
    const struct leases *leases = fsm_leases(server_fsm(served.server));
    elect(1, "one");
    V3electionpb__LeaderKey leader = leader_key("e/1", 2, 0);
    proclaim(&leader, "two");
    ck_status(&reply, GRPC_OK, "");
    ck_assert_uint_eq(leases_count(leases), CALLERS + 1);
    revoke_lease(1);
    ck_assert(has_key("e/1"));
}
END_TEST

START_TEST(what_is_missing_is_said)
{
    proclaim(NULL, "x");
    ck_status(&reply, GRPC_UNKNOWN, "\"leader\" field must be provided");
    resign(NULL);
    ck_status(&reply, GRPC_UNKNOWN, "\"leader\" field must be provided");
    V3electionpb__LeaderKey leader = leader_key("", 2, 1);
    proclaim(&leader, "x");
    ck_status(&reply, GRPC_UNKNOWN, "etcdserver: key is not provided");
    resign(&leader);
    ck_status(&reply, GRPC_UNKNOWN, "etcdserver: key is not provided");
    ask_leader();
    ck_status(&reply, GRPC_UNKNOWN, "election: no leader");
}
END_TEST

/* ---- observers ---- */

START_TEST(leaders_are_told_in_order)
{
    observe(&observed);
    SERVE_UNTIL(watcher_count() == 1); /* nobody leads yet */
    elect(1, "one");
    SERVE_UNTIL(observed.message_count == 1);
    V3electionpb__LeaderKey first = leader_key("e/1", 2, 1);
    proclaim(&first, "more");
    SERVE_UNTIL(observed.message_count == 2);
    campaign(&replies[1], 2, "two");
    SERVE_UNTIL(watcher_count() == 3);
    resign(&first);
    SERVE_UNTIL(replies[1].ended && observed.message_count == 3);
    revoke_lease(2); /* nobody leads again */
    SERVE_UNTIL(watcher_count() == 1);
    put_key("other", "x");
    elect(3, "three");
    SERVE_UNTIL(observed.message_count == 4);
    ck_told(&observed, "e/1=one@2#2 e/1=more@3#3 e/2=two@4#5 e/3=three@8#8 ");
    ck_assert(!observed.ended);
    grpc_request_cancel(&observed.request);
    SERVE_UNTIL(watcher_count() == 0);
}
END_TEST

START_TEST(who_leads_already_is_told_at_once)
{
    elect(1, "one");
    put_key("other", "x");
    observe(&observed);
    SERVE_UNTIL(observed.message_count == 1);
    ck_told(&observed, "e/1=one@2#3 ");
}
END_TEST

/* All within one turn: the first is told, what follows is looked for. */
START_TEST(leaders_that_come_and_go_at_once_are_not_mixed_up)
{
    observe(&observed);
    SERVE_UNTIL(watcher_count() == 1);
    struct buf entry;
    entry_begin(&entry);
    entry_put(&entry, bytes_of_str("e/a"), bytes_of_str("1"));
    entry_put(&entry, bytes_of_str("e/b"), bytes_of_str("2"));
    entry_put(&entry, bytes_of_str("e/a"), bytes_of_str("3"));
    struct command command = {.kind = COMMAND_DELETE_RANGE,
                              .delete_range.key = bytes_of_str("e/a")};
    command_encode(&entry, (struct command_origin){.member_id = 1}, &command);
    entry_apply(&entry);
    SERVE_UNTIL(observed.message_count == 3);
    ck_told(&observed, "e/a=1@2#2 e/a=3@4#5 e/b=2@3#5 "); /* of the newest, for who catches up */
}
END_TEST

/* One leader that proclaims again and again, or one after the other. What the server sends stays in
 * the sockets, and then with the server; in the end the last one is told. */
START_TEST(an_observer_that_does_not_read_costs_little)
{
    enum { VALUE = 100000, LEAST = 40 };
    static_assert(VALUE * LEAST > 4 * WATCH_STREAM_BYTES_MAX, "much more than a stream holds");
    unsigned changes = effort_count(200, LEAST, "changes");
    static uint8_t value[VALUE];
    observe(&observed);
    SERVE_UNTIL(watcher_count() == 1);
    stream_pause(served.client->h2.stream, true);
    for (unsigned i = 0; i < changes; i++) {
        struct buf entry;
        struct command command = {.kind = COMMAND_DELETE_RANGE,
                                  .delete_range.key = bytes_of_str("e/a")};
        entry_begin(&entry);
        if (_i == 1) {
            command_encode(&entry, (struct command_origin){.member_id = 1}, &command);
        }
        memset(value, i + 1 < changes ? '-' : 'z', VALUE);
        entry_put(&entry, bytes_of_str("e/a"), bytes_of(value, VALUE));
        entry_apply(&entry);
        for (unsigned turn = 0; turn < 3; turn++) {
            served_pump();
            loop_turns(&served.loop, 1);
        }
        ck_assert_uint_le(grpc_server_stats(service_grpc(served.service))->pending_bytes,
                          WATCH_STREAM_BYTES_MAX + WATCH_SLICE_BYTES + 2 * VALUE);
    }
    ck_assert_uint_ge(grpc_server_stats(service_grpc(served.service))->pending_bytes,
                      WATCH_STREAM_BYTES_MAX);
    stream_pause(served.client->h2.stream, false);
    SERVE_UNTIL(observed.got.len > VALUE && observed.got.data[observed.got.len - 100] == 'z');
    ck_assert(_i == 1 || observed.message_count == changes);
}
END_TEST

/* Between the look and the watch history goes: it looks again. */
START_TEST(who_fell_behind_is_told_who_leads_now)
{
    elect(1, "one");
    store_model_set_dear(served.store, true);
    store_model_hold(served.store, true);
    observe(&observed);
    SERVE_UNTIL(store_model_waiting(served.store) == 1);
    V3electionpb__LeaderKey first = leader_key("e/1", 2, 1);
    proclaim(&first, "two");
    proclaim(&first, "three");
    struct buf entry;
    entry_begin(&entry);
    entry_compact(&entry, 4);
    entry_apply(&entry);
    store_model_hold(served.store, false);
    SERVE_UNTIL(observed.message_count == 2);
    ck_told(&observed, "e/1=one@2#2 e/1=three@4#4 ");
}
END_TEST

START_TEST(an_observer_is_ended_without_a_leader_if_it_requires_one)
{
    V3electionpb__LeaderRequest request = V3ELECTIONPB__LEADER_REQUEST__INIT;
    request.name = BINARY("e");
    call_with_metadata(&observed, OBSERVE, &request.base, "hasleader", bytes_of_str("true"));
    SERVE_UNTIL(watcher_count() == 1);
    node_fake_set_leader(served.node, TERM, 0);
    SERVE_UNTIL(observed.ended);
    ck_status(&observed, GRPC_UNAVAILABLE, "etcdserver: no leader");
    ck_assert_uint_eq(watcher_count(), 0);
}
END_TEST

/* Waiting for an event, for a read, for a range. */
START_TEST(an_observer_is_ended_with_the_member)
{
    if (_i == 1) {
        served.hold_reads = true;
    } else if (_i == 2) {
        store_model_set_dear(served.store, true);
        store_model_hold(served.store, true);
    }
    observe(&observed);
    SERVE_UNTIL(_i == 0   ? watcher_count() == 1
                : _i == 1 ? node_fake_read_count(served.node) == 1
                          : store_model_waiting(served.store) > 0);
    service_drain(served.service);
    SERVE_UNTIL(observed.ended);
    ck_status(&observed, GRPC_UNAVAILABLE, "etcdserver: server stopped");
    observe(&reply);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_UNAVAILABLE, "etcdserver: server stopped");
}
END_TEST

static Suite *rpc_election_suite(void)
{
    Suite *suite = suite_create("rpc_election");
    TCase *tc = tcase_create("campaign");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, who_campaigns_alone_is_elected);
    tcase_add_test(tc, who_campaigns_again_changes_its_value);
    tcase_add_test(tc, others_are_elected_in_order);
    tcase_add_test(tc, whose_lease_ends_meanwhile_is_not_elected);
    tcase_add_test(tc, who_goes_away_is_no_candidate_any_more);
    tcase_add_loop_test(tc, a_change_of_value_is_one_step_of_several, 0, 3);
    suite_add_tcase(suite, tc);
    tc = tcase_create("leader");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, who_leads_proclaims);
    tcase_add_test(tc, who_leads_no_more_does_not_proclaim_but_resigns);
    tcase_add_test(tc, another_term_of_the_same_key_is_not_touched);
    tcase_add_test(tc, a_proclamation_without_a_lease_gets_one);
    tcase_add_test(tc, what_is_missing_is_said);
    suite_add_tcase(suite, tc);
    tc = tcase_create("observe");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, leaders_are_told_in_order);
    tcase_add_test(tc, who_leads_already_is_told_at_once);
    tcase_add_test(tc, leaders_that_come_and_go_at_once_are_not_mixed_up);
    tcase_add_loop_test(tc, an_observer_that_does_not_read_costs_little, 0, 2);
    tcase_add_test(tc, who_fell_behind_is_told_who_leads_now);
    tcase_add_test(tc, an_observer_is_ended_without_a_leader_if_it_requires_one);
    tcase_add_loop_test(tc, an_observer_is_ended_with_the_member, 0, 3);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(rpc_election_suite);
}
