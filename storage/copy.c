/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "storage/backend_private.h"

#define PAGE_BYTES   4096u
#define RANGE_BYTES  (8u * 1024 * 1024) /* of one copy_file_range */
#define CHUNK_BYTES  (1024u * 1024)
#define RETRY_MS     5u
#define ATTEMPTS_MAX 2000u /* readers' snapshots end long before */

static struct backend_copy *copy_of(struct job *job)
{
    return CONTAINER_OF(job, struct backend_copy, job);
}

/* ---- The copy thread ---- */

static enum err io_error(const char *what, const char *path, struct why *why)
{
    int number = errno;
    why_set(why, "%s '%s': %s", what, path, strerror(number));
    return number == ENOSPC || number == EDQUOT ? ERR_NO_SPACE
           : number == EEXIST                   ? ERR_EXISTS
                                                : ERR_IO;
}

/* Let the kernel copy: it may share blocks, and the bytes never come up here. *SUPPORTED false, and
 * nothing copied: it cannot, between these two files. */
static enum err copy_range(int from, int to, uint64_t size, const char *path, bool *supported,
                           struct why *why)
{
    uint64_t done = 0;
    while (done < size) {
        loff_t at = (loff_t)done;
        size_t len = size - done < RANGE_BYTES ? (size_t)(size - done) : RANGE_BYTES;
        ssize_t got = copy_file_range(from, &at, to, NULL, len, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && done == 0 &&
            (errno == EXDEV || errno == ENOSYS || errno == EOPNOTSUPP || errno == EINVAL)) {
            *supported = false;
            return OK;
        }
        if (got < 0) {
            return io_error("copy to", path, why);
        }
        if (got == 0) {
            why_set(why, "copy to '%s': the database ends after %llu of %llu bytes", path,
                    (unsigned long long)done, (unsigned long long)size);
            return ERR_CORRUPT;
        }
        done += (uint64_t)got;
    }
    return OK;
}

static enum err copy_by_kernel(struct copier *copier, struct backend_copy *copy, bool *supported)
{
    CLEANUP(closep) int to = open(copy->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0) {
        return io_error("create", copy->path, &copy->why);
    }
    TRY(copy_range(copier->source_fd, to, copy->size_bytes, copy->path, supported, &copy->why));
    if (*supported && !copy->is_temporary && fsync(to) != 0) {
        return io_error("sync", copy->path, &copy->why);
    }
    return OK;
}

static enum err copy_chunks(struct copier *copier, struct backend_copy *copy, struct fs_file *to,
                            uint8_t *chunk)
{
    sqlite3_file *from = conn_file(copier->conn);
    for (uint64_t done = 0; done < copy->size_bytes;) {
        uint64_t left = copy->size_bytes - done;
        size_t len = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        int rc = from->pMethods->xRead(from, chunk, (int)len, (sqlite3_int64)done);
        if (rc != SQLITE_OK) {
            why_set(&copy->why, "read '%s' at %llu: %s", copier->conn->path,
                    (unsigned long long)done, sqlite3_errstr(rc));
            return ERR_IO;
        }
        TRY(fs_write(to, done, chunk, len, &copy->why));
        done += len;
    }
    return copy->is_temporary ? OK : fs_sync(to, &copy->why);
}

static enum err copy_by_hand(struct copier *copier, struct backend_copy *copy)
{
    CLEANUP(freep) uint8_t *chunk = malloc(CHUNK_BYTES);
    if (chunk == NULL) {
        return ERR_NOMEM;
    }
    CLEANUP(fs_closep) struct fs_file *to = NULL;
    TRY(fs_open(copier->backend->config.fs, copy->path, FS_CREATE_NEW, &to, &copy->why));
    return copy_chunks(copier, copy, to, chunk);
}

static void remove_file(struct fs *fs, const char *path)
{
    enum err err = fs_unlink(fs, path, NULL);
    (void)err; /* it is half a copy; whoever finds it sees that */
}

static enum err copy_file(struct copier *copier, struct backend_copy *copy)
{
    struct fs *fs = copier->backend->config.fs;
    bool supported = copier->source_fd >= 0;
    if (supported) {
        TRY(copy_by_kernel(copier, copy, &supported));
        if (!supported) {
            remove_file(fs, copy->path);
        }
    }
    if (!supported) {
        TRY(copy_by_hand(copier, copy));
    }
    return copy->is_temporary ? OK : fs_sync_parent(fs, copy->path, &copy->why);
}

/* Thread: copy. */
static void copy_work(struct job *job)
{
    struct backend_copy *copy = copy_of(job);
    struct copier *copier = &copy->backend->copier;
    int64_t pages = 0;
    enum err err = conn_number(copier->conn, STMT_PAGE_COUNT, &pages, &copy->why);
    copy->size_bytes = (uint64_t)pages * PAGE_BYTES;
    copy->state = copier->meta.state;
    if (err == OK) {
        err = copy_file(copier, copy);
        if (err != OK && err != ERR_EXISTS) {
            remove_file(copy->backend->config.fs, copy->path);
        }
    }
    conn_rollback(copier->conn); /* the pin ends */
    copy->status = err;
}

/* ---- The loop ---- */

static void start_next(struct copier *copier);

void copier_end(struct copier *copier, enum err err)
{
    struct backend_copy *copy = TAKE(copier->current);
    conn_close(TAKE(copier->conn));
    copy->status = err;
    start_next(copier);
    copy->cb(copy);
}

static void copy_done(struct job *job)
{
    struct backend_copy *copy = copy_of(job);
    copier_end(&copy->backend->copier, copy->status);
}

static void on_pinned(void *ctx, enum err err)
{
    struct copier *copier = ctx;
    struct backend_copy *copy = copier->current;
    if (copier->stopped) {
        conn_rollback(copier->conn);
        err = ERR_STOPPED;
    }
    if (err == ERR_LOCKED && ++copier->attempts < ATTEMPTS_MAX) {
        env_timer_start(copier->backend->config.env, &copier->retry_timer, RETRY_MS);
        return;
    }
    if (err != OK) {
        why_set(&copy->why, "the database file could not be held still: %s", err_text(err));
        copier_end(copier, err);
        return;
    }
    copy->job = (struct job){.work = copy_work, .done = copy_done};
    worker_submit(copier->worker, &copy->job);
}

static void pin(struct copier *copier)
{
    checkpoint_pin(&copier->backend->checkpoint, copier->conn, &copier->meta, on_pinned, copier);
}

static void on_retry(struct env_timer *timer)
{
    pin(CONTAINER_OF(timer, struct copier, retry_timer));
}

static void start_copy(struct copier *copier, struct backend_copy *copy)
{
    copier->attempts = 0;
    enum err err = backend_open_reader(&copier->backend->config, &copier->conn, &copy->why);
    if (err != OK) {
        copier_end(copier, err);
        return;
    }
    pin(copier);
}

static void start_next(struct copier *copier)
{
    struct queue *link;
    if (copier->current != NULL || copier->stopped ||
        (link = queue_pop_front(&copier->waiting)) == NULL) {
        return;
    }
    copier->current = QUEUE_ELEM(link, struct backend_copy, link);
    switch (copier->current->kind) {
    case UPKEEP_COPY:
        start_copy(copier, copier->current);
        break;
    case UPKEEP_DEFRAGMENT:
        defrag_start(&copier->backend->defrag, copier->current);
        break;
    case UPKEEP_TAKEOVER:
        takeover_start(&copier->backend->takeover, copier->current);
        break;
    }
}

/* Begins in the next turn: no callback comes before the call has returned. */
static void on_task(struct env_task *task)
{
    start_next(CONTAINER_OF(task, struct copier, task));
}

void copier_add(struct copier *copier, struct backend_copy *copy)
{
    ASSERT(!copier->stopped);
    copy->backend = copier->backend;
    queue_push_back(&copier->waiting, &copy->link);
    env_defer(copier->backend->config.env, &copier->task);
}

/* Nothing has taken the place of the file that is open. */
static bool is_open(const struct copier *copier, const char *path)
{
    struct stat ours;
    struct stat there;
    return copier->source_fd >= 0 && fstat(copier->source_fd, &ours) == 0 &&
           stat(path, &there) == 0 && ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

enum err copier_open_source(struct copier *copier, struct why *why)
{
    const struct backend_config *config = &copier->backend->config;
    if (config->vfs != NULL || is_open(copier, config->path)) {
        return OK;
    }
    int fd = open(config->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return io_error("open", config->path, why);
    }
    if (copier->source_fd >= 0) {
        close(copier->source_fd);
    }
    copier->source_fd = fd;
    return OK;
}

enum err copier_init(struct copier *copier, struct backend *backend, struct why *why)
{
    *copier = (struct copier){.backend = backend, .source_fd = -1};
    queue_init(&copier->waiting);
    env_timer_init(&copier->retry_timer, on_retry);
    env_task_init(&copier->task, PHASE_APPLY, on_task);
    TRY(copier_open_source(copier, why));
    struct worker_config worker = {.name = "copy", .threads = 1};
    return env_worker_new(backend->config.env, &worker, &copier->worker, why);
}

void copier_stop(struct copier *copier)
{
    if (copier->worker == NULL) {
        return;
    }
    copier->stopped = true;
    env_task_cancel(&copier->task);
    struct queue *link;
    while ((link = queue_pop_front(&copier->waiting)) != NULL) {
        struct backend_copy *copy = QUEUE_ELEM(link, struct backend_copy, link);
        copy->status = ERR_STOPPED;
        copy->cb(copy);
    }
    if (env_timer_active(&copier->retry_timer)) {
        env_timer_stop(copier->backend->config.env, &copier->retry_timer);
        copier_end(copier, ERR_STOPPED);
    }
    worker_close(copier->worker);
    copier->worker = NULL;
}

void copier_fini(struct copier *copier)
{
    conn_close(copier->conn);
    if (copier->source_fd >= 0) {
        close(copier->source_fd);
    }
}
