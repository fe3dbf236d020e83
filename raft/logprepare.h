/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_LOGPREPARE_H
#define RAFT_LOGPREPARE_H

#include "base/env.h"
#include "base/logger.h"
#include "raft/segment.h"

/* Sees to it that there is always a spare segment, made beside the log's way and not on it: out of
 * a forgotten one if it can, else new and zeroed, which costs as much writing as the entries that
 * it will hold. The log forgets several at once, when its store has got further, and needs them one
 * by one: so the newest forgotten ones are kept for that, and those before them removed.
 *
 *   spare_out: false ──▶ job on the preparing thread ──▶ on_spare; true, until it is taken
 *                 ▲                    │ disk full
 *                 └──── a second ◀─────┘ low_space
 *
 * Owner: raftlog_files, on the loop. */
struct logprepare {
    /* Set by the owner. */
    struct env *env;
    struct logger *log;
    struct logdir *dir;
    void (*on_spare)(void *ctx, struct segment *spare);
    void *ctx;

    bool spare_out; /* the log thread has one, or it is being made or on the way there */
    bool low_space; /* the disk had no room for one */
    bool busy;      /* the job is out */
    bool closing;
    struct segment *obsolete; /* forgotten, linked by next, the oldest first */
    struct env_timer retry;
    struct worker *worker;

    /* The preparing thread's while the job is out. */
    struct job job;
    struct segment *forgotten; /* what it may use and remove; what it keeps is left there */
    bool want_spare;
    struct segment *spare;
    bool full;
};

void logprepare_init(struct logprepare *p);

/* Start the thread, and the first spare unless there is one. */
MUST_CHECK enum err logprepare_start(struct logprepare *p, bool has_spare, struct why *why);

void logprepare_spare_taken(struct logprepare *p);

/* These, linked by next, the oldest first, are not needed any more. */
void logprepare_forget(struct logprepare *p, struct segment *segments);

/* Finish and end the thread. What is not removed by then, the next start removes. */
void logprepare_close(struct logprepare *p);

#endif
