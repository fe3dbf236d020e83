/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/spool.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/worker.h"
#include "snapshot/digest.h"

#define COPY_SUFFIX ".copy-"
/* In the head of an SQLite file: how it is written and read; 1: without a WAL, 2: with one. */
#define JOURNAL_AT  18u
#define WITHOUT_WAL 1u

struct spool {
    struct spool_config config;
    char *path;            /* of the store's file */
    char dir[FS_PATH_MAX]; /* that it is in */
    struct worker *worker; /* made with the first copy */
    unsigned active;
    uint64_t next_number; /* of names */
    bool closing;
};

/* A copy's inside, which lives a little longer: its file is closed by the thread. */
struct spool_file {
    struct spool *spool;
    struct spool_copy *copy; /* the caller's, until it has ended it */
    char *path;              /* of the copy, until it is open */
    struct store_copy_request request;
    struct job job;
    struct fs_file *file;
    struct digest *digest;
    uint64_t size;
    uint64_t at;
    struct blob *piece;
    bool is_last;
    enum err status;
};

static void free_file(struct spool_file *file)
{
    digest_free(file->digest);
    free(file->path);
    free(file);
}

/* ---- the thread ---- */

static void open_work(struct job *job)
{
    struct spool_file *file = CONTAINER_OF(job, struct spool_file, job);
    struct fs *fs = file->spool->config.fs;
    file->status = fs_open(fs, file->path, FS_READ, &file->file, NULL);
    if (file->status == OK) {
        file->status = fs_size(file->file, &file->size, NULL);
    }
    enum err err = fs_unlink(fs, file->path, NULL);
    if (file->status == OK) {
        file->status = err;
    }
}

static enum err read_piece(struct spool_file *file, struct blob *piece)
{
    size_t got;
    TRY(fs_read(file->file, file->at, piece->data, piece->len, &got, NULL));
    if (got != piece->len) {
        return ERR_IO;
    }
    if (file->at == 0 && piece->len > JOURNAL_AT + 1) {
        piece->data[JOURNAL_AT] = WITHOUT_WAL;
        piece->data[JOURNAL_AT + 1] = WITHOUT_WAL;
    }
    digest_add(file->digest, blob_bytes(piece));
    file->at += piece->len;
    return OK;
}

static void read_work(struct job *job)
{
    struct spool_file *file = CONTAINER_OF(job, struct spool_file, job);
    uint64_t left = file->size - file->at;
    file->is_last = left == 0;
    size_t len = file->is_last              ? DIGEST_BYTES
                 : left > SPOOL_PIECE_BYTES ? SPOOL_PIECE_BYTES
                                            : (size_t)left;
    struct blob *piece = blob_new(len);
    if (piece == NULL) {
        file->status = ERR_NOMEM;
        return;
    }
    file->piece = piece;
    if (file->is_last) {
        digest_end(file->digest, piece->data);
        file->status = OK;
    } else {
        file->status = read_piece(file, piece);
    }
}

/* The last close frees the file's blocks: 100 ms for 250 MB. */
static void close_work(struct job *job)
{
    struct spool_file *file = CONTAINER_OF(job, struct spool_file, job);
    fs_close(TAKE(file->file));
}

/* ---- the loop ---- */

static void submit(struct spool_file *file, void (*work)(struct job *job),
                   void (*done)(struct job *job))
{
    file->job = (struct job){.work = work, .done = done};
    worker_submit(file->spool->worker, &file->job);
}

static void finish_call(struct spool_file *file)
{
    struct spool_copy *copy = file->copy;
    copy->piece = TAKE(file->piece);
    copy->is_last = file->is_last;
    copy->left_bytes = file->size - file->at;
    copy->cb(copy, file->status);
}

static void on_job_done(struct job *job)
{
    finish_call(CONTAINER_OF(job, struct spool_file, job));
}

static void on_copied(struct store_copy_request *request)
{
    struct spool_file *file = CONTAINER_OF(request, struct spool_file, request);
    file->status = request->status;
    if (file->status != OK) {
        finish_call(file); /* the store has removed what there was of it */
        return;
    }
    submit(file, open_work, on_job_done);
}

/* Threads begin with the first copy: most members never make one. */
static enum err start_worker(struct spool *spool)
{
    if (spool->worker != NULL) {
        return OK;
    }
    struct worker_config config = {.name = "spool", .threads = 1};
    return env_worker_new(spool->config.env, &config, &spool->worker, NULL);
}

static enum err check_room(const struct spool *spool)
{
    const struct spool_config *config = &spool->config;
    if (spool->active >= config->copies_max) {
        return ERR_TOO_MANY_REQUESTS;
    }
    uint64_t bytes = store_size_bytes(config->store) + store_promised_bytes(config->store);
    return fs_check_room(config->fs, spool->dir, spool->path, bytes, config->spare_bytes, NULL);
}

enum err spool_start(struct spool *spool, struct spool_copy *copy,
                     void (*cb)(struct spool_copy *copy, enum err status))
{
    ASSERT(!spool->closing);
    TRY(check_room(spool));
    TRY(start_worker(spool));
    struct spool_file *file = calloc(1, sizeof *file);
    if (file == NULL) {
        return ERR_NOMEM;
    }
    file->digest = digest_new();
    unsigned long long number = ++spool->next_number;
    if (asprintf(&file->path, "%s" COPY_SUFFIX "%llu", spool->path, number) < 0) {
        file->path = NULL;
    }
    if (file->digest == NULL || file->path == NULL) {
        free_file(file);
        return ERR_NOMEM;
    }
    spool->active++;
    file->spool = spool;
    file->copy = copy;
    file->request = (struct store_copy_request){.path = file->path, .is_temporary = true};
    *copy = (struct spool_copy){.file = file, .cb = cb};
    store_copy_start(spool->config.store, &file->request, on_copied);
    return OK;
}

void spool_read(struct spool_copy *copy, void (*cb)(struct spool_copy *copy, enum err status))
{
    struct spool_file *file = copy->file;
    ASSERT(file->status == OK && !file->is_last);
    blob_unref(TAKE(copy->piece));
    copy->cb = cb;
    submit(file, read_work, on_job_done);
}

static void on_closed(struct job *job)
{
    struct spool_file *file = CONTAINER_OF(job, struct spool_file, job);
    file->spool->active--;
    free_file(file);
}

void spool_end(struct spool_copy *copy)
{
    struct spool_file *file = TAKE(copy->file);
    blob_unref(TAKE(copy->piece));
    if (file->file == NULL || file->spool->closing) {
        fs_close(TAKE(file->file));
        on_closed(&file->job);
    } else {
        submit(file, close_work, on_closed);
    }
}

/* ---- life ---- */

static void remove_leftover(struct spool *spool, const char *name)
{
    char path[FS_PATH_MAX];
    if (fs_join(spool->dir, name, path, sizeof path, NULL) == OK) {
        enum err err = fs_unlink(spool->config.fs, path, NULL);
        (void)err; /* it only takes room, and the next start tries again */
    }
}

/* Copies that a crash has left with their names. */
static void remove_leftovers(struct spool *spool)
{
    const char *slash = strrchr(spool->path, '/');
    const char *own = slash == NULL ? spool->path : slash + 1;
    size_t own_len = strlen(own);
    struct fs_names names = {0};
    if (fs_list(spool->config.fs, spool->dir, &names, NULL) != OK) {
        return; /* the store, which is there, has found it readable a moment ago */
    }
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.names[i];
        if (strncmp(name, own, own_len) == 0 &&
            strncmp(name + own_len, COPY_SUFFIX, sizeof COPY_SUFFIX - 1) == 0) {
            remove_leftover(spool, name);
        }
    }
    fs_names_fini(&names);
}

/* The directory of PATH. */
static enum err find_dir(struct spool *spool)
{
    const char *slash = strrchr(spool->path, '/');
    size_t len = slash == NULL ? 0 : slash == spool->path ? 1 : (size_t)(slash - spool->path);
    if (len >= sizeof spool->dir) {
        return ERR_INVALID;
    }
    memcpy(spool->dir, len == 0 ? "." : spool->path, len == 0 ? 1 : len);
    spool->dir[len == 0 ? 1 : len] = '\0';
    return OK;
}

enum err spool_new(const struct spool_config *config, struct spool **ret)
{
    struct spool *spool = calloc(1, sizeof *spool);
    if (spool == NULL || (spool->path = strdup(config->path)) == NULL) {
        free(spool);
        return ERR_NOMEM;
    }
    spool->config = *config;
    spool->config.path = NULL;
    enum err err = find_dir(spool);
    if (err != OK) {
        spool_free(spool);
        return err;
    }
    remove_leftovers(spool);
    *ret = spool;
    return OK;
}

void spool_free(struct spool *spool)
{
    if (spool == NULL) {
        return;
    }
    spool->closing = true;
    worker_close(spool->worker);
    ASSERT(spool->active == 0);
    free(spool->path);
    free(spool);
}
