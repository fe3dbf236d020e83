/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/txn.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "fsm/fsm.h"
#include "tests/lib/fault.h"
#include "tests/lib/random_command.h"
#include "tests/lib/runner.h"
#include "tests/lib/store_model.h"

/* Transactions upon the model store, each in an entry of its own. What is expected was tried on
 * etcd 3.4 or is said of it. */

static struct store *store;
static struct arena arena;
static uint64_t next_index;

static void setup(void)
{
    store = store_model_new(NULL);
    next_index = 1;
}

static void teardown(void)
{
    store_close(store);
    arena_fini(&arena);
}

static struct bytes text(const char *from)
{
    return bytes_of_str(from);
}

static struct txn_op put_op(const char *key, const char *value)
{
    return (struct txn_op){.kind = OP_PUT, .put = {.key = text(key), .value = text(value)}};
}

static struct txn_op range_op(const char *key, int64_t revision)
{
    return (struct txn_op){.kind = OP_RANGE, .range = {.key = text(key), .revision = revision}};
}

static struct txn_op delete_op(const char *key)
{
    return (struct txn_op){.kind = OP_DELETE_RANGE, .delete_range = {.key = text(key)}};
}

static struct txn_op txn_op(struct command_txn *txn)
{
    return (struct txn_op){.kind = OP_TXN, .txn = txn};
}

static struct compare compare(const char *key, enum compare_target target,
                              enum compare_result result, int64_t number)
{
    return (struct compare){.key = text(key), .target = target, .result = result, .number = number};
}

#define OPS(...)                               \
    .success = (struct txn_op[]){__VA_ARGS__}, \
    .success_count = ARRAY_LEN(((struct txn_op[]){__VA_ARGS__}))
#define ELSE(...)                              \
    .failure = (struct txn_op[]){__VA_ARGS__}, \
    .failure_count = ARRAY_LEN(((struct txn_op[]){__VA_ARGS__}))
#define IF(...)                                  \
    .compares = (struct compare[]){__VA_ARGS__}, \
    .compare_count = ARRAY_LEN(((struct compare[]){__VA_ARGS__}))

static enum err apply(const struct command_txn *txn, struct txn_result *ret, int64_t *revision)
{
    *ret = (struct txn_result){0};
    store_entry_begin(store, next_index++, 1);
    store_txn_begin(store);
    enum err err = txn_apply(store, NULL, &arena, txn, true, ret);
    *revision = store_txn_end(store);
    store_entry_end(store);
    store_check(store);
    return err;
}

/* Apply, and throw the responses away: the verdict. */
static bool succeeds(const struct command_txn *txn)
{
    struct txn_result result;
    int64_t revision;
    ck_assert_int_eq(apply(txn, &result, &revision), OK);
    bool succeeded = result.succeeded;
    txn_result_fini(&result);
    return succeeded;
}

static void put(const char *key, const char *value)
{
    struct command_txn txn = {OPS(put_op(key, value))};
    ck_assert(succeeds(&txn));
}

static void ck_value(const char *key, const char *want)
{
    struct range_query query = {.key = text(key)};
    struct range_result found;
    ck_assert_int_eq(store_range(store, &query, &found), OK);
    if (want == NULL) {
        ck_assert_uint_eq(found.records.count, 0);
    } else {
        ck_assert_uint_eq(found.records.count, 1);
        ck_assert(bytes_equal(record_value(found.records.items[0]), text(want)));
    }
    range_result_fini(&found);
}

/* ---- compares ---- */

/* Key "k" was put at revisions 2 and 3: version 2, created 2, modified 3, value "b", no lease. "no"
 * is not there. */
static const struct {
    const char *name;
    const char *key;
    const char *range_end;
    uint32_t target;
    uint32_t result;
    int64_t number;
    const char *value;
    bool want;
} compares[] = {
    {"version equal", "k", "", COMPARE_VERSION, COMPARE_EQUAL, 2, "", true},
    {"version not equal", "k", "", COMPARE_VERSION, COMPARE_NOT_EQUAL, 2, "", false},
    {"version greater", "k", "", COMPARE_VERSION, COMPARE_GREATER, 1, "", true},
    {"version not greater", "k", "", COMPARE_VERSION, COMPARE_GREATER, 2, "", false},
    {"version less", "k", "", COMPARE_VERSION, COMPARE_LESS, 3, "", true},
    {"version not less", "k", "", COMPARE_VERSION, COMPARE_LESS, 2, "", false},
    {"create equal", "k", "", COMPARE_CREATE, COMPARE_EQUAL, 2, "", true},
    {"create other", "k", "", COMPARE_CREATE, COMPARE_EQUAL, 3, "", false},
    {"mod equal", "k", "", COMPARE_MOD, COMPARE_EQUAL, 3, "", true},
    {"mod other", "k", "", COMPARE_MOD, COMPARE_EQUAL, 2, "", false},
    {"lease equal", "k", "", COMPARE_LEASE, COMPARE_EQUAL, 0, "", true},
    {"lease other", "k", "", COMPARE_LEASE, COMPARE_GREATER, 0, "", false},
    {"value equal", "k", "", COMPARE_VALUE, COMPARE_EQUAL, 0, "b", true},
    {"value greater", "k", "", COMPARE_VALUE, COMPARE_GREATER, 0, "a", true},
    {"value less", "k", "", COMPARE_VALUE, COMPARE_LESS, 0, "b\x01", true},
    {"value not equal", "k", "", COMPARE_VALUE, COMPARE_NOT_EQUAL, 0, "b", false},
    {"missing: version is 0", "no", "", COMPARE_VERSION, COMPARE_EQUAL, 0, "", true},
    {"missing: create is 0", "no", "", COMPARE_CREATE, COMPARE_LESS, 1, "", true},
    {"missing: mod is 0", "no", "", COMPARE_MOD, COMPARE_GREATER, -1, "", true},
    {"missing: lease is 0", "no", "", COMPARE_LEASE, COMPARE_EQUAL, 0, "", true},
    {"missing: no value is equal", "no", "", COMPARE_VALUE, COMPARE_EQUAL, 0, "", false},
    {"missing: nor different", "no", "", COMPARE_VALUE, COMPARE_NOT_EQUAL, 0, "b", false},
    {"a number from the future holds", "k", "", COMPARE_VERSION, 9, 100, "", true},
    {"and a target from the future", "k", "", 9, COMPARE_EQUAL, 100, "", true},
    {"whose result is judged", "k", "", 9, COMPARE_NOT_EQUAL, 100, "", false},
    {"range: all hold", "k", "m", COMPARE_MOD, COMPARE_GREATER, 2, "", true},
    {"range: one does not", "k", "m", COMPARE_MOD, COMPARE_GREATER, 3, "", false},
    {"range: empty compares as missing", "n", "o", COMPARE_VERSION, COMPARE_EQUAL, 0, "", true},
    {"range: empty has no values", "n", "o", COMPARE_VALUE, COMPARE_NOT_EQUAL, 0, "x", false},
    {"range: values", "k", "m", COMPARE_VALUE, COMPARE_LESS, 0, "d", true},
};

START_TEST(a_compare_is_etcds)
{
    put("k", "a");
    put("k", "b");
    put("l", "c");
    struct compare held = {.key = text(compares[_i].key),
                           .range_end = text(compares[_i].range_end),
                           .target = compares[_i].target,
                           .result = compares[_i].result,
                           .number = compares[_i].number,
                           .value = text(compares[_i].value)};
    struct command_txn txn = {.compares = &held, .compare_count = 1};
    ck_assert_msg(succeeds(&txn) == compares[_i].want, "%s", compares[_i].name);
}
END_TEST

static void put_numbered(int count)
{
    char key[16];
    for (int i = 0; i < count; i++) {
        (void)snprintf(key, sizeof key, "key%05d", i);
        put(key, "v");
    }
}

/* However many keys it has, a few hundred are in memory at once. */
START_TEST(a_range_is_compared_to_its_end_in_pieces)
{
    static const int counts[] = {255, 256, 257, 512, 600};
    put_numbered(counts[_i]);
    struct compare all = {.key = text("key"),
                          .range_end = text("kez"),
                          .target = _i % 2 == 0 ? COMPARE_VALUE : COMPARE_VERSION,
                          .result = COMPARE_EQUAL,
                          .value = text("v"),
                          .number = 1};
    struct command_txn txn = {IF(all)};
    ck_assert(succeeds(&txn));
    char last[16];
    (void)snprintf(last, sizeof last, "key%05d", counts[_i] - 1);
    put(last, "w");
    ck_assert(!succeeds(&txn));
    ck_assert_uint_le(store_model_range_records_max(store), 256);
}
END_TEST

START_TEST(all_compares_must_hold)
{
    put("k", "a");
    struct command_txn txn = {IF(compare("k", COMPARE_VERSION, COMPARE_EQUAL, 1),
                                 compare("no", COMPARE_VERSION, COMPARE_EQUAL, 0))};
    ck_assert(succeeds(&txn));
    txn.compares[1].number = 1;
    ck_assert(!succeeds(&txn));
    txn.compares[1].number = 0;
    txn.compares[0].number = 2;
    ck_assert(!succeeds(&txn));
    ck_assert(succeeds(&(struct command_txn){0}));
}
END_TEST

START_TEST(the_verdict_takes_the_branch)
{
    struct command_txn txn = {IF(compare("k", COMPARE_VERSION, COMPARE_EQUAL, 0)),
                              OPS(put_op("k", "then")), ELSE(put_op("k", "else"))};
    ck_assert(succeeds(&txn));
    ck_value("k", "then");
    ck_assert(!succeeds(&txn));
    ck_value("k", "else");
}
END_TEST

/* ---- nested ---- */

START_TEST(a_nested_compare_does_not_see_the_outer_puts)
{
    struct command_txn inner = {IF(compare("k", COMPARE_VERSION, COMPARE_EQUAL, 0)),
                                OPS(put_op("seen", "missing")), ELSE(put_op("seen", "there"))};
    struct command_txn txn = {OPS(put_op("k", "1"), txn_op(&inner))};
    ck_assert(succeeds(&txn));
    ck_value("seen", "missing");
}
END_TEST

START_TEST(only_the_chosen_path_runs)
{
    struct command_txn deep = {OPS(put_op("deep", "1"))};
    struct command_txn bad = {OPS(range_op("k", 1000))};
    struct command_txn left = {OPS(txn_op(&deep), put_op("left", "1")), ELSE(txn_op(&bad))};
    struct command_txn right = {IF(compare("k", COMPARE_VERSION, COMPARE_GREATER, 0)),
                                OPS(txn_op(&bad)), ELSE(put_op("right", "1"))};
    struct command_txn txn = {OPS(txn_op(&left), txn_op(&right), put_op("last", "1"))};
    ck_assert(succeeds(&txn));
    ck_value("deep", "1");
    ck_value("left", "1");
    ck_value("right", "1");
    ck_value("last", "1");
    ck_assert_int_eq(store_revision(store), 2);
}
END_TEST

/* ---- what is refused changes nothing ---- */

START_TEST(an_error_on_the_path_applies_nothing)
{
    static const struct {
        const char *name;
        struct txn_op op;
        enum err want;
    } cases[] = {
        {"future revision",
         {.kind = OP_RANGE, .range = {.key = {(const uint8_t *)"k", 1}, .revision = 6}},
         ERR_FUTURE_REVISION},
        {"compacted revision",
         {.kind = OP_RANGE, .range = {.key = {(const uint8_t *)"k", 1}, .revision = 3}},
         ERR_COMPACTED},
        {"negative revision",
         {.kind = OP_RANGE, .range = {.key = {(const uint8_t *)"k", 1}, .revision = -1}},
         ERR_COMPACTED},
        {"ignored value of a missing key",
         {.kind = OP_PUT, .put = {.key = {(const uint8_t *)"n", 1}, .ignore_value = true}},
         ERR_KEY_NOT_FOUND},
        {"ignored lease of a missing key",
         {.kind = OP_PUT, .put = {.key = {(const uint8_t *)"n", 1}, .ignore_lease = true}},
         ERR_KEY_NOT_FOUND},
        {"unknown lease",
         {.kind = OP_PUT, .put = {.key = {(const uint8_t *)"k", 1}, .lease = 7}},
         ERR_LEASE_NOT_FOUND},
        {"a missing key is told before an unknown lease",
         {.kind = OP_PUT,
          .put = {.key = {(const uint8_t *)"n", 1}, .lease = 7, .ignore_value = true}},
         ERR_KEY_NOT_FOUND},
    };
    put("k", "1");
    put("k", "2");
    put("k", "3");
    put("k", "4");
    store_entry_begin(store, next_index++, 1);
    store_txn_begin(store);
    ck_assert_int_eq(store_compact(store, 4), OK);
    (void)store_txn_end(store);
    store_entry_end(store);
    struct command_txn inner = {OPS(cases[_i].op)};
    struct command_txn txn = {OPS(put_op("a", "1"), delete_op("k"), txn_op(&inner))};
    struct txn_result result;
    int64_t revision;
    ck_assert_msg(apply(&txn, &result, &revision) == cases[_i].want, "%s", cases[_i].name);
    ck_assert_int_eq(revision, 5);
    ck_value("a", NULL);
    ck_value("k", "4");
    ck_assert_uint_eq(result.response_count, 0);
}
END_TEST

/* All puts of the path are looked at before the first range. */
START_TEST(puts_are_checked_before_ranges)
{
    struct txn_op missing = put_op("no", "");
    missing.put.ignore_value = true;
    struct command_txn txn = {OPS(range_op("k", 1000), missing)};
    struct txn_result result;
    int64_t revision;
    ck_assert_int_eq(apply(&txn, &result, &revision), ERR_KEY_NOT_FOUND);
}
END_TEST

/* A key made earlier in the same transaction was not there before it. */
START_TEST(an_ignored_value_must_have_been_there_before)
{
    struct command_txn inner = {OPS(put_op("k", "1"))};
    struct txn_op keep = put_op("k", "");
    keep.put.ignore_value = true;
    struct command_txn txn = {OPS(txn_op(&inner), keep)};
    struct txn_result result;
    int64_t revision;
    ck_assert_int_eq(apply(&txn, &result, &revision), ERR_KEY_NOT_FOUND);
    ck_value("k", NULL);
}
END_TEST

/* And one that the transaction deletes first has nothing to keep, on no member. */
START_TEST(an_ignored_value_that_was_deleted_is_empty)
{
    put("k", "1");
    struct txn_op from_key = delete_op("a");
    from_key.delete_range.range_end = bytes_of("", 1);
    struct txn_op keep = put_op("k", "");
    keep.put.ignore_value = true;
    struct command_txn txn = {OPS(from_key, keep)};
    ck_assert(succeeds(&txn));
    ck_value("k", "");
}
END_TEST

START_TEST(without_a_compaction_minus_one_is_the_newest)
{
    put("k", "1");
    struct command_txn txn = {OPS(range_op("k", -1), put_op("l", "1"))};
    struct txn_result result;
    int64_t revision;
    ck_assert_int_eq(apply(&txn, &result, &revision), OK);
    ck_assert_uint_eq(result.responses[0].range.records.count, 1);
    txn_result_fini(&result);
    txn.success[0].range.revision = -2;
    ck_assert_int_eq(apply(&txn, &result, &revision), ERR_COMPACTED);
}
END_TEST

/* ---- responses ---- */

START_TEST(responses_tell_the_revision_of_their_moment)
{
    put("k", "old");
    put("gone", "1");
    struct txn_op overwrite = put_op("k", "new");
    overwrite.put.prev_kv = true;
    struct txn_op remove = delete_op("gone");
    remove.delete_range.prev_kv = true;
    struct command_txn inner = {OPS(range_op("k", 0), range_op("k", 2))};
    struct command_txn txn = {
        OPS(range_op("k", 0), delete_op("no"), overwrite, remove, txn_op(&inner))};
    struct txn_result result;
    int64_t revision;
    ck_assert_int_eq(apply(&txn, &result, &revision), OK);
    ck_assert_int_eq(revision, 4);
    ck_assert(result.succeeded);
    ck_assert_uint_eq(result.response_count, 5);
    const struct op_result *r = result.responses;
    ck_assert_int_eq(r[0].kind, OP_RANGE);
    ck_assert_int_eq(r[0].revision, 3);
    ck_assert(bytes_equal(record_value(r[0].range.records.items[0]), text("old")));
    ck_assert_int_eq(r[1].kind, OP_DELETE_RANGE);
    ck_assert_int_eq(r[1].revision, 3); /* nothing was deleted */
    ck_assert_int_eq(r[1].delete_range.deleted, 0);
    ck_assert_int_eq(r[2].kind, OP_PUT);
    ck_assert_int_eq(r[2].revision, 4);
    ck_assert(bytes_equal(record_value(r[2].prev), text("old")));
    ck_assert_int_eq(r[3].revision, 4);
    ck_assert_int_eq(r[3].delete_range.deleted, 1);
    ck_assert_uint_eq(r[3].delete_range.prevs.count, 1);
    ck_assert_int_eq(r[4].kind, OP_TXN);
    ck_assert_uint_eq(r[4].txn->response_count, 2);
    const struct op_result *nested = r[4].txn->responses;
    ck_assert(bytes_equal(record_value(nested[0].range.records.items[0]), text("new")));
    ck_assert(bytes_equal(record_value(nested[1].range.records.items[0]), text("old")));
    txn_result_fini(&result);
}
END_TEST

START_TEST(what_hits_nothing_leaves_the_revision)
{
    put("k", "1");
    struct command_txn txn = {OPS(delete_op("no"), range_op("k", 0))};
    struct txn_result result;
    int64_t revision;
    ck_assert_int_eq(apply(&txn, &result, &revision), OK);
    ck_assert_int_eq(revision, 2);
    ck_assert_int_eq(result.responses[1].revision, 2);
    txn_result_fini(&result);
}
END_TEST

START_TEST(a_member_that_nobody_asked_builds_no_responses)
{
    put("k", "1");
    struct command_txn inner = {OPS(put_op("n", "1"), range_op("k", 0))};
    struct txn_op overwrite = put_op("k", "2");
    overwrite.put.prev_kv = true;
    struct command_txn txn = {OPS(overwrite, range_op("k", 0), txn_op(&inner))};
    struct txn_result result = {0};
    store_entry_begin(store, next_index++, 1);
    store_txn_begin(store);
    ck_assert_int_eq(txn_apply(store, NULL, &arena, &txn, false, &result), OK);
    ck_assert_int_eq(store_txn_end(store), 3);
    store_entry_end(store);
    ck_assert_ptr_null(result.responses);
    ck_value("k", "2");
    ck_value("n", "1");
}
END_TEST

/* The same transactions, once with responses and once without, leave the same store. */
START_TEST(wanting_the_responses_changes_nothing)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct store *stores[2];
        enum err errs[2];
        for (unsigned want = 0; want < 2; want++) {
            struct random_commands random = {
                .state = seed, .arena = &arena, .letters = 3, .depth_max = 3, .revision_max = 30};
            stores[want] = store_model_new(NULL);
            for (uint64_t i = 1; i <= 30; i++) {
                struct command_txn txn = random_txn(&random);
                struct txn_result result = {0};
                store_entry_begin(stores[want], i, 1);
                store_txn_begin(stores[want]);
                errs[want] = txn_apply(stores[want], NULL, &arena, &txn, want, &result);
                (void)store_txn_end(stores[want]);
                store_entry_end(stores[want]);
                txn_result_fini(&result);
            }
        }
        ck_assert_int_eq(errs[0], errs[1]);
        ck_assert_int_eq(store_revision(stores[0]), store_revision(stores[1]));
        struct record_list events[2] = {{0}, {0}};
        for (unsigned want = 0; want < 2; want++) {
            ck_assert_int_eq(store_events(stores[want], 0, SIZE_MAX, &events[want]), OK);
        }
        ck_assert_uint_eq(events[0].count, events[1].count);
        for (size_t i = 0; i < events[0].count; i++) {
            const struct record *a = events[0].items[i];
            const struct record *b = events[1].items[i];
            ck_assert_msg(a->rev == b->rev && bytes_equal(record_key(a), record_key(b)) &&
                              bytes_equal(record_value(a), record_value(b)),
                          "seed %lu record %zu", seed, i);
        }
        for (unsigned want = 0; want < 2; want++) {
            record_list_fini(&events[want]);
            store_close(stores[want]);
        }
        arena_reset(&arena);
    }
}
END_TEST

/* ---- reading without the log ---- */

START_TEST(only_plain_ranges_are_read_only)
{
    struct command_txn inner = {OPS(range_op("k", 0))};
    const struct {
        struct command_txn txn;
        bool want;
    } cases[] = {
        {{0}, true},
        {{OPS(range_op("k", 0)), ELSE(range_op("l", 0))}, true},
        {{OPS(put_op("k", ""))}, false},
        {{OPS(range_op("k", 0)), ELSE(delete_op("k"))}, false},
        {{OPS(txn_op(&inner))}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ck_assert_msg(txn_is_read_only(&cases[i].txn) == cases[i].want, "case %zu", i);
    }
}
END_TEST

/* Read what a plan leaves to be read. */
static void read_all(const struct txn_plan *plan)
{
    for (size_t i = 0; i < plan->read_count; i++) {
        ck_assert_int_eq(store_range(store, plan->reads[i].query, plan->reads[i].ret), OK);
    }
}

START_TEST(a_plan_gives_what_apply_would)
{
    put("k", "1");
    struct command_txn txn = {IF(compare("k", COMPARE_VERSION, COMPARE_EQUAL, 1)),
                              OPS(range_op("k", 0), range_op("no", 0)), ELSE(range_op("k", 99))};
    struct txn_plan plan;
    ck_assert_int_eq(txn_plan(store, &txn, &plan), OK);
    ck_assert_int_eq(plan.revision, 2);
    read_all(&plan);
    ck_assert(plan.result.succeeded);
    ck_assert_uint_eq(plan.result.response_count, 2);
    ck_assert_int_eq(plan.result.responses[0].revision, 2);
    ck_assert_uint_eq(plan.result.responses[0].range.records.count, 1);
    ck_assert_uint_eq(plan.result.responses[1].range.records.count, 0);
    txn_plan_fini(&plan);
    txn.compares[0].number = 5;
    ck_assert_int_eq(txn_plan(store, &txn, &plan), ERR_FUTURE_REVISION);
}
END_TEST

/* The ranges of the path alone, in the order of the responses, however deep. */
START_TEST(a_plan_reads_its_path_in_order)
{
    put("k", "1");
    struct command_txn deep = {OPS(range_op("c", 0)), ELSE(range_op("x", 0))};
    struct command_txn inner = {IF(compare("k", COMPARE_VERSION, COMPARE_EQUAL, 5)),
                                OPS(range_op("y", 0)),
                                ELSE(range_op("b", 0), txn_op(&deep), range_op("d", 0))};
    struct command_txn txn = {OPS(range_op("a", 0), txn_op(&inner), range_op("e", 0))};
    struct txn_plan plan;
    ck_assert_int_eq(txn_plan(store, &txn, &plan), OK);
    ck_assert_uint_eq(plan.read_count, 5);
    const struct op_result *outer = plan.result.responses;
    const struct txn_result *nested = outer[1].txn;
    const struct range_result *places[] = {&outer[0].range, &nested->responses[0].range,
                                           &nested->responses[1].txn->responses[0].range,
                                           &nested->responses[2].range, &outer[2].range};
    ck_assert(plan.result.succeeded && !nested->succeeded);
    for (size_t i = 0; i < plan.read_count; i++) {
        ck_assert_uint_eq(plan.reads[i].query->key.data[0], (uint8_t)('a' + i));
        ck_assert_ptr_eq(plan.reads[i].ret, places[i]);
    }
    txn_plan_fini(&plan);
}
END_TEST

START_TEST(a_disk_that_fails_a_compare_is_told)
{
    put("k", "1");
    struct compare by_value = {.key = text("k"), .target = COMPARE_VALUE, .value = text("1")};
    struct command_txn txn = {IF(by_value), OPS(range_op("k", 0))};
    struct txn_plan plan;
    store_model_fail_range(store, ERR_IO);
    ck_assert_int_eq(txn_plan(store, &txn, &plan), ERR_IO);
}
END_TEST

/* It changes nothing, so its end is an error to one client and not the member's. */
START_TEST(a_plan_without_memory_is_told)
{
    put("k", "1");
    struct command_txn inner = {OPS(range_op("k", 0), range_op("no", 0))};
    struct command_txn txn = {IF(compare("k", COMPARE_VERSION, COMPARE_EQUAL, 1)),
                              OPS(range_op("k", 0), txn_op(&inner), range_op("k", 0))};
    FAULT_SWEEP (sweep) {
        struct txn_plan plan = {0};
        enum err err = txn_plan(store, &txn, &plan);
        size_t reads = plan.read_count;
        txn_plan_fini(&plan);
        fault_pause();
        ck_assert_int_eq(err, fault_fired() ? ERR_NOMEM : OK);
        ck_assert_uint_eq(reads, err == OK ? 4 : 0);
    }
}
END_TEST

/* Copies would differ: the process ends. */
START_TEST(a_disk_that_fails_an_apply_is_fatal)
{
    put("k", "1");
    struct command_txn txn = {OPS(put_op("l", "1"), range_op("k", 0))};
    struct txn_result result;
    int64_t revision;
    store_model_fail_range(store, ERR_CORRUPT);
    (void)apply(&txn, &result, &revision);
}
END_TEST

/* The same in a compare, whatever it is that this member alone hears from its database. */
static const enum err own_failures[] = {ERR_IO, ERR_CORRUPT, ERR_NOMEM, ERR_NO_SPACE, ERR_LOCKED};

START_TEST(a_compare_that_cannot_be_applied_is_fatal)
{
    put("k", "1");
    struct compare by_value = {.key = text("k"), .target = COMPARE_VALUE, .value = text("1")};
    struct command_txn txn = {IF(by_value), OPS(put_op("l", "1"))};
    struct txn_result result;
    int64_t revision;
    store_model_fail_range(store, own_failures[_i]);
    (void)apply(&txn, &result, &revision);
}
END_TEST

static Suite *txn_suite(void)
{
    Suite *suite = suite_create("txn");
    TCase *tc = tcase_create("compare");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_compare_is_etcds, 0, ARRAY_LEN(compares));
    tcase_add_loop_test(tc, a_range_is_compared_to_its_end_in_pieces, 0, 5);
    tcase_add_test(tc, all_compares_must_hold);
    tcase_add_test(tc, the_verdict_takes_the_branch);
    tcase_add_test(tc, a_nested_compare_does_not_see_the_outer_puts);
    tcase_add_test(tc, only_the_chosen_path_runs);
    suite_add_tcase(suite, tc);
    tc = tcase_create("refused");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, an_error_on_the_path_applies_nothing, 0, 7);
    tcase_add_test(tc, puts_are_checked_before_ranges);
    tcase_add_test(tc, an_ignored_value_must_have_been_there_before);
    tcase_add_test(tc, an_ignored_value_that_was_deleted_is_empty);
    tcase_add_test(tc, without_a_compaction_minus_one_is_the_newest);
    tcase_add_exit_test(tc, a_disk_that_fails_an_apply_is_fatal, 70);
    tcase_add_loop_exit_test(tc, a_compare_that_cannot_be_applied_is_fatal, 70, 0,
                             ARRAY_LEN(own_failures));
    suite_add_tcase(suite, tc);
    tc = tcase_create("responses");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, responses_tell_the_revision_of_their_moment);
    tcase_add_test(tc, what_hits_nothing_leaves_the_revision);
    tcase_add_test(tc, a_member_that_nobody_asked_builds_no_responses);
    tcase_add_test(tc, wanting_the_responses_changes_nothing);
    suite_add_tcase(suite, tc);
    tc = tcase_create("read");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, only_plain_ranges_are_read_only);
    tcase_add_test(tc, a_plan_gives_what_apply_would);
    tcase_add_test(tc, a_plan_reads_its_path_in_order);
    tcase_add_test(tc, a_disk_that_fails_a_compare_is_told);
    tcase_add_test(tc, a_plan_without_memory_is_told);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main_apart(txn_suite);
}
