/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/reader.h"

#include "base/assert.h"
#include "base/cleanup.h"
#include "storage/rows.h"
#include "storage/tables.h"

/* A slice: about ten milliseconds of rows that are read. */
#define SLICE_ROWS  8192u
#define SLICE_BYTES (8u * 1024 * 1024)

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

/* Give it a connection that is free, and let it run. */
static void start(struct readers *readers, struct reader_job *reading)
{
    ASSERT(readers->free_count > 0);
    reading->conn = readers->conns[--readers->free_count];
    worker_submit(readers->worker, &reading->job);
}

/* NULL: none waits. */
static struct reader_job *take_waiting(struct readers *readers)
{
    struct queue *link = queue_pop_front(&readers->waiting);
    return link == NULL ? NULL : QUEUE_ELEM(link, struct reader_job, job.link);
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

/* While a file takes the place of another one requests wait, and a close may come before it is
 * there. */
void readers_fini(struct readers *readers)
{
    readers->closing = true;
    if (readers->worker != NULL) {
        worker_close(readers->worker);
        readers->worker = NULL;
        struct reader_job *reading;
        while ((reading = take_waiting(readers)) != NULL) {
            *reading->status = ERR_STOPPED;
            reading->end(reading);
        }
    }
    close_conns(readers);
}

/* The connection of a request that has ended goes to the next. */
static void give_back(struct readers *readers, struct conn *conn)
{
    readers->conns[readers->free_count++] = conn;
    struct reader_job *next;
    if (!readers->paused && (next = take_waiting(readers)) != NULL) {
        start(readers, next);
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
    struct reader_job *next;
    while (readers->free_count > 0 && (next = take_waiting(readers)) != NULL) {
        start(readers, next);
    }
    return OK;
}

/* Thread: a reader. */
static void work(struct job *job)
{
    struct reader_job *reading = CONTAINER_OF(job, struct reader_job, job);
    reading->more = false;
    *reading->status = reading->work(reading);
}

static void done(struct job *job)
{
    struct reader_job *reading = CONTAINER_OF(job, struct reader_job, job);
    struct readers *readers = reading->readers;
    bool ends = !reading->more || reading->cancelled || readers->closing;
    if (ends && reading->more) {
        *reading->status = reading->cancelled ? ERR_CANCELLED : ERR_STOPPED;
    }
    if (!ends) {
        queue_push_back(&readers->waiting, &job->link);
    }
    give_back(readers, reading->conn);
    if (ends) {
        reading->end(reading);
    }
}

static void submit(struct readers *readers, struct reader_job *reading)
{
    reading->readers = readers;
    reading->job = (struct job){.work = work, .done = done};
    if (readers->free_count == 0 || readers->paused) {
        queue_push_back(&readers->waiting, &reading->job.link);
    } else {
        start(readers, reading);
    }
}

/* Thread: a reader. */
static enum err fetch_some(struct backend_fetch *fetch)
{
    size_t bytes = 0;
    for (; fetch->done < fetch->count && bytes < SLICE_BYTES; fetch->done++) {
        struct record **record = &fetch->records[fetch->done];
        TRY(rows_get(fetch->reading.conn, fetch->revs[fetch->done], record, &fetch->why));
        bytes += record_size(*record);
    }
    fetch->reading.more = fetch->done < fetch->count;
    return OK;
}

static enum err fetch_work(struct reader_job *reading)
{
    struct backend_fetch *fetch = CONTAINER_OF(reading, struct backend_fetch, reading);
    enum err err = conn_run_stmt(reading->conn, STMT_BEGIN, &fetch->why);
    if (err == OK) {
        err = fetch_some(fetch);
    }
    conn_rollback(reading->conn);
    return err;
}

static void fetch_end(struct reader_job *reading)
{
    struct backend_fetch *fetch = CONTAINER_OF(reading, struct backend_fetch, reading);
    while (fetch->status != OK && fetch->done > 0) {
        fetch->done--;
        record_unref(TAKE(fetch->records[fetch->done]));
    }
    fetch->cb(fetch);
}

void readers_fetch(struct readers *readers, struct backend_fetch *fetch)
{
    fetch->done = 0;
    fetch->reading =
        (struct reader_job){.status = &fetch->status, .work = fetch_work, .end = fetch_end};
    submit(readers, &fetch->reading);
}

/* Thread: a reader. */
static enum err scan_some(struct backend_scan *scan, struct rows *rows)
{
    uint64_t bytes = 0;
    for (uint32_t count = 0; count < SLICE_ROWS && bytes < SLICE_BYTES; count++) {
        bool more;
        struct backend_row row;
        TRY(rows_next(rows, &more, &row, &scan->why));
        if (!more) {
            return OK;
        }
        bytes += row.header_len + row.value_len;
        TRY(scan->rows(scan->rows_ctx, &row, 1));
        scan->next = row.rev + 1;
    }
    scan->reading.more = true;
    return OK;
}

static enum err scan_work(struct reader_job *reading)
{
    struct backend_scan *scan = CONTAINER_OF(reading, struct backend_scan, reading);
    struct rows rows;
    if (scan->from_file) {
        (void)sqlite3_db_release_memory(reading->conn->db);
    }
    TRY(rows_begin(&rows, reading->conn, scan->next, scan->to, scan->with_values, &scan->why));
    enum err err = scan_some(scan, &rows);
    rows_end(&rows);
    return err;
}

static void scan_end(struct reader_job *reading)
{
    struct backend_scan *scan = CONTAINER_OF(reading, struct backend_scan, reading);
    scan->cb(scan);
}

void readers_scan(struct readers *readers, struct backend_scan *scan)
{
    scan->next = scan->from;
    scan->reading =
        (struct reader_job){.status = &scan->status, .work = scan_work, .end = scan_end};
    submit(readers, &scan->reading);
}

/* Tables and their tally are of one snapshot. */
static enum err check_tables(struct conn *conn, struct why *why)
{
    struct meta meta;
    (void)sqlite3_db_release_memory(conn->db);
    TRY(conn_run_stmt(conn, STMT_BEGIN, why));
    TRY(schema_read_meta(conn, &meta, why));
    return tables_verify(conn, &meta.tables, why);
}

static enum err check_work(struct reader_job *reading)
{
    struct backend_check *check = CONTAINER_OF(reading, struct backend_check, reading);
    enum err err = check_tables(reading->conn, &check->why);
    conn_rollback(reading->conn);
    return err;
}

static void check_end(struct reader_job *reading)
{
    struct backend_check *check = CONTAINER_OF(reading, struct backend_check, reading);
    check->cb(check);
}

void readers_check(struct readers *readers, struct backend_check *check)
{
    check->reading =
        (struct reader_job){.status = &check->status, .work = check_work, .end = check_end};
    submit(readers, &check->reading);
}
