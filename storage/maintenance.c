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

static struct copy_job *job_new(struct store_copy_request *request,
                                void (*cb)(struct store_copy_request *request))
{
    struct copy_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        fatal("storage: no memory for a copy");
    }
    job->request = request;
    job->copy.path = request->path;
    request->cb = cb;
    request->private_state = job;
    return job;
}

void store_copy_start(struct store *store, struct store_copy_request *request,
                      void (*cb)(struct store_copy_request *request))
{
    backend_copy(store->backend, &job_new(request, cb)->copy, on_copied);
}

void store_defragment_start(struct store *store, struct store_copy_request *request,
                            void (*cb)(struct store_copy_request *request))
{
    backend_defragment(store->backend, &job_new(request, cb)->copy, on_copied);
}
