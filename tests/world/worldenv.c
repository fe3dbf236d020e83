/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldenv.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/worker.h"

#define WALL_START_MS 1767323045678ull
#define ROUNDS_MAX    100000

struct world_worker {
    struct worker worker;
    struct queue link;
    struct worldenv *env;
    struct worker_config config;
    uint64_t number;
    bool is_lazy;
    struct queue inbox;
    struct queue worked; /* struct parcel.link: their done is still to come */
    unsigned running;    /* threads that are at work, or about to */
    bool closing;
};

/* Jobs whose work was done together. */
struct parcel {
    struct queue link;
    uint64_t number;
    struct queue jobs;
};

static struct worldenv *env_of(struct env *env)
{
    return CONTAINER_OF(env, struct worldenv, env);
}

/* ---- clocks and chance ---- */

uint64_t worldclock_ns(const struct worldclock *clock, uint64_t now_us)
{
    return clock->shown_ns + (now_us - clock->since_us) * clock->rate_ppm / 1000;
}

uint64_t worldclock_when_us(const struct worldclock *clock, uint64_t local_us)
{
    uint64_t local_ns = local_us * 1000;
    uint64_t left_ns = local_ns > clock->shown_ns ? local_ns - clock->shown_ns : 0;
    return clock->since_us + (left_ns * 1000 + clock->rate_ppm - 1) / clock->rate_ppm;
}

void worldclock_set_rate(struct worldclock *clock, uint64_t now_us, uint32_t rate_ppm)
{
    clock->shown_ns = worldclock_ns(clock, now_us);
    clock->since_us = now_us;
    clock->rate_ppm = rate_ppm;
}

static uint64_t local_us(const struct worldenv *env)
{
    return worldclock_ns(env->clock, env->world->now_us) / 1000;
}

static uint64_t world_now_ns(struct env *base)
{
    struct worldenv *env = env_of(base);
    return worldclock_ns(env->clock, env->world->now_us + env->io_us);
}

static uint64_t world_wall_ms(struct env *base)
{
    struct worldenv *env = env_of(base);
    return WALL_START_MS + local_us(env) / WORLD_MS + (uint64_t)env->clock->wall_offset_ms;
}

static void world_env_random(struct env *base, void *data, size_t len)
{
    struct worldenv *env = env_of(base);
    uint8_t *at = data;
    while (len > 0) {
        env->chance += 0x9e3779b97f4a7c15ull;
        uint64_t v = mix64(env->chance);
        size_t n = len < sizeof v ? len : sizeof v;
        memcpy(at, &v, n);
        at += n;
        len -= n;
    }
}

/* ---- timers ---- */

static void on_wake(struct world *world, const struct world_event *event)
{
    struct worldenv *env = event->ptr;
    if (env->wake_at_us <= world->now_us) {
        env->wake_at_us = UINT64_MAX;
    }
    uint64_t seq_end = env->timers.next_seq; /* those started meanwhile wait for the next turn */
    uint64_t now_us = local_us(env);
    struct heap_link *first;
    while ((first = heap_min(&env->timers)) != NULL && first->key <= now_us &&
           first->seq < seq_end) {
        heap_remove(&env->timers, first);
        struct env_timer *timer = CONTAINER_OF(first, struct env_timer, link);
        timer->cb(timer);
    }
}

static void world_timer_start(struct env *base, struct env_timer *timer, uint64_t delay_ms)
{
    struct worldenv *env = env_of(base);
    uint64_t delay_max_ms = UINT32_MAX;
    uint64_t delay_us = (delay_ms < delay_max_ms ? delay_ms : delay_max_ms) * WORLD_MS;
    heap_remove(&env->timers, &timer->link);
    enum err err = heap_insert(&env->timers, &timer->link, local_us(env) + delay_us);
    ASSERT(err == OK);
}

static void world_timer_stop(struct env *base, struct env_timer *timer)
{
    heap_remove(&env_of(base)->timers, &timer->link);
}

static void world_defer(struct env *base, struct env_task *task)
{
    queue_push_back(&env_of(base)->tasks[task->phase], &task->link);
}

/* ---- workers ---- */

static struct world_worker *find_worker(struct worldenv *env, uint64_t number)
{
    QUEUE_FOREACH (link, &env->workers) {
        struct world_worker *worker = QUEUE_ELEM(link, struct world_worker, link);
        if (worker->number == number) {
            return worker;
        }
    }
    return NULL;
}

static void later(struct world_worker *worker, uint64_t delay_us, uint64_t parcel_number,
                  void (*run)(struct world *world, const struct world_event *event))
{
    struct worldenv *env = worker->env;
    world_at(env->world, delay_us,
             &(struct world_event){.run = run,
                                   .place = env->place,
                                   .life = env->life,
                                   .ptr = env,
                                   .a = worker->number,
                                   .b = parcel_number});
}

static void on_work(struct world *world, const struct world_event *event);

static void kick(struct world_worker *worker)
{
    if (!queue_empty(&worker->inbox) && worker->running < worker->config.threads) {
        worker->running++;
        struct world *world = worker->env->world;
        bool is_late = worker->is_lazy && !world->calm;
        uint64_t most_us = is_late ? world->lazy_us_max : world->thread_us_max;
        later(worker, world_between(world, 5, most_us), 0, on_work);
    }
}

static void run_done(struct queue *jobs)
{
    struct queue *link;
    while ((link = queue_pop_front(jobs)) != NULL) {
        struct job *job = QUEUE_ELEM(link, struct job, link);
        job->done(job);
    }
}

/* DONE may close the worker. */
static void finish(struct world_worker *worker, struct parcel *parcel)
{
    struct queue jobs;
    queue_init(&jobs);
    queue_splice(&jobs, &parcel->jobs);
    queue_remove(&parcel->link);
    free(parcel);
    worker->running--;
    if (!worker->closing) {
        kick(worker);
    }
    run_done(&jobs);
}

static void on_worked(struct world *world, const struct world_event *event)
{
    (void)world;
    struct world_worker *worker = find_worker(event->ptr, event->a);
    if (worker == NULL) {
        return; /* it was closed, which has done this */
    }
    QUEUE_FOREACH (link, &worker->worked) {
        struct parcel *parcel = QUEUE_ELEM(link, struct parcel, link);
        if (parcel->number == event->b) {
            finish(worker, parcel);
            return;
        }
    }
}

/* Take what one thread does at once, and do its work. */
static struct parcel *work(struct world_worker *worker)
{
    struct parcel *parcel = calloc(1, sizeof *parcel);
    ASSERT(parcel != NULL);
    parcel->number = worker->env->next_number++;
    queue_init(&parcel->jobs);
    queue_push_back(&worker->worked, &parcel->link);
    if (worker->config.run_batch != NULL) {
        queue_splice(&parcel->jobs, &worker->inbox);
        worker->config.run_batch(worker->config.ctx, &parcel->jobs);
    } else {
        struct queue *first = queue_pop_front(&worker->inbox);
        queue_push_back(&parcel->jobs, first);
        struct job *job = QUEUE_ELEM(first, struct job, link);
        job->work(job);
    }
    return parcel;
}

static void on_work(struct world *world, const struct world_event *event)
{
    (void)world;
    struct worldenv *env = event->ptr;
    struct world_worker *worker = find_worker(env, event->a);
    if (worker == NULL) {
        return;
    }
    if (queue_empty(&worker->inbox)) {
        worker->running--;
        return;
    }
    uint64_t before_us = env->io_us;
    struct parcel *parcel = work(worker);
    uint64_t took_us = env->io_us - before_us;
    env->io_us = before_us;
    later(worker, took_us + 1, parcel->number, on_worked);
}

static enum err world_worker_new(struct env *base, const struct worker_config *config,
                                 struct worker **ret, struct why *why)
{
    (void)why;
    ASSERT(config->threads >= 1);
    ASSERT(config->run_batch == NULL || config->threads == 1);
    struct worldenv *env = env_of(base);
    struct world_worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) {
        return ERR_NOMEM;
    }
    worker->worker.env = base;
    worker->env = env;
    worker->config = *config;
    worker->number = env->next_number++;
    worker->is_lazy = world_chance(env->world, env->world->lazy_per_mille);
    queue_init(&worker->inbox);
    queue_init(&worker->worked);
    queue_push_back(&env->workers, &worker->link);
    *ret = &worker->worker;
    return OK;
}

static struct world_worker *worker_of(struct worker *worker)
{
    return CONTAINER_OF(worker, struct world_worker, worker);
}

static void world_worker_submit(struct worker *base, struct job *job)
{
    struct world_worker *worker = worker_of(base);
    queue_push_back(&worker->inbox, &job->link);
    if (!worker->closing) {
        kick(worker);
    }
}

/* A done may submit again. */
static void world_worker_close(struct worker *base)
{
    struct world_worker *worker = worker_of(base);
    worker->closing = true;
    while (!queue_empty(&worker->worked) || !queue_empty(&worker->inbox)) {
        if (queue_empty(&worker->worked)) {
            worker->running++;
            (void)work(worker);
        }
        finish(worker, QUEUE_ELEM(worker->worked.next, struct parcel, link));
    }
    queue_remove(&worker->link);
    free(worker);
}

/* ---- the whole ---- */

void worldenv_init(struct worldenv *env, struct world *world, unsigned place, uint64_t life,
                   struct worldclock *clock)
{
    static const struct env_ops ops = {
        .now_ns = world_now_ns,
        .wall_ms = world_wall_ms,
        .random = world_env_random,
        .timer_start = world_timer_start,
        .timer_stop = world_timer_stop,
        .defer = world_defer,
        .worker_new = world_worker_new,
        .worker_submit = world_worker_submit,
        .worker_close = world_worker_close,
    };
    *env = (struct worldenv){
        .env = {.ops = &ops, .trace = world->trace},
        .world = world,
        .place = place,
        .life = life,
        .chance = world_random(world),
        .clock = clock,
        .wake_at_us = UINT64_MAX,
        .next_number = 1,
    };
    heap_init(&env->timers);
    queue_init(&env->workers);
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        queue_init(&env->tasks[phase]);
    }
}

static void run_tasks(struct worldenv *env)
{
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        bool more = false;
        for (int phase = 0; phase < PHASE_COUNT; phase++) {
            more |= env_run_phase(&env->tasks[phase]);
        }
        if (!more) {
            return;
        }
    }
    world_fail(env->world, "turn", "a turn of the member at %u never ends", env->place);
}

void worldenv_settle(struct worldenv *env)
{
    run_tasks(env);
    struct heap_link *first = heap_min(&env->timers);
    uint64_t at_us = first == NULL ? UINT64_MAX : worldclock_when_us(env->clock, first->key);
    if (at_us >= env->wake_at_us) {
        return;
    }
    uint64_t now_us = env->world->now_us;
    env->wake_at_us = at_us;
    world_at(
        env->world, at_us > now_us ? at_us - now_us : 0,
        &(struct world_event){.run = on_wake, .place = env->place, .life = env->life, .ptr = env});
}
