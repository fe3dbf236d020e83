/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDRUN_H
#define TESTS_WORLD_WORLDRUN_H

#include "tests/world/world.h"

/* Seeds in processes of their own, some at a time, so that one that ends badly, or crashes, is
 * reported and the next one begins. */
struct worldrun_outcome {
    uint64_t seed;
    bool is_good;
    char checker[24]; /* who refused; "crash", "time" when the process ended otherwise */
    char message[400];
    uint64_t at_ms;  /* of the run's clock */
    uint64_t faults; /* that the seed likes */
    unsigned places;
    struct world_stats stats; /* of a good one */
};

struct worldrun_config {
    struct world_options options; /* of the first seed */
    uint64_t count;
    unsigned jobs;    /* processes at a time */
    uint64_t seconds; /* no new seed is begun after so many; 0: all are run */
    uint64_t shown;   /* of those that fail tell what happened on stderr */
    void (*done)(void *ctx, const struct worldrun_outcome *outcome); /* in no order */
    void *ctx;
};

void worldrun_all(const struct worldrun_config *config);

/* One seed. QUIET: nothing on stderr. */
void worldrun_one(const struct world_options *options, bool quiet, struct worldrun_outcome *ret);

/* For world_fail: the process of this seed ends. */
void worldrun_end_badly(const struct world *world, const char *checker, const char *message)
    __attribute__((noreturn));

#endif
