/* SPDX-License-Identifier: Apache-2.0 */
#include "server/lessor.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "fsm/fsm.h"
#include "tests/lib/effort.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/node_fake.h"
#include "tests/lib/random_command.h"
#include "tests/lib/runner.h"
#include "tests/lib/store_model.h"

/* Two members with a log between them that is the test's: what a lessor proposes waits until it is
 * applied on both, or lost. Time moves only when told. */
#define ELECTION_MS 1000u
#define LATE_MS     1000u /* what an idle member may be late */
#define RETRY_MS    10000u
#define PENDING_MAX 64u

struct proposed {
    struct op *op;
    op_cb cb;
    struct buf bytes; /* the command, with the op's place as its number */
    unsigned by;
};

static struct member {
    struct node *node;
    struct store *store;
    struct fsm *fsm;
    struct leases *leases;
    struct lessor *lessor;
    int settled;
} members[2];

static struct env_fake *fake;
static struct proposed pending[PENDING_MAX];
static size_t pending_count;
static size_t proposed_total;
static size_t revoked_in_log;
static uint64_t next_index;
static uint64_t next_checked; /* the index after which leases are checked as a whole */
static uint64_t term;
static unsigned leader; /* 2: nobody */
static bool hold;
static struct op *applying; /* whose result comes next, on the member that proposed it */
static op_cb applying_cb;
static unsigned applying_by;

static uint64_t now(void)
{
    return env_now_ms(env_fake_env(fake));
}

static void propose(void *ctx, struct op *op, const struct command *command, op_cb cb)
{
    struct member *member = ctx;
    ck_assert_uint_lt(pending_count, PENDING_MAX);
    struct proposed *proposed = &pending[pending_count++];
    *proposed = (struct proposed){.op = op, .cb = cb, .by = (unsigned)(member - members)};
    command_encode(&proposed->bytes, (struct command_origin){.member_id = proposed->by + 1u},
                   command);
    proposed_total++;
    if (command->kind == COMMAND_LEASE_REVOKE) {
        ck_assert_uint_le(command->lease_revoke.count, 1024);
        revoked_in_log += command->lease_revoke.count;
    }
}

static void on_settled(void *ctx)
{
    ((struct member *)ctx)->settled++;
}

static void on_result(void *ctx, uint64_t number, const struct result *result)
{
    (void)number;
    struct member *member = ctx;
    if (applying != NULL && applying_by == (unsigned)(member - members)) {
        struct op *op = TAKE(applying);
        op->result = result;
        applying_cb(op, OK);
    }
}

static void open_member(struct member *member)
{
    struct fsm_config config = {.store = member->store,
                                .member_id = (uint64_t)(member - members) + 1,
                                .on_result = on_result,
                                .ctx = member};
    struct why why = {{0}};
    ck_assert_int_eq(fsm_new(&config, &member->fsm, &why), OK);
    member->leases = fsm_leases(member->fsm);
    struct lessor_config lessor = {.env = env_fake_env(fake),
                                   .leases = member->leases,
                                   .node = member->node,
                                   .election_ms = ELECTION_MS,
                                   .propose = propose,
                                   .on_settled = on_settled,
                                   .ctx = member};
    ck_assert_int_eq(lessor_new(&lessor, &member->lessor), OK);
    lessor_update(member->lessor);
}

static void close_member(struct member *member)
{
    lessor_stop(member->lessor);
    lessor_free(member->lessor);
    fsm_free(member->fsm);
}

static void set_up(void)
{
    fake = env_fake_new(1);
    pending_count = proposed_total = revoked_in_log = 0;
    next_index = next_checked = 1;
    term = 1;
    leader = 2;
    hold = false;
    for (unsigned i = 0; i < 2; i++) {
        members[i] = (struct member){.node = node_fake_new(env_fake_env(fake), i + 1),
                                     .store = store_model_new(NULL)};
        open_member(&members[i]);
    }
}

/* The check walks all leases. */
#define CHECKED_DENSE 100

/* Apply COMMANDS on both members, as an entry of the present term. */
static void apply(struct bytes commands)
{
    CLEANUP(buf_fini) struct buf entry = {0};
    entry_encode_head(&entry, 1);
    buf_append_bytes(&entry, commands);
    for (unsigned i = 0; i < 2; i++) {
        fsm_apply(members[i].fsm, next_index, term, buf_bytes(&entry));
        if (next_index == next_checked) {
            leases_check(members[i].leases);
        }
    }
    if (next_index == next_checked) {
        next_checked = effort_next(next_index, CHECKED_DENSE);
    }
    next_index++;
}

static struct proposed take_proposed(size_t i)
{
    struct proposed proposed = pending[i];
    pending_count--;
    memmove(&pending[i], &pending[i + 1], (pending_count - i) * sizeof pending[0]);
    return proposed;
}

static void commit(size_t i)
{
    struct proposed proposed = take_proposed(i);
    applying = proposed.op;
    applying_cb = proposed.cb;
    applying_by = proposed.by;
    apply(buf_bytes(&proposed.bytes));
    ck_assert_ptr_null(applying);
    buf_fini(&proposed.bytes);
}

static void lose(size_t i, enum err status)
{
    struct proposed proposed = take_proposed(i);
    proposed.cb(proposed.op, status);
    buf_fini(&proposed.bytes);
}

static void tear_down(void)
{
    while (pending_count > 0) {
        lose(0, ERR_STOPPED);
    }
    for (unsigned i = 0; i < 2; i++) {
        close_member(&members[i]);
        store_close(members[i].store);
        node_fake_free(members[i].node);
    }
    env_fake_free(fake);
}

static void lead(unsigned who)
{
    term++;
    leader = who;
    for (unsigned i = 0; i < 2; i++) {
        node_fake_set_leader(members[i].node, term, who + 1u);
        lessor_update(members[i].lessor);
    }
    env_fake_run(fake);
}

/* Let MS pass, committing what is proposed at once unless it is held; a long time in longer steps.
 */
static void pass(uint64_t ms)
{
    uint64_t until = now() + ms;
    uint64_t step = ms < 20000 ? 10 : ms < 400000 ? ms / 2000 : 200;
    while (now() < until) {
        env_fake_advance(fake, until - now() < step ? until - now() : step);
        while (!hold && pending_count > 0) {
            commit(0);
            env_fake_run(fake);
        }
    }
}

static enum err write_command(const struct command *command)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    command_encode(&bytes, (struct command_origin){0}, command);
    apply(buf_bytes(&bytes));
    return OK;
}

static void grant(int64_t id, int64_t ttl_s)
{
    struct command command = {.kind = COMMAND_LEASE_GRANT,
                              .lease_grant = {.id = id, .ttl_s = ttl_s}};
    ck_assert_int_eq(write_command(&command), OK);
}

static void put(const char *key, int64_t lease)
{
    struct command command = {.kind = COMMAND_PUT,
                              .put = {.key = bytes_of_str(key), .lease = lease}};
    ck_assert_int_eq(write_command(&command), OK);
}

static bool there(int64_t id)
{
    return leases_find(members[0].leases, id) != NULL;
}

static int64_t renew(int64_t id)
{
    int64_t answer = lessor_renew(members[leader].lessor, id, now());
    lessor_flush(members[leader].lessor);
    return answer;
}

/* ID ends AFTER_MS from now, and at most LATE_MS late. */
static void ck_ends(int64_t id, uint64_t after_ms)
{
    pass(after_ms - 10);
    ck_assert(there(id));
    pass(10 + LATE_MS);
    ck_assert(!there(id));
}

/* ---- ends ---- */

START_TEST(a_lease_ends_on_time_and_its_keys_with_it)
{
    lead(0);
    grant(1, 5);
    put("k", 1);
    ck_ends(1, 5000);
    struct key_version version;
    ck_assert(!store_key_version(members[1].store, bytes_of_str("k"), &version));
    ck_assert_uint_eq(proposed_total, 1);
}
END_TEST

START_TEST(a_renewed_lease_ends_a_ttl_after_it)
{
    lead(0);
    grant(1, 5);
    pass(3000);
    ck_assert_int_eq(renew(1), 5);
    ck_assert_int_eq(lessor_remaining_ms(members[0].lessor, 1), 5000);
    pass(4000);
    ck_assert_int_eq(renew(1), 5);
    ck_ends(1, 5000);
    ck_assert_int_eq(renew(1), 0);
    ck_assert_int_eq(lessor_remaining_ms(members[0].lessor, 1), LEASE_GONE);
}
END_TEST

/* What was confirmed a while ago counts from then. */
START_TEST(a_renewal_counts_from_its_confirmation)
{
    lead(0);
    grant(1, 5);
    pass(2000);
    ck_assert_int_eq(lessor_renew(members[0].lessor, 1, now() - 700), 5);
    ck_assert_int_eq(lessor_remaining_ms(members[0].lessor, 1), 4300);
}
END_TEST

START_TEST(who_does_not_lead_counts_nothing)
{
    lead(0);
    grant(1, 5);
    grant(2, 1000);
    leader = 2;
    for (unsigned i = 0; i < 2; i++) {
        node_fake_set_leader(members[i].node, term, 0);
        lessor_update(members[i].lessor);
    }
    pass(3600000);
    ck_assert_uint_eq(proposed_total, 0);
    ck_assert_uint_eq(env_fake_timer_count(fake), 0);
}
END_TEST

START_TEST(a_new_leader_gives_the_whole_ttl_and_an_election)
{
    lead(0);
    grant(1, 5);
    pass(4900);
    lead(1);
    ck_ends(1, 5000 + ELECTION_MS);
}
END_TEST

/* It may not know yet what was granted and renewed before it. */
START_TEST(a_leader_begins_with_its_first_entry)
{
    lead(0);
    grant(1, 5);
    node_fake_set_ready(members[1].node, false);
    lead(1);
    pass(20000);
    ck_assert(there(1));
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    ck_assert_int_eq(lessor_remaining_ms(members[1].lessor, 1), LEASE_AGAIN);
    node_fake_set_ready(members[1].node, true);
    ck_ends(1, 5000 + ELECTION_MS);
}
END_TEST

START_TEST(leases_of_before_the_start_are_counted)
{
    grant(1, 5);
    grant(2, 50);
    close_member(&members[0]);
    open_member(&members[0]);
    pass(100000); /* nobody leads */
    lead(0);
    ck_ends(1, 5000 + ELECTION_MS);
    ck_ends(2, 45000 - LATE_MS);
}
END_TEST

/* More of them than a turn looks at; and the member may lead before all of them were. */
START_TEST(leases_of_another_state_are_counted)
{
    for (int64_t id = 1; id <= 2500; id++) {
        grant(id, id == 2500 ? 5 : 500);
    }
    struct why why = {.text = ""};
    ck_assert_int_eq(fsm_reload(members[0].fsm, NULL, &why), OK);
    leases_check(members[0].leases);
    if (_i == 0) {
        pass(1000);
    }
    struct command revoke = {.kind = COMMAND_LEASE_REVOKE,
                             .lease_revoke = {.ids = (int64_t[]){1, 1700}, .count = 2}};
    ck_assert_int_eq(write_command(&revoke), OK); /* of those that were looked at, or were not */
    ck_assert_int_eq(fsm_reload(members[0].fsm, NULL, &why), OK);
    lead(0);
    ck_ends(2500, 5000 + ELECTION_MS);
    pass(500000);
    ck_assert_uint_eq(leases_count(members[0].leases), 0);
    ck_assert_uint_eq(leases_count(members[1].leases), 0);
}
END_TEST

START_TEST(a_stop_ends_the_look_at_another_state)
{
    for (int64_t id = 1; id <= 2500; id++) {
        grant(id, 500);
    }
    struct why why = {.text = ""};
    ck_assert_int_eq(fsm_reload(members[0].fsm, NULL, &why), OK);
    lessor_stop(members[0].lessor);
    ck_assert_int_eq(fsm_reload(members[0].fsm, NULL, &why), OK);
    env_fake_run(fake);
    leases_check(members[0].leases);
}
END_TEST

/* ---- revocations ---- */

START_TEST(a_lost_revocation_is_made_again)
{
    lead(0);
    grant(1, 5);
    hold = true;
    pass(5200);
    ck_assert_uint_eq(pending_count, 1);
    lose(0, ERR_TIMEOUT);
    pass(RETRY_MS + LATE_MS);
    ck_assert_uint_eq(pending_count, 1);
    commit(0);
    ck_assert(!there(1));
}
END_TEST

START_TEST(a_lease_that_is_over_is_not_renewed)
{
    lead(0);
    grant(1, 5);
    hold = true;
    pass(4999);
    ck_assert_int_eq(renew(1), 5);
    pass(5000);
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    ck_assert_int_le(lessor_remaining_ms(members[0].lessor, 1), 0);
    pass(200);
    ck_assert_uint_eq(pending_count, 1);
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    int settled = members[0].settled;
    commit(0);
    ck_assert_int_eq(members[0].settled, settled + 1);
    ck_assert_int_eq(renew(1), 0);
}
END_TEST

/* Its batch hands what it proposed on to the next leader, where the lease was renewed. */
START_TEST(a_deposed_leaders_revocation_does_nothing)
{
    lead(0);
    grant(1, 5);
    hold = true;
    pass(5200);
    lead(1);
    ck_assert_int_eq(renew(1), 5);
    commit(0);
    ck_assert(there(1));
    hold = false;
    ck_ends(1, 5000 + ELECTION_MS);
}
END_TEST

START_TEST(many_ends_make_few_entries)
{
    lead(0);
    for (int64_t id = 1; id <= 6000; id++) {
        grant(id, 5);
    }
    hold = true;
    pass(5200);
    ck_assert_uint_eq(pending_count, LESSOR_REVOKES_MAX);
    ck_assert_uint_eq(revoked_in_log, 4096);
    pass(5000);
    ck_assert_uint_eq(pending_count, LESSOR_REVOKES_MAX); /* and no more while they are */
    hold = false;
    pass(LATE_MS);
    ck_assert_uint_eq(leases_count(members[0].leases), 0);
    ck_assert_uint_eq(proposed_total, 6);
}
END_TEST

/* An entry deletes about a thousand keys, or those of one lease. */
START_TEST(leases_with_many_keys_go_alone)
{
    lead(0);
    for (int64_t id = 1; id <= 3; id++) {
        grant(id, 5);
        for (unsigned i = 0; i < 700; i++) {
            char key[32];
            snprintf(key, sizeof key, "%d/%u", (int)id, i);
            put(key, id);
        }
    }
    hold = true;
    pass(5200);
    ck_assert_uint_eq(pending_count, 2); /* two leases, then one */
    ck_assert_uint_eq(revoked_in_log, 3);
}
END_TEST

/* ---- checkpoints ---- */

START_TEST(what_is_left_survives_a_change_of_leaders)
{
    lead(0);
    grant(1, 100);
    pass(50200);
    ck_assert_uint_eq(proposed_total, 1);
    ck_assert_int_eq(leases_find(members[1].leases, 1)->remaining_s, 50);
    pass(9800);
    lead(1);
    ck_ends(1, 50000 + ELECTION_MS);
}
END_TEST

START_TEST(what_is_left_survives_a_restart)
{
    lead(0);
    grant(1, 100);
    pass(60000);
    for (unsigned i = 0; i < 2; i++) {
        close_member(&members[i]);
        open_member(&members[i]);
    }
    lead(1);
    ck_ends(1, 50000 + ELECTION_MS);
}
END_TEST

START_TEST(checkpoints_go_on)
{
    lead(0);
    grant(1, 3600); /* every 300 s */
    pass(3000000);
    ck_assert_uint_ge(proposed_total, 9);
    ck_assert_uint_le(proposed_total, 10);
    int64_t left_s = leases_find(members[1].leases, 1)->remaining_s;
    ck_assert_int_ge(left_s, 600);
    ck_assert_int_le(left_s, 900);
    ck_ends(1, 600000);
}
END_TEST

START_TEST(a_lease_that_is_kept_alive_costs_the_log_nothing)
{
    lead(0);
    grant(1, 60);
    for (unsigned i = 0; i < 30; i++) {
        pass(20000);
        ck_assert_int_eq(renew(1), 60);
    }
    ck_assert_uint_eq(proposed_total, 0);
}
END_TEST

START_TEST(a_checkpoint_is_cleared_before_a_renewal_is_confirmed)
{
    lead(0);
    grant(1, 100);
    pass(60000);
    hold = true;
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    ck_assert_uint_eq(pending_count, 1); /* both wait for the same */
    commit(0);
    ck_assert_int_eq(leases_find(members[1].leases, 1)->remaining_s, 0);
    ck_assert_int_eq(renew(1), 100);
    lead(1);
    hold = false;
    ck_ends(1, 100000 + ELECTION_MS);
}
END_TEST

/* Proposed at once, the clearing might come first: what is put back goes to the end of the line. */
START_TEST(a_clearing_waits_for_the_checkpoint_before_it)
{
    lead(0);
    grant(1, 100);
    hold = true;
    pass(50200);
    ck_assert_uint_eq(pending_count, 1);
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    ck_assert_uint_eq(pending_count, 1);
    commit(0);
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    ck_assert_uint_eq(pending_count, 1);
    commit(0);
    ck_assert_int_eq(renew(1), 100);
}
END_TEST

/* A checkpoint that comes due meanwhile says what was left before the renewal. */
START_TEST(no_checkpoint_is_put_behind_a_clearing)
{
    lead(0);
    grant(1, 3600); /* every 300 s */
    pass(599900);
    ck_assert_int_ne(leases_find(members[1].leases, 1)->remaining_s, 0);
    hold = true;
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    pass(1000);
    commit(0);
    ck_assert_int_eq(renew(1), 3600);
    while (pending_count > 0) {
        commit(0);
    }
    lead(1);
    hold = false;
    ck_ends(1, 3600000 + ELECTION_MS);
}
END_TEST

/* So does one whose clearing took so long that nobody waits for it any more. */
START_TEST(a_renewal_waits_for_the_checkpoint_behind_a_clearing)
{
    lead(0);
    grant(1, 3600);
    pass(599900);
    hold = true;
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    struct proposed late = take_proposed(0); /* it is in the log all the same */
    late.cb(late.op, ERR_TIMEOUT);
    pass(1000);
    ck_assert_uint_eq(pending_count, 1);
    apply(buf_bytes(&late.bytes));
    buf_fini(&late.bytes);
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    commit(0);
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    commit(0);
    ck_assert_int_eq(leases_find(members[1].leases, 1)->remaining_s, 0);
    ck_assert_int_eq(renew(1), 3600);
}
END_TEST

/* It may be in the log all the same. */
START_TEST(a_checkpoint_whose_outcome_is_unknown_is_cleared)
{
    lead(0);
    grant(1, 100);
    hold = true;
    pass(50200);
    lose(0, ERR_TIMEOUT);
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    ck_assert_uint_eq(pending_count, 1);
    commit(0);
    ck_assert_int_eq(renew(1), 100);
}
END_TEST

/* Else it could be renewed, and then the revocation that is on its way would come. */
START_TEST(a_clearing_that_comes_late_revives_nothing)
{
    lead(0);
    grant(1, 100);
    pass(60000);
    hold = true;
    ck_assert_int_eq(renew(1), LEASE_AGAIN); /* the clearing waits */
    pass(40500);
    ck_assert_uint_eq(pending_count, 2);
    commit(0);
    ck_assert_int_eq(renew(1), LEASE_AGAIN);
    commit(0);
    ck_assert(!there(1));
}
END_TEST

START_TEST(a_deposed_leaders_checkpoint_does_nothing)
{
    lead(0);
    grant(1, 100);
    hold = true;
    pass(50200);
    lead(1);
    ck_assert_int_eq(renew(1), 100);
    commit(0);
    ck_assert_int_eq(leases_find(members[0].leases, 1)->remaining_s, 0);
}
END_TEST

START_TEST(what_ends_does_not_wait_behind_checkpoints)
{
    lead(0);
    grant(1, 100);
    grant(2, 51);
    hold = true;
    pass(51200);
    ck_assert_uint_eq(pending_count, 2); /* the checkpoint of both, and the end of one */
    commit(1);
    ck_assert(!there(2));
}
END_TEST

/* ---- at random: nothing ends before it was promised to ---- */

#define LEASES 8

static struct promise {
    bool there;
    uint64_t until_ms;
    int64_t ttl_s;
} promises[LEASES + 1];

/* What the log takes away must be over. */
static void check_promises(void)
{
    for (int64_t id = 1; id <= LEASES; id++) {
        if (promises[id].there && !there(id)) {
            ck_assert_msg(now() >= promises[id].until_ms, "lease %d ended %d ms early", (int)id,
                          (int)(promises[id].until_ms - now()));
            promises[id].there = false;
        }
        ck_assert_int_eq(leases_find(members[1].leases, id) != NULL, there(id));
    }
}

static void random_step(struct random_commands *random)
{
    int64_t id = 1 + (int64_t)random_below(random, LEASES);
    switch (random_below(random, 10)) {
    case 0:
    case 1:
        if (!promises[id].there && pending_count == 0) { /* else it would be behind that */
            int64_t ttl_s = 2 + (int64_t)random_below(random, random_below(random, 2) ? 10 : 120);
            grant(id, ttl_s);
            promises[id] = (struct promise){
                .there = true, .until_ms = now() + (uint64_t)ttl_s * 1000, .ttl_s = ttl_s};
        }
        break;
    case 2:
        lead((unsigned)random_below(random, 2));
        break;
    case 3:
        if (pending_count > 0) {
            size_t i = random_below(random, pending_count);
            lose(i, random_below(random, 2) ? ERR_TIMEOUT : ERR_TOO_MANY_REQUESTS);
        }
        break;
    case 4:
    case 5:
        if (pending_count > 0) {
            commit(0);
        }
        break;
    default:
        if (promises[id].there && renew(id) > 0) {
            promises[id].until_ms = now() + (uint64_t)promises[id].ttl_s * 1000;
        }
    }
    check_promises();
}

START_TEST(nothing_ends_early)
{
    uint64_t seed = (uint64_t)_i + 1;
    const char *given = getenv("TRIVET_SEED");
    if (given != NULL) {
        seed = strtoull(given, NULL, 10);
    }
    printf("# seed %llu\n", (unsigned long long)seed);
    struct random_commands random = {.state = seed};
    memset(promises, 0, sizeof promises);
    lead(0);
    for (unsigned i = 0; i < 2000; i++) {
        random_step(&random);
        env_fake_advance(fake, random_below(&random, 4) ? random_below(&random, 400)
                                                        : random_below(&random, 20000));
    }
    /* Left alone, all of them end: within the longest TTL, the grace and a retry. */
    for (unsigned i = 0; i < 20; i++) {
        pass(10000);
        check_promises();
    }
    ck_assert_uint_eq(leases_count(members[0].leases), 0);
}
END_TEST

static Suite *lessor_suite(void)
{
    Suite *suite = suite_create("lessor");
    TCase *tc = tcase_create("clock");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_lease_ends_on_time_and_its_keys_with_it);
    tcase_add_test(tc, a_renewed_lease_ends_a_ttl_after_it);
    tcase_add_test(tc, a_renewal_counts_from_its_confirmation);
    tcase_add_test(tc, who_does_not_lead_counts_nothing);
    tcase_add_test(tc, a_new_leader_gives_the_whole_ttl_and_an_election);
    tcase_add_test(tc, a_leader_begins_with_its_first_entry);
    tcase_add_test(tc, leases_of_before_the_start_are_counted);
    tcase_add_loop_test(tc, leases_of_another_state_are_counted, 0, 2);
    tcase_add_test(tc, a_stop_ends_the_look_at_another_state);
    suite_add_tcase(suite, tc);
    tc = tcase_create("revoke");
    tcase_set_timeout(tc, 60); /* the model walks over all rows for each */
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_lost_revocation_is_made_again);
    tcase_add_test(tc, a_lease_that_is_over_is_not_renewed);
    tcase_add_test(tc, a_deposed_leaders_revocation_does_nothing);
    tcase_add_test(tc, many_ends_make_few_entries);
    tcase_add_test(tc, leases_with_many_keys_go_alone);
    suite_add_tcase(suite, tc);
    tc = tcase_create("checkpoint");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, what_is_left_survives_a_change_of_leaders);
    tcase_add_test(tc, what_is_left_survives_a_restart);
    tcase_add_test(tc, checkpoints_go_on);
    tcase_add_test(tc, a_lease_that_is_kept_alive_costs_the_log_nothing);
    tcase_add_test(tc, a_checkpoint_is_cleared_before_a_renewal_is_confirmed);
    tcase_add_test(tc, a_clearing_waits_for_the_checkpoint_before_it);
    tcase_add_test(tc, no_checkpoint_is_put_behind_a_clearing);
    tcase_add_test(tc, a_renewal_waits_for_the_checkpoint_behind_a_clearing);
    tcase_add_test(tc, a_checkpoint_whose_outcome_is_unknown_is_cleared);
    tcase_add_test(tc, a_clearing_that_comes_late_revives_nothing);
    tcase_add_test(tc, a_deposed_leaders_checkpoint_does_nothing);
    tcase_add_test(tc, what_ends_does_not_wait_behind_checkpoints);
    suite_add_tcase(suite, tc);
    tc = tcase_create("random");
    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, nothing_ends_early, 0, 30);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(lessor_suite);
}
