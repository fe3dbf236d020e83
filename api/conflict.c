/* SPDX-License-Identifier: Apache-2.0 */
#include "api/conflict.h"

#include <stdlib.h>

#include "base/cleanup.h"

/* Puts as sorted keys, deletes as sorted intervals that do not touch, so that every question is one
 * walk over both. */

struct interval {
    struct bytes begin;
    struct bytes end;
};

struct keys {
    struct bytes *items;
    size_t count;
};

struct intervals {
    struct interval *items;
    size_t count;
};

static void keys_fini(struct keys *keys)
{
    free(keys->items);
    *keys = (struct keys){0};
}

static void intervals_fini(struct intervals *intervals)
{
    free(intervals->items);
    *intervals = (struct intervals){0};
}

static int order_keys(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static int order_intervals(const void *a, const void *b)
{
    return bytes_compare(((const struct interval *)a)->begin, ((const struct interval *)b)->begin);
}

/* A single key's interval [key, key] is marked by an end that equals its begin. */
static bool is_point(const struct interval *interval)
{
    return bytes_equal(interval->begin, interval->end);
}

static bool covers(const struct interval *interval, struct bytes key)
{
    if (bytes_compare(key, interval->begin) < 0) {
        return false;
    }
    return bytes_compare(key, interval->end) < 0 ||
           (is_point(interval) && bytes_equal(key, interval->end));
}

/* Does it end before KEY, so that later keys cannot lie in it either? */
static bool ends_before(const struct interval *interval, struct bytes key)
{
    int order = bytes_compare(interval->end, key);
    return order < 0 || (order == 0 && !is_point(interval));
}

/* Is one of the sorted keys in one of the sorted intervals? */
static bool intersect(const struct keys *keys, const struct intervals *intervals)
{
    size_t at = 0;
    for (size_t i = 0; i < keys->count; i++) {
        while (at < intervals->count && ends_before(&intervals->items[at], keys->items[i])) {
            at++;
        }
        if (at < intervals->count && covers(&intervals->items[at], keys->items[i])) {
            return true;
        }
    }
    return false;
}

/* Join what overlaps in a list that is sorted by begin. */
static void join_sorted(struct intervals *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct interval *last = kept == 0 ? NULL : &list->items[kept - 1];
        struct interval *next = &list->items[i];
        if (last == NULL || !covers(last, next->begin)) {
            list->items[kept++] = *next;
        } else if (bytes_compare(next->end, last->end) > 0) {
            last->end = next->end;
        }
    }
    list->count = kept;
}

/* INTO becomes the union of both sorted lists; FROM is emptied. */
static enum err unite(struct intervals *into, struct intervals *from)
{
    if (from->count == 0) {
        return OK;
    }
    size_t count = into->count + from->count;
    struct interval *all = calloc(count, sizeof *all);
    if (all == NULL) {
        return ERR_NOMEM;
    }
    size_t a = 0;
    size_t b = 0;
    for (size_t i = 0; i < count; i++) {
        bool take_a = b == from->count ||
                      (a < into->count && order_intervals(&into->items[a], &from->items[b]) <= 0);
        all[i] = take_a ? into->items[a++] : from->items[b++];
    }
    intervals_fini(into);
    intervals_fini(from);
    *into = (struct intervals){.items = all, .count = count};
    join_sorted(into);
    return OK;
}

/* INTO becomes the union of both sorted lists; a key in both is ERR_DUPLICATE_KEY unless SHARED
 * holds it too (may be NULL). */
static enum err merge_keys(struct keys *into, const struct keys *from, const struct keys *shared)
{
    size_t count = into->count + from->count;
    if (from->count == 0) {
        return OK;
    }
    struct bytes *all = calloc(count, sizeof *all);
    if (all == NULL) {
        return ERR_NOMEM;
    }
    size_t a = 0;
    size_t b = 0;
    size_t n = 0;
    while (a < into->count || b < from->count) {
        int order = a == into->count   ? 1
                    : b == from->count ? -1
                                       : bytes_compare(into->items[a], from->items[b]);
        if (order == 0) {
            bool exclusive = shared != NULL && shared->count > 0 &&
                             bsearch(&from->items[b], shared->items, shared->count,
                                     sizeof *shared->items, order_keys) != NULL;
            if (!exclusive) {
                free(all);
                return ERR_DUPLICATE_KEY;
            }
            b++;
        }
        all[n++] = order <= 0 ? into->items[a++] : from->items[b++];
    }
    keys_fini(into);
    *into = (struct keys){.items = all, .count = n};
    return OK;
}

/* What one kind of operation on this level writes. */
static enum err level_puts(const struct txn_op *ops, size_t count, struct keys *ret)
{
    ret->items = calloc(count + 1, sizeof *ret->items);
    if (ret->items == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == OP_PUT) {
            ret->items[ret->count++] = ops[i].put.key;
        }
    }
    qsort(ret->items, ret->count, sizeof *ret->items, order_keys);
    for (size_t i = 1; i < ret->count; i++) {
        if (bytes_equal(ret->items[i - 1], ret->items[i])) {
            return ERR_DUPLICATE_KEY;
        }
    }
    return OK;
}

static enum err level_deletes(const struct txn_op *ops, size_t count, struct intervals *ret)
{
    ret->items = calloc(count + 1, sizeof *ret->items);
    if (ret->items == NULL) {
        return ERR_NOMEM;
    }
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

static enum err check_level(const struct txn_op *ops, size_t count, struct keys *puts,
                            struct intervals *deletes);

/* One nested transaction: its branches exclude each other, but not what comes before and after it.
 */
static enum err check_nested(const struct command_txn *txn, struct keys *puts,
                             struct intervals *deletes)
{
    CLEANUP(keys_fini) struct keys then_puts = {0};
    CLEANUP(keys_fini) struct keys else_puts = {0};
    CLEANUP(intervals_fini) struct intervals then_deletes = {0};
    CLEANUP(intervals_fini) struct intervals else_deletes = {0};
    TRY(check_level(txn->success, txn->success_count, &then_puts, &then_deletes));
    TRY(check_level(txn->failure, txn->failure_count, &else_puts, &else_deletes));
    if (intersect(&then_puts, deletes) || intersect(&else_puts, deletes)) {
        return ERR_DUPLICATE_KEY;
    }
    TRY(merge_keys(puts, &then_puts, NULL));
    TRY(merge_keys(puts, &else_puts, &then_puts));
    TRY(unite(deletes, &then_deletes));
    return unite(deletes, &else_deletes);
}

/* PUTS and DELETES get what the level and all below it write, also on failure. */
static enum err check_level(const struct txn_op *ops, size_t count, struct keys *puts,
                            struct intervals *deletes)
{
    TRY(level_deletes(ops, count, deletes));
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == OP_TXN) {
            TRY(check_nested(ops[i].txn, puts, deletes));
        }
    }
    CLEANUP(keys_fini) struct keys own = {0};
    TRY(level_puts(ops, count, &own));
    if (intersect(&own, deletes)) {
        return ERR_DUPLICATE_KEY;
    }
    return merge_keys(puts, &own, NULL);
}

enum err conflict_check(const struct txn_op *ops, size_t count)
{
    CLEANUP(keys_fini) struct keys puts = {0};
    CLEANUP(intervals_fini) struct intervals deletes = {0};
    return check_level(ops, count, &puts, &deletes);
}
