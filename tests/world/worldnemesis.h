/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDNEMESIS_H
#define TESTS_WORLD_WORLDNEMESIS_H

#include "tests/world/world.h"

/* Who breaks things, and mends them a while later: each kind of fault that the seed likes comes at
 * intervals of its own. world.h has the list. */
void worldnemesis_init(struct world *world);

/* Mend everything: who is down starts, disks are fast and have room, links are whole. */
void worldnemesis_end(struct world *world);

#endif
