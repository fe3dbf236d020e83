/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/command.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/lib/random_command.h"
#include "tests/lib/runner.h"

#define ROUNDS 2000

static const struct command_origin origin = {.member_id = 0x8e9e05c52164694d, .op = 77};

/* A copy that ends where the memory ends, so that a sanitizer sees a step too far. */
static uint8_t *copy_of(struct bytes bytes)
{
    uint8_t *copy = malloc(bytes.len > 0 ? bytes.len : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes.data, bytes.len);
    return copy;
}

static enum err decode(struct bytes bytes, struct arena *arena, struct command *ret)
{
    struct reader r = reader_of(bytes);
    struct command_origin got;
    TRY(command_decode(&r, arena, &got, ret));
    ck_assert_uint_eq(got.member_id, origin.member_id);
    ck_assert_uint_eq(got.op, origin.op);
    ck_assert_uint_eq(reader_left(&r), 0);
    return OK;
}

START_TEST(random_commands_come_back)
{
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        CLEANUP(arena_fini) struct arena arena = {0};
        CLEANUP(buf_fini) struct buf bytes = {0};
        CLEANUP(buf_fini) struct buf again = {0};
        struct random_commands random = {
            .state = seed, .arena = &arena, .depth_max = 4, .leases = true};
        struct command command = random_command(&random);
        command_encode(&bytes, origin, &command);
        ck_assert(buf_ok(&bytes));
        struct command got;
        ck_assert_msg(decode(buf_bytes(&bytes), &arena, &got) == OK, "seed %lu", seed);
        ck_assert_int_eq(got.kind, command.kind);
        command_encode(&again, origin, &got);
        ck_assert_msg(bytes_equal(buf_bytes(&bytes), buf_bytes(&again)), "seed %lu", seed);
    }
}
END_TEST

START_TEST(a_put_keeps_every_field)
{
    struct command command = {.kind = COMMAND_PUT};
    CLEANUP(arena_fini) struct arena arena = {0};
    for (unsigned flags = 0; flags < 8; flags++) {
        CLEANUP(buf_fini) struct buf bytes = {0};
        command.put = (struct command_put){.key = bytes_of("k\0k", 3),
                                           .value = bytes_of_str("value"),
                                           .lease = INT64_MIN + flags,
                                           .prev_kv = (flags & 1) != 0,
                                           .ignore_value = (flags & 2) != 0,
                                           .ignore_lease = (flags & 4) != 0};
        command_encode(&bytes, origin, &command);
        struct command got;
        ck_assert_int_eq(decode(buf_bytes(&bytes), &arena, &got), OK);
        ck_assert(bytes_equal(got.put.key, command.put.key));
        ck_assert(bytes_equal(got.put.value, command.put.value));
        ck_assert_int_eq(got.put.lease, command.put.lease);
        ck_assert_int_eq(got.put.prev_kv, command.put.prev_kv);
        ck_assert_int_eq(got.put.ignore_value, command.put.ignore_value);
        ck_assert_int_eq(got.put.ignore_lease, command.put.ignore_lease);
    }
}
END_TEST

static const struct range_query full_range = {
    .key = {(const uint8_t *)"a", 1},
    .range_end = {(const uint8_t *)"b", 1},
    .revision = 3,
    .limit = 4,
    .sort = SORT_DESCEND,
    .target = TARGET_VALUE,
    .min_mod_revision = 5,
    .max_mod_revision = 6,
    .min_create_revision = 7,
    .max_create_revision = 8,
    .keys_only = true,
    .count_only = true,
};

START_TEST(a_txn_keeps_every_field)
{
    struct compare compare = {.result = COMPARE_NOT_EQUAL,
                              .target = COMPARE_LEASE,
                              .key = bytes_of_str("c"),
                              .range_end = bytes_of_str("d"),
                              .number = -9,
                              .value = bytes_of_str("e")};
    struct txn_op ops[] = {
        {.kind = OP_RANGE, .range = full_range},
        {.kind = OP_DELETE_RANGE,
         .delete_range = {.key = bytes_of_str("f"), .range_end = bytes_of("", 1), .prev_kv = true}},
    };
    struct command command = {.kind = COMMAND_TXN,
                              .txn = {.compares = &compare,
                                      .compare_count = 1,
                                      .success = ops,
                                      .success_count = 1,
                                      .failure = ops,
                                      .failure_count = 2}};
    CLEANUP(arena_fini) struct arena arena = {0};
    CLEANUP(buf_fini) struct buf bytes = {0};
    command_encode(&bytes, origin, &command);
    struct command got;
    ck_assert_int_eq(decode(buf_bytes(&bytes), &arena, &got), OK);
    ck_assert_uint_eq(got.txn.compare_count, 1);
    ck_assert_uint_eq(got.txn.success_count, 1);
    ck_assert_uint_eq(got.txn.failure_count, 2);
    const struct compare *held = &got.txn.compares[0];
    ck_assert_uint_eq(held->result, COMPARE_NOT_EQUAL);
    ck_assert_uint_eq(held->target, COMPARE_LEASE);
    ck_assert(bytes_equal(held->key, compare.key));
    ck_assert(bytes_equal(held->range_end, compare.range_end));
    ck_assert_int_eq(held->number, -9);
    ck_assert(bytes_equal(held->value, compare.value));
    const struct range_query *range = &got.txn.success[0].range;
    ck_assert(bytes_equal(range->key, full_range.key));
    ck_assert(bytes_equal(range->range_end, full_range.range_end));
    ck_assert_int_eq(range->revision, 3);
    ck_assert_int_eq(range->limit, 4);
    ck_assert_int_eq(range->sort, SORT_DESCEND);
    ck_assert_int_eq(range->target, TARGET_VALUE);
    ck_assert_int_eq(range->min_mod_revision, 5);
    ck_assert_int_eq(range->max_mod_revision, 6);
    ck_assert_int_eq(range->min_create_revision, 7);
    ck_assert_int_eq(range->max_create_revision, 8);
    ck_assert(range->keys_only && range->count_only);
    const struct command_delete_range *deleted = &got.txn.failure[1].delete_range;
    ck_assert(bytes_equal(deleted->key, bytes_of_str("f")));
    ck_assert(bytes_equal(deleted->range_end, bytes_of("", 1)));
    ck_assert(deleted->prev_kv);
}
END_TEST

START_TEST(an_alarm_keeps_every_field)
{
    CLEANUP(arena_fini) struct arena arena = {0};
    for (unsigned is_clear = 0; is_clear < 2; is_clear++) {
        CLEANUP(buf_fini) struct buf bytes = {0};
        struct command command = {.kind = COMMAND_ALARM,
                                  .alarm = {.type = 0xfffffffe,
                                            .member_id = 0x8e9e05c52164694d,
                                            .is_clear = is_clear != 0}};
        command_encode(&bytes, origin, &command);
        struct command got;
        ck_assert_int_eq(decode(buf_bytes(&bytes), &arena, &got), OK);
        ck_assert_uint_eq(got.alarm.type, 0xfffffffe);
        ck_assert_uint_eq(got.alarm.member_id, 0x8e9e05c52164694d);
        ck_assert_int_eq(got.alarm.is_clear, is_clear);
    }
}
END_TEST

START_TEST(lease_commands_keep_every_field)
{
    CLEANUP(arena_fini) struct arena arena = {0};
    int64_t ids[] = {1, -1, INT64_MIN, INT64_MAX};
    struct lease_rest rests[] = {{.id = -5, .remaining_s = 0}, {.id = 6, .remaining_s = INT64_MAX}};
    struct command commands[] = {
        {.kind = COMMAND_LEASE_GRANT, .lease_grant = {.id = -7, .ttl_s = LEASE_TTL_MAX}},
        {.kind = COMMAND_LEASE_REVOKE,
         .lease_revoke = {.term = UINT64_MAX, .ids = ids, .count = 4}},
        {.kind = COMMAND_LEASE_CHECKPOINT,
         .lease_checkpoint = {.term = 3, .leases = rests, .count = 2}},
    };
    struct command got[ARRAY_LEN(commands)];
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        CLEANUP(buf_fini) struct buf bytes = {0};
        command_encode(&bytes, origin, &commands[i]);
        ck_assert_int_eq(decode(buf_bytes(&bytes), &arena, &got[i]), OK);
        ck_assert_int_eq(got[i].kind, commands[i].kind);
    }
    ck_assert_int_eq(got[0].lease_grant.id, -7);
    ck_assert_int_eq(got[0].lease_grant.ttl_s, LEASE_TTL_MAX);
    ck_assert_uint_eq(got[1].lease_revoke.term, UINT64_MAX);
    ck_assert_uint_eq(got[1].lease_revoke.count, 4);
    ck_assert_mem_eq(got[1].lease_revoke.ids, ids, sizeof ids);
    ck_assert_uint_eq(got[2].lease_checkpoint.term, 3);
    ck_assert_uint_eq(got[2].lease_checkpoint.count, 2);
    ck_assert_mem_eq(got[2].lease_checkpoint.leases, rests, sizeof rests);
}
END_TEST

START_TEST(less_than_nothing_is_not_left_of_a_lease)
{
    CLEANUP(arena_fini) struct arena arena = {0};
    CLEANUP(buf_fini) struct buf bytes = {0};
    struct lease_rest rest = {.id = 1, .remaining_s = -1};
    struct command command = {.kind = COMMAND_LEASE_CHECKPOINT,
                              .lease_checkpoint = {.leases = &rest, .count = 1}};
    command_encode(&bytes, origin, &command);
    struct command got;
    ck_assert_int_eq(decode(buf_bytes(&bytes), &arena, &got), ERR_MALFORMED);
}
END_TEST

/* What is cut off anywhere is refused: never read beyond, never taken for less. */
START_TEST(a_cut_command_is_malformed)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        CLEANUP(arena_fini) struct arena arena = {0};
        CLEANUP(buf_fini) struct buf bytes = {0};
        struct random_commands random = {
            .state = seed, .arena = &arena, .depth_max = 3, .leases = true};
        struct command command = random_command(&random);
        command_encode(&bytes, origin, &command);
        for (size_t len = 0; len < bytes.len; len++) {
            CLEANUP(freep) uint8_t *cut = copy_of(bytes_of(bytes.data, len));
            struct command got;
            enum err err = decode(bytes_of(cut, len), &arena, &got);
            ck_assert_msg(err == ERR_MALFORMED, "seed %lu, %zu bytes of %zu", seed, len, bytes.len);
        }
    }
}
END_TEST

/* The envelope is whole, its body is not. */
START_TEST(a_cut_body_is_malformed)
{
    size_t head = 21;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        CLEANUP(arena_fini) struct arena arena = {0};
        CLEANUP(buf_fini) struct buf bytes = {0};
        struct random_commands random = {
            .state = seed, .arena = &arena, .depth_max = 3, .leases = true};
        struct command command = random_command(&random);
        command_encode(&bytes, origin, &command);
        for (size_t len = head; len < bytes.len; len++) {
            CLEANUP(freep) uint8_t *cut = copy_of(bytes_of(bytes.data, len));
            put_u32(cut + head - 4, (uint32_t)(len - head));
            struct command got;
            ck_assert_msg(decode(bytes_of(cut, len), &arena, &got) == ERR_MALFORMED, "seed %lu",
                          seed);
        }
    }
}
END_TEST

START_TEST(a_body_with_more_behind_it_is_malformed)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        CLEANUP(arena_fini) struct arena arena = {0};
        CLEANUP(buf_fini) struct buf bytes = {0};
        struct random_commands random = {.state = seed, .arena = &arena, .depth_max = 3};
        struct command command = random_command(&random);
        command_encode(&bytes, origin, &command);
        write_u8(&bytes, 0);
        put_u32(bytes.data + 17, get_u32(bytes.data + 17) + 1);
        struct command got;
        ck_assert_int_eq(decode(buf_bytes(&bytes), &arena, &got), ERR_MALFORMED);
    }
}
END_TEST

/* Damaged bytes are refused or mean something else, without a step beyond them (sanitizers watch),
 * and what they mean is encoded and decoded as anything is. */
START_TEST(damaged_bytes_do_no_harm)
{
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        CLEANUP(arena_fini) struct arena arena = {0};
        CLEANUP(buf_fini) struct buf bytes = {0};
        CLEANUP(buf_fini) struct buf again = {0};
        struct random_commands random = {
            .state = seed, .arena = &arena, .depth_max = 3, .leases = true};
        struct command command = random_command(&random);
        command_encode(&bytes, origin, &command);
        CLEANUP(freep) uint8_t *copy = copy_of(buf_bytes(&bytes));
        for (unsigned i = 0; i < 3; i++) {
            copy[random_below(&random, bytes.len)] ^= (uint8_t)(1u << random_below(&random, 8));
        }
        struct reader r = reader_of(bytes_of(copy, bytes.len));
        struct command_origin got_origin;
        struct command got;
        enum err err = command_decode(&r, &arena, &got_origin, &got);
        ck_assert(err == OK || err == ERR_MALFORMED);
        if (err == OK) {
            command_encode(&again, got_origin, &got);
            r = reader_of(buf_bytes(&again));
            ck_assert_int_eq(command_decode(&r, &arena, &got_origin, &got), OK);
        }
    }
}
END_TEST

/* DEPTH transactions in one another. */
static void encode_nested(struct buf *bytes, unsigned depth)
{
    CLEANUP(arena_fini) struct arena arena = {0};
    struct command command = {.kind = COMMAND_TXN};
    struct command_txn *at = &command.txn;
    for (unsigned i = 0; i < depth; i++) {
        at->failure = arena_calloc(&arena, 1, sizeof *at->failure);
        at->failure_count = 1;
        at->failure->kind = OP_TXN;
        at->failure->txn = arena_calloc(&arena, 1, sizeof *at->failure->txn);
        at = at->failure->txn;
    }
    command_encode(bytes, origin, &command);
}

START_TEST(nesting_has_a_bound)
{
    static const struct {
        unsigned depth;
        enum err want;
    } cases[] = {{0, OK}, {TXN_DEPTH_MAX, OK}, {TXN_DEPTH_MAX + 1, ERR_MALFORMED}};
    CLEANUP(arena_fini) struct arena arena = {0};
    CLEANUP(buf_fini) struct buf bytes = {0};
    encode_nested(&bytes, cases[_i].depth);
    struct command got;
    ck_assert_int_eq(decode(buf_bytes(&bytes), &arena, &got), cases[_i].want);
}
END_TEST

/* Bytes that nest far beyond what anybody could encode do not end the stack. */
START_TEST(hostile_nesting_is_malformed)
{
    CLEANUP(arena_fini) struct arena arena = {0};
    CLEANUP(buf_fini) struct buf bytes = {0};
    static const uint8_t level[] = {0, 0, 1, OP_TXN}; /* no compare, no success, one failure */
    struct command command = {.kind = COMMAND_TXN};
    command_encode(&bytes, origin, &command);
    bytes.len = 21;
    for (unsigned depth = 0; depth < 1000000; depth++) {
        buf_append(&bytes, level, sizeof level);
    }
    put_u32(bytes.data + 17, (uint32_t)(bytes.len - 21));
    struct command got;
    ck_assert_int_eq(decode(buf_bytes(&bytes), &arena, &got), ERR_MALFORMED);
}
END_TEST

/* A count that the bytes could not hold, or that no request may have, takes no memory. */
START_TEST(a_count_is_bounded)
{
    static const uint64_t counts[] = {100, TXN_OPS_MAX + 1, UINT64_MAX};
    CLEANUP(arena_fini) struct arena arena = {0};
    CLEANUP(buf_fini) struct buf bytes = {0};
    struct command command = {.kind = COMMAND_TXN};
    command_encode(&bytes, origin, &command);
    bytes.len = 21;
    write_varint(&bytes, counts[_i]);
    size_t filler = counts[_i] < 1000 ? 10 : 2 * TXN_OPS_MAX;
    ck_assert_ptr_nonnull(memset(buf_extend(&bytes, filler), 0, filler));
    put_u32(bytes.data + 17, (uint32_t)(bytes.len - 21));
    struct command got;
    ck_assert_int_eq(decode(buf_bytes(&bytes), &arena, &got), ERR_MALFORMED);
    ck_assert_uint_eq(arena.used_bytes, 0);
}
END_TEST

START_TEST(an_unknown_kind_is_malformed)
{
    static const uint8_t kinds[] = {0, COMMAND_KIND_COUNT, 255};
    CLEANUP(arena_fini) struct arena arena = {0};
    CLEANUP(buf_fini) struct buf bytes = {0};
    struct command command = {.kind = COMMAND_COMPACT};
    command_encode(&bytes, origin, &command);
    bytes.data[0] = kinds[_i];
    struct command got;
    ck_assert_int_eq(decode(buf_bytes(&bytes), &arena, &got), ERR_MALFORMED);
}
END_TEST

START_TEST(memory_that_ends_is_told)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    encode_nested(&bytes, 8);
    struct arena arena = {.max_bytes = 16};
    struct command got;
    ck_assert_int_eq(decode(buf_bytes(&bytes), &arena, &got), ERR_NOMEM);
    arena_fini(&arena);
}
END_TEST

START_TEST(skip_walks_from_command_to_command)
{
    CLEANUP(arena_fini) struct arena arena = {0};
    CLEANUP(buf_fini) struct buf bytes = {0};
    struct random_commands random = {.state = 5, .arena = &arena, .depth_max = 3};
    enum command_kind kinds[50];
    size_t ends[50];
    for (uint64_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct command command = random_command(&random);
        command_encode(&bytes, (struct command_origin){.member_id = i, .op = 2 * i}, &command);
        kinds[i] = command.kind;
        ends[i] = bytes.len;
    }
    struct reader r = reader_of(buf_bytes(&bytes));
    for (uint64_t i = 0; i < ARRAY_LEN(kinds); i++) {
        enum command_kind kind;
        struct command_origin got;
        struct bytes whole;
        ck_assert_int_eq(command_skip(&r, &kind, &got, &whole), OK);
        ck_assert_int_eq(kind, kinds[i]);
        ck_assert_uint_eq(got.member_id, i);
        ck_assert_uint_eq(got.op, 2 * i);
        ck_assert_ptr_eq(whole.data + whole.len, bytes.data + ends[i]);
    }
    ck_assert_uint_eq(reader_left(&r), 0);
}
END_TEST

START_TEST(the_head_tells_version_and_time)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    entry_encode_head(&bytes, 1789000000123);
    uint64_t wall_ms;
    struct reader r = reader_of(buf_bytes(&bytes));
    ck_assert_int_eq(entry_decode_head(&r, &wall_ms), OK);
    ck_assert_uint_eq(wall_ms, 1789000000123);
    ck_assert_uint_eq(reader_left(&r), 0);
    for (size_t len = 0; len < bytes.len; len++) {
        r = reader_of(bytes_of(bytes.data, len));
        ck_assert_int_eq(entry_decode_head(&r, &wall_ms), ERR_MALFORMED);
    }
    /* A newer version may go on in another way. */
    bytes.data[0] = COMMAND_VERSION + 1;
    for (size_t len = 1; len <= bytes.len; len++) {
        r = reader_of(bytes_of(bytes.data, len));
        ck_assert_int_eq(entry_decode_head(&r, &wall_ms), ERR_VERSION);
    }
}
END_TEST

static Suite *command_suite(void)
{
    Suite *suite = suite_create("command");
    TCase *tc = tcase_create("codec");
    tcase_add_test(tc, random_commands_come_back);
    tcase_add_test(tc, a_put_keeps_every_field);
    tcase_add_test(tc, a_txn_keeps_every_field);
    tcase_add_test(tc, an_alarm_keeps_every_field);
    tcase_add_test(tc, lease_commands_keep_every_field);
    tcase_add_test(tc, skip_walks_from_command_to_command);
    tcase_add_test(tc, the_head_tells_version_and_time);
    suite_add_tcase(suite, tc);
    tc = tcase_create("bad_bytes");
    tcase_add_test(tc, a_cut_command_is_malformed);
    tcase_add_test(tc, a_cut_body_is_malformed);
    tcase_add_test(tc, a_body_with_more_behind_it_is_malformed);
    tcase_add_test(tc, damaged_bytes_do_no_harm);
    tcase_add_loop_test(tc, nesting_has_a_bound, 0, 3);
    tcase_add_test(tc, hostile_nesting_is_malformed);
    tcase_add_loop_test(tc, a_count_is_bounded, 0, 3);
    tcase_add_loop_test(tc, an_unknown_kind_is_malformed, 0, 3);
    tcase_add_test(tc, less_than_nothing_is_not_left_of_a_lease);
    tcase_add_test(tc, memory_that_ends_is_told);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(command_suite);
}
