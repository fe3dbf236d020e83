/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDENV_H
#define TESTS_WORLD_WORLDENV_H

#include "base/env.h"
#include "tests/world/world.h"

/* A place's clock, which goes on from life to life. Its hands may turn at another speed than the
 * world's, which is the true one: a second is one of the world when `rate_ppm` is a million. */
struct worldclock {
    uint32_t rate_ppm; /* since `since_us`, when it showed `shown_ns` */
    uint64_t since_us;
    uint64_t shown_ns;
    int64_t wall_offset_ms; /* what the wall clock is wrong by beside that */
};
#define WORLDCLOCK_TRUE_PPM 1000000u

uint64_t worldclock_ns(const struct worldclock *clock, uint64_t now_us);
/* When it will show at least LOCAL_US. */
uint64_t worldclock_when_us(const struct worldclock *clock, uint64_t local_us);
void worldclock_set_rate(struct worldclock *clock, uint64_t now_us, uint32_t rate_ppm);

/* The outside of one life of a member: its place's clock, timers and tasks that end with the life,
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
    struct worldclock *clock; /* the place's: it outlives us */
    uint64_t io_us;           /* that the disk has taken for what runs now */
    struct heap timers;       /* by the microseconds that the clock shows */
    uint64_t wake_at_us;      /* the earliest event for the timers; UINT64_MAX: none */
    struct queue tasks[PHASE_COUNT];
    struct queue workers; /* struct world_worker.link */
    uint64_t next_number; /* of workers and of parcels: events name them by it */
};

void worldenv_init(struct worldenv *env, struct world *world, unsigned place, uint64_t life,
                   struct worldclock *clock);

/* Run what is deferred, phase after phase, until nothing is left; and see to it that the next timer
 * is not missed. */
void worldenv_settle(struct worldenv *env);

#endif
