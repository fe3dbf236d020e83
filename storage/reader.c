/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/reader.h"

#include "base/assert.h"
#include "storage/rows.h"
#include "storage/tables.h"

/* A scan gives its snapshot back this often: while one is held, the WAL cannot begin anew. */
#define SNAPSHOT_ROWS_MAX  65536u
#define SNAPSHOT_BYTES_MAX (32u * 1024 * 1024)

static enum err open_conns(struct readers *readers, const char *path, const char *vfs,
                           struct why *why)
{
    while (readers->free_count < readers->count) {
        struct conn *conn = NULL;
        TRY(conn_open(path, vfs, CONN_READER, &conn, why));
        readers->conns[readers->free_count++] = conn;
        TRY(conn_set_up(conn, CONN_READER, why));
    }
    return OK;
}

static void close_conns(struct readers *readers)
{
    while (readers->free_count > 0) {
        conn_close(readers->conns[--readers->free_count]);
    }
}

enum err readers_init(struct readers *readers, struct env *env, const char *path, const char *vfs,
                      unsigned count, struct why *why)
{
    ASSERT(count >= 1 && count <= READERS_MAX);
    *readers = (struct readers){.count = count};
    queue_init(&readers->waiting);
    struct worker_config config = {.name = "reader", .threads = count};
    TRY(env_worker_new(env, &config, &readers->worker, why));
    return open_conns(readers, path, vfs, why);
}

static void start_job(struct readers *readers, struct job *job);
static void end_job(struct job *job);

/* While a file takes the place of another one requests wait, and a close may come before it is
 * there. */
void readers_fini(struct readers *readers)
{
    if (readers->worker != NULL) {
        worker_close(readers->worker);
        readers->worker = NULL;
        struct queue *link;
        while ((link = queue_pop_front(&readers->waiting)) != NULL) {
            end_job(QUEUE_ELEM(link, struct job, link));
        }
    }
    close_conns(readers);
}

/* The connection of a request that has ended goes to the next. */
static void give_back(struct readers *readers, struct conn *conn)
{
    readers->conns[readers->free_count++] = conn;
    struct queue *link;
    if (!readers->paused && (link = queue_pop_front(&readers->waiting)) != NULL) {
        start_job(readers, QUEUE_ELEM(link, struct job, link));
    }
    if (readers->free_count == readers->count && readers->on_quiet != NULL) {
        void (*on_quiet)(void *ctx) = readers->on_quiet;
        readers->on_quiet = NULL;
        close_conns(readers);
        on_quiet(readers->quiet_ctx);
    }
}

void readers_pause(struct readers *readers, void (*on_quiet)(void *ctx), void *ctx)
{
    ASSERT(!readers->paused);
    readers->paused = true;
    if (readers->free_count < readers->count) {
        readers->on_quiet = on_quiet;
        readers->quiet_ctx = ctx;
        return;
    }
    close_conns(readers);
    on_quiet(ctx);
}

enum err readers_resume(struct readers *readers, const char *path, const char *vfs, struct why *why)
{
    ASSERT(readers->paused && readers->on_quiet == NULL && readers->free_count == 0);
    TRY(open_conns(readers, path, vfs, why));
    readers->paused = false;
    while (readers->free_count > 0 && !queue_empty(&readers->waiting)) {
        struct queue *link = queue_pop_front(&readers->waiting);
        start_job(readers, QUEUE_ELEM(link, struct job, link));
    }
    return OK;
}

static void submit(struct readers *readers, struct job *job)
{
    if (readers->free_count == 0 || readers->paused) {
        queue_push_back(&readers->waiting, &job->link);
    } else {
        start_job(readers, job);
    }
}

/* Every row of one snapshot. Thread: a reader. */
static enum err fetch_all(struct backend_fetch *fetch, size_t *done)
{
    for (; *done < fetch->count; (*done)++) {
        TRY(rows_get(fetch->conn, fetch->revs[*done], &fetch->records[*done], &fetch->why));
    }
    return OK;
}

/* Thread: a reader. */
static void fetch_work(struct job *job)
{
    struct backend_fetch *fetch = CONTAINER_OF(job, struct backend_fetch, job);
    size_t done = 0;
    enum err err = conn_run_stmt(fetch->conn, STMT_BEGIN, &fetch->why);
    if (err == OK) {
        err = fetch_all(fetch, &done);
    }
    conn_rollback(fetch->conn);
    while (err != OK && done > 0) {
        record_unref(fetch->records[--done]);
        fetch->records[done] = NULL;
    }
    fetch->status = err;
}

static void fetch_done(struct job *job)
{
    struct backend_fetch *fetch = CONTAINER_OF(job, struct backend_fetch, job);
    give_back(fetch->readers, fetch->conn);
    fetch->cb(fetch);
}

void readers_fetch(struct readers *readers, struct backend_fetch *fetch)
{
    fetch->readers = readers;
    fetch->job = (struct job){.work = fetch_work, .done = fetch_done};
    submit(readers, &fetch->job);
}

/* Rows from FROM on, as many as one snapshot may give; *FROM moves behind the last. *ENDED: those
 * were all. Thread: a reader. */
static enum err scan_some(struct backend_scan *scan, struct rows *rows, revision_t *from,
                          bool *ended)
{
    uint64_t bytes = 0;
    for (uint32_t count = 0; count < SNAPSHOT_ROWS_MAX && bytes < SNAPSHOT_BYTES_MAX; count++) {
        bool more;
        struct backend_row row;
        TRY(rows_next(rows, &more, &row, &scan->why));
        if (!more) {
            *ended = true;
            return OK;
        }
        bytes += row.header_len + row.value_len;
        TRY(scan->rows(scan->rows_ctx, &row, 1));
        *from = row.rev + 1;
    }
    return OK;
}

/* Thread: a reader. */
static void scan_work(struct job *job)
{
    struct backend_scan *scan = CONTAINER_OF(job, struct backend_scan, job);
    revision_t from = scan->from;
    bool ended = false;
    enum err err = OK;
    if (scan->from_file) {
        (void)sqlite3_db_release_memory(scan->conn->db);
    }
    while (!ended && err == OK) {
        struct rows rows;
        err = rows_begin(&rows, scan->conn, from, scan->to, scan->with_values, &scan->why);
        if (err == OK) {
            err = scan_some(scan, &rows, &from, &ended);
            rows_end(&rows);
        }
    }
    scan->status = err;
}

static void scan_done(struct job *job)
{
    struct backend_scan *scan = CONTAINER_OF(job, struct backend_scan, job);
    give_back(scan->readers, scan->conn);
    scan->cb(scan);
}

void readers_scan(struct readers *readers, struct backend_scan *scan)
{
    scan->readers = readers;
    scan->job = (struct job){.work = scan_work, .done = scan_done};
    submit(readers, &scan->job);
}

/* Tables and their tally are of one snapshot. */
static enum err check_tables(struct backend_check *check)
{
    struct meta meta;
    (void)sqlite3_db_release_memory(check->conn->db);
    TRY(conn_run_stmt(check->conn, STMT_BEGIN, &check->why));
    TRY(schema_read_meta(check->conn, &meta, &check->why));
    return tables_verify(check->conn, &meta.tables, &check->why);
}

/* Thread: a reader. */
static void check_work(struct job *job)
{
    struct backend_check *check = CONTAINER_OF(job, struct backend_check, job);
    check->status = check_tables(check);
    conn_rollback(check->conn);
}

static void check_done(struct job *job)
{
    struct backend_check *check = CONTAINER_OF(job, struct backend_check, job);
    give_back(check->readers, check->conn);
    check->cb(check);
}

void readers_check(struct readers *readers, struct backend_check *check)
{
    check->readers = readers;
    check->job = (struct job){.work = check_work, .done = check_done};
    submit(readers, &check->job);
}

/* Give JOB the connection that is free, and let it run. */
static void start_job(struct readers *readers, struct job *job)
{
    ASSERT(readers->free_count > 0);
    struct conn *conn = readers->conns[--readers->free_count];
    if (job->work == fetch_work) {
        CONTAINER_OF(job, struct backend_fetch, job)->conn = conn;
    } else if (job->work == scan_work) {
        CONTAINER_OF(job, struct backend_scan, job)->conn = conn;
    } else {
        ASSERT(job->work == check_work);
        CONTAINER_OF(job, struct backend_check, job)->conn = conn;
    }
    worker_submit(readers->worker, job);
}

/* It has not run, and does not any more. */
static void end_job(struct job *job)
{
    if (job->work == fetch_work) {
        struct backend_fetch *fetch = CONTAINER_OF(job, struct backend_fetch, job);
        fetch->status = ERR_STOPPED;
        fetch->cb(fetch);
    } else if (job->work == scan_work) {
        struct backend_scan *scan = CONTAINER_OF(job, struct backend_scan, job);
        scan->status = ERR_STOPPED;
        scan->cb(scan);
    } else {
        ASSERT(job->work == check_work);
        struct backend_check *check = CONTAINER_OF(job, struct backend_check, job);
        check->status = ERR_STOPPED;
        check->cb(check);
    }
}
