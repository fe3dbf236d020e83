/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_MUTATE_H
#define TESTS_HISTORY_MUTATE_H

#include "tests/history/history.h"

/* One thing made wrong in a right history, so that no correct store can have said it. */
size_t mutation_count(void);
const char *mutation_name(size_t i);
uint32_t mutation_checkers(size_t i); /* one of these must refuse it: a bit for each */

/* A copy of GOOD, with mutation I at one of the places where it can be, which SEED picks; NULL: it
 * has none. The caller's to free. */
struct history *history_mutate(const struct history *good, size_t i, uint64_t seed);

#endif
