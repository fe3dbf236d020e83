/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_RANDOM_COMMAND_H
#define TESTS_LIB_RANDOM_COMMAND_H

#include "fsm/command.h"

/* Commands and their parts at random: keys of a few letters, so that they meet; every flag, every
 * enum, now and then an empty or a large value; transactions up to a depth. The same seed gives the
 * same commands. What cannot be allocated ends the process (fatal). */
struct random_commands {
    uint64_t state; /* the seed */
    struct arena *arena;
    unsigned letters; /* of which keys are made: 0 any bytes */
    unsigned depth_max;
    int64_t revision_max; /* of ranges in transactions; 0: any number */
    bool leases;
};

uint64_t random_u64(struct random_commands *random);
uint64_t random_below(struct random_commands *random, uint64_t n);
struct bytes random_key(struct random_commands *random);
struct bytes random_range_end(struct random_commands *random, struct bytes key);
struct range_query random_range(struct random_commands *random);
struct command_put random_put(struct random_commands *random);
struct command_delete_range random_delete(struct random_commands *random);
struct command_txn random_txn(struct random_commands *random);
struct command random_command(struct random_commands *random);

#endif
