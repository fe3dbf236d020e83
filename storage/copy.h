/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_COPY_H
#define STORAGE_COPY_H

#include "base/fs.h"
#include "storage/checkpoint.h"

/* Copies of the database while it is written, and the queue of all upkeep that takes long.
 *
 *   checkpoint_pin: the database file alone is the state, and nobody writes to it
 *   │ loop, a few milliseconds
 *   └▶ copy thread: its bytes into the new file, synced        writes go on, into the WAL
 *      └▶ loop: the pin ends, the WAL is written back again
 *
 * The pin is a read transaction that sees nothing in the WAL. SQLite's own backup begins again
 * whenever somebody commits, and so never ends here. */
struct copier {
    struct backend *backend;
    struct worker *worker; /* the copy thread; of defrag as well */
    /* The database file, for copy_file_range; -1 with a VFS of its own. Open as long as any
     * connection: closing any descriptor of the file would drop the process's lock on it. */
    int source_fd;
    struct queue waiting;         /* struct backend_copy.link */
    struct backend_copy *current; /* NULL: idle */
    struct conn *conn;            /* that pins */
    struct meta meta;             /* of the pinned state */
    struct env_timer retry_timer;
    struct env_task task;
    unsigned attempts;
    bool stopped;
};

MUST_CHECK enum err copier_init(struct copier *copier, struct backend *backend, struct why *why);
/* Nothing new begins, what waits is called back with ERR_STOPPED, what runs ends. Blocks. */
void copier_stop(struct copier *copier);
/* When every connection is closed. */
void copier_fini(struct copier *copier);

void copier_add(struct copier *copier, struct backend_copy *copy);
/* The current one has ended. */
void copier_end(struct copier *copier, enum err err);

/* Open the database file for copying; again when another has taken its place, and only then: the
 * lock would go with the first descriptor. */
MUST_CHECK enum err copier_open_source(struct copier *copier, struct why *why);

#endif
