/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/logload.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "base/limits.h"
#include "base/plant.h"
#include "raft/logreplay.h"

/* A segment's file at start. */
struct file {
    struct segment *segment; /* NULL once it has found its place */
    struct raftlog_image memory;
    struct bytes content;
    bool in_use;             /* its header is its own */
    struct group_view first; /* number 0: not whole, so it is not part of the walk */
    bool passed;             /* before the last gap: not needed */
};

struct walk {
    struct logdir *dir;
    struct logger *log;
    struct file *files; /* those with a first group in order, then the others */
    size_t file_count;
    size_t live_count;
    struct replay replay;
    struct file *newest; /* of the walk; NULL: the log is empty */
    uint64_t number;     /* of the last whole group, 0: none */
    uint64_t last_at;    /* where it is, in the newest */
    uint64_t last_bytes;
    struct why gap; /* where a group was missing, if one was */
};

void manifest_encode(const struct log_snapshot *snapshot, struct buf *buf)
{
    write_u64(buf, snapshot->index);
    write_u64(buf, snapshot->term);
    write_u64(buf, snapshot->configuration_index);
    write_var_bytes(buf, snapshot->configuration);
    write_var_bytes(buf, snapshot->data);
}

enum err manifest_decode(struct bytes bytes, struct log_snapshot *ret)
{
    struct reader r = reader_of(bytes);
    struct log_snapshot snapshot = {0};
    snapshot.index = read_u64(&r);
    snapshot.term = read_u64(&r);
    snapshot.configuration_index = read_u64(&r);
    snapshot.configuration = read_var_bytes(&r, MANIFEST_BYTES_MAX);
    snapshot.data = read_var_bytes(&r, MANIFEST_BYTES_MAX);
    TRY(reader_end(&r));
    *ret = snapshot;
    return OK;
}

enum err logload_any(const struct logdir *dir, bool *ret, struct why *why)
{
    CLEANUP(fs_names_fini) struct fs_names names = {0};
    TRY(fs_list(dir->fs, dir->path, &names, why));
    uint64_t id;
    *ret = false;
    for (size_t i = 0; i < names.count; i++) {
        *ret |= segment_parse_name(names.names[i], &id);
    }
    return OK;
}

static uint8_t *file_alloc(void *ctx, size_t size)
{
    struct file *file = ctx;
    return raftlog_image_alloc(&file->memory, size);
}

static enum err read_file(struct walk *w, uint64_t id, struct why *why)
{
    struct file *file = &w->files[w->file_count++];
    TRY(segment_load(w->dir, id, file_alloc, file, &file->segment, &file->content, &file->in_use,
                     why));
    struct group_view first;
    if (file->in_use &&
        group_read(file->content, SEGMENT_DATA_OFFSET, file->segment->tag, &first)) {
        file->first = first;
    }
    if (id >= w->dir->next_id) {
        w->dir->next_id = id + 1;
    }
    return OK;
}

static int by_first_group(const void *a, const void *b)
{
    uint64_t x = ((const struct file *)a)->first.number - 1; /* 0, none: last */
    uint64_t y = ((const struct file *)b)->first.number - 1;
    return x < y ? -1 : x > y;
}

static enum err read_files(struct walk *w, struct why *why)
{
    CLEANUP(fs_names_fini) struct fs_names names = {0};
    TRY(fs_list(w->dir->fs, w->dir->path, &names, why));
    w->files = calloc(names.count + 1, sizeof *w->files);
    if (w->files == NULL) {
        return ERR_NOMEM;
    }
    w->dir->next_id = 1;
    for (size_t i = 0; i < names.count; i++) {
        uint64_t id;
        if (segment_parse_name(names.names[i], &id)) {
            TRY(read_file(w, id, why));
        }
    }
    qsort(w->files, w->file_count, sizeof *w->files, by_first_group);
    while (w->live_count < w->file_count && w->files[w->live_count].first.number != 0) {
        w->live_count++;
    }
    return OK;
}

/* A planted fault. */
static bool forgets_tail(const struct walk *w, const struct file *file, bool new_segment)
{
    return file == &w->files[w->live_count - 1] && !new_segment && PLANTED_EVERY(LOG_TAIL_LOST, 40);
}

/* All groups of FILE, up to the first that is not whole or not the next. */
static enum err walk_file(struct walk *w, struct file *file, struct why *why)
{
    struct segment *s = file->segment;
    struct group_view group;
    bool new_segment = true;
    while (group_read(file->content, s->end, s->tag, &group) &&
           (new_segment || group.number == w->number + 1) && !forgets_tail(w, file, new_segment)) {
        enum err err = replay_group(&w->replay, &group, new_segment, why);
        if (err != OK) {
            why_prefix(why, "raft log: '%s' is damaged at offset %" PRIu64, s->path, s->end);
            return err;
        }
        w->number = group.number;
        w->last_at = s->end;
        w->last_bytes = group.bytes;
        s->end += group.bytes;
        if (w->replay.next - 1 > s->last_index) {
            s->last_index = w->replay.next - 1;
        }
        new_segment = false;
    }
    w->newest = file;
    return OK;
}

/* FILE does not go on where the one before it ended: what is before it may not be needed. */
static enum err pass_gap(struct walk *w, struct file *file, struct why *why)
{
    struct segment *before = w->newest->segment;
    why_set(&w->gap,
            "raft log: '%s' is damaged at offset %" PRIu64 ": group %" PRIu64
            " is missing, the next is %" PRIu64 " in '%s'",
            before->path, before->end, w->number + 1, file->first.number, file->segment->path);
    if (file->first.number <= w->number) {
        if (why != NULL) {
            *why = w->gap;
        }
        return ERR_CORRUPT;
    }
    for (struct file *f = w->files; f != file; f++) {
        f->passed = true;
    }
    replay_reset(&w->replay);
    return OK;
}

static enum err walk_all(struct walk *w, struct why *why)
{
    for (size_t i = 0; i < w->live_count; i++) {
        struct file *file = &w->files[i];
        if (i > 0 && file->first.number != w->number + 1) {
            TRY(pass_gap(w, file, why));
        }
        TRY(walk_file(w, file, why));
    }
    return OK;
}

/* The first place in FILE, from OFFSET on, that proves that group n+1 was durable. */
static bool find_witness(const struct walk *w, const struct file *file, uint64_t offset,
                         uint64_t *at)
{
    struct group_view group;
    for (uint64_t i = offset; i + GROUP_HEADER_BYTES <= file->content.len; i += 8) {
        if (!group_read_header(file->content, i, file->segment->tag, &group)) {
            continue;
        }
        if (group.number > w->number + 1 ||
            (group.number == w->number + 1 &&
             group_read(file->content, i, file->segment->tag, &group))) {
            *at = i;
            return true;
        }
    }
    return false;
}

static enum err check_end(const struct walk *w, struct why *why)
{
    for (size_t i = 0; i < w->file_count; i++) {
        const struct file *file = &w->files[i];
        uint64_t from = SEGMENT_DATA_OFFSET;
        uint64_t at;
        if (file == w->newest) {
            from = file->segment->end;
        } else if (i < w->live_count) {
            continue;
        }
        if (!find_witness(w, file, from, &at) || PLANTED(LOG_TAIL_LOST)) {
            continue;
        }
        const struct segment *s = w->newest == NULL ? file->segment : w->newest->segment;
        why_set(why,
                "raft log: '%s' is damaged at offset %" PRIu64 ": group %" PRIu64
                " should be there, as the group at offset %" PRIu64 " of '%s' proves",
                s->path, s->end, w->number + 1, at, file->segment->path);
        return ERR_CORRUPT;
    }
    return OK;
}

/* Is there anything at the place of the next group's header? */
static bool is_dirty(const struct file *file, uint64_t offset)
{
    for (uint64_t i = offset; i < offset + GROUP_HEADER_BYTES && i < file->content.len; i++) {
        if (file->content.data[i] != 0) {
            return true;
        }
    }
    return false;
}

/* Write the last group once more, and cut what may follow it. */
static enum err settle_newest(const struct walk *w, struct why *why)
{
    const struct file *file = w->newest;
    struct segment *s = file->segment;
    struct group_view torn;
    if (group_read_header(file->content, s->end, s->tag, &torn)) {
        LOG_INFO(w->log, "cut an unfinished write off the end of the raft log",
                 LOG_STR("file", s->path), LOG_U64("offset", s->end), LOG_U64("bytes", torn.bytes));
    }
    TRY(fs_write(s->file, w->last_at, file->content.data + w->last_at, w->last_bytes, why));
    if (is_dirty(file, s->end)) {
        TRY(segment_erase(s, s->end, why));
    }
    return logdir_sync_file(w->dir, s->file, why);
}

/* A file outside of the walk: the first that is fit for it becomes the spare, the others go. */
static enum err settle_unused(struct walk *w, struct file *file, struct logload *ret,
                              struct why *why)
{
    struct segment *s = TAKE(file->segment);
    if (ret->spare == NULL && file->in_use && !file->passed &&
        file->content.len == w->dir->segment_bytes) {
        ret->spare = s;
        s->end = SEGMENT_DATA_OFFSET;
        if (is_dirty(file, s->end)) {
            TRY(segment_erase(s, s->end, why));
        }
        return logdir_sync_file(w->dir, s->file, why);
    }
    return segment_remove(w->dir, s, why);
}

static enum err settle(struct walk *w, struct raftlog_image *image, struct logload *ret,
                       struct why *why)
{
    if (w->newest != NULL) {
        TRY(settle_newest(w, why));
    }
    for (size_t i = 0; i < w->file_count; i++) {
        struct file *file = &w->files[i];
        if (i >= w->live_count || file->passed) {
            TRY(settle_unused(w, file, ret, why));
            continue;
        }
        queue_push_back(&ret->segments, &file->segment->link);
        file->segment = NULL;
        file->memory.memory->next = image->memory;
        image->memory = TAKE(file->memory.memory);
    }
    return logdir_sync(w->dir, why);
}

static enum err run(struct walk *w, struct raftlog_image *image, struct logload *ret,
                    struct why *why)
{
    TRY(read_files(w, why));
    TRY(walk_all(w, why));
    TRY(check_end(w, why));
    enum err err = replay_finish(&w->replay, image, why);
    if (err == ERR_CORRUPT && w->gap.text[0] != '\0') {
        why_prefix(why, "%s", w->gap.text);
    } else if (err == ERR_CORRUPT) {
        why_prefix(why, "raft log: a segment before '%s' is missing", w->files[0].segment->path);
    }
    TRY(err);
    if (w->gap.text[0] != '\0') {
        LOG_WARN(w->log, "damage in a part of the raft log that is not needed any more",
                 LOG_STR("detail", w->gap.text));
    }
    ret->number = w->number;
    ret->first_index = image->first_index;
    ret->next_index = image->first_index + image->entry_count;
    ret->manifest = w->replay.manifest;
    return settle(w, image, ret, why);
}

enum err logload_run(struct logdir *dir, struct logger *log, struct raftlog_image *image,
                     struct logload *ret, struct why *why)
{
    struct walk w = {.dir = dir, .log = log};
    *ret = (struct logload){0};
    queue_init(&ret->segments);
    enum err err = run(&w, image, ret, why);
    for (size_t i = 0; i < w.file_count; i++) {
        segment_close(w.files[i].segment);
        raftlog_image_fini(&w.files[i].memory);
    }
    free(w.files);
    replay_fini(&w.replay);
    if (err != OK) {
        logload_fini(ret);
        raftlog_image_fini(image);
    }
    return err;
}

void logload_fini(struct logload *load)
{
    struct queue *link;
    while ((link = queue_pop_front(&load->segments)) != NULL) {
        segment_close(QUEUE_ELEM(link, struct segment, link));
    }
    segment_close(load->spare);
    load->spare = NULL;
}
