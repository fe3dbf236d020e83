/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMNEMESIS_H
#define TESTS_SIM_SIMNEMESIS_H

#include "tests/sim/simmember.h"

/* Who breaks things: crashes of one, of the leader, of all; cuts in both directions and in one;
 * broken connections; slow disks; members that stand still; leadership handed over; and, with
 * churn, members added, promoted, demoted and removed, down to one voter and up again. */
void simnemesis_init(struct sim *sim);

/* Mend everything: who is down starts, disks are fast, links are whole. */
void simnemesis_end(struct sim *sim);

/* Parts of it, for simplay.c. */
void simnemesis_crash(struct sim *sim, unsigned id);
void simnemesis_transfer(struct simmember *leader, unsigned id);
void simnemesis_change(struct sim *sim, unsigned id); /* whatever can be done to ID */
/* One voter less, or, when there is one alone, one more. */
void simnemesis_fewer_voters(struct simmember *leader);

/* ID votes for itself: some seeds like to cut it off then. */
void simnemesis_on_candidate(struct sim *sim, unsigned id);

#endif
