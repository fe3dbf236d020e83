/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <stdlib.h>

#include "storage/hashkv.h"
#include "storage/store_private.h"

/* HashKV as a request:
 *
 *   wait until SQLite has committed what is hashed
 *     ──▶ is any key live at the revision?
 *     ──▶ read the headers of what compactions have not removed yet: what is superseded?
 *     ──▶ read all rows up to the revision, hash what counts ──▶ cb
 *
 * Every row above the compacted revision counts. Of those at or below it etcd counts what a
 * compaction at the *hashed* revision would keep: the puts that are live at it. When nothing is
 * live at it, etcd takes that for "there is no compaction" and counts all rows that it finds, which
 * are those that the last compaction kept: the puts that were live at the compacted revision.
 *
 *   put a@2  put a@5  put b@6     compact(3)     hash at 5: a@5       hash at 4: a@2
 *
 * Rows may vanish meanwhile, but only those that are left out anyway: a pin keeps later compactions
 * from the disk. */
struct hash_job {
    struct store *store;
    struct store_hash_request *request;
    struct store_pin pin;
    struct store_reader reader;
    struct store_wait wait;
    bool scanning;
    enum err status;
    int64_t compacted;
    struct store_range_request live; /* how many keys are live at the revision */
    struct superseded superseded;    /* of the rows at or below the compacted revision */
    struct hashkv hash;
    struct backend_scan scan;
};

static void finish(struct hash_job *job)
{
    struct store_hash_request *request = job->request;
    request->status = job->status;
    request->hash = job->hash.crc;
    store_wait_cancel(&job->wait);
    store_unpin(job->store, &job->pin);
    queue_remove(&job->reader.link);
    superseded_fini(&job->superseded);
    free(job);
    request->private_state = NULL;
    request->cb(request);
}

/* Thread: a reader. */
static enum err collect_superseded(void *ctx, const struct backend_row *rows, size_t count)
{
    struct hash_job *job = ctx;
    for (size_t i = 0; i < count; i++) {
        revision_t prev = rows[i].header.prev_rev;
        if (prev != 0 && revision_main(prev) <= job->compacted) {
            TRY(superseded_add(&job->superseded, rows[i].header.prev_rev));
        }
    }
    return OK;
}

/* Thread: a reader. */
static enum err hash_rows(void *ctx, const struct backend_row *rows, size_t count)
{
    struct hash_job *job = ctx;
    for (size_t i = 0; i < count; i++) {
        bool compacted = revision_main(rows[i].rev) <= job->compacted;
        bool gone = rows[i].header.tombstone || superseded_has(&job->superseded, rows[i].rev);
        if (!compacted || !gone) {
            hashkv_add(&job->hash, rows[i].rev, &rows[i].header, rows[i].value);
        }
    }
    return OK;
}

static void scan(struct hash_job *job, int64_t from, int64_t to, backend_rows_cb rows,
                 void (*cb)(struct backend_scan *scan))
{
    job->scan = (struct backend_scan){
        .from = from <= 0 ? 1 : revision_pack(from, 0),
        .to = revision_pack(to, REVISION_SUB_MAX),
        .with_values = rows == hash_rows,
        .rows = rows,
        .rows_ctx = job,
    };
    job->scanning = true;
    backend_scan(job->store->backend, &job->scan, cb);
}

/* After a scan: may the job go on? */
static bool scan_ended(struct hash_job *job)
{
    job->scanning = false;
    if (job->status == OK) {
        job->status = job->scan.status;
    }
    if (job->scan.status != OK) {
        LOG_ERROR(job->store->config.log, "cannot hash the database",
                  LOG_STR("error", err_text(job->scan.status)), LOG_STR("why", job->scan.why.text));
    }
    return job->status == OK;
}

static void on_hashed(struct backend_scan *scan)
{
    struct hash_job *job = CONTAINER_OF(scan, struct hash_job, scan);
    (void)scan_ended(job);
    finish(job);
}

static void on_collected(struct backend_scan *ended)
{
    struct hash_job *job = CONTAINER_OF(ended, struct hash_job, scan);
    if (!scan_ended(job)) {
        finish(job);
        return;
    }
    superseded_seal(&job->superseded);
    scan(job, 0, job->request->hash_revision, hash_rows, on_hashed);
}

static void on_counted(struct store_range_request *request)
{
    struct hash_job *job = CONTAINER_OF(request, struct hash_job, live);
    job->scanning = false;
    if (job->status == OK) {
        job->status = request->status;
    }
    bool any_live = request->status == OK && request->result.count > 0;
    range_result_fini(&request->result);
    if (job->status != OK) {
        finish(job);
        return;
    }
    int64_t removed = backend_removed_revision(job->store->backend);
    int64_t until = any_live ? job->request->hash_revision : job->compacted;
    scan(job, removed + 1, until, collect_superseded, on_collected);
}

static void on_committed(struct store_wait *wait)
{
    struct hash_job *job = CONTAINER_OF(wait, struct hash_job, wait);
    if (job->status != OK) {
        finish(job);
        return;
    }
    hashkv_init(&job->hash);
    if (job->request->hash_revision < 0) {
        finish(job);
        return;
    }
    if (job->compacted < 0) {
        scan(job, 0, job->request->hash_revision, hash_rows, on_hashed);
        return;
    }
    static const uint8_t all[] = {0};
    job->live.query = (struct range_query){.key = bytes_of(all, sizeof all),
                                           .range_end = bytes_of(all, sizeof all),
                                           .revision = job->request->hash_revision,
                                           .count_only = true};
    job->scanning = true;
    store_range_start(job->store, &job->live, on_counted);
}

/* The store closes. */
static void on_stop(struct store_reader *reader)
{
    struct hash_job *job = CONTAINER_OF(reader, struct hash_job, reader);
    job->status = job->status == OK ? ERR_STOPPED : job->status;
    if (!job->scanning) {
        finish(job);
    }
}

void store_hash_start(struct store *store, struct store_hash_request *request,
                      void (*cb)(struct store_hash_request *request))
{
    struct hash_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        fatal("storage: no memory for a hash");
    }
    int64_t newest = store->state.revision;
    request->cb = cb;
    request->private_state = job;
    request->hash_revision = request->revision == 0 ? newest : request->revision;
    request->compact_revision = store->state.compacted_revision;
    request->current_revision = newest;
    job->store = store;
    job->request = request;
    job->compacted = store->state.compacted_revision;
    /* Below zero there is nothing, as etcd sees it, and the hash of nothing is no error. */
    bool is_empty = request->hash_revision < 0;
    job->status = is_empty ? OK : store_check_revision(store, request->hash_revision);
    store_pin(store, &job->pin);
    store_reader_add(store, &job->reader, on_stop);
    int64_t needed = job->status == OK ? newest : 0;
    upkeep_commit_wait(store, &job->wait, needed, on_committed);
}
