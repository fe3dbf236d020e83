/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/codec.h"
#include "raft/confhist.h"
#include "tests/lib/raft_solo.h"
#include "tests/lib/runner.h"

/* Member 1 leads, member 2 has everything, member 3 lacks what the log has no more. */

#define LAST                                                                             \
    12u /* 1 configuration, 2 barrier, 3 ... 12 commands; a snapshot at 9 leaves 8 and 9 \
         */

static void setup(void)
{
    solo_setup();
    solo.sends_state = true;
}

/* Compacted up to DURABLE. */
static void compact(uint64_t durable)
{
    solo.durable_index = durable;
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    solo_put_many(1);
    ck_assert_uint_eq(solo.log->snapshot.index, durable);
}

static void member_3_lacks(void)
{
    talk_refuse(solo.net, 3, node_term(solo.node), node_last_index(solo.node), 1, 1);
    solo_settle();
}

/* Member 3 is alive, and 2 as well. */
static void beat(void)
{
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    talk_result(solo.net, 2, node_term(solo.node), 0, node_last_index(solo.node));
    talk_result(solo.net, 3, node_term(solo.node), 0, 0);
    solo_settle();
}

static void open_with_lack(void)
{
    solo.snapshot_entries = 4;
    solo_open(solo_three, 3);
    solo_lead(true);
    solo_put_many(9);
    compact(9);
    ck_assert_uint_eq(node_last_index(solo.node), LAST);
    ck_assert_uint_eq(solo.log->first_index, 8);
    net_fake_skip(solo.net);
    member_3_lacks();
}

static bool take_install(struct frame *ret)
{
    return net_fake_take_message(solo.net, 3, RAFT_IO_INSTALL_SNAPSHOT, ret);
}

START_TEST(who_lacks_what_is_forgotten_is_told_of)
{
    open_with_lack();
    ck_assert_uint_eq(solo.wants, 1);
    ck_assert_uint_eq(solo.wanted_by, 3);
    struct frame frame;
    ck_assert(!take_install(&frame)); /* not before the state is there */
}
END_TEST

START_TEST(without_a_layer_that_sends_states_the_manifest_goes)
{
    solo.sends_state = false;
    open_with_lack();
    ck_assert_uint_eq(solo.wants, 0);
    struct frame frame;
    ck_assert(take_install(&frame));
    ck_assert_uint_eq(frame.message.install_snapshot.last_index, 9);
    frame_release(&frame.message);
}
END_TEST

START_TEST(it_is_told_of_again_when_nobody_sees_to_it)
{
    open_with_lack();
    for (unsigned i = 0; i < 3 * SOLO_ELECTION_MS / SOLO_HEARTBEAT_MS; i++) {
        beat();
    }
    ck_assert_uint_ge(solo.wants, 2);
    ck_assert_uint_le(solo.wants, 3);
}
END_TEST

START_TEST(it_is_not_while_a_state_is_held)
{
    open_with_lack();
    for (unsigned i = 0; i < 6 * SOLO_ELECTION_MS / SOLO_HEARTBEAT_MS; i++) {
        ck_assert(node_hold_state(solo.node, 3, i < 10 ? 0 : 10, 1000));
        beat();
    }
    ck_assert_uint_eq(solo.wants, 1);
    ck_assert_int_eq(node_role(solo.node), NODE_LEADER); /* nor is the leader disturbed */
}
END_TEST

START_TEST(what_follows_a_held_state_stays)
{
    open_with_lack();
    ck_assert(node_hold_state(solo.node, 3, 10, 1000000));
    solo_put_many(20);
    compact(30);
    ck_assert_uint_le(solo.log->first_index, 10);
    ck_assert_int_eq(node_install(solo.node, 3, 10, node_term(solo.node), bytes_of_str("m")), OK);
}
END_TEST

START_TEST(what_follows_is_not_held_beyond_the_size_of_the_state)
{
    open_with_lack();
    ck_assert(node_hold_state(solo.node, 3, 10, 200)); /* some three entries */
    solo_put_many(20);
    compact(30);
    ck_assert_uint_gt(solo.log->first_index, 12);
    uint64_t term = node_term(solo.node);
    ck_assert_int_eq(node_install(solo.node, 3, 10, term, bytes_of_str("m")), ERR_NOT_FOUND);
    ck_assert(node_hold_state(solo.node, 3, 30, 200)); /* a newer one will do */
    ck_assert_int_eq(node_install(solo.node, 3, 30, term, bytes_of_str("m")), OK);
}
END_TEST

START_TEST(a_log_begins_at_the_state_that_was_sent)
{
    open_with_lack();
    uint64_t term = node_term(solo.node);
    ck_assert(node_hold_state(solo.node, 3, 11, 1000));
    ck_assert_int_eq(node_install(solo.node, 3, 11, term, bytes_of_str("state at 11")), OK);
    struct frame frame;
    ck_assert(take_install(&frame));
    const struct raft_install_snapshot *sent = &frame.message.install_snapshot;
    ck_assert_uint_eq(sent->term, term);
    ck_assert_uint_eq(sent->last_index, 11);
    ck_assert_uint_eq(sent->last_term, term);
    ck_assert_uint_eq(sent->conf_index, 1);
    ck_assert_uint_eq(sent->conf.n, 3);
    ck_assert(bytes_equal(bytes_of(sent->data.base, sent->data.len), bytes_of_str("state at 11")));
    frame_release(&frame.message);
    /* Its answer: its log goes on behind. */
    talk_result(solo.net, 3, term, 0, 11);
    ck_assert(!node_hold_state(solo.node, 3, 11, 1000));
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    bool sent_next = false;
    while (net_fake_take_message(solo.net, 3, RAFT_IO_APPEND_ENTRIES, &frame)) {
        sent_next = sent_next || (frame.message.append_entries.prev_log_index == 11 &&
                                  frame.message.append_entries.n_entries == 1);
        frame_release(&frame.message);
    }
    ck_assert(sent_next);
}
END_TEST

/* It has said so before the core was told to wait for no more than that. */
START_TEST(a_log_that_begins_there_already_is_gone_on_with)
{
    open_with_lack();
    uint64_t term = node_term(solo.node);
    talk_result(solo.net, 3, term, 0, 8);
    solo_settle();
    ck_assert(node_hold_state(solo.node, 3, 8, 1000));
    ck_assert(!node_hold_state(solo.node, 3, 8, 1000));
    ck_assert_int_eq(node_install(solo.node, 3, 8, term, bytes_of_str("m")), ERR_NOT_LEADER);
    net_fake_skip(solo.net);
    beat();
    beat();
    struct frame frame;
    uint64_t entries = 0;
    while (net_fake_take_message(solo.net, 3, RAFT_IO_APPEND_ENTRIES, &frame)) {
        const struct raft_append_entries *append = &frame.message.append_entries;
        entries += append->prev_log_index == 8 ? append->n_entries : 0;
        frame_release(&frame.message);
    }
    ck_assert_uint_eq(entries, LAST - 8);
}
END_TEST

START_TEST(an_install_is_refused_where_it_would_do_harm)
{
    open_with_lack();
    uint64_t term = node_term(solo.node);
    struct bytes manifest = bytes_of_str("m");
    ck_assert_int_eq(node_install(solo.node, 3, 6, term, manifest), ERR_NOT_FOUND); /* forgotten */
    ck_assert(!node_holds(solo.node, 6, term));
    ck_assert(node_holds(solo.node, 10, term));
    ck_assert(!node_holds(solo.node, 10, term + 1));
    ck_assert(!node_holds(solo.node, 0, 0));
    ck_assert_int_eq(node_install(solo.node, 3, 10, term + 1, manifest), ERR_NOT_FOUND);
    ck_assert_int_eq(node_install(solo.node, 3, LAST + 1, term, manifest), ERR_NOT_FOUND);
    ck_assert_int_eq(node_install(solo.node, 3, 0, 0, manifest), ERR_NOT_FOUND);
    ck_assert_int_eq(node_install(solo.node, 2, 10, term, manifest),
                     ERR_NOT_LEADER); /* needs none */
    ck_assert_int_eq(node_install(solo.node, 9, 10, term, manifest), ERR_NOT_LEADER);
    solo_follow(2, term + 1);
    ck_assert_int_eq(node_install(solo.node, 3, 10, term, manifest), ERR_NOT_LEADER);
    ck_assert(!node_hold_state(solo.node, 3, 10, 1000));
}
END_TEST

/* A leader that has just begun does not know yet what is committed. Without member 2 it needs the
 * one that lacks the state to learn it. */
START_TEST(a_leader_helps_before_its_own_term_has_begun)
{
    open_with_lack();
    uint64_t term = node_term(solo.node);
    solo_close();
    solo.applied_index = 0;
    solo.durable_index = 11;
    solo_open(solo_three, 3);
    solo_lead(false);
    ck_assert_uint_lt(node_commit_index(solo.node), 11);
    solo.wants = 0;
    talk_refuse(solo.net, 3, node_term(solo.node), LAST, 1, 1);
    solo_settle();
    ck_assert_uint_eq(solo.wants, 1);
    ck_assert(node_hold_state(solo.node, 3, 11, 1000));
    ck_assert(node_holds(solo.node, 11, term));
    ck_assert_int_eq(node_install(solo.node, 3, 11, term, bytes_of_str("m")), OK);
    talk_result(solo.net, 3, node_term(solo.node), 0, 11);
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    talk_result(solo.net, 3, node_term(solo.node), 0, node_last_index(solo.node));
    solo_settle();
    ck_assert_uint_eq(node_commit_index(solo.node), node_last_index(solo.node));
}
END_TEST

/* Member 3 answers each append as one whose log has but the first entry. */
static void answer_with_little(void)
{
    struct frame frame;
    while (net_fake_take_message(solo.net, 3, RAFT_IO_APPEND_ENTRIES, &frame)) {
        uint64_t prev = frame.message.append_entries.prev_log_index;
        frame_release(&frame.message);
        if (prev > 1) {
            talk_refuse(solo.net, 3, node_term(solo.node), prev, 1, 1);
        } else {
            talk_result(solo.net, 3, node_term(solo.node), 0, prev);
        }
        solo_settle();
    }
}

/* Its data directory was put back to an older state, say: it has stored all, and lacks it now. */
START_TEST(who_has_lost_what_it_had_stored_is_helped)
{
    solo.snapshot_entries = 4;
    solo_open(solo_three, 3);
    solo_lead(true);
    solo_put_many(9);
    compact(9);
    talk_result(solo.net, 3, node_term(solo.node), 0, LAST);
    solo_settle();
    ck_assert_uint_eq(node_match_index(solo.node, 3), LAST);
    net_fake_skip(solo.net);
    for (unsigned i = 0; i < 3 * SOLO_ELECTION_MS / SOLO_HEARTBEAT_MS; i++) {
        env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
        talk_result(solo.net, 2, node_term(solo.node), 0, LAST);
        answer_with_little();
    }
    ck_assert_uint_eq(node_match_index(solo.node, 3), 0);
    ck_assert_uint_ge(solo.wants, 1);
    ck_assert(node_hold_state(solo.node, 3, 10, 1000));
}
END_TEST

/* Asked before the core gives up its log for it; restore itself would have agreed. */
START_TEST(a_snapshot_that_will_not_do_is_passed_over)
{
    solo_open(solo_three, 3);
    solo_follow(2, 2);
    struct raft_message message = {.type = RAFT_IO_INSTALL_SNAPSHOT};
    struct raft_buffer conf = talk_configuration("vvv");
    ck_assert_int_eq(
        configuration_decode(bytes_of(conf.base, conf.len), &message.install_snapshot.conf), OK);
    raft_free(conf.base);
    message.install_snapshot.term = 2;
    message.install_snapshot.last_index = 50;
    message.install_snapshot.last_term = 2;
    message.install_snapshot.conf_index = 1;
    uint8_t manifest[8];
    put_u64(manifest, 50);
    message.install_snapshot.data = (struct raft_buffer){manifest, sizeof manifest};
    solo.may_restore_status = _i == 0 ? ERR_CORRUPT : OK;
    net_fake_say(solo.net, 2, &message, NULL);
    solo_settle();
    ck_assert_uint_eq(solo.log->snapshot.index, _i == 0 ? 0 : 50);
    ck_assert_uint_eq(solo.restored_index, _i == 0 ? 0 : 50);
    ck_assert_uint_eq(node_last_index(solo.node), _i == 0 ? 1 : 50);
    raft_configuration_close(&message.install_snapshot.conf);
}
END_TEST

static Suite *raftinstall_suite(void)
{
    const TTest *const tests[] = {
        who_lacks_what_is_forgotten_is_told_of,
        without_a_layer_that_sends_states_the_manifest_goes,
        it_is_told_of_again_when_nobody_sees_to_it,
        it_is_not_while_a_state_is_held,
        what_follows_a_held_state_stays,
        what_follows_is_not_held_beyond_the_size_of_the_state,
        a_log_begins_at_the_state_that_was_sent,
        a_log_that_begins_there_already_is_gone_on_with,
        an_install_is_refused_where_it_would_do_harm,
        a_leader_helps_before_its_own_term_has_begun,
        who_has_lost_what_it_had_stored_is_helped,
    };
    Suite *suite = suite_create("raftinstall");
    TCase *tc = tcase_create("raftinstall");
    tcase_add_checked_fixture(tc, setup, solo_teardown);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        tcase_add_test(tc, tests[i]);
    }
    tcase_add_loop_test(tc, a_snapshot_that_will_not_do_is_passed_over, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(raftinstall_suite);
}
