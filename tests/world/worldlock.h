/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDLOCK_H
#define TESTS_WORLD_WORLDLOCK_H

#include "tests/world/world.h"

/* Clients that contend for a few names, as api/rpc_lock.c and api/rpc_election.c ask the server:
 *
 *   a lease ─▶ the lock, or the leadership ─▶ writes that are fenced, proclamations, renewals,
 *                                             questions who leads ─▶ released, revoked, or left
 *                                                                    to the end of the lease
 *
 * each time with a lease of its own, or with none (server/contest.h grants one). Locks and
 * elections share their names, and so stand in one line. */
void worldlock_init(struct world *world);

/* Nobody stands in a line any more: who has what they wait for does nothing either. */
void worldlock_give_up(struct world *world);

#endif
