/* SPDX-License-Identifier: Apache-2.0 */
#include "server/hashcheck.h"

#include "base/cleanup.h"
#include "base/codec.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fault.h"
#include "tests/lib/runner.h"

#define MEMBERS     5u
#define INTERVAL_MS 5000u

/* Members whose states are an index and a secret: the hash at an index is of both, so those with
 * the same secret agree. Member i has the id i + 1; the first one leads. What they send waits until
 * it is delivered. */
struct peer {
    struct hashcheck check;
    uint64_t applied;
    uint64_t committed;
    uint64_t secret;
    uint64_t table_secret;
    const char *damage;
    bool leads;
    uint64_t raised[8]; /* that it asked for, in order */
    size_t raised_count;
};

struct sent {
    uint64_t from;
    uint64_t to;
    struct blob *frame;
};

static struct env_fake *fake;
static struct metrics *metrics;
static struct peer peers[MEMBERS];
static struct node_member members[MEMBERS];
static size_t member_count;
static struct sent sent[200];
static size_t sent_count;
static bool active[MEMBERS + 1]; /* alarms, by member id */
static bool hold_alarms;         /* what is raised has no outcome yet */

static bool host_leads(void *ctx)
{
    const struct peer *peer = ctx;
    return peer->leads;
}

static size_t host_members(void *ctx, const struct node_member **ret)
{
    (void)ctx;
    *ret = members;
    return member_count;
}

static void host_note(void *ctx, enum hash_topic topic, struct hash_note *ret)
{
    const struct peer *peer = ctx;
    if (topic == HASH_RECORDS) {
        *ret = (struct hash_note){peer->applied, (int64_t)peer->applied + 1,
                                  set_hash_element(peer->secret, peer->applied)};
    } else {
        *ret = (struct hash_note){peer->committed, 0,
                                  set_hash_element(peer->table_secret, peer->committed)};
    }
}

static void host_send(void *ctx, uint64_t peer_id, struct blob *frame)
{
    const struct peer *peer = ctx;
    ck_assert_uint_lt(sent_count, ARRAY_LEN(sent));
    sent[sent_count++] = (struct sent){peer->check.member_id, peer_id, blob_ref(frame)};
}

static const char *host_damage(void *ctx)
{
    const struct peer *peer = ctx;
    return peer->damage;
}

static bool host_is_raised(void *ctx, uint64_t member_id)
{
    (void)ctx;
    ck_assert_uint_le(member_id, MEMBERS);
    return active[member_id];
}

static void host_raise(void *ctx, uint64_t member_id)
{
    struct peer *peer = ctx;
    ck_assert_uint_lt(peer->raised_count, ARRAY_LEN(peer->raised));
    peer->raised[peer->raised_count++] = member_id;
    if (!hold_alarms) {
        active[member_id] = true;
        hashcheck_raised(&peer->check, true);
    }
}

static void open_check(struct peer *peer)
{
    const struct hashcheck_host host = {.leads = host_leads,
                                        .members = host_members,
                                        .note = host_note,
                                        .send = host_send,
                                        .damage = host_damage,
                                        .is_raised = host_is_raised,
                                        .raise = host_raise,
                                        .ctx = peer};
    size_t i = (size_t)(peer - peers);
    hashcheck_init(&peer->check, env_fake_env(fake), NULL, i == 0 ? metrics : NULL, i + 1, 0,
                   &host);
    hashcheck_start(&peer->check);
}

static void start(size_t count)
{
    fake = env_fake_new(1);
    metrics = metrics_new();
    memset(active, 0, sizeof active);
    hold_alarms = false;
    member_count = count;
    for (size_t i = 0; i < count; i++) {
        members[i] = (struct node_member){.id = i + 1, .role = MEMBER_VOTER};
        peers[i] = (struct peer){.leads = i == 0, .secret = 42, .table_secret = 43};
        open_check(&peers[i]);
    }
}

static void set_up(void)
{
    start(3);
}

static void tear_down(void)
{
    for (size_t i = 0; i < member_count; i++) {
        hashcheck_stop(&peers[i].check);
    }
    while (sent_count > 0) {
        blob_unref(sent[--sent_count].frame);
    }
    metrics_free(metrics);
    env_fake_free(fake);
}

/* The state of PEER moves on to INDEX, entry by entry, as far as it is applied. */
static void apply(struct peer *peer, uint64_t index)
{
    while (peer->applied < index) {
        peer->applied++;
        hashcheck_note(&peer->check, HASH_RECORDS);
    }
}

/* One transaction with all that is applied. */
static void commit(struct peer *peer)
{
    peer->committed = peer->applied;
    hashcheck_note(&peer->check, HASH_TABLES);
}

static void apply_all(uint64_t index)
{
    for (size_t i = 0; i < member_count; i++) {
        apply(&peers[i], index);
        commit(&peers[i]);
    }
}

static void deliver_frame(const struct sent *s)
{
    ck_assert_int_eq(hashcheck_on_frame(&peers[s->to - 1].check, s->from, blob_bytes(s->frame)),
                     OK);
}

/* Everything that was sent, and what is sent in answer; but what goes to or comes from AWAY (an id)
 * is lost. */
static size_t deliver(uint64_t away)
{
    size_t delivered = 0;
    for (size_t i = 0; i < sent_count; i++) {
        if (sent[i].to != away && sent[i].from != away) {
            deliver_frame(&sent[i]);
            delivered++;
        }
        blob_unref(sent[i].frame);
    }
    sent_count = 0;
    return delivered;
}

static void next_round(uint64_t away)
{
    env_fake_advance(fake, INTERVAL_MS);
    deliver(away);
}

static void ck_raised(const struct peer *peer, size_t count, uint64_t first, uint64_t second)
{
    ck_assert_uint_eq(peer->raised_count, count);
    ck_assert(count < 1 || peer->raised[0] == first);
    ck_assert(count < 2 || peer->raised[1] == second);
}

static void ck_metric(const char *line)
{
    struct buf text = {0};
    metrics_write(metrics, &text);
    ck_assert(buf_ok(&text));
    write_u8(&text, 0);
    ck_assert_msg(strstr((const char *)text.data, line) != NULL, "%s", (const char *)text.data);
    buf_fini(&text);
}

/* ---- equal ---- */

START_TEST(equal_members_agree_and_are_left_alone)
{
    apply_all(10);
    next_round(0);
    ck_raised(&peers[0], 0, 0, 0);
    ck_assert_uint_eq(peers[0].check.topics[0].agreed_index, 10);
    ck_assert_uint_eq(peers[0].check.topics[1].agreed_index, 10);
    ck_metric("trivet_hash_comparisons_total 4\n");
    ck_metric("trivet_hash_mismatches_total 0\n");
    ck_metric("trivet_hash_agreed_index 10\n");
    env_fake_advance(fake, 10 * INTERVAL_MS);
    ck_assert_uint_eq(sent_count, 0); /* nothing has changed */
    apply_all(11);
    next_round(0);
    ck_assert_uint_eq(peers[0].check.topics[0].agreed_index, 11);
    ck_assert_uint_eq(peers[1].check.topics[0].agreed_index, 0); /* it never asked */
}
END_TEST

START_TEST(who_does_not_lead_asks_nothing)
{
    peers[0].leads = false;
    apply_all(10);
    env_fake_advance(fake, 3 * INTERVAL_MS);
    ck_assert_uint_eq(sent_count, 0);
}
END_TEST

START_TEST(a_member_alone_asks_nobody)
{
    member_count = 1;
    apply(&peers[0], 5);
    env_fake_advance(fake, 3 * INTERVAL_MS);
    member_count = 3;
    ck_assert_uint_eq(sent_count, 0);
}
END_TEST

START_TEST(an_empty_cluster_has_nothing_to_compare)
{
    env_fake_advance(fake, 3 * INTERVAL_MS);
    ck_assert_uint_eq(sent_count, 0);
}
END_TEST

/* ---- one is odd ---- */

START_TEST(the_odd_one_of_three_gets_the_alarm)
{
    size_t odd = (size_t)_i;
    peers[odd].secret = 41;
    apply_all(10);
    next_round(0);
    ck_raised(&peers[0], 1, odd + 1, 0);
    ck_raised(&peers[1], 0, 0, 0); /* the leader raises it, whose ever it is */
    ck_raised(&peers[2], 0, 0, 0);
    ck_metric("trivet_hash_mismatches_total 1\n");
    ck_assert_uint_eq(peers[0].check.topics[0].agreed_index, 0);
    next_round(0);
    ck_raised(&peers[0], 1, odd + 1, 0); /* it is active */
    active[odd + 1] = false;             /* a person clears it: nothing was repaired */
    next_round(0);
    ck_raised(&peers[0], 2, odd + 1, odd + 1);
}
END_TEST

START_TEST(tables_that_differ_raise_it_too)
{
    peers[2].table_secret = 1;
    apply_all(10);
    next_round(0);
    ck_raised(&peers[0], 1, 3, 0);
    ck_assert_uint_eq(peers[0].check.topics[0].agreed_index, 10);
    ck_assert_uint_eq(peers[0].check.topics[1].agreed_index, 0);
}
END_TEST

START_TEST(another_revision_is_a_difference)
{
    apply_all(10);
    env_fake_advance(fake, INTERVAL_MS);
    for (size_t i = 0; i < 2; i++) { /* the question about records, the same two answers */
        for (uint64_t id = 2; id <= 3; id++) {
            struct hashframe frame = {
                HASH_ANSWER, HASH_RECORDS, peers[0].check.topics[0].number,
                peers[0].check.topics[0].notes[peers[0].check.topics[0].newest]};
            frame.note.revision += id == 3;
            struct blob *blob = hashframe_encode(&frame);
            ck_assert_int_eq(hashcheck_on_frame(&peers[0].check, id, blob_bytes(blob)), OK);
            blob_unref(blob);
        }
    }
    ck_raised(&peers[0], 1, 3, 0);
    ck_metric("trivet_hash_comparisons_total 2\n"); /* what came twice counts once */
}
END_TEST

START_TEST(two_odd_ones_of_five_get_one_each)
{
    tear_down();
    start(5);
    peers[1].secret = 41;
    peers[4].secret = 40;
    apply_all(10);
    hold_alarms = true;
    next_round(0);
    ck_raised(&peers[0], 1, 2, 0);
    hold_alarms = false;
    active[2] = true;
    hashcheck_raised(&peers[0].check, true);
    ck_raised(&peers[0], 2, 2, 5);
    ck_metric("trivet_hash_mismatches_total 2\n");
}
END_TEST

START_TEST(a_learner_is_told_and_has_no_say)
{
    members[1].role = MEMBER_LEARNER;
    members[2].role = MEMBER_LEARNER;
    peers[1].secret = 41;
    peers[2].secret = 41;
    apply_all(10);
    next_round(0);
    ck_raised(&peers[0], 2, 2, 3);
}
END_TEST

START_TEST(a_spare_is_not_asked)
{
    members[2].role = MEMBER_SPARE;
    apply_all(10);
    next_round(3);
    ck_assert_uint_eq(peers[0].check.topics[0].agreed_index, 10);
}
END_TEST

START_TEST(the_alarm_comes_as_soon_as_there_is_a_majority)
{
    peers[1].secret = 41;
    apply_all(10);
    env_fake_advance(fake, 1000);
    deliver(3); /* one of two answers: nobody can tell yet */
    ck_raised(&peers[0], 0, 0, 0);
    next_round(0);
    ck_raised(&peers[0], 2, 0, 2); /* the round ended; and the next one could tell */
}
END_TEST

/* ---- nobody can tell ---- */

START_TEST(two_members_that_differ_are_both_suspect)
{
    tear_down();
    start(2);
    peers[1].secret = 41;
    apply_all(10);
    next_round(0);
    ck_raised(&peers[0], 1, 0, 0);
    ck_metric("trivet_hash_mismatches_total 1\n");
    next_round(0);
    ck_raised(&peers[0], 1, 0, 0);
}
END_TEST

START_TEST(three_different_ones_are_all_suspect)
{
    peers[1].secret = 41;
    peers[2].secret = 40;
    apply_all(10);
    next_round(0);
    ck_raised(&peers[0], 1, 0, 0);
}
END_TEST

/* ---- who is not where the leader is ---- */

START_TEST(who_is_behind_answers_when_it_gets_there)
{
    apply_all(10);
    apply(&peers[0], 20);
    apply(&peers[1], 20);
    env_fake_advance(fake, 1000);
    deliver(0);
    ck_assert_uint_eq(peers[0].check.topics[0].agreed_index, 0);
    peers[2].secret = _i == 0 ? 42 : 41;
    apply(&peers[2], 19);
    ck_assert_uint_eq(sent_count, 0);
    apply(&peers[2], 25);
    ck_assert_uint_eq(sent_count, 1);
    deliver(0);
    if (_i == 0) {
        ck_raised(&peers[0], 0, 0, 0);
        ck_assert_uint_eq(peers[0].check.topics[0].agreed_index, 20);
    } else {
        ck_raised(&peers[0], 1, 3, 0);
    }
}
END_TEST

START_TEST(who_is_ahead_remembers)
{
    apply_all(10);
    env_fake_advance(fake, 1000);
    apply(&peers[1], 10 + HASH_NOTES - 1);
    apply(&peers[2], 10 + HASH_NOTES);
    deliver(0);
    ck_assert(peers[0].check.topics[0].votes[1].came);
    ck_assert(!peers[0].check.topics[0].votes[2].came); /* forgotten: no answer, and no alarm */
    next_round(0);
    ck_raised(&peers[0], 0, 0, 0);
    apply_all(10 + HASH_NOTES);
    next_round(0);
    ck_assert_uint_eq(peers[0].check.topics[0].agreed_index, 10 + HASH_NOTES);
}
END_TEST

/* Transactions hold as many entries as come together: what begins and ends elsewhere has no hash.
 */
START_TEST(a_transaction_across_the_index_is_no_answer)
{
    apply_all(10);
    apply(&peers[0], 20);
    commit(&peers[0]);
    env_fake_advance(fake, 1000);
    deliver(0);
    apply(&peers[1], 21);
    commit(&peers[1]);
    ck_assert_uint_eq(sent_count, 1); /* about the records */
    deliver(0);
    ck_assert(!peers[0].check.topics[1].votes[1].came);
    apply_all(21);
    next_round(0);
    ck_assert_uint_eq(peers[0].check.topics[1].agreed_index, 21);
    ck_raised(&peers[0], 0, 0, 0);
}
END_TEST

START_TEST(who_comes_back_is_asked_again)
{
    apply_all(10);
    peers[2].secret = 41;
    next_round(3);
    next_round(3);
    ck_raised(&peers[0], 0, 0, 0);
    hashcheck_stop(&peers[2].check); /* its process begins anew, with the state that it had */
    open_check(&peers[2]);
    next_round(0);
    ck_raised(&peers[0], 1, 3, 0);
}
END_TEST

/* It was rebuilt from the others at the same index, without having ended. */
START_TEST(another_state_is_noted_anew)
{
    peers[2].secret = 41;
    apply_all(10);
    next_round(0);
    ck_raised(&peers[0], 1, 3, 0);
    active[3] = false;
    peers[2].secret = 42;
    hashcheck_forget(&peers[2].check);
    next_round(0);
    ck_raised(&peers[0], 1, 3, 0);
    ck_assert_uint_eq(peers[0].check.topics[0].agreed_index, 10);
    for (size_t i = 1; i <= 2; i++) { /* damage of the one before is not that of this one */
        peers[2].damage = "there";
        env_fake_advance(fake, 1000);
        ck_raised(&peers[2], i, 3, 3);
        active[3] = false;
        hashcheck_forget(&peers[2].check);
    }
    peers[2].damage = NULL;
}
END_TEST

START_TEST(late_answers_count_for_nothing)
{
    apply_all(10);
    env_fake_advance(fake, 1000);
    size_t questions = sent_count;
    ck_assert_uint_eq(questions, 4);
    struct sent late[4];
    for (size_t i = 0; i < questions; i++) {
        deliver_frame(&sent[i]);
        late[i] = sent[questions + i];
        ck_assert_uint_eq(late[i].to, 1);
    }
    apply_all(11);
    env_fake_advance(fake, INTERVAL_MS);
    for (size_t i = 0; i < questions; i++) {
        deliver_frame(&late[i]);
    }
    ck_metric("trivet_hash_comparisons_total 0\n");
    ck_raised(&peers[0], 0, 0, 0);
    peers[0].leads = false; /* nor does one to who does not lead any more */
    deliver(0);
    ck_metric("trivet_hash_comparisons_total 0\n");
    peers[0].leads = true;
}
END_TEST

START_TEST(answers_of_strangers_count_for_nothing)
{
    apply_all(10);
    env_fake_advance(fake, 1000);
    struct hashframe frame = {
        HASH_ANSWER, HASH_RECORDS, peers[0].check.topics[0].number, {10, 1, {0}}};
    struct blob *blob = hashframe_encode(&frame);
    ck_assert_int_eq(hashcheck_on_frame(&peers[0].check, 9, blob_bytes(blob)), OK);
    ck_assert_int_eq(hashcheck_on_frame(&peers[0].check, 1, blob_bytes(blob)), OK); /* itself */
    blob_unref(blob);
    frame.note.index = 11; /* another index than was asked for */
    blob = hashframe_encode(&frame);
    ck_assert_int_eq(hashcheck_on_frame(&peers[0].check, 2, blob_bytes(blob)), OK);
    ck_assert_int_eq(hashcheck_on_frame(&peers[0].check, 2, bytes_of(blob->data, 5)),
                     ERR_MALFORMED);
    blob_unref(blob);
    ck_metric("trivet_hash_comparisons_total 0\n");
    deliver(0);
    ck_raised(&peers[0], 0, 0, 0);
    ck_assert_uint_eq(peers[0].check.topics[0].agreed_index, 10);
}
END_TEST

/* ---- damage, alarms ---- */

START_TEST(damage_of_its_own_is_told_once)
{
    peers[2].damage = "'store.db': revision 7.0: a checksum is wrong";
    hold_alarms = true;
    env_fake_advance(fake, 1000);
    ck_raised(&peers[2], 1, 3, 0);
    env_fake_advance(fake, 3000); /* it is on its way */
    ck_raised(&peers[2], 1, 3, 0);
    hashcheck_raised(&peers[2].check, false); /* nobody leads */
    hold_alarms = false;
    env_fake_advance(fake, 1000);
    ck_raised(&peers[2], 2, 3, 3);
    ck_assert(active[3]);
    active[3] = false;
    env_fake_advance(fake, 10000); /* cleared by a person, who knows */
    ck_raised(&peers[2], 2, 3, 3);
}
END_TEST

START_TEST(a_member_that_stops_does_nothing_more)
{
    apply_all(10);
    env_fake_advance(fake, 1000);
    peers[1].damage = "there";
    hashcheck_stop(&peers[1].check);
    deliver(0);
    apply(&peers[1], 20);
    env_fake_advance(fake, 2000);
    ck_raised(&peers[1], 0, 0, 0);
    ck_assert(!peers[0].check.topics[0].votes[1].came);
    ck_assert(peers[0].check.topics[0].votes[2].came);
}
END_TEST

START_TEST(without_memory_a_question_is_lost)
{
    apply_all(10);
    fault_arm(1);
    env_fake_advance(fake, 1000);
    ck_assert(fault_fired());
    fault_arm(0);
    deliver(0);
    ck_raised(&peers[0], 0, 0, 0);
    next_round(0);
    ck_assert_uint_eq(peers[0].check.topics[0].agreed_index, 10);
}
END_TEST

static Suite *hashcheck_suite(void)
{
    Suite *suite = suite_create("hashcheck");
    TCase *tc = tcase_create("hashcheck");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, equal_members_agree_and_are_left_alone);
    tcase_add_test(tc, who_does_not_lead_asks_nothing);
    tcase_add_test(tc, a_member_alone_asks_nobody);
    tcase_add_test(tc, an_empty_cluster_has_nothing_to_compare);
    tcase_add_loop_test(tc, the_odd_one_of_three_gets_the_alarm, 0, 3);
    tcase_add_test(tc, tables_that_differ_raise_it_too);
    tcase_add_test(tc, another_revision_is_a_difference);
    tcase_add_test(tc, two_odd_ones_of_five_get_one_each);
    tcase_add_test(tc, a_learner_is_told_and_has_no_say);
    tcase_add_test(tc, a_spare_is_not_asked);
    tcase_add_test(tc, the_alarm_comes_as_soon_as_there_is_a_majority);
    tcase_add_test(tc, two_members_that_differ_are_both_suspect);
    tcase_add_test(tc, three_different_ones_are_all_suspect);
    tcase_add_loop_test(tc, who_is_behind_answers_when_it_gets_there, 0, 2);
    tcase_add_test(tc, who_is_ahead_remembers);
    tcase_add_test(tc, a_transaction_across_the_index_is_no_answer);
    tcase_add_test(tc, who_comes_back_is_asked_again);
    tcase_add_test(tc, another_state_is_noted_anew);
    tcase_add_test(tc, late_answers_count_for_nothing);
    tcase_add_test(tc, answers_of_strangers_count_for_nothing);
    tcase_add_test(tc, damage_of_its_own_is_told_once);
    tcase_add_test(tc, a_member_that_stops_does_nothing_more);
    tcase_add_test(tc, without_memory_a_question_is_lost);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(hashcheck_suite);
}
