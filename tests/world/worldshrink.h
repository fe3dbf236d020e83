/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDSHRINK_H
#define TESTS_WORLD_WORLDSHRINK_H

#include "tests/world/worldrun.h"

/* A smaller run that CHECKER of OUTCOME refuses as well: with fewer kinds of faults, and of an
 * earlier end. Each try is a run, as long as SECONDS are left. OPTIONS are those of the bad one. */
struct world_options worldshrink(const struct world_options *options,
                                 const struct worldrun_outcome *outcome, unsigned seconds);

/* The arguments that repeat it. */
void worldshrink_print(const struct world_options *options);

#endif
