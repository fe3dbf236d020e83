/* SPDX-License-Identifier: Apache-2.0 */
#include "base/assert.h"
#include "storage/backend_private.h"

/* Batches on their way to the storage thread, and what happens when the disk is full:
 *
 *   backend_write ──▶ storage thread ──▶ committed: batch->cb
 *        │ full            │ no room
 *        ▼                 ▼
 *      stalled          refused ──▶ every FULL_RETRY_MS, when none is out: refused, then stalled,
 *                                   in order, to the storage thread again
 *
 * Once one was refused, the storage thread refuses those behind it as well; so refused keeps the
 * order, and all of it is older than what is stalled. */
#define FULL_RETRY_MS 500u

void backend_apply_report(struct backend *backend, const struct drain_report *report)
{
    int64_t removed_before = backend->latest.removed_revision;
    backend->latest = *report;
    if (report->write_ns > 0) {
        histogram_observe(backend->commit_seconds, (double)report->write_ns / 1e9);
    }
    checkpoint_on_report(&backend->checkpoint, report);
    compaction_on_report(&backend->compaction, report);
    if (report->removed_revision > removed_before && backend->config.on_compacted != NULL) {
        backend->config.on_compacted(backend->config.ctx, report->removed_revision);
    }
}

/* Try again soon what found no room. */
static void start_retry_timer(struct backend *backend)
{
    if (!env_timer_active(&backend->retry_timer) && !backend->closing) {
        env_timer_start(backend->config.env, &backend->retry_timer, FULL_RETRY_MS);
    }
}

void backend_on_slice(void *ctx, const struct drain_report *report)
{
    struct backend *backend = ctx;
    backend_apply_report(backend, report);
    if (backend->compaction.blocked) {
        start_retry_timer(backend);
    }
    defrag_on_compaction_quiet(&backend->defrag);
}

static void submit_batch(struct backend *backend, struct backend_batch *batch)
{
    backend->batches_out++;
    worker_submit(backend->storage, &batch->job);
}

static void set_full(struct backend *backend, bool full)
{
    if (backend->full == full) {
        return;
    }
    backend->full = full;
    if (full) {
        LOG_ERROR(backend->config.log, "disk is full, writes to the database wait",
                  LOG_STR("path", backend->path));
    } else {
        LOG_INFO(backend->config.log, "disk has room again", LOG_STR("path", backend->path));
    }
    if (backend->config.on_full != NULL) {
        backend->config.on_full(backend->config.ctx, full);
    }
}

static void retry_work(struct job *job)
{
    struct backend *backend = CONTAINER_OF(job, struct backend, retry);
    drain_retry(&backend->drain); /* Thread: storage */
}

static void retry_done(struct job *job)
{
    (void)job;
}

/* Hand what waits for room to the storage thread, in order. */
static void retry_batches(struct backend *backend)
{
    ASSERT(backend->batches_out == 0);
    worker_submit(backend->storage, &backend->retry);
    struct queue again;
    queue_init(&again);
    queue_splice(&again, &backend->refused);
    queue_splice(&again, &backend->stalled);
    struct queue *link;
    while ((link = queue_pop_front(&again)) != NULL) {
        submit_batch(backend, QUEUE_ELEM(link, struct backend_batch, link));
    }
}

static bool batches_wait(const struct backend *backend)
{
    return !queue_empty(&backend->refused) || !queue_empty(&backend->stalled);
}

static void on_retry_timer(struct env_timer *timer)
{
    struct backend *backend = CONTAINER_OF(timer, struct backend, retry_timer);
    compaction_retry(&backend->compaction);
    if (backend->batches_out > 0) {
        start_retry_timer(backend);
    } else if (batches_wait(backend)) {
        retry_batches(backend);
    }
}

static void on_refused(struct backend *backend, struct backend_batch *batch)
{
    queue_push_back(&backend->refused, &batch->link);
    set_full(backend, true);
    start_retry_timer(backend);
}

static void batch_done(struct job *job)
{
    struct backend_batch *batch = CONTAINER_OF(job, struct backend_batch, job);
    struct backend *backend = batch->backend;
    backend->batches_out--;
    if (batch->status == ERR_NO_SPACE) {
        on_refused(backend, batch);
        return;
    }
    ASSERT(batch->status == OK);
    backend_apply_report(backend, &batch->report);
    if (!batches_wait(backend)) {
        set_full(backend, false);
    } else if (backend->batches_out == 0) {
        retry_batches(backend); /* those that came since the retry that has just succeeded */
    }
    batch->cb(batch);
}

void backend_write(struct backend *backend, struct backend_batch *batch,
                   void (*cb)(struct backend_batch *batch))
{
    ASSERT(!backend->closing);
    batch->backend = backend;
    batch->cb = cb;
    batch->job = (struct job){.work = drain_batch_work, .done = batch_done};
    queue_init(&batch->link);
    if (backend->full) {
        queue_push_back(&backend->stalled, &batch->link);
    } else {
        submit_batch(backend, batch);
    }
}

void backend_writing_init(struct backend *backend)
{
    queue_init(&backend->refused);
    queue_init(&backend->stalled);
    backend->retry = (struct job){.work = retry_work, .done = retry_done};
    env_timer_init(&backend->retry_timer, on_retry_timer);
}

void backend_writing_stop(struct backend *backend)
{
    env_timer_stop(backend->config.env, &backend->retry_timer);
    if (batches_wait(backend) && backend->batches_out == 0) {
        retry_batches(backend);
    }
}

void backend_writing_drop(struct backend *backend)
{
    env_timer_stop(backend->config.env, &backend->retry_timer);
    backend->drain.full = false; /* the storage thread is idle */
    backend_writing_fini(backend);
    set_full(backend, false);
}

void backend_writing_fini(struct backend *backend)
{
    queue_splice(&backend->refused, &backend->stalled);
    struct queue *link;
    while ((link = queue_pop_front(&backend->refused)) != NULL) {
        struct backend_batch *batch = QUEUE_ELEM(link, struct backend_batch, link);
        batch->status = ERR_NO_SPACE;
        batch->cb(batch);
    }
}
