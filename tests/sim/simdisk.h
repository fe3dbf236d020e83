/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMDISK_H
#define TESTS_SIM_SIMDISK_H

#include "raft/raftlog.h"
#include "tests/sim/sim.h"

/* A member's disk, which outlives it: term and vote, a snapshot, entries, as raftlog.h promises
 * them. Operations are done in order, some time after they are asked for. A crash keeps those that
 * are done, then some of the following ones, the last of them perhaps half. */
struct simentry {
    uint64_t term;
    uint64_t kind;
    struct blob *data;
};

struct simsnapshot {
    uint64_t index;
    uint64_t term;
    uint64_t configuration_index;
    struct blob *configuration;
    struct blob *data;
};

struct simdisk {
    struct sim *sim;
    unsigned member;
    uint64_t term;
    uint64_t vote;
    struct simsnapshot snapshot;
    uint64_t first_index;
    struct simentry *entries;
    size_t entry_count;
    size_t entry_cap;
    uint64_t size_bytes;
    bool slow;
    uint64_t usual_us; /* at most, when it is not slow */

    /* Asked for and not done. */
    struct simdisk_op *queue;
    struct simdisk_op **queue_end;
    uint64_t busy_until_us;
    struct log_snapshot shown;

    struct raftlog base; /* what the member of this life is given */
    uint64_t life;
};

void simdisk_init(struct simdisk *disk, struct sim *sim, unsigned member);
struct raftlog *simdisk_open(struct simdisk *disk, uint64_t life);
void simdisk_crash(struct simdisk *disk);
/* Nothing that is asked for from now on is done for so long. */
void simdisk_stall(struct simdisk *disk, uint64_t us);

static inline uint64_t simdisk_last_index(const struct simdisk *disk)
{
    return disk->first_index + disk->entry_count - 1;
}

/* The newest configuration, of all that was asked for. */
struct bytes simdisk_configuration(const struct simdisk *disk);

/* NULL: not there. */
const struct simentry *simdisk_entry(const struct simdisk *disk, uint64_t index);

#endif
