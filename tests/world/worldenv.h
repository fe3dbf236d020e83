/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDENV_H
#define TESTS_WORLD_WORLDENV_H

#include "base/env.h"
#include "tests/world/world.h"

/* The outside of one life of a member: the world's clock, timers and tasks that end with the life,
 * chance of its own, and workers without threads.
 *
 * A worker's job is done in two steps: its work at a moment of its own, all at once, and its done
 * as much later as the disk took for what the work asked of it. A pool has as many jobs under way
 * as it would have threads. What the loop itself asks of the disk makes the member busy. */
struct worldenv {
    struct env env;
    struct world *world;
    unsigned place;
    uint64_t life;
    uint64_t chance;
    int64_t *wall_offset_ms; /* the place's: it outlives us */
    uint64_t io_us;          /* that the disk has taken for what runs now */
    struct heap timers;
    uint64_t wake_at_us; /* the earliest event for the timers; UINT64_MAX: none */
    struct queue tasks[PHASE_COUNT];
    struct queue workers; /* struct world_worker.link */
    uint64_t next_number; /* of workers and of parcels: events name them by it */
};

void worldenv_init(struct worldenv *env, struct world *world, unsigned place, uint64_t life,
                   int64_t *wall_offset_ms);

/* Run what is deferred, phase after phase, until nothing is left; and see to it that the next timer
 * is not missed. */
void worldenv_settle(struct worldenv *env);

#endif
