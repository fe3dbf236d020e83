/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_GENERATE_H
#define TESTS_HISTORY_GENERATE_H

#include "tests/history/history.h"

/* Histories that are right, because a store that is right made them: clients at work together,
 * members that lag, attempts without an answer that take effect or not, watchers that come and go,
 * leases that end. All chance is from the seed. For tests of the checkers, and for mutate.h. */
struct generate_options {
    uint64_t seed;
    uint32_t workloads;       /* a bit for each enum history_workload; 0: all that clients do */
    unsigned operations;      /* asked for, about; 0: 400 */
    unsigned clients;         /* 0: 5 */
    unsigned keys;            /* of each workload; 0: 3 */
    unsigned watchers;        /* streams; only when WATCH is among the workloads; 0: 3 */
    unsigned unknown_percent; /* of the operations: no answer; 0: 5. 101: none */
};

/* Append to H. What had no memory is in history_ok. */
void history_generate(struct history *h, const struct generate_options *options);

#endif
