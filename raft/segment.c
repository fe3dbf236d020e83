/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/segment.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "base/plant.h"

#define SEGMENT_MAGIC   0x31474f4c56525400u /* "\0TRVLOG1" */
#define SEGMENT_VERSION 1u
#define HEADER_BYTES    56u
#define HEADER_CRC_AT   52u

/* Zeros go to disk in pieces, each synced, so that a sync of the log never waits for long. */
#define ZERO_BYTES (256u * 1024)

static const char prefix[] = "segment-";

enum err logdir_sync(const struct logdir *dir, struct why *why)
{
    return dir->no_sync ? OK : fs_sync_dir(dir->fs, dir->path, why);
}

enum err logdir_sync_file(const struct logdir *dir, struct fs_file *file, struct why *why)
{
    return dir->no_sync ? OK : fs_sync(file, why);
}

bool segment_parse_name(const char *name, uint64_t *id)
{
    if (strncmp(name, prefix, strlen(prefix)) != 0) {
        return false;
    }
    const char *digits = name + strlen(prefix);
    if (strlen(digits) != 16 || strspn(digits, "0123456789abcdef") != 16) {
        return false;
    }
    *id = strtoull(digits, NULL, 16);
    return true;
}

/* A segment in memory, without its file. */
static enum err make(const struct logdir *dir, uint64_t id, struct segment **ret, struct why *why)
{
    char name[sizeof prefix + 16];
    char path[FS_PATH_MAX];
    int n = snprintf(name, sizeof name, "%s%016" PRIx64, prefix, id);
    ASSERT(n == (int)sizeof name - 1);
    TRY(fs_join(dir->path, name, path, sizeof path, why));
    size_t path_size = strlen(path) + 1;
    struct segment *s = calloc(1, sizeof *s + path_size);
    if (s == NULL) {
        return ERR_NOMEM;
    }
    queue_init(&s->link);
    s->id = id;
    s->tag = mix64(dir->salt ^ id);
    s->end = SEGMENT_DATA_OFFSET;
    memcpy(s->path, path, path_size);
    *ret = s;
    return OK;
}

static enum err make_next(struct logdir *dir, struct segment **ret, struct why *why)
{
    return make(dir, atomic_fetch_add(&dir->next_id, 1), ret, why);
}

void segment_close(struct segment *segment)
{
    if (segment != NULL) {
        fs_close(segment->file);
        free(segment);
    }
}

void segment_closep(struct segment **segment)
{
    segment_close(*segment);
}

void segment_close_all(struct segment *segments)
{
    while (segments != NULL) {
        struct segment *next = segments->next;
        segment_close(segments);
        segments = next;
    }
}

enum err segment_remove(struct logdir *dir, struct segment *segment, struct why *why)
{
    enum err err = fs_unlink(dir->fs, segment->path, why);
    segment_close(segment);
    return err;
}

static enum err write_header(const struct logdir *dir, struct segment *s, struct fs_file *file,
                             struct why *why)
{
    uint8_t header[HEADER_BYTES] = {0};
    put_u64(header, SEGMENT_MAGIC);
    put_u32(header + 8, SEGMENT_VERSION);
    put_u64(header + 16, dir->cluster_id);
    put_u64(header + 24, dir->member_id);
    put_u64(header + 32, s->id);
    put_u64(header + 40, s->size);
    put_u32(header + HEADER_CRC_AT, crc32c(0, header, HEADER_CRC_AT));
    return fs_write(file, 0, header, sizeof header, why);
}

static enum err write_zeros(const struct logdir *dir, struct segment *s, struct why *why)
{
    CLEANUP(freep) void *zeros = calloc(1, ZERO_BYTES);
    if (zeros == NULL) {
        return ERR_NOMEM;
    }
    for (uint64_t at = 0; at < s->size;) {
        uint64_t left = s->size - at;
        size_t len = left < ZERO_BYTES ? (size_t)left : ZERO_BYTES;
        TRY(fs_write(s->file, at, zeros, len, why));
        TRY(logdir_sync_file(dir, s->file, why));
        at += len;
    }
    return OK;
}

/* The header comes last: a file that has one is complete. */
static enum err fill(const struct logdir *dir, struct segment *s, bool zeroed, struct why *why)
{
    TRY(fs_allocate(s->file, s->size, why));
    if (zeroed) {
        TRY(write_zeros(dir, s, why));
    }
    TRY(logdir_sync_file(dir, s->file, why));
    TRY(write_header(dir, s, s->file, why));
    TRY(logdir_sync_file(dir, s->file, why));
    return logdir_sync(dir, why);
}

enum err segment_create(struct logdir *dir, uint64_t size, bool zeroed, struct segment **ret,
                        struct why *why)
{
    ASSERT(size >= SEGMENT_BYTES_MIN);
    CLEANUP(segment_closep) struct segment *s = NULL;
    TRY(make_next(dir, &s, why));
    s->size = size;
    TRY(fs_open(dir->fs, s->path, FS_CREATE_NEW, &s->file, why));
    enum err err = fill(dir, s, zeroed, why);
    if (err == OK) {
        *ret = TAKE(s);
        return OK;
    }
    /* Give the space back; if that fails too, the next start does it. */
    if (fs_unlink(dir->fs, s->path, NULL) != OK) {
        why_prefix(why, "leaving '%s' behind", s->path);
    }
    return err;
}

enum err segment_recycle(struct logdir *dir, struct segment **segment, struct why *why)
{
    struct segment *old = *segment;
    CLEANUP(segment_closep) struct segment *s = NULL;
    TRY(make_next(dir, &s, why));
    s->size = old->size;
    TRY(write_header(dir, s, old->file, why));
    TRY(segment_erase(old, SEGMENT_DATA_OFFSET, why));
    TRY(logdir_sync_file(dir, old->file, why));
    TRY(fs_rename(dir->fs, old->path, s->path, why));
    TRY(logdir_sync(dir, why));
    s->file = TAKE(old->file);
    segment_close(old);
    *segment = TAKE(s);
    return OK;
}

enum err segment_write(const struct logdir *dir, struct segment *segment, struct group *group,
                       uint64_t number, struct why *why)
{
    const struct bytes *parts;
    size_t count;
    size_t bytes = GROUP_HEADER_BYTES + group->bytes;
    ASSERT(bytes <= segment_room(segment));
    TRY(group_seal(group, segment->tag, number, segment->end, &parts, &count));
    TRY(fs_writev(segment->file, segment->end, parts, count, why));
    if (!PLANTED(LOG_NOT_SYNCED)) {
        TRY(logdir_sync_file(dir, segment->file, why));
    }
    segment->end += bytes;
    return OK;
}

enum err segment_erase(struct segment *segment, uint64_t offset, struct why *why)
{
    static const uint8_t zeros[GROUP_HEADER_BYTES];
    if (segment->size - offset < sizeof zeros) {
        return OK; /* no group fits there */
    }
    return fs_write(segment->file, offset, zeros, sizeof zeros, why);
}

static enum err read_all(struct segment *s, uint8_t *(*alloc)(void *ctx, size_t size), void *ctx,
                         struct bytes *content, struct why *why)
{
    uint64_t size;
    TRY(fs_size(s->file, &size, why));
    uint8_t *data = alloc(ctx, (size_t)size);
    if (data == NULL) {
        return ERR_NOMEM;
    }
    size_t len;
    TRY(fs_read(s->file, 0, data, (size_t)size, &len, why));
    *content = bytes_of(data, len);
    return OK;
}

static enum err check_header(const struct logdir *dir, struct segment *s, struct bytes content,
                             bool *in_use, struct why *why)
{
    const uint8_t *header = content.data;
    *in_use = false;
    s->size = content.len;
    if (content.len < HEADER_BYTES || get_u64(header) != SEGMENT_MAGIC ||
        get_u32(header + HEADER_CRC_AT) != crc32c(0, header, HEADER_CRC_AT)) {
        return OK;
    }
    if (get_u32(header + 8) != SEGMENT_VERSION) {
        why_set(why, "raft log: '%s' has format version %" PRIu32 ", this program reads version %u",
                s->path, get_u32(header + 8), SEGMENT_VERSION);
        return ERR_VERSION;
    }
    if (get_u64(header + 16) != dir->cluster_id || get_u64(header + 24) != dir->member_id) {
        why_set(why,
                "raft log: '%s' belongs to member %" PRIx64 " of cluster %" PRIx64
                ", not to member %" PRIx64 " of cluster %" PRIx64,
                s->path, get_u64(header + 24), get_u64(header + 16), dir->member_id,
                dir->cluster_id);
        return ERR_FOREIGN;
    }
    if (get_u64(header + 32) != s->id) {
        return OK;
    }
    uint64_t size = get_u64(header + 40);
    if (content.len < size) {
        why_set(why, "raft log: '%s' is damaged: it ends at offset %zu of %" PRIu64, s->path,
                content.len, size);
        return ERR_CORRUPT;
    }
    s->size = size;
    *in_use = true;
    return OK;
}

enum err segment_load(struct logdir *dir, uint64_t id, uint8_t *(*alloc)(void *ctx, size_t size),
                      void *ctx, struct segment **ret, struct bytes *content, bool *in_use,
                      struct why *why)
{
    CLEANUP(segment_closep) struct segment *s = NULL;
    TRY(make(dir, id, &s, why));
    TRY(fs_open(dir->fs, s->path, FS_WRITE, &s->file, why));
    TRY(read_all(s, alloc, ctx, content, why));
    TRY(check_header(dir, s, *content, in_use, why));
    *ret = TAKE(s);
    return OK;
}
