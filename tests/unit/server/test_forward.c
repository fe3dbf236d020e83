/* SPDX-License-Identifier: Apache-2.0 */
#include "server/forward.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/node_fake.h"
#include "tests/lib/random_command.h"
#include "tests/lib/runner.h"

#define COMMANDS 20u

static struct env_fake *fake;
static struct node *node;
static struct arena arena;    /* of the decoder */
static struct buf commands;   /* COMMANDS of them */
static size_t ends[COMMANDS]; /* of each */

static void set_up(void)
{
    fake = env_fake_new(1);
    node = node_fake_new(env_fake_env(fake), 1);
    arena = (struct arena){0};
    commands = (struct buf){0};
    CLEANUP(arena_fini) struct arena made = {0};
    struct random_commands random = {.state = 3, .arena = &made, .depth_max = 3, .leases = true};
    for (uint64_t i = 0; i < COMMANDS; i++) {
        struct command command = random_command(&random);
        command_encode(&commands, (struct command_origin){.member_id = 1, .op = i}, &command);
        ends[i] = commands.len;
    }
}

static void tear_down(void)
{
    buf_fini(&commands);
    arena_fini(&arena);
    node_fake_free(node);
    env_fake_free(fake);
}

/* Decoded from memory that ends where the frame ends, for the sanitizers. */
static enum err decode(struct bytes frame, enum forward_what *what, size_t *commands_len,
                       size_t *count)
{
    CLEANUP(freep) uint8_t *copy = malloc(frame.len + 1);
    ck_assert_ptr_nonnull(copy);
    uint8_t *at = copy + 1; /* unaligned */
    if (frame.len > 0) {
        memcpy(at, frame.data, frame.len);
    }
    struct bytes found;
    TRY(forward_decode(bytes_of(at, frame.len), &arena, what, &found, count));
    ck_assert(frame.len == 1 || found.data == at + 1);
    *commands_len = found.len;
    return OK;
}

static struct buf frame_of(uint8_t what, size_t len)
{
    struct buf frame = {0};
    write_u8(&frame, what);
    buf_append(&frame, commands.data, len);
    return frame;
}

START_TEST(a_frame_arrives_as_it_was_sent)
{
    for (enum forward_what sent = FORWARD_COMMANDS; sent <= FORWARD_TOO_MANY; sent++) {
        ck_assert(forward_send(node, 9, sent, buf_bytes(&commands)));
        struct node_frame frame = node_fake_take_frame(node);
        ck_assert_uint_eq(frame.peer_id, 9);
        ck_assert_int_eq(frame.kind, FRAME_FORWARD);
        ck_assert_int_eq(frame.lane, LANE_BULK);
        enum forward_what what;
        struct bytes found;
        size_t count;
        ck_assert_int_eq(forward_decode(blob_bytes(frame.payload), &arena, &what, &found, &count),
                         OK);
        ck_assert_int_eq(what, sent);
        ck_assert(bytes_equal(found, buf_bytes(&commands)));
        ck_assert_uint_eq(count, COMMANDS);
        blob_unref(frame.payload);
    }
}
END_TEST

START_TEST(a_frame_that_is_dropped_is_told)
{
    node_fake_set_connected(node, false);
    ck_assert(!forward_send(node, 9, FORWARD_COMMANDS, buf_bytes(&commands)));
}
END_TEST

START_TEST(a_frame_without_a_known_purpose_is_malformed)
{
    enum forward_what what;
    size_t len;
    size_t count;
    ck_assert_int_eq(decode(bytes_of("", 0), &what, &len, &count), ERR_MALFORMED);
    for (unsigned purpose = 0; purpose < 256; purpose++) {
        CLEANUP(buf_fini) struct buf frame = frame_of((uint8_t)purpose, commands.len);
        bool known = (purpose >= FORWARD_COMMANDS && purpose <= FORWARD_TOO_MANY) ||
                     purpose == FORWARD_LEARNER_BEHIND;
        ck_assert_int_eq(decode(buf_bytes(&frame), &what, &len, &count),
                         known ? OK : ERR_MALFORMED);
    }
}
END_TEST

/* Cut between two commands it is a frame of fewer, cut elsewhere it is none. */
START_TEST(a_cut_frame_is_whole_commands_or_malformed)
{
    for (size_t at = 0; at <= commands.len; at++) {
        CLEANUP(buf_fini) struct buf frame = frame_of(FORWARD_COMMANDS, at);
        enum forward_what what;
        size_t len;
        size_t count;
        enum err err = decode(buf_bytes(&frame), &what, &len, &count);
        bool boundary = at == 0;
        for (size_t i = 0; i < COMMANDS; i++) {
            boundary |= at == ends[i];
        }
        ck_assert_msg((err == OK) == boundary, "%zu bytes: %s", at, err_text(err));
        if (err == OK) {
            ck_assert_uint_eq(len, at);
            ck_assert(count == 0 || ends[count - 1] == at);
        }
    }
}
END_TEST

START_TEST(damaged_frames_do_no_harm)
{
    struct random_commands random = {.state = 8, .arena = &arena};
    for (unsigned round = 0; round < 2000; round++) {
        CLEANUP(buf_fini) struct buf frame = frame_of(FORWARD_COMMANDS, commands.len);
        frame.data[random_below(&random, frame.len)] ^= (uint8_t)(1u << random_below(&random, 8));
        enum forward_what what;
        size_t len;
        size_t count;
        enum err err = decode(buf_bytes(&frame), &what, &len, &count);
        ck_assert(err == OK || err == ERR_MALFORMED);
    }
}
END_TEST

/* A transaction in a transaction in a transaction ..., each of which promises as many operations as
 * there are bytes behind it. */
START_TEST(promises_take_no_memory)
{
    enum { DEPTH = 100, BEHIND = TXN_OPS_MAX };
    CLEANUP(buf_fini) struct buf body = {0};
    CLEANUP(buf_fini) struct buf frame = {0};
    for (unsigned depth = 0; depth < DEPTH; depth++) {
        write_varint(&body, 0); /* compares */
        write_varint(&body, BEHIND);
        write_u8(&body, OP_TXN);
    }
    ck_assert_ptr_nonnull(buf_extend(&body, 2 * BEHIND));
    memset(body.data + body.len - 2 * BEHIND, 0xff, 2 * BEHIND);
    write_u8(&frame, FORWARD_COMMANDS);
    write_u8(&frame, COMMAND_TXN);
    write_u64(&frame, 1);
    write_u64(&frame, 1);
    write_u32(&frame, (uint32_t)body.len);
    buf_append_bytes(&frame, buf_bytes(&body));
    ck_assert(buf_ok(&frame));
    enum forward_what what;
    struct bytes found;
    size_t count;
    ck_assert_int_ne(forward_decode(buf_bytes(&frame), &arena, &what, &found, &count), OK);
    ck_assert_uint_le(arena.used_bytes, 100 * frame.len);
    ck_assert_uint_eq(arena.max_bytes, 0);
}
END_TEST

START_TEST(memory_that_ends_is_told)
{
    struct arena small = {.max_bytes = 1};
    struct compare compare = {.key = bytes_of_str("k")};
    struct command command = {.kind = COMMAND_TXN,
                              .txn = {.compares = &compare, .compare_count = 1}};
    CLEANUP(buf_fini) struct buf frame = frame_of(FORWARD_COMMANDS, 0);
    command_encode(&frame, (struct command_origin){.member_id = 1}, &command);
    enum forward_what what;
    struct bytes found;
    size_t count;
    ck_assert_int_eq(forward_decode(buf_bytes(&frame), &small, &what, &found, &count), ERR_NOMEM);
    arena_fini(&small);
}
END_TEST

static Suite *forward_suite(void)
{
    Suite *suite = suite_create("forward");
    TCase *tc = tcase_create("forward");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_frame_arrives_as_it_was_sent);
    tcase_add_test(tc, a_frame_that_is_dropped_is_told);
    tcase_add_test(tc, a_frame_without_a_known_purpose_is_malformed);
    tcase_add_test(tc, a_cut_frame_is_whole_commands_or_malformed);
    tcase_add_test(tc, damaged_frames_do_no_harm);
    tcase_add_test(tc, promises_take_no_memory);
    tcase_add_test(tc, memory_that_ends_is_told);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(forward_suite);
}
