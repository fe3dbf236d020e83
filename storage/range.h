/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RANGE_H
#define STORAGE_RANGE_H

#include "storage/rangesort.h"
#include "storage/store_private.h"

/* A range as a walk that can stop and go on, at one revision:
 *
 *   WALK ──▶ (LOAD, when sorted by value) ──▶ SORT ──▶ cut ──▶ LOAD ──▶ GIVE ──▶ DONE
 *   index, in key order: count,                          values: ring,   records into
 *   filter, collect                                      then SQLite     the result
 *
 * store_range runs it to its end at once; store_range_start in slices, with threads that read what
 * is not in the ring (rangejob.c). */
enum range_phase { RANGE_WALK, RANGE_LOAD_ALL, RANGE_SORT, RANGE_LOAD, RANGE_GIVE, RANGE_DONE };

struct range_walk {
    struct store *store;
    struct range_query query;
    int64_t at; /* the revision that is read */
    enum range_phase phase;

    /* What the query comes down to. */
    bool count_known;     /* from the inner nodes: only what is collected must be walked */
    uint64_t collect_max; /* items to collect */
    bool sorted;
    bool by_value;

    struct buf resume; /* the last key that was looked at */
    bool begun;
    struct range_item *items;
    size_t count; /* of items */
    size_t cap;
    size_t keep; /* items that are in the answer; the others are dropped */
    size_t done; /* items that the present phase is through with */
    struct range_item *spare;
    struct rangesort sort;
    struct range_result result;
};

/* ERR_COMPACTED, ERR_FUTURE_REVISION: nothing was begun. */
MUST_CHECK enum err range_begin(struct range_walk *walk, struct store *store,
                                const struct range_query *query);
/* About BUDGET keys' worth of work in the phases that need no disk: stops before LOAD_ALL and LOAD,
 * which the caller does and ends with range_loaded, or at DONE. */
MUST_CHECK enum err range_some(struct range_walk *walk, size_t *budget);
bool range_wants_records(const struct range_walk *walk);
void range_loaded(struct range_walk *walk);
/* RET gets the result of a walk that is DONE. */
void range_take_result(struct range_walk *walk, struct range_result *ret);
void range_fini(struct range_walk *walk);

#endif
