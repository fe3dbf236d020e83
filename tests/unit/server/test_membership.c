/* SPDX-License-Identifier: Apache-2.0 */
#include "server/membership.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/node_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/store_model.h"

/* Two records of who is a member, and a leader between them: the table is made by commands, the
 * configuration by the test, as what the leader asked for is done, fails, or is done by another
 * leader. */
#define SELF      1u
#define LOOK      500u /* ms between two looks */
#define HEARTBEAT 100u
#define TIMEOUT   7000u
#define PLENTY    100000u

static struct env_fake *fake;
static struct store *store;
static struct cluster *cluster;
static struct node *node;
static struct membership membership;
static uint64_t next_index;
static unsigned removals;
static unsigned answers; /* to waits for a member to leave */
static enum err answer;

/* The configuration. */
static struct node_member present[8];
static size_t present_count;

static void on_removed(void *ctx)
{
    ck_assert_ptr_eq(ctx, &removals);
    removals++;
}

static const struct cluster *present_cluster(void *ctx)
{
    ck_assert_ptr_eq(ctx, &removals);
    return cluster;
}

static void set_up(void)
{
    fake = env_fake_new(1);
    store = store_model_new(env_fake_env(fake));
    ck_assert_int_eq(cluster_new(store, &cluster, NULL), OK);
    node = node_fake_new(env_fake_env(fake), SELF);
    next_index = 1;
    removals = 0;
    answers = 0;
    present_count = 0;
    membership = (struct membership){.env = env_fake_env(fake),
                                     .node = node,
                                     .cluster = present_cluster,
                                     .self = SELF,
                                     .heartbeat_ms = HEARTBEAT,
                                     .timeout_ms = TIMEOUT,
                                     .on_removed = on_removed,
                                     .ctx = &removals};
    membership_init(&membership);
}

static void tear_down(void)
{
    membership_stop(&membership);
    node_fake_free(node);
    cluster_free(cluster);
    store_close(store);
    env_fake_free(fake);
}

/* ---- the table ---- */

static const char *const urls[] = {"http://10.0.0.1:1", "http://10.0.0.2:1", "http://10.0.0.3:1",
                                   "http://10.0.0.4:1", "http://10.0.0.5:1"};

static struct command_member member_of(uint64_t id, bool learner)
{
    static struct bytes url;
    url = bytes_of_str(urls[id - 1]);
    return (struct command_member){
        .id = id, .learner = learner, .learners_max = 9, .peer_urls = &url, .peer_url_count = 1};
}

static void change(enum command_kind kind, uint64_t id, bool learner)
{
    struct command_member member = member_of(id, learner);
    store_entry_begin(store, next_index++, 1);
    enum err err = kind == COMMAND_MEMBER_ADD      ? cluster_add(cluster, &member)
                   : kind == COMMAND_MEMBER_REMOVE ? cluster_remove(cluster, &member)
                                                   : cluster_promote(cluster, &member);
    store_entry_end(store);
    ck_assert_int_eq(err, OK);
    membership_kick(&membership);
    env_fake_run(fake);
}

static void publish(uint64_t id)
{
    struct command_member_publish publish = {.member_id = id, .name = bytes_of_str("started")};
    store_entry_begin(store, next_index++, 1);
    ck_assert_int_eq(cluster_publish(cluster, &publish), OK);
    store_entry_end(store);
}

/* ---- the configuration ---- */

static void place(uint64_t id, enum member_role role)
{
    size_t i = 0;
    while (i < present_count && present[i].id != id) {
        i++;
    }
    present[i] = (struct node_member){.id = id, .address = "", .role = role};
    present_count += i == present_count;
    node_fake_set_members(node, present, present_count);
}

static void displace(uint64_t id)
{
    size_t kept = 0;
    for (size_t i = 0; i < present_count; i++) {
        if (present[i].id != id) {
            present[kept++] = present[i];
        }
    }
    present_count = kept;
    node_fake_set_members(node, present, present_count);
}

/* Members 1 to COUNT, which all vote and are there. */
static void begin(size_t count)
{
    struct command_member first[ARRAY_LEN(urls)];
    struct bytes first_urls[ARRAY_LEN(urls)];
    for (size_t i = 0; i < count; i++) {
        first_urls[i] = bytes_of_str(urls[i]);
        first[i] =
            (struct command_member){.id = i + 1, .peer_urls = &first_urls[i], .peer_url_count = 1};
        place(i + 1, MEMBER_VOTER);
        node_fake_set_peer(node, i + 1, PLENTY, PLENTY);
    }
    struct command_member_init init = {.members = first, .count = count};
    store_entry_begin(store, next_index++, 1);
    ck_assert_int_eq(cluster_init(cluster, &init), OK);
    store_entry_end(store);
    for (size_t i = 0; i < count; i++) {
        publish(i + 1);
    }
}

static void set_leader(uint64_t id)
{
    node_fake_set_leader(node, 2, id);
    membership_kick(&membership);
    env_fake_run(fake);
}

/* What the leader asks for is this, and nothing else. */
static void expect_change(enum change_kind kind, uint64_t id)
{
    const struct node_fake_change *asked = node_fake_change(node);
    ck_assert_ptr_nonnull(asked);
    ck_assert_int_eq(asked->kind, kind);
    ck_assert_uint_eq(asked->id, id);
}

static void expect_nothing(void)
{
    env_fake_advance(fake, 3 * LOOK);
    ck_assert_ptr_null(node_fake_change(node));
    ck_assert(!node_fake_transferring(node));
}

static void finish(enum err status)
{
    node_fake_finish_change(node, status);
    env_fake_run(fake);
}

/* ---- steps ---- */

START_TEST(nothing_is_done_when_both_agree)
{
    begin(3);
    set_leader(SELF);
    expect_nothing();
    ck_assert_uint_eq(removals, 0);
}
END_TEST

START_TEST(only_a_leader_that_knows_all_changes_the_configuration)
{
    begin(3);
    set_leader(2);
    change(COMMAND_MEMBER_ADD, 4, true);
    expect_nothing();
    node_fake_set_ready(node, false);
    set_leader(SELF);
    expect_nothing();
    node_fake_set_ready(node, true);
    env_fake_advance(fake, LOOK);
    expect_change(CHANGE_ADD_LEARNER, 4);
    ck_assert_str_eq(node_fake_change(node)->address, "4@10.0.0.4:1");
    finish(ERR_STOPPED);
}
END_TEST

START_TEST(a_learner_is_added_and_stays_one)
{
    begin(3);
    set_leader(SELF);
    change(COMMAND_MEMBER_ADD, 4, true);
    expect_change(CHANGE_ADD_LEARNER, 4);
    place(4, MEMBER_LEARNER);
    finish(OK);
    node_fake_set_peer(node, 4, PLENTY, PLENTY);
    expect_nothing();
    change(COMMAND_MEMBER_PROMOTE, 4, false);
    expect_change(CHANGE_PROMOTE, 4);
    place(4, MEMBER_VOTER);
    finish(OK);
    expect_nothing();
}
END_TEST

START_TEST(a_voter_learns_before_it_votes)
{
    begin(3);
    set_leader(SELF);
    change(COMMAND_MEMBER_ADD, 4, false);
    expect_change(CHANGE_ADD_LEARNER, 4);
    place(4, MEMBER_LEARNER);
    finish(OK);
    expect_nothing();                       /* it has not been started */
    node_fake_set_peer(node, 4, 0, PLENTY); /* it has gone away again */
    expect_nothing();
    node_fake_set_peer(node, 4, PLENTY, 0); /* it has nothing yet */
    expect_nothing();
    node_fake_set_peer(node, 4, PLENTY, PLENTY);
    env_fake_advance(fake, LOOK);
    expect_change(CHANGE_PROMOTE, 4);
    place(4, MEMBER_VOTER);
    finish(OK);
    expect_nothing();
}
END_TEST

START_TEST(a_spare_left_behind_becomes_a_learner)
{
    begin(3);
    change(COMMAND_MEMBER_ADD, 4, true);
    place(4, MEMBER_SPARE); /* by a leader that was lost in between */
    set_leader(SELF);
    expect_change(CHANGE_ADD_LEARNER, 4);
    finish(ERR_STOPPED);
}
END_TEST

START_TEST(who_is_gone_is_removed_first)
{
    begin(3);
    change(COMMAND_MEMBER_ADD, 4, true);
    change(COMMAND_MEMBER_REMOVE, 3, false);
    change(COMMAND_MEMBER_REMOVE, 2, false);
    set_leader(SELF);
    env_fake_advance(fake, 2 * HEARTBEAT - 1);
    ck_assert_ptr_null(node_fake_change(node)); /* it has to hear of it */
    env_fake_advance(fake, 1);
    expect_change(CHANGE_REMOVE, 2);
    displace(2);
    node_fake_set_peer(node, 3, 0, 0); /* it does not listen */
    finish(OK);
    expect_change(CHANGE_REMOVE, 3);
    displace(3);
    finish(OK);
    expect_change(CHANGE_ADD_LEARNER, 4);
    finish(ERR_STOPPED);
}
END_TEST

/* Of three voters, one newly added, the second goes and the third is lost: the configuration must
 * not be the second and third alone by then. */
START_TEST(who_shall_vote_does_before_another_one_goes)
{
    begin(3);
    set_leader(SELF);
    change(COMMAND_MEMBER_ADD, 4, false);
    expect_change(CHANGE_ADD_LEARNER, 4);
    place(4, MEMBER_LEARNER);
    finish(OK);
    node_fake_set_peer(node, 4, PLENTY, 0); /* it is there, and has nothing yet */
    change(COMMAND_MEMBER_REMOVE, 2, false);
    expect_nothing();
    node_fake_set_peer(node, 4, PLENTY, PLENTY);
    env_fake_advance(fake, LOOK);
    expect_change(CHANGE_PROMOTE, 4);
    place(4, MEMBER_VOTER);
    finish(OK);
    env_fake_advance(fake, 2 * HEARTBEAT);
    expect_change(CHANGE_REMOVE, 2);
    finish(ERR_STOPPED);
}
END_TEST

START_TEST(nobody_waits_for_who_is_not_there)
{
    begin(3);
    set_leader(SELF);
    change(COMMAND_MEMBER_ADD, 4, false);
    place(4, MEMBER_LEARNER);
    finish(OK);
    node_fake_set_peer(node, 4, PLENTY, 0);
    change(COMMAND_MEMBER_REMOVE, 2, false);
    expect_nothing();
    node_fake_set_peer(node, 2, 0, 0); /* it helps nobody any more */
    env_fake_advance(fake, LOOK);
    expect_change(CHANGE_REMOVE, 2);
    displace(2);
    finish(OK);
    change(COMMAND_MEMBER_REMOVE, 3, false);
    expect_nothing();
    node_fake_set_peer(node, 4, 0, 0); /* whom it waited for has gone */
    env_fake_advance(fake, LOOK + 2 * HEARTBEAT);
    expect_change(CHANGE_REMOVE, 3);
    finish(ERR_STOPPED);
}
END_TEST

/* A step that fails, whose outcome is unknown, or that another leader took meanwhile, is looked for
 * again. */
START_TEST(a_step_that_failed_is_taken_again)
{
    static const enum err failures[] = {ERR_TOO_MANY_REQUESTS, ERR_LEADER_CHANGED, ERR_TIMEOUT,
                                        ERR_NOT_LEADER};
    begin(3);
    set_leader(SELF);
    change(COMMAND_MEMBER_ADD, 4, true);
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        expect_change(CHANGE_ADD_LEARNER, 4);
        finish(failures[i]);
        ck_assert_ptr_null(node_fake_change(node)); /* not at once */
        env_fake_advance(fake, LOOK);
    }
    expect_change(CHANGE_ADD_LEARNER, 4);
    place(4, MEMBER_LEARNER); /* it did work */
    finish(ERR_LEADER_CHANGED);
    expect_nothing();
}
END_TEST

START_TEST(another_leader_goes_on_where_one_was_lost)
{
    begin(3);
    set_leader(2);
    change(COMMAND_MEMBER_ADD, 4, false);
    change(COMMAND_MEMBER_REMOVE, 3, false);
    place(4, MEMBER_LEARNER); /* it took one step, and another */
    displace(3);
    node_fake_set_peer(node, 4, PLENTY, PLENTY);
    expect_nothing();
    set_leader(SELF);
    expect_change(CHANGE_PROMOTE, 4);
    finish(ERR_STOPPED);
}
END_TEST

/* What the table says before the log does is what this member was started with. */
START_TEST(nothing_is_done_before_the_cluster_has_begun)
{
    const struct cluster_member told = {.id = SELF, .peer_urls = urls, .peer_url_count = 1};
    ck_assert_int_eq(cluster_bootstrap(cluster, &told, 1), OK);
    place(SELF, MEMBER_VOTER);
    place(2, MEMBER_VOTER);
    set_leader(SELF);
    expect_nothing();
}
END_TEST

START_TEST(who_cannot_be_called_is_no_part_of_consensus)
{
    begin(1);
    set_leader(SELF);
    struct bytes url = bytes_of_str("unix:///run/two");
    struct command_member member = {.id = 2, .peer_urls = &url, .peer_url_count = 1};
    store_entry_begin(store, next_index++, 1);
    ck_assert_int_eq(cluster_add(cluster, &member), OK);
    store_entry_end(store);
    membership_kick(&membership);
    expect_nothing();
}
END_TEST

/* ---- removed ---- */

START_TEST(a_follower_that_is_removed_ends_once)
{
    begin(3);
    set_leader(2);
    change(COMMAND_MEMBER_REMOVE, 3, false);
    ck_assert_uint_eq(removals, 0);
    change(COMMAND_MEMBER_REMOVE, SELF, false);
    displace(SELF);
    env_fake_advance(fake, LOOK);
    ck_assert_uint_eq(removals, 1);
    membership_told_removed(&membership);
    env_fake_advance(fake, 3 * LOOK);
    ck_assert_uint_eq(removals, 1);
}
END_TEST

/* Four voters, of whom one is removed and another one lost: a majority of the configuration needs
 * the one that is removed. */
START_TEST(who_is_removed_stays_while_it_counts)
{
    begin(4);
    set_leader(2);
    change(COMMAND_MEMBER_REMOVE, SELF, false);
    env_fake_advance(fake, 10 * LOOK);
    ck_assert_uint_eq(removals, 0);
    displace(SELF);
    node_fake_set_settled(node, false); /* it may come to nothing */
    env_fake_advance(fake, 10 * LOOK);
    ck_assert_uint_eq(removals, 0);
    node_fake_set_settled(node, true);
    env_fake_advance(fake, LOOK);
    ck_assert_uint_eq(removals, 1);
}
END_TEST

static void on_leave(struct leave_wait *wait, enum err status)
{
    (void)wait;
    answers++;
    answer = status;
}

START_TEST(a_removal_is_answered_when_the_member_does_not_count_any_more)
{
    struct leave_wait wait;
    begin(3);
    set_leader(SELF);
    change(COMMAND_MEMBER_REMOVE, 3, false);
    membership_await_leave(&membership, &wait, 3, on_leave);
    env_fake_advance(fake, 2 * HEARTBEAT);
    expect_change(CHANGE_REMOVE, 3);
    displace(3);
    node_fake_set_settled(node, false);
    env_fake_advance(fake, LOOK);
    ck_assert_uint_eq(answers, 0);
    node_fake_set_settled(node, true);
    finish(OK);
    ck_assert_uint_eq(answers, 1);
    ck_assert_int_eq(answer, OK);
}
END_TEST

START_TEST(a_removal_that_cannot_be_finished_is_answered_in_time)
{
    struct leave_wait wait;
    struct leave_wait given_up;
    begin(3);
    set_leader(0);
    change(COMMAND_MEMBER_REMOVE, 3, false);
    membership_await_leave(&membership, &wait, 3, on_leave);
    membership_await_leave(&membership, &given_up, 3, on_leave);
    queue_remove(&given_up.link);
    env_fake_advance(fake, TIMEOUT - LOOK);
    ck_assert_uint_eq(answers, 0);
    env_fake_advance(fake, 2 * LOOK);
    ck_assert_uint_eq(answers, 1);
    ck_assert_int_eq(answer, ERR_TIMEOUT);
}
END_TEST

START_TEST(who_ends_answers_before)
{
    struct leave_wait wait;
    begin(3);
    set_leader(2);
    change(COMMAND_MEMBER_REMOVE, SELF, false);
    membership_await_leave(&membership, &wait, SELF, on_leave);
    env_fake_advance(fake, LOOK);
    ck_assert_uint_eq(answers, 0);
    membership_told_removed(&membership);
    env_fake_run(fake);
    ck_assert_uint_eq(removals, 1);
    ck_assert_uint_eq(answers, 1);
    ck_assert_int_eq(answer, OK);
}
END_TEST

START_TEST(a_stop_answers_who_waits)
{
    struct leave_wait wait;
    begin(3);
    set_leader(2);
    change(COMMAND_MEMBER_REMOVE, 3, false);
    membership_await_leave(&membership, &wait, 3, on_leave);
    membership_stop(&membership);
    ck_assert_uint_eq(answers, 1);
    ck_assert_int_eq(answer, ERR_STOPPED);
}
END_TEST

START_TEST(who_missed_its_removal_is_told)
{
    begin(3);
    set_leader(0);
    membership_told_removed(&membership);
    ck_assert_uint_eq(removals, 0); /* in this turn somebody may still use what ends */
    env_fake_run(fake);
    ck_assert_uint_eq(removals, 1);
}
END_TEST

START_TEST(a_leader_that_is_removed_hands_over_before_it_ends)
{
    begin(3);
    set_leader(SELF);
    change(COMMAND_MEMBER_REMOVE, SELF, false);
    ck_assert_ptr_null(node_fake_change(node));
    ck_assert(node_fake_transferring(node));
    ck_assert_uint_eq(node_fake_transfer_target(node), 0);
    node_fake_finish_transfer(node, ERR_TIMEOUT);
    ck_assert_uint_eq(removals, 0);
    env_fake_advance(fake, LOOK);
    ck_assert(node_fake_transferring(node)); /* again */
    node_fake_set_leader(node, 3, 2);
    node_fake_finish_transfer(node, OK);
    env_fake_run(fake);
    ck_assert_uint_eq(removals, 0); /* the next leader needs it still */
    membership_told_removed(&membership);
    env_fake_run(fake);
    ck_assert_uint_eq(removals, 1);
}
END_TEST

/* The only member that votes cannot go before another one does. */
START_TEST(a_leader_that_is_removed_makes_its_successor_first)
{
    begin(1);
    set_leader(SELF);
    change(COMMAND_MEMBER_ADD, 2, false);
    publish(2);
    expect_change(CHANGE_ADD_LEARNER, 2);
    change(COMMAND_MEMBER_REMOVE, SELF, false);
    place(2, MEMBER_LEARNER);
    finish(OK);
    node_fake_set_peer(node, 2, PLENTY, PLENTY);
    ck_assert_uint_eq(removals, 0);
    if (node_fake_transferring(node)) { /* in vain: nobody else votes */
        node_fake_finish_transfer(node, ERR_NOT_FOUND);
    }
    env_fake_advance(fake, LOOK);
    expect_change(CHANGE_PROMOTE, 2);
    place(2, MEMBER_VOTER);
    finish(OK);
    ck_assert(node_fake_transferring(node));
    node_fake_set_leader(node, 3, 2);
    node_fake_finish_transfer(node, OK);
    env_fake_run(fake);
    ck_assert_uint_eq(removals, 0); /* the next leader needs it still */
    membership_told_removed(&membership);
    env_fake_run(fake);
    ck_assert_uint_eq(removals, 1);
}
END_TEST

START_TEST(a_leader_does_not_believe_that_it_was_removed)
{
    begin(3);
    set_leader(SELF);
    membership_told_removed(&membership);
    expect_nothing();
    ck_assert_uint_eq(removals, 0);
}
END_TEST

/* ---- what may be asked for ---- */

static enum err check(enum command_kind kind, uint64_t id, bool learner, bool strict)
{
    struct command_member member = member_of(id, learner);
    member.strict = strict;
    return membership_check(&membership, kind, &member);
}

static void connect(uint64_t id, uint64_t connected_ms)
{
    node_fake_set_peer(node, id, connected_ms, PLENTY);
}

START_TEST(a_member_is_added_while_a_majority_is_there)
{
    begin(3);
    set_leader(2);
    ck_assert_int_eq(check(COMMAND_MEMBER_ADD, 4, false, true), OK);
    connect(3, MEMBERSHIP_HEALTHY_MS - 1);
    ck_assert_int_eq(check(COMMAND_MEMBER_ADD, 4, false, true), ERR_UNHEALTHY);
    ck_assert_int_eq(check(COMMAND_MEMBER_ADD, 4, true, true), ERR_UNHEALTHY);
    ck_assert_int_eq(check(COMMAND_MEMBER_ADD, 4, false, false), OK);
    connect(3, MEMBERSHIP_HEALTHY_MS);
    ck_assert_int_eq(check(COMMAND_MEMBER_ADD, 4, false, true), OK);
}
END_TEST

START_TEST(one_member_may_get_a_second)
{
    begin(1);
    ck_assert_int_eq(check(COMMAND_MEMBER_ADD, 2, false, true), OK);
}
END_TEST

START_TEST(started_counts_before_connected)
{
    begin(1);
    change(COMMAND_MEMBER_ADD, 2, false);
    ck_assert_int_eq(check(COMMAND_MEMBER_ADD, 3, false, true), ERR_FEW_STARTED);
    ck_assert_int_eq(check(COMMAND_MEMBER_REMOVE, 1, false, true), ERR_FEW_STARTED);
    ck_assert_int_eq(check(COMMAND_MEMBER_REMOVE, 2, false, true), OK);
}
END_TEST

START_TEST(who_is_there_is_removed_while_others_are)
{
    begin(3);
    ck_assert_int_eq(check(COMMAND_MEMBER_REMOVE, 2, false, true), OK);
    ck_assert_int_eq(check(COMMAND_MEMBER_REMOVE, SELF, false, true), OK);
    connect(3, 0);
    ck_assert_int_eq(check(COMMAND_MEMBER_REMOVE, 2, false, true), ERR_UNHEALTHY);
    ck_assert_int_eq(check(COMMAND_MEMBER_REMOVE, SELF, false, true), ERR_UNHEALTHY);
    ck_assert_int_eq(check(COMMAND_MEMBER_REMOVE, 2, false, false), OK);
    ck_assert_int_eq(check(COMMAND_MEMBER_REMOVE, 3, false, true), OK); /* it is away */
    ck_assert_int_eq(check(COMMAND_MEMBER_UPDATE, 2, false, true), OK);
}
END_TEST

START_TEST(learners_come_and_go)
{
    begin(3);
    change(COMMAND_MEMBER_ADD, 4, true);
    connect(4, 0);
    ck_assert_int_eq(check(COMMAND_MEMBER_ADD, 5, false, true), OK); /* it does not count */
    connect(2, 0);
    connect(3, 0);
    ck_assert_int_eq(check(COMMAND_MEMBER_REMOVE, 4, false, true), OK);
}
END_TEST

START_TEST(a_learner_is_behind_until_it_has_nine_tenths)
{
    begin(3);
    set_leader(SELF);
    change(COMMAND_MEMBER_ADD, 4, true);
    node_fake_set_peer(node, SELF, 0, 1000);
    node_fake_set_peer(node, 4, 1, 0);
    ck_assert(membership_is_behind(&membership, 4));
    node_fake_set_peer(node, 4, 1, 899);
    ck_assert(membership_is_behind(&membership, 4));
    node_fake_set_peer(node, 4, 1, 900);
    ck_assert(!membership_is_behind(&membership, 4));
    ck_assert(!membership_is_behind(&membership, 2)); /* no learner, no member: said elsewhere */
    ck_assert(!membership_is_behind(&membership, 99));
    finish(ERR_STOPPED);
}
END_TEST

START_TEST(addresses_are_unique_for_good)
{
    static const char *const some[] = {"unix:///a", "https://[::1]:2380", "http://b:1"};
    char long_host[300];
    char address[NODE_ADDRESS_SIZE];
    memset(long_host, 'h', sizeof long_host);
    memcpy(long_host, "http://", 7);
    strcpy(long_host + 250, ":1");
    const char *too_long = long_host;
    ck_assert(membership_address(0xabc, some, 3, address));
    ck_assert_str_eq(address, "abc@[::1]:2380");
    ck_assert(!membership_address(0xabc, some, 1, address));
    ck_assert(!membership_address(0xabc, some, 0, address));
    ck_assert(membership_address(1, &too_long, 1, address));
    ck_assert(!membership_address(UINT64_MAX, &too_long, 1, address));
}
END_TEST

static Suite *membership_suite(void)
{
    Suite *suite = suite_create("membership");
    TCase *tc = tcase_create("membership");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, nothing_is_done_when_both_agree);
    tcase_add_test(tc, only_a_leader_that_knows_all_changes_the_configuration);
    tcase_add_test(tc, a_learner_is_added_and_stays_one);
    tcase_add_test(tc, a_voter_learns_before_it_votes);
    tcase_add_test(tc, a_spare_left_behind_becomes_a_learner);
    tcase_add_test(tc, who_is_gone_is_removed_first);
    tcase_add_test(tc, who_shall_vote_does_before_another_one_goes);
    tcase_add_test(tc, nobody_waits_for_who_is_not_there);
    tcase_add_test(tc, a_step_that_failed_is_taken_again);
    tcase_add_test(tc, another_leader_goes_on_where_one_was_lost);
    tcase_add_test(tc, nothing_is_done_before_the_cluster_has_begun);
    tcase_add_test(tc, who_cannot_be_called_is_no_part_of_consensus);
    tcase_add_test(tc, a_follower_that_is_removed_ends_once);
    tcase_add_test(tc, who_is_removed_stays_while_it_counts);
    tcase_add_test(tc, a_removal_is_answered_when_the_member_does_not_count_any_more);
    tcase_add_test(tc, a_removal_that_cannot_be_finished_is_answered_in_time);
    tcase_add_test(tc, who_ends_answers_before);
    tcase_add_test(tc, a_stop_answers_who_waits);
    tcase_add_test(tc, who_missed_its_removal_is_told);
    tcase_add_test(tc, a_leader_that_is_removed_hands_over_before_it_ends);
    tcase_add_test(tc, a_leader_that_is_removed_makes_its_successor_first);
    tcase_add_test(tc, a_leader_does_not_believe_that_it_was_removed);
    tcase_add_test(tc, a_member_is_added_while_a_majority_is_there);
    tcase_add_test(tc, one_member_may_get_a_second);
    tcase_add_test(tc, started_counts_before_connected);
    tcase_add_test(tc, who_is_there_is_removed_while_others_are);
    tcase_add_test(tc, learners_come_and_go);
    tcase_add_test(tc, a_learner_is_behind_until_it_has_nine_tenths);
    tcase_add_test(tc, addresses_are_unique_for_good);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(membership_suite);
}
