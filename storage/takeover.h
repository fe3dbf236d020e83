/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_TAKEOVER_H
#define STORAGE_TAKEOVER_H

#include "storage/drain.h"
#include "storage/garbage.h"

/* Another member's database in the place of this one, beside the traffic.
 *
 *   CHECK     copy thread: whose it is, its tables, every row and value, and that they are those
 *             that were written; the index is built of it; it is made this member's; synced
 *   WAITING   loop: most of the WAL is written back; the layer above is told, and ends its readers
 *             and its batches meanwhile
 *   QUIET     loop: reader threads, checkpoints, the storage thread come to rest
 *   SWITCH    loop, within a turn: the old file is ended, the new one takes its name (takeplace.h),
 *             the layer above has the new index: some milliseconds, most of them two syncs
 *   AFTER     copy thread: the old file and the old index are freed; or the new index, when it came
 *             to nothing
 *
 * A crash before the rename leaves the old database, after it the new one. What the WAL of the old
 * one held is in its file by then, so that nothing is ever less than it was. Failures before SWITCH
 * has begun leave everything as it was, later ones end the process. */
struct takeover {
    struct backend *backend;
    struct backend_takeover *request; /* NULL: idle */
    enum { TAKEOVER_CHECK, TAKEOVER_WAITING, TAKEOVER_QUIET, TAKEOVER_ENDING } state;
    bool abandoned;
    struct meta meta;       /* of the new file */
    struct garbage garbage; /* likewise */
    struct conn *source;    /* for checkpoint_pin */
    struct meta written_back;
    unsigned attempts;
    struct job job;
    enum err status; /* of what has ended */
    struct env_timer retry_timer;
    struct fs_file *old; /* the old file, kept until the copy thread lets it go; may be NULL */
    uint64_t began_ns;
};

void takeover_init(struct takeover *takeover, struct backend *backend);

/* Begin REQUEST, the copier's current, in a struct backend_takeover; ends in copier_end. */
void takeover_start(struct takeover *takeover, struct backend_copy *request);
void takeover_go(struct takeover *takeover);
void takeover_abandon(struct takeover *takeover);
/* The backend closes: what waits, ends. */
void takeover_stop(struct takeover *takeover);

#endif
