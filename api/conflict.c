/* SPDX-License-Identifier: Apache-2.0 */
#include "api/conflict.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"

/* What is put and what is deleted are sets of intervals; a put is the interval of one key. A set is
 * a few sorted runs, each at least twice as long as the one behind it:
 *
 *   add a run    put it behind the others; while the last two are too alike, merge them
 *   has a key    a binary search in each run
 *
 * so that a txn of many nested ones is not sorted again with each of them. */

struct interval {
    struct bytes begin;
    struct bytes end; /* equal to begin: the interval of that key alone; else not in it */
};

/* Sorted, without overlap. */
struct run {
    struct interval *items;
    size_t count;
};

#define RUNS_MAX 64 /* the first is then longer than any memory */

struct set {
    struct run runs[RUNS_MAX];
    size_t count;
};

static void run_fini(struct run *run)
{
    free(run->items);
    *run = (struct run){0};
}

static void set_fini(struct set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        run_fini(&set->runs[i]);
    }
    set->count = 0;
}

static int order_intervals(const void *a, const void *b)
{
    return bytes_compare(((const struct interval *)a)->begin, ((const struct interval *)b)->begin);
}

static bool is_point(const struct interval *interval)
{
    return bytes_equal(interval->begin, interval->end);
}

/* Does an interval that begins at KEY or before have it in it? */
static bool reaches(const struct interval *interval, struct bytes key)
{
    int order = bytes_compare(key, interval->end);
    return order < 0 || (order == 0 && is_point(interval));
}

/* Join what overlaps in a run that is sorted by begin. */
static void join_sorted(struct run *run)
{
    size_t kept = 0;
    for (size_t i = 0; i < run->count; i++) {
        struct interval *last = kept == 0 ? NULL : &run->items[kept - 1];
        struct interval *next = &run->items[i];
        if (last == NULL || !reaches(last, next->begin)) {
            run->items[kept++] = *next;
        } else if (bytes_compare(next->end, last->end) > 0) {
            last->end = next->end;
        }
    }
    run->count = kept;
}

/* A becomes the union of both; B is emptied. */
static enum err merge_runs(struct run *a, struct run *b)
{
    struct run all = {.count = a->count + b->count};
    all.items = calloc(all.count, sizeof *all.items);
    if (all.items == NULL) {
        return ERR_NOMEM;
    }
    size_t from_a = 0;
    size_t from_b = 0;
    for (size_t i = 0; i < all.count; i++) {
        bool take_a =
            from_b == b->count ||
            (from_a < a->count && order_intervals(&a->items[from_a], &b->items[from_b]) <= 0);
        all.items[i] = take_a ? a->items[from_a++] : b->items[from_b++];
    }
    join_sorted(&all);
    run_fini(a);
    run_fini(b);
    *a = all;
    return OK;
}

/* RUN is emptied, also on failure. */
static enum err set_add(struct set *set, struct run *run)
{
    if (run->count == 0) {
        run_fini(run);
        return OK;
    }
    ASSERT(set->count < RUNS_MAX);
    set->runs[set->count++] = *run;
    *run = (struct run){0};
    while (set->count > 1) {
        struct run *last = &set->runs[set->count - 1];
        if (last[-1].count >= 2 * last->count) {
            break;
        }
        TRY(merge_runs(&last[-1], last));
        set->count--;
    }
    return OK;
}

static enum err set_add_all(struct set *set, struct set *from)
{
    for (size_t i = 0; i < from->count; i++) {
        TRY(set_add(set, &from->runs[i]));
    }
    return OK;
}

static bool run_has(const struct run *run, struct bytes key)
{
    size_t low = 0; /* intervals below begin at KEY or before */
    size_t high = run->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bytes_compare(run->items[middle].begin, key) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low > 0 && reaches(&run->items[low - 1], key);
}

static bool set_has(const struct set *set, struct bytes key)
{
    for (size_t i = 0; i < set->count; i++) {
        if (run_has(&set->runs[i], key)) {
            return true;
        }
    }
    return false;
}

/* Is one of the keys of RUN in one of the sets? */
static bool run_meets(const struct run *run, const struct set *puts, const struct set *deletes)
{
    for (size_t i = 0; i < run->count; i++) {
        if (set_has(puts, run->items[i].begin) || set_has(deletes, run->items[i].begin)) {
            return true;
        }
    }
    return false;
}

static bool set_meets(const struct set *keys, const struct set *puts, const struct set *deletes)
{
    for (size_t i = 0; i < keys->count; i++) {
        if (run_meets(&keys->runs[i], puts, deletes)) {
            return true;
        }
    }
    return false;
}

/* ---- one level ---- */

static enum err level_new(size_t count, struct run *ret)
{
    ret->items = calloc(count + 1, sizeof *ret->items);
    return ret->items == NULL ? ERR_NOMEM : OK;
}

/* The keys that this level puts; ERR_DUPLICATE_KEY when one comes twice. */
static enum err level_puts(const struct txn_op *ops, size_t count, struct run *ret)
{
    TRY(level_new(count, ret));
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == OP_PUT) {
            ret->items[ret->count++] =
                (struct interval){.begin = ops[i].put.key, .end = ops[i].put.key};
        }
    }
    qsort(ret->items, ret->count, sizeof *ret->items, order_intervals);
    for (size_t i = 1; i < ret->count; i++) {
        if (bytes_equal(ret->items[i - 1].begin, ret->items[i].begin)) {
            return ERR_DUPLICATE_KEY;
        }
    }
    return OK;
}

static enum err level_deletes(const struct txn_op *ops, size_t count, struct run *ret)
{
    TRY(level_new(count, ret));
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind != OP_DELETE_RANGE) {
            continue;
        }
        const struct command_delete_range *range = &ops[i].delete_range;
        struct interval interval = {.begin = range->key, .end = range->range_end};
        if (range->range_end.len == 0) {
            interval.end = range->key;
        } else if (bytes_compare(range->key, range->range_end) >= 0) {
            continue; /* deletes nothing; or everything from its key on, which etcd lets pass */
        }
        ret->items[ret->count++] = interval;
    }
    qsort(ret->items, ret->count, sizeof *ret->items, order_intervals);
    join_sorted(ret);
    return OK;
}

static enum err check_level(const struct txn_op *ops, size_t count, struct set *puts,
                            struct set *deletes);

/* One nested transaction: its branches exclude each other, but not what comes before and after it.
 */
static enum err check_nested(const struct command_txn *txn, struct set *puts, struct set *deletes)
{
    CLEANUP(set_fini) struct set then_puts = {0};
    CLEANUP(set_fini) struct set else_puts = {0};
    CLEANUP(set_fini) struct set then_deletes = {0};
    CLEANUP(set_fini) struct set else_deletes = {0};
    TRY(check_level(txn->success, txn->success_count, &then_puts, &then_deletes));
    TRY(check_level(txn->failure, txn->failure_count, &else_puts, &else_deletes));
    if (set_meets(&then_puts, puts, deletes) || set_meets(&else_puts, puts, deletes)) {
        return ERR_DUPLICATE_KEY;
    }
    TRY(set_add_all(puts, &then_puts));
    TRY(set_add_all(puts, &else_puts));
    TRY(set_add_all(deletes, &then_deletes));
    return set_add_all(deletes, &else_deletes);
}

/* PUTS and DELETES get what the level and all below it write, also on failure. */
static enum err check_level(const struct txn_op *ops, size_t count, struct set *puts,
                            struct set *deletes)
{
    CLEANUP(run_fini) struct run own_deletes = {0};
    TRY(level_deletes(ops, count, &own_deletes));
    TRY(set_add(deletes, &own_deletes));
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == OP_TXN) {
            TRY(check_nested(ops[i].txn, puts, deletes));
        }
    }
    CLEANUP(run_fini) struct run own_puts = {0};
    TRY(level_puts(ops, count, &own_puts));
    if (run_meets(&own_puts, puts, deletes)) {
        return ERR_DUPLICATE_KEY;
    }
    return set_add(puts, &own_puts);
}

enum err conflict_check(const struct txn_op *ops, size_t count)
{
    CLEANUP(set_fini) struct set puts = {0};
    CLEANUP(set_fini) struct set deletes = {0};
    return check_level(ops, count, &puts, &deletes);
}
