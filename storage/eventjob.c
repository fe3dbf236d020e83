/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <stdlib.h>

#include "storage/rows.h"
#include "storage/store_private.h"

/* What has left the ring, for watchers that are behind: a reader thread walks the rows and makes
 * records of them, until they are many enough. A pin keeps compactions that come meanwhile from the
 * disk, so that what is read is all that happened. Records that the ring let go of are in SQLite,
 * and in every snapshot that is taken later. */
struct events_job {
    struct store *store;
    struct store_events_request *request;
    struct store_pin pin;
    struct store_reader reader;
    bool stopped; /* the store closes */
    struct backend_scan scan;
    struct record_list list; /* the reader's while it scans */
    size_t bytes;
    size_t bytes_max;
    int64_t last; /* the main revision that was read last */
    int64_t to;
};

static void finish(struct events_job *job, enum err status)
{
    struct store_events_request *request = job->request;
    request->status = status;
    if (status == OK) {
        request->records = job->list;
    } else {
        record_list_fini(&job->list);
    }
    store_unpin(job->store, &job->pin);
    queue_remove(&job->reader.link);
    free(job);
    request->private_state = NULL;
    request->cb(request);
}

/* ERR_LIMIT: it is enough. Thread: a reader. */
static enum err take_rows(void *ctx, const struct backend_row *rows, size_t count)
{
    struct events_job *job = ctx;
    for (size_t i = 0; i < count; i++) {
        int64_t revision = revision_main(rows[i].rev);
        if (job->bytes > job->bytes_max && revision != job->last) {
            return ERR_LIMIT;
        }
        struct record *record = rows_record(&rows[i]);
        if (record == NULL || !record_list_push(&job->list, record)) {
            record_unref(record);
            return ERR_NOMEM;
        }
        job->bytes += record_size(record);
        job->last = revision;
    }
    return OK;
}

static void on_scanned(struct backend_scan *scan)
{
    struct events_job *job = CONTAINER_OF(scan, struct events_job, scan);
    enum err status = scan->status;
    job->request->next = status == ERR_LIMIT ? job->last + 1 : job->to + 1;
    if (status != OK && status != ERR_LIMIT) {
        status = store_read_failed(job->store, "cannot read events", status, &scan->why);
    } else {
        status = job->stopped ? ERR_STOPPED : OK;
    }
    finish(job, status);
}

/* The scan comes back before the backend has closed. */
static void on_stop(struct store_reader *reader)
{
    CONTAINER_OF(reader, struct events_job, reader)->stopped = true;
}

/* What needs no thread, or has no memory to begin: answered in a later turn. */
static void on_refused(struct store_wait *wait)
{
    struct store_events_request *request = CONTAINER_OF(wait, struct store_events_request, refused);
    request->cb(request);
}

static void answer_later(struct store *store, struct store_events_request *request, enum err status)
{
    request->status = status;
    request->records = (struct record_list){0};
    request->next = request->from;
    request->private_state = NULL;
    upkeep_commit_wait(store, &request->refused, 0, on_refused);
}

static void on_events_released(struct store_wait *wait)
{
    struct store_events_request *request = CONTAINER_OF(wait, struct store_events_request, refused);
    store_events_start(wait->store, request, request->cb);
}

void store_events_start(struct store *store, struct store_events_request *request,
                        void (*cb)(struct store_events_request *request))
{
    request->cb = cb;
    request->private_state = NULL;
    if (replace_holds(store, &request->refused, on_events_released)) {
        return;
    }
    int64_t gone = revision_main(store->ring.gone);
    if (request->from < store->state.compacted_revision) {
        answer_later(store, request, ERR_COMPACTED);
        return;
    }
    if (request->from > gone) {
        answer_later(store, request, OK);
        return;
    }
    struct events_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        answer_later(store, request, ERR_NOMEM);
        return;
    }
    request->private_state = job;
    job->store = store;
    job->request = request;
    job->bytes_max = request->max_bytes;
    job->to = request->to < gone ? request->to : gone;
    job->scan = (struct backend_scan){
        .from = revision_pack(request->from, 0),
        .to = revision_pack(job->to, REVISION_SUB_MAX),
        .with_values = true,
        .rows = take_rows,
        .rows_ctx = job,
    };
    store_pin(store, &job->pin);
    store_reader_add(store, &job->reader, on_stop);
    backend_scan(store->backend, &job->scan, on_scanned);
}

/* ---- single records ---- */

struct record *store_recent_record(struct store *store, revision_t rev)
{
    return store_peek(store, rev);
}

enum err store_record(struct store *store, revision_t rev, struct record **ret)
{
    return store_load(store, rev, ret);
}

struct fetch_job {
    struct store *store;
    struct store_fetch_request *request;
    struct store_pin pin;
    struct store_reader reader;
    bool stopped;
    struct backend_fetch fetch;
};

static void on_fetched(struct backend_fetch *fetch)
{
    struct fetch_job *job = CONTAINER_OF(fetch, struct fetch_job, fetch);
    struct store_fetch_request *request = job->request;
    request->status = OK;
    if (fetch->status != OK) {
        request->status =
            store_read_failed(job->store, "cannot read records", fetch->status, &fetch->why);
    } else if (job->stopped) {
        request->status = ERR_STOPPED;
        for (size_t i = 0; i < request->count; i++) {
            record_unref(request->records[i]);
        }
    }
    store_unpin(job->store, &job->pin);
    queue_remove(&job->reader.link);
    free(job);
    request->private_state = NULL;
    request->cb(request);
}

static void on_fetch_stop(struct store_reader *reader)
{
    CONTAINER_OF(reader, struct fetch_job, reader)->stopped = true;
}

static void on_fetch_refused(struct store_wait *wait)
{
    struct store_fetch_request *request = CONTAINER_OF(wait, struct store_fetch_request, refused);
    request->status = ERR_NOMEM;
    request->cb(request);
}

static void on_fetch_released(struct store_wait *wait)
{
    struct store_fetch_request *request = CONTAINER_OF(wait, struct store_fetch_request, refused);
    store_fetch_start(wait->store, request, request->cb);
}

void store_fetch_start(struct store *store, struct store_fetch_request *request,
                       void (*cb)(struct store_fetch_request *request))
{
    request->cb = cb;
    request->private_state = NULL;
    if (replace_holds(store, &request->refused, on_fetch_released)) {
        return;
    }
    struct fetch_job *job = calloc(1, sizeof *job);
    request->private_state = job;
    if (job == NULL) {
        upkeep_commit_wait(store, &request->refused, 0, on_fetch_refused);
        return;
    }
    job->store = store;
    job->request = request;
    job->fetch = (struct backend_fetch){
        .revs = request->revs, .count = request->count, .records = request->records};
    store_pin(store, &job->pin);
    store_reader_add(store, &job->reader, on_fetch_stop);
    backend_fetch(store->backend, &job->fetch, on_fetched);
}
