/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

void fs_names_fini(struct fs_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->names[i]);
    }
    free(names->names);
    *names = (struct fs_names){0};
}

enum err fs_join(const char *dir, const char *name, char *ret, size_t size, struct why *why)
{
    int n = snprintf(ret, size, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= size) {
        why_set(why, "path '%.200s/%.100s' is too long", dir, name);
        return ERR_INVALID;
    }
    return OK;
}

enum err fs_read_file(struct fs *fs, const char *path, size_t max, struct buf *buf, struct why *why)
{
    CLEANUP(fs_closep) struct fs_file *file = NULL;
    TRY(fs_open(fs, path, FS_READ, &file, why));
    uint64_t size = 0;
    TRY(fs_size(file, &size, why));
    if (size > max) {
        why_set(why, "file '%s' of %llu bytes is larger than %zu", path, (unsigned long long)size,
                max);
        return ERR_TOO_LARGE;
    }
    buf_clear(buf);
    if (!buf_reserve(buf, (size_t)size)) {
        return ERR_NOMEM;
    }
    return fs_read(file, 0, buf->data, (size_t)size, &buf->len, why);
}

static enum err write_new(struct fs *fs, const char *path, struct bytes content, struct why *why)
{
    CLEANUP(fs_closep) struct fs_file *file = NULL;
    TRY(fs_open(fs, path, FS_CREATE, &file, why));
    TRY(fs_truncate(file, 0, why));
    TRY(fs_write(file, 0, content.data, content.len, why));
    return fs_sync(file, why);
}

enum err fs_replace_file(struct fs *fs, const char *dir, const char *name, struct bytes content,
                         struct why *why)
{
    char path[FS_PATH_MAX];
    char beside[FS_PATH_MAX];
    TRY(fs_join(dir, name, path, sizeof path, why));
    int n = snprintf(beside, sizeof beside, "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof beside) {
        why_set(why, "path '%.300s.tmp' is too long", path);
        return ERR_INVALID;
    }
    TRY(write_new(fs, beside, content, why));
    TRY(fs_rename(fs, beside, path, why));
    return fs_sync_dir(fs, dir, why);
}

/* Make the directory PATH, whose name begins at AT, and make its name durable in its parent. */
static enum err make_dir(struct fs *fs, char *path, char *at, struct why *why)
{
    enum err err = fs_mkdir(fs, path, why);
    if (err != OK) {
        return err == ERR_EXISTS ? OK : err;
    }
    if (at == path) {
        return fs_sync_dir(fs, ".", why);
    }
    if (at == path + 1) {
        return fs_sync_dir(fs, "/", why);
    }
    at[-1] = '\0';
    err = fs_sync_dir(fs, path, why);
    at[-1] = '/';
    return err;
}

enum err fs_check_room(struct fs *fs, const char *path, const char *name, uint64_t size_bytes,
                       uint64_t spare_bytes, struct why *why)
{
    uint64_t room;
    TRY(fs_free_bytes(fs, path, &room, why));
    if (room < size_bytes || room - size_bytes < spare_bytes) {
        why_set(why, "'%s' needs %llu bytes and %llu that are left, there are %llu", name,
                (unsigned long long)size_bytes, (unsigned long long)spare_bytes,
                (unsigned long long)room);
        return ERR_NO_SPACE;
    }
    return OK;
}

enum err fs_make_dirs(struct fs *fs, const char *path, struct why *why)
{
    char all[FS_PATH_MAX];
    int n = snprintf(all, sizeof all, "%s", path);
    if (n <= 0 || (size_t)n >= sizeof all) {
        why_set(why, "path '%.300s' is %s", path, n == 0 ? "empty" : "too long");
        return ERR_INVALID;
    }
    for (char *at = all; *at != '\0';) {
        at += strspn(at, "/");
        char *end = at + strcspn(at, "/");
        if (end == at) {
            break; /* slashes at the end */
        }
        char after = *end;
        *end = '\0';
        TRY(make_dir(fs, all, at, why));
        *end = after;
        at = end;
    }
    /* mkdir says "exists" of a file as well. */
    return fs_sync_dir(fs, path, why);
}

enum err fs_sync_parent(struct fs *fs, const char *path, struct why *why)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return fs_sync_dir(fs, ".", why);
    }
    CLEANUP(freep) char *parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    return parent != NULL ? fs_sync_dir(fs, parent, why) : ERR_NOMEM;
}
