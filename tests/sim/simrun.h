/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMRUN_H
#define TESTS_SIM_SIMRUN_H

#include "tests/sim/sim.h"

/* Seeds in processes of their own, some at a time, so that one that ends badly, or crashes, is
 * reported and the next one begins. */
enum sim_outcome { SIM_GOOD, SIM_WRONG, SIM_STUCK, SIM_FATAL, SIM_CRASHED, SIM_OUTCOME_COUNT };

struct simrun_config {
    struct sim_options options; /* of the first seed */
    uint64_t count;
    unsigned jobs;  /* processes at a time */
    uint64_t shown; /* of those that fail tell what happened on stderr */
    /* For each seed, in order when there is one job; STATS only for the good ones. */
    void (*done)(void *ctx, uint64_t seed, enum sim_outcome outcome, const struct sim_stats *stats);
    void *ctx;
};

void simrun_all(const struct simrun_config *config);

#endif
