/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/node.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/codec.h"
#include "base/limits.h"
#include "raft/confhist.h"
#include "tests/lib/raft_solo.h"
#include "tests/lib/runner.h"

/* Member 1 through its door; the test plays the disk and the others. */

struct written {
    struct proposal proposal;
    unsigned calls;
    enum err status;
    uint64_t applied_at_call; /* the last applied index when it was called back */
};

struct outcome {
    unsigned calls;
    enum err status;
};

static struct written writes[8];

static void setup(void)
{
    memset(writes, 0, sizeof writes);
    solo_setup();
}

/* ---- writes ---- */

static void on_written(struct proposal *proposal, enum err status)
{
    struct written *written = CONTAINER_OF(proposal, struct written, proposal);
    written->calls++;
    written->status = status;
    written->applied_at_call = solo.applied_index;
}

static void put(unsigned i)
{
    struct blob *entry = blob_copy(bytes_of_str("entry"));
    node_propose(solo.node, &writes[i].proposal, entry, on_written);
    blob_unref(entry); /* what is needed of it was taken */
}

static void ended(unsigned i, enum err status)
{
    ck_assert_msg(writes[i].calls == 1, "write %u was called back %u times", i, writes[i].calls);
    ck_assert_int_eq(writes[i].status, status);
}

START_TEST(a_write_is_answered_when_it_is_applied)
{
    solo_open(solo_three, 3);
    solo_lead(true);
    put(0);
    put(1);
    ck_assert_uint_eq(writes[0].proposal.index, 3);
    ck_assert_uint_eq(writes[1].proposal.index, 4);
    solo_settle();
    ck_assert_uint_eq(writes[0].calls, 0); /* on our disk only */
    talk_result(solo.net, 3, node_term(solo.node), 0, 3);
    ck_assert_uint_eq(writes[0].calls, 0); /* not inside anything */
    env_fake_run(solo.env);
    ended(0, OK);
    ck_assert_uint_ge(writes[0].applied_at_call, 3);
    ck_assert_uint_eq(writes[1].calls, 0);
    talk_result(solo.net, 3, node_term(solo.node), 0, 4);
    env_fake_run(solo.env);
    ended(1, OK);
    ck_assert_uint_eq(solo.applied_count, 2);
}
END_TEST

START_TEST(the_only_member_writes_alone)
{
    solo_open(solo_three, 1);
    solo_settle();
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    solo_settle();
    ck_assert_int_eq(node_role(solo.node), NODE_LEADER);
    put(0);
    env_fake_run(solo.env);
    ck_assert_uint_eq(writes[0].calls, 0); /* not on the disk */
    solo_settle();
    ended(0, OK);
}
END_TEST

START_TEST(who_does_not_lead_refuses_writes)
{
    solo_open(solo_three, 3);
    solo_follow(2, 2);
    put(0);
    ck_assert_uint_eq(writes[0].calls, 0);
    ck_assert_uint_eq(writes[0].proposal.index, 0);
    env_fake_run(solo.env);
    ended(0, ERR_NOT_LEADER);
    ck_assert_uint_eq(node_last_index(solo.node), 1);
}
END_TEST

START_TEST(a_leader_that_is_deposed_does_not_know)
{
    solo_open(solo_three, 3);
    solo_lead(true);
    put(0);
    solo_follow(3, node_term(solo.node) + 1);
    ended(0, ERR_LEADER_CHANGED);
}
END_TEST

START_TEST(closing_ends_every_write)
{
    solo_open(solo_three, 3);
    solo_lead(true);
    put(0);
    solo_close();
    ended(0, ERR_STOPPED);
}
END_TEST

/* ---- state ---- */

START_TEST(who_leads_is_told)
{
    solo_open(solo_three, 3);
    ck_assert(!node_ready(solo.node));
    solo_follow(2, 4);
    ck_assert_int_eq(solo.role, NODE_FOLLOWER);
    ck_assert_uint_eq(solo.term, 4);
    ck_assert_uint_eq(solo.leader_id, 2);
    ck_assert_uint_eq(node_leader(solo.node), 2);
    ck_assert(node_ready(solo.node));
    env_fake_advance(solo.env, 3 * SOLO_ELECTION_MS);
    ck_assert_uint_eq(solo.leader_id, 0);
    solo_lead(true);
    ck_assert_int_eq(solo.role, NODE_LEADER);
    ck_assert_uint_eq(solo.leader_id, 1);
    unsigned states = solo.states;
    env_fake_advance(solo.env, SOLO_ELECTION_MS / 2);
    ck_assert_uint_eq(solo.states, states); /* nothing new */
}
END_TEST

START_TEST(members_are_those_of_the_configuration)
{
    solo_open(solo_three, 3);
    const struct node_member *members;
    ck_assert_uint_eq(node_members(solo.node, &members), 3);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(members[i].id, solo_three[i].id);
        ck_assert_str_eq(members[i].address, solo_three[i].address);
        ck_assert_int_eq(members[i].role, MEMBER_VOTER);
    }
    ck_assert(!solo.net->known[1]);
    ck_assert(solo.net->known[2] && solo.net->known[3]);
}
END_TEST

/* Members are given the first configuration in any order, and make the same entry of it. */
START_TEST(the_first_configuration_is_the_same_for_all)
{
    static const struct node_member shuffled[] = {{3, "member-3", MEMBER_VOTER},
                                                  {1, "member-1", MEMBER_VOTER},
                                                  {2, "member-2", MEMBER_VOTER}};
    solo_open(shuffled, 3);
    struct raft_buffer want = talk_configuration("vvv");
    ck_assert(bytes_equal(blob_bytes(solo.log->entries[0].data), bytes_of(want.base, want.len)));
    ck_assert_uint_eq(solo.log->entries[0].term, 1);
    raft_free(want.base);
}
END_TEST

/* A first configuration that is none. */
static const struct {
    const char *name;
    struct node_member members[2];
    size_t count;
} impossible[] = {
    {"one id twice", {{2, "a", MEMBER_VOTER}, {2, "b", MEMBER_VOTER}}, 2},
    {"one address twice", {{1, "a", MEMBER_VOTER}, {2, "a", MEMBER_VOTER}}, 2},
    {"too many", {{1, "a", MEMBER_VOTER}}, MEMBERS_MAX + 1},
};

START_TEST(impossible_configurations_are_refused)
{
    struct why why = {0};
    enum err err = solo_try_open(impossible[_i].members, impossible[_i].count, &why);
    ck_assert_msg(err != OK, "%s", impossible[_i].name);
    ck_assert_str_ne(why.text, "");
    ck_assert(solo.log->closed);
    ck_assert(solo.net->closed);
    ck_assert_uint_eq(solo.log->count, 0);
}
END_TEST

START_TEST(a_member_that_joins_learns_who_is_there)
{
    solo_open(NULL, 0);
    const struct node_member *members;
    ck_assert_uint_eq(node_members(solo.node, &members), 0);
    env_fake_advance(solo.env, 5 * SOLO_ELECTION_MS);
    ck_assert_int_eq(node_role(solo.node), NODE_FOLLOWER); /* it waits */
    struct raft_buffer first = talk_configuration("lvv");
    struct raft_entry entry = {.term = 1, .type = RAFT_CHANGE, .buf = first};
    talk_append_of(solo.net, 2, 2, 0, 0, 1, &entry, 1);
    solo_settle();
    raft_free(first.base);
    ck_assert(solo.net->known[2]); /* by the address in its message, then by the configuration */
    ck_assert(solo.net->known[3]);
    ck_assert_uint_eq(node_members(solo.node, &members), 3);
    ck_assert_int_eq(members[0].role, MEMBER_LEARNER);
}
END_TEST

/* ---- restarts and snapshots ---- */

/* In a configuration an address is for good; what is said of it later holds. */
START_TEST(members_are_called_where_they_are_now)
{
    static const struct node_member first[] = {
        {.id = 1, .address = "1@first:1", .role = MEMBER_VOTER},
        {.id = 2, .address = "2@second:1", .role = MEMBER_VOTER},
        {.id = 3, .address = "third:1", .role = MEMBER_VOTER},
    };
    static const struct node_member moved[] = {
        {.id = 1, .address = "elsewhere:1"},
        {.id = 2, .address = "there:1"},
        {.id = 9, .address = "nobody:1"},
    };
    struct frame frame;
    solo_open(first, 3);
    ck_assert_str_eq(solo.net->addresses[2], "second:1");
    ck_assert_str_eq(solo.net->addresses[3], "third:1");
    node_set_addresses(solo.node, moved, ARRAY_LEN(moved));
    ck_assert_str_eq(solo.net->addresses[2], "there:1");
    ck_assert_str_eq(solo.net->addresses[3], "third:1");
    ck_assert(!solo.net->known[9]);
    solo_lead(false);
    net_fake_skip(solo.net);
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    ck_assert(net_fake_take_message(solo.net, 2, RAFT_IO_APPEND_ENTRIES, &frame));
    ck_assert_str_eq(frame.address, "elsewhere:1");
    frame_release(&frame.message);
}
END_TEST

START_TEST(how_long_a_peer_is_connected_is_known)
{
    solo_open(solo_three, 3);
    ck_assert_uint_eq(node_connected_ms(solo.node, 2), 0);
    solo.net->callbacks->on_link(solo.net->ctx, 2, true);
    ck_assert_uint_eq(node_connected_ms(solo.node, 2), 1);
    env_fake_advance(solo.env, 500);
    ck_assert_uint_eq(node_connected_ms(solo.node, 2), 500);
    ck_assert_uint_eq(node_connected_ms(solo.node, 3), 0);
    ck_assert_uint_eq(node_connected_ms(solo.node, 9), 0);
    solo.net->callbacks->on_link(solo.net->ctx, 2, false);
    ck_assert_uint_eq(node_connected_ms(solo.node, 2), 0);
}
END_TEST

START_TEST(a_leader_knows_how_far_the_others_are)
{
    solo_open(solo_three, 3);
    ck_assert_uint_eq(node_match_index(solo.node, 2), 0);
    solo_lead(true);
    ck_assert_uint_eq(node_match_index(solo.node, 1), node_last_index(solo.node));
    ck_assert_uint_eq(node_match_index(solo.node, 2), node_last_index(solo.node));
    ck_assert_uint_eq(node_match_index(solo.node, 9), 0);
}
END_TEST

/* Until its configuration has it in it, it cannot know who is of the cluster; nor, for certain, as
 * long as it hears of no leader: the one there is may have come when it was away. */
START_TEST(who_joins_hears_everybody)
{
    const struct transport_callbacks *callbacks;
    solo_open(NULL, 0);
    callbacks = solo.net->callbacks;
    ck_assert(callbacks->is_joining(solo.net->ctx, 9));
    solo_close();
    solo_teardown();
    solo_setup();
    solo_open(solo_three, 3);
    callbacks = solo.net->callbacks;
    ck_assert(callbacks->is_joining(solo.net->ctx, 9)); /* nobody leads that it knows */
    solo_follow(2, 1);
    ck_assert(!callbacks->is_joining(solo.net->ctx, 9));
}
END_TEST

START_TEST(entries_come_again_after_a_restart)
{
    solo_open(solo_three, 3);
    solo_lead(true);
    put(0);
    solo_settle();
    talk_result(solo.net, 2, node_term(solo.node), 0, 3);
    solo_settle();
    ended(0, OK);
    solo_close();
    solo.applied_index = 0;
    solo_open(solo_three, 3);
    ck_assert_uint_eq(node_last_index(solo.node), 3);
    ck_assert_uint_eq(solo.applied_count, 1);
    solo_lead(true);
    ck_assert_uint_eq(solo.applied_count, 2);
    ck_assert_uint_eq(solo.applied_index, 3);
}
END_TEST

START_TEST(the_log_is_compacted_up_to_what_is_durable)
{
    solo.snapshot_entries = 4;
    solo_open(solo_three, 3);
    solo_lead(true);
    solo_put_many(8); /* 3 ... 10 */
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    solo_put_many(1);
    ck_assert_uint_eq(solo.log->snapshot.index, 0); /* nothing of it is durable */
    solo.durable_index = 7;
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    ck_assert_uint_eq(solo.log->snapshot.index, 0);
    solo_put_many(1);
    ck_assert_uint_eq(solo.log->snapshot.index, 7);
    ck_assert_uint_eq(solo.log->first_index, 6); /* 2 stay */
    ck_assert_uint_eq(node_last_index(solo.node), 12);
    solo_close();
    solo.applied_index = 0;
    solo_open(solo_three, 3);
    ck_assert_uint_eq(solo.restored_index, 7);
    ck_assert_uint_eq(node_applied_index(solo.node), 7);
    solo_lead(true);
    ck_assert_uint_eq(solo.applied_index, 12);
}
END_TEST

static void ck_metric(const char *line)
{
    CLEANUP(buf_fini) struct buf text = {0};
    metrics_write(solo.metrics, &text);
    write_u8(&text, 0);
    ck_assert(buf_ok(&text));
    ck_assert_msg(strstr((const char *)text.data, line) != NULL, "%s", (const char *)text.data);
}

START_TEST(what_a_snapshot_costs_the_loop_is_counted)
{
    solo.metrics = metrics_new();
    solo.manifest_ns = 3000000;
    solo.snapshot_entries = 4;
    solo_open(solo_three, 3);
    solo_lead(true);
    solo_put_many(8);
    ck_metric("trivet_raft_snapshot_pause_seconds_count 0\n");
    solo.durable_index = 7;
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    solo_put_many(1);
    ck_assert_uint_eq(solo.log->snapshot.index, 7);
    /* Once when it was made, once when it was stored, which took no time. */
    ck_metric("trivet_raft_snapshot_pause_seconds_bucket{le=\"0.0025\"} 1\n");
    ck_metric("trivet_raft_snapshot_pause_seconds_bucket{le=\"0.005\"} 2\n");
    ck_metric("trivet_raft_snapshot_pause_seconds_sum 0.003\n");
    ck_metric("trivet_raft_snapshot_pause_seconds_count 2\n");
    solo_close();
    metrics_free(solo.metrics);
}
END_TEST

START_TEST(a_store_that_is_behind_its_snapshot_does_not_start)
{
    solo.snapshot_entries = 4;
    solo_open(solo_three, 3);
    solo_lead(true);
    solo_put_many(8);
    solo.durable_index = 7;
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    solo_put_many(1);
    ck_assert_uint_eq(solo.log->snapshot.index, 7);
    solo_close();
    solo.restore_status = ERR_CORRUPT;
    struct why why = {0};
    enum err err = solo_try_open(solo_three, 3, &why);
    ck_assert_int_ne(err, OK);
    ck_assert_msg(strstr(why.text, "the store is behind") != NULL, "%s", why.text);
}
END_TEST

START_TEST(a_damaged_log_does_not_start)
{
    log_fake_put(solo.log, 1, LOG_ENTRY_COMMAND, bytes_of_str("not a configuration"));
    struct why why = {0};
    enum err err = solo_try_open(solo_three, 3, &why);
    ck_assert_int_eq(err, ERR_CORRUPT);
    ck_assert_str_ne(why.text, "");
}
END_TEST

/* ---- changes ---- */

static void on_outcome(void *ctx, enum err status)
{
    struct outcome *outcome = ctx;
    outcome->calls++;
    outcome->status = status;
}

static void change_ended(const struct outcome *outcome, enum err status)
{
    ck_assert_uint_eq(outcome->calls, 1);
    ck_assert_int_eq(outcome->status, status);
}

static void others_have_everything(void)
{
    solo_settle();
    env_fake_advance(solo.env, 2 * SOLO_HEARTBEAT_MS);
    solo_settle();
    talk_result(solo.net, 2, node_term(solo.node), 0, node_last_index(solo.node));
    talk_result(solo.net, 3, node_term(solo.node), 0, node_last_index(solo.node));
    solo_settle();
}

START_TEST(a_learner_is_added_in_two_steps)
{
    solo_open(solo_three, 3);
    solo_lead(true);
    struct outcome outcome = {0};
    node_change(solo.node, CHANGE_ADD_LEARNER, 4, "member-4", on_outcome, &outcome);
    others_have_everything();
    ck_assert_uint_eq(outcome.calls, 0); /* it is a spare */
    others_have_everything();
    change_ended(&outcome, OK);
    const struct node_member *members;
    ck_assert_uint_eq(node_members(solo.node, &members), 4);
    ck_assert_int_eq(members[3].role, MEMBER_LEARNER);
    ck_assert_str_eq(members[3].address, "member-4");
    ck_assert(solo.net->known[4]);
    struct outcome removed = {0};
    node_change(solo.node, CHANGE_REMOVE, 4, NULL, on_outcome, &removed);
    others_have_everything();
    change_ended(&removed, OK);
    ck_assert_uint_eq(node_members(solo.node, &members), 3);
    ck_assert(!solo.net->known[4]);
}
END_TEST

/* What a leader of {1 2 3} refuses. */
static const struct {
    const char *name;
    enum change_kind kind;
    uint64_t id;
    enum err want;
} refused[] = {
    {"demoting itself", CHANGE_DEMOTE, 1, ERR_INVALID},
    {"removing itself", CHANGE_REMOVE, 1, ERR_INVALID},
    {"removing nobody", CHANGE_REMOVE, 9, ERR_NOT_FOUND},
    {"promoting nobody", CHANGE_PROMOTE, 9, ERR_NOT_FOUND},
    {"promoting a voter", CHANGE_PROMOTE, 2, ERR_INVALID},
    {"adding a member again", CHANGE_ADD_LEARNER, 2, ERR_EXISTS},
};

START_TEST(impossible_changes_are_refused)
{
    solo_open(solo_three, 3);
    solo_lead(true);
    struct outcome outcome = {0};
    node_change(solo.node, refused[_i].kind, refused[_i].id, "somewhere", on_outcome, &outcome);
    ck_assert_uint_eq(outcome.calls, 0);
    env_fake_run(solo.env);
    ck_assert_msg(outcome.status == refused[_i].want, "%s: %s", refused[_i].name,
                  err_text(outcome.status));
    const struct node_member *members;
    ck_assert_uint_eq(node_members(solo.node, &members), 3);
}
END_TEST

START_TEST(one_change_at_a_time)
{
    solo_open(solo_three, 3);
    solo_lead(true);
    struct outcome first = {0};
    struct outcome second = {0};
    node_change(solo.node, CHANGE_DEMOTE, 3, NULL, on_outcome, &first);
    node_change(solo.node, CHANGE_DEMOTE, 2, NULL, on_outcome, &second);
    env_fake_run(solo.env);
    change_ended(&second, ERR_TOO_MANY_REQUESTS);
    others_have_everything();
    change_ended(&first, OK);
}
END_TEST

START_TEST(a_change_ends_with_the_leadership)
{
    solo_open(solo_three, 3);
    solo_lead(true);
    struct outcome outcome = {0};
    node_change(solo.node, CHANGE_DEMOTE, 3, NULL, on_outcome, &outcome);
    solo_settle();
    solo_follow(3, node_term(solo.node) + 1);
    change_ended(&outcome, ERR_LEADER_CHANGED);
}
END_TEST

START_TEST(leadership_is_handed_over)
{
    solo_open(solo_three, 3);
    solo_lead(true);
    struct outcome outcome = {0};
    node_transfer(solo.node, 0, on_outcome, &outcome);
    env_fake_run(solo.env);
    struct frame frame;
    ck_assert(net_fake_take_message(solo.net, 2, RAFT_IO_TIMEOUT_NOW, &frame)); /* the furthest */
    put(0); /* refused meanwhile, for certain */
    env_fake_run(solo.env);
    ended(0, ERR_NOT_LEADER);
    ck_assert_uint_eq(outcome.calls, 0);
    talk_append(solo.net, 2, node_term(solo.node) + 1, 2, 2, 2, 0, 0);
    solo_settle();
    change_ended(&outcome, OK);
    ck_assert_uint_eq(node_leader(solo.node), 2);
}
END_TEST

START_TEST(a_successor_that_does_not_come_is_told)
{
    solo_open(solo_three, 3);
    solo_lead(true);
    struct outcome outcome = {0};
    node_transfer(solo.node, 3, on_outcome, &outcome);
    for (int i = 0; i < 20; i++) {
        env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
        talk_result(solo.net, 2, node_term(solo.node), 0, node_last_index(solo.node));
    }
    change_ended(&outcome, ERR_TIMEOUT);
    ck_assert_int_eq(node_role(solo.node), NODE_LEADER);
    put(0); /* it goes on */
    others_have_everything();
    ended(0, OK);
}
END_TEST

/* Nothing is committed that is not on the leader's own disk, and its heartbeats do not wait for it.
 */
START_TEST(who_leads_and_whose_disk_stands_still_hands_over)
{
    solo_open(solo_three, 3);
    solo_lead(true);
    put(0);
    struct frame frame;
    for (unsigned elections = 1; elections <= 11; elections++) {
        for (unsigned i = 0; i < SOLO_ELECTION_MS / SOLO_HEARTBEAT_MS; i++) {
            env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
            talk_result(solo.net, 2, node_term(solo.node), 0, node_last_index(solo.node));
            talk_result(solo.net, 3, node_term(solo.node), 0, node_last_index(solo.node));
            env_fake_run(solo.env);
        }
        bool hands_over = net_fake_take_message(solo.net, 2, RAFT_IO_TIMEOUT_NOW, &frame) ||
                          net_fake_take_message(solo.net, 3, RAFT_IO_TIMEOUT_NOW, &frame);
        ck_assert(hands_over == (elections >= 10));
        if (hands_over) {
            return;
        }
        net_fake_skip(solo.net);
    }
}
END_TEST

START_TEST(only_the_leader_hands_over)
{
    solo_open(solo_three, 3);
    solo_follow(2, 2);
    struct outcome outcome = {0};
    node_transfer(solo.node, 3, on_outcome, &outcome);
    env_fake_run(solo.env);
    change_ended(&outcome, ERR_NOT_LEADER);
}
END_TEST

/* ---- frames ---- */

START_TEST(frames_of_the_layers_above_pass_through)
{
    solo_open(solo_three, 3);
    struct blob *payload = blob_copy(bytes_of_str("x"));
    ck_assert(node_send(solo.node, 2, LANE_BULK, FRAME_FORWARD, payload));
    blob_unref(payload);
    const struct net_fake_frame *frame = net_fake_take(solo.net, 2, FRAME_FORWARD);
    ck_assert_ptr_nonnull(frame);
    ck_assert_int_eq(frame->lane, LANE_BULK);
    solo.net->callbacks->on_frame(solo.net->ctx, 3, FRAME_APP, bytes_of_str("y"));
    ck_assert_uint_eq(solo.frame_peer, 3);
    ck_assert_uint_eq(solo.frame_byte, 'y');
}
END_TEST

START_TEST(malformed_messages_are_dropped)
{
    solo_open(solo_three, 3);
    static const uint8_t garbage[96] = {9, 255, 255};
    for (size_t len = 0; len <= sizeof garbage; len++) {
        solo.net->callbacks->on_frame(solo.net->ctx, 2, FRAME_RAFT, bytes_of(garbage, len));
    }
    talk_append(solo.net, 2, 1ull << 40, 1, 1, 1, 0, 0); /* a term that no cluster reaches */
    solo_settle();
    ck_assert_uint_eq(node_term(solo.node), 1);
    solo_follow(2, 2);
    ck_assert_uint_eq(node_leader(solo.node), 2);
}
END_TEST

static Suite *node_suite(void)
{
    const TTest *const tests[] = {
        a_write_is_answered_when_it_is_applied,
        the_only_member_writes_alone,
        who_does_not_lead_refuses_writes,
        a_leader_that_is_deposed_does_not_know,
        closing_ends_every_write,
        who_leads_is_told,
        members_are_those_of_the_configuration,
        the_first_configuration_is_the_same_for_all,
        a_member_that_joins_learns_who_is_there,
        members_are_called_where_they_are_now,
        how_long_a_peer_is_connected_is_known,
        a_leader_knows_how_far_the_others_are,
        who_joins_hears_everybody,
        entries_come_again_after_a_restart,
        the_log_is_compacted_up_to_what_is_durable,
        what_a_snapshot_costs_the_loop_is_counted,
        a_store_that_is_behind_its_snapshot_does_not_start,
        a_damaged_log_does_not_start,
        a_learner_is_added_in_two_steps,
        one_change_at_a_time,
        a_change_ends_with_the_leadership,
        leadership_is_handed_over,
        a_successor_that_does_not_come_is_told,
        who_leads_and_whose_disk_stands_still_hands_over,
        only_the_leader_hands_over,
        frames_of_the_layers_above_pass_through,
        malformed_messages_are_dropped,
    };
    Suite *suite = suite_create("node");
    TCase *tc = tcase_create("node");
    tcase_add_checked_fixture(tc, setup, solo_teardown);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        tcase_add_test(tc, tests[i]);
    }
    tcase_add_loop_test(tc, impossible_configurations_are_refused, 0,
                        (int)(sizeof impossible / sizeof impossible[0]));
    tcase_add_loop_test(tc, impossible_changes_are_refused, 0,
                        (int)(sizeof refused / sizeof refused[0]));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(node_suite);
}
