/* SPDX-License-Identifier: Apache-2.0 */
#include "base/env_real.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "base/assert.h"
#include "base/worker_real.h"

#define NS_PER_MS 1000000u
#define NOT_ARMED UINT64_MAX
/* Tasks that keep deferring tasks get this many rounds a turn; then I/O has its turn. */
#define TASK_ROUNDS_MAX 64
/* A timer this late means that the loop stood still: the process was stopped, the machine slept, or
 * a turn was far too long. */
#define STALL_NS (500ull * NS_PER_MS)

/* One libuv timer stands for all of ours: it is armed for the earliest of a heap. Tasks run twice a
 * turn, so that those made by timers do not wait for I/O, and those made by I/O not for the next
 * turn:
 *
 *   libuv   timers   idle   prepare   poll (sockets, the workers' eventfd)   check   close
 * callbacks ours    heap            tasks     done of jobs                         tasks
 *
 * While tasks wait, an idle handle is active, so that the loop neither sleeps nor ends. So it is
 * for timers without a delay, which mean the next turn: libuv counts in milliseconds, and would let
 * them wait for the next one; they fire when the idle handle is called.
 *
 * After a loop has stood still, sockets come first: a timer that waits for bytes must not say that
 * none came when they have only not been read. It fires in the check of the same turn. */
struct env_real {
    struct env env;
    uv_loop_t *loop;
    struct heap timers; /* keys are monotonic nanoseconds */
    uint64_t armed_ms;  /* when uv_timer fires, in the loop's milliseconds; or NOT_ARMED */
    struct queue tasks[PHASE_COUNT];
    bool idle_active;  /* tasks wait, or a timer without a delay */
    bool timer_is_due; /* it was started without a delay */
    bool io_first;     /* the loop stood still: timers wait until sockets were polled */
    bool closing;
    unsigned handle_count; /* libuv has not given back yet */
    struct worker_set workers;
    uv_timer_t timer;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
};

static struct env_real *real_of(struct env *env)
{
    return CONTAINER_OF(env, struct env_real, env);
}

/* libuv fails to start a handle only when it is closing or has no callback. */
static void must(int status)
{
    ASSERT(status == 0);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    int status = clock_gettime(clock, &ts);
    ASSERT(status == 0);
    return (uint64_t)ts.tv_sec * 1000 * NS_PER_MS + (uint64_t)ts.tv_nsec;
}

static uint64_t real_now_ns(struct env *env)
{
    (void)env;
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t real_wall_ms(struct env *env)
{
    (void)env;
    return clock_ns(CLOCK_REALTIME) / NS_PER_MS;
}

static void real_random(struct env *env, void *data, size_t len)
{
    (void)env;
    uint8_t *at = data;
    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            fatal("read the system's random source: %s", strerror(errno));
        }
        at += n;
        len -= (size_t)n;
    }
}

/* Timers. */

static void on_timer(uv_timer_t *handle);

/* Have libuv's timer fire for our earliest, never before its time. */
static void arm(struct env_real *real)
{
    struct heap_link *first = heap_min(&real->timers);
    if (first == NULL) {
        if (real->armed_ms != NOT_ARMED) {
            must(uv_timer_stop(&real->timer));
            real->armed_ms = NOT_ARMED;
        }
        return;
    }
    uint64_t at_ms = (first->key + NS_PER_MS - 1) / NS_PER_MS;
    if (at_ms >= real->armed_ms) {
        return; /* fires early, finds nothing due, and is armed again */
    }
    uint64_t loop_ms = uv_now(real->loop);
    must(uv_timer_start(&real->timer, on_timer, at_ms > loop_ms ? at_ms - loop_ms : 0, 0));
    real->armed_ms = at_ms;
}

static void fire_timers(struct env_real *real)
{
    real->timer_is_due = false;
    real->io_first = false;
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    uint64_t seq_end = real->timers.next_seq; /* those started meanwhile wait for the next turn */
    struct heap_link *first;
    while ((first = heap_min(&real->timers)) != NULL && first->key <= now && first->seq < seq_end) {
        heap_remove(&real->timers, first);
        struct env_timer *timer = CONTAINER_OF(first, struct env_timer, link);
        timer->cb(timer);
    }
    if (!real->closing) {
        arm(real);
    }
}

static void on_idle(uv_idle_t *handle);

static void start_idle(struct env_real *real)
{
    if (!real->idle_active && !real->closing) {
        must(uv_idle_start(&real->idle, on_idle));
        real->idle_active = true;
    }
}

static bool has_stalled(const struct env_real *real)
{
    struct heap_link *first = heap_min(&real->timers);
    return first != NULL && clock_ns(CLOCK_MONOTONIC) > first->key + STALL_NS;
}

static void on_timer(uv_timer_t *handle)
{
    struct env_real *real = CONTAINER_OF(handle, struct env_real, timer);
    real->armed_ms = NOT_ARMED;
    if (has_stalled(real)) {
        real->io_first = true;
        start_idle(real);
        return;
    }
    fire_timers(real);
}

static void on_idle(uv_idle_t *handle)
{
    struct env_real *real = CONTAINER_OF(handle, struct env_real, idle);
    if (real->timer_is_due && !real->io_first) {
        fire_timers(real);
    }
}

static void real_timer_start(struct env *env, struct env_timer *timer, uint64_t delay_ms)
{
    struct env_real *real = real_of(env);
    ASSERT(!real->closing);
    ASSERT(timer->cb != NULL);
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    uint64_t delay_max_ms = (UINT64_MAX - now) / NS_PER_MS - 1;
    uint64_t delay_ns = (delay_ms < delay_max_ms ? delay_ms : delay_max_ms) * NS_PER_MS;
    heap_remove(&real->timers, &timer->link);
    enum err err = heap_insert(&real->timers, &timer->link, now + delay_ns);
    if (err != OK) {
        fatal("start a timer: %s", err_text(err));
    }
    if (heap_min(&real->timers) == &timer->link) {
        arm(real);
    }
    if (delay_ms == 0) {
        real->timer_is_due = true;
        start_idle(real);
    }
}

static void real_timer_stop(struct env *env, struct env_timer *timer)
{
    struct env_real *real = real_of(env);
    if (!heap_link_active(&timer->link)) {
        return;
    }
    heap_remove(&real->timers, &timer->link);
    if (heap_min(&real->timers) == NULL && !real->closing) {
        arm(real); /* so that nothing keeps the loop from ending */
    }
}

/* Tasks. */

static void real_defer(struct env *env, struct env_task *task)
{
    struct env_real *real = real_of(env);
    ASSERT(task->phase < PHASE_COUNT);
    queue_push_back(&real->tasks[task->phase], &task->link);
    start_idle(real);
}

static void run_tasks(struct env_real *real)
{
    for (unsigned round = 0; round < TASK_ROUNDS_MAX; round++) {
        bool ran = false;
        for (unsigned phase = 0; phase < PHASE_COUNT; phase++) {
            ran |= env_run_phase(&real->tasks[phase]);
        }
        if (!ran) {
            if (real->idle_active && !real->timer_is_due && !real->io_first && !real->closing) {
                must(uv_idle_stop(&real->idle));
                real->idle_active = false;
            }
            return;
        }
    }
}

static void on_prepare(uv_prepare_t *handle)
{
    run_tasks(CONTAINER_OF(handle, struct env_real, prepare));
}

static void on_check(uv_check_t *handle)
{
    struct env_real *real = CONTAINER_OF(handle, struct env_real, check);
    if (real->io_first) {
        fire_timers(real);
    }
    run_tasks(real);
}

/* Making and ending. */

static enum err real_worker_new(struct env *env, const struct worker_config *config,
                                struct worker **ret, struct why *why)
{
    return worker_real_new(&real_of(env)->workers, config, ret, why);
}

static const struct env_ops ops = {
    .now_ns = real_now_ns,
    .wall_ms = real_wall_ms,
    .random = real_random,
    .timer_start = real_timer_start,
    .timer_stop = real_timer_stop,
    .defer = real_defer,
    .worker_new = real_worker_new,
    .worker_submit = worker_real_submit,
    .worker_close = worker_real_close,
};

enum err env_real_new(uv_loop_t *loop, struct env_real **ret, struct why *why)
{
    struct env_real *real = calloc(1, sizeof *real);
    if (real == NULL) {
        return ERR_NOMEM;
    }
    enum err err = worker_set_init(&real->workers, &real->env, loop, why);
    if (err != OK) {
        free(real);
        return err;
    }
    real->env.ops = &ops;
    real->loop = loop;
    real->armed_ms = NOT_ARMED;
    heap_init(&real->timers);
    for (unsigned phase = 0; phase < PHASE_COUNT; phase++) {
        queue_init(&real->tasks[phase]);
    }
    must(uv_timer_init(loop, &real->timer));
    must(uv_idle_init(loop, &real->idle));
    must(uv_prepare_init(loop, &real->prepare));
    must(uv_check_init(loop, &real->check));
    must(uv_prepare_start(&real->prepare, on_prepare));
    must(uv_check_start(&real->check, on_check));
    uv_unref((uv_handle_t *)&real->prepare);
    uv_unref((uv_handle_t *)&real->check);
    real->handle_count = 5;
    *ret = real;
    return OK;
}

struct env *env_real_env(struct env_real *real)
{
    return &real->env;
}

uv_loop_t *env_real_loop(struct env_real *real)
{
    return real->loop;
}

static void on_closed(struct env_real *real)
{
    ASSERT(real->handle_count > 0);
    real->handle_count--;
}

static void on_poll_closed(uv_handle_t *handle)
{
    on_closed(CONTAINER_OF((uv_poll_t *)handle, struct env_real, workers.poll));
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_closed(CONTAINER_OF((uv_timer_t *)handle, struct env_real, timer));
}

static void on_idle_closed(uv_handle_t *handle)
{
    on_closed(CONTAINER_OF((uv_idle_t *)handle, struct env_real, idle));
}

static void on_prepare_closed(uv_handle_t *handle)
{
    on_closed(CONTAINER_OF((uv_prepare_t *)handle, struct env_real, prepare));
}

static void on_check_closed(uv_handle_t *handle)
{
    on_closed(CONTAINER_OF((uv_check_t *)handle, struct env_real, check));
}

void env_real_close(struct env_real *real)
{
    ASSERT(!real->closing);
    run_tasks(real);
    real->closing = true;
    heap_fini(&real->timers);
    worker_set_close(&real->workers, on_poll_closed);
    uv_close((uv_handle_t *)&real->timer, on_timer_closed);
    uv_close((uv_handle_t *)&real->idle, on_idle_closed);
    uv_close((uv_handle_t *)&real->prepare, on_prepare_closed);
    uv_close((uv_handle_t *)&real->check, on_check_closed);
}

void env_real_free(struct env_real *real)
{
    if (real == NULL) {
        return;
    }
    ASSERT(real->closing);
    ASSERT(real->handle_count == 0);
    free(real);
}
