/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/flow.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "tests/lib/raft_solo.h"
#include "tests/lib/runner.h"

/* A leader of three, and what it sends to 2 and 3. */

static struct proposal proposals[4096];
static unsigned proposed;

static void setup(void)
{
    proposed = 0;
    solo_setup();
    solo_open(solo_three, 3);
    solo_lead(true);
}

static void setup_follower(void)
{
    proposed = 0;
    solo_setup();
    solo_open(solo_three, 3);
}

static void on_written(struct proposal *proposal, enum err status)
{
    (void)proposal;
    (void)status;
}

static void put(size_t size)
{
    struct blob *entry = blob_new(size);
    ck_assert_ptr_nonnull(entry);
    memset(entry->data, 'x', size);
    node_propose(solo.node, &proposals[proposed++], entry, on_written);
    blob_unref(entry);
}

static uint64_t term(void)
{
    return node_term(solo.node);
}

/* The next append with entries to PEER. */
static bool take_append(uint64_t peer, struct frame *ret)
{
    while (net_fake_take_message(solo.net, peer, RAFT_IO_APPEND_ENTRIES, ret)) {
        if (ret->message.append_entries.n_entries > 0) {
            return true;
        }
        frame_release(&ret->message);
    }
    return false;
}

/* All entries that were sent to PEER, which must follow each other from FIRST on; the last. */
static uint64_t take_all(uint64_t peer, uint64_t first, unsigned *messages)
{
    struct frame frame;
    uint64_t next = first;
    *messages = 0;
    while (take_append(peer, &frame)) {
        const struct raft_append_entries *append = &frame.message.append_entries;
        ck_assert_uint_eq(append->prev_log_index + 1, next);
        ck_assert_uint_le(append->n_entries, APPEND_ENTRIES_MAX);
        ck_assert_uint_le(append->leader_commit, append->prev_log_index + append->n_entries);
        size_t bytes = 0;
        for (unsigned i = 0; i < append->n_entries; i++) {
            bytes += append->entries[i].buf.len;
        }
        ck_assert(bytes <= APPEND_BYTES_MAX || append->n_entries == 1);
        next += append->n_entries;
        (*messages)++;
        frame_release(&frame.message);
    }
    return next - 1;
}

static void away(uint64_t peer)
{
    solo.net->disconnected[peer] = true;
    solo.net->callbacks->on_link(solo.net->ctx, peer, false);
}

static void back(uint64_t peer)
{
    solo.net->disconnected[peer] = false;
    solo.net->callbacks->on_link(solo.net->ctx, peer, true);
}

/* Time goes by; member 2 is heard of. */
static void beat(unsigned heartbeats)
{
    for (unsigned i = 0; i < heartbeats; i++) {
        env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
        solo_settle();
        talk_result(solo.net, 2, term(), 0, 2);
        solo_settle();
    }
}

START_TEST(an_entry_goes_to_all_at_once_in_the_bulk_lane)
{
    put(100);
    const struct net_fake_frame *second = net_fake_take(solo.net, 0, FRAME_RAFT);
    const struct net_fake_frame *third = net_fake_take(solo.net, 0, FRAME_RAFT);
    ck_assert_ptr_nonnull(second);
    ck_assert_ptr_nonnull(third);
    ck_assert_uint_eq(second->peer, 2);
    ck_assert_uint_eq(third->peer, 3);
    ck_assert_int_eq(second->lane, LANE_BULK);
    ck_assert_ptr_eq(second->payload, third->payload); /* the same bytes */
    ck_assert_ptr_null(net_fake_take(solo.net, 0, FRAME_RAFT));
    solo_settle();
}
END_TEST

START_TEST(what_a_peer_missed_comes_in_messages_of_bounded_size)
{
    away(3);
    for (int i = 0; i < 40; i++) {
        put(100 * 1024);
    }
    beat(2);
    net_fake_skip(solo.net);
    back(3);
    beat(2);
    unsigned messages;
    ck_assert_uint_eq(take_all(3, 3, &messages), 42);
    ck_assert_uint_eq(messages, 4); /* ten of 100 KiB in a MiB */
}
END_TEST

START_TEST(many_small_entries_are_split_by_count)
{
    away(3);
    for (unsigned i = 0; i < APPEND_ENTRIES_MAX + 10; i++) {
        put(8);
    }
    beat(2);
    net_fake_skip(solo.net);
    back(3);
    beat(2);
    unsigned messages;
    ck_assert_uint_eq(take_all(3, 3, &messages), 2 + APPEND_ENTRIES_MAX + 10);
    ck_assert_uint_eq(messages, 2);
}
END_TEST

START_TEST(a_large_entry_goes_alone)
{
    put(3 * APPEND_BYTES_MAX);
    unsigned messages;
    ck_assert_uint_eq(take_all(3, 3, &messages), 3);
    ck_assert_uint_eq(messages, 1);
    solo_settle();
}
END_TEST

/* 40 MiB are behind; no more than the window is on the way, and each answer moves it. */
START_TEST(no_more_than_a_window_is_on_the_way)
{
    away(3);
    for (int i = 0; i < 40; i++) {
        put(APPEND_BYTES_MAX);
    }
    beat(2);
    net_fake_skip(solo.net);
    back(3);
    beat(2);
    unsigned messages;
    uint64_t last = take_all(3, 3, &messages);
    ck_assert_uint_eq(last, 2 + 16);
    put(8); /* does not make it more */
    solo_settle();
    ck_assert_uint_eq(take_all(3, last + 1, &messages), last);
    talk_result(solo.net, 3, term(), 0, 2 + 6);
    solo_settle();
    ck_assert_uint_eq(take_all(3, last + 1, &messages), last + 6);
}
END_TEST

START_TEST(a_peer_that_is_away_costs_proposals_nothing)
{
    away(3);
    beat(1);
    for (int i = 0; i < 50; i++) {
        put(8);
    }
    solo_settle();
    struct frame frame;
    ck_assert(!take_append(3, &frame));
}
END_TEST

START_TEST(what_does_not_arrive_is_sent_again)
{
    put(8);
    solo_settle();
    unsigned messages;
    ck_assert_uint_eq(take_all(3, 3, &messages), 3);
    /* The heartbeats' answers say that 3 has received no more than 2. */
    for (int i = 0; i < 5; i++) {
        beat(1);
        talk_result(solo.net, 3, term(), 0, 2);
        solo_settle();
    }
    ck_assert_uint_eq(take_all(3, 3, &messages), 3);
    ck_assert_uint_eq(messages, 1);
}
END_TEST

START_TEST(what_has_arrived_and_is_not_stored_is_not_sent_again)
{
    put(8);
    solo_settle();
    unsigned messages;
    ck_assert_uint_eq(take_all(3, 3, &messages), 3);
    for (int i = 0; i < 9; i++) {
        beat(1);
        talk_received(solo.net, 3, term(), 2, 3); /* on its way to the disk */
        solo_settle();
    }
    struct frame frame;
    ck_assert(!take_append(3, &frame));
}
END_TEST

START_TEST(a_new_connection_begins_with_what_the_old_one_lost)
{
    put(8);
    solo_settle();
    unsigned messages;
    ck_assert_uint_eq(take_all(3, 3, &messages), 3);
    away(3);
    back(3);
    beat(2);
    ck_assert_uint_eq(take_all(3, 3, &messages), 3);
    ck_assert_uint_eq(messages, 1);
}
END_TEST

START_TEST(a_refusal_is_answered_at_once)
{
    put(8);
    put(8);
    solo_settle();
    net_fake_skip(solo.net);
    talk_result(solo.net, 3, term(), 3, 2); /* it has no 3: the first message was lost */
    unsigned messages;
    ck_assert_uint_eq(take_all(3, 3, &messages), 4);
}
END_TEST

/* Our log: 1 of term 1, 2 ... 6 of term 2, 7 ... 26 of term 3, then what we lead with. */
START_TEST(a_search_passes_over_terms_that_cannot_match)
{
    talk_append(solo.net, 2, 2, 1, 1, 1, 2, 5);
    solo_settle();
    talk_append(solo.net, 2, 3, 6, 2, 1, 3, 20);
    solo_settle();
    solo_lead(false);
    talk_refuse(solo.net, 3, term(), 26, 25,
                2); /* its 25 is of term 2: so ours from 7 on is not there */
    struct frame frame;
    ck_assert(take_append(3, &frame));
    ck_assert_uint_eq(frame.message.append_entries.prev_log_index, 6);
    frame_release(&frame.message);
    talk_refuse(solo.net, 3, term(), 6, 4, 0); /* it does not know of what term its 4 is */
    ck_assert(take_append(3, &frame));
    ck_assert_uint_eq(frame.message.append_entries.prev_log_index, 4);
    frame_release(&frame.message);
    solo_settle();
}
END_TEST

/* Before the election it had received all that we had, and stored less: the rest is gone with its
 * life, and is behind the place that we sent from first. */
START_TEST(a_new_life_begins_with_what_the_old_one_had_stored)
{
    talk_append(solo.net, 2, 2, 1, 1, 1, 2, 5);
    solo_settle();
    solo_lead(false);
    talk_received(solo.net, 3, term(), 4, 6);
    solo_settle();
    away(3);
    back(3);
    net_fake_skip(solo.net);
    talk_received(solo.net, 3, term(), 4, 4);
    beat(4);
    unsigned messages;
    ck_assert_uint_eq(take_all(3, 5, &messages), 7);
}
END_TEST

/* A follower that did not take the first of several messages refuses each of the others. */
START_TEST(refusals_of_one_gap_are_answered_once)
{
    for (int i = 0; i < 6; i++) {
        put(8);
    }
    solo_settle();
    net_fake_skip(solo.net);
    talk_refuse(solo.net, 3, term(), 4, 3, term());
    unsigned messages;
    ck_assert_uint_eq(take_all(3, 3, &messages), 8); /* from what it is known to have */
    struct frame frame;
    for (uint64_t rejected = 5; rejected <= 7; rejected++) {
        talk_refuse(solo.net, 3, term(), rejected, 3, term());
        ck_assert(!take_append(3, &frame));
    }
    talk_refuse(solo.net, 3, term(), 4, 2, term()); /* further back is news */
    ck_assert_uint_eq(take_all(3, 3, &messages), 8);
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    solo_settle();
    net_fake_skip(solo.net);
    talk_refuse(solo.net, 3, term(), 5, 3, term()); /* it still lacks it */
    ck_assert_uint_eq(take_all(3, 4, &messages), 8);
    solo_settle();
}
END_TEST

/* It was on its way for long. What is known to match stays known: before that our own log may
 * begin.
 */
START_TEST(a_late_refusal_does_not_go_back_behind_what_is_stored)
{
    for (int i = 0; i < 6; i++) {
        put(8);
    }
    solo_settle();
    talk_result(solo.net, 3, term(), 0, 5);
    net_fake_skip(solo.net);
    unsigned messages;
    talk_refuse(solo.net, 3, term(), 7, 5, term());
    ck_assert_uint_eq(take_all(3, 6, &messages), 8);
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    solo_settle();
    net_fake_skip(solo.net);
    talk_refuse(solo.net, 3, term(), 7, 3, term());
    ck_assert_uint_eq(take_all(3, 6, &messages), 8);
    solo_settle();
}
END_TEST

START_TEST(an_append_tells_how_far_all_logs_reach)
{
    put(8);
    put(8);
    solo_settle();
    talk_result(solo.net, 2, term(), 0, 4);
    talk_result(solo.net, 3, term(), 0, 3);
    solo_settle();
    net_fake_skip(solo.net);
    put(8);
    struct frame frame;
    ck_assert(take_append(2, &frame));
    ck_assert_uint_eq(frame.notes.replicated_index, 3);
    frame_release(&frame.message);
    solo_settle();
}
END_TEST

START_TEST(heartbeats_are_urgent_and_as_often_as_they_should)
{
    net_fake_skip(solo.net);
    for (int i = 0; i < 10; i++) {
        put(1000); /* appends are no heartbeats: they may wait behind others */
        env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
        solo_settle();
        talk_result(solo.net, 2, term(), 0, node_last_index(solo.node));
        talk_result(solo.net, 3, term(), 0, 2);
    }
    unsigned urgent = 0;
    const struct net_fake_frame *frame;
    while ((frame = net_fake_take(solo.net, 3, FRAME_RAFT)) != NULL) {
        urgent += frame->lane == LANE_URGENT;
    }
    ck_assert_uint_ge(urgent, 9);
}
END_TEST

START_TEST(a_commit_is_told_at_once)
{
    put(8);
    solo_settle();
    net_fake_skip(solo.net);
    talk_result(solo.net, 3, term(), 0, 3);
    solo_settle();
    struct frame frame;
    ck_assert(net_fake_take_message(solo.net, 3, RAFT_IO_APPEND_ENTRIES, &frame));
    ck_assert_uint_eq(frame.message.append_entries.leader_commit, 3);
    ck_assert_uint_eq(frame.message.append_entries.n_entries, 0);
}
END_TEST

static Suite *flow_suite(void)
{
    const TTest *const tests[] = {
        an_entry_goes_to_all_at_once_in_the_bulk_lane,
        what_a_peer_missed_comes_in_messages_of_bounded_size,
        many_small_entries_are_split_by_count,
        a_large_entry_goes_alone,
        no_more_than_a_window_is_on_the_way,
        a_peer_that_is_away_costs_proposals_nothing,
        what_does_not_arrive_is_sent_again,
        what_has_arrived_and_is_not_stored_is_not_sent_again,
        a_new_connection_begins_with_what_the_old_one_lost,
        a_refusal_is_answered_at_once,
        refusals_of_one_gap_are_answered_once,
        a_late_refusal_does_not_go_back_behind_what_is_stored,
        an_append_tells_how_far_all_logs_reach,
        heartbeats_are_urgent_and_as_often_as_they_should,
        a_commit_is_told_at_once,
    };
    Suite *suite = suite_create("flow");
    TCase *tc = tcase_create("flow");
    tcase_add_checked_fixture(tc, setup, solo_teardown);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        tcase_add_test(tc, tests[i]);
    }
    suite_add_tcase(suite, tc);
    TCase *search = tcase_create("search");
    tcase_add_checked_fixture(search, setup_follower, solo_teardown);
    tcase_add_test(search, a_search_passes_over_terms_that_cannot_match);
    tcase_add_test(search, a_new_life_begins_with_what_the_old_one_had_stored);
    suite_add_tcase(suite, search);
    return suite;
}

int main(void)
{
    return runner_main(flow_suite);
}
