/* SPDX-License-Identifier: Apache-2.0 */
#include "base/env_real.h"

#include <time.h>

#include "base/worker.h"
#include "tests/lib/runner.h"

static struct {
    uv_loop_t loop;
    struct env_real *real;
    struct env *env;
    char trail[200];   /* what ran, a letter each */
    uint64_t fired_ns; /* when the last letter's timer was due */
} fixture;

static void setup(void)
{
    struct why why = {0};
    fixture.trail[0] = '\0';
    fixture.fired_ns = 0;
    ck_assert_int_eq(uv_loop_init(&fixture.loop), 0);
    ck_assert_msg(env_real_new(&fixture.loop, &fixture.real, &why) == OK, "%s", why.text);
    fixture.env = env_real_env(fixture.real);
    ck_assert_ptr_eq(env_real_loop(fixture.real), &fixture.loop);
}

static void teardown(void)
{
    env_real_close(fixture.real);
    ck_assert_int_eq(uv_run(&fixture.loop, UV_RUN_DEFAULT), 0);
    env_real_free(fixture.real);
    ck_assert_int_eq(uv_loop_close(&fixture.loop), 0);
}

static void mark(char letter)
{
    size_t len = strlen(fixture.trail);
    ck_assert_uint_lt(len, sizeof fixture.trail - 1);
    fixture.trail[len] = letter;
    fixture.trail[len + 1] = '\0';
}

/* Runs until nothing is left: that it returns is part of every test. */
static void run(void)
{
    ck_assert_int_eq(uv_run(&fixture.loop, UV_RUN_DEFAULT), 0);
}

/* When a timer is due depends on when it was started, and between two starts any time may pass: so
 * the order is that of the timers' own keys, whatever delays they were given. */
struct letter_timer {
    struct env_timer timer;
    char letter;
};

static void on_letter(struct env_timer *timer)
{
    struct letter_timer *t = CONTAINER_OF(timer, struct letter_timer, timer);
    ck_assert(!env_timer_active(timer));
    ck_assert_uint_ge(env_now_ns(fixture.env), timer->link.key);
    ck_assert_uint_ge(timer->link.key, fixture.fired_ns);
    fixture.fired_ns = timer->link.key;
    mark(t->letter);
}

static void start(struct letter_timer *t, char letter, uint64_t delay_ms)
{
    if (t->letter == 0) {
        env_timer_init(&t->timer, on_letter);
    }
    t->letter = letter;
    uint64_t before_ns = env_now_ns(fixture.env);
    env_timer_start(fixture.env, &t->timer, delay_ms);
    ck_assert(env_timer_active(&t->timer));
    ck_assert_uint_ge(t->timer.link.key, before_ns + delay_ms * 1000000);
    ck_assert_uint_le(t->timer.link.key, env_now_ns(fixture.env) + delay_ms * 1000000);
}

/* Whether the letters of WANT ran, each once, in any order. */
static bool has_run(const char *want)
{
    size_t len = strlen(want);
    return strlen(fixture.trail) == len && strspn(fixture.trail, want) == len &&
           strspn(want, fixture.trail) == len;
}

START_TEST(timers_fire_in_order_and_never_early)
{
    struct letter_timer timers[5] = {0};
    start(&timers[0], 'c', 6);
    start(&timers[1], 'a', 0);
    start(&timers[2], 'd', 9);
    start(&timers[3], 'b', 3);
    start(&timers[4], 'e', 9); /* started behind the other: never before it */
    run();
    ck_assert_msg(has_run("abcde"), "%s", fixture.trail);
    ck_assert(strchr(fixture.trail, 'd') < strchr(fixture.trail, 'e'));
}
END_TEST

START_TEST(a_timer_can_be_moved_and_stopped)
{
    struct letter_timer timers[4] = {0};
    start(&timers[0], 'a', 1);
    start(&timers[1], 'b', 4);
    start(&timers[2], 'c', 100000); /* the loop does not wait for it */
    start(&timers[3], 'd', 100000);
    start(&timers[0], 'A', 8);
    start(&timers[3], 'D', 2);
    env_timer_stop(fixture.env, &timers[2].timer);
    env_timer_stop(fixture.env, &timers[2].timer);
    ck_assert(!env_timer_active(&timers[2].timer));
    run();
    ck_assert_msg(has_run("DbA"), "%s", fixture.trail);
}
END_TEST

START_TEST(the_loop_ends_when_the_last_timer_is_stopped)
{
    struct letter_timer timer = {0};
    start(&timer, 'a', 100000);
    env_timer_stop(fixture.env, &timer.timer);
    run();
    ck_assert_str_eq(fixture.trail, "");
}
END_TEST

static struct letter_timer ticker;
static unsigned ticks;

static void on_tick(struct env_timer *timer)
{
    if (++ticks < 50) {
        env_timer_start(fixture.env, timer, 0);
    }
}

START_TEST(a_timer_may_start_itself_at_once)
{
    struct letter_timer other = {0};
    ticks = 0;
    env_timer_init(&ticker.timer, on_tick);
    env_timer_start(fixture.env, &ticker.timer, 0);
    start(&other, 'a', 1);
    run();
    ck_assert_uint_eq(ticks, 50);
    ck_assert_str_eq(fixture.trail, "a");
}
END_TEST

/* libuv's milliseconds would have it wait for the next one. */
START_TEST(a_timer_without_a_delay_is_of_the_next_turn)
{
    struct letter_timer timer = {0};
    start(&timer, 'a', 0);
    ck_assert_int_eq(uv_backend_timeout(&fixture.loop), 0);
    (void)uv_run(&fixture.loop, UV_RUN_ONCE);
    ck_assert_str_eq(fixture.trail, "a");
}
END_TEST

START_TEST(a_delay_beyond_all_time_never_comes)
{
    struct letter_timer timers[2] = {0};
    env_timer_init(&timers[0].timer, on_letter);
    env_timer_start(fixture.env, &timers[0].timer, UINT64_MAX);
    start(&timers[1], 'a', 1);
    ck_assert_int_ne(uv_run(&fixture.loop, UV_RUN_ONCE), 0);
    while (fixture.trail[0] == '\0') {
        ck_assert_int_ne(uv_run(&fixture.loop, UV_RUN_ONCE), 0);
    }
    ck_assert_str_eq(fixture.trail, "a");
    env_timer_stop(fixture.env, &timers[0].timer);
    run();
}
END_TEST

struct letter_task {
    struct env_task task;
    char letter;
    struct letter_task *then;
};

static void on_task(struct env_task *task)
{
    struct letter_task *t = CONTAINER_OF(task, struct letter_task, task);
    mark(t->letter);
    if (t->then != NULL) {
        env_defer(fixture.env, &t->then->task);
    }
}

static struct letter_task task_of(enum env_phase phase, char letter)
{
    struct letter_task t = {.letter = letter};
    env_task_init(&t.task, phase, on_task);
    return t;
}

#define TASK(name, phase, letter)                     \
    struct letter_task name = task_of(phase, letter); \
    queue_init(&name.task.link)

START_TEST(tasks_run_by_phase_until_none_is_left)
{
    TASK(flush, PHASE_FLUSH, 'f');
    TASK(publish, PHASE_PUBLISH, 'p');
    TASK(apply, PHASE_APPLY, 'a');
    TASK(raft, PHASE_RAFT, 'r');
    TASK(batch, PHASE_BATCH, 'b');
    TASK(late, PHASE_BATCH, 'l');
    flush.then = &late;   /* an earlier phase: the next round */
    late.then = &publish; /* a later one: the same round */
    env_defer(fixture.env, &flush.task);
    env_defer(fixture.env, &flush.task); /* once all the same */
    env_defer(fixture.env, &publish.task);
    env_defer(fixture.env, &apply.task);
    env_defer(fixture.env, &raft.task);
    env_defer(fixture.env, &batch.task);
    run();
    ck_assert_str_eq(fixture.trail, "brapflp");
}
END_TEST

START_TEST(a_cancelled_task_does_not_run)
{
    TASK(a, PHASE_APPLY, 'a');
    TASK(b, PHASE_APPLY, 'b');
    env_defer(fixture.env, &a.task);
    env_defer(fixture.env, &b.task);
    env_task_cancel(&a.task);
    env_task_cancel(&a.task);
    run();
    ck_assert_str_eq(fixture.trail, "b");
}
END_TEST

static struct env_task *victim;

static void on_cancel_other(struct env_task *task)
{
    (void)task;
    mark('x');
    env_task_cancel(victim);
}

START_TEST(a_task_may_cancel_one_of_its_own_phase)
{
    TASK(second, PHASE_APPLY, 'y');
    struct env_task first;
    env_task_init(&first, PHASE_APPLY, on_cancel_other);
    victim = &second.task;
    env_defer(fixture.env, &first);
    env_defer(fixture.env, &second.task);
    run();
    ck_assert_str_eq(fixture.trail, "x");
}
END_TEST

static struct env_task endless;
static bool endless_stopped;

static void on_endless(struct env_task *task)
{
    if (!endless_stopped) {
        env_defer(fixture.env, task);
    }
}

static void on_stop_endless(struct env_timer *timer)
{
    (void)timer;
    endless_stopped = true;
}

START_TEST(a_task_that_defers_itself_leaves_room_for_the_rest)
{
    struct env_timer timer;
    endless_stopped = false;
    env_task_init(&endless, PHASE_APPLY, on_endless);
    env_timer_init(&timer, on_stop_endless);
    env_defer(fixture.env, &endless);
    env_timer_start(fixture.env, &timer, 2);
    run();
    ck_assert(endless_stopped);
}
END_TEST

/* Something that is read when the loop polls: a byte through a pipe. */
struct pipe_io {
    uv_pipe_t read_end;
    uv_file fds[2];
    struct letter_task *task;
};

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    static char memory[16];
    (void)handle;
    (void)size;
    *buf = uv_buf_init(memory, sizeof memory);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct pipe_io *io = CONTAINER_OF((uv_pipe_t *)stream, struct pipe_io, read_end);
    (void)buf;
    if (n > 0) {
        mark('i');
        env_defer(fixture.env, &io->task->task);
    }
}

static void pipe_open(struct pipe_io *io, struct letter_task *task)
{
    io->task = task;
    ck_assert_int_eq(uv_pipe(io->fds, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE), 0);
    ck_assert_int_eq(uv_pipe_init(&fixture.loop, &io->read_end, 0), 0);
    ck_assert_int_eq(uv_pipe_open(&io->read_end, io->fds[0]), 0);
    ck_assert_int_eq(uv_read_start((uv_stream_t *)&io->read_end, on_alloc, on_read), 0);
}

static void pipe_close(struct pipe_io *io)
{
    uv_close((uv_handle_t *)&io->read_end, NULL);
    close(io->fds[1]);
    run();
}

START_TEST(tasks_made_by_io_run_in_the_same_turn)
{
    TASK(task, PHASE_FLUSH, 'f');
    struct pipe_io io;
    pipe_open(&io, &task);
    ck_assert_int_eq(write(io.fds[1], "x", 1), 1);
    ck_assert_int_ne(uv_run(&fixture.loop, UV_RUN_ONCE), 0);
    ck_assert_str_eq(fixture.trail, "if");
    pipe_close(&io);
}
END_TEST

START_TEST(a_loop_that_stood_still_reads_before_timers_fire)
{
    TASK(task, PHASE_FLUSH, 'f');
    struct pipe_io io;
    pipe_open(&io, &task);
    struct letter_timer timers[2] = {0};
    start(&timers[0], 'a', 1);
    start(&timers[1], 'b', 1);
    ck_assert_int_eq(write(io.fds[1], "x", 1), 1);
    ck_assert_int_eq(usleep(700000), 0);
    ck_assert_int_ne(uv_run(&fixture.loop, UV_RUN_ONCE), 0);
    ck_assert_str_eq(fixture.trail, "iabf");
    pipe_close(&io);
}
END_TEST

/* Nothing else keeps such a loop awake. */
START_TEST(a_loop_that_stood_still_fires_without_io)
{
    struct letter_timer timers[2] = {0};
    start(&timers[0], 'a', 1);
    start(&timers[1], 'b', 900);
    ck_assert_int_eq(usleep(700000), 0);
    ck_assert_int_ne(uv_run(&fixture.loop, UV_RUN_ONCE), 0);
    ck_assert_str_eq(fixture.trail, "a");
    run();
    ck_assert_str_eq(fixture.trail, "ab");
}
END_TEST

START_TEST(closing_runs_what_is_deferred)
{
    static struct letter_task task;
    task = task_of(PHASE_FLUSH, 'f');
    queue_init(&task.task.link);
    env_defer(fixture.env, &task.task);
    env_real_close(fixture.real);
    ck_assert_str_eq(fixture.trail, "f");
    run();
    env_real_free(fixture.real);
    ck_assert_int_eq(env_real_new(&fixture.loop, &fixture.real, NULL), OK); /* for the tear-down */
}
END_TEST

START_TEST(the_clocks_are_the_systems)
{
    struct timespec ts;
    uint64_t before = env_now_ns(fixture.env);
    ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
    uint64_t system = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
    ck_assert_uint_le(before, system);
    ck_assert_uint_le(system, env_now_ns(fixture.env));
    uint64_t seconds_before = (uint64_t)time(NULL);
    uint64_t wall = env_wall_ms(fixture.env);
    ck_assert_uint_ge(wall / 1000, seconds_before);
    ck_assert_uint_le(wall / 1000, (uint64_t)time(NULL) + 1); /* which is a tick behind */
}
END_TEST

START_TEST(random_fills_all_of_it)
{
    uint8_t data[1000] = {0};
    env_random(fixture.env, data, 0);
    ck_assert_uint_eq(data[0], 0);
    env_random(fixture.env, data, sizeof data);
    unsigned zeros = 0;
    for (size_t i = 0; i < sizeof data; i++) {
        zeros += data[i] == 0;
    }
    ck_assert_uint_lt(zeros, 100);
    ck_assert_uint_ne(env_random_u64(fixture.env), env_random_u64(fixture.env));
    struct hash_seed a = env_hash_seed(fixture.env);
    struct hash_seed b = env_hash_seed(fixture.env);
    ck_assert(a.k0 != b.k0 && a.k1 != b.k1);
}
END_TEST

static Suite *env_real_suite(void)
{
    Suite *suite = suite_create("env_real");
    TCase *tc = tcase_create("env_real");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, timers_fire_in_order_and_never_early);
    tcase_add_test(tc, a_timer_can_be_moved_and_stopped);
    tcase_add_test(tc, the_loop_ends_when_the_last_timer_is_stopped);
    tcase_add_test(tc, a_timer_may_start_itself_at_once);
    tcase_add_test(tc, a_timer_without_a_delay_is_of_the_next_turn);
    tcase_add_test(tc, a_delay_beyond_all_time_never_comes);
    tcase_add_test(tc, tasks_run_by_phase_until_none_is_left);
    tcase_add_test(tc, a_cancelled_task_does_not_run);
    tcase_add_test(tc, a_task_may_cancel_one_of_its_own_phase);
    tcase_add_test(tc, a_task_that_defers_itself_leaves_room_for_the_rest);
    tcase_add_test(tc, tasks_made_by_io_run_in_the_same_turn);
    tcase_add_test(tc, a_loop_that_stood_still_reads_before_timers_fire);
    tcase_add_test(tc, a_loop_that_stood_still_fires_without_io);
    tcase_add_test(tc, closing_runs_what_is_deferred);
    tcase_add_test(tc, the_clocks_are_the_systems);
    tcase_add_test(tc, random_fills_all_of_it);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(env_real_suite);
}
