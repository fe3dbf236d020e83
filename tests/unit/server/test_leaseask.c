/* SPDX-License-Identifier: Apache-2.0 */
#include "server/leaseask.h"

#include "base/cleanup.h"
#include "server/leaseframe.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fault.h"
#include "tests/lib/node_fake.h"
#include "tests/lib/runner.h"

/* Questions upon a fake node and a clock that says what the test says. */
#define SELF        1u
#define OTHER       2u
#define THIRD       3u
#define TIMEOUT_MS  7000u
#define ELECTION_MS 1000u
#define RETRY_MS    50u
#define RESEND_MS   500u

static struct env_fake *fake;
static struct node *node;
static struct leaseask la;

/* ---- the clock ---- */

static int64_t says; /* to every question */
static unsigned renewals;
static unsigned flushes;
static uint64_t confirmed_at;

int64_t lessor_renew(struct lessor *lessor, int64_t id, uint64_t confirmed_ms)
{
    (void)lessor;
    renewals++;
    confirmed_at = confirmed_ms;
    return says == LEASE_AGAIN ? says : says + id;
}

int64_t lessor_remaining_ms(struct lessor *lessor, int64_t id)
{
    (void)lessor;
    return says == LEASE_AGAIN ? says : -id;
}

void lessor_flush(struct lessor *lessor)
{
    (void)lessor;
    flushes++;
}

/* ---- who asks ---- */

struct asker {
    struct lease_ask ask;
    int64_t ids[2];
    int64_t answers[2];
    int calls;
    enum err status;
};

static void on_answer(struct lease_ask *ask, enum err status)
{
    struct asker *asker = CONTAINER_OF(ask, struct asker, ask);
    asker->calls++;
    asker->status = status;
}

static void begin(struct asker *asker, bool renew)
{
    *asker = (struct asker){.ids = {10, 20}};
    asker->ask.ids = asker->ids;
    asker->ask.answers = asker->answers;
    asker->ask.count = 2;
    asker->ask.cb = on_answer;
    asker->ask.renew = renew;
    leaseask_start(&la, &asker->ask);
    ck_assert_int_eq(asker->calls, 0);
}

static void ck_answered(const struct asker *asker, int64_t first, int64_t second)
{
    ck_assert_int_eq(asker->calls, 1);
    ck_assert_int_eq(asker->status, OK);
    ck_assert_int_eq(asker->answers[0], first);
    ck_assert_int_eq(asker->answers[1], second);
}

static void set_up(void)
{
    fake = env_fake_new(1);
    node = node_fake_new(env_fake_env(fake), SELF);
    says = 100;
    renewals = flushes = 0;
    leaseask_init(&la, env_fake_env(fake), node, NULL, TIMEOUT_MS, ELECTION_MS);
}

static void tear_down(void)
{
    if (!la.closed) {
        leaseask_close(&la);
    }
    leaseask_finish_all(&la, ERR_STOPPED);
    leaseask_fini(&la);
    while (node_fake_frame_count(node) > 0) {
        blob_unref(node_fake_take_frame(node).payload);
    }
    node_fake_free(node);
    env_fake_free(fake);
}

static void set_leader(uint64_t term, uint64_t leader)
{
    node_fake_set_leader(node, term, leader);
    leaseask_kick(&la);
    env_fake_run(fake);
}

static struct leaseframe take_question(enum leaseframe_what what, size_t count)
{
    static struct blob *kept;
    ck_assert_uint_gt(node_fake_frame_count(node), 0);
    struct node_frame frame = node_fake_take_frame(node);
    ck_assert_int_eq(frame.kind, FRAME_FORWARD);
    struct leaseframe question;
    ck_assert_int_eq(leaseframe_decode(blob_bytes(frame.payload), &question), OK);
    ck_assert_int_eq((int)question.what, (int)what);
    ck_assert_uint_eq(leaseframe_count(&question), count);
    blob_unref(kept); /* of the one before */
    kept = frame.payload;
    return question;
}

/* ---- leader ---- */

START_TEST(all_of_a_turn_share_one_confirmation)
{
    set_leader(2, SELF);
    static struct asker askers[3];
    begin(&askers[0], true);
    begin(&askers[1], false);
    begin(&askers[2], true);
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_read_count(node), 1);
    ck_assert_uint_eq(renewals, 0);
    node_fake_answer_reads(node, OK);
    ck_answered(&askers[0], 110, 120);
    ck_answered(&askers[1], -10, -20);
    ck_answered(&askers[2], 110, 120);
    ck_assert_uint_eq(flushes, 1);
}
END_TEST

/* The confirmation on its way is of a leader before the question. */
START_TEST(who_comes_later_takes_the_next)
{
    set_leader(2, SELF);
    static struct asker early;
    static struct asker late;
    begin(&early, true);
    env_fake_advance(fake, 20);
    begin(&late, true);
    env_fake_run(fake);
    uint64_t began_ms = env_now_ms(env_fake_env(fake)) - 20;
    node_fake_answer_reads(node, OK);
    ck_answered(&early, 110, 120);
    ck_assert_uint_eq(confirmed_at, began_ms);
    ck_assert_int_eq(late.calls, 0);
    env_fake_run(fake);
    node_fake_answer_reads(node, OK);
    ck_answered(&late, 110, 120);
}
END_TEST

START_TEST(a_deposed_leader_never_answers)
{
    static const struct {
        uint64_t term;
        uint64_t leader;
        enum err status;
    } cases[] = {
        {3, OTHER, OK}, /* it was found to be so meanwhile */
        {3, SELF, OK},  /* it leads again: others may have between */
        {3, 0, OK},     {2, SELF, ERR_LEADER_CHANGED}, {2, SELF, ERR_NO_LEADER},
    };
    set_leader(2, SELF);
    static struct asker asker;
    begin(&asker, true);
    env_fake_run(fake);
    node_fake_set_leader(node, cases[_i].term, cases[_i].leader);
    node_fake_answer_reads(node, cases[_i].status);
    env_fake_run(fake);
    ck_assert_int_eq(asker.calls, 0);
    ck_assert_uint_eq(renewals, 0);
    /* Whoever leads in the end is asked. */
    set_leader(4, OTHER);
    (void)take_question(LEASE_RENEW, 2);
}
END_TEST

/* The next leader's grace is an election timeout, and a promise covers no more. */
START_TEST(a_confirmation_that_took_too_long_begins_again)
{
    set_leader(2, SELF);
    static struct asker asker;
    begin(&asker, true);
    env_fake_advance(fake, ELECTION_MS + 1);
    node_fake_answer_reads(node, OK);
    ck_assert_int_eq(asker.calls, 0);
    ck_assert_uint_eq(renewals, 0);
    env_fake_advance(fake, ELECTION_MS);
    node_fake_answer_reads(node, OK);
    ck_answered(&asker, 110, 120);
}
END_TEST

START_TEST(what_has_to_wait_is_asked_again)
{
    set_leader(2, SELF);
    static struct asker asker;
    begin(&asker, true);
    env_fake_run(fake);
    says = LEASE_AGAIN;
    node_fake_answer_reads(node, OK);
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_read_count(node), 0);
    leaseask_kick(&la); /* its revocation was applied, say */
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_read_count(node), 1);
    node_fake_answer_reads(node, OK);
    env_fake_advance(fake, RETRY_MS);
    ck_assert_uint_eq(node_fake_read_count(node), 1);
    says = 0;
    node_fake_answer_reads(node, OK);
    ck_answered(&asker, 10, 20);
}
END_TEST

/* ---- follower ---- */

/* Answers 1, 2, 3 ... of PEER. */
static void answer_from(uint64_t peer, uint64_t number, size_t count, int64_t first)
{
    struct blob *frame = leaseframe_new(LEASE_ANSWER, number, count);
    for (size_t i = 0; i < count; i++) {
        leaseframe_set(frame, i, first == LEASE_AGAIN ? first : first + (int64_t)i);
    }
    ck_assert(leaseask_on_frame(&la, peer, blob_bytes(frame)));
    blob_unref(frame);
    env_fake_run(fake);
}

START_TEST(a_turn_makes_one_frame_of_each_kind)
{
    set_leader(2, OTHER);
    static struct asker askers[3];
    begin(&askers[0], true);
    begin(&askers[1], false);
    begin(&askers[2], true);
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_frame_count(node), 2);
    struct leaseframe renew = take_question(LEASE_RENEW, 4);
    ck_assert_int_eq(leaseframe_word(&renew, 0), 10);
    ck_assert_int_eq(leaseframe_word(&renew, 3), 20);
    struct leaseframe remaining = take_question(LEASE_REMAINING, 2);
    ck_assert_uint_ne(renew.number, remaining.number);
    answer_from(OTHER, remaining.number, 2, 50);
    ck_answered(&askers[1], 50, 51);
    ck_assert_int_eq(askers[0].calls, 0);
    answer_from(OTHER, renew.number, 4, 1);
    ck_answered(&askers[0], 1, 2);
    ck_answered(&askers[2], 3, 4);
}
END_TEST

START_TEST(a_lost_question_is_asked_again_and_its_answer_is_late)
{
    set_leader(2, OTHER);
    static struct asker asker;
    begin(&asker, true);
    env_fake_run(fake);
    uint64_t lost = take_question(LEASE_RENEW, 2).number;
    env_fake_advance(fake, RESEND_MS + 2 * RETRY_MS);
    uint64_t again = take_question(LEASE_RENEW, 2).number;
    ck_assert_uint_ne(lost, again);
    answer_from(OTHER, lost, 2, 1);
    ck_assert_int_eq(asker.calls, 0);
    answer_from(THIRD, again, 2, 1); /* who was not asked */
    ck_assert_int_eq(asker.calls, 0);
    answer_from(OTHER, again, 2, 5);
    ck_answered(&asker, 5, 6);
    answer_from(OTHER, again, 2, 9); /* twice */
    ck_answered(&asker, 5, 6);
}
END_TEST

START_TEST(an_answer_that_is_none_is_asked_for_again)
{
    static const size_t counts[] = {0, 1, 3};
    set_leader(2, OTHER);
    static struct asker asker;
    begin(&asker, true);
    env_fake_run(fake);
    answer_from(OTHER, take_question(LEASE_RENEW, 2).number, counts[_i], 1);
    ck_assert_int_eq(asker.calls, 0);
    env_fake_advance(fake, RETRY_MS);
    answer_from(OTHER, take_question(LEASE_RENEW, 2).number, 2, 1);
    ck_answered(&asker, 1, 2);
}
END_TEST

START_TEST(what_the_leader_cannot_say_yet_is_asked_again)
{
    set_leader(2, OTHER);
    static struct asker asker;
    begin(&asker, true);
    env_fake_run(fake);
    answer_from(OTHER, take_question(LEASE_RENEW, 2).number, 2, LEASE_AGAIN);
    ck_assert_int_eq(asker.calls, 0);
    env_fake_advance(fake, RETRY_MS);
    answer_from(OTHER, take_question(LEASE_RENEW, 2).number, 2, 1);
    ck_answered(&asker, 1, 2);
}
END_TEST

/* With short elections it can be too late before it is lost. */
START_TEST(an_answer_that_took_too_long_is_asked_for_again)
{
    la.election_ms = 100;
    set_leader(2, OTHER);
    static struct asker asker;
    begin(&asker, true);
    env_fake_run(fake);
    uint64_t number = take_question(LEASE_RENEW, 2).number;
    env_fake_advance(fake, 101);
    answer_from(OTHER, number, 2, 1);
    ck_assert_int_eq(asker.calls, 0);
    env_fake_advance(fake, RETRY_MS);
    answer_from(OTHER, take_question(LEASE_RENEW, 2).number, 2, 1);
    ck_answered(&asker, 1, 2);
}
END_TEST

START_TEST(a_new_leader_is_asked_at_once)
{
    set_leader(2, OTHER);
    static struct asker asker;
    begin(&asker, true);
    env_fake_run(fake);
    uint64_t number = take_question(LEASE_RENEW, 2).number;
    set_leader(3, THIRD);
    answer_from(OTHER, number, 2, 1);
    ck_assert_int_eq(asker.calls, 0);
    uint64_t again = take_question(LEASE_RENEW, 2).number;
    answer_from(THIRD, again, 2, 1);
    ck_answered(&asker, 1, 2);
}
END_TEST

START_TEST(a_follower_that_is_elected_answers_itself)
{
    set_leader(2, OTHER);
    static struct asker asker;
    begin(&asker, true);
    env_fake_run(fake);
    (void)take_question(LEASE_RENEW, 2);
    set_leader(3, SELF);
    ck_assert_uint_eq(node_fake_read_count(node), 1);
    node_fake_answer_reads(node, OK);
    ck_answered(&asker, 110, 120);
}
END_TEST

START_TEST(questions_on_their_way_have_a_bound)
{
    set_leader(2, OTHER);
    static struct asker askers[LEASEASK_FRAMES_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        begin(&askers[i], true);
        env_fake_run(fake);
    }
    ck_assert_uint_eq(node_fake_frame_count(node), LEASEASK_FRAMES_MAX);
    answer_from(OTHER, take_question(LEASE_RENEW, 2).number, 2, 1);
    ck_answered(&askers[0], 1, 2);
    ck_assert_uint_eq(node_fake_frame_count(node), LEASEASK_FRAMES_MAX); /* the next one went */
}
END_TEST

START_TEST(a_frame_takes_no_more_than_it_may)
{
    static int64_t ids[LEASE_ASK_MAX];
    static int64_t answers[LEASE_ASK_MAX];
    set_leader(2, OTHER);
    static struct asker small;
    static struct asker large = {.ask = {.ids = ids, .answers = answers, .count = LEASE_ASK_MAX}};
    large.ask.cb = on_answer;
    large.ask.renew = true;
    leaseask_start(&la, &large.ask);
    begin(&small, true);
    env_fake_run(fake);
    (void)take_question(LEASE_RENEW, LEASE_ASK_MAX);
    answer_from(OTHER, take_question(LEASE_RENEW, 2).number, 2, 1);
    ck_answered(&small, 1, 2);
    ck_assert_int_eq(large.calls, 0);
}
END_TEST

START_TEST(without_a_way_to_the_leader_it_is_tried_again)
{
    set_leader(2, OTHER);
    node_fake_set_connected(node, false);
    static struct asker asker;
    begin(&asker, true);
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_frame_count(node), 0);
    node_fake_set_connected(node, true);
    env_fake_advance(fake, RETRY_MS);
    answer_from(OTHER, take_question(LEASE_RENEW, 2).number, 2, 1);
    ck_answered(&asker, 1, 2);
}
END_TEST

START_TEST(without_memory_for_a_frame_it_is_tried_again)
{
    set_leader(2, OTHER);
    static struct asker asker;
    begin(&asker, true);
    fault_arm(1);
    env_fake_run(fake);
    ck_assert(fault_fired());
    ck_assert_uint_eq(node_fake_frame_count(node), 0);
    env_fake_advance(fake, RETRY_MS);
    ck_assert_uint_eq(node_fake_frame_count(node), 1);
}
END_TEST

/* ---- the end of waiting ---- */

START_TEST(the_time_limit_says_what_was_missing)
{
    static const struct {
        uint64_t leader;
        enum err want;
    } cases[] = {{0, ERR_NO_LEADER}, {OTHER, ERR_TIMEOUT}, {SELF, ERR_TIMEOUT}};
    set_leader(2, cases[_i].leader);
    static struct asker asker;
    begin(&asker, true);
    env_fake_advance(fake, TIMEOUT_MS - 2 * RETRY_MS);
    ck_assert_int_eq(asker.calls, 0);
    env_fake_advance(fake, 3 * RETRY_MS);
    ck_assert_int_eq(asker.calls, 1);
    ck_assert_int_eq(asker.status, cases[_i].want);
    ck_assert_uint_eq(env_fake_timer_count(fake), 0);
}
END_TEST

/* Wherever it is, no cb comes, and what comes for it hits nobody. */
START_TEST(a_client_that_goes_away_is_forgotten)
{
    static struct asker stays;
    static struct asker goes;
    set_leader(2, _i < 2 ? SELF : _i < 4 ? OTHER : 0);
    begin(&goes, true);
    begin(&stays, true);
    if (_i % 2 == 1) {
        env_fake_run(fake); /* being confirmed; in a frame; waiting */
    }
    leaseask_cancel(&la, &goes.ask);
    memset(&goes.ask, 0xff, sizeof goes.ask);
    env_fake_run(fake);
    if (_i < 2) {
        node_fake_answer_reads(node, OK);
    } else if (_i < 4) {
        size_t count = _i == 3 ? 4 : 2;
        answer_from(OTHER, take_question(LEASE_RENEW, count).number, count, 1);
    } else {
        env_fake_advance(fake, TIMEOUT_MS);
    }
    ck_assert_int_eq(goes.calls, 0);
    ck_assert_int_eq(stays.calls, 1);
    ck_assert_int_eq(stays.answers[0], _i < 2 ? 110 : _i == 2 ? 1 : _i == 3 ? 3 : 0);
}
END_TEST

START_TEST(a_member_that_stops_says_so)
{
    set_leader(2, _i == 0 ? SELF : _i == 1 ? OTHER : 0);
    static struct asker before;
    static struct asker after;
    begin(&before, true);
    env_fake_run(fake);
    leaseask_close(&la);
    begin(&after, true);
    env_fake_run(fake);
    ck_assert_int_eq(after.status, ERR_STOPPED);
    la.node = NULL; /* freed, when a change of leases that was under way ends with the member */
    leaseask_kick(&la);
    ck_assert_uint_eq(node_fake_read_count(node), 0);
    leaseask_finish_all(&la, ERR_STOPPED);
    ck_assert_int_eq(before.calls, 1);
    ck_assert_int_eq(before.status, ERR_STOPPED);
}
END_TEST

/* ---- other members' questions ---- */

static void ask_from(uint64_t peer, enum leaseframe_what what, uint64_t number)
{
    struct blob *frame = leaseframe_new(what, number, 3);
    for (size_t i = 0; i < 3; i++) {
        leaseframe_set(frame, i, (int64_t)i + 1);
    }
    ck_assert(leaseask_on_frame(&la, peer, blob_bytes(frame)));
    blob_unref(frame);
    env_fake_run(fake);
}

static void ck_sent_answer(uint64_t peer, uint64_t number, size_t count, int64_t first)
{
    ck_assert_uint_gt(node_fake_frame_count(node), 0);
    struct node_frame frame = node_fake_take_frame(node);
    struct leaseframe answer;
    ck_assert_uint_eq(frame.peer_id, peer);
    ck_assert_int_eq(leaseframe_decode(blob_bytes(frame.payload), &answer), OK);
    ck_assert_int_eq((int)answer.what, LEASE_ANSWER);
    ck_assert_uint_eq(answer.number, number);
    ck_assert_uint_eq(leaseframe_count(&answer), count);
    ck_assert(count == 0 || leaseframe_word(&answer, 0) == first);
    blob_unref(frame.payload);
}

START_TEST(a_leader_answers_other_members)
{
    set_leader(2, SELF);
    ask_from(OTHER, LEASE_RENEW, 7);
    ask_from(THIRD, LEASE_REMAINING, 7);
    ck_assert_uint_eq(node_fake_read_count(node), 1);
    node_fake_answer_reads(node, OK);
    ck_sent_answer(OTHER, 7, 3, 101);
    env_fake_run(fake);
    node_fake_answer_reads(node, OK);
    ck_sent_answer(THIRD, 7, 3, -1);
    ck_assert_uint_eq(la.remote_count, 0);
}
END_TEST

/* They wait themselves: what cannot be said yet is told at once. */
START_TEST(other_members_are_not_kept_waiting)
{
    set_leader(2, SELF);
    says = LEASE_AGAIN;
    ask_from(OTHER, LEASE_RENEW, 7);
    node_fake_answer_reads(node, OK);
    ck_sent_answer(OTHER, 7, 3, LEASE_AGAIN);
    ck_assert_uint_eq(la.remote_count, 0);
}
END_TEST

START_TEST(who_does_not_lead_says_so)
{
    set_leader(2, _i == 0 ? OTHER : 0);
    ask_from(THIRD, LEASE_RENEW, 7);
    ck_sent_answer(THIRD, 7, 0, 0);
    set_leader(3, SELF);
    ask_from(THIRD, LEASE_RENEW, 8);
    node_fake_set_leader(node, 4, OTHER);
    node_fake_answer_reads(node, OK);
    ck_sent_answer(THIRD, 8, 0, 0);
    ck_assert_uint_eq(renewals, 0);
    ck_assert_uint_eq(la.remote_count, 0);
}
END_TEST

START_TEST(other_members_questions_have_a_bound)
{
    set_leader(2, SELF);
    for (uint64_t i = 0; i < LEASEASK_REMOTES_MAX + 10; i++) {
        ask_from(OTHER, LEASE_RENEW, i);
    }
    ck_assert_uint_eq(la.remote_count, LEASEASK_REMOTES_MAX);
    leaseask_close(&la);
    ask_from(OTHER, LEASE_RENEW, 1);
    leaseask_finish_all(&la, ERR_STOPPED);
    ck_assert_uint_eq(la.remote_count, 0);
}
END_TEST

START_TEST(without_memory_another_member_asks_again)
{
    set_leader(2, SELF);
    struct blob *frame = leaseframe_new(LEASE_RENEW, 7, 1);
    leaseframe_set(frame, 0, 1);
    fault_arm(1);
    ck_assert(leaseask_on_frame(&la, OTHER, blob_bytes(frame)));
    ck_assert(fault_fired());
    ck_assert_uint_eq(la.remote_count, 0);
    ck_assert(leaseask_on_frame(&la, OTHER, blob_bytes(frame)));
    env_fake_run(fake);
    fault_arm(1); /* the answer */
    node_fake_answer_reads(node, OK);
    ck_assert(fault_fired());
    ck_assert_uint_eq(la.remote_count, 0);
    ck_assert_uint_eq(node_fake_frame_count(node), 0);
    blob_unref(frame);
}
END_TEST

START_TEST(a_malformed_frame_is_refused)
{
    ck_assert(!leaseask_on_frame(&la, OTHER, bytes_of("\4", 1)));
    ck_assert(!leaseask_on_frame(&la, OTHER, bytes_of("\6\0\0\0\0\0\0\0\0x", 10)));
}
END_TEST

static Suite *leaseask_suite(void)
{
    Suite *suite = suite_create("leaseask");
    TCase *tc = tcase_create("leader");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, all_of_a_turn_share_one_confirmation);
    tcase_add_test(tc, who_comes_later_takes_the_next);
    tcase_add_loop_test(tc, a_deposed_leader_never_answers, 0, 5);
    tcase_add_test(tc, a_confirmation_that_took_too_long_begins_again);
    tcase_add_test(tc, what_has_to_wait_is_asked_again);
    suite_add_tcase(suite, tc);
    tc = tcase_create("follower");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_turn_makes_one_frame_of_each_kind);
    tcase_add_test(tc, a_lost_question_is_asked_again_and_its_answer_is_late);
    tcase_add_loop_test(tc, an_answer_that_is_none_is_asked_for_again, 0, 3);
    tcase_add_test(tc, what_the_leader_cannot_say_yet_is_asked_again);
    tcase_add_test(tc, an_answer_that_took_too_long_is_asked_for_again);
    tcase_add_test(tc, a_new_leader_is_asked_at_once);
    tcase_add_test(tc, a_follower_that_is_elected_answers_itself);
    tcase_add_test(tc, questions_on_their_way_have_a_bound);
    tcase_add_test(tc, a_frame_takes_no_more_than_it_may);
    tcase_add_test(tc, without_a_way_to_the_leader_it_is_tried_again);
    tcase_add_test(tc, without_memory_for_a_frame_it_is_tried_again);
    suite_add_tcase(suite, tc);
    tc = tcase_create("end");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, the_time_limit_says_what_was_missing, 0, 3);
    tcase_add_loop_test(tc, a_client_that_goes_away_is_forgotten, 0, 6);
    tcase_add_loop_test(tc, a_member_that_stops_says_so, 0, 3);
    suite_add_tcase(suite, tc);
    tc = tcase_create("others");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_leader_answers_other_members);
    tcase_add_test(tc, other_members_are_not_kept_waiting);
    tcase_add_loop_test(tc, who_does_not_lead_says_so, 0, 2);
    tcase_add_test(tc, other_members_questions_have_a_bound);
    tcase_add_test(tc, without_memory_another_member_asks_again);
    tcase_add_test(tc, a_malformed_frame_is_refused);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(leaseask_suite);
}
