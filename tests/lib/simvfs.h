/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_SIMVFS_H
#define TESTS_LIB_SIMVFS_H

#include "base/fs.h"

/* SQLite on a struct fs: on tests/lib/fs_fault.h, say, which fails on demand and forgets what was
 * not synced. It does what SQLite's own VFS for unix does, in the same order (a new journal's
 * directory is synced with its first sync), keeps the WAL's index in memory, and takes the locks
 * between the connections of one process; time and random numbers are always the same. Connections
 * of one simvfs are used by one thread at a time.
 *
 * What cannot be allocated ends the process (fatal). */
struct simvfs;

/* FILE_ID tells files apart whatever their names are; NULL: no file is renamed. */
struct simvfs *simvfs_new(struct fs *fs, uint64_t (*file_id)(struct fs_file *file));
/* For sqlite3_open_v2 and backend_config.vfs. */
const char *simvfs_name(const struct simvfs *sim);
/* Every connection must be closed. NULL allowed. */
void simvfs_free(struct simvfs *sim);

/* The process that used it has crashed: its connections and files are gone, and are neither used
 * nor closed any more. */
void simvfs_forget(struct simvfs *sim);

/* From now on syncs do nothing and say that they did. */
void simvfs_set_lying(struct simvfs *sim, bool lying);

#endif
