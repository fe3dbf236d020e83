/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FS_H
#define BASE_FS_H

#include "base/bytes.h"

/* Files, as the log and the start of a member see them. The real ones are fs_real.h; tests give
 * others that fail, tear and forget (tests/lib/fs_fault.h).
 *
 * Every failure names the path and the system's text in `why`, and is one of ERR_NOT_FOUND,
 * ERR_EXISTS, ERR_NO_SPACE (disk or quota full), ERR_LOCKED, ERR_NOMEM, ERR_IO. What is durable:
 *
 *   bytes of a file, and its length      after fs_sync of that file returned OK
 *   a name made, renamed or removed      after fs_sync_dir of its directory returned OK
 *
 * and nothing before. After fs_sync failed, it is unknown which bytes are on disk, and a second
 * fs_sync that succeeds proves nothing: the caller gives up the file.
 *
 * Thread: any; one file is used by one thread at a time, reads (fs_read, fs_size) excepted. */
struct fs {
    const struct fs_ops *ops;
};

/* An open file; made by fs_open or fs_lock, ended by fs_close. */
struct fs_file {
    struct fs *fs;
};

enum fs_mode {
    FS_READ,       /* an existing file, for reading */
    FS_WRITE,      /* an existing file, for reading and writing */
    FS_CREATE,     /* the same; made, empty, when it is not there */
    FS_CREATE_NEW, /* made; ERR_EXISTS when it is there */
};

/* The names in a directory, without "." and "..", sorted by their bytes. */
struct fs_names {
    char **names;
    size_t count;
};

struct fs_ops {
    enum err (*open)(struct fs *fs, const char *path, enum fs_mode mode, struct fs_file **ret,
                     struct why *why);
    enum err (*lock)(struct fs *fs, const char *path, struct fs_file **ret, struct why *why);
    void (*close)(struct fs_file *file);
    enum err (*read)(struct fs_file *file, uint64_t offset, void *data, size_t len, size_t *ret,
                     struct why *why);
    enum err (*writev)(struct fs_file *file, uint64_t offset, const struct bytes *parts,
                       size_t count, struct why *why);
    enum err (*sync)(struct fs_file *file, struct why *why);
    enum err (*allocate)(struct fs_file *file, uint64_t size, struct why *why);
    enum err (*truncate)(struct fs_file *file, uint64_t size, struct why *why);
    enum err (*size)(struct fs_file *file, uint64_t *ret, struct why *why);
    enum err (*rename)(struct fs *fs, const char *from, const char *to, struct why *why);
    enum err (*unlink)(struct fs *fs, const char *path, struct why *why);
    enum err (*mkdir)(struct fs *fs, const char *path, struct why *why);
    enum err (*sync_dir)(struct fs *fs, const char *path, struct why *why);
    enum err (*list)(struct fs *fs, const char *path, struct fs_names *ret, struct why *why);
    enum err (*free_bytes)(struct fs *fs, const char *path, uint64_t *ret, struct why *why);
    void (*hurry)(struct fs_file *file, uint64_t offset, uint64_t len); /* may be NULL */
};

MUST_CHECK static inline enum err fs_open(struct fs *fs, const char *path, enum fs_mode mode,
                                          struct fs_file **ret, struct why *why)
{
    return fs->ops->open(fs, path, mode, ret, why);
}

/* Open or make the file and hold it alone until it is closed or the process ends. ERR_LOCKED when
 * somebody else holds it, in this process or another. */
MUST_CHECK static inline enum err fs_lock(struct fs *fs, const char *path, struct fs_file **ret,
                                          struct why *why)
{
    return fs->ops->lock(fs, path, ret, why);
}

/* NULL allowed. Makes nothing durable. */
static inline void fs_close(struct fs_file *file)
{
    if (file != NULL) {
        file->fs->ops->close(file);
    }
}

static inline void fs_closep(struct fs_file **file)
{
    fs_close(*file);
}

/* Up to LEN bytes at OFFSET; *ret is less than LEN only at the end of the file. */
MUST_CHECK static inline enum err fs_read(struct fs_file *file, uint64_t offset, void *data,
                                          size_t len, size_t *ret, struct why *why)
{
    return file->fs->ops->read(file, offset, data, len, ret, why);
}

/* All the parts, one after the other, from OFFSET; the file grows when it must. When it fails, any
 * part of it may have been written. */
MUST_CHECK static inline enum err fs_writev(struct fs_file *file, uint64_t offset,
                                            const struct bytes *parts, size_t count,
                                            struct why *why)
{
    return file->fs->ops->writev(file, offset, parts, count, why);
}

MUST_CHECK static inline enum err fs_write(struct fs_file *file, uint64_t offset, const void *data,
                                           size_t len, struct why *why)
{
    struct bytes part = bytes_of(data, len);
    return file->fs->ops->writev(file, offset, &part, 1, why);
}

/* fdatasync: the bytes, and the length where it changed. */
MUST_CHECK static inline enum err fs_sync(struct fs_file *file, struct why *why)
{
    return file->fs->ops->sync(file, why);
}

/* The system may begin to write these bytes to the disk: a large file that is synced at last does
 * not have to do it all at once then, and hold up whoever else syncs. Proves nothing. */
static inline void fs_hurry(struct fs_file *file, uint64_t offset, uint64_t len)
{
    if (file->fs->ops->hurry != NULL) {
        file->fs->ops->hurry(file, offset, len);
    }
}

/* Reserve the first SIZE bytes, so that writing there needs no new space; the file is at least SIZE
 * bytes long afterwards, zeros where nothing was. */
MUST_CHECK static inline enum err fs_allocate(struct fs_file *file, uint64_t size, struct why *why)
{
    return file->fs->ops->allocate(file, size, why);
}

/* Cut or lengthen (with zeros) to SIZE bytes. */
MUST_CHECK static inline enum err fs_truncate(struct fs_file *file, uint64_t size, struct why *why)
{
    return file->fs->ops->truncate(file, size, why);
}

MUST_CHECK static inline enum err fs_size(struct fs_file *file, uint64_t *ret, struct why *why)
{
    return file->fs->ops->size(file, ret, why);
}

/* Replaces TO when it exists, at once: a reader sees the one or the other. */
MUST_CHECK static inline enum err fs_rename(struct fs *fs, const char *from, const char *to,
                                            struct why *why)
{
    return fs->ops->rename(fs, from, to, why);
}

/* Remove a file. */
MUST_CHECK static inline enum err fs_unlink(struct fs *fs, const char *path, struct why *why)
{
    return fs->ops->unlink(fs, path, why);
}

/* Make one directory that only its owner may enter; its parent must be there. */
MUST_CHECK static inline enum err fs_mkdir(struct fs *fs, const char *path, struct why *why)
{
    return fs->ops->mkdir(fs, path, why);
}

MUST_CHECK static inline enum err fs_sync_dir(struct fs *fs, const char *path, struct why *why)
{
    return fs->ops->sync_dir(fs, path, why);
}

MUST_CHECK static inline enum err fs_list(struct fs *fs, const char *path, struct fs_names *ret,
                                          struct why *why)
{
    return fs->ops->list(fs, path, ret, why);
}

/* Bytes that this process may still write to the file system that holds PATH; UINT64_MAX when that
 * does not say. */
MUST_CHECK static inline enum err fs_free_bytes(struct fs *fs, const char *path, uint64_t *ret,
                                                struct why *why)
{
    return fs->ops->free_bytes(fs, path, ret, why);
}

void fs_names_fini(struct fs_names *names);

/* Make durable which names the directory of PATH has. Any thread. */
MUST_CHECK enum err fs_sync_parent(struct fs *fs, const char *path, struct why *why);

/* "dir/name" into RET of SIZE bytes; ERR_INVALID when it does not fit. */
#define FS_PATH_MAX 4096
MUST_CHECK enum err fs_join(const char *dir, const char *name, char *ret, size_t size,
                            struct why *why);

/* The whole file into BUF (which is cleared first); ERR_TOO_LARGE above MAX bytes. */
MUST_CHECK enum err fs_read_file(struct fs *fs, const char *path, size_t max, struct buf *buf,
                                 struct why *why);

/* Replace DIR/NAME by a file with these bytes, so that a crash leaves the old or the new one, and
 * durably when it returns OK: written beside as NAME.tmp, synced, renamed, the directory synced. */
MUST_CHECK enum err fs_replace_file(struct fs *fs, const char *dir, const char *name,
                                    struct bytes content, struct why *why);

/* ERR_NO_SPACE: what is to be NAME, of SIZE_BYTES, would leave less than SPARE_BYTES of the file
 * system that holds PATH. */
MUST_CHECK enum err fs_check_room(struct fs *fs, const char *path, const char *name,
                                  uint64_t size_bytes, uint64_t spare_bytes, struct why *why);

/* Make the directory and the missing ones above it, durably; OK when it is there already. */
MUST_CHECK enum err fs_make_dirs(struct fs *fs, const char *path, struct why *why);

#endif
