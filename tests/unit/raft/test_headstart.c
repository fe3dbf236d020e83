/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/headstart.h"

#include "tests/lib/raft_solo.h"
#include "tests/lib/runner.h"

/* Member 1 starts; the test plays the connections to the others. */

#define SOONEST_MS (2u * SOLO_HEARTBEAT_MS)
#define LATEST_MS  (SOONEST_MS + SOLO_ELECTION_MS / 2)

static void setup(void)
{
    solo_setup();
    solo.head_start = true;
}

static void link_is(uint64_t peer, bool up)
{
    solo.net->callbacks->on_link(solo.net->ctx, peer, up);
}

/* How long it takes until the member stands for election; MS: it has not. */
static uint64_t stands_within(uint64_t ms)
{
    uint64_t passed = 0;
    while (passed < ms && node_role(solo.node) == NODE_FOLLOWER) {
        env_fake_advance(solo.env, 10);
        passed += 10;
    }
    return passed;
}

START_TEST(with_a_majority_connected_it_stands_soon)
{
    solo_open(solo_three, 3);
    link_is(3, true);
    uint64_t ms = stands_within(5000);
    ck_assert_int_eq(node_role(solo.node), NODE_CANDIDATE);
    ck_assert_uint_ge(ms, SOONEST_MS);
    ck_assert_uint_le(ms, LATEST_MS + SOLO_HEARTBEAT_MS); /* it looks once a heartbeat */
    ck_assert_uint_eq(node_term(solo.node), 1);           /* a pre-vote: nothing is raised */
}
END_TEST

START_TEST(alone_it_waits_as_ever)
{
    solo_open(solo_three, 3);
    ck_assert_uint_ge(stands_within(5000), SOLO_ELECTION_MS);
}
END_TEST

START_TEST(without_being_asked_for_it_waits)
{
    solo.head_start = false;
    solo_open(solo_three, 3);
    link_is(2, true);
    link_is(3, true);
    ck_assert_uint_ge(stands_within(5000), SOLO_ELECTION_MS);
}
END_TEST

START_TEST(a_connection_that_is_lost_does_not_count)
{
    static const struct node_member five[] = {{1, "member-1", MEMBER_VOTER},
                                              {2, "member-2", MEMBER_VOTER},
                                              {3, "member-3", MEMBER_VOTER},
                                              {4, "member-4", MEMBER_VOTER},
                                              {5, "member-5", MEMBER_VOTER}};
    solo_open(five, 5);
    link_is(2, true);
    link_is(2, true); /* twice is once */
    link_is(2, false);
    link_is(3, true);
    ck_assert_uint_ge(stands_within(5000), SOLO_ELECTION_MS);
}
END_TEST

START_TEST(who_cannot_vote_does_not_count)
{
    static const struct node_member mixed[] = {{1, "member-1", MEMBER_VOTER},
                                               {2, "member-2", MEMBER_VOTER},
                                               {3, "member-3", MEMBER_LEARNER}};
    solo_open(mixed, 3);
    link_is(3, true);
    link_is(9, true); /* not in the configuration */
    ck_assert_uint_ge(stands_within(5000), SOLO_ELECTION_MS);
}
END_TEST

START_TEST(a_learner_does_not_stand)
{
    static const struct node_member mixed[] = {{1, "member-1", MEMBER_LEARNER},
                                               {2, "member-2", MEMBER_VOTER},
                                               {3, "member-3", MEMBER_VOTER}};
    solo_open(mixed, 3);
    link_is(2, true);
    link_is(3, true);
    ck_assert_uint_eq(stands_within(5000), 5000);
}
END_TEST

START_TEST(it_is_not_given_beside_a_leader)
{
    solo_open(solo_three, 3);
    solo_follow(2, 2);
    link_is(2, true);
    link_is(3, true);
    ck_assert_uint_ge(stands_within(5000), SOLO_ELECTION_MS);
}
END_TEST

START_TEST(a_leader_that_speaks_up_is_followed)
{
    solo_open(solo_three, 3);
    link_is(2, true);
    env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    solo_follow(2, 2);
    ck_assert_uint_ge(stands_within(5000), SOLO_ELECTION_MS);
}
END_TEST

START_TEST(it_never_makes_the_member_wait_longer)
{
    solo_open(solo_three, 3);
    uint64_t passed = stands_within(SOLO_ELECTION_MS - 20);
    link_is(2, true);
    passed += stands_within(5000);
    ck_assert_uint_le(passed, 2 * SOLO_ELECTION_MS + SOLO_HEARTBEAT_MS);
    /* Given once: a connection that comes again gives nothing. */
    solo_follow(3, 2);
    env_fake_advance(solo.env, SOLO_ELECTION_MS / 2);
    link_is(2, false);
    link_is(2, true);
    ck_assert_uint_ge(stands_within(5000), SOLO_ELECTION_MS / 2);
}
END_TEST

static Suite *headstart_suite(void)
{
    Suite *s = suite_create("headstart");
    TCase *tc = tcase_create("headstart");
    tcase_add_checked_fixture(tc, setup, solo_teardown);
    tcase_add_test(tc, with_a_majority_connected_it_stands_soon);
    tcase_add_test(tc, alone_it_waits_as_ever);
    tcase_add_test(tc, without_being_asked_for_it_waits);
    tcase_add_test(tc, a_connection_that_is_lost_does_not_count);
    tcase_add_test(tc, who_cannot_vote_does_not_count);
    tcase_add_test(tc, a_learner_does_not_stand);
    tcase_add_test(tc, it_is_not_given_beside_a_leader);
    tcase_add_test(tc, a_leader_that_speaks_up_is_followed);
    tcase_add_test(tc, it_never_makes_the_member_wait_longer);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return runner_main(headstart_suite);
}
