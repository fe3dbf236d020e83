/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_FAULT_H
#define TESTS_LIB_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* Memory that runs out on demand. In a test program that is linked with $(FAULT_LDFLAGS) the
 * allocations of the statically linked code go through here, where the k-th can be made to fail.
 *
 *     FAULT_SWEEP(sweep) {
 *         enum err err = scenario();
 *         fault_pause();
 *         ck_assert_int_eq(err, fault_fired() ? ERR_NOMEM : OK);
 *     }
 *
 * runs the scenario with its 1st, its 2nd, its 3rd ... allocation failing (not with all of them
 * when the effort is small: effort.h), until it gets through without a failure; and ends the
 * process (fatal) when a round kept memory that it did not have before. The scenario frees what it
 * made; Check allocates too, so its assertions stand behind fault_pause. Any thread. */
struct fault_sweep {
    uint64_t k; /* the allocation that fails in this round */
    int64_t live_before;
};

#define FAULT_SWEEP(sweep) for (struct fault_sweep sweep = {0}; fault_sweep_next(&sweep);)

bool fault_sweep_next(struct fault_sweep *sweep);

/* Let the K-th allocation from now on fail, once; 0: none. */
void fault_arm(uint64_t k);
bool fault_fired(void); /* since it was armed */

/* Until the next round, nothing fails and nothing is counted. */
void fault_pause(void);

#endif
