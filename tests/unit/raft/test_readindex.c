/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/readindex.h"

#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "tests/lib/raft_solo.h"
#include "tests/lib/runner.h"

/* Member 1 of three; the test plays the others, and says what the frames are from what the header
 * promises. */

enum { CONFIRM = 1, CONFIRMED = 2, ASK = 3, ANSWER = 4 };

struct question {
    uint8_t kind;
    uint64_t term;
    uint64_t number;
    uint64_t index;
};

struct read {
    struct read_index request;
    unsigned calls;
    enum err status;
    uint64_t index;
};

static struct read reads[8];

/* ---- the member ---- */

static void setup(void)
{
    memset(reads, 0, sizeof reads);
    solo_setup();
}

/* Three voters and a learner, or the only one. */
static void open_member(unsigned voters)
{
    static const struct node_member members[] = {{1, "member-1", MEMBER_VOTER},
                                                 {2, "member-2", MEMBER_VOTER},
                                                 {3, "member-3", MEMBER_VOTER},
                                                 {4, "member-4", MEMBER_LEARNER}};
    solo_open(members, voters == 1 ? 1 : 4);
}

/* ---- reads ---- */

static void on_read(struct read_index *request, enum err status, uint64_t index)
{
    struct read *read = CONTAINER_OF(request, struct read, request);
    read->calls++;
    read->status = status;
    read->index = index;
}

static void begin(unsigned i)
{
    node_read_index(solo.node, &reads[i].request, on_read);
}

static void ended(unsigned i, enum err status, uint64_t index)
{
    ck_assert_msg(reads[i].calls == 1, "read %u was called back %u times", i, reads[i].calls);
    ck_assert_int_eq(reads[i].status, status);
    if (status == OK) {
        ck_assert_uint_eq(reads[i].index, index);
    }
}

static void pending(unsigned i)
{
    ck_assert_msg(reads[i].calls == 0, "read %u ended: %s", i, err_text(reads[i].status));
}

/* ---- frames ---- */

static bool take(uint64_t peer, struct question *ret)
{
    const struct net_fake_frame *frame = net_fake_take(solo.net, peer, FRAME_READ_INDEX);
    if (frame == NULL) {
        return false;
    }
    ck_assert_int_eq(frame->lane, LANE_URGENT);
    struct reader r = reader_of(blob_bytes(frame->payload));
    *ret = (struct question){.kind = read_u8(&r)};
    ret->term = read_u64(&r);
    ret->number = read_u64(&r);
    ret->index = read_u64(&r);
    ck_assert_int_eq(reader_end(&r), OK);
    return true;
}

static void say(uint64_t peer, uint8_t kind, uint64_t term, uint64_t number, uint64_t index)
{
    struct buf buf = {0};
    write_u8(&buf, kind);
    write_u64(&buf, term);
    write_u64(&buf, number);
    write_u64(&buf, index);
    solo.net->callbacks->on_frame(solo.net->ctx, peer, FRAME_READ_INDEX, buf_bytes(&buf));
    buf_fini(&buf);
    env_fake_run(solo.env);
}

/* ---- leader ---- */

START_TEST(the_only_voter_proceeds_at_once)
{
    open_member(1);
    env_fake_advance(solo.env, 2 * SOLO_ELECTION_MS);
    solo_settle();
    begin(0);
    pending(0); /* never inside the call */
    env_fake_run(solo.env);
    ended(0, OK, node_commit_index(solo.node));
    struct question question;
    ck_assert(!take(0, &question));
}
END_TEST

START_TEST(all_reads_of_a_round_share_one_question)
{
    open_member(3);
    solo_lead(true);
    begin(0);
    begin(1);
    begin(2);
    env_fake_run(solo.env);
    struct question question;
    unsigned questions = 0;
    while (take(0, &question)) {
        ck_assert_uint_eq(question.kind, CONFIRM);
        ck_assert_uint_eq(question.term, 2);
        questions++;
    }
    ck_assert_uint_eq(questions, 2); /* one for each other voter, none for the learner */
    pending(0);
    say(3, CONFIRMED, 2, question.number, 0);
    for (unsigned i = 0; i < 3; i++) {
        ended(i, OK, 2);
    }
}
END_TEST

START_TEST(a_read_during_a_round_takes_the_next)
{
    open_member(3);
    solo_lead(true);
    begin(0);
    env_fake_run(solo.env);
    struct question first;
    ck_assert(take(2, &first));
    begin(1);
    env_fake_run(solo.env);
    struct question second;
    ck_assert(!take(2, &second));
    say(2, CONFIRMED, 2, first.number, 0);
    ended(0, OK, 2);
    pending(1);
    ck_assert(take(2, &second));
    ck_assert_uint_ne(second.number, first.number);
    say(2, CONFIRMED, 2, first.number, 0); /* the old answer, again */
    pending(1);
    say(2, CONFIRMED, 2, second.number, 0);
    ended(1, OK, 2);
}
END_TEST

/* Answers that confirm nothing. */
static const struct {
    const char *name;
    uint64_t peer;
    uint64_t term;
    int64_t number; /* off the right one */
} worthless[] = {
    {"of a later term", 2, 3, 0},
    {"of an earlier term", 2, 1, 0},
    {"to an earlier question", 2, 2, -1},
    {"to a question that was not put", 2, 2, 1},
    {"of a learner", 4, 2, 0},
    {"of a stranger", 9, 2, 0},
    {"of ourselves", 1, 2, 0},
};

START_TEST(worthless_answers_confirm_nothing)
{
    open_member(3);
    solo_lead(true);
    begin(0);
    env_fake_run(solo.env);
    struct question question;
    ck_assert(take(2, &question));
    say(worthless[_i].peer, CONFIRMED, worthless[_i].term,
        question.number + (uint64_t)worthless[_i].number, 0);
    ck_assert_msg(reads[0].calls == 0, "an answer %s counts", worthless[_i].name);
    say(2, CONFIRMED, 2, question.number, 0);
    ended(0, OK, 2);
}
END_TEST

/* The question of an earlier life may arrive late: then its voter says of the present term what it
 * was asked for another one. */
START_TEST(an_answer_to_an_earlier_life_confirms_nothing)
{
    open_member(3);
    solo_lead(true);
    begin(0);
    env_fake_run(solo.env);
    struct question old;
    ck_assert(take(2, &old));
    solo_close();
    open_member(3);
    solo_lead(true);
    begin(1);
    env_fake_run(solo.env);
    say(2, CONFIRMED, node_term(solo.node), old.number, 0);
    pending(1);
    struct question question;
    ck_assert(take(2, &question));
    say(2, CONFIRMED, node_term(solo.node), question.number, 0);
    ended(1, OK, node_commit_index(solo.node));
}
END_TEST

START_TEST(no_round_before_the_barrier_is_applied)
{
    open_member(3);
    solo_lead(false);
    begin(0);
    env_fake_run(solo.env);
    struct question question;
    ck_assert(!take(0, &question));
    talk_result(solo.net, 2, 2, 0, 2);
    solo_settle();
    ck_assert(take(3, &question));
    say(3, CONFIRMED, 2, question.number, 0);
    ended(0, OK, 2);
}
END_TEST

START_TEST(lost_questions_are_put_again)
{
    open_member(3);
    solo_lead(true);
    begin(0);
    env_fake_run(solo.env);
    struct question first;
    struct question again;
    ck_assert(take(2, &first));
    net_fake_skip(solo.net);
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    ck_assert(take(2, &again));
    ck_assert_uint_eq(again.number, first.number);
    say(2, CONFIRMED, 2, again.number, 0);
    ended(0, OK, 2);
}
END_TEST

START_TEST(who_leads_no_more_answers_no_read)
{
    open_member(3);
    solo_lead(true);
    begin(0);
    env_fake_run(solo.env);
    struct question question;
    ck_assert(take(2, &question));
    talk_result(solo.net, 2, 9, 0, 0); /* somebody is in a later term */
    solo_settle();
    ck_assert_int_eq(node_role(solo.node), NODE_FOLLOWER);
    ended(0, ERR_NO_LEADER, 0);
    say(2, CONFIRMED, 2, question.number, 0);
    ended(0, ERR_NO_LEADER, 0);
}
END_TEST

START_TEST(followers_are_answered_by_a_round)
{
    open_member(3);
    solo_lead(true);
    say(3, ASK, 0, 77, 0);
    struct question question;
    ck_assert(take(2, &question));
    net_fake_skip(solo.net);
    say(2, CONFIRMED, 2, question.number, 0);
    ck_assert(take(3, &question));
    ck_assert_uint_eq(question.kind, ANSWER);
    ck_assert_uint_eq(question.number, 77);
    ck_assert_uint_eq(question.index, 2);
}
END_TEST

START_TEST(a_follower_that_asks_during_a_round_is_answered_by_the_next)
{
    open_member(3);
    solo_lead(true);
    begin(0);
    env_fake_run(solo.env);
    struct question first;
    ck_assert(take(2, &first));
    say(3, ASK, 0, 77, 0);
    say(2, CONFIRMED, 2, first.number, 0);
    ended(0, OK, 2);
    struct question question;
    ck_assert(take(2, &question));
    ck_assert_uint_eq(question.kind, CONFIRM);
    ck_assert_uint_ne(question.number, first.number);
    say(2, CONFIRMED, 2, question.number, 0);
    do {
        ck_assert(take(3, &question));
    } while (question.kind != ANSWER);
    ck_assert_uint_eq(question.number, 77);
}
END_TEST

/* ---- follower ---- */

START_TEST(a_follower_asks_its_leader_once_for_many)
{
    open_member(3);
    solo_follow(2, 2);
    begin(0);
    begin(1);
    env_fake_run(solo.env);
    struct question ask;
    ck_assert(take(2, &ask));
    ck_assert_uint_eq(ask.kind, ASK);
    struct question more;
    ck_assert(!take(0, &more));
    say(2, ANSWER, 2, ask.number, 1);
    ended(0, OK, 1);
    ended(1, OK, 1);
}
END_TEST

START_TEST(a_follower_waits_until_it_has_applied_the_index)
{
    open_member(3);
    solo_follow(2, 2);
    begin(0);
    env_fake_run(solo.env);
    struct question ask;
    ck_assert(take(2, &ask));
    say(2, ANSWER, 2, ask.number, 3);
    pending(0);
    talk_append(solo.net, 2, 2, 1, 1, 1, 2, 2);
    solo_settle();
    pending(0); /* stored, not committed */
    talk_append(solo.net, 2, 2, 3, 2, 3, 0, 0);
    solo_settle();
    ended(0, OK, 3);
}
END_TEST

START_TEST(answers_of_others_and_to_other_questions_are_none)
{
    open_member(3);
    solo_follow(2, 2);
    begin(0);
    env_fake_run(solo.env);
    struct question ask;
    ck_assert(take(2, &ask));
    say(2, ANSWER, 2, ask.number - 1, 1);
    say(2, ANSWER, 2, ask.number + 1, 1);
    say(3, ANSWER, 2, ask.number, 1);
    pending(0);
    say(2, ANSWER, 2, ask.number, 1);
    ended(0, OK, 1);
}
END_TEST

START_TEST(a_question_that_is_lost_is_put_again)
{
    open_member(3);
    solo_follow(2, 2);
    begin(0);
    env_fake_run(solo.env);
    struct question ask;
    struct question again;
    ck_assert(take(2, &ask));
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    ck_assert(take(2, &again));
    ck_assert_uint_eq(again.number, ask.number);
}
END_TEST

START_TEST(a_new_leader_is_asked_anew)
{
    open_member(3);
    solo_follow(2, 2);
    begin(0);
    env_fake_run(solo.env);
    struct question ask;
    ck_assert(take(2, &ask));
    talk_append(solo.net, 3, 3, 1, 1, 1, 0, 0);
    solo_settle();
    struct question again;
    ck_assert(take(3, &again));
    ck_assert_uint_eq(again.kind, ASK);
    ck_assert_uint_ne(again.number, ask.number);
    say(2, ANSWER, 2, ask.number, 1); /* the old leader, late */
    pending(0);
    say(3, ANSWER, 3, again.number, 1);
    ended(0, OK, 1);
}
END_TEST

START_TEST(without_a_leader_there_is_no_answer)
{
    open_member(3);
    begin(0);
    pending(0);
    env_fake_run(solo.env);
    ended(0, ERR_NO_LEADER, 0);
}
END_TEST

START_TEST(a_voter_says_in_which_term_it_is)
{
    open_member(3);
    solo_follow(2, 5);
    say(3, CONFIRM, 4, 12, 0);
    struct question answer;
    ck_assert(take(3, &answer));
    ck_assert_uint_eq(answer.kind, CONFIRMED);
    ck_assert_uint_eq(answer.term, 5);
    ck_assert_uint_eq(answer.number, 12);
}
END_TEST

/* ---- ends ---- */

START_TEST(a_cancelled_read_is_not_called_back)
{
    open_member(3);
    solo_follow(2, 2);
    begin(0);
    begin(1);
    env_fake_run(solo.env);
    struct question ask;
    ck_assert(take(2, &ask));
    node_read_index_cancel(solo.node, &reads[0].request);
    say(2, ANSWER, 2, ask.number, 1);
    pending(0);
    ended(1, OK, 1);
}
END_TEST

START_TEST(closing_ends_every_read)
{
    open_member(3);
    solo_follow(2, 2);
    begin(0);
    env_fake_run(solo.env);
    struct question ask;
    ck_assert(take(2, &ask));
    begin(1); /* waits */
    begin(2);
    say(2, ANSWER, 2, ask.number, 100); /* confirmed, not applied */
    solo_close();
    for (unsigned i = 0; i < 3; i++) {
        ended(i, ERR_STOPPED, 0);
    }
}
END_TEST

START_TEST(frames_that_make_no_sense_are_dropped)
{
    open_member(3);
    solo_follow(2, 2);
    static const uint8_t garbage[64] = {9, 1, 2, 3};
    for (size_t len = 0; len <= sizeof garbage; len++) {
        solo.net->callbacks->on_frame(solo.net->ctx, 2, FRAME_READ_INDEX, bytes_of(garbage, len));
    }
    env_fake_run(solo.env);
    struct question answer;
    ck_assert(!take(0, &answer));
}
END_TEST

static Suite *readindex_suite(void)
{
    Suite *suite = suite_create("readindex");
    TCase *tc = tcase_create("leader");
    tcase_add_checked_fixture(tc, setup, solo_teardown);
    tcase_add_test(tc, the_only_voter_proceeds_at_once);
    tcase_add_test(tc, all_reads_of_a_round_share_one_question);
    tcase_add_test(tc, a_read_during_a_round_takes_the_next);
    tcase_add_loop_test(tc, worthless_answers_confirm_nothing, 0,
                        (int)(sizeof worthless / sizeof worthless[0]));
    tcase_add_test(tc, an_answer_to_an_earlier_life_confirms_nothing);
    tcase_add_test(tc, no_round_before_the_barrier_is_applied);
    tcase_add_test(tc, lost_questions_are_put_again);
    tcase_add_test(tc, who_leads_no_more_answers_no_read);
    tcase_add_test(tc, followers_are_answered_by_a_round);
    tcase_add_test(tc, a_follower_that_asks_during_a_round_is_answered_by_the_next);
    suite_add_tcase(suite, tc);
    tc = tcase_create("follower");
    tcase_add_checked_fixture(tc, setup, solo_teardown);
    tcase_add_test(tc, a_follower_asks_its_leader_once_for_many);
    tcase_add_test(tc, a_follower_waits_until_it_has_applied_the_index);
    tcase_add_test(tc, answers_of_others_and_to_other_questions_are_none);
    tcase_add_test(tc, a_question_that_is_lost_is_put_again);
    tcase_add_test(tc, a_new_leader_is_asked_anew);
    tcase_add_test(tc, without_a_leader_there_is_no_answer);
    tcase_add_test(tc, a_voter_says_in_which_term_it_is);
    suite_add_tcase(suite, tc);
    tc = tcase_create("ends");
    tcase_add_checked_fixture(tc, setup, solo_teardown);
    tcase_add_test(tc, a_cancelled_read_is_not_called_back);
    tcase_add_test(tc, closing_ends_every_read);
    tcase_add_test(tc, frames_that_make_no_sense_are_dropped);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(readindex_suite);
}
