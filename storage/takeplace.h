/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_TAKEPLACE_H
#define STORAGE_TAKEPLACE_H

#include "base/fs.h"
#include "storage/drain.h"

/* How one database file takes the place of another under a running backend: what defragmentation
 * (defrag.h) and another member's state (takeover.h) have in common.
 *
 *   readers and checkpoints have ended
 *   takeplace_end_old   the old file is complete without its WAL, and the WAL empty, durably: it
 *                       must never meet the new file
 *   takeplace_rename    the new file has the old one's name, durably; the writer's connection is to
 *                       the new one
 *   takeplace_reopen    so are all others
 *
 * A crash before the rename finds the old database, after it the new one. From the rename on
 * failures end the process: there is no way back. */

/* ERR_LOCKED: somebody reads. ERR_NO_SPACE. Nothing has changed then. Thread: whoever has DRAIN. */
MUST_CHECK enum err takeplace_end_old(struct drain *drain, struct why *why);

/* The file at PATH, to which no connection is open. OLD: the old file, so that its blocks are freed
 * when the caller likes; may be NULL. The drain's meta is the caller's to set before. Thread:
 * whoever has DRAIN. */
void takeplace_rename(const struct backend_config *config, struct drain *drain, const char *path,
                      struct fs_file **old);

/* Free the blocks of OLD (NULL allowed) and close it, piece by piece: those of 250 MB at once keep
 * the disk from others for 100 ms. Nobody has it open any more. Thread: one that may take long. */
void takeplace_let_go(struct fs_file *old);

/* Connections of the loop, of the checkpoint (which is held) and of the readers (which are paused)
 * to what is in place now; all go on. */
void takeplace_reopen(struct backend *backend, uint64_t durable_index);

#endif
