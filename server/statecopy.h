/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_STATECOPY_H
#define SERVER_STATECOPY_H

#include "base/fs.h"
#include "base/logger.h"
#include "base/worker.h"
#include "storage/store.h"

/* Copies of the database for members that need one. One is made at a time and serves all who want
 * it; its file loses its name as soon as it is open, so that it goes with its last user, or with
 * the process. On the loop; files are opened and closed by a thread, which is also its users' for
 * reading. */
struct state_copy {
    uint64_t number; /* random: no two are taken for one */
    struct fs_file *file;
    uint64_t size_bytes;
    struct store_manifest manifest;
    unsigned users;
    bool spoilt; /* it cannot be read, or somebody said that it is wrong: nobody new gets it */
};

struct statecopies {
    struct env *env;
    struct logger *log;
    struct store *store;
    struct fs *fs;
    char *path; /* of the one that is being made */
    struct worker *worker;
    struct state_copy *newest; /* NULL: there is none, or it is being made */
    struct state_copy *making;
    struct store_copy_request request;
    struct job job; /* of opening it */
    enum err status;
    struct why why;
    bool closed;
    /* One was made and is the newest; false: it was not, and the log says why. */
    void (*made)(void *ctx, bool ok);
    void *ctx;
};

/* Removes what an earlier life has left. ERR_NOMEM. */
MUST_CHECK enum err statecopies_init(struct statecopies *copies, struct env *env,
                                     struct logger *log, struct store *store, struct fs *fs,
                                     void (*made)(void *ctx, bool ok), void *ctx);
/* Nothing more is made. */
void statecopies_stop(struct statecopies *copies);
/* After the store was closed, which ends what is being made: nobody uses one any more. */
void statecopies_fini(struct statecopies *copies);

/* MADE is called when it is there, or at once when it cannot be begun: it must leave
 * SNAPSHOT_SPARE_BYTES of the disk. Nothing while one is being made already. */
void statecopies_make(struct statecopies *copies);

static inline void statecopy_use(struct state_copy *copy)
{
    copy->users++;
}
void statecopy_unuse(struct statecopies *copies, struct state_copy *copy); /* NULL allowed */

#endif
