/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "fsm/fsm.h"
#include "fsm/txn.h"
#include "tests/lib/effort.h"
#include "tests/lib/random_command.h"
#include "tests/lib/runner.h"
#include "tests/lib/store_model.h"

/* Random transactions against etcd's rules written down once more, as plainly as can be: the live
 * keys before the transaction are taken down in a list, every compare is held against that list,
 * the path that they choose is written out as one list of operations, checked, and then run one by
 * one on a store of its own. */

#define SEEDS        400
#define TXNS         40
#define PATH_MAX_OPS 4000

static struct arena arena;

/* What runs now: a failed assertion says it when the test is left. */
static struct what {
    uint64_t seed;
    uint64_t txn;
} what;

/* The path that was chosen: verdicts and operations in the order in which they are met. */
struct path {
    const struct txn_op *ops[PATH_MAX_OPS];
    size_t op_count;
    bool verdicts[PATH_MAX_OPS];
    size_t verdict_count;
};

static void setup(void)
{
    arena = (struct arena){0};
}

static void say_what(void)
{
    if (what.seed != 0) {
        fprintf(stderr, "# transaction %lu of seed %lu\n", (unsigned long)what.txn,
                (unsigned long)what.seed);
    }
}

static void teardown(void)
{
    arena_fini(&arena);
}

/* ---- compares, against the list of what was there before ---- */

static bool is_in(struct bytes key, const struct compare *compare)
{
    bool open_end = bytes_equal(compare->range_end, bytes_of("", 1));
    if (compare->range_end.len == 0) {
        return bytes_equal(key, compare->key);
    }
    return bytes_compare(key, compare->key) >= 0 &&
           (open_end || bytes_compare(key, compare->range_end) < 0);
}

static bool judge(uint32_t result, int order)
{
    return result == COMPARE_EQUAL       ? order == 0
           : result == COMPARE_GREATER   ? order > 0
           : result == COMPARE_LESS      ? order < 0
           : result == COMPARE_NOT_EQUAL ? order != 0
                                         : true;
}

static bool one_holds(const struct compare *compare, int64_t version, int64_t create, int64_t mod,
                      int64_t lease, struct bytes value)
{
    int64_t numbers[] = {version, create, mod, 0, lease};
    if (compare->target == COMPARE_VALUE) {
        return judge(compare->result, bytes_compare(value, compare->value));
    }
    if (compare->target > COMPARE_LEASE) {
        return judge(compare->result, 0);
    }
    int64_t have = numbers[compare->target];
    return judge(compare->result, have < compare->number ? -1 : have > compare->number);
}

static bool holds(const struct compare *compare, const struct record_list *before)
{
    bool any = false;
    for (size_t i = 0; i < before->count; i++) {
        const struct record *record = before->items[i];
        if (!is_in(record_key(record), compare)) {
            continue;
        }
        any = true;
        if (!one_holds(compare, record->version, record->create_revision,
                       record_mod_revision(record), record->lease, record_value(record))) {
            return false;
        }
    }
    return any ||
           (compare->target != COMPARE_VALUE && one_holds(compare, 0, 0, 0, 0, bytes_of(NULL, 0)));
}

/* The whole path is chosen before anything is written. */
static void choose(const struct command_txn *txn, const struct record_list *before,
                   struct path *path)
{
    bool verdict = true;
    for (size_t i = 0; i < txn->compare_count; i++) {
        verdict = verdict && holds(&txn->compares[i], before);
    }
    ck_assert_uint_lt(path->verdict_count, PATH_MAX_OPS);
    path->verdicts[path->verdict_count++] = verdict;
    const struct txn_op *ops = verdict ? txn->success : txn->failure;
    size_t count = verdict ? txn->success_count : txn->failure_count;
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == OP_TXN) {
            choose(ops[i].txn, before, path);
        } else {
            ck_assert_uint_lt(path->op_count, PATH_MAX_OPS);
            path->ops[path->op_count++] = &ops[i];
        }
    }
}

/* ---- what is refused ---- */

static bool was_there(struct bytes key, const struct record_list *before)
{
    bool found = false;
    for (size_t i = 0; i < before->count; i++) {
        found = found || bytes_equal(record_key(before->items[i]), key);
    }
    return found;
}

static enum err refusal(const struct path *path, const struct store *store,
                        const struct record_list *before)
{
    for (size_t i = 0; i < path->op_count; i++) {
        const struct command_put *put = &path->ops[i]->put;
        if (path->ops[i]->kind != OP_PUT) {
            continue;
        }
        if ((put->ignore_value || put->ignore_lease) && !was_there(put->key, before)) {
            return ERR_KEY_NOT_FOUND;
        }
        if (put->lease != 0) {
            return ERR_LEASE_NOT_FOUND; /* no lease was ever granted */
        }
    }
    for (size_t i = 0; i < path->op_count; i++) {
        int64_t revision = path->ops[i]->range.revision;
        if (path->ops[i]->kind != OP_RANGE || revision == 0) {
            continue;
        }
        if (revision > store_revision(store)) {
            return ERR_FUTURE_REVISION;
        }
        if (revision < store_compacted_revision(store)) {
            return ERR_COMPACTED;
        }
    }
    return OK;
}

/* ---- what is answered ---- */

static void ck_record(const struct record *got, const struct record *want)
{
    ck_assert_int_eq(got == NULL, want == NULL);
    if (got != NULL) {
        ck_assert_uint_eq(got->rev, want->rev);
        ck_assert(bytes_equal(record_key(got), record_key(want)));
        ck_assert(bytes_equal(record_value(got), record_value(want)));
        ck_assert_int_eq(got->create_revision, want->create_revision);
        ck_assert_int_eq(got->version, want->version);
        ck_assert_int_eq(got->lease, want->lease);
        ck_assert_int_eq(got->tombstone, want->tombstone);
    }
}

static void ck_records(const struct record_list *got, const struct record_list *want)
{
    ck_assert_uint_eq(got->count, want->count);
    for (size_t i = 0; i < got->count; i++) {
        ck_record(got->items[i], want->items[i]);
    }
}

/* Run one operation on the twin, and compare its outcome with the response. */
static void run_op(struct store *twin, const struct txn_op *op, const struct op_result *got,
                   int64_t before, bool *changed)
{
    if (op->kind == OP_RANGE) {
        struct range_result want = {0};
        ck_assert_int_eq(store_range(twin, &op->range, &want), OK);
        ck_assert_int_eq(got->range.count, want.count);
        ck_assert_int_eq(got->range.more, want.more);
        ck_records(&got->range.records, &want.records);
        range_result_fini(&want);
    } else if (op->kind == OP_PUT) {
        struct store_put put = {.key = op->put.key,
                                .value = op->put.value,
                                .ignore_value = op->put.ignore_value,
                                .ignore_lease = op->put.ignore_lease,
                                .want_prev = op->put.prev_kv};
        struct key_version version;
        if (!store_key_version(twin, op->put.key, &version)) {
            put.ignore_value = put.ignore_lease = false; /* deleted by this very transaction */
        }
        struct record *prev = NULL;
        ck_assert_int_eq(store_put(twin, &put, &prev), OK);
        ck_record(got->prev, prev);
        record_unref(prev);
        *changed = true;
    } else {
        int64_t deleted;
        struct record_list prevs = {0};
        ck_assert_int_eq(store_delete_range(twin, op->delete_range.key, op->delete_range.range_end,
                                            &deleted, op->delete_range.prev_kv ? &prevs : NULL),
                         OK);
        ck_assert_int_eq(got->delete_range.deleted, deleted);
        ck_records(&got->delete_range.prevs, &prevs);
        record_list_fini(&prevs);
        *changed = *changed || deleted > 0;
    }
    ck_assert_int_eq(got->revision, before + *changed);
}

/* Responses have the shape of the path: a nested transaction's stand inside its own. */
struct walk {
    const struct path *path;
    size_t op;
    size_t verdict;
    int64_t before;
    bool changed;
};

static void run_txn(struct store *twin, const struct txn_result *got, struct walk *walk)
{
    ck_assert_int_eq(got->succeeded, walk->path->verdicts[walk->verdict++]);
    for (size_t i = 0; i < got->response_count; i++) {
        const struct op_result *response = &got->responses[i];
        if (response->kind == OP_TXN) {
            run_txn(twin, response->txn, walk);
            continue;
        }
        ck_assert_uint_lt(walk->op, walk->path->op_count);
        const struct txn_op *op = walk->path->ops[walk->op++];
        ck_assert_int_eq(response->kind, op->kind);
        run_op(twin, op, response, walk->before, &walk->changed);
    }
}

/* ---- both stores, side by side ---- */

static void begin(struct store *store, uint64_t index)
{
    store_entry_begin(store, index, 1);
    store_txn_begin(store);
}

static int64_t end(struct store *store)
{
    int64_t revision = store_txn_end(store);
    store_entry_end(store);
    return revision;
}

static enum err one_txn(struct store *store, struct store *twin, const struct command_txn *txn,
                        uint64_t index)
{
    static struct path path;
    struct range_query everything = {.key = bytes_of("", 1), .range_end = bytes_of("", 1)};
    struct range_result before = {0};
    struct txn_result result = {0};
    path.op_count = path.verdict_count = 0;
    ck_assert_int_eq(store_range(twin, &everything, &before), OK);
    choose(txn, &before.records, &path);
    enum err want = refusal(&path, twin, &before.records);
    struct walk walk = {.path = &path, .before = store_revision(twin)};

    begin(store, index);
    enum err got = txn_apply(store, NULL, &arena, txn, true, &result);
    int64_t revision = end(store);
    ck_assert_msg(got == want, "got %s, want %s", err_text(got), err_text(want));
    begin(twin, index);
    if (want == OK) {
        run_txn(twin, &result, &walk);
        ck_assert_uint_eq(walk.op, path.op_count);
        ck_assert_uint_eq(walk.verdict, path.verdict_count);
    }
    ck_assert_int_eq(end(twin), revision);
    ck_assert_int_eq(revision, walk.before + walk.changed);
    range_result_fini(&before);
    txn_result_fini(&result);
    return want;
}

static void ck_same(struct store *store, struct store *twin)
{
    struct record_list got = {0};
    struct record_list want = {0};
    int64_t from = store_compacted_revision(store);
    ck_assert_int_eq(store_events(store, from, SIZE_MAX, &got), OK);
    ck_assert_int_eq(store_events(twin, from, SIZE_MAX, &want), OK);
    ck_records(&got, &want);
    record_list_fini(&got);
    record_list_fini(&want);
}

START_TEST(random_txns_do_what_the_plain_rules_say)
{
    unsigned applied = 0;
    ck_assert_int_eq(atexit(say_what), 0);
    unsigned seeds = effort_count(SEEDS, 40, "seeds");
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct random_commands random = {.state = seed,
                                         .arena = &arena,
                                         .letters = 2 + (unsigned)(seed % 3),
                                         .depth_max = 3,
                                         .revision_max = 20,
                                         .leases = seed % 8 == 0};
        struct store *store = store_model_new(NULL);
        struct store *twin = store_model_new(NULL);
        for (uint64_t i = 1; i <= TXNS; i++) {
            struct command_txn txn = random_txn(&random);
            what = (struct what){.seed = seed, .txn = i};
            applied += one_txn(store, twin, &txn, 2 * i) == OK;
            if (i == TXNS / 2 && seed % 2 == 0) {
                begin(store, 2 * i + 1);
                ck_assert_int_eq(store_compact(store, store_revision(store)), OK);
                (void)end(store);
                begin(twin, 2 * i + 1);
                ck_assert_int_eq(store_compact(twin, store_revision(twin)), OK);
                (void)end(twin);
            }
        }
        ck_same(store, twin);
        store_close(store);
        store_close(twin);
        arena_reset(&arena);
    }
    what.seed = 0;
    ck_assert_uint_gt(applied, seeds * TXNS / 4);
    ck_assert_uint_lt(applied, seeds * TXNS);
}
END_TEST

static Suite *txn_model_suite(void)
{
    Suite *suite = suite_create("txn_model");
    TCase *tc = tcase_create("txn_model");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, random_txns_do_what_the_plain_rules_say);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(txn_model_suite);
}
