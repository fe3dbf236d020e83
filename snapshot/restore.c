/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/restore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/fs_real.h"
#include "raft/logbegin.h"
#include "snapshot/backup.h"

#define COPY_BYTES (8u * 1024 * 1024)
#define WALK_FDS   16
/* Revisions stay so far from their end that a cluster does not reach it. */
#define REVISION_MAX ((int64_t)1 << 42)

static_assert(REVISION_SUB_BITS <= 20, "revisions up to REVISION_MAX are row numbers of SQLite");

struct restoring {
    const struct restore_config *config;
    struct fs *fs;
    struct fs_file *lock;
    bool log_is_ours; /* what is in the WAL directory: another restore may have been faster */
    char staging[FS_PATH_MAX];
    char member[FS_PATH_MAX]; /* in it */
    char store[FS_PATH_MAX];
    char raft[FS_PATH_MAX];
    char target[FS_PATH_MAX]; /* of the member directory */
    uint64_t size_bytes;
    struct restore_result result;
};

static enum err system_error(const char *what, const char *path, struct why *why)
{
    int number = errno;
    why_set(why, "%s '%s': %s", what, path, strerror(number));
    return number == ENOSPC || number == EDQUOT ? ERR_NO_SPACE : ERR_IO;
}

/* ---- directories ---- */

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static int remove_tree(const char *path)
{
    return nftw(path, remove_entry, WALK_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* The directory stays, which may be a mount point, or lie behind a symbolic link. */
static void empty_directory(struct fs *fs, const char *dir)
{
    struct fs_names names = {0};
    char path[FS_PATH_MAX];
    enum err err = fs_list(fs, dir, &names, NULL);
    for (size_t i = 0; i < names.count && err == OK; i++) {
        err = fs_join(dir, names.names[i], path, sizeof path, NULL);
        (void)(err == OK && remove_tree(path) == 0);
    }
    fs_names_fini(&names);
}

/* Missing, or without a name other than EXCEPT. */
static enum err check_empty(struct fs *fs, const char *flag, const char *dir, const char *except,
                            struct why *why)
{
    struct fs_names names = {0};
    struct why cause;
    enum err err = fs_list(fs, dir, &names, &cause);
    if (err == ERR_NOT_FOUND) {
        return OK;
    }
    bool empty = err == OK;
    for (size_t i = 0; i < names.count; i++) {
        empty &= except != NULL && strcmp(names.names[i], except) == 0;
    }
    fs_names_fini(&names);
    if (!empty) {
        why_set(why, "%s \"%s\" not empty or could not be read", flag, dir);
        return ERR_EXISTS;
    }
    return OK;
}

/* Nothing is restored over anything. */
static enum err check_targets(const struct restoring *r, struct why *why)
{
    const struct restore_config *config = r->config;
    TRY(check_empty(r->fs, "data-dir", config->data_dir, RESTORE_STAGING, why));
    return config->wal_dir == NULL ? OK : check_empty(r->fs, "wal-dir", config->wal_dir, NULL, why);
}

static enum err join_paths(struct restoring *r, struct why *why)
{
    const struct restore_config *config = r->config;
    TRY(fs_join(config->data_dir, RESTORE_STAGING, r->staging, sizeof r->staging, why));
    TRY(fs_join(r->staging, "member", r->member, sizeof r->member, why));
    TRY(fs_join(r->member, "store.db", r->store, sizeof r->store, why));
    TRY(fs_join(config->data_dir, "member", r->target, sizeof r->target, why));
    if (config->wal_dir != NULL) {
        r->raft[0] = '\0';
        strncat(r->raft, config->wal_dir, sizeof r->raft - 1);
        return OK;
    }
    return fs_join(r->member, "raft", r->raft, sizeof r->raft, why);
}

/* The staging directory: ours alone, and empty. */
static enum err make_staging(struct restoring *r, struct why *why)
{
    const struct restore_config *config = r->config;
    char lock[FS_PATH_MAX];
    TRY(fs_make_dirs(r->fs, r->staging, why));
    TRY(fs_join(r->staging, "lock", lock, sizeof lock, why));
    enum err err = fs_lock(r->fs, lock, &r->lock, why);
    if (err == ERR_LOCKED) {
        why_set(why, "another restore into '%s' is under way", config->data_dir);
    }
    TRY(err);
    if (remove_tree(r->member) != 0 && errno != ENOENT) {
        return system_error("remove", r->member, why);
    }
    return fs_make_dirs(r->fs, r->member, why);
}

/* ---- the database ---- */

static enum err check_backup(struct restoring *r, struct why *why)
{
    const struct restore_config *config = r->config;
    CLEANUP(backup_closep) struct backup *backup = NULL;
    TRY(backup_open(r->fs, config->file, &backup, why));
    TRY(backup_verify(backup, config->without_digest, config->progress, why));
    const struct dbfile_info *info = dbfile_info(backup_database(backup));
    r->size_bytes = info->size_bytes;
    r->result = (struct restore_result){
        .index = info->applied_index > 0 ? info->applied_index : 1,
        .term = info->applied_term > 0 ? info->applied_term : 1,
        .revision = info->revision,
        .compacted_revision = info->compacted_revision,
    };
    if (config->bump_revision < 0 || config->bump_revision > REVISION_MAX - info->revision) {
        why_set(why, "revision %lld cannot be raised by %lld", (long long)info->revision,
                (long long)config->bump_revision);
        return ERR_INVALID;
    }
    r->result.revision += config->bump_revision;
    if (config->mark_compacted) {
        r->result.compacted_revision = r->result.revision;
    }
    return OK;
}

static enum err copy_some(int from, int to, uint64_t left, uint8_t *chunk, ssize_t *ret)
{
    size_t want = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
    *ret = copy_file_range(from, NULL, to, NULL, want, 0);
    if (*ret >= 0 ||
        (errno != EXDEV && errno != ENOSYS && errno != EOPNOTSUPP && errno != EINVAL)) {
        return *ret >= 0 ? OK : ERR_IO;
    }
    *ret = read(from, chunk, want);
    for (ssize_t done = 0; done < *ret;) {
        ssize_t n = write(to, chunk + done, (size_t)(*ret - done));
        if (n < 0) {
            return ERR_IO;
        }
        done += n;
    }
    return *ret >= 0 ? OK : ERR_IO;
}

/* The database without what stands behind it. */
static enum err copy_database(struct restoring *r, struct why *why)
{
    const char *file = r->config->file;
    CLEANUP(freep) uint8_t *chunk = malloc(COPY_BYTES);
    CLEANUP(closep) int from = open(file, O_RDONLY | O_CLOEXEC);
    if (chunk == NULL) {
        return ERR_NOMEM;
    }
    if (from < 0) {
        return system_error("open", file, why);
    }
    CLEANUP(closep) int to = open(r->store, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0) {
        return system_error("create", r->store, why);
    }
    for (uint64_t left = r->size_bytes; left > 0;) {
        ssize_t n;
        if (copy_some(from, to, left, chunk, &n) != OK) {
            return system_error("copy to", r->store, why);
        }
        if (n == 0) {
            why_set(why, "'%s' became shorter while it was read", file);
            return ERR_IO;
        }
        left -= (uint64_t)n;
    }
    return OK;
}

/* Who was a member, and what was wrong with whom, ends with the old cluster. */
static enum err make_it_ours(struct restoring *r, struct why *why)
{
    const struct restore_config *config = r->config;
    struct dbrewrite change = {
        .identity = config->identity,
        .applied_index = r->result.index,
        .applied_term = r->result.term,
        .revision = r->result.revision,
        .compacted_revision = r->result.compacted_revision,
        .empty_table = {[TABLE_MEMBER] = true, [TABLE_CLUSTER] = true, [TABLE_ALARM] = true},
        .rows = config->rows,
        .row_count = config->row_count,
    };
    return dbrewrite(r->store, &change, false, why);
}

static enum err sync_store(struct restoring *r, struct why *why)
{
    CLEANUP(fs_closep) struct fs_file *file = NULL;
    TRY(fs_open(r->fs, r->store, FS_WRITE, &file, why));
    return fs_sync(file, why);
}

/* Open what was made as its member will, which reads and checks all of it. Closing syncs what it
 * writes, and on a full disk not even that. */
static enum err open_once(struct restoring *r, struct buf *manifest, struct why *why)
{
    const struct restore_config *config = r->config;
    struct store_config store_config = {
        .env = config->env,
        .log = config->log,
        .path = r->store,
        .reader_threads = 1,
        .identity = config->identity,
    };
    struct store *store;
    TRY(store_open(&store_config, &store, why));
    store_manifest(store, manifest);
    r->result.key_count = store_key_count(store);
    store_close(store);
    TRY(sync_store(r, why));
    return buf_ok(manifest) ? OK : ERR_NOMEM;
}

/* ---- the whole ---- */

static enum err begin_log(struct restoring *r, struct bytes manifest, struct why *why)
{
    const struct restore_config *config = r->config;
    struct logbegin begin = {
        .env = config->env,
        .fs = r->fs,
        .log = config->log,
        .dir = r->raft,
        .cluster_id = config->identity.cluster_id,
        .member_id = config->identity.member_id,
        .index = r->result.index,
        .term = r->result.term,
        .members = config->members,
        .member_count = config->member_count,
        .manifest = manifest,
    };
    enum err err = logbegin(&begin, why);
    r->log_is_ours = err != ERR_LOCKED && err != ERR_EXISTS;
    return err;
}

static enum err stage(struct restoring *r, struct why *why)
{
    CLEANUP(buf_fini) struct buf manifest = {0};
    TRY(copy_database(r, why));
    TRY(make_it_ours(r, why));
    TRY(open_once(r, &manifest, why));
    TRY(begin_log(r, buf_bytes(&manifest), why));
    return fs_sync_dir(r->fs, r->member, why);
}

/* With the rename there is a member, whatever follows. */
static enum err put_in_place(struct restoring *r, struct why *why)
{
    enum err err = stage(r, why);
    if (err == OK) {
        err = fs_rename(r->fs, r->member, r->target, why);
    }
    if (err != OK && r->config->wal_dir != NULL && r->log_is_ours) {
        empty_directory(r->fs, r->config->wal_dir);
    }
    TRY(err);
    return fs_sync_dir(r->fs, r->config->data_dir, why);
}

static enum err restore_into(struct restoring *r, struct why *why)
{
    TRY(join_paths(r, why));
    TRY(check_targets(r, why));
    TRY(check_backup(r, why));
    TRY(make_staging(r, why));
    /* Another one may have been faster; from here on there is only this one. */
    enum err err = check_targets(r, why);
    if (err == OK) {
        err = put_in_place(r, why);
    }
    (void)remove_tree(r->staging);
    return err;
}

enum err restore(const struct restore_config *config, struct restore_result *ret, struct why *why)
{
    struct restoring r = {.config = config, .fs = fs_real()};
    enum err err = restore_into(&r, why);
    fs_close(r.lock);
    if (err == OK) {
        *ret = r.result;
    }
    return err;
}
