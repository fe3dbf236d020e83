/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMNEMESIS_H
#define TESTS_SIM_SIMNEMESIS_H

#include "tests/sim/sim.h"

/* Who breaks things: crashes of one, of the leader, of all; cuts in both directions and in one;
 * broken connections; slow disks; members that stand still; leadership handed over; and, with
 * churn, members added, promoted, demoted and removed, down to one voter and up again. */
void simnemesis_init(struct sim *sim);

/* Mend everything: who is down starts, disks are fast, links are whole. */
void simnemesis_end(struct sim *sim);

#endif
