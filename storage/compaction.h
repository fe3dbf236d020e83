/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_COMPACTION_H
#define STORAGE_COMPACTION_H

#include "storage/drain.h"
#include "storage/garbage.h"

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
 * What it finds does not go at once, but when it is most of the rows around it (garbage.h). So a
 * walk has three steps:
 *
 *   LOOKS     at the rows since the last walk: what do they supersede?
 *   CHOOSES   the rows of stretches that are worth it, and all that these supersede in turn
 *   REMOVES   them in the order of the table, all of a page at once; then it chooses again, until
 *             nothing is left to choose
 *
 * A row goes before the one that supersedes it. So whatever of them is there, others still tell
 * that it is superseded: to a start, which looks at every row anyway (compaction_load), to a hash,
 * and to the view of the living keys. Of a key that is deleted the tombstone is the last to go.
 *
 *     look: 5 names 3, 6† names 4, 7 names 5, 9† names 8    remove: 3 4 5 6† 8
 *
 * All goes in slices on the storage thread, behind what waits there. Those that change something
 * are transactions; that a walk is under way, and to which revision, is in the meta row. */
struct doomed_row {
    revision_t rev;
    uint32_t bytes; /* in the tally */
    uint32_t checksum;
};

struct doomed {
    struct doomed_row *rows;
    size_t count;
    size_t cap;
    size_t prepared; /* of the first ones it is known what they count for and supersede */
    size_t removed;  /* the first ones */
};

enum compaction_phase { COMPACTION_LOOKS, COMPACTION_CHOOSES, COMPACTION_REMOVES };

struct compaction {
    struct worker *storage;
    struct drain *drain;
    struct queue
        pins; /* struct backend_pin.link; the oldest, which has the lowest revision, first */

    struct job job;
    bool running;
    bool stopped;
    bool blocked; /* the last slice found the disk full */
    uint32_t remove_permille;

    /* While a job runs the storage thread's. */
    int64_t job_target; /* begin no walk beyond it */
    struct garbage garbage;
    enum compaction_phase phase; /* of the walk under way */
    revision_t looked_at;        /* the last row; 0: none yet */
    size_t choose_at;            /* as of garbage_next */
    struct doomed doomed;
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

struct compaction_config {
    struct worker *storage;
    struct drain *drain;
    uint32_t remove_permille; /* as in backend_config, but for 0 */
    /* The storage thread has done a slice; to be answered by compaction_on_report. */
    void (*on_report)(void *ctx, const struct drain_report *report);
    void *ctx;
};

/* GARBAGE is what compaction_load has made, and taken over; the drain's report is completed. */
void compaction_init(struct compaction *c, const struct compaction_config *config,
                     struct garbage *garbage);
void compaction_fini(struct compaction *c);
void compaction_register(struct compaction *c, struct metrics *metrics);
/* No new slices; the one that runs is done when the storage worker has closed. */
void compaction_stop(struct compaction *c);
/* Go on after a stop. */
void compaction_resume(struct compaction *c);
bool compaction_is_running(const struct compaction *c);

/* A database in state META is read as a whole: GARBAGE learns what earlier walks have found and
 * left, from each row in the order of the table. False: no memory. Thread: whoever has GARBAGE. */
void compaction_load_begin(struct garbage *garbage, const struct meta *meta);
MUST_CHECK bool compaction_load(struct garbage *garbage, const struct meta *meta,
                                const struct backend_row *row);
/* While stopped: another database is the drain's now, and GARBAGE what was found in it; what was
 * found in the old one is the caller's then. */
void compaction_replace(struct compaction *c, struct garbage *garbage);
/* While stopped: all that was found is in c->garbage, and stays until it goes on. ERR_NOMEM: not
 * all of it yet. Thread: storage. */
MUST_CHECK enum err compaction_settle(struct compaction *c);
/* Then: all of that is gone from the database. Thread: storage. */
void compaction_forget(struct compaction *c);
/* All that was found and is there, in no order; the caller frees it. Thread: storage. */
MUST_CHECK enum err compaction_leftover(const struct compaction *c, revision_t **ret,
                                        size_t *count);

void compaction_on_report(struct compaction *c, const struct drain_report *report);
void compaction_pin(struct compaction *c, struct backend_pin *pin, int64_t compacted_revision);
void compaction_unpin(struct compaction *c, struct backend_pin *pin);
/* The disk has room again. */
void compaction_retry(struct compaction *c);

#endif
