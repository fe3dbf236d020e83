/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAPSHOT_RESTORE_H
#define SNAPSHOT_RESTORE_H

#include "base/env.h"
#include "base/logger.h"
#include "raft/node.h"
#include "storage/dbfile.h"
#include "storage/dbrewrite.h"

#define RESTORE_STAGING "restoring"

/* A backup becomes the data directory of a member of a new cluster:
 *
 *   DATA_DIR/restoring/member/store.db   the database: checked, copied, made the new member's,
 *                                        opened once as the member will
 *   DATA_DIR/restoring/member/raft       a log that begins behind it (WAL_DIR when there is one)
 *   DATA_DIR/member                      the same, by one rename, when all of it is durable
 *
 * Whatever ends it before the rename leaves DATA_DIR without a member; what is left in `restoring`
 * is removed by the next one. All members of the cluster are restored from the same file. */
struct restore_config {
    struct env *env;
    struct logger *log; /* may be NULL */
    const char *file;
    const char *data_dir; /* must be missing or empty, as must ... */
    const char *wal_dir;  /* ... this one; NULL: in the data directory */
    struct store_identity identity;
    const struct node_member *members; /* the same in the same cluster */
    size_t member_count;
    const struct dbrewrite_row *rows; /* who they are, for the member table */
    size_t row_count;
    bool without_digest;
    int64_t bump_revision; /* added to the newest revision, so that no client has seen what comes */
    bool mark_compacted;   /* that one is compacted: watchers begin anew */
    const struct dbfile_progress *progress; /* of the check */
};

struct restore_result {
    uint64_t index; /* behind which the log begins */
    uint64_t term;
    int64_t revision;
    int64_t compacted_revision;
    uint64_t key_count;
};

/* Blocks. ERR_EXISTS: DATA_DIR or WAL_DIR is not empty. ERR_LOCKED: another one is restoring into
 * it. ERR_CORRUPT and so on: the backup's, with the place of the damage. */
MUST_CHECK enum err restore(const struct restore_config *config, struct restore_result *ret,
                            struct why *why);

#endif
