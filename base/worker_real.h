/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_WORKER_REAL_H
#define BASE_WORKER_REAL_H

#include <uv.h>

#include "base/worker.h"

/* The workers of one env_real: POSIX threads, and the way back to its loop. Private to base. */
struct worker_set {
    struct env *env;
    struct queue workers; /* struct worker_real.link */
    struct queue done;    /* jobs taken from the workers, whose done is still to be called */
    size_t jobs_out;      /* submitted, done not yet called: the loop stays alive for them */
    int fd;               /* an eventfd: a worker has something in done */
    uv_poll_t poll;       /* of fd */
};

MUST_CHECK enum err worker_set_init(struct worker_set *set, struct env *env, uv_loop_t *loop,
                                    struct why *why);
/* Every worker must have been closed. CB gets the poll handle. */
void worker_set_close(struct worker_set *set, uv_close_cb cb);

/* What env_ops asks for. */
enum err worker_real_new(struct worker_set *set, const struct worker_config *config,
                         struct worker **ret, struct why *why);
void worker_real_submit(struct worker *worker, struct job *job);
void worker_real_close(struct worker *worker);

#endif
