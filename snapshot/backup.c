/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/backup.h"

#include <stdio.h>

#define CHUNK_BYTES (1024u * 1024)

struct backup {
    struct fs *fs;
    char *path;
    struct dbfile *database;
    bool has_digest;
};

void backup_close(struct backup *backup)
{
    if (backup != NULL) {
        dbfile_close(backup->database);
        free(backup->path);
        free(backup);
    }
}

void backup_closep(struct backup **backup)
{
    backup_close(*backup);
}

bool backup_has_digest(const struct backup *backup)
{
    return backup->has_digest;
}

struct dbfile *backup_database(struct backup *backup)
{
    return backup->database;
}

/* ---- opening ---- */

static enum err check_length(struct backup *backup, struct why *why)
{
    const struct dbfile_info *info = dbfile_info(backup->database);
    uint64_t behind = info->file_bytes - info->size_bytes;
    if (behind != 0 && behind != DIGEST_BYTES) {
        why_set(why,
                "'%s': at %llu, behind the database, are %llu bytes instead of the %d of its "
                "SHA-256: it was cut off or added to",
                backup->path, (unsigned long long)info->size_bytes, (unsigned long long)behind,
                DIGEST_BYTES);
        return ERR_CORRUPT;
    }
    backup->has_digest = behind == DIGEST_BYTES;
    return OK;
}

/* What was committed last may be in the WAL alone, which a backup has none of. */
static enum err check_alone(struct backup *backup, struct why *why)
{
    CLEANUP(freep) char *wal = NULL;
    CLEANUP(fs_closep) struct fs_file *file = NULL;
    uint64_t size;
    if (asprintf(&wal, "%s-wal", backup->path) < 0) {
        wal = NULL;
        return ERR_NOMEM;
    }
    enum err err = fs_open(backup->fs, wal, FS_READ, &file, why);
    if (err == ERR_NOT_FOUND) {
        return OK;
    }
    TRY(err);
    TRY(fs_size(file, &size, why));
    if (size > 0) {
        why_set(why, "'%s' is a member's own database, and not whole without '%s': save a backup",
                backup->path, wal);
        return ERR_INVALID;
    }
    return OK;
}

enum err backup_open(struct fs *fs, const char *path, struct backup **ret, struct why *why)
{
    CLEANUP(backup_closep) struct backup *backup = calloc(1, sizeof *backup);
    if (backup == NULL || (backup->path = strdup(path)) == NULL) {
        return ERR_NOMEM;
    }
    backup->fs = fs;
    TRY(check_alone(backup, why));
    TRY(dbfile_open(fs, path, &backup->database, why));
    TRY(check_length(backup, why));
    *ret = TAKE(backup);
    return OK;
}

/* ---- the digest ---- */

struct hashing {
    struct fs_file *file;
    struct digest *digest;
    uint8_t *chunk;
    uint64_t size;
    const struct dbfile_progress *progress;
};

static enum err hash_file(struct hashing *h, struct why *why)
{
    for (uint64_t at = 0; at < h->size;) {
        size_t want = h->size - at < CHUNK_BYTES ? (size_t)(h->size - at) : CHUNK_BYTES;
        size_t got;
        TRY(fs_read(h->file, at, h->chunk, want, &got, why));
        if (got != want) {
            why_set(why, "the file became shorter while it was read");
            return ERR_IO;
        }
        digest_add(h->digest, bytes_of(h->chunk, got));
        at += got;
        if (h->progress != NULL) {
            h->progress->fn(h->progress->ctx, at, h->size);
        }
    }
    return OK;
}

static enum err compare_digest(struct backup *backup, struct hashing *h, struct why *why)
{
    uint8_t found[DIGEST_BYTES];
    uint8_t written[DIGEST_BYTES];
    size_t got;
    digest_end(h->digest, found);
    TRY(fs_read(h->file, h->size, written, sizeof written, &got, why));
    if (got != sizeof written || memcmp(found, written, sizeof found) != 0) {
        char found_hex[DIGEST_HEX_SIZE];
        char written_hex[DIGEST_HEX_SIZE];
        digest_hex(found, found_hex);
        digest_hex(written, written_hex);
        why_set(why,
                "'%s': expected sha256 %s (at %llu), got %s: all records are whole, the damage is "
                "in space that holds none or in the SHA-256 itself",
                backup->path, written_hex, (unsigned long long)h->size, found_hex);
        return ERR_CORRUPT;
    }
    return OK;
}

static enum err verify_digest(struct backup *backup, const struct dbfile_progress *progress,
                              struct why *why)
{
    CLEANUP(fs_closep) struct fs_file *file = NULL;
    CLEANUP(digest_freep) struct digest *digest = digest_new();
    CLEANUP(freep) uint8_t *chunk = malloc(CHUNK_BYTES);
    if (digest == NULL || chunk == NULL) {
        return ERR_NOMEM;
    }
    TRY(fs_open(backup->fs, backup->path, FS_READ, &file, why));
    struct hashing h = {.file = file,
                        .digest = digest,
                        .chunk = chunk,
                        .size = dbfile_info(backup->database)->size_bytes,
                        .progress = progress};
    TRY(hash_file(&h, why));
    return compare_digest(backup, &h, why);
}

enum err backup_verify(struct backup *backup, bool without_digest,
                       const struct dbfile_progress *progress, struct why *why)
{
    if (!without_digest && !backup->has_digest) {
        why_set(why, "'%s': snapshot missing hash but --skip-hash-check=false", backup->path);
        return ERR_CORRUPT;
    }
    TRY(dbfile_check(backup->database, progress, why));
    return without_digest ? OK : verify_digest(backup, progress, why);
}
