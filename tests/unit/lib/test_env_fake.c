/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/env_fake.h"

#include "tests/lib/runner.h"

static struct {
    struct env_fake *fake;
    struct env *env;
    uint64_t start_ns;
    char trail[100]; /* what ran, a letter each */
} fixture;

static void setup(void)
{
    fixture.fake = env_fake_new(7);
    fixture.env = env_fake_env(fixture.fake);
    fixture.start_ns = env_now_ns(fixture.env);
    fixture.trail[0] = '\0';
}

static void teardown(void)
{
    env_fake_free(fixture.fake);
}

static void mark(char letter)
{
    size_t len = strlen(fixture.trail);
    ck_assert_uint_lt(len, sizeof fixture.trail - 1);
    fixture.trail[len] = letter;
    fixture.trail[len + 1] = '\0';
}

struct letter {
    struct env_timer timer;
    struct env_task task;
    struct job job;
    char letter;
    uint64_t after_ms; /* start it again after so long, if not 0 */
    uint64_t at_ms;    /* when it ran */
};

static uint64_t elapsed_ms(void)
{
    return (env_now_ns(fixture.env) - fixture.start_ns) / 1000000;
}

static void on_timer(struct env_timer *timer)
{
    struct letter *l = CONTAINER_OF(timer, struct letter, timer);
    mark(l->letter);
    l->at_ms = elapsed_ms();
    if (l->after_ms > 0) {
        env_timer_start(fixture.env, timer, l->after_ms);
    }
}

static void on_task(struct env_task *task)
{
    mark(CONTAINER_OF(task, struct letter, task)->letter);
}

static void work(struct job *job)
{
    (void)job;
    mark('w');
}

static void done(struct job *job)
{
    struct letter *l = CONTAINER_OF(job, struct letter, job);
    mark(l->letter);
    env_defer(fixture.env, &l->task);
}

static void letter_init(struct letter *l, char letter, enum env_phase phase)
{
    *l = (struct letter){.letter = letter, .job = {.work = work, .done = done}};
    env_timer_init(&l->timer, on_timer);
    env_task_init(&l->task, phase, on_task);
}

START_TEST(time_goes_from_timer_to_timer)
{
    struct letter a;
    struct letter b;
    letter_init(&a, 'a', PHASE_APPLY);
    letter_init(&b, 'b', PHASE_APPLY);
    a.after_ms = 30;
    env_timer_start(fixture.env, &a.timer, 30);
    env_timer_start(fixture.env, &b.timer, 70);
    env_fake_run(fixture.fake);
    ck_assert_str_eq(fixture.trail, "");
    env_fake_advance(fixture.fake, 100);
    ck_assert_str_eq(fixture.trail, "aaba");
    ck_assert_uint_eq(b.at_ms, 70);
    ck_assert_uint_eq(elapsed_ms(), 100);
    ck_assert_uint_eq(env_fake_timer_count(fixture.fake), 1);
    env_timer_stop(fixture.env, &a.timer);
}
END_TEST

START_TEST(a_turn_runs_tasks_by_phase)
{
    struct letter a;
    struct letter b;
    letter_init(&a, 'a', PHASE_FLUSH);
    letter_init(&b, 'b', PHASE_BATCH);
    env_defer(fixture.env, &a.task);
    env_defer(fixture.env, &b.task);
    ck_assert_str_eq(fixture.trail, "");
    ck_assert(env_fake_turn(fixture.fake));
    ck_assert_str_eq(fixture.trail, "ba");
    ck_assert(!env_fake_turn(fixture.fake));
}
END_TEST

static unsigned batch_size;

static void run_batch(void *ctx, struct queue *jobs)
{
    (void)ctx;
    batch_size = 0;
    QUEUE_FOREACH (link, jobs) {
        batch_size++;
    }
}

START_TEST(jobs_run_in_a_turn_unless_held)
{
    struct worker *worker = NULL;
    struct worker_config config = {.name = "w", .threads = 1};
    ck_assert_int_eq(env_worker_new(fixture.env, &config, &worker, NULL), OK);
    struct letter a;
    letter_init(&a, 'a', PHASE_FLUSH);
    worker_submit(worker, &a.job);
    env_fake_hold_jobs(fixture.fake, true);
    env_fake_run(fixture.fake);
    ck_assert_str_eq(fixture.trail, "");
    ck_assert_uint_eq(env_fake_job_count(fixture.fake), 1);
    env_fake_hold_jobs(fixture.fake, false);
    ck_assert(env_fake_turn(fixture.fake));
    ck_assert_str_eq(fixture.trail, "waa"); /* work, done, and its task in the same turn */
    ck_assert_uint_eq(env_fake_job_count(fixture.fake), 0);
    worker_close(worker);
}
END_TEST

START_TEST(closing_a_worker_finishes_its_jobs)
{
    struct worker *worker = NULL;
    struct worker_config config = {.name = "w", .threads = 1, .run_batch = run_batch};
    ck_assert_int_eq(env_worker_new(fixture.env, &config, &worker, NULL), OK);
    struct letter letters[3];
    for (size_t i = 0; i < ARRAY_LEN(letters); i++) {
        letter_init(&letters[i], (char)('a' + i), PHASE_FLUSH);
        worker_submit(worker, &letters[i].job);
    }
    env_fake_hold_jobs(fixture.fake, true);
    worker_close(worker);
    ck_assert_uint_eq(batch_size, 3);
    ck_assert_str_eq(fixture.trail, "abc");
    env_fake_run(fixture.fake);
}
END_TEST

START_TEST(the_seed_decides_the_random_numbers)
{
    struct env_fake *same = env_fake_new(7);
    struct env_fake *other = env_fake_new(8);
    uint64_t v = env_random_u64(fixture.env);
    ck_assert_uint_eq(v, env_random_u64(env_fake_env(same)));
    ck_assert_uint_ne(v, env_random_u64(env_fake_env(other)));
    ck_assert_uint_ne(v, env_random_u64(fixture.env));
    uint8_t odd[13] = {0};
    env_random(fixture.env, odd, sizeof odd);
    ck_assert(odd[11] != 0 || odd[12] != 0);
    env_fake_free(same);
    env_fake_free(other);
}
END_TEST

START_TEST(the_wall_clock_follows_and_can_be_moved)
{
    uint64_t wall = env_wall_ms(fixture.env);
    env_fake_advance(fixture.fake, 10);
    ck_assert_uint_eq(env_wall_ms(fixture.env), wall + 10);
    env_fake_set_wall_ms(fixture.fake, 5);
    env_fake_advance(fixture.fake, 10);
    ck_assert_uint_eq(env_wall_ms(fixture.env), 15);
}
END_TEST

START_TEST(what_was_spent_is_not_given_back)
{
    env_fake_spend(fixture.fake, 30 * 1000000);
    ck_assert_uint_eq(elapsed_ms(), 30);
    struct letter spender = {.letter = 'a'};
    env_timer_init(&spender.timer, on_timer);
    env_timer_start(fixture.env, &spender.timer, 10);
    env_fake_spend(fixture.fake, 20 * 1000000); /* the timer is late */
    ck_assert_str_eq(fixture.trail, "");
    env_fake_advance(fixture.fake, 5);
    ck_assert_str_eq(fixture.trail, "a");
    ck_assert_uint_eq(spender.at_ms, 50);
    ck_assert_uint_eq(elapsed_ms(), 55);
}
END_TEST

static Suite *env_fake_suite(void)
{
    Suite *suite = suite_create("env_fake");
    TCase *tc = tcase_create("env_fake");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, time_goes_from_timer_to_timer);
    tcase_add_test(tc, what_was_spent_is_not_given_back);
    tcase_add_test(tc, a_turn_runs_tasks_by_phase);
    tcase_add_test(tc, jobs_run_in_a_turn_unless_held);
    tcase_add_test(tc, closing_a_worker_finishes_its_jobs);
    tcase_add_test(tc, the_seed_decides_the_random_numbers);
    tcase_add_test(tc, the_wall_clock_follows_and_can_be_moved);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(env_fake_suite);
}
