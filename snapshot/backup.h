/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAPSHOT_BACKUP_H
#define SNAPSHOT_BACKUP_H

#include "snapshot/digest.h"
#include "storage/dbfile.h"

/* A backup file, whoever saved it (trivet-backup, etcdctl):
 *
 *   0                                      size_bytes          + 32
 *   ├── the database, as SQLite has it ─────┼── SHA-256 of it ──┤
 *
 * SQLite reads as many pages as the first one says there are, and does not look behind them. The
 * digest may be missing: then it is a database that was copied by hand, while its member was
 * stopped.
 *
 * Blocks. Thread: one at a time. */
struct backup;

/* Looks at head, length and state: ERR_FOREIGN, ERR_VERSION, ERR_CORRUPT, ERR_INVALID (the member
 * whose database it is may be running: there is a WAL beside it). */
MUST_CHECK enum err backup_open(struct fs *fs, const char *path, struct backup **ret,
                                struct why *why);
void backup_close(struct backup *backup); /* NULL allowed */
void backup_closep(struct backup **backup);

bool backup_has_digest(const struct backup *backup);
struct dbfile *backup_database(struct backup *backup); /* the backup's */

/* Read and check every byte: dbfile_check, so that the place of the damage is known, then the
 * digest, so that what holds no record is known to be whole, too. WITHOUT_DIGEST: not that. */
MUST_CHECK enum err backup_verify(struct backup *backup, bool without_digest,
                                  const struct dbfile_progress *progress, struct why *why);

#endif
