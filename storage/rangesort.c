/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/rangesort.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define RUN 256u /* items of a run that is sorted at once */
/* A comparison of values that begin alike reads both, and they may be megabytes: there is one in a
 * run, and so many bytes of it are as much work as an item. */
#define RUN_VALUES 2u
#define ITEM_BYTES 2048u

static int order(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int compare_values(struct rangesort *sort, struct bytes a, struct bytes b)
{
    size_t same = 0;
    size_t common = least(a.len, b.len);
    while (same + ITEM_BYTES < common && memcmp(a.data + same, b.data + same, ITEM_BYTES) == 0) {
        same += ITEM_BYTES;
    }
    sort->compared_bytes += same;
    return bytes_compare(bytes_of(a.data + same, a.len - same),
                         bytes_of(b.data + same, b.len - same));
}

static int compare_target(struct rangesort *sort, const struct range_item *a,
                          const struct range_item *b)
{
    switch (sort->target) {
    case TARGET_KEY:
        return order((int64_t)a->place, (int64_t)b->place);
    case TARGET_VERSION:
        return order(a->version, b->version);
    case TARGET_CREATE:
        return order(a->create_revision, b->create_revision);
    case TARGET_MOD:
        return order(revision_main(a->rev), revision_main(b->rev));
    case TARGET_VALUE:
        return compare_values(sort, record_value(a->record), record_value(b->record));
    }
    return 0;
}

static int compare(const void *a, const void *b, void *ctx)
{
    struct rangesort *sort = ctx;
    const struct range_item *x = a;
    const struct range_item *y = b;
    int result = compare_target(sort, x, y);
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

/* N items, and what was compared for them. */
static void take_budget(struct rangesort *sort, size_t *budget, size_t n)
{
    n += sort->compared_bytes / ITEM_BYTES;
    sort->compared_bytes %= ITEM_BYTES;
    *budget -= least(n, *budget);
}

static void sort_runs(struct rangesort *sort, size_t *budget)
{
    size_t run = sort->target == TARGET_VALUE ? RUN_VALUES : RUN;
    while (sort->at<sort->count && * budget> 0) {
        size_t n = least(run, sort->count - sort->at);
        qsort_r(sort->items + sort->at, n, sizeof sort->items[0], compare, sort);
        sort->at += n;
        take_budget(sort, budget, n);
    }
    if (sort->at == sort->count) {
        sort->width = run;
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
        take_budget(sort, budget, 1);
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
