/* SPDX-License-Identifier: Apache-2.0 */
/* A million leases: no turn of the loop looks at more than a thousand of them, and all end in time.
 * Upon a store that keeps nothing, as only the clock is looked at. */
#include "server/lessor.h"

#include "base/cleanup.h"
#include "fsm/command.h"
#include "tests/lib/effort.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/node_fake.h"
#include "tests/lib/runner.h"

#define LEASES_ALL  1000000u
#define LEASES_FEW  20000u
#define TURN_MAX    1024u
#define TTL_S       600
#define ELECTION_MS 1000u

/* ---- the store ---- */

void store_table_put(struct store *store, enum store_table table, struct bytes key,
                     struct bytes value)
{
    (void)store, (void)table, (void)key, (void)value;
}

void store_table_delete(struct store *store, enum store_table table, struct bytes key)
{
    (void)store, (void)table, (void)key;
}

enum err store_table_foreach(struct store *store, enum store_table table,
                             enum err (*fn)(void *ctx, struct bytes key, struct bytes value),
                             void *ctx, struct why *why)
{
    (void)store, (void)table, (void)fn, (void)ctx, (void)why;
    return OK;
}

enum err store_lease_foreach(struct store *store,
                             enum err (*fn)(void *ctx, struct bytes key, int64_t lease), void *ctx)
{
    (void)store, (void)fn, (void)ctx;
    return OK;
}

enum err store_reading_table(struct store_reading *reading, enum store_table table,
                             enum err (*fn)(void *ctx, struct bytes key, struct bytes value),
                             void *ctx, struct why *why)
{
    (void)reading, (void)table, (void)fn, (void)ctx, (void)why;
    return OK;
}

enum err store_reading_leases(struct store_reading *reading,
                              enum err (*fn)(void *ctx, struct bytes key, int64_t lease), void *ctx)
{
    (void)reading, (void)fn, (void)ctx;
    return OK;
}

void store_observe(struct store *store, void (*fn)(void *ctx, const struct record *record),
                   void *ctx)
{
    (void)store, (void)fn, (void)ctx;
}

enum err store_delete_range(struct store *store, struct bytes key, struct bytes range_end,
                            int64_t *deleted, struct record_list *prevs)
{
    (void)store, (void)key, (void)range_end, (void)deleted, (void)prevs;
    return ERR_INVALID; /* no lease has a key */
}

void store_txn_begin(struct store *store)
{
    (void)store;
}

int64_t store_txn_end(struct store *store)
{
    (void)store;
    return 1;
}

/* ---- the members' log: what is proposed is applied at the end of the turn ---- */

static struct env_fake *fake;
static struct node *node;
static struct leases *leases;
static struct lessor *lessor;
static struct queue ops;
static unsigned lease_count; /* of the test: all, or fewer under valgrind */
static size_t entries;
static size_t turn_work; /* leases in what a turn proposed */
static bool checkpoints;

static void propose(void *ctx, struct op *op, const struct command *command, op_cb cb)
{
    (void)ctx;
    op->cb = cb;
    queue_init(&op->link);
    queue_push_back(&ops, &op->link);
    entries++;
    if (command->kind == COMMAND_LEASE_REVOKE) {
        turn_work += command->lease_revoke.count;
        for (size_t i = 0; i < command->lease_revoke.count; i++) {
            ck_assert_int_eq(leases_revoke(leases, command->lease_revoke.ids[i]), OK);
        }
    } else {
        turn_work += command->lease_checkpoint.count;
        for (size_t i = 0; checkpoints && i < command->lease_checkpoint.count; i++) {
            leases_checkpoint(leases, command->lease_checkpoint.leases[i].id,
                              command->lease_checkpoint.leases[i].remaining_s);
        }
    }
}

static void on_settled(void *ctx)
{
    (void)ctx;
}

static void answer_ops(void)
{
    struct queue *link;
    struct queue now;
    static const struct result done = {.status = OK};
    queue_init(&now);
    queue_splice(&now, &ops);
    while ((link = queue_pop_front(&now)) != NULL) {
        struct op *op = QUEUE_ELEM(link, struct op, link);
        op->result = &done;
        op->cb(op, OK);
    }
}

/* Turns until there is nothing to do at this instant. */
static size_t turns(void)
{
    size_t count = 0;
    for (;;) {
        turn_work = 0;
        bool more = env_fake_turn(fake);
        ck_assert_uint_le(turn_work, 2 * TURN_MAX); /* ends and checkpoints */
        answer_ops();
        if (!more) {
            return count;
        }
        count++;
    }
}

static void set_up(void)
{
    fake = env_fake_new(1);
    node = node_fake_new(env_fake_env(fake), 1);
    queue_init(&ops);
    entries = 0;
    ck_assert_int_eq(leases_new(NULL, (struct hash_seed){1, 2}, &leases, NULL), OK);
    struct lessor_config config = {.env = env_fake_env(fake),
                                   .leases = leases,
                                   .node = node,
                                   .election_ms = ELECTION_MS,
                                   .propose = propose,
                                   .on_settled = on_settled};
    ck_assert_int_eq(lessor_new(&config, &lessor), OK);
    for (int64_t id = 1; id <= lease_count; id++) {
        ck_assert_int_eq(leases_grant(leases, id, TTL_S), OK);
    }
}

static void tear_down(void)
{
    answer_ops();
    lessor_stop(lessor);
    lessor_free(lessor);
    leases_free(leases);
    node_fake_free(node);
    env_fake_free(fake);
}

static void lead(void)
{
    node_fake_set_leader(node, node_term(node) + 1, 1);
    lessor_update(lessor);
}

/* From here on time is passed in steps, so that no turn is missed. */
static void pass(uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed += 100) {
        (void)turns();
        env_fake_advance(fake, 100);
        answer_ops();
    }
    (void)turns();
}

START_TEST(a_leader_begins_in_small_steps)
{
    env_fake_advance(fake, 3600000); /* all their times in the heap have passed */
    lead();
    size_t taken = turns();
    ck_assert_uint_ge(taken, lease_count / TURN_MAX);
    ck_assert_uint_le(taken, 2 * lease_count / TURN_MAX);
    ck_assert_uint_eq(entries, 0);
    ck_assert_uint_eq(turns(), 0);
}
END_TEST

START_TEST(beginning_and_ending_to_lead_costs_nothing)
{
    for (unsigned i = 0; i < 100000; i++) {
        node_fake_set_leader(node, node_term(node) + 1, i % 2 + 1);
        lessor_update(lessor);
    }
    ck_assert_int_eq(lessor_remaining_ms(lessor, 1), LEASE_AGAIN); /* it does not lead now */
}
END_TEST

START_TEST(all_end_in_time_together)
{
    lead();
    (void)turns();
    checkpoints = true;
    uint64_t end_ms = TTL_S * 1000 + ELECTION_MS;
    pass(end_ms / 2);
    ck_assert_uint_eq(leases_count(leases), lease_count);
    pass(end_ms - end_ms / 2 - 200);
    ck_assert_uint_eq(leases_count(leases), lease_count);
    entries = 0;
    pass(1200);
    ck_assert_uint_eq(leases_count(leases), 0);
    ck_assert_uint_le(entries, 2 * lease_count / TURN_MAX);
}
END_TEST

static Suite *lessor_many_suite(void)
{
    Suite *suite = suite_create("lessor_many");
    lease_count = effort_count(LEASES_ALL, LEASES_FEW, "leases");
    TCase *tc = tcase_create("many");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_leader_begins_in_small_steps);
    tcase_add_test(tc, beginning_and_ending_to_lead_costs_nothing);
    tcase_add_test(tc, all_end_in_time_together);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(lessor_many_suite);
}
