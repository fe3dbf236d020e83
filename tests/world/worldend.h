/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDEND_H
#define TESTS_WORLD_WORLDEND_H

#include "tests/world/world.h"

/* The end of a run, when faults are over:
 *
 *   RECOVERING   until a put of its own has been answered at each member
 *   QUIET        nobody asks anything more; until all that was asked is answered
 *   EQUAL        until all members have the newest revision, one HashKV at it, and one state
 *
 * The first has ten seconds, as has the rest. */
void worldend_begin(struct world *world);

/* The time for a step is over: world_fail. */
void worldend_say_why_stuck(struct world *world);

#endif
