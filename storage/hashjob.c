/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/hashjob.h"

#include <stdlib.h>

#include "storage/hashrows.h"
#include "storage/store_private.h"

/* HashKV as a request. Compactions may not have removed everything yet, so what counts is found out
 * by reading twice:
 *
 *   (that of a compaction: wait for our turn)
 *   wait until SQLite has committed what is hashed, and until those before us have their hashes
 *     ──▶ headers: which rows up to the compacted revision are superseded, by a row up to there or
 *         by a later one?
 *     ──▶ all rows up to the revision: hash those that count ──▶ cb
 *         (no key is alive at it: once more, with those that a later row superseded)
 *
 * Rows may vanish meanwhile, but only those that are left out anyway: a pin keeps later compactions
 * from the disk. One computes at a time: each reads everything, and holds in memory what is
 * superseded. */
struct hash_job {
    struct store *store;
    struct store_hash_request *request;
    struct store_pin pin;
    struct store_reader reader;
    struct store_wait wait;
    struct queue computing; /* in store->hashes, from when it is committed on */
    bool scanning;          /* or asking for what is left over */
    enum err status;
    struct hashrows rows; /* a reader's while it scans */
    enum hash_kind kind;
    struct backend_leftover leftover;
    struct backend_scan scan;
    uint64_t began_ns;
};

static void compute_next(struct store *store);

static void finish(struct hash_job *job)
{
    struct store *store = job->store;
    struct store_hash_request *request = job->request;
    request->status = job->status;
    request->hash = job->rows.hash.crc;
    histogram_observe(store->metrics.hash_seconds,
                      (double)(env_now_ns(store->env) - job->began_ns) / 1e9);
    bool computed = store->hashes.next == &job->computing;
    store_wait_cancel(&job->wait);
    store_unpin(store, &job->pin);
    queue_remove(&job->computing);
    queue_remove(&job->reader.link);
    hashrows_fini(&job->rows);
    free(job);
    request->private_state = NULL;
    if (computed) {
        compute_next(store);
    }
    request->cb(request);
}

static void scan(struct hash_job *job, int64_t from, int64_t to, backend_rows_cb rows,
                 void (*cb)(struct backend_scan *scan))
{
    job->scan = (struct backend_scan){
        .from = from <= 0 ? 1 : revision_pack(from, 0),
        .to = to <= 0 ? 0 : revision_pack(to, REVISION_SUB_MAX),
        .with_values = rows == hashrows_add,
        .rows = rows,
        .rows_ctx = &job->rows,
    };
    job->scanning = true;
    backend_scan(job->store->backend, &job->scan, cb);
}

/* After a scan: may the job go on? */
static bool scan_ended(struct hash_job *job)
{
    job->scanning = false;
    enum err status = job->scan.status;
    if (status != OK) {
        status = store_read_failed(job->store, "cannot hash the database", status, &job->scan.why);
    }
    if (job->status == OK) {
        job->status = status;
    }
    return job->status == OK;
}

static void start_hashing(struct hash_job *job);

static void on_hashed(struct backend_scan *ended)
{
    struct hash_job *job = CONTAINER_OF(ended, struct hash_job, scan);
    bool left_out = job->kind == HASH_OF_COMPACTION && job->rows.ends_there;
    if (scan_ended(job) && !left_out && hashrows_again(&job->rows)) {
        start_hashing(job);
    } else {
        finish(job);
    }
}

static void start_hashing(struct hash_job *job)
{
    hashrows_begin(&job->rows);
    scan(job, 0, job->request->hash_revision, hashrows_add, on_hashed);
}

static void on_collected(struct backend_scan *ended)
{
    struct hash_job *job = CONTAINER_OF(ended, struct hash_job, scan);
    if (scan_ended(job)) {
        start_hashing(job);
    } else {
        finish(job);
    }
}

/* What is superseded up to the revision of a finished removal is known; later rows tell the rest.
 */
static void on_leftover(struct backend_leftover *leftover)
{
    struct hash_job *job = CONTAINER_OF(leftover, struct hash_job, leftover);
    job->scanning = false;
    hashrows_give(&job->rows, leftover->revs, leftover->count);
    if (job->status == OK) {
        job->status = leftover->status;
    }
    if (job->status != OK) {
        finish(job);
        return;
    }
    scan(job, leftover->removed_revision + 1, job->request->hash_revision, hashrows_collect,
         on_collected);
}

/* The first of those that wait. */
static void compute_next(struct store *store)
{
    if (queue_empty(&store->hashes)) {
        return;
    }
    struct hash_job *job = QUEUE_ELEM(store->hashes.next, struct hash_job, computing);
    if (job->rows.compacted <= 0) {
        start_hashing(job);
    } else {
        job->scanning = true;
        backend_leftover(store->backend, &job->leftover, on_leftover);
    }
}

static void on_committed(struct store_wait *wait)
{
    struct hash_job *job = CONTAINER_OF(wait, struct hash_job, wait);
    struct store *store = job->store;
    if (job->status != OK) {
        finish(job);
        return;
    }
    bool is_next = queue_empty(&store->hashes);
    queue_push_back(&store->hashes, &job->computing);
    if (is_next) {
        compute_next(store);
    }
}

static void on_turn(struct store_wait *wait)
{
    struct hash_job *job = CONTAINER_OF(wait, struct hash_job, wait);
    int64_t needed = job->status == OK ? job->request->current_revision : 0;
    upkeep_commit_wait(job->store, &job->wait, needed, on_committed);
}

static void end_with(struct hash_job *job, enum err status)
{
    job->status = job->status == OK ? status : job->status;
    if (!job->scanning) {
        finish(job);
    }
}

/* The store closes. */
static void on_stop(struct store_reader *reader)
{
    end_with(CONTAINER_OF(reader, struct hash_job, reader), ERR_STOPPED);
}

void store_hash_cancel(struct store_hash_request *request)
{
    struct hash_job *job = request->private_state;
    if (job != NULL) {
        backend_scan_cancel(&job->scan);
        end_with(job, ERR_CANCELLED);
    }
}

/* There was no memory to begin with. */
static void on_refused(struct store_wait *wait)
{
    struct store_hash_request *request = CONTAINER_OF(wait, struct store_hash_request, refused);
    request->status = ERR_NOMEM;
    request->cb(request);
}

static void on_released(struct store_wait *wait)
{
    struct store_hash_request *request = CONTAINER_OF(wait, struct store_hash_request, refused);
    store_hash_start(wait->store, request, request->cb);
}

void store_hash_start(struct store *store, struct store_hash_request *request,
                      void (*cb)(struct store_hash_request *request))
{
    request->cb = cb;
    request->private_state = NULL;
    if (replace_holds(store, &request->refused, on_released)) {
        return;
    }
    if (!hashmemory_answers(store, request)) {
        hashjob_start(store, request, HASH_OF_REQUEST, cb);
    }
}

void hashjob_start(struct store *store, struct store_hash_request *request, enum hash_kind kind,
                   void (*cb)(struct store_hash_request *request))
{
    struct hash_job *job = calloc(1, sizeof *job);
    request->cb = cb;
    request->private_state = job;
    if (job == NULL) {
        upkeep_commit_wait(store, &request->refused, 0, on_refused);
        return;
    }
    int64_t newest = store->state.revision;
    request->hash_revision = request->revision == 0 ? newest : request->revision;
    request->compact_revision = store->state.compacted_revision;
    request->current_revision = newest;
    queue_init(&job->computing);
    job->store = store;
    job->kind = kind;
    job->began_ns = env_now_ns(store->env);
    job->request = request;
    job->rows.compacted = store->state.compacted_revision;
    job->rows.revision = request->hash_revision;
    if (request->hash_revision > 0) {
        job->status = store_check_revision(store, request->hash_revision);
    }
    store_pin(store, &job->pin);
    store_reader_add(store, &job->reader, on_stop);
    if (kind == HASH_OF_COMPACTION) {
        turn_wait(&store->turn, &job->wait, on_turn);
    } else {
        on_turn(&job->wait);
    }
}
