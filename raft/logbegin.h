/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_LOGBEGIN_H
#define RAFT_LOGBEGIN_H

#include "base/fs.h"
#include "raft/node.h"

/* A log that does not begin with the first entry: a member whose state is already there, from a
 * backup, begins its log behind the entry that this state ends with.
 *
 *   index ─┐ manifest: index, term, members           what the store holds
 *          ▼
 *   ───────┼──▶ index + 1, the first entry to come    what is proposed from now on
 *
 * Members that begin with the same index, term and members are one cluster. One that comes with an
 * empty log instead lacks everything up to INDEX, and the others know it. */
struct logbegin {
    struct env *env;
    struct fs *fs;
    struct logger *log;
    const char *dir; /* made; must have no log */
    uint64_t cluster_id;
    uint64_t member_id;
    uint64_t index; /* above 0, as is term */
    uint64_t term;
    const struct node_member *members;
    size_t member_count;
    struct bytes manifest;  /* of the store's state at INDEX */
    uint64_t segment_bytes; /* 0: SEGMENT_BYTES */
};

/* Durable when it returns OK. Blocks, and completes what its log submits to ENV's workers: for
 * tools, before any loop runs. */
MUST_CHECK enum err logbegin(const struct logbegin *begin, struct why *why);

#endif
