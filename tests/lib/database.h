/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_DATABASE_H
#define TESTS_LIB_DATABASE_H

#include "storage/backend.h"
#include "tests/lib/batches.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/simvfs.h"

/* A backend on a disk in memory, with an env under the test's command. */
struct database {
    struct env_fake *fake;
    struct fs_fault *disk;
    struct simvfs *sim;
    struct backend_config config;
    struct backend *backend;
    struct backend_state state; /* when it was opened */
    struct row_log rows;        /* when it was opened */
    struct why why;
    uint64_t durable_index; /* as on_durable said */
    bool full;              /* as on_full said */
    int64_t compacted;      /* as on_compacted said */
    /* Which index was said to be durable after how many operations of the disk, in order. */
    struct {
        uint64_t op_count;
        uint64_t index;
    } * claims;
    size_t claim_count;
};

/* DISK is the database's from now on; NULL: an empty one. The config may be changed before it is
 * opened. */
void database_init(struct database *db, struct fs_fault *disk);
void database_fini(struct database *db);

MUST_CHECK enum err database_open(struct database *db);
void database_close(struct database *db); /* cleanly; nothing when it is not open */

/* The highest index that was said to be durable by OP_COUNT. */
uint64_t database_claimed(const struct database *db, uint64_t op_count);

/* Is what was opened what the first applied_index of BATCHES leave? NULL, or what is wrong. */
const char *database_compare(const struct database *db, const struct batches *batches);

/* The bytes of a file, read and changed behind everybody's back. */
uint64_t database_file_size(struct database *db, const char *path);
void database_flip(struct database *db, const char *path, uint64_t offset, uint8_t mask);
void database_truncate(struct database *db, const char *path, uint64_t size);

#endif
