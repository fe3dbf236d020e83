/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDOPERATOR_H
#define TESTS_WORLD_WORLDOPERATOR_H

#include "tests/world/worldmember.h"

/* Who replaces members, as an operator does: one at a time, removed before the next one is added at
 * its place, with an empty disk, under an id of its own, as a voter or first as a learner.
 *
 *   IDLE ─▶ REMOVING ─▶ ADDING ─▶ JOINING ─▶ IDLE
 *
 * REMOVING: until the table of members has it no more. ADDING: until the table has the new one.
 * JOINING: until that votes. What is asked of a member may get lost: it is asked again, of another
 * one, until the leader's table says that it is so. The same is done when a member's data is lost
 * or damaged; as that must stay a minority, there is one such place at a time. */
void worldoperator_init(struct world *world);

/* Replace whoever lives at a place; and the same because its data is damaged, or gone. Not while
 * the operator has something to do. */
void worldoperator_replace(struct world *world);
void worldoperator_flip(struct world *world);
void worldoperator_wipe(struct world *world);

/* Is nothing left to do? */
bool worldoperator_is_idle(const struct world *world);

#endif
