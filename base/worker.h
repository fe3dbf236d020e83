/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_WORKER_H
#define BASE_WORKER_H

#include "base/env.h"

/* A worker is made by its env (env_worker_new); its first member is the env's ops so that jobs find
 * their way back. */
struct worker {
    struct env *env;
};

/* Hand a job over. Its done runs on the loop in a later turn, in the order of submission for a
 * single thread. */
static inline void worker_submit(struct worker *worker, struct job *job)
{
    worker->env->ops->worker_submit(worker, job);
}

/* Finish everything that was submitted, run every done, end the threads, free the worker. Blocks.
 */
static inline void worker_close(struct worker *worker)
{
    if (worker != NULL) {
        worker->env->ops->worker_close(worker);
    }
}

#endif
