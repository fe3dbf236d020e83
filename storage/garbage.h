/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_GARBAGE_H
#define STORAGE_GARBAGE_H

#include "storage/record.h"

/* Which rows of the log table compactions have superseded and have not removed yet.
 *
 * The table is one of pages, and rows come at its end alone: a page is of use again when it is
 * empty, or so nearly that SQLite puts what is left of it on another one (below a third). To take
 * one row in five out of every page would rewrite the table and free nothing. So rows are counted
 * by stretches of some pages, in the order of the table, and go when they are most of theirs:
 *
 *     stretch   │ ● ● ○ ● ● ● ● ● │ ○ ○ ○ ● ○ ○ ● ○ │ ● ● ...      ○ superseded
 *               │    they stay    │     they go     │
 *
 * A row of half a page or more is a stretch of its own, and goes at once. What stays is told by the
 * rows that supersede it: nobody needs to remember it over a restart.
 *
 * Thread: one at a time. */
struct stretch {
    revision_t first; /* its first row; it ends before that of the next one */
    uint32_t rows;    /* that are there, those of STALE among them */
    uint32_t bytes;   /* of these, about; no row counts for more than a stretch */
    uint32_t largest; /* bytes of a row */
    uint32_t stale_count;
    uint32_t stale_cap;
    revision_t *stale;
};

struct garbage {
    struct stretch *stretches;
    size_t count;
    size_t cap;
    uint64_t rows;   /* that are superseded */
    revision_t seen; /* the newest row that was */

    /* While loading all rows that were seen, for whom they supersede may be gone. */
    bool loading;
    revision_t *present;
    size_t present_count;
    size_t present_cap;
};

/* LOADING: until garbage_loaded rows may name others that are gone. All zero is one that is empty
 * and not loading. */
void garbage_init(struct garbage *garbage, bool loading);
void garbage_loaded(struct garbage *garbage);
void garbage_fini(struct garbage *garbage);

/* There is a row of so many BYTES; one that was seen before is passed over. False: no memory. */
MUST_CHECK bool garbage_see(struct garbage *garbage, revision_t rev, uint64_t bytes);
/* The row at REV, which was seen, is superseded, or a tombstone that nothing needs. May be told
 * twice. While loading a row that is not there is passed over. False: no memory. */
MUST_CHECK bool garbage_add(struct garbage *garbage, revision_t rev);

/* Is it superseded and there? */
bool garbage_has(const struct garbage *garbage, revision_t rev);
/* Somebody else sees to it from now on. False: it was not known. */
bool garbage_take(struct garbage *garbage, revision_t rev);
/* The row of so many BYTES, which was taken, was removed. */
void garbage_gone(struct garbage *garbage, revision_t rev, uint64_t bytes);

/* The next stretch from place *AT on of which PERMILLE or more are superseded, each as large as the
 * largest at a guess; NULL: none is. Valid until the next garbage_see or garbage_sweep. */
struct stretch *garbage_next(struct garbage *garbage, size_t *at, uint32_t permille);

/* The superseded rows are gone, all of them. */
void garbage_forget(struct garbage *garbage);
/* Let go of stretches without rows. */
void garbage_sweep(struct garbage *garbage);
/* All superseded rows to *RET, which has room for them. */
void garbage_copy(const struct garbage *garbage, revision_t *ret);

#endif
