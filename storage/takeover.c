/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/takeover.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/plant.h"
#include "storage/backend_private.h"
#include "storage/keyload.h"
#include "storage/rows.h"
#include "storage/tables.h"
#include "storage/takeplace.h"

#define RETRY_MS     5u
#define ATTEMPTS_MAX 400u

static const char *path_of(const struct takeover *t)
{
    return t->request->copy.path;
}

/* ---- CHECK: the copy thread ---- */

static enum err check_identity(struct takeover *t, struct conn *conn, struct why *why)
{
    const struct store_identity *ours = &t->backend->config.identity;
    TRY(schema_verify(conn, NULL, &t->meta, why));
    if (t->meta.identity.cluster_id != ours->cluster_id) {
        why_set(why, "'%s' belongs to cluster %llx, not to %llx", conn->path,
                (unsigned long long)t->meta.identity.cluster_id,
                (unsigned long long)ours->cluster_id);
        return ERR_FOREIGN;
    }
    struct store_manifest is = schema_manifest(&t->meta.identity, &t->meta.state);
    if (!store_manifest_equal(&is, &t->request->want)) {
        why_set(why,
                "'%s' is at index %llu and revision %lld, announced was index %llu, revision %lld",
                conn->path, (unsigned long long)is.applied_index, (long long)is.revision,
                (unsigned long long)t->request->want.applied_index,
                (long long)t->request->want.revision);
        return ERR_CORRUPT;
    }
    return OK;
}

static enum err load_rows(struct takeover *t, struct rows *rows, struct keyload *load,
                          struct tally *tally, struct why *why)
{
    for (;;) {
        bool more;
        struct backend_row row;
        TRY(rows_next(rows, &more, &row, why));
        if (!more) {
            return OK;
        }
        tally_add(tally, drain_row_bytes(row.header_len, row.value_len),
                  drain_row_element(row.rev, row.header.checksum));
        if (!compaction_load(&t->garbage, &t->meta, &row)) {
            return ERR_NOMEM;
        }
        TRY(keyload_add(load, row.rev, &row.header, why));
    }
}

static enum err check_rows(struct takeover *t, struct conn *conn, struct keyload *load,
                           struct why *why)
{
    TRY(tables_verify(conn, &t->meta.tables, why));
    struct tally tally = {0};
    struct rows rows;
    TRY(rows_begin(&rows, conn, 1, INT64_MAX, true, why));
    compaction_load_begin(&t->garbage, &t->meta);
    enum err err = load_rows(t, &rows, load, &tally, why);
    garbage_loaded(&t->garbage);
    revision_t last = rows.last;
    rows_end(&rows);
    TRY(err);
    if (!tally_equal(&tally, &t->meta.rows) ||
        (tally.count > 0 && revision_main(last) > t->meta.state.revision)) {
        why_set(why, "'%s': %llu rows that are not the %llu written", conn->path,
                (unsigned long long)tally.count, (unsigned long long)t->meta.rows.count);
        return ERR_CORRUPT;
    }
    struct backend_takeover *request = t->request;
    TRY(keyload_finish(load, t->meta.state.compacted_revision, &request->index, why));
    request->lease_count = keyload_take_leases(load, &request->leases);
    return OK;
}

/* It is this member's from now on. */
static enum err adopt(struct takeover *t, struct conn *conn, struct why *why)
{
    t->meta.identity = t->backend->config.identity;
    t->meta.clean = false;
    TRY(conn_set_up(conn, CONN_NEW, why));
    TRY(conn_run_stmt(conn, STMT_BEGIN_WRITE, why));
    TRY(schema_write_meta(conn, &t->meta, why));
    TRY(conn_run_stmt(conn, STMT_COMMIT, why));
    return PLANTED(STATE_NOT_SYNCED) ? OK : conn_sync(conn, why);
}

static void free_load(struct keyload **load)
{
    keyload_free(*load);
}

static enum err check_file(struct takeover *t, struct why *why)
{
    const struct backend_config *config = &t->backend->config;
    CLEANUP(free_load) struct keyload *load = keyload_new();
    if (load == NULL) {
        return ERR_NOMEM;
    }
    CLEANUP(conn_closep) struct conn *conn = NULL;
    TRY(conn_open(path_of(t), config->vfs, CONN_NEW, &conn, why));
    TRY(check_identity(t, conn, why));
    TRY(check_rows(t, conn, load, why));
    TRY(t->request->prepare(t->request, conn, why));
    return adopt(t, conn, why);
}

/* Thread: copy. */
static void check_work(struct job *job)
{
    struct takeover *t = CONTAINER_OF(job, struct takeover, job);
    struct backend_copy *copy = &t->request->copy;
    copy->status = check_file(t, &copy->why);
}

/* ---- The loop ---- */

static void end_request(struct takeover *t)
{
    struct backend *backend = t->backend;
    t->request = NULL;
    conn_close(TAKE(t->source));
    copier_end(&backend->copier, t->status);
}

/* Freeing takes long: the blocks of the file 100 ms for 250 MB, an index as much for a million
 * keys, be it the old one or one that is not needed after all. Thread: copy. */
static void free_work(struct job *job)
{
    struct takeover *t = CONTAINER_OF(job, struct takeover, job);
    struct backend_takeover *request = t->request;
    takeplace_let_go(TAKE(t->old));
    garbage_fini(&t->garbage);
    if (t->status == OK) {
        keyindex_free(TAKE(request->old_index));
        request->dispose(request);
    } else {
        keyindex_free(TAKE(request->index));
        free(TAKE(request->leases));
    }
}

static void free_done(struct job *job)
{
    end_request(CONTAINER_OF(job, struct takeover, job));
}

/* It has ended, with ERR. */
static void free_what_goes(struct takeover *t, enum err err)
{
    t->state = TAKEOVER_ENDING;
    t->status = err;
    t->job = (struct job){.work = free_work, .done = free_done};
    if (t->backend->closing) { /* and the copy thread may be gone */
        free_work(&t->job);
        end_request(t);
    } else {
        worker_submit(t->backend->copier.worker, &t->job);
    }
}

/* Everything is as it was. */
static void give_up(struct takeover *t, enum err err)
{
    takeplace_reopen(t->backend, 0);
    if (!t->backend->closing) {
        compaction_resume(&t->backend->compaction);
    }
    free_what_goes(t, err);
}

static void put_in_place(struct takeover *t)
{
    struct backend *backend = t->backend;
    struct drain *drain = &backend->drain;
    conn_close(TAKE(backend->conn));
    drain->meta = t->meta;
    takeplace_rename(&backend->config, drain, path_of(t), &t->old);
    backend_writing_drop(backend);
    compaction_replace(&backend->compaction, &t->garbage);
    backend->latest = drain->report;
    t->request->state = t->meta.state;
    t->request->switched(t->request);
    takeplace_reopen(backend, t->meta.state.applied_index);
    compaction_on_report(&backend->compaction, &backend->latest);
    compaction_resume(&backend->compaction);
    compaction_retry(&backend->compaction);
    t->request->settled(t->request);
    LOG_INFO(backend->config.log, "took another member's database", LOG_STR("path", backend->path),
             LOG_U64("rows", t->meta.rows.count),
             LOG_U64("applied-index", t->meta.state.applied_index),
             LOG_I64("revision", t->meta.state.revision),
             LOG_U64("took-ms", (env_now_ns(backend->config.env) - t->began_ns) / 1000000));
    free_what_goes(t, OK);
}

static void rest_storage(struct takeover *t);

/* All is at rest. */
static void do_switch(struct takeover *t)
{
    struct backend *backend = t->backend;
    struct backend_copy *copy = &t->request->copy;
    if (backend->closing || t->abandoned) {
        give_up(t, ERR_STOPPED);
    } else if (backend->batches_out > 0) {
        rest_storage(t); /* what found no room before is tried again */
    } else if (!t->request->still(t->request)) {
        why_set(&copy->why, "this member has come as far by itself");
        give_up(t, ERR_EXISTS);
    } else {
        enum err err = takeplace_end_old(&backend->drain, &copy->why);
        if (err == ERR_LOCKED && ++t->attempts < ATTEMPTS_MAX) {
            env_timer_start(backend->config.env, &t->retry_timer, RETRY_MS);
        } else if (err != OK) {
            give_up(t, err == ERR_LOCKED ? ERR_IO : err);
        } else {
            put_in_place(t);
        }
    }
}

static void on_retry(struct env_timer *timer)
{
    do_switch(CONTAINER_OF(timer, struct takeover, retry_timer));
}

static void nothing_work(struct job *job)
{
    (void)job; /* Thread: storage. It has nothing else when this is done */
}

static void storage_rests(struct job *job)
{
    do_switch(CONTAINER_OF(job, struct takeover, job));
}

static void rest_storage(struct takeover *t)
{
    t->job = (struct job){.work = nothing_work, .done = storage_rests};
    worker_submit(t->backend->storage, &t->job);
}

static void on_held(void *ctx, enum err err)
{
    struct takeover *t = ctx;
    if (err != OK) {
        free_what_goes(t, err);
        return;
    }
    rest_storage(t);
}

static void on_quiet(void *ctx)
{
    struct takeover *t = ctx;
    checkpoint_hold(&t->backend->checkpoint, on_held, t);
}

void takeover_go(struct takeover *t)
{
    ASSERT(t->request != NULL && t->state == TAKEOVER_WAITING);
    t->state = TAKEOVER_QUIET;
    compaction_stop(&t->backend->compaction);
    readers_pause(&t->backend->readers, on_quiet, t);
}

void takeover_abandon(struct takeover *t)
{
    if (t->request != NULL && t->state == TAKEOVER_WAITING) {
        free_what_goes(t, ERR_STOPPED);
    } else {
        t->abandoned = true;
    }
}

/* Little of the WAL is left to write back within the turn; or much, when a reader stood in the way.
 */
static void on_written_back(void *ctx, enum err err)
{
    struct takeover *t = ctx;
    conn_rollback(t->source);
    conn_close(TAKE(t->source));
    if (err == ERR_STOPPED || t->backend->closing || t->abandoned) {
        free_what_goes(t, ERR_STOPPED);
        return;
    }
    t->state = TAKEOVER_WAITING;
    t->request->checked(t->request);
}

static void check_done(struct job *job)
{
    struct takeover *t = CONTAINER_OF(job, struct takeover, job);
    struct backend_copy *copy = &t->request->copy;
    if (copy->status == OK && (t->backend->closing || t->abandoned)) {
        copy->status = ERR_STOPPED;
    }
    if (copy->status == OK) {
        copy->status = backend_open_reader(&t->backend->config, &t->source, &copy->why);
    }
    if (copy->status != OK) {
        free_what_goes(t, copy->status);
        return;
    }
    checkpoint_pin(&t->backend->checkpoint, t->source, &t->written_back, on_written_back, t);
}

void takeover_start(struct takeover *t, struct backend_copy *request)
{
    ASSERT(t->request == NULL);
    t->request = CONTAINER_OF(request, struct backend_takeover, copy);
    t->state = TAKEOVER_CHECK;
    t->abandoned = false;
    t->attempts = 0;
    t->began_ns = env_now_ns(t->backend->config.env);
    t->job = (struct job){.work = check_work, .done = check_done};
    worker_submit(t->backend->copier.worker, &t->job);
}

void takeover_init(struct takeover *t, struct backend *backend)
{
    *t = (struct takeover){.backend = backend};
    env_timer_init(&t->retry_timer, on_retry);
}

void takeover_stop(struct takeover *t)
{
    if (t->request == NULL) {
        return;
    }
    if (t->state == TAKEOVER_WAITING) {
        free_what_goes(t, ERR_STOPPED);
    } else if (env_timer_active(&t->retry_timer)) {
        env_timer_stop(t->backend->config.env, &t->retry_timer);
        do_switch(t);
    }
}
