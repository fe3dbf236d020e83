/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <stdlib.h>

#include "storage/store_private.h"

/* Copies and defragmentation: the backend's, behind the store's door. */
struct copy_job {
    struct backend_copy copy;
    struct store_copy_request *request;
};

static void on_copied(struct backend_copy *copy)
{
    struct copy_job *job = CONTAINER_OF(copy, struct copy_job, copy);
    struct store_copy_request *request = job->request;
    request->applied_index = copy->state.applied_index;
    request->revision = copy->state.revision;
    request->status = copy->status;
    request->why = copy->why;
    request->private_state = NULL;
    free(job);
    request->cb(request);
}

/* There was no memory to begin with. */
static void on_refused(struct store_wait *wait)
{
    struct store_copy_request *request = CONTAINER_OF(wait, struct store_copy_request, refused);
    request->status = ERR_NOMEM;
    request->cb(request);
}

static void start(struct store *store, struct store_copy_request *request,
                  void (*cb)(struct store_copy_request *request),
                  void (*begin)(struct backend *backend, struct backend_copy *copy,
                                void (*cb)(struct backend_copy *copy)))
{
    struct copy_job *job = calloc(1, sizeof *job);
    request->cb = cb;
    request->private_state = job;
    if (job == NULL) {
        upkeep_commit_wait(store, &request->refused, 0, on_refused);
        return;
    }
    job->request = request;
    job->copy.path = request->path;
    begin(store->backend, &job->copy, on_copied);
}

void store_copy_start(struct store *store, struct store_copy_request *request,
                      void (*cb)(struct store_copy_request *request))
{
    start(store, request, cb, backend_copy);
}

void store_defragment_start(struct store *store, struct store_copy_request *request,
                            void (*cb)(struct store_copy_request *request))
{
    start(store, request, cb, backend_defragment);
}
