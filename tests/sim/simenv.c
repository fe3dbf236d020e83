/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simenv.h"

#include <string.h>

#include "base/assert.h"

static struct simenv *simenv_of(struct env *env)
{
    return CONTAINER_OF(env, struct simenv, env);
}

static uint64_t sim_now_ns(struct env *env)
{
    return simenv_of(env)->sim->now_us * 1000;
}

static uint64_t sim_wall_ms(struct env *env)
{
    return simenv_of(env)->sim->now_us / SIM_MS;
}

static void sim_env_random(struct env *env, void *data, size_t len)
{
    uint8_t *at = data;
    while (len > 0) {
        uint64_t v = sim_random(simenv_of(env)->sim);
        size_t n = len < sizeof v ? len : sizeof v;
        memcpy(at, &v, n);
        at += n;
        len -= n;
    }
}

/* A timer's link says whether an event is still its own: slot 1 is active, seq is counted up at
 * each start. */
static void on_timer(struct sim *sim, const struct sim_event *event)
{
    (void)sim;
    struct env_timer *timer = event->ptr;
    if (timer->link.slot == 1 && timer->link.seq == event->a) {
        timer->link.slot = 0;
        timer->cb(timer);
    }
}

static void sim_timer_start(struct env *base, struct env_timer *timer, uint64_t delay_ms)
{
    struct simenv *env = simenv_of(base);
    timer->link.slot = 1;
    timer->link.seq++;
    sim_at(env->sim, delay_ms * SIM_MS,
           &(struct sim_event){.member = env->member,
                               .life = env->life,
                               .run = on_timer,
                               .ptr = timer,
                               .a = timer->link.seq});
}

static void sim_timer_stop(struct env *base, struct env_timer *timer)
{
    (void)base;
    timer->link.slot = 0;
}

static void sim_defer(struct env *base, struct env_task *task)
{
    queue_push_back(&simenv_of(base)->tasks[task->phase], &task->link);
}

static enum err sim_worker_new(struct env *base, const struct worker_config *config,
                               struct worker **ret, struct why *why)
{
    (void)base;
    (void)config;
    (void)ret;
    why_set(why, "the simulator has no threads");
    return ERR_UNSUPPORTED;
}

void simenv_init(struct simenv *env, struct sim *sim, unsigned member, uint64_t life)
{
    static const struct env_ops ops = {
        .now_ns = sim_now_ns,
        .wall_ms = sim_wall_ms,
        .random = sim_env_random,
        .timer_start = sim_timer_start,
        .timer_stop = sim_timer_stop,
        .defer = sim_defer,
        .worker_new = sim_worker_new,
    };
    *env = (struct simenv){
        .env = {.ops = &ops, .trace = sim->trace}, .sim = sim, .member = member, .life = life};
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        queue_init(&env->tasks[phase]);
    }
}

void simenv_run_tasks(struct simenv *env)
{
    int phase = 0;
    while (phase < PHASE_COUNT) {
        struct queue *link = queue_pop_front(&env->tasks[phase]);
        if (link == NULL) {
            phase++;
            continue;
        }
        struct env_task *task = QUEUE_ELEM(link, struct env_task, link);
        task->pending = false;
        task->cb(task);
        phase = 0;
    }
}
