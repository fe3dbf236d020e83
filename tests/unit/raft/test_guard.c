/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/guard.h"

#include <stdlib.h>
#include <string.h>

#include "raft/raftio.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/raft_talk.h"
#include "tests/lib/runner.h"

/* Member 1, with a test that plays its disk and all other members. Each rule of the guard has a
 * scene that runs twice: with the rule, and without it to show what it is there for. */

#define HEARTBEAT_MS 100
#define ELECTION_MS  1000
#define SELF         1

#define FATAL_STATUS 70 /* base/assert.h */

enum { WITH_RULE, WITHOUT_RULE };

static struct {
    struct env_fake *env;
    struct log_fake *log;
    struct net_fake *net;
    struct raftio *io;
    struct raft_buffer first; /* configuration */
    uint64_t applied_index;
    uint64_t durable_index;
    uint64_t snapshot_entries;
    unsigned changed;
    enum err change_status;
    unsigned transferred;
} solo;

/* ---- the member ---- */

static void on_applied(void *ctx, uint64_t index, uint64_t term, bool command, struct bytes entry)
{
    (void)ctx;
    (void)term;
    (void)entry;
    ck_assert(command);
    ck_assert_uint_gt(index, solo.applied_index);
    solo.applied_index = index;
}

static uint64_t on_durable_index(void *ctx)
{
    (void)ctx;
    return solo.durable_index;
}

static void on_manifest(void *ctx, uint64_t index, struct buf *data)
{
    (void)ctx;
    write_u64(data, index);
}

static enum err on_restore(void *ctx, uint64_t index, struct bytes manifest, struct why *why)
{
    (void)ctx;
    (void)manifest;
    (void)why;
    solo.applied_index = index;
    return OK;
}

static enum err on_may_restore(void *ctx, uint64_t index, struct why *why)
{
    (void)ctx;
    (void)index;
    (void)why;
    return OK;
}

static void on_left(void *ctx)
{
    (void)ctx;
}

static void on_changed(void *ctx, enum err status)
{
    (void)ctx;
    solo.changed++;
    solo.change_status = status;
}

static void on_transferred(void *ctx)
{
    (void)ctx;
    solo.transferred++;
}

static void on_frame(void *ctx, uint64_t peer_id, enum frame_kind kind, struct bytes payload)
{
    (void)ctx;
    (void)kind;
    char address[256];
    enum err err = raftio_on_frame(solo.io, peer_id, payload, address, sizeof address);
    ck_assert_int_eq(err, OK);
}

static void open_member(uint32_t off_mask)
{
    static const struct raftio_callbacks callbacks = {
        .applied = on_applied,
        .durable_index = on_durable_index,
        .manifest = on_manifest,
        .restore = on_restore,
        .may_restore = on_may_restore,
        .left = on_left,
        .changed = on_changed,
        .transferred = on_transferred,
        .ticked = on_left,
    };
    static const struct transport_callbacks net_callbacks = {.on_frame = on_frame};
    struct raftio_config config = {
        .env = env_fake_env(solo.env),
        .raftlog = log_fake_raftlog(solo.log),
        .transport = &solo.net->base,
        .id = SELF,
        .address = "member-1",
        .bootstrap = bytes_of(solo.first.base, solo.first.len),
        .heartbeat_ms = HEARTBEAT_MS,
        .election_ms = ELECTION_MS,
        .snapshot_entries = solo.snapshot_entries,
        .snapshot_bytes = UINT64_MAX,
        .trailing_entries = 1,
        .trailing_bytes = 1,
        .guard_off_mask = off_mask,
    };
    struct why why = {0};
    enum err err = raftio_open(&config, &callbacks, NULL, &solo.io, &why);
    ck_assert_msg(err == OK, "%s: %s", err_text(err), why.text);
    err = solo.net->base.ops->start(&solo.net->base, &net_callbacks, NULL, &why);
    ck_assert_int_eq(err, OK);
    log_fake_finish(solo.log, SIZE_MAX);
}

/* ROLES: of the members from 1 on, v or l. RULE is off in the second run of a scene. */
static void begin(const char *roles, enum guard_rule rule, int run)
{
    solo.first = talk_configuration(roles);
    open_member(run == WITHOUT_RULE ? 1u << rule : 0);
}

static void setup(void)
{
    memset(&solo, 0, sizeof solo);
    solo.env = env_fake_new(7);
    solo.log = log_fake_new();
    solo.net = net_fake_new();
    solo.snapshot_entries = UINT64_MAX;
}

static void teardown(void)
{
    raftio_close(solo.io);
    raft_free(solo.first.base);
    log_fake_free(solo.log);
    net_fake_free(solo.net);
    env_fake_free(solo.env);
}

/* A crash: what the core had in memory is gone, the disk stays. */
static void restart(uint32_t off_mask)
{
    raftio_close(solo.io);
    net_fake_skip(solo.net);
    solo.applied_index = 0;
    open_member(off_mask);
}

static const struct raft *core(void)
{
    return raftio_core(solo.io);
}

/* ---- the others ---- */

static void say_append(uint64_t leader, uint64_t term, uint64_t prev, uint64_t prev_term,
                       uint64_t commit, uint64_t entry_term, unsigned count)
{
    talk_append(solo.net, leader, term, prev, prev_term, commit, entry_term, count);
    env_fake_run(solo.env);
}

static void say_configuration(uint64_t leader, uint64_t term, uint64_t prev, uint64_t prev_term,
                              const char *roles)
{
    struct raft_buffer encoded = talk_configuration(roles);
    struct raft_entry entry = {.term = term, .type = RAFT_CHANGE, .buf = encoded};
    talk_append_of(solo.net, leader, term, prev, prev_term, 0, &entry, 1);
    raft_free(encoded.base);
    env_fake_run(solo.env);
}

static void say_snapshot(uint64_t leader, uint64_t term, uint64_t index, uint64_t index_term)
{
    struct raft_message message = {.type = RAFT_IO_INSTALL_SNAPSHOT};
    struct raft_install_snapshot *snapshot = &message.install_snapshot;
    struct raft_buffer conf = talk_configuration("vvv");
    *snapshot = (struct raft_install_snapshot){
        .term = term, .last_index = index, .last_term = index_term, .conf_index = 1};
    ck_assert_int_eq(configuration_decode(bytes_of(conf.base, conf.len), &snapshot->conf), OK);
    raft_free(conf.base);
    net_fake_say(solo.net, leader, &message, NULL);
    raft_configuration_close(&snapshot->conf);
    env_fake_run(solo.env);
}

static void say_result(uint64_t peer, uint64_t term, uint64_t rejected, uint64_t last)
{
    talk_result(solo.net, peer, term, rejected, last);
    env_fake_run(solo.env);
}

static void ask_vote(uint64_t candidate, uint64_t term, uint64_t last, uint64_t last_term,
                     bool disrupt)
{
    talk_ask_vote(solo.net, candidate, term, last, last_term, disrupt);
    env_fake_run(solo.env);
}

static void grant(uint64_t peer, uint64_t term, bool pre_vote)
{
    talk_grant(solo.net, peer, term, pre_vote);
    env_fake_run(solo.env);
}

/* What was answered last to PEER's append. */
static struct frame last_answer_frame(uint64_t peer)
{
    struct frame last = {0};
    struct frame frame;
    bool any = false;
    while (net_fake_take_message(solo.net, peer, RAFT_IO_APPEND_ENTRIES_RESULT, &frame)) {
        last = frame;
        any = true;
    }
    ck_assert_msg(any, "no answer to %u", (unsigned)peer);
    return last;
}

static struct raft_append_entries_result last_answer(uint64_t peer)
{
    return last_answer_frame(peer).message.append_entries_result;
}

static bool vote_granted_to(uint64_t peer)
{
    struct frame frame;
    bool granted = false;
    while (net_fake_take_message(solo.net, peer, RAFT_IO_REQUEST_VOTE_RESULT, &frame)) {
        granted = frame.message.request_vote_result.vote_granted;
    }
    return granted;
}

/* Time goes by in which nobody says anything, until member 1 asks for votes; false: it does not. */
static bool campaigns(unsigned elections)
{
    net_fake_skip(solo.net);
    for (unsigned i = 0; i < 10 * elections; i++) {
        env_fake_advance(solo.env, HEARTBEAT_MS);
        if (core()->state == RAFT_CANDIDATE) {
            return true;
        }
    }
    return false;
}

/* Won with the votes of 2 and 3. */
static void become_leader(void)
{
    ck_assert(campaigns(3));
    uint64_t term = core()->current_term + 1;
    grant(2, term, true);
    grant(3, term, true);
    ck_assert_uint_eq(core()->current_term, term);
    grant(2, term, false);
    grant(3, term, false);
    ck_assert_int_eq(core()->state, RAFT_LEADER);
}

/* And everything of it is stored everywhere. */
static void lead_undisputed(void)
{
    become_leader();
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    uint64_t last = core_last_index(core());
    say_result(2, core()->current_term, 0, last);
    say_result(3, core()->current_term, 0, last);
    ck_assert_uint_eq(core()->commit_index, last);
    net_fake_skip(solo.net);
}

/* ---- G1 ---- */

START_TEST(an_answer_claims_no_more_than_was_verified)
{
    begin("vvv", GUARD_VERIFIED_ACK, _i);
    say_append(2, 2, 1, 1, 1, 2, 5); /* 2 ... 6 of term 2, not committed */
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    ck_assert_uint_eq(last_answer(2).last_log_index, 6);
    say_append(3, 3, 1, 1, 1, 0, 0); /* the next leader asks about 1 only */
    struct raft_append_entries_result result = last_answer(3);
    ck_assert_uint_eq(result.rejected, 0);
    ck_assert_uint_eq(result.last_log_index, _i == WITH_RULE ? 1 : 6);
}
END_TEST

START_TEST(a_commit_index_is_believed_as_far_as_its_message_reaches)
{
    begin("vvv", GUARD_VERIFIED_ACK, _i);
    say_append(2, 2, 1, 1, 1, 2, 5);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    say_append(3, 3, 1, 1, 5, 0, 0); /* 5 entries of its own are committed, these are not */
    ck_assert_uint_eq(core()->commit_index, _i == WITH_RULE ? 1 : 5);
}
END_TEST

/* The core ignores it while one of its own is on its way to the disk. Else it would count as
 * verified what only an earlier leader has sent, and commit it. */
START_TEST(a_snapshot_that_is_ignored_verifies_nothing)
{
    solo.snapshot_entries = 5;
    begin("vvv", GUARD_VERIFIED_ACK, WITH_RULE);
    say_append(2, 2, 1, 1, 9, 2, 8);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    solo.durable_index = 9;
    env_fake_advance(solo.env, HEARTBEAT_MS);
    say_append(2, 2, 9, 2, 10, 2, 3); /* 11 and 12 are not committed */
    log_fake_finish(solo.log, 1);
    env_fake_run(solo.env);
    ck_assert(core()->snapshot.put.data != NULL);
    net_fake_skip(solo.net);
    say_snapshot(3, 3, 20, 3);
    say_append(3, 3, 10, 2, 10, 0, 0); /* and nothing of 3's is */
    struct frame answer = last_answer_frame(3);
    ck_assert_uint_eq(answer.message.append_entries_result.last_log_index, 10);
    ck_assert_uint_eq(answer.notes.received_index, 10);
    say_append(3, 3, 10, 2, 20, 3, 2); /* 11 and 12 are others */
    ck_assert_uint_eq(core()->commit_index, 10);
}
END_TEST

START_TEST(a_refusal_says_where_to_go_on)
{
    begin("vvv", GUARD_VERIFIED_ACK, _i);
    say_append(2, 2, 1, 1, 1, 2, 40);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    say_append(3, 5, 30, 4, 1, 0, 0); /* another entry 30 than ours */
    struct raft_append_entries_result result = last_answer(3);
    ck_assert_uint_eq(result.rejected, 30);
    /* The one before it may match; the core would have the leader ask about 30 again. */
    ck_assert_uint_eq(result.last_log_index, _i == WITH_RULE ? 29 : 41);
}
END_TEST

/* Its sender may have been elected again: then it would go back to before what we have. */
START_TEST(an_append_of_an_older_term_is_not_refused_for_its_entries)
{
    begin("vvv", GUARD_VERIFIED_ACK, _i);
    say_append(2, 2, 1, 1, 1, 2, 5); /* 2 ... 6 of term 2 */
    say_append(3, 4, 6, 2, 1, 4, 1); /* 7, of the leader of term 4 */
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    net_fake_skip(solo.net);
    say_append(3, 3, 5, 2, 1, 0, 0); /* it has led in term 3, too: late */
    struct raft_append_entries_result result = last_answer(3);
    ck_assert_uint_eq(result.term, 4);
    ck_assert_uint_eq(result.rejected, _i == WITH_RULE ? 0 : 5);
    ck_assert_uint_eq(result.last_log_index, 7);
}
END_TEST

START_TEST(a_refusal_passes_over_terms_that_cannot_match)
{
    begin("vvv", GUARD_VERIFIED_ACK, WITH_RULE);
    say_append(2, 2, 1, 1, 1, 2, 9);   /* 2 ... 10 of term 2 */
    say_append(2, 4, 10, 2, 1, 4, 30); /* 11 ... 40 of term 4 */
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    say_append(3, 5, 30, 3, 1, 0, 0); /* its entries up to 30 are of term 3 at most */
    struct frame answer = last_answer_frame(3);
    ck_assert_uint_eq(answer.message.append_entries_result.last_log_index, 10);
    ck_assert_uint_eq(answer.notes.last_term, 2);
    say_append(3, 5, 10, 1, 1, 0, 0); /* nothing of term 2 either: what is committed is left */
    ck_assert_uint_eq(last_answer(3).last_log_index, 1);
}
END_TEST

/* ---- G2 ---- */

START_TEST(entries_of_older_terms_are_not_committed_by_counting)
{
    begin("vvv", GUARD_OWN_TERM_COMMIT, _i);
    say_append(2, 2, 1, 1, 1, 2, 1); /* entry 2 of term 2 */
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    become_leader();
    say_result(2, core()->current_term, 0, 2);
    if (_i == WITHOUT_RULE) {
        ck_assert_uint_eq(core()->commit_index, 2);
        return;
    }
    ck_assert_uint_eq(core()->commit_index, 1);
    ck_assert_uint_eq(core_last_index(core()), 3); /* the barrier */
    ck_assert(!raftio_leads(solo.io));
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    say_result(2, core()->current_term, 0, 3);
    ck_assert_uint_eq(core()->commit_index, 3);
    ck_assert(raftio_leads(solo.io));
}
END_TEST

/* ---- G3 ---- */

START_TEST(one_vote_in_a_term_even_to_who_leadership_is_handed_to)
{
    begin("vvv", GUARD_ONE_VOTE, _i);
    lead_undisputed();
    uint64_t term = core()->current_term;
    uint64_t last = core_last_index(core());
    ck_assert_int_eq(raftio_transfer(solo.io, 2), OK);
    uint64_t votes = solo.log->vote_count;
    ask_vote(3, term + 1, last, term, true);
    ck_assert(vote_granted_to(3));
    ask_vote(2, term + 1, last, term, true); /* the successor, in the same term */
    ck_assert(vote_granted_to(2) == (_i == WITHOUT_RULE));
    ck_assert_uint_eq(solo.log->vote_count - votes, _i == WITH_RULE ? 1 : 2);
}
END_TEST

/* ---- G4 ---- */

START_TEST(no_candidate_while_entries_are_on_their_way_to_the_disk)
{
    begin("vvv", GUARD_CAMPAIGN_SETTLED, _i);
    say_append(2, 2, 1, 1, 1, 2, 1);
    ck_assert_uint_eq(log_fake_waiting(solo.log), 1);
    ck_assert(campaigns(5) == (_i == WITHOUT_RULE));
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    ck_assert(core()->state == RAFT_CANDIDATE || campaigns(3));
}
END_TEST

START_TEST(leadership_is_taken_over_when_the_disk_is_done)
{
    begin("vvv", GUARD_CAMPAIGN_SETTLED, _i);
    say_append(2, 2, 1, 1, 1, 2, 1);
    struct raft_message message = {.type = RAFT_IO_TIMEOUT_NOW};
    message.timeout_now =
        (struct raft_timeout_now){.term = 2, .last_log_index = 2, .last_log_term = 2};
    net_fake_say(solo.net, 2, &message, NULL);
    ck_assert_int_eq(core()->state, _i == WITH_RULE ? RAFT_FOLLOWER : RAFT_CANDIDATE);
    log_fake_finish(solo.log, SIZE_MAX);
    ck_assert_int_eq(core()->state, RAFT_CANDIDATE);
    ck_assert_uint_eq(core()->current_term, 3);
    env_fake_run(solo.env);
}
END_TEST

/* ---- G6 ---- */

static unsigned voters(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < core()->configuration.n; i++) {
        count += core()->configuration.servers[i].role == RAFT_VOTER;
    }
    return count;
}

START_TEST(a_configuration_that_is_truncated_is_rolled_back_after_a_restart)
{
    begin("vvvl", GUARD_CONFIG_ROLLBACK, _i);
    say_configuration(2, 2, 1, 1, "vvvv");
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    ck_assert_uint_eq(voters(), 4);
    restart(_i == WITHOUT_RULE ? 1u << GUARD_CONFIG_ROLLBACK : 0);
    ck_assert_uint_eq(voters(), 4);
    say_append(3, 3, 1, 1, 1, 3, 1); /* another entry 2 */
    ck_assert_uint_eq(voters(), _i == WITH_RULE ? 3 : 4);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
}
END_TEST

START_TEST(a_configuration_is_rolled_back_when_the_one_before_is_compacted)
{
    solo.snapshot_entries = 5;
    begin("vvvl", GUARD_CONFIG_ROLLBACK, WITH_RULE); /* without: the core reads a NULL */
    say_append(2, 2, 1, 1, 9, 2, 8);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    solo.durable_index = 9;
    env_fake_advance(solo.env, HEARTBEAT_MS);
    say_append(2, 2, 9, 2, 10, 2, 1);
    log_fake_finish(solo.log, SIZE_MAX);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    ck_assert_uint_eq(solo.log->snapshot.index, 9);
    ck_assert_uint_gt(core()->log.offset, 1); /* the first configuration is gone */
    say_configuration(2, 2, 10, 2, "vvvv");
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    ck_assert_uint_eq(voters(), 4);
    say_append(3, 3, 10, 2, 10, 3, 1);
    ck_assert_uint_eq(voters(), 3);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
}
END_TEST

/* ---- G7 ---- */

START_TEST(what_a_majority_has_is_committed_though_the_leader_has_more)
{
    begin("vvv", GUARD_COMMIT_AT_MAJORITY, _i);
    lead_undisputed();
    uint64_t index;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(raftio_propose(solo.io, bytes_of_str("x"), &index), OK);
    }
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    say_result(2, core()->current_term, 0, index - 2);
    ck_assert_uint_eq(core()->commit_index, _i == WITH_RULE ? index - 2 : index - 3);
    say_result(3, core()->current_term, 0, index);
    ck_assert_uint_eq(core()->commit_index, index);
}
END_TEST

START_TEST(what_a_smaller_majority_has_is_committed_with_the_change)
{
    begin("vvvv", GUARD_COMMIT_AT_MAJORITY, _i);
    lead_undisputed();
    uint64_t index;
    ck_assert_int_eq(raftio_propose(solo.io, bytes_of_str("x"), &index), OK);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    say_result(2, core()->current_term, 0, index);
    ck_assert_uint_eq(core()->commit_index, index - 1); /* two of four */
    ck_assert_int_eq(raftio_change(solo.io, RAFTIO_REMOVE, 4, NULL), OK);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    ck_assert_uint_eq(core()->commit_index, _i == WITH_RULE ? index : index - 1);
    ck_assert_uint_eq(solo.applied_index, _i == WITH_RULE ? index : 0);
    say_result(2, core()->current_term, 0, index + 1);
    ck_assert_uint_eq(core()->commit_index, index + 1);
}
END_TEST

/* ---- G9 ---- */

START_TEST(an_answer_that_cannot_be_sent_does_no_harm)
{
    begin("vvv", GUARD_SEND_SUCCEEDS, WITH_RULE); /* without: entries are freed twice */
    solo.net->disconnected[2] = true;
    say_append(2, 2, 5, 2, 1, 2, 3); /* rejected */
    ck_assert_uint_eq(core_last_index(core()), 1);
    say_append(2, 2, 1, 1, 1, 2, 3);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    say_append(2, 2, 1, 1, 1, 2, 3); /* nothing new */
    ck_assert_uint_eq(core_last_index(core()), 4);
}
END_TEST

/* ---- G11 ---- */

START_TEST(the_only_voter_leads_in_a_term_of_its_own)
{
    begin("vl", GUARD_SOLE_VOTER_TERM, _i);
    env_fake_advance(solo.env, 2 * ELECTION_MS);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    ck_assert_int_eq(core()->state, RAFT_LEADER);
    uint64_t term = core()->current_term;
    restart(_i == WITHOUT_RULE ? 1u << GUARD_SOLE_VOTER_TERM : 0);
    env_fake_advance(solo.env, 2 * ELECTION_MS);
    ck_assert_int_eq(core()->state, RAFT_LEADER);
    ck_assert_uint_eq(core()->current_term, _i == WITH_RULE ? term + 1 : term);
    ck_assert_uint_eq(solo.log->term, core()->current_term);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
}
END_TEST

START_TEST(who_becomes_the_only_voter_leads_in_a_term_of_its_own)
{
    begin("vv", GUARD_SOLE_VOTER_TERM, _i);
    say_configuration(2, 2, 1, 1, "vl"); /* the leader of term 2 demotes itself */
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    env_fake_advance(solo.env, 3 * ELECTION_MS);
    ck_assert_int_eq(core()->state, RAFT_LEADER);
    ck_assert_uint_eq(core()->current_term, _i == WITH_RULE ? 3 : 2);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
}
END_TEST

/* ---- G12 ---- */

START_TEST(entries_are_not_replaced_while_they_are_being_written)
{
    begin("vvv", GUARD_REPLACE_SETTLED, _i);
    say_append(2, 2, 1, 1, 1, 2, 2);
    say_append(3, 3, 1, 1, 1, 3, 1); /* another entry 2 */
    ck_assert_uint_eq(solo.log->truncations, _i == WITH_RULE ? 0 : 1);
    ck_assert_uint_eq(core_term_of(core(), 2), _i == WITH_RULE ? 2 : 3);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    say_append(3, 3, 1, 1, 1, 3, 1); /* once more */
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    ck_assert_uint_eq(core_term_of(core(), 2), 3);
    ck_assert_uint_eq(last_answer(3).last_log_index, 2);
}
END_TEST

/* ---- G13 ---- */

START_TEST(a_learner_votes)
{
    begin("lvv", GUARD_VOTERS_VOTE, _i);
    ask_vote(2, 2, 1, 1, false);
    ck_assert(vote_granted_to(2) == (_i == WITH_RULE));
    ck_assert_int_eq(core_server(core(), SELF)->role, RAFT_STANDBY);
}
END_TEST

START_TEST(a_leader_that_is_silent_is_no_reason_to_refuse)
{
    begin("vvv", GUARD_VOTERS_VOTE, _i);
    say_append(2, 2, 1, 1, 1, 0, 0);
    ask_vote(3, 3, 1, 1, false);
    ck_assert(!vote_granted_to(3)); /* it was heard of just now */
    env_fake_advance(solo.env, ELECTION_MS);
    ck_assert_int_eq(core()->state, RAFT_FOLLOWER); /* our own time is longer */
    ask_vote(3, 3, 1, 1, false);
    ck_assert(vote_granted_to(3) == (_i == WITH_RULE));
}
END_TEST

/* ---- G14 ---- */

static bool change_was_sent(void)
{
    struct frame frame;
    bool sent = false;
    while (net_fake_take_message(solo.net, 2, RAFT_IO_APPEND_ENTRIES, &frame)) {
        for (unsigned i = 0; i < frame.message.append_entries.n_entries; i++) {
            sent = sent || frame.message.append_entries.entries[i].type == RAFT_CHANGE;
        }
        frame_release(&frame.message);
    }
    return sent;
}

START_TEST(a_configuration_leaves_when_it_is_stored)
{
    begin("vvv", GUARD_CHANGE_STORED, _i);
    lead_undisputed();
    ck_assert_int_eq(raftio_change(solo.io, RAFTIO_ADD, 4, "member-4"), OK);
    ck_assert(change_was_sent() == (_i == WITHOUT_RULE));
    env_fake_advance(solo.env, HEARTBEAT_MS);
    ck_assert(change_was_sent() == false);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_advance(solo.env, 2 * HEARTBEAT_MS);
    ck_assert(change_was_sent() == (_i == WITH_RULE));
}
END_TEST

/* ---- G15 ---- */

START_TEST(no_change_before_an_entry_of_the_own_term_is_committed)
{
    begin("vvv", GUARD_CHANGE_AFTER_BARRIER, _i);
    become_leader();
    enum err err = raftio_change(solo.io, RAFTIO_REMOVE, 3, NULL);
    ck_assert_int_eq(err, _i == WITH_RULE ? ERR_TOO_MANY_REQUESTS : OK);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    say_result(2, core()->current_term, 0, core_last_index(core()));
    if (_i == WITH_RULE) {
        ck_assert_int_eq(raftio_change(solo.io, RAFTIO_REMOVE, 3, NULL), OK);
        log_fake_finish(solo.log, SIZE_MAX);
        env_fake_run(solo.env);
    }
}
END_TEST

/* ---- G16 ---- */

/* A log whose first entries are compacted away: 1 ... 10 are committed, a snapshot is at 9. */
static void compact(const char *roles, enum guard_rule rule, int run)
{
    solo.snapshot_entries = 5;
    begin(roles, rule, run);
    say_append(2, 2, 1, 1, 9, 2, 8);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    solo.durable_index = 9;
    env_fake_advance(solo.env, HEARTBEAT_MS);
    say_append(2, 2, 9, 2, 10, 2, 1);
    log_fake_finish(solo.log, SIZE_MAX);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    ck_assert_uint_eq(core()->log.snapshot.last_index, 9);
    ck_assert_uint_eq(core()->log.offset, 8);
    ck_assert_uint_eq(core_last_index(core()), 10);
}

START_TEST(an_old_message_about_compacted_entries_is_no_news)
{
    compact("vvv", GUARD_BELOW_LOG, WITH_RULE);
    say_append(2, 2, 0, 0, 10, 1, 1); /* entry 1, late */
    ck_assert_uint_eq(core_last_index(core()), 10);
    ck_assert_uint_eq(last_answer(2).rejected, 0);
}
END_TEST

/* Ends the process, by way of fatal. */
START_TEST(an_old_message_about_compacted_entries_ends_the_core)
{
    compact("vvv", GUARD_BELOW_LOG, WITHOUT_RULE);
    say_append(2, 2, 0, 0, 10, 1, 1);
}
END_TEST

/* ---- G17 ---- */

START_TEST(a_snapshot_has_the_configuration_of_its_index)
{
    solo.snapshot_entries = 5;
    begin("vvvl", GUARD_SNAPSHOT_CONFIG, _i);
    say_append(2, 2, 1, 1, 8, 2, 8);
    say_configuration(2, 2, 9, 2, "vvvv"); /* entry 10, not committed */
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    solo.durable_index = 8;
    env_fake_advance(solo.env, HEARTBEAT_MS);
    say_append(2, 2, 9, 2, 9, 0, 0);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
    ck_assert_uint_eq(solo.log->snapshot.index, 8);
    struct raft_buffer want = talk_configuration(_i == WITH_RULE ? "vvvl" : "vvvv");
    ck_assert(bytes_equal(solo.log->snapshot.configuration, bytes_of(want.base, want.len)));
    raft_free(want.base);
}
END_TEST

/* ---- G18 ---- */

START_TEST(a_candidate_that_gets_no_votes_asks_beforehand_again)
{
    begin("vvv", GUARD_PRE_VOTE_AGAIN, _i);
    ck_assert(campaigns(3));
    uint64_t term = core()->current_term + 1;
    grant(2, term, true);
    ck_assert_uint_eq(core()->current_term, term); /* and nobody votes */
    env_fake_advance(solo.env, 10 * ELECTION_MS);
    if (_i == WITH_RULE) {
        ck_assert_uint_eq(core()->current_term, term);
    } else {
        ck_assert_uint_gt(core()->current_term, term + 3);
    }
}
END_TEST

/* ---- G19 ---- */

START_TEST(a_heartbeat_asks_about_what_is_known_to_match)
{
    begin("vvv", GUARD_FLOW, _i);
    lead_undisputed();
    uint64_t matched = core_last_index(core());
    uint64_t index;
    ck_assert_int_eq(raftio_propose(solo.io, bytes_of_str("x"), &index), OK);
    net_fake_skip(solo.net);
    env_fake_advance(solo.env, 2 * HEARTBEAT_MS);
    struct frame frame;
    bool heard = false;
    while (net_fake_take_message(solo.net, 2, RAFT_IO_APPEND_ENTRIES, &frame)) {
        if (frame.message.append_entries.n_entries == 0) {
            heard = true;
            ck_assert_uint_eq(frame.message.append_entries.prev_log_index,
                              _i == WITH_RULE ? matched : index);
        }
        frame_release(&frame.message);
    }
    ck_assert(heard);
    log_fake_finish(solo.log, SIZE_MAX);
    env_fake_run(solo.env);
}
END_TEST

/* ---- G20 ---- */

START_TEST(who_asks_in_an_old_term_is_told_of_the_new_one)
{
    begin("vvv", GUARD_PRE_VOTE_TERM, _i);
    say_append(2, 5, 1, 1, 1, 0, 0);
    env_fake_advance(solo.env, ELECTION_MS); /* and of its leader nothing is heard any more */
    net_fake_skip(solo.net);
    talk_ask_pre_vote(solo.net, 3, 4, 9, 3);
    env_fake_run(solo.env);
    struct frame frame;
    ck_assert(net_fake_take_message(solo.net, 3, RAFT_IO_REQUEST_VOTE_RESULT, &frame));
    const struct raft_request_vote_result *result = &frame.message.request_vote_result;
    ck_assert(!result->vote_granted);
    ck_assert_uint_eq(result->term, _i == WITH_RULE ? 5 : 4);
    /* What is not of an old term is answered in the term that it asked for. */
    talk_ask_pre_vote(solo.net, 3, 6, 9, 3);
    env_fake_run(solo.env);
    ck_assert(net_fake_take_message(solo.net, 3, RAFT_IO_REQUEST_VOTE_RESULT, &frame));
    ck_assert(result->vote_granted);
    ck_assert_uint_eq(result->term, 6);
}
END_TEST

START_TEST(a_candidate_that_is_told_of_a_later_term_asks_in_it)
{
    begin("vvv", GUARD_PRE_VOTE_TERM, WITH_RULE);
    ck_assert(campaigns(3));
    uint64_t term = core()->current_term + 7;
    talk_refuse_pre_vote(solo.net, 2, term);
    env_fake_run(solo.env);
    ck_assert_uint_eq(core()->current_term, term);
    ck_assert_int_eq(core()->state, RAFT_FOLLOWER);
    ck_assert(campaigns(3));
    grant(3, term + 1, true);
    ck_assert_uint_eq(core()->current_term, term + 1);
}
END_TEST

static Suite *guard_suite(void)
{
    const TTest *const both[] = {
        an_answer_claims_no_more_than_was_verified,
        a_commit_index_is_believed_as_far_as_its_message_reaches,
        a_refusal_says_where_to_go_on,
        an_append_of_an_older_term_is_not_refused_for_its_entries,
        entries_of_older_terms_are_not_committed_by_counting,
        one_vote_in_a_term_even_to_who_leadership_is_handed_to,
        no_candidate_while_entries_are_on_their_way_to_the_disk,
        leadership_is_taken_over_when_the_disk_is_done,
        a_configuration_that_is_truncated_is_rolled_back_after_a_restart,
        what_a_majority_has_is_committed_though_the_leader_has_more,
        what_a_smaller_majority_has_is_committed_with_the_change,
        the_only_voter_leads_in_a_term_of_its_own,
        who_becomes_the_only_voter_leads_in_a_term_of_its_own,
        entries_are_not_replaced_while_they_are_being_written,
        a_learner_votes,
        a_leader_that_is_silent_is_no_reason_to_refuse,
        a_configuration_leaves_when_it_is_stored,
        no_change_before_an_entry_of_the_own_term_is_committed,
        a_snapshot_has_the_configuration_of_its_index,
        a_candidate_that_gets_no_votes_asks_beforehand_again,
        a_heartbeat_asks_about_what_is_known_to_match,
        who_asks_in_an_old_term_is_told_of_the_new_one,
    };
    Suite *suite = suite_create("guard");
    TCase *tc = tcase_create("scenes");
    tcase_add_checked_fixture(tc, setup, teardown);
    for (size_t i = 0; i < sizeof both / sizeof both[0]; i++) {
        tcase_add_loop_test(tc, both[i], WITH_RULE, WITHOUT_RULE + 1);
    }
    tcase_add_test(tc, a_snapshot_that_is_ignored_verifies_nothing);
    tcase_add_test(tc, a_refusal_passes_over_terms_that_cannot_match);
    tcase_add_test(tc, a_configuration_is_rolled_back_when_the_one_before_is_compacted);
    tcase_add_test(tc, a_candidate_that_is_told_of_a_later_term_asks_in_it);
    tcase_add_test(tc, an_answer_that_cannot_be_sent_does_no_harm);
    tcase_add_test(tc, an_old_message_about_compacted_entries_is_no_news);
    tcase_add_exit_test(tc, an_old_message_about_compacted_entries_ends_the_core, FATAL_STATUS);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main_apart(guard_suite);
}
