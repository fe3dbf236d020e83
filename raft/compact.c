/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/compact.h"

#include <limits.h>

/* The least that an entry costs in the store, about: a small put. */
#define BYTES_PER_ENTRY 64u

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

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct compact_limits compact_while_installing(const struct compact_limits *limits,
                                               uint64_t state_bytes)
{
    struct compact_limits wider = *limits;
    uint64_t entries = state_bytes / BYTES_PER_ENTRY;
    wider.held_entries = entries > limits->held_entries ? entries : limits->held_entries;
    wider.held_bytes = state_bytes > limits->held_bytes ? state_bytes : limits->held_bytes;
    return wider;
}

/* Entries up to INDEX, the newest first, that are no more than COUNT and BYTES. */
static uint64_t newest(const struct raft *r, uint64_t index, uint64_t count, uint64_t bytes)
{
    uint64_t sum = 0;
    uint64_t taken = 0;
    while (taken < count) {
        const struct raft_entry *entry = core_entry(r, index - taken);
        if (entry == NULL || entry->buf.len > bytes - sum) {
            break;
        }
        sum += entry->buf.len;
        taken++;
    }
    return taken;
}

/* The entry at the replicated index is held, too: an append names the term of the entry before it.
 * A member that is away for hours makes for a long log, so that its bytes are not added up each
 * time, but only when all of them are too many. */
unsigned compact_trailing(const struct raft *r, const struct compact_limits *limits, uint64_t index,
                          uint64_t replicated_index, uint64_t log_bytes)
{
    uint64_t most = least(index, UINT_MAX);
    uint64_t trailing =
        newest(r, index, least(limits->trailing_entries, most), limits->trailing_bytes);
    uint64_t lacked = replicated_index <= index ? index - replicated_index + 1 : 0;
    uint64_t held = least(least(lacked, limits->held_entries), most);
    held = least(held, index - r->log.offset);
    if (held > trailing && log_bytes > limits->held_bytes) {
        held = newest(r, index, held, limits->held_bytes);
    }
    uint64_t count = held > trailing ? held : trailing;
    return count == 0 ? 1 : (unsigned)count;
}
