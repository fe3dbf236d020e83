/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_RAFTLOG_FILES_H
#define RAFT_RAFTLOG_FILES_H

#include "base/fs.h"
#include "base/logger.h"
#include "base/metrics.h"
#include "raft/raftlog.h"

/* The real raftlog: one stream of groups (group.h) in segments (segment.h), term and vote beside
 * them (metadata.h), what holds after a crash (logload.h). All of it in one directory:
 *
 *   lock                      held while the log is open
 *   metadata                  term and vote
 *   segment-0000000000000007  16 MiB each; about as many as entries fill, and a spare one
 *
 *   loop                        log thread                       preparing thread
 *   append, truncate,     ──▶   all that waits: one group,
 *   snapshot_put                one write, one sync
 *   callbacks, in order   ◀──
 *   a spare was taken,    ────────────────────────────────▶     make the next spare, of a segment
 *   segments to forget                                          that is forgotten if there is one;
 *                         ──▶   spare for the next switch  ◀──  remove the others
 *
 * Truncate and snapshot_put are records of the stream like an append: the order of the calls is the
 * order on disk, and a crash keeps a prefix. */
struct raftlog_files_config {
    struct env *env;
    struct fs *fs;
    struct logger *log;
    struct metrics *metrics; /* may be NULL */
    const char *dir;         /* made when it is not there */
    uint64_t cluster_id;
    uint64_t member_id;
    uint64_t segment_bytes; /* 0: SEGMENT_BYTES */
    bool unsafe_no_fsync;
};

/* Whose log is in DIR? Read only. ERR_NOT_FOUND: there is none; ERR_CORRUPT, ERR_VERSION. */
MUST_CHECK enum err raftlog_files_identity(struct fs *fs, const char *dir, uint64_t *cluster_id,
                                           uint64_t *member_id, struct why *why);

/* Take the directory. ERR_LOCKED: another process has it. Then raftlog_ops.load. */
MUST_CHECK enum err raftlog_files_open(const struct raftlog_files_config *config,
                                       struct raftlog **ret, struct why *why);

/* Is the disk so full that there is no spare segment? The log goes on in the room that its segments
 * have, and ends the process when that is used up: somebody must stop writing before. */
bool raftlog_files_low_space(const struct raftlog *log);

/* Free bytes of the file system that holds the log. */
MUST_CHECK enum err raftlog_files_free_bytes(const struct raftlog *log, uint64_t *ret,
                                             struct why *why);

#endif
