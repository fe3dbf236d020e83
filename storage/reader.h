/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_READER_H
#define STORAGE_READER_H

#include "storage/backend.h"
#include "storage/conn.h"

/* The reader threads. Each request is given a connection for as long as it runs, and waits on the
 * loop while all are in use: so connections need no lock, and a snapshot lives no longer than its
 * request. One that reads much (a hash reads all that there is) gives connection and snapshot back
 * after each slice, and waits behind those that came meanwhile: none of them waits for longer than
 * the slices before it, and the WAL can begin anew. On the loop. */
#define READERS_MAX 16

struct readers {
    struct worker *worker;
    struct conn *conns[READERS_MAX]; /* those that are free */
    unsigned free_count;
    unsigned count;
    struct queue waiting; /* struct reader_job.job.link: no connection yet */
    /* Called when the last one has ended, once; then nothing starts until readers_resume. */
    void (*on_quiet)(void *ctx);
    void *quiet_ctx;
    bool paused;
    bool closing; /* what is not through with its slice is not begun again */
};

MUST_CHECK enum err readers_init(struct readers *readers, struct env *env, const char *path,
                                 const char *vfs, unsigned count, struct why *why);
/* Does a slice of what waits, then closes: ERR_STOPPED to what was longer. Blocks. Half-initialised
 * is fine. */
void readers_fini(struct readers *readers);

void readers_fetch(struct readers *readers, struct backend_fetch *fetch);
void readers_scan(struct readers *readers, struct backend_scan *scan);
void readers_check(struct readers *readers, struct backend_check *check);

/* Let what runs end, and start nothing more; while quiet, no connection of ours is open. */
void readers_pause(struct readers *readers, void (*on_quiet)(void *ctx), void *ctx);
/* Go on, with connections to what is now at PATH. */
MUST_CHECK enum err readers_resume(struct readers *readers, const char *path, const char *vfs,
                                   struct why *why);

#endif
