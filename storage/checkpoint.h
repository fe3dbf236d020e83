/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CHECKPOINT_H
#define STORAGE_CHECKPOINT_H

#include "storage/drain.h"

/* From the WAL into the database file, and what of it is durable.
 *
 * SQLite before 3.51.3 can corrupt a database when a checkpoint *begins* while all of the WAL is in
 * the database file already, and a commit then starts the WAL anew before the checkpoint has taken
 * its lock. So nobody begins one by himself; the loop hands out the right to, one at a time:
 *
 *          so many frames of this WAL not written back
 *   IDLE ────────────────────────────────────────────────▶ PASS ─┐ the same WAL has
 *    ▲ ▲                                                    │ ▲  │ grown meanwhile
 *    │ └─── SYNC ◀── a sync was asked for                   │ └──┘
 *    │                                                      ▼
 *    └─────────────────────────────────────────────────── FINISH
 *
 *   PASS     on the checkpoint thread, with its own connection, beside the writer: a passive
 *            checkpoint, then a sync of the database file: little is left to sync for the finish.
 *   FINISH   on the storage thread: the rest, a few milliseconds. The writer stands still
 *            meanwhile, so nothing can start the WAL anew.
 *   SYNC     on the checkpoint thread: a sync of the WAL.
 *
 * A pass begins only when the loop has seen a frame of *this* generation of the WAL that is not
 * written back: until a checkpoint has written it back the WAL cannot begin anew, and only we
 * checkpoint.
 *
 * What a sync proves: everything that was committed before it began is in the database after a
 * crash, be it in the WAL or, when the WAL has begun anew since, in the database file, which SQLite
 * syncs before. A sync that fails ends the process: what the next one says would prove nothing. */
struct checkpoint {
    struct env *env;
    struct worker *worker;  /* of passes and syncs */
    struct worker *storage; /* the drain's */
    struct drain *drain;
    struct conn *conn; /* the checkpoint thread's, while a job runs */

    enum { CHECKPOINT_IDLE, CHECKPOINT_PASS, CHECKPOINT_FINISH, CHECKPOINT_HELD } state;
    struct job job;
    /* What the job was told and what it found. */
    uint64_t job_index;             /* applied index that was committed when it was submitted */
    bool job_pass;                  /* a pass; else only a sync */
    int job_frames;                 /* frames in the WAL when it looked; -1: could not */
    int job_written;                /* of those, in the database file now */
    struct drain_report job_report; /* of a finish */

    unsigned passes; /* of this round so far */

    struct drain_report latest;
    uint64_t generation;   /* of the WAL that the next two speak of */
    uint32_t written;      /* frames in the database file */
    uint32_t tried_frames; /* frames when the last round ended: it may not have got that far */

    bool sync_wanted;
    bool stopped;
    uint64_t durable_index;
    struct env_timer sync_timer;
    unsigned sync_interval_ms;
    unsigned frames; /* that make a round worth while */

    /* The pin: see checkpoint_pin. */
    struct conn *pin_conn;
    struct meta *pin_meta;
    void (*pin_cb)(void *ctx, enum err err);
    void *pin_ctx;
    bool job_pin;    /* the finish that runs is to begin it ... */
    bool job_pinned; /* ... and did */

    void (*hold_cb)(void *ctx, enum err err); /* see checkpoint_hold */
    void *hold_ctx;

    void (*on_durable)(void *ctx, uint64_t index);
    void *ctx;
};

struct checkpoint_config {
    struct env *env;
    struct worker *storage;
    struct drain *drain;
    struct conn *conn; /* taken over when checkpoint_init succeeds */
    unsigned sync_interval_ms;
    unsigned frames;
    uint64_t durable_index;
    void (*on_durable)(void *ctx, uint64_t index);
    void *ctx;
};

MUST_CHECK enum err checkpoint_init(struct checkpoint *cp, const struct checkpoint_config *config,
                                    struct why *why);
/* No new rounds; what runs is waited for. The storage worker is still there. */
void checkpoint_stop(struct checkpoint *cp);
void checkpoint_fini(struct checkpoint *cp);

/* The storage thread has done something. */
void checkpoint_on_report(struct checkpoint *cp, const struct drain_report *report);

/* A sync soon. */
void checkpoint_sync(struct checkpoint *cp);

/* Bring everything into the database file and, before anything is committed behind it, begin a read
 * transaction on CONN: as long as it lasts nobody writes to the database file, and the file alone
 * is the state META. CB on the loop: OK, or ERR_LOCKED when a reader stood in the way: try again.
 * One at a time. */
void checkpoint_pin(struct checkpoint *cp, struct conn *conn, struct meta *meta,
                    void (*cb)(void *ctx, enum err err), void *ctx);

/* Begin nothing more; CB, on the loop, when what runs has ended: no connection of ours is open
 * then. ERR_STOPPED: it has ended for good. */
void checkpoint_hold(struct checkpoint *cp, void (*cb)(void *ctx, enum err err), void *ctx);
/* Go on: with CONN, which is taken over, to a database that is what REPORT says, and durable up to
 * DURABLE_INDEX at least. */
void checkpoint_release(struct checkpoint *cp, struct conn *conn, const struct drain_report *report,
                        uint64_t durable_index);

/* Sync the WAL of CONN now; fatal when it fails. Any thread that has CONN. */
void checkpoint_sync_wal(struct conn *conn);

#endif
