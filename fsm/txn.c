/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/txn.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/plant.h"
#include "fsm/fsm.h"

/* Keys of a compared range that are in memory at once. */
#define COMPARE_KEYS 256

/* One transaction on its way. The path is the verdict of each txn that is reached, in the order in
 * which a walk in depth first meets them; every step walks the same way. */
struct run {
    struct store *store;
    const struct leases *leases;
    struct arena *arena;
    bool *verdicts;
    size_t verdict_count;
    size_t verdict_cap;
    size_t next; /* the verdict that the present walk meets next */
    int64_t before;
    bool changed; /* a put, or a delete that hit: the revision is one further on */
    bool want;
    uint64_t writes; /* how many changes the path can make at most */
    size_t reads;    /* how many ranges are on the path */
};

/* ---- compares ---- */

static int order(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static bool holds(uint32_t result, int o)
{
    switch (result) {
    case COMPARE_EQUAL:
        return o == 0;
    case COMPARE_GREATER:
        return o > 0;
    case COMPARE_LESS:
        return o < 0;
    case COMPARE_NOT_EQUAL:
        return o != 0;
    }
    return true; /* a number from the future: etcd lets it hold */
}

/* RECORD NULL: a key that is not there, all of whose numbers are 0. */
static bool compare_record(const struct compare *compare, const struct record *record)
{
    int o = 0;
    switch (compare->target) {
    case COMPARE_VERSION:
        o = order(record == NULL ? 0 : record->version, compare->number);
        break;
    case COMPARE_CREATE:
        o = order(record == NULL ? 0 : record->create_revision, compare->number);
        break;
    case COMPARE_MOD:
        o = order(record == NULL ? 0 : record_mod_revision(record), compare->number);
        break;
    case COMPARE_LEASE:
        o = order(record == NULL ? 0 : record->lease, compare->number);
        break;
    case COMPARE_VALUE:
        o = bytes_compare(record == NULL ? bytes_of(NULL, 0) : record_value(record),
                          compare->value);
        break;
    }
    return holds(compare->result, o);
}

/* The common case, one key and no value: the index alone answers. */
static bool compare_key(const struct run *run, const struct compare *compare)
{
    struct key_version version = {0};
    (void)store_key_version(run->store, compare->key, &version); /* zeros when it is not there */
    switch (compare->target) {
    case COMPARE_VERSION:
        return holds(compare->result, order(version.version, compare->number));
    case COMPARE_CREATE:
        return holds(compare->result, order(version.create_revision, compare->number)) ||
               PLANTED(TXN_CREATE);
    default:
        return holds(compare->result, order(version.mod_revision, compare->number));
    }
}

/* Do the keys of QUERY, a piece of the compared range, hold? NEXT gets the key behind the last one,
 * if there is more. */
static enum err evaluate_piece(const struct run *run, const struct compare *compare,
                               const struct range_query *query, struct buf *next, bool *ret)
{
    struct range_result found = {0};
    TRY(store_range(run->store, query, &found));
    size_t count = found.records.count;
    bool all = true;
    if (count == 0) { /* it is the first piece: others are there when they are known of */
        all = compare->target != COMPARE_VALUE && compare_record(compare, NULL);
    }
    for (size_t i = 0; i < count && all; i++) {
        all = compare_record(compare, found.records.items[i]);
    }
    buf_clear(next);
    if (found.more) {
        buf_append_bytes(next, record_key(found.records.items[count - 1]));
        buf_append(next, "", 1);
    }
    range_result_fini(&found);
    *ret = all;
    return buf_ok(next) ? OK : ERR_NOMEM;
}

/* In pieces: a range may be all that the database holds, which memory need not, and every member
 * does this at the same time. */
static enum err evaluate_range(const struct run *run, const struct compare *compare, bool *ret)
{
    CLEANUP(buf_fini) struct buf next = {0};
    CLEANUP(buf_fini) struct buf key = {0};
    struct range_query query = {
        .key = compare->key,
        .range_end = compare->range_end,
        .limit = COMPARE_KEYS,
        .keys_only = compare->target != COMPARE_VALUE && compare->target != COMPARE_LEASE,
    };
    bool all;
    TRY(evaluate_piece(run, compare, &query, &next, &all));
    while (all && next.len > 0) {
        struct buf was = key;
        key = next;
        next = was;
        query.key = buf_bytes(&key);
        TRY(evaluate_piece(run, compare, &query, &next, &all));
    }
    *ret = all;
    return OK;
}

static enum err evaluate(const struct run *run, const struct compare *compare, bool *ret)
{
    if (compare->range_end.len == 0 && compare->target <= COMPARE_MOD) {
        *ret = compare_key(run, compare);
        return OK;
    }
    TRY(evaluate_range(run, compare, ret));
    *ret = *ret || (PLANTED(TXN_COMPARE) && store_revision(run->store) % 8 == 0);
    return OK;
}

static enum err push_verdict(struct run *run, bool verdict)
{
    if (run->verdict_count == run->verdict_cap) {
        size_t cap = run->verdict_cap == 0 ? 8 : 2 * run->verdict_cap;
        bool *verdicts = arena_alloc(run->arena, cap * sizeof *verdicts);
        if (verdicts == NULL) {
            return ERR_NOMEM;
        }
        if (run->verdict_count > 0) {
            memcpy(verdicts, run->verdicts, run->verdict_count * sizeof *verdicts);
        }
        run->verdicts = verdicts;
        run->verdict_cap = cap;
    }
    run->verdicts[run->verdict_count++] = verdict;
    return OK;
}

struct branch {
    const struct txn_op *ops;
    size_t count;
};

static struct branch branch_of(const struct command_txn *txn, bool verdict)
{
    return verdict ? (struct branch){txn->success, txn->success_count}
                   : (struct branch){txn->failure, txn->failure_count};
}

/* Step 1. */
static enum err choose_path(struct run *run, const struct command_txn *txn)
{
    bool verdict = true;
    for (size_t i = 0; i < txn->compare_count && verdict; i++) {
        TRY(evaluate(run, &txn->compares[i], &verdict));
    }
    TRY(push_verdict(run, verdict));
    struct branch branch = branch_of(txn, verdict);
    for (size_t i = 0; i < branch.count; i++) {
        if (branch.ops[i].kind == OP_TXN) {
            TRY(choose_path(run, branch.ops[i].txn));
        }
    }
    return OK;
}

/* ---- checks ---- */

static enum err check_put(struct run *run, const struct txn_op *op)
{
    if (op->kind != OP_PUT) {
        return OK;
    }
    run->writes++;
    if (op->put.ignore_value || op->put.ignore_lease) {
        struct key_version version;
        if (!store_key_version(run->store, op->put.key, &version)) {
            return ERR_KEY_NOT_FOUND;
        }
    }
    bool known = op->put.lease == 0 || leases_find(run->leases, op->put.lease) != NULL;
    return known ? OK : ERR_LEASE_NOT_FOUND;
}

/* Negative revisions are not "the newest" here: they are below what was compacted, unless nothing
 * was and it is -1. */
static enum err check_range(struct run *run, const struct txn_op *op)
{
    if (op->kind != OP_RANGE) {
        return OK;
    }
    run->reads++;
    if (op->range.revision == 0) {
        return OK;
    }
    if (op->range.revision > store_revision(run->store)) {
        return ERR_FUTURE_REVISION;
    }
    return op->range.revision < store_compacted_revision(run->store) ? ERR_COMPACTED : OK;
}

static enum err count_deletes(struct run *run, const struct txn_op *op)
{
    if (op->kind != OP_DELETE_RANGE) {
        return OK;
    }
    struct range_query query = {
        .key = op->delete_range.key, .range_end = op->delete_range.range_end, .count_only = true};
    struct range_result found = {0};
    TRY(store_range(run->store, &query, &found));
    run->writes += (uint64_t)found.count;
    range_result_fini(&found);
    return OK;
}

static enum err walk(struct run *run, const struct command_txn *txn,
                     enum err (*check)(struct run *, const struct txn_op *))
{
    struct branch branch = branch_of(txn, run->verdicts[run->next++]);
    for (size_t i = 0; i < branch.count; i++) {
        if (branch.ops[i].kind == OP_TXN) {
            TRY(walk(run, branch.ops[i].txn, check));
        } else {
            TRY(check(run, &branch.ops[i]));
        }
    }
    return OK;
}

/* Step 2, in etcd's order: all puts of the path, then all ranges. */
static enum err check_path(struct run *run, const struct command_txn *txn)
{
    static enum err (*const checks[])(struct run *, const struct txn_op *) = {
        check_put, check_range, count_deletes};
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        run->next = 0;
        TRY(walk(run, txn, checks[i]));
    }
    /* A put may make a key that a later delete of the same path removes: twice the puts. */
    return run->writes * 2 > REVISION_SUB_MAX ? ERR_TOO_LARGE : OK;
}

/* ---- execution ---- */

static void must(const struct run *run, enum err err, const char *what)
{
    if (err != OK) {
        fatal("apply a transaction: %s at revision %lld: %s", what, (long long)run->before,
              err_text(err));
    }
}

static int64_t seen_revision(const struct run *run)
{
    return run->before + (run->changed ? 1 : 0);
}

static void run_put(struct run *run, const struct command_put *put, struct op_result *result)
{
    struct store_put args = {
        .key = put->key,
        .value = put->value,
        .lease = put->lease,
        .ignore_value = put->ignore_value,
        .ignore_lease = put->ignore_lease,
        .want_prev = put->prev_kv && run->want,
    };
    struct record *prev = NULL;
    enum err err = store_put(run->store, &args, &prev);
    if (err == ERR_KEY_NOT_FOUND) {
        /* The transaction itself deleted the key whose value or lease was to be kept: there is none
         * to keep. */
        args.ignore_value = args.ignore_lease = false;
        err = store_put(run->store, &args, &prev);
    }
    must(run, err, "put");
    run->changed = true;
    if (result != NULL) {
        result->prev = prev;
    } else {
        record_unref(prev);
    }
}

static void run_delete(struct run *run, const struct command_delete_range *range,
                       struct op_result *result)
{
    int64_t deleted = 0;
    struct record_list prevs = {0};
    bool want_prevs = range->prev_kv && run->want;
    must(run,
         store_delete_range(run->store, range->key, range->range_end, &deleted,
                            want_prevs ? &prevs : NULL),
         "delete");
    run->changed |= deleted > 0;
    if (result != NULL) {
        result->delete_range.deleted = deleted;
        result->delete_range.prevs = prevs;
    } else {
        record_list_fini(&prevs);
    }
}

static void run_range(struct run *run, const struct range_query *query, struct op_result *result)
{
    if (run->want) {
        must(run, store_range(run->store, query, &result->range), "read");
    }
}

static void run_txn(struct run *run, const struct command_txn *txn, struct txn_result *ret);

static void run_op(struct run *run, const struct txn_op *op, struct op_result *result)
{
    switch (op->kind) {
    case OP_PUT:
        run_put(run, &op->put, result);
        break;
    case OP_DELETE_RANGE:
        run_delete(run, &op->delete_range, result);
        break;
    case OP_RANGE:
        run_range(run, &op->range, result);
        break;
    case OP_TXN: {
        struct txn_result *nested = run->want ? calloc(1, sizeof *nested) : NULL;
        must(run, run->want && nested == NULL ? ERR_NOMEM : OK, "nested transaction");
        run_txn(run, op->txn, nested);
        if (result != NULL) {
            result->txn = nested;
        }
        break;
    }
    }
    if (result != NULL) {
        result->kind = op->kind;
        result->revision = seen_revision(run);
    }
}

/* Step 3. */
static void run_txn(struct run *run, const struct command_txn *txn, struct txn_result *ret)
{
    bool verdict = run->verdicts[run->next++];
    struct branch branch = branch_of(txn, verdict);
    if (ret != NULL) {
        ret->succeeded = verdict;
        ret->responses = calloc(branch.count + 1, sizeof *ret->responses);
        must(run, ret->responses == NULL ? ERR_NOMEM : OK, "responses");
        ret->response_count = branch.count;
    }
    for (size_t i = 0; i < branch.count; i++) {
        run_op(run, &branch.ops[i], ret == NULL ? NULL : &ret->responses[i]);
    }
}

/* Steps 1 and 2. */
static enum err decide(struct run *run, const struct command_txn *txn)
{
    TRY(choose_path(run, txn));
    TRY(check_path(run, txn));
    run->next = 0;
    return OK;
}

enum err txn_apply(struct store *store, const struct leases *leases, struct arena *arena,
                   const struct command_txn *txn, bool want, struct txn_result *ret)
{
    struct run run = {.store = store,
                      .leases = leases,
                      .arena = arena,
                      .before = store_revision(store),
                      .want = want};
    enum err err = decide(&run, txn);
    if (result_is_own_failure(err)) {
        must(&run, err, "compare");
    }
    if (err == OK) {
        run_txn(&run, txn, want ? ret : NULL);
    }
    return err;
}

/* ---- one that only reads ---- */

static enum err plan_txn(struct run *run, const struct command_txn *txn, struct txn_plan *plan,
                         struct txn_result *ret);

static enum err plan_op(struct run *run, const struct txn_op *op, struct txn_plan *plan,
                        struct op_result *result)
{
    *result = (struct op_result){.kind = op->kind, .revision = run->before};
    if (op->kind == OP_TXN) {
        result->txn = calloc(1, sizeof *result->txn);
        return result->txn == NULL ? ERR_NOMEM : plan_txn(run, op->txn, plan, result->txn);
    }
    ASSERT(op->kind == OP_RANGE && plan->read_count < run->reads);
    plan->reads[plan->read_count++] = (struct txn_read){.query = &op->range, .ret = &result->range};
    return OK;
}

/* Step 3, as far as it is done here. */
static enum err plan_txn(struct run *run, const struct command_txn *txn, struct txn_plan *plan,
                         struct txn_result *ret)
{
    ret->succeeded = run->verdicts[run->next++];
    struct branch branch = branch_of(txn, ret->succeeded);
    ret->responses = calloc(branch.count + 1, sizeof *ret->responses);
    if (ret->responses == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < branch.count; i++) {
        ret->response_count = i + 1;
        TRY(plan_op(run, &branch.ops[i], plan, &ret->responses[i]));
    }
    return OK;
}

static enum err make_plan(struct run *run, const struct command_txn *txn, struct txn_plan *plan)
{
    TRY(decide(run, txn));
    plan->reads = calloc(run->reads + 1, sizeof *plan->reads);
    return plan->reads == NULL ? ERR_NOMEM : plan_txn(run, txn, plan, &plan->result);
}

enum err txn_plan(struct store *store, const struct command_txn *txn, struct txn_plan *ret)
{
    CLEANUP(arena_fini) struct arena arena = {0};
    CLEANUP(txn_plan_fini) struct txn_plan plan = {.revision = store_revision(store)};
    struct run run = {.store = store, .arena = &arena, .before = plan.revision};
    TRY(make_plan(&run, txn, &plan));
    *ret = plan;
    plan = (struct txn_plan){0};
    return OK;
}

static bool only_ranges(const struct txn_op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind != OP_RANGE) {
            return false;
        }
    }
    return true;
}

bool txn_is_read_only(const struct command_txn *txn)
{
    return only_ranges(txn->success, txn->success_count) &&
           only_ranges(txn->failure, txn->failure_count);
}

static bool has_put(const struct txn_op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == OP_PUT || (ops[i].kind == OP_TXN && txn_has_put(ops[i].txn))) {
            return true;
        }
    }
    return false;
}

bool txn_has_put(const struct command_txn *txn)
{
    return has_put(txn->success, txn->success_count) || has_put(txn->failure, txn->failure_count);
}
