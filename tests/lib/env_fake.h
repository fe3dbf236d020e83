/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_ENV_FAKE_H
#define TESTS_LIB_ENV_FAKE_H

#include "base/env.h"
#include "base/worker.h"

/* An outside under the test's command: time stands still until it is advanced, nothing happens
 * until a turn is run, workers have no threads, and the same seed gives the same random numbers.
 * What cannot be made ends the process (fatal). */
struct env_fake;

struct env_fake *env_fake_new(uint64_t seed);
struct env *env_fake_env(struct env_fake *fake);

/* Every worker must have been closed, every timer stopped, every task run or cancelled: what is
 * left is a leak of the code under test, and fatal. NULL allowed. */
void env_fake_free(struct env_fake *fake);

/* One turn of the loop: timers that are due, tasks, then the jobs that wait when it begins, their
 * done, and tasks again. False: there was nothing to do. */
bool env_fake_turn(struct env_fake *fake);

/* Turns until there is nothing to do at this instant. */
void env_fake_run(struct env_fake *fake);

/* Let time pass, from timer to timer; at rest when it returns. */
void env_fake_advance(struct env_fake *fake, uint64_t ms);

/* Time passes in the middle of a turn: what is done takes so long. */
void env_fake_spend(struct env_fake *fake, uint64_t ns);

/* While held, jobs wait; worker_close runs them all the same. */
void env_fake_hold_jobs(struct env_fake *fake, bool hold);

/* Jobs that wait, and active timers. */
size_t env_fake_job_count(const struct env_fake *fake);
size_t env_fake_timer_count(const struct env_fake *fake);

/* Move the wall clock, which otherwise goes on with the time from 2026-01-02T03:04:05.678Z. */
void env_fake_set_wall_ms(struct env_fake *fake, uint64_t wall_ms);

#endif
