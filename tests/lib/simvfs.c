/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/simvfs.h"

#include <sqlite3.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/queue.h"

#define NAME_MAX_LEN 512
#define LOCKS        SQLITE_SHM_NLOCK

/* What the connections to one database share. */
struct shared {
    struct queue link;
    char path[NAME_MAX_LEN];
    uint64_t file_id;
    unsigned refs;
    struct queue files; /* struct sim_file.link */
    void **regions;     /* of the WAL's index */
    int region_count;
    unsigned shm_refs;
};

struct simvfs {
    sqlite3_vfs vfs;
    struct fs *fs;
    uint64_t (*file_id)(struct fs_file *file);
    char name[32];
    bool lying;
    uint64_t random;
    unsigned temp_count;
    struct queue databases; /* struct shared.link */
};

struct sim_file {
    sqlite3_file base;
    struct simvfs *sim;
    struct fs_file *file;
    char path[NAME_MAX_LEN];
    bool sync_dir; /* made, and its directory not synced yet */
    bool delete_on_close;
    /* Of a database. */
    struct shared *shared;
    struct queue link;
    int lock; /* SQLITE_LOCK_... */
    bool has_shm;
    unsigned shm_shared; /* a bit for each lock held */
    unsigned shm_exclusive;
};

static void *must(void *memory)
{
    ASSERT(memory != NULL);
    return memory;
}

static struct sim_file *file_of(sqlite3_file *file)
{
    return CONTAINER_OF(file, struct sim_file, base);
}

/* What unix would say of ERR; OTHER for what is neither. */
static int code_of(enum err err, int other)
{
    switch (err) {
    case OK:
        return SQLITE_OK;
    case ERR_NO_SPACE:
        return SQLITE_FULL;
    case ERR_NOMEM:
        return SQLITE_IOERR_NOMEM;
    default:
        return other;
    }
}

/* The directory of PATH, in RET. */
static void parent_of(const char *path, char ret[NAME_MAX_LEN])
{
    (void)snprintf(ret, NAME_MAX_LEN, "%s", path);
    char *slash = strrchr(ret, '/');
    if (slash == NULL) {
        (void)snprintf(ret, NAME_MAX_LEN, ".");
    } else {
        slash[slash == ret ? 1 : 0] = '\0';
    }
}

static int sync_parent(struct simvfs *sim, const char *path)
{
    char parent[NAME_MAX_LEN];
    parent_of(path, parent);
    return code_of(fs_sync_dir(sim->fs, parent, NULL), SQLITE_IOERR_DIR_FSYNC);
}

/* ---- Files ---- */

static int sim_read(sqlite3_file *file, void *data, int len, sqlite3_int64 offset)
{
    struct sim_file *f = file_of(file);
    size_t got = 0;
    enum err err = fs_read(f->file, (uint64_t)offset, data, (size_t)len, &got, NULL);
    if (err != OK) {
        return SQLITE_IOERR_READ;
    }
    if (got < (size_t)len) {
        memset((char *)data + got, 0, (size_t)len - got);
        return SQLITE_IOERR_SHORT_READ;
    }
    return SQLITE_OK;
}

static int sim_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset)
{
    struct sim_file *f = file_of(file);
    return code_of(fs_write(f->file, (uint64_t)offset, data, (size_t)len, NULL),
                   SQLITE_IOERR_WRITE);
}

static int sim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return code_of(fs_truncate(file_of(file)->file, (uint64_t)size, NULL), SQLITE_IOERR_TRUNCATE);
}

static int sim_sync(sqlite3_file *file, int flags)
{
    (void)flags;
    struct sim_file *f = file_of(file);
    if (f->sim->lying) {
        return SQLITE_OK;
    }
    if (fs_sync(f->file, NULL) != OK) {
        return SQLITE_IOERR_FSYNC;
    }
    if (f->sync_dir) {
        f->sync_dir = false;
        return sync_parent(f->sim, f->path);
    }
    return SQLITE_OK;
}

static int sim_file_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    uint64_t size = 0;
    if (fs_size(file_of(file)->file, &size, NULL) != OK) {
        return SQLITE_IOERR_FSTAT;
    }
    *ret = (sqlite3_int64)size;
    return SQLITE_OK;
}

/* The highest lock that another connection has on the database. */
static int others_lock(const struct sim_file *f)
{
    int highest = SQLITE_LOCK_NONE;
    QUEUE_FOREACH (link, &f->shared->files) {
        const struct sim_file *other = QUEUE_ELEM(link, struct sim_file, link);
        if (other != f && other->lock > highest) {
            highest = other->lock;
        }
    }
    return highest;
}

static int sim_lock(sqlite3_file *file, int lock)
{
    struct sim_file *f = file_of(file);
    if (f->shared == NULL || lock <= f->lock) {
        return SQLITE_OK;
    }
    int others = others_lock(f);
    bool free = lock == SQLITE_LOCK_SHARED      ? others < SQLITE_LOCK_PENDING
                : lock == SQLITE_LOCK_EXCLUSIVE ? others == SQLITE_LOCK_NONE
                                                : others < SQLITE_LOCK_RESERVED;
    if (!free) {
        return SQLITE_BUSY;
    }
    f->lock = lock;
    return SQLITE_OK;
}

static int sim_unlock(sqlite3_file *file, int lock)
{
    struct sim_file *f = file_of(file);
    if (lock < f->lock) {
        f->lock = lock;
    }
    return SQLITE_OK;
}

static int sim_check_reserved(sqlite3_file *file, int *ret)
{
    struct sim_file *f = file_of(file);
    *ret = f->shared != NULL && others_lock(f) >= SQLITE_LOCK_RESERVED;
    return SQLITE_OK;
}

static int sim_file_control(sqlite3_file *file, int op, void *arg)
{
    (void)file;
    (void)op;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int sim_sector_size(sqlite3_file *file)
{
    (void)file;
    return 4096;
}

static int sim_characteristics(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* ---- The WAL's index ---- */

static int sim_shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **ret)
{
    struct sim_file *f = file_of(file);
    struct shared *s = f->shared;
    if (!f->has_shm) {
        f->has_shm = true;
        s->shm_refs++;
    }
    *ret = NULL;
    if (region >= s->region_count) {
        if (!extend) {
            return SQLITE_OK;
        }
        s->regions = must(reallocarray(s->regions, (size_t)region + 1, sizeof *s->regions));
        while (s->region_count <= region) {
            s->regions[s->region_count++] = must(calloc(1, (size_t)size));
        }
    }
    *ret = s->regions[region];
    return SQLITE_OK;
}

static int sim_shm_lock(sqlite3_file *file, int first, int count, int flags)
{
    struct sim_file *f = file_of(file);
    unsigned mask = ((1u << count) - 1) << first;
    if ((flags & SQLITE_SHM_UNLOCK) != 0) {
        f->shm_shared &= ~mask;
        f->shm_exclusive &= ~mask;
        return SQLITE_OK;
    }
    bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
    QUEUE_FOREACH (link, &f->shared->files) {
        const struct sim_file *other = QUEUE_ELEM(link, struct sim_file, link);
        unsigned in_the_way = other->shm_exclusive | (exclusive ? other->shm_shared : 0);
        if (other != f && (in_the_way & mask) != 0) {
            return SQLITE_BUSY;
        }
    }
    if (exclusive) {
        f->shm_exclusive |= mask;
    } else {
        f->shm_shared |= mask;
    }
    return SQLITE_OK;
}

static void sim_shm_barrier(sqlite3_file *file)
{
    (void)file;
}

static void free_regions(struct shared *s)
{
    for (int i = 0; i < s->region_count; i++) {
        free(s->regions[i]);
    }
    free(s->regions);
    s->regions = NULL;
    s->region_count = 0;
}

static int sim_shm_unmap(sqlite3_file *file, int delete)
{
    (void)delete;
    struct sim_file *f = file_of(file);
    if (!f->has_shm) {
        return SQLITE_OK;
    }
    f->has_shm = false;
    struct shared *s = f->shared;
    if (--s->shm_refs == 0) {
        free_regions(s);
    }
    return SQLITE_OK;
}

/* ---- Opening and closing ---- */

static void join_database(struct sim_file *f)
{
    struct simvfs *sim = f->sim;
    uint64_t file_id = sim->file_id != NULL ? sim->file_id(f->file) : 0;
    QUEUE_FOREACH (link, &sim->databases) {
        struct shared *s = QUEUE_ELEM(link, struct shared, link);
        bool same = sim->file_id != NULL ? s->file_id == file_id : strcmp(s->path, f->path) == 0;
        if (same) {
            f->shared = s;
        }
    }
    if (f->shared == NULL) {
        f->shared = must(calloc(1, sizeof *f->shared));
        f->shared->file_id = file_id;
        memcpy(f->shared->path, f->path, sizeof f->shared->path);
        queue_init(&f->shared->files);
        queue_push_back(&sim->databases, &f->shared->link);
    }
    f->shared->refs++;
    queue_push_back(&f->shared->files, &f->link);
}

static void leave_database(struct sim_file *f)
{
    (void)sim_shm_unmap(&f->base, 0);
    queue_remove(&f->link);
    if (--f->shared->refs == 0) {
        queue_remove(&f->shared->link);
        free(f->shared);
    }
}

static int sim_close(sqlite3_file *file)
{
    struct sim_file *f = file_of(file);
    if (f->shared != NULL) {
        leave_database(f);
    }
    fs_close(f->file);
    if (f->delete_on_close) {
        enum err err = fs_unlink(f->sim->fs, f->path, NULL);
        return code_of(err, SQLITE_IOERR_DELETE);
    }
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = sim_close,
    .xRead = sim_read,
    .xWrite = sim_write,
    .xTruncate = sim_truncate,
    .xSync = sim_sync,
    .xFileSize = sim_file_size,
    .xLock = sim_lock,
    .xUnlock = sim_unlock,
    .xCheckReservedLock = sim_check_reserved,
    .xFileControl = sim_file_control,
    .xSectorSize = sim_sector_size,
    .xDeviceCharacteristics = sim_characteristics,
    .xShmMap = sim_shm_map,
    .xShmLock = sim_shm_lock,
    .xShmBarrier = sim_shm_barrier,
    .xShmUnmap = sim_shm_unmap,
};

static bool exists(struct simvfs *sim, const char *path)
{
    struct fs_file *file = NULL;
    bool there = fs_open(sim->fs, path, FS_READ, &file, NULL) == OK;
    fs_close(file);
    return there;
}

static int sim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                    int *out_flags)
{
    struct simvfs *sim = vfs->pAppData;
    struct sim_file *f = file_of(file);
    *f = (struct sim_file){.sim = sim};
    if (name == NULL) {
        (void)snprintf(f->path, sizeof f->path, "temporary-%u", sim->temp_count++);
    } else {
        (void)snprintf(f->path, sizeof f->path, "%s", name);
    }
    int journals = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
    f->sync_dir = (flags & journals) != 0 && !exists(sim, f->path);
    f->delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
    enum fs_mode mode = (flags & SQLITE_OPEN_CREATE) != 0      ? FS_CREATE
                        : (flags & SQLITE_OPEN_READWRITE) != 0 ? FS_WRITE
                                                               : FS_READ;
    if (fs_open(sim->fs, f->path, mode, &f->file, NULL) != OK) {
        return SQLITE_CANTOPEN;
    }
    if ((flags & SQLITE_OPEN_MAIN_DB) != 0) {
        join_database(f);
    }
    f->base.pMethods = &methods;
    if (out_flags != NULL) {
        *out_flags = flags;
    }
    return SQLITE_OK;
}

static int sim_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    struct simvfs *sim = vfs->pAppData;
    enum err err = fs_unlink(sim->fs, name, NULL);
    if (err == ERR_NOT_FOUND) {
        return SQLITE_IOERR_DELETE_NOENT;
    }
    if (err != OK) {
        return SQLITE_IOERR_DELETE;
    }
    return sync_dir && !sim->lying ? sync_parent(sim, name) : SQLITE_OK;
}

/* As unix: an empty file does not exist. */
static int sim_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
    struct simvfs *sim = vfs->pAppData;
    struct fs_file *file = NULL;
    uint64_t size = 0;
    bool there = fs_open(sim->fs, name, FS_READ, &file, NULL) == OK;
    if (there && flags == SQLITE_ACCESS_EXISTS) {
        there = fs_size(file, &size, NULL) == OK && size > 0;
    }
    fs_close(file);
    *ret = there;
    return SQLITE_OK;
}

static int sim_full_pathname(sqlite3_vfs *vfs, const char *name, int size, char *ret)
{
    (void)vfs;
    return snprintf(ret, (size_t)size, "%s", name) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int sim_randomness(sqlite3_vfs *vfs, int len, char *ret)
{
    struct simvfs *sim = vfs->pAppData;
    for (int i = 0; i < len; i++) {
        ret[i] = (char)mix64(sim->random++);
    }
    return len;
}

static int sim_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return microseconds;
}

static int sim_time(sqlite3_vfs *vfs, double *ret)
{
    (void)vfs;
    *ret = 2461043.5;
    return SQLITE_OK;
}

static int sim_last_error(sqlite3_vfs *vfs, int size, char *ret)
{
    (void)vfs;
    (void)size;
    (void)ret;
    return 0;
}

struct simvfs *simvfs_new(struct fs *fs, uint64_t (*file_id)(struct fs_file *file))
{
    static unsigned count;
    /* SQLite draws the salts of its WAL from a generator of its own. */
    int rc = sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, 1, NULL);
    ASSERT(rc == SQLITE_OK);
    struct simvfs *sim = must(calloc(1, sizeof *sim));
    sim->fs = fs;
    sim->file_id = file_id;
    sim->random = 1;
    queue_init(&sim->databases);
    (void)snprintf(sim->name, sizeof sim->name, "sim-%u", count++);
    sim->vfs = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = sizeof(struct sim_file),
        .mxPathname = NAME_MAX_LEN - 16,
        .zName = sim->name,
        .pAppData = sim,
        .xOpen = sim_open,
        .xDelete = sim_delete,
        .xAccess = sim_access,
        .xFullPathname = sim_full_pathname,
        .xRandomness = sim_randomness,
        .xSleep = sim_sleep,
        .xCurrentTime = sim_time,
        .xGetLastError = sim_last_error,
    };
    rc = sqlite3_vfs_register(&sim->vfs, 0);
    ASSERT(rc == SQLITE_OK);
    return sim;
}

const char *simvfs_name(const struct simvfs *sim)
{
    return sim->name;
}

void simvfs_free(struct simvfs *sim)
{
    if (sim == NULL) {
        return;
    }
    ASSERT(queue_empty(&sim->databases));
    int rc = sqlite3_vfs_unregister(&sim->vfs);
    ASSERT(rc == SQLITE_OK);
    free(sim);
}

void simvfs_forget(struct simvfs *sim)
{
    struct queue *link;
    while ((link = queue_pop_front(&sim->databases)) != NULL) {
        struct shared *s = QUEUE_ELEM(link, struct shared, link);
        free_regions(s);
        free(s);
    }
    simvfs_free(sim);
}

void simvfs_set_lying(struct simvfs *sim, bool lying)
{
    sim->lying = lying;
}
