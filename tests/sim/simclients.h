/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMCLIENTS_H
#define TESTS_SIM_SIMCLIENTS_H

#include "tests/sim/sim.h"

/* Who writes and reads: a write to whoever believes to lead, a read to anyone, now and then. Every
 * write is a command of its own that is proposed once. */
void simclients_init(struct sim *sim);

/* Faults are over: the run ends when a write that is proposed from now on is acknowledged and every
 * member of the leader's configuration has applied it. */
void simclients_await_recovery(struct sim *sim);

/* The time for that is over: sim_fail_stuck. */
void simclients_say_why_stuck(struct sim *sim) __attribute__((noreturn));

/* As much as can be is written for so long. */
void simclients_storm(struct sim *sim, uint64_t ms);

#endif
