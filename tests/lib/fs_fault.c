/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fs_fault.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/queue.h"
#include "tests/lib/disk.h"

struct fs_fault {
    struct fs fs;
    pthread_mutex_t mutex; /* files come from the loop and from worker threads */
    struct disk *base;     /* as it was before the first operation */
    struct disk *disk;
    struct disk_op **ops;
    size_t op_count;
    size_t op_cap;
    struct queue files; /* struct fault_file.link */
    uint64_t capacity;
    bool live; /* ops are the disk's */
    uint64_t live_op_count;
    struct fs_fault_judge judge;

    unsigned armed_kinds;
    uint64_t armed_count; /* operations until it fires */
    enum err armed_err;
    bool for_good;
    bool fired;
};

struct fault_file {
    struct fs_file file;
    struct queue link;
    unsigned node;
    bool writable;
    bool locked;
    char path[FS_PATH_MAX];
};

static void *must(void *memory)
{
    ASSERT(memory != NULL);
    return memory;
}

static struct fs_fault *fault_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct fs_fault, fs);
}

static struct fault_file *file_of(struct fs_file *file)
{
    return CONTAINER_OF(file, struct fault_file, file);
}

static pthread_mutex_t *hold(struct fs_fault *f)
{
    pthread_mutex_lock(&f->mutex);
    return &f->mutex;
}

static void releasep(pthread_mutex_t **mutex)
{
    pthread_mutex_unlock(*mutex);
}

#define HOLD(f) CLEANUP(releasep) pthread_mutex_t *held_ __attribute__((unused)) = hold(f)

/* Record and do. */
static void change(struct fs_fault *f, struct disk_op op)
{
    struct disk_op *kept = must(malloc(sizeof *kept));
    *kept = op;
    kept->name = op.name == NULL ? NULL : must(strdup(op.name));
    kept->to_name = op.to_name == NULL ? NULL : must(strdup(op.to_name));
    kept->data = NULL;
    if (op.len > 0) {
        kept->data = must(malloc(op.len));
        memcpy(kept->data, op.data, op.len);
    }
    if (f->live) {
        f->live_op_count++;
        disk_apply(f->disk, kept);
        return;
    }
    bool room = ARRAY_MAKE_ROOM(f->ops, f->op_count, f->op_cap, 64);
    ASSERT(room);
    f->ops[f->op_count++] = kept;
    disk_apply(f->disk, kept);
}

/* Is it this operation's turn to fail? */
static enum err injected(struct fs_fault *f, unsigned kind, const char *path, size_t len,
                         struct why *why)
{
    if (f->judge.fn != NULL) {
        enum err err = f->judge.fn(f->judge.ctx, kind, path, len);
        if (err != OK) {
            why_set(why, "'%s': made to fail: %s", path, err_text(err));
            return err;
        }
    }
    if ((f->armed_kinds & kind) == 0 || f->armed_count == 0) {
        return OK;
    }
    if (--f->armed_count > 0) {
        return OK;
    }
    f->fired = true;
    f->armed_count = f->for_good ? 1 : 0;
    why_set(why, "'%s': made to fail: %s", path, err_text(f->armed_err));
    return f->armed_err;
}

static enum err no_such(const char *path, struct why *why)
{
    why_set(why, "'%s': no such file or directory", path);
    return ERR_NOT_FOUND;
}

static enum err refused(const char *path, const char *reason, struct why *why)
{
    why_set(why, "'%s': %s", path, reason);
    return ERR_IO;
}

/* Walk to the directory of PATH's last component, whose name goes to NAME (empty: PATH is the
 * root).
 */
static enum err resolve(struct fs_fault *f, const char *path, unsigned *dir, char name[FS_PATH_MAX],
                        struct why *why)
{
    *dir = DISK_ROOT;
    name[0] = '\0';
    for (const char *at = path; *at != '\0';) {
        size_t len = strcspn(at, "/");
        if (len >= FS_PATH_MAX) {
            return refused(path, "name too long", why);
        }
        if (len > 0 && !(len == 1 && at[0] == '.')) {
            if (name[0] != '\0') {
                unsigned node = disk_lookup(f->disk, *dir, name);
                if (node == DISK_NONE) {
                    return no_such(path, why);
                }
                if (!disk_is_dir(f->disk, node)) {
                    return refused(path, "not a directory", why);
                }
                *dir = node;
            }
            memcpy(name, at, len);
            name[len] = '\0';
        }
        at += len;
        at += *at == '/';
    }
    return OK;
}

/* The node at PATH. */
static enum err find(struct fs_fault *f, const char *path, unsigned *ret, struct why *why)
{
    unsigned dir;
    char name[FS_PATH_MAX];
    TRY(resolve(f, path, &dir, name, why));
    unsigned node = name[0] == '\0' ? dir : disk_lookup(f->disk, dir, name);
    if (node == DISK_NONE) {
        return no_such(path, why);
    }
    *ret = node;
    return OK;
}

static void link_new(struct fs_fault *f, unsigned dir, char *name, bool is_dir)
{
    change(f, (struct disk_op){.kind = DISK_LINK,
                               .node = dir,
                               .target = disk_next_node(f->disk),
                               .target_is_dir = is_dir,
                               .name = name});
}

/* The file at PATH, made when MODE wants that. */
static enum err find_or_make(struct fs_fault *f, const char *path, enum fs_mode mode, unsigned *ret,
                             struct why *why)
{
    unsigned dir;
    char name[FS_PATH_MAX];
    TRY(resolve(f, path, &dir, name, why));
    unsigned node = name[0] == '\0' ? dir : disk_lookup(f->disk, dir, name);
    if (node != DISK_NONE && mode == FS_CREATE_NEW) {
        why_set(why, "'%s': exists", path);
        return ERR_EXISTS;
    }
    if (node != DISK_NONE && disk_is_dir(f->disk, node)) {
        return refused(path, "is a directory", why);
    }
    if (node != DISK_NONE) {
        TRY(injected(f, FS_FAULT_READ, path, 0, why));
        *ret = node;
        return OK;
    }
    if (mode == FS_READ || mode == FS_WRITE) {
        return no_such(path, why);
    }
    TRY(injected(f, FS_FAULT_NAMES, path, 0, why));
    *ret = disk_next_node(f->disk);
    link_new(f, dir, name, false);
    return OK;
}

static enum err fault_open(struct fs *fs, const char *path, enum fs_mode mode, struct fs_file **ret,
                           struct why *why)
{
    struct fs_fault *f = fault_of(fs);
    HOLD(f);
    if (strlen(path) >= FS_PATH_MAX) {
        return refused("...", "path too long", why);
    }
    unsigned node = DISK_NONE;
    TRY(find_or_make(f, path, mode, &node, why));
    struct fault_file *file = must(calloc(1, sizeof *file));
    file->file.fs = fs;
    file->node = node;
    file->writable = mode != FS_READ;
    memcpy(file->path, path, strlen(path) + 1);
    queue_push_back(&f->files, &file->link);
    *ret = &file->file;
    return OK;
}

static void fault_close(struct fs_file *file)
{
    struct fault_file *ff = file_of(file);
    HOLD(fault_of(file->fs));
    queue_remove(&ff->link);
    free(ff);
}

static enum err fault_lock(struct fs *fs, const char *path, struct fs_file **ret, struct why *why)
{
    struct fs_fault *f = fault_of(fs);
    CLEANUP(fs_closep) struct fs_file *file = NULL;
    TRY(fault_open(fs, path, FS_CREATE, &file, why));
    HOLD(f);
    QUEUE_FOREACH (link, &f->files) {
        struct fault_file *other = QUEUE_ELEM(link, struct fault_file, link);
        if (other->locked && other->node == file_of(file)->node) {
            why_set(why, "lock '%s': held by another", path);
            return ERR_LOCKED;
        }
    }
    file_of(file)->locked = true;
    *ret = TAKE(file);
    return OK;
}

static enum err fault_read(struct fs_file *file, uint64_t offset, void *data, size_t len,
                           size_t *ret, struct why *why)
{
    struct fs_fault *f = fault_of(file->fs);
    HOLD(f);
    TRY(injected(f, FS_FAULT_READ, file_of(file)->path, len, why));
    *ret = disk_read(f->disk, file_of(file)->node, offset, data, len);
    return OK;
}

/* Is there room for LEN bytes at OFFSET of the file? */
static enum err check_room(struct fs_fault *f, const struct fault_file *file, uint64_t offset,
                           uint64_t len, struct why *why)
{
    if (f->capacity != 0 &&
        disk_used_bytes(f->disk) + disk_bytes_needed(f->disk, file->node, offset, len) >
            f->capacity) {
        why_set(why, "'%s': no space left", file->path);
        return ERR_NO_SPACE;
    }
    return OK;
}

static enum err check_writable(const struct fault_file *file, struct why *why)
{
    return file->writable ? OK : refused(file->path, "open for reading only", why);
}

static enum err fault_writev(struct fs_file *file, uint64_t offset, const struct bytes *parts,
                             size_t count, struct why *why)
{
    struct fs_fault *f = fault_of(file->fs);
    struct fault_file *ff = file_of(file);
    HOLD(f);
    TRY(check_writable(ff, why));
    struct buf all = {0};
    for (size_t i = 0; i < count; i++) {
        buf_append_bytes(&all, parts[i]);
    }
    ASSERT(buf_ok(&all));
    enum err err = check_room(f, ff, offset, all.len, why);
    if (err == OK) {
        err = injected(f, FS_FAULT_WRITE, ff->path, all.len, why);
        if (err == ERR_STOPPED) {
            buf_fini(&all);
            return err;
        }
        size_t len =
            err == OK ? all.len : (size_t)(mix64(f->op_count + f->live_op_count) % (all.len + 1));
        change(f, (struct disk_op){.kind = DISK_WRITE,
                                   .node = ff->node,
                                   .offset = offset,
                                   .data = all.data,
                                   .len = len});
    }
    buf_fini(&all);
    return err;
}

static enum err fault_sync(struct fs_file *file, struct why *why)
{
    struct fs_fault *f = fault_of(file->fs);
    HOLD(f);
    enum err err = injected(f, FS_FAULT_SYNC, file_of(file)->path, 0, why);
    if (err == ERR_STOPPED) {
        return err;
    }
    change(f, (struct disk_op){.kind = err == OK ? DISK_SYNC : DISK_SYNC_FAILED,
                               .node = file_of(file)->node});
    return err;
}

static enum err fault_allocate(struct fs_file *file, uint64_t size, struct why *why)
{
    struct fs_fault *f = fault_of(file->fs);
    HOLD(f);
    TRY(check_writable(file_of(file), why));
    TRY(check_room(f, file_of(file), 0, size, why));
    TRY(injected(f, FS_FAULT_ALLOCATE, file_of(file)->path, 0, why));
    change(f, (struct disk_op){.kind = DISK_ALLOCATE, .node = file_of(file)->node, .offset = size});
    return OK;
}

static enum err fault_truncate(struct fs_file *file, uint64_t size, struct why *why)
{
    struct fs_fault *f = fault_of(file->fs);
    HOLD(f);
    TRY(check_writable(file_of(file), why));
    TRY(injected(f, FS_FAULT_TRUNCATE, file_of(file)->path, 0, why));
    change(f, (struct disk_op){.kind = DISK_TRUNCATE, .node = file_of(file)->node, .offset = size});
    return OK;
}

static enum err fault_size(struct fs_file *file, uint64_t *ret, struct why *why)
{
    struct fs_fault *f = fault_of(file->fs);
    HOLD(f);
    TRY(injected(f, FS_FAULT_READ, file_of(file)->path, 0, why));
    *ret = disk_size(f->disk, file_of(file)->node);
    return OK;
}

static enum err fault_rename(struct fs *fs, const char *from, const char *to, struct why *why)
{
    struct fs_fault *f = fault_of(fs);
    HOLD(f);
    unsigned from_dir;
    unsigned to_dir;
    char from_name[FS_PATH_MAX];
    char to_name[FS_PATH_MAX];
    TRY(resolve(f, from, &from_dir, from_name, why));
    TRY(resolve(f, to, &to_dir, to_name, why));
    unsigned node = disk_lookup(f->disk, from_dir, from_name);
    if (node == DISK_NONE) {
        return no_such(from, why);
    }
    TRY(injected(f, FS_FAULT_RENAME, from, 0, why));
    if (from_dir == to_dir) {
        change(f, (struct disk_op){
                      .kind = DISK_RENAME, .node = to_dir, .name = from_name, .to_name = to_name});
        return OK;
    }
    /* Each directory is made durable by its own sync: in between the file may have both names. */
    change(f, (struct disk_op){.kind = DISK_LINK, .node = to_dir, .target = node, .name = to_name});
    change(f, (struct disk_op){.kind = DISK_UNLINK, .node = from_dir, .name = from_name});
    return OK;
}

static enum err fault_unlink(struct fs *fs, const char *path, struct why *why)
{
    struct fs_fault *f = fault_of(fs);
    HOLD(f);
    unsigned dir;
    char name[FS_PATH_MAX];
    TRY(resolve(f, path, &dir, name, why));
    unsigned node = disk_lookup(f->disk, dir, name);
    if (node == DISK_NONE) {
        return no_such(path, why);
    }
    if (disk_is_dir(f->disk, node)) {
        return refused(path, "is a directory", why);
    }
    TRY(injected(f, FS_FAULT_NAMES, path, 0, why));
    change(f, (struct disk_op){.kind = DISK_UNLINK, .node = dir, .name = name});
    return OK;
}

static enum err fault_mkdir(struct fs *fs, const char *path, struct why *why)
{
    struct fs_fault *f = fault_of(fs);
    HOLD(f);
    unsigned dir;
    char name[FS_PATH_MAX];
    TRY(resolve(f, path, &dir, name, why));
    if (name[0] == '\0' || disk_lookup(f->disk, dir, name) != DISK_NONE) {
        why_set(why, "'%s': exists", path);
        return ERR_EXISTS;
    }
    TRY(injected(f, FS_FAULT_NAMES, path, 0, why));
    link_new(f, dir, name, true);
    return OK;
}

static enum err find_dir(struct fs_fault *f, const char *path, unsigned *ret, struct why *why)
{
    TRY(find(f, path, ret, why));
    return disk_is_dir(f->disk, *ret) ? OK : refused(path, "not a directory", why);
}

static enum err fault_sync_dir(struct fs *fs, const char *path, struct why *why)
{
    struct fs_fault *f = fault_of(fs);
    HOLD(f);
    unsigned dir;
    TRY(find_dir(f, path, &dir, why));
    enum err err = injected(f, FS_FAULT_SYNC_DIR, path, 0, why);
    if (err == ERR_STOPPED) {
        return err;
    }
    change(f, (struct disk_op){.kind = err == OK ? DISK_SYNC : DISK_SYNC_FAILED, .node = dir});
    return err;
}

static enum err fault_list(struct fs *fs, const char *path, struct fs_names *ret, struct why *why)
{
    struct fs_fault *f = fault_of(fs);
    HOLD(f);
    unsigned dir;
    TRY(find_dir(f, path, &dir, why));
    TRY(injected(f, FS_FAULT_READ, path, 0, why));
    size_t count = disk_name_count(f->disk, dir);
    ret->names = must(calloc(count + 1, sizeof(char *)));
    ret->count = count;
    for (size_t i = 0; i < count; i++) {
        ret->names[i] = must(strdup(disk_name(f->disk, dir, i)));
    }
    return OK;
}

static enum err fault_free_bytes(struct fs *fs, const char *path, uint64_t *ret, struct why *why)
{
    struct fs_fault *f = fault_of(fs);
    HOLD(f);
    unsigned node;
    TRY(find(f, path, &node, why));
    uint64_t used = f->capacity == 0 ? 0 : disk_used_bytes(f->disk);
    *ret =
        f->capacity == 0 ? UINT64_MAX / 2 : f->capacity - (used < f->capacity ? used : f->capacity);
    return OK;
}

static const struct fs_ops fs_ops = {
    .open = fault_open,
    .lock = fault_lock,
    .close = fault_close,
    .read = fault_read,
    .writev = fault_writev,
    .sync = fault_sync,
    .allocate = fault_allocate,
    .truncate = fault_truncate,
    .size = fault_size,
    .rename = fault_rename,
    .unlink = fault_unlink,
    .mkdir = fault_mkdir,
    .sync_dir = fault_sync_dir,
    .list = fault_list,
    .free_bytes = fault_free_bytes,
};

static struct fs_fault *fault_on(struct disk *disk)
{
    struct fs_fault *f = must(calloc(1, sizeof *f));
    f->fs.ops = &fs_ops;
    f->base = disk_copy(disk);
    f->disk = disk;
    queue_init(&f->files);
    pthread_mutex_init(&f->mutex, NULL);
    return f;
}

struct fs_fault *fs_fault_new(void)
{
    return fault_on(disk_new());
}

static void free_op(const struct disk_op *op)
{
    struct disk_op *mine = (struct disk_op *)op;
    free(mine->name);
    free(mine->to_name);
    free(mine->data);
    free(mine);
}

struct fs_fault *fs_fault_new_live(const struct fs_fault_judge *judge)
{
    struct fs_fault *f = fault_on(disk_new());
    f->live = true;
    f->judge = *judge;
    disk_on_release(f->disk, free_op);
    return f;
}

void fs_fault_lose_power(struct fs_fault *fault, uint64_t seed)
{
    HOLD(fault);
    ASSERT(fault->live);
    struct queue *link;
    while ((link = queue_pop_front(&fault->files)) != NULL) {
        free(QUEUE_ELEM(link, struct fault_file, link));
    }
    disk_crash(fault->disk, seed);
}

bool fs_fault_flip(struct fs_fault *fault, const char *path, uint64_t offset, uint8_t mask)
{
    HOLD(fault);
    unsigned node;
    if (find(fault, path, &node, NULL) != OK || disk_is_dir(fault->disk, node) ||
        offset >= disk_size(fault->disk, node)) {
        return false;
    }
    disk_flip(fault->disk, node, offset, mask);
    return true;
}

uint64_t fs_fault_used_bytes(struct fs_fault *fault)
{
    HOLD(fault);
    return disk_used_bytes(fault->disk);
}

struct fs *fs_fault_fs(struct fs_fault *fault)
{
    return &fault->fs;
}

void fs_fault_free(struct fs_fault *fault)
{
    if (fault == NULL) {
        return;
    }
    ASSERT(queue_empty(&fault->files));
    for (size_t i = 0; i < fault->op_count; i++) {
        free_op(fault->ops[i]);
    }
    free(fault->ops);
    disk_free(fault->disk);
    disk_free(fault->base);
    pthread_mutex_destroy(&fault->mutex);
    free(fault);
}

void fs_fault_arm(struct fs_fault *fault, unsigned kinds, uint64_t k, enum err err, bool for_good)
{
    HOLD(fault);
    ASSERT(k >= 1);
    ASSERT(err != OK);
    fault->armed_kinds = kinds;
    fault->armed_count = k;
    fault->armed_err = err;
    fault->for_good = for_good;
    fault->fired = false;
}

void fs_fault_disarm(struct fs_fault *fault)
{
    HOLD(fault);
    fault->armed_kinds = 0;
}

bool fs_fault_fired(struct fs_fault *fault)
{
    HOLD(fault);
    return fault->fired;
}

void fs_fault_set_capacity(struct fs_fault *fault, uint64_t bytes)
{
    HOLD(fault);
    fault->capacity = bytes;
}

bool fs_fault_is_bounded(struct fs_fault *fault)
{
    HOLD(fault);
    return fault->capacity != 0;
}

unsigned fs_fault_made_count(struct fs_fault *fault)
{
    pthread_mutex_lock(&fault->mutex);
    unsigned count = disk_next_node(fault->disk);
    pthread_mutex_unlock(&fault->mutex);
    return count;
}

uint64_t fs_fault_op_count(struct fs_fault *fault)
{
    HOLD(fault);
    return fault->op_count + fault->live_op_count;
}

uint64_t fs_fault_file_id(struct fs_file *file)
{
    return file_of(file)->node;
}

struct fs_fault *fs_fault_crash(struct fs_fault *fault, uint64_t op_count, uint64_t seed)
{
    HOLD(fault);
    ASSERT(!fault->live);
    ASSERT(op_count <= fault->op_count);
    struct disk *disk = disk_copy(fault->base);
    for (size_t i = 0; i < op_count; i++) {
        disk_apply(disk, fault->ops[i]);
    }
    disk_crash(disk, seed);
    return fault_on(disk);
}
