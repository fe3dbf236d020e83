/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMRUN_H
#define TESTS_SIM_SIMRUN_H

#include "tests/sim/sim.h"

/* Seeds in processes of their own, so that one that ends badly, or crashes, is reported and the
 * next one begins. */
enum sim_outcome { SIM_GOOD, SIM_WRONG, SIM_STUCK, SIM_FATAL, SIM_CRASHED, SIM_OUTCOME_COUNT };

/* Run COUNT seeds from OPTIONS->seed on; SHOWN of those that fail tell what happened on stderr.
 * DONE is called for each, in order; STATS only for the good ones. */
void sim_run_seeds(const struct sim_options *options, uint64_t count, uint64_t shown,
                   void (*done)(void *ctx, uint64_t seed, enum sim_outcome outcome,
                                const struct sim_stats *stats),
                   void *ctx);

#endif
