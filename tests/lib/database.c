/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/database.h"

#include "base/assert.h"
#include "base/cleanup.h"

static void on_durable(void *ctx, uint64_t index)
{
    struct database *db = ctx;
    ASSERT(index > db->durable_index);
    db->durable_index = index;
    db->claims = reallocarray(db->claims, db->claim_count + 1, sizeof *db->claims);
    ASSERT(db->claims != NULL);
    db->claims[db->claim_count].op_count = fs_fault_op_count(db->disk);
    db->claims[db->claim_count].index = index;
    db->claim_count++;
}

static void on_full(void *ctx, bool full)
{
    struct database *db = ctx;
    ASSERT(full != db->full);
    db->full = full;
}

static void on_compacted(void *ctx, int64_t revision)
{
    struct database *db = ctx;
    ASSERT(revision > db->compacted);
    db->compacted = revision;
}

void database_init(struct database *db, struct fs_fault *disk)
{
    *db = (struct database){.compacted = -1};
    db->fake = env_fake_new(1);
    db->disk = disk != NULL ? disk : fs_fault_new();
    db->sim = simvfs_new(fs_fault_fs(db->disk), fs_fault_file_id);
    db->config = (struct backend_config){
        .env = env_fake_env(db->fake),
        .path = "/db",
        .vfs = simvfs_name(db->sim),
        .fs = fs_fault_fs(db->disk),
        .identity = {.cluster_id = 7, .member_id = 9},
        .remove_permille = 1,
        .on_durable = on_durable,
        .on_full = on_full,
        .on_compacted = on_compacted,
        .ctx = db,
    };
}

void database_fini(struct database *db)
{
    database_close(db);
    row_log_fini(&db->rows);
    simvfs_free(db->sim);
    fs_fault_free(db->disk);
    env_fake_free(db->fake);
    free(db->claims);
}

enum err database_open(struct database *db)
{
    row_log_fini(&db->rows);
    return backend_open(&db->config, row_log_add, &db->rows, &db->state, &db->backend, &db->why);
}

void database_close(struct database *db)
{
    backend_close(db->backend);
    db->backend = NULL;
}

uint64_t database_claimed(const struct database *db, uint64_t op_count)
{
    uint64_t index = 0;
    for (size_t i = 0; i < db->claim_count && db->claims[i].op_count <= op_count; i++) {
        index = db->claims[i].index;
    }
    return index;
}

const char *database_compare(const struct database *db, const struct batches *batches)
{
    uint64_t n = db->state.applied_index;
    if (n > batches->count) {
        return "an index was applied that was never given";
    }
    if (n > 0 && memcmp(&db->state, &batches->items[n - 1].state, sizeof db->state) != 0) {
        return "the state is not that of its applied index";
    }
    bool at_once = db->config.remove_permille == 1;
    int64_t removed = at_once ? backend_removed_revision(db->backend) : -1;
    const char *wrong = batches_compare(batches, n, &db->rows, removed);
    return wrong != NULL ? wrong : batches_compare_tables(batches, n, db->backend);
}

static struct fs_file *open_file(struct database *db, const char *path)
{
    struct fs_file *file = NULL;
    enum err err = fs_open(fs_fault_fs(db->disk), path, FS_WRITE, &file, NULL);
    ASSERT(err == OK);
    return file;
}

uint64_t database_file_size(struct database *db, const char *path)
{
    CLEANUP(fs_closep) struct fs_file *file = open_file(db, path);
    uint64_t size = 0;
    enum err err = fs_size(file, &size, NULL);
    ASSERT(err == OK);
    return size;
}

void database_flip(struct database *db, const char *path, uint64_t offset, uint8_t mask)
{
    CLEANUP(fs_closep) struct fs_file *file = open_file(db, path);
    uint8_t byte = 0;
    size_t got = 0;
    enum err err = fs_read(file, offset, &byte, 1, &got, NULL);
    ASSERT(err == OK && got == 1);
    byte ^= mask;
    err = fs_write(file, offset, &byte, 1, NULL);
    ASSERT(err == OK);
}

void database_truncate(struct database *db, const char *path, uint64_t size)
{
    CLEANUP(fs_closep) struct fs_file *file = open_file(db, path);
    enum err err = fs_truncate(file, size, NULL);
    ASSERT(err == OK);
}
