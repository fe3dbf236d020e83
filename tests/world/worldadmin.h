/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDADMIN_H
#define TESTS_WORLD_WORLDADMIN_H

#include "tests/world/world.h"

/* What operators do, one thing each time, to some member. */
void worldadmin_transfer(struct world *world);
void worldadmin_compact(struct world *world);
void worldadmin_defragment(struct world *world);
/* A copy, which is opened, and must be what its member had then. */
void worldadmin_backup(struct world *world);
/* Many puts at once. */
void worldadmin_overload(struct world *world);

#endif
