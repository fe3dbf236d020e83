/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/env_fake.h"

#include <stdlib.h>

#include "base/assert.h"

#define NS_PER_MS     1000000u
#define START_NS      (1000ull * NS_PER_MS)
#define START_WALL_MS 1767323045678ull
/* Code that never comes to rest is caught here, not by the test's time limit. */
#define TURNS_MAX 1000000

struct env_fake {
    struct env env;
    uint64_t now_ns;
    uint64_t wall_offset_ms; /* wall clock - monotonic clock */
    uint64_t random_state;
    struct heap timers;
    struct queue tasks[PHASE_COUNT];
    struct queue workers; /* struct fake_worker.link */
    struct queue done;    /* jobs whose work is done, and whose done is still to be called */
    size_t job_count;
    bool hold_jobs;
};

struct fake_worker {
    struct worker worker;
    struct env_fake *fake;
    struct worker_config config;
    struct queue link;
    struct queue inbox;
};

static struct env_fake *fake_of(struct env *env)
{
    return CONTAINER_OF(env, struct env_fake, env);
}

static uint64_t fake_now_ns(struct env *env)
{
    return fake_of(env)->now_ns;
}

static uint64_t fake_wall_ms(struct env *env)
{
    struct env_fake *fake = fake_of(env);
    return fake->now_ns / NS_PER_MS + fake->wall_offset_ms;
}

static void fake_random(struct env *env, void *data, size_t len)
{
    struct env_fake *fake = fake_of(env);
    uint8_t *at = data;
    while (len > 0) {
        fake->random_state += 0x9e3779b97f4a7c15u;
        uint64_t v = mix64(fake->random_state);
        size_t n = len < sizeof v ? len : sizeof v;
        memcpy(at, &v, n);
        at += n;
        len -= n;
    }
}

static void fake_timer_start(struct env *env, struct env_timer *timer, uint64_t delay_ms)
{
    struct env_fake *fake = fake_of(env);
    uint64_t delay_max_ms = (UINT64_MAX - fake->now_ns) / NS_PER_MS - 1;
    uint64_t delay_ns = (delay_ms < delay_max_ms ? delay_ms : delay_max_ms) * NS_PER_MS;
    heap_remove(&fake->timers, &timer->link);
    enum err err = heap_insert(&fake->timers, &timer->link, fake->now_ns + delay_ns);
    ASSERT(err == OK);
}

static void fake_timer_stop(struct env *env, struct env_timer *timer)
{
    heap_remove(&fake_of(env)->timers, &timer->link);
}

static void fake_defer(struct env *env, struct env_task *task)
{
    ASSERT(task->phase < PHASE_COUNT);
    queue_push_back(&fake_of(env)->tasks[task->phase], &task->link);
}

static enum err fake_worker_new(struct env *env, const struct worker_config *config,
                                struct worker **ret, struct why *why)
{
    (void)why;
    ASSERT(config->threads >= 1);
    ASSERT(config->run_batch == NULL || config->threads == 1);
    struct env_fake *fake = fake_of(env);
    struct fake_worker *w = calloc(1, sizeof *w);
    if (w == NULL) {
        return ERR_NOMEM;
    }
    w->worker.env = env;
    w->fake = fake;
    w->config = *config;
    queue_init(&w->inbox);
    queue_push_back(&fake->workers, &w->link);
    *ret = &w->worker;
    return OK;
}

static void fake_worker_submit(struct worker *worker, struct job *job)
{
    struct fake_worker *w = CONTAINER_OF(worker, struct fake_worker, worker);
    queue_push_back(&w->inbox, &job->link);
    w->fake->job_count++;
}

/* Do what waits at one worker. */
static void work(struct fake_worker *w)
{
    struct queue taken;
    queue_init(&taken);
    queue_splice(&taken, &w->inbox);
    if (queue_empty(&taken)) {
        return;
    }
    if (w->config.run_batch != NULL) {
        w->config.run_batch(w->config.ctx, &taken);
    } else {
        QUEUE_FOREACH (link, &taken) {
            struct job *job = QUEUE_ELEM(link, struct job, link);
            job->work(job);
        }
    }
    queue_splice(&w->fake->done, &taken);
}

/* A done may close a worker and so come back here: every job is taken out first. */
static bool run_done(struct env_fake *fake)
{
    bool ran = false;
    struct queue *link;
    while ((link = queue_pop_front(&fake->done)) != NULL) {
        struct job *job = QUEUE_ELEM(link, struct job, link);
        fake->job_count--;
        job->done(job);
        ran = true;
    }
    return ran;
}

static void fake_worker_close(struct worker *worker)
{
    struct fake_worker *w = CONTAINER_OF(worker, struct fake_worker, worker);
    do {
        work(w);
    } while (run_done(w->fake)); /* a done may have submitted again */
    queue_remove(&w->link);
    free(w);
}

static const struct env_ops ops = {
    .now_ns = fake_now_ns,
    .wall_ms = fake_wall_ms,
    .random = fake_random,
    .timer_start = fake_timer_start,
    .timer_stop = fake_timer_stop,
    .defer = fake_defer,
    .worker_new = fake_worker_new,
    .worker_submit = fake_worker_submit,
    .worker_close = fake_worker_close,
};

struct env_fake *env_fake_new(uint64_t seed)
{
    struct env_fake *fake = calloc(1, sizeof *fake);
    ASSERT(fake != NULL);
    fake->env.ops = &ops;
    fake->now_ns = START_NS;
    fake->wall_offset_ms = START_WALL_MS - START_NS / NS_PER_MS;
    fake->random_state = seed;
    heap_init(&fake->timers);
    queue_init(&fake->workers);
    queue_init(&fake->done);
    for (unsigned phase = 0; phase < PHASE_COUNT; phase++) {
        queue_init(&fake->tasks[phase]);
    }
    return fake;
}

struct env *env_fake_env(struct env_fake *fake)
{
    return &fake->env;
}

void env_fake_free(struct env_fake *fake)
{
    if (fake == NULL) {
        return;
    }
    ASSERT(queue_empty(&fake->workers));
    ASSERT(fake->timers.count == 0);
    for (unsigned phase = 0; phase < PHASE_COUNT; phase++) {
        ASSERT(queue_empty(&fake->tasks[phase]));
    }
    heap_fini(&fake->timers);
    free(fake);
}

static bool run_timers(struct env_fake *fake)
{
    uint64_t seq_end = fake->timers.next_seq; /* those started meanwhile wait for the next turn */
    bool ran = false;
    struct heap_link *first;
    while ((first = heap_min(&fake->timers)) != NULL && first->key <= fake->now_ns &&
           first->seq < seq_end) {
        heap_remove(&fake->timers, first);
        struct env_timer *timer = CONTAINER_OF(first, struct env_timer, link);
        timer->cb(timer);
        ran = true;
    }
    return ran;
}

static bool run_tasks(struct env_fake *fake)
{
    bool ran = false;
    for (unsigned round = 0; round < TURNS_MAX; round++) {
        bool more = false;
        for (unsigned phase = 0; phase < PHASE_COUNT; phase++) {
            more |= env_run_phase(&fake->tasks[phase]);
        }
        if (!more) {
            return ran;
        }
        ran = true;
    }
    fatal("tasks never come to rest");
}

static bool run_jobs(struct env_fake *fake)
{
    if (fake->hold_jobs) {
        return false;
    }
    QUEUE_FOREACH (link, &fake->workers) {
        work(QUEUE_ELEM(link, struct fake_worker, link));
    }
    return run_done(fake);
}

bool env_fake_turn(struct env_fake *fake)
{
    bool ran = run_timers(fake);
    ran |= run_tasks(fake);
    ran |= run_jobs(fake);
    ran |= run_tasks(fake);
    return ran;
}

void env_fake_run(struct env_fake *fake)
{
    for (unsigned turn = 0; turn < TURNS_MAX; turn++) {
        if (!env_fake_turn(fake)) {
            return;
        }
    }
    fatal("the code under test never comes to rest");
}

/* Unless more has been spent. */
static void pass_until(struct env_fake *fake, uint64_t ns)
{
    fake->now_ns = ns > fake->now_ns ? ns : fake->now_ns;
}

void env_fake_advance(struct env_fake *fake, uint64_t ms)
{
    uint64_t end_ns = fake->now_ns + ms * NS_PER_MS;
    env_fake_run(fake);
    struct heap_link *first;
    while ((first = heap_min(&fake->timers)) != NULL && first->key <= end_ns) {
        pass_until(fake, first->key);
        env_fake_run(fake);
    }
    pass_until(fake, end_ns);
}

void env_fake_spend(struct env_fake *fake, uint64_t ns)
{
    fake->now_ns += ns;
}

void env_fake_hold_jobs(struct env_fake *fake, bool hold)
{
    fake->hold_jobs = hold;
}

size_t env_fake_job_count(const struct env_fake *fake)
{
    return fake->job_count;
}

size_t env_fake_timer_count(const struct env_fake *fake)
{
    return fake->timers.count;
}

void env_fake_set_wall_ms(struct env_fake *fake, uint64_t wall_ms)
{
    fake->wall_offset_ms = wall_ms - fake->now_ns / NS_PER_MS;
}
