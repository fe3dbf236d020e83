/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_real.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/cleanup.h"

#define FILE_MODE    0600
#define DIR_MODE     0700
#define IOV_PER_CALL 64

struct real_file {
    struct fs_file file;
    int fd;
    char path[]; /* for messages */
};

static struct real_file *real_of(struct fs_file *file)
{
    return CONTAINER_OF(file, struct real_file, file);
}

/* The one place where errno becomes an enum err, and WHY gets its text. */
static enum err failed(struct why *why, const char *what, const char *path, int code)
{
    why_set(why, "%s '%s': %s", what, path, strerror(code));
    switch (code) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case ENOMEM:
        return ERR_NOMEM;
    default:
        return ERR_IO;
    }
}

static enum err real_open(struct fs *fs, const char *path, enum fs_mode mode, struct fs_file **ret,
                          struct why *why)
{
    static const int flags[] = {
        [FS_READ] = O_RDONLY,
        [FS_WRITE] = O_RDWR,
        [FS_CREATE] = O_RDWR | O_CREAT,
        [FS_CREATE_NEW] = O_RDWR | O_CREAT | O_EXCL,
    };
    ASSERT(mode < ARRAY_LEN(flags));
    size_t path_size = strlen(path) + 1;
    struct real_file *f = malloc(sizeof *f + path_size);
    if (f == NULL) {
        return ERR_NOMEM;
    }
    f->file.fs = fs;
    memcpy(f->path, path, path_size);
    do {
        f->fd = open(path, flags[mode] | O_CLOEXEC, FILE_MODE);
    } while (f->fd < 0 && errno == EINTR);
    if (f->fd < 0) {
        int code = errno;
        free(f);
        return failed(why, mode == FS_CREATE_NEW ? "create" : "open", path, code);
    }
    *ret = &f->file;
    return OK;
}

static void real_close(struct fs_file *file)
{
    struct real_file *f = real_of(file);
    close(f->fd); /* what it could report, a sync has reported before */
    free(f);
}

/* Whoever had the lock may have renamed or removed the file between our opening and locking it:
 * then it is not what PATH says, and no lock of it. */
static bool has_its_name(const struct real_file *f)
{
    struct stat held;
    struct stat named;
    return fstat(f->fd, &held) == 0 && stat(f->path, &named) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}

/* A lock of the open file description: held against other threads of this process too, and gone
 * with the process however that ends. */
static enum err real_lock(struct fs *fs, const char *path, struct fs_file **ret, struct why *why)
{
    for (;;) {
        CLEANUP(fs_closep) struct fs_file *file = NULL;
        TRY(real_open(fs, path, FS_CREATE, &file, why));
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fcntl(real_of(file)->fd, F_OFD_SETLK, &whole) != 0) {
            int code = errno;
            enum err err = failed(why, "lock", path, code);
            return code == EAGAIN || code == EACCES ? ERR_LOCKED : err;
        }
        if (has_its_name(real_of(file))) {
            *ret = TAKE(file);
            return OK;
        }
    }
}

static enum err real_read(struct fs_file *file, uint64_t offset, void *data, size_t len,
                          size_t *ret, struct why *why)
{
    struct real_file *f = real_of(file);
    uint8_t *at = data;
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(f->fd, at + done, len - done, (off_t)(offset + done));
        if (n == 0) {
            break;
        }
        if (n > 0) {
            done += (size_t)n;
        } else if (errno != EINTR) {
            return failed(why, "read", f->path, errno);
        }
    }
    *ret = done;
    return OK;
}

/* The next iovecs of PARTS, the first of which has SKIP bytes written already. */
static int gather(const struct bytes *parts, size_t count, size_t skip, struct iovec *iov)
{
    int used = 0;
    for (size_t i = 0; i < count && used < IOV_PER_CALL; i++) {
        if (parts[i].len > skip) {
            iov[used].iov_base = (void *)(uintptr_t)(parts[i].data + skip);
            iov[used].iov_len = parts[i].len - skip;
            used++;
        }
        skip = 0;
    }
    return used;
}

static enum err real_writev(struct fs_file *file, uint64_t offset, const struct bytes *parts,
                            size_t count, struct why *why)
{
    struct real_file *f = real_of(file);
    size_t skip = 0; /* bytes of parts[0] already written */
    for (;;) {
        while (count > 0 && skip >= parts[0].len) {
            skip -= parts[0].len;
            parts++;
            count--;
        }
        if (count == 0) {
            return OK;
        }
        struct iovec iov[IOV_PER_CALL];
        int used = gather(parts, count, skip, iov);
        ssize_t n = pwritev(f->fd, iov, used, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return failed(why, "write", f->path, n < 0 ? errno : ENOSPC);
        }
        offset += (uint64_t)n;
        skip += (size_t)n;
    }
}

/* No second try: the kernel reports a failed write-back once. */
static enum err real_sync(struct fs_file *file, struct why *why)
{
    struct real_file *f = real_of(file);
    return fdatasync(f->fd) == 0 ? OK : failed(why, "sync", f->path, errno);
}

static enum err real_allocate(struct fs_file *file, uint64_t size, struct why *why)
{
    struct real_file *f = real_of(file);
    int code;
    do {
        code = posix_fallocate(f->fd, 0, (off_t)size);
    } while (code == EINTR);
    return code == 0 ? OK : failed(why, "allocate", f->path, code);
}

static enum err real_truncate(struct fs_file *file, uint64_t size, struct why *why)
{
    struct real_file *f = real_of(file);
    int status;
    do {
        status = ftruncate(f->fd, (off_t)size);
    } while (status != 0 && errno == EINTR);
    return status == 0 ? OK : failed(why, "truncate", f->path, errno);
}

static enum err real_size(struct fs_file *file, uint64_t *ret, struct why *why)
{
    struct real_file *f = real_of(file);
    struct stat st;
    if (fstat(f->fd, &st) != 0) {
        return failed(why, "get the size of", f->path, errno);
    }
    *ret = (uint64_t)st.st_size;
    return OK;
}

static enum err real_rename(struct fs *fs, const char *from, const char *to, struct why *why)
{
    (void)fs;
    if (rename(from, to) == 0) {
        return OK;
    }
    enum err err = failed(why, "to", to, errno);
    why_prefix(why, "rename '%s'", from);
    return err;
}

static enum err real_unlink(struct fs *fs, const char *path, struct why *why)
{
    (void)fs;
    return unlink(path) == 0 ? OK : failed(why, "remove", path, errno);
}

static enum err real_mkdir(struct fs *fs, const char *path, struct why *why)
{
    (void)fs;
    return mkdir(path, DIR_MODE) == 0 ? OK : failed(why, "make directory", path, errno);
}

static enum err real_sync_dir(struct fs *fs, const char *path, struct why *why)
{
    (void)fs;
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return failed(why, "open directory", path, errno);
    }
    return fsync(fd) == 0 ? OK : failed(why, "sync directory", path, errno);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum err add_name(struct fs_names *names, size_t *cap, const char *name)
{
    if (!ARRAY_MAKE_ROOM(names->names, names->count, *cap, 16)) {
        return ERR_NOMEM;
    }
    char *copy = strdup(name);
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    names->names[names->count++] = copy;
    return OK;
}

static enum err read_names(DIR *dir, const char *path, struct fs_names *names, struct why *why)
{
    size_t cap = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            return errno == 0 ? OK : failed(why, "read directory", path, errno);
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            TRY(add_name(names, &cap, entry->d_name));
        }
    }
}

static enum err real_list(struct fs *fs, const char *path, struct fs_names *ret, struct why *why)
{
    (void)fs;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return failed(why, "open directory", path, errno);
    }
    struct fs_names names = {0};
    enum err err = read_names(dir, path, &names, why);
    closedir(dir);
    if (err != OK) {
        fs_names_fini(&names);
        return err;
    }
    if (names.count > 0) {
        qsort(names.names, names.count, sizeof names.names[0], by_bytes);
    }
    *ret = names;
    return OK;
}

static enum err real_free_bytes(struct fs *fs, const char *path, uint64_t *ret, struct why *why)
{
    (void)fs;
    struct statvfs st;
    if (statvfs(path, &st) != 0) {
        return failed(why, "get the free space of", path, errno);
    }
    /* One that lies beyond a network, or in a program, may count none. */
    *ret = st.f_blocks == 0 ? UINT64_MAX : (uint64_t)st.f_bavail * st.f_frsize;
    return OK;
}

static void real_hurry(struct fs_file *file, uint64_t offset, uint64_t len)
{
    /* Where it cannot be done the sync does it all. */
    (void)sync_file_range(real_of(file)->fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

static const struct fs_ops ops = {
    .open = real_open,
    .lock = real_lock,
    .close = real_close,
    .read = real_read,
    .writev = real_writev,
    .sync = real_sync,
    .allocate = real_allocate,
    .truncate = real_truncate,
    .size = real_size,
    .rename = real_rename,
    .unlink = real_unlink,
    .mkdir = real_mkdir,
    .sync_dir = real_sync_dir,
    .list = real_list,
    .free_bytes = real_free_bytes,
    .hurry = real_hurry,
};

struct fs *fs_real(void)
{
    static struct fs real = {.ops = &ops};
    return &real;
}

void fs_real_hold_standard(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}
