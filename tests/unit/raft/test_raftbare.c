/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/confhist.h"
#include "tests/lib/raft_solo.h"
#include "tests/lib/runner.h"

/* Member 1 has a log that begins after entry 9 and ends at 12, all of term 2, and a store without
 * anything. */

#define BEGIN 9u
#define LAST  12u
#define TERM  2u

static void lose_database(void)
{
    solo_close();
    solo.restore_status = ERR_NOT_FOUND;
    solo.durable_index = 0;
    solo.applied_index = 0;
    solo.applied_count = 0;
    solo.role = NODE_FOLLOWER;
}

static void setup(void)
{
    solo_setup();
    solo.held_bytes = 1000;
    solo.snapshot_entries = 4;
    solo_open(solo_three, 3);
    solo_lead(true);
    solo_put_many(9);
    solo.durable_index = BEGIN;
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    solo_put_many(1);
    ck_assert_uint_eq(solo.log->snapshot.index, BEGIN);
    ck_assert_uint_eq(node_last_index(solo.node), LAST);
    ck_assert_uint_eq(node_term(solo.node), TERM);
    lose_database();
    solo_open(solo_three, 3);
    net_fake_skip(solo.net);
}

static void fill(uint64_t index)
{
    solo.durable_index = index;
    node_filled(solo.node);
    solo_settle();
}

/* The leader's heartbeat at the end of what it has sent. */
static void beat(uint64_t leader, uint64_t term, uint64_t commit)
{
    uint64_t last = node_last_index(solo.node);
    talk_append(solo.net, leader, term, last, last == LAST ? TERM : term, commit, 0, 0);
    solo_settle();
}

static bool takes_message(uint64_t peer, unsigned short type)
{
    struct frame frame;
    bool found = net_fake_take_message(solo.net, peer, type, &frame);
    if (found) {
        frame_release(&frame.message);
    }
    return found;
}

static bool takes_result(uint64_t peer, struct raft_append_entries_result *ret)
{
    struct frame frame;
    bool found = false;
    while (net_fake_take_message(solo.net, peer, RAFT_IO_APPEND_ENTRIES_RESULT, &frame)) {
        found = true;
        *ret = frame.message.append_entries_result;
        frame_release(&frame.message);
    }
    return found;
}

/* ---- the start ---- */

START_TEST(it_starts_where_its_log_is)
{
    ck_assert_uint_eq(node_bare_index(solo.node), BEGIN);
    ck_assert_uint_eq(node_term(solo.node), TERM);
    ck_assert_uint_eq(node_last_index(solo.node), LAST);
    ck_assert_uint_eq(node_commit_index(solo.node), BEGIN);
}
END_TEST

START_TEST(another_start_finds_it_as_bare_as_before)
{
    solo_close();
    solo_open(solo_three, 3);
    ck_assert_uint_eq(node_bare_index(solo.node), BEGIN);
}
END_TEST

START_TEST(a_start_with_the_state_is_one_like_any_other)
{
    solo_close();
    solo.restore_status = OK;
    solo.durable_index = BEGIN + 1;
    solo_open(solo_three, 3);
    ck_assert_uint_eq(node_bare_index(solo.node), 0);
}
END_TEST

/* An older copy of term and vote was put in the place of the newest. */
START_TEST(a_log_of_later_terms_than_it_knows_does_not_start)
{
    solo_close();
    log_fake_put(solo.log, TERM + 1, LOG_ENTRY_COMMAND, bytes_of_str("x"));
    struct why why = {.text = ""};
    ck_assert_int_eq(solo_try_open(solo_three, 3, &why), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(why.text, "term and vote are of term"));
    solo.node = NULL;
}
END_TEST

/* ---- a store that goes further than the log ---- */

static void be_ahead(void)
{
    solo_close();
    solo.restore_status = OK;
    solo.durable_index = LAST + 2;
    solo_open(solo_three, 3);
}

START_TEST(it_votes_for_nobody_who_lacks_what_it_has_applied)
{
    be_ahead();
    uint64_t vote = solo.log->vote;
    talk_ask_vote(solo.net, 3, TERM + 1, LAST + 1, TERM, false);
    solo_settle();
    ck_assert(!takes_message(3, RAFT_IO_REQUEST_VOTE_RESULT));
    ck_assert_uint_eq(solo.log->vote, vote);
    talk_ask_vote(solo.net, 2, TERM + 1, LAST + 2, TERM, false);
    solo_settle();
    ck_assert_uint_eq(solo.log->vote, 2);
}
END_TEST

START_TEST(it_votes_when_its_leader_is_silent)
{
    be_ahead();
    beat(2, TERM + 1, LAST);
    ck_assert_uint_eq(node_leader(solo.node), 2);
    env_fake_advance(solo.env, 2 * SOLO_ELECTION_MS);
    talk_ask_vote(solo.net, 3, TERM + 2, LAST + 2, TERM, false);
    solo_settle();
    ck_assert_uint_eq(solo.log->vote, 3);
}
END_TEST

START_TEST(it_does_not_stand_before_its_log_has_what_it_has_applied)
{
    be_ahead();
    env_fake_advance(solo.env, 10 * SOLO_ELECTION_MS);
    ck_assert_int_eq(node_role(solo.node), NODE_FOLLOWER);
    struct raft_message message = {.type = RAFT_IO_TIMEOUT_NOW};
    message.timeout_now =
        (struct raft_timeout_now){.term = TERM, .last_log_index = LAST, .last_log_term = TERM};
    net_fake_say(solo.net, 2, &message, NULL);
    solo_settle();
    ck_assert_int_eq(node_role(solo.node), NODE_FOLLOWER);
    talk_append(solo.net, 2, TERM + 1, LAST, TERM, LAST, TERM, 2);
    solo_settle();
    env_fake_advance(solo.env, 3 * SOLO_ELECTION_MS);
    ck_assert_int_eq(node_role(solo.node), NODE_CANDIDATE);
}
END_TEST

static const struct {
    const char *members;
    bool starts;
} others[] = {
    {"v", false}, {"vl", false}, {"vs", false}, {"vv", true}, {"lv", true}, {"vvv", true},
};

/* Whose configuration, the newest of its log, has no other voter, has nobody to ask. */
START_TEST(without_another_voter_it_does_not_start)
{
    solo_close();
    struct raft_buffer conf = talk_configuration(others[_i].members);
    log_fake_put(solo.log, TERM, LOG_ENTRY_CHANGE, bytes_of(conf.base, conf.len));
    raft_free(conf.base);
    struct why why = {.text = ""};
    enum err err = solo_try_open(solo_three, 3, &why);
    ck_assert_int_eq(err, others[_i].starts ? OK : ERR_CORRUPT);
    if (err != OK) {
        ck_assert_str_eq(why.text, "no other member votes that could be asked for the state: "
                                   "the store is behind");
        solo.node = NULL;
    }
}
END_TEST

/* ---- a store that goes further than the log ---- */

static void check_start(size_t count, bool starts)
{
    struct why why = {.text = ""};
    enum err err = solo_try_open(solo_three, count, &why);
    ck_assert_msg(err == (starts ? OK : ERR_CORRUPT), "%s: %s", err_text(err), why.text);
    if (err != OK) {
        ck_assert_ptr_nonnull(strstr(why.text, "the log or the end of it is lost"));
        solo.node = NULL;
    }
}

static const struct {
    uint64_t beyond; /* the log's end */
    bool alone;
    bool starts;
} ends[] = {{0, true, true}, {1, true, false}, {1, false, true}};

/* Whoever votes beside it may have sent the state: then a crash came before the log began anew. */
START_TEST(alone_it_does_not_start_when_the_end_of_its_log_is_lost)
{
    solo_close();
    struct raft_buffer conf = talk_configuration(ends[_i].alone ? "vl" : "vvl");
    log_fake_put(solo.log, TERM, LOG_ENTRY_CHANGE, bytes_of(conf.base, conf.len));
    raft_free(conf.base);
    solo.restore_status = OK;
    solo.durable_index = LAST + 1 + ends[_i].beyond;
    check_start(3, ends[_i].starts);
}
END_TEST

static const struct {
    size_t founders;
    uint64_t term;
    uint64_t durable_index;
    bool starts;
} empty[] = {
    {3, 0, 0, true}, {3, 0, 5, false}, {3, 1, 5, false}, {0, 0, 5, false}, {0, 1, 5, true}};

/* A log that is new while its store is not: only who joins, and was sent a state first, has that.
 */
START_TEST(it_does_not_begin_a_new_log_for_a_store_that_is_not)
{
    solo_close();
    log_fake_free(solo.log);
    solo.log = log_fake_new();
    solo.log->term = empty[_i].term;
    solo.durable_index = empty[_i].durable_index;
    check_start(empty[_i].founders, empty[_i].starts);
}
END_TEST

/* ---- following ---- */

START_TEST(what_it_stores_counts_and_nothing_is_applied)
{
    talk_append(solo.net, 2, TERM + 1, LAST, TERM, LAST, TERM + 1, 3);
    solo_settle();
    struct raft_append_entries_result result;
    ck_assert(takes_result(2, &result));
    ck_assert_uint_eq(result.rejected, 0);
    ck_assert_uint_eq(result.last_log_index, LAST + 3);
    beat(2, TERM + 1, LAST + 3);
    ck_assert_uint_eq(node_commit_index(solo.node), BEGIN);
    ck_assert_uint_eq(solo.applied_count, 0);
}
END_TEST

/* Filled at FROM, it applies what follows; the layer above passes over what it has. */
START_TEST(with_the_state_it_goes_on_behind_the_snapshot)
{
    talk_append(solo.net, 2, TERM + 1, LAST, TERM, LAST, TERM + 1, 3);
    solo_settle();
    fill(_i == 0 ? BEGIN : LAST + 20);
    ck_assert_uint_eq(node_bare_index(solo.node), 0);
    ck_assert_uint_eq(solo.applied_count, 0); /* what is committed it has still to hear */
    beat(2, TERM + 1, LAST + 3);
    ck_assert_uint_eq(node_commit_index(solo.node), LAST + 3);
    ck_assert_uint_eq(solo.applied_index, LAST + 3);
    ck_assert_uint_eq(solo.applied_count, LAST + 3 - BEGIN);
}
END_TEST

START_TEST(it_takes_no_more_than_there_is_room_for)
{
    solo.log->size_bytes += solo.held_bytes;
    talk_append(solo.net, 2, TERM + 1, LAST, TERM, LAST, TERM + 1, 3);
    solo_settle();
    ck_assert_uint_eq(node_last_index(solo.node), LAST);
    ck_assert_uint_eq(node_leader(solo.node), 2); /* a heartbeat it was */
    fill(LAST);
    talk_append(solo.net, 2, TERM + 1, LAST, TERM, LAST, TERM + 1, 3);
    solo_settle();
    ck_assert_uint_eq(node_last_index(solo.node), LAST + 3);
}
END_TEST

/* Its log was longer when it started. */
START_TEST(a_log_that_a_leader_has_cut_has_room)
{
    talk_append(solo.net, 2, TERM + 1, LAST - 2, TERM, BEGIN, TERM + 1, 1);
    solo_settle();
    ck_assert_uint_eq(node_last_index(solo.node), LAST - 1);
    talk_append(solo.net, 2, TERM + 1, LAST - 1, TERM + 1, BEGIN, TERM + 1, 3);
    solo_settle();
    ck_assert_uint_eq(node_last_index(solo.node), LAST + 2);
}
END_TEST

START_TEST(its_log_is_not_compacted)
{
    for (unsigned i = 0; i < 10; i++) {
        uint64_t last = node_last_index(solo.node);
        talk_append(solo.net, 2, TERM + 1, last, i == 0 ? TERM : TERM + 1, last, TERM + 1, 3);
        env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
        solo_settle();
    }
    ck_assert_uint_eq(solo.log->snapshot.index, BEGIN);
    ck_assert_uint_eq(node_last_index(solo.node), LAST + 30);
}
END_TEST

/* ---- votes ---- */

static const struct {
    uint64_t last;
    uint64_t term;
    bool granted;
} candidates[] = {
    {LAST, TERM, true},         {LAST - 1, TERM, false},     {LAST + 1, TERM, true},
    {LAST - 5, TERM + 1, true}, {LAST + 5, TERM - 1, false},
};

START_TEST(it_votes_by_its_log)
{
    talk_ask_vote(solo.net, 3, TERM + 3, candidates[_i].last, candidates[_i].term, false);
    solo_settle();
    struct frame frame;
    ck_assert(net_fake_take_message(solo.net, 3, RAFT_IO_REQUEST_VOTE_RESULT, &frame));
    ck_assert(frame.message.request_vote_result.vote_granted == candidates[_i].granted);
    ck_assert_uint_eq(solo.log->vote, candidates[_i].granted ? 3 : 0);
    frame_release(&frame.message);
}
END_TEST

/* ---- elections ---- */

static uint64_t ms_until_it_stands(void)
{
    uint64_t ms = 0;
    while (node_role(solo.node) == NODE_FOLLOWER) {
        env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
        ms += SOLO_HEARTBEAT_MS;
        ck_assert_uint_lt(ms, 20 * SOLO_ELECTION_MS);
    }
    return ms;
}

START_TEST(others_stand_before_it)
{
    ck_assert_uint_gt(ms_until_it_stands(), 2 * SOLO_ELECTION_MS);
}
END_TEST

START_TEST(so_they_do_after_a_leader_was_lost)
{
    beat(2, TERM + 1, LAST);
    ck_assert_uint_eq(node_leader(solo.node), 2);
    ck_assert_uint_gt(ms_until_it_stands(), 2 * SOLO_ELECTION_MS);
}
END_TEST

START_TEST(leadership_that_is_handed_to_it_is_not_taken)
{
    beat(2, TERM + 1, LAST);
    struct raft_message message = {.type = RAFT_IO_TIMEOUT_NOW};
    message.timeout_now.term = TERM + 1;
    message.timeout_now.last_log_index = LAST;
    message.timeout_now.last_log_term = TERM;
    net_fake_say(solo.net, 2, &message, NULL);
    solo_settle();
    ck_assert_int_eq(node_role(solo.node), NODE_FOLLOWER);
    ck_assert_uint_eq(node_term(solo.node), TERM + 1);
}
END_TEST

/* ---- leading, to give it away ---- */

/* Elected with the vote of 2; returns the term. */
static uint64_t be_elected(void)
{
    ms_until_it_stands();
    uint64_t term = node_term(solo.node) + 1;
    talk_grant(solo.net, 2, term, true);
    talk_grant(solo.net, 2, term, false);
    solo_settle();
    ck_assert_uint_eq(node_term(solo.node), term);
    ck_assert(takes_message(3, RAFT_IO_APPEND_ENTRIES)); /* the core leads */
    net_fake_skip(solo.net);
    return term;
}

START_TEST(nobody_above_hears_that_it_leads)
{
    be_elected();
    ck_assert_int_ne(node_role(solo.node), NODE_LEADER);
    ck_assert_uint_eq(node_leader(solo.node), 0);
    ck_assert(!node_ready(solo.node));
    ck_assert_int_ne(solo.role, NODE_LEADER);
    ck_assert_uint_eq(node_last_index(solo.node), LAST); /* no entry of its own */
}
END_TEST

START_TEST(it_commits_nothing)
{
    uint64_t term = be_elected();
    talk_result(solo.net, 2, term, 0, LAST);
    talk_result(solo.net, 3, term, 0, LAST);
    solo_settle();
    ck_assert_uint_eq(node_commit_index(solo.node), BEGIN);
    ck_assert_uint_eq(solo.applied_count, 0);
}
END_TEST

START_TEST(who_has_its_log_is_handed_leadership)
{
    uint64_t term = be_elected();
    talk_refuse(solo.net, 3, term, LAST, LAST - 2, TERM);
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    ck_assert(!takes_message(3, RAFT_IO_TIMEOUT_NOW)); /* it lacks something still */
    talk_result(solo.net, 3, term, 0, LAST);
    net_fake_skip(solo.net);
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    ck_assert(takes_message(3, RAFT_IO_TIMEOUT_NOW));
    talk_ask_vote(solo.net, 3, term + 1, LAST, TERM, true);
    solo_settle();
    ck_assert_uint_eq(solo.log->vote, 3);
}
END_TEST

START_TEST(who_does_not_take_it_is_not_the_only_one_that_is_asked)
{
    uint64_t term = be_elected();
    bool asked[4] = {0};
    for (unsigned i = 0; i < 4 * SOLO_ELECTION_MS / SOLO_HEARTBEAT_MS; i++) {
        talk_result(solo.net, 2, term, 0, LAST);
        talk_result(solo.net, 3, term, 0, LAST);
        env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
        size_t taken = solo.net->taken;
        asked[2] = asked[2] || takes_message(2, RAFT_IO_TIMEOUT_NOW);
        solo.net->taken = taken; /* the same frames once more */
        asked[3] = asked[3] || takes_message(3, RAFT_IO_TIMEOUT_NOW);
    }
    ck_assert(asked[2] && asked[3]);
    ck_assert_int_ne(solo.role, NODE_LEADER);
}
END_TEST

START_TEST(filled_while_it_leads_it_is_a_leader_like_any_other)
{
    uint64_t term = be_elected();
    fill(LAST);
    ck_assert_int_eq(node_role(solo.node), NODE_LEADER);
    ck_assert_int_eq(solo.role, NODE_LEADER);
    ck_assert(!node_ready(solo.node));
    ck_assert_uint_eq(node_last_index(solo.node), LAST + 1); /* its barrier */
    talk_result(solo.net, 2, term, 0, LAST + 1);
    solo_settle();
    ck_assert(node_ready(solo.node));
    ck_assert_uint_eq(solo.applied_index, LAST);
}
END_TEST

/* Who lacks more than its log has is sent nothing: there is no state here. */
START_TEST(it_gives_nobody_a_state)
{
    solo_close();
    solo.sends_state = true;
    solo_open(solo_three, 3);
    uint64_t term = be_elected();
    talk_refuse(solo.net, 3, term, LAST, 1, 1);
    solo_settle();
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    ck_assert_uint_eq(solo.wants, 0);
}
END_TEST

static Suite *raftbare_suite(void)
{
    const TTest *const tests[] = {
        it_starts_where_its_log_is,
        another_start_finds_it_as_bare_as_before,
        a_start_with_the_state_is_one_like_any_other,
        a_log_of_later_terms_than_it_knows_does_not_start,
        it_votes_for_nobody_who_lacks_what_it_has_applied,
        it_votes_when_its_leader_is_silent,
        it_does_not_stand_before_its_log_has_what_it_has_applied,
        what_it_stores_counts_and_nothing_is_applied,
        it_takes_no_more_than_there_is_room_for,
        a_log_that_a_leader_has_cut_has_room,
        its_log_is_not_compacted,
        others_stand_before_it,
        so_they_do_after_a_leader_was_lost,
        leadership_that_is_handed_to_it_is_not_taken,
        nobody_above_hears_that_it_leads,
        it_commits_nothing,
        who_has_its_log_is_handed_leadership,
        who_does_not_take_it_is_not_the_only_one_that_is_asked,
        filled_while_it_leads_it_is_a_leader_like_any_other,
        it_gives_nobody_a_state,
    };
    Suite *suite = suite_create("raftbare");
    TCase *tc = tcase_create("raftbare");
    tcase_add_checked_fixture(tc, setup, solo_teardown);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        tcase_add_test(tc, tests[i]);
    }
    tcase_add_loop_test(tc, without_another_voter_it_does_not_start, 0, ARRAY_LEN(others));
    tcase_add_loop_test(tc, alone_it_does_not_start_when_the_end_of_its_log_is_lost, 0,
                        ARRAY_LEN(ends));
    tcase_add_loop_test(tc, it_does_not_begin_a_new_log_for_a_store_that_is_not, 0,
                        ARRAY_LEN(empty));
    tcase_add_loop_test(tc, with_the_state_it_goes_on_behind_the_snapshot, 0, 2);
    tcase_add_loop_test(tc, it_votes_by_its_log, 0, ARRAY_LEN(candidates));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(raftbare_suite);
}
