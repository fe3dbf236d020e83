/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/compact.h"

#include <limits.h>

static uint64_t bytes_between(const struct raft *r, uint64_t after, uint64_t to, uint64_t enough)
{
    uint64_t bytes = 0;
    for (uint64_t index = after + 1; index <= to && bytes < enough; index++) {
        const struct raft_entry *entry = core_entry(r, index);
        bytes += entry == NULL ? 0 : entry->buf.len;
    }
    return bytes;
}

bool compact_due(const struct raft *r, const struct compact_limits *limits, uint64_t durable_index,
                 uint64_t log_bytes)
{
    uint64_t snapshot = r->log.snapshot.last_index;
    uint64_t to = durable_index < r->last_applied ? durable_index : r->last_applied;
    if (to <= snapshot) {
        return false;
    }
    if (to - snapshot >= limits->snapshot_entries) {
        return true;
    }
    /* By bytes: only when the snapshot would free a fair part of them. */
    uint64_t enough = limits->snapshot_bytes / 4;
    return log_bytes >= limits->snapshot_bytes && bytes_between(r, snapshot, to, enough) >= enough;
}

/* The entry at the replicated index stays, too: an append names the term of the entry before it. */
unsigned compact_trailing(const struct raft *r, const struct compact_limits *limits, uint64_t index,
                          uint64_t replicated_index)
{
    uint64_t bytes = 0;
    uint64_t count = 0;
    for (; count < UINT_MAX && count < index; count++) {
        const struct raft_entry *entry = core_entry(r, index - count);
        if (entry == NULL) {
            break;
        }
        bytes += entry->buf.len;
        bool trails = count < limits->trailing_entries && bytes <= limits->trailing_bytes;
        bool held = index - count >= replicated_index && count < limits->held_entries &&
                    bytes <= limits->held_bytes;
        if (!trails && !held) {
            break;
        }
    }
    return count == 0 ? 1 : (unsigned)count;
}
