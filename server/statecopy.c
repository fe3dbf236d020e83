/* SPDX-License-Identifier: Apache-2.0 */
#include "server/statecopy.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"

/* ---- using ---- */

struct closing {
    struct job job;
    struct fs_file *file;
};

/* The last close frees the blocks, which takes long. Thread: state-out. */
static void close_work(struct job *job)
{
    fs_close(CONTAINER_OF(job, struct closing, job)->file);
}

static void close_done(struct job *job)
{
    free(CONTAINER_OF(job, struct closing, job));
}

static void close_file(struct statecopies *copies, struct fs_file *file)
{
    struct closing *closing = copies->closed ? NULL : malloc(sizeof *closing);
    if (closing == NULL) {
        fs_close(file);
        return;
    }
    *closing = (struct closing){.job = {.work = close_work, .done = close_done}, .file = file};
    worker_submit(copies->worker, &closing->job);
}

void statecopy_unuse(struct statecopies *copies, struct state_copy *copy)
{
    if (copy == NULL || --copy->users > 0) {
        return;
    }
    if (copies->newest == copy) {
        copies->newest = NULL;
    }
    close_file(copies, copy->file);
    free(copy);
}

/* ---- making ---- */

static void end_making(struct statecopies *copies, enum err err, const struct why *why)
{
    struct state_copy *copy = TAKE(copies->making);
    if (err != OK) {
        LOG_WARN(copies->log, "cannot copy the database for a member that needs it",
                 LOG_STR("error", err_text(err)), LOG_STR("why", why->text));
        free(copy);
        copies->made(copies->ctx, false);
        return;
    }
    statecopy_use(copy); /* ours, until it was given out */
    copies->newest = copy;
    copies->made(copies->ctx, true);
    statecopy_unuse(copies, copy);
}

/* Its name goes as soon as it is open. Thread: state-out. */
static void open_work(struct job *job)
{
    struct statecopies *copies = CONTAINER_OF(job, struct statecopies, job);
    copies->status =
        fs_open(copies->fs, copies->path, FS_READ, &copies->making->file, &copies->why);
    enum err err = fs_unlink(copies->fs, copies->path, NULL);
    (void)err; /* the next one removes it, or says that it cannot */
}

static void open_done(struct job *job)
{
    struct statecopies *copies = CONTAINER_OF(job, struct statecopies, job);
    end_making(copies, copies->status, &copies->why);
}

static void on_copied(struct store_copy_request *request)
{
    struct statecopies *copies = CONTAINER_OF(request, struct statecopies, request);
    if (request->status != OK || copies->closed) {
        end_making(copies, request->status == OK ? ERR_STOPPED : request->status, &request->why);
        return;
    }
    copies->making->size_bytes = request->size_bytes;
    copies->making->manifest = request->manifest;
    LOG_INFO(copies->log, "copied the database for a member that needs it",
             LOG_U64("index", request->manifest.applied_index),
             LOG_U64("size-bytes", request->size_bytes));
    copies->job = (struct job){.work = open_work, .done = open_done};
    worker_submit(copies->worker, &copies->job);
}

/* A file of that name is of a copy that failed, or of an earlier life. */
static void remove_leftover(struct statecopies *copies)
{
    enum err err = fs_unlink(copies->fs, copies->path, NULL);
    (void)err; /* it was not there */
}

/* A copy that fills the disk is made for nobody, and keeps clients from writing meanwhile. */
static enum err check_room(const struct statecopies *copies, struct why *why)
{
    uint64_t bytes = store_size_bytes(copies->store) + store_promised_bytes(copies->store);
    return fs_check_room(copies->fs, store_path(copies->store), copies->path, bytes,
                         SNAPSHOT_SPARE_BYTES, why);
}

static enum err prepare(struct statecopies *copies, struct why *why)
{
    struct worker_config worker = {.name = "state-out", .threads = 1};
    remove_leftover(copies);
    TRY(check_room(copies, why));
    return copies->worker != NULL ? OK : env_worker_new(copies->env, &worker, &copies->worker, why);
}

void statecopies_make(struct statecopies *copies)
{
    if (copies->making != NULL) {
        return;
    }
    struct why why = {.text = ""};
    enum err err = prepare(copies, &why);
    copies->making = err == OK ? calloc(1, sizeof *copies->making) : NULL;
    if (copies->making == NULL) {
        end_making(copies, err == OK ? ERR_NOMEM : err, &why);
        return;
    }
    copies->making->number = env_random_u64(copies->env);
    copies->request = (struct store_copy_request){.path = copies->path, .is_temporary = true};
    store_copy_start(copies->store, &copies->request, on_copied);
}

/* ---- life ---- */

enum err statecopies_init(struct statecopies *copies, struct env *env, struct logger *log,
                          struct store *store, struct fs *fs, void (*made)(void *ctx, bool ok),
                          void *ctx)
{
    *copies = (struct statecopies){
        .env = env, .log = log, .store = store, .fs = fs, .made = made, .ctx = ctx};
    if (asprintf(&copies->path, "%s.send", store_path(store)) < 0) {
        copies->path = NULL;
        return ERR_NOMEM;
    }
    remove_leftover(copies);
    return OK;
}

void statecopies_stop(struct statecopies *copies)
{
    copies->closed = true;
}

void statecopies_fini(struct statecopies *copies)
{
    copies->closed = true;
    worker_close(copies->worker);
    ASSERT(copies->making == NULL && copies->newest == NULL);
    free(copies->path);
}
