/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/drain.h"

#include "base/assert.h"
#include "base/codec.h"
#include "base/plant.h"
#include "storage/rowfeed.h"
#include "storage/tables.h"

#define TRANSACTION_BYTES_MAX (4u * 1024 * 1024)
#define TRANSACTION_ROWS_MAX  16384u
/* A cell's own bytes in SQLite's page: pointer, lengths, record header. */
#define CELL_BYTES 12u
/* In the WAL's header: how often it began anew, and the salt of this time (SQLite's file
 * format, 4.1). */
#define WAL_HEADER_BYTES 32
#define WAL_SEQUENCE_AT  12
#define WAL_SALT_AT      16

uint64_t drain_row_bytes(size_t header_len, size_t value_len)
{
    return header_len + value_len + CELL_BYTES;
}

struct set_hash drain_row_element(revision_t rev, uint32_t checksum)
{
    return set_hash_element(checksum, rev);
}

/* Called by SQLite after each commit. */
static int on_commit(void *ctx, sqlite3 *db, const char *name, int frames)
{
    (void)db;
    (void)name;
    struct drain *drain = ctx;
    drain->report.wal_frames = (uint32_t)frames;
    return SQLITE_OK;
}

/* Which WAL is it? The number of its frames alone does not tell: a new one may be longer. */
static enum err read_generation(struct drain *drain, struct why *why)
{
    sqlite3_file *wal = conn_wal(drain->conn);
    if (wal == NULL) {
        return OK;
    }
    uint8_t header[WAL_HEADER_BYTES];
    int rc = wal->pMethods->xRead(wal, header, sizeof header, 0);
    if (rc == SQLITE_IOERR_SHORT_READ) {
        return OK; /* nothing was ever written to it */
    }
    if (rc != SQLITE_OK) {
        why_set(why, "read the WAL of '%s' (SQLite code %d)", drain->conn->path, rc);
        return ERR_IO;
    }
    struct reader r = reader_of(bytes_of(header + WAL_SEQUENCE_AT, 8));
    drain->report.wal_generation = read_u64_be(&r);
    return OK;
}

/* Bring the report up to date with what is committed. */
static enum err update_report(struct drain *drain, struct why *why)
{
    struct drain_report *report = &drain->report;
    int64_t pages;
    int64_t free_pages;
    TRY(conn_number(drain->conn, STMT_PAGE_COUNT, &pages, why));
    TRY(conn_number(drain->conn, STMT_FREELIST_COUNT, &free_pages, why));
    TRY(read_generation(drain, why));
    report->page_count = (uint64_t)pages;
    report->free_page_count = (uint64_t)free_pages;
    report->state = drain->meta.state;
    report->removed_revision = drain->meta.removed_revision;
    report->walk_revision = drain->meta.walk_revision;
    report->row_count = drain->meta.rows.count;
    report->row_bytes = drain->meta.rows.bytes;
    report->tables_hash = drain->meta.tables.hash;
    return OK;
}

enum err drain_init(struct drain *drain, struct env *env, struct conn *conn,
                    const struct meta *meta, struct why *why)
{
    *drain = (struct drain){.env = env, .meta = *meta};
    return drain_reopen(drain, conn, why);
}

enum err drain_reopen(struct drain *drain, struct conn *conn, struct why *why)
{
    drain->conn = conn;
    drain->report.wal_generation = 0;
    drain->report.wal_frames = 0;
    (void)sqlite3_wal_hook(conn->db, on_commit, drain);
    return update_report(drain, why);
}

void drain_fini(struct drain *drain)
{
    buf_fini(&drain->header);
}

static enum err change_and_commit(struct drain *drain, drain_change_cb change, void *ctx,
                                  struct why *why)
{
    struct meta meta = drain->meta;
    meta.clean = false;
    TRY(conn_run_stmt(drain->conn, STMT_BEGIN_WRITE, why));
    TRY(change(drain, &meta, ctx, why));
    TRY(schema_write_meta(drain->conn, &meta, why));
    TRY(conn_run_stmt(drain->conn, STMT_COMMIT, why));
    drain->meta = meta;
    return OK;
}

enum err drain_transact(struct drain *drain, const char *what, drain_change_cb change, void *ctx)
{
    struct why why = {.text = ""};
    uint64_t start_ns = env_now_ns(drain->env);
    enum err err = change_and_commit(drain, change, ctx, &why);
    if (err != OK) {
        conn_rollback(drain->conn);
    } else {
        err = update_report(drain, &why);
        if (err == ERR_NO_SPACE) { /* reading needs none */
            err = ERR_IO;
        }
    }
    if (err != OK && err != ERR_NO_SPACE) {
        fatal("storage: %s: %s: %s", what, err_text(err), why.text);
    }
    drain->report.write_ns = env_now_ns(drain->env) - start_ns;
    return err;
}

/* Batches that become one transaction: FIRST up to but not END. */
struct group {
    struct queue *first;
    struct queue *end;
};

static struct backend_batch *batch_of(struct queue *link)
{
    struct job *job = QUEUE_ELEM(link, struct job, link);
    return CONTAINER_OF(job, struct backend_batch, job);
}

/* The records of a group, one by one. */
struct group_reader {
    struct drain *drain;
    struct meta *meta;
    struct queue *at; /* the batch of the next record, or group->end */
    struct queue *end;
    size_t next; /* in that batch */
};

static const struct record *next_record(struct group_reader *reader)
{
    while (reader->at != reader->end) {
        const struct backend_batch *batch = batch_of(reader->at);
        if (reader->next < batch->record_count) {
            reader->next += PLANTED_EVERY(ROW_LOST, 100) && reader->next + 1 < batch->record_count;
            return batch->records[reader->next++];
        }
        reader->at = reader->at->next;
        reader->next = 0;
    }
    return NULL;
}

static enum err next_row(void *ctx, struct feed_row *row, bool *more, struct why *why)
{
    (void)why;
    struct group_reader *reader = ctx;
    struct buf *header = &reader->drain->header;
    const struct record *record = next_record(reader);
    *more = record != NULL;
    if (record == NULL) {
        return OK;
    }
    buf_clear(header);
    record_encode_header(record, header);
    if (!buf_ok(header)) {
        return ERR_NOMEM;
    }
    *row = (struct feed_row){.rev = record->rev,
                             .tombstone = record->tombstone,
                             .header = buf_bytes(header),
                             .value = record_value(record)};
    tally_add(&reader->meta->rows, drain_row_bytes(header->len, record->value_len),
              drain_row_element(record->rev, get_u32(header->data)));
    return OK;
}

static enum err write_group(struct drain *drain, struct meta *meta, void *ctx, struct why *why)
{
    const struct group *group = ctx;
    struct group_reader reader = {
        .drain = drain, .meta = meta, .at = group->first, .end = group->end};
    TRY(rowfeed_insert(drain->conn, next_row, &reader, why));
    for (struct queue *link = group->first; link != group->end; link = link->next) {
        const struct backend_batch *batch = batch_of(link);
        for (size_t i = 0; i < batch->change_count; i++) {
            if (PLANTED_EVERY(TABLE_ROW_LOST, 10)) {
                continue;
            }
            TRY(tables_change(drain->conn, &batch->changes[i], &meta->tables, why));
        }
        meta->state = batch->state;
    }
    return OK;
}

void drain_batch_work(struct job *job)
{
    (void)job;
    ASSERT(false); /* only a mark: drain_run groups batches */
}

static bool is_batch(struct queue *head, struct queue *link)
{
    return link != head && QUEUE_ELEM(link, struct job, link)->work == drain_batch_work;
}

/* As many batches from FIRST on as a transaction takes, one at least. */
static struct group next_group(struct queue *head, struct queue *first)
{
    struct queue *link = first;
    uint64_t bytes = 0;
    uint64_t rows = 0;
    do {
        const struct backend_batch *batch = batch_of(link);
        bytes += batch->size_bytes;
        rows += batch->record_count + batch->change_count;
        link = link->next;
    } while (is_batch(head, link) && bytes < TRANSACTION_BYTES_MAX && rows < TRANSACTION_ROWS_MAX);
    return (struct group){.first = first, .end = link};
}

static void run_group(struct drain *drain, struct group *group)
{
    drain->report.write_ns = 0;
    enum err err = ERR_NO_SPACE;
    if (!drain->full) {
        err = drain_transact(drain, "write what was applied", write_group, group);
    }
    drain->full = err != OK;
    for (struct queue *link = group->first; link != group->end; link = link->next) {
        struct backend_batch *batch = batch_of(link);
        batch->status = err;
        batch->report = drain->report;
        if (link->next != group->end) {
            batch->report.write_ns = 0; /* the last one tells */
        }
    }
}

void drain_retry(struct drain *drain)
{
    drain->full = false;
}

void drain_run(void *ctx, struct queue *jobs)
{
    struct drain *drain = ctx;
    struct queue *link = jobs->next;
    while (link != jobs) {
        if (is_batch(jobs, link)) {
            struct group group = next_group(jobs, link);
            run_group(drain, &group);
            link = group.end;
        } else {
            struct job *job = QUEUE_ELEM(link, struct job, link);
            link = link->next;
            job->work(job);
        }
    }
}
