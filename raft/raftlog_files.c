/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/raftlog_files.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/worker.h"
#include "raft/logload.h"
#include "raft/logprepare.h"
#include "raft/logsizes.h"
#include "raft/logwriter.h"
#include "raft/metadata.h"

#define WITNESS_MS 1000 /* after the last append */

static_assert(SEGMENT_BYTES % 4096 == 0 && SEGMENT_BYTES >= SEGMENT_BYTES_MIN,
              "a segment is whole pages");

/* A manifest, encoded, and a view of it. */
struct stored_snapshot {
    struct log_snapshot view;
    struct bytes encoded;
    struct buf memory;
};

struct raftlog_files {
    struct raftlog log;
    struct env *env;
    struct logger *logger;
    struct logdir dir;
    struct fs_file *lock;
    struct metadata *metadata;
    struct metadata_config metadata_config;

    struct worker *log_worker;
    struct logwriter writer; /* the log thread's while that runs */
    struct logprepare prepare;
    struct env_timer witness_timer;

    /* As after the last call. */
    uint64_t first_index;
    uint64_t next_index;
    struct logsizes sizes;
    struct stored_snapshot *snapshot; /* durable, or NULL */

    struct histogram *sync_seconds;
    struct counter *write_bytes;
    char path[];
};

static struct raftlog_files *files_of(const struct raftlog *log)
{
    return CONTAINER_OF((struct raftlog *)(uintptr_t)log, struct raftlog_files, log);
}

static void consume_report(struct raftlog_files *f, const struct raftlog_request *request)
{
    struct logwriter_report report = logwriter_report_of(request);
    if (report.sync_ns > 0) {
        histogram_observe(f->sync_seconds, (double)report.sync_ns / 1e9);
        counter_add(f->write_bytes, (double)report.bytes);
    }
    if (report.obsolete != NULL) {
        logprepare_forget(&f->prepare, report.obsolete);
    }
    if (report.spare_taken) {
        logprepare_spare_taken(&f->prepare);
    }
}

/* Every request of the log thread comes back here, in order. */
static void on_written(struct job *job)
{
    struct raftlog_request *request = CONTAINER_OF(job, struct raftlog_request, job);
    consume_report(files_of(request->log), request);
    request->cb(request);
}

static void submit(struct raftlog_files *f, struct raftlog_request *request,
                   enum logwriter_kind kind, raftlog_cb cb)
{
    request->log = &f->log;
    request->kind = kind;
    request->cb = cb;
    request->job = (struct job){.done = on_written};
    worker_submit(f->log_worker, &request->job);
    if (kind != LOGWRITER_WITNESS && kind != LOGWRITER_SPARE) {
        env_timer_start(f->env, &f->witness_timer, WITNESS_MS);
    }
}

static void on_own_done(struct raftlog_request *request)
{
    free(request);
}

static void submit_own(struct raftlog_files *f, enum logwriter_kind kind, uint64_t index,
                       void *data)
{
    struct raftlog_request *own = calloc(1, sizeof *own);
    if (own == NULL) {
        fatal("raft log: out of memory");
    }
    own->index = index;
    own->data = data;
    submit(f, own, kind, on_own_done);
}

static void on_spare(void *ctx, struct segment *spare)
{
    submit_own(ctx, LOGWRITER_SPARE, 0, spare);
}

static void on_witness_timer(struct env_timer *timer)
{
    submit_own(CONTAINER_OF(timer, struct raftlog_files, witness_timer), LOGWRITER_WITNESS, 0,
               NULL);
}

static void snapshot_free(struct stored_snapshot *snapshot)
{
    if (snapshot != NULL) {
        buf_fini(&snapshot->memory);
        free(snapshot);
    }
}

static struct stored_snapshot *snapshot_new(const struct log_snapshot *from)
{
    struct stored_snapshot *s = calloc(1, sizeof *s);
    if (s == NULL) {
        fatal("raft log: out of memory");
    }
    manifest_encode(from, &s->memory);
    if (!buf_ok(&s->memory)) {
        fatal("raft log: out of memory");
    }
    s->encoded = buf_bytes(&s->memory);
    enum err err = manifest_decode(s->encoded, &s->view);
    ASSERT(err == OK); /* its parts are within their caps */
    return s;
}

static enum err load_segments(struct raftlog_files *f, struct raftlog_image *image, struct why *why)
{
    struct logload load;
    TRY(logload_run(&f->dir, f->logger, image, &load, why));
    queue_splice(&f->writer.segments, &load.segments);
    if (!queue_empty(&f->writer.segments)) {
        f->writer.current = QUEUE_ELEM(f->writer.segments.prev, struct segment, link);
    }
    f->writer.spare = load.spare;
    f->writer.number = load.number;
    f->writer.first_index = f->first_index = load.first_index;
    f->writer.next_index = f->next_index = load.next_index;
    buf_append_bytes(&f->writer.manifest, load.manifest);
    if (load.manifest.len > 0) {
        f->snapshot = snapshot_new(&image->snapshot);
    }
    logsizes_reset(&f->sizes, f->first_index);
    for (size_t i = 0; i < image->entry_count; i++) {
        logsizes_push(&f->sizes, image->entries[i].data.len);
    }
    return buf_ok(&f->writer.manifest) ? OK : ERR_NOMEM;
}

static enum err load_all(struct raftlog_files *f, struct raftlog_image *image, struct why *why)
{
    bool any;
    TRY(logload_any(&f->dir, &any, why));
    f->metadata_config.may_create = !any;
    enum err err = metadata_open(&f->metadata_config, &f->metadata, why);
    if (err == ERR_NOT_FOUND) {
        why_prefix(why, "raft log: there are segments, but term and vote are missing");
        return ERR_CORRUPT;
    }
    TRY(err);
    if (metadata_mended(f->metadata)) {
        LOG_WARN(f->logger, "one copy of term and vote was unfinished or damaged, and is mended",
                 LOG_STR("dir", f->path));
    }
    f->dir.salt = metadata_salt(f->metadata);
    TRY(load_segments(f, image, why));
    image->term = metadata_term(f->metadata);
    image->vote = metadata_vote(f->metadata);
    return OK;
}

static enum err start_workers(struct raftlog_files *f, struct why *why)
{
    struct worker_config log_config = {
        .name = "raft-log", .threads = 1, .run_batch = logwriter_run, .ctx = &f->writer};
    TRY(env_worker_new(f->env, &log_config, &f->log_worker, why));
    return logprepare_start(&f->prepare, f->writer.spare != NULL, why);
}

static enum err files_load(struct raftlog *log, struct raftlog_image *ret, struct why *why)
{
    struct raftlog_files *f = files_of(log);
    ASSERT(f->metadata == NULL);
    struct raftlog_image image = {0};
    enum err err = load_all(f, &image, why);
    if (err == OK) {
        err = start_workers(f, why);
    }
    if (err != OK) {
        raftlog_image_fini(&image);
        return err;
    }
    *ret = image;
    return OK;
}

static void set_metadata(struct raftlog_files *f, uint64_t term, uint64_t vote)
{
    struct why why = {0};
    enum err err = metadata_set(f->metadata, term, vote, &why);
    if (err != OK) {
        fatal("raft log: %s: term and vote are not known any more, so the member stops", why.text);
    }
}

static void files_set_term(struct raftlog *log, uint64_t term)
{
    set_metadata(files_of(log), term, 0);
}

static void files_set_vote(struct raftlog *log, uint64_t vote)
{
    struct raftlog_files *f = files_of(log);
    set_metadata(f, metadata_term(f->metadata), vote);
}

static void files_append(struct raftlog *log, struct raftlog_request *request, uint64_t index,
                         const struct log_entry *entries, size_t count, raftlog_cb cb)
{
    struct raftlog_files *f = files_of(log);
    ASSERT(index == f->next_index);
    for (size_t i = 0; i < count; i++) {
        ASSERT(entries[i].data.len <= ENTRY_BYTES_MAX);
        logsizes_push(&f->sizes, entries[i].data.len);
    }
    f->next_index += count;
    request->index = index;
    request->count = count;
    request->data = (void *)(uintptr_t)entries;
    submit(f, request, LOGWRITER_APPEND, cb);
}

static void files_truncate(struct raftlog *log, uint64_t index)
{
    struct raftlog_files *f = files_of(log);
    ASSERT(index >= f->first_index);
    if (index >= f->next_index) {
        return;
    }
    f->next_index = index;
    logsizes_truncate(&f->sizes, index);
    submit_own(f, LOGWRITER_TRUNCATE, index, NULL);
}

/* A snapshot on its way. */
struct snapshot_request {
    struct raftlog_request request;
    struct raftlog_files *files;
    struct stored_snapshot *snapshot;
    struct raftlog_request *caller;
};

static void on_snapshot_written(struct raftlog_request *request)
{
    struct snapshot_request *r = CONTAINER_OF(request, struct snapshot_request, request);
    snapshot_free(r->files->snapshot);
    r->files->snapshot = r->snapshot;
    struct raftlog_request *caller = r->caller;
    free(r);
    caller->cb(caller);
}

static void files_snapshot_put(struct raftlog *log, struct raftlog_request *request,
                               const struct log_snapshot *snapshot, uint64_t trailing,
                               raftlog_cb cb)
{
    struct raftlog_files *f = files_of(log);
    struct snapshot_request *r = calloc(1, sizeof *r);
    if (r == NULL) {
        fatal("raft log: out of memory");
    }
    *r = (struct snapshot_request){
        .files = f, .snapshot = snapshot_new(snapshot), .caller = request};
    request->cb = cb;
    uint64_t behind = snapshot->index + 1;
    ASSERT(behind >= f->first_index);
    if (trailing == 0 || behind > f->next_index) {
        f->first_index = f->next_index = behind;
        logsizes_reset(&f->sizes, behind);
    } else if (behind > trailing && behind - trailing > f->first_index) {
        f->first_index = behind - trailing;
        logsizes_forget(&f->sizes, f->first_index);
    }
    r->request.index = f->first_index;
    r->request.count = f->next_index;
    r->request.data = &r->snapshot->encoded;
    submit(f, &r->request, LOGWRITER_STATE, on_snapshot_written);
}

static const struct log_snapshot *files_snapshot(struct raftlog *log)
{
    static const struct log_snapshot none;
    const struct raftlog_files *f = files_of(log);
    return f->snapshot == NULL ? &none : &f->snapshot->view;
}

static uint64_t files_size_bytes(struct raftlog *log)
{
    return logsizes_sum(&files_of(log)->sizes);
}

static void files_close(struct raftlog *log)
{
    struct raftlog_files *f = files_of(log);
    /* Callbacks of what is queued may still append. */
    worker_close(f->log_worker);
    logprepare_close(&f->prepare);
    env_timer_stop(f->env, &f->witness_timer);
    if (f->log_worker != NULL) {
        logwriter_witness(&f->writer);
    }
    logwriter_fini(&f->writer);
    metadata_close(f->metadata);
    fs_close(f->lock);
    logsizes_fini(&f->sizes);
    snapshot_free(f->snapshot);
    free(f);
}

static const struct raftlog_ops ops = {
    .load = files_load,
    .set_term = files_set_term,
    .set_vote = files_set_vote,
    .append = files_append,
    .truncate = files_truncate,
    .snapshot_put = files_snapshot_put,
    .snapshot = files_snapshot,
    .size_bytes = files_size_bytes,
    .close = files_close,
};

static struct raftlog_files *files_new(const struct raftlog_files_config *config)
{
    size_t path_size = strlen(config->dir) + 1;
    struct raftlog_files *f = calloc(1, sizeof *f + path_size);
    if (f == NULL) {
        return NULL;
    }
    memcpy(f->path, config->dir, path_size);
    f->log.ops = &ops;
    f->env = config->env;
    f->logger = config->log;
    f->dir.fs = config->fs;
    f->dir.path = f->path;
    f->dir.cluster_id = config->cluster_id;
    f->dir.member_id = config->member_id;
    f->dir.segment_bytes = config->segment_bytes == 0 ? SEGMENT_BYTES : config->segment_bytes;
    f->dir.no_sync = config->unsafe_no_fsync;
    f->metadata_config = (struct metadata_config){.env = config->env,
                                                  .fs = config->fs,
                                                  .dir = f->path,
                                                  .cluster_id = config->cluster_id,
                                                  .member_id = config->member_id,
                                                  .no_sync = config->unsafe_no_fsync};
    f->writer.env = config->env;
    f->writer.dir = &f->dir;
    queue_init(&f->writer.segments);
    f->prepare = (struct logprepare){
        .env = config->env, .log = config->log, .dir = &f->dir, .on_spare = on_spare, .ctx = f};
    logprepare_init(&f->prepare);
    env_timer_init(&f->witness_timer, on_witness_timer);
    return f;
}

static void add_metrics(struct raftlog_files *f, struct metrics *metrics)
{
    if (metrics != NULL) {
        f->sync_seconds =
            metrics_histogram(metrics, "etcd_disk_wal_fsync_duration_seconds",
                              "The latency distributions of fsync called by WAL.", NULL, 0.001, 14);
        f->write_bytes = metrics_counter(metrics, "etcd_disk_wal_write_bytes_total",
                                         "Total number of bytes written in WAL.", NULL);
    }
}

static enum err take_directory(struct raftlog_files *f, struct why *why)
{
    TRY(fs_make_dirs(f->dir.fs, f->path, why));
    char path[FS_PATH_MAX];
    TRY(fs_join(f->path, "lock", path, sizeof path, why));
    return fs_lock(f->dir.fs, path, &f->lock, why);
}

enum err raftlog_files_identity(struct fs *fs, const char *dir, uint64_t *cluster_id,
                                uint64_t *member_id, struct why *why)
{
    return metadata_identity(fs, dir, cluster_id, member_id, why);
}

enum err raftlog_files_open(const struct raftlog_files_config *config, struct raftlog **ret,
                            struct why *why)
{
    ASSERT(config->segment_bytes == 0 || config->segment_bytes >= SEGMENT_BYTES_MIN);
    struct raftlog_files *f = files_new(config);
    if (f == NULL) {
        return ERR_NOMEM;
    }
    enum err err = take_directory(f, why);
    if (err != OK) {
        why_prefix(why, "raft log");
        files_close(&f->log);
        return err;
    }
    add_metrics(f, config->metrics);
    *ret = &f->log;
    return OK;
}

bool raftlog_files_low_space(const struct raftlog *log)
{
    return files_of(log)->prepare.low_space;
}

enum err raftlog_files_free_bytes(const struct raftlog *log, uint64_t *ret, struct why *why)
{
    const struct raftlog_files *f = files_of(log);
    return fs_free_bytes(f->dir.fs, f->path, ret, why);
}
