/* SPDX-License-Identifier: Apache-2.0 */
#include "base/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/env_real.h"
#include "tests/lib/runner.h"

#define JOBS 500

/* What is said of a job's way; number is its place in the order of submission. */
struct numbered {
    struct job job;
    unsigned number;
    unsigned again; /* how often done submits it once more */
    pthread_t worked_on;
};

static struct {
    uv_loop_t loop;
    struct env_real *real;
    struct env *env;
    struct worker *worker;
    struct worker *other;
    struct numbered jobs[JOBS];
    unsigned done[JOBS * 4]; /* numbers in the order of done */
    unsigned done_count;
    unsigned batch[JOBS * 4]; /* and in that of run_batch */
    unsigned batch_count;
    unsigned batch_calls;
    pthread_barrier_t barrier;
    pthread_t loop_thread;
} fixture;

static void setup(void)
{
    memset(&fixture, 0, sizeof fixture);
    ck_assert_int_eq(uv_loop_init(&fixture.loop), 0);
    ck_assert_int_eq(env_real_new(&fixture.loop, &fixture.real, NULL), OK);
    fixture.env = env_real_env(fixture.real);
    fixture.loop_thread = pthread_self();
}

static void teardown(void)
{
    worker_close(fixture.worker);
    env_real_close(fixture.real);
    ck_assert_int_eq(uv_run(&fixture.loop, UV_RUN_DEFAULT), 0);
    env_real_free(fixture.real);
    ck_assert_int_eq(uv_loop_close(&fixture.loop), 0);
}

static struct numbered *numbered_of(struct job *job)
{
    return CONTAINER_OF(job, struct numbered, job);
}

static void work(struct job *job)
{
    numbered_of(job)->worked_on = pthread_self();
}

static void done(struct job *job)
{
    struct numbered *n = numbered_of(job);
    if (!pthread_equal(pthread_self(), fixture.loop_thread)) {
        abort();
    }
    fixture.done[fixture.done_count++] = n->number;
    if (n->again > 0) {
        n->again--;
        worker_submit(fixture.worker, job);
    }
}

static void run_batch(void *ctx, struct queue *jobs)
{
    ck_assert_ptr_eq(ctx, &fixture);
    fixture.batch_calls++;
    QUEUE_FOREACH (link, jobs) {
        fixture.batch[fixture.batch_count++] =
            numbered_of(QUEUE_ELEM(link, struct job, link))->number;
    }
}

static struct worker *open_worker(unsigned threads, bool batch)
{
    struct worker_config config = {
        .name = "test-worker-15c",
        .threads = threads,
        .run_batch = batch ? run_batch : NULL,
        .ctx = &fixture,
    };
    struct worker *worker = NULL;
    struct why why = {0};
    ck_assert_msg(env_worker_new(fixture.env, &config, &worker, &why) == OK, "%s", why.text);
    return worker;
}

static void submit(unsigned first, unsigned count, void (*work_cb)(struct job *job))
{
    for (unsigned i = first; i < first + count; i++) {
        fixture.jobs[i].number = i;
        fixture.jobs[i].job.work = work_cb;
        fixture.jobs[i].job.done = done;
        worker_submit(fixture.worker, &fixture.jobs[i].job);
    }
}

/* The loop lives as long as jobs are out, and no longer. */
static void run(void)
{
    ck_assert_int_eq(uv_run(&fixture.loop, UV_RUN_DEFAULT), 0);
}

static bool in_order(const unsigned *numbers, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (numbers[i] != i) {
            return false;
        }
    }
    return true;
}

START_TEST(one_thread_keeps_the_order)
{
    fixture.worker = open_worker(1, false);
    submit(0, JOBS, work);
    ck_assert_uint_eq(fixture.done_count, 0); /* never before submit returned */
    run();
    ck_assert_uint_eq(fixture.done_count, JOBS);
    ck_assert(in_order(fixture.done, JOBS));
    for (unsigned i = 0; i < JOBS; i++) {
        ck_assert(!pthread_equal(fixture.jobs[i].worked_on, fixture.loop_thread));
    }
}
END_TEST

START_TEST(a_loop_with_an_idle_worker_ends)
{
    fixture.worker = open_worker(2, false);
    run();
}
END_TEST

START_TEST(a_batch_gets_everything_in_order)
{
    fixture.worker = open_worker(1, true);
    submit(0, JOBS / 2, NULL);
    run();
    submit(JOBS / 2, JOBS / 2, NULL);
    run();
    ck_assert_uint_eq(fixture.batch_count, JOBS);
    ck_assert(in_order(fixture.batch, JOBS));
    ck_assert(in_order(fixture.done, JOBS));
    ck_assert_uint_le(fixture.batch_calls, JOBS);
}
END_TEST

static void wait_for_release(struct job *job)
{
    (void)job;
    pthread_barrier_wait(&fixture.barrier);
}

static void hold_batch(void *ctx, struct queue *jobs)
{
    if (fixture.batch_calls == 0) {
        pthread_barrier_wait(&fixture.barrier);
    }
    run_batch(ctx, jobs);
}

START_TEST(what_comes_during_a_batch_is_the_next_batch)
{
    struct worker_config config = {
        .name = "batch", .threads = 1, .run_batch = hold_batch, .ctx = &fixture};
    pthread_barrier_init(&fixture.barrier, NULL, 2);
    ck_assert_int_eq(env_worker_new(fixture.env, &config, &fixture.worker, NULL), OK);
    submit(0, JOBS, NULL);
    pthread_barrier_wait(&fixture.barrier); /* the first batch has begun, with some of them */
    run();
    ck_assert_uint_eq(fixture.batch_count, JOBS);
    ck_assert(in_order(fixture.batch, JOBS));
    ck_assert_uint_le(fixture.batch_calls, 2);
    pthread_barrier_destroy(&fixture.barrier);
}
END_TEST

START_TEST(a_pool_works_side_by_side)
{
    enum { THREADS = 4 };
    /* Each job waits for the others: a single thread would never get through. */
    pthread_barrier_init(&fixture.barrier, NULL, THREADS);
    fixture.worker = open_worker(THREADS, false);
    submit(0, THREADS * 20, wait_for_release);
    run();
    ck_assert_uint_eq(fixture.done_count, THREADS * 20);
    pthread_barrier_destroy(&fixture.barrier);
}
END_TEST

START_TEST(done_may_submit_again)
{
    fixture.worker = open_worker(1, false);
    fixture.jobs[0].again = 3;
    submit(0, 1, work);
    run();
    ck_assert_uint_eq(fixture.done_count, 4);
}
END_TEST

START_TEST(close_finishes_everything)
{
    fixture.worker = open_worker(_i == 0 ? 1 : 3, false);
    fixture.jobs[7].again = 3;
    submit(0, JOBS, work);
    worker_close(fixture.worker);
    fixture.worker = NULL;
    ck_assert_uint_eq(fixture.done_count, JOBS + 3);
    run();
}
END_TEST

START_TEST(close_without_jobs_returns)
{
    fixture.worker = open_worker(3, false);
    worker_close(fixture.worker);
    fixture.worker = NULL;
    worker_close(NULL);
}
END_TEST

static void done_closes(struct job *job)
{
    fixture.done[fixture.done_count++] = numbered_of(job)->number;
    worker_close(fixture.worker);
    fixture.worker = NULL;
    ck_assert_uint_eq(fixture.done_count, 100);
}

START_TEST(a_done_may_close_its_worker)
{
    fixture.worker = open_worker(1, false);
    submit(0, 100, work);
    fixture.jobs[0].job.done = done_closes; /* done is looked at on this thread only */
    run();
    ck_assert(in_order(fixture.done, 100));
}
END_TEST

START_TEST(workers_do_not_wait_for_each_other)
{
    pthread_barrier_init(&fixture.barrier, NULL, 2);
    fixture.worker = open_worker(1, false);
    struct worker *second = open_worker(1, false);
    submit(0, 1, wait_for_release); /* held until the second worker's job */
    struct numbered release = {.number = 1, .job = {.work = wait_for_release, .done = done}};
    worker_submit(second, &release.job);
    run();
    ck_assert_uint_eq(fixture.done_count, 2);
    worker_close(second);
    pthread_barrier_destroy(&fixture.barrier);
}
END_TEST

static void look_at_thread(struct job *job)
{
    struct numbered *n = numbered_of(job);
    sigset_t blocked;
    char name[16];
    n->number = pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0 &&
                sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGCHLD) == 1 &&
                pthread_getname_np(pthread_self(), name, sizeof name) == 0 &&
                strcmp(name, "test-worker-15c") == 0;
}

START_TEST(threads_have_a_name_and_no_signals)
{
    fixture.worker = open_worker(1, false);
    submit(0, 1, look_at_thread);
    run();
    ck_assert_uint_eq(fixture.jobs[0].number, 1);
    sigset_t blocked;
    ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, NULL, &blocked), 0);
    ck_assert_int_eq(sigismember(&blocked, SIGTERM), 0); /* this thread's are as before */
}
END_TEST

static void on_task(struct env_task *task)
{
    (void)task;
    fixture.batch_calls = fixture.done_count;
}

static struct env_task task;

static void done_defers(struct job *job)
{
    fixture.done[fixture.done_count++] = numbered_of(job)->number;
    env_defer(fixture.env, &task);
}

START_TEST(tasks_of_a_done_run_in_the_same_turn)
{
    env_task_init(&task, PHASE_BATCH, on_task);
    fixture.worker = open_worker(1, false);
    submit(0, 1, work);
    fixture.jobs[0].job.done = done_defers;
    while (fixture.done_count == 0) {
        uv_run(&fixture.loop, UV_RUN_ONCE);
    }
    ck_assert_uint_eq(fixture.batch_calls, 1);
}
END_TEST

static Suite *worker_real_suite(void)
{
    Suite *suite = suite_create("worker_real");
    TCase *tc = tcase_create("worker_real");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, one_thread_keeps_the_order);
    tcase_add_test(tc, a_loop_with_an_idle_worker_ends);
    tcase_add_test(tc, a_batch_gets_everything_in_order);
    tcase_add_test(tc, what_comes_during_a_batch_is_the_next_batch);
    tcase_add_test(tc, a_pool_works_side_by_side);
    tcase_add_test(tc, done_may_submit_again);
    tcase_add_loop_test(tc, close_finishes_everything, 0, 2);
    tcase_add_test(tc, close_without_jobs_returns);
    tcase_add_test(tc, a_done_may_close_its_worker);
    tcase_add_test(tc, workers_do_not_wait_for_each_other);
    tcase_add_test(tc, threads_have_a_name_and_no_signals);
    tcase_add_test(tc, tasks_of_a_done_run_in_the_same_turn);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(worker_real_suite);
}
