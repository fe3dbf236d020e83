/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMENV_H
#define TESTS_SIM_SIMENV_H

#include "base/env.h"
#include "tests/sim/sim.h"

/* The outside of one life of a member: the world's clock, timers and tasks that end with the life.
 * There are no workers: nothing in raft/ asks for one but the real log. */
struct simenv {
    struct env env;
    struct sim *sim;
    unsigned member;
    uint64_t life;
    struct queue tasks[PHASE_COUNT];
};

void simenv_init(struct simenv *env, struct sim *sim, unsigned member, uint64_t life);

/* Run what is deferred, phase after phase, until nothing is left. */
void simenv_run_tasks(struct simenv *env);

#endif
