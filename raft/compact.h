/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_COMPACT_H
#define RAFT_COMPACT_H

#include <stdbool.h>

#include "raft/abi.h"

/* When the log is compacted, and how far.
 *
 *     offset        snapshot         durable       applied        last
 *   ────┼──────────────┼────────────────┼─────────────┼─────────────┼──▶ index
 *                      ├─ enough to go? ┤
 *               trailing ├──────────────┤ stays in the log for slow followers
 *
 * What somebody lacks stays longer: entries behind the replicated index, up to which the log of
 * every member of the configuration reaches. The leader knows it from the answers and tells it with
 * each append, so that a follower that comes to lead has kept them as well. `held` bounds that: a
 * member that is away for long shall not fill the others' memory.
 *
 * The core takes a snapshot of what it has applied, when that is far enough from the last one. Ours
 * is of what the store has proven durable, which under load is always a little less. So the core's
 * threshold is out of reach until there is enough between the last snapshot and the durable index,
 * by entries or by bytes; then it is 1, and the core's question is answered for the durable index
 * (raftio.c, fsm_snapshot). */
struct compact_limits {
    uint64_t snapshot_entries;
    uint64_t snapshot_bytes;
    uint64_t trailing_entries;
    uint64_t trailing_bytes;
    uint64_t held_entries; /* at most, for a member that is behind; the trailing at least */
    uint64_t held_bytes;
};

/* While a state of STATE_BYTES is on its way to a member: what comes meanwhile is what it needs
 * next, so that it is held up to the size of the state itself. Under load a state arrives in less
 * than the time in which as much is written; who begins anew with a newer one writes it all once
 * more.
 */
struct compact_limits compact_while_installing(const struct compact_limits *limits,
                                               uint64_t state_bytes);

/* Whether it is worth it now. LOG_BYTES: what the log holds on disk. */
bool compact_due(const struct raft *r, const struct compact_limits *limits, uint64_t durable_index,
                 uint64_t log_bytes);

/* How many entries up to INDEX stay: at least 1, because 0 means all to the core. LOG_BYTES: of all
 * that the log holds, or more. */
unsigned compact_trailing(const struct raft *r, const struct compact_limits *limits, uint64_t index,
                          uint64_t replicated_index, uint64_t log_bytes);

#endif
