/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_LOGLOAD_H
#define RAFT_LOGLOAD_H

#include "base/logger.h"
#include "raft/raftlog.h"
#include "raft/segment.h"

/* Reads the segments at start, says what the log holds, and leaves the files ready to go on.
 *
 * The log is one stream of groups, numbered without a gap; segments are where it is cut to fit into
 * files. A group is written only when the one before it is durable. So a crash can tear the last
 * group, and no other; and a header with number n proves that group n-1 was durable.
 *
 * The rule. Let n be the last group up to which everything is whole.
 *
 *   - If anywhere (behind n, in another segment) there is the header of a group above n+1, or a
 *     whole group n+1 where the walk did not find it: group n+1 was durable and is damaged or
 *     missing: ERR_CORRUPT, with the place where n+1 should be, and nothing is written.
 *   - Otherwise n+1, if it was begun at all, was never acknowledged: what there is of it is cut.
 *   - A segment shorter than it was made is ERR_CORRUPT: files get their full size before use.
 *
 * Its limit: damage to the very last group looks like a group that a crash has torn. Therefore the
 * log writes an empty group behind it, the witness, when it stops or has nothing to do for a
 * second; then a damaged last group is the witness, and nothing is lost. Between, only a disk that
 * damages what it has written a moment ago goes unseen.
 *
 * Segments that hold nothing the log needs may be damaged or missing (a removal of several may be
 * half done): the walk begins behind the last gap, and it is ERR_CORRUPT only when an entry is then
 * missing. What was cut, and left over files, are removed before anything new is written.
 *
 * The last group is written and synced once more, since what was read may come from memory whose
 * way to the disk failed before. */
struct logload {
    struct queue segments; /* in use, the oldest first; the newest is written on */
    struct segment *spare; /* ready for use, or NULL */
    uint64_t number;       /* of the last group; 0: none */
    uint64_t first_index;
    uint64_t next_index;
    struct bytes manifest; /* as in the state record, in the image's memory */
};

/* Fill IMAGE (all zero) but for term and vote, and RET. Sets dir->next_id. */
MUST_CHECK enum err logload_run(struct logdir *dir, struct logger *log, struct raftlog_image *image,
                                struct logload *ret, struct why *why);
void logload_fini(struct logload *load); /* closes what RET still holds */

/* Is there any segment in the directory? */
MUST_CHECK enum err logload_any(const struct logdir *dir, bool *ret, struct why *why);

/* The manifest's bytes in a state record. */
void manifest_encode(const struct log_snapshot *snapshot, struct buf *buf);
MUST_CHECK enum err manifest_decode(struct bytes bytes, struct log_snapshot *ret);

#endif
