/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_DBFILE_H
#define STORAGE_DBFILE_H

#include "base/fs.h"
#include "storage/store.h"

/* A database file by itself: a copy that nobody writes. It is only read, nothing is locked and
 * nothing is made beside it, so that it may lie on a read-only disk; nothing in it is trusted.
 * Behind the database there may be other bytes (snapshot/backup.h puts a checksum there).
 *
 * Blocks. Thread: one at a time. */
struct dbfile;

struct dbfile_info {
    struct store_identity identity; /* who wrote it */
    int64_t format;
    uint64_t applied_index;
    uint64_t applied_term;
    int64_t revision;
    int64_t compacted_revision; /* -1: never */
    uint64_t record_count;      /* rows of the log, whatever compaction has not removed yet */
    uint64_t record_bytes;
    uint64_t size_bytes; /* of the database, as it says itself */
    uint64_t file_bytes; /* with what stands behind it */
};

/* ERR_FOREIGN: no database of ours. ERR_VERSION: of a newer program. ERR_CORRUPT: what is wrong,
 * and where. Looks at the head of the file, its tables and its state alone. */
MUST_CHECK enum err dbfile_open(struct fs *fs, const char *path, struct dbfile **ret,
                                struct why *why);
void dbfile_close(struct dbfile *file); /* NULL allowed */
void dbfile_closep(struct dbfile **file);

const struct dbfile_info *dbfile_info(const struct dbfile *file);

/* Is told now and then how far something has come that takes long; may be NULL. */
struct dbfile_progress {
    void (*fn)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
};

/* Everything: the structure of every page, every record and row, that they are those that were
 * written, that the index can be built of them. ERR_CORRUPT says which page, revision or table. */
MUST_CHECK enum err dbfile_check(struct dbfile *file, const struct dbfile_progress *progress,
                                 struct why *why);

/* HashKV at REVISION (0: the newest), and how many keys are alive there. ERR_COMPACTED,
 * ERR_FUTURE_REVISION. */
struct dbfile_hash {
    int64_t revision;
    uint32_t hash;
    int64_t key_count;
};
MUST_CHECK enum err dbfile_hash(struct dbfile *file, const struct dbfile_progress *progress,
                                struct dbfile_hash *ret, struct why *why);

/* The keys of a range as they were at a revision, in their order; or all that happened to them up
 * to there that the file still has, in the order of revisions, tombstones included. FN may end it
 * with an error of its own. ERR_COMPACTED, ERR_FUTURE_REVISION. */
struct dbfile_query {
    struct bytes key; /* and range_end as in etcd */
    struct bytes range_end;
    int64_t revision; /* 0: the newest */
    bool history;
};
typedef enum err (*dbfile_record_cb)(void *ctx, const struct record *record);
MUST_CHECK enum err dbfile_list(struct dbfile *file, const struct dbfile_query *query,
                                dbfile_record_cb fn, void *ctx, struct why *why);

/* Every row of a small table, in key order. */
MUST_CHECK enum err dbfile_table(struct dbfile *file, enum store_table table,
                                 enum err (*fn)(void *ctx, struct bytes key, struct bytes value),
                                 void *ctx, struct why *why);

#endif
