/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_LOGFORCE_H
#define RAFT_LOGFORCE_H

#include "base/fs.h"
#include "base/limits.h"
#include "raft/node.h"

/* The log of a member that does not run, when most of its cluster is lost for good: how far it
 * goes, and how it becomes the log of a cluster of this member alone.
 *
 *   ... entry entry entry │ configuration {this member}, command
 *   └─ all of them count ─┘ └─ put behind them, at once: from here on it is a majority by itself
 *
 * Entries that were acknowledged to nobody, because the others did not have them yet, count as
 * well; those that this member never had are gone. If the others come back they do not know of it,
 * and may go on without it: whoever forces a log sees to it that they do not. */
struct logforce {
    struct env *env;
    struct fs *fs;
    struct logger *log;
    const char *dir;
    uint64_t cluster_id;
    uint64_t member_id;
    uint64_t segment_bytes; /* 0: SEGMENT_BYTES */
};

struct log_member {
    uint64_t id;
    char address[NODE_ADDRESS_SIZE];
    enum member_role role;
};

struct log_standing {
    uint64_t term;
    uint64_t snapshot_index;
    uint64_t first_index; /* of the entries that are there */
    uint64_t last_index;
    uint64_t last_term;
    uint64_t *terms;                        /* of entries first_index to last_index */
    struct log_member members[MEMBERS_MAX]; /* of the newest configuration in it */
    size_t member_count;
};
void log_standing_fini(struct log_standing *standing);

/* The one with this id, or NULL. */
const struct log_member *log_standing_member(const struct log_standing *standing, uint64_t id);

/* ERR_NOT_FOUND: there is no log. ERR_LOCKED: the member runs. Changes what every start changes: a
 * torn end is cut. Blocks, as the next. */
MUST_CHECK enum err logforce_look(const struct logforce *force, struct log_standing *ret,
                                  struct why *why);

/* Make the member the only one, a voter, durably; nothing when it is already. COMMAND, an entry of
 * the layers above, says so to them: whoever joins later reads the same log, and must come to the
 * same state. RET is what it was before. ERR_INVALID: it is not in its newest configuration. */
MUST_CHECK enum err logforce_sole(const struct logforce *force, struct bytes command,
                                  struct log_standing *ret, struct why *why);

#endif
