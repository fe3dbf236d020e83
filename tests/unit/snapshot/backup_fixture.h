/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SNAPSHOT_BACKUP_FIXTURE_H
#define TESTS_UNIT_SNAPSHOT_BACKUP_FIXTURE_H

#include "snapshot/backup.h"
#include "snapshot/spool.h"
#include "tests/lib/loop.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

/* A real store in a directory of the test's, with keys that were put, put again, deleted, deleted
 * and made again, a lease, rows in every small table and a compaction; and backups of it. */
#define CLUSTER_ID  0xc1u
#define MEMBER_ID   0xa1u
#define INDEX       77u
#define TERM        5u
#define COMPACTED   40
#define LEASE       7001
#define SPARE_BYTES 4096u

struct stored {
    struct loop loop;
    struct store *store; /* NULL: closed */
    struct spool *spool;
    char path[256]; /* of the store's file */
    uint64_t index; /* of the last entry */
    struct why why;
};
extern struct stored stored;

void stored_setup(void); /* opened and filled */
void stored_teardown(void);

/* One put as an entry of its own. */
void stored_put(const char *key, const char *value, int64_t lease);

/* A whole backup, as a client would write it, into the file NAME of the directory; its path. */
const char *stored_save(const char *name);

/* Bytes of a file. */
void file_read(const char *path, struct buf *ret);
void file_write(const char *path, struct bytes bytes);
/* Change the bytes of the backup at PATH so that its digest is right again. */
void file_sign(struct buf *bytes);
/* Run SQL on the backup at PATH, and sign what comes of it. */
void file_change(const char *path, const char *sql);

#endif
