/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDSCAN_H
#define TESTS_WORLD_WORLDSCAN_H

#include "tests/world/worldmember.h"

/* A client that reads everything at once, now and then, as it was at some revision: from whichever
 * member, and what a member happens to have. Such reads take several turns, and look at rows that
 * nobody else asks for. */
void worldscan_init(struct world *world);

/* Somebody has touched MEMBER's data: it is read all the time for a while. */
void worldscan_suspect(struct worldmember *member);

/* One read of MEMBER as it was at REVISION. */
void worldscan_once(struct worldmember *member, int64_t revision);

#endif
