/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/backend.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/fs_real.h"
#include "base/hash.h"
#include "storage/backend_private.h"
#include "storage/recover.h"
#include "storage/rows.h"
#include "storage/tables.h"

#define READER_THREADS_DEFAULT   2u
#define SYNC_INTERVAL_MS_DEFAULT 1000u
/* 4 MiB. All members apply the same, and so write back at about the same time: more would hold up
 * their logs' syncs for longer, and makes reading slower; fewer make the WAL begin anew more often,
 * which costs a sync. */
#define CHECKPOINT_FRAMES_DEFAULT 1024u
/* Two thirds: what is left of pages that are removed from is little enough for SQLite to put it
 * together. */
#define REMOVE_PERMILLE_DEFAULT 667u
/* Pages that SQLite uses without a row of ours: schema, roots, inner nodes. */
#define OVERHEAD_PERCENT 3u
#define PAGE_BYTES       4096u

void backend_sync(struct backend *backend)
{
    checkpoint_sync(&backend->checkpoint);
}

uint64_t backend_durable_index(const struct backend *backend)
{
    return backend->checkpoint.durable_index;
}

bool backend_is_full(const struct backend *backend)
{
    return backend->full;
}

/* ---- Reading ---- */

enum err backend_get(struct backend *backend, revision_t rev, struct record **ret, struct why *why)
{
    return rows_get(backend->conn, rev, ret, why);
}

static enum err append_record(struct record_list *list, const struct backend_row *row)
{
    if (!ARRAY_MAKE_ROOM(list->items, list->count, list->cap, 64)) {
        return ERR_NOMEM;
    }
    struct record *record = rows_record(row);
    if (record == NULL) {
        return ERR_NOMEM;
    }
    list->items[list->count++] = record;
    return OK;
}

static enum err read_records(struct rows *rows, size_t max_bytes, struct record_list *ret,
                             struct why *why)
{
    size_t bytes = 0;
    int64_t last = 0;
    for (;;) {
        bool more;
        struct backend_row row;
        TRY(rows_next(rows, &more, &row, why));
        if (!more || (bytes > max_bytes && revision_main(row.rev) != last)) {
            return OK;
        }
        TRY(append_record(ret, &row));
        bytes += sizeof(struct record) + row.header.key.len + row.value_len;
        last = revision_main(row.rev);
    }
}

enum err backend_read(struct backend *backend, revision_t from, revision_t to, size_t max_bytes,
                      struct record_list *ret, struct why *why)
{
    struct rows rows;
    TRY(rows_begin(&rows, backend->conn, from, to, true, why));
    enum err err = read_records(&rows, max_bytes, ret, why);
    rows_end(&rows);
    return err;
}

void backend_fetch(struct backend *backend, struct backend_fetch *fetch,
                   void (*cb)(struct backend_fetch *fetch))
{
    ASSERT(!backend->closing);
    fetch->cb = cb;
    readers_fetch(&backend->readers, fetch);
}

void backend_fetch_cancel(struct backend_fetch *fetch)
{
    fetch->reading.cancelled = true;
}

void backend_scan(struct backend *backend, struct backend_scan *scan,
                  void (*cb)(struct backend_scan *scan))
{
    ASSERT(!backend->closing);
    scan->cb = cb;
    readers_scan(&backend->readers, scan);
}

void backend_scan_cancel(struct backend_scan *scan)
{
    scan->reading.cancelled = true;
}

void backend_check(struct backend *backend, struct backend_check *check,
                   void (*cb)(struct backend_check *check))
{
    ASSERT(!backend->closing);
    check->cb = cb;
    readers_check(&backend->readers, check);
}

enum err backend_table_foreach(struct backend *backend, enum store_table table,
                               enum err (*fn)(void *ctx, struct bytes key, struct bytes value),
                               void *ctx, struct why *why)
{
    return tables_foreach(backend->conn, table, fn, ctx, NULL, why);
}

/* ---- Compaction, sizes ---- */

void backend_pin(struct backend *backend, struct backend_pin *pin, int64_t compacted_revision)
{
    compaction_pin(&backend->compaction, pin, compacted_revision);
}

void backend_unpin(struct backend *backend, struct backend_pin *pin)
{
    compaction_unpin(&backend->compaction, pin);
}

int64_t backend_removed_revision(const struct backend *backend)
{
    return backend->latest.removed_revision;
}

/* Thread: storage. */
static void leftover_work(struct job *job)
{
    struct backend_leftover *leftover = CONTAINER_OF(job, struct backend_leftover, job);
    struct backend *backend = leftover->backend;
    leftover->removed_revision = backend->drain.meta.removed_revision;
    leftover->status = compaction_leftover(&backend->compaction, &leftover->revs, &leftover->count);
}

static void leftover_done(struct job *job)
{
    struct backend_leftover *leftover = CONTAINER_OF(job, struct backend_leftover, job);
    leftover->cb(leftover);
}

void backend_leftover(struct backend *backend, struct backend_leftover *leftover,
                      void (*cb)(struct backend_leftover *leftover))
{
    ASSERT(!backend->closing);
    *leftover = (struct backend_leftover){.backend = backend, .cb = cb};
    leftover->job = (struct job){.work = leftover_work, .done = leftover_done};
    worker_submit(backend->storage, &leftover->job);
}

const char *backend_path(const struct backend *backend)
{
    return backend->path;
}

uint64_t backend_size_bytes(const struct backend *backend)
{
    return backend->latest.page_count * PAGE_BYTES;
}

struct set_hash backend_tables_hash(const struct backend *backend)
{
    return backend->latest.tables_hash;
}

uint64_t backend_committed_index(const struct backend *backend)
{
    return backend->latest.state.applied_index;
}

uint64_t backend_size_in_use_bytes(const struct backend *backend)
{
    const struct drain_report *report = &backend->latest;
    /* Pages half empty after a compaction are not in the list of free ones, and some rows wait for
     * their removal: count those that are needed, each as large as all are on the average. */
    uint64_t count = report->row_count > 0 ? report->row_count : 1;
    uint64_t needed = report->row_bytes / count * (report->row_count - report->superseded_rows);
    uint64_t rows = needed + needed * OVERHEAD_PERCENT / 100;
    uint64_t pages = (report->page_count - report->free_page_count) * PAGE_BYTES;
    uint64_t fixed = 16 * PAGE_BYTES;
    return rows + fixed < pages ? rows + fixed : pages;
}

void backend_copy(struct backend *backend, struct backend_copy *copy,
                  void (*cb)(struct backend_copy *copy))
{
    ASSERT(!backend->closing);
    copy->cb = cb;
    copy->kind = UPKEEP_COPY;
    copier_add(&backend->copier, copy);
}

void backend_defragment(struct backend *backend, struct backend_copy *copy,
                        void (*cb)(struct backend_copy *copy))
{
    ASSERT(!backend->closing);
    copy->cb = cb;
    copy->kind = UPKEEP_DEFRAGMENT;
    copier_add(&backend->copier, copy);
}

void backend_take_over(struct backend *backend, struct backend_takeover *takeover,
                       void (*cb)(struct backend_copy *copy))
{
    ASSERT(!backend->closing);
    takeover->copy.cb = cb;
    takeover->copy.kind = UPKEEP_TAKEOVER;
    copier_add(&backend->copier, &takeover->copy);
}

void backend_takeover_go(struct backend *backend)
{
    takeover_go(&backend->takeover);
}

void backend_takeover_abandon(struct backend *backend)
{
    takeover_abandon(&backend->takeover);
}

/* ---- Opening and closing ---- */

/* A file that may not be written is opened all the same by SQLite, and so is one whose header asks
 * for a newer program: better to hear it now than from the first batch. */
static enum err check_writable(struct conn *conn, struct why *why)
{
    if (sqlite3_db_readonly(conn->db, "main") == 1) {
        why_set(why, "'%s' may not be written", conn->path);
        return ERR_IO;
    }
    enum err err = conn_run_stmt(conn, STMT_BEGIN_WRITE, why);
    conn_rollback(conn);
    return err;
}

/* The writer's connection, to a database that is ours. */
static enum err open_database(const struct backend_config *config, struct conn **ret,
                              struct meta *meta, struct why *why)
{
    CLEANUP(conn_closep) struct conn *conn = NULL;
    TRY(conn_open(config->path, config->vfs, CONN_WRITER, &conn, why));
    TRY(check_writable(conn, why));
    bool is_new;
    TRY(schema_is_new(conn, &is_new, why));
    if (is_new) {
        TRY(conn_set_up(conn, CONN_WRITER, why));
        TRY(schema_create(conn, &config->identity, meta, why));
    } else {
        TRY(schema_verify(conn, &config->identity, meta, why));
        TRY(conn_set_up(conn, CONN_WRITER, why));
    }
    TRY(fs_sync_parent(config->fs, config->path, why));
    *ret = TAKE(conn);
    return OK;
}

enum err backend_open_reader(const struct backend_config *config, struct conn **ret,
                             struct why *why)
{
    CLEANUP(conn_closep) struct conn *conn = NULL;
    struct meta meta;
    TRY(conn_open(config->path, config->vfs, CONN_READER, &conn, why));
    TRY(conn_set_up(conn, CONN_READER, why));
    TRY(schema_read_meta(conn, &meta, why));
    *ret = TAKE(conn);
    return OK;
}

static enum err start_storage(struct backend *backend, struct conn **conn, const struct meta *meta,
                              struct why *why)
{
    TRY(drain_init(&backend->drain, backend->config.env, TAKE(*conn), meta, why));
    struct worker_config worker = {
        .name = "storage", .threads = 1, .run_batch = drain_run, .ctx = &backend->drain};
    return env_worker_new(backend->config.env, &worker, &backend->storage, why);
}

static enum err start_checkpoint(struct backend *backend, uint64_t durable_index, struct why *why)
{
    CLEANUP(conn_closep) struct conn *conn = NULL;
    TRY(backend_open_reader(&backend->config, &conn, why));
    checkpoint_sync_wal(conn);
    struct checkpoint_config config = {
        .env = backend->config.env,
        .storage = backend->storage,
        .drain = &backend->drain,
        .conn = conn,
        .sync_interval_ms = backend->config.sync_interval_ms,
        .frames = backend->config.checkpoint_frames,
        .durable_index = durable_index,
        .on_durable = backend->config.on_durable,
        .ctx = backend->config.ctx,
    };
    TRY(checkpoint_init(&backend->checkpoint, &config, why));
    conn = NULL;
    return OK;
}

static double size_bytes_gauge(void *ctx)
{
    return (double)backend_size_bytes(ctx);
}

static double size_in_use_gauge(void *ctx)
{
    return (double)backend_size_in_use_bytes(ctx);
}

static double superseded_rows_gauge(void *ctx)
{
    const struct backend *backend = ctx;
    return (double)backend->latest.superseded_rows;
}

static double defragmenting_gauge(void *ctx)
{
    const struct backend *backend = ctx;
    return backend->defrag.request != NULL;
}

static void register_metrics(struct backend *backend)
{
    struct metrics *metrics = backend->config.metrics;
    if (metrics == NULL) {
        return;
    }
    backend->commit_seconds =
        metrics_histogram(metrics, "etcd_disk_backend_commit_duration_seconds",
                          "Time that a transaction of the database took.", NULL, 0.001, 14);
    backend->defrag.seconds =
        metrics_histogram(metrics, "etcd_disk_backend_defrag_duration_seconds",
                          "Time that a defragmentation took.", NULL, 0.1, 13);
    metrics_gauge_fn(metrics, "etcd_disk_defrag_inflight", "1 while the database is rewritten.",
                     NULL, defragmenting_gauge, backend);
    compaction_register(&backend->compaction, metrics);
    metrics_gauge_fn(metrics, "trivet_mvcc_db_superseded_rows",
                     "Rows that compactions have superseded and that are still in the database.",
                     NULL, superseded_rows_gauge, backend);
    metrics_gauge_fn(metrics, "etcd_mvcc_db_total_size_in_bytes", "Size of the database file.",
                     NULL, size_bytes_gauge, backend);
    metrics_gauge_fn(metrics, "etcd_mvcc_db_total_size_in_use_in_bytes",
                     "Bytes of the database file that hold data.", NULL, size_in_use_gauge,
                     backend);
}

/* Free whatever was made; threads are at rest. */
static void free_backend(struct backend *backend)
{
    readers_fini(&backend->readers);
    copier_stop(&backend->copier);
    if (backend->checkpoint.worker != NULL) {
        checkpoint_stop(&backend->checkpoint);
    }
    worker_close(backend->storage);
    backend->storage = NULL;
    conn_close(backend->checkpoint.conn);
    conn_close(backend->conn);
    conn_close(backend->drain.conn);
    drain_fini(&backend->drain);
    copier_fini(&backend->copier);
    defrag_fini(&backend->defrag);
    compaction_fini(&backend->compaction);
    free(backend->path);
    free(backend->vfs);
    free(backend);
}

static void free_backendp(struct backend **backend)
{
    if (*backend != NULL) {
        free_backend(*backend);
    }
}

/* VALUE less up to a quarter, another part for each member: all of them apply the same at the same
 * time, and if their syncs and checkpoints kept step, too, no majority would be free of them. */
static unsigned spread(unsigned value, uint64_t member_id)
{
    return value - (unsigned)(value / 4 * (mix64(member_id) >> 56) / 255);
}

static enum err new_backend(const struct backend_config *config, struct backend **ret)
{
    struct backend *backend = calloc(1, sizeof *backend);
    if (backend == NULL) {
        return ERR_NOMEM;
    }
    queue_init(&backend->readers.waiting);
    backend->copier.source_fd = -1;
    backend->config = *config;
    backend->path = strdup(config->path);
    backend->vfs = config->vfs != NULL ? strdup(config->vfs) : NULL;
    backend->config.path = backend->path;
    backend->config.vfs = backend->vfs;
    backend->config.fs = config->fs != NULL ? config->fs : fs_real();
    if (config->reader_threads == 0) {
        backend->config.reader_threads = READER_THREADS_DEFAULT;
    }
    if (config->sync_interval_ms == 0) {
        backend->config.sync_interval_ms =
            spread(SYNC_INTERVAL_MS_DEFAULT, config->identity.member_id);
    }
    if (config->checkpoint_frames == 0) {
        backend->config.checkpoint_frames =
            spread(CHECKPOINT_FRAMES_DEFAULT, config->identity.member_id);
    }
    if (config->remove_permille == 0) {
        backend->config.remove_permille = REMOVE_PERMILLE_DEFAULT;
    }
    backend_writing_init(backend);
    if (backend->path == NULL || (config->vfs != NULL && backend->vfs == NULL)) {
        free_backend(backend);
        return ERR_NOMEM;
    }
    *ret = backend;
    return OK;
}

/* Threads and their connections, the database being sound. */
static enum err start_threads(struct backend *backend, struct conn **conn, const struct meta *meta,
                              struct garbage *garbage, struct why *why)
{
    const struct backend_config *config = &backend->config;
    TRY(start_storage(backend, conn, meta, why));
    TRY(backend_open_reader(config, &backend->conn, why));
    TRY(readers_init(&backend->readers, config->env, config->path, config->vfs,
                     config->reader_threads, why));
    struct compaction_config compaction = {
        .storage = backend->storage,
        .drain = &backend->drain,
        .remove_permille = config->remove_permille,
        .on_report = backend_on_slice,
        .ctx = backend,
    };
    compaction_init(&backend->compaction, &compaction, garbage);
    backend->latest = backend->drain.report;
    TRY(copier_init(&backend->copier, backend, why));
    TRY(defrag_init(&backend->defrag, backend));
    takeover_init(&backend->takeover, backend);
    return start_checkpoint(backend, meta->state.applied_index, why);
}

enum err backend_open(const struct backend_config *config, backend_rows_cb rows, void *rows_ctx,
                      struct backend_state *state, struct backend **ret, struct why *why)
{
    CLEANUP(free_backendp) struct backend *backend = NULL;
    TRY(new_backend(config, &backend));
    CLEANUP(conn_closep) struct conn *conn = NULL;
    struct meta meta;
    TRY(open_database(&backend->config, &conn, &meta, why));
    uint64_t start_ns = env_now_ns(config->env);
    CLEANUP(garbage_fini) struct garbage garbage;
    compaction_load_begin(&garbage, &meta);
    struct recover_sink sink = {.rows = rows, .ctx = rows_ctx, .garbage = &garbage};
    TRY(recover_rows(&backend->config, conn, &meta, !meta.clean, &sink, why));
    LOG_INFO(config->log, "opened database", LOG_STR("path", config->path),
             LOG_U64("rows", meta.rows.count), LOG_U64("applied-index", meta.state.applied_index),
             LOG_I64("revision", meta.state.revision), LOG_BOOL("closed-cleanly", meta.clean),
             LOG_U64("took-ms", (env_now_ns(config->env) - start_ns) / 1000000));
    TRY(start_threads(backend, &conn, &meta, &garbage, why));
    register_metrics(backend);
    *state = meta.state;
    *ret = TAKE(backend);
    compaction_resume(&(*ret)->compaction);
    return OK;
}

static enum err write_clean(struct drain *drain, struct meta *meta, void *ctx, struct why *why)
{
    (void)drain;
    (void)ctx;
    (void)why;
    meta->clean = true;
    return OK;
}

/* The last words: everything is written, nobody else has a connection. */
static void finish_database(struct backend *backend)
{
    struct drain *drain = &backend->drain;
    enum err err = drain_transact(drain, "close the database", write_clean, NULL);
    if (err == OK) {
        int rc = sqlite3_wal_checkpoint_v2(drain->conn->db, "main", SQLITE_CHECKPOINT_TRUNCATE,
                                           NULL, NULL);
        struct why why = {.text = ""};
        err = rc == SQLITE_OK ? OK : conn_error(drain->conn, rc, "checkpoint", &why);
        if (err != OK && err != ERR_NO_SPACE) {
            fatal("storage: close the database: %s: %s", err_text(err), why.text);
        }
    }
    if (err == ERR_NO_SPACE) {
        LOG_WARN(backend->config.log, "closed the database on a full disk",
                 LOG_STR("path", backend->path));
        checkpoint_sync_wal(drain->conn);
    }
}

void backend_close(struct backend *backend)
{
    if (backend == NULL) {
        return;
    }
    backend->closing = true;
    compaction_stop(&backend->compaction);
    defrag_stop(&backend->defrag);
    takeover_stop(&backend->takeover);
    copier_stop(&backend->copier);
    readers_fini(&backend->readers);
    backend_writing_stop(backend);
    checkpoint_stop(&backend->checkpoint);
    worker_close(backend->storage);
    backend->storage = NULL;
    checkpoint_fini(&backend->checkpoint);
    conn_close(TAKE(backend->conn));
    finish_database(backend);
    uint64_t applied_index = backend->drain.meta.state.applied_index;
    if (applied_index > backend->checkpoint.durable_index && backend->config.on_durable != NULL) {
        backend->config.on_durable(backend->config.ctx, applied_index);
    }
    backend_writing_fini(backend);
    LOG_INFO(backend->config.log, "closed database", LOG_STR("path", backend->path),
             LOG_U64("applied-index", applied_index));
    free_backend(backend);
}
