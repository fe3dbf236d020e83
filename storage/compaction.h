/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_COMPACTION_H
#define STORAGE_COMPACTION_H

#include "storage/drain.h"

/* Removing from disk what compactions have removed logically.
 *
 * A row names the one it supersedes (prev_rev); so a walk over the rows up to the compacted
 * revision finds everything superseded there, in the order of the table, without an index:
 *
 *   compaction at 9      a@3   b@4   a@5(prev 3)   b@6† (prev 4)   a@7(prev 5)   c@9† ...
 *   the walk removes     a@3   b@4   a@5           b@6†                          (c@9† stays)
 *
 * The tombstone of the compacted revision itself stays, as etcd keeps it; the next walk begins
 * there and takes it. Rows below the last compaction were walked then: the cost is that of the rows
 * written since.
 *
 * A walk goes in slices, each a transaction of its own on the storage thread behind what waits
 * there, with its progress in it (meta: walk_revision, walk_at): a crash goes on with the next
 * slice. */
struct compaction {
    struct worker *storage;
    struct drain *drain;
    struct queue
        pins; /* struct backend_pin.link; the oldest, which has the lowest revision, first */

    struct job job;
    bool running;
    bool stopped;
    bool blocked; /* the last slice found the disk full */
    /* What the job was told and what it found. */
    int64_t job_target; /* begin no walk beyond it */
    enum err job_status;
    struct drain_report job_report;
    uint64_t job_removed; /* rows */
    uint64_t job_ns;      /* that it took */

    /* For the metrics, which may be NULL. */
    uint64_t began_ns; /* the removal under way; 0: none is */
    struct counter *removed_rows;
    struct gauge *last_seconds; /* wall clock */
    struct histogram *slice_ms;
    struct histogram *total_ms;

    struct drain_report latest;
    void (*on_report)(void *ctx, const struct drain_report *report);
    void *ctx;
};

/* ON_REPORT: the storage thread has done a slice; to be answered by compaction_on_report. */
void compaction_init(struct compaction *c, struct worker *storage, struct drain *drain,
                     void (*on_report)(void *ctx, const struct drain_report *report), void *ctx);
void compaction_register(struct compaction *c, struct metrics *metrics);
/* No new slices; the one that runs is done when the storage worker has closed. */
void compaction_stop(struct compaction *c);
/* Go on after a stop. */
void compaction_resume(struct compaction *c);
bool compaction_is_running(const struct compaction *c);

void compaction_on_report(struct compaction *c, const struct drain_report *report);
void compaction_pin(struct compaction *c, struct backend_pin *pin, int64_t compacted_revision);
void compaction_unpin(struct compaction *c, struct backend_pin *pin);
/* The disk has room again. */
void compaction_retry(struct compaction *c);

#endif
