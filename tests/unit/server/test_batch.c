/* SPDX-License-Identifier: Apache-2.0 */
#include "server/batch.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "server/forward.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/node_fake.h"
#include "tests/lib/runner.h"

#define SELF     1u
#define OTHER    2u
#define THIRD    3u
#define RETRY_MS 10

static struct env_fake *fake;
static struct node *node;
static struct batch batch;
static uint64_t unwanted; /* this number's op has gone away */

static bool is_wanted(void *ctx, uint64_t number)
{
    ck_assert_ptr_eq(ctx, &unwanted);
    return number != unwanted;
}

static void set_up(void)
{
    unwanted = 0;
    fake = env_fake_new(1);
    node = node_fake_new(env_fake_env(fake), SELF);
    batch_init(&batch, env_fake_env(fake), NULL, node, is_wanted, &unwanted);
}

static void tear_down(void)
{
    batch.closed = true;
    while (node_fake_proposal_count(node) > 0) {
        node_fake_refuse(node, ERR_STOPPED);
    }
    batch_fini(&batch);
    node_fake_free(node);
    env_fake_free(fake);
}

/* A put of SIZE bytes whose key tells who it is. */
static void add_put(uint64_t member_id, uint64_t op, size_t size)
{
    CLEANUP(freep) uint8_t *value = calloc(1, size + 1);
    ck_assert_ptr_nonnull(value);
    struct command command = {
        .kind = COMMAND_PUT,
        .put = {.key = bytes_of(&op, sizeof op), .value = bytes_of(value, size)}};
    struct command_origin origin = {.member_id = member_id, .op = op};
    ck_assert_int_eq(batch_add(&batch, origin, &command), OK);
}

static void add(uint64_t member_id, uint64_t op)
{
    add_put(member_id, op, 10);
}

/* The largest request that may be configured can be more than an entry when it is a command. */
START_TEST(what_fits_into_no_entry_is_refused)
{
    CLEANUP(freep) uint8_t *value = calloc(1, ENTRY_BYTES_MAX);
    ck_assert_ptr_nonnull(value);
    struct command command = {
        .kind = COMMAND_PUT,
        .put = {.key = bytes_of_str("k"), .value = bytes_of(value, ENTRY_BYTES_MAX)}};
    struct command_origin origin = {.member_id = SELF, .op = 1};
    ck_assert_int_eq(batch_add(&batch, origin, &command), ERR_TOO_LARGE);
    ck_assert_uint_eq(batch.open_count, 0);
    command.put.value.len = ENTRY_BYTES_MAX - 64;
    ck_assert_int_eq(batch_add(&batch, origin, &command), OK);
    node_fake_set_leader(node, 2, SELF);
    batch_kick(&batch);
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_proposal_count(node), 1);
    ck_assert_uint_le(node_fake_entry(node, 0).len, ENTRY_BYTES_MAX);
}
END_TEST

/* The commands in BYTES are those with these numbers, in this order. */
static void expect_commands(struct bytes bytes, const uint64_t *ops, size_t count)
{
    CLEANUP(arena_fini) struct arena arena = {0};
    struct reader r = reader_of(bytes);
    for (size_t i = 0; i < count; i++) {
        struct command command;
        struct command_origin origin;
        ck_assert_int_eq(command_decode(&r, &arena, &origin, &command), OK);
        ck_assert_uint_eq(origin.op, ops[i]);
        ck_assert(bytes_equal(command.put.key, bytes_of(&ops[i], sizeof ops[i])));
    }
    ck_assert_uint_eq(reader_left(&r), 0);
}
#define COMMANDS(...) (const uint64_t[]){__VA_ARGS__}, ARRAY_LEN(((const uint64_t[]){__VA_ARGS__}))

static struct bytes commands_of_entry(size_t i)
{
    uint64_t wall_ms;
    struct reader r = reader_of(node_fake_entry(node, i));
    ck_assert_int_eq(entry_decode_head(&r, &wall_ms), OK);
    ck_assert_uint_eq(wall_ms, env_wall_ms(env_fake_env(fake)));
    return bytes_of(r.at, reader_left(&r));
}

static size_t count_commands(struct bytes bytes)
{
    struct reader r = reader_of(bytes);
    size_t count = 0;
    while (reader_left(&r) > 0) {
        enum command_kind kind;
        struct command_origin origin;
        struct bytes whole;
        ck_assert_int_eq(command_skip(&r, &kind, &origin, &whole), OK);
        count++;
    }
    return count;
}

/* The next frame goes to PEER with WHAT and these commands. */
static void expect_frame(uint64_t peer_id, enum forward_what what, const uint64_t *ops,
                         size_t count)
{
    ck_assert_uint_gt(node_fake_frame_count(node), 0);
    struct node_frame frame = node_fake_take_frame(node);
    ck_assert_uint_eq(frame.peer_id, peer_id);
    ck_assert_int_eq(frame.lane, LANE_BULK);
    ck_assert_int_eq(frame.kind, FRAME_FORWARD);
    ck_assert_uint_eq(frame.payload->data[0], what);
    expect_commands(bytes_of(frame.payload->data + 1, frame.payload->len - 1), ops, count);
    blob_unref(frame.payload);
}

START_TEST(a_turn_makes_one_entry)
{
    node_fake_set_leader(node, 1, SELF);
    add(SELF, 10);
    add(OTHER, 20);
    add(SELF, 11);
    ck_assert_uint_eq(node_fake_proposal_count(node), 0);
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_proposal_count(node), 1);
    expect_commands(commands_of_entry(0), COMMANDS(10, 20, 11));
    ck_assert_uint_eq(batch.open_count, 0);
    ck_assert_uint_eq(batch.open.len, 0);
}
END_TEST

START_TEST(three_entries_are_in_flight_and_the_fourth_collects)
{
    node_fake_set_leader(node, 1, SELF);
    ck_assert_uint_eq(BATCHES_IN_FLIGHT_MAX, 3);
    for (uint64_t op = 1; op <= 6; op++) {
        add(SELF, op);
        env_fake_run(fake);
    }
    ck_assert_uint_eq(node_fake_proposal_count(node), 3);
    expect_commands(commands_of_entry(0), COMMANDS(1));
    expect_commands(commands_of_entry(1), COMMANDS(2));
    expect_commands(commands_of_entry(2), COMMANDS(3));
    node_fake_commit(node);
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_proposal_count(node), 3);
    expect_commands(commands_of_entry(2), COMMANDS(4, 5, 6));
    node_fake_commit(node);
    node_fake_commit(node);
    node_fake_commit(node);
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_proposal_count(node), 0);
    ck_assert_uint_eq(batch.failed_total, 0);
}
END_TEST

START_TEST(a_batch_is_split_at_its_bytes)
{
    size_t size = BATCH_BYTES_MAX / 2 - 1000;
    node_fake_set_leader(node, 1, SELF);
    for (uint64_t op = 1; op <= 7; op++) {
        add_put(SELF, op, size);
    }
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_proposal_count(node), 3);
    expect_commands(commands_of_entry(0), COMMANDS(1, 2));
    expect_commands(commands_of_entry(1), COMMANDS(3, 4));
    expect_commands(commands_of_entry(2), COMMANDS(5, 6));
    node_fake_commit(node);
    env_fake_run(fake);
    expect_commands(commands_of_entry(2), COMMANDS(7));
    ck_assert_uint_eq(batch.open_count, 0);
}
END_TEST

START_TEST(a_batch_is_split_at_its_count)
{
    node_fake_set_leader(node, 1, SELF);
    for (uint64_t op = 1; op <= BATCH_COMMANDS_MAX + 3; op++) {
        add(SELF, op);
    }
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_proposal_count(node), 2);
    ck_assert_uint_eq(count_commands(commands_of_entry(0)), BATCH_COMMANDS_MAX);
    expect_commands(commands_of_entry(1), COMMANDS(BATCH_COMMANDS_MAX + 1, BATCH_COMMANDS_MAX + 2,
                                                   BATCH_COMMANDS_MAX + 3));
}
END_TEST

START_TEST(a_command_that_is_larger_than_a_batch_goes_alone)
{
    node_fake_set_leader(node, 1, SELF);
    add(SELF, 1);
    add_put(SELF, 2, BATCH_BYTES_MAX + 1);
    add(SELF, 3);
    env_fake_run(fake);
    expect_commands(commands_of_entry(0), COMMANDS(1));
    expect_commands(commands_of_entry(1), COMMANDS(2));
    node_fake_commit(node);
    env_fake_run(fake);
    expect_commands(commands_of_entry(1), COMMANDS(3));
}
END_TEST

/* While entries leave at its front, others come at its end. */
START_TEST(a_long_queue_keeps_its_order_and_gives_its_memory_back)
{
    uint64_t added = 0;
    uint64_t seen = 0;
    node_fake_set_leader(node, 1, SELF);
    for (unsigned round = 0; round < 30 || seen < added; round++) {
        for (unsigned i = 0; i < 7 && round < 30; i++) {
            add_put(SELF, ++added, (round * 7 + i) % 10 * 150000ul);
        }
        env_fake_run(fake);
        CLEANUP(arena_fini) struct arena arena = {0};
        struct bytes entry = commands_of_entry(0);
        ck_assert_uint_le(entry.len, BATCH_BYTES_MAX);
        for (struct reader r = reader_of(entry); reader_left(&r) > 0;) {
            struct command command;
            struct command_origin origin;
            ck_assert_int_eq(command_decode(&r, &arena, &origin, &command), OK);
            ck_assert_uint_eq(origin.op, ++seen);
        }
        node_fake_commit(node);
    }
    ck_assert_uint_eq(node_fake_proposal_count(node), 0);
    ck_assert_uint_eq(batch.open_count, 0);
    ck_assert_uint_le(batch.open.cap, 2 * BATCH_BYTES_MAX);
}
END_TEST

START_TEST(a_follower_sends_all_of_it_to_the_leader)
{
    size_t size = BATCH_BYTES_MAX / 2 - 1000;
    node_fake_set_leader(node, 1, OTHER);
    for (uint64_t op = 1; op <= 3; op++) {
        add_put(SELF, op, size);
    }
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_frame_count(node), 2);
    expect_frame(OTHER, FORWARD_COMMANDS, COMMANDS(1, 2));
    expect_frame(OTHER, FORWARD_COMMANDS, COMMANDS(3));
    ck_assert_uint_eq(batch.open_count, 0);
    ck_assert_uint_eq(node_fake_proposal_count(node), 0);
}
END_TEST

START_TEST(what_nobody_leads_waits)
{
    add(SELF, 1);
    env_fake_run(fake);
    env_fake_advance(fake, 1000);
    ck_assert_uint_eq(batch.open_count, 1);
    node_fake_set_leader(node, 2, OTHER);
    batch_kick(&batch);
    env_fake_run(fake);
    expect_frame(OTHER, FORWARD_COMMANDS, COMMANDS(1));
}
END_TEST

START_TEST(a_blocked_way_is_tried_again)
{
    node_fake_set_leader(node, 1, OTHER);
    node_fake_set_connected(node, false);
    add(SELF, 1);
    env_fake_run(fake);
    ck_assert_uint_eq(batch.open_count, 1);
    node_fake_set_connected(node, true);
    add(SELF, 2); /* does not hurry it */
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_frame_count(node), 0);
    env_fake_advance(fake, RETRY_MS);
    expect_frame(OTHER, FORWARD_COMMANDS, COMMANDS(1, 2));
}
END_TEST

START_TEST(a_new_leader_is_not_waited_for)
{
    node_fake_set_leader(node, 1, OTHER);
    node_fake_set_connected(node, false);
    add(SELF, 1);
    env_fake_run(fake);
    node_fake_set_connected(node, true);
    node_fake_set_leader(node, 2, THIRD);
    batch_kick(&batch);
    env_fake_run(fake);
    expect_frame(THIRD, FORWARD_COMMANDS, COMMANDS(1));
    ck_assert_uint_eq(env_fake_timer_count(fake), 0);
}
END_TEST

/* Its own that somebody waits for again, another member's back to it, the rest nowhere. */
START_TEST(what_was_certainly_not_proposed_comes_back)
{
    node_fake_set_leader(node, 1, SELF);
    add(SELF, 1);
    add(OTHER, 2);
    add(SELF, 3);
    add(SELF, 4);
    add(THIRD, 5);
    env_fake_run(fake);
    unwanted = 3;
    node_fake_set_leader(node, 2, OTHER);
    node_fake_refuse(node, ERR_NOT_LEADER);
    ck_assert_uint_eq(batch.failed_total, 1);
    ck_assert_uint_eq(node_fake_frame_count(node), 2);
    expect_frame(OTHER, FORWARD_NOT_LEADER, COMMANDS(2));
    expect_frame(THIRD, FORWARD_NOT_LEADER, COMMANDS(5));
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_frame_count(node), 0); /* a moment later */
    env_fake_advance(fake, RETRY_MS);
    expect_frame(OTHER, FORWARD_COMMANDS, COMMANDS(1, 4));
}
END_TEST

START_TEST(what_may_have_been_proposed_does_not_come_back)
{
    static const enum err statuses[] = {ERR_LEADER_CHANGED, ERR_STOPPED, ERR_IO};
    node_fake_set_leader(node, 1, SELF);
    add(SELF, 1);
    add(OTHER, 2);
    env_fake_run(fake);
    node_fake_set_leader(node, 2, OTHER);
    node_fake_refuse(node, statuses[_i]);
    env_fake_advance(fake, 1000);
    ck_assert_uint_eq(batch.open_count, 0);
    ck_assert_uint_eq(node_fake_frame_count(node), 0);
    ck_assert_uint_eq(batch.failed_total, 1);
}
END_TEST

/* What another member gave back goes out again a moment later: two members that each take the other
 * for the leader must not play ball with it. */
START_TEST(what_comes_back_waits_a_moment)
{
    node_fake_set_leader(node, 1, OTHER);
    add(SELF, 1);
    env_fake_run(fake);
    struct node_frame frame = node_fake_take_frame(node);
    batch_put_back(&batch, bytes_of(frame.payload->data + 1, frame.payload->len - 1));
    blob_unref(frame.payload);
    env_fake_run(fake);
    ck_assert_uint_eq(batch.open_count, 1);
    ck_assert_uint_eq(node_fake_frame_count(node), 0);
    env_fake_advance(fake, RETRY_MS);
    expect_frame(OTHER, FORWARD_COMMANDS, COMMANDS(1));
}
END_TEST

START_TEST(commands_in_bytes_are_added_as_they_are)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    struct command command = {.kind = COMMAND_PUT};
    for (uint64_t op = 7; op <= 8; op++) {
        command.put.key = bytes_of(&op, sizeof op);
        command_encode(&bytes, (struct command_origin){.member_id = OTHER, .op = op}, &command);
    }
    node_fake_set_leader(node, 1, SELF);
    add(SELF, 1);
    ck_assert(batch_add_encoded(&batch, buf_bytes(&bytes), 2));
    ck_assert_uint_eq(batch.open_count, 3);
    env_fake_run(fake);
    expect_commands(commands_of_entry(0), COMMANDS(1, 7, 8));
}
END_TEST

START_TEST(room_ends_at_the_caps)
{
    ck_assert(batch_has_room(&batch, PENDING_BYTES_MAX));
    ck_assert(!batch_has_room(&batch, PENDING_BYTES_MAX + 1ul));
    ck_assert(!batch_has_room(&batch, SIZE_MAX));
    add(SELF, 1);
    ck_assert(batch_has_room(&batch, PENDING_BYTES_MAX - batch.open.len));
    ck_assert(!batch_has_room(&batch, PENDING_BYTES_MAX - batch.open.len + 1));
    batch.open_count = PENDING_COMMANDS_MAX;
    ck_assert(!batch_has_room(&batch, 0));
    batch.open_count = 1;
}
END_TEST

START_TEST(a_closed_batch_sends_nothing)
{
    node_fake_set_leader(node, 1, SELF);
    add(SELF, 1);
    env_fake_run(fake);
    add(SELF, 2);
    batch.closed = true;
    batch_kick(&batch);
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_proposal_count(node), 1);
    node_fake_refuse(node, ERR_NOT_LEADER);
    env_fake_advance(fake, 1000);
    ck_assert_uint_eq(node_fake_proposal_count(node), 0);
    ck_assert_uint_eq(env_fake_timer_count(fake), 0);
}
END_TEST

static Suite *batch_suite(void)
{
    Suite *suite = suite_create("batch");
    TCase *tc = tcase_create("batch");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_turn_makes_one_entry);
    tcase_add_test(tc, three_entries_are_in_flight_and_the_fourth_collects);
    tcase_add_test(tc, a_batch_is_split_at_its_bytes);
    tcase_add_test(tc, a_batch_is_split_at_its_count);
    tcase_add_test(tc, a_command_that_is_larger_than_a_batch_goes_alone);
    tcase_add_test(tc, what_fits_into_no_entry_is_refused);
    tcase_add_test(tc, a_long_queue_keeps_its_order_and_gives_its_memory_back);
    tcase_add_test(tc, a_follower_sends_all_of_it_to_the_leader);
    tcase_add_test(tc, what_nobody_leads_waits);
    tcase_add_test(tc, a_blocked_way_is_tried_again);
    tcase_add_test(tc, a_new_leader_is_not_waited_for);
    tcase_add_test(tc, what_was_certainly_not_proposed_comes_back);
    tcase_add_loop_test(tc, what_may_have_been_proposed_does_not_come_back, 0, 3);
    tcase_add_test(tc, what_comes_back_waits_a_moment);
    tcase_add_test(tc, commands_in_bytes_are_added_as_they_are);
    tcase_add_test(tc, room_ends_at_the_caps);
    tcase_add_test(tc, a_closed_batch_sends_nothing);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(batch_suite);
}
