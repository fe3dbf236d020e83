/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/rangesort.h"

#include <stdlib.h>

#include "base/assert.h"

#define RUN 256u /* items of a run that is sorted at once */

static int order(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare_target(const struct range_item *a, const struct range_item *b,
                          enum range_target target)
{
    switch (target) {
    case TARGET_KEY:
        return order((int64_t)a->place, (int64_t)b->place);
    case TARGET_VERSION:
        return order(a->version, b->version);
    case TARGET_CREATE:
        return order(a->create_revision, b->create_revision);
    case TARGET_MOD:
        return order(revision_main(a->rev), revision_main(b->rev));
    case TARGET_VALUE:
        return bytes_compare(record_value(a->record), record_value(b->record));
    }
    return 0;
}

static int compare(const void *a, const void *b, void *ctx)
{
    const struct rangesort *sort = ctx;
    const struct range_item *x = a;
    const struct range_item *y = b;
    int result = compare_target(x, y, sort->target);
    if (result != 0) {
        return sort->descend ? -result : result;
    }
    return order((int64_t)x->place, (int64_t)y->place);
}

void rangesort_begin(struct rangesort *sort, struct range_item *items, struct range_item *spare,
                     size_t count, enum range_target target, bool descend)
{
    *sort = (struct rangesort){
        .target = target, .descend = descend, .items = items, .spare = spare, .count = count};
}

static void take_budget(size_t *budget, size_t n)
{
    *budget -= n < *budget ? n : *budget;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void sort_runs(struct rangesort *sort, size_t *budget)
{
    while (sort->at<sort->count && * budget> 0) {
        size_t n = least(RUN, sort->count - sort->at);
        qsort_r(sort->items + sort->at, n, sizeof sort->items[0], compare, sort);
        sort->at += n;
        take_budget(budget, n);
    }
    if (sort->at == sort->count) {
        sort->width = RUN;
        sort->at = 0;
    }
}

/* One item of this round's merges goes to its place. */
static void merge_one(struct rangesort *sort)
{
    size_t pair = sort->at / (2 * sort->width) * (2 * sort->width);
    size_t middle = least(pair + sort->width, sort->count);
    size_t end = least(pair + 2 * sort->width, sort->count);
    if (sort->at == pair) {
        sort->left = pair;
        sort->right = middle;
    }
    bool from_left = sort->right == end;
    if (sort->left < middle && sort->right < end) {
        from_left = compare(&sort->items[sort->left], &sort->items[sort->right], sort) < 0;
    }
    sort->spare[sort->at++] = sort->items[from_left ? sort->left++ : sort->right++];
}

static void merge_runs(struct rangesort *sort, size_t *budget)
{
    while (sort->at<sort->count && * budget> 0) {
        merge_one(sort);
        take_budget(budget, 1);
    }
    if (sort->at == sort->count) {
        struct range_item *merged = sort->spare;
        sort->spare = sort->items;
        sort->items = merged;
        sort->width *= 2;
        sort->at = 0;
    }
}

bool rangesort_some(struct rangesort *sort, size_t *budget)
{
    while (sort->width == 0 || sort->width < sort->count) {
        if (*budget == 0) {
            return false;
        }
        if (sort->width == 0) {
            sort_runs(sort, budget);
        } else {
            merge_runs(sort, budget);
        }
    }
    return true;
}
