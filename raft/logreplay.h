/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_LOGREPLAY_H
#define RAFT_LOGREPLAY_H

#include "raft/group.h"
#include "raft/raftlog.h"

/* What the records of the log add up to. */
struct replay {
    struct log_entry *entries; /* of base up to next */
    size_t entry_cap;
    uint64_t base;  /* entries before it are not known: their segments are gone */
    uint64_t first; /* entries before it are forgotten */
    uint64_t next;
    struct bytes manifest; /* empty: none */
    bool begun;
};

void replay_fini(struct replay *replay);

/* All records of a group. NEW_SEGMENT: its first one is the state of the log there, which must be
 * what we have, or what we begin with after replay_reset. */
MUST_CHECK enum err replay_group(struct replay *replay, const struct group_view *group,
                                 bool new_segment, struct why *why);

/* Forget all, to begin at a later segment. */
void replay_reset(struct replay *replay);

/* Move what is left after forgetting into IMAGE. ERR_CORRUPT when an entry is not known. */
MUST_CHECK enum err replay_finish(struct replay *replay, struct raftlog_image *image,
                                  struct why *why);

#endif
