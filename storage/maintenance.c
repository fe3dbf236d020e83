/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <stdlib.h>

#include "storage/schema.h"
#include "storage/store_private.h"

/* Copies and defragmentation: the backend's, behind the store's door. What was applied before the
 * call is in the copy: first it is waited for SQLite to have it. */
typedef void (*begin_cb)(struct backend *backend, struct backend_copy *copy,
                         void (*cb)(struct backend_copy *copy));

struct copy_job {
    struct store *store;
    struct store_copy_request *request;
    struct store_reader reader;
    struct store_wait wait;
    begin_cb begin; /* NULL: it has begun */
    struct backend_copy copy;
};

static void finish(struct copy_job *job)
{
    struct store_copy_request *request = job->request;
    struct backend_copy *copy = &job->copy;
    request->applied_index = copy->state.applied_index;
    request->revision = copy->state.revision;
    request->manifest = schema_manifest(&job->store->config.identity, &copy->state);
    request->size_bytes = copy->size_bytes;
    request->status = copy->status;
    request->why = copy->why;
    request->private_state = NULL;
    job->store->files_on_their_way--;
    queue_remove(&job->reader.link);
    free(job);
    request->cb(request);
}

static void on_copied(struct backend_copy *copy)
{
    finish(CONTAINER_OF(copy, struct copy_job, copy));
}

static void on_committed(struct store_wait *wait)
{
    struct copy_job *job = CONTAINER_OF(wait, struct copy_job, wait);
    begin_cb begin = TAKE(job->begin);
    begin(job->store->backend, &job->copy, on_copied);
}

/* The store closes; the backend ends what has begun. */
static void on_stop(struct store_reader *reader)
{
    struct copy_job *job = CONTAINER_OF(reader, struct copy_job, reader);
    if (job->begin != NULL) {
        store_wait_cancel(&job->wait);
        job->copy.status = ERR_STOPPED;
        finish(job);
    }
}

static void on_refused(struct store_wait *wait)
{
    struct store_copy_request *request = CONTAINER_OF(wait, struct store_copy_request, refused);
    request->cb(request);
}

/* It does not begin; who asked hears it in a later turn. */
static void refuse(struct store *store, struct store_copy_request *request, enum err status)
{
    request->status = status;
    upkeep_commit_wait(store, &request->refused, 0, on_refused);
}

static void start(struct store *store, struct store_copy_request *request,
                  void (*cb)(struct store_copy_request *request), begin_cb begin)
{
    struct copy_job *job = calloc(1, sizeof *job);
    request->cb = cb;
    request->private_state = job;
    if (job == NULL) {
        refuse(store, request, ERR_NOMEM);
        return;
    }
    job->store = store;
    job->request = request;
    job->begin = begin;
    job->copy.path = request->path;
    job->copy.is_temporary = request->is_temporary;
    store->files_on_their_way++;
    store_reader_add(store, &job->reader, on_stop);
    upkeep_commit_wait(store, &job->wait, store->state.revision, on_committed);
}

void store_copy_start(struct store *store, struct store_copy_request *request,
                      void (*cb)(struct store_copy_request *request))
{
    start(store, request, cb, backend_copy);
}

void store_defragment_start(struct store *store, struct store_copy_request *request,
                            void (*cb)(struct store_copy_request *request))
{
    if (backend_is_full(store->backend)) { /* else it would wait until it is not */
        request->cb = cb;
        why_set(&request->why, "the disk of '%s' is full", backend_path(store->backend));
        refuse(store, request, ERR_NO_SPACE);
        return;
    }
    start(store, request, cb, backend_defragment);
}
