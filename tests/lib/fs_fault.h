/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_FS_FAULT_H
#define TESTS_LIB_FS_FAULT_H

#include "base/fs.h"

/* A file system in memory that fails on demand, and forgets what was not synced.
 *
 * Faults. Arm it, and the k-th operation of some kinds fails: a write leaves a part behind, a sync
 * leaves it open what is durable, for good.
 *
 * Crashes. Every operation is recorded, so the code under test runs once, undisturbed, and the test
 * then looks at the disk as a crash after each operation would have left it:
 *
 *     run_workload(fs_fault_fs(disk), acked_at);      acked_at[i] = fs_fault_op_count() in
 * callbacks for (k = 0; k <= fs_fault_op_count(disk); k++) { for (seed = 0; seed < 8; seed++) {
 *             struct fs_fault *after = fs_fault_crash(disk, k, seed);
 *             check_that_all_acked_up_to_k_is_there(fs_fault_fs(after));
 *             fs_fault_free(after);
 *         }
 *     }
 *
 * Lives. One that was made by fs_fault_new_live forgets what is durable, so that it can be used for
 * long; it crashes in place (fs_fault_lose_power) and goes on with what is left. Whoever made it is
 * asked before each operation whether it shall fail, and so also hears how much is done.
 *
 * Any thread, as of every fs. What cannot be allocated ends the process (fatal). */
struct fs_fault;

struct fs_fault *fs_fault_new(void);

/* Asked before an operation of KIND on PATH, of LEN bytes where it has some: not OK, and it fails
 * with that, as if armed for it; ERR_STOPPED, and nothing happens at all: who asks is dead. */
struct fs_fault_judge {
    enum err (*fn)(void *ctx, unsigned kind, const char *path, size_t len);
    void *ctx;
};
struct fs_fault *fs_fault_new_live(const struct fs_fault_judge *judge);
/* The crash: open files are gone, must not be used any more, not even closed; and of what was not
 * synced SEED chooses, as for fs_fault_crash. */
void fs_fault_lose_power(struct fs_fault *fault, uint64_t seed);
/* Turn bits of a file behind everybody's back: false when there is no such file, or it ends before.
 */
bool fs_fault_flip(struct fs_fault *fault, const char *path, uint64_t offset, uint8_t mask);
/* Bytes that files hold or have reserved. */
uint64_t fs_fault_used_bytes(struct fs_fault *fault);
struct fs *fs_fault_fs(struct fs_fault *fault);
void fs_fault_free(struct fs_fault *fault); /* every file must be closed; NULL allowed */

enum fs_fault_kind {
    FS_FAULT_READ = 1,  /* open of what is there, read, size, list */
    FS_FAULT_WRITE = 2, /* any part of the bytes is written */
    FS_FAULT_SYNC = 4,  /* what was not synced may be durable or not, and never will be for sure */
    FS_FAULT_ALLOCATE = 8,  /* nothing is allocated */
    FS_FAULT_TRUNCATE = 16, /* the length stays */
    FS_FAULT_SYNC_DIR = 64, /* as sync */
    FS_FAULT_RENAME = 128,  /* nothing happens */
    FS_FAULT_NAMES = 160,   /* the same of making, renaming, removing */
    FS_FAULT_CHANGES = 254, /* all but reading */
    FS_FAULT_ALL = 255,
};

/* Fail the K-th (1 is the next) operation of KINDS (several, ored) with ERR; with FOR_GOOD every
 * later one of them as well. */
void fs_fault_arm(struct fs_fault *fault, unsigned kinds, uint64_t k, enum err err, bool for_good);
void fs_fault_disarm(struct fs_fault *fault);
/* The same for every open of one file, whatever its name is meanwhile. */
uint64_t fs_fault_file_id(struct fs_file *file);

bool fs_fault_fired(struct fs_fault *fault); /* since it was armed */

/* The disk holds this many bytes, in pages of 4096; beyond that ERR_NO_SPACE and nothing is
 * written. 0: no bound. */
void fs_fault_set_capacity(struct fs_fault *fault, uint64_t bytes);

bool fs_fault_is_bounded(struct fs_fault *fault);

/* Operations that changed something, or synced, since it was made. */
uint64_t fs_fault_op_count(struct fs_fault *fault);

/* Files and directories that were ever made. */
unsigned fs_fault_made_count(struct fs_fault *fault);

/* A new file system as FAULT's disk would be after a crash behind the first OP_COUNT operations.
 * What of the operations that were not synced by then is there, SEED chooses: 0 nothing, 1
 * everything, others at random (disk.h says how). FAULT stays as it is. */
struct fs_fault *fs_fault_crash(struct fs_fault *fault, uint64_t op_count, uint64_t seed);

#endif
