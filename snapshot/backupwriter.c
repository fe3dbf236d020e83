/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/backupwriter.h"

#include <stdio.h>

#include "snapshot/backup.h"

/* Written at once, hundreds of megabytes hold up whoever syncs on the same disk, a member's log
 * perhaps. */
#define HURRY_BYTES (8u * 1024 * 1024)

struct backupwriter {
    struct fs *fs;
    char *path;
    char *part_path;
    struct fs_file *file;
    uint64_t size;
    uint64_t hurried;           /* bytes */
    struct digest *digest;      /* of all but ... */
    uint8_t tail[DIGEST_BYTES]; /* ... the last bytes, which are the other digest in the end */
    size_t tail_len;
    bool kept; /* it has its name */
};

void backupwriter_free(struct backupwriter *writer)
{
    if (writer == NULL) {
        return;
    }
    if (writer->file != NULL && !writer->kept) {
        enum err err = fs_unlink(writer->fs, writer->part_path, NULL);
        (void)err; /* it is used again by the next one */
    }
    fs_close(writer->file);
    digest_free(writer->digest);
    free(writer->part_path);
    free(writer->path);
    free(writer);
}

static void backupwriter_freep(struct backupwriter **writer)
{
    backupwriter_free(*writer);
}

enum err backupwriter_new(struct fs *fs, const char *path, struct backupwriter **ret,
                          struct why *why)
{
    CLEANUP(backupwriter_freep) struct backupwriter *writer = calloc(1, sizeof *writer);
    if (writer == NULL) {
        return ERR_NOMEM;
    }
    writer->fs = fs;
    writer->path = strdup(path);
    writer->digest = digest_new();
    if (writer->path == NULL || writer->digest == NULL) {
        return ERR_NOMEM;
    }
    if (asprintf(&writer->part_path, "%s.part", path) < 0) {
        writer->part_path = NULL;
        return ERR_NOMEM;
    }
    enum err err = fs_lock(fs, writer->part_path, &writer->file, why);
    if (err == ERR_LOCKED) {
        why_set(why, "somebody else is saving to '%s' just now ('%s' is locked)", path,
                writer->part_path);
    }
    TRY(err);
    TRY(fs_truncate(writer->file, 0, why));
    *ret = TAKE(writer);
    return OK;
}

enum err backupwriter_check_room(struct fs *fs, const char *where, uint64_t bytes, struct why *why)
{
    uint64_t room;
    if (fs_free_bytes(fs, where, &room, NULL) != OK || room >= bytes) {
        return OK;
    }
    why_set(why, "there is no room for the backup: %llu bytes, and '%s' has room for %llu",
            (unsigned long long)bytes, where, (unsigned long long)room);
    return ERR_NO_SPACE;
}

enum err backupwriter_expect(struct backupwriter *writer, uint64_t left_bytes, struct why *why)
{
    return backupwriter_check_room(writer->fs, writer->part_path, left_bytes, why);
}

/* BYTES are behind the tail: hash all but the last DIGEST_BYTES of both together. */
static void hash(struct backupwriter *writer, struct bytes bytes)
{
    size_t all = writer->tail_len + bytes.len;
    size_t done = all > DIGEST_BYTES ? all - DIGEST_BYTES : 0;
    size_t of_tail = done < writer->tail_len ? done : writer->tail_len;
    digest_add(writer->digest, bytes_of(writer->tail, of_tail));
    digest_add(writer->digest, bytes_of(bytes.data, done - of_tail));
    writer->tail_len -= of_tail;
    memmove(writer->tail, writer->tail + of_tail, writer->tail_len);
    size_t rest = bytes.len - (done - of_tail);
    memcpy(writer->tail + writer->tail_len, bytes.data + (done - of_tail), rest);
    writer->tail_len += rest;
}

enum err backupwriter_add(struct backupwriter *writer, struct bytes bytes, struct why *why)
{
    if (bytes.len == 0) {
        return OK;
    }
    TRY(fs_write(writer->file, writer->size, bytes.data, bytes.len, why));
    writer->size += bytes.len;
    hash(writer, bytes);
    if (writer->size - writer->hurried >= HURRY_BYTES) {
        fs_hurry(writer->file, writer->hurried, writer->size - writer->hurried);
        writer->hurried = writer->size;
    }
    return OK;
}

static enum err check(struct backupwriter *writer, bool verify,
                      const struct dbfile_progress *progress, struct why *why)
{
    uint8_t digest[DIGEST_BYTES];
    digest_end(writer->digest, digest);
    if (writer->tail_len != DIGEST_BYTES || memcmp(digest, writer->tail, DIGEST_BYTES) != 0) {
        why_set(why, "what the member sent does not end with its SHA-256 (%llu bytes)",
                (unsigned long long)writer->size);
        return ERR_CORRUPT;
    }
    CLEANUP(backup_closep) struct backup *backup = NULL;
    TRY(backup_open(writer->fs, writer->part_path, &backup, why));
    return verify ? backup_verify(backup, false, progress, why) : OK;
}

enum err backupwriter_finish(struct backupwriter *writer, bool verify,
                             const struct dbfile_progress *progress, struct why *why)
{
    TRY(check(writer, verify, progress, why));
    TRY(fs_sync(writer->file, why));
    TRY(fs_rename(writer->fs, writer->part_path, writer->path, why));
    writer->kept = true;
    return fs_sync_parent(writer->fs, writer->path, why);
}
