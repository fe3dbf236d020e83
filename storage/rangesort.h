/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RANGESORT_H
#define STORAGE_RANGESORT_H

#include "storage/store.h"

/* A key that a range has found. */
struct range_item {
    revision_t rev;
    int64_t create_revision;
    int64_t version;
    uint64_t place;        /* among the found ones, in key order */
    struct record *record; /* with a count; NULL: not loaded yet */
};

/* Sorts items in slices: runs by qsort, then merges that double their length. Items that are equal
 * stay in key order. All zero is a sort that has not begun. */
struct rangesort {
    enum range_target target;
    bool descend;
    struct range_item *items;
    struct range_item *spare; /* room for as many */
    size_t count;
    size_t width; /* length of the runs that are sorted; 0: none yet */
    size_t at;    /* items of this round that are done */
    size_t left;  /* the merge that goes on: next of the left run, and of the right one */
    size_t right;
    size_t compared_bytes; /* of values, not yet taken from a budget */
};

/* ITEMS with room for COUNT more behind them in SPARE; by VALUE only when records are loaded. */
void rangesort_begin(struct rangesort *sort, struct range_item *items, struct range_item *spare,
                     size_t count, enum range_target target, bool descend);
/* About BUDGET items' worth of work, which is taken from it; long values cost more. True: sorted,
 * the result is in sort->items (which may be what SPARE was). */
bool rangesort_some(struct rangesort *sort, size_t *budget);

#endif
