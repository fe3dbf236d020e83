/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/defrag.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/limits.h"
#include "storage/backend_private.h"
#include "storage/rowfeed.h"
#include "storage/rows.h"
#include "storage/tables.h"
#include "storage/takeplace.h"

/* Rows of one read transaction at the source and one transaction at the target, which is then
 * synced: one sync of all of it would keep the disk from the Raft log's for a tenth of a second. */
#define PORTION_ROWS  32768u
#define PORTION_BYTES (4u * 1024 * 1024)
/* So few left to copy that the storage thread may as well do it while everything waits. */
#define BEHIND_ROWS  2048u
#define RETRY_MS     5u
#define ATTEMPTS_MAX 2000u

/* ---- Copying: the copy thread, and at last the storage thread ---- */

struct portion {
    struct defrag *defrag;
    struct rows *rows;
    unsigned count;
    uint64_t bytes;
};

static bool is_full(const struct portion *portion)
{
    return portion->count == PORTION_ROWS || portion->bytes >= PORTION_BYTES;
}

/* The next row that is not superseded, if there is one before PORTION is full. */
static enum err next_needed(struct portion *portion, bool *more, struct backend_row *row,
                            struct why *why)
{
    struct defrag *d = portion->defrag;
    for (;;) {
        *more = false;
        if (is_full(portion)) {
            return OK;
        }
        TRY(rows_next(portion->rows, more, row, why));
        if (!*more) {
            return OK;
        }
        portion->count++;
        portion->bytes += row->header_len + row->value_len;
        bool goes = garbage_has(&d->backend->compaction.garbage, row->rev);
        tally_add(goes ? &d->left_out : &d->copied,
                  drain_row_bytes(row->header_len, row->value_len),
                  drain_row_element(row->rev, row->header.checksum));
        d->next = row->rev + 1;
        if (!goes) {
            return OK;
        }
    }
}

static enum err next_row(void *ctx, struct feed_row *ret, bool *more, struct why *why)
{
    struct portion *portion = ctx;
    struct backend_row row;
    TRY(next_needed(portion, more, &row, why));
    if (!*more) {
        return OK;
    }
    *ret = (struct feed_row){.rev = row.rev,
                             .tombstone = row.header.tombstone,
                             .header = portion->rows->header,
                             .value = row.value};
    return OK;
}

/* The next rows of SOURCE: PORTION says how many. */
static enum err copy_portion(struct defrag *d, struct conn *source, struct portion *portion,
                             struct why *why)
{
    TRY(conn_run_stmt(d->target, STMT_BEGIN_WRITE, why));
    struct rows rows;
    TRY(rows_begin(&rows, source, d->next, INT64_MAX, true, why));
    *portion = (struct portion){.defrag = d, .rows = &rows};
    enum err err = rowfeed_insert(d->target, next_row, portion, why);
    rows_end(&rows);
    TRY(err);
    TRY(conn_run_stmt(d->target, STMT_COMMIT, why));
    return is_full(portion) ? conn_sync(d->target, why) : OK;
}

/* All rows of SOURCE until at most BEHIND were left when last looked. */
static enum err copy_rows(struct defrag *d, struct conn *source, unsigned behind, struct why *why)
{
    struct portion portion;
    do {
        TRY(copy_portion(d, source, &portion, why));
    } while (is_full(&portion) || portion.count > behind);
    return OK;
}

/* What is there and is no database: half a file, and its blocks take long to free. */
static void remove_leftover(struct defrag *d)
{
    struct fs *fs = d->backend->config.fs;
    struct fs_file *file = NULL;
    if (fs_open(fs, d->path, FS_WRITE, &file, NULL) == OK) {
        takeplace_let_go(file);
    }
    enum err err = fs_unlink(fs, d->path, NULL);
    (void)err; /* not there, or it is found again when the next one begins */
}

static enum err open_both(struct defrag *d, struct why *why)
{
    const struct backend_config *config = &d->backend->config;
    remove_leftover(d);
    /* A file that fills the disk would keep clients from writing, and come to nothing. */
    TRY(fs_check_room(config->fs, config->path, d->path, d->needed_bytes, SNAPSHOT_SPARE_BYTES,
                      why));
    TRY(backend_open_reader(config, &d->source, why));
    TRY(conn_open(d->path, config->vfs, CONN_NEW, &d->target, why));
    return conn_set_up(d->target, CONN_NEW, why);
}

static enum err rewrite(struct defrag *d, struct why *why)
{
    struct meta meta;
    TRY(open_both(d, why));
    TRY(schema_create(d->target, &d->backend->config.identity, &meta, why));
    TRY(copy_rows(d, d->source, BEHIND_ROWS, why));
    return conn_sync(d->target, why);
}

/* Thread: copy. */
static void rewrite_work(struct job *job)
{
    struct defrag *d = CONTAINER_OF(job, struct defrag, job);
    d->status = rewrite(d, &d->request->why);
}

struct table_copy {
    struct defrag *defrag;
    enum store_table table;
    struct tally tally;
    struct why *why;
};

static enum err copy_table_row(void *ctx, struct bytes key, struct bytes value)
{
    struct table_copy *copy = ctx;
    struct backend_change change = {.table = copy->table, .key = key, .value = value};
    return tables_change(copy->defrag->target, &change, &copy->tally, copy->why);
}

/* Small tables and state of DRAIN into the target. Thread: storage. */
static enum err copy_state(struct defrag *d, struct drain *drain, struct why *why)
{
    TRY(conn_run_stmt(d->target, STMT_BEGIN_WRITE, why));
    TRY(tables_clear(d->target, why)); /* an attempt before may have filled them */
    struct table_copy copy = {.defrag = d, .why = why};
    for (copy.table = 1; copy.table < TABLE_COUNT; copy.table++) {
        TRY(tables_foreach(drain->conn, copy.table, copy_table_row, &copy, NULL, why));
    }
    struct tally rows = d->copied;
    tally_merge(&rows, &d->left_out);
    if (!tally_equal(&copy.tally, &drain->meta.tables) || !tally_equal(&rows, &drain->meta.rows) ||
        d->left_out.count != d->backend->compaction.garbage.rows) {
        why_set(why, "'%s': the rows read are not those that were written", drain->conn->path);
        return ERR_CORRUPT;
    }
    struct meta meta = drain->meta;
    meta.rows = d->copied;
    TRY(schema_write_meta(d->target, &meta, why));
    return conn_run_stmt(d->target, STMT_COMMIT, why);
}

/* The new file as DRAIN's is now. Thread: storage. */
static enum err catch_up(struct defrag *d, struct drain *drain, struct why *why)
{
    TRY(copy_rows(d, drain->conn, 0, why));
    TRY(copy_state(d, drain, why));
    return conn_sync(d->target, why);
}

/* Thread: storage. */
static void switch_work(struct job *job)
{
    struct defrag *d = CONTAINER_OF(job, struct defrag, job);
    struct drain *drain = &d->backend->drain;
    struct why *why = &d->request->why;
    enum err err = catch_up(d, drain, why);
    if (err == ERR_LOCKED) {
        err = ERR_IO; /* only what follows may be tried again */
    }
    if (err == OK) {
        err = takeplace_end_old(drain, why);
    }
    if (err == OK) {
        conn_close(TAKE(d->target));
        drain->meta.rows = d->copied;
        takeplace_rename(&d->backend->config, drain, d->path, &d->old);
        compaction_forget(&d->backend->compaction);
    }
    d->report = drain->report;
    d->status = err;
}

/* ---- The loop ---- */

static void end_request(struct defrag *d)
{
    struct backend *backend = d->backend;
    struct backend_copy *request = TAKE(d->request);
    uint64_t took_ns = env_now_ns(backend->config.env) - d->began_ns;
    histogram_observe(d->seconds, (double)took_ns / 1e9);
    request->size_bytes = backend_size_bytes(backend);
    request->state = backend->latest.state;
    if (d->status == OK) {
        LOG_INFO(backend->config.log, "rewrote the database", LOG_STR("path", backend->path),
                 LOG_U64("size-bytes", request->size_bytes), LOG_U64("took-ms", took_ns / 1000000));
    } else if (!backend->closing) {
        LOG_WARN(backend->config.log, "could not rewrite the database",
                 LOG_STR("path", backend->path), LOG_STR("error", err_text(d->status)),
                 LOG_STR("why", request->why.text));
    }
    if (!backend->closing) {
        compaction_resume(&backend->compaction);
    }
    copier_end(&backend->copier, d->status);
}

/* Freeing the blocks of a file takes long, be it the old one or one that is not needed after all.
 * Thread: copy. */
static void clean_up_work(struct job *job)
{
    struct defrag *d = CONTAINER_OF(job, struct defrag, job);
    takeplace_let_go(TAKE(d->old));
    conn_close(TAKE(d->source));
    conn_close(TAKE(d->target));
    if (d->status != OK) {
        remove_leftover(d);
    }
}

static void clean_up_done(struct job *job)
{
    end_request(CONTAINER_OF(job, struct defrag, job));
}

/* It has ended, with ERR. */
static void clean_up(struct defrag *d, enum err err)
{
    d->status = err;
    d->job = (struct job){.work = clean_up_work, .done = clean_up_done};
    if (d->backend->closing) { /* and the copy thread may be gone */
        clean_up_work(&d->job);
        end_request(d);
    } else {
        worker_submit(d->backend->copier.worker, &d->job);
    }
}

static void submit_switch(struct defrag *d);

static void on_retry(struct env_timer *timer)
{
    submit_switch(CONTAINER_OF(timer, struct defrag, retry_timer));
}

static void switch_done(struct job *job)
{
    struct defrag *d = CONTAINER_OF(job, struct defrag, job);
    struct backend *backend = d->backend;
    if (d->status == ERR_LOCKED && ++d->attempts < ATTEMPTS_MAX && !backend->closing) {
        env_timer_start(backend->config.env, &d->retry_timer, RETRY_MS);
        return;
    }
    backend->latest = d->report;
    takeplace_reopen(backend, d->status == OK ? d->report.state.applied_index : 0);
    clean_up(d, d->status);
}

static void submit_switch(struct defrag *d)
{
    d->job = (struct job){.work = switch_work, .done = switch_done};
    worker_submit(d->backend->storage, &d->job);
}

static void on_held(void *ctx, enum err err)
{
    struct defrag *d = ctx;
    if (err != OK) {
        clean_up(d, err);
        return;
    }
    submit_switch(d);
}

static void on_quiet(void *ctx)
{
    struct defrag *d = ctx;
    checkpoint_hold(&d->backend->checkpoint, on_held, d);
}

/* Little of the WAL is left to write back while the readers wait; or much, when one of them stood
 * in the way. */
static void on_written_back(void *ctx, enum err err)
{
    struct defrag *d = ctx;
    conn_rollback(d->source);
    conn_close(TAKE(d->source));
    if (err == ERR_STOPPED || d->backend->closing) {
        clean_up(d, ERR_STOPPED);
        return;
    }
    readers_pause(&d->backend->readers, on_quiet, d);
}

static void rewrite_done(struct job *job)
{
    struct defrag *d = CONTAINER_OF(job, struct defrag, job);
    if (d->status != OK || d->backend->closing) {
        clean_up(d, d->status != OK ? d->status : ERR_STOPPED);
        return;
    }
    checkpoint_pin(&d->backend->checkpoint, d->source, &d->written_back, on_written_back, d);
}

static void begin_rewrite(struct defrag *d)
{
    d->next = 1;
    d->copied = (struct tally){0};
    d->left_out = (struct tally){0};
    d->attempts = 0;
    d->needed_bytes = backend_size_in_use_bytes(d->backend);
    d->job = (struct job){.work = rewrite_work, .done = rewrite_done};
    worker_submit(d->backend->copier.worker, &d->job);
}

/* Thread: storage. */
static void settle_work(struct job *job)
{
    struct defrag *d = CONTAINER_OF(job, struct defrag, job);
    d->status = compaction_settle(&d->backend->compaction);
}

static void settle_done(struct job *job)
{
    struct defrag *d = CONTAINER_OF(job, struct defrag, job);
    if (d->status != OK || d->backend->closing) {
        clean_up(d, d->status != OK ? d->status : ERR_STOPPED);
    } else {
        begin_rewrite(d);
    }
}

void defrag_start(struct defrag *defrag, struct backend_copy *request)
{
    ASSERT(defrag->request == NULL);
    defrag->request = request;
    defrag->began_ns = env_now_ns(defrag->backend->config.env);
    defrag->waits_for_compaction = true;
    compaction_stop(&defrag->backend->compaction);
    defrag_on_compaction_quiet(defrag);
}

void defrag_on_compaction_quiet(struct defrag *defrag)
{
    if (!defrag->waits_for_compaction || compaction_is_running(&defrag->backend->compaction)) {
        return;
    }
    defrag->waits_for_compaction = false;
    defrag->job = (struct job){.work = settle_work, .done = settle_done};
    worker_submit(defrag->backend->storage, &defrag->job);
}

enum err defrag_init(struct defrag *defrag, struct backend *backend)
{
    *defrag = (struct defrag){.backend = backend};
    env_timer_init(&defrag->retry_timer, on_retry);
    if (asprintf(&defrag->path, "%s.defrag", backend->config.path) < 0) {
        defrag->path = NULL;
        return ERR_NOMEM;
    }
    remove_leftover(defrag);
    return OK;
}

void defrag_stop(struct defrag *defrag)
{
    if (defrag->waits_for_compaction) {
        defrag->waits_for_compaction = false;
        clean_up(defrag, ERR_STOPPED);
    }
    if (env_timer_active(&defrag->retry_timer)) {
        env_timer_stop(defrag->backend->config.env, &defrag->retry_timer);
        submit_switch(defrag); /* once more, now */
    }
}

void defrag_fini(struct defrag *defrag)
{
    conn_close(defrag->source);
    conn_close(defrag->target);
    free(defrag->path);
}
