/* SPDX-License-Identifier: Apache-2.0 */
#include "api/conflict.h"

#include "base/assert.h"
#include "base/cleanup.h"
#include "tests/lib/effort.h"
#include "tests/lib/fault.h"
#include "tests/lib/random_command.h"
#include "tests/lib/runner.h"

/* ---- etcd's rules, one by one ---- */

#define PUT(k)                                                                 \
    {                                                                          \
        .kind = OP_PUT, .put = {.key = {(const uint8_t *)(k), sizeof(k) - 1} } \
    }
#define RANGE(k)                                                                   \
    {                                                                              \
        .kind = OP_RANGE, .range = {.key = {(const uint8_t *)(k), sizeof(k) - 1} } \
    }
#define DELETE_TO(k, e)                                        \
    {                                                          \
        .kind = OP_DELETE_RANGE, .delete_range = {             \
            .key = {(const uint8_t *)(k), sizeof(k) - 1},      \
            .range_end = {(const uint8_t *)(e), sizeof(e) - 1} \
        }                                                      \
    }
#define DELETE(k) DELETE_TO(k, "")
#define OPS(...)      \
    (struct txn_op[]) \
    {                 \
        __VA_ARGS__   \
    }
#define COUNT(...) (sizeof(OPS(__VA_ARGS__)) / sizeof(struct txn_op))
#define THEN(...)  .success = OPS(__VA_ARGS__), .success_count = COUNT(__VA_ARGS__)
#define ELSE(...)  .failure = OPS(__VA_ARGS__), .failure_count = COUNT(__VA_ARGS__)
#define TXN(...)                                     \
    {                                                \
        .kind = OP_TXN, .txn = &(struct command_txn) \
        {                                            \
            __VA_ARGS__                              \
        }                                            \
    }
#define CASE(name, want, ...)                            \
    {                                                    \
        name, want, OPS(__VA_ARGS__), COUNT(__VA_ARGS__) \
    }

static const struct {
    const char *name;
    enum err want;
    struct txn_op *ops;
    size_t count;
} cases[] = {
    CASE("different keys", OK, PUT("a"), PUT("b"), PUT("aa")),
    CASE("a key twice", ERR_DUPLICATE_KEY, PUT("a"), PUT("b"), PUT("a")),
    CASE("reads never conflict", OK, PUT("a"), RANGE("a"), RANGE("a"), DELETE("b"), RANGE("b")),

    CASE("a put, then its delete", ERR_DUPLICATE_KEY, PUT("a"), DELETE("a")),
    CASE("a delete, then its put", ERR_DUPLICATE_KEY, DELETE("a"), PUT("a")),
    CASE("a delete of another key", OK, DELETE("a"), PUT("b"), PUT("aa")),
    CASE("the first key of a range", ERR_DUPLICATE_KEY, DELETE_TO("b", "d"), PUT("b")),
    CASE("a key inside a range", ERR_DUPLICATE_KEY, PUT("c"), DELETE_TO("b", "d")),
    CASE("the end of a range", OK, DELETE_TO("b", "d"), PUT("d"), PUT("a")),
    CASE("the last key before the end", ERR_DUPLICATE_KEY, DELETE_TO("b", "d"), PUT("c\xff\xff")),
    CASE("a range that is empty", OK, DELETE_TO("d", "b"), PUT("c"), PUT("d"), PUT("b")),
    CASE("a range from a key to itself", OK, DELETE_TO("b", "b"), PUT("b")),
    CASE("a delete to the end of all keys", OK, DELETE_TO("b", "\0"), PUT("b"), PUT("c")),
    CASE("a delete of all keys", OK, DELETE_TO("\0", "\0"), PUT("\0"), PUT("c")),

    CASE("deletes may repeat", OK, DELETE("a"), DELETE("a"), PUT("b")),
    CASE("deletes may overlap", OK, DELETE_TO("a", "c"), DELETE_TO("b", "d"), PUT("d")),
    CASE("overlapping deletes are one", ERR_DUPLICATE_KEY, DELETE_TO("a", "c"), DELETE_TO("b", "d"),
         PUT("cc")),
    CASE("a range beside a key", OK, DELETE_TO("a", "b"), DELETE("b"), PUT("bb")),
    CASE("a key beside a range", ERR_DUPLICATE_KEY, DELETE_TO("a", "b"), DELETE("b"), PUT("b")),
    CASE("a range that begins at a deleted key", ERR_DUPLICATE_KEY, DELETE("a"),
         DELETE_TO("a", "c"), PUT("b")),
    CASE("a key in a deleted range", ERR_DUPLICATE_KEY, DELETE_TO("a", "c"), DELETE("a"), PUT("b")),

    CASE("branches exclude each other", OK, TXN(THEN(PUT("a")), ELSE(PUT("a"), PUT("b")))),
    CASE("twice on one branch", ERR_DUPLICATE_KEY, TXN(ELSE(PUT("a"), PUT("a")))),
    CASE("above and on the first branch", ERR_DUPLICATE_KEY, TXN(THEN(PUT("a"))), PUT("a")),
    CASE("above and on the second branch", ERR_DUPLICATE_KEY, PUT("a"), TXN(ELSE(PUT("a")))),
    CASE("two nested txns", ERR_DUPLICATE_KEY, TXN(THEN(PUT("a"))), TXN(THEN(PUT("a")))),
    CASE("two nested txns, other branches", ERR_DUPLICATE_KEY, TXN(THEN(PUT("a"))),
         TXN(ELSE(PUT("a")))),
    CASE("both branches of one, then another", ERR_DUPLICATE_KEY,
         TXN(THEN(PUT("a")), ELSE(PUT("a"))), TXN(ELSE(PUT("a")))),
    CASE("two levels down", ERR_DUPLICATE_KEY, PUT("a"), TXN(THEN(TXN(ELSE(PUT("a")))))),
    CASE("branches exclude each other two levels down", OK,
         TXN(THEN(TXN(ELSE(PUT("a")))), ELSE(TXN(THEN(PUT("a")))))),

    CASE("a delete above a nested put", ERR_DUPLICATE_KEY, TXN(THEN(PUT("a"))), DELETE("a")),
    CASE("a nested delete below a put", ERR_DUPLICATE_KEY, PUT("a"), TXN(ELSE(DELETE("a")))),
    CASE("a nested delete, then a nested put", ERR_DUPLICATE_KEY, TXN(THEN(DELETE("a"))),
         TXN(THEN(PUT("a")))),
    CASE("a nested put, then a nested delete", OK, TXN(THEN(PUT("a"))), TXN(THEN(DELETE("a")))),
    CASE("a put and a delete on two branches", OK, TXN(THEN(PUT("a")), ELSE(DELETE("a")))),
    CASE("a delete and a put on two branches", OK, TXN(THEN(DELETE("a")), ELSE(PUT("a")))),
    CASE("a delete of two branches, then a put", ERR_DUPLICATE_KEY,
         TXN(THEN(DELETE("a")), ELSE(DELETE("b"))), TXN(ELSE(PUT("b")))),
    CASE("nested deletes are one", ERR_DUPLICATE_KEY,
         TXN(THEN(DELETE_TO("a", "c")), ELSE(DELETE_TO("b", "e"))), PUT("d")),
    CASE("a nested delete to the end of all keys", OK, TXN(THEN(DELETE_TO("a", "\0"))), PUT("b")),

    CASE("nothing nested", OK, TXN(.success = NULL), PUT("a")),
};

START_TEST(a_rule_is_etcds)
{
    enum err got = conflict_check(cases[_i].ops, cases[_i].count);
    ck_assert_msg(got == cases[_i].want, "%s: %s", cases[_i].name, err_text(got));
}
END_TEST

START_TEST(nothing_conflicts_with_nothing)
{
    ck_assert_int_eq(conflict_check(NULL, 0), OK);
}
END_TEST

/* ---- the rules written down plainly, every key held against every other ---- */

#define WRITES_MAX 2000

struct writes {
    struct bytes puts[WRITES_MAX];
    size_t put_count;
    struct command_delete_range deletes[WRITES_MAX];
    size_t delete_count;
};

static bool is_put(const struct writes *writes, struct bytes key)
{
    for (size_t i = 0; i < writes->put_count; i++) {
        if (bytes_equal(writes->puts[i], key)) {
            return true;
        }
    }
    return false;
}

static bool is_deleted(const struct writes *writes, struct bytes key)
{
    for (size_t i = 0; i < writes->delete_count; i++) {
        const struct command_delete_range *range = &writes->deletes[i];
        if (range->range_end.len == 0
                ? bytes_equal(key, range->key)
                : bytes_compare(key, range->key) >= 0 && bytes_compare(key, range->range_end) < 0) {
            return true;
        }
    }
    return false;
}

static void add_put(struct writes *writes, struct bytes key)
{
    if (!is_put(writes, key)) {
        ASSERT(writes->put_count < WRITES_MAX);
        writes->puts[writes->put_count++] = key;
    }
}

static void add_deletes(struct writes *writes, const struct command_delete_range *ranges,
                        size_t count)
{
    ASSERT(count <= WRITES_MAX - writes->delete_count);
    for (size_t i = 0; i < count; i++) {
        writes->deletes[writes->delete_count++] = ranges[i];
    }
}

static struct writes *new_writes(struct arena *arena)
{
    struct writes *writes = arena_calloc(arena, 1, sizeof *writes);
    ck_assert_ptr_nonnull(writes);
    return writes;
}

/* False: a conflict. SHARED (may be NULL): who has put these puts FROM's key as well. */
static bool take_puts(struct writes *writes, const struct writes *from, const struct writes *shared)
{
    for (size_t i = 0; i < from->put_count; i++) {
        struct bytes key = from->puts[i];
        bool exclusive = shared != NULL && is_put(shared, key);
        if ((is_put(writes, key) && !exclusive) || is_deleted(writes, key)) {
            return false;
        }
        add_put(writes, key);
    }
    return true;
}

static bool plain_check(const struct txn_op *ops, size_t count, struct arena *arena,
                        struct writes *writes)
{
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == OP_DELETE_RANGE) {
            add_deletes(writes, &ops[i].delete_range, 1);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind != OP_TXN) {
            continue;
        }
        const struct command_txn *txn = ops[i].txn;
        struct writes *then = new_writes(arena);
        struct writes *otherwise = new_writes(arena);
        if (!plain_check(txn->success, txn->success_count, arena, then) ||
            !plain_check(txn->failure, txn->failure_count, arena, otherwise) ||
            !take_puts(writes, then, NULL) || !take_puts(writes, otherwise, then)) {
            return false;
        }
        add_deletes(writes, then->deletes, then->delete_count);
        add_deletes(writes, otherwise->deletes, otherwise->delete_count);
    }
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == OP_PUT) {
            if (is_put(writes, ops[i].put.key) || is_deleted(writes, ops[i].put.key)) {
                return false;
            }
            add_put(writes, ops[i].put.key);
        }
    }
    return true;
}

START_TEST(random_txns_conflict_as_the_plain_rules_say)
{
    unsigned rounds = effort_count(4000, 400, "seeds");
    unsigned conflicts = 0;
    for (uint64_t seed = 1; seed <= rounds; seed++) {
        CLEANUP(arena_fini) struct arena arena = {0};
        struct random_commands random = {
            .state = seed + 100000ul * (unsigned)_i,
            .arena = &arena,
            .letters = 2 + (unsigned)_i,
            .depth_max = 1 + (unsigned)_i,
        };
        struct command_txn txn = random_txn(&random);
        enum err got = conflict_check(txn.success, txn.success_count);
        bool fine = plain_check(txn.success, txn.success_count, &arena, new_writes(&arena));
        ck_assert_msg(got == (fine ? OK : ERR_DUPLICATE_KEY), "seed %lu, depth %d: %s",
                      (unsigned long)seed, _i + 1, err_text(got));
        conflicts += !fine;
    }
    ck_assert_uint_gt(conflicts, rounds / 50);
    ck_assert_uint_lt(conflicts, rounds - rounds / 50);
}
END_TEST

/* As many operations as may be configured, in the worst order, do not hold the loop. */
START_TEST(the_largest_txn_is_checked_in_one_go)
{
    CLEANUP(arena_fini) struct arena arena = {0};
    struct txn_op *ops = arena_calloc(&arena, TXN_OPS_MAX, sizeof *ops);
    ck_assert_ptr_nonnull(ops);
    for (uint32_t i = 0; i < TXN_OPS_MAX; i++) {
        uint8_t *key = arena_alloc(&arena, 4);
        ck_assert_ptr_nonnull(key);
        put_u32_be(key, TXN_OPS_MAX - i);
        if (i % 2 == 0) {
            ops[i] = (struct txn_op){.kind = OP_PUT, .put = {.key = bytes_of(key, 4)}};
        } else {
            ops[i] =
                (struct txn_op){.kind = OP_DELETE_RANGE, .delete_range = {.key = bytes_of(key, 4)}};
        }
    }
    ck_assert_int_eq(conflict_check(ops, TXN_OPS_MAX), OK);
    ops[1].delete_range.key = ops[TXN_OPS_MAX - 2].put.key;
    ck_assert_int_eq(conflict_check(ops, TXN_OPS_MAX), ERR_DUPLICATE_KEY);
}
END_TEST

/* Nor do as many nested transactions: joining each to all before it took 13 s. The case has 5 s. */
START_TEST(many_nested_txns_are_checked_in_one_go)
{
    enum { NESTED = TXN_OPS_MAX / 2 };
    CLEANUP(arena_fini) struct arena arena = {0};
    struct txn_op *ops = arena_calloc(&arena, NESTED, sizeof *ops);
    struct command_txn *txns = arena_calloc(&arena, NESTED, sizeof *txns);
    ck_assert_ptr_nonnull(ops);
    ck_assert_ptr_nonnull(txns);
    for (uint32_t i = 0; i < NESTED; i++) {
        uint8_t *key = arena_calloc(&arena, 1, 5);
        struct txn_op *inner = arena_calloc(&arena, 2, sizeof *inner);
        ck_assert_ptr_nonnull(key);
        ck_assert_ptr_nonnull(inner);
        put_u32_be(key, i);
        inner[0] = (struct txn_op){.kind = OP_PUT, .put = {.key = bytes_of(key, 4)}};
        inner[1] =
            (struct txn_op){.kind = OP_DELETE_RANGE, .delete_range = {.key = bytes_of(key, 5)}};
        txns[i] = (struct command_txn){.success = inner, .success_count = 2};
        ops[i] = (struct txn_op){.kind = OP_TXN, .txn = &txns[i]};
    }
    ck_assert_int_eq(conflict_check(ops, NESTED), OK);
    txns[NESTED - 1].success[0].put.key = txns[0].success[1].delete_range.key;
    ck_assert_int_eq(conflict_check(ops, NESTED), ERR_DUPLICATE_KEY);
}
END_TEST

START_TEST(memory_that_ends_is_told)
{
    const struct txn_op ops[] = {
        PUT("a"), DELETE_TO("b", "c"),
        TXN(THEN(PUT("d"), DELETE("e")), ELSE(PUT("f"), TXN(THEN(PUT("g"), DELETE("h"))))),
        TXN(ELSE(DELETE_TO("i", "j"))), TXN(THEN(PUT("k"), PUT("l"), PUT("m")))};
    FAULT_SWEEP (sweep) {
        enum err err = conflict_check(ops, ARRAY_LEN(ops));
        fault_pause();
        ck_assert_int_eq(err, fault_fired() ? ERR_NOMEM : OK);
    }
}
END_TEST

static Suite *conflict_suite(void)
{
    Suite *suite = suite_create("conflict");
    TCase *tc = tcase_create("rules");
    tcase_add_loop_test(tc, a_rule_is_etcds, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(tc, nothing_conflicts_with_nothing);
    suite_add_tcase(suite, tc);
    tc = tcase_create("model");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, random_txns_conflict_as_the_plain_rules_say, 0, 4);
    suite_add_tcase(suite, tc);
    tc = tcase_create("memory");
    tcase_add_test(tc, memory_that_ends_is_told);
    suite_add_tcase(suite, tc);
    tc = tcase_create("large");
    tcase_set_timeout(tc, 5);
    tcase_add_test(tc, the_largest_txn_is_checked_in_one_go);
    tcase_add_test(tc, many_nested_txns_are_checked_in_one_go);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(conflict_suite);
}
