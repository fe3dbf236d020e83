/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMPLAY_H
#define TESTS_SIM_SIMPLAY_H

#include "tests/sim/sim.h"

/* Coincidences that a sequence of independent faults seldom makes: a few of them, one after the
 * other, at moments that the seed draws around the interesting one. Each does nothing where it does
 * not fit. */

/* Leadership is handed to somebody who hears of it late, and then to another one. */
void simplay_two_successors(struct sim *sim);
/* It is handed to somebody whose disk has not got yet what has just changed. */
void simplay_hand_over_in_change(struct sim *sim);
/* Much is written while the followers' disks are slow, and the leader's is not. */
void simplay_storm(struct sim *sim);
/* One whose disk stands still has heard last of a leader that only it hears. */
void simplay_usurp(struct sim *sim);
/* The same of its successor, while the disk still stands still: then the first leads again, and
 * what was replaced on its way to the disk replaces what took its place. Takes eight seconds in
 * which nothing else may happen. */
#define SIMPLAY_USURP_TWICE_MS 8000
void simplay_usurp_twice(struct sim *sim);
/* Of four, two go on to later terms, without what the other two have got of the last leader. Takes
 * eight seconds, too. */
#define SIMPLAY_SPLIT_MS 8000
void simplay_split(struct sim *sim);
void simplay_on_candidate(struct sim *sim, unsigned id); /* who votes for itself */
/* A leader crashes before it has stored who votes no more. */
void simplay_crash_in_change(struct sim *sim);
/* Somebody is added, and what it was sent first comes again, much later. */
void simplay_newcomer(struct sim *sim);

#endif
