/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_DEFRAG_H
#define STORAGE_DEFRAG_H

#include "storage/drain.h"

/* The database rewritten without its free space and without what compactions have superseded,
 * beside the traffic.
 *
 *   REWRITE   copy thread: is there room? Then every row into a new file, in order, until only a
 *             few are behind; synced. Compaction stands still: what was copied stays valid
 *   QUIET     loop: readers and checkpoints end; batches go on
 *   SWITCH    storage thread: the last rows, the small tables, the state; synced. The old file is
 *             made complete without its WAL, and the WAL made empty, durably: it must never meet
 *             the new file. Then the new one takes the old one's name
 *   AFTER     loop: connections to the new file; all goes on. Copy thread: the old file is freed,
 *             or the new one, when it came to nothing
 *
 * A crash before the rename leaves the old database and a file that the next start removes; after
 * it, the new one. Failures before SWITCH has begun to close the old one leave everything as it
 * was, later ones end the process. */
struct defrag {
    struct backend *backend;
    struct backend_copy *request; /* NULL: idle */
    char *path;                   /* of the new file */
    struct conn *source;
    struct conn *target;
    uint64_t needed_bytes; /* about what the new file will have */
    revision_t next;       /* the first row not copied */
    struct tally copied;   /* rows in the new file */
    struct tally left_out; /* that compactions have superseded */
    unsigned attempts;     /* to switch */
    struct job job;
    enum err status;
    struct drain_report report;
    struct meta written_back; /* not looked at: what checkpoint_pin tells */
    struct fs_file *old;      /* the old file, kept until the copy thread lets it go; may be NULL */
    bool waits_for_compaction;
    struct env_timer retry_timer;
    uint64_t began_ns;
    struct histogram *seconds; /* may be NULL */
};

MUST_CHECK enum err defrag_init(struct defrag *defrag, struct backend *backend);
void defrag_fini(struct defrag *defrag);

/* Begin REQUEST, the copier's current; ends in copier_end. */
void defrag_start(struct defrag *defrag, struct backend_copy *request);
/* A slice of compaction has ended. */
void defrag_on_compaction_quiet(struct defrag *defrag);
/* The backend closes: what waits, ends. */
void defrag_stop(struct defrag *defrag);

#endif
