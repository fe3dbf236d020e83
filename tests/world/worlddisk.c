/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worlddisk.h"

#include <sqlite3.h>
#include <string.h>

#include "base/assert.h"

/* What an operation takes, in microseconds. */
static uint64_t cost_of(struct worlddisk *disk, unsigned kind, size_t len)
{
    struct world *world = disk->world;
    uint64_t us;
    switch (kind) {
    case FS_FAULT_READ:
        us = world_between(world, 1, 4);
        break;
    case FS_FAULT_SYNC:
    case FS_FAULT_SYNC_DIR:
        us = world_between(world, disk->sync_us / 4, disk->sync_us);
        break;
    default:
        us = world_between(world, 1, disk->write_us) + len / 1024;
        break;
    }
    /* What one job does takes until then; and not all of it that of its beginning. */
    uint64_t now_us = world->now_us + disk->env->io_us;
    return disk->slow_until_us > now_us ? us * disk->slow_factor : us;
}

static bool is_of_log(const char *path)
{
    return strncmp(path, WORLDDISK_LOG_DIR, sizeof WORLDDISK_LOG_DIR - 1) == 0;
}

static enum err judge(void *ctx, unsigned kind, const char *path, size_t len)
{
    struct worlddisk *disk = ctx;
    if (disk->is_dead) {
        return ERR_STOPPED;
    }
    disk->op_count++;
    disk->world->stats.disk_ops++;
    if (disk->dies_after_rename != 0 && kind == FS_FAULT_RENAME && !is_of_log(path)) {
        disk->dies_at_op = disk->op_count + disk->dies_after_rename;
        disk->dies_after_rename = 0;
    }
    if (disk->env != NULL) {
        disk->env->io_us += cost_of(disk, kind, len);
    }
    if (disk->op_count == disk->dies_at_op) {
        disk->is_dead = true;
        return ERR_IO; /* a part of a write is there */
    }
    if ((disk->fail_kinds & kind) == 0) {
        return OK;
    }
    if (disk->fail_in > 0) {
        disk->fail_in--;
        return OK;
    }
    disk->fail_kinds = 0;
    disk->has_failed = true;
    world_note(disk->world, "disk: fails", disk->env != NULL ? disk->env->place : 0, kind);
    return ERR_IO;
}

static void make(struct worlddisk *disk)
{
    disk->files = fs_fault_new_live(&(struct fs_fault_judge){.fn = judge, .ctx = disk});
}

void worlddisk_init(struct worlddisk *disk, struct world *world)
{
    static const uint64_t syncs[] = {50, 300, 1000, 1000, 3000, 8000};
    *disk = (struct worlddisk){
        .world = world,
        .write_us = world_between(world, 2, 60),
        .sync_us = syncs[world_between(world, 0, sizeof syncs / sizeof *syncs - 1)],
        .slow_factor = 1,
    };
    make(disk);
}

void worlddisk_begin(struct worlddisk *disk, struct worldenv *env)
{
    ASSERT(disk->vfs == NULL);
    disk->vfs = simvfs_new(fs_fault_fs(disk->files), fs_fault_file_id);
    /* Lives must not repeat each other's salts of the WAL. */
    int rc = sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED,
                                  (int)world_between(disk->world, 1, INT32_MAX), NULL);
    ASSERT(rc == SQLITE_OK);
    disk->env = env;
    disk->is_dead = false;
    disk->has_failed = fs_fault_is_bounded(disk->files);
    disk->dies_at_op = 0;
    disk->fail_kinds = 0;
}

void worlddisk_end(struct worlddisk *disk)
{
    simvfs_free(disk->vfs);
    disk->vfs = NULL;
    disk->env = NULL;
}

void worlddisk_crash(struct worlddisk *disk)
{
    simvfs_forget(disk->vfs);
    disk->vfs = NULL;
    disk->env = NULL;
    fs_fault_lose_power(disk->files, world_between(disk->world, 0, 20));
}

void worlddisk_wipe(struct worlddisk *disk)
{
    ASSERT(disk->vfs == NULL);
    fs_fault_free(disk->files);
    make(disk);
    disk->was_flipped = false;
}

bool worlddisk_is_sick(const struct worlddisk *disk)
{
    return disk->is_dead || disk->has_failed || disk->was_flipped;
}
