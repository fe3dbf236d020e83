/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_BACKEND_PRIVATE_H
#define STORAGE_BACKEND_PRIVATE_H

#include "storage/checkpoint.h"
#include "storage/compaction.h"
#include "storage/copy.h"
#include "storage/defrag.h"
#include "storage/reader.h"
#include "storage/takeover.h"

/* The loop's side: who is waiting for what, and which of the threads does what next. */
struct backend {
    struct backend_config config;
    char *path;
    char *vfs;
    struct conn *conn; /* the loop's own, for small reads */
    struct worker *storage;
    struct drain drain; /* the storage thread's, while a job is out */
    struct checkpoint checkpoint;
    struct compaction compaction;
    struct readers readers;
    struct copier copier;
    struct defrag defrag;
    struct takeover takeover;

    struct drain_report latest;
    struct histogram *commit_seconds;

    size_t batches_out; /* submitted to the storage thread */
    bool full; /* the disk is: batches wait, first those in refused, then those in stalled */
    struct queue refused; /* struct backend_batch.link: came back from the storage thread */
    struct queue stalled; /* not given to it yet */
    struct job retry;
    struct env_timer retry_timer;
    bool closing;
};

/* A connection that has read, so that its WAL is open. */
MUST_CHECK enum err backend_open_reader(const struct backend_config *config, struct conn **ret,
                                        struct why *why);

/* backend_write.c: everything but backend_write itself. */
void backend_writing_init(struct backend *backend);
/* No more retries but one, now. */
void backend_writing_stop(struct backend *backend);
/* Batches that wait for room are called back: their effect is in what has come in their place. */
void backend_writing_drop(struct backend *backend);
/* The storage thread has ended: what found no room is called back. */
void backend_writing_fini(struct backend *backend);
/* A slice of compaction has ended; CTX is the backend. */
void backend_on_slice(void *ctx, const struct drain_report *report);
/* The storage thread has done something. */
void backend_apply_report(struct backend *backend, const struct drain_report *report);

#endif
