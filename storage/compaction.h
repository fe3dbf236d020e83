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
 * The rows that go lie anywhere in the table, which is one of pages: removed as the walk finds
 * them, each would cost a page of its own in the WAL and again in the file. So the walk first
 * looks, and only notes them; then they are removed in the order of the table, all of a page at
 * once. A row goes before the one that supersedes it: whatever of them a crash has removed, the
 * others still tell about the rest.
 *
 *     look: 5 names 3, 6† names 4, 7 names 5, 9† names 8    remove: 3 4 5 6† │ 8    then go on
 *
 * Both go in slices on the storage thread, behind what waits there. Those that remove are
 * transactions; the last of them has the progress of the walk in it (meta: walk_revision, walk_at),
 * and from there on it is looked again after a crash. */
struct doomed {
    revision_t *revs;
    size_t count;
    size_t cap;
    size_t removed;       /* of the first ones */
    revision_t looked_at; /* the last row; 0: none yet */
    bool ends;            /* the walk does, there */
    bool sorted;          /* enough was looked at: to be removed */
};

struct compaction {
    struct worker *storage;
    struct drain *drain;
    struct queue
        pins; /* struct backend_pin.link; the oldest, which has the lowest revision, first */

    struct job job;
    bool running;
    bool stopped;
    bool blocked; /* the last slice found the disk full */
    bool stale;   /* the database may be another one: what was noted does not count */
    /* What the job was told and what it found. */
    int64_t job_target;   /* begin no walk beyond it */
    struct doomed doomed; /* while a job runs the storage thread's */
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
void compaction_fini(struct compaction *c);
void compaction_register(struct compaction *c, struct metrics *metrics);
/* No new slices; the one that runs is done when the storage worker has closed. */
void compaction_stop(struct compaction *c);
/* Go on after a stop, with a database that may have been replaced. */
void compaction_resume(struct compaction *c);
bool compaction_is_running(const struct compaction *c);

void compaction_on_report(struct compaction *c, const struct drain_report *report);
void compaction_pin(struct compaction *c, struct backend_pin *pin, int64_t compacted_revision);
void compaction_unpin(struct compaction *c, struct backend_pin *pin);
/* The disk has room again. */
void compaction_retry(struct compaction *c);

#endif
