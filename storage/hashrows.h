/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_HASHROWS_H
#define STORAGE_HASHROWS_H

#include "storage/backend.h"
#include "storage/hashkv.h"

/* HashKV of rows that are read from the log table, where removal may not have come as far as
 * compaction. What counts is found out by reading twice:
 *
 *   hashrows_collect   headers: which rows up to the compacted revision are superseded, by a row up
 *                      to there or by a later one? Not needed when nothing was compacted, nor below
 *                      a revision up to which it is known (hashrows_give)
 *   hashrows_begin
 *   hashrows_add       all rows up to the revision: hash those that count
 *   hashrows_again     no key is alive at it: once more from hashrows_begin on, with those that a
 *                      later row superseded
 *
 * All zero but the first two is a beginning. Thread: one at a time. */
struct hashrows {
    int64_t compacted;         /* the compacted revision; -1 or 0: never */
    int64_t revision;          /* that is hashed */
    struct superseded removed; /* by the compaction: superseded up to it */
    struct superseded later;   /* lived through it, superseded up to the hashed revision */
    struct hashkv hash;
    bool sealed;
    int64_t alive;   /* keys at the hashed revision */
    bool ends_there; /* the hashed revision has a tombstone */
};

/* Each a backend_rows_cb whose ctx is a struct hashrows. */
MUST_CHECK enum err hashrows_collect(void *ctx, const struct backend_row *rows, size_t count);
MUST_CHECK enum err hashrows_add(void *ctx, const struct backend_row *rows, size_t count);

/* COUNT rows that are superseded up to the compacted revision, before any is collected; REVS is
 * freed here. */
void hashrows_give(struct hashrows *h, revision_t *revs, size_t count);
void hashrows_begin(struct hashrows *h);
bool hashrows_again(struct hashrows *h);
void hashrows_fini(struct hashrows *h);

#endif
