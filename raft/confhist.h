/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_CONFHIST_H
#define RAFT_CONFHIST_H

#include <raft.h>

#include "base/bytes.h"
#include "base/limits.h"

/* The configurations that are in the log, by index, so that one that is truncated can be rolled
 * back, and a snapshot carries the one of its own index. libraft remembers only the newest and
 * where the last committed one stood, forgets after a restart which is which, and looks in the log
 * for an entry that may be compacted away.
 *
 *     index   1      7      40           snapshot(20): 7 -> first     truncate(40): 7 is the newest
 *             {A}    {A,b}  {A,B}
 *
 * Owner and thread: raftio, on the loop. All zero is a valid empty history. */
struct confhist {
    struct confhist_item *items;
    size_t count;
    size_t cap;
};

struct confhist_item {
    uint64_t index;
    struct blob *encoded;
};

void confhist_fini(struct confhist *history);

/* The configuration at INDEX, which follows all others. */
void confhist_add(struct confhist *history, uint64_t index, struct bytes encoded);

/* Forget INDEX and everything after it. */
void confhist_truncate(struct confhist *history, uint64_t index);

/* The log is compacted up to INDEX: what applies there becomes the first. */
void confhist_compact(struct confhist *history, uint64_t index);

/* The log is replaced by a snapshot whose configuration was put at INDEX. */
void confhist_reset(struct confhist *history, uint64_t index, struct bytes encoded);

/* What applies at INDEX: the newest item at or before it; NULL: none. */
const struct confhist_item *confhist_at(const struct confhist *history, uint64_t index);

static inline uint64_t confhist_last_index(const struct confhist *history)
{
    return history->count == 0 ? 0 : history->items[history->count - 1].index;
}

/* A configuration as the core encodes it (raft_configuration_encode):
 *   u8 format = 1, u64 count, count times: u64 id, address with its NUL, u8 role; zeros up to a
 *   multiple of 8
 * The core's own decoder believes what it reads; this one does not. RET's memory is the core's
 * (raft_configuration_close). */
#define CONFIGURATION_BYTES_MAX (16u + MEMBERS_MAX * (8u + 256u + 1u))
/* The core leaves the padding of what it encodes as it found the memory; this makes it zeros, so
 * that all members have the same bytes. ENCODED must be a configuration. */
void configuration_clean(void *encoded, size_t len);
struct raft_buffer configuration_encode(const struct raft_configuration *configuration);

MUST_CHECK enum err configuration_decode(struct bytes encoded, struct raft_configuration *ret);
bool configuration_check(struct bytes encoded);

#endif
