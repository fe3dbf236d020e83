/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ENV_H
#define BASE_ENV_H

#include "base/hash.h"
#include "base/heap.h"
#include "base/queue.h"

struct trace;

/* The outside of a member: clocks, random numbers, timers, the end of the loop's turn, worker
 * threads. No module reads any of these but through the env that it was given, so that a simulator
 * can give another one: same seed, same run. One env per loop; everything here is called on the
 * loop's thread unless it says otherwise. */
struct env {
    const struct env_ops *ops;
    struct trace *trace; /* set by whoever made the env, or NULL: see trace.h */
};

/* A timer; embed it in its owner. */
struct env_timer {
    struct heap_link link;
    void (*cb)(struct env_timer *timer);
};

/* Something to do once at the end of this turn of the loop. The phases run in this order, again and
 * again until nothing is left, before the loop sleeps: so a turn makes one log write, one message
 * per peer and one socket write per connection. */
enum env_phase {
    PHASE_BATCH,   /* seal the open batch and propose it */
    PHASE_RAFT,    /* hand collected entries to the log, messages to the peers */
    PHASE_APPLY,   /* reads that became ready, waiting work */
    PHASE_PUBLISH, /* events to watchers */
    PHASE_FLUSH,   /* one write per socket */
    PHASE_COUNT
};
struct env_task {
    struct queue link;
    void (*cb)(struct env_task *task);
    enum env_phase phase;
    bool pending;
};

/* Work for another thread. The submitter must not touch it until done has run. */
struct job {
    struct queue link;
    void (*work)(struct job *job); /* on the worker's thread; unused by a batch worker */
    void (*done)(struct job *job); /* on the loop; may free the job or submit it again */
};

struct worker;

struct worker_config {
    const char *name; /* at most 15 characters, shown by ps and perf */
    unsigned threads; /* 1 keeps order; more is a pool */
    /* When set (threads must be 1): given everything that waits, in order, at once, instead of
     * job->work one by one: group commit. The jobs stay in the list. */
    void (*run_batch)(void *ctx, struct queue *jobs);
    void *ctx;
};

struct env_ops {
    uint64_t (*now_ns)(struct env *env);
    uint64_t (*wall_ms)(struct env *env);
    void (*random)(struct env *env, void *data, size_t len);
    void (*timer_start)(struct env *env, struct env_timer *timer, uint64_t delay_ms);
    void (*timer_stop)(struct env *env, struct env_timer *timer);
    void (*defer)(struct env *env, struct env_task *task);
    enum err (*worker_new)(struct env *env, const struct worker_config *config, struct worker **ret,
                           struct why *why);
    void (*worker_submit)(struct worker *worker, struct job *job);
    void (*worker_close)(struct worker *worker);
};

/* Monotonic nanoseconds, the same during one callback round where the loop caches it. Any thread:
 * a worker measures its disk. */
static inline uint64_t env_now_ns(struct env *env)
{
    return env->ops->now_ns(env);
}

static inline uint64_t env_now_ms(struct env *env)
{
    return env->ops->now_ns(env) / 1000000;
}

/* Wall clock in milliseconds since 1970: for people, never for decisions. */
static inline uint64_t env_wall_ms(struct env *env)
{
    return env->ops->wall_ms(env);
}

static inline void env_random(struct env *env, void *data, size_t len)
{
    env->ops->random(env, data, len);
}

static inline uint64_t env_random_u64(struct env *env)
{
    uint64_t v;
    env->ops->random(env, &v, sizeof v);
    return v;
}

static inline struct hash_seed env_hash_seed(struct env *env)
{
    struct hash_seed seed;
    env->ops->random(env, &seed, sizeof seed);
    return seed;
}

static inline void env_timer_init(struct env_timer *timer, void (*cb)(struct env_timer *timer))
{
    *timer = (struct env_timer){.cb = cb};
}

/* (Re)start a one-shot timer. */
static inline void env_timer_start(struct env *env, struct env_timer *timer, uint64_t delay_ms)
{
    env->ops->timer_start(env, timer, delay_ms);
}

static inline void env_timer_stop(struct env *env, struct env_timer *timer)
{
    env->ops->timer_stop(env, timer);
}

static inline bool env_timer_active(const struct env_timer *timer)
{
    return heap_link_active(&timer->link);
}

static inline void env_task_init(struct env_task *task, enum env_phase phase,
                                 void (*cb)(struct env_task *task))
{
    *task = (struct env_task){.cb = cb, .phase = phase};
    queue_init(&task->link);
}

/* Run the task at the end of this turn; once, however often it was deferred. */
static inline void env_defer(struct env *env, struct env_task *task)
{
    if (!task->pending) {
        task->pending = true;
        env->ops->defer(env, task);
    }
}

/* Take back a deferred task, before its owner is freed. */
static inline void env_task_cancel(struct env_task *task)
{
    if (task->pending) {
        task->pending = false;
        queue_remove(&task->link);
    }
}

/* For who makes an env: run what one phase holds now; what it defers to itself waits for the next
 * round. False: it held nothing. */
static inline bool env_run_phase(struct queue *tasks)
{
    if (queue_empty(tasks)) {
        return false;
    }
    struct queue now;
    queue_init(&now);
    queue_splice(&now, tasks);
    struct queue *link;
    while ((link = queue_pop_front(&now)) != NULL) {
        struct env_task *task = QUEUE_ELEM(link, struct env_task, link);
        task->pending = false;
        task->cb(task);
    }
    return true;
}

/* Start a worker's threads. */
MUST_CHECK static inline enum err env_worker_new(struct env *env,
                                                 const struct worker_config *config,
                                                 struct worker **ret, struct why *why)
{
    return env->ops->worker_new(env, config, ret, why);
}

#endif
