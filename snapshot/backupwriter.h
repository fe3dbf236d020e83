/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAPSHOT_BACKUPWRITER_H
#define SNAPSHOT_BACKUPWRITER_H

#include "base/fs.h"
#include "storage/dbfile.h"

/* A backup on its way from a member into a file. Until it is whole, checked and on stable storage
 * it is called FILE.part; then it takes FILE's name, in place of what was there. A FILE.part that a
 * crash has left is used again.
 *
 * Blocks. Thread: one at a time. */
struct backupwriter;

/* ERR_LOCKED: somebody else is saving to the same file. */
MUST_CHECK enum err backupwriter_new(struct fs *fs, const char *path, struct backupwriter **ret,
                                     struct why *why);

/* So many bytes are still to come. ERR_NO_SPACE when the disk has no room for them: better now than
 * when it is full, with a member's log on it perhaps. */
MUST_CHECK enum err backupwriter_expect(struct backupwriter *writer, uint64_t left_bytes,
                                        struct why *why);
/* The same of a directory, before. A disk that does not say has room. */
MUST_CHECK enum err backupwriter_check_room(struct fs *fs, const char *where, uint64_t bytes,
                                            struct why *why);

/* The next bytes: those of the database and then of its digest, cut anyhow. */
MUST_CHECK enum err backupwriter_add(struct backupwriter *writer, struct bytes bytes,
                                     struct why *why);

/* All bytes have come: ERR_CORRUPT when they are not what their digest says, ERR_FOREIGN when that
 * is not a database of Trivet. VERIFY: all that backup_verify finds, too; PROGRESS, which may be
 * NULL, is told of it. What fails is followed by backupwriter_free. */
MUST_CHECK enum err backupwriter_finish(struct backupwriter *writer, bool verify,
                                        const struct dbfile_progress *progress, struct why *why);

/* Without a backupwriter_finish that was OK nothing stays on disk. NULL allowed. */
void backupwriter_free(struct backupwriter *writer);

#endif
